/* SPDX-License-Identifier: Apache-2.0 */
/* dead_letters.c - what was refused for good or failed too often: listed, shown, replayed, dropped.
 *
 * A replay asks context first where context has to do its part (an event is recorded again, a media part is
 * pending again), and resolves the dead letter after that; both may be repeated, so a crash between the two leaves
 * it open and nothing done twice. Who asks is an agent of role admin, or, on guichetctl's listener, whoever
 * guichetctl says. */
#include <stdlib.h>
#include <string.h>

#include "core/id.h"
#include "core/pbjson.h"
#include "core/pbtime.h"
#include "jobs.h"
#include "ops/failpoint.h"
#include "ops/log.h"
#include "rows.h"
#include "rpc.h"
#include "statements.h"

enum { LETTERS_MAX = 100, ACTOR_MAX_BYTES = 200, SHOWN_MAX_BYTES = 512 * 1024 };
enum { PAYLOAD = ROUTING_DEAD_LETTER_COLUMNS, PAYLOAD_TYPE };

struct letter {
    char *tenant, *id;
    const char *actor, *by; /* the agent's id or "", and their name */
    Guichet__V1__DeadLetter *row;
    struct str_view payload;
    const char *payload_type;
};

/* What the packed ones are; NULL: none of ours. */
static const ProtobufCMessageDescriptor *descriptor_of(const char *type)
{
    static const ProtobufCMessageDescriptor *const known[] = {
        &guichet__v1__outbound__descriptor,       &guichet__v1__fetch_media__descriptor,
        &guichet__v1__typing_mark__descriptor,    &guichet__v1__sync_templates__descriptor,
        &guichet__v1__change__descriptor,
    };

    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (strcmp(known[i]->name, type) == 0)
            return known[i];
    return NULL;
}

static void read_row(struct routing_call *call, const struct db_work *work, const struct db_result *rows)
{
    struct letter *letter = call->state;
    struct str_view payload = db_bytes(rows, 0, PAYLOAD);

    letter->row = routing_row_dead_letter(work, rows, 0, call->arena);
    letter->payload = (struct str_view){ arena_dup(call->arena, payload), payload.len };
    letter->payload_type = arena_strdup(call->arena, db_text(work, rows, 0, PAYLOAD_TYPE));
    /* What a row gives lives as long as its work. */
    letter->row = (Guichet__V1__DeadLetter *)pb_dup(&letter->row->base, call->arena);
    if (letter->row == NULL)
        abort();
}

/* ---- how many are open ---- */

static void on_counted(void *arg, struct db_work *work, const struct err *err)
{
    struct routing *routing = arg;
    const struct db_result *rows = db_work_result(work, 0);

    for (size_t i = 0; err->kind == ERR_NONE && i < db_rows(rows); i++)
        stats_set_label(routing->stats, ROUTING_DEAD_LETTERS_OPEN, db_text(work, rows, i, 0),
                        (double)db_i64(rows, i, 1));
}

void routing_dead_letters_count(struct routing *routing)
{
    const struct routing_tenant_config *tenants = routing->config->tenants.items;
    size_t count = routing->config->tenants.count;
    struct db_work *work = db_work_new(routing->database.short_);
    struct str_view *names = arena_alloc(db_work_arena(work), count * sizeof(*names));

    for (size_t i = 0; i < count; i++)
        names[i] = str_view_of(tenants[i].name);
    const struct db_param params[] = { { .type = DB_TEXT_ARRAY, .items = names, .count = count } };
    db_work_add(work, &routing_sql_count_dead_letters, params, COUNT_OF(params));
    db_work_run(work, on_counted, routing);
}

/* ---- list ---- */

static void on_listed(struct routing_call *call, struct db_work *work)
{
    const Guichet__V1__ListDeadLettersRequest *input = call->input;
    const struct db_result *rows = db_work_result(work, 0);
    uint32_t limit = routing_page_limit(input->page, LETTERS_MAX);
    Guichet__V1__ListDeadLettersReply reply = GUICHET__V1__LIST_DEAD_LETTERS_REPLY__INIT;

    reply.has_more = db_rows(rows) > limit;
    reply.n_dead_letters = reply.has_more ? limit : db_rows(rows);
    reply.dead_letters = arena_alloc(call->arena, (reply.n_dead_letters + 1) * sizeof(*reply.dead_letters));
    for (size_t i = 0; i < reply.n_dead_letters; i++)
        reply.dead_letters[i] = routing_row_dead_letter(work, rows, i, call->arena);
    reply.open_count = (uint64_t)db_i64(db_work_result(work, 1), 0, 1);
    routing_call_answer(call, &reply.base);
}

ROUTING_RPC(list_dead_letters, ListDeadLetters, ListDeadLettersReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();
    const char *after = input->page != NULL ? input->page->after_id : "";
    const struct str_view tenant = str_view_of(input->tenant);
    bool is_open = input->state == GUICHET__V1__DEAD_LETTER_STATE__DEAD_LETTER_STATE_UNSPECIFIED;
    const struct db_param params[] = {
        DB_PARAM_TEXT(input->tenant),
        DB_PARAM_I32(is_open ? GUICHET__V1__DEAD_LETTER_STATE__DEAD_LETTER_STATE_OPEN : input->state),
        DB_PARAM_I32(input->kind),
        DB_PARAM_TEXT(input->account_id),
        DB_PARAM_UUID(after),
        DB_PARAM_I32(routing_page_limit(input->page, LETTERS_MAX) + 1),
    };
    const struct db_param count[] = { { .type = DB_TEXT_ARRAY, .items = &tenant, .count = 1 } };
    struct db_work *work;

    if (!routing_call_is_tenant(call, input->tenant) || !routing_call_is_id(call, "after_id", after, true))
        return;
    work = db_work_new(call->routing->database.short_);
    db_work_add(work, &routing_sql_list_dead_letters, params, COUNT_OF(params));
    db_work_add(work, &routing_sql_count_dead_letters, count, COUNT_OF(count));
    routing_call_run(call, work, on_listed);
}

/* ---- get ---- */

static void answer_payload(struct routing_call *call, struct str_view payload, const char *type)
{
    const struct letter *letter = call->state;
    Guichet__V1__GetDeadLetterReply reply = GUICHET__V1__GET_DEAD_LETTER_REPLY__INIT;

    reply.dead_letter = letter->row;
    reply.payload = (ProtobufCBinaryData){ payload.len, (uint8_t *)payload.data };
    reply.payload_type = (char *)type;
    routing_call_answer(call, &reply.base);
}

static void on_refused(const Guichet__V1__GetRefusedReply *reply, void *arg)
{
    struct routing_call *call = arg;
    struct letter *letter = call->state;
    struct str_view raw = { 0 };
    const char *type = "";

    if (reply == NULL && mesh_err()->kind != ERR_NOT_FOUND) {
        routing_call_fail(call, mesh_err());
        return;
    }
    if (reply != NULL && reply->event != NULL) {
        letter->row->subject = reply->event->event_key;
        raw = (struct str_view){ (const char *)reply->event->event.data, reply->event->event.len };
        type = "application/x-protobuf; messageType=guichet.v1.InboundEvent";
    }
    if (reply != NULL && reply->raw.len > 0) {
        raw = (struct str_view){ (const char *)reply->raw.data, reply->raw.len };
        type = reply->raw_type;
    }
    answer_payload(call, raw, type);
}

/* Addresses at providers often hold a token. It is a copy of ours that is shown. */
static void hide_address(Guichet__V1__Media *media)
{
    if (media != NULL)
        media->provider_url = (char *)protobuf_c_empty_string;
}

static void hide_addresses(ProtobufCMessage *message)
{
    if (message->descriptor == &guichet__v1__fetch_media__descriptor) {
        hide_address(((Guichet__V1__FetchMedia *)message)->media);
    } else if (message->descriptor == &guichet__v1__change__descriptor) {
        Guichet__V1__Change *change = (Guichet__V1__Change *)message;

        for (size_t i = 0; i < change->n_media; i++)
            hide_address(change->media[i]->media);
    }
}

/* What we were to send or to do, as JSON. */
static void answer_json(struct routing_call *call)
{
    const struct letter *letter = call->state;
    const ProtobufCMessageDescriptor *descriptor = descriptor_of(letter->payload_type);
    ProtobufCMessage *message = NULL;
    struct err err = { 0 };
    SCOPED_BUF json = { 0 };

    if (descriptor == NULL ||
        !pb_unpack(letter->payload, descriptor, &pb_limits_default, call->arena, &message, &err)) {
        answer_payload(call, letter->payload, "application/x-protobuf"); /* as it is: better than nothing */
        return;
    }
    hide_addresses(message);
    buf_init(&json, SHOWN_MAX_BYTES);
    pbjson_append(&json, message, PBJSON_PROTO3);
    answer_payload(call, buf_view(&json), "application/json");
}

static void on_got(struct routing_call *call, struct db_work *work)
{
    const struct letter *letter = call->state;
    const struct db_result *rows = db_work_result(work, 0);
    Guichet__V1__GetRefusedRequest request = GUICHET__V1__GET_REFUSED_REQUEST__INIT;
    struct mesh_call mesh = routing_call_mesh(call, letter->tenant);

    if (db_rows(rows) == 0) {
        routing_call_refuse(call, ERR_NOT_FOUND, "no dead letter %s", letter->id);
        return;
    }
    read_row(call, work, rows);
    if (letter->row->kind != GUICHET__V1__DEAD_LETTER_KIND__DEAD_LETTER_KIND_EVENT) {
        answer_json(call);
        return;
    }
    request.tenant = letter->tenant;
    request.id = letter->id;
    guichet__v1__context__get_refused(mesh_client_call(call->routing->context, &mesh), &request, on_refused,
                                      call);
}

/* false: answered. */
static bool take_request(struct routing_call *call, char *tenant, char *id)
{
    struct letter *letter = routing_call_state(call, sizeof(*letter));

    letter->tenant = tenant;
    letter->id = id;
    return routing_call_is_tenant(call, tenant) && routing_call_is_id(call, "id", id, false);
}

ROUTING_RPC(get_dead_letter, GetDeadLetter, GetDeadLetterReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();
    const struct db_param params[] = { DB_PARAM_TEXT(input->tenant), DB_PARAM_UUID(input->id) };

    if (take_request(call, input->tenant, input->id))
        routing_call_query(call, call->routing->database.short_, &routing_sql_get_dead_letter, params,
                           COUNT_OF(params), on_got);
}

/* ---- who replays and drops ---- */

/* false: answered. */
static bool take_actor(struct routing_call *call, bool is_ctl, char *actor_id)
{
    struct letter *letter = call->state;

    letter->actor = is_ctl ? "" : actor_id;
    letter->by = actor_id[0] != '\0' ? actor_id : "guichetctl";
    if (!is_ctl)
        return routing_call_is_id(call, "actor_id", actor_id, false);
    if (strlen(actor_id) <= ACTOR_MAX_BYTES)
        return true;
    routing_call_refuse(call, ERR_INVALID, "actor_id has %zu bytes, at most %d", strlen(actor_id),
                        ACTOR_MAX_BYTES);
    return false;
}

static void answer_letter(struct routing_call *call, bool is_changed)
{
    const struct letter *letter = call->state;
    Guichet__V1__DeadLetterReply reply = GUICHET__V1__DEAD_LETTER_REPLY__INIT;

    reply.dead_letter = letter->row;
    reply.is_changed = is_changed;
    routing_call_answer(call, &reply.base);
}

/* The function's sequence and whether it changed something, then the row as it is now. */
static void on_written(struct routing_call *call, struct db_work *work)
{
    struct letter *letter = call->state;
    struct routing *routing = call->routing;
    const struct db_result *written = db_work_result(work, 0), *rows = db_work_result(work, 1);
    bool is_changed = db_i64(written, 0, 1) != 0;

    if (is_changed) {
        routing_committed(routing, letter->tenant, (uint64_t)db_i64(written, 0, 0));
        routing_wake(routing, letter->tenant);
        routing_dead_letters_count(routing);
    }
    if (db_rows(rows) > 0)
        read_row(call, work, rows);
    if (letter->row->state != GUICHET__V1__DEAD_LETTER_STATE__DEAD_LETTER_STATE_OPEN && is_changed)
        log_event(LOG_INFO, "dead_letter_resolved", LOG_TEXT("tenant", letter->tenant),
                  LOG_TEXT("dead_letter", letter->id), LOG_TEXT("by", letter->by));
    answer_letter(call, is_changed);
}

static void add_get(struct db_work *work, const struct letter *letter)
{
    const struct db_param params[] = { DB_PARAM_TEXT(letter->tenant), DB_PARAM_UUID(letter->id) };

    db_work_add(work, &routing_sql_get_dead_letter, params, COUNT_OF(params));
}

static void write_letter(struct routing_call *call, const struct db_statement *statement,
                         const struct db_param *params, size_t count)
{
    struct db_work *work;

    if (call->routing->database.short_ == NULL) {
        routing_call_refuse(call, ERR_UNAVAILABLE, "routing goes down");
        return;
    }
    work = db_work_new(call->routing->database.short_);
    db_work_add(work, statement, params, count);
    add_get(work, call->state);
    routing_call_run(call, work, on_written);
}

ROUTING_RPC(drop_dead_letter, DropDeadLetter, DeadLetterReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();
    const struct letter *letter;

    if (!take_request(call, input->tenant, input->id) ||
        !take_actor(call, ((struct routing_rpc *)service)->is_ctl, input->actor_id))
        return;
    letter = call->state;
    const struct db_param params[] = {
        DB_PARAM_TEXT(letter->tenant),
        DB_PARAM_UUID(letter->id),
        DB_PARAM_UUID(letter->actor),
        DB_PARAM_TEXT(letter->by),
    };
    write_letter(call, &routing_sql_drop_dead_letter, params, COUNT_OF(params));
}

/* ---- replay ---- */

static void resolve(struct routing_call *call, bool is_requeued)
{
    const struct letter *letter = call->state;
    const struct db_param params[] = {
        DB_PARAM_TEXT(letter->tenant),  DB_PARAM_UUID(letter->id),   DB_PARAM_UUID(letter->actor),
        DB_PARAM_TEXT(letter->by),      DB_PARAM_BOOL(is_requeued),  DB_PARAM_TIME(pbtime_us(letter->row->at)),
    };

    if (FAILPOINT("routing_after_replay_before_resolve"))
        routing_call_refuse(call, ERR_UNAVAILABLE, "failpoint");
    else
        write_letter(call, &routing_sql_replay_dead_letter, params, COUNT_OF(params));
}

/* It stays open, and says why. */
static void fail_replay(struct routing_call *call, const char *text)
{
    const struct letter *letter = call->state;
    const struct db_param params[] = {
        DB_PARAM_TEXT(letter->tenant),
        DB_PARAM_UUID(letter->id),
        DB_PARAM_UUID(letter->actor),
        DB_PARAM_TEXT(text),
    };

    write_letter(call, &routing_sql_fail_replay, params, COUNT_OF(params));
}

/* An error of context, or of a change that still cannot be applied: passing, or its last word. */
static void take_error(struct routing_call *call, const struct err *err)
{
    if (err_is_retryable(err->kind) || err->kind == ERR_INTERNAL || err->kind == ERR_CANCELED)
        routing_call_fail(call, err);
    else
        fail_replay(call, err->text);
}

static void on_recorded(const Guichet__V1__ReplayRefusedReply *reply, void *arg)
{
    struct routing_call *call = arg;
    const struct letter *letter = call->state;

    if (reply == NULL) {
        take_error(call, mesh_err());
    } else if (reply->recorded == NULL ||
               reply->recorded->result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_REFUSED) {
        fail_replay(call, reply->recorded != NULL ? reply->recorded->reason : "context says nothing");
    } else {
        if (reply->change_sequence > 0)
            routing_applier_kick(call->routing->applier, letter->tenant, true);
        resolve(call, false);
    }
}

static void replay_event(struct routing_call *call)
{
    const struct letter *letter = call->state;
    Guichet__V1__ReplayRefusedRequest request = GUICHET__V1__REPLAY_REFUSED_REQUEST__INIT;
    struct mesh_call mesh = routing_call_mesh(call, letter->tenant);

    request.tenant = letter->tenant;
    request.id = letter->id;
    request.actor_id = (char *)letter->by;
    guichet__v1__context__replay_refused(mesh_client_call(call->routing->context, &mesh), &request,
                                         on_recorded, call);
}

/* Where the part is pending again by this, the feed brings the job back. */
static void on_pending(const Guichet__V1__SetMediaReply *reply, void *arg)
{
    struct routing_call *call = arg;
    const struct letter *letter = call->state;

    if (reply == NULL) {
        take_error(call, mesh_err());
        return;
    }
    if (reply->change_sequence > 0)
        routing_applier_kick(call->routing->applier, letter->tenant, true);
    resolve(call, reply->is_changed ||
                      (reply->media != NULL &&
                       reply->media->state == GUICHET__V1__MEDIA_STATE__MEDIA_STATE_STORED));
}

static void replay_job(struct routing_call *call)
{
    const struct letter *letter = call->state;
    Guichet__V1__SetMediaRequest request = GUICHET__V1__SET_MEDIA_REQUEST__INIT;
    Guichet__V1__Media media = GUICHET__V1__MEDIA__INIT;
    struct mesh_call mesh = routing_call_mesh(call, letter->tenant);
    const Guichet__V1__FetchMedia *fetch;

    if (strcmp(letter->payload_type, guichet__v1__fetch_media__descriptor.name) != 0) {
        resolve(call, false);
        return;
    }
    fetch = routing_job_fetch(letter->payload, call->arena);
    if (fetch == NULL) {
        fail_replay(call, "the job cannot be read");
        return;
    }
    if (fetch->media != NULL)
        media = *fetch->media;
    media.state = GUICHET__V1__MEDIA_STATE__MEDIA_STATE_PENDING;
    media.error = (char *)"";
    request.tenant = letter->tenant;
    request.message_id = fetch->message_id;
    request.part_index = fetch->part_index;
    request.media = &media;
    request.actor_id = (char *)letter->by;
    guichet__v1__context__set_media(mesh_client_call(call->routing->context, &mesh), &request, on_pending,
                                    call);
}

static void on_change_applied(void *arg, struct db_work *work, const struct err *err)
{
    struct routing_call *call = arg;
    const struct letter *letter = call->state;
    const struct db_result *applied = db_work_result(work, 0);

    if (err->kind != ERR_NONE) {
        take_error(call, err);
        return;
    }
    read_row(call, work, db_work_result(work, 1));
    if (!db_is_null(applied, 0, 0)) {
        routing_committed(call->routing, letter->tenant, (uint64_t)db_i64(applied, 0, 0));
        routing_wake(call->routing, letter->tenant);
        routing_dead_letters_count(call->routing);
    }
    answer_letter(call, !db_is_null(applied, 0, 0));
}

static void replay_change(struct routing_call *call)
{
    const struct letter *letter = call->state;
    const struct routing_feed_lease lease = { .tenant = letter->tenant, .holder = "", .epoch = "" };
    const struct routing_replay replay = { letter->id, letter->actor, letter->by };
    ProtobufCMessage *message = NULL;
    Guichet__V1__Change *change;
    struct err err = { 0 };
    struct db_work *work;

    if (!pb_unpack(letter->payload, &guichet__v1__change__descriptor, &pb_limits_default, call->arena,
                   &message, &err)) {
        fail_replay(call, err.text);
        return;
    }
    change = (Guichet__V1__Change *)message;
    work = db_work_new(call->routing->database.ingest);
    routing_apply_add(work, &lease, &replay, &change, 1);
    add_get(work, letter);
    db_work_run(work, on_change_applied, call);
}

static void on_taken(struct routing_call *call, struct db_work *work)
{
    const struct letter *letter = call->state;

    read_row(call, work, db_work_result(work, 0));
    if (letter->row->state != GUICHET__V1__DEAD_LETTER_STATE__DEAD_LETTER_STATE_OPEN) {
        answer_letter(call, false);
        return;
    }
    switch (letter->row->kind) {
    case GUICHET__V1__DEAD_LETTER_KIND__DEAD_LETTER_KIND_EVENT:
        replay_event(call);
        break;
    case GUICHET__V1__DEAD_LETTER_KIND__DEAD_LETTER_KIND_JOB:
        replay_job(call);
        break;
    case GUICHET__V1__DEAD_LETTER_KIND__DEAD_LETTER_KIND_CHANGE:
        replay_change(call);
        break;
    default:
        resolve(call, false);
        break;
    }
}

ROUTING_RPC(replay_dead_letter, ReplayDeadLetter, DeadLetterReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();
    const struct letter *letter;

    if (!take_request(call, input->tenant, input->id) ||
        !take_actor(call, ((struct routing_rpc *)service)->is_ctl, input->actor_id))
        return;
    letter = call->state;
    const struct db_param params[] = {
        DB_PARAM_TEXT(letter->tenant),
        DB_PARAM_UUID(letter->id),
        DB_PARAM_UUID(letter->actor),
    };
    routing_call_query(call, call->routing->database.short_, &routing_sql_take_dead_letter, params,
                       COUNT_OF(params), on_taken);
}
