/* SPDX-License-Identifier: Apache-2.0 */
/* pbtime_test.c - Timestamps from and to microseconds. */
#include "core/pbtime.h"

#include "core/check.h"

static const struct { const char *label; int64_t us, seconds; int32_t nanos; } cases[] = {
    { "one microsecond", 1, 0, 1000 },
    { "before the epoch", -1, -1, 999999000 },
    { "a whole second before", -1000000, -1, 0 },
    { "2026", INT64_C(1772366400000001), 1772366400, 1000 },
    { "the last", INT64_C(253402300799999999), INT64_C(253402300799), 999999000 },
};

static void test_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        SCOPED_ARENA arena = arena_new(256);
        Google__Protobuf__Timestamp *time = pbtime_new(arena, cases[i].us);

        CHECK_CASE(cases[i].label, time != NULL);
        CHECK_CASE(cases[i].label, time->seconds == cases[i].seconds && time->nanos == cases[i].nanos);
        CHECK_CASE(cases[i].label, pbtime_us(time) == cases[i].us);
    }
}

static void test_nothing(void **state)
{
    SCOPED_ARENA arena = arena_new(256);
    SCOPED_ARENA full = arena_new(0);

    (void)state;
    assert_null(pbtime_new(arena, 0));
    assert_null(pbtime_new(full, 1));
    assert_int_equal(pbtime_us(NULL), 0);
}

static void test_out_of_range_is_clamped(void **state)
{
    Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;

    (void)state;
    time.seconds = INT64_MAX;
    time.nanos = INT32_MAX;
    assert_true(pbtime_us(&time) >= INT64_C(253402300799000000));
    time.seconds = INT64_MIN;
    time.nanos = INT32_MIN;
    assert_true(pbtime_us(&time) <= INT64_C(-62135596800000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_ways),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_out_of_range_is_clamped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
