/* SPDX-License-Identifier: Apache-2.0 */
/* messages.c - pages of messages, with what became of the outbound ones.
 *
 * Messages are context's, deliveries routing's: one more call joins them for a page. */
#include "handlers.h"

#include <string.h>

#include "core/pbjson.h"
#include "media.h"

static const char *list_scope(const struct call *call)
{
    return arena_printf(call->arena, "%s %s", call->route->path, call->id);
}

static void page_answer(struct call *call)
{
    ProtobufCMessage **items = (ProtobufCMessage **)call->messages;

    call_reply_page(call, list_scope(call), items, call->count,
                    call->has_more && call->count > 0 ? call->messages[call->count - 1]->id : NULL);
}

static void on_deliveries(const Guichet__V1__GetDeliveriesReply *reply, void *arg)
{
    struct call *call = arg;

    if (reply == NULL) {
        call_fail(call, mesh_err());
        return;
    }
    for (size_t i = 0; i < call->count; i++) {
        for (size_t k = 0; k < reply->n_deliveries; k++) {
            if (strcmp(call->messages[i]->id, reply->deliveries[k]->message_id) == 0)
                call->messages[i]->delivery = reply->deliveries[k];
        }
    }
    page_answer(call);
}

void messages_reply(struct call *call, const Guichet__V1__ListMessagesReply *reply)
{
    Guichet__V1__GetDeliveriesRequest request = GUICHET__V1__GET_DELIVERIES_REQUEST__INIT;

    if (reply == NULL) {
        call_fail(call, mesh_err());
        return;
    }
    call->messages = arena_alloc(call->arena, (reply->n_messages + 1) * sizeof(*call->messages));
    request.message_ids = arena_alloc(call->arena, (reply->n_messages + 1) * sizeof(char *));
    for (size_t i = 0; i < reply->n_messages; i++) {
        Guichet__V1__Message *message =
            (Guichet__V1__Message *)pb_dup(&reply->messages[i]->base, call->arena);

        if (message == NULL) {
            call_fail(call,
                      &(struct err){ .kind = ERR_INTERNAL, .text = "a page of messages over its limit" });
            return;
        }
        media_show(call, message);
        call->messages[i] = message;
        if (message->direction == GUICHET__V1__MESSAGE_DIRECTION__MESSAGE_DIRECTION_OUTBOUND)
            request.message_ids[request.n_message_ids++] = message->id;
    }
    call->count = reply->n_messages;
    call->has_more = reply->has_more;
    if (request.n_message_ids == 0) {
        page_answer(call);
        return;
    }
    request.tenant = call_tenant(call);
    guichet__v1__routing__get_deliveries(call_routing(call), &request, on_deliveries, call);
}

static void on_messages(const Guichet__V1__ListMessagesReply *reply, void *arg)
{
    messages_reply(arg, reply);
}

static void on_view(struct call *call)
{
    Guichet__V1__ListMessagesRequest request = GUICHET__V1__LIST_MESSAGES_REQUEST__INIT;

    if (!call_page(call, list_scope(call), &request.page))
        return;
    request.tenant = call_tenant(call);
    request.conversation_id = (char *)call->id;
    guichet__v1__context__list_messages(call_context(call), &request, on_messages, call);
}

void messages_list(struct call *call)
{
    view_load(call, on_view);
}
