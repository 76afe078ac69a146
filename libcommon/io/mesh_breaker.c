/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_breaker.c - counts failures in a row.
 *
 * While it is open only a ping can close it: answers to calls that were sent before it
 * opened may still trickle in from a replica that is half dead. */
#include "io/mesh_breaker.h"

#include <stddef.h>

void mesh_breaker_init(struct mesh_breaker *breaker, uint32_t failures_max)
{
    *breaker = (struct mesh_breaker){ .state = BREAKER_NEW, .failures_max = failures_max };
}

bool mesh_breaker_lets_through(const struct mesh_breaker *breaker)
{
    return breaker->state == BREAKER_NEW || breaker->state == BREAKER_CLOSED;
}

void mesh_breaker_on_trial(struct mesh_breaker *breaker)
{
    if (breaker->state == BREAKER_OPEN)
        breaker->state = BREAKER_HALF_OPEN;
}

bool mesh_breaker_on_success(struct mesh_breaker *breaker, bool is_ping)
{
    if (!mesh_breaker_lets_through(breaker) && !is_ping)
        return false;
    breaker->failures = 0;
    if (breaker->state == BREAKER_CLOSED)
        return false;
    breaker->state = BREAKER_CLOSED;
    return true;
}

bool mesh_breaker_on_failure(struct mesh_breaker *breaker)
{
    bool was_through = mesh_breaker_lets_through(breaker);

    if (breaker->failures < UINT32_MAX)
        breaker->failures++;
    if (was_through && breaker->failures < breaker->failures_max)
        return false;
    breaker->state = BREAKER_OPEN;
    return was_through;
}

const char *mesh_breaker_name(const struct mesh_breaker *breaker)
{
    static const char *const names[] = { "new", "closed", "open", "half_open" };

    return names[breaker->state];
}
