/* SPDX-License-Identifier: Apache-2.0 */
/* delivery.c - Start and Report: the two ends of a provider call, each one transaction; and what became of it. Jobs
 * other than deliveries are reported here as well, and end in jobs.c.
 *
 * Both may be repeated: the mesh calls again when an answer is lost, and the same lease gets the same answer. */
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "connector.h"
#include "core/id.h"
#include "jobs.h"
#include "ops/failpoint.h"
#include "ops/log.h"
#include "rows.h"
#include "statements.h"

enum { PROVIDER_TEXT_MAX_BYTES = 1024, DELIVERIES_MAX = 500 };

/* ---- back-off ---- */

void routing_retry_delays(const struct routing_config *config, int64_t ret_delays_ms[ROUTING_DELAYS])
{
    uint64_t most_ms = config->retry_base_ms;

    for (size_t i = 0; i < ROUTING_DELAYS; i++) {
        uint32_t share;

        random_bytes(&share, sizeof(share));
        ret_delays_ms[i] = (int64_t)(most_ms * share / UINT32_MAX);
        most_ms = most_ms * 2 < config->retry_cap_ms ? most_ms * 2 : config->retry_cap_ms;
    }
}

/* ---- Start ---- */

/* A connector asks for jobs of its own tenants only; the lease is what it could not know otherwise. */
static bool check_job(struct routing_call *call, const char *tenant, const char *job_id, const char *lease)
{
    const Guichet__V1__AnnounceRequest *claims = mesh_request_claims(call->request);
    bool is_own = false;

    for (size_t i = 0; i < claims->n_accounts; i++)
        is_own = is_own || strcmp(claims->accounts[i]->tenant, tenant) == 0;
    if (!is_own) {
        routing_call_refuse(call, ERR_FORBIDDEN, "connector '%s' serves no account of tenant '%.64s'",
                            claims->connector, tenant);
        return false;
    }
    return routing_call_is_tenant(call, tenant) && routing_call_is_id(call, "job_id", job_id, false) &&
           routing_call_is_id(call, "lease", lease, false);
}

/* The claims' accounts of this tenant. */
static struct db_param own_accounts(struct routing_call *call, const char *tenant)
{
    const Guichet__V1__AnnounceRequest *claims = mesh_request_claims(call->request);
    struct str_view *ids = arena_alloc(call->arena, (claims->n_accounts + 1) * sizeof(*ids));
    size_t count = 0;

    if (ids == NULL)
        abort();
    for (size_t i = 0; i < claims->n_accounts; i++)
        if (strcmp(claims->accounts[i]->tenant, tenant) == 0)
            ids[count++] = str_view_of(claims->accounts[i]->id);
    return (struct db_param){ .type = DB_TEXT_ARRAY, .items = ids, .count = count };
}

static void on_started(struct routing_call *call, struct db_work *work)
{
    struct routing *routing = call->routing;
    const Guichet__V1__StartRequest *input = call->input;
    const struct db_result *rows = db_work_result(work, 0);
    Guichet__V1__StartReply reply = GUICHET__V1__START_REPLY__INIT;

    reply.is_granted = db_i64(rows, 0, 0) != 0;
    reply.reason = db_text(work, rows, 0, 1);
    reply.lease_ms = (uint32_t)db_i64(rows, 0, 2);
    stats_add_label(routing->stats, ROUTING_STARTS, reply.is_granted ? "granted" : "refused", 1);
    if (reply.is_granted)
        routing_clocks_lease_in(routing->clocks, input->tenant, reply.lease_ms);
    else
        log_event(LOG_INFO, "start_refused", LOG_TEXT("tenant", input->tenant),
                  LOG_TEXT("delivery", input->job_id), LOG_TEXT("reason", reply.reason));
    if (FAILPOINT("routing_after_start_before_reply"))
        routing_call_refuse(call, ERR_UNAVAILABLE, "failpoint");
    else
        routing_call_answer(call, &reply.base);
}

void routing_connector_start(Guichet__V1__Connector_Service *service, const Guichet__V1__StartRequest *input,
                             Guichet__V1__StartReply_Closure closure, void *closure_data)
{
    struct routing *routing = ((struct routing_connector_rpc *)service)->routing;
    struct routing_call *call =
        ROUTING_CALL((struct routing_connector_rpc *)service, input, closure, closure_data);
    const struct db_param params[] = {
        DB_PARAM_TEXT(input->tenant),
        DB_PARAM_UUID(input->job_id),
        DB_PARAM_UUID(input->lease),
        DB_PARAM_I64(routing->config->delivery_lease_ms),
        own_accounts(call, input->tenant),
    };

    if (check_job(call, input->tenant, input->job_id, input->lease))
        routing_call_query(call, routing->database.short_, &routing_sql_start, params, COUNT_OF(params),
                           on_started);
}

/* ---- Report ---- */

static const char *outcome_name(Guichet__V1__OutcomeKind kind)
{
    static const char *const names[] = { "none", "accepted", "retry", "failed", "unknown" };

    return (size_t)kind < COUNT_OF(names) ? names[kind] : "none";
}

static void run_report(struct routing_call *call, Guichet__V1__OutcomeKind kind, const char *text);

/* Context has not got what was reported as stored: it is fetched again. */
static void report_again(struct routing_call *call, const char *text)
{
    run_report(call, GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_RETRY, text);
}

static void on_reported(struct routing_call *call, struct db_work *work)
{
    struct routing *routing = call->routing;
    const Guichet__V1__ReportRequest *input = call->input;
    const struct db_result *rows = db_work_result(work, 0);
    Guichet__V1__ReportReply reply = GUICHET__V1__REPORT_REPLY__INIT;

    reply.state = (Guichet__V1__DeliveryState)db_i64(rows, 0, 0);
    stats_add_label(routing->stats, ROUTING_REPORTS, outcome_name(input->outcome->kind), 1);
    routing_committed(routing, input->tenant, (uint64_t)db_i64(rows, 0, 1));
    if (db_i64(rows, 0, 2) != 0)
        stats_add_label(routing->stats, ROUTING_DEAD_LETTERS, "delivery", 1);
    if (db_i64(rows, 0, 3) != ROUTING_ASK_NOTHING) {
        routing_job_report(call, work, report_again);
        return;
    }
    routing_wake(routing, input->tenant);
    if (FAILPOINT("routing_after_report_before_reply"))
        routing_call_refuse(call, ERR_UNAVAILABLE, "failpoint");
    else
        routing_call_answer(call, &reply.base);
}

static bool check_outcome(struct routing_call *call, const Guichet__V1__Outcome *outcome)
{
    if (outcome == NULL || outcome->kind < 1 || outcome->kind > 4)
        routing_call_refuse(call, ERR_INVALID, "the outcome says nothing");
    else if (strlen(outcome->provider_id) > PROVIDER_TEXT_MAX_BYTES)
        routing_call_refuse(call, ERR_INVALID, "provider_id has %zu bytes, at most %d",
                            strlen(outcome->provider_id), PROVIDER_TEXT_MAX_BYTES);
    else
        return true;
    return false;
}

static struct db_param cut_text(const char *text)
{
    struct str_view view = str_view_of(text);

    view.len = utf8_cut(view, PROVIDER_TEXT_MAX_BYTES);
    return (struct db_param){ .type = DB_TEXT, .text = view };
}

static void run_report(struct routing_call *call, Guichet__V1__OutcomeKind kind, const char *text)
{
    struct routing *routing = call->routing;
    const Guichet__V1__ReportRequest *input = call->input;
    const Guichet__V1__Outcome *outcome = input->outcome;
    int64_t delays_ms[ROUTING_DELAYS];

    routing_retry_delays(routing->config, delays_ms);
    const struct db_param params[] = {
        DB_PARAM_TEXT(input->tenant),
        DB_PARAM_UUID(input->job_id),
        DB_PARAM_UUID(input->lease),
        DB_PARAM_I32(kind),
        DB_PARAM_TEXT(outcome->provider_id),
        DB_PARAM_I64(outcome->retry_after_ms),
        DB_PARAM_BOOL(outcome->is_account_wide),
        DB_PARAM_I32(outcome->reason),
        cut_text(outcome->provider_code),
        cut_text(text),
        { .type = DB_I64_ARRAY, .items = delays_ms, .count = ROUTING_DELAYS },
        DB_PARAM_I64(routing->config->unknown_hold_ms),
        own_accounts(call, input->tenant),
        DB_PARAM_I32(routing->config->job_attempts_max),
        DB_PARAM_I64(routing->config->job_tell_ms),
    };
    routing_call_query(call, routing->database.short_, &routing_sql_report, params, COUNT_OF(params),
                       on_reported);
}

void routing_connector_report(Guichet__V1__Connector_Service *service,
                              const Guichet__V1__ReportRequest *input,
                              Guichet__V1__ReportReply_Closure closure, void *closure_data)
{
    struct routing_call *call =
        ROUTING_CALL((struct routing_connector_rpc *)service, input, closure, closure_data);

    if (check_job(call, input->tenant, input->job_id, input->lease) && check_outcome(call, input->outcome))
        run_report(call, input->outcome->kind, input->outcome->provider_text);
}
