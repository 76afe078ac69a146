/* SPDX-License-Identifier: Apache-2.0 */
/* connector_send.c - one pulled job: a message (its files handed over, Start, the provider's call), or one that
 * may be done twice and needs no Start; then Report.
 *
 * Start is made durable before the provider is called, so that after a crash routing knows that it may have
 * been: unknown, never silently sent twice. What surely did not leave us is RETRY; what left us without an
 * answer is UNKNOWN. The outcome is reported until routing has heard it, or it is too late to matter. */
#include "service/connector_spool.h"

#include <stdlib.h>
#include <string.h>

#include "core/duration.h"
#include "core/pbjson.h"
#include "ops/failpoint.h"
#include "ops/log.h"

enum {
    JOB_MAX_BYTES = 16 * 1024 * 1024,
    MESH_TIMEOUT_MS = 5000,
    LEASE_MARGIN_MS = 2000, /* the provider's call ends this long before the lease */
    SEND_TIME_MIN_MS = 500, /* with less than this left it is not begun */
    REPORT_RETRY_FIRST_MS = 200,
    REPORT_RETRY_MAX_MS = 10000,
};

enum send_step { SEND_NEW, SEND_WORKING, SEND_STARTING, SEND_SENDING, SEND_REPORTING, SEND_ENDED };

struct connector_send {
    struct connector_runtime *runtime;
    struct connector_slot *slot;
    struct arena *arena;
    const Guichet__V1__Job *job; /* in the arena */
    enum send_step step;
    struct http_call *call;
    struct connector_fetch *fetch; /* of a file that came */
    struct connector_typing *typing;
    struct connector_upload *upload; /* of the files of a message */
    Guichet__V1__Outcome outcome;    /* its strings are in the arena */
    struct loop_timer *timer;        /* begins, then repeats the report */
    uint64_t lease_until_ms;
    uint64_t sent_ms;
    uint32_t token_generation;
    uint32_t retry_ms;
    connector_send_done_fn *done;
    void *arg;
};

static void begin(struct connector_send *send);
static void start(struct connector_send *send);
static void on_started(const Guichet__V1__StartReply *reply, void *arg);
static void call_provider(struct connector_send *send);
static void on_sent(void *arg, const struct http_result *result);
static void report(struct connector_send *send);
static void on_reported(const Guichet__V1__ReportReply *reply, void *arg);

static const char *step_name(enum send_step step)
{
    static const char *const names[] = { "new", "working", "starting", "sending", "reporting", "ended" };

    return names[step];
}

static void send_move(struct connector_send *send, enum send_step step)
{
    log_event(LOG_DEBUG, "send_step", LOG_TEXT("delivery", send->job->id),
              LOG_TEXT("from", step_name(send->step)), LOG_TEXT("to", step_name(step)));
    send->step = step;
}

/* The one way out. */
static void finish(struct connector_send *send)
{
    send_move(send, SEND_ENDED);
    send->done(send->arg, send);
}

static bool mesh_call_fill(struct connector_send *send, struct mesh_call *ret_call)
{
    struct str_view token = connector_token(send->runtime, &send->token_generation);

    *ret_call = (struct mesh_call){
        .tenant = send->job->tenant,
        .token = token,
        .timeout_ms = MESH_TIMEOUT_MS,
        .attempt_timeout_ms = send->runtime->config->submit_attempt_timeout_ms,
    };
    return token.data != NULL;
}

/* ---- outcomes of our own ---- */

/* The text becomes a copy that is surely UTF-8: an error's may have been cut in the middle of a character. */
void connector_outcome_set(Guichet__V1__Outcome *outcome, struct arena *arena, Guichet__V1__OutcomeKind kind,
                           Guichet__V1__FailureReason reason, const char *text)
{
    struct str_view view = str_view_of(text);

    while (view.len > 0 && !utf8_is_valid(view))
        view.len--;
    guichet__v1__outcome__init(outcome);
    outcome->kind = kind;
    outcome->reason = reason;
    outcome->provider_text = arena_dup(arena, view);
}

static void set_outcome(struct connector_send *send, Guichet__V1__OutcomeKind kind,
                        Guichet__V1__FailureReason reason, const char *text)
{
    connector_outcome_set(&send->outcome, send->arena, kind, reason, text);
}

static void retry_unsent(struct connector_send *send, const char *why)
{
    set_outcome(send, GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_RETRY,
                GUICHET__V1__FAILURE_REASON__FAILURE_REASON_PROVIDER_ERROR, why);
    report(send);
}

static enum connector_stat stat_of(Guichet__V1__OutcomeKind kind)
{
    switch (kind) {
    case GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_ACCEPTED:
        return CONNECTOR_SENDS_ACCEPTED;
    case GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_RETRY:
        return CONNECTOR_SENDS_RETRY;
    case GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_FAILED:
        return CONNECTOR_SENDS_FAILED;
    default:
        return CONNECTOR_SENDS_UNKNOWN;
    }
}

/* ---- what may be done twice ---- */

static uint32_t left_ms(const struct connector_runtime *runtime, uint64_t lease_until_ms)
{
    uint64_t now_ms = loop_now_ms(runtime->loop);
    uint64_t left = lease_until_ms > now_ms + LEASE_MARGIN_MS ? lease_until_ms - now_ms - LEASE_MARGIN_MS : 0;

    return left >= SEND_TIME_MIN_MS ? (uint32_t)left : 0;
}

uint32_t connector_step_left_ms(const struct connector_step *step)
{
    return left_ms(step->runtime, step->lease_until_ms);
}

static void on_job_done(void *arg)
{
    struct connector_send *send = arg;

    if (send->outcome.kind == GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_UNSPECIFIED)
        finish(send);
    else
        report(send);
}

static void on_files_handed_over(void *arg)
{
    struct connector_send *send = arg;

    if (send->outcome.kind != GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_ACCEPTED) {
        on_job_done(send);
        return;
    }
    guichet__v1__outcome__init(&send->outcome);
    start(send);
}

static struct connector_step step_of(struct connector_send *send, connector_step_done_fn *done)
{
    return (struct connector_step){
        .runtime = send->runtime,
        .slot = send->slot,
        .job = send->job,
        .arena = send->arena,
        .lease_until_ms = send->lease_until_ms,
        .outcome = &send->outcome,
        .done = done,
        .arg = send,
    };
}

static void begin(struct connector_send *send)
{
    struct connector_step job = step_of(send, on_job_done), files = step_of(send, on_files_handed_over);

    connector_count(send->runtime, CONNECTOR_JOBS, send->slot->account, 1);
    if (send->job->kind_case == GUICHET__V1__JOB__KIND_SEND &&
        !connector_upload_is_needed(send->runtime->table, send->job->send)) {
        start(send);
        return;
    }
    send_move(send, SEND_WORKING);
    switch (send->job->kind_case) {
    case GUICHET__V1__JOB__KIND_SEND:
        connector_upload_start(&files, &send->upload);
        return;
    case GUICHET__V1__JOB__KIND_FETCH_MEDIA:
        connector_fetch_start(&job, &send->fetch);
        return;
    case GUICHET__V1__JOB__KIND_TYPING:
        connector_typing_start(&job, &send->typing);
        return;
    default:
        set_outcome(send, GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_FAILED,
                    GUICHET__V1__FAILURE_REASON__FAILURE_REASON_CONTENT_REFUSED,
                    "this connector has no such kind of job");
        report(send);
    }
}

/* ---- Start ---- */

static void on_timer(void *arg)
{
    struct connector_send *send = arg;

    if (send->step == SEND_NEW)
        begin(send);
    else
        report(send);
}

static void start(struct connector_send *send)
{
    Guichet__V1__StartRequest request = GUICHET__V1__START_REQUEST__INIT;
    struct mesh_call call;

    send_move(send, SEND_STARTING);
    if (!mesh_call_fill(send, &call)) {
        retry_unsent(send, "not announced to routing");
        return;
    }
    request.tenant = send->job->tenant;
    request.job_id = send->job->id;
    request.lease = send->job->lease;
    guichet__v1__connector__start(mesh_client_call(send->runtime->routing, &call), &request, on_started,
                                  send);
}

static void on_started(const Guichet__V1__StartReply *reply, void *arg)
{
    struct connector_send *send = arg;

    if (reply == NULL) {
        const struct err *err = mesh_err();

        if (err->kind == ERR_CANCELED) {
            finish(send);
            return;
        }
        if (err->kind == ERR_FORBIDDEN)
            connector_announce_again(send->runtime, send->token_generation, NULL, NULL);
        retry_unsent(send, "not sent: Start was not answered");
        return;
    }
    if (!reply->is_granted) {
        connector_count(send->runtime, CONNECTOR_STARTS_DENIED, send->slot->account, 1);
        log_event(LOG_INFO, "start_denied", LOG_TEXT("delivery", send->job->id),
                  LOG_TEXT("reason", reply->reason));
        finish(send);
        return;
    }
    send->lease_until_ms = loop_now_ms(send->runtime->loop) + reply->lease_ms;
    if (FAILPOINT("connector_after_start_before_send"))
        retry_unsent(send, "failpoint");
    else
        call_provider(send);
}

/* ---- the provider's call ---- */

static void call_provider(struct connector_send *send)
{
    struct connector_runtime *runtime = send->runtime;
    uint32_t most_ms = left_ms(runtime, send->lease_until_ms);
    struct http_client_request request = { 0 };
    struct err err = { 0 };

    if (most_ms == 0) {
        retry_unsent(send, "not sent: the lease has run out");
        return;
    }
    if (!runtime->table->render(send->slot->account, send->job->send, send->arena, &request, &err)) {
        set_outcome(send, GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_FAILED,
                    GUICHET__V1__FAILURE_REASON__FAILURE_REASON_CONTENT_REFUSED, err.text);
        report(send);
        return;
    }
    request.timeout_ms = runtime->config->provider_timeout_ms;
    if (request.timeout_ms > most_ms)
        request.timeout_ms = most_ms;
    send_move(send, SEND_SENDING);
    send->sent_ms = loop_now_ms(runtime->loop);
    send->call = http_call_start(runtime->http, &request, on_sent, send);
}

/* No answer: what is known of it decides, not the kind of error alone. */
static void set_unanswered(struct connector_send *send, const struct http_result *result)
{
    if (result->is_sent)
        set_outcome(send, GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_UNKNOWN,
                    GUICHET__V1__FAILURE_REASON__FAILURE_REASON_UNSPECIFIED, result->err.text);
    else if (result->err.kind == ERR_FORBIDDEN || result->err.kind == ERR_INVALID ||
             result->err.kind == ERR_CONFIG)
        set_outcome(send, GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_FAILED,
                    GUICHET__V1__FAILURE_REASON__FAILURE_REASON_ACCOUNT_BROKEN, result->err.text);
    else
        set_outcome(send, GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_RETRY,
                    GUICHET__V1__FAILURE_REASON__FAILURE_REASON_PROVIDER_ERROR, result->err.text);
}

static void count_units(struct connector_send *send)
{
    const struct connector *table = send->runtime->table;

    if (send->outcome.kind == GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_ACCEPTED && table->units != NULL)
        connector_count(send->runtime, CONNECTOR_UNITS, send->slot->account,
                        table->units(send->slot->account, send->job->send));
}

static void on_sent(void *arg, const struct http_result *result)
{
    struct connector_send *send = arg;

    send->call = NULL;
    stats_observe_ms(send->runtime->stats, CONNECTOR_SEND_TIME,
                     (double)(loop_now_ms(send->runtime->loop) - send->sent_ms));
    if (result->err.kind != ERR_NONE) {
        set_unanswered(send, result);
    } else {
        guichet__v1__outcome__init(&send->outcome);
        send->runtime->table->outcome(send->slot->account, result, send->arena, &send->outcome);
    }
    count_units(send);
    if (FAILPOINT("connector_after_send_before_report"))
        finish(send);
    else
        report(send);
}

/* ---- Report ---- */

static void report_again(struct connector_send *send, const struct err *err)
{
    struct connector_runtime *runtime = send->runtime;
    uint64_t until_ms = send->lease_until_ms + runtime->config->report_keep_ms;

    if (loop_now_ms(runtime->loop) + send->retry_ms > until_ms) {
        connector_count(runtime, CONNECTOR_REPORTS_DROPPED, send->slot->account, 1);
        log_event(LOG_ERROR, "report_dropped", LOG_TEXT("delivery", send->job->id), LOG_ERR(err));
        finish(send);
        return;
    }
    connector_count(runtime, CONNECTOR_REPORTS_REPEATED, send->slot->account, 1);
    loop_timer_start(send->timer, send->retry_ms, 0);
    send->retry_ms = send->retry_ms * 2 < REPORT_RETRY_MAX_MS ? send->retry_ms * 2 : REPORT_RETRY_MAX_MS;
}

static Guichet__V1__ReportRequest request_of(struct connector_send *send)
{
    Guichet__V1__ReportRequest request = GUICHET__V1__REPORT_REQUEST__INIT;

    request.tenant = send->job->tenant;
    request.job_id = send->job->id;
    request.lease = send->job->lease;
    request.outcome = &send->outcome;
    return request;
}

static void on_kept(void *arg, const struct err *err)
{
    struct connector_send *send = arg;

    if (err->kind == ERR_NONE || err->kind == ERR_CANCELED)
        finish(send);
    else
        report_again(send, err);
}

/* Not heard: from now on it is the spool's, where there is one that takes it. */
static void report_later(struct connector_send *send, const struct err *err)
{
    struct connector_runtime *runtime = send->runtime;
    uint64_t now_ms = loop_now_ms(runtime->loop),
             until_ms = send->lease_until_ms + runtime->config->report_keep_ms;
    Guichet__V1__ReportRequest request = request_of(send);

    if (runtime->spool == NULL || runtime->is_closing || now_ms >= until_ms) {
        report_again(send, err);
        return;
    }
    connector_report_keep(runtime, send->slot, &request, time_now_us() + (int64_t)(until_ms - now_ms) * 1000,
                          send->arena, on_kept, send);
}

static void report(struct connector_send *send)
{
    Guichet__V1__ReportRequest request = request_of(send);
    struct mesh_call call;
    struct err err = { 0 };

    if (send->step != SEND_REPORTING) {
        send_move(send, SEND_REPORTING);
        if (send->job->kind_case == GUICHET__V1__JOB__KIND_SEND)
            connector_count(send->runtime, stat_of(send->outcome.kind), send->slot->account, 1);
    }
    if (!mesh_call_fill(send, &call)) {
        err_set(&err, ERR_UNAVAILABLE, "not announced to routing");
        report_later(send, &err);
        return;
    }
    guichet__v1__connector__report(mesh_client_call(send->runtime->routing, &call), &request, on_reported,
                                   send);
}

static void on_reported(const Guichet__V1__ReportReply *reply, void *arg)
{
    struct connector_send *send = arg;
    struct err err = { 0 };

    if (reply == NULL)
        err = *mesh_err();
    if (err.kind == ERR_FORBIDDEN)
        connector_announce_again(send->runtime, send->token_generation, NULL, NULL);
    if (err_is_retryable(err.kind) || err.kind == ERR_FORBIDDEN || err.kind == ERR_INTERNAL) {
        report_later(send, &err);
        return;
    }
    if (err.kind != ERR_NONE && err.kind != ERR_CANCELED) {
        connector_count(send->runtime, CONNECTOR_REPORTS_DROPPED, send->slot->account, 1);
        log_event(LOG_ERROR, "report_refused", LOG_TEXT("delivery", send->job->id), LOG_ERR(&err));
    }
    finish(send);
}

/* ---- life ---- */

struct connector_send *connector_send_start(struct connector_runtime *runtime, const Guichet__V1__Job *job,
                                            connector_send_done_fn *done, void *arg)
{
    struct connector_slot *slot = connector_slot_find(runtime, str_view_of(job->account_id));
    struct connector_send *send;

    if (slot == NULL) {
        log_event(LOG_ERROR, "job_of_unknown_account", LOG_TEXT("account", job->account_id),
                  LOG_TEXT("delivery", job->id));
        return NULL;
    }
    send = calloc(1, sizeof(*send));
    if (send == NULL)
        abort();
    send->runtime = runtime;
    send->slot = slot;
    send->arena = arena_new(JOB_MAX_BYTES);
    send->job = (const Guichet__V1__Job *)pb_dup(&job->base, send->arena);
    send->done = done;
    send->arg = arg;
    send->retry_ms = REPORT_RETRY_FIRST_MS;
    send->lease_until_ms = loop_now_ms(runtime->loop) + job->lease_ms;
    guichet__v1__outcome__init(&send->outcome);
    send->timer = loop_timer_new(runtime->loop, on_timer, send);
    loop_timer_start(send->timer, 0, 0);
    return send;
}

void connector_send_free(struct connector_send **send_ptr)
{
    struct connector_send *send = *send_ptr;

    *send_ptr = NULL;
    if (send == NULL)
        return;
    connector_fetch_free(&send->fetch);
    connector_typing_free(&send->typing);
    connector_upload_free(&send->upload);
    loop_timer_free(&send->timer);
    arena_free(&send->arena);
    free(send);
}
