/* SPDX-License-Identifier: Apache-2.0 */
/* connector_lane.c - events join the batch that is forming in their lane; each lane has one Submit under way.
 *
 * A lane belongs to one tenant (a request is one transaction of one tenant), and a thread always has the
 * same lane: so B, whose request began after A's answer, is submitted after A. No timer holds a batch back:
 * it goes when the lane's previous one is answered. While one is under way the next forms, at its own pace
 * the larger the busier we are. What waits longer than submit_timeout_ms is given up, not sent late. */
#include "service/connector_internal.h"

#include <stdlib.h>
#include <string.h>

enum { CALL_TIMEOUT_MIN_MS = 50, BATCH_FIRST_EVENTS = 8, EVENT_OVERHEAD_BYTES = 8 };

struct lane_event {
    Guichet__V1__InboundEvent *event;
    struct connector_slot *slot;
    connector_recorded_fn *done;
    void *arg;
    size_t bytes;
    uint64_t added_ms;
};

struct batch {
    struct lane_event *events;
    size_t count, size, bytes;
    uint32_t token_generation;
    uint64_t sent_ms;
    bool was_forbidden;
    struct batch *next;
};

struct lane {
    struct connector_lanes *lanes;
    const char *tenant;
    uint32_t number; /* from 1: the mesh keeps it with one replica */
    struct batch *sending;
    struct batch *first, *last; /* waiting; the last is the one that forms */
};

struct connector_lanes {
    struct connector_runtime *runtime;
    struct loop_timer
        *kick; /* idle lanes start at the end of the turn, so that one turn's events go together */
    struct lane *lanes;
    size_t lane_count;
    size_t waiting;
    uint64_t boot_n;
};

static void on_submitted(const Guichet__V1__SubmitReply *reply, void *arg);
static void on_reannounced(void *arg, bool is_announced);

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

/* ---- answers ---- */

static void event_end(struct lane *lane, const struct lane_event *event,
                      const Guichet__V1__Recorded *recorded, const struct err *err)
{
    static const struct err none = { 0 };

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

/* Only what routing says word for word counts as an answer. */
static bool is_answer_to(const struct lane_event *event, const Guichet__V1__Recorded *recorded)
{
    return strcmp(event->event->event_key, recorded->event_key) == 0 &&
           (recorded->result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_STORED ||
            recorded->result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_DUPLICATE ||
            recorded->result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_REFUSED);
}

static enum connector_stat stat_of(const Guichet__V1__Recorded *recorded)
{
    if (recorded->result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_STORED)
        return CONNECTOR_EVENTS_STORED;
    if (recorded->result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_DUPLICATE)
        return CONNECTOR_EVENTS_DUPLICATE;
    return CONNECTOR_EVENTS_REFUSED;
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
        bool is_answer = is_answer_to(event, reply->results[i]);

        connector_count(lane->lanes->runtime,
                        is_answer ? stat_of(reply->results[i]) : CONNECTOR_EVENTS_UNANSWERED,
                        event->slot->account, 1);
        event_end(lane, event, is_answer ? reply->results[i] : NULL, is_answer ? NULL : &err);
    }
    batch_free(batch);
}

/* ---- Submit ---- */

static void submit(struct lane *lane, struct batch *batch, struct str_view token, uint32_t timeout_ms)
{
    struct connector_lanes *lanes = lane->lanes;
    const struct mesh_call call = {
        .tenant = lane->tenant,
        .token = token,
        .timeout_ms = timeout_ms,
        .attempt_timeout_ms = lanes->runtime->config->submit_attempt_timeout_ms,
        .lane = lane->number,
    };
    Guichet__V1__SubmitRequest request = GUICHET__V1__SUBMIT_REQUEST__INIT;
    Guichet__V1__InboundEvent **events = calloc(batch->count, sizeof(*events));

    if (events == NULL)
        abort();
    for (size_t i = 0; i < batch->count; i++) {
        events[i] = batch->events[i].event;
        if (events[i]->boot_n == 0)
            events[i]->boot_n = ++lanes->boot_n;
        connector_count(lanes->runtime, CONNECTOR_EVENTS_SUBMITTED, batch->events[i].slot->account, 1);
    }
    request.tenant = (char *)lane->tenant;
    request.events = events;
    request.n_events = batch->count;
    lane->sending = batch;
    batch->sent_ms = loop_now_ms(lanes->runtime->loop);
    connector_count(lanes->runtime, CONNECTOR_BATCHES, NULL, 1);
    guichet__v1__connector__submit(mesh_client_call(lanes->runtime->routing, &call), &request, on_submitted,
                                   lane);
    free(events);
}

/* Sends the batch, or fails it: no token, or nobody waits any more. */
static void batch_start(struct lane *lane, struct batch *batch)
{
    struct connector_runtime *runtime = lane->lanes->runtime;
    uint64_t now_ms = loop_now_ms(runtime->loop), oldest_ms = now_ms, age_ms;
    uint32_t limit_ms = runtime->config->submit_timeout_ms;
    struct str_view token = connector_token(runtime, &batch->token_generation);
    struct err err = { 0 };

    for (size_t i = 0; i < batch->count; i++)
        if (batch->events[i].added_ms < oldest_ms)
            oldest_ms = batch->events[i].added_ms;
    age_ms = now_ms - oldest_ms;
    if (token.data == NULL) {
        err_set(&err, ERR_UNAVAILABLE, "not announced to routing");
        batch_fail(lane, batch, &err);
    } else if (age_ms + CALL_TIMEOUT_MIN_MS > limit_ms) {
        err_set(&err, ERR_DEADLINE, "waited %llu ms for the lane", (unsigned long long)age_ms);
        batch_fail(lane, batch, &err);
    } else {
        submit(lane, batch, token, (uint32_t)(limit_ms - age_ms));
    }
}

static void lane_next(struct lane *lane)
{
    while (lane->sending == NULL && lane->first != NULL)
        batch_start(lane, lane_take(lane));
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
    if (err.kind == ERR_INVALID && batch->count > 1)
        batch_split(lane, batch), batch = NULL;
    lane_next(lane);
    if (batch != NULL && reply != NULL)
        batch_end(lane, batch, reply);
    else if (batch != NULL)
        batch_fail(lane, batch, &err);
}

static void on_reannounced(void *arg, bool is_announced)
{
    struct lane *lane = arg;
    struct batch *batch = lane->sending;
    struct err err = { 0 };

    lane->sending = NULL;
    if (is_announced) {
        batch_start(lane, batch);
        lane_next(lane);
        return;
    }
    err_set(&err, ERR_UNAVAILABLE, "routing refuses our token and gives no other");
    if (!lane->lanes->runtime->is_closing)
        lane_next(lane);
    batch_fail(lane, batch, &err);
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
                              const Guichet__V1__InboundEvent *event)
{
    uint32_t lanes_per_tenant = lanes->runtime->config->lanes;
    uint32_t offset = hash_thread(slot, event) % lanes_per_tenant;

    for (size_t first = 0; first < lanes->lane_count; first += lanes_per_tenant)
        if (strcmp(lanes->lanes[first].tenant, slot->account->tenant) == 0)
            return &lanes->lanes[first + offset];
    abort(); /* every slot's tenant got its lanes in connector_lanes_new() */
}

void connector_lane_add(struct connector_lanes *lanes, struct connector_slot *slot,
                        Guichet__V1__InboundEvent *event, connector_recorded_fn *done, void *arg)
{
    const struct connector_config *config = lanes->runtime->config;
    struct lane *lane = find_lane(lanes, slot, event);
    struct lane_event entry = {
        .event = event,
        .slot = slot,
        .done = done,
        .arg = arg,
        .added_ms = loop_now_ms(lanes->runtime->loop),
    };

    event->boot_id = lanes->runtime->boot_id;
    entry.bytes = guichet__v1__inbound_event__get_packed_size(event) + EVENT_OVERHEAD_BYTES;
    if (lane->last == NULL || lane->last->count >= config->batch_events_max ||
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

    for (size_t i = 0; i < lanes->lane_count; i++)
        lane_next(&lanes->lanes[i]);
}

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

            *lane =
                (struct lane){ .lanes = lanes, .tenant = runtime->slots[i].account->tenant, .number = j + 1 };
        }
    lanes->kick = loop_timer_new(runtime->loop, on_kick, lanes);
    return lanes;
}

/* After the mesh client is gone: its calls have ended. What still waits is given up. */
void connector_lanes_free(struct connector_lanes **lanes_ptr)
{
    struct connector_lanes *lanes = *lanes_ptr;
    struct err err = { 0 };
    struct batch *batch;

    *lanes_ptr = NULL;
    if (lanes == NULL)
        return;
    err_set(&err, ERR_CANCELED, "stopping");
    for (size_t i = 0; i < lanes->lane_count; i++)
        while ((batch = lane_take(&lanes->lanes[i])) != NULL)
            batch_fail(&lanes->lanes[i], batch, &err);
    loop_timer_free(&lanes->kick);
    free(lanes->lanes);
    free(lanes);
}

size_t connector_lanes_waiting(const struct connector_lanes *lanes)
{
    return lanes->waiting;
}
