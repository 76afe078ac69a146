/* SPDX-License-Identifier: Apache-2.0 */
/* jobs.c - how a media job ends: Context.SetMedia, and only after its commit the job's own end.
 *
 * A crash between the two repeats the first, which is idempotent: by the connector, which reports until it is
 * answered, or by the clock, which finds the job failing still. */
#include "jobs.h"

#include <stdlib.h>
#include <string.h>

#include "core/pbjson.h"
#include "ops/failpoint.h"
#include "ops/log.h"
#include "statements.h"

/* Of a report; what has expired has its `what` and its id in the places of state and ask. */
enum column { STATE, SEQUENCE, IS_DEAD, ASK, MESSAGE, PART, PAYLOAD, TEXT, WHAT = STATE, JOB = ASK };
enum { JOB_DONE = 3, JOB_FAILED = 4 };

/* One job on its way to its end; in the request's arena, or in its own when the clock asks. */
struct job_end {
    struct routing *routing;
    struct routing_call *call; /* NULL: the clock asks */
    routing_job_again_fn *again;
    struct arena *arena;
    char *tenant, *job_id;
    enum routing_ask ask;
    int state; /* how it ends */
};

static void on_media_set(const Guichet__V1__SetMediaReply *reply, void *arg);
static void on_ended(void *arg, struct db_work *work, const struct err *err);

Guichet__V1__FetchMedia *routing_job_fetch(struct str_view payload, struct arena *arena)
{
    ProtobufCMessage *fetch = NULL;
    struct err err = { 0 };

    if (!pb_unpack(payload, &guichet__v1__fetch_media__descriptor, &pb_limits_default, arena, &fetch, &err))
        return NULL;
    return (Guichet__V1__FetchMedia *)fetch;
}

/* ---- telling context ---- */

/* The part as it was to be fetched, with what has become of it. */
static void fill_media(Guichet__V1__Media *media, const struct job_end *end,
                       const Guichet__V1__FetchMedia *fetch, const char *text)
{
    const Guichet__V1__ReportRequest *report = end->call != NULL ? end->call->input : NULL;
    const Guichet__V1__Media *stored;

    guichet__v1__media__init(media);
    if (fetch != NULL && fetch->media != NULL)
        *media = *fetch->media;
    media->link_url = (char *)"";
    media->error = (char *)"";
    if (end->ask == ROUTING_ASK_FAILED) {
        media->state = GUICHET__V1__MEDIA_STATE__MEDIA_STATE_FAILED;
        media->error = (char *)(text[0] != '\0' ? text : "it could not be fetched");
        return;
    }
    stored = report->outcome->media;
    media->state = GUICHET__V1__MEDIA_STATE__MEDIA_STATE_STORED;
    media->sha256 = stored->sha256;
    media->size_bytes = stored->size_bytes;
    if (stored->content_type[0] != '\0')
        media->content_type = stored->content_type;
    if (stored->file_name[0] != '\0')
        media->file_name = stored->file_name;
}

static void tell_context(struct job_end *end, const struct db_work *work, const struct db_result *rows,
                         size_t row)
{
    struct routing *routing = end->routing;
    const Guichet__V1__FetchMedia *fetch = routing_job_fetch(db_bytes(rows, row, PAYLOAD), end->arena);
    Guichet__V1__SetMediaRequest request = GUICHET__V1__SET_MEDIA_REQUEST__INIT;
    Guichet__V1__Media media;
    struct mesh_call mesh = {
        .tenant = end->tenant,
        .timeout_ms = 2 * routing->config->context_timeout_ms,
        .attempt_timeout_ms = routing->config->context_timeout_ms,
    };

    if (end->call != NULL)
        mesh = routing_call_mesh(end->call, end->tenant);
    else if (mesh.timeout_ms > routing->config->job_tell_ms)
        mesh.timeout_ms = routing->config->job_tell_ms; /* over before the next: no old word after a replay */
    fill_media(&media, end, fetch, db_text(work, rows, row, TEXT));
    request.tenant = end->tenant;
    request.message_id = db_text(work, rows, row, MESSAGE);
    request.part_index = (uint32_t)db_i64(rows, row, PART);
    request.media = &media;
    guichet__v1__context__set_media(mesh_client_call(routing->context, &mesh), &request, on_media_set, end);
}

/* ---- the one way out ---- */

static void job_end_stop(struct job_end *end, const struct err *err)
{
    struct arena *arena = end->arena;

    if (end->call != NULL) {
        routing_call_fail(end->call, err);
        return;
    }
    if (err->kind != ERR_NONE && err->kind != ERR_CANCELED)
        log_event(LOG_WARN, "job_not_ended", LOG_TEXT("tenant", end->tenant), LOG_TEXT("job", end->job_id),
                  LOG_ERR(err)); /* the clock asks again */
    arena_free(&arena);
}

/* Later may be better: context is away, or has a bug. All else is its last word. */
static bool is_passing(enum err_kind kind)
{
    return err_is_retryable(kind) || kind == ERR_INTERNAL || kind == ERR_CANCELED;
}

static void on_media_set(const Guichet__V1__SetMediaReply *reply, void *arg)
{
    struct job_end *end = arg;
    struct routing *routing = end->routing;
    struct err err = { 0 };
    struct db_work *work;

    if (reply == NULL) {
        err = *mesh_err();
        if (is_passing(err.kind) || routing->database.short_ == NULL) {
            job_end_stop(end, &err);
            return;
        }
        log_event(LOG_WARN, "media_refused", LOG_TEXT("tenant", end->tenant), LOG_TEXT("job", end->job_id),
                  LOG_ERR(&err));
        if (end->ask == ROUTING_ASK_STORED) {
            end->again(end->call, err.text);
            return;
        }
    }
    if (FAILPOINT("routing_after_set_media_before_end")) {
        err_set(&err, ERR_UNAVAILABLE, "failpoint");
        job_end_stop(end, &err);
        return;
    }
    /* Another attempt may have stored it meanwhile: a stored part does not fail. */
    end->state = end->ask == ROUTING_ASK_STORED ||
                         (reply != NULL && reply->media != NULL &&
                          reply->media->state == GUICHET__V1__MEDIA_STATE__MEDIA_STATE_STORED)
                     ? JOB_DONE
                     : JOB_FAILED;
    work = db_work_new(routing->database.short_);
    const struct db_param params[] = {
        DB_PARAM_TEXT(end->tenant),
        DB_PARAM_UUID(end->job_id),
        DB_PARAM_I32(end->state),
    };
    db_work_add(work, &routing_sql_end_job, params, COUNT_OF(params));
    db_work_run(work, on_ended, end);
}

static void on_ended(void *arg, struct db_work *work, const struct err *err)
{
    struct job_end *end = arg;
    struct routing *routing = end->routing;
    const struct db_result *rows = db_work_result(work, 0);
    Guichet__V1__ReportReply reply = GUICHET__V1__REPORT_REPLY__INIT;

    if (err->kind != ERR_NONE) {
        job_end_stop(end, err);
        return;
    }
    if (db_i64(rows, 0, IS_DEAD) != 0)
        stats_add_label(routing->stats, ROUTING_DEAD_LETTERS, "job", 1);
    routing_committed(routing, end->tenant, (uint64_t)db_i64(rows, 0, SEQUENCE));
    routing_wake(routing, end->tenant);
    if (end->call == NULL) {
        job_end_stop(end, err);
        return;
    }
    reply.state = (Guichet__V1__DeliveryState)db_i64(rows, 0, STATE);
    routing_call_answer(end->call, &reply.base);
}

/* ---- a connector reports ---- */

void routing_job_report(struct routing_call *call, struct db_work *work, routing_job_again_fn *again)
{
    const Guichet__V1__ReportRequest *input = call->input;
    const struct db_result *rows = db_work_result(work, 0);
    struct job_end *end = routing_call_state(call, sizeof(*end));
    const Guichet__V1__Media *media = input->outcome->media;

    *end = (struct job_end){
        .routing = call->routing,
        .call = call,
        .again = again,
        .arena = call->arena,
        .tenant = input->tenant,
        .job_id = input->job_id,
        .ask = (enum routing_ask)db_i64(rows, 0, ASK),
    };
    if (end->ask == ROUTING_ASK_STORED && (media == NULL || media->sha256.len != 32)) {
        routing_call_refuse(call, ERR_INVALID, "the outcome says accepted, and not what was stored");
        return;
    }
    tell_context(end, work, rows, 0);
}

/* ---- by the clock ---- */

static void tell_failed(struct routing *routing, const char *tenant, const struct db_work *work,
                        const struct db_result *rows, size_t row)
{
    struct arena *arena = arena_new(1 << 20);
    struct job_end *end = arena_alloc(arena, sizeof(*end));

    *end = (struct job_end){
        .routing = routing,
        .arena = arena,
        .tenant = arena_strdup(arena, tenant),
        .job_id = arena_strdup(arena, db_text(work, rows, row, JOB)),
        .ask = ROUTING_ASK_FAILED,
    };
    tell_context(end, work, rows, row);
}

uint64_t routing_jobs_expired(struct routing *routing, const char *tenant, const struct db_work *work,
                              const struct db_result *rows)
{
    static const char *const names[] = { "none", "job", "given_up", "typing", "telling" };
    enum { TELL = 4 };
    uint64_t sequence = 0;

    for (size_t i = 0; i < db_rows(rows); i++) {
        size_t what = (size_t)db_i64(rows, i, WHAT);

        sequence = (uint64_t)db_i64(rows, i, SEQUENCE);
        stats_add_label(routing->stats, ROUTING_EXPIRED, names[what <= TELL ? what : 0], 1);
        if (db_i64(rows, i, IS_DEAD) != 0)
            stats_add_label(routing->stats, ROUTING_DEAD_LETTERS, "job", 1);
        if (what == TELL)
            tell_failed(routing, tenant, work, rows, i);
    }
    return sequence;
}
