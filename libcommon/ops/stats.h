/* SPDX-License-Identifier: Apache-2.0 */
/* stats.h - counters, gauges and histograms declared with help and unit; Prometheus text.
 *
 * A module declares a table of stat_info and keeps a struct stats made from it. Labels
 * are at most one per family, with values registered as they come (capped at
 * STATS_LABELS_MAX; past it the value "other" is counted). Names are given without the
 * guichet_ prefix and with their unit: submitted_total, loop_lag_seconds. */
#ifndef GUICHET_OPS_STATS_H
#define GUICHET_OPS_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "core/str.h"

#define STATS_LABELS_MAX 64

enum stat_type { STAT_COUNTER, STAT_GAUGE, STAT_HISTOGRAM /* observed in ms, printed in seconds */ };

struct stat_info {
    const char *name;
    const char *help;
    enum stat_type type;
    const char *label;      /* label name, or NULL */
};

struct stats;

/* `infos` is borrowed for good; `module` for grouping in --describe. Registered for /metrics until freed. */
struct stats *stats_new(const char *module, const struct stat_info *infos, size_t count);
void stats_free(struct stats **stats);
void stats_add(struct stats *stats, size_t index, uint64_t n);
void stats_add_label(struct stats *stats, size_t index, const char *label_value, uint64_t n);
void stats_set(struct stats *stats, size_t index, double value);
void stats_set_label(struct stats *stats, size_t index, const char *label_value, double value);
void stats_observe_ms(struct stats *stats, size_t index, double ms);
uint64_t stats_value(const struct stats *stats, size_t index);     /* sum over labels; for tests */

void stats_print(struct buf *buf);                                 /* Prometheus text format 0.0.4 */
void stats_describe(const struct stat_info *infos, size_t count, struct buf *buf); /* Markdown table */

#endif
