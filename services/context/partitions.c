/* SPDX-License-Identifier: Apache-2.0 */
/* partitions.c - the tables of the months to come, made in advance; old manifests and refused events, forgotten.
 *
 * Every replica does it, at its start and daily; the database takes care that they do not meet.
 * A month without a table of its own costs nothing but tidiness: its rows go to the default one. */
#include "context.h"
#include "statements.h"

enum { PRUNE_BITE = 500, PRUNE_PAUSE_MS = 100 };

static bool is_over(struct context *context, const struct err *err)
{
    if (err->kind == ERR_CANCELED)
        return true;
    if (err->kind == ERR_NONE)
        return false;
    log_event(err->kind == ERR_UNAVAILABLE ? LOG_DEBUG : LOG_WARN, "partitions_failed", LOG_ERR(err));
    loop_timer_start(context->partition_timer, context->config->partition_retry_ms, 0);
    return true;
}

/* A full bite: there is more. */
static void on_pruned(void *arg, struct db_work *work, const struct err *err)
{
    struct context *context = arg;
    int64_t pruned;

    if (is_over(context, err))
        return;
    pruned = db_i64(db_work_result(work, 0), 0, 0);
    if (pruned > 0)
        log_event(LOG_INFO, "refused_pruned", LOG_NUMBER("count", pruned));
    loop_timer_start(context->partition_timer,
                     pruned == PRUNE_BITE ? PRUNE_PAUSE_MS : context->config->partition_interval_ms, 0);
}

/* A transaction of its own: the one before may hold locks of tables. */
static void start_prune(struct context *context)
{
    struct db_work *work = db_work_new(context->database.long_);

    db_work_add(work, &context_prune_refused,
                (struct db_param[]){ DB_PARAM_I32(context->config->refused_retention_days),
                                     DB_PARAM_I32(PRUNE_BITE) },
                2);
    db_work_run(work, on_pruned, context);
}

static void on_made(void *arg, struct db_work *work, const struct err *err)
{
    struct context *context = arg;
    int64_t made;

    if (is_over(context, err))
        return;
    made = db_i64(db_work_result(work, 0), 0, 0);
    if (made > 0)
        log_event(LOG_INFO, "partitions_made", LOG_NUMBER("count", made));
    stats_add(context->stats, CONTEXT_PARTITIONS, (uint64_t)made);
    start_prune(context);
}

static void on_timer(void *arg)
{
    struct context *context = arg;
    struct db_work *work = db_work_new(context->database.long_);

    db_work_add(work, &context_make_partitions,
                (struct db_param[]){ DB_PARAM_I32(context->config->partition_months_ahead) }, 1);
    db_work_add(work, &context_prune_intake,
                (struct db_param[]){ DB_PARAM_I32(context->config->intake_retention_days) }, 1);
    db_work_run(work, on_made, context);
}

void context_start_partitions(struct context *context)
{
    context->partition_timer = loop_timer_new(context->loop, on_timer, context);
    loop_timer_start(context->partition_timer, 0, 0);
}
