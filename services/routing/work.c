/* SPDX-License-Identifier: Apache-2.0 */
/* work.c - work items: lists, claims, assignment by hand, transfer. The rules are SQL's. */
#include <string.h>

#include "rows.h"
#include "rpc.h"
#include "statements.h"

enum { ITEMS_MAX = 100, REASON_MAX_BYTES = 500 };

/* ---- who asks ---- */

void routing_actor_query(struct routing_call *call, const char *tenant, const char *conversation_id,
                         const char *actor_id, routing_rows_fn *on_rows)
{
    const struct db_param params[] = {
        DB_PARAM_TEXT(tenant),
        DB_PARAM_UUID(conversation_id),
        DB_PARAM_UUID(actor_id),
    };

    routing_call_query(call, call->routing->database.short_, &routing_sql_get_actor, params, COUNT_OF(params),
                       on_rows);
}

bool routing_actor_read(struct routing_call *call, struct db_work *work, const char *actor_id,
                        struct routing_actor *ret_actor)
{
    const struct db_result *row = db_work_result(work, 0);
    enum { ITEM = 2 };

    *ret_actor = (struct routing_actor){ .role = (Guichet__V1__Role)db_i64(row, 0, 0) };
    if (actor_id[0] == '\0')
        ret_actor->role = GUICHET__V1__ROLE__ROLE_ADMIN;
    if (ret_actor->role == GUICHET__V1__ROLE__ROLE_UNSPECIFIED) {
        routing_call_refuse(call, ERR_FORBIDDEN, "%s is no agent of this tenant", actor_id);
        return false;
    }
    if (db_is_null(row, 0, ITEM))
        return true;
    ret_actor->is_in_queue = db_i64(row, 0, 1) != 0;
    ret_actor->item = routing_row_work(work, row, 0, ITEM, call->arena);
    ret_actor->is_assigned = actor_id[0] != '\0' && strcmp(ret_actor->item->agent_id, actor_id) == 0;
    return true;
}

const char *routing_actor_cannot_write(const struct routing_actor *actor, enum err_kind *ret_kind)
{
    const Guichet__V1__WorkItem *item = actor->item;

    *ret_kind = ERR_NOT_FOUND;
    if (item == NULL)
        return "there is no such conversation";
    *ret_kind = ERR_FORBIDDEN;
    if (actor->role == GUICHET__V1__ROLE__ROLE_AGENT && !actor->is_assigned &&
        item->state != GUICHET__V1__WORK_STATE__WORK_STATE_CLOSED)
        return "only its agent or a supervisor writes in a conversation: claim it first";
    return NULL;
}

/* ---- lists ---- */

static void on_work_listed(struct routing_call *call, struct db_work *work)
{
    const uint32_t *limit = call->state;
    const struct db_result *rows = db_work_result(work, 0);
    Guichet__V1__ListWorkReply reply = GUICHET__V1__LIST_WORK_REPLY__INIT;

    reply.has_more = db_rows(rows) > *limit;
    reply.n_items = reply.has_more ? *limit : db_rows(rows);
    reply.items = arena_alloc(call->arena, (reply.n_items + 1) * sizeof(*reply.items));
    for (size_t i = 0; i < reply.n_items; i++)
        reply.items[i] = routing_row_work(work, rows, i, 0, call->arena);
    routing_call_answer(call, &reply.base);
}

static void list_work(struct routing_call *call, const Guichet__V1__ListWorkRequest *input, const char *after,
                      uint32_t limit)
{
    struct db_pool *pool = call->routing->database.short_;
    const struct db_param tenant = DB_PARAM_TEXT(input->tenant), queue = DB_PARAM_UUID(input->queue_id);
    const struct db_param agent = DB_PARAM_UUID(input->agent_id),
                          visible_to = DB_PARAM_UUID(input->visible_to);
    const struct db_param from = DB_PARAM_UUID(after), most = DB_PARAM_I32(limit + 1);

    if (input->agent_id[0] != '\0') {
        const struct db_param params[] = { tenant, agent, queue, visible_to, from, most };

        routing_call_query(call, pool, &routing_sql_list_assigned, params, COUNT_OF(params), on_work_listed);
    } else if (input->state == GUICHET__V1__WORK_STATE__WORK_STATE_WAITING) {
        const struct db_param params[] = { tenant, queue, visible_to, from, most };

        routing_call_query(call, pool, &routing_sql_list_waiting, params, COUNT_OF(params), on_work_listed);
    } else {
        const struct db_param params[] = {
            tenant, DB_PARAM_I32(input->state), queue, visible_to, from, most
        };

        routing_call_query(call, pool,
                           input->state == GUICHET__V1__WORK_STATE__WORK_STATE_ASSIGNED
                               ? &routing_sql_list_taken
                               : &routing_sql_list_work,
                           params, COUNT_OF(params), on_work_listed);
    }
}

ROUTING_RPC(list_work, ListWork, ListWorkReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();
    uint32_t *limit = routing_call_state(call, sizeof(*limit));
    const char *after = input->page != NULL ? input->page->after_id : "";
    bool is_assigned_only = input->agent_id[0] != '\0';

    *limit = routing_page_limit(input->page, ITEMS_MAX);
    if (!routing_call_is_tenant(call, input->tenant) ||
        !routing_call_is_id(call, "agent_id", input->agent_id, true) ||
        !routing_call_is_id(call, "queue_id", input->queue_id, true) ||
        !routing_call_is_id(call, "visible_to", input->visible_to, true) ||
        !routing_call_is_id(call, "after_id", after, true))
        return;
    if (is_assigned_only && input->state != GUICHET__V1__WORK_STATE__WORK_STATE_UNSPECIFIED &&
        input->state != GUICHET__V1__WORK_STATE__WORK_STATE_ASSIGNED) {
        Guichet__V1__ListWorkReply nothing = GUICHET__V1__LIST_WORK_REPLY__INIT;

        routing_call_answer(call, &nothing.base); /* only what is assigned is an agent's */
        return;
    }
    list_work(call, input, after, *limit);
}

static void on_work_got(struct routing_call *call, struct db_work *work)
{
    const struct db_result *rows = db_work_result(work, 0);
    Guichet__V1__GetWorkReply reply = GUICHET__V1__GET_WORK_REPLY__INIT;

    reply.n_items = db_rows(rows);
    reply.items = arena_alloc(call->arena, (reply.n_items + 1) * sizeof(*reply.items));
    for (size_t i = 0; i < reply.n_items; i++)
        reply.items[i] = routing_row_work(work, rows, i, 0, call->arena);
    routing_call_answer(call, &reply.base);
}

ROUTING_RPC(get_work, GetWork, GetWorkReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();
    struct str_view *ids;

    if (!routing_call_is_tenant(call, input->tenant))
        return;
    if (input->n_conversation_ids > ITEMS_MAX) {
        routing_call_refuse(call, ERR_INVALID, "%zu conversation_ids: at most %d", input->n_conversation_ids,
                            ITEMS_MAX);
        return;
    }
    ids = arena_alloc(call->arena, (input->n_conversation_ids + 1) * sizeof(*ids));
    for (size_t i = 0; i < input->n_conversation_ids; i++) {
        if (!routing_call_is_id(call, "conversation_id", input->conversation_ids[i], false))
            return;
        ids[i] = str_view_of(input->conversation_ids[i]);
    }
    const struct db_param params[] = {
        DB_PARAM_TEXT(input->tenant),
        { .type = DB_UUID_ARRAY, .items = ids, .count = input->n_conversation_ids },
    };
    routing_call_query(call, call->routing->database.short_, &routing_sql_get_work, params, COUNT_OF(params),
                       on_work_got);
}

/* ---- changes of hands ---- */

struct change {
    char *tenant;
};

/* The function's sequence, then the item as it is now. */
static void on_work_changed(struct routing_call *call, struct db_work *work)
{
    const struct change *change = call->state;
    const struct db_result *rows = db_work_result(work, 1);
    Guichet__V1__WorkReply reply = GUICHET__V1__WORK_REPLY__INIT;

    routing_committed(call->routing, change->tenant, (uint64_t)db_i64(db_work_result(work, 0), 0, 0));
    if (db_rows(rows) > 0)
        reply.item = routing_row_work(work, rows, 0, 0, call->arena);
    routing_call_answer(call, &reply.base);
}

static void change_work(struct routing_call *call, const struct db_statement *statement,
                        const struct db_param *params, size_t count, char *tenant,
                        const char *conversation_id)
{
    struct db_work *work = db_work_new(call->routing->database.short_);
    struct change *change = routing_call_state(call, sizeof(*change));
    const struct str_view id = str_view_of(conversation_id);
    const struct db_param item[] = {
        DB_PARAM_TEXT(tenant),
        { .type = DB_UUID_ARRAY, .items = &id, .count = 1 },
    };

    change->tenant = tenant;
    db_work_add(work, statement, params, count);
    db_work_add(work, &routing_sql_get_work, item, COUNT_OF(item));
    routing_call_run(call, work, on_work_changed);
}

ROUTING_RPC(assign, Assign, WorkReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();
    const struct db_param params[] = {
        DB_PARAM_TEXT(input->tenant),   DB_PARAM_UUID(input->conversation_id), DB_PARAM_UUID(input->agent_id),
        DB_PARAM_UUID(input->actor_id), DB_PARAM_I32(input->if_version),
    };

    if (routing_call_is_tenant(call, input->tenant) &&
        routing_call_is_id(call, "conversation_id", input->conversation_id, false) &&
        routing_call_is_id(call, "agent_id", input->agent_id, false) &&
        routing_call_is_id(call, "actor_id", input->actor_id, true))
        change_work(call, &routing_sql_assign, params, COUNT_OF(params), input->tenant,
                    input->conversation_id);
}

ROUTING_RPC(transfer, Transfer, WorkReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();
    struct str_view reason = str_view_of(input->reason);
    const struct db_param params[] = {
        DB_PARAM_TEXT(input->tenant),
        DB_PARAM_UUID(input->conversation_id),
        DB_PARAM_UUID(input->queue_id),
        DB_PARAM_UUID(input->agent_id),
        DB_PARAM_UUID(input->actor_id),
        DB_PARAM_I32(input->if_version),
        { .type = DB_TEXT, .text = { reason.data, utf8_cut(reason, REASON_MAX_BYTES) } },
    };

    if (!routing_call_is_tenant(call, input->tenant) ||
        !routing_call_is_id(call, "conversation_id", input->conversation_id, false) ||
        !routing_call_is_id(call, "queue_id", input->queue_id, true) ||
        !routing_call_is_id(call, "agent_id", input->agent_id, true) ||
        !routing_call_is_id(call, "actor_id", input->actor_id, true))
        return;
    if (input->queue_id[0] == '\0' && input->agent_id[0] == '\0') {
        routing_call_refuse(call, ERR_INVALID, "transfer needs a queue_id or an agent_id");
        return;
    }
    change_work(call, &routing_sql_transfer, params, COUNT_OF(params), input->tenant, input->conversation_id);
}
