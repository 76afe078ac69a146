/* SPDX-License-Identifier: Apache-2.0 */
/* connector_media.c - what a provider says of a file: its type and its name, as far as they can be believed. */
#include "service/connector_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TYPE_UNKNOWN "application/octet-stream"

enum { TYPE_MAX_BYTES = 100, FILE_NAME_MAX_BYTES = 200, HEADER_MAX_BYTES = 2048 };

/* ---- type ---- */

static bool is_type_word(struct str_view word)
{
    for (size_t i = 0; i < word.len; i++)
        if (!isalnum((unsigned char)word.data[i]) && strchr("!#$&^_.+-", word.data[i]) == NULL)
            return false;
    return word.len > 0;
}

/* type "/" subtype, RFC 6838; NULL when it is none. */
static char *read_type(const char *header, struct arena *arena)
{
    struct str_view rest = str_view_of(header), type = { 0 }, word;
    char *text;

    (void)str_next(&rest, ';', &type);
    type = str_trim(type);
    rest = type;
    if (type.len > TYPE_MAX_BYTES || !str_next(&rest, '/', &word) || !is_type_word(word) ||
        !is_type_word(rest))
        return NULL;
    text = arena_dup(arena, type);
    for (char *c = text; *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
    return text;
}

char *connector_media_type(const char *header, const char *announced, struct arena *arena)
{
    char *type = read_type(header, arena);

    if (type == NULL || strcmp(type, TYPE_UNKNOWN) == 0 || strcmp(type, "binary/octet-stream") == 0)
        type = read_type(announced, arena);
    return type != NULL ? type : arena_strdup(arena, TYPE_UNKNOWN);
}

bool connector_media_type_matches(const struct config_strings *patterns, const char *type)
{
    for (size_t i = 0; i < patterns->count; i++) {
        const char *pattern = patterns->items[i];
        size_t len = strlen(pattern);

        if (strcmp(pattern, "*/*") == 0 || strcasecmp(pattern, type) == 0)
            return true;
        if (len > 2 && strcmp(pattern + len - 2, "/*") == 0 && strncasecmp(pattern, type, len - 1) == 0)
            return true;
    }
    return false;
}

/* ---- file name ---- */

/* Without folders, without what could not be shown; "" when nothing is left. */
static char *clean_name(struct str_view name, struct arena *arena)
{
    SCOPED_BUF clean = { 0 };
    struct str_view rest;

    if (!utf8_is_valid(name))
        return arena_strdup(arena, "");
    for (size_t i = name.len; i > 0; i--) {
        if (name.data[i - 1] != '/' && name.data[i - 1] != '\\')
            continue;
        name = (struct str_view){ name.data + i, name.len - i };
        break;
    }
    buf_init(&clean, HEADER_MAX_BYTES);
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.data[i] >= ' ' && name.data[i] != 0x7f)
            buf_append_char(&clean, name.data[i]);
    rest = str_trim(buf_view(&clean));
    if (str_equal(rest, STR_LITERAL(".")) || str_equal(rest, STR_LITERAL("..")))
        rest.len = 0;
    rest.len = utf8_cut(rest, FILE_NAME_MAX_BYTES);
    return arena_dup(arena, rest);
}

/* The value of a parameter, quotes and backslashes taken off (RFC 9110 §5.6.4). Advances *rest past it. */
static void read_value(struct str_view *rest, struct buf *value)
{
    size_t i = 0;
    bool is_quoted = rest->len > 0 && rest->data[0] == '"';

    for (i = is_quoted; i < rest->len; i++) {
        if (is_quoted ? rest->data[i] == '"' : rest->data[i] == ';')
            break;
        if (is_quoted && rest->data[i] == '\\' && i + 1 < rest->len)
            i++;
        buf_append_char(value, rest->data[i]);
    }
    while (i < rest->len && rest->data[i] != ';')
        i++;
    i += i < rest->len;
    *rest = (struct str_view){ rest->data + i, rest->len - i };
}

/* filename*=UTF-8''a%20b (RFC 8187) */
static char *read_extended(const struct buf *value, struct arena *arena)
{
    struct str_view rest = buf_view(value), charset, language;
    SCOPED_BUF name = { 0 }, coded = { 0 };

    buf_init(&name, HEADER_MAX_BYTES);
    buf_init(&coded, 2 * HEADER_MAX_BYTES);
    if (!str_next(&rest, '\'', &charset) || !str_next(&rest, '\'', &language) ||
        !str_equal_nocase(charset, STR_LITERAL("UTF-8")))
        return arena_strdup(arena, "");
    for (size_t i = 0; i < rest.len; i++) /* '+' stands for itself here */
        buf_append_text(&coded, rest.data[i] == '+' ? "%2B" : (char[]){ rest.data[i], '\0' });
    if (!form_decode(buf_view(&coded), &name))
        return arena_strdup(arena, "");
    return clean_name(buf_view(&name), arena);
}

char *connector_media_file_name(const char *header, struct arena *arena)
{
    struct str_view rest = str_view_of(header), word;
    char *plain = arena_strdup(arena, ""), *extended = plain;

    if (rest.len > HEADER_MAX_BYTES || !str_next(&rest, ';', &word))
        return plain;
    while (str_next(&rest, '=', &word)) {
        SCOPED_BUF value = { 0 };

        buf_init(&value, HEADER_MAX_BYTES);
        word = str_trim(word);
        rest = str_trim(rest);
        read_value(&rest, &value);
        if (str_equal_nocase(word, STR_LITERAL("filename")))
            plain = clean_name(buf_view(&value), arena);
        else if (str_equal_nocase(word, STR_LITERAL("filename*")))
            extended = read_extended(&value, arena);
    }
    return extended[0] != '\0' ? extended : plain;
}
