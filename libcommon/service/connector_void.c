/* SPDX-License-Identifier: Apache-2.0 */
/* connector_void.c - numbers whose events were not acknowledged after all: kept per lane, told with its Submits.
 *
 * The centre takes so many of them in one request. Where there are more, they go alone before the events: a number
 * is never told above a hole that nobody has explained. They also go alone where an event is on trial, or where a
 * request with both was refused: no event pays for them. */
#include "service/connector_lane.h"

#include <stdlib.h>

#include "ops/log.h"

/* The centre's own bounds are 1024 ranges and 1 << 20 numbers: refused as a whole when there are more. */
enum { RANGES_MAX = 256, NUMBERS_MAX = (1 << 20) - 1, WIDTH_MAX = 1 << 19 };

/* ---- kept ---- */

static uint64_t width_of(uint64_t first, uint64_t last)
{
    return last - first + 1;
}

static void append(struct lane_voids *voids, struct lane_void range)
{
    if (voids->count == voids->size) {
        voids->size = voids->size > 0 ? voids->size * 2 : 4;
        voids->ranges = realloc(voids->ranges, voids->size * sizeof(*voids->ranges));
        if (voids->ranges == NULL)
            abort();
    }
    voids->ranges[voids->count++] = range;
}

/* Joined with what is beside it, as a new range: what is told just now of the old one is told once more then. */
void connector_lane_void(struct lane *lane, uint64_t n)
{
    struct lane_voids *voids = &lane->voids;
    struct lane_void joined = { n, n, ++voids->last_id };
    size_t kept = 0;

    for (size_t i = 0; i < voids->count; i++) {
        struct lane_void range = voids->ranges[i];
        bool is_left = range.last + 1 == joined.first, is_right = joined.last + 1 == range.first;

        if ((!is_left && !is_right) ||
            width_of(range.first, range.last) + width_of(joined.first, joined.last) > WIDTH_MAX)
            voids->ranges[kept++] = range;
        else if (is_left)
            joined.first = range.first;
        else
            joined.last = range.last;
    }
    voids->count = kept;
    append(voids, joined);
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

/* ---- told ---- */

static void add_range(Guichet__V1__SubmitRequest *request, struct arena *arena, const char *boot_id,
                      uint32_t boot_lane, uint64_t first, uint64_t last)
{
    Guichet__V1__NumberRange *range = arena_alloc(arena, sizeof(*range));

    guichet__v1__number_range__init(range);
    range->boot_id = (char *)boot_id;
    range->boot_lane = boot_lane;
    range->first = first;
    range->last = last;
    request->voided[request->n_voided++] = range;
}

/* Rows of the spool, the oldest first. One that no request could hold is told in parts. */
static bool add_rows(const struct spool_row *rows, size_t count, struct arena *arena, uint64_t *left,
                     Guichet__V1__SubmitRequest *request, struct void_share *share)
{
    for (; share->row_count < count; share->row_count++) {
        const struct spool_row *row = &rows[share->row_count];
        uint64_t width = width_of(row->boot_n, row->boot_last);

        if (row->boot_last < row->boot_n)
            continue; /* damaged: says nothing */
        if (request->n_voided == RANGES_MAX || (width > *left && request->n_voided > 0))
            return false;
        if (width > *left) {
            share->part_last = row->boot_n + *left - 1;
            add_range(request, arena, row->boot_id, row->boot_lane, row->boot_n, share->part_last);
            return false;
        }
        add_range(request, arena, row->boot_id, row->boot_lane, row->boot_n, row->boot_last);
        *left -= width;
    }
    return true;
}

bool connector_voids_fill(const struct lane *lane, const struct spool_row *rows, size_t row_count,
                          struct arena *arena, Guichet__V1__SubmitRequest *request, struct void_share *share)
{
    uint64_t left = NUMBERS_MAX;

    request->voided = arena_alloc(arena, RANGES_MAX * sizeof(*request->voided));
    if (!add_rows(rows, row_count, arena, &left, request, share))
        return false;
    for (size_t i = 0; i < lane->voids.count; i++) {
        const struct lane_void *range = &lane->voids.ranges[i];
        uint64_t width = width_of(range->first, range->last);

        if (request->n_voided == RANGES_MAX || width > left)
            return false;
        add_range(request, arena, lane->lanes->runtime->boot_id, lane->boot_lane, range->first, range->last);
        left -= width;
        share->taken_id = range->id;
    }
    return true;
}

void connector_voids_drop_rows(struct spool_row **rows, size_t *count, struct void_share *share)
{
    *rows += share->row_count;
    *count -= share->row_count;
    if (share->part_last > 0)
        (*rows)->boot_n = share->part_last + 1;
    *share = (struct void_share){ 0 };
}

/* Refused though they went alone: they are given up, which only an audit will see as a hole, rather than let them
 * stop what comes in. */
bool connector_voids_answered(struct lane *lane, const struct void_share *share, const struct err *err)
{
    if (err->kind == ERR_NONE) {
        connector_lane_drop_voids(lane, share->taken_id);
        lane->voids.is_doubtful &= !share->is_alone;
        return share->is_alone;
    }
    if (err->kind != ERR_INVALID || !share->has_any)
        return false;
    lane->voids.is_doubtful = !share->is_alone;
    if (share->is_alone) {
        log_event(LOG_ERROR, "voids_refused", LOG_TEXT("tenant", lane->tenant), LOG_ERR(err));
        connector_lane_drop_voids(lane, share->taken_id);
    }
    return true;
}
