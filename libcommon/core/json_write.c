/* SPDX-License-Identifier: Apache-2.0 */
/* json_write.c - JSON strings (RFC 8259 §7).
 *
 * Runs of plain bytes are copied whole; most strings are one run. What our own reader would
 * refuse (NUL, bytes that are no UTF-8) is written as U+FFFD: a log line or an answer must
 * never be unreadable because of what a customer sent. */
#include "core/json.h"

#include <string.h>

#define REPLACEMENT "\xEF\xBF\xBD"

static void append_escaped(struct buf *buf, unsigned char c)
{
    static const char letters[] = "\"\"\\\\\bb\ff\nn\rr\tt";    /* pairs: the byte, its letter */

    for (size_t i = 0; i + 1 < sizeof(letters); i += 2) {
        if ((unsigned char)letters[i] == c) {
            char pair[2] = { '\\', letters[i + 1] };

            buf_append(buf, pair, sizeof(pair));
            return;
        }
    }
    buf_printf(buf, "\\u%04x", c);
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

void json_append_string(struct buf *buf, struct str_view text)
{
    size_t run = 0, at = 0;

    buf_append_char(buf, '"');
    while (at < text.len) {
        unsigned char c = (unsigned char)text.data[at];
        uint32_t code;
        size_t step = is_plain(c) ? 1 : utf8_step((struct str_view){ text.data + at, text.len - at }, &code);

        if (step > 0 && c >= 0x20 && c != '"' && c != '\\') {
            at += step;
            continue;
        }
        buf_append(buf, text.data + run, at - run);
        if (step == 0)
            buf_append_text(buf, REPLACEMENT);
        else
            append_escaped(buf, c);
        run = ++at;
    }
    buf_append(buf, text.data + run, at - run);
    buf_append_char(buf, '"');
}
