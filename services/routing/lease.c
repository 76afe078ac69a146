/* SPDX-License-Identifier: Apache-2.0 */
/* lease.c - which replica reads which feed, the kicks that reach it, and who waits for a change to be applied.
 *
 * The lease rows are taken and renewed for all tenants in one statement, at a third of their life. A replica
 * that does not hold a feed learns of its progress only when somebody here waits for it. */
#include "applier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/log.h"
#include "statements.h"

struct routing_feed *routing_lease_find(struct routing_applier *applier, const char *tenant)
{
    for (size_t i = 0; i < applier->count; i++)
        if (strcmp(applier->feeds[i].tenant, tenant) == 0)
            return &applier->feeds[i];
    return NULL;
}

/* ---- who waits for a change to be applied ---- */

static void waiter_end(void *arg)
{
    struct routing_waiter *waiter = arg;

    TAILQ_REMOVE(&waiter->feed->waiters, waiter, link);
    loop_timer_free(&waiter->timer);
    waiter->done(waiter->arg);
    free(waiter);
}

void routing_lease_tell_waiters(struct routing_feed *feed)
{
    struct routing_waiter *waiter, *next;

    for (waiter = TAILQ_FIRST(&feed->waiters); waiter != NULL; waiter = next) {
        next = TAILQ_NEXT(waiter, link);
        if (waiter->sequence <= feed->cursor && !waiter->is_ready) {
            waiter->is_ready = true; /* by its timer: never from inside whatever we are in */
            loop_timer_start(waiter->timer, 0, 0);
        }
    }
}

void routing_applier_wait(struct routing_applier *applier, const char *tenant, uint64_t sequence,
                          routing_applied_fn *done, void *arg)
{
    struct routing_feed *feed = routing_lease_find(applier, tenant);
    struct routing_waiter *waiter = calloc(1, sizeof(*waiter));

    if (waiter == NULL || feed == NULL)
        abort();
    *waiter = (struct routing_waiter){ .feed = feed, .sequence = sequence, .done = done, .arg = arg };
    waiter->timer = loop_timer_new(applier->routing->loop, waiter_end, waiter);
    TAILQ_INSERT_TAIL(&feed->waiters, waiter, link);
    loop_timer_start(waiter->timer, applier->is_stopped ? 0 : applier->routing->config->apply_wait_ms, 0);
    routing_lease_tell_waiters(feed);
    if (!waiter->is_ready)
        routing_applier_kick(applier, tenant, true);
    if (!waiter->is_ready && !feed->is_held)
        routing_applier_look(applier); /* it may have been applied, and told, before we waited */
}

/* ---- holding the feeds ---- */

static void take_row(struct routing_feed *feed, const struct db_work *work, const struct db_result *rows,
                     size_t row)
{
    bool is_held = db_i64(rows, row, 1) != 0;
    uint64_t fencing = (uint64_t)db_i64(rows, row, 2);

    if (is_held != feed->is_held || (is_held && fencing != feed->fencing))
        log_event(LOG_INFO, is_held ? "feed_taken" : "feed_left", LOG_TEXT("tenant", feed->tenant),
                  LOG_NUMBER("fencing", fencing), LOG_NUMBER("cursor", db_i64(rows, row, 3)));
    if (feed->step == FEED_IDLE) {
        bool is_new = is_held && (!feed->is_held || fencing != feed->fencing);

        if (is_new || !is_held) { /* else our own cursor is the newer one */
            feed->cursor = (uint64_t)db_i64(rows, row, 3);
            snprintf(feed->epoch, sizeof(feed->epoch), "%s", db_text(work, rows, row, 4));
        }
        feed->is_held = is_held;
        feed->fencing = fencing;
        routing_lease_tell_waiters(feed);
        if ((is_new || feed->is_kicked) && !loop_timer_is_active(feed->retry_timer))
            routing_applier_read(feed); /* else when the pause after a failure is over */
    } else if (!is_held || fencing != feed->fencing) {
        feed->is_held = false; /* what is under way is fenced off; then the row counts */
    }
}

static void on_held(void *arg, struct db_work *work, const struct err *err)
{
    struct routing_applier *applier = arg;
    const struct db_result *rows = db_work_result(work, 0);
    uint32_t ttl_ms = applier->routing->config->lease_ttl_ms, next_ms = ttl_ms / 3, held = 0;

    applier->is_holding = false;
    if (err->kind == ERR_CANCELED || applier->is_stopped)
        return;
    if (err->kind != ERR_NONE)
        log_event(LOG_WARN, "feeds_not_held", LOG_ERR(err));
    for (size_t i = 0; err->kind == ERR_NONE && i < db_rows(rows); i++) {
        struct routing_feed *feed = routing_lease_find(applier, db_text(work, rows, i, 0));
        int64_t wait_ms = db_i64(rows, i, 5);

        if (feed == NULL)
            continue;
        take_row(feed, work, rows, i);
        held += feed->is_held;
        if (!feed->is_held && wait_ms >= 0 && (uint64_t)wait_ms < next_ms)
            next_ms = (uint32_t)wait_ms + 1;
    }
    stats_set(applier->routing->stats, ROUTING_FEEDS_HELD, held);
    loop_timer_start(applier->hold_timer, next_ms, 0);
}

static struct str_view *tenant_views(struct routing_applier *applier, struct db_work *work)
{
    struct str_view *tenants = arena_alloc(db_work_arena(work), applier->count * sizeof(*tenants));

    for (size_t i = 0; i < applier->count; i++)
        tenants[i] = str_view_of(applier->feeds[i].tenant);
    return tenants;
}

void routing_lease_hold_now(void *arg)
{
    struct routing_applier *applier = arg;
    struct db_work *work;

    if (applier->is_holding || applier->is_stopped)
        return;
    applier->is_holding = true;
    work = db_work_new(applier->routing->database.short_);
    const struct db_param params[] = {
        { .type = DB_TEXT_ARRAY, .items = tenant_views(applier, work), .count = applier->count },
        DB_PARAM_UUID(applier->holder),
        DB_PARAM_I64(applier->routing->config->lease_ttl_ms),
    };
    db_work_add(work, &routing_sql_hold_feeds, params, COUNT_OF(params));
    db_work_run(work, on_held, applier);
}

/* ---- feeds that others hold: how far are they? ---- */

static void on_looked(void *arg, struct db_work *work, const struct err *err)
{
    struct routing_applier *applier = arg;
    const struct db_result *rows = db_work_result(work, 0);

    applier->is_looking = false;
    if (err->kind == ERR_CANCELED)
        return;
    for (size_t i = 0; err->kind == ERR_NONE && i < db_rows(rows); i++) {
        struct routing_feed *feed = routing_lease_find(applier, db_text(work, rows, i, 0));

        if (feed == NULL || feed->is_held)
            continue;
        feed->cursor = (uint64_t)db_i64(rows, i, 1);
        routing_lease_tell_waiters(feed);
    }
    if (applier->is_looking_again)
        routing_applier_look(applier);
}

void routing_applier_look(struct routing_applier *applier)
{
    struct db_work *work;
    bool is_needed = false;

    for (size_t i = 0; i < applier->count; i++)
        is_needed = is_needed || (!applier->feeds[i].is_held && !TAILQ_EMPTY(&applier->feeds[i].waiters));
    applier->is_looking_again = applier->is_looking && is_needed;
    if (applier->is_looking || !is_needed || applier->is_stopped)
        return;
    applier->is_looking = true;
    work = db_work_new(applier->routing->database.short_);
    const struct db_param params[] = {
        { .type = DB_TEXT_ARRAY, .items = tenant_views(applier, work), .count = applier->count },
    };
    db_work_add(work, &routing_sql_read_feeds, params, COUNT_OF(params));
    db_work_run(work, on_looked, applier);
}

/* ---- kicks ---- */

static void forward_kick(struct routing_feed *feed);

static void on_forwarded(void *arg, struct db_work *work, const struct err *err)
{
    struct routing_feed *feed = arg;

    (void)work;
    feed->is_forwarding = false;
    if (err->kind != ERR_CANCELED && feed->is_forwarded_again)
        forward_kick(feed);
}

/* The replica that holds the feed is told; one NOTIFY at a time, whatever the rate of kicks. */
static void forward_kick(struct routing_feed *feed)
{
    const struct db_param params[] = { DB_PARAM_TEXT(feed->tenant) };
    struct db_work *work;

    feed->is_forwarded_again = feed->is_forwarding;
    if (feed->is_forwarding)
        return;
    feed->is_forwarding = true;
    work = db_work_new(feed->applier->routing->database.short_);
    db_work_add(work, &routing_sql_kick, params, COUNT_OF(params));
    db_work_run(work, on_forwarded, feed);
}

void routing_applier_kick(struct routing_applier *applier, const char *tenant, bool is_forwarded)
{
    struct routing_feed *feed = routing_lease_find(applier, tenant);

    if (feed == NULL || applier->is_stopped)
        return;
    feed->is_kicked = true;
    if (!feed->is_held) {
        if (is_forwarded)
            forward_kick(feed);
    } else if (feed->step == FEED_IDLE && !loop_timer_is_active(feed->retry_timer)) {
        routing_applier_read(feed);
    }
}

void routing_applier_hold(struct routing_applier *applier)
{
    routing_lease_hold_now(applier);
}

void routing_lease_end_waiters(struct routing_feed *feed)
{
    while (!TAILQ_EMPTY(&feed->waiters))
        waiter_end(TAILQ_FIRST(&feed->waiters));
}
