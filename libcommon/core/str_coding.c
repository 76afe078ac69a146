/* SPDX-License-Identifier: Apache-2.0 */
/* str_coding.c - bytes as text: hex, base64, form and URL coding.
 *
 * Decoders are strict, so that one value has one spelling: what a signature covered cannot
 * be written another way. They append to the buffer, and leave it as it was on failure. */
#include "core/str.h"

#include <string.h>

static const char hex_digits[] = "0123456789abcdef";
static const char hex_digits_upper[] = "0123456789ABCDEF";

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Takes back what a failed decoder appended. */
static bool back_to(struct buf *buf, size_t len)
{
    if (buf->data != NULL) {
        buf->len = len;
        buf->data[len] = '\0';
    }
    return false;
}

void hex_append(struct buf *buf, const void *data, size_t len)
{
    const unsigned char *bytes = data;
    char *out = buf_extend(buf, 2 * len);

    if (out == NULL)
        return;
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = hex_digits[bytes[i] >> 4];
        out[2 * i + 1] = hex_digits[bytes[i] & 15];
    }
}

bool hex_decode(struct str_view text, struct buf *buf)
{
    size_t start = buf->len;
    char *out;

    if (text.len % 2 != 0)
        return false;
    out = buf_extend(buf, text.len / 2);
    if (out == NULL)
        return false;
    for (size_t i = 0; i < text.len; i += 2) {
        int high = hex_value(text.data[i]), low = hex_value(text.data[i + 1]);

        if (high < 0 || low < 0)
            return back_to(buf, start);
        out[i / 2] = (char)(high << 4 | low);
    }
    return true;
}

static void append_base64(struct buf *buf, const void *data, size_t len, const char *last_two, bool is_padded)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    const unsigned char *bytes = data;
    size_t tail = len % 3;
    size_t out_len = len / 3 * 4 + (tail == 0 ? 0 : is_padded ? 4 : tail + 1);
    char *out = buf_extend(buf, out_len);
    size_t at = 0;

    if (out == NULL)
        return;
    for (size_t i = 0; i < len; i += 3) {
        uint32_t group = (uint32_t)bytes[i] << 16 | (i + 1 < len ? (uint32_t)bytes[i + 1] << 8 : 0)
            | (i + 2 < len ? bytes[i + 2] : 0);

        for (int k = 0; k < 4 && at < out_len; k++) {
            uint32_t index = group >> (18 - 6 * k) & 63;

            out[at++] = index < 62 ? alphabet[index] : last_two[index - 62];
        }
    }
    for (size_t pad = tail == 0 ? 0 : 3 - tail; is_padded && pad > 0; pad--)
        out[out_len - pad] = '=';
}

void base64_append(struct buf *buf, const void *data, size_t len)
{
    append_base64(buf, data, len, "+/", true);
}

void base64url_append(struct buf *buf, const void *data, size_t len)
{
    append_base64(buf, data, len, "-_", false);
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    if (c == '/' || c == '_')
        return 63;
    return -1;
}

/* Padding is optional, but what is there must be right: it fills the last group of four. */
static bool strip_padding(struct str_view *text)
{
    size_t pad = 0;

    while (pad < 2 && pad < text->len && text->data[text->len - 1 - pad] == '=')
        pad++;
    if (pad > 0 && text->len % 4 != 0)
        return false;
    text->len -= pad;
    return text->len % 4 != 1;
}

bool base64_decode(struct str_view text, struct buf *buf)
{
    size_t start = buf->len, at = 0;
    uint32_t bits = 0;
    int bit_count = 0;
    char *out;

    if (!strip_padding(&text))
        return false;
    out = buf_extend(buf, text.len * 3 / 4);
    if (out == NULL)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        int value = base64_value(text.data[i]);

        if (value < 0)
            return back_to(buf, start);
        bits = (bits << 6 | (uint32_t)value) & 0xFFFF;
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            out[at++] = (char)(bits >> bit_count & 0xFF);
        }
    }
    if ((bits & ((1u << bit_count) - 1)) != 0)
        return back_to(buf, start);
    return true;
}

static bool is_alphanumeric(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static void append_percent(struct buf *buf, struct str_view text, const char *also_plain, bool plus_is_space)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];

        if (is_alphanumeric((char)c) || (c != '\0' && strchr(also_plain, c) != NULL)) {
            buf_append_char(buf, (char)c);
        } else if (plus_is_space && c == ' ') {
            buf_append_char(buf, '+');
        } else {
            char escaped[3] = { '%', hex_digits_upper[c >> 4], hex_digits_upper[c & 15] };

            buf_append(buf, escaped, sizeof(escaped));
        }
    }
}

void form_append(struct buf *buf, const char *name, struct str_view value)
{
    if (buf->len > 0)
        buf_append_char(buf, '&');
    append_percent(buf, str_view_of(name), "*-._", true);
    buf_append_char(buf, '=');
    append_percent(buf, value, "*-._", true);
}

bool form_decode(struct str_view text, struct buf *buf)
{
    size_t start = buf->len;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];

        if (c == '%') {
            int high = i + 2 < text.len ? hex_value(text.data[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_value(text.data[i + 2]) : -1;

            if (high < 0 || low < 0)
                return back_to(buf, start);
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+') {
            c = ' ';
        }
        buf_append_char(buf, c);
    }
    return buf->is_full ? back_to(buf, start) : true;
}

void url_append(struct buf *buf, struct str_view text)
{
    append_percent(buf, text, "-._~", false);
}
