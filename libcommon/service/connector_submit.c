/* SPDX-License-Identifier: Apache-2.0 */
/* connector_submit.c - one Submit: what is in it, and which answers count. */
#include "service/connector_lane.h"

#include <stdlib.h>
#include <string.h>

#include "core/pbjson.h"

enum { KEY_MAX_BYTES = 512 };

/* ---- voids ---- */

void connector_lane_void(struct lane *lane, uint64_t n)
{
    struct lane_voids *voids = &lane->voids;
    struct lane_void *last = voids->count > 0 ? &voids->ranges[voids->count - 1] : NULL;

    if (last != NULL && last->id > voids->taken_id && last->last + 1 == n) {
        last->last = n;
        return;
    }
    if (voids->count == voids->size) {
        voids->size = voids->size > 0 ? voids->size * 2 : 4;
        voids->ranges = realloc(voids->ranges, voids->size * sizeof(*voids->ranges));
        if (voids->ranges == NULL)
            abort();
    }
    voids->ranges[voids->count++] = (struct lane_void){ n, n, ++voids->last_id };
}

uint32_t connector_lane_take_voids(struct lane *lane)
{
    lane->voids.taken_id = lane->voids.last_id;
    return lane->voids.last_id;
}

void connector_lane_drop_voids(struct lane *lane, uint32_t taken_id)
{
    struct lane_voids *voids = &lane->voids;
    size_t kept = 0;

    for (size_t i = 0; i < voids->count; i++)
        if (voids->ranges[i].id > taken_id)
            voids->ranges[kept++] = voids->ranges[i];
    voids->count = kept;
}

/* ---- the request ---- */

static size_t void_total(const struct lane *lane, const struct submit *submit)
{
    return lane->voids.count + submit->void_count;
}

static void fill_range(Guichet__V1__NumberRange *range, const char *boot_id, uint32_t boot_lane,
                       uint64_t first, uint64_t last)
{
    guichet__v1__number_range__init(range);
    range->boot_id = (char *)boot_id;
    range->boot_lane = boot_lane;
    range->first = first;
    range->last = last;
}

static void fill_voids(const struct lane *lane, const struct submit *submit, struct arena *arena,
                       Guichet__V1__SubmitRequest *request)
{
    size_t total = void_total(lane, submit), count = 0;
    Guichet__V1__NumberRange *ranges;

    if (total == 0)
        return;
    ranges = arena_alloc(arena, total * sizeof(*ranges));
    request->voided = arena_alloc(arena, total * sizeof(*request->voided));
    for (size_t i = 0; i < lane->voids.count; i++)
        fill_range(&ranges[count++], lane->lanes->runtime->boot_id, lane->boot_lane,
                   lane->voids.ranges[i].first, lane->voids.ranges[i].last);
    for (size_t i = 0; i < submit->void_count; i++)
        fill_range(&ranges[count++], submit->void_rows[i].boot_id, submit->void_rows[i].boot_lane,
                   submit->void_rows[i].boot_n, submit->void_rows[i].boot_last);
    for (size_t i = 0; i < total; i++)
        request->voided[i] = &ranges[i];
    request->n_voided = total;
}

bool connector_submit(struct lane *lane, struct submit *submit, Guichet__V1__SubmitReply_Closure closure,
                      void *arg)
{
    struct connector_runtime *runtime = lane->lanes->runtime;
    struct mesh_call call = {
        .tenant = lane->tenant,
        .token = connector_token(runtime, &submit->token_generation),
        .timeout_ms = submit->timeout_ms,
        .attempt_timeout_ms = runtime->config->submit_attempt_timeout_ms,
        .lane = lane->index + 1, /* the mesh keeps it with one replica */
        .no_retry = submit->is_single,
    };
    Guichet__V1__SubmitRequest request = GUICHET__V1__SUBMIT_REQUEST__INIT;
    SCOPED_ARENA arena = arena_new(64 * 1024 + void_total(lane, submit) * 256);

    if (call.token.data == NULL)
        return false;
    request.tenant = (char *)lane->tenant;
    request.events = submit->events;
    request.n_events = submit->event_count;
    request.dead = submit->dead != NULL ? &submit->dead : NULL;
    request.n_dead = submit->dead != NULL;
    if (submit->event_count + request.n_dead + submit->void_count > 0) { /* else it only asks */
        fill_voids(lane, submit, arena, &request);
        submit->voids_taken = connector_lane_take_voids(lane);
        connector_count(runtime, CONNECTOR_BATCHES, NULL, 1);
    }
    guichet__v1__connector__submit(mesh_client_call(runtime->routing, &call), &request, closure, arg);
    return true;
}

/* A key that cannot be read would make the whole request unreadable: it is named by its bytes then. */
static char *readable_key(struct arena *arena, const char *event_key)
{
    struct str_view key = str_view_of(event_key);
    SCOPED_BUF hex = { 0 };

    if (key.len > 0 && key.len <= KEY_MAX_BYTES && utf8_is_valid(key))
        return arena_dup(arena, key);
    buf_init(&hex, 256);
    hex_append(&hex, key.data != NULL ? key.data : "", key.len < 64 ? key.len : 64);
    return arena_printf(arena, "unreadable:%s", buf_text(&hex));
}

Guichet__V1__DeadEvent *connector_dead_event(struct arena *arena, const char *account_id,
                                             const char *event_key, struct str_view packed,
                                             const char *reason, uint32_t attempts)
{
    Guichet__V1__DeadEvent *dead = arena_alloc(arena, sizeof(*dead));
    struct str_view text = str_view_of(reason);

    while (text.len > 0 && !utf8_is_valid(text))
        text.len--;
    guichet__v1__dead_event__init(dead);
    dead->account_id = arena_strdup(arena, account_id);
    dead->event_key = readable_key(arena, event_key);
    dead->event.data = (uint8_t *)packed.data;
    dead->event.len = packed.len;
    dead->reason = arena_dup(arena, text);
    dead->attempt_count = attempts;
    return dead;
}

bool connector_is_answer(const char *event_key, const Guichet__V1__Recorded *recorded)
{
    return (event_key == NULL || strcmp(event_key, recorded->event_key) == 0) &&
           (recorded->result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_STORED ||
            recorded->result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_DUPLICATE ||
            recorded->result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_REFUSED);
}

enum connector_stat connector_stat_of(const Guichet__V1__Recorded *recorded)
{
    if (recorded->result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_STORED)
        return CONNECTOR_EVENTS_STORED;
    if (recorded->result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_DUPLICATE)
        return CONNECTOR_EVENTS_DUPLICATE;
    return CONNECTOR_EVENTS_REFUSED;
}
