/* SPDX-License-Identifier: Apache-2.0 */
/* str_test.c - comparing, trimming and cutting views. */
#include "core/str.h"

#include <stdlib.h>

#include "core/check.h"

static void test_view_of(void **state)
{
    (void)state;
    assert_int_equal(str_view_of("abc").len, 3);
    assert_int_equal(str_view_of(NULL).len, 0);
    assert_non_null(str_view_of(NULL).data);
}

static const struct { const char *label, *a, *b; bool same, same_nocase, a_starts_with_b; } pairs[] = {
    { "both empty", "", "", true, true, true },
    { "same", "abc", "abc", true, true, true },
    { "case differs", "ABC", "abc", false, true, false },
    { "prefix", "abcd", "abc", false, false, true },
    { "longer prefix", "abc", "abcd", false, false, false },
    { "empty prefix", "abc", "", false, false, true },
    { "last byte differs", "abc", "abd", false, false, false },
};

static void test_compare(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        struct str_view a = str_view_of(pairs[i].a), b = str_view_of(pairs[i].b);

        CHECK_CASE(pairs[i].label, str_equal(a, b) == pairs[i].same);
        CHECK_CASE(pairs[i].label, str_equal_secret(a, b) == pairs[i].same);
        CHECK_CASE(pairs[i].label, str_equal_nocase(a, b) == pairs[i].same_nocase);
        CHECK_CASE(pairs[i].label, str_starts_with(a, b) == pairs[i].a_starts_with_b);
    }
    assert_true(str_equal((struct str_view){ NULL, 0 }, STR_LITERAL("")));
}

static const struct { const char *label, *text, *trimmed; } blanks[] = {
    { "none", "a b", "a b" },
    { "both ends", " \t a b\r\n", "a b" },
    { "only blanks", " \n\v\f ", "" },
    { "empty", "", "" },
};

static void test_trim(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(blanks); i++)
        CHECK_CASE(blanks[i].label,
            str_equal(str_trim(str_view_of(blanks[i].text)), str_view_of(blanks[i].trimmed)));
}

static const struct { const char *label, *text; const char *pieces[4]; } lists[] = {
    { "one", "a", { "a" } },
    { "two", "a,b", { "a", "b" } },
    { "empty between", "a,,b", { "a", "", "b" } },
    { "empty first", ",a", { "", "a" } },
    { "separator last", "a,", { "a" } },
    { "nothing", "", { NULL } },
};

static void test_next(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        struct str_view rest = str_view_of(lists[i].text), piece;
        size_t k = 0;

        for (; str_next(&rest, ',', &piece); k++) {
            CHECK_CASE(lists[i].label, lists[i].pieces[k] != NULL);
            CHECK_CASE(lists[i].label, str_equal(piece, str_view_of(lists[i].pieces[k])));
        }
        CHECK_CASE(lists[i].label, lists[i].pieces[k] == NULL);
    }
}

static void test_dup(void **state)
{
    char *copy = str_dup((struct str_view){ "abcdef", 3 });

    (void)state;
    assert_string_equal(copy, "abc");
    free(copy);
    copy = str_dup((struct str_view){ NULL, 0 });
    assert_string_equal(copy, "");
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_view_of),
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_trim),
        cmocka_unit_test(test_next),
        cmocka_unit_test(test_dup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
