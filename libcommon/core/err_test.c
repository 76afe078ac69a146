/* SPDX-License-Identifier: Apache-2.0 */
/* err_test.c - texts, places, cutting, and what follows from each kind. */
#include "core/err.h"

#include "core/check.h"
#include "core/str.h"

static const struct {
    const char *label;
    enum err_kind kind;
    const char *name;
    bool is_retryable;
    int exit_code, http_status;
} kinds[] = {
    { "none", ERR_NONE, "none", false, 0, 200 },
    { "invalid", ERR_INVALID, "invalid", false, 65, 400 },
    { "not found", ERR_NOT_FOUND, "not_found", false, 66, 404 },
    { "conflict", ERR_CONFLICT, "conflict", false, 65, 409 },
    { "forbidden", ERR_FORBIDDEN, "forbidden", false, 77, 403 },
    { "exhausted", ERR_EXHAUSTED, "exhausted", true, 75, 429 },
    { "unavailable", ERR_UNAVAILABLE, "unavailable", true, 69, 503 },
    { "deadline", ERR_DEADLINE, "deadline", true, 75, 504 },
    { "internal", ERR_INTERNAL, "internal", false, 70, 500 },
    { "config", ERR_CONFIG, "config", false, 78, 500 },
    { "canceled", ERR_CANCELED, "canceled", false, 75, 503 },
    { "a kind there is not", (enum err_kind)99, "internal", false, 70, 500 },
};

static void test_kinds(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        CHECK_CASE_TEXT(kinds[i].label, err_kind_name(kinds[i].kind), kinds[i].name);
        CHECK_CASE(kinds[i].label, err_is_retryable(kinds[i].kind) == kinds[i].is_retryable);
        CHECK_CASE(kinds[i].label, err_exit_code(kinds[i].kind) == kinds[i].exit_code);
        CHECK_CASE(kinds[i].label, err_http_status(kinds[i].kind) == kinds[i].http_status);
    }
}

static void test_set_and_place(void **state)
{
    struct err err = { .retry_after_ms = 7 };

    (void)state;
    assert_false(err_set(&err, ERR_INVALID, "'%s' has no port", "localhost"));
    assert_int_equal(err.kind, ERR_INVALID);
    assert_int_equal(err.retry_after_ms, 0);
    assert_string_equal(err.text, "'localhost' has no port");
    assert_false(err_at(&err, "listen address %d", 2));
    assert_string_equal(err.text, "listen address 2: 'localhost' has no port");
    assert_int_equal(err.kind, ERR_INVALID);
    err_clear(&err);
    assert_int_equal(err.kind, ERR_NONE);
    assert_string_equal(err.text, "");
}

static void test_own_text_as_argument(void **state)
{
    struct err err = { 0 };

    (void)state;
    err_set(&err, ERR_UNAVAILABLE, "refused");
    err_set(&err, ERR_INTERNAL, "after: %s", err.text);
    assert_string_equal(err.text, "after: refused");
}

static void test_null_is_allowed(void **state)
{
    (void)state;
    assert_false(err_set(NULL, ERR_INVALID, "nobody listens"));
    assert_false(err_at(NULL, "nowhere"));
}

/* 255 bytes fit; the euro sign has three, so a cut falls inside one. */
static void test_cut_at_a_whole_character(void **state)
{
    struct err err = { 0 };
    char many[3 * 200 + 1] = "";

    (void)state;
    for (size_t i = 0; i < 200; i++)
        memcpy(many + 3 * i, "\u20AC", 4);
    err_set(&err, ERR_INVALID, "x%s", many);
    assert_int_equal(strlen(err.text), 1 + 3 * 84);
    assert_true(utf8_is_valid(str_view_of(err.text)));
    err_at(&err, "%s", many);
    assert_true(strlen(err.text) < ERR_TEXT_BYTES);
    assert_true(utf8_is_valid(str_view_of(err.text)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_set_and_place),
        cmocka_unit_test(test_own_text_as_argument),
        cmocka_unit_test(test_null_is_allowed),
        cmocka_unit_test(test_cut_at_a_whole_character),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
