/* SPDX-License-Identifier: Apache-2.0 */
/* fake_routing.h - for tests of the gateway: a routing service of one small, fixed tenant.
 *
 * Tenant demo: agents ada (in queue Q1), sue (supervisor) and abe (admin), whose tokens are their names;
 * conversations C1 (ada's), C2 (waits in Q1), C3 (bob's), C4 (closed, Q2), C5 (not taken up yet). Tenant
 * other has agent eve and nothing else. */
#ifndef GUICHET_GATEWAY_FAKE_ROUTING_H
#define GUICHET_GATEWAY_FAKE_ROUTING_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/pbtime.h"
#include "guichet/v1/routing.pb-c.h"
#include "io/mesh.h"

#define FAKE_ID(n) "018f2f6e-0000-7000-8000-00000000000" n
#define ADA FAKE_ID("a")
#define BOB FAKE_ID("b")
#define C1 FAKE_ID("1")
#define C2 FAKE_ID("2")
#define C3 FAKE_ID("3")
#define C4 FAKE_ID("4")
#define C5 FAKE_ID("5")
#define Q1 FAKE_ID("8")
#define Q2 FAKE_ID("9")
#define M1 "018f2f6e-0001-7000-8000-000000000001"
#define M2 "018f2f6e-0001-7000-8000-000000000002"
#define T1 "018f2f6e-0002-7000-8000-000000000001"
#define NOBODY "018f2f6e-0009-7000-8000-000000000009"

#define FAKE_EVENTS_MAX 4096

struct fake {
    struct mesh_server *routing, *context;
    struct err failure;                  /* kind set: every call but CheckSession ends so */
    struct err session_failure;          /* CheckSession does */
    struct err action_failure;           /* only assign, transfer, close, reopen */
    uint32_t session_checks, event_reads;
    bool holds_reads;                    /* ReadEvents is not answered until fake_release() */
    Guichet__V1__ReadEventsReply_Closure held[8];
    void *held_data[8];
    Guichet__V1__ReadEventsRequest held_request[8];
    size_t held_count;
    char epoch[40];
    Guichet__V1__Event events[FAKE_EVENTS_MAX]; /* sequence is index + 1 */
    uint64_t event_count, pruned;
    uint32_t work_version;               /* of C1 */
    char key[160], text[160];            /* of the last message or note stored */
    char traceparent[64], visible_to[64], queue_id[64];
    uint32_t if_version;
};

static struct fake fake;

static inline bool fake_is_failing(void *closure_data, const struct err *failure)
{
    if (failure->kind == ERR_NONE)
        return false;
    mesh_request_fail(mesh_request_of(closure_data), failure);
    return true;
}

static inline void fake_fail(void *closure_data, enum err_kind kind, const char *text)
{
    struct err err = { 0 };

    err_set(&err, kind, "%s", text);
    mesh_request_fail(mesh_request_of(closure_data), &err);
}

/* true: the request has been answered already. */
static inline bool fake_begin(void *closure_data)
{
    snprintf(fake.traceparent, sizeof(fake.traceparent), "%s",
             mesh_request_traceparent(mesh_request_of(closure_data)));
    return fake_is_failing(closure_data, &fake.failure);
}

static inline bool fake_is_demo(const char *tenant)
{
    return strcmp(tenant, "demo") == 0;
}

static inline bool fake_agent(const char *token, Guichet__V1__Agent *ret_agent)
{
    static char *queues[] = { Q1 };
    static const struct { const char *token, *id; Guichet__V1__Role role; } agents[] = {
        { "ada", ADA, GUICHET__V1__ROLE__ROLE_AGENT },
        { "bob", BOB, GUICHET__V1__ROLE__ROLE_AGENT },
        { "sue", FAKE_ID("c"), GUICHET__V1__ROLE__ROLE_SUPERVISOR },
        { "abe", FAKE_ID("d"), GUICHET__V1__ROLE__ROLE_ADMIN },
        { "eve", FAKE_ID("e"), GUICHET__V1__ROLE__ROLE_ADMIN },
    };

    guichet__v1__agent__init(ret_agent);
    for (size_t i = 0; i < COUNT_OF(agents); i++) {
        if (strcmp(agents[i].token, token) != 0)
            continue;
        ret_agent->tenant = strcmp(token, "eve") == 0 ? "other" : "demo";
        ret_agent->id = (char *)agents[i].id;
        ret_agent->login = (char *)agents[i].token;
        ret_agent->role = agents[i].role;
        ret_agent->presence = GUICHET__V1__PRESENCE__PRESENCE_ONLINE;
        ret_agent->queue_ids = queues;
        ret_agent->n_queue_ids = 1;
        return true;
    }
    return false;
}

static void fake_login(Guichet__V1__Routing_Service *service, const Guichet__V1__LoginRequest *input,
                       Guichet__V1__LoginReply_Closure closure, void *closure_data)
{
    Guichet__V1__LoginReply reply = GUICHET__V1__LOGIN_REPLY__INIT;
    Guichet__V1__Agent agent;

    (void)service;
    if (fake_begin(closure_data))
        return;
    if (!fake_is_demo(input->tenant) || strcmp(input->password, "right") != 0 || !fake_agent(input->login, &agent)) {
        fake_fail(closure_data, ERR_FORBIDDEN, "wrong");
        return;
    }
    reply.token = input->login;
    reply.agent = &agent;
    reply.expires_at = pbtime_new(mesh_request_arena(mesh_request_of(closure_data)), INT64_C(4000000000000000));
    closure(&reply, closure_data);
}

static void fake_logout(Guichet__V1__Routing_Service *service, const Guichet__V1__LogoutRequest *input,
                        Guichet__V1__LogoutReply_Closure closure, void *closure_data)
{
    Guichet__V1__LogoutReply reply = GUICHET__V1__LOGOUT_REPLY__INIT;

    (void)service, (void)input;
    if (!fake_begin(closure_data))
        closure(&reply, closure_data);
}

static void fake_check_session(Guichet__V1__Routing_Service *service, const Guichet__V1__CheckSessionRequest *input,
                               Guichet__V1__CheckSessionReply_Closure closure, void *closure_data)
{
    Guichet__V1__CheckSessionReply reply = GUICHET__V1__CHECK_SESSION_REPLY__INIT;
    Guichet__V1__Agent agent;

    (void)service;
    fake.session_checks++;
    if (fake_is_failing(closure_data, &fake.session_failure))
        return;
    if (!fake_agent(input->token, &agent)) {
        fake_fail(closure_data, ERR_FORBIDDEN, "no such session");
        return;
    }
    reply.agent = &agent;
    reply.expires_at = pbtime_new(mesh_request_arena(mesh_request_of(closure_data)), INT64_C(4000000000000000));
    closure(&reply, closure_data);
}

static void fake_set_presence(Guichet__V1__Routing_Service *service, const Guichet__V1__SetPresenceRequest *input,
                              Guichet__V1__SetPresenceReply_Closure closure, void *closure_data)
{
    Guichet__V1__SetPresenceReply reply = GUICHET__V1__SET_PRESENCE_REPLY__INIT;
    Guichet__V1__Agent agent;

    (void)service;
    if (fake_begin(closure_data))
        return;
    fake_agent("ada", &agent);
    agent.presence = input->presence;
    reply.agent = &agent;
    closure(&reply, closure_data);
}

static void fake_put_agent(Guichet__V1__Routing_Service *service, const Guichet__V1__PutAgentRequest *input,
                           Guichet__V1__PutAgentReply_Closure closure, void *closure_data)
{
    Guichet__V1__PutAgentReply reply = GUICHET__V1__PUT_AGENT_REPLY__INIT;
    Guichet__V1__Agent agent;

    (void)service;
    if (fake_begin(closure_data))
        return;
    if (input->n_queues > 0 && strcmp(input->queues[0], "nowhere") == 0) {
        fake_fail(closure_data, ERR_NOT_FOUND, "no queue 'nowhere'");
        return;
    }
    reply.is_new = !fake_agent(input->login, &agent);
    agent.login = input->login;
    agent.capacity = input->capacity;
    reply.agent = &agent;
    closure(&reply, closure_data);
}

static void fake_list_agents(Guichet__V1__Routing_Service *service, const Guichet__V1__ListAgentsRequest *input,
                             Guichet__V1__ListAgentsReply_Closure closure, void *closure_data)
{
    Guichet__V1__ListAgentsReply reply = GUICHET__V1__LIST_AGENTS_REPLY__INIT;
    Guichet__V1__Agent ada, bob, *both[] = { &ada, &bob };
    bool is_second = strcmp(input->page->after_id, ADA) == 0;

    (void)service;
    if (fake_begin(closure_data))
        return;
    fake_agent("ada", &ada);
    fake_agent("bob", &bob);
    reply.agents = is_second ? both + 1 : both;
    reply.n_agents = is_second || input->page->limit == 1 ? 1 : 2;
    reply.has_more = !is_second && input->page->limit == 1;
    closure(&reply, closure_data);
}

static void fake_list_queues(Guichet__V1__Routing_Service *service, const Guichet__V1__ListQueuesRequest *input,
                             Guichet__V1__ListQueuesReply_Closure closure, void *closure_data)
{
    Guichet__V1__ListQueuesReply reply = GUICHET__V1__LIST_QUEUES_REPLY__INIT;
    Guichet__V1__Queue queue = GUICHET__V1__QUEUE__INIT, *queues[] = { &queue };

    (void)service, (void)input;
    if (fake_begin(closure_data))
        return;
    queue.id = Q1;
    queue.name = "support";
    reply.queues = queues;
    reply.n_queues = 1;
    closure(&reply, closure_data);
}

static void fake_list_accounts(Guichet__V1__Routing_Service *service, const Guichet__V1__ListAccountsRequest *input,
                               Guichet__V1__ListAccountsReply_Closure closure, void *closure_data)
{
    Guichet__V1__ListAccountsReply reply = GUICHET__V1__LIST_ACCOUNTS_REPLY__INIT;
    Guichet__V1__ChannelAccount account = GUICHET__V1__CHANNEL_ACCOUNT__INIT, *accounts[] = { &account };
    Guichet__V1__Capabilities capabilities = GUICHET__V1__CAPABILITIES__INIT;

    (void)service, (void)input;
    if (fake_begin(closure_data))
        return;
    account.id = "sms-demo";
    account.capabilities = &capabilities;
    reply.accounts = accounts;
    reply.n_accounts = 1;
    closure(&reply, closure_data);
}

/* ---- work ---- */

static inline bool fake_work(const char *tenant, const char *id, Guichet__V1__WorkItem *ret_item)
{
    static const struct { const char *id; Guichet__V1__WorkState state; const char *agent, *queue; } items[] = {
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
    if (fake_work(input->tenant, strcmp(input->page->after_id, C1) == 0 ? C2 : C1, &first)
        && fake_work(input->tenant, C2, &second) && input->state != GUICHET__V1__WORK_STATE__WORK_STATE_CLOSED) {
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

#define FAKE_ACTION(name, Name)                                                                                 \
    static void fake_##name(Guichet__V1__Routing_Service *service, const Guichet__V1__##Name##Request *input,   \
                            Guichet__V1__WorkReply_Closure closure, void *closure_data)                         \
    {                                                                                                           \
        (void)service;                                                                                          \
        fake_act(input->tenant, input->conversation_id, input->if_version, closure, closure_data);              \
    }
FAKE_ACTION(assign, Assign)
FAKE_ACTION(transfer, Transfer)
FAKE_ACTION(close, Close)
FAKE_ACTION(reopen, Reopen)

/* true: the same key came with another text, and was answered. */
static inline bool fake_key_clashes(void *closure_data, const char *key, const char *text, bool *ret_is_duplicate)
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
    fake_store(input->content->parts[0]->text->text, input->content, input->idempotency_key, closure, closure_data);
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

static void fake_get_deliveries(Guichet__V1__Routing_Service *service, const Guichet__V1__GetDeliveriesRequest *input,
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

/* ---- the event log ---- */

static inline void fake_answer_read(uint64_t after, const char *epoch, uint32_t limit,
                                    Guichet__V1__ReadEventsReply_Closure closure, void *closure_data)
{
    Guichet__V1__ReadEventsReply reply = GUICHET__V1__READ_EVENTS_REPLY__INIT;
    Guichet__V1__Event *events[FAKE_EVENTS_MAX];

    reply.epoch = fake.epoch;
    reply.last_sequence = fake.event_count;
    reply.is_resync_required
        = (epoch[0] != '\0' && strcmp(epoch, fake.epoch) != 0) || after < fake.pruned || after > fake.event_count;
    reply.events = events;
    for (uint64_t i = after; !reply.is_resync_required && i < fake.event_count && reply.n_events < limit; i++)
        events[reply.n_events++] = &fake.events[i];
    closure(&reply, closure_data);
}

static void fake_read_events(Guichet__V1__Routing_Service *service, const Guichet__V1__ReadEventsRequest *input,
                             Guichet__V1__ReadEventsReply_Closure closure, void *closure_data)
{
    Guichet__V1__ReadEventsReply empty = GUICHET__V1__READ_EVENTS_REPLY__INIT;

    (void)service;
    fake.event_reads++;
    if (fake_begin(closure_data))
        return;
    if (!fake_is_demo(input->tenant)) {
        empty.epoch = "epoch-other";
        closure(&empty, closure_data);
        return;
    }
    if (fake.holds_reads && fake.held_count < COUNT_OF(fake.held)) {
        fake.held[fake.held_count] = closure;
        fake.held_data[fake.held_count] = closure_data;
        fake.held_request[fake.held_count++] = *input;
        return;
    }
    fake_answer_read(input->after_sequence, input->epoch, input->limit, closure, closure_data);
}

static inline void fake_release(void)
{
    fake.holds_reads = false;
    for (size_t i = 0; i < fake.held_count; i++)
        fake_answer_read(fake.held_request[i].after_sequence, fake.held_request[i].epoch, fake.held_request[i].limit,
                         fake.held[i], fake.held_data[i]);
    fake.held_count = 0;
}

/* Appends an event to the log; returns its sequence. Strings are borrowed for good. */
static inline uint64_t fake_event(Guichet__V1__EventType type, const char *conversation_id, const char *agent_id,
                                  const char *queue_id)
{
    Guichet__V1__Event *event = &fake.events[fake.event_count++];

    guichet__v1__event__init(event);
    event->tenant = "demo";
    event->sequence = fake.event_count;
    event->type = type;
    event->conversation_id = (char *)conversation_id;
    event->agent_id = (char *)agent_id;
    event->queue_id = (char *)queue_id;
    return event->sequence;
}

static void fake_get_status(Guichet__V1__Routing_Service *service, const Guichet__V1__GetStatusRequest *input,
                            Guichet__V1__GetStatusReply_Closure closure, void *closure_data)
{
    (void)service, (void)input, (void)closure;
    fake_fail(closure_data, ERR_INTERNAL, "the gateway never asks this");
}

static Guichet__V1__Routing_Service fake_routing_service = GUICHET__V1__ROUTING__INIT(fake_);

#endif
