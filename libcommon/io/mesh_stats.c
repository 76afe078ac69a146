/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_stats.c - one family per number, whoever counts.
 *
 * A process has several clients and servers; were each to keep a set of its own, the
 * same family would be printed several times, which Prometheus refuses. */
#include "io/mesh_stats.h"

#include <stdio.h>

#include "core/err.h"
#include "io/mesh.h"

#define PAIR_BYTES 128

const struct stat_info mesh_stats[] = {
    [MESH_STAT_CALLS] = { .name = "mesh_calls_total",
                          .type = STAT_COUNTER,
                          .label = "peer_status",
                          .help = "Calls ended, by peer and status (\"context/ok\")." },
    [MESH_STAT_CALLS_IN_FLIGHT] = { .name = "mesh_calls_in_flight",
                                    .type = STAT_GAUGE,
                                    .label = "peer",
                                    .help = "Calls under way." },
    [MESH_STAT_RETRIES] = { .name = "mesh_retries_total",
                            .type = STAT_COUNTER,
                            .label = "peer",
                            .help = "Calls that went once more, to another replica where there is one." },
    [MESH_STAT_BREAKER_OPENS] = { .name = "mesh_breaker_opens_total",
                                  .type = STAT_COUNTER,
                                  .label = "replica",
                                  .help = "How often a replica was taken out for not answering." },
    [MESH_STAT_REQUESTS] = { .name = "mesh_requests_total",
                             .type = STAT_COUNTER,
                             .label = "method_status",
                             .help = "Requests answered, by method and status." },
    [MESH_STAT_REQUESTS_IN_FLIGHT] = { .name = "mesh_requests_in_flight",
                                       .type = STAT_GAUGE,
                                       .label = "listener",
                                       .help = "Requests whose handler has not answered yet." },
    [MESH_STAT_REFUSED] = { .name = "mesh_refused_total",
                            .type = STAT_COUNTER,
                            .label = "reason",
                            .help = "Requests answered without a handler, by reason." },
    [MESH_STAT_LATE_ANSWERS] = { .name = "mesh_late_answers_total",
                                 .type = STAT_COUNTER,
                                 .label = "listener",
                                 .help = "Answers of a handler that came after the request's deadline." },
    [MESH_STAT_DOORBELLS_SENT] = { .name = "mesh_doorbells_sent_total",
                                   .type = STAT_COUNTER,
                                   .help = "Doorbells published." },
    [MESH_STAT_DOORBELLS_RECEIVED] = { .name = "mesh_doorbells_received_total",
                                       .type = STAT_COUNTER,
                                       .help = "Doorbells received." },
};
const size_t mesh_stats_count = COUNT_OF(mesh_stats);

static struct stats *stats;
static uint32_t holders;

void mesh_stats_hold(void)
{
    if (holders++ == 0)
        stats = stats_new("mesh", mesh_stats, mesh_stats_count);
}

void mesh_stats_release(void)
{
    if (--holders == 0)
        stats_free(&stats);
}

void mesh_stats_add(enum mesh_stat stat, const char *label)
{
    if (stats == NULL)
        return;
    if (label != NULL)
        stats_add_label(stats, stat, label, 1);
    else
        stats_add(stats, stat, 1);
}

void mesh_stats_add_pair(enum mesh_stat stat, const char *first, const char *second)
{
    char label[PAIR_BYTES];

    snprintf(label, sizeof(label), "%s/%s", first, second);
    mesh_stats_add(stat, label);
}

void mesh_stats_set(enum mesh_stat stat, const char *label, double value)
{
    if (stats != NULL)
        stats_set_label(stats, stat, label, value);
}

uint64_t mesh_stats_value(enum mesh_stat stat)
{
    return stats != NULL ? stats_value(stats, stat) : 0;
}
