/* SPDX-License-Identifier: Apache-2.0 */
/* json_test.c - what is JSON and what only looks like it; and writing strings. */
#include "core/json.h"

#include <stdlib.h>

#include "core/check.h"

#define JSON_TEXT(text) { text, sizeof(text) - 1 }

/* `offset` is where the error must point; -1: it reads, and prints as `again`. */
static const struct { const char *label; struct str_view text; int offset; const char *again; } cases[] = {
    { "object", JSON_TEXT(" {\"a\" : [1, 2.5 , true,false,null, \"x\"] , \"b\":{}} \r\n"), -1,
      "{\"a\":[1,2.5,true,false,null,\"x\"],\"b\":{}}" },
    { "empty array", JSON_TEXT("[ ]"), -1, "[]" },
    { "text alone", JSON_TEXT("\"x\""), -1, "\"x\"" },
    { "zero", JSON_TEXT("0"), -1, "0" },
    { "negative", JSON_TEXT("-12"), -1, "-12" },
    { "exponent", JSON_TEXT("1E2"), -1, "100.0" },
    { "smallest integer", JSON_TEXT("-9223372036854775808"), -1, "-9223372036854775808" },
    { "largest unsigned", JSON_TEXT("18446744073709551615"), -1, "18446744073709551615" },
    { "escapes", JSON_TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\""), -1,
      "\"\\\"\\\\/\\b\\f\\n\\r\\t\xC3\xA9\"" },
    { "surrogate pair", JSON_TEXT("\"\\uD83D\\uDC4D\""), -1, "\"\xF0\x9F\x91\x8D\"" },
    { "three bytes by escape", JSON_TEXT("\"\\u20AC\""), -1, "\"\xE2\x82\xAC\"" },
    { "depth 32", JSON_TEXT("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"), -1,
      "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]" },
    { "depth 33", JSON_TEXT("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"), 32, NULL },
    { "empty", JSON_TEXT(""), 0, NULL },
    { "only blanks", JSON_TEXT("  "), 2, NULL },
    { "trailing bytes", JSON_TEXT("{} x"), 3, NULL },
    { "two values", JSON_TEXT("1 2"), 2, NULL },
    { "comment", JSON_TEXT("[/* no */]"), 1, NULL },
    { "single quotes", JSON_TEXT("{'a':1}"), 1, NULL },
    { "bare name", JSON_TEXT("{a:1}"), 1, NULL },
    { "comma last in array", JSON_TEXT("[1,]"), 3, NULL },
    { "comma last in object", JSON_TEXT("{\"a\":1,}"), 7, NULL },
    { "no comma", JSON_TEXT("[1 2]"), 3, NULL },
    { "no colon", JSON_TEXT("{\"a\" 1}"), 5, NULL },
    { "NaN", JSON_TEXT("NaN"), 0, NULL },
    { "Infinity", JSON_TEXT("-Infinity"), 0, NULL },
    { "upper case word", JSON_TEXT("True"), 0, NULL },
    { "leading zero", JSON_TEXT("01"), 0, NULL },
    { "leading plus", JSON_TEXT("+1"), 0, NULL },
    { "point without digits", JSON_TEXT("[1.]"), 1, NULL },
    { "point first", JSON_TEXT(".5"), 0, NULL },
    { "exponent without digits", JSON_TEXT("1e"), 0, NULL },
    { "hexadecimal", JSON_TEXT("0x10"), 1, NULL },
    { "key twice", JSON_TEXT("{\"a\":1,\"a\":2}"), 7, NULL },
    { "key twice, once escaped", JSON_TEXT("{\"a\":1,\"\\u0061\":2}"), 7, NULL },
    { "newline in a string", JSON_TEXT("\"a\nb\""), 2, NULL },
    { "NUL in a string", JSON_TEXT("\"a\0b\""), 2, NULL },
    { "escaped NUL", JSON_TEXT("\"a\\u0000\""), 2, NULL },
    { "NUL outside", JSON_TEXT("1\0"), 1, NULL },
    { "bad UTF-8", JSON_TEXT("\"caf\xE9\""), 4, NULL },
    { "high surrogate alone", JSON_TEXT("\"\\uD83D\""), 1, NULL },
    { "high surrogate, then no low", JSON_TEXT("\"\\uD83D\\u0041\""), 1, NULL },
    { "low surrogate first", JSON_TEXT("\"\\uDC4D\""), 1, NULL },
    { "unknown escape", JSON_TEXT("\"\\x41\""), 1, NULL },
    { "short escape", JSON_TEXT("\"\\u12\""), 5, NULL },
    { "string without end", JSON_TEXT("[\"abc"), 1, NULL },
    { "backslash at the end", JSON_TEXT("\"abc\\"), 4, NULL },
    { "object without end", JSON_TEXT("{\"a\":1"), 6, NULL },
    { "array without end", JSON_TEXT("[1"), 2, NULL },
    { "byte order mark", JSON_TEXT("\xEF\xBB\xBF{}"), 0, NULL },
};

static void test_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        SCOPED_JSON value = NULL;
        struct err err = { 0 };
        bool ok = json_read(cases[i].text, &value, &err);

        CHECK_CASE(cases[i].label, ok == (cases[i].offset < 0));
        if (ok) {
            CHECK_CASE_TEXT(cases[i].label,
                json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
                cases[i].again);
            continue;
        }
        CHECK_CASE(cases[i].label, value == NULL && err.kind == ERR_INVALID);
        CHECK_CASE(cases[i].label, atoi(err.text + strlen("not JSON at byte ")) == cases[i].offset);
    }
}

static void test_too_large(void **state)
{
    size_t len = JSON_MAX_BYTES + 1;
    char *text = malloc(len);
    SCOPED_JSON value = NULL;

    (void)state;
    assert_non_null(text);
    memset(text, ' ', len);
    text[0] = '1';
    assert_true(json_read((struct str_view){ text, len - 1 }, &value, NULL));
    assert_false(json_read((struct str_view){ text, len }, &value, NULL));
    free(text);
}

/* A string is unescaped into room of its own; the largest one must fit. */
static void test_long_string(void **state)
{
    size_t len = 100000;
    char *text = malloc(len);
    SCOPED_JSON value = NULL;

    (void)state;
    assert_non_null(text);
    memset(text, 'x', len);
    text[0] = text[len - 1] = '"';
    assert_true(json_read((struct str_view){ text, len }, &value, NULL));
    assert_int_equal(json_object_get_string_len(value), (int)len - 2);
    free(text);
}

static void test_members(void **state)
{
    SCOPED_JSON value = NULL;
    int64_t number = 7;

    (void)state;
    assert_true(json_read(STR_LITERAL("{\"s\":\"x\",\"n\":12,\"z\":null,\"o\":{},"
                                      "\"big\":18446744073709551615}"), &value, NULL));
    assert_string_equal(json_str(value, "s"), "x");
    assert_null(json_str(value, "n"));
    assert_null(json_str(value, "none"));
    assert_null(json_str(value, "z"));
    assert_null(json_str(NULL, "s"));
    assert_non_null(json_member(value, "o"));
    assert_null(json_member(json_member(value, "s"), "x"));
    assert_false(json_int(value, "s", &number));
    assert_false(json_int(value, "big", &number));
    assert_int_equal(number, 7);
    assert_true(json_int(value, "n", &number));
    assert_int_equal(number, 12);
}

static const struct { const char *label; struct str_view text; const char *json; } strings[] = {
    { "empty", JSON_TEXT(""), "\"\"" },
    { "plain", JSON_TEXT("abc"), "\"abc\"" },
    { "quotes and backslash", JSON_TEXT("a\"b\\c"), "\"a\\\"b\\\\c\"" },
    { "named controls", JSON_TEXT("\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\"" },
    { "other controls", JSON_TEXT("\x01\x1F"), "\"\\u0001\\u001f\"" },
    { "UTF-8 stays", JSON_TEXT("caf\xC3\xA9 \xF0\x9F\x91\x8D"), "\"caf\xC3\xA9 \xF0\x9F\x91\x8D\"" },
    { "NUL", JSON_TEXT("a\0b"), "\"a\xEF\xBF\xBD" "b\"" },
    { "latin-1", JSON_TEXT("caf\xE9!"), "\"caf\xEF\xBF\xBD!\"" },
    { "cut character", JSON_TEXT("\xE2\x82"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\"" },
    { "slash stays", JSON_TEXT("a/b"), "\"a/b\"" },
};

static void test_append_string(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(strings); i++) {
        SCOPED_JSON again = NULL;
        SCOPED_BUF buf;

        buf_init(&buf, 1000);
        json_append_string(&buf, strings[i].text);
        CHECK_CASE_TEXT(strings[i].label, buf_text(&buf), strings[i].json);
        CHECK_CASE(strings[i].label, json_read(buf_view(&buf), &again, NULL));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_long_string),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_append_string),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
