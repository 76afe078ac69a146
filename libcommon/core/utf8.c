/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.c - UTF-8 as RFC 3629 has it.
 *
 * One decoder serves all: utf8_step() takes one code point off the front, or says that
 * there is none. Overlong forms, surrogates and NUL are not text. */
#include "core/str.h"

#include <string.h>

/* First byte -> length of the sequence, its smallest value, and the bits it gives. */
static size_t lead_length(unsigned char lead, uint32_t *ret_min, uint32_t *ret_bits)
{
    if (lead < 0x80) {
        *ret_min = 1;
        *ret_bits = lead;
        return 1;
    }
    if (lead >= 0xC2 && lead <= 0xDF) {
        *ret_min = 0x80;
        *ret_bits = lead & 0x1F;
        return 2;
    }
    if (lead >= 0xE0 && lead <= 0xEF) {
        *ret_min = 0x800;
        *ret_bits = lead & 0x0F;
        return 3;
    }
    if (lead >= 0xF0 && lead <= 0xF4) {
        *ret_min = 0x10000;
        *ret_bits = lead & 0x07;
        return 4;
    }
    return 0;
}

size_t utf8_step(struct str_view text, uint32_t *ret_code)
{
    uint32_t min = 0, code = 0;
    size_t len = text.len == 0 ? 0 : lead_length((unsigned char)text.data[0], &min, &code);

    if (len == 0 || len > text.len)
        return 0;
    for (size_t i = 1; i < len; i++) {
        unsigned char next = (unsigned char)text.data[i];

        if ((next & 0xC0) != 0x80)
            return 0;
        code = code << 6 | (next & 0x3F);
    }
    if (code < min || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
        return 0;
    *ret_code = code;
    return len;
}

bool utf8_is_valid(struct str_view text)
{
    uint32_t code;

    while (text.len > 0) {
        size_t len = utf8_step(text, &code);

        if (len == 0)
            return false;
        text.data += len;
        text.len -= len;
    }
    return true;
}

size_t utf8_count(struct str_view text)
{
    size_t count = 0;

    for (size_t i = 0; i < text.len; i++)
        count += ((unsigned char)text.data[i] & 0xC0) != 0x80;
    return count;
}

size_t utf8_cut(struct str_view text, size_t max_bytes)
{
    size_t len = max_bytes;

    if (text.len <= max_bytes)
        return text.len;
    while (len > 0 && ((unsigned char)text.data[len] & 0xC0) == 0x80)
        len--;
    return len;
}

uint32_t utf8_next(struct str_view *text)
{
    uint32_t code = 0;
    size_t len = utf8_step(*text, &code);

    text->data += len;
    text->len -= len;
    return code;
}
