/* SPDX-License-Identifier: Apache-2.0 */
/* form_test.c - urlencoded parameters, good and broken. */
#include "form.h"

#include "testing.h"

static const struct {
    const char *label, *text;
    size_t count;
    const char *name, *value, *malformed;
} cases[] = {
    { "empty", "", 0, NULL, NULL, NULL },
    { "one", "a=1", 1, "a", "1", NULL },
    { "no value", "a", 1, "a", "", NULL },
    { "empty value", "a=", 1, "a", "", NULL },
    { "empty name", "=1", 1, "", "1", NULL },
    { "plus is a blank", "a=b+c", 1, "a", "b c", NULL },
    { "escaped plus", "a=%2B33", 1, "a", "+33", NULL },
    { "second equals belongs to the value", "a=b=c", 1, "a", "b=c", NULL },
    { "empty pieces", "&&a=1&&b=2&", 2, "b", "2", NULL },
    { "escaped name", "a%20b=1", 1, "a b", "1", NULL },
    { "broken escape stays", "a=1&b=100%zz", 2, "b", "100%zz", "b" },
    { "cut escape stays", "b=%4", 1, "b", "%4", "b" },
    { "lone percent", "b=%", 1, "b", "%", "b" },
    { "first of two", "a=1&a=2", 2, "a", "1", NULL },
};

static void test_form_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        SCOPED_ARENA arena = arena_new(65536);
        struct sms_form form = { 0 };
        struct err err = { 0 };

        CHECK_CASE(cases[i].label, sms_form_read(str_view_of(cases[i].text), arena, &form, &err));
        CHECK_CASE(cases[i].label, form.count == cases[i].count);
        if (cases[i].name != NULL)
            CHECK_CASE(cases[i].label,
                       str_equal(sms_form_get(&form, cases[i].name), str_view_of(cases[i].value)));
        CHECK_CASE(cases[i].label, (form.malformed.data != NULL) == (cases[i].malformed != NULL));
        if (cases[i].malformed != NULL)
            CHECK_CASE(cases[i].label, str_equal(form.malformed, str_view_of(cases[i].malformed)));
        CHECK_CASE(cases[i].label, sms_form_get(&form, "absent").data == NULL);
    }
}

static void test_form_limits(void **state)
{
    SCOPED_ARENA arena = arena_new(1024 * 1024);
    SCOPED_ARENA small = arena_new(2048);
    struct sms_form form = { 0 };
    struct err err = { 0 };
    SCOPED_BUF text;

    (void)state;
    buf_init(&text, 1024 * 1024);
    for (int i = 0; i < SMS_FORM_PARAMS_MAX; i++)
        buf_append_text(&text, "a=1&");
    assert_true(sms_form_read(buf_view(&text), arena, &form, &err));
    assert_int_equal(form.count, SMS_FORM_PARAMS_MAX);
    assert_false(sms_form_read(buf_view(&text), small, &form, &err));
    buf_append_text(&text, "b=2");
    assert_false(sms_form_read(buf_view(&text), arena, &form, &err));
    assert_int_equal(err.kind, ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_form_read),
                                        cmocka_unit_test(test_form_limits) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
