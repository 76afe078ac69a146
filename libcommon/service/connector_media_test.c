/* SPDX-License-Identifier: Apache-2.0 */
/* connector_media_test.c - types and names of files, as providers tell them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "service/connector_internal.h"

static void types_by_table(void **state)
{
    static const struct {
        const char *header, *announced, *wanted;
    } cases[] = {
        { "image/jpeg", "", "image/jpeg" },
        { "Image/JPEG; charset=x", "image/png", "image/jpeg" },
        { " text/plain ;charset=utf-8", "", "text/plain" },
        { NULL, "image/png", "image/png" },
        { "application/octet-stream", "image/png", "image/png" },
        { "binary/octet-stream", "", "application/octet-stream" },
        { "nonsense", "", "application/octet-stream" },
        { "text/", "/x", "application/octet-stream" },
        { "text/a b", "a/b/c", "application/octet-stream" },
        { "text/<script>", "", "application/octet-stream" },
        { "application/vnd.ms-excel", "", "application/vnd.ms-excel" },
    };
    SCOPED_ARENA arena = arena_new(1 << 20);

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_string_equal(connector_media_type(cases[i].header, cases[i].announced, arena),
                            cases[i].wanted);
}

static void patterns_by_table(void **state)
{
    static const struct {
        const char *pattern, *type;
        bool matches;
    } cases[] = {
        { "*/*", "image/jpeg", true },        { "image/*", "image/jpeg", true },
        { "Image/*", "image/jpeg", true },    { "image/jpeg", "image/jpeg", true },
        { "image/jpeg", "image/png", false }, { "image/*", "imagex/png", false },
        { "ima*", "image/png", false },       { "", "image/png", false },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char *items[] = { (char *)"video/mp4", (char *)cases[i].pattern };
        const struct config_strings patterns = { .items = items, .count = 2 };

        if (connector_media_type_matches(&patterns, cases[i].type) != cases[i].matches)
            fail_msg("%s %s", cases[i].pattern, cases[i].type);
    }
}

static void file_names_by_table(void **state)
{
    static const struct {
        const char *header, *wanted;
    } cases[] = {
        { "attachment; filename=\"a b.jpg\"", "a b.jpg" },
        { "attachment; filename=a.jpg; size=3", "a.jpg" },
        { "inline; filename=\"..\\\\..\\\\x.exe\"", "x.exe" },
        { "inline; filename=\"/etc/passwd\"", "passwd" },
        { "inline; filename=\"..\"", "" },
        { "attachment; filename=\"say \\\"hi\\\".txt\"", "say \"hi\".txt" },
        { "attachment; filename=\"a.jpg\"; filename*=UTF-8''caf%C3%A9+1.jpg", "café+1.jpg" },
        { "attachment; filename*=iso-8859-1''caf%E9.jpg; filename=x.jpg", "x.jpg" },
        { "attachment; filename*=UTF-8''%ff.jpg; filename=x.jpg", "x.jpg" },
        { "attachment; FileName = a.jpg", "a.jpg" },
        { "attachment; filename=\"a\x01\x7f.jpg\"", "a.jpg" },
        { "attachment; filename=\"caf\xe9.jpg\"", "" },
        { "attachment; filename=", "" },
        { "attachment", "" },
        { "filename=a.jpg", "" },
        { "", "" },
        { NULL, "" },
    };
    SCOPED_ARENA arena = arena_new(1 << 20);

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_string_equal(connector_media_file_name(cases[i].header, arena), cases[i].wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_by_table),
        cmocka_unit_test(patterns_by_table),
        cmocka_unit_test(file_names_by_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
