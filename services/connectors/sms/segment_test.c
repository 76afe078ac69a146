/* SPDX-License-Identifier: Apache-2.0 */
/* segment_test.c - where a text becomes longer on the air. */
#include "segment.h"

#include "testing.h"

/* `text`, `unit` repeated `count` times, `tail`. */
static const struct {
    const char *label, *text, *unit;
    unsigned count;
    const char *tail;
    enum segment_coding coding;
    uint32_t units, segments;
} cases[] = {
    { "nothing", "", "", 0, "", SEGMENT_GSM7, 0, 0 },
    { "one letter", "a", "", 0, "", SEGMENT_GSM7, 1, 1 },
    { "160 letters", "", "a", 160, "", SEGMENT_GSM7, 160, 1 },
    { "161 letters", "", "a", 161, "", SEGMENT_GSM7, 161, 2 },
    { "306 letters", "", "a", 306, "", SEGMENT_GSM7, 306, 2 },
    { "307 letters", "", "a", 307, "", SEGMENT_GSM7, 307, 3 },
    { "line ends", "\r\n", "", 0, "", SEGMENT_GSM7, 2, 1 },
    { "basic accents", "àéùìòÇØøÅåÆæßÉÄÖÑÜäöñü", "", 0, "", SEGMENT_GSM7, 22, 1 },
    { "basic signs", "@£$¥Δ_ΦΓΛΩΠΨΣΘΞ¡§¿¤è", "", 0, "", SEGMENT_GSM7, 20, 1 },
    { "extension table", "^{}\\[~]|€\f", "", 0, "", SEGMENT_GSM7, 20, 1 },
    { "80 euros", "", "€", 80, "", SEGMENT_GSM7, 160, 1 },
    { "81 euros: no escape is split", "", "€", 81, "", SEGMENT_GSM7, 162, 2 },
    { "153rd is an escape", "", "a", 152, "€aaaaaaaa", SEGMENT_GSM7, 162, 2 },
    { "escapes leave one free in each", "", "€", 153, "", SEGMENT_GSM7, 306, 3 },
    { "backtick", "`", "", 0, "", SEGMENT_UCS2, 1, 1 },
    { "tab", "\t", "", 0, "", SEGMENT_UCS2, 1, 1 },
    { "small c cedilla", "ç", "", 0, "", SEGMENT_UCS2, 1, 1 },
    { "curly quote", "it’s", "", 0, "", SEGMENT_UCS2, 4, 1 },
    { "no-break space", "a\xc2\xa0z", "", 0, "", SEGMENT_UCS2, 3, 1 },
    { "capital with accent", "Ê", "", 0, "", SEGMENT_UCS2, 1, 1 },
    { "70 units", "", "ж", 70, "", SEGMENT_UCS2, 70, 1 },
    { "71 units", "", "ж", 71, "", SEGMENT_UCS2, 71, 2 },
    { "134 units", "", "ж", 134, "", SEGMENT_UCS2, 134, 2 },
    { "135 units", "", "ж", 135, "", SEGMENT_UCS2, 135, 3 },
    { "emoji is two units", "👍", "", 0, "", SEGMENT_UCS2, 2, 1 },
    { "35 emoji", "", "👍", 35, "", SEGMENT_UCS2, 70, 1 },
    { "67th unit is a surrogate", "", "ж", 66, "👍жжж", SEGMENT_UCS2, 71, 2 },
    { "67 emoji: one unit free in each", "", "👍", 67, "", SEGMENT_UCS2, 134, 3 },
};

static void test_segment_count(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct segment_count count;
        SCOPED_BUF text;

        buf_init(&text, 4096);
        buf_append_text(&text, cases[i].text);
        for (unsigned j = 0; j < cases[i].count; j++)
            buf_append_text(&text, cases[i].unit);
        buf_append_text(&text, cases[i].tail);
        count = sms_segment_count(buf_view(&text));
        CHECK_CASE(cases[i].label, count.coding == cases[i].coding);
        CHECK_CASE(cases[i].label, count.units == cases[i].units);
        CHECK_CASE(cases[i].label, count.segments == cases[i].segments);
    }
}

/* Each of the 128 code points of the default alphabet but escape, one by one: 23.038 §6.2.1. */
static void test_default_alphabet(void **state)
{
    static const char alphabet[] = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
                                   "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
    struct segment_count count = sms_segment_count(STR_LITERAL(alphabet));

    (void)state;
    assert_int_equal(count.coding, SEGMENT_GSM7);
    assert_int_equal(count.units, 127);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segment_count),
        cmocka_unit_test(test_default_alphabet),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
