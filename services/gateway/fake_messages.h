/* SPDX-License-Identifier: Apache-2.0 */
/* fake_messages.h - for tests of the gateway: conversations and messages, as context knows them.
 *
 * One customer, CUSTOMER at version 3, with one message in (M1, whose media has an address at the provider)
 * and one out (M2). */
#ifndef GUICHET_GATEWAY_FAKE_MESSAGES_H
#define GUICHET_GATEWAY_FAKE_MESSAGES_H

#include "fake_replies.h"
#include "guichet/v1/context.pb-c.h"

#define CUSTOMER "018f2f6e-0003-7000-8000-000000000001"

static void fake_get_conversations(Guichet__V1__Context_Service *service,
                                   const Guichet__V1__GetConversationsRequest *input,
                                   Guichet__V1__GetConversationsReply_Closure closure, void *closure_data)
{
    static const char *const known[] = { C1, C2, C3, C4, C5 };
    Guichet__V1__GetConversationsReply reply = GUICHET__V1__GET_CONVERSATIONS_REPLY__INIT;
    Guichet__V1__Conversation made[COUNT_OF(known)], *conversations[COUNT_OF(known)];

    (void)service;
    if (fake_begin(closure_data))
        return;
    reply.conversations = conversations;
    for (size_t i = 0; i < input->n_ids && fake_is_demo(input->tenant); i++) {
        for (size_t k = 0; k < COUNT_OF(known); k++) {
            Guichet__V1__Conversation *conversation = &made[reply.n_conversations];

            if (strcmp(known[k], input->ids[i]) != 0)
                continue;
            guichet__v1__conversation__init(conversation);
            conversation->id = (char *)known[k];
            conversation->number = (uint32_t)k + 1;
            conversation->version = 5;
            conversations[reply.n_conversations++] = conversation;
        }
    }
    closure(&reply, closure_data);
}

static inline void fake_messages(Guichet__V1__ListMessagesReply_Closure closure, void *closure_data,
                                 const Guichet__V1__Page *page)
{
    Guichet__V1__ListMessagesReply reply = GUICHET__V1__LIST_MESSAGES_REPLY__INIT;
    Guichet__V1__Message in = GUICHET__V1__MESSAGE__INIT, out = GUICHET__V1__MESSAGE__INIT,
                         *both[] = { &out, &in };
    Guichet__V1__Content content = GUICHET__V1__CONTENT__INIT;
    Guichet__V1__Part part = GUICHET__V1__PART__INIT, *parts[] = { &part };
    Guichet__V1__Media media = GUICHET__V1__MEDIA__INIT;

    if (fake_begin(closure_data))
        return;
    media.provider_url = "https://secret.example/file";
    part.kind_case = GUICHET__V1__PART__KIND_MEDIA;
    part.media = &media;
    content.parts = parts;
    content.n_parts = 1;
    in.id = M1;
    in.content = &content;
    in.direction = GUICHET__V1__MESSAGE_DIRECTION__MESSAGE_DIRECTION_INBOUND;
    out.id = M2;
    out.direction = GUICHET__V1__MESSAGE_DIRECTION__MESSAGE_DIRECTION_OUTBOUND;
    reply.messages = strcmp(page->after_id, M2) == 0 ? both + 1 : both;
    reply.n_messages = reply.messages != both || page->limit == 1 ? 1 : 2;
    reply.has_more = reply.messages == both && page->limit == 1;
    closure(&reply, closure_data);
}

static void fake_list_messages(Guichet__V1__Context_Service *service,
                               const Guichet__V1__ListMessagesRequest *input,
                               Guichet__V1__ListMessagesReply_Closure closure, void *closure_data)
{
    (void)service;
    fake_messages(closure, closure_data, input->page);
}

static void fake_mark_read(Guichet__V1__Context_Service *service, const Guichet__V1__MarkReadRequest *input,
                           Guichet__V1__MarkReadReply_Closure closure, void *closure_data)
{
    Guichet__V1__MarkReadReply reply = GUICHET__V1__MARK_READ_REPLY__INIT;

    (void)service;
    if (fake_begin(closure_data))
        return;
    if (strcmp(input->message_id, M1) != 0) {
        fake_fail(closure_data, ERR_NOT_FOUND, "no such message");
        return;
    }
    reply.unread_count = 1;
    closure(&reply, closure_data);
}

static void fake_store_outbound(Guichet__V1__Context_Service *service,
                                const Guichet__V1__StoreOutboundRequest *input,
                                Guichet__V1__StoreOutboundReply_Closure closure, void *closure_data)
{
    Guichet__V1__StoreOutboundReply reply = GUICHET__V1__STORE_OUTBOUND_REPLY__INIT;
    Guichet__V1__Message message = GUICHET__V1__MESSAGE__INIT;
    bool is_duplicate;

    (void)service;
    if (fake_begin(closure_data) || fake_key_clashes(closure_data, input->idempotency_key,
                                                     input->content->parts[0]->text->text, &is_duplicate))
        return;
    message.id = M2;
    message.direction = input->direction;
    message.author_id = input->actor_id;
    message.content = input->content;
    reply.message = &message;
    reply.is_duplicate = is_duplicate;
    closure(&reply, closure_data);
}

#endif
