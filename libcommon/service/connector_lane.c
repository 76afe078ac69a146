/* SPDX-License-Identifier: Apache-2.0 */
/* connector_lane.c - events join the batch that is forming in their lane; each lane has one Submit under way.
 *
 * A lane belongs to one tenant (a request is one transaction of one tenant), and a thread always has the
 * same lane: so B, whose request began after A's answer, is submitted after A. No timer holds a batch back:
 * it goes when the lane's previous one is answered. While one is under way the next forms, at its own pace
 * the larger the busier we are. What waits longer than submit_timeout_ms goes to the spool, or is given up where
 * there is none; never is it sent late. */
#include "service/connector_drain.h"

#include <stdlib.h>
#include <string.h>

#include "core/duration.h"
#include "core/pbjson.h"

enum { HOLD_LOOK_MS = 50, CALL_TIMEOUT_MIN_MS = 50, BATCH_FIRST_EVENTS = 8, EVENT_OVERHEAD_BYTES = 8 };

static void on_submitted(const Guichet__V1__SubmitReply *reply, void *arg);
static void on_reannounced(void *arg, bool is_announced);
static void on_appended(void *arg, const struct err *err);

/* ---- batches ---- */

static struct batch *batch_new(void)
{
    struct batch *batch = calloc(1, sizeof(*batch));

    if (batch == NULL)
        abort();
    return batch;
}

static void batch_free(struct batch *batch)
{
    arena_free(&batch->arena);
    free(batch->events);
    free(batch);
}

static void batch_add(struct batch *batch, const struct lane_event *event)
{
    if (batch->count == batch->size) {
        batch->size = batch->size > 0 ? batch->size * 2 : BATCH_FIRST_EVENTS;
        batch->events = realloc(batch->events, batch->size * sizeof(*batch->events));
        if (batch->events == NULL)
            abort();
    }
    batch->events[batch->count++] = *event;
    batch->bytes += event->bytes;
}

static void lane_append(struct lane *lane, struct batch *batch)
{
    if (lane->last != NULL)
        lane->last->next = batch;
    else
        lane->first = batch;
    lane->last = batch;
}

static void lane_prepend(struct lane *lane, struct batch *batch)
{
    batch->next = lane->first;
    lane->first = batch;
    if (lane->last == NULL)
        lane->last = batch;
}

static struct batch *lane_take(struct lane *lane)
{
    struct batch *batch = lane->first;

    if (batch != NULL) {
        lane->first = batch->next;
        if (lane->first == NULL)
            lane->last = NULL;
        batch->next = NULL;
    }
    return batch;
}

/* ---- numbers ---- */

/* Given when the event goes somewhere for the first time, so that they are in the order of the lane. */
static void number_events(struct lane *lane, struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        Guichet__V1__InboundEvent *event = batch->events[i].event;

        if (event->boot_n != 0)
            continue;
        event->boot_id = lane->lanes->runtime->boot_id;
        event->boot_lane = lane->boot_lane;
        event->boot_n = ++lane->boot_n;
    }
}

/* ---- answers ---- */

/* recorded NULL and err NULL: it is in the spool. */
static void event_end(struct lane *lane, const struct lane_event *event,
                      const Guichet__V1__Recorded *recorded, const struct err *err)
{
    static const struct err none = { 0 };

    if (err != NULL && event->event->boot_n != 0)
        connector_lane_void(lane, event->event->boot_n);
    lane->lanes->waiting--;
    event->done(event->arg, recorded, err != NULL ? err : &none);
}

static void batch_fail(struct lane *lane, struct batch *batch, const struct err *err)
{
    for (size_t i = 0; i < batch->count; i++) {
        connector_count(lane->lanes->runtime, CONNECTOR_EVENTS_UNANSWERED, batch->events[i].slot->account, 1);
        event_end(lane, &batch->events[i], NULL, err);
    }
    batch_free(batch);
}

static void batch_end(struct lane *lane, struct batch *batch, const Guichet__V1__SubmitReply *reply)
{
    struct err err = { 0 };

    if (reply->n_results != batch->count) {
        err_set(&err, ERR_INTERNAL, "%zu results for %zu events", reply->n_results, batch->count);
        batch_fail(lane, batch, &err);
        return;
    }
    err_set(&err, ERR_INTERNAL, "the result is not that of the event");
    for (size_t i = 0; i < batch->count; i++) {
        const struct lane_event *event = &batch->events[i];
        bool is_answer =
            connector_is_answer(batch->is_dead ? NULL : event->event->event_key, reply->results[i]);

        connector_count(lane->lanes->runtime,
                        is_answer ? connector_stat_of(reply->results[i]) : CONNECTOR_EVENTS_UNANSWERED,
                        event->slot->account, 1);
        event_end(lane, event, is_answer ? reply->results[i] : NULL, is_answer ? NULL : &err);
    }
    batch_free(batch);
}

/* ---- into the spool ---- */

static struct spool_row *make_rows(struct lane *lane, struct batch *batch, size_t *ret_count)
{
    size_t count = 0;
    struct spool_row *rows = arena_alloc(batch->arena, (lane->voids.count + batch->count) * sizeof(*rows));

    for (size_t i = 0; i < lane->voids.count; i++)
        rows[count++] = (struct spool_row){ .kind = SPOOL_VOID,
                                            .account = lane->account,
                                            .thread_key = lane->index,
                                            .at_us = time_now_us(),
                                            .boot_id = lane->lanes->runtime->boot_id,
                                            .boot_lane = lane->boot_lane,
                                            .boot_n = lane->voids.ranges[i].first,
                                            .boot_last = lane->voids.ranges[i].last };
    for (size_t i = 0; i < batch->count; i++) {
        const struct lane_event *event = &batch->events[i];
        size_t len = guichet__v1__inbound_event__get_packed_size(event->event);
        uint8_t *bytes = arena_alloc(batch->arena, len + 1);

        guichet__v1__inbound_event__pack(event->event, bytes);
        rows[count++] = (struct spool_row){
            .kind = SPOOL_EVENT,
            .account = (uint32_t)(event->slot - lane->lanes->runtime->slots),
            .thread_key = event->thread_key,
            .at_us = time_now_us(),
            .boot_id = event->event->boot_id,
            .boot_lane = event->event->boot_lane,
            .boot_n = event->event->boot_n,
            .boot_last = event->event->boot_n,
            .bytes = { (const char *)bytes, len },
        };
    }
    *ret_count = count;
    return rows;
}

/* One append of a lane at a time: what fails leaves its voids to the next, which keeps them beside its rows. */
static void append_start(struct lane *lane, struct batch *batch)
{
    struct spool_row *rows;
    size_t count;

    lane->sending = batch;
    lane->is_appending = true;
    number_events(lane, batch);
    arena_free(&batch->arena);
    batch->arena = arena_new(batch->bytes +
                             (batch->count + lane->voids.count) * (sizeof(struct spool_row) + 256) + 65536);
    rows = make_rows(lane, batch, &count);
    batch->share.taken_id = lane->voids.last_id;
    spool_append(lane->lanes->runtime->spool, rows, count, on_appended, lane);
}

static void on_appended(void *arg, const struct err *err)
{
    struct lane *lane = arg;
    struct batch *batch = lane->sending;
    struct connector_runtime *runtime = lane->lanes->runtime;

    lane->sending = NULL;
    lane->is_appending = false;
    if (err->kind != ERR_NONE) {
        batch_fail(lane, batch, err);
    } else {
        connector_lane_drop_voids(lane, batch->share.taken_id);
        for (size_t i = 0; i < batch->count; i++) {
            connector_count(runtime, CONNECTOR_EVENTS_SPOOLED, batch->events[i].slot->account, 1);
            event_end(lane, &batch->events[i], NULL, NULL);
        }
        batch_free(batch);
    }
    if (runtime->is_closing)
        return;
    connector_lane_next(lane);
    connector_drain_kick(lane->drain);
}

static bool is_worth_keeping(enum err_kind kind)
{
    return kind != ERR_CANCELED && kind != ERR_FORBIDDEN;
}

/* Not answered: kept in the spool where there is one, else the provider keeps it. */
static void batch_divert(struct lane *lane, struct batch *batch, const struct err *err)
{
    struct connector_runtime *runtime = lane->lanes->runtime;

    if (runtime->spool != NULL && !runtime->is_closing && is_worth_keeping(err->kind))
        append_start(lane, batch);
    else
        batch_fail(lane, batch, err);
}

/* ---- Submit ---- */

static bool submit(struct lane *lane, struct batch *batch, uint32_t timeout_ms)
{
    struct connector_lanes *lanes = lane->lanes;
    Guichet__V1__InboundEvent **events = calloc(batch->count, sizeof(*events));
    struct submit call = { .events = events, .event_count = batch->count, .timeout_ms = timeout_ms };
    bool is_called;

    if (events == NULL)
        abort();
    number_events(lane, batch);
    for (size_t i = 0; i < batch->count; i++)
        events[i] = batch->events[i].event;
    if (batch->is_dead) {
        size_t len = guichet__v1__inbound_event__get_packed_size(events[0]);
        uint8_t *bytes;

        arena_free(&batch->arena);
        batch->arena = arena_new(len + 65536);
        bytes = arena_alloc(batch->arena, len + 1);
        guichet__v1__inbound_event__pack(events[0], bytes);
        call.event_count = 0;
        call.dead = connector_dead_event(batch->arena, events[0]->account_id, events[0]->event_key,
                                         (struct str_view){ (const char *)bytes, len }, batch->why.text, 1);
        call.dead->boot_id = events[0]->boot_id;
        call.dead->boot_lane = events[0]->boot_lane;
        call.dead->boot_n = events[0]->boot_n;
    }
    lane->sending = batch;
    batch->sent_ms = loop_now_ms(lanes->runtime->loop);
    is_called = connector_submit(lane, &call, on_submitted, lane);
    if (!is_called)
        lane->sending = NULL;
    for (size_t i = 0; is_called && !call.share.is_alone && i < batch->count; i++)
        connector_count(lanes->runtime, CONNECTOR_EVENTS_SUBMITTED, batch->events[i].slot->account, 1);
    batch->token_generation = call.token_generation;
    batch->share = call.share;
    free(events);
    return is_called;
}

/* Sends the batch, or diverts it: no token, or it has waited too long. */
static void batch_start(struct lane *lane, struct batch *batch)
{
    struct connector_runtime *runtime = lane->lanes->runtime;
    uint64_t now_ms = loop_now_ms(runtime->loop), oldest_ms = now_ms, age_ms;
    uint32_t limit_ms = connector_submit_timeout_ms(runtime->config);
    struct err err = { 0 };

    if (connector_lane_is_diverted(lane)) {
        append_start(lane, batch);
        return;
    }
    for (size_t i = 0; i < batch->count; i++)
        if (batch->events[i].added_ms < oldest_ms)
            oldest_ms = batch->events[i].added_ms;
    age_ms = now_ms - oldest_ms;
    if (age_ms + CALL_TIMEOUT_MIN_MS > limit_ms) {
        err_set(&err, ERR_DEADLINE, "waited %llu ms for the lane", (unsigned long long)age_ms);
        batch_divert(lane, batch, &err);
    } else if (!submit(lane, batch, (uint32_t)(limit_ms - age_ms))) {
        err_set(&err, ERR_UNAVAILABLE, "not announced to routing");
        batch_divert(lane, batch, &err);
    }
}

/* The lane's last rows are on their way out: what came meanwhile waits for them a while, and is submitted then. Were
 * it appended behind them, a steady flow would keep the lane in the spool for good. */
static bool is_held_back(const struct lane *lane)
{
    const struct connector_runtime *runtime = lane->lanes->runtime;
    uint64_t now_ms = loop_now_ms(runtime->loop);

    return connector_lane_is_diverted(lane) && !spool_is_scanning(runtime->spool) &&
           connector_drain_is_moving(lane->drain) &&
           spool_lane_rows(runtime->spool, lane->account, lane->index) <= runtime->config->batch_events_max &&
           now_ms - lane->first->events[0].added_ms < connector_submit_timeout_ms(runtime->config) / 2;
}

void connector_lane_next(struct lane *lane)
{
    while (lane->sending == NULL && lane->first != NULL) {
        if (is_held_back(lane)) {
            if (!loop_timer_is_active(lane->lanes->hold_timer))
                loop_timer_start(lane->lanes->hold_timer, HOLD_LOOK_MS, 0);
            return;
        }
        batch_start(lane, lane_take(lane));
    }
}

/* One event that cannot be read must not cost its neighbours: halves are tried until it is alone. */
static void batch_split(struct lane *lane, struct batch *batch)
{
    struct batch *left = batch_new(), *right = batch_new();

    for (size_t i = 0; i < batch->count; i++)
        batch_add(i < batch->count / 2 ? left : right, &batch->events[i]);
    batch_free(batch);
    lane_prepend(lane, right);
    lane_prepend(lane, left);
}

/* Alone, and refused as a whole: it goes once more, as bytes that nobody reads. */
static void batch_give_up(struct lane *lane, struct batch *batch, const struct err *err)
{
    batch->is_dead = true;
    batch->was_forbidden = false;
    batch->why = *err;
    lane_prepend(lane, batch);
}

static void on_submitted(const Guichet__V1__SubmitReply *reply, void *arg)
{
    struct lane *lane = arg;
    struct connector_runtime *runtime = lane->lanes->runtime;
    struct batch *batch = lane->sending;
    struct err err = { 0 };

    if (reply == NULL)
        err = *mesh_err();
    if (err.kind == ERR_FORBIDDEN && !batch->was_forbidden) {
        batch->was_forbidden = true;
        connector_announce_again(runtime, batch->token_generation, on_reannounced, lane);
        return;
    }
    lane->sending = NULL;
    stats_observe_ms(runtime->stats, CONNECTOR_SUBMIT_TIME,
                     (double)(loop_now_ms(runtime->loop) - batch->sent_ms));
    if (err.kind == ERR_CANCELED) {
        batch_fail(lane, batch, &err);
        return;
    }
    if (connector_voids_answered(lane, &batch->share, &err))
        lane_prepend(lane, batch), batch = NULL;
    else if (reply != NULL)
        connector_trials_heard(lane->lanes->trials);
    else if (err.kind == ERR_INVALID && batch->count > 1)
        batch_split(lane, batch), batch = NULL;
    else if (err.kind == ERR_INVALID && !batch->is_dead)
        batch_give_up(lane, batch, &err), batch = NULL;
    else
        batch_divert(lane, batch, &err), batch = NULL;
    connector_lane_next(lane);
    if (batch != NULL)
        batch_end(lane, batch, reply);
    connector_drain_kick(lane->drain);
}

static void on_reannounced(void *arg, bool is_announced)
{
    struct lane *lane = arg;
    struct batch *batch = lane->sending;
    struct err err = { 0 };

    lane->sending = NULL;
    if (is_announced) {
        batch_start(lane, batch);
        connector_lane_next(lane);
        return;
    }
    err_set(&err, ERR_UNAVAILABLE, "routing refuses our token and gives no other");
    batch_divert(lane, batch, &err);
    if (!lane->lanes->runtime->is_closing)
        connector_lane_next(lane);
}

/* ---- in ---- */

/* FNV-1a over what names a thread. Receipts name nobody: those of one message stay together. */
static uint32_t hash_thread(const struct connector_slot *slot, const Guichet__V1__InboundEvent *event)
{
    const char *words[] = {
        slot->account->id,
        event->sender != NULL ? event->sender->value : event->provider_id,
        event->thread != NULL ? event->thread->key : "",
    };
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < COUNT_OF(words); i++)
        for (const char *c = words[i];; c++) {
            hash = (hash ^ (unsigned char)*c) * 16777619u;
            if (*c == '\0')
                break;
        }
    return hash;
}

static struct lane *find_lane(struct connector_lanes *lanes, const struct connector_slot *slot,
                              uint32_t thread_key)
{
    uint32_t lanes_per_tenant = lanes->runtime->config->lanes;

    for (size_t first = 0; first < lanes->lane_count; first += lanes_per_tenant)
        if (strcmp(lanes->lanes[first].tenant, slot->account->tenant) == 0)
            return &lanes->lanes[first + thread_key % lanes_per_tenant];
    abort(); /* every slot's tenant got its lanes in connector_lanes_new() */
}

bool connector_lane_is_diverted(const struct lane *lane)
{
    const struct spool *spool = lane->lanes->runtime->spool;

    return spool != NULL &&
           (spool_is_scanning(spool) || spool_lane_rows(spool, lane->account, lane->index) > 0);
}

void connector_lane_add(struct connector_lanes *lanes, struct connector_slot *slot,
                        Guichet__V1__InboundEvent *event, connector_recorded_fn *done, void *arg)
{
    const struct connector_config *config = lanes->runtime->config;
    uint32_t thread_key = hash_thread(slot, event);
    struct lane *lane = find_lane(lanes, slot, thread_key);
    struct lane_event entry = {
        .event = event,
        .slot = slot,
        .done = done,
        .arg = arg,
        .thread_key = thread_key,
        .added_ms = loop_now_ms(lanes->runtime->loop),
    };

    event->boot_id = lanes->runtime->boot_id;
    event->boot_lane = lane->boot_lane;
    entry.bytes = guichet__v1__inbound_event__get_packed_size(event) + EVENT_OVERHEAD_BYTES;
    if (lane->last == NULL || lane->last->count >= config->batch_events_max || lane->last->is_dead ||
        lane->last->bytes + entry.bytes > config->batch_bytes_max)
        lane_append(lane, batch_new());
    batch_add(lane->last, &entry);
    lanes->waiting++;
    if (!loop_timer_is_active(lanes->kick))
        loop_timer_start(lanes->kick, 0, 0);
}

static void on_kick(void *arg)
{
    struct connector_lanes *lanes = arg;

    for (size_t i = 0; i < lanes->lane_count; i++) {
        connector_lane_next(&lanes->lanes[i]);
        connector_drain_kick(lanes->lanes[i].drain);
    }
}

void connector_lanes_wake(struct connector_lanes *lanes)
{
    if (!loop_timer_is_active(lanes->kick))
        loop_timer_start(lanes->kick, 0, 0);
}

void connector_lanes_refresh(struct connector_lanes *lanes)
{
    for (size_t i = 0; i < lanes->lane_count; i++)
        connector_drain_reread(lanes->lanes[i].drain);
}

size_t connector_lanes_diverted(const struct connector_lanes *lanes)
{
    size_t count = 0;

    for (size_t i = 0; i < lanes->lane_count; i++)
        count += connector_lane_is_diverted(&lanes->lanes[i]);
    return count;
}

/* ---- life ---- */

static bool is_first_of_tenant(const struct connector_runtime *runtime, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (strcmp(runtime->slots[i].account->tenant, runtime->slots[index].account->tenant) == 0)
            return false;
    return true;
}

struct connector_lanes *connector_lanes_new(struct connector_runtime *runtime)
{
    struct connector_lanes *lanes = calloc(1, sizeof(*lanes));

    if (lanes == NULL)
        abort();
    lanes->runtime = runtime;
    lanes->lanes = calloc(runtime->slot_count * runtime->config->lanes, sizeof(*lanes->lanes));
    if (lanes->lanes == NULL)
        abort();
    for (size_t i = 0; i < runtime->slot_count; i++)
        for (uint32_t j = 0; j < runtime->config->lanes && is_first_of_tenant(runtime, i); j++) {
            struct lane *lane = &lanes->lanes[lanes->lane_count++];

            *lane = (struct lane){ .lanes = lanes,
                                   .tenant = runtime->slots[i].account->tenant,
                                   .account = (uint32_t)i,
                                   .index = j,
                                   .boot_lane = (uint32_t)lanes->lane_count };
            lane->drain = connector_drain_new(lane);
        }
    lanes->trials = connector_trials_new(lanes);
    lanes->kick = loop_timer_new(runtime->loop, on_kick, lanes);
    lanes->hold_timer = loop_timer_new(runtime->loop, on_kick, lanes);
    return lanes;
}

/* After the mesh client and the spool are gone: what they owed has come. What still waits is given up. */
void connector_lanes_free(struct connector_lanes **lanes_ptr)
{
    struct connector_lanes *lanes = *lanes_ptr;
    struct err err = { 0 };
    struct batch *batch;

    *lanes_ptr = NULL;
    if (lanes == NULL)
        return;
    err_set(&err, ERR_CANCELED, "stopping");
    for (size_t i = 0; i < lanes->lane_count; i++) {
        while ((batch = lane_take(&lanes->lanes[i])) != NULL)
            batch_fail(&lanes->lanes[i], batch, &err);
        connector_drain_free(&lanes->lanes[i].drain);
        free(lanes->lanes[i].voids.ranges);
    }
    connector_trials_free(&lanes->trials);
    loop_timer_free(&lanes->kick);
    loop_timer_free(&lanes->hold_timer);
    free(lanes->lanes);
    free(lanes);
}

size_t connector_lanes_waiting(const struct connector_lanes *lanes)
{
    return lanes->waiting;
}
