/* SPDX-License-Identifier: Apache-2.0 */
/* db_result.c - values of a result in PostgreSQL's binary format.
 *
 * Reading a column as what it is not is our own mistake, and would read as a plausible
 * zero; it aborts with the column's name instead. */
#include "io/db_internal.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POSTGRES_EPOCH_US INT64_C(946684800000000) /* 2000-01-01 */
enum {
    OID_BOOL = 16,
    OID_INT8 = 20,
    OID_INT2 = 21,
    OID_INT4 = 23,
    OID_OID = 26,
    OID_FLOAT4 = 700,
    OID_FLOAT8 = 701,
    OID_TIMESTAMPTZ = 1184,
    OID_NUMERIC = 1700,
    OID_UUID = 2950,
    OID_JSONB = 3802
};

/* db_result is libpq's PGresult under our name, so that no one else needs libpq's header. */
static const PGresult *pg(const struct db_result *result)
{
    return (const PGresult *)result;
}

static void __attribute__((noreturn))
misread(const struct db_result *result, size_t row, size_t column, const char *as)
{
    const char *name = PQfname(pg(result), (int)column);

    fprintf(stderr, "database result: row %zu of %d, column %zu of %d ('%s', type %u) read as %s\n", row,
            PQntuples(pg(result)), column, PQnfields(pg(result)), name != NULL ? name : "",
            PQftype(pg(result), (int)column), as);
    abort();
}

static const void *cell(const struct db_result *result, size_t row, size_t column, Oid *ret_type)
{
    if (result == NULL || row >= (size_t)PQntuples(pg(result)) || column >= (size_t)PQnfields(pg(result)))
        misread(result, row, column, "anything");
    *ret_type = PQftype(pg(result), (int)column);
    if (PQgetisnull(pg(result), (int)row, (int)column))
        return NULL;
    return PQgetvalue(pg(result), (int)row, (int)column);
}

static int64_t read_i64(const void *data)
{
    uint64_t wire;

    memcpy(&wire, data, sizeof(wire));
    return (int64_t)be64toh(wire);
}

static int32_t read_i32(const void *data)
{
    uint32_t wire;

    memcpy(&wire, data, sizeof(wire));
    return (int32_t)be32toh(wire);
}

static int16_t read_i16(const void *data)
{
    uint16_t wire;

    memcpy(&wire, data, sizeof(wire));
    return (int16_t)be16toh(wire);
}

size_t db_rows(const struct db_result *result)
{
    return (size_t)PQntuples(pg(result));
}

bool db_is_null(const struct db_result *result, size_t row, size_t column)
{
    Oid type;

    return cell(result, row, column, &type) == NULL;
}

int64_t db_i64(const struct db_result *result, size_t row, size_t column)
{
    Oid type;
    const void *data = cell(result, row, column, &type);

    if (data == NULL)
        return 0;
    switch (type) {
    case OID_BOOL:
        return *(const char *)data != 0;
    case OID_INT2:
        return read_i16(data);
    case OID_INT4:
        return read_i32(data);
    case OID_OID:
        return (uint32_t)read_i32(data);
    case OID_INT8:
        return read_i64(data);
    default:
        misread(result, row, column, "an integer");
    }
}

int64_t db_time_us(const struct db_result *result, size_t row, size_t column)
{
    Oid type;
    const void *data = cell(result, row, column, &type);
    int64_t us;

    if (type != OID_TIMESTAMPTZ)
        misread(result, row, column, "a time");
    if (data == NULL)
        return 0;
    us = read_i64(data);
    return us > INT64_MAX - POSTGRES_EPOCH_US ? INT64_MAX : us + POSTGRES_EPOCH_US; /* 'infinity' stays it */
}

double db_f64(const struct db_result *result, size_t row, size_t column)
{
    Oid type;
    const void *data = cell(result, row, column, &type);
    int64_t bits;
    int32_t short_bits;
    double value;
    float short_value;

    if (data == NULL)
        return 0;
    if (type == OID_FLOAT8) {
        bits = read_i64(data);
        memcpy(&value, &bits, sizeof(value));
        return value;
    }
    if (type == OID_FLOAT4) {
        short_bits = read_i32(data);
        memcpy(&short_value, &short_bits, sizeof(short_value));
        return short_value;
    }
    return (double)db_i64(result, row, column);
}

struct str_view db_bytes(const struct db_result *result, size_t row, size_t column)
{
    Oid type;
    const char *data = cell(result, row, column, &type);
    size_t len;

    if (data == NULL)
        return (struct str_view){ NULL, 0 };
    len = (size_t)PQgetlength(pg(result), (int)row, (int)column);
    if (type == OID_JSONB && len > 0) { /* a version byte stands before the text */
        data++;
        len--;
    }
    return (struct str_view){ data, len };
}

static char *uuid_text(struct arena *arena, const char *data)
{
    char text[ID_TEXT_BYTES];
    struct id id;

    memcpy(id.bytes, data, sizeof(id.bytes));
    id_format(id, text);
    return arena_strdup(arena, text);
}

char *db_text(const struct db_work *work, const struct db_result *result, size_t row, size_t column)
{
    Oid type;
    const char *data = cell(result, row, column, &type);
    char *text;

    if (data == NULL)
        return arena_strdup(work->arena, "");
    switch (type) {
    case OID_UUID:
        text = uuid_text(work->arena, data);
        break;
    case OID_BOOL:
    case OID_INT2:
    case OID_INT4:
    case OID_INT8:
    case OID_FLOAT4:
    case OID_FLOAT8:
    case OID_TIMESTAMPTZ:
    case OID_NUMERIC:
        misread(result, row, column, "a text");
    default:
        text = arena_dup(work->arena, db_bytes(result, row, column));
    }
    if (text == NULL) {
        fprintf(stderr, "database result: the work's memory is used up\n");
        abort();
    }
    return text;
}
