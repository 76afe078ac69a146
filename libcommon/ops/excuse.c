/* SPDX-License-Identifier: Apache-2.0 */
/* excuse.c - one counter for the process.
 *
 * A counter and not a flag, so that nobody has to reset it and a second loop (tests)
 * does not take the first one's excuse. */
#include "ops/excuse.h"

#include <stdatomic.h>

static atomic_uint_fast64_t excuses;

void excuse_long_turn(void)
{
    atomic_fetch_add(&excuses, 1);
}

uint64_t excuse_count(void)
{
    return atomic_load(&excuses);
}
