/* SPDX-License-Identifier: Apache-2.0 */
/* agents.c - agents and their presence; queues and accounts as lists. */
#include <string.h>

#include "core/id.h"
#include "core/pbtime.h"
#include "login.h"
#include "ops/log.h"
#include "rows.h"
#include "rpc.h"
#include "statements.h"

enum { AGENTS_MAX = 100, LOGIN_MAX_BYTES = 200, CAPACITY_MAX = 1000 };

/* ---- presence ---- */

static void on_presence_set(struct routing_call *call, struct db_work *work)
{
    const Guichet__V1__SetPresenceRequest *input = call->input;
    struct routing *routing = call->routing;
    Guichet__V1__SetPresenceReply reply = GUICHET__V1__SET_PRESENCE_REPLY__INIT;

    routing_committed(routing, input->tenant, (uint64_t)db_i64(db_work_result(work, 0), 0, 0));
    if (input->presence != GUICHET__V1__PRESENCE__PRESENCE_OFFLINE)
        routing_clocks_presence_in(routing->clocks, input->tenant, routing->config->presence_ttl_ms);
    reply.agent = routing_row_agent(work, db_work_result(work, 1), 0, call->arena);
    routing_call_answer(call, &reply.base);
}

ROUTING_RPC(set_presence, SetPresence, SetPresenceReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();
    const struct db_param set[] = {
        DB_PARAM_TEXT(input->tenant),
        DB_PARAM_UUID(input->agent_id),
        DB_PARAM_I32(input->presence),
    };
    struct db_work *work;

    if (!routing_call_is_tenant(call, input->tenant) ||
        !routing_call_is_id(call, "agent_id", input->agent_id, false))
        return;
    if (input->presence > GUICHET__V1__PRESENCE__PRESENCE_AWAY) {
        routing_call_refuse(call, ERR_INVALID, "presence %d is none", (int)input->presence);
        return;
    }
    work = db_work_new(call->routing->database.short_);
    db_work_add(work, &routing_sql_set_presence, set, COUNT_OF(set));
    db_work_add(work, &routing_sql_get_agent, set, 2);
    routing_call_run(call, work, on_presence_set);
}

/* ---- agents ---- */

struct put {
    Guichet__V1__PutAgentReply reply;
};

static void on_agent_read(struct routing_call *call, struct db_work *work)
{
    struct put *put = call->state;

    put->reply.agent = routing_row_agent(work, db_work_result(work, 0), 0, call->arena);
    routing_call_answer(call, &put->reply.base);
}

static void on_agent_put(struct routing_call *call, struct db_work *work)
{
    const Guichet__V1__PutAgentRequest *input = call->input;
    const struct db_result *row = db_work_result(work, 0);
    struct put *put = routing_call_state(call, sizeof(*put));
    const struct db_param params[] = { DB_PARAM_TEXT(input->tenant),
                                       DB_PARAM_UUID(db_text(work, row, 0, 0)) };

    guichet__v1__put_agent_reply__init(&put->reply);
    put->reply.is_new = db_i64(row, 0, 1) != 0;
    log_event(LOG_INFO, put->reply.is_new ? "agent_made" : "agent_changed", LOG_TEXT("tenant", input->tenant),
              LOG_TEXT("agent", db_text(work, row, 0, 0)));
    routing_committed(call->routing, input->tenant, (uint64_t)db_i64(row, 0, 2));
    routing_call_query(call, call->routing->database.short_, &routing_sql_get_agent, params, COUNT_OF(params),
                       on_agent_read);
}

static void put_agent(struct routing_call *call, const char *hash)
{
    const Guichet__V1__PutAgentRequest *input = call->input;
    struct str_view *queues = arena_alloc(call->arena, (input->n_queues + 1) * sizeof(*queues));
    char id[ID_TEXT_BYTES];

    id_new_text(id);
    for (size_t i = 0; i < input->n_queues; i++)
        queues[i] = str_view_of(input->queues[i]);
    const struct db_param params[] = {
        DB_PARAM_TEXT(input->tenant),
        DB_PARAM_UUID(id),
        DB_PARAM_TEXT(input->login),
        DB_PARAM_TEXT(input->display_name),
        DB_PARAM_TEXT(hash),
        DB_PARAM_I32(input->role),
        DB_PARAM_I32(input->capacity),
        DB_PARAM_I32(call->routing->config->agent_capacity),
        { .type = DB_TEXT_ARRAY, .items = queues, .count = input->n_queues },
    };
    routing_call_query(call, call->routing->database.short_, &routing_sql_put_agent, params, COUNT_OF(params),
                       on_agent_put);
}

ROUTING_RPC(put_agent, PutAgent, PutAgentReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();

    if (!routing_call_is_tenant(call, input->tenant))
        return;
    if (input->login[0] == '\0' || strlen(input->login) > LOGIN_MAX_BYTES)
        routing_call_refuse(call, ERR_INVALID, "the login has %zu bytes: 1 to %d are needed",
                            strlen(input->login), LOGIN_MAX_BYTES);
    else if (input->role > GUICHET__V1__ROLE__ROLE_ADMIN)
        routing_call_refuse(call, ERR_INVALID, "role %d is none", (int)input->role);
    else if (input->capacity > CAPACITY_MAX)
        routing_call_refuse(call, ERR_INVALID, "capacity %u: at most %d", input->capacity, CAPACITY_MAX);
    else if (input->password[0] == '\0')
        put_agent(call, "");
    else if (routing_login_check_password(call, input->password))
        routing_login_hash(call, input->password, put_agent);
}

static void on_agents(struct routing_call *call, struct db_work *work)
{
    const uint32_t *limit = call->state;
    const struct db_result *rows = db_work_result(work, 0);
    Guichet__V1__ListAgentsReply reply = GUICHET__V1__LIST_AGENTS_REPLY__INIT;

    reply.has_more = db_rows(rows) > *limit;
    reply.n_agents = reply.has_more ? *limit : db_rows(rows);
    reply.agents = arena_alloc(call->arena, (reply.n_agents + 1) * sizeof(*reply.agents));
    for (size_t i = 0; i < reply.n_agents; i++)
        reply.agents[i] = routing_row_agent(work, rows, i, call->arena);
    routing_call_answer(call, &reply.base);
}

ROUTING_RPC(list_agents, ListAgents, ListAgentsReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();
    uint32_t *limit = routing_call_state(call, sizeof(*limit));
    const char *after = input->page != NULL ? input->page->after_id : "";

    *limit = routing_page_limit(input->page, AGENTS_MAX);
    const struct db_param params[] = {
        DB_PARAM_TEXT(input->tenant),
        DB_PARAM_UUID(after),
        DB_PARAM_I32(*limit + 1),
    };
    if (routing_call_is_tenant(call, input->tenant) && routing_call_is_id(call, "after_id", after, true))
        routing_call_query(call, call->routing->database.short_, &routing_sql_list_agents, params,
                           COUNT_OF(params), on_agents);
}

/* ---- queues and accounts ---- */

static void on_queues(struct routing_call *call, struct db_work *work)
{
    const struct db_result *rows = db_work_result(work, 0);
    Guichet__V1__ListQueuesReply reply = GUICHET__V1__LIST_QUEUES_REPLY__INIT;

    reply.n_queues = db_rows(rows);
    reply.queues = arena_alloc(call->arena, (reply.n_queues + 1) * sizeof(*reply.queues));
    for (size_t i = 0; i < reply.n_queues; i++) {
        Guichet__V1__Queue *queue = arena_alloc(call->arena, sizeof(*queue));

        guichet__v1__queue__init(queue);
        queue->tenant = db_text(work, rows, i, 0);
        queue->id = db_text(work, rows, i, 1);
        queue->name = db_text(work, rows, i, 2);
        queue->waiting_count = (uint32_t)db_i64(rows, i, 3);
        queue->oldest_waiting_since = pbtime_new(call->arena, db_time_us(rows, i, 4));
        reply.queues[i] = queue;
    }
    routing_call_answer(call, &reply.base);
}

ROUTING_RPC(list_queues, ListQueues, ListQueuesReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();
    const struct db_param params[] = { DB_PARAM_TEXT(input->tenant) };

    if (routing_call_is_tenant(call, input->tenant))
        routing_call_query(call, call->routing->database.short_, &routing_sql_list_queues, params,
                           COUNT_OF(params), on_queues);
}

static void on_accounts(struct routing_call *call, struct db_work *work)
{
    const struct db_result *rows = db_work_result(work, 0);
    Guichet__V1__ListAccountsReply reply = GUICHET__V1__LIST_ACCOUNTS_REPLY__INIT;

    reply.n_accounts = db_rows(rows);
    reply.accounts = arena_alloc(call->arena, (reply.n_accounts + 1) * sizeof(*reply.accounts));
    for (size_t i = 0; i < reply.n_accounts; i++)
        reply.accounts[i] = routing_row_account(work, rows, i, call->arena);
    routing_call_answer(call, &reply.base);
}

ROUTING_RPC(list_accounts, ListAccounts, ListAccountsReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();
    const struct db_param params[] = {
        DB_PARAM_TEXT(input->tenant),
        DB_PARAM_I64(call->routing->config->account_ttl_ms),
    };

    if (routing_call_is_tenant(call, input->tenant))
        routing_call_query(call, call->routing->database.short_, &routing_sql_list_accounts, params,
                           COUNT_OF(params), on_accounts);
}
