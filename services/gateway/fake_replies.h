/* SPDX-License-Identifier: Apache-2.0 */
/* fake_replies.h - for tests of the gateway: what agents write, and what becomes of it. */
#ifndef GUICHET_GATEWAY_FAKE_REPLIES_H
#define GUICHET_GATEWAY_FAKE_REPLIES_H

#include "fake.h"

/* true: the same key came with another text, and was answered. */
static inline bool fake_key_clashes(void *closure_data, const char *key, const char *text,
                                    bool *ret_is_duplicate)
{
    *ret_is_duplicate = strcmp(fake.key, key) == 0;
    if (*ret_is_duplicate && strcmp(fake.text, text) != 0) {
        fake_fail(closure_data, ERR_CONFLICT, "idempotency key: used before with other content");
        return true;
    }
    snprintf(fake.key, sizeof(fake.key), "%s", key);
    snprintf(fake.text, sizeof(fake.text), "%s", text);
    return false;
}

static inline void fake_store(const char *text, const Guichet__V1__Content *content, const char *key,
                              Guichet__V1__ReplyReply_Closure closure, void *closure_data)
{
    Guichet__V1__ReplyReply reply = GUICHET__V1__REPLY_REPLY__INIT;
    Guichet__V1__Message message = GUICHET__V1__MESSAGE__INIT;
    Guichet__V1__Delivery delivery = GUICHET__V1__DELIVERY__INIT;
    bool is_duplicate;

    if (fake_begin(closure_data) || fake_key_clashes(closure_data, key, text, &is_duplicate))
        return;
    if (strcmp(text, "too long") == 0) {
        fake_fail(closure_data, ERR_INVALID, "the text is too long for the account");
        return;
    }
    message.id = M2;
    message.content = (Guichet__V1__Content *)content;
    message.direction = GUICHET__V1__MESSAGE_DIRECTION__MESSAGE_DIRECTION_OUTBOUND;
    delivery.message_id = M2;
    delivery.state = GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_QUEUED;
    reply.message = &message;
    reply.delivery = &delivery;
    reply.is_duplicate = is_duplicate;
    closure(&reply, closure_data);
}

static void fake_reply(Guichet__V1__Routing_Service *service, const Guichet__V1__ReplyRequest *input,
                       Guichet__V1__ReplyReply_Closure closure, void *closure_data)
{
    (void)service;
    fake_store(input->content->parts[0]->text->text, input->content, input->idempotency_key, closure,
               closure_data);
}

static void fake_start_conversation(Guichet__V1__Routing_Service *service,
                                    const Guichet__V1__StartConversationRequest *input,
                                    Guichet__V1__ReplyReply_Closure closure, void *closure_data)
{
    (void)service;
    if (strcmp(input->account_id, "sms-demo") != 0)
        fake_fail(closure_data, ERR_NOT_FOUND, "no such account");
    else if (strcmp(input->recipient->value, "+33600000000") == 0)
        fake_fail(closure_data, ERR_FORBIDDEN, "recipient opted out");
    else
        fake_store(input->content->parts[0]->text->text, input->content, input->idempotency_key, closure,
                   closure_data);
}

static void fake_get_deliveries(Guichet__V1__Routing_Service *service,
                                const Guichet__V1__GetDeliveriesRequest *input,
                                Guichet__V1__GetDeliveriesReply_Closure closure, void *closure_data)
{
    Guichet__V1__GetDeliveriesReply reply = GUICHET__V1__GET_DELIVERIES_REPLY__INIT;
    Guichet__V1__Delivery delivery = GUICHET__V1__DELIVERY__INIT, *deliveries[] = { &delivery };

    (void)service;
    if (fake_begin(closure_data))
        return;
    delivery.message_id = input->message_ids[0];
    delivery.state = GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_DELIVERED;
    reply.deliveries = deliveries;
    reply.n_deliveries = 1;
    closure(&reply, closure_data);
}

#endif
