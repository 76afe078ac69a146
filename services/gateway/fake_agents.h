/* SPDX-License-Identifier: Apache-2.0 */
/* fake_agents.h - for tests of the gateway: sessions, agents, queues, accounts. */
#ifndef GUICHET_GATEWAY_FAKE_AGENTS_H
#define GUICHET_GATEWAY_FAKE_AGENTS_H

#include "fake.h"

static void fake_login(Guichet__V1__Routing_Service *service, const Guichet__V1__LoginRequest *input,
                       Guichet__V1__LoginReply_Closure closure, void *closure_data)
{
    Guichet__V1__LoginReply reply = GUICHET__V1__LOGIN_REPLY__INIT;
    Guichet__V1__Agent agent;

    (void)service;
    if (fake_begin(closure_data))
        return;
    if (!fake_is_demo(input->tenant) || strcmp(input->password, "right") != 0 ||
        !fake_agent(input->login, &agent)) {
        fake_fail(closure_data, ERR_FORBIDDEN, "wrong");
        return;
    }
    reply.token = input->login;
    reply.agent = &agent;
    reply.expires_at =
        pbtime_new(mesh_request_arena(mesh_request_of(closure_data)), INT64_C(4000000000000000));
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

static void fake_check_session(Guichet__V1__Routing_Service *service,
                               const Guichet__V1__CheckSessionRequest *input,
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
    reply.expires_at =
        pbtime_new(mesh_request_arena(mesh_request_of(closure_data)), INT64_C(4000000000000000));
    closure(&reply, closure_data);
}

static void fake_set_presence(Guichet__V1__Routing_Service *service,
                              const Guichet__V1__SetPresenceRequest *input,
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

static void fake_list_agents(Guichet__V1__Routing_Service *service,
                             const Guichet__V1__ListAgentsRequest *input,
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

static void fake_list_queues(Guichet__V1__Routing_Service *service,
                             const Guichet__V1__ListQueuesRequest *input,
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

static void fake_list_accounts(Guichet__V1__Routing_Service *service,
                               const Guichet__V1__ListAccountsRequest *input,
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

#endif
