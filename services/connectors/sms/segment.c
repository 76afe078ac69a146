/* SPDX-License-Identifier: Apache-2.0 */
/* segment.c - counts GSM-7 and UCS-2 segments.
 *
 * One pass decides the coding, the second fills segments: a pair that does not fit into what is left
 * of a segment opens the next, which dividing the total by the segment's size would miss. */
#include "segment.h"

#include <stddef.h>

enum { GSM7_SINGLE = 160, GSM7_PART = 153, UCS2_SINGLE = 70, UCS2_PART = 67 };

/* Non-ASCII characters of the default alphabet, ascending (23.038 §6.2.1). */
static const uint16_t gsm7_others[] = {
    0xa1, 0xa3, 0xa4, 0xa5,  0xa7,  0xbf,  0xc4,  0xc5,  0xc6,  0xc7,  0xc9,  0xd1,  0xd6,
    0xd8, 0xdc, 0xdf, 0xe0,  0xe4,  0xe5,  0xe6,  0xe8,  0xe9,  0xec,  0xf1,  0xf2,  0xf6,
    0xf8, 0xf9, 0xfc, 0x393, 0x394, 0x398, 0x39b, 0x39e, 0x3a0, 0x3a3, 0x3a6, 0x3a8, 0x3a9,
};

/* Septets a character takes in GSM-7; 0: it is not in the alphabet. */
static uint32_t gsm7_septets(uint32_t character)
{
    switch (character) {
    case '\f':
    case '^':
    case '{':
    case '}':
    case '\\':
    case '[':
    case '~':
    case ']':
    case '|':
    case 0x20ac:
        return 2;
    case '`':
        return 0;
    case '\n':
    case '\r':
        return 1;
    default:
        break;
    }
    if (character < 0x80)
        return character >= ' ' && character != 0x7f;
    for (size_t i = 0; i < COUNT_OF(gsm7_others); i++)
        if (gsm7_others[i] == character)
            return 1;
    return 0;
}

static uint32_t ucs2_units(uint32_t character)
{
    return character > 0xffff ? 2 : 1;
}

static bool is_gsm7(struct str_view text)
{
    uint32_t character;

    while ((character = utf8_next(&text)) != 0)
        if (gsm7_septets(character) == 0)
            return false;
    return true;
}

/* Segments needed when each holds `room` units and no character is split. */
static uint32_t fill(struct str_view text, uint32_t (*units_of)(uint32_t), uint32_t room)
{
    uint32_t segments = 1, used = 0, character;

    while ((character = utf8_next(&text)) != 0) {
        uint32_t units = units_of(character);

        if (used + units > room) {
            segments++;
            used = 0;
        }
        used += units;
    }
    return segments;
}

struct segment_count sms_segment_count(struct str_view text)
{
    struct segment_count count = { .coding = is_gsm7(text) ? SEGMENT_GSM7 : SEGMENT_UCS2 };
    uint32_t (*units_of)(uint32_t) = count.coding == SEGMENT_GSM7 ? gsm7_septets : ucs2_units;
    uint32_t single = count.coding == SEGMENT_GSM7 ? GSM7_SINGLE : UCS2_SINGLE;
    struct str_view rest = text;
    uint32_t character;

    while ((character = utf8_next(&rest)) != 0)
        count.units += units_of(character);
    if (count.units == 0)
        return count;
    if (count.units <= single)
        count.segments = 1;
    else
        count.segments = fill(text, units_of, count.coding == SEGMENT_GSM7 ? GSM7_PART : UCS2_PART);
    return count;
}
