/* SPDX-License-Identifier: Apache-2.0 */
/* fake_context.h - for tests of the gateway: customers, and the context service put together. */
#ifndef GUICHET_GATEWAY_FAKE_CONTEXT_H
#define GUICHET_GATEWAY_FAKE_CONTEXT_H

#include "fake_messages.h"

static void fake_timeline(Guichet__V1__Context_Service *service, const Guichet__V1__TimelineRequest *input,
                          Guichet__V1__ListMessagesReply_Closure closure, void *closure_data)
{
    (void)service;
    if (!fake_is_demo(input->tenant) || strcmp(input->customer_id, CUSTOMER) != 0)
        fake_fail(closure_data, ERR_NOT_FOUND, "no such customer");
    else
        fake_messages(closure, closure_data, input->page);
}

static inline void fake_customer(Guichet__V1__Customer *ret_customer)
{
    guichet__v1__customer__init(ret_customer);
    ret_customer->id = CUSTOMER;
    ret_customer->display_name = "Marie";
    ret_customer->version = 3;
}

static inline void fake_give_customer(const char *tenant, const char *id, const char *name,
                                      uint32_t if_version, Guichet__V1__GetCustomerReply_Closure closure,
                                      void *closure_data)
{
    Guichet__V1__GetCustomerReply reply = GUICHET__V1__GET_CUSTOMER_REPLY__INIT;
    Guichet__V1__Customer customer;

    if (fake_begin(closure_data))
        return;
    if (!fake_is_demo(tenant) || strcmp(id, CUSTOMER) != 0) {
        fake_fail(closure_data, ERR_NOT_FOUND, "no such customer");
        return;
    }
    if (if_version != 0 && if_version != 3) {
        fake_fail(closure_data, ERR_CONFLICT, "version 3");
        return;
    }
    fake_customer(&customer);
    if (name != NULL) {
        customer.display_name = (char *)name;
        customer.version++;
    }
    reply.customer = &customer;
    closure(&reply, closure_data);
}

static void fake_get_customer(Guichet__V1__Context_Service *service,
                              const Guichet__V1__GetCustomerRequest *input,
                              Guichet__V1__GetCustomerReply_Closure closure, void *closure_data)
{
    (void)service;
    fake_give_customer(input->tenant, input->id, NULL, 0, closure, closure_data);
}

static void fake_update_customer(Guichet__V1__Context_Service *service,
                                 const Guichet__V1__UpdateCustomerRequest *input,
                                 Guichet__V1__GetCustomerReply_Closure closure, void *closure_data)
{
    (void)service;
    fake_give_customer(input->tenant, input->id, input->display_name, input->if_version, closure,
                       closure_data);
}

static void fake_find_customers(Guichet__V1__Context_Service *service,
                                const Guichet__V1__FindCustomersRequest *input,
                                Guichet__V1__FindCustomersReply_Closure closure, void *closure_data)
{
    Guichet__V1__FindCustomersReply reply = GUICHET__V1__FIND_CUSTOMERS_REPLY__INIT;
    Guichet__V1__Customer customer, *customers[] = { &customer };

    (void)service;
    if (fake_begin(closure_data))
        return;
    fake_customer(&customer);
    reply.customers = customers;
    if (fake_is_demo(input->tenant))
        reply.n_customers = input->address != NULL ? strcmp(input->address->value, "+33612345678") == 0
                                                   : strcmp(input->name_prefix, "Mar") == 0;
    closure(&reply, closure_data);
}

/* The gateway never asks for these. */
#define FAKE_NEVER(name, Input, Output)                                                                      \
    static void fake_##name(Guichet__V1__Context_Service *service, const Guichet__V1__##Input *input,        \
                            Guichet__V1__##Output##_Closure closure, void *closure_data)                     \
    {                                                                                                        \
        (void)service, (void)input, (void)closure;                                                           \
        fake_fail(closure_data, ERR_INTERNAL, "the gateway never asks this");                                \
    }
FAKE_NEVER(record, RecordRequest, RecordReply)
FAKE_NEVER(read_changes, ReadChangesRequest, ReadChangesReply)
FAKE_NEVER(open_thread, OpenThreadRequest, OpenThreadReply)
FAKE_NEVER(set_conversation_state, SetConversationStateRequest, SetConversationStateReply)
FAKE_NEVER(set_media, SetMediaRequest, SetMediaReply)
FAKE_NEVER(merge_customers, MergeCustomersRequest, MergeCustomersReply)
FAKE_NEVER(unmerge_customers, UnmergeCustomersRequest, UnmergeCustomersReply)
FAKE_NEVER(join_conversations, JoinConversationsRequest, JoinConversationsReply)
FAKE_NEVER(get_refused, GetRefusedRequest, GetRefusedReply)
FAKE_NEVER(replay_refused, ReplayRefusedRequest, ReplayRefusedReply)
FAKE_NEVER(audit, AuditRequest, AuditReply)

static Guichet__V1__Context_Service fake_context_service = GUICHET__V1__CONTEXT__INIT(fake_);

#endif
