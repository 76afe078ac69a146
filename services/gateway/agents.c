/* SPDX-License-Identifier: Apache-2.0 */
/* agents.c - colleagues, queues, channel accounts.
 *
 * Queues and accounts come from routing's configuration: tens, not thousands. They are
 * answered whole, in the shape of a page, so that clients read all lists alike. */
#include "handlers.h"

const struct body_field agents_body[] = {
    { "/login", BODY_TEXT, true, 1, 128, NULL },
    { "/display_name", BODY_TEXT, false, 1, 128, NULL },
    { "/password", BODY_TEXT, false, 8, 1024, NULL },
    { "/role", BODY_ENUM, true, 0, 0, &guichet__v1__role__descriptor },
    { "/capacity", BODY_NUMBER, false, 1, 1000, NULL },
    { "/queues", BODY_TEXTS, false, 0, 100, NULL },
    { 0 },
};

static void on_agents(const Guichet__V1__ListAgentsReply *reply, void *arg)
{
    struct call *call = arg;

    if (reply == NULL) {
        call_fail(call, mesh_err());
        return;
    }
    call_reply_page(call, "agents", (ProtobufCMessage *const *)reply->agents, reply->n_agents,
                    reply->has_more && reply->n_agents > 0 ? reply->agents[reply->n_agents - 1]->id : NULL);
}

void agents_list(struct call *call)
{
    Guichet__V1__ListAgentsRequest request = GUICHET__V1__LIST_AGENTS_REQUEST__INIT;

    request.tenant = call_tenant(call);
    if (call_page(call, "agents", &request.page))
        guichet__v1__routing__list_agents(call_routing(call), &request, on_agents, call);
}

static void on_agent_put(const Guichet__V1__PutAgentReply *reply, void *arg)
{
    struct call *call = arg;

    if (reply == NULL && mesh_err()->kind == ERR_NOT_FOUND) {
        call_bad_member(call, "/queues", mesh_err()->text); /* a name in the body, not the path, is unknown */
        return;
    }
    if (reply == NULL) {
        call_fail(call, mesh_err());
        return;
    }
    if (reply->agent == NULL) {
        call_fail(call, &(struct err){ .kind = ERR_INTERNAL, .text = "routing answered no agent" });
        return;
    }
    log_event(LOG_INFO, "agent_put", LOG_TEXT("tenant", call_tenant(call)),
              LOG_TEXT("agent", reply->agent->id), LOG_TEXT("by", call->agent->id),
              LOG_NUMBER("is_new", reply->is_new));
    call_reply(call, reply->is_new ? 201 : 200, &reply->agent->base);
}

void agents_put(struct call *call)
{
    Guichet__V1__PutAgentRequest request = GUICHET__V1__PUT_AGENT_REQUEST__INIT;
    char *queues[100];

    request.tenant = call_tenant(call);
    request.login = (char *)call_text(call, "/login");
    request.display_name = (char *)call_text(call, "/display_name");
    request.password = (char *)call_text(call, "/password");
    request.role = (Guichet__V1__Role)call_word(call, "/role");
    request.capacity = call_number(call, "/capacity");
    while (request.n_queues < COUNT_OF(queues) &&
           (queues[request.n_queues] = (char *)call_text_at(call, "/queues", request.n_queues)) != NULL)
        request.n_queues++;
    request.queues = queues;
    guichet__v1__routing__put_agent(
        mesh_client_call(
            call->gateway->routing,
            &(struct mesh_call){ .tenant = request.tenant,
                                 .traceparent = call->trace.parent,
                                 .timeout_ms = call->gateway->config->login_timeout_ms,
                                 .attempt_timeout_ms = call->gateway->config->login_timeout_ms }),
        &request, on_agent_put, call);
}

static void on_queues(const Guichet__V1__ListQueuesReply *reply, void *arg)
{
    struct call *call = arg;

    if (reply == NULL)
        call_fail(call, mesh_err());
    else
        call_reply_page(call, "queues", (ProtobufCMessage *const *)reply->queues, reply->n_queues, NULL);
}

void agents_queues(struct call *call)
{
    Guichet__V1__ListQueuesRequest request = GUICHET__V1__LIST_QUEUES_REQUEST__INIT;

    request.tenant = call_tenant(call);
    guichet__v1__routing__list_queues(call_routing(call), &request, on_queues, call);
}

static void on_accounts(const Guichet__V1__ListAccountsReply *reply, void *arg)
{
    struct call *call = arg;

    if (reply == NULL)
        call_fail(call, mesh_err());
    else
        call_reply_page(call, "accounts", (ProtobufCMessage *const *)reply->accounts, reply->n_accounts,
                        NULL);
}

void agents_accounts(struct call *call)
{
    Guichet__V1__ListAccountsRequest request = GUICHET__V1__LIST_ACCOUNTS_REQUEST__INIT;

    request.tenant = call_tenant(call);
    guichet__v1__routing__list_accounts(call_routing(call), &request, on_accounts, call);
}
