/* SPDX-License-Identifier: Apache-2.0 */
/* actions.c - assign, transfer, close, reopen: who deals with a conversation.
 *
 * All four are compare-and-set: view -> If-Match -> routing, with the work version that
 * was seen -> the conversation as it is then. The comparison with both halves here spares
 * a doomed call; the one inside routing's transaction is the one that decides a race. */
#include "handlers.h"

#include <string.h>

#include "core/pbjson.h"
#include "etag.h"

const struct body_field actions_assign_body[] = {
    { "/agent_id", BODY_ID, true, 0, 0, NULL },
    { 0 },
};

const struct body_field actions_transfer_body[] = {
    { "/queue_id", BODY_ID, false, 0, 0, NULL },
    { "/agent_id", BODY_ID, false, 0, 0, NULL },
    { "/reason", BODY_TEXT, false, 0, 512, NULL },
    { 0 },
};

static void on_act_view(struct call *call);
static void on_acted(const Guichet__V1__WorkReply *reply, void *arg);
static void on_conflict_work(const Guichet__V1__GetWorkReply *reply, void *arg);
static void on_acted_conversation(const Guichet__V1__GetConversationsReply *reply, void *arg);
static void act(struct call *call, uint32_t if_version);

void actions_assign(struct call *call)
{
    view_load(call, on_act_view);
}

void actions_transfer(struct call *call)
{
    bool has_queue = call_text(call, "/queue_id")[0] != '\0',
         has_agent = call_text(call, "/agent_id")[0] != '\0';

    if (has_queue == has_agent)
        call_bad_member(call, has_queue ? "/agent_id" : "/queue_id", "give either queue_id or agent_id");
    else
        view_load(call, on_act_view);
}

void actions_close(struct call *call)
{
    view_load(call, on_act_view);
}

void actions_reopen(struct call *call)
{
    view_load(call, on_act_view);
}

static void fail_precondition(struct call *call)
{
    call_problem(call, &(struct problem){ PROBLEM_PRECONDITION_FAILED,
                                          "the conversation has changed since: read it again", NULL, 0 });
}

static void on_act_view(struct call *call)
{
    const Guichet__V1__WorkItem *work = call->view.work;
    enum etag_match match = ETAG_ABSENT;
    struct err err = { 0 };
    char tag[ETAG_BYTES];

    etag_conversation(work == NULL ? 0 : work->version, call->view.conversation->version, tag);
    if (!etag_match(http_exchange_header(call->exchange, "If-Match"), tag, &match, &err)) {
        call_bad_param(call, err.text);
        return;
    }
    if (match == ETAG_DIFFERENT) {
        fail_precondition(call);
        return;
    }
    if (call->route->handler == actions_assign && !call_is_lead(call) &&
        strcmp(call_text(call, "/agent_id"), call->agent->id) != 0) {
        call_problem(call, &(struct problem){ PROBLEM_FORBIDDEN,
                                              "only a supervisor may give it to another agent", NULL, 0 });
        return;
    }
    act(call, match == ETAG_EQUAL && work != NULL ? work->version : 0);
}

static void assign(struct call *call, uint32_t if_version)
{
    Guichet__V1__AssignRequest request = GUICHET__V1__ASSIGN_REQUEST__INIT;

    request.tenant = call_tenant(call);
    request.conversation_id = (char *)call->id;
    request.agent_id = (char *)call_text(call, "/agent_id");
    request.actor_id = call->agent->id;
    request.if_version = if_version;
    guichet__v1__routing__assign(call_routing(call), &request, on_acted, call);
}

static void transfer(struct call *call, uint32_t if_version)
{
    Guichet__V1__TransferRequest request = GUICHET__V1__TRANSFER_REQUEST__INIT;

    request.tenant = call_tenant(call);
    request.conversation_id = (char *)call->id;
    request.queue_id = (char *)call_text(call, "/queue_id");
    request.agent_id = (char *)call_text(call, "/agent_id");
    request.reason = (char *)call_text(call, "/reason");
    request.actor_id = call->agent->id;
    request.if_version = if_version;
    guichet__v1__routing__transfer(call_routing(call), &request, on_acted, call);
}

static void act(struct call *call, uint32_t if_version)
{
    Guichet__V1__CloseRequest close = GUICHET__V1__CLOSE_REQUEST__INIT;
    Guichet__V1__ReopenRequest reopen = GUICHET__V1__REOPEN_REQUEST__INIT;

    close.tenant = reopen.tenant = call_tenant(call);
    close.conversation_id = reopen.conversation_id = (char *)call->id;
    close.actor_id = reopen.actor_id = call->agent->id;
    close.if_version = reopen.if_version = if_version;
    if (call->route->handler == actions_assign)
        assign(call, if_version);
    else if (call->route->handler == actions_transfer)
        transfer(call, if_version);
    else if (call->route->handler == actions_close)
        guichet__v1__routing__close(call_routing(call), &close, on_acted, call);
    else
        guichet__v1__routing__reopen(call_routing(call), &reopen, on_acted, call);
}

static void on_acted(const Guichet__V1__WorkReply *reply, void *arg)
{
    Guichet__V1__GetConversationsRequest request = GUICHET__V1__GET_CONVERSATIONS_REQUEST__INIT;
    Guichet__V1__GetWorkRequest work = GUICHET__V1__GET_WORK_REQUEST__INIT;
    struct call *call = arg;
    char *ids[1] = { (char *)call->id };
    const char *if_match = http_exchange_header(call->exchange, "If-Match");

    request.tenant = work.tenant = call_tenant(call);
    request.n_ids = work.n_conversation_ids = 1;
    request.ids = work.conversation_ids = ids;
    if (reply == NULL) {
        call->failure = *mesh_err();
        /* Did another come first, or does the state not allow it? Only then is it worth asking. */
        if (call->failure.kind == ERR_CONFLICT && if_match != NULL && strcmp(if_match, "*") != 0)
            guichet__v1__routing__get_work(call_routing(call), &work, on_conflict_work, call);
        else
            call_fail(call, &call->failure);
        return;
    }
    if (reply->item != NULL)
        call->view.work = (Guichet__V1__WorkItem *)pb_dup(&reply->item->base, call->arena);
    request.agent_id = call->agent->id;
    request.with_threads = true;
    guichet__v1__context__get_conversations(call_context(call), &request, on_acted_conversation, call);
}

static void on_conflict_work(const Guichet__V1__GetWorkReply *reply, void *arg)
{
    struct call *call = arg;
    uint32_t seen = call->view.work == NULL ? 0 : call->view.work->version;

    if (reply != NULL && reply->n_items > 0 && reply->items[0]->version != seen)
        fail_precondition(call);
    else
        call_fail(call, &call->failure);
}

static void on_acted_conversation(const Guichet__V1__GetConversationsReply *reply, void *arg)
{
    struct call *call = arg;

    if (reply == NULL) {
        call_fail(call, mesh_err());
        return;
    }
    if (reply->n_conversations > 0)
        call->view.conversation =
            (Guichet__V1__Conversation *)pb_dup(&reply->conversations[0]->base, call->arena);
    view_etag_set(call);
    call_reply(call, 200, &call->view.base);
}
