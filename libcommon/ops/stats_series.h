/* SPDX-License-Identifier: Apache-2.0 */
/* stats_series.h - how stats.c keeps its numbers; for stats_print.c only. */
#ifndef GUICHET_OPS_STATS_SERIES_H
#define GUICHET_OPS_STATS_SERIES_H

#include "ops/stats.h"

#define STATS_LABEL_OTHER "other"
#define STATS_BUCKET_COUNT 14

extern const double stats_bucket_ms[STATS_BUCKET_COUNT];

struct stats_series {
    char *label_value;                 /* "" where the family has no label */
    uint64_t count;
    double gauge;
};

struct stats_histogram {
    uint64_t counts[STATS_BUCKET_COUNT + 1];    /* the last: beyond all bounds */
    double sum_ms;
};

struct stats_family {
    struct stats_series *series;
    size_t series_count;
    struct stats_histogram *histogram;
};

struct stats {
    struct stats *next;
    const char *module;
    const struct stat_info *infos;
    size_t count;
    struct stats_family *families;
};

const struct stats *stats_first(void);
uint64_t stats_histogram_count(const struct stats_histogram *histogram);

#endif
