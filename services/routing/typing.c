/* SPDX-License-Identifier: Apache-2.0 */
/* typing.c - the agent writes: a mark for the customer, where the channel can show it.
 *
 * Who asks and whose the conversation is (ours) -> its threads (context) -> what the account can (ours) -> the
 * customer's last message, which some providers want with the mark (context) -> a job, at most one for a thread
 * (ours). Nobody waits for what becomes of it. */
#include <stdlib.h>
#include <string.h>

#include "core/id.h"
#include "core/pbjson.h"
#include "rows.h"
#include "rpc.h"
#include "statements.h"

enum { MESSAGES_LOOKED_AT = 20 };

struct typing {
    const Guichet__V1__SetTypingRequest *input;
    Guichet__V1__Thread *thread;
};

static void on_actor(struct routing_call *call, struct db_work *work);
static void on_conversation(const Guichet__V1__GetConversationsReply *found, void *arg);
static void on_account(struct routing_call *call, struct db_work *work);
static void on_messages(const Guichet__V1__ListMessagesReply *found, void *arg);
static void on_made(struct routing_call *call, struct db_work *work);

ROUTING_RPC(set_typing, SetTyping, SetTypingReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();
    struct typing *typing = routing_call_state(call, sizeof(*typing));

    typing->input = input;
    if (routing_call_is_tenant(call, input->tenant) &&
        routing_call_is_id(call, "conversation_id", input->conversation_id, false) &&
        routing_call_is_id(call, "thread_id", input->thread_id, true) &&
        routing_call_is_id(call, "actor_id", input->actor_id, false))
        routing_actor_query(call, input->tenant, input->conversation_id, input->actor_id, on_actor);
}

static void on_actor(struct routing_call *call, struct db_work *work)
{
    const struct typing *typing = call->state;
    const Guichet__V1__SetTypingRequest *input = typing->input;
    Guichet__V1__GetConversationsRequest request = GUICHET__V1__GET_CONVERSATIONS_REQUEST__INIT;
    struct mesh_call mesh = routing_call_mesh(call, input->tenant);
    struct routing_actor actor;
    enum err_kind kind;
    const char *obstacle;

    if (!routing_actor_read(call, work, input->actor_id, &actor))
        return;
    obstacle = routing_actor_cannot_write(&actor, &kind);
    if (obstacle != NULL) {
        routing_call_refuse(call, kind, "%s", obstacle);
        return;
    }
    request.tenant = input->tenant;
    request.ids = (char **)&input->conversation_id;
    request.n_ids = 1;
    request.with_threads = true;
    guichet__v1__context__get_conversations(mesh_client_call(call->routing->context, &mesh), &request,
                                            on_conversation, call);
}

static void on_conversation(const Guichet__V1__GetConversationsReply *found, void *arg)
{
    struct routing_call *call = arg;
    struct typing *typing = call->state;
    const Guichet__V1__Thread *thread = NULL;

    if (found == NULL) {
        routing_call_fail(call, mesh_err());
        return;
    }
    if (found->n_conversations > 0)
        thread = routing_choose_thread(found->conversations[0], typing->input->thread_id);
    if (thread == NULL || call->routing->database.short_ == NULL) {
        routing_call_refuse(call, thread == NULL ? ERR_NOT_FOUND : ERR_UNAVAILABLE,
                            thread == NULL ? "the conversation has no such thread" : "routing goes down");
        return;
    }
    typing->thread = (Guichet__V1__Thread *)pb_dup(&thread->base, call->arena);
    if (typing->thread == NULL)
        abort();
    const struct db_param params[] = {
        DB_PARAM_TEXT(typing->input->tenant),
        DB_PARAM_I64(call->routing->config->account_ttl_ms),
        DB_PARAM_TEXT(typing->thread->account_id),
    };
    routing_call_query(call, call->routing->database.short_, &routing_sql_get_account, params,
                       COUNT_OF(params), on_account);
}

static void on_account(struct routing_call *call, struct db_work *work)
{
    const struct typing *typing = call->state;
    const struct db_result *rows = db_work_result(work, 0);
    const Guichet__V1__ChannelAccount *account;
    Guichet__V1__ListMessagesRequest request = GUICHET__V1__LIST_MESSAGES_REQUEST__INIT;
    Guichet__V1__Page page = GUICHET__V1__PAGE__INIT;
    struct mesh_call mesh = routing_call_mesh(call, typing->input->tenant);

    if (db_rows(rows) == 0) {
        routing_call_refuse(call, ERR_CONFLICT, "no connector has announced this account");
        return;
    }
    account = routing_row_account(work, rows, 0, call->arena);
    if (account->capabilities == NULL || !account->capabilities->has_typing) {
        routing_call_refuse(call, ERR_CONFLICT, "account '%s' (%s) cannot show that somebody writes",
                            account->id, account->channel);
        return;
    }
    request.tenant = typing->input->tenant;
    request.conversation_id = typing->input->conversation_id;
    request.page = &page;
    page.limit = MESSAGES_LOOKED_AT;
    guichet__v1__context__list_messages(mesh_client_call(call->routing->context, &mesh), &request,
                                        on_messages, call);
}

/* The provider's id of what the customer last wrote in the thread; "" when that was long ago. */
static char *last_provider_id(const Guichet__V1__ListMessagesReply *found, const char *thread_id)
{
    for (size_t i = 0; i < found->n_messages; i++) {
        const Guichet__V1__Message *message = found->messages[i];

        if (message->direction == GUICHET__V1__MESSAGE_DIRECTION__MESSAGE_DIRECTION_INBOUND &&
            message->provider_id[0] != '\0' && strcmp(message->thread_id, thread_id) == 0)
            return message->provider_id;
    }
    return (char *)"";
}

static void on_messages(const Guichet__V1__ListMessagesReply *found, void *arg)
{
    struct routing_call *call = arg;
    struct routing *routing = call->routing;
    const struct typing *typing = call->state;
    const Guichet__V1__Thread *thread = typing->thread;
    Guichet__V1__TypingMark mark = GUICHET__V1__TYPING_MARK__INIT;
    char id[ID_TEXT_BYTES];
    SCOPED_BUF packed = { 0 };

    if (found == NULL) {
        routing_call_fail(call, mesh_err());
        return;
    }
    if (routing->database.short_ == NULL) {
        routing_call_refuse(call, ERR_UNAVAILABLE, "routing goes down");
        return;
    }
    mark.recipient = thread->identity != NULL ? thread->identity->address : NULL;
    mark.thread_key = thread->key;
    mark.provider_id = last_provider_id(found, thread->id);
    buf_init(&packed, 65536);
    pb_pack(&mark.base, &packed);
    id_new_text(id);
    const struct db_param params[] = {
        DB_PARAM_TEXT(typing->input->tenant),
        DB_PARAM_UUID(id),
        DB_PARAM_TEXT(thread->account_id),
        DB_PARAM_UUID(typing->input->conversation_id),
        DB_PARAM_UUID(thread->id),
        DB_PARAM_BYTES(buf_view(&packed)),
        DB_PARAM_I64(routing->config->typing_interval_ms),
        DB_PARAM_I64(routing->config->typing_ttl_ms),
    };
    routing_call_query(call, routing->database.short_, &routing_sql_set_typing, params, COUNT_OF(params),
                       on_made);
}

static void on_made(struct routing_call *call, struct db_work *work)
{
    const struct typing *typing = call->state;
    Guichet__V1__SetTypingReply reply = GUICHET__V1__SET_TYPING_REPLY__INIT;

    if (db_i64(db_work_result(work, 0), 0, 0) != 0)
        routing_wake(call->routing, typing->input->tenant);
    routing_call_answer(call, &reply.base);
}
