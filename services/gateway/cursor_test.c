/* SPDX-License-Identifier: Apache-2.0 */
/* cursor_test.c - cursors read back, and what is none is refused. */
#include "cursor.h"

#include <stdio.h>

#include "core/check.h"

static void test_page_reads_back(void **state)
{
    char after_id[CURSOR_ID_BYTES] = "untouched";
    struct err err = { 0 };
    SCOPED_BUF cursor;

    (void)state;
    buf_init(&cursor, 1024);
    cursor_page_append(&cursor, "conversations waiting", "018f2f6e-0000-7000-8000-000000000001");
    assert_false(cursor_page_read(buf_text(&cursor), "conversations closed", after_id, &err));
    assert_string_equal(after_id, "untouched");
    assert_true(cursor_page_read(buf_text(&cursor), "conversations waiting", after_id, &err));
    assert_string_equal(after_id, "018f2f6e-0000-7000-8000-000000000001");
}

static void test_event_reads_back(void **state)
{
    struct event_cursor at = { 0 };
    struct err err = { 0 };
    SCOPED_BUF cursor;

    (void)state;
    buf_init(&cursor, 1024);
    cursor_event_append(&cursor, "b1c2:d3", UINT64_C(1234567890123));
    assert_true(cursor_event_read(buf_text(&cursor), &at, &err));
    assert_string_equal(at.epoch, "b1c2:d3");
    assert_true(at.sequence == UINT64_C(1234567890123));
}

/* The text inside, before base64url. */
static const struct {
    const char *label, *inside;
} nonsense[] = {
    { "empty", "" },
    { "another kind", "p1:00000000:x" },
    { "no sequence", "e1:epoch" },
    { "no epoch", "e1::5" },
    { "sequence is a word", "e1:epoch:five" },
    { "sequence goes on", "e1:epoch:5x" },
    { "sequence is negative", "e1:epoch:-5" },
    { "sequence overflows", "e1:epoch:99999999999999999999" },
    { "epoch is too long", "e1:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:5" },
};

static void test_nonsense_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(nonsense); i++) {
        struct event_cursor at = { "same", 7 };
        char after_id[CURSOR_ID_BYTES];
        struct err err = { 0 };
        SCOPED_BUF cursor;

        buf_init(&cursor, 1024);
        base64url_append(&cursor, nonsense[i].inside, strlen(nonsense[i].inside));
        CHECK_CASE(nonsense[i].label, !cursor_event_read(buf_text(&cursor), &at, &err));
        CHECK_CASE(nonsense[i].label, err.kind == ERR_INVALID && at.sequence == 7);
        CHECK_CASE(nonsense[i].label, !cursor_page_read(buf_text(&cursor), "list", after_id, &err));
    }
}

static void test_bytes_that_are_no_text(void **state)
{
    static const char *const cursors[] = { "!!!", "AAAA", "_____w", "cDE6" };
    char after_id[CURSOR_ID_BYTES];
    struct event_cursor at;
    struct err err = { 0 };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cursors); i++) {
        CHECK_CASE(cursors[i], !cursor_page_read(cursors[i], "list", after_id, &err));
        CHECK_CASE(cursors[i], !cursor_event_read(cursors[i], &at, &err));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page_reads_back),
        cmocka_unit_test(test_event_reads_back),
        cmocka_unit_test(test_nonsense_is_refused),
        cmocka_unit_test(test_bytes_that_are_no_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
