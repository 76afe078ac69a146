/* SPDX-License-Identifier: Apache-2.0 */
/* state.c - Close and Reopen: open or closed is context's to know; here it is asked, and waited for.
 *
 * FORBIDDEN or version first, then context commits, then our own feed brings the change back and frees the
 * agent. The answer is the item after that, so that whoever closed sees it closed. */
#include <string.h>

#include "rows.h"
#include "rpc.h"
#include "statements.h"

struct state_change {
    char *tenant, *conversation_id, *actor_id;
    uint32_t if_version;
    Guichet__V1__ConversationState state;
};

static void on_actor(struct routing_call *call, struct db_work *work);
static void on_state_set(const Guichet__V1__SetConversationStateReply *reply, void *arg);
static void on_applied(void *arg);
static void on_item(struct routing_call *call, struct db_work *work);

static void change_state(struct routing_call *call, const struct state_change *wanted)
{
    struct state_change *change = routing_call_state(call, sizeof(*change));

    *change = *wanted;
    if (routing_call_is_tenant(call, change->tenant) &&
        routing_call_is_id(call, "conversation_id", change->conversation_id, false) &&
        routing_call_is_id(call, "actor_id", change->actor_id, true))
        routing_actor_query(call, change->tenant, change->conversation_id, change->actor_id, on_actor);
}

/* Its agent closes, whoever is in the queue reopens, supervisors do both. What is closed already may be closed by
 * whoever may see it: nothing happens. */
static bool may_change(struct routing_call *call, const struct routing_actor *actor)
{
    const struct state_change *change = call->state;
    bool is_closing = change->state == GUICHET__V1__CONVERSATION_STATE__CONVERSATION_STATE_CLOSED;
    bool is_closed = actor->item != NULL && actor->item->state == GUICHET__V1__WORK_STATE__WORK_STATE_CLOSED;

    if (actor->item == NULL)
        routing_call_refuse(call, ERR_NOT_FOUND, "no work item for conversation %s", change->conversation_id);
    else if (actor->role == GUICHET__V1__ROLE__ROLE_AGENT && is_closing && !is_closed && !actor->is_assigned)
        routing_call_refuse(call, ERR_FORBIDDEN, "only its agent or a supervisor closes a conversation");
    else if (actor->role == GUICHET__V1__ROLE__ROLE_AGENT && !is_closing && !actor->is_in_queue &&
             !actor->is_assigned)
        routing_call_refuse(call, ERR_FORBIDDEN, "only agents of its queue reopen a conversation");
    else if (change->if_version != 0 && change->if_version != actor->item->version)
        routing_call_refuse(call, ERR_CONFLICT, "conversation %s is at version %u, not %u",
                            change->conversation_id, actor->item->version, change->if_version);
    else
        return true;
    return false;
}

static void on_actor(struct routing_call *call, struct db_work *work)
{
    struct state_change *change = call->state;
    Guichet__V1__SetConversationStateRequest request = GUICHET__V1__SET_CONVERSATION_STATE_REQUEST__INIT;
    struct mesh_call mesh = routing_call_mesh(call, change->tenant);
    struct routing_actor actor;

    if (!routing_actor_read(call, work, change->actor_id, &actor) || !may_change(call, &actor))
        return;
    request.tenant = change->tenant;
    request.conversation_id = change->conversation_id;
    request.state = change->state;
    request.actor_id = change->actor_id;
    guichet__v1__context__set_conversation_state(mesh_client_call(call->routing->context, &mesh), &request,
                                                 on_state_set, call);
}

static void on_state_set(const Guichet__V1__SetConversationStateReply *reply, void *arg)
{
    struct routing_call *call = arg;
    const struct state_change *change = call->state;

    if (reply == NULL)
        routing_call_fail(call, mesh_err());
    else if (reply->change_sequence > 0)
        routing_applier_wait(call->routing->applier, change->tenant, reply->change_sequence, on_applied,
                             call);
    else
        on_applied(call);
}

static void on_applied(void *arg)
{
    struct routing_call *call = arg;
    const struct state_change *change = call->state;
    const struct str_view id = str_view_of(change->conversation_id);
    const struct db_param params[] = {
        DB_PARAM_TEXT(change->tenant),
        { .type = DB_UUID_ARRAY, .items = &id, .count = 1 },
    };

    if (call->routing->database.short_ == NULL) /* we are going down */
        routing_call_refuse(call, ERR_UNAVAILABLE, "routing goes down");
    else
        routing_call_query(call, call->routing->database.short_, &routing_sql_get_work, params,
                           COUNT_OF(params), on_item);
}

static void on_item(struct routing_call *call, struct db_work *work)
{
    Guichet__V1__WorkReply reply = GUICHET__V1__WORK_REPLY__INIT;

    if (db_rows(db_work_result(work, 0)) > 0)
        reply.item = routing_row_work(work, db_work_result(work, 0), 0, 0, call->arena);
    routing_call_answer(call, &reply.base);
}

ROUTING_RPC(close, Close, WorkReply)
{
    change_state(ROUTING_RPC_CALL(), &(struct state_change){
                                         .tenant = input->tenant,
                                         .conversation_id = input->conversation_id,
                                         .actor_id = input->actor_id,
                                         .if_version = input->if_version,
                                         .state = GUICHET__V1__CONVERSATION_STATE__CONVERSATION_STATE_CLOSED,
                                     });
}

ROUTING_RPC(reopen, Reopen, WorkReply)
{
    change_state(ROUTING_RPC_CALL(), &(struct state_change){
                                         .tenant = input->tenant,
                                         .conversation_id = input->conversation_id,
                                         .actor_id = input->actor_id,
                                         .if_version = input->if_version,
                                         .state = GUICHET__V1__CONVERSATION_STATE__CONVERSATION_STATE_OPEN,
                                     });
}
