/* SPDX-License-Identifier: Apache-2.0 */
/* pbjson_scalar.c - one JSON value into one scalar of a message (proto3 JSON mapping).
 *
 * Integers come as numbers or, because JavaScript loses digits beyond 2^53, as strings. They are
 * read into sign and magnitude first, so that one range check serves all six widths. */
#include "core/pbjson_scalar.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/duration.h"
#include "core/pb_field.h"

#define EXACT_DOUBLE_MAX 9007199254740992.0    /* 2^53: up to here a double is one integer */
#define SHOWN_MAX 60

struct integer {
    bool is_negative;
    uint64_t magnitude;
};

static bool parse_integer(const char *text, struct integer *ret_value)
{
    struct integer value = { .is_negative = text[0] == '-' };
    const char *at = text + value.is_negative;

    if (*at == '\0')
        return false;
    for (; *at != '\0'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');

        if (*at < '0' || *at > '9' || value.magnitude > (UINT64_MAX - digit) / 10)
            return false;
        value.magnitude = value.magnitude * 10 + digit;
    }
    *ret_value = value;
    return true;
}

static bool take_integer(struct json_object *json, struct integer *ret_value)
{
    double number;
    int64_t whole;

    switch (json_object_get_type(json)) {
    case json_type_string:
        return parse_integer(json_object_get_string(json), ret_value);
    case json_type_int:
        whole = json_object_get_int64(json);
        *ret_value = (struct integer){ whole < 0,
            whole < 0 ? (uint64_t)-(whole + 1) + 1 : json_object_get_uint64(json) };
        return true;
    case json_type_double:
        number = json_object_get_double(json);
        if (!(fabs(number) <= EXACT_DOUBLE_MAX) || trunc(number) != number)
            return false;
        *ret_value = (struct integer){ number < 0, (uint64_t)fabs(number) };
        return true;
    default:
        return false;
    }
}

static bool read_signed(struct json_object *json, int64_t max, int64_t *ret_value, struct err *err)
{
    struct integer value;

    if (!take_integer(json, &value))
        return err_set(err, ERR_INVALID, "expected a whole number");
    if (value.magnitude > (uint64_t)max + value.is_negative)
        return err_set(err, ERR_INVALID, "the number is out of range");
    *ret_value = value.is_negative ? (int64_t)(0 - value.magnitude) : (int64_t)value.magnitude;
    return true;
}

static bool read_unsigned(struct json_object *json, uint64_t max, uint64_t *ret_value, struct err *err)
{
    struct integer value;

    if (!take_integer(json, &value))
        return err_set(err, ERR_INVALID, "expected a whole number");
    if ((value.is_negative && value.magnitude > 0) || value.magnitude > max)
        return err_set(err, ERR_INVALID, "the number is out of range");
    *ret_value = value.magnitude;
    return true;
}

static bool read_double(struct json_object *json, double max, double *ret_value, struct err *err)
{
    static const struct { const char *name; double value; } words[] = {
        { "NaN", NAN }, { "Infinity", INFINITY }, { "-Infinity", -INFINITY },
    };
    double value;

    if (json_object_is_type(json, json_type_string)) {
        for (size_t i = 0; i < COUNT_OF(words); i++) {
            if (strcmp(json_object_get_string(json), words[i].name) == 0) {
                *ret_value = words[i].value;
                return true;
            }
        }
    }
    if (!json_object_is_type(json, json_type_int) && !json_object_is_type(json, json_type_double))
        return err_set(err, ERR_INVALID, "expected a number");
    value = json_object_get_double(json);
    if (fabs(value) > max)
        return err_set(err, ERR_INVALID, "the number is out of range");
    *ret_value = value;
    return true;
}

/* "queued" against "QUEUED", the value's name without its type's prefix. */
static bool is_short_name(const char *short_name, const char *text)
{
    for (; *short_name != '\0'; short_name++, text++) {
        char lower = *short_name >= 'A' && *short_name <= 'Z' ? (char)(*short_name + 32) : *short_name;

        if (*text != lower)
            return false;
    }
    return *text == '\0';
}

static bool read_enum(struct json_object *json, const ProtobufCEnumDescriptor *descriptor, int *ret_value,
    struct err *err)
{
    const char *text;
    int64_t number;

    if (json_object_is_type(json, json_type_int)) {
        if (!read_signed(json, INT32_MAX, &number, err))
            return false;
        *ret_value = (int)number;
        return true;
    }
    if (!json_object_is_type(json, json_type_string))
        return err_set(err, ERR_INVALID, "expected a name in quotes");
    text = json_object_get_string(json);
    for (unsigned i = 0; i < descriptor->n_value_names; i++) {
        const char *name = descriptor->values_by_name[i].name;

        if (strcmp(name, text) == 0 || is_short_name(pb_enum_short(descriptor, name), text)) {
            *ret_value = descriptor->values[descriptor->values_by_name[i].index].value;
            return true;
        }
    }
    return err_set(err, ERR_INVALID, "'%.*s' is none of %s's values",
        (int)utf8_cut(str_view_of(text), SHOWN_MAX), text, descriptor->short_name);
}

static bool read_string(struct json_object *json, struct arena *arena, char **ret_text, struct err *err)
{
    struct str_view text;

    if (!json_object_is_type(json, json_type_string))
        return err_set(err, ERR_INVALID, "expected a text in quotes");
    text = (struct str_view){ json_object_get_string(json), (size_t)json_object_get_string_len(json) };
    if (!utf8_is_valid(text))
        return err_set(err, ERR_INVALID, "not UTF-8, or a NUL in it");
    *ret_text = arena_dup(arena, text);
    return *ret_text != NULL || err_set(err, ERR_EXHAUSTED, "the message is larger than its memory budget");
}

static bool read_bytes(struct json_object *json, struct arena *arena, ProtobufCBinaryData *ret_bytes,
    struct err *err)
{
    SCOPED_BUF bytes;
    struct str_view text;
    char *copy;

    buf_init(&bytes, JSON_MAX_BYTES);
    if (!json_object_is_type(json, json_type_string))
        return err_set(err, ERR_INVALID, "expected base64 in quotes");
    text = (struct str_view){ json_object_get_string(json), (size_t)json_object_get_string_len(json) };
    if (!base64_decode(text, &bytes))
        return err_set(err, ERR_INVALID, "not base64");
    copy = arena_dup(arena, buf_view(&bytes));
    if (copy == NULL)
        return err_set(err, ERR_EXHAUSTED, "the message is larger than its memory budget");
    *ret_bytes = (ProtobufCBinaryData){ bytes.len, (uint8_t *)copy };
    return true;
}

static bool read_bool(struct json_object *json, protobuf_c_boolean *ret_value, struct err *err)
{
    if (!json_object_is_type(json, json_type_boolean))
        return err_set(err, ERR_INVALID, "expected true or false");
    *ret_value = json_object_get_boolean(json);
    return true;
}

static bool read_number(struct json_object *json, ProtobufCType type, void *value, struct err *err)
{
    union { int64_t whole; uint64_t count; double real; } number;

    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return read_signed(json, INT64_MAX, value, err);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return read_unsigned(json, UINT64_MAX, value, err);
    case PROTOBUF_C_TYPE_DOUBLE:
        return read_double(json, DBL_MAX, value, err);
    case PROTOBUF_C_TYPE_FLOAT:
        if (!read_double(json, (double)FLT_MAX, &number.real, err))
            return false;
        *(float *)value = (float)number.real;
        return true;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        if (!read_unsigned(json, UINT32_MAX, &number.count, err))
            return false;
        *(uint32_t *)value = (uint32_t)number.count;
        return true;
    default:
        if (!read_signed(json, INT32_MAX, &number.whole, err))
            return false;
        *(int32_t *)value = (int32_t)number.whole;
        return true;
    }
}

bool pbjson_scalar_read(struct json_object *json, const ProtobufCFieldDescriptor *field, struct arena *arena,
    void *value, struct err *err)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        return read_string(json, arena, value, err);
    case PROTOBUF_C_TYPE_BYTES:
        return read_bytes(json, arena, value, err);
    case PROTOBUF_C_TYPE_BOOL:
        return read_bool(json, value, err);
    case PROTOBUF_C_TYPE_ENUM:
        return read_enum(json, field->descriptor, value, err);
    default:
        return read_number(json, field->type, value, err);
    }
}

/* time_parse() keeps six digits; the other three are taken from the text. */
static int32_t nanos_beyond_micros(const char *text)
{
    const char *at = strchr(text, '.');
    int32_t nanos = 0, unit = 100;

    if (at == NULL)
        return 0;
    at++;
    for (int digit = 0; *at >= '0' && *at <= '9' && digit < 9; at++, digit++) {
        if (digit >= 6) {
            nanos += (*at - '0') * unit;
            unit /= 10;
        }
    }
    return nanos;
}

bool pbjson_scalar_time(const char *text, int64_t *ret_seconds, int32_t *ret_nanos, struct err *err)
{
    int64_t us, seconds, micros;

    if (!time_parse(text, &us, err))
        return false;
    micros = us % 1000000;
    seconds = us / 1000000;
    if (micros < 0) {
        micros += 1000000;
        seconds--;
    }
    if (!pb_timestamp_is_valid(seconds, 0))
        return err_set(err, ERR_INVALID, "'%s' is not within the years 1 to 9999", text);
    *ret_seconds = seconds;
    *ret_nanos = (int32_t)micros * 1000 + nanos_beyond_micros(text);
    return true;
}
