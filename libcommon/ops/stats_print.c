/* SPDX-License-Identifier: Apache-2.0 */
/* stats_print.c - statistics as Prometheus text (format 0.0.4) and as a Markdown table.
 *
 * Two parts of a process may each have a struct stats of the same table (two HTTP clients):
 * the format wants a family once, so families of one name are added up where the first stands. */
#include "ops/stats.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "ops/stats_series.h"

#define PREFIX "guichet_"

const double stats_bucket_ms[STATS_BUCKET_COUNT] = {
    1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000,
};

static const char *const type_names[] = {
    [STAT_COUNTER] = "counter", [STAT_GAUGE] = "gauge", [STAT_HISTOGRAM] = "histogram",
};

/* All series of one name, added up. */
struct merged {
    struct { const char *label_value; uint64_t count; double gauge; } series[STATS_LABELS_MAX];
    size_t series_count;
    struct stats_histogram histogram;
};

static void append_label_value(struct buf *buf, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n') {
            buf_append_text(buf, "\\n");
            continue;
        }
        if (*text == '"' || *text == '\\')
            buf_append_char(buf, '\\');
        buf_append_char(buf, *text);
    }
}

static void append_help(struct buf *buf, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n')
            buf_append_text(buf, "\\n");
        else if (*text == '\\')
            buf_append_text(buf, "\\\\");
        else
            buf_append_char(buf, *text);
    }
}

static void append_double(struct buf *buf, double value)
{
    if (isnan(value))
        buf_append_text(buf, "NaN");
    else if (isinf(value))
        buf_append_text(buf, value > 0 ? "+Inf" : "-Inf");
    else
        buf_printf(buf, "%.15g", value);
}

static void merge_series(struct merged *merged, const struct stats_series *series)
{
    size_t i = 0;

    while (i < merged->series_count && strcmp(merged->series[i].label_value, series->label_value) != 0)
        i++;
    if (i == STATS_LABELS_MAX) {
        i = STATS_LABELS_MAX - 1;
        merged->series[i].label_value = STATS_LABEL_OTHER;
    } else if (i == merged->series_count) {
        merged->series[i].label_value = series->label_value;
        merged->series[i].count = 0;
        merged->series[i].gauge = 0;
        merged->series_count++;
    }
    merged->series[i].count += series->count;
    merged->series[i].gauge += series->gauge;
}

static void merge_family(struct merged *merged, const struct stats_family *family)
{
    for (size_t i = 0; i < family->series_count; i++)
        merge_series(merged, &family->series[i]);
    if (family->histogram == NULL)
        return;
    for (size_t i = 0; i <= STATS_BUCKET_COUNT; i++)
        merged->histogram.counts[i] += family->histogram->counts[i];
    merged->histogram.sum_ms += family->histogram->sum_ms;
}

static const struct stats_family *family_named(const struct stats *stats, const char *name)
{
    for (size_t i = 0; i < stats->count; i++) {
        if (strcmp(stats->infos[i].name, name) == 0)
            return &stats->families[i];
    }
    return NULL;
}

static void print_histogram(struct buf *buf, const char *name, const struct stats_histogram *histogram)
{
    uint64_t count = 0;

    for (size_t i = 0; i < STATS_BUCKET_COUNT; i++) {
        count += histogram->counts[i];
        buf_printf(buf, PREFIX "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, stats_bucket_ms[i] / 1000, count);
    }
    count += histogram->counts[STATS_BUCKET_COUNT];
    buf_printf(buf, PREFIX "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, count);
    buf_printf(buf, PREFIX "%s_sum ", name);
    append_double(buf, histogram->sum_ms / 1000);
    buf_printf(buf, "\n" PREFIX "%s_count %" PRIu64 "\n", name, count);
}

static void print_series(struct buf *buf, const struct stat_info *info, const char *label_value,
    uint64_t count, double gauge)
{
    buf_printf(buf, PREFIX "%s", info->name);
    if (info->label != NULL) {
        buf_printf(buf, "{%s=\"", info->label);
        append_label_value(buf, label_value);
        buf_append_text(buf, "\"}");
    }
    buf_append_char(buf, ' ');
    if (info->type == STAT_GAUGE)
        append_double(buf, gauge);
    else
        buf_printf(buf, "%" PRIu64, count);
    buf_append_char(buf, '\n');
}

static void print_family(struct buf *buf, const struct stats *first, const struct stat_info *info)
{
    struct merged merged = { 0 };

    for (const struct stats *stats = first; stats != NULL; stats = stats->next) {
        const struct stats_family *family = family_named(stats, info->name);

        if (family != NULL)
            merge_family(&merged, family);
    }
    buf_printf(buf, "# HELP " PREFIX "%s ", info->name);
    append_help(buf, info->help);
    buf_printf(buf, "\n# TYPE " PREFIX "%s %s\n", info->name, type_names[info->type]);
    if (info->type == STAT_HISTOGRAM) {
        print_histogram(buf, info->name, &merged.histogram);
        return;
    }
    if (info->label == NULL && merged.series_count == 0)
        print_series(buf, info, "", 0, 0);    /* a zero is an answer, an absent series is not */
    for (size_t i = 0; i < merged.series_count; i++)
        print_series(buf, info, merged.series[i].label_value, merged.series[i].count, merged.series[i].gauge);
}

static bool was_printed(const struct stats *until, const char *name)
{
    for (const struct stats *stats = stats_first(); stats != until; stats = stats->next) {
        if (family_named(stats, name) != NULL)
            return true;
    }
    return false;
}

void stats_print(struct buf *buf)
{
    for (const struct stats *stats = stats_first(); stats != NULL; stats = stats->next) {
        for (size_t i = 0; i < stats->count; i++) {
            if (!was_printed(stats, stats->infos[i].name))
                print_family(buf, stats, &stats->infos[i]);
        }
    }
}

void stats_describe(const struct stat_info *infos, size_t count, struct buf *buf)
{
    buf_append_text(buf, "| metric | type | label | what it counts |\n|---|---|---|---|\n");
    for (size_t i = 0; i < count; i++)
        buf_printf(buf, "| `" PREFIX "%s` | %s | %s | %s |\n", infos[i].name, type_names[infos[i].type],
            infos[i].label == NULL ? "" : infos[i].label, infos[i].help);
}
