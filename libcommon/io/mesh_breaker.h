/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_breaker.h - may calls go to this replica? A state machine without time and without I/O. Private to the mesh.
 *
 *   NEW        nothing heard yet: calls go there when nobody better is known
 *   CLOSED     it answers
 *   OPEN       `failures_max` transport failures in a row: no calls, only pings
 *   HALF_OPEN  a ping is under way to a replica that was out: it decides */
#ifndef GUICHET_IO_MESH_BREAKER_H
#define GUICHET_IO_MESH_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

enum breaker_state { BREAKER_NEW, BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

struct mesh_breaker {
    enum breaker_state state;
    uint32_t failures; /* in a row */
    uint32_t failures_max;
};

void mesh_breaker_init(struct mesh_breaker *breaker, uint32_t failures_max);
bool mesh_breaker_lets_through(const struct mesh_breaker *breaker);
/* A ping starts. */
void mesh_breaker_on_trial(struct mesh_breaker *breaker);
/* true: this one closed it. Only a ping's success closes an open one. */
bool mesh_breaker_on_success(struct mesh_breaker *breaker, bool is_ping);
/* true: this one opened it. */
bool mesh_breaker_on_failure(struct mesh_breaker *breaker);
const char *mesh_breaker_name(const struct mesh_breaker *breaker);

#endif
