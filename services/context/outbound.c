/* SPDX-License-Identifier: Apache-2.0 */
/* outbound.c - StoreOutbound and OpenThread: what the house writes, and writing first.
 *
 * The stored message is read back by its idempotency key in the same transaction, so that a repeat
 * is answered with what was stored the first time. */
#include "context.h"

#include <string.h>

#include <openssl/sha.h>

#include "core/id.h"
#include "outbound_media.h"
#include "preview.h"
#include "record_row.h"
#include "rows.h"
#include "statements.h"

enum { ACTOR_MAX_BYTES = 128, KEY_MAX_BYTES = 255, SUBJECT_MAX_BYTES = 1024, ACCOUNT_MAX_BYTES = 128 };

static bool is_note(const Guichet__V1__StoreOutboundRequest *input)
{
    return input->direction == GUICHET__V1__MESSAGE_DIRECTION__MESSAGE_DIRECTION_NOTE;
}

static bool check_store(const struct call *call, const Guichet__V1__StoreOutboundRequest *input,
                        struct err *err)
{
    if (!is_note(input) && input->direction != GUICHET__V1__MESSAGE_DIRECTION__MESSAGE_DIRECTION_OUTBOUND)
        return err_set(err, ERR_INVALID, "direction: %d is neither outbound nor note", input->direction);
    if (call->role->is_gateway && !is_note(input))
        return err_set(err, ERR_FORBIDDEN, "direction: gateways store notes only");
    if (input->content == NULL || input->content->n_parts == 0)
        return err_set(err, ERR_INVALID, "content: has no part");
    if (input->idempotency_key[0] == '\0')
        return err_set(err, ERR_INVALID, "idempotency_key: is empty");
    if (is_note(input) && input->thread_id[0] != '\0')
        return err_set(err, ERR_INVALID, "thread_id: a note has none");
    if (protobuf_c_message_get_packed_size(&input->content->base) > call->context->config->content_max_bytes)
        return err_set(err, ERR_INVALID, "content: has %zu bytes, at most %u are allowed",
                       protobuf_c_message_get_packed_size(&input->content->base),
                       call->context->config->content_max_bytes);
    return context_check_id("conversation_id", input->conversation_id, err) &&
           context_check_optional_id("thread_id", input->thread_id, err) &&
           context_check_text("actor_id", input->actor_id, ACTOR_MAX_BYTES, err) &&
           context_check_text("idempotency_key", input->idempotency_key, KEY_MAX_BYTES, err);
}

/* Same key, same question: what was asked for, and where. The thread is left out: who names none gets the one the
 * customer wrote on last, and that may be another when the same question comes again. */
static struct str_view hash_request(const Guichet__V1__StoreOutboundRequest *input, struct str_view content,
                                    struct arena *arena)
{
    uint8_t *hash = context_alloc(arena, SHA256_DIGEST_LENGTH);
    struct str_view head =
        str_view_of(arena_printf(arena, "%s\n%d\n", input->conversation_id, input->direction));
    uint8_t *bytes = context_alloc(arena, head.len + content.len + 1);

    memcpy(bytes, head.data, head.len);
    memcpy(bytes + head.len, content.data, content.len);
    SHA256(bytes, head.len + content.len, hash);
    return (struct str_view){ (const char *)hash, SHA256_DIGEST_LENGTH };
}

static void on_stored(void *arg, struct db_work *work, const struct err *err)
{
    struct call *call = arg;
    const Guichet__V1__StoreOutboundRequest *input = call->data;
    Guichet__V1__StoreOutboundReply reply = GUICHET__V1__STORE_OUTBOUND_REPLY__INIT;
    const struct db_result *stored;
    struct rows messages, threads;

    if (err->kind != ERR_NONE) {
        context_call_fail(call, err);
        return;
    }
    stored = db_work_result(work, 0);
    messages = rows_of(call, work, 1);
    threads = rows_of(call, work, 2);
    reply.is_duplicate = db_i64(stored, 0, 0) != 0;
    reply.change_sequence = (uint64_t)db_i64(stored, 0, 1);
    if (db_rows(messages.result) > 0)
        reply.message = rows_message(&messages, 0);
    if (db_rows(threads.result) > 0)
        reply.thread = rows_thread(&threads, 0);
    context_ring(call->context, call->tenant, reply.change_sequence);
    stats_add_label(call->context->stats, CONTEXT_OUTBOUND,
                    reply.is_duplicate ? "duplicate"
                    : is_note(input)   ? "note"
                                       : "outbound",
                    1);
    context_call_reply(call, &reply);
}

/* With its media as they stand here. */
static void start_store(struct call *call, const struct outbound_media *media, const struct err *err)
{
    const Guichet__V1__StoreOutboundRequest *input = call->data;
    struct str_view asked = record_pack(&input->content->base, call->arena);
    const struct db_param by_key[] = { DB_PARAM_TEXT(input->tenant), DB_PARAM_TEXT(input->actor_id),
                                       DB_PARAM_TEXT(input->idempotency_key) };
    char id[ID_TEXT_BYTES];
    struct db_work *work;

    if (err->kind != ERR_NONE) {
        context_call_fail(call, err);
        return;
    }
    id_new_text(id);
    work = db_work_new(call->context->database.ingest);
    db_work_add(
        work, &context_store_message,
        (struct db_param[]){
            DB_PARAM_TEXT(input->tenant),
            DB_PARAM_UUID(id),
            DB_PARAM_UUID(input->conversation_id),
            DB_PARAM_UUID(input->thread_id),
            DB_PARAM_I32(input->direction),
            DB_PARAM_BYTES(record_pack(&media->content->base, call->arena)),
            { .type = DB_TEXT,
              .text = preview_content(media->content, call->context->config->preview_max_bytes) },
            DB_PARAM_TEXT(input->actor_id),
            DB_PARAM_TEXT(input->idempotency_key),
            DB_PARAM_BYTES(hash_request(input, asked, call->arena)),
            { .type = DB_I32_ARRAY, .items = media->parts, .count = media->count },
            { .type = DB_BYTES_ARRAY, .items = media->hashes, .count = media->count } },
        12);
    db_work_add(work, &context_select_stored_message, by_key, COUNT_OF(by_key));
    db_work_add(work, &context_select_stored_thread, by_key, COUNT_OF(by_key));
    db_work_run(work, on_stored, call);
}

void context_store_outbound(Guichet__V1__Context_Service *service,
                            const Guichet__V1__StoreOutboundRequest *input,
                            Guichet__V1__StoreOutboundReply_Closure closure, void *closure_data)
{
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    struct err err = { 0 };

    if (call == NULL)
        return;
    call->data = (void *)input;
    if (check_store(call, input, &err))
        outbound_media_find(call, input->content, start_store);
    else
        context_call_fail(call, &err);
}

static void on_opened(void *arg, struct db_work *work, const struct err *err)
{
    struct call *call = arg;
    Guichet__V1__OpenThreadReply reply = GUICHET__V1__OPEN_THREAD_REPLY__INIT;
    struct rows conversations, threads;

    if (err->kind != ERR_NONE) {
        context_call_fail(call, err);
        return;
    }
    conversations = rows_of(call, work, 1);
    threads = rows_of(call, work, 2);
    reply.is_new = db_i64(db_work_result(work, 0), 0, 0) != 0;
    reply.change_sequence = (uint64_t)db_i64(db_work_result(work, 0), 0, 1);
    reply.is_repeat = db_i64(db_work_result(work, 0), 0, 2) != 0;
    reply.conversation = rows_conversation(&conversations, 0);
    reply.thread = rows_thread(&threads, 0);
    context_ring(call->context, call->tenant, reply.change_sequence);
    context_call_reply(call, &reply);
}

static bool check_open(const Guichet__V1__OpenThreadRequest *input, struct err *err)
{
    const Guichet__V1__Address *to = input->recipient;

    if (input->account_id[0] == '\0' || input->channel[0] == '\0')
        return err_set(err, ERR_INVALID, "account_id, channel: must be set");
    if (to == NULL || to->value[0] == '\0' ||
        to->kind == GUICHET__V1__IDENTITY_KIND__IDENTITY_KIND_UNSPECIFIED)
        return err_set(err, ERR_INVALID, "recipient: says nobody");
    return context_check_text("account_id", input->account_id, ACCOUNT_MAX_BYTES, err) &&
           context_check_text("channel", input->channel, ACCOUNT_MAX_BYTES, err) &&
           context_check_text("recipient.value", to->value, RECORD_KEY_MAX_BYTES, err) &&
           context_check_text("recipient.scope", to->scope, RECORD_KEY_MAX_BYTES, err) &&
           context_check_text("recipient.display_name", to->display_name, ACTOR_MAX_BYTES, err) &&
           context_check_text("actor_id", input->actor_id, ACTOR_MAX_BYTES, err) &&
           context_check_text("idempotency_key", input->idempotency_key, KEY_MAX_BYTES, err) &&
           context_check_text("subject", input->subject, SUBJECT_MAX_BYTES, err);
}

void context_open_thread(Guichet__V1__Context_Service *service, const Guichet__V1__OpenThreadRequest *input,
                         Guichet__V1__OpenThreadReply_Closure closure, void *closure_data)
{
    const Guichet__V1__Address *to = input->recipient;
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    struct err err = { 0 };
    struct db_work *work;

    if (call == NULL)
        return;
    if (!check_open(input, &err)) {
        context_call_fail(call, &err);
        return;
    }
    const struct db_param names[] = { DB_PARAM_TEXT(input->tenant),
                                      DB_PARAM_TEXT(input->account_id),
                                      DB_PARAM_I32(to->kind),
                                      DB_PARAM_TEXT(to->scope),
                                      DB_PARAM_TEXT(to->value),
                                      DB_PARAM_TEXT(input->actor_id),
                                      DB_PARAM_TEXT(input->idempotency_key) };

    work = db_work_new(call->context->database.ingest);
    db_work_add(work, &context_open_thread_for,
                (struct db_param[]){
                    DB_PARAM_TEXT(input->tenant), DB_PARAM_I64(call->context->config->reopen_window_ms),
                    DB_PARAM_TEXT(input->account_id), DB_PARAM_TEXT(input->channel), DB_PARAM_I32(to->kind),
                    DB_PARAM_TEXT(to->scope), DB_PARAM_TEXT(to->value), DB_PARAM_TEXT(to->display_name),
                    DB_PARAM_TEXT(input->actor_id), DB_PARAM_TEXT(input->subject),
                    DB_PARAM_TEXT(input->idempotency_key) },
                11);
    db_work_add(work, &context_select_opened_conversation, names, COUNT_OF(names));
    db_work_add(work, &context_select_opened_thread, names, COUNT_OF(names));
    db_work_run(work, on_opened, call);
}
