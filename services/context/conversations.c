/* SPDX-License-Identifier: Apache-2.0 */
/* conversations.c - GetConversations, SetConversationState, MarkRead. */
#include "context.h"

#include <string.h>

#include "core/id.h"
#include "rows.h"
#include "statements.h"

enum { IDS_MAX = 100, ACTOR_MAX_BYTES = 128 };

/* ---- GetConversations ---- */

/* Threads of all conversations asked for, put where they belong. */
static void hand_out_threads(const struct rows *rows, Guichet__V1__Conversation **conversations, size_t count)
{
    size_t thread_count = db_rows(rows->result);

    for (size_t c = 0; c < count; c++)
        conversations[c]->threads =
            context_alloc(rows->arena, (thread_count + 1) * sizeof(*conversations[c]->threads));
    for (size_t row = 0; row < thread_count; row++) {
        Guichet__V1__Thread *thread = rows_thread(rows, row);

        for (size_t c = 0; c < count; c++)
            if (strcmp(conversations[c]->id, thread->conversation_id) == 0)
                conversations[c]->threads[conversations[c]->n_threads++] = thread;
    }
}

static void on_conversations(void *arg, struct db_work *work, const struct err *err)
{
    struct call *call = arg;
    const Guichet__V1__GetConversationsRequest *input = call->data;
    Guichet__V1__GetConversationsReply reply = GUICHET__V1__GET_CONVERSATIONS_REPLY__INIT;
    struct rows rows, threads;

    if (err->kind != ERR_NONE) {
        context_call_fail(call, err);
        return;
    }
    rows = rows_of(call, work, 0);
    reply.n_conversations = db_rows(rows.result);
    reply.conversations =
        context_alloc(call->arena, (reply.n_conversations + 1) * sizeof(*reply.conversations));
    for (size_t row = 0; row < reply.n_conversations; row++)
        reply.conversations[row] = rows_conversation(&rows, row);
    if (input->with_threads) {
        threads = rows_of(call, work, 1);
        hand_out_threads(&threads, reply.conversations, reply.n_conversations);
    }
    context_call_reply(call, &reply);
}

/* What is no id is an unknown one: left out. */
static size_t collect_ids(const Guichet__V1__GetConversationsRequest *input, struct str_view *ids)
{
    size_t count = 0;
    struct id parsed;

    for (size_t i = 0; i < input->n_ids; i++)
        if (id_parse(input->ids[i], &parsed))
            ids[count++] = str_view_of(input->ids[i]);
    return count;
}

void context_get_conversations(Guichet__V1__Context_Service *service,
                               const Guichet__V1__GetConversationsRequest *input,
                               Guichet__V1__GetConversationsReply_Closure closure, void *closure_data)
{
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    struct str_view ids[IDS_MAX];
    struct db_param params[3];
    struct err err = { 0 };
    struct db_work *work;

    if (call == NULL)
        return;
    if (input->n_ids > IDS_MAX) {
        (void)err_set(&err, ERR_INVALID, "ids: %zu, at most %d are allowed", input->n_ids, IDS_MAX);
        context_call_fail(call, &err);
        return;
    }
    call->data = (void *)input;
    params[0] = DB_PARAM_TEXT(input->tenant);
    params[1] = (struct db_param){ .type = DB_UUID_ARRAY, .items = ids, .count = collect_ids(input, ids) };
    params[2] = DB_PARAM_TEXT(input->agent_id);
    work = db_work_new(call->context->database.short_);
    db_work_add(work, &context_select_conversations, params, 3);
    if (input->with_threads)
        db_work_add(work, &context_select_threads, params, 2);
    db_work_run(work, on_conversations, call);
}

/* ---- SetConversationState ---- */

static void on_state_set(void *arg, struct db_work *work, const struct err *err)
{
    struct call *call = arg;
    Guichet__V1__SetConversationStateReply reply = GUICHET__V1__SET_CONVERSATION_STATE_REPLY__INIT;
    struct rows rows, threads;

    if (err->kind != ERR_NONE) {
        context_call_fail(call, err);
        return;
    }
    rows = rows_of(call, work, 1);
    threads = rows_of(call, work, 2);
    reply.is_changed = db_i64(db_work_result(work, 0), 0, 0) != 0;
    reply.change_sequence = (uint64_t)db_i64(db_work_result(work, 0), 0, 1);
    reply.conversation = rows_conversation(&rows, 0);
    hand_out_threads(&threads, &reply.conversation, 1);
    context_ring(call->context, call->tenant, reply.change_sequence);
    context_call_reply(call, &reply);
}

static bool check_state(const Guichet__V1__SetConversationStateRequest *input, struct err *err)
{
    if (input->state != GUICHET__V1__CONVERSATION_STATE__CONVERSATION_STATE_OPEN &&
        input->state != GUICHET__V1__CONVERSATION_STATE__CONVERSATION_STATE_CLOSED)
        return err_set(err, ERR_INVALID, "state: %d is neither open nor closed", input->state);
    return context_check_id("conversation_id", input->conversation_id, err) &&
           context_check_text("actor_id", input->actor_id, ACTOR_MAX_BYTES, err);
}

void context_set_conversation_state(Guichet__V1__Context_Service *service,
                                    const Guichet__V1__SetConversationStateRequest *input,
                                    Guichet__V1__SetConversationStateReply_Closure closure,
                                    void *closure_data)
{
    struct str_view id = str_view_of(input->conversation_id);
    const struct db_param tenant = DB_PARAM_TEXT(input->tenant);
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    const struct db_param ids = { .type = DB_UUID_ARRAY, .items = &id, .count = 1 };
    struct err err = { 0 };
    struct db_work *work;

    if (call == NULL)
        return;
    if (!check_state(input, &err)) {
        context_call_fail(call, &err);
        return;
    }
    work = db_work_new(call->context->database.ingest);
    db_work_add(work, &context_set_state,
                (struct db_param[]){ tenant, DB_PARAM_UUID(input->conversation_id),
                                     DB_PARAM_I32(input->state), DB_PARAM_TEXT(input->actor_id),
                                     DB_PARAM_I32(input->if_version) },
                5);
    db_work_add(work, &context_select_conversations, (struct db_param[]){ tenant, ids, DB_PARAM_TEXT("") },
                3);
    db_work_add(work, &context_select_threads, (struct db_param[]){ tenant, ids }, 2);
    db_work_run(work, on_state_set, call);
}

/* ---- MarkRead ---- */

static void on_marked(void *arg, struct db_work *work, const struct err *err)
{
    struct call *call = arg;
    Guichet__V1__MarkReadReply reply = GUICHET__V1__MARK_READ_REPLY__INIT;

    if (err->kind != ERR_NONE) {
        context_call_fail(call, err);
        return;
    }
    reply.unread_count = (uint32_t)db_i64(db_work_result(work, 0), 0, 0);
    context_call_reply(call, &reply);
}

static bool check_mark(const Guichet__V1__MarkReadRequest *input, struct err *err)
{
    if (input->agent_id[0] == '\0')
        return err_set(err, ERR_INVALID, "agent_id: is empty");
    return context_check_id("conversation_id", input->conversation_id, err) &&
           context_check_id("message_id", input->message_id, err) &&
           context_check_text("agent_id", input->agent_id, ACTOR_MAX_BYTES, err);
}

void context_mark_read(Guichet__V1__Context_Service *service, const Guichet__V1__MarkReadRequest *input,
                       Guichet__V1__MarkReadReply_Closure closure, void *closure_data)
{
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    struct err err = { 0 };
    struct db_work *work;

    if (call == NULL)
        return;
    if (!check_mark(input, &err)) {
        context_call_fail(call, &err);
        return;
    }
    work = db_work_new(call->context->database.short_);
    db_work_add(work, &context_set_read_mark,
                (struct db_param[]){ DB_PARAM_TEXT(input->tenant), DB_PARAM_UUID(input->conversation_id),
                                     DB_PARAM_TEXT(input->agent_id), DB_PARAM_UUID(input->message_id) },
                4);
    db_work_run(work, on_marked, call);
}
