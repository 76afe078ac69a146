/* SPDX-License-Identifier: Apache-2.0 */
/* applier.c - reads context's change feed of each tenant from its cursor, and applies it.
 *
 * One replica reads a tenant's feed: the one whose name stands in its lease row. A lease row and not an
 * advisory lock, because a stopped process would keep the lock; a fencing number, because a process that
 * was stopped does not know it. The cursor moves in the transaction that applies, so a crash repeats nothing.
 *
 * A feed is IDLE -> READING -> APPLYING -> READING … -> IDLE; a kick on the way is remembered. A batch that
 * the database refuses is read again, half as long, until the one culprit is left: it is tried a few times more,
 * then it becomes a dead letter and is passed over, since one bad change must not stop all that follow. */
#include "applier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/failpoint.h"
#include "ops/log.h"
#include "statements.h"

enum { RETRY_FIRST_MS = 50, RETRY_MAX_MS = 2000, CULPRIT_PAUSE_MS = 40, CHANGE_MAX_BYTES = 16 << 20 };

static void on_changes(const Guichet__V1__ReadChangesReply *reply, void *arg);
static void feed_apply(struct routing_feed *feed, const Guichet__V1__ReadChangesReply *reply);
static void on_applied(void *arg, struct db_work *work, const struct err *err);
static void feed_skip(struct routing_feed *feed, const struct err *err);

static void feed_move(struct routing_feed *feed, enum routing_feed_step step)
{
    feed->step = step;
}

/* ---- reading ---- */

/* A batch has a price of its own in four processes: what comes soon after one goes together. Nobody rests while
 * a whole batch waits already, or while a change is awaited. */
static bool rests(struct routing_feed *feed)
{
    const struct routing *routing = feed->applier->routing;
    uint64_t now_ms = loop_now_ms(routing->loop);
    uint64_t next_ms = feed->apply_started_ms + routing->config->apply_interval_ms;

    if (now_ms >= next_ms || feed->is_behind || !TAILQ_EMPTY(&feed->waiters))
        return false;
    loop_timer_start(feed->retry_timer, next_ms - now_ms, 0);
    return true;
}

static void on_retry_timer(void *arg)
{
    struct routing_feed *feed = arg;

    if (feed->step == FEED_IDLE)
        routing_applier_read(feed);
}

static void retry_later(struct routing_feed *feed)
{
    feed_move(feed, FEED_IDLE);
    loop_timer_start(feed->retry_timer, feed->retry_ms, 0);
    feed->retry_ms = feed->retry_ms * 2 < RETRY_MAX_MS ? feed->retry_ms * 2 : RETRY_MAX_MS;
}

void routing_applier_read(struct routing_feed *feed)
{
    struct routing *routing = feed->applier->routing;
    Guichet__V1__ReadChangesRequest request = GUICHET__V1__READ_CHANGES_REQUEST__INIT;
    const struct mesh_call call = {
        .tenant = feed->tenant,
        .timeout_ms = 2 * routing->config->context_timeout_ms,
        .attempt_timeout_ms = routing->config->context_timeout_ms,
    };

    if (feed->step != FEED_IDLE || !feed->is_held || feed->is_broken || feed->applier->is_stopped)
        return;
    if (rests(feed))
        return;
    feed->is_kicked = false;
    feed_move(feed, FEED_READING);
    request.tenant = (char *)feed->tenant;
    request.after_sequence = feed->cursor;
    request.epoch = feed->epoch;
    request.limit = feed->limit;
    guichet__v1__context__read_changes(mesh_client_call(routing->context, &call), &request, on_changes, feed);
}

static void mark_broken(struct routing_feed *feed)
{
    feed->is_broken = true;
    feed_move(feed, FEED_IDLE);
    stats_set(feed->applier->routing->stats, ROUTING_RESYNC, 1);
    log_event(LOG_ERROR, "feed_resync_required", LOG_TEXT("tenant", feed->tenant),
              LOG_NUMBER("cursor", feed->cursor), LOG_TEXT("epoch", feed->epoch));
}

static void feed_rest(struct routing_feed *feed)
{
    feed_move(feed, FEED_IDLE);
    feed->retry_ms = RETRY_FIRST_MS;
    if (feed->is_kicked || feed->cursor < feed->last_sequence)
        routing_applier_read(feed);
}

static void on_changes(const Guichet__V1__ReadChangesReply *reply, void *arg)
{
    struct routing_feed *feed = arg;
    struct routing *routing = feed->applier->routing;

    if (reply == NULL) {
        const struct err *err = mesh_err();

        feed_move(feed, FEED_IDLE);
        if (err->kind == ERR_CANCELED)
            return;
        log_event(LOG_DEBUG, "feed_read_failed", LOG_TEXT("tenant", feed->tenant), LOG_ERR(err));
        retry_later(feed);
        return;
    }
    if (reply->is_resync_required) {
        mark_broken(feed);
        return;
    }
    feed->last_sequence = reply->last_sequence;
    stats_set_label(routing->stats, ROUTING_FEED_LAG, feed->tenant,
                    reply->last_sequence > feed->cursor ? (double)(reply->last_sequence - feed->cursor) : 0);
    if (reply->n_changes == 0) {
        feed->last_sequence = feed->cursor;
        feed_rest(feed);
    } else if (FAILPOINT("routing_before_apply")) {
        retry_later(feed);
    } else {
        feed_apply(feed, reply);
    }
}

/* ---- applying ---- */

/* Is there something in it for connectors? */
static bool has_work(const Guichet__V1__ReadChangesReply *reply)
{
    for (size_t i = 0; i < reply->n_changes; i++)
        if (reply->changes[i]->kind == GUICHET__V1__CHANGE_KIND__CHANGE_KIND_OUTBOUND ||
            reply->changes[i]->kind == GUICHET__V1__CHANGE_KIND__CHANGE_KIND_RECEIPT ||
            reply->changes[i]->n_media > 0)
            return true;
    return false;
}

static uint64_t count_refused(const Guichet__V1__ReadChangesReply *reply)
{
    uint64_t count = 0;

    for (size_t i = 0; i < reply->n_changes; i++)
        count += reply->changes[i]->kind == GUICHET__V1__CHANGE_KIND__CHANGE_KIND_REFUSED;
    return count;
}

/* What its dead letter would hold, should it be the culprit: the reply is gone by then. */
static void keep_change(struct routing_feed *feed, const Guichet__V1__ReadChangesReply *reply)
{
    const Guichet__V1__Change *change = reply->changes[0];
    char *packed;

    buf_done(&feed->batch.change);
    buf_init(&feed->batch.change, CHANGE_MAX_BYTES);
    if (reply->n_changes != 1)
        return;
    packed = buf_extend(&feed->batch.change, protobuf_c_message_get_packed_size(&change->base));
    if (packed != NULL)
        protobuf_c_message_pack(&change->base, (uint8_t *)packed);
}

static void feed_apply(struct routing_feed *feed, const Guichet__V1__ReadChangesReply *reply)
{
    struct routing *routing = feed->applier->routing;
    const Guichet__V1__Change *last = reply->changes[reply->n_changes - 1];
    const struct routing_feed_lease lease = {
        .tenant = feed->tenant,
        .holder = feed->applier->holder,
        .epoch = reply->epoch,
        .fencing = feed->fencing,
        .cursor = feed->cursor,
        .ttl_ms = routing->config->lease_ttl_ms,
    };
    struct db_work *work = db_work_new(routing->database.ingest);

    feed_move(feed, FEED_APPLYING);
    feed->apply_started_ms = loop_now_ms(routing->loop);
    feed->is_behind = last->sequence < reply->last_sequence;
    feed->batch.last = last->sequence;
    feed->batch.count = reply->n_changes;
    feed->batch.has_work = has_work(reply);
    feed->batch.refused = count_refused(reply);
    keep_change(feed, reply);
    snprintf(feed->batch.epoch, sizeof(feed->batch.epoch), "%s", reply->epoch);
    routing_apply_add(work, &lease, NULL, reply->changes, reply->n_changes);
    db_work_run(work, on_applied, feed);
}

/* Is it the data, and not the database, the lease or our own end? Classes 21, 22, 23 and 54 of SQLSTATE speak of
 * values; a missing function, a lost grant or a broken index is nobody's data: the feed stands, and is seen to. */
static bool is_data_error(const struct db_work *work, const struct err *err)
{
    static const char *const classes[] = { "21", "22", "23", "54" };
    const char *sqlstate = db_work_sqlstate(work);

    for (size_t i = 0; i < COUNT_OF(classes); i++)
        if (strncmp(sqlstate, classes[i], 2) == 0)
            return true;
    return sqlstate[0] == '\0' && err->kind == ERR_INVALID;
}

static void feed_moved_on(struct routing_feed *feed, uint64_t event_sequence)
{
    struct routing *routing = feed->applier->routing;

    feed->cursor = feed->batch.last;
    memcpy(feed->epoch, feed->batch.epoch, sizeof(feed->epoch));
    if (FAILPOINT("routing_after_apply_before_doorbell")) {
        feed_rest(feed);
        return;
    }
    routing_committed(routing, feed->tenant, event_sequence);
    if (feed->batch.has_work)
        routing_wake(routing, feed->tenant);
    routing_lease_tell_waiters(feed);
    feed_rest(feed);
}

static uint32_t count_attempt(struct routing_feed *feed)
{
    if (feed->culprit.sequence != feed->batch.last)
        feed->culprit.attempts = 0;
    feed->culprit.sequence = feed->batch.last;
    return ++feed->culprit.attempts;
}

static void on_applied(void *arg, struct db_work *work, const struct err *err)
{
    struct routing_feed *feed = arg;
    struct routing *routing = feed->applier->routing;

    feed_move(feed, FEED_IDLE);
    if (err->kind == ERR_NONE) {
        stats_add(routing->stats, ROUTING_APPLIED, feed->batch.count);
        if (feed->batch.refused > 0)
            stats_add_label(routing->stats, ROUTING_DEAD_LETTERS, "event", feed->batch.refused);
        stats_observe_ms(routing->stats, ROUTING_APPLY_TIME,
                         (double)(loop_now_ms(routing->loop) - feed->apply_started_ms));
        feed->limit =
            feed->limit * 2 < routing->config->apply_limit ? feed->limit * 2 : routing->config->apply_limit;
        feed_moved_on(feed, (uint64_t)db_i64(db_work_result(work, 0), 0, 0));
        return;
    }
    if (err->kind == ERR_CANCELED)
        return;
    if (is_data_error(work, err)) {
        log_event(LOG_ERROR, "apply_refused", LOG_TEXT("tenant", feed->tenant),
                  LOG_NUMBER("after", feed->cursor), LOG_NUMBER("count", feed->batch.count),
                  LOG_TEXT("sqlstate", db_work_sqlstate(work)), LOG_ERR(err));
        if (feed->batch.count > 1) {
            feed->limit = (uint32_t)feed->batch.count / 2;
            routing_applier_read(feed);
        } else if (count_attempt(feed) < routing->config->change_attempts_max) {
            loop_timer_start(feed->retry_timer, CULPRIT_PAUSE_MS, 0);
        } else {
            feed_skip(feed, err);
        }
        return;
    }
    /* Lost lease, or a commit whose answer was lost: what the row says counts. */
    log_event(LOG_WARN, "apply_failed", LOG_TEXT("tenant", feed->tenant), LOG_NUMBER("after", feed->cursor),
              LOG_ERR(err));
    if (err->kind == ERR_DEADLINE && feed->batch.count > 1)
        feed->limit = (uint32_t)feed->batch.count / 2;
    feed->is_held = false;
    retry_later(feed);
    routing_lease_hold_now(feed->applier);
}

static void on_skipped(void *arg, struct db_work *work, const struct err *err)
{
    struct routing_feed *feed = arg;

    feed_move(feed, FEED_IDLE);
    if (err->kind == ERR_CANCELED)
        return;
    if (err->kind != ERR_NONE) {
        feed->is_held = false;
        retry_later(feed);
        routing_lease_hold_now(feed->applier);
        return;
    }
    stats_add(feed->applier->routing->stats, ROUTING_SKIPPED, 1);
    stats_add_label(feed->applier->routing->stats, ROUTING_DEAD_LETTERS, "change", 1);
    feed->limit = feed->applier->routing->config->apply_limit; /* its neighbours have waited */
    feed_moved_on(feed, (uint64_t)db_i64(db_work_result(work, 0), 0, 0));
}

/* Of the culprit, what is sure to go into a column. */
static struct db_param id_or_null(const char *text)
{
    struct id id;

    return DB_PARAM_UUID(text != NULL && id_parse(text, &id) ? text : "");
}

static void feed_skip(struct routing_feed *feed, const struct err *err)
{
    struct routing *routing = feed->applier->routing;
    struct db_work *work = db_work_new(routing->database.ingest);
    const Guichet__V1__Change *change = guichet__v1__change__unpack(
        arena_protobuf(db_work_arena(work)), feed->batch.change.len, (uint8_t *)feed->batch.change.data);
    const char *account = change != NULL ? change->account_id : "";
    const char *conversation = change != NULL ? change->conversation_id : "";
    const struct db_param params[] = {
        DB_PARAM_TEXT(feed->tenant),
        DB_PARAM_UUID(feed->applier->holder),
        DB_PARAM_I64(feed->fencing),
        DB_PARAM_I64(feed->cursor),
        DB_PARAM_I64(feed->batch.last),
        DB_PARAM_TEXT(feed->batch.epoch),
        DB_PARAM_I64(routing->config->lease_ttl_ms),
        DB_PARAM_TEXT(utf8_is_valid(str_view_of(account)) ? account : ""),
        id_or_null(conversation),
        id_or_null(change != NULL ? change->message_id : ""),
        DB_PARAM_TEXT(err->text),
        DB_PARAM_I32(feed->culprit.attempts),
        DB_PARAM_BYTES(buf_view(&feed->batch.change)),
    };

    log_event(LOG_ERROR, "change_skipped", LOG_TEXT("tenant", feed->tenant),
              LOG_NUMBER("sequence", feed->batch.last), LOG_TEXT("conversation", conversation),
              LOG_ERR(err));
    feed_move(feed, FEED_APPLYING);
    db_work_add(work, &routing_sql_skip_change, params, COUNT_OF(params));
    db_work_run(work, on_skipped, feed);
}

/* ---- life ---- */

static void on_poll(void *arg)
{
    struct routing_applier *applier = arg;

    for (size_t i = 0; i < applier->count; i++)
        if (applier->feeds[i].is_held)
            routing_applier_kick(applier, applier->feeds[i].tenant, false);
    routing_applier_look(applier);
    routing_pulls_wake(applier->routing->pulls, NULL);
    routing_clocks_set(applier->routing->clocks, NULL);
    routing_dead_letters_count(applier->routing);
}

struct routing_applier *routing_applier_new(struct routing *routing)
{
    struct routing_applier *applier = calloc(1, sizeof(*applier));
    const struct routing_tenant_config *tenants = routing->config->tenants.items;

    if (applier == NULL)
        abort();
    applier->routing = routing;
    id_new_text(applier->holder);
    applier->count = routing->config->tenants.count;
    applier->feeds = calloc(applier->count, sizeof(*applier->feeds));
    if (applier->feeds == NULL)
        abort();
    for (size_t i = 0; i < applier->count; i++) {
        struct routing_feed *feed = &applier->feeds[i];

        feed->applier = applier;
        feed->tenant = tenants[i].name;
        feed->limit = routing->config->apply_limit;
        feed->retry_ms = RETRY_FIRST_MS;
        feed->retry_timer = loop_timer_new(routing->loop, on_retry_timer, feed);
        TAILQ_INIT(&feed->waiters);
    }
    applier->hold_timer = loop_timer_new(routing->loop, routing_lease_hold_now, applier);
    applier->poll_timer = loop_timer_new(routing->loop, on_poll, applier);
    loop_timer_start(applier->hold_timer, 0, 0);
    loop_timer_start(applier->poll_timer, routing->config->poll_ms, routing->config->poll_ms);
    return applier;
}

bool routing_applier_check(void *arg, struct err *err)
{
    const struct routing_applier *applier = arg;

    for (size_t i = 0; i < applier->count; i++)
        if (applier->feeds[i].is_broken)
            return err_set(err, ERR_CONFLICT, "the feed of tenant '%s' needs a resync",
                           applier->feeds[i].tenant);
    return true;
}

static void on_released(void *arg, struct db_work *work, const struct err *err)
{
    (void)arg;
    (void)work;
    if (err->kind != ERR_NONE)
        log_event(LOG_INFO, "feeds_not_released", LOG_ERR(err)); /* the leases run out */
}

void routing_applier_stop(struct routing_applier *applier)
{
    const struct db_param params[] = { DB_PARAM_UUID(applier->holder) };
    struct db_work *work;

    if (applier->is_stopped)
        return;
    applier->is_stopped = true;
    loop_timer_stop(applier->hold_timer);
    loop_timer_stop(applier->poll_timer);
    work = db_work_new(applier->routing->database.short_);
    db_work_add(work, &routing_sql_release_feeds, params, COUNT_OF(params));
    db_work_run(work, on_released, applier);
    for (size_t i = 0; i < applier->count; i++) {
        struct routing_waiter *waiter;

        loop_timer_stop(applier->feeds[i].retry_timer);
        TAILQ_FOREACH(waiter, &applier->feeds[i].waiters, link)
        loop_timer_start(waiter->timer, 0, 0);
    }
}

bool routing_applier_is_idle(const struct routing_applier *applier)
{
    for (size_t i = 0; i < applier->count; i++)
        if (applier->feeds[i].step != FEED_IDLE || !TAILQ_EMPTY(&applier->feeds[i].waiters))
            return false;
    return true;
}

/* After the mesh and the database are gone: nothing calls back any more. */
void routing_applier_free(struct routing_applier **applier_ptr)
{
    struct routing_applier *applier = *applier_ptr;

    *applier_ptr = NULL;
    if (applier == NULL)
        return;
    for (size_t i = 0; i < applier->count; i++) {
        routing_lease_end_waiters(&applier->feeds[i]);
        buf_done(&applier->feeds[i].batch.change);
        loop_timer_free(&applier->feeds[i].retry_timer);
    }
    loop_timer_free(&applier->hold_timer);
    loop_timer_free(&applier->poll_timer);
    free(applier->feeds);
    free(applier);
}
