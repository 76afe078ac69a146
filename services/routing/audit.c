/* SPDX-License-Identifier: Apache-2.0 */
/* audit.c - GetAudit: context's audit, with what connectors last said of their spools.
 *
 * What waits in a spool was acknowledged and is not in the database yet: it is told beside the counts, so that
 * nobody takes it for missing. It is read first: what leaves a spool meanwhile is then counted twice, not left out. */
#include "rpc.h"

#include <string.h>

#include "core/pbtime.h"
#include "statements.h"

struct audit {
    Guichet__V1__AuditAccount **spools; /* accounts with something in a spool, and only that known of them */
    size_t spool_count;
};

static Guichet__V1__AuditAccount *copy_account(const Guichet__V1__AuditAccount *account, struct arena *arena)
{
    Guichet__V1__AuditAccount *copy = arena_alloc(arena, sizeof(*copy));

    *copy = *account;
    return copy;
}

/* Accounts of the audit, with their spools; then those of which nothing came but into a spool. */
static void add_spools(struct routing_call *call, Guichet__V1__AuditReply *reply)
{
    const struct audit *audit = call->state;
    Guichet__V1__AuditAccount **accounts =
        arena_alloc(call->arena, (reply->n_accounts + audit->spool_count + 1) * sizeof(*accounts));
    size_t count = reply->n_accounts;

    for (size_t i = 0; i < count; i++)
        accounts[i] = copy_account(reply->accounts[i], call->arena);
    for (size_t s = 0; s < audit->spool_count; s++) {
        const Guichet__V1__AuditAccount *spool = audit->spools[s];
        size_t i = 0;

        while (i < reply->n_accounts && strcmp(accounts[i]->account_id, spool->account_id) != 0)
            i++;
        if (i == reply->n_accounts) {
            accounts[count++] = audit->spools[s];
            continue;
        }
        accounts[i]->spool_count = spool->spool_count;
        accounts[i]->spool_oldest_at = spool->spool_oldest_at;
    }
    reply->accounts = accounts;
    reply->n_accounts = count;
}

static void on_audited(const Guichet__V1__AuditReply *audited, void *arg)
{
    struct routing_call *call = arg;
    Guichet__V1__AuditReply reply;

    if (audited == NULL) {
        routing_call_fail(call, mesh_err());
        return;
    }
    reply = *audited;
    add_spools(call, &reply);
    routing_call_answer(call, &reply.base);
}

/* As long as the caller waits, and once: a long audit is not to be begun again elsewhere. */
static void ask_context(struct routing_call *call)
{
    const Guichet__V1__AuditRequest *input = call->input;
    struct mesh_call mesh = routing_call_mesh(call, input->tenant);

    mesh.attempt_timeout_ms = mesh.timeout_ms;
    mesh.no_retry = true;
    guichet__v1__context__audit(mesh_client_call(call->routing->context, &mesh), input, on_audited, call);
}

static void on_spools(struct routing_call *call, struct db_work *work)
{
    const struct db_result *rows = db_work_result(work, 0);
    struct audit *audit = call->state;

    audit->spools = arena_alloc(call->arena, (db_rows(rows) + 1) * sizeof(*audit->spools));
    for (size_t i = 0; i < db_rows(rows); i++) {
        Guichet__V1__AuditAccount *spool = arena_alloc(call->arena, sizeof(*spool));

        guichet__v1__audit_account__init(spool);
        spool->account_id = arena_strdup(call->arena, db_text(work, rows, i, 0));
        spool->spool_count = (uint64_t)db_i64(rows, i, 1);
        spool->spool_oldest_at = pbtime_new(call->arena, db_time_us(rows, i, 2));
        audit->spools[audit->spool_count++] = spool;
    }
    ask_context(call);
}

void routing_rpc_get_audit(Guichet__V1__Routing_Service *service, const Guichet__V1__AuditRequest *input,
                           Guichet__V1__AuditReply_Closure closure, void *closure_data)
{
    struct routing_call *call = ROUTING_RPC_CALL();

    routing_call_state(call, sizeof(struct audit));
    if (!routing_call_is_tenant(call, input->tenant))
        return;
    routing_call_query(call, call->routing->database.short_, &routing_sql_list_spools,
                       (struct db_param[]){ DB_PARAM_TEXT(input->tenant) }, 1, on_spools);
}
