/* SPDX-License-Identifier: Apache-2.0 */
/* blob_collect.c - what nobody refers to goes after a grace period, and so do uploads that nobody goes on with.
 *
 * In bites: one short transaction each, by one replica at a time, until there is nothing left to do. The
 * blob's row goes first; what it had in a store stands in a list until it is deleted there, so that a crash in
 * between costs nothing but time. */
#include "blob.h"

#include <string.h>

#include "blob_statements.h"
#include "blob_store.h"
#include "ops/failpoint.h"

enum { BITE = 64, REMOVALS = 8, REMOVAL_HOLD_MS = 300000, PAUSE_MS = 10, TENANT_BYTES = 65 };

/* The places of one bite, removed one after the other. */
struct removals {
    struct {
        char tenant[TENANT_BYTES], place[BLOB_PLACE_MAX_BYTES];
        enum blob_store store;
    } items[REMOVALS];
    size_t count, at;
    struct blobs *blobs;
};

static void remove_next(struct removals *removals);

static void rest(struct blobs *blobs, bool has_more)
{
    blobs->is_collecting = false;
    if (blobs->is_closing)
        return;
    has_more = has_more || blobs->is_collect_wanted;
    blobs->is_collect_wanted = false;
    loop_timer_start(blobs->collect_timer, has_more ? PAUSE_MS : blobs->config->blob_collect_interval_ms, 0);
}

static bool is_over(struct blobs *blobs, const struct err *err)
{
    if (err->kind == ERR_NONE && !blobs->is_closing)
        return false;
    if (err->kind != ERR_NONE && err->kind != ERR_CANCELED)
        log_event(err->kind == ERR_UNAVAILABLE ? LOG_DEBUG : LOG_WARN, "collect_failed", LOG_ERR(err));
    rest(blobs, false);
    return true;
}

/* ---- stores ---- */

static void on_forgotten(void *arg, struct db_work *work, const struct err *err)
{
    struct removals *removals = arg;

    (void)work;
    if (err->kind == ERR_NONE)
        stats_add_label(removals->blobs->context->stats, CONTEXT_BLOBS_COLLECTED, "object", 1);
    else
        log_event(LOG_DEBUG, "removal_not_forgotten", LOG_ERR(err)); /* it is due again later */
    removals->at++;
    remove_next(removals);
}

static void on_removed(void *arg, const struct err *err)
{
    struct removals *removals = arg;
    const char *place = removals->items[removals->at].place;
    struct db_work *work;

    if (err->kind != ERR_NONE || FAILPOINT("context_blob_after_object_removal")) {
        log_event(LOG_WARN, "blob_not_removed", LOG_TEXT("place", place), LOG_ERR(err));
        removals->at++;
        remove_next(removals);
        return;
    }
    work = db_work_new(removals->blobs->pool);
    db_work_add(work, &blob_sql_forget_removal,
                (struct db_param[]){ DB_PARAM_TEXT(removals->items[removals->at].tenant),
                                     DB_PARAM_I32(removals->items[removals->at].store),
                                     DB_PARAM_TEXT(place) },
                3);
    db_work_run(work, on_forgotten, removals);
}

static void remove_next(struct removals *removals)
{
    struct blobs *blobs = removals->blobs;
    size_t at = removals->at;

    if (at == removals->count || blobs->is_closing || FAILPOINT("context_blob_before_object_removal")) {
        rest(blobs, removals->count == REMOVALS);
        free(removals);
    } else if (removals->items[at].store == BLOB_STORE_S3) {
        blob_s3_remove(blobs, removals->items[at].place, on_removed, removals);
    } else {
        blob_directory_remove(blobs, removals->items[at].place, on_removed, removals);
    }
}

static void on_claimed(void *arg, struct db_work *work, const struct err *err)
{
    struct blobs *blobs = arg;
    const struct db_result *claimed;
    struct removals *removals;

    if (is_over(blobs, err))
        return;
    claimed = db_work_result(work, 0);
    removals = calloc(1, sizeof(*removals));
    if (removals == NULL)
        abort();
    removals->blobs = blobs;
    removals->count = db_rows(claimed);
    for (size_t i = 0; i < removals->count; i++) {
        snprintf(removals->items[i].tenant, TENANT_BYTES, "%s", db_text(work, claimed, i, 0));
        snprintf(removals->items[i].place, BLOB_PLACE_MAX_BYTES, "%s", db_text(work, claimed, i, 2));
        removals->items[i].store = (enum blob_store)db_i64(claimed, i, 1);
    }
    remove_next(removals);
}

/* ---- rows ---- */

static void on_collected(void *arg, struct db_work *work, const struct err *err)
{
    struct blobs *blobs = arg;
    struct context *context = blobs->context;
    const struct db_result *did;

    if (is_over(blobs, err))
        return;
    did = db_work_result(work, 0);
    if (db_i64(did, 0, 1) > 0 || db_i64(did, 0, 2) > 0)
        log_event(LOG_INFO, "blobs_collected", LOG_NUMBER("blobs", db_i64(did, 0, 1)),
                  LOG_NUMBER("uploads", db_i64(did, 0, 2)));
    stats_add_label(context->stats, CONTEXT_BLOBS_COLLECTED, "blob", (uint64_t)db_i64(did, 0, 1));
    stats_add_label(context->stats, CONTEXT_BLOBS_COLLECTED, "upload", (uint64_t)db_i64(did, 0, 2));
    if (db_i64(did, 0, 0) > 0) {
        rest(blobs, true);
        return;
    }
    work = db_work_new(blobs->pool);
    db_work_add(work, &blob_sql_claim_removals,
                (struct db_param[]){ DB_PARAM_I32(REMOVALS), DB_PARAM_I64(REMOVAL_HOLD_MS) }, 2);
    db_work_run(work, on_claimed, blobs);
}

static void on_timer(void *arg)
{
    struct blobs *blobs = arg;
    struct db_work *work = db_work_new(blobs->pool);

    blobs->is_collecting = true;
    db_work_add(work, &blob_sql_collect,
                (struct db_param[]){ DB_PARAM_I64(blobs->config->upload_idle_ms),
                                     DB_PARAM_I64(blobs->config->blob_grace_ms), DB_PARAM_I32(BITE) },
                3);
    db_work_run(work, on_collected, blobs);
}

void blob_collect_soon(struct blobs *blobs)
{
    if (blobs->is_closing)
        return;
    blobs->is_collect_wanted = true;
    if (!blobs->is_collecting)
        loop_timer_start(blobs->collect_timer, PAUSE_MS, 0);
}

/* The first after an interval: at the start there is enough to do. */
void blob_collect_start(struct blobs *blobs)
{
    blobs->collect_timer = loop_timer_new(blobs->context->loop, on_timer, blobs);
    loop_timer_start(blobs->collect_timer, blobs->config->blob_collect_interval_ms, 0);
}
