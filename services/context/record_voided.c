/* SPDX-License-Identifier: Apache-2.0 */
/* record_voided.c - numbers that stand for nothing: checked, folded, told to the manifest.
 *
 * They come with events and must not be what those fail by, so the limits are far beyond what a connector sends.
 * What they cost is bounded: a row of the manifest for each range and for each block of 65536 numbers. */
#include "record_batch.h"

#include <stdlib.h>
#include <string.h>

#include "statements.h"

enum { RANGES_MAX = 4096, NUMBERS_MAX = 1 << 26 };

bool record_check_voided(const Guichet__V1__RecordRequest *input, struct err *err)
{
    uint64_t left = NUMBERS_MAX;

    if (input->n_voided > RANGES_MAX)
        return err_set(err, ERR_INVALID, "voided: %zu ranges, at most %d are allowed in one request",
                       input->n_voided, RANGES_MAX);
    for (size_t i = 0; i < input->n_voided; i++) {
        const Guichet__V1__NumberRange *range = input->voided[i];
        uint64_t width = range->last - range->first;

        if (range->last < range->first ||
            !record_is_numbered(range->boot_id, range->boot_lane, range->first) ||
            !record_is_numbered(range->boot_id, range->boot_lane, range->last))
            return err_set(err, ERR_INVALID, "voided[%zu]: is no range of numbers", i);
        if (width >= left)
            return err_set(err, ERR_INVALID, "voided: more than %d numbers in one request", NUMBERS_MAX);
        left -= width + 1;
    }
    return true;
}

static int compare_lanes(const Guichet__V1__NumberRange *a, const Guichet__V1__NumberRange *b)
{
    int order = strcmp(a->boot_id, b->boot_id);

    return order != 0 ? order : (a->boot_lane > b->boot_lane) - (a->boot_lane < b->boot_lane);
}

static int compare_ranges(const void *left, const void *right)
{
    const Guichet__V1__NumberRange *a = *(const Guichet__V1__NumberRange *const *)left;
    const Guichet__V1__NumberRange *b = *(const Guichet__V1__NumberRange *const *)right;
    int order = compare_lanes(a, b);

    return order != 0 ? order : (a->first > b->first) - (a->first < b->first);
}

void record_add_voided(const Guichet__V1__RecordRequest *input, struct arena *arena, struct db_work *work)
{
    size_t max = input->n_voided, count = 0;
    const Guichet__V1__NumberRange **sorted = context_alloc(arena, (max + 1) * sizeof(*sorted));
    struct str_view *boots = context_alloc(arena, (max + 1) * sizeof(*boots));
    int64_t *lanes = context_alloc(arena, (3 * max + 1) * sizeof(*lanes));
    int64_t *firsts = lanes + max, *lasts = firsts + max;

    if (max == 0)
        return;
    memcpy(sorted, input->voided, max * sizeof(*sorted));
    qsort(sorted, max, sizeof(*sorted), compare_ranges);
    for (size_t i = 0; i < max; i++) {
        int64_t first = (int64_t)sorted[i]->first, last = (int64_t)sorted[i]->last;

        if (i > 0 && compare_lanes(sorted[i - 1], sorted[i]) == 0 && first - 1 <= lasts[count - 1]) {
            lasts[count - 1] = last > lasts[count - 1] ? last : lasts[count - 1];
            continue;
        }
        boots[count] = str_view_of(sorted[i]->boot_id);
        lanes[count] = sorted[i]->boot_lane;
        firsts[count] = first;
        lasts[count++] = last;
    }
    db_work_add(work, &context_void_numbers,
                (struct db_param[]){ DB_PARAM_TEXT(input->tenant),
                                     { .type = DB_TEXT_ARRAY, .items = boots, .count = count },
                                     { .type = DB_I32_ARRAY, .items = lanes, .count = count },
                                     { .type = DB_I64_ARRAY, .items = firsts, .count = count },
                                     { .type = DB_I64_ARRAY, .items = lasts, .count = count } },
                5);
}
