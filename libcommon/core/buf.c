/* SPDX-License-Identifier: Apache-2.0 */
/* buf.c - growing buffers with a cap.
 *
 * An append goes in whole or not at all, and once one did not fit, none after it does:
 * what a full buffer holds is a clean beginning of the text, never one with a hole. */
#include "core/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_FIRST 128

void buf_init(struct buf *buf, size_t max_bytes)
{
    *buf = (struct buf){ .max_bytes = max_bytes };
}

void buf_done(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){ .max_bytes = buf->max_bytes };
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->is_full = false;
    if (buf->data != NULL)
        buf->data[0] = '\0';
}

static void grow(struct buf *buf, size_t need)
{
    size_t size = buf->size == 0 ? SIZE_FIRST : buf->size;

    while (size < need)
        size *= 2;
    if (size - 1 > buf->max_bytes)
        size = buf->max_bytes + 1;
    buf->data = realloc(buf->data, size);
    if (buf->data == NULL) {
        fputs("out of memory\n", stderr);
        abort();
    }
    buf->size = size;
}

char *buf_extend(struct buf *buf, size_t len)
{
    char *start;

    if (buf->is_full || len > buf->max_bytes - buf->len) {
        buf->is_full = true;
        return NULL;
    }
    if (buf->len + len + 1 > buf->size)
        grow(buf, buf->len + len + 1);
    start = buf->data + buf->len;
    buf->len += len;
    buf->data[buf->len] = '\0';
    return start;
}

void buf_append(struct buf *buf, const void *data, size_t len)
{
    char *start = buf_extend(buf, len);

    if (start != NULL && len > 0)
        memcpy(start, data, len);
}

void buf_append_text(struct buf *buf, const char *text)
{
    buf_append(buf, text, strlen(text));
}

void buf_append_view(struct buf *buf, struct str_view text)
{
    buf_append(buf, text.data, text.len);
}

void buf_append_char(struct buf *buf, char c)
{
    buf_append(buf, &c, 1);
}

void buf_printf(struct buf *buf, const char *fmt, ...)
{
    char small[256];
    va_list args;
    int len;
    char *start;

    va_start(args, fmt);
    len = vsnprintf(small, sizeof(small), fmt, args);
    va_end(args);
    if (len < 0)
        return;
    if ((size_t)len < sizeof(small)) {
        buf_append(buf, small, (size_t)len);
        return;
    }
    start = buf_extend(buf, (size_t)len);
    if (start == NULL)
        return;
    va_start(args, fmt);
    vsnprintf(start, (size_t)len + 1, fmt, args);
    va_end(args);
}

const char *buf_text(const struct buf *buf)
{
    return buf->data == NULL ? "" : buf->data;
}

struct str_view buf_view(const struct buf *buf)
{
    return (struct str_view){ buf_text(buf), buf->len };
}
