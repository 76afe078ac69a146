/* SPDX-License-Identifier: Apache-2.0 */
/* json_read.c - strict reading of JSON (RFC 8259) into json-c's objects.
 *
 * The reader is ours because json-c's own, even in its strict mode, takes NaN and Infinity,
 * replaces lone surrogates, keeps the last of two equal keys, clamps integers that are too
 * large, and differs between 0.16 and 0.18. What a signature covers must mean one thing. */
#include "core/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX_BYTES 64

struct reader {
    struct str_view text;
    size_t at;
    int depth;
    struct buf scratch;                /* the string being unescaped */
    struct err *err;
};

static bool read_value(struct reader *reader, struct json_object **ret_value);

static bool fail(struct reader *reader, size_t offset, const char *what)
{
    return err_set(reader->err, ERR_INVALID, "not JSON at byte %zu: %s", offset, what);
}

/* The next byte, or 0 at the end: a NUL is never right where this is asked. */
static char peek(const struct reader *reader)
{
    return reader->at < reader->text.len ? reader->text.data[reader->at] : '\0';
}

static void skip_blanks(struct reader *reader)
{
    char c;

    while ((c = peek(reader)) == ' ' || c == '\t' || c == '\n' || c == '\r')
        reader->at++;
}

static bool read_hex4(struct reader *reader, uint32_t *ret_code)
{
    uint32_t code = 0;

    for (int i = 0; i < 4; i++, reader->at++) {
        char c = peek(reader);

        if (c >= '0' && c <= '9')
            code = code << 4 | (uint32_t)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            code = code << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
        else
            return fail(reader, reader->at, "\\u needs four hexadecimal digits");
    }
    *ret_code = code;
    return true;
}

static void append_code(struct buf *buf, uint32_t code)
{
    char bytes[4];
    size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = { 0, 0x00, 0xC0, 0xE0, 0xF0 };

    for (size_t i = len - 1; i > 0; i--, code >>= 6)
        bytes[i] = (char)(0x80 | (code & 0x3F));
    bytes[0] = (char)(leads[len] | code);
    buf_append(buf, bytes, len);
}

/* After "\u": one code point, from one escape or from a surrogate pair. */
static bool read_unicode_escape(struct reader *reader)
{
    size_t start = reader->at - 2;
    uint32_t code, low;

    if (!read_hex4(reader, &code))
        return false;
    if (code == 0)
        return fail(reader, start, "a NUL in a string");
    if (code >= 0xDC00 && code <= 0xDFFF)
        return fail(reader, start, "half of a surrogate pair");
    if (code >= 0xD800 && code <= 0xDBFF) {
        if (peek(reader) != '\\' || reader->at + 1 >= reader->text.len
            || reader->text.data[reader->at + 1] != 'u')
            return fail(reader, start, "half of a surrogate pair");
        reader->at += 2;
        if (!read_hex4(reader, &low))
            return false;
        if (low < 0xDC00 || low > 0xDFFF)
            return fail(reader, start, "half of a surrogate pair");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    append_code(&reader->scratch, code);
    return true;
}

static bool read_escape(struct reader *reader)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c;
    const char *found;

    reader->at++;
    c = peek(reader);
    reader->at++;
    if (c == 'u')
        return read_unicode_escape(reader);
    found = c == '\0' ? NULL : strchr(from, c);
    if (found == NULL)
        return fail(reader, reader->at - 2, "no such escape");
    buf_append_char(&reader->scratch, to[found - from]);
    return true;
}

/* The string's text is in scratch afterwards. */
static bool read_string(struct reader *reader)
{
    size_t start = reader->at++;
    size_t run = reader->at;

    buf_clear(&reader->scratch);
    while (reader->at < reader->text.len) {
        unsigned char c = (unsigned char)reader->text.data[reader->at];

        if (c >= 0x20 && c != '"' && c != '\\') {
            reader->at++;
            continue;
        }
        buf_append(&reader->scratch, reader->text.data + run, reader->at - run);
        if (c == '"') {
            reader->at++;
            return true;
        }
        if (c < 0x20)
            return fail(reader, reader->at, "a control character in a string");
        if (!read_escape(reader))
            return false;
        run = reader->at;
    }
    return fail(reader, start, "a string that does not end");
}

static size_t skip_digits(struct reader *reader)
{
    size_t start = reader->at;

    while (peek(reader) >= '0' && peek(reader) <= '9')
        reader->at++;
    return reader->at - start;
}

/* Integers that fit stay integers; others become doubles, as RFC 8259 §6 expects. */
static struct json_object *make_number(const char *text, bool is_integer)
{
    errno = 0;
    if (is_integer && text[0] == '-') {
        int64_t value = strtoll(text, NULL, 10);

        if (errno == 0)
            return json_object_new_int64(value);
    } else if (is_integer) {
        uint64_t value = strtoull(text, NULL, 10);

        if (errno == 0)
            return value <= INT64_MAX ? json_object_new_int64((int64_t)value) : json_object_new_uint64(value);
    }
    return json_object_new_double(strtod(text, NULL));
}

static bool read_number(struct reader *reader, struct json_object **ret_value)
{
    char text[NUMBER_MAX_BYTES + 1];
    size_t start = reader->at, len;
    bool is_integer = true, has_leading_zero;

    if (peek(reader) == '-')
        reader->at++;
    has_leading_zero = peek(reader) == '0';
    len = skip_digits(reader);
    if (len == 0 || (has_leading_zero && len > 1))
        return fail(reader, start, "not a value");
    if (peek(reader) == '.') {
        is_integer = false;
        reader->at++;
        if (skip_digits(reader) == 0)
            return fail(reader, start, "a number that ends too early");
    }
    if ((peek(reader) | 0x20) == 'e') {
        is_integer = false;
        reader->at++;
        if (peek(reader) == '+' || peek(reader) == '-')
            reader->at++;
        if (skip_digits(reader) == 0)
            return fail(reader, start, "a number that ends too early");
    }
    len = reader->at - start;
    if (len > NUMBER_MAX_BYTES)
        return fail(reader, start, "a number of too many digits");
    memcpy(text, reader->text.data + start, len);
    text[len] = '\0';
    *ret_value = make_number(text, is_integer);
    return true;
}

static bool read_array(struct reader *reader, struct json_object **ret_value)
{
    SCOPED_JSON array = json_object_new_array();

    reader->at++;
    skip_blanks(reader);
    if (peek(reader) == ']') {
        reader->at++;
        *ret_value = json_object_get(array);
        return true;
    }
    for (;;) {
        struct json_object *item = NULL;

        if (!read_value(reader, &item))
            return false;
        json_object_array_add(array, item);
        skip_blanks(reader);
        if (peek(reader) == ']')
            break;
        if (peek(reader) != ',')
            return fail(reader, reader->at, "expected ',' or ']'");
        reader->at++;
    }
    reader->at++;
    *ret_value = json_object_get(array);
    return true;
}

static bool read_pair(struct reader *reader, struct json_object *object)
{
    size_t start;
    struct json_object *value = NULL;
    char *name;
    bool ok;

    skip_blanks(reader);
    start = reader->at;
    if (peek(reader) != '"')
        return fail(reader, start, "expected a name in quotes");
    if (!read_string(reader))
        return false;
    if (json_object_object_get_ex(object, buf_text(&reader->scratch), NULL))
        return fail(reader, start, "a name that stands twice");
    skip_blanks(reader);
    if (peek(reader) != ':')
        return fail(reader, reader->at, "expected ':'");
    reader->at++;
    name = str_dup(buf_view(&reader->scratch));
    ok = read_value(reader, &value);
    if (ok)
        json_object_object_add_ex(object, name, value, JSON_C_OBJECT_ADD_KEY_IS_NEW);
    free(name);
    return ok;
}

static bool read_object(struct reader *reader, struct json_object **ret_value)
{
    SCOPED_JSON object = json_object_new_object();

    reader->at++;
    skip_blanks(reader);
    if (peek(reader) == '}') {
        reader->at++;
        *ret_value = json_object_get(object);
        return true;
    }
    for (;;) {
        if (!read_pair(reader, object))
            return false;
        skip_blanks(reader);
        if (peek(reader) == '}')
            break;
        if (peek(reader) != ',')
            return fail(reader, reader->at, "expected ',' or '}'");
        reader->at++;
    }
    reader->at++;
    *ret_value = json_object_get(object);
    return true;
}

static bool read_word(struct reader *reader, struct json_object **ret_value)
{
    static const struct {
        struct str_view word;
        struct json_object *(*make)(json_bool);
        json_bool value;
    } words[] = {
        { { "null", 4 }, NULL, 0 },
        { { "true", 4 }, json_object_new_boolean, 1 },
        { { "false", 5 }, json_object_new_boolean, 0 },
    };
    struct str_view rest = { reader->text.data + reader->at, reader->text.len - reader->at };

    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (!str_starts_with(rest, words[i].word))
            continue;
        reader->at += words[i].word.len;
        *ret_value = words[i].make == NULL ? NULL : words[i].make(words[i].value);
        return true;
    }
    return fail(reader, reader->at, rest.len == 0 ? "it ends too early" : "not a value");
}

static bool read_nested(struct reader *reader, struct json_object **ret_value)
{
    bool ok;

    if (reader->depth == JSON_DEPTH_MAX)
        return fail(reader, reader->at, "nested too deeply");
    reader->depth++;
    ok = peek(reader) == '{' ? read_object(reader, ret_value) : read_array(reader, ret_value);
    reader->depth--;
    return ok;
}

static bool read_value(struct reader *reader, struct json_object **ret_value)
{
    char c;

    skip_blanks(reader);
    c = peek(reader);
    if (c == '{' || c == '[')
        return read_nested(reader, ret_value);
    if (c == '-' || (c >= '0' && c <= '9'))
        return read_number(reader, ret_value);
    if (c != '"')
        return read_word(reader, ret_value);
    if (!read_string(reader))
        return false;
    *ret_value = json_object_new_string_len(buf_text(&reader->scratch), (int)reader->scratch.len);
    return true;
}

/* Where the text stops being UTF-8. */
static size_t first_bad_byte(struct str_view text)
{
    size_t at = 0, step;
    uint32_t code;

    while ((step = utf8_step((struct str_view){ text.data + at, text.len - at }, &code)) > 0)
        at += step;
    return at;
}

bool json_read(struct str_view text, struct json_object **ret_value, struct err *err)
{
    struct reader reader = { .text = text, .err = err };
    struct json_object *value = NULL;
    bool ok;

    if (text.len > JSON_MAX_BYTES)
        return err_set(err, ERR_INVALID, "JSON of %zu bytes, over %d", text.len, JSON_MAX_BYTES);
    if (!utf8_is_valid(text))
        return fail(&reader, first_bad_byte(text), "not UTF-8");
    buf_init(&reader.scratch, text.len);
    ok = read_value(&reader, &value);
    buf_done(&reader.scratch);
    if (!ok)
        return false;
    skip_blanks(&reader);
    if (reader.at < text.len) {
        json_object_put(value);
        return fail(&reader, reader.at, "something after the end");
    }
    *ret_value = value;
    return true;
}

void json_put(struct json_object **value)
{
    json_object_put(*value);
    *value = NULL;
}

struct json_object *json_member(struct json_object *object, const char *name)
{
    struct json_object *value = NULL;

    if (!json_object_is_type(object, json_type_object))
        return NULL;
    json_object_object_get_ex(object, name, &value);
    return value;
}

const char *json_str(struct json_object *object, const char *name)
{
    struct json_object *value = json_member(object, name);

    return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

bool json_int(struct json_object *object, const char *name, int64_t *ret_value)
{
    struct json_object *value = json_member(object, name);

    if (!json_object_is_type(value, json_type_int))
        return false;
    if (json_object_get_int64(value) == INT64_MAX && json_object_get_uint64(value) > INT64_MAX)
        return false;
    *ret_value = json_object_get_int64(value);
    return true;
}
