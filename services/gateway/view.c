/* SPDX-License-Identifier: Apache-2.0 */
/* view.c - a conversation whole: what was said (context) and who deals with it (routing).
 *
 * Every operation on a conversation starts here, since it decides whether the caller may
 * know of it at all. Agents see what is theirs and what waits or was closed in their
 * queues; for anything else the answer is the same 404 as for what does not exist. A
 * conversation that routing has not taken up yet (milliseconds after it was made) has no
 * work half; it is nobody's, so everyone of the tenant may see it. */
#include "handlers.h"

#include <string.h>

#include "core/pbjson.h"
#include "etag.h"

static bool is_queue_of(const Guichet__V1__Agent *agent, const char *queue_id)
{
    for (size_t i = 0; i < agent->n_queue_ids; i++) {
        if (strcmp(agent->queue_ids[i], queue_id) == 0)
            return true;
    }
    return agent->n_queue_ids == 0; /* none named: all of the tenant's */
}

bool view_is_visible(const Guichet__V1__WorkItem *work, const Guichet__V1__Agent *agent)
{
    if (work == NULL || agent->role >= GUICHET__V1__ROLE__ROLE_SUPERVISOR ||
        strcmp(work->agent_id, agent->id) == 0)
        return true;
    return work->state != GUICHET__V1__WORK_STATE__WORK_STATE_ASSIGNED && is_queue_of(agent, work->queue_id);
}

void view_etag_set(struct call *call)
{
    char tag[ETAG_BYTES];

    etag_conversation(call->view.work == NULL ? 0 : call->view.work->version,
                      call->view.conversation->version, tag);
    http_exchange_set_header(call->exchange, "ETag", tag);
}

static void view_finish(struct call *call)
{
    if (--call->waiting_for > 0)
        return;
    if (call->failure.kind == ERR_NONE &&
        (call->view.conversation == NULL || !view_is_visible(call->view.work, call->agent)))
        err_set(&call->failure, ERR_NOT_FOUND, "no such conversation");
    if (call->failure.kind != ERR_NONE)
        call_fail(call, &call->failure);
    else
        call->next(call);
}

static void on_work(const Guichet__V1__GetWorkReply *reply, void *arg)
{
    struct call *call = arg;

    if (reply == NULL)
        call->failure = *mesh_err();
    else if (reply->n_items > 0)
        call->view.work = (Guichet__V1__WorkItem *)pb_dup(&reply->items[0]->base, call->arena);
    view_finish(call);
}

static void on_conversation(const Guichet__V1__GetConversationsReply *reply, void *arg)
{
    struct call *call = arg;

    if (reply == NULL)
        call->failure = *mesh_err();
    else if (reply->n_conversations > 0)
        call->view.conversation =
            (Guichet__V1__Conversation *)pb_dup(&reply->conversations[0]->base, call->arena);
    view_finish(call);
}

void view_load(struct call *call, call_fn *next)
{
    Guichet__V1__GetWorkRequest work = GUICHET__V1__GET_WORK_REQUEST__INIT;
    Guichet__V1__GetConversationsRequest conversation = GUICHET__V1__GET_CONVERSATIONS_REQUEST__INIT;
    char *ids[1] = { (char *)call->id };

    if (!call_id_check(call, "no such conversation"))
        return;
    call->next = next;
    call->waiting_for = 2;
    call->failure = (struct err){ 0 };
    call->view.conversation = NULL;
    call->view.work = NULL;
    work.tenant = conversation.tenant = call_tenant(call);
    work.n_conversation_ids = conversation.n_ids = 1;
    work.conversation_ids = conversation.ids = ids;
    conversation.agent_id = call->agent->id;
    conversation.with_threads = true;
    guichet__v1__routing__get_work(call_routing(call), &work, on_work, call);
    guichet__v1__context__get_conversations(call_context(call), &conversation, on_conversation, call);
}
