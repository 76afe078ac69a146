/* SPDX-License-Identifier: Apache-2.0 */
/* str_coding_test.c - hex, base64, form and URL coding, both ways. */
#include "core/check.h"
#include "core/str.h"

#define KEPT "kept:"

/* Runs a decoder behind a text that must stay, on failure too. */
static void check_decode(const char *label, bool (*decode)(struct str_view, struct buf *),
    struct str_view text, bool ok, struct str_view expected)
{
    SCOPED_BUF buf;

    buf_init(&buf, 1000);
    buf_append_text(&buf, KEPT);
    CHECK_CASE(label, decode(text, &buf) == ok);
    CHECK_CASE(label, str_starts_with(buf_view(&buf), STR_LITERAL(KEPT)));
    CHECK_CASE(label, buf.len == strlen(KEPT) + (ok ? expected.len : 0));
    if (ok && expected.len > 0)
        CHECK_CASE(label, memcmp(buf.data + strlen(KEPT), expected.data, expected.len) == 0);
}

struct decode_case {
    const char *label;
    struct str_view text;
    bool ok;
    struct str_view bytes;
};

static const struct decode_case hex_cases[] = {
    { "empty", { "", 0 }, true, { "", 0 } },
    { "lower", { "00ff7f", 6 }, true, { "\x00\xFF\x7F", 3 } },
    { "upper", { "00FF7F", 6 }, true, { "\x00\xFF\x7F", 3 } },
    { "odd", { "00f", 3 }, false, { "", 0 } },
    { "no digit", { "0g", 2 }, false, { "", 0 } },
    { "blank", { "0 ", 2 }, false, { "", 0 } },
};

static void test_hex(void **state)
{
    SCOPED_BUF buf;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(hex_cases); i++)
        check_decode(hex_cases[i].label, hex_decode, hex_cases[i].text, hex_cases[i].ok, hex_cases[i].bytes);
    buf_init(&buf, 100);
    hex_append(&buf, "\x00\xFF\x7F", 3);
    assert_string_equal(buf_text(&buf), "00ff7f");
}

static const struct { const char *label; struct str_view bytes; const char *padded, *url; } base64_pairs[] = {
    { "empty", { "", 0 }, "", "" },
    { "one", { "f", 1 }, "Zg==", "Zg" },
    { "two", { "fo", 2 }, "Zm8=", "Zm8" },
    { "three", { "foo", 3 }, "Zm9v", "Zm9v" },
    { "four", { "foob", 4 }, "Zm9vYg==", "Zm9vYg" },
    { "both special letters", { "\xFB\xEF\xBF", 3 }, "+++/", "---_" },
    { "zeros", { "\0\0\0\0", 4 }, "AAAAAA==", "AAAAAA" },
};

static void test_base64_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(base64_pairs); i++) {
        SCOPED_BUF padded, url;

        buf_init(&padded, 100);
        buf_init(&url, 100);
        base64_append(&padded, base64_pairs[i].bytes.data, base64_pairs[i].bytes.len);
        base64url_append(&url, base64_pairs[i].bytes.data, base64_pairs[i].bytes.len);
        CHECK_CASE_TEXT(base64_pairs[i].label, buf_text(&padded), base64_pairs[i].padded);
        CHECK_CASE_TEXT(base64_pairs[i].label, buf_text(&url), base64_pairs[i].url);
        check_decode(base64_pairs[i].label, base64_decode, buf_view(&padded), true, base64_pairs[i].bytes);
        check_decode(base64_pairs[i].label, base64_decode, buf_view(&url), true, base64_pairs[i].bytes);
    }
}

static const struct { const char *label, *text; } base64_wrong[] = {
    { "one letter", "Z" },
    { "five letters", "Zm9vY" },
    { "padding too short", "Zg=" },
    { "padding too long", "Zg===" },
    { "padding of nothing", "Zm9v=" },
    { "only padding", "==" },
    { "padding inside", "Zg==Zg==" },
    { "blank", "Zm 9v" },
    { "newline", "Zm9v\n" },
    { "bits left over", "Zh==" },
    { "bits left over, two bytes", "Zm9=" },
};

static void test_base64_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(base64_wrong); i++)
        check_decode(base64_wrong[i].label, base64_decode, str_view_of(base64_wrong[i].text), false,
            STR_LITERAL(""));
}

static const struct decode_case form_cases[] = {
    { "plain", { "abc", 3 }, true, { "abc", 3 } },
    { "plus is a blank", { "a+b", 3 }, true, { "a b", 3 } },
    { "escaped plus", { "%2B33", 5 }, true, { "+33", 3 } },
    { "lower case digits", { "%c3%a9", 6 }, true, { "\xC3\xA9", 2 } },
    { "NUL", { "a%00b", 5 }, true, { "a\0b", 3 } },
    { "percent at the end", { "a%", 2 }, false, { "", 0 } },
    { "one digit", { "a%4", 3 }, false, { "", 0 } },
    { "no digits", { "a%zz", 4 }, false, { "", 0 } },
};

static void test_form_decode(void **state)
{
    SCOPED_BUF small;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(form_cases); i++)
        check_decode(form_cases[i].label, form_decode, form_cases[i].text, form_cases[i].ok,
            form_cases[i].bytes);
    buf_init(&small, 2);
    assert_false(form_decode(STR_LITERAL("abc"), &small));
    assert_string_equal(buf_text(&small), "");
}

static void test_form_append(void **state)
{
    SCOPED_BUF buf;

    (void)state;
    buf_init(&buf, 1000);
    form_append(&buf, "To", STR_LITERAL("+33639980001"));
    form_append(&buf, "Body", STR_LITERAL("Caf\xC3\xA9 & cr\xC3\xA8me ~*-._"));
    form_append(&buf, "Empty", STR_LITERAL(""));
    assert_string_equal(buf_text(&buf),
        "To=%2B33639980001&Body=Caf%C3%A9+%26+cr%C3%A8me+%7E*-._&Empty=");
}

static void test_url_append(void **state)
{
    SCOPED_BUF buf;

    (void)state;
    buf_init(&buf, 1000);
    url_append(&buf, (struct str_view){ "a b/\xC3\xA9~-._*\0", 12 });
    assert_string_equal(buf_text(&buf), "a%20b%2F%C3%A9~-._%2A%00");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hex),
        cmocka_unit_test(test_base64_both_ways),
        cmocka_unit_test(test_base64_wrong),
        cmocka_unit_test(test_form_decode),
        cmocka_unit_test(test_form_append),
        cmocka_unit_test(test_url_append),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
