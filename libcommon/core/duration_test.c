/* SPDX-License-Identifier: Apache-2.0 */
/* duration_test.c - durations and times, both ways, and what is neither. */
#include "core/duration.h"

#include "core/check.h"

static const struct { const char *label, *text; bool ok; uint32_t ms; } durations[] = {
    { "milliseconds", "250ms", true, 250 },
    { "seconds", "25s", true, 25000 },
    { "minutes", "10m", true, 600000 },
    { "hours", "2h", true, 7200000 },
    { "days", "7d", true, 604800000 },
    { "zero", "0s", true, 0 },
    { "the longest", "4294967295ms", true, UINT32_MAX },
    { "one too long", "4294967296ms", false, 0 },
    { "too long in days", "50d", false, 0 },
    { "no unit", "25", false, 0 },
    { "no number", "s", false, 0 },
    { "empty", "", false, 0 },
    { "negative", "-1s", false, 0 },
    { "fraction", "1.5s", false, 0 },
    { "blank between", "1 s", false, 0 },
    { "blank after", "1s ", false, 0 },
    { "upper case", "1S", false, 0 },
    { "two units", "1h30m", false, 0 },
    { "overflows 32 bit", "99999999m", false, 0 },
    { "overflows 64 bit", "99999999999999999999999s", false, 0 },
};

static void test_duration_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(durations); i++) {
        uint32_t ms = 7;
        struct err err = { 0 };
        bool ok = duration_parse(durations[i].text, &ms, &err);

        CHECK_CASE(durations[i].label, ok == durations[i].ok);
        CHECK_CASE(durations[i].label, ms == (ok ? durations[i].ms : 7));    /* untouched on failure */
        CHECK_CASE(durations[i].label, (err.kind == ERR_INVALID) == !ok);
    }
}

static const struct { uint32_t ms; const char *text; } formats[] = {
    { 0, "0s" }, { 1, "1ms" }, { 1500, "1500ms" }, { 25000, "25s" }, { 90000, "90s" }, { 60000, "1m" },
    { 3600000, "1h" }, { 86400000, "1d" }, { 604800000, "7d" }, { UINT32_MAX, "4294967295ms" },
};

static void test_duration_format(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(formats); i++) {
        char text[16];
        uint32_t again;

        duration_format(formats[i].ms, text, sizeof(text));
        CHECK_CASE_TEXT(formats[i].text, text, formats[i].text);
        CHECK_CASE(formats[i].text, duration_parse(text, &again, NULL) && again == formats[i].ms);
    }
}

static const struct { const char *label, *text; bool ok; int64_t us; } times[] = {
    { "epoch", "1970-01-01T00:00:00Z", true, 0 },
    { "six digits", "2026-03-01T12:00:00.000001Z", true, INT64_C(1772366400000001) },
    { "three digits", "2026-03-01T12:00:00.5Z", true, INT64_C(1772366400500000) },
    { "nine digits are cut", "2026-03-01T12:00:00.123456789Z", true, INT64_C(1772366400123456) },
    { "offset east", "2026-03-01T13:30:00+01:30", true, INT64_C(1772366400000000) },
    { "offset west", "2026-03-01T07:00:00-05:00", true, INT64_C(1772366400000000) },
    { "lower case", "2026-03-01t12:00:00z", true, INT64_C(1772366400000000) },
    { "blank for T", "2026-03-01 12:00:00Z", true, INT64_C(1772366400000000) },
    { "leap day", "2024-02-29T00:00:00Z", true, INT64_C(1709164800000000) },
    { "leap second", "2016-12-31T23:59:60Z", true, INT64_C(1483228800000000) },
    { "before the epoch", "1969-12-31T23:59:59.999999Z", true, -1 },
    { "first year", "0001-01-01T00:00:00Z", true, INT64_C(-62135596800000000) },
    { "last year", "9999-12-31T23:59:59.999999Z", true, INT64_C(253402300799999999) },
    { "no leap day", "2026-02-29T00:00:00Z", false, 0 },
    { "no leap day of the century", "2100-02-29T00:00:00Z", false, 0 },
    { "month 13", "2026-13-01T00:00:00Z", false, 0 },
    { "day 0", "2026-01-00T00:00:00Z", false, 0 },
    { "31 April", "2026-04-31T00:00:00Z", false, 0 },
    { "year 0", "0000-01-01T00:00:00Z", false, 0 },
    { "hour 24", "2026-01-01T24:00:00Z", false, 0 },
    { "minute 60", "2026-01-01T00:60:00Z", false, 0 },
    { "second 61", "2026-01-01T00:00:61Z", false, 0 },
    { "no zone", "2026-01-01T00:00:00", false, 0 },
    { "no seconds", "2026-01-01T00:00Z", false, 0 },
    { "empty fraction", "2026-01-01T00:00:00.Z", false, 0 },
    { "something after", "2026-01-01T00:00:00Zx", false, 0 },
    { "date only", "2026-01-01", false, 0 },
    { "offset without colon", "2026-01-01T00:00:00+0100", false, 0 },
    { "five digits of a year", "12026-01-01T00:00:00Z", false, 0 },
    { "empty", "", false, 0 },
};

static void test_time_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(times); i++) {
        int64_t us = 7;
        struct err err = { 0 };
        bool ok = time_parse(times[i].text, &us, &err);

        CHECK_CASE(times[i].label, ok == times[i].ok);
        CHECK_CASE(times[i].label, us == (ok ? times[i].us : 7));
        CHECK_CASE(times[i].label, (err.kind == ERR_INVALID) == !ok);
    }
}

static const struct { const char *label; int64_t us; const char *text; } time_texts[] = {
    { "epoch", 0, "1970-01-01T00:00:00.000000Z" },
    { "before it", -1, "1969-12-31T23:59:59.999999Z" },
    { "today", INT64_C(1772366400000001), "2026-03-01T12:00:00.000001Z" },
    { "last", INT64_C(253402300799999999), "9999-12-31T23:59:59.999999Z" },
    { "first", INT64_C(-62135596800000000), "0001-01-01T00:00:00.000000Z" },
};

static void test_time_format(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(time_texts); i++) {
        char text[TIME_TEXT_BYTES];
        int64_t again;

        time_format(time_texts[i].us, text);
        CHECK_CASE_TEXT(time_texts[i].label, text, time_texts[i].text);
        CHECK_CASE(time_texts[i].label, time_parse(text, &again, NULL) && again == time_texts[i].us);
    }
}

/* Every day of 400 years: the calendar here and the C library's agree. */
static void test_days_against_libc(void **state)
{
    (void)state;
    for (int64_t day = 0; day < 146097; day++) {
        char text[TIME_TEXT_BYTES];
        int64_t us;

        time_format(day * INT64_C(86400000000), text);
        assert_true(time_parse(text, &us, NULL));
        assert_true(us == day * INT64_C(86400000000));
    }
}

static void test_out_of_range_stays_text(void **state)
{
    char text[TIME_TEXT_BYTES];

    (void)state;
    time_format(INT64_MAX, text);
    assert_int_equal(strncmp(text, "9999-12-31T", 11), 0);
    time_format(INT64_MIN, text);
    assert_int_equal(strncmp(text, "0001-01-01T", 11), 0);
    assert_true(time_now_us() > INT64_C(1700000000000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_duration_parse),
        cmocka_unit_test(test_duration_format),
        cmocka_unit_test(test_time_parse),
        cmocka_unit_test(test_time_format),
        cmocka_unit_test(test_days_against_libc),
        cmocka_unit_test(test_out_of_range_stays_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
