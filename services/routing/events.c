/* SPDX-License-Identifier: Apache-2.0 */
/* events.c - the event log from a cursor; deliveries of messages; what guichetctl status shows. */
#include <string.h>

#include "core/pbtime.h"
#include "rows.h"
#include "rpc.h"
#include "statements.h"

enum { EVENTS_MAX = 500, MESSAGES_MAX = 500 };

/* ---- the log ---- */

/* A cursor of another life of the database, from the future, or older than what is kept: the log has no holes,
 * so what follows the cursor is its next number. Without an epoch: from whatever there is. */
static bool is_resync_required(const Guichet__V1__ReadEventsRequest *input, const char *epoch, uint64_t last,
                               const struct db_result *rows)
{
    if (input->after_sequence > last || (input->epoch[0] != '\0' && strcmp(input->epoch, epoch) != 0))
        return true;
    if (input->after_sequence == 0 && input->epoch[0] == '\0')
        return false;
    if (db_rows(rows) == 0)
        return input->after_sequence < last;
    return (uint64_t)db_i64(rows, 0, 0) != input->after_sequence + 1;
}

static void on_events(struct routing_call *call, struct db_work *work)
{
    const Guichet__V1__ReadEventsRequest *input = call->input;
    const struct db_result *head = db_work_result(work, 0), *rows = db_work_result(work, 1);
    Guichet__V1__ReadEventsReply reply = GUICHET__V1__READ_EVENTS_REPLY__INIT;

    if (db_rows(head) == 0) {
        routing_call_refuse(call, ERR_NOT_FOUND, "tenant '%s' has no log", input->tenant);
        return;
    }
    reply.epoch = db_text(work, head, 0, 0);
    reply.last_sequence = (uint64_t)db_i64(head, 0, 1);
    reply.is_resync_required = is_resync_required(input, reply.epoch, reply.last_sequence, rows);
    if (!reply.is_resync_required) {
        reply.n_events = db_rows(rows);
        reply.events = arena_alloc(call->arena, (reply.n_events + 1) * sizeof(*reply.events));
        for (size_t i = 0; i < reply.n_events; i++)
            reply.events[i] = routing_row_event(work, rows, i, input->tenant, call->arena);
        /* The head was read a moment before. */
        if (reply.n_events > 0 && reply.events[reply.n_events - 1]->sequence > reply.last_sequence)
            reply.last_sequence = reply.events[reply.n_events - 1]->sequence;
    }
    routing_call_answer(call, &reply.base);
}

ROUTING_RPC(read_events, ReadEvents, ReadEventsReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();
    uint32_t limit = input->limit == 0 || input->limit > EVENTS_MAX ? EVENTS_MAX : input->limit;
    const struct db_param params[] = {
        DB_PARAM_TEXT(input->tenant),
        DB_PARAM_I64(input->after_sequence),
        DB_PARAM_I32(limit),
    };
    struct db_work *work;

    if (!routing_call_is_tenant(call, input->tenant))
        return;
    work = db_work_new(call->routing->database.short_);
    db_work_add(work, &routing_sql_event_head, params, 1);
    db_work_add(work, &routing_sql_read_events, params, COUNT_OF(params));
    routing_call_run(call, work, on_events);
}

/* ---- deliveries ---- */

static void on_deliveries(struct routing_call *call, struct db_work *work)
{
    const struct db_result *rows = db_work_result(work, 0);
    Guichet__V1__GetDeliveriesReply reply = GUICHET__V1__GET_DELIVERIES_REPLY__INIT;

    reply.n_deliveries = db_rows(rows);
    reply.deliveries = arena_alloc(call->arena, (reply.n_deliveries + 1) * sizeof(*reply.deliveries));
    for (size_t i = 0; i < reply.n_deliveries; i++)
        reply.deliveries[i] = routing_row_delivery(work, rows, i, call->arena);
    routing_call_answer(call, &reply.base);
}

ROUTING_RPC(get_deliveries, GetDeliveries, GetDeliveriesReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();
    struct str_view *ids;

    if (!routing_call_is_tenant(call, input->tenant))
        return;
    if (input->n_message_ids > MESSAGES_MAX) {
        routing_call_refuse(call, ERR_INVALID, "%zu message_ids: at most %d", input->n_message_ids,
                            MESSAGES_MAX);
        return;
    }
    ids = arena_alloc(call->arena, (input->n_message_ids + 1) * sizeof(*ids));
    for (size_t i = 0; i < input->n_message_ids; i++) {
        if (!routing_call_is_id(call, "message_id", input->message_ids[i], false))
            return;
        ids[i] = str_view_of(input->message_ids[i]);
    }
    const struct db_param params[] = {
        DB_PARAM_TEXT(input->tenant),
        { .type = DB_UUID_ARRAY, .items = ids, .count = input->n_message_ids },
    };
    routing_call_query(call, call->routing->database.short_, &routing_sql_get_deliveries, params,
                       COUNT_OF(params), on_deliveries);
}

/* ---- status ---- */

static Guichet__V1__TenantStatus *read_status(struct routing_call *call, const struct db_work *work,
                                              size_t row)
{
    const struct db_result *rows = db_work_result(work, 0);
    Guichet__V1__TenantStatus *status = arena_alloc(call->arena, sizeof(*status));

    guichet__v1__tenant_status__init(status);
    status->tenant = db_text(work, rows, row, 0);
    status->event_sequence = (uint64_t)db_i64(rows, row, 1);
    status->change_cursor = (uint64_t)db_i64(rows, row, 2);
    status->waiting_count = (uint32_t)db_i64(rows, row, 3);
    status->assigned_count = (uint32_t)db_i64(rows, row, 4);
    status->deliveries_pending = (uint32_t)db_i64(rows, row, 5);
    status->deliveries_unknown = (uint32_t)db_i64(rows, row, 6);
    status->agents_online = (uint32_t)db_i64(rows, row, 7);
    status->jobs_pending = (uint32_t)db_i64(rows, row, 8);
    status->dead_letters_open = (uint32_t)db_i64(rows, row, 9);
    return status;
}

static void read_spools(struct routing_call *call, const struct db_work *work, const struct db_result *rows,
                        Guichet__V1__TenantStatus *status)
{
    status->spools = arena_alloc(call->arena, (db_rows(rows) + 1) * sizeof(*status->spools));
    for (size_t i = 0; i < db_rows(rows); i++) {
        Guichet__V1__SpoolCount *spool = arena_alloc(call->arena, sizeof(*spool));

        guichet__v1__spool_count__init(spool);
        spool->tenant = status->tenant;
        spool->account_id = db_text(work, rows, i, 0);
        spool->event_count = (uint64_t)db_i64(rows, i, 1);
        spool->oldest_at = pbtime_new(call->arena, db_time_us(rows, i, 2));
        status->spools[status->n_spools++] = spool;
    }
}

/* Accounts and spools of all tenants come after the tenants, two statements each, in the same order as asked. */
static void read_accounts(struct routing_call *call, const struct db_work *work,
                          Guichet__V1__TenantStatus *status)
{
    size_t count = call->routing->config->tenants.count;

    for (size_t t = 0; t < count; t++) {
        const struct db_result *rows = db_work_result(work, 1 + 2 * t);
        const struct routing_tenant_config *tenants = call->routing->config->tenants.items;

        if (strcmp(tenants[t].name, status->tenant) != 0)
            continue;
        status->n_accounts = db_rows(rows);
        status->accounts = arena_alloc(call->arena, (status->n_accounts + 1) * sizeof(*status->accounts));
        for (size_t i = 0; i < status->n_accounts; i++)
            status->accounts[i] = routing_row_account(work, rows, i, call->arena);
        read_spools(call, work, db_work_result(work, 2 + 2 * t), status);
    }
}

static void on_status(struct routing_call *call, struct db_work *work)
{
    const struct db_result *rows = db_work_result(work, 0);
    Guichet__V1__GetStatusReply reply = GUICHET__V1__GET_STATUS_REPLY__INIT;

    reply.n_tenants = db_rows(rows);
    reply.tenants = arena_alloc(call->arena, (reply.n_tenants + 1) * sizeof(*reply.tenants));
    for (size_t i = 0; i < reply.n_tenants; i++) {
        reply.tenants[i] = read_status(call, work, i);
        read_accounts(call, work, reply.tenants[i]);
    }
    routing_call_answer(call, &reply.base);
}

ROUTING_RPC(get_status, GetStatus, GetStatusReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();
    const struct routing_tenant_config *tenants = call->routing->config->tenants.items;
    size_t count = call->routing->config->tenants.count;
    struct str_view *names = arena_alloc(call->arena, count * sizeof(*names));
    struct db_work *work = db_work_new(call->routing->database.long_);

    for (size_t i = 0; i < count; i++)
        names[i] = str_view_of(tenants[i].name);
    const struct db_param params[] = { { .type = DB_TEXT_ARRAY, .items = names, .count = count } };
    db_work_add(work, &routing_sql_status, params, COUNT_OF(params));
    for (size_t i = 0; i < count; i++) {
        const struct db_param of_tenant[] = {
            DB_PARAM_TEXT(tenants[i].name),
            DB_PARAM_I64(call->routing->config->account_ttl_ms),
        };

        db_work_add(work, &routing_sql_list_accounts, of_tenant, COUNT_OF(of_tenant));
        db_work_add(work, &routing_sql_list_spools, of_tenant, 1);
    }
    routing_call_run(call, work, on_status);
}
