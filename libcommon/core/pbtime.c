/* SPDX-License-Identifier: Apache-2.0 */
/* pbtime.c - google.protobuf.Timestamp from and to microseconds.
 *
 * Times outside the years 1 to 9999 are refused by pb_unpack(); those that a program made
 * itself are clamped here, so that the arithmetic below cannot overflow. */
#include "core/pbtime.h"

#define US_PER_SECOND 1000000
#define SECONDS_FIRST INT64_C(-62135596800)
#define SECONDS_LAST INT64_C(253402300799)

Google__Protobuf__Timestamp *pbtime_new(struct arena *arena, int64_t us)
{
    Google__Protobuf__Timestamp *time;

    if (us == 0)
        return NULL;
    time = arena_alloc(arena, sizeof(*time));
    if (time == NULL)
        return NULL;
    google__protobuf__timestamp__init(time);
    time->seconds = us / US_PER_SECOND;
    time->nanos = (int32_t)(us % US_PER_SECOND) * 1000;
    if (time->nanos < 0) {
        time->seconds--;
        time->nanos += 1000000000;
    }
    return time;
}

int64_t pbtime_us(const Google__Protobuf__Timestamp *time)
{
    int64_t seconds;

    if (time == NULL)
        return 0;
    seconds = time->seconds < SECONDS_FIRST ? SECONDS_FIRST
        : time->seconds > SECONDS_LAST ? SECONDS_LAST : time->seconds;
    return seconds * US_PER_SECOND + time->nanos / 1000;
}
