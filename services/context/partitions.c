/* SPDX-License-Identifier: Apache-2.0 */
/* partitions.c - the tables of the months to come, made in advance; old manifests' tables, dropped.
 *
 * Every replica does it, at its start and daily; the database takes care that they do not meet.
 * A month without a table of its own costs nothing but tidiness: its rows go to the default one. */
#include "context.h"
#include "statements.h"

static void on_made(void *arg, struct db_work *work, const struct err *err)
{
    struct context *context = arg;
    int64_t made;

    if (err->kind == ERR_CANCELED)
        return;
    if (err->kind != ERR_NONE) {
        log_event(err->kind == ERR_UNAVAILABLE ? LOG_DEBUG : LOG_WARN, "partitions_failed", LOG_ERR(err));
        loop_timer_start(context->partition_timer, context->config->partition_retry_ms, 0);
        return;
    }
    made = db_i64(db_work_result(work, 0), 0, 0);
    if (made > 0)
        log_event(LOG_INFO, "partitions_made", LOG_NUMBER("count", made));
    stats_add(context->stats, CONTEXT_PARTITIONS, (uint64_t)made);
    loop_timer_start(context->partition_timer, context->config->partition_interval_ms, 0);
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
