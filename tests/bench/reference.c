/* SPDX-License-Identifier: Apache-2.0 */
/* reference.c - guichet-bench reference: context's own statement, alone, with the batches the service would send.
 *
 * The events are made by the sms connector's own reading of the same webhooks, the rows by context's own code; both
 * before the clock starts. Each connection takes its share of the senders, as lanes do, and has the next
 * batch waiting when one is answered. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "core/duration.h"
#include "io/db.h"
#include "io/worker.h"
#include "record_row.h"
#include "sms.h"
#include "statements.h"

enum { CONNECTIONS_MAX = 16, IN_FLIGHT = 2, WAIT_MS = 5, WAITS_MAX = 2000 };
enum { ARENA_BYTES = 1 << 30, CUSTOMERS_MAX = 1000 };

struct share {
    struct reference *reference;
    struct db_pool *pool;
    struct record_row *rows;
    size_t count, next;
};

struct reference {
    struct loop *loop;
    struct db *db;
    struct loop_timer *timer;
    struct arena *arena;
    struct share shares[CONNECTIONS_MAX];
    uint32_t connections, rows, messages;
    uint32_t recorded, in_flight, waits;
    uint64_t began_us, ended_us;
    char *tenant;
};

static void fail(const char *what, const struct err *err)
{
    fprintf(stderr, "guichet-bench: %s: %s\n", what, err != NULL ? err->text : "");
    exit(1);
}

/* ---- the rows ---- */

static uint32_t share_of(const struct reference *reference, const char *phone)
{
    uint32_t hash = 2166136261u;

    for (; *phone != '\0'; phone++)
        hash = (hash ^ (uint8_t)*phone) * 16777619u;
    return hash % reference->connections;
}

static Guichet__V1__InboundEvent *read_event(struct reference *reference, const struct sms_account *account,
                                             const struct bench_traffic *traffic, uint32_t i)
{
    struct event_batch batch = { .arena = reference->arena, .received_us = time_now_us() };
    struct hook_request request = { .method = "POST", .path = "", .query = "" };
    SCOPED_BUF body = { 0 };
    struct err err = { 0 };
    char *kept;

    buf_init(&body, 8192);
    bench_body(traffic, i, &body);
    kept = arena_strdup(reference->arena, buf_text(&body));
    request.body = str_view_of(kept);
    request.content_type = "application/x-www-form-urlencoded";
    if (!sms_normalise(account, &request, &batch, &err) || batch.count != 1)
        fail("the webhook is no event", &err);
    batch.events[0]->boot_id = "0192aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee";
    batch.events[0]->boot_n = i + 1;
    return batch.events[0];
}

static void make_rows(struct reference *reference, const struct bench_traffic *traffic, char *account_id)
{
    const struct context_config limits = {
        .content_max_bytes = 262144, .raw_max_bytes = 262144, .preview_max_bytes = 1024
    };
    struct sms_account account = {
        .account = { .tenant = reference->tenant, .id = account_id, .address = (char *)traffic->address },
        .provider = "twilio",
        .account_sid = (char *)traffic->sid,
        .api_base = "https://api.twilio.com",
    };

    for (uint32_t c = 0; c < reference->connections; c++)
        reference->shares[c].rows = calloc(reference->messages, sizeof(struct record_row));
    for (uint32_t i = 0; i < reference->messages; i++) {
        char phone[BENCH_PHONE_BYTES];
        struct share *share;
        struct err err = { 0 };

        bench_phone(traffic, i, phone);
        share = &reference->shares[share_of(reference, phone)];
        if (share->rows == NULL ||
            !record_row_fill(&share->rows[share->count++], read_event(reference, &account, traffic, i),
                             reference->tenant, "sms", &limits, reference->arena, &err))
            fail("the event is no row", &err);
    }
}

/* ---- the run ---- */

static void send_next(struct share *share);

static void on_recorded(void *arg, struct db_work *work, const struct err *err)
{
    struct share *share = arg;
    struct reference *reference = share->reference;

    if (err->kind != ERR_NONE)
        fail("context.record", err);
    reference->recorded += (uint32_t)db_rows(db_work_result(work, 0));
    reference->ended_us = (uint64_t)time_now_us();
    reference->in_flight--;
    send_next(share);
    if (reference->in_flight == 0)
        loop_stop(reference->loop);
}

static void send_next(struct share *share)
{
    struct reference *reference = share->reference;
    size_t left = share->count - share->next, count = left < reference->rows ? left : reference->rows;
    static const enum db_type seen_types[] = { DB_I32_ARRAY, DB_TEXT_ARRAY, DB_I32_ARRAY, DB_I64_ARRAY };
    struct db_param params[2 + RECORD_PARAM_COUNT + COUNT_OF(seen_types) + 1] = {
        DB_PARAM_TEXT(reference->tenant),
        DB_PARAM_I64(INT64_C(7) * 24 * 3600 * 1000),
    };
    struct db_work *work;
    size_t *indexes;

    if (count == 0)
        return;
    work = db_work_new(share->pool);
    indexes = arena_alloc(db_work_arena(work), count * sizeof(*indexes));
    for (size_t i = 0; i < count; i++)
        indexes[i] = share->next + i;
    share->next += count;
    record_row_params(share->rows, indexes, count, db_work_arena(work), params + 2);
    for (size_t i = 0; i < COUNT_OF(seen_types); i++) /* nothing comes twice in a batch */
        params[2 + RECORD_PARAM_COUNT + i] =
            (struct db_param){ .type = seen_types[i], .items = indexes, .count = 0 };
    params[COUNT_OF(params) - 1] = DB_PARAM_I32(CUSTOMERS_MAX);
    db_work_add(work, &context_record_batch, params, COUNT_OF(params));
    reference->in_flight++;
    db_work_run(work, on_recorded, share);
}

static void on_timer(void *arg)
{
    struct reference *reference = arg;
    struct err err = { 0 };

    if (!db_check(reference->db, &err)) {
        if (++reference->waits > WAITS_MAX)
            fail("database", &err);
        return;
    }
    loop_timer_stop(reference->timer);
    reference->began_us = (uint64_t)time_now_us();
    for (uint32_t c = 0; c < reference->connections; c++)
        for (int i = 0; i < IN_FLIGHT; i++)
            send_next(&reference->shares[c]);
}

static void open_database(struct reference *reference, const char *url)
{
    const struct db_options options = {
        .conninfo = url, .application = "guichet-bench", .search_path = "context, public"
    };
    const struct db_pool_options pool = { .name = "ingest",
                                          .connections = 1,
                                          .statement_timeout_ms = 30000,
                                          .work_timeout_ms = 60000,
                                          .queue_max = 16 };
    struct err err = { 0 };

    if (!db_new(reference->loop, worker_new(reference->loop, 1, 16), &options, &reference->db, &err))
        fail("database", &err);
    for (uint32_t c = 0; c < reference->connections; c++) {
        reference->shares[c].reference = reference;
        reference->shares[c].pool = db_pool_new(reference->db, &pool);
    }
}

int bench_reference(char **words)
{
    struct reference reference = { .loop = loop_new(), .arena = arena_new(ARENA_BYTES) };
    struct bench_traffic traffic = bench_traffic_of(words);
    double seconds;

    reference.connections = bench_number(words, "connections", "1");
    reference.rows = bench_number(words, "rows", "64");
    reference.messages = bench_number(words, "messages", NULL);
    reference.tenant = (char *)bench_option(words, "tenant", "demo");
    if (reference.connections == 0 || reference.connections > CONNECTIONS_MAX || reference.rows == 0)
        fail("connections: 1 to 16; rows: at least 1", NULL);
    loop_set_turn_max_ms(reference.loop, 10000);
    make_rows(&reference, &traffic, (char *)bench_option(words, "account", "sms-demo"));
    open_database(&reference, bench_option(words, "database", NULL));
    reference.timer = loop_timer_new(reference.loop, on_timer, &reference);
    loop_timer_start(reference.timer, WAIT_MS, WAIT_MS);
    loop_run(reference.loop);
    seconds = (double)(reference.ended_us - reference.began_us) / 1e6;
    printf("{\"connections\":%u,\"rows\":%u,\"recorded\":%u", reference.connections, reference.rows,
           reference.recorded);
    printf(",\"seconds\":%.3f,\"rate\":%.1f}\n", seconds, reference.recorded / seconds);
    fflush(stdout);
    _exit(reference.recorded == reference.messages ? 0 : 1);
}
