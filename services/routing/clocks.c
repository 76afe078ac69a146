/* SPDX-License-Identifier: Apache-2.0 */
/* clocks.c - what time alone changes: leases end, deliveries fall due, agents vanish, old rows go.
 *
 * Each tenant has exact timers, set from the database's own clock after each commit that may have moved
 * them. Any replica may let a lease end: the function is idempotent and the first one wins. A timer that
 * fires too early finds nothing and is set anew, so nobody needs to take one back. */
#include "routing.h"

#include <stdlib.h>
#include <string.h>

#include "jobs.h"
#include "ops/log.h"
#include "statements.h"

enum { RETRY_MS = 1000, PRUNE_ROWS = 5000 };

struct clock {
    struct routing *routing;
    const char *tenant;
    struct loop_timer *lease_timer, *ready_timer, *presence_timer;
    uint64_t lease_due_ms, presence_due_ms; /* when they fire */
    bool is_asking, is_asked_again;         /* next_due */
    bool is_expiring;                       /* expire_leases under way */
    bool is_presence_asking;
};

struct routing_clocks {
    struct routing *routing;
    struct clock *clocks;
    size_t count;
    struct loop_timer *prune_timer;
    size_t pruning; /* which tenant */
};

static struct clock *find_clock(struct routing_clocks *clocks, const char *tenant)
{
    for (size_t i = 0; i < clocks->count; i++)
        if (strcmp(clocks->clocks[i].tenant, tenant) == 0)
            return &clocks->clocks[i];
    return NULL;
}

/* Starts the timer unless it fires sooner anyway. */
static void bring_forward(struct clock *clock, struct loop_timer *timer, uint64_t *due_ms, uint64_t in_ms)
{
    uint64_t at_ms = loop_now_ms(clock->routing->loop) + in_ms;

    if (loop_timer_is_active(timer) && *due_ms <= at_ms)
        return;
    *due_ms = at_ms;
    loop_timer_start(timer, in_ms, 0);
}

/* ---- leases and due times ---- */

static void ask_due(struct clock *clock);

static void on_due(void *arg, struct db_work *work, const struct err *err)
{
    struct clock *clock = arg;
    const struct db_result *row = db_work_result(work, 0);

    clock->is_asking = false;
    if (err->kind == ERR_CANCELED)
        return;
    if (err->kind != ERR_NONE) {
        bring_forward(clock, clock->lease_timer, &clock->lease_due_ms, RETRY_MS);
        return;
    }
    if (!db_is_null(row, 0, 0))
        bring_forward(clock, clock->lease_timer, &clock->lease_due_ms, (uint64_t)db_i64(row, 0, 0));
    if (!db_is_null(row, 0, 1))
        loop_timer_start(clock->ready_timer, (uint64_t)db_i64(row, 0, 1) + 1, 0);
    if (clock->is_asked_again)
        ask_due(clock);
}

static void ask_due(struct clock *clock)
{
    const struct db_param params[] = { DB_PARAM_TEXT(clock->tenant) };
    struct db_work *work;

    clock->is_asked_again = clock->is_asking;
    if (clock->is_asking)
        return;
    clock->is_asking = true;
    work = db_work_new(clock->routing->database.short_);
    db_work_add(work, &routing_sql_next_due, params, COUNT_OF(params));
    db_work_run(work, on_due, clock);
}

static void on_expired(void *arg, struct db_work *work, const struct err *err)
{
    struct clock *clock = arg;
    struct routing *routing = clock->routing;
    const struct db_result *row = db_work_result(work, 0);
    static const char *const states[] = { "leased", "sending", "unknown" };
    enum { DEAD = 4 };
    int64_t count = 0;
    uint64_t sequence;

    clock->is_expiring = false;
    if (err->kind == ERR_CANCELED)
        return;
    if (err->kind != ERR_NONE) {
        log_event(LOG_WARN, "expire_failed", LOG_TEXT("tenant", clock->tenant), LOG_ERR(err));
        bring_forward(clock, clock->lease_timer, &clock->lease_due_ms, RETRY_MS);
        return;
    }
    for (size_t i = 0; i < COUNT_OF(states); i++) {
        int64_t n = db_i64(row, 0, i + 1);

        count += n;
        if (n > 0) {
            stats_add_label(routing->stats, ROUTING_EXPIRED, states[i], (uint64_t)n);
            log_event(LOG_INFO, "leases_expired", LOG_TEXT("tenant", clock->tenant),
                      LOG_TEXT("state", states[i]), LOG_NUMBER("count", n));
        }
    }
    if (db_i64(row, 0, DEAD) > 0)
        stats_add_label(routing->stats, ROUTING_DEAD_LETTERS, "delivery", (uint64_t)db_i64(row, 0, DEAD));
    sequence = routing_jobs_expired(routing, clock->tenant, work, db_work_result(work, 1));
    if (count > 0 || sequence > 0) {
        routing_committed(routing, clock->tenant, sequence > 0 ? sequence : (uint64_t)db_i64(row, 0, 0));
        routing_pulls_wake(routing->pulls, clock->tenant);
    }
    ask_due(clock);
}

static void on_lease_timer(void *arg)
{
    struct clock *clock = arg;
    const struct routing_config *config = clock->routing->config;
    int64_t delays_ms[ROUTING_DELAYS];
    struct db_work *work;

    if (clock->is_expiring)
        return;
    clock->is_expiring = true;
    routing_retry_delays(config, delays_ms);
    const struct db_param params[] = {
        DB_PARAM_TEXT(clock->tenant),
        { .type = DB_I64_ARRAY, .items = delays_ms, .count = ROUTING_DELAYS },
        DB_PARAM_I64(config->unknown_hold_ms),
    };
    const struct db_param of_jobs[] = {
        params[0],
        params[1],
        DB_PARAM_I32(config->job_attempts_max),
        DB_PARAM_I64(config->job_tell_ms),
    };
    work = db_work_new(clock->routing->database.short_);
    db_work_add(work, &routing_sql_expire_leases, params, COUNT_OF(params));
    db_work_add(work, &routing_sql_expire_jobs, of_jobs, COUNT_OF(of_jobs));
    db_work_run(work, on_expired, clock);
}

static void on_ready_timer(void *arg)
{
    struct clock *clock = arg;

    routing_pulls_wake(clock->routing->pulls, clock->tenant);
    ask_due(clock);
}

/* ---- presence ---- */

static void ask_presence(struct clock *clock);

static void on_presence_due(void *arg, struct db_work *work, const struct err *err)
{
    struct clock *clock = arg;
    const struct db_result *row = db_work_result(work, 0);

    clock->is_presence_asking = false;
    if (err->kind == ERR_CANCELED)
        return;
    if (err->kind != ERR_NONE)
        bring_forward(clock, clock->presence_timer, &clock->presence_due_ms, RETRY_MS);
    else if (!db_is_null(row, 0, 0))
        bring_forward(clock, clock->presence_timer, &clock->presence_due_ms, (uint64_t)db_i64(row, 0, 0) + 1);
}

static void ask_presence(struct clock *clock)
{
    const struct db_param params[] = {
        DB_PARAM_TEXT(clock->tenant),
        DB_PARAM_I64(clock->routing->config->presence_ttl_ms),
    };
    struct db_work *work;

    if (clock->is_presence_asking)
        return;
    clock->is_presence_asking = true;
    work = db_work_new(clock->routing->database.short_);
    db_work_add(work, &routing_sql_next_presence, params, COUNT_OF(params));
    db_work_run(work, on_presence_due, clock);
}

static void on_presence_expired(void *arg, struct db_work *work, const struct err *err)
{
    struct clock *clock = arg;
    struct routing *routing = clock->routing;
    const struct db_result *row = db_work_result(work, 0);

    if (err->kind == ERR_CANCELED)
        return;
    if (err->kind != ERR_NONE) {
        bring_forward(clock, clock->presence_timer, &clock->presence_due_ms, RETRY_MS);
        return;
    }
    if (db_i64(row, 0, 1) > 0) {
        stats_add(routing->stats, ROUTING_PRESENCE_EXPIRED, (uint64_t)db_i64(row, 0, 1));
        log_event(LOG_INFO, "presence_expired", LOG_TEXT("tenant", clock->tenant),
                  LOG_NUMBER("count", db_i64(row, 0, 1)));
        routing_committed(routing, clock->tenant, (uint64_t)db_i64(row, 0, 0));
    }
    ask_presence(clock);
}

static void on_presence_timer(void *arg)
{
    struct clock *clock = arg;
    const struct db_param params[] = {
        DB_PARAM_TEXT(clock->tenant),
        DB_PARAM_I64(clock->routing->config->presence_ttl_ms),
    };
    struct db_work *work = db_work_new(clock->routing->database.short_);

    db_work_add(work, &routing_sql_expire_presence, params, COUNT_OF(params));
    db_work_run(work, on_presence_expired, clock);
}

/* ---- retention ---- */

static void prune_next(struct routing_clocks *clocks);

static void on_pruned(void *arg, struct db_work *work, const struct err *err)
{
    struct routing_clocks *clocks = arg;
    int64_t rows;

    if (err->kind == ERR_CANCELED)
        return;
    if (err->kind != ERR_NONE) {
        log_event(LOG_WARN, "prune_failed", LOG_TEXT("tenant", clocks->clocks[clocks->pruning].tenant),
                  LOG_ERR(err));
        clocks->pruning++;
    } else {
        rows = db_i64(db_work_result(work, 0), 0, 0);
        stats_add(clocks->routing->stats, ROUTING_PRUNED, (uint64_t)rows);
        if (rows < PRUNE_ROWS)
            clocks->pruning++;
    }
    prune_next(clocks);
}

/* A bounded piece at a time, so that nobody waits long for the tenant's lock. */
static void prune_next(struct routing_clocks *clocks)
{
    const struct routing_config *config = clocks->routing->config;
    struct db_work *work;

    if (clocks->pruning >= clocks->count) {
        loop_timer_start(clocks->prune_timer, config->prune_interval_ms, 0);
        return;
    }
    const struct db_param params[] = {
        DB_PARAM_TEXT(clocks->clocks[clocks->pruning].tenant),
        DB_PARAM_I64(config->event_retention_ms),
        DB_PARAM_I64(config->parked_retention_ms),
        DB_PARAM_I32(PRUNE_ROWS),
        DB_PARAM_I64(config->job_retention_ms),
        DB_PARAM_I64(config->dead_letter_retention_ms),
    };
    work = db_work_new(clocks->routing->database.long_);
    db_work_add(work, &routing_sql_prune, params, COUNT_OF(params));
    db_work_run(work, on_pruned, clocks);
}

static void on_prune_timer(void *arg)
{
    struct routing_clocks *clocks = arg;

    clocks->pruning = 0;
    prune_next(clocks);
}

/* ---- life ---- */

void routing_clocks_set(struct routing_clocks *clocks, const char *tenant)
{
    for (size_t i = 0; i < clocks->count; i++) {
        if (tenant != NULL && strcmp(clocks->clocks[i].tenant, tenant) != 0)
            continue;
        ask_due(&clocks->clocks[i]);
        if (tenant == NULL)
            ask_presence(&clocks->clocks[i]);
    }
}

void routing_clocks_lease_in(struct routing_clocks *clocks, const char *tenant, uint32_t ms)
{
    struct clock *clock = find_clock(clocks, tenant);

    if (clock != NULL)
        bring_forward(clock, clock->lease_timer, &clock->lease_due_ms, ms + 1);
}

void routing_clocks_presence_in(struct routing_clocks *clocks, const char *tenant, uint32_t ms)
{
    struct clock *clock = find_clock(clocks, tenant);

    if (clock != NULL)
        bring_forward(clock, clock->presence_timer, &clock->presence_due_ms, ms + 1);
}

struct routing_clocks *routing_clocks_new(struct routing *routing)
{
    struct routing_clocks *clocks = calloc(1, sizeof(*clocks));
    const struct routing_tenant_config *tenants = routing->config->tenants.items;

    if (clocks == NULL)
        abort();
    clocks->routing = routing;
    clocks->count = routing->config->tenants.count;
    clocks->clocks = calloc(clocks->count, sizeof(*clocks->clocks));
    if (clocks->clocks == NULL)
        abort();
    for (size_t i = 0; i < clocks->count; i++) {
        struct clock *clock = &clocks->clocks[i];

        clock->routing = routing;
        clock->tenant = tenants[i].name;
        clock->lease_timer = loop_timer_new(routing->loop, on_lease_timer, clock);
        clock->ready_timer = loop_timer_new(routing->loop, on_ready_timer, clock);
        clock->presence_timer = loop_timer_new(routing->loop, on_presence_timer, clock);
    }
    clocks->prune_timer = loop_timer_new(routing->loop, on_prune_timer, clocks);
    loop_timer_start(clocks->prune_timer, routing->config->prune_interval_ms / 24 + 1, 0);
    return clocks;
}

/* After the database is gone: nothing is under way any more. */
void routing_clocks_free(struct routing_clocks **clocks_ptr)
{
    struct routing_clocks *clocks = *clocks_ptr;

    *clocks_ptr = NULL;
    if (clocks == NULL)
        return;
    for (size_t i = 0; i < clocks->count; i++) {
        loop_timer_free(&clocks->clocks[i].lease_timer);
        loop_timer_free(&clocks->clocks[i].ready_timer);
        loop_timer_free(&clocks->clocks[i].presence_timer);
    }
    loop_timer_free(&clocks->prune_timer);
    free(clocks->clocks);
    free(clocks);
}
