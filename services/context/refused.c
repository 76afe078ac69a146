/* SPDX-License-Identifier: Apache-2.0 */
/* refused.c - events refused for good: shown whole, and recorded again as they came.
 *
 * A replay goes the way of Record, so the event key makes it happen once, however often it is asked for. What
 * it recorded is remembered: who asks again gets the same answer. The bytes of a dead event were written by a
 * connector and never read: whatever they say, they are for the account that was allowed to hand them over. */
#include "context.h"

#include <string.h>

#include "core/pbjson.h"
#include "ops/failpoint.h"
#include "record_batch.h"
#include "rows.h"
#include "statements.h"

enum { ACTOR_MAX_BYTES = 128, STATE_REPLAYED = 2 };

enum refused_column {
    REFUSED_AT,
    REFUSED_ACCOUNT_ID,
    REFUSED_CHANNEL,
    REFUSED_EVENT_KEY,
    REFUSED_REASON,
    REFUSED_ATTEMPTS,
    REFUSED_BOOT_ID,
    REFUSED_BOOT_LANE,
    REFUSED_BOOT_N,
    REFUSED_EVENT,
    REFUSED_STATE,
    REFUSED_RECORDED_RESULT,
    REFUSED_RECORDED_MESSAGE,
    REFUSED_RECORDED_CONVERSATION,
    REFUSED_RECORDED_THREAD,
    REFUSED_RECORDED_SEQUENCE,
};

/* ---- the row ---- */

static bool find_row(const struct call *call, const struct db_work *work, const char *id, struct rows *ret_rows,
                     struct err *err)
{
    *ret_rows = rows_of(call, work, 0);
    return db_rows(ret_rows->result) > 0 || err_set(err, ERR_NOT_FOUND, "refused event %s: there is none", id);
}

static bool unpack_event(const struct rows *rows, Guichet__V1__InboundEvent **ret_event, struct err *err)
{
    const struct pb_limits limits = { .string_max_bytes = 1 << 20, .unknown_fields_max = 64 };
    ProtobufCMessage *message = NULL;

    if (!pb_unpack(db_bytes(rows->result, 0, REFUSED_EVENT), &guichet__v1__inbound_event__descriptor, &limits,
                   rows->arena, &message, err))
        return false;
    *ret_event = (Guichet__V1__InboundEvent *)message;
    return true;
}

/* NULL: no replay has recorded it. */
static Guichet__V1__Recorded *read_recorded(const struct rows *rows)
{
    Guichet__V1__Recorded *recorded;

    if (db_i64(rows->result, 0, REFUSED_STATE) != STATE_REPLAYED)
        return NULL;
    recorded = context_alloc(rows->arena, sizeof(*recorded));
    guichet__v1__recorded__init(recorded);
    recorded->event_key = rows_text(rows, 0, REFUSED_EVENT_KEY);
    recorded->result =
        (Guichet__V1__RecordResult)db_i64(rows->result, 0, REFUSED_RECORDED_RESULT);
    recorded->message_id = rows_text(rows, 0, REFUSED_RECORDED_MESSAGE);
    recorded->conversation_id = rows_text(rows, 0, REFUSED_RECORDED_CONVERSATION);
    recorded->thread_id = rows_text(rows, 0, REFUSED_RECORDED_THREAD);
    recorded->sequence = (uint32_t)db_i64(rows->result, 0, REFUSED_RECORDED_SEQUENCE);
    return recorded;
}

/* ---- GetRefused ---- */

static Guichet__V1__DeadEvent *read_dead(const struct rows *rows)
{
    Guichet__V1__DeadEvent *dead = context_alloc(rows->arena, sizeof(*dead));

    guichet__v1__dead_event__init(dead);
    dead->account_id = rows_text(rows, 0, REFUSED_ACCOUNT_ID);
    dead->event_key = rows_text(rows, 0, REFUSED_EVENT_KEY);
    dead->event = rows_bytes(rows, 0, REFUSED_EVENT);
    dead->reason = rows_text(rows, 0, REFUSED_REASON);
    dead->attempt_count = (uint32_t)db_i64(rows->result, 0, REFUSED_ATTEMPTS);
    dead->boot_id = rows_text(rows, 0, REFUSED_BOOT_ID);
    dead->boot_lane = (uint32_t)db_i64(rows->result, 0, REFUSED_BOOT_LANE);
    dead->boot_n = (uint64_t)db_i64(rows->result, 0, REFUSED_BOOT_N);
    return dead;
}

static void on_refused(void *arg, struct db_work *work, const struct err *err)
{
    struct call *call = arg;
    const Guichet__V1__GetRefusedRequest *input = call->data;
    Guichet__V1__GetRefusedReply reply = GUICHET__V1__GET_REFUSED_REPLY__INIT;
    Guichet__V1__InboundEvent *event = NULL;
    struct err missing = { 0 }, unreadable = { 0 };
    struct rows rows;

    if (err->kind != ERR_NONE || !find_row(call, work, input->id, &rows, &missing)) {
        context_call_fail(call, err->kind != ERR_NONE ? err : &missing);
        return;
    }
    reply.event = read_dead(&rows);
    reply.at = rows_time(&rows, 0, REFUSED_AT);
    reply.recorded = read_recorded(&rows);
    if (unpack_event(&rows, &event, &unreadable)) {
        reply.raw = event->raw;
        reply.raw_type = event->raw_type;
    }
    context_call_reply(call, &reply);
}

static void select_refused(struct call *call, struct db_pool *pool, const char *id, db_done_fn *done, void *arg)
{
    struct db_work *work = db_work_new(pool);

    db_work_add(work, &context_select_refused,
                (struct db_param[]){ DB_PARAM_TEXT(call->tenant), DB_PARAM_UUID(id) }, 2);
    db_work_run(work, done, arg);
}

void context_get_refused(Guichet__V1__Context_Service *service, const Guichet__V1__GetRefusedRequest *input,
                         Guichet__V1__GetRefusedReply_Closure closure, void *closure_data)
{
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    struct err err = { 0 };

    if (call == NULL)
        return;
    call->data = (void *)input;
    if (context_check_id("id", input->id, &err))
        select_refused(call, call->context->database.short_, input->id, on_refused, call);
    else
        context_call_fail(call, &err);
}

/* ---- ReplayRefused ---- */

struct replay {
    struct record_batch batch;
    const Guichet__V1__ReplayRefusedRequest *input;
    Guichet__V1__InboundEvent *event;
    char *channel;
};

static void answer(struct replay *replay, Guichet__V1__Recorded *recorded)
{
    Guichet__V1__ReplayRefusedReply reply = GUICHET__V1__REPLAY_REFUSED_REPLY__INIT;

    reply.recorded = recorded;
    reply.change_sequence = replay->batch.change_sequence;
    context_call_reply(replay->batch.call, &reply);
}

/* Another replay may have been first: what the row says then is the answer. */
static void on_ended(void *arg, struct db_work *work, const struct err *err)
{
    struct replay *replay = arg;
    struct call *call = replay->batch.call;
    Guichet__V1__Recorded *recorded;
    struct err missing = { 0 };
    struct rows rows;

    if (err->kind != ERR_NONE) {
        context_call_fail(call, err);
        return;
    }
    rows = rows_of(call, work, 1);
    if (db_rows(rows.result) == 0) {
        (void)err_set(&missing, ERR_NOT_FOUND, "refused event %s: there is none", replay->input->id);
        context_call_fail(call, &missing);
        return;
    }
    recorded = read_recorded(&rows);
    answer(replay, recorded != NULL ? recorded : &replay->batch.results[0]);
}

static void end_replay(struct replay *replay)
{
    struct call *call = replay->batch.call;
    const Guichet__V1__Recorded *recorded = &replay->batch.results[0];
    struct db_work *work = db_work_new(call->context->database.ingest);

    db_work_add(work, &context_end_replay,
                (struct db_param[]){
                    DB_PARAM_TEXT(call->tenant), DB_PARAM_UUID(replay->input->id),
                    DB_PARAM_I32(recorded->result), DB_PARAM_TEXT(recorded->reason),
                    DB_PARAM_UUID(recorded->message_id), DB_PARAM_UUID(recorded->conversation_id),
                    DB_PARAM_UUID(recorded->thread_id), DB_PARAM_I32(recorded->sequence),
                    DB_PARAM_TEXT(replay->input->actor_id) },
                9);
    db_work_add(work, &context_select_refused,
                (struct db_param[]){ DB_PARAM_TEXT(call->tenant), DB_PARAM_UUID(replay->input->id) }, 2);
    db_work_run(work, on_ended, replay);
}

static void on_recorded(struct record_batch *batch, const struct err *err)
{
    struct err lost = { 0 };

    if (err->kind == ERR_NONE && FAILPOINT("context_after_replay_commit_before_mark")) {
        (void)err_set(&lost, ERR_UNAVAILABLE, "failpoint: recorded, not marked");
        err = &lost;
    }
    if (err->kind != ERR_NONE)
        context_call_fail(batch->call, err);
    else
        end_replay(batch->data);
}

/* Refused again before the way of Record: as if it had gone there. */
static void refuse(struct replay *replay, const struct rows *rows, const struct err *err)
{
    replay->batch.results = context_alloc(rows->arena, sizeof(*replay->batch.results));
    guichet__v1__recorded__init(&replay->batch.results[0]);
    replay->batch.results[0].event_key = arena_strdup(rows->arena, rows_text(rows, 0, REFUSED_EVENT_KEY));
    replay->batch.results[0].result = GUICHET__V1__RECORD_RESULT__RECORD_RESULT_REFUSED;
    replay->batch.results[0].reason = arena_strdup(rows->arena, err->text);
    end_replay(replay);
}

/* A dead event may name no tenant: connectors leave it to the request. */
static bool check_event(const struct call *call, Guichet__V1__InboundEvent *event, const char *account_id,
                        struct err *err)
{
    if (event->tenant[0] == '\0')
        event->tenant = (char *)call->tenant;
    return strcmp(event->account_id, account_id) == 0 ||
           err_set(err, ERR_INVALID, "account_id: is '%.60s' in an event of '%.60s'", event->account_id,
                   account_id);
}

static void on_found(void *arg, struct db_work *work, const struct err *err)
{
    struct replay *replay = arg;
    struct call *call = replay->batch.call;
    Guichet__V1__Recorded *recorded;
    struct err wrong = { 0 };
    struct rows rows;

    if (err->kind != ERR_NONE || !find_row(call, work, replay->input->id, &rows, &wrong)) {
        context_call_fail(call, err->kind != ERR_NONE ? err : &wrong);
        return;
    }
    recorded = read_recorded(&rows);
    if (recorded != NULL) {
        answer(replay, recorded);
        return;
    }
    if (!unpack_event(&rows, &replay->event, &wrong) ||
        !check_event(call, replay->event, rows_text(&rows, 0, REFUSED_ACCOUNT_ID), &wrong)) {
        refuse(replay, &rows, &wrong);
        return;
    }
    replay->channel = arena_strdup(call->arena, rows_text(&rows, 0, REFUSED_CHANNEL));
    replay->batch.events = &replay->event;
    replay->batch.count = 1;
    replay->batch.channels = &replay->channel;
    replay->batch.channel_count = 1;
    record_batch_run(&replay->batch);
}

void context_replay_refused(Guichet__V1__Context_Service *service,
                            const Guichet__V1__ReplayRefusedRequest *input,
                            Guichet__V1__ReplayRefusedReply_Closure closure, void *closure_data)
{
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    struct replay *replay;
    struct err err = { 0 };

    if (call == NULL)
        return;
    if (!context_check_id("id", input->id, &err) ||
        !context_check_text("actor_id", input->actor_id, ACTOR_MAX_BYTES, &err)) {
        context_call_fail(call, &err);
        return;
    }
    replay = context_alloc(call->arena, sizeof(*replay));
    replay->input = input;
    replay->batch.call = call;
    replay->batch.is_unnumbered = true;
    replay->batch.done = on_recorded;
    replay->batch.data = replay;
    select_refused(call, call->context->database.ingest, input->id, on_found, replay);
}
