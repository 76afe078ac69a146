/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_stats.h - the mesh's numbers: one set for all clients and servers of the process. Private to the mesh. */
#ifndef GUICHET_IO_MESH_STATS_H
#define GUICHET_IO_MESH_STATS_H

#include <stddef.h>
#include <stdint.h>

enum mesh_stat {
    MESH_STAT_CALLS,
    MESH_STAT_CALLS_IN_FLIGHT,
    MESH_STAT_RETRIES,
    MESH_STAT_BREAKER_OPENS,
    MESH_STAT_REQUESTS,
    MESH_STAT_REQUESTS_IN_FLIGHT,
    MESH_STAT_REFUSED,
    MESH_STAT_LATE_ANSWERS,
    MESH_STAT_DOORBELLS_SENT,
    MESH_STAT_DOORBELLS_RECEIVED,
    MESH_STAT_COUNT,
};

/* Everything that counts holds them while it lives. */
void mesh_stats_hold(void);
void mesh_stats_release(void);
void mesh_stats_add(enum mesh_stat stat, const char *label);
/* "context/deadline" */
void mesh_stats_add_pair(enum mesh_stat stat, const char *first, const char *second);
void mesh_stats_set(enum mesh_stat stat, const char *label, double value);
uint64_t mesh_stats_value(enum mesh_stat stat);

#endif
