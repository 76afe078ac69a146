/* SPDX-License-Identifier: Apache-2.0 */
/* conversations.c - reading conversations: the list, one, the read mark.
 *
 * The list's order and rights are routing's; context fills in what was said. */
#include "handlers.h"

#include <string.h>

#include "core/id.h"
#include "core/pbjson.h"

const struct body_field conversations_read_body[] = {
    { "/message_id", BODY_ID, true, 0, 0, NULL },
    { 0 },
};

static const char *list_scope(struct call *call)
{
    const char *state = call_param(call, "state"), *mine = call_param(call, "mine");
    const char *queue_id = call_param(call, "queue_id");

    return arena_printf(call->arena, "conversations %s %s %s", state == NULL ? "" : state,
                        mine == NULL ? "" : mine, queue_id == NULL ? "" : queue_id);
}

static Guichet__V1__Conversation *conversation_find(const Guichet__V1__GetConversationsReply *reply,
                                                    const char *id)
{
    for (size_t i = 0; i < reply->n_conversations; i++) {
        if (strcmp(reply->conversations[i]->id, id) == 0)
            return reply->conversations[i];
    }
    return NULL;
}

static void on_conversations(const Guichet__V1__GetConversationsReply *reply, void *arg)
{
    struct call *call = arg;
    Guichet__V1__ConversationView *views;
    ProtobufCMessage **items;
    size_t count = 0;

    if (reply == NULL) {
        call_fail(call, mesh_err());
        return;
    }
    views = arena_alloc(call->arena, call->count * sizeof(*views));
    items = arena_alloc(call->arena, call->count * sizeof(ProtobufCMessage *));
    for (size_t i = 0; i < call->count; i++) {
        Guichet__V1__ConversationView *view = &views[count];

        guichet__v1__conversation_view__init(view);
        view->work = call->items[i];
        view->conversation = conversation_find(reply, view->work->conversation_id);
        if (view->conversation != NULL) /* erased since: nothing to show */
            items[count++] = &view->base;
    }
    call_reply_page(call, list_scope(call), items, count,
                    call->has_more ? call->items[call->count - 1]->conversation_id : NULL);
}

static void on_work_list(const Guichet__V1__ListWorkReply *reply, void *arg)
{
    Guichet__V1__GetConversationsRequest request = GUICHET__V1__GET_CONVERSATIONS_REQUEST__INIT;
    struct call *call = arg;

    if (reply == NULL) {
        call_fail(call, mesh_err());
        return;
    }
    if (reply->n_items == 0) {
        call_reply_page(call, "", NULL, 0, NULL);
        return;
    }
    call->items = arena_alloc(call->arena, reply->n_items * sizeof(*call->items));
    request.ids = arena_alloc(call->arena, reply->n_items * sizeof(char *));
    for (size_t i = 0; i < reply->n_items; i++) {
        call->items[i] = (Guichet__V1__WorkItem *)pb_dup(&reply->items[i]->base, call->arena);
        request.ids[i] = call->items[i]->conversation_id;
    }
    call->count = request.n_ids = reply->n_items;
    call->has_more = reply->has_more;
    request.tenant = call_tenant(call);
    request.agent_id = call->agent->id;
    guichet__v1__context__get_conversations(call_context(call), &request, on_conversations, call);
}

void conversations_list(struct call *call)
{
    Guichet__V1__ListWorkRequest request = GUICHET__V1__LIST_WORK_REQUEST__INIT;
    const char *mine = call_param(call, "mine"), *queue_id = call_param(call, "queue_id");
    struct id id;
    int state;

    if (!call_param_word(call, "state", &guichet__v1__work_state__descriptor, &state))
        return;
    if (mine != NULL && strcmp(mine, "true") != 0 && strcmp(mine, "false") != 0) {
        call_bad_param(call, "mine: true or false");
        return;
    }
    if (queue_id != NULL && !id_parse(queue_id, &id)) {
        call_bad_param(call, "queue_id: not an id");
        return;
    }
    if (!call_page(call, list_scope(call), &request.page))
        return;
    request.tenant = call_tenant(call);
    if (state > 0)
        request.state = (Guichet__V1__WorkState)state;
    if (mine != NULL && strcmp(mine, "true") == 0)
        request.agent_id = call->agent->id;
    if (queue_id != NULL)
        request.queue_id = (char *)queue_id;
    if (!call_is_lead(call))
        request.visible_to = call->agent->id;
    guichet__v1__routing__list_work(call_routing(call), &request, on_work_list, call);
}

static void on_view(struct call *call)
{
    view_etag_set(call);
    call_reply(call, 200, &call->view.base);
}

void conversations_get(struct call *call)
{
    view_load(call, on_view);
}

static void on_marked(const Guichet__V1__MarkReadReply *reply, void *arg)
{
    struct call *call = arg;

    if (reply == NULL)
        call_fail(call, mesh_err());
    else
        call_reply(call, 200, &reply->base);
}

static void on_view_to_mark(struct call *call)
{
    Guichet__V1__MarkReadRequest request = GUICHET__V1__MARK_READ_REQUEST__INIT;

    request.tenant = call_tenant(call);
    request.conversation_id = (char *)call->id;
    request.agent_id = call->agent->id;
    request.message_id = (char *)call_text(call, "/message_id");
    guichet__v1__context__mark_read(call_context(call), &request, on_marked, call);
}

void conversations_mark_read(struct call *call)
{
    view_load(call, on_view_to_mark);
}
