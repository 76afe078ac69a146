/* SPDX-License-Identifier: Apache-2.0 */
/* utf8_test.c - what is text, how long it is, and where it may be cut. */
#include "core/check.h"
#include "core/str.h"

static const struct { const char *label; struct str_view text; bool ok; size_t count; } cases[] = {
    { "empty", { "", 0 }, true, 0 },
    { "ascii", { "hello", 5 }, true, 5 },
    { "two bytes", { "\xC3\xA9", 2 }, true, 1 },
    { "three bytes", { "\xE2\x82\xAC", 3 }, true, 1 },
    { "four bytes", { "\xF0\x9F\x91\x8D", 4 }, true, 1 },
    { "last code point", { "\xF4\x8F\xBF\xBF", 4 }, true, 1 },
    { "before the surrogates", { "\xED\x9F\xBF", 3 }, true, 1 },
    { "DEL", { "\x7F", 1 }, true, 1 },
    { "NUL", { "a\0b", 3 }, false, 0 },
    { "overlong slash", { "\xC0\xAF", 2 }, false, 0 },
    { "overlong NUL", { "\xC0\x80", 2 }, false, 0 },
    { "overlong three", { "\xE0\x80\xAF", 3 }, false, 0 },
    { "overlong four", { "\xF0\x80\x80\xAF", 4 }, false, 0 },
    { "surrogate", { "\xED\xA0\x80", 3 }, false, 0 },
    { "beyond the last", { "\xF4\x90\x80\x80", 4 }, false, 0 },
    { "five bytes", { "\xF8\x88\x80\x80\x80", 5 }, false, 0 },
    { "continuation alone", { "\x80", 1 }, false, 0 },
    { "cut short", { "\xE2\x82", 2 }, false, 0 },
    { "lead then ascii", { "\xC3" "a", 2 }, false, 0 },
    { "latin-1", { "caf\xE9", 4 }, false, 0 },
    { "0xFF", { "\xFF", 1 }, false, 0 },
};

static void test_valid_and_count(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        CHECK_CASE(cases[i].label, utf8_is_valid(cases[i].text) == cases[i].ok);
        if (cases[i].ok)
            CHECK_CASE(cases[i].label, utf8_count(cases[i].text) == cases[i].count);
    }
}

static const struct { const char *label, *text; size_t max, len; } cuts[] = {
    { "fits", "abc", 3, 3 },
    { "longer room", "abc", 10, 3 },
    { "ascii", "abc", 2, 2 },
    { "inside a character", "a\xE2\x82\xAC", 3, 1 },
    { "at a character's end", "a\xE2\x82\xAC" "b", 4, 4 },
    { "nothing fits", "\xF0\x9F\x91\x8D", 3, 0 },
    { "no room", "abc", 0, 0 },
};

static void test_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cuts); i++)
        CHECK_CASE(cuts[i].label, utf8_cut(str_view_of(cuts[i].text), cuts[i].max) == cuts[i].len);
}

static void test_next(void **state)
{
    static const uint32_t expected[] = { 'a', 0xE9, 0x20AC, 0x1F44D, 0 };
    struct str_view text = str_view_of("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x91\x8D");

    (void)state;
    for (size_t i = 0; i < COUNT_OF(expected); i++)
        assert_int_equal(utf8_next(&text), expected[i]);
    assert_int_equal(text.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid_and_count),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_next),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
