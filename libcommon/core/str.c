/* SPDX-License-Identifier: Apache-2.0 */
/* str.c - borrowed views of bytes.
 *
 * Nothing here allocates but str_dup(): a view is two words, passed by value. */
#include "core/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>

struct str_view str_view_of(const char *text)
{
    if (text == NULL)
        return (struct str_view){ "", 0 };
    return (struct str_view){ text, strlen(text) };
}

bool str_equal(struct str_view a, struct str_view b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool str_equal_nocase(struct str_view a, struct str_view b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.data, b.data, a.len) == 0);
}

bool str_starts_with(struct str_view text, struct str_view prefix)
{
    return text.len >= prefix.len && (prefix.len == 0 || memcmp(text.data, prefix.data, prefix.len) == 0);
}

bool str_equal_secret(struct str_view a, struct str_view b)
{
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.data, b.data, a.len) == 0);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f' || c == '\v';
}

struct str_view str_trim(struct str_view text)
{
    while (text.len > 0 && is_blank(text.data[0])) {
        text.data++;
        text.len--;
    }
    while (text.len > 0 && is_blank(text.data[text.len - 1]))
        text.len--;
    return text;
}

bool str_next(struct str_view *rest, char separator, struct str_view *ret_piece)
{
    const char *end;
    size_t len;

    if (rest->len == 0)
        return false;
    end = memchr(rest->data, separator, rest->len);
    len = end == NULL ? rest->len : (size_t)(end - rest->data);
    *ret_piece = (struct str_view){ rest->data, len };
    if (end != NULL)
        len++;
    rest->data += len;
    rest->len -= len;
    return true;
}

char *str_dup(struct str_view text)
{
    char *copy = malloc(text.len + 1);

    if (copy == NULL) {
        fputs("out of memory\n", stderr);
        abort();
    }
    if (text.len > 0)
        memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    return copy;
}
