/* SPDX-License-Identifier: Apache-2.0 */
/* id_test.c - ids sort by time, never repeat, and have one text each. */
#include "core/id.h"

#include <pthread.h>
#include <stdlib.h>
#include <strings.h>

#include "core/check.h"
#include "core/duration.h"
#include "core/err.h"

#define MANY 100000
#define THREADS 4

static void test_version_and_variant(void **state)
{
    struct id id = id_new();
    int64_t now_ms = time_now_us() / 1000, ms = 0;

    (void)state;
    for (size_t i = 0; i < 6; i++)
        ms = ms << 8 | id.bytes[i];
    assert_true(ms >= now_ms - 5000 && ms <= now_ms + 5000);
    assert_int_equal(id.bytes[6] >> 4, 7);
    assert_int_equal(id.bytes[8] >> 6, 2);
}

static void test_monotonic(void **state)
{
    struct id last = id_new();

    (void)state;
    for (int i = 0; i < MANY; i++) {
        struct id next = id_new();

        assert_true(memcmp(&last, &next, sizeof(next)) < 0);
        last = next;
    }
}

static void *make_many(void *arg)
{
    struct id *ids = arg;

    for (int i = 0; i < MANY / 10; i++)
        ids[i] = id_new();
    return NULL;
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct id));
}

static void test_threads_share_no_id(void **state)
{
    static struct id ids[THREADS][MANY / 10];
    pthread_t threads[THREADS];
    struct id *all = &ids[0][0];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, make_many, ids[i]), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    qsort(all, THREADS * (MANY / 10), sizeof(*all), compare);
    for (int i = 1; i < THREADS * (MANY / 10); i++)
        assert_true(compare(&all[i - 1], &all[i]) < 0);
}

static void test_smallest_of_a_millisecond(void **state)
{
    char text[ID_TEXT_BYTES];
    struct id at = id_at(INT64_C(1772366400000999)), next = id_at(INT64_C(1772366400001000));
    struct id now = id_new(), floor = id_at(0);

    (void)state;
    id_format(at, text);
    assert_string_equal(text, "019ca945-0a00-7000-8000-000000000000");
    assert_true(compare(&at, &next) < 0);
    assert_true(compare(&floor, &now) < 0);
    id_format(id_at(-1), text);
    assert_string_equal(text, "00000000-0000-7000-8000-000000000000");
}

static const struct { const char *label, *text; bool ok; } texts[] = {
    { "lower case", "0194f5c3-5a00-7abc-8def-0123456789ab", true },
    { "upper case", "0194F5C3-5A00-7ABC-8DEF-0123456789AB", true },
    { "version 4", "6f1e4f0e-3b1c-4f57-9e6a-0d6b7f1c2a3d", true },
    { "no dashes", "0194f5c35a007abc8def0123456789ab", false },
    { "dash misplaced", "0194f5c35-a00-7abc-8def-0123456789ab", false },
    { "too short", "0194f5c3-5a00-7abc-8def-0123456789a", false },
    { "too long", "0194f5c3-5a00-7abc-8def-0123456789abc", false },
    { "no digit", "0194f5c3-5a00-7abc-8def-0123456789ag", false },
    { "braces", "{194f5c3-5a00-7abc-8def-0123456789a}", false },
    { "empty", "", false },
    { "NULL", NULL, false },
};

static void test_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct id id = { { 7 } };
        char again[ID_TEXT_BYTES];

        CHECK_CASE(texts[i].label, id_parse(texts[i].text, &id) == texts[i].ok);
        CHECK_CASE(texts[i].label, texts[i].ok || id.bytes[0] == 7);
        id_format(id, again);
        if (texts[i].ok)
            CHECK_CASE(texts[i].label, strcasecmp(again, texts[i].text) == 0);
    }
}

static void test_new_text(void **state)
{
    char text[ID_TEXT_BYTES];
    struct id id;

    (void)state;
    id_new_text(text);
    assert_int_equal(strlen(text), 36);
    assert_true(id_parse(text, &id));
}

static void test_random_bytes(void **state)
{
    uint8_t a[64] = { 0 }, b[64] = { 0 };

    (void)state;
    random_bytes(a, sizeof(a));
    random_bytes(b, sizeof(b));
    assert_int_not_equal(memcmp(a, b, sizeof(a)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_and_variant),
        cmocka_unit_test(test_monotonic),
        cmocka_unit_test(test_threads_share_no_id),
        cmocka_unit_test(test_smallest_of_a_millisecond),
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_new_text),
        cmocka_unit_test(test_random_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
