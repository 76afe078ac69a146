/* SPDX-License-Identifier: Apache-2.0 */
/* str.h - borrowed views and growing buffers of bytes; UTF-8, hex, base64, form and URL coding.
 *
 * A view never owns. A buf owns its bytes, is always NUL-terminated, and has a cap:
 * past it the append does nothing and buf_is_full() turns true, so that one check at
 * the end of a rendering is enough. */
#ifndef GUICHET_CORE_STR_H
#define GUICHET_CORE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

struct str_view {
    const char *data;
    size_t len;
};

#define STR_LITERAL(text) ((struct str_view){ (text), sizeof(text) - 1 })

struct str_view str_view_of(const char *text);      /* NULL gives an empty view */
bool str_equal(struct str_view a, struct str_view b);
bool str_equal_nocase(struct str_view a, struct str_view b);
bool str_starts_with(struct str_view text, struct str_view prefix);
/* Equal-length compare whose time does not depend on where they differ. */
bool str_equal_secret(struct str_view a, struct str_view b);
struct str_view str_trim(struct str_view text);
/* Cuts *rest at the first `separator` and returns what was before it. false: nothing left. */
bool str_next(struct str_view *rest, char separator, struct str_view *ret_piece);
char *str_dup(struct str_view text);                /* owned; aborts without memory */

struct buf {
    char *data;                                     /* NUL-terminated; NULL while empty */
    size_t len;
    size_t size;
    size_t max_bytes;
    bool is_full;
};

#define SCOPED_BUF __attribute__((cleanup(buf_done))) struct buf

void buf_init(struct buf *buf, size_t max_bytes);
void buf_done(struct buf *buf);
void buf_clear(struct buf *buf);
void buf_append(struct buf *buf, const void *data, size_t len);
void buf_append_text(struct buf *buf, const char *text);
void buf_append_view(struct buf *buf, struct str_view text);
void buf_append_char(struct buf *buf, char c);
void buf_printf(struct buf *buf, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Adds `len` bytes for the caller to fill; NULL, and full, when they do not fit. */
char *buf_extend(struct buf *buf, size_t len);
const char *buf_text(const struct buf *buf);        /* never NULL */
struct str_view buf_view(const struct buf *buf);

/* UTF-8 (RFC 3629): no overlong forms, no surrogates. NUL counts as invalid. */
bool utf8_is_valid(struct str_view text);
size_t utf8_count(struct str_view text);            /* code points of valid text */
size_t utf8_cut(struct str_view text, size_t max_bytes); /* length of the longest whole prefix */
/* Length of the code point in front, and the code point; 0 when there is none that is valid. */
size_t utf8_step(struct str_view text, uint32_t *ret_code);
/* Next code point of valid text; advances *text. 0 at the end. */
uint32_t utf8_next(struct str_view *text);

void hex_append(struct buf *buf, const void *data, size_t len);
bool hex_decode(struct str_view text, struct buf *buf);
void base64_append(struct buf *buf, const void *data, size_t len);
void base64url_append(struct buf *buf, const void *data, size_t len); /* no padding */
/* Accepts both alphabets; padding optional. false: not base64. */
bool base64_decode(struct str_view text, struct buf *buf);

/* application/x-www-form-urlencoded (WHATWG URL §5): '+' is a space. */
void form_append(struct buf *buf, const char *name, struct str_view value); /* puts '&' between */
bool form_decode(struct str_view text, struct buf *buf);
void url_append(struct buf *buf, struct str_view text);   /* percent-encodes all but unreserved */

#endif
