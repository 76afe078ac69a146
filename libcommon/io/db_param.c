/* SPDX-License-Identifier: Apache-2.0 */
/* db_param.c - parameters as PostgreSQL reads them.
 *
 * Scalars go as text where the text can be cast to what the statement says (an integer
 * to any width, a text to jsonb), bytea and timestamptz in binary. Arrays go in the
 * binary array format (array_recv: dimensions, flags, element type, then per dimension
 * its length and lower bound, then each element with its length, -1 for NULL): no
 * quoting, and the server does not parse. */
#include "io/db_internal.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define POSTGRES_EPOCH_US INT64_C(946684800000000) /* 2000-01-01 */
#define ARRAY_HEAD_BYTES 20

/* Element types, from PostgreSQL's pg_type.dat: they are fixed for good. */
enum {
    OID_BOOL = 16,
    OID_BYTEA = 17,
    OID_INT8 = 20,
    OID_INT4 = 23,
    OID_TEXT = 25,
    OID_TIMESTAMPTZ = 1184,
    OID_UUID = 2950
};

static const struct {
    bool is_array;
    uint32_t oid;
    size_t item_bytes;
} types[] = {
    [DB_TEXT_ARRAY] = { true, OID_TEXT, 0 },
    [DB_BYTES_ARRAY] = { true, OID_BYTEA, 0 },
    [DB_I64_ARRAY] = { true, OID_INT8, 8 },
    [DB_I32_ARRAY] = { true, OID_INT4, 4 },
    [DB_BOOL_ARRAY] = { true, OID_BOOL, 1 },
    [DB_UUID_ARRAY] = { true, OID_UUID, 16 },
    [DB_TIME_US_ARRAY] = { true, OID_TIMESTAMPTZ, 8 },
};

static char *put_u32(char *at, uint32_t value)
{
    uint32_t wire = htobe32(value);

    memcpy(at, &wire, sizeof(wire));
    return at + sizeof(wire);
}

static char *put_i64(char *at, int64_t value)
{
    uint64_t wire = htobe64((uint64_t)value);

    memcpy(at, &wire, sizeof(wire));
    return at + sizeof(wire);
}

static char *put_time(char *at, int64_t us)
{
    return put_i64(at, us < INT64_MIN + POSTGRES_EPOCH_US ? INT64_MIN : us - POSTGRES_EPOCH_US);
}

static char *put_view(char *at, struct str_view text)
{
    at = put_u32(at, (uint32_t)text.len);
    if (text.len > 0)
        memcpy(at, text.data, text.len);
    return at + text.len;
}

static bool too_large(struct err *err)
{
    return err_set(err, ERR_INVALID, "the parameters of one database work are too large");
}

static bool check_text(struct str_view text, struct err *err)
{
    if (text.len > 0 && memchr(text.data, '\0', text.len) != NULL)
        return err_set(err, ERR_INVALID, "a text for the database contains a NUL byte");
    return true;
}

static bool item_is_null(const struct db_param *param, size_t i)
{
    const struct str_view *views = param->items;
    const int64_t *numbers = param->items;

    switch (param->type) {
    case DB_TEXT_ARRAY:
    case DB_BYTES_ARRAY:
        return views[i].data == NULL;
    case DB_UUID_ARRAY:
        return views[i].len == 0;
    case DB_TIME_US_ARRAY:
        return numbers[i] == 0;
    default:
        return false;
    }
}

static bool put_uuid(char **at, struct str_view text, struct err *err)
{
    char copy[ID_TEXT_BYTES] = "";
    struct id id;

    if (text.len == ID_TEXT_BYTES - 1)
        memcpy(copy, text.data, text.len);
    if (!id_parse(copy, &id))
        return err_set(err, ERR_INVALID, "'%.*s' is not a UUID", text.len > 40 ? 40 : (int)text.len,
                       text.data);
    *at = put_u32(*at, sizeof(id.bytes));
    memcpy(*at, id.bytes, sizeof(id.bytes));
    *at += sizeof(id.bytes);
    return true;
}

static bool put_i32(char **at, int64_t number, struct err *err)
{
    if (number < INT32_MIN || number > INT32_MAX)
        return err_set(err, ERR_INVALID, "%" PRId64 " does not fit a 32-bit column", number);
    *at = put_u32(put_u32(*at, 4), (uint32_t)(int32_t)number);
    return true;
}

static bool put_item(char **at, const struct db_param *param, size_t i, struct err *err)
{
    const struct str_view *views = param->items;
    const int64_t *numbers = param->items;

    if (item_is_null(param, i)) {
        *at = put_u32(*at, UINT32_MAX);
        return true;
    }
    switch (param->type) {
    case DB_UUID_ARRAY:
        return put_uuid(at, views[i], err);
    case DB_I32_ARRAY:
        return put_i32(at, numbers[i], err);
    case DB_I64_ARRAY:
        *at = put_i64(put_u32(*at, 8), numbers[i]);
        return true;
    case DB_TIME_US_ARRAY:
        *at = put_time(put_u32(*at, 8), numbers[i]);
        return true;
    case DB_BOOL_ARRAY:
        *at = put_u32(*at, 1);
        *(*at)++ = numbers[i] != 0;
        return true;
    case DB_TEXT_ARRAY:
        if (!check_text(views[i], err))
            return false;
        *at = put_view(*at, views[i]);
        return true;
    default:
        *at = put_view(*at, views[i]);
        return true;
    }
}

static size_t array_bytes(const struct db_param *param)
{
    const struct str_view *views = param->items;
    size_t size = ARRAY_HEAD_BYTES + param->count * (4 + types[param->type].item_bytes);

    if (types[param->type].item_bytes == 0)
        for (size_t i = 0; i < param->count; i++)
            size += views[i].len;
    return size;
}

static bool encode_array(struct arena *arena, const struct db_param *param, const char **ret_value,
                         int *ret_length, struct err *err)
{
    size_t size = array_bytes(param);
    char *data = size < INT32_MAX ? arena_alloc(arena, size) : NULL;
    char *at = data;
    bool has_null = false;

    if (data == NULL)
        return too_large(err);
    for (size_t i = 0; i < param->count && !has_null; i++)
        has_null = item_is_null(param, i);
    at = put_u32(at, param->count > 0 ? 1 : 0); /* dimensions: an empty array has none */
    at = put_u32(at, has_null);
    at = put_u32(at, types[param->type].oid);
    if (param->count > 0)
        at = put_u32(put_u32(at, (uint32_t)param->count), 1);
    for (size_t i = 0; i < param->count; i++)
        if (!put_item(&at, param, i, err))
            return err_at(err, "item %zu", i);
    *ret_value = data;
    *ret_length = (int)(at - data);
    return true;
}

static bool encode_bytes(struct arena *arena, struct str_view text, const char **ret_value, int *ret_length,
                         struct err *err)
{
    char *copy = text.len < INT32_MAX ? arena_dup(arena, text) : NULL;

    if (copy == NULL)
        return too_large(err);
    *ret_value = copy;
    *ret_length = (int)text.len;
    return true;
}

static bool encode_number(struct arena *arena, const struct db_param *param, const char **ret_value,
                          int *ret_length, struct err *err)
{
    char text[24];

    if (param->type == DB_TIME_US) {
        char *data = arena_alloc(arena, 8);

        if (data == NULL)
            return too_large(err);
        put_time(data, param->number);
        *ret_value = data;
        *ret_length = 8;
        return true;
    }
    if (param->type == DB_BOOL)
        return encode_bytes(arena, str_view_of(param->number != 0 ? "t" : "f"), ret_value, ret_length, err);
    snprintf(text, sizeof(text), "%" PRId64, param->number);
    return encode_bytes(arena, str_view_of(text), ret_value, ret_length, err);
}

bool db_param_encode(struct arena *arena, const struct db_param *param, const char **ret_value,
                     int *ret_length, int *ret_format, struct err *err)
{
    bool is_array = types[param->type].is_array;

    *ret_value = NULL;
    *ret_length = 0;
    *ret_format = is_array || param->type == DB_BYTES || param->type == DB_TIME_US;
    if (param->is_null || (param->type == DB_UUID && param->text.len == 0) ||
        (param->type == DB_TIME_US && param->number == 0))
        return true;
    if (is_array)
        return encode_array(arena, param, ret_value, ret_length, err);
    switch (param->type) {
    case DB_TEXT:
    case DB_UUID:
        return check_text(param->text, err) && encode_bytes(arena, param->text, ret_value, ret_length, err);
    case DB_BYTES:
        return encode_bytes(arena, param->text, ret_value, ret_length, err);
    default:
        return encode_number(arena, param, ret_value, ret_length, err);
    }
}
