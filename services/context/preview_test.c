/* SPDX-License-Identifier: Apache-2.0 */
/* preview_test.c - what lists show of a message: tables of content, written as JSON. */
#include "core/check.h"

#include "core/pbjson.h"
#include "preview.h"

static const struct {
    const char *label, *content, *expected;
    size_t max_bytes;
} cases[] = {
    { "text", "{\"parts\":[{\"text\":{\"text\":\"hello\"}}]}", "hello", 200 },
    { "nothing", "{}", "[empty]", 200 },
    { "an empty text", "{\"parts\":[{\"text\":{\"text\":\"\"}}]}", "[empty]", 200 },
    { "cut at a whole character", "{\"parts\":[{\"text\":{\"text\":\"caf\xc3\xa9\"}}]}", "caf", 4 },
    { "HTML, then plain",
      "{\"parts\":[{\"text\":{\"text\":\"<b>x</b>\",\"format\":\"TEXT_FORMAT_HTML\"}},{\"text\":{\"text\":\"x\"}}]}",
      "x", 200 },
    { "HTML alone", "{\"parts\":[{\"text\":{\"text\":\"<b>x</b>\",\"format\":\"TEXT_FORMAT_HTML\"}}]}",
      "[html]", 200 },
    { "HTML with a subject",
      "{\"subject\":\"Order 12\",\"parts\":[{\"text\":{\"text\":\"<b>x</b>\",\"format\":\"TEXT_FORMAT_HTML\"}}]}",
      "Order 12", 200 },
    { "an image, then text",
      "{\"parts\":[{\"media\":{\"contentType\":\"image/png\"}},{\"text\":{\"text\":\"look\"}}]}", "look",
      200 },
    { "an image", "{\"parts\":[{\"media\":{\"contentType\":\"image/png\"}}]}", "[image]", 200 },
    { "an image with a caption",
      "{\"parts\":[{\"media\":{\"contentType\":\"image/png\",\"caption\":\"my cat\"}}]}", "my cat", 200 },
    { "a voice note", "{\"parts\":[{\"media\":{\"disposition\":\"MEDIA_DISPOSITION_VOICE_NOTE\"}}]}",
      "[voice note]", 200 },
    { "a file", "{\"parts\":[{\"media\":{\"contentType\":\"application/pdf\"}}]}", "[file]", 200 },
    { "a choice", "{\"parts\":[{\"choice\":{\"id\":\"1\",\"title\":\"Yes\"}}]}", "Yes", 200 },
    { "a location", "{\"parts\":[{\"location\":{\"latitude\":1.5}}]}", "[location]", 200 },
    { "an order", "{\"parts\":[{\"order\":{}}]}", "[order]", 200 },
    { "a call", "{\"parts\":[{\"call\":{}}]}", "[call]", 200 },
    { "unsupported", "{\"parts\":[{\"unsupported\":{}}]}", "[unsupported]", 200 },
};

static void test_previews(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct arena *arena = arena_new(1 << 20);
        struct json_object *json = NULL;
        ProtobufCMessage *content = NULL;
        struct err err = { 0 };

        if (!json_read(str_view_of(cases[i].content), &json, &err) ||
            !pbjson_read(json, &guichet__v1__content__descriptor, arena, &content, &err))
            fail_msg("case '%s': %s", cases[i].label, err.text);
        CHECK_CASE_TEXT(
            cases[i].label,
            arena_dup(arena, preview_content((Guichet__V1__Content *)content, cases[i].max_bytes)),
            cases[i].expected);
        json_put(&json);
        arena_free(&arena);
    }
    assert_int_equal(preview_content(NULL, 200).len, strlen("[empty]"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_previews),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
