/* SPDX-License-Identifier: Apache-2.0 */
/* buf_test.c - growing, the cap, and that a full buffer holds a clean beginning. */
#include "core/check.h"
#include "core/str.h"

static void test_empty_is_text(void **state)
{
    SCOPED_BUF buf;

    (void)state;
    buf_init(&buf, 10);
    assert_string_equal(buf_text(&buf), "");
    assert_int_equal(buf_view(&buf).len, 0);
    buf_append(&buf, NULL, 0);
    assert_false(buf.is_full);
}

static void test_appends(void **state)
{
    SCOPED_BUF buf;

    (void)state;
    buf_init(&buf, 100);
    buf_append_text(&buf, "one");
    buf_append_char(&buf, ' ');
    buf_append_view(&buf, STR_LITERAL("two"));
    buf_printf(&buf, " %d", 3);
    assert_string_equal(buf_text(&buf), "one two 3");
    assert_int_equal(buf.len, 9);
    buf_clear(&buf);
    assert_string_equal(buf_text(&buf), "");
    buf_append_text(&buf, "again");
    assert_string_equal(buf_text(&buf), "again");
}

static void test_grows_far(void **state)
{
    SCOPED_BUF buf;

    (void)state;
    buf_init(&buf, 1000000);
    for (int i = 0; i < 100000; i++)
        buf_append_text(&buf, "0123456789");
    assert_int_equal(buf.len, 1000000);
    assert_false(buf.is_full);
    assert_int_equal(strlen(buf_text(&buf)), 1000000);
}

static void test_full_takes_nothing_more(void **state)
{
    SCOPED_BUF buf;

    (void)state;
    buf_init(&buf, 5);
    buf_append_text(&buf, "abc");
    buf_append_text(&buf, "def");
    assert_true(buf.is_full);
    buf_append_text(&buf, "g");        /* would fit, but after a hole */
    assert_string_equal(buf_text(&buf), "abc");
    buf_clear(&buf);
    assert_false(buf.is_full);
    buf_append_text(&buf, "abcde");
    assert_false(buf.is_full);
    assert_string_equal(buf_text(&buf), "abcde");
}

static void test_no_cap_means_nothing_fits(void **state)
{
    SCOPED_BUF buf = { 0 };

    (void)state;
    buf_append_char(&buf, 'a');
    assert_true(buf.is_full);
    assert_string_equal(buf_text(&buf), "");
}

static void test_printf_longer_than_its_own_room(void **state)
{
    SCOPED_BUF buf;
    char long_text[600];

    (void)state;
    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    buf_init(&buf, 1000);
    buf_printf(&buf, "<%s>", long_text);
    assert_int_equal(buf.len, 601);
    assert_int_equal(buf.data[600], '>');
    buf_printf(&buf, "<%s>", long_text);
    assert_true(buf.is_full);
    assert_int_equal(buf.len, 601);
}

static void test_extend(void **state)
{
    SCOPED_BUF buf;
    char *room;

    (void)state;
    buf_init(&buf, SIZE_MAX);
    room = buf_extend(&buf, 3);
    memcpy(room, "abc", 3);
    assert_string_equal(buf_text(&buf), "abc");
    buf_done(&buf);
    buf_init(&buf, 2);
    assert_null(buf_extend(&buf, 3));
    assert_true(buf.is_full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_is_text),
        cmocka_unit_test(test_appends),
        cmocka_unit_test(test_grows_far),
        cmocka_unit_test(test_full_takes_nothing_more),
        cmocka_unit_test(test_no_cap_means_nothing_fits),
        cmocka_unit_test(test_printf_longer_than_its_own_room),
        cmocka_unit_test(test_extend),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
