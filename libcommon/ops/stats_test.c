/* SPDX-License-Identifier: Apache-2.0 */
/* stats_test.c - counting, labels and their cap, and the text Prometheus reads. */
#include "ops/stats.h"

#include <stdio.h>

#include "core/check.h"

enum { SUBMITTED, REFUSED, WAITING, LAG, STAT_COUNT };

static const struct stat_info infos[STAT_COUNT] = {
    [SUBMITTED] = { "submitted_total", "Events submitted.", STAT_COUNTER, NULL },
    [REFUSED]   = { "refused_total", "Events refused,\nby \\reason.", STAT_COUNTER, "reason" },
    [WAITING]   = { "waiting", "Conversations waiting.", STAT_GAUGE, "queue" },
    [LAG]       = { "lag_seconds", "How late a turn was.", STAT_HISTOGRAM, NULL },
};

static const char expected[] =
    "# HELP guichet_submitted_total Events submitted.\n"
    "# TYPE guichet_submitted_total counter\n"
    "guichet_submitted_total 5\n"
    "# HELP guichet_refused_total Events refused,\\nby \\\\reason.\n"
    "# TYPE guichet_refused_total counter\n"
    "guichet_refused_total{reason=\"bad \\\"x\\\"\\n\\\\\"} 2\n"
    "guichet_refused_total{reason=\"none\"} 1\n"
    "# HELP guichet_waiting Conversations waiting.\n"
    "# TYPE guichet_waiting gauge\n"
    "guichet_waiting{queue=\"support\"} 2.5\n"
    "# HELP guichet_lag_seconds How late a turn was.\n"
    "# TYPE guichet_lag_seconds histogram\n"
    "guichet_lag_seconds_bucket{le=\"0.001\"} 1\n"
    "guichet_lag_seconds_bucket{le=\"0.0025\"} 1\n"
    "guichet_lag_seconds_bucket{le=\"0.005\"} 1\n"
    "guichet_lag_seconds_bucket{le=\"0.01\"} 1\n"
    "guichet_lag_seconds_bucket{le=\"0.025\"} 1\n"
    "guichet_lag_seconds_bucket{le=\"0.05\"} 2\n"
    "guichet_lag_seconds_bucket{le=\"0.1\"} 2\n"
    "guichet_lag_seconds_bucket{le=\"0.25\"} 2\n"
    "guichet_lag_seconds_bucket{le=\"0.5\"} 2\n"
    "guichet_lag_seconds_bucket{le=\"1\"} 2\n"
    "guichet_lag_seconds_bucket{le=\"2.5\"} 2\n"
    "guichet_lag_seconds_bucket{le=\"5\"} 2\n"
    "guichet_lag_seconds_bucket{le=\"10\"} 2\n"
    "guichet_lag_seconds_bucket{le=\"30\"} 2\n"
    "guichet_lag_seconds_bucket{le=\"+Inf\"} 3\n"
    "guichet_lag_seconds_sum 100.051\n"
    "guichet_lag_seconds_count 3\n";

static void check_page(const char *text)
{
    SCOPED_BUF page;

    buf_init(&page, 1 << 20);
    stats_print(&page);
    assert_string_equal(buf_text(&page), text);
}

static void test_page(void **state)
{
    struct stats *stats = stats_new("routing", infos, STAT_COUNT);

    (void)state;
    stats_add(stats, SUBMITTED, 2);
    stats_add(stats, SUBMITTED, 3);
    stats_add_label(stats, REFUSED, "bad \"x\"\n\\", 2);
    stats_add_label(stats, REFUSED, "", 1);
    stats_set_label(stats, WAITING, "support", 7);
    stats_set_label(stats, WAITING, "support", 2.5);
    stats_observe_ms(stats, LAG, 1);
    stats_observe_ms(stats, LAG, 50);
    stats_observe_ms(stats, LAG, 100000);
    check_page(expected);
    assert_int_equal(stats_value(stats, SUBMITTED), 5);
    assert_int_equal(stats_value(stats, REFUSED), 3);
    assert_int_equal(stats_value(stats, WAITING), 2);
    assert_int_equal(stats_value(stats, LAG), 3);
    stats_free(&stats);
    assert_null(stats);
    check_page("");
    stats_free(&stats);
}

static void test_zero_is_printed(void **state)
{
    struct stats *stats = stats_new("routing", infos, 1);

    (void)state;
    check_page("# HELP guichet_submitted_total Events submitted.\n"
               "# TYPE guichet_submitted_total counter\nguichet_submitted_total 0\n");
    assert_int_equal(stats_value(stats, SUBMITTED), 0);
    stats_free(&stats);
}

/* Two HTTP clients in one process: one family each, added up. */
static void test_same_table_twice_is_one_family(void **state)
{
    struct stats *a = stats_new("http", infos, 2), *b = stats_new("http", infos, 2);

    (void)state;
    stats_add(a, SUBMITTED, 1);
    stats_add(b, SUBMITTED, 2);
    stats_add_label(a, REFUSED, "x", 1);
    stats_add_label(b, REFUSED, "y", 1);
    stats_add_label(b, REFUSED, "x", 4);
    check_page("# HELP guichet_submitted_total Events submitted.\n"
               "# TYPE guichet_submitted_total counter\n"
               "guichet_submitted_total 3\n"
               "# HELP guichet_refused_total Events refused,\\nby \\\\reason.\n"
               "# TYPE guichet_refused_total counter\n"
               "guichet_refused_total{reason=\"x\"} 5\n"
               "guichet_refused_total{reason=\"y\"} 1\n");
    stats_free(&a);
    assert_int_equal(stats_value(b, REFUSED), 5);
    stats_free(&b);
}

static size_t count_of(const char *text, const char *part)
{
    size_t count = 0;

    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        count++;
    return count;
}

static void test_labels_are_capped(void **state)
{
    struct stats *a = stats_new("routing", infos, 2), *b = stats_new("routing", infos, 2);
    SCOPED_BUF page;

    (void)state;
    buf_init(&page, 1 << 20);
    for (int i = 0; i < 1000; i++) {
        char label[16];

        snprintf(label, sizeof(label), "a%d", i);
        stats_add_label(a, REFUSED, label, 1);
        label[0] = 'b';
        stats_add_label(b, REFUSED, label, 1);
    }
    assert_int_equal(stats_value(a, REFUSED), 1000);
    stats_print(&page);
    assert_int_equal(count_of(buf_text(&page), "guichet_refused_total{"), STATS_LABELS_MAX);
    assert_int_equal(count_of(buf_text(&page), "reason=\"other\"} 1937\n"), 1);    /* 2000 less 63 */
    stats_free(&a);
    stats_free(&b);
}

static void test_describe(void **state)
{
    SCOPED_BUF table;

    (void)state;
    buf_init(&table, 4096);
    stats_describe(infos + WAITING, 2, &table);
    assert_string_equal(buf_text(&table),
        "| metric | type | label | what it counts |\n|---|---|---|---|\n"
        "| `guichet_waiting` | gauge | queue | Conversations waiting. |\n"
        "| `guichet_lag_seconds` | histogram |  | How late a turn was. |\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_zero_is_printed),
        cmocka_unit_test(test_same_table_twice_is_one_family),
        cmocka_unit_test(test_labels_are_capped),
        cmocka_unit_test(test_describe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
