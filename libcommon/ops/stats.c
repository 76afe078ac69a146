/* SPDX-License-Identifier: Apache-2.0 */
/* stats.c - counters, gauges and histograms; the numbers' side. stats_print.c writes them.
 *
 * A family without a label has one series. One with a label gets a series per value as it
 * comes, up to STATS_LABELS_MAX; past it the value "other" is counted, so that a hostile or
 * careless label value cannot make the memory or the scrape grow without bound. */
#include "ops/stats.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/stats_series.h"

static struct stats *registered;       /* in the order of registration */

static void *calloc_or_abort(size_t count, size_t size)
{
    void *data = calloc(count, size);

    if (data == NULL) {
        fputs("out of memory\n", stderr);
        abort();
    }
    return data;
}

struct stats *stats_new(const char *module, const struct stat_info *infos, size_t count)
{
    struct stats *stats = calloc_or_abort(1, sizeof(*stats));
    struct stats **end = &registered;

    stats->module = module;
    stats->infos = infos;
    stats->count = count;
    stats->families = calloc_or_abort(count > 0 ? count : 1, sizeof(*stats->families));
    while (*end != NULL)
        end = &(*end)->next;
    *end = stats;
    return stats;
}

void stats_free(struct stats **stats)
{
    if (*stats == NULL)
        return;
    for (struct stats **at = &registered; *at != NULL; at = &(*at)->next) {
        if (*at == *stats) {
            *at = (*stats)->next;
            break;
        }
    }
    for (size_t i = 0; i < (*stats)->count; i++) {
        struct stats_family *family = &(*stats)->families[i];

        for (size_t k = 0; k < family->series_count; k++)
            free(family->series[k].label_value);
        free(family->series);
        free(family->histogram);
    }
    free((*stats)->families);
    free(*stats);
    *stats = NULL;
}

const struct stats *stats_first(void)
{
    return registered;
}

static struct stats_series *add_series(struct stats_family *family, const char *label_value)
{
    struct stats_series *series = realloc(family->series, (family->series_count + 1) * sizeof(*series));

    if (series == NULL) {
        fputs("out of memory\n", stderr);
        abort();
    }
    family->series = series;
    series += family->series_count++;
    *series = (struct stats_series){ .label_value = str_dup(str_view_of(label_value)) };
    return series;
}

/* The last place is kept for "other". */
static struct stats_series *find_series(struct stats_family *family, const char *label_value)
{
    for (size_t i = 0; i < family->series_count; i++) {
        if (strcmp(family->series[i].label_value, label_value) == 0)
            return &family->series[i];
    }
    if (family->series_count < STATS_LABELS_MAX - 1)
        return add_series(family, label_value);
    if (strcmp(label_value, STATS_LABEL_OTHER) != 0)
        return find_series(family, STATS_LABEL_OTHER);
    return add_series(family, STATS_LABEL_OTHER);
}

static struct stats_series *series_of(struct stats *stats, size_t index, const char *label_value)
{
    assert(index < stats->count);
    assert((stats->infos[index].label != NULL) == (label_value[0] != '\0'));
    return find_series(&stats->families[index], label_value);
}

/* A label value that came empty from outside is still a value. */
static const char *named(const char *label_value)
{
    return label_value == NULL || label_value[0] == '\0' ? "none" : label_value;
}

void stats_add(struct stats *stats, size_t index, uint64_t n)
{
    series_of(stats, index, "")->count += n;
}

void stats_add_label(struct stats *stats, size_t index, const char *label_value, uint64_t n)
{
    series_of(stats, index, named(label_value))->count += n;
}

void stats_set(struct stats *stats, size_t index, double value)
{
    series_of(stats, index, "")->gauge = value;
}

void stats_set_label(struct stats *stats, size_t index, const char *label_value, double value)
{
    series_of(stats, index, named(label_value))->gauge = value;
}

void stats_observe_ms(struct stats *stats, size_t index, double ms)
{
    struct stats_family *family;
    size_t bucket = 0;

    assert(index < stats->count && stats->infos[index].type == STAT_HISTOGRAM);
    family = &stats->families[index];
    if (family->histogram == NULL)
        family->histogram = calloc_or_abort(1, sizeof(*family->histogram));
    while (bucket < STATS_BUCKET_COUNT && ms > stats_bucket_ms[bucket])
        bucket++;
    family->histogram->counts[bucket]++;
    family->histogram->sum_ms += ms;
}

uint64_t stats_histogram_count(const struct stats_histogram *histogram)
{
    uint64_t count = 0;

    for (size_t i = 0; histogram != NULL && i <= STATS_BUCKET_COUNT; i++)
        count += histogram->counts[i];
    return count;
}

uint64_t stats_value(const struct stats *stats, size_t index)
{
    const struct stats_family *family = &stats->families[index];
    uint64_t sum = 0;

    assert(index < stats->count);
    if (stats->infos[index].type == STAT_HISTOGRAM)
        return stats_histogram_count(family->histogram);
    for (size_t i = 0; i < family->series_count; i++) {
        if (stats->infos[index].type == STAT_GAUGE)
            sum += (uint64_t)family->series[i].gauge;
        else
            sum += family->series[i].count;
    }
    return sum;
}
