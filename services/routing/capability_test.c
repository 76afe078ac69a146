/* SPDX-License-Identifier: Apache-2.0 */
/* capability_test.c - what can be sent, and what the agent is told when it cannot. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "capability.h"

#define NOW_US 1700000000000000
#define SECOND_US 1000000LL

enum part_kind { TEXT, HTML, MEDIA, TEMPLATE, MENU, LOCATION, NONE };

static const struct {
    const char *label;
    struct {
        uint32_t max;
        Guichet__V1__LengthUnit unit;
        bool html, subject, media, templates, menus, start;
        uint32_t window_s;
    } can;
    enum part_kind part;
    const char *text, *subject;
    bool is_start;
    int64_t last_inbound_us;
    const char *says; /* NULL: allowed */
} cases[] = {
    { "plain text", { .max = 5 }, TEXT, "hallo", "", false, 0, NULL },
    { "no limit known", { 0 }, TEXT, "any length at all", "", false, 0, NULL },
    { "one too many",
      { .max = 4 },
      TEXT,
      "hallo",
      "",
      false,
      0,
      "the text has 5 characters, the channel takes 4" },
    { "characters, not bytes", { .max = 5 }, TEXT, "h\xc3\xa4ll\xc3\xb6", "", false, 0, NULL },
    { "bytes",
      { .max = 6, .unit = GUICHET__V1__LENGTH_UNIT__LENGTH_UNIT_BYTES },
      TEXT,
      "h\xc3\xa4ll\xc3\xb6",
      "",
      false,
      0,
      "the text has 7 bytes" },
    { "UTF-16 counts twice beyond the plane",
      { .max = 1, .unit = GUICHET__V1__LENGTH_UNIT__LENGTH_UNIT_UTF16 },
      TEXT,
      "\xf0\x9f\x93\xa6",
      "",
      false,
      0,
      "the text has 2 UTF-16 units" },
    { "empty text", { 0 }, TEXT, "", "", false, 0, "the text is empty" },
    { "no part", { 0 }, NONE, "", "", false, 0, "the message is empty" },
    { "HTML refused", { 0 }, HTML, "<b>", "", false, 0, "cannot send HTML" },
    { "HTML allowed", { .html = true }, HTML, "<b>", "", false, 0, NULL },
    { "subject refused", { 0 }, TEXT, "x", "Re: x", false, 0, "cannot send a subject" },
    { "subject allowed", { .subject = true }, TEXT, "x", "Re: x", false, 0, NULL },
    { "media refused", { 0 }, MEDIA, "", "", false, 0, "cannot send media (part 0)" },
    { "media allowed", { .media = true }, MEDIA, "", "", false, 0, NULL },
    { "template refused", { 0 }, TEMPLATE, "", "", false, 0, "cannot send templates" },
    { "menu refused", { 0 }, MENU, "", "", false, 0, "cannot send menus" },
    { "what nobody sends", { .media = true }, LOCATION, "", "", false, 0, "cannot send this kind of part" },
    { "writing first refused", { 0 }, TEXT, "x", "", true, 0, "does not allow writing first" },
    { "writing first allowed", { .start = true }, TEXT, "x", "", true, 0, NULL },
    { "window open", { .window_s = 60 }, TEXT, "x", "", false, NOW_US - 59 * SECOND_US, NULL },
    { "window over",
      { .window_s = 60 },
      TEXT,
      "x",
      "",
      false,
      NOW_US - 60 * SECOND_US,
      "over since 2023-11-14T22:13:20" },
    { "window never opened", { .window_s = 60 }, TEXT, "x", "", false, 0, "they have not written" },
    { "a template passes the window",
      { .window_s = 60, .templates = true },
      TEMPLATE,
      "",
      "",
      false,
      0,
      NULL },
};

static void fill_part(Guichet__V1__Part *part, Guichet__V1__Text *text, enum part_kind kind)
{
    static Guichet__V1__Media media = GUICHET__V1__MEDIA__INIT;
    static Guichet__V1__Template template = GUICHET__V1__TEMPLATE__INIT;
    static Guichet__V1__Menu menu = GUICHET__V1__MENU__INIT;
    static Guichet__V1__Location location = GUICHET__V1__LOCATION__INIT;

    switch (kind) {
    case HTML:
        text->format = GUICHET__V1__TEXT_FORMAT__TEXT_FORMAT_HTML;
        __attribute__((fallthrough));
    case TEXT:
        part->kind_case = GUICHET__V1__PART__KIND_TEXT;
        part->text = text;
        break;
    case MEDIA:
        part->kind_case = GUICHET__V1__PART__KIND_MEDIA;
        part->media = &media;
        break;
    case TEMPLATE:
        part->kind_case = GUICHET__V1__PART__KIND_TEMPLATE;
        part->template_ = &template;
        break;
    case MENU:
        part->kind_case = GUICHET__V1__PART__KIND_MENU;
        part->menu = &menu;
        break;
    default:
        part->kind_case = GUICHET__V1__PART__KIND_LOCATION;
        part->location = &location;
        break;
    }
}

static void test_capability_check(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Guichet__V1__Capabilities can = GUICHET__V1__CAPABILITIES__INIT;
        Guichet__V1__Content content = GUICHET__V1__CONTENT__INIT;
        Guichet__V1__Text text = GUICHET__V1__TEXT__INIT;
        Guichet__V1__Part part = GUICHET__V1__PART__INIT, *parts = &part;
        struct err err = { 0 };
        bool ok;

        can.text_max_length = cases[i].can.max;
        can.text_unit = cases[i].can.unit;
        can.has_html = cases[i].can.html;
        can.has_subject = cases[i].can.subject;
        can.has_media = cases[i].can.media;
        can.has_templates = cases[i].can.templates;
        can.has_menus = cases[i].can.menus;
        can.can_start = cases[i].can.start;
        can.window_s = cases[i].can.window_s;
        text.text = (char *)cases[i].text;
        content.subject = (char *)cases[i].subject;
        content.parts = &parts;
        content.n_parts = cases[i].part != NONE;
        fill_part(&part, &text, cases[i].part);
        ok = routing_capability_check(&can, &content, cases[i].is_start, cases[i].last_inbound_us, NOW_US,
                                      &err);
        if (ok != (cases[i].says == NULL) || (!ok && strstr(err.text, cases[i].says) == NULL) ||
            (!ok && err.kind != ERR_INVALID))
            fail_msg("case '%s': %s '%s'", cases[i].label, ok ? "allowed" : "refused", err.text);
    }
}

static void test_capability_media(void **state)
{
    static const struct {
        const char *label, *type;
        uint64_t size_bytes;
        size_t count;
        const char *says; /* NULL: allowed */
    } media[] = {
        { "at the limit of its type", "image/png", 500, 1, NULL },
        { "past it", "image/png", 501, 1, "part 0 (image/png) has 501 bytes, the channel takes 500 of image/png" },
        { "the family's limit", "image/jpeg; q=1", 300, 1, NULL },
        { "past the family's", "IMAGE/JPEG", 301, 1, "the channel takes 300 of image/*" },
        { "another family", "video/mp4", 1, 1, "the channel cannot send video/mp4 (part 0)" },
        { "no type", "", 1, 1, "the channel cannot send" },
        { "a longer type", "image/pngx", 400, 1, "takes 300 of image/*" },
        { "as many as may be", "image/png", 200, 3, NULL },
        { "too much together", "image/png", 201, 3, "603 bytes together, the channel takes 600" },
    };
    static char image[] = "image/*", png[] = "image/png";
    Guichet__V1__MediaLimit family = GUICHET__V1__MEDIA_LIMIT__INIT, exact = GUICHET__V1__MEDIA_LIMIT__INIT;
    Guichet__V1__MediaLimit *limits[] = { &exact, &family };
    Guichet__V1__Capabilities can = GUICHET__V1__CAPABILITIES__INIT;

    (void)state;
    family.content_type = image;
    family.max_bytes = 300;
    exact.content_type = png;
    exact.max_bytes = 500;
    can.media = limits;
    can.n_media = COUNT_OF(limits);
    can.media_max_total_bytes = 600;
    for (size_t i = 0; i < COUNT_OF(media); i++) {
        Guichet__V1__Content content = GUICHET__V1__CONTENT__INIT;
        Guichet__V1__Part part = GUICHET__V1__PART__INIT, *parts[] = { &part, &part, &part };
        Guichet__V1__Media one = GUICHET__V1__MEDIA__INIT;
        struct err err = { 0 };
        bool ok;

        one.content_type = (char *)media[i].type;
        one.size_bytes = media[i].size_bytes;
        part.kind_case = GUICHET__V1__PART__KIND_MEDIA;
        part.media = &one;
        content.parts = parts;
        content.n_parts = media[i].count;
        ok = routing_capability_check_media(&can, &content, &err);
        if (ok != (media[i].says == NULL) || (!ok && strstr(err.text, media[i].says) == NULL))
            fail_msg("case '%s': %s '%s'", media[i].label, ok ? "allowed" : "refused", err.text);
    }
}

static void test_capability_counts(void **state)
{
    static const struct {
        const char *label;
        size_t parts;
        uint32_t most; /* of media; 0: not known */
        const char *says; /* NULL: allowed */
    } counts[] = {
        { "as many as the channel takes", 3, 3, NULL },
        { "one too many", 4, 3, "the message has 4 media, the channel takes 3" },
        { "no limit known", 100, 0, NULL },
        { "more than any message has", 101, 0, "the message has 101 parts, at most 100 are allowed" },
    };
    Guichet__V1__Media media = GUICHET__V1__MEDIA__INIT;
    Guichet__V1__Part part = GUICHET__V1__PART__INIT, *parts[101];

    (void)state;
    part.kind_case = GUICHET__V1__PART__KIND_MEDIA;
    part.media = &media;
    for (size_t i = 0; i < COUNT_OF(parts); i++)
        parts[i] = &part;
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        Guichet__V1__Capabilities can = GUICHET__V1__CAPABILITIES__INIT;
        Guichet__V1__Content content = GUICHET__V1__CONTENT__INIT;
        struct err err = { 0 };
        bool ok;

        can.has_media = true;
        can.media_max_count = counts[i].most;
        content.parts = parts;
        content.n_parts = counts[i].parts;
        ok = routing_capability_check(&can, &content, false, 0, NOW_US, &err);
        if (ok != (counts[i].says == NULL) || (!ok && strstr(err.text, counts[i].says) == NULL))
            fail_msg("case '%s': %s '%s'", counts[i].label, ok ? "allowed" : "refused", err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_capability_check),
        cmocka_unit_test(test_capability_media),
        cmocka_unit_test(test_capability_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
