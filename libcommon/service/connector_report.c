/* SPDX-License-Identifier: Apache-2.0 */
/* connector_report.c - outcomes that routing did not hear, kept in the spool and told from there, also by the next
 * process, until it hears them or the delivery is `unknown` for good. */
#include "service/connector_spool.h"

#include <stdlib.h>
#include <string.h>

#include "core/duration.h"
#include "core/pbjson.h"
#include "ops/log.h"

enum { PAGE_ROWS = 16, PAGE_BYTES = 512 * 1024, MESH_TIMEOUT_MS = 5000 };

struct kept_report {
    struct connector_reports *reports;
    bool is_over; /* heard, refused, or too late: its row can go */
};

struct connector_reports {
    struct connector_runtime *runtime;
    struct loop_timer *timer;
    struct spool_page *page;
    struct kept_report kept[PAGE_ROWS];
    size_t open_count; /* calls under way */
    uint32_t retry_ms, token_generation;
    uint32_t after_file; /* the next page is behind this one; 0: the first */
    int64_t after_seq;
    bool is_left, is_away; /* since the first page: some are not heard; routing does not answer */
    bool is_busy;
};

static void on_reported(const Guichet__V1__ReportReply *reply, void *arg);
static void page_end(struct connector_reports *reports);
static void read_page(void *arg);

/* ---- one report ---- */

static void drop(struct connector_reports *reports, size_t index, const char *why)
{
    const struct spool_row *row = &reports->page->rows[index];
    const struct connector_account *account = reports->runtime->slots[row->account].account;

    connector_count(reports->runtime, CONNECTOR_REPORTS_DROPPED, account, 1);
    log_event(LOG_ERROR, "report_dropped", LOG_TEXT("account", account->id), LOG_TEXT("err", why));
    reports->kept[index].is_over = true;
}

/* false: not called. */
static bool tell(struct connector_reports *reports, size_t index)
{
    struct connector_runtime *runtime = reports->runtime;
    const struct spool_row *row = &reports->page->rows[index];
    struct mesh_call call = {
        .tenant = runtime->slots[row->account].account->tenant,
        .token = connector_token(runtime, &reports->token_generation),
        .timeout_ms = MESH_TIMEOUT_MS,
        .attempt_timeout_ms = runtime->config->submit_attempt_timeout_ms,
    };
    ProtobufCMessage *request = NULL;
    struct err err = { 0 };

    if (row->is_damaged || !pb_unpack(row->bytes, &guichet__v1__report_request__descriptor,
                                      &pb_limits_default, reports->page->arena, &request, &err)) {
        drop(reports, index, "its bytes were damaged in the spool");
        return false;
    }
    if (row->until_us < time_now_us()) {
        drop(reports, index, "nobody heard it in time");
        return false;
    }
    if (call.token.data == NULL) {
        reports->is_away = true;
        return false;
    }
    connector_count(runtime, CONNECTOR_REPORTS_REPEATED, runtime->slots[row->account].account, 1);
    guichet__v1__connector__report(mesh_client_call(runtime->routing, &call),
                                   (Guichet__V1__ReportRequest *)request, on_reported, &reports->kept[index]);
    return true;
}

static void on_reported(const Guichet__V1__ReportReply *reply, void *arg)
{
    struct kept_report *kept = arg;
    struct connector_reports *reports = kept->reports;
    struct err err = { 0 };

    if (reply == NULL)
        err = *mesh_err();
    reports->open_count--;
    if (err.kind == ERR_CANCELED)
        return;
    if (err.kind == ERR_FORBIDDEN)
        connector_announce_again(reports->runtime, reports->token_generation, NULL, NULL);
    else if (err.kind == ERR_NONE)
        kept->is_over = true;
    else if (err_is_retryable(err.kind))
        reports->is_away = true;
    else if (err.kind != ERR_INTERNAL)
        drop(reports, (size_t)(kept - reports->kept), err.text);
    if (reports->open_count == 0)
        page_end(reports);
}

/* ---- pages ---- */

static void rest(struct connector_reports *reports)
{
    const struct connector_config *config = reports->runtime->config;
    uint32_t jitter;

    reports->is_busy = false;
    random_bytes(&jitter, sizeof(jitter));
    loop_timer_start(reports->timer, reports->retry_ms / 2 + jitter % (reports->retry_ms / 2 + 1), 0);
    reports->retry_ms = reports->retry_ms < config->spool_retry_max_ms / 2 ? reports->retry_ms * 2
                                                                           : config->spool_retry_max_ms;
}

/* On behind this page, whatever became of it: those of one account must not keep back another's. */
static void page_done(struct connector_reports *reports)
{
    bool is_away = reports->is_away;

    reports->is_away = false;
    spool_page_free(&reports->page);
    if (is_away)
        rest(reports);
    else
        read_page(reports);
}

static void on_deleted(void *arg, const struct err *err)
{
    struct connector_reports *reports = arg;

    if (reports->runtime->is_closing)
        return;
    reports->is_left |= err->kind != ERR_NONE;
    if (err->kind == ERR_NONE)
        reports->retry_ms = reports->runtime->config->spool_retry_ms;
    page_done(reports);
}

static void page_end(struct connector_reports *reports)
{
    struct spool_row over[PAGE_ROWS];
    size_t count = 0;

    for (size_t i = 0; i < reports->page->count; i++)
        if (reports->kept[i].is_over)
            over[count++] = reports->page->rows[i];
    reports->is_left |= count < reports->page->count;
    if (count > 0)
        spool_delete(reports->runtime->spool, over, count, on_deleted, reports);
    else
        page_done(reports);
}

/* Behind the last: from the first again, after a while when there are some left. */
static void round_end(struct connector_reports *reports)
{
    bool is_left = reports->is_left, was_first = reports->after_file == 0;

    reports->after_file = 0;
    reports->is_left = false;
    reports->is_busy = false;
    if (is_left)
        rest(reports);
    else if (!was_first)
        connector_reports_wake(reports); /* for those that came meanwhile */
}

static void on_read(void *arg, struct spool_page *page, const struct err *err)
{
    struct connector_reports *reports = arg;

    if (reports->runtime->is_closing || page == NULL || page->count == 0) {
        spool_page_free(&page);
        reports->is_left |= err->kind != ERR_NONE;
        if (!reports->runtime->is_closing)
            round_end(reports);
        return;
    }
    reports->page = page;
    reports->after_file = page->rows[page->count - 1].file;
    reports->after_seq = page->rows[page->count - 1].seq;
    reports->open_count = 1; /* until all are called */
    for (size_t i = 0; i < page->count; i++) {
        reports->kept[i] = (struct kept_report){ .reports = reports };
        reports->open_count += tell(reports, i);
    }
    if (--reports->open_count == 0)
        page_end(reports);
}

static void read_page(void *arg)
{
    struct connector_reports *reports = arg;
    const struct connector_runtime *runtime = reports->runtime;
    uint32_t *refused = calloc(runtime->slot_count, sizeof(*refused));
    struct spool_query query = { .kind = SPOOL_REPORT,
                                 .held_accounts = refused,
                                 .after_file = reports->after_file,
                                 .after_seq = reports->after_seq,
                                 .rows_max = PAGE_ROWS,
                                 .bytes_max = PAGE_BYTES };

    if (refused == NULL)
        abort();
    for (size_t i = 0; i < runtime->slot_count; i++)
        if (runtime->slots[i].is_refused)
            refused[query.held_account_count++] = (uint32_t)i;
    reports->is_busy = true;
    spool_read(runtime->spool, &query, on_read, reports);
    free(refused);
}

void connector_reports_wake(struct connector_reports *reports)
{
    if (reports->is_busy || reports->runtime->is_closing || loop_timer_is_active(reports->timer) ||
        spool_numbers(reports->runtime->spool).reports == 0)
        return;
    read_page(reports);
}

/* ---- in ---- */

void connector_report_keep(struct connector_runtime *runtime, const struct connector_slot *slot,
                           const Guichet__V1__ReportRequest *request, int64_t until_us, struct arena *arena,
                           spool_done_fn *done, void *arg)
{
    size_t len = guichet__v1__report_request__get_packed_size(request);
    uint8_t *bytes = arena_alloc(arena, len + 1);
    struct spool_row *row = arena_alloc(arena, sizeof(*row));

    guichet__v1__report_request__pack(request, bytes);
    *row = (struct spool_row){
        .kind = SPOOL_REPORT,
        .account = (uint32_t)(slot - runtime->slots),
        .at_us = time_now_us(),
        .until_us = until_us,
        .boot_id = runtime->boot_id,
        .bytes = { (const char *)bytes, len },
    };
    spool_append(runtime->spool, row, 1, done, arg);
}

/* ---- life ---- */

struct connector_reports *connector_reports_new(struct connector_runtime *runtime)
{
    struct connector_reports *reports = calloc(1, sizeof(*reports));

    if (reports == NULL)
        abort();
    reports->runtime = runtime;
    reports->retry_ms = runtime->config->spool_retry_ms;
    reports->timer = loop_timer_new(runtime->loop, read_page, reports);
    return reports;
}

void connector_reports_free(struct connector_reports **reports_ptr)
{
    struct connector_reports *reports = *reports_ptr;

    *reports_ptr = NULL;
    if (reports == NULL)
        return;
    spool_page_free(&reports->page);
    loop_timer_free(&reports->timer);
    free(reports);
}
