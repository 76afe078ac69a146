/* SPDX-License-Identifier: Apache-2.0 */
/* fake_work.h - for tests of the gateway: who deals with which conversation. */
#ifndef GUICHET_GATEWAY_FAKE_WORK_H
#define GUICHET_GATEWAY_FAKE_WORK_H

#include "fake.h"

static inline bool fake_work(const char *tenant, const char *id, Guichet__V1__WorkItem *ret_item)
{
    static const struct {
        const char *id;
        Guichet__V1__WorkState state;
        const char *agent, *queue;
    } items[] = {
        { C1, GUICHET__V1__WORK_STATE__WORK_STATE_ASSIGNED, ADA, Q1 },
        { C2, GUICHET__V1__WORK_STATE__WORK_STATE_WAITING, "", Q1 },
        { C3, GUICHET__V1__WORK_STATE__WORK_STATE_ASSIGNED, BOB, Q1 },
        { C4, GUICHET__V1__WORK_STATE__WORK_STATE_CLOSED, "", Q2 },
    };

    guichet__v1__work_item__init(ret_item);
    for (size_t i = 0; fake_is_demo(tenant) && i < COUNT_OF(items); i++) {
        if (strcmp(items[i].id, id) != 0)
            continue;
        ret_item->tenant = "demo";
        ret_item->conversation_id = (char *)items[i].id;
        ret_item->state = items[i].state;
        ret_item->agent_id = (char *)items[i].agent;
        ret_item->queue_id = (char *)items[i].queue;
        ret_item->version = i == 0 ? fake.work_version : 1;
        return true;
    }
    return false;
}

static void fake_list_work(Guichet__V1__Routing_Service *service, const Guichet__V1__ListWorkRequest *input,
                           Guichet__V1__ListWorkReply_Closure closure, void *closure_data)
{
    Guichet__V1__ListWorkReply reply = GUICHET__V1__LIST_WORK_REPLY__INIT;
    Guichet__V1__WorkItem first, second, *items[] = { &first, &second };

    (void)service;
    if (fake_begin(closure_data))
        return;
    snprintf(fake.visible_to, sizeof(fake.visible_to), "%s", input->visible_to);
    snprintf(fake.queue_id, sizeof(fake.queue_id), "%s", input->queue_id);
    reply.items = items;
    if (fake_work(input->tenant, strcmp(input->page->after_id, C1) == 0 ? C2 : C1, &first) &&
        fake_work(input->tenant, C2, &second) && input->state != GUICHET__V1__WORK_STATE__WORK_STATE_CLOSED) {
        reply.n_items = input->page->limit == 1 || input->page->after_id[0] != '\0' ? 1 : 2;
        reply.has_more = input->page->limit == 1 && input->page->after_id[0] == '\0';
    }
    closure(&reply, closure_data);
}

static void fake_get_work(Guichet__V1__Routing_Service *service, const Guichet__V1__GetWorkRequest *input,
                          Guichet__V1__GetWorkReply_Closure closure, void *closure_data)
{
    Guichet__V1__GetWorkReply reply = GUICHET__V1__GET_WORK_REPLY__INIT;
    Guichet__V1__WorkItem item, *items[] = { &item };

    (void)service;
    if (fake_begin(closure_data))
        return;
    reply.items = items;
    reply.n_items = fake_work(input->tenant, input->conversation_ids[0], &item);
    closure(&reply, closure_data);
}

static inline void fake_act(const char *tenant, const char *id, uint32_t if_version,
                            Guichet__V1__WorkReply_Closure closure, void *closure_data)
{
    Guichet__V1__WorkReply reply = GUICHET__V1__WORK_REPLY__INIT;
    Guichet__V1__WorkItem item;

    fake.if_version = if_version;
    if (fake_begin(closure_data) || fake_is_failing(closure_data, &fake.action_failure))
        return;
    fake_work(tenant, id, &item);
    item.version++;
    reply.item = &item;
    closure(&reply, closure_data);
}

#define FAKE_ACTION(name, Name)                                                                              \
    static void fake_##name(Guichet__V1__Routing_Service *service,                                           \
                            const Guichet__V1__##Name##Request *input,                                       \
                            Guichet__V1__WorkReply_Closure closure, void *closure_data)                      \
    {                                                                                                        \
        (void)service;                                                                                       \
        fake_act(input->tenant, input->conversation_id, input->if_version, closure, closure_data);           \
    }
FAKE_ACTION(assign, Assign)
FAKE_ACTION(transfer, Transfer)
FAKE_ACTION(close, Close)
FAKE_ACTION(reopen, Reopen)

#endif
