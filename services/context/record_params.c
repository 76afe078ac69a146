/* SPDX-License-Identifier: Apache-2.0 */
/* record_params.c - rows become columns: one array per parameter of context.record().
 *
 * The table's order is the statement's (statements.c). */
#include "record_row.h"

#include <stddef.h>

#define TEXT(field)                                                                                          \
    {                                                                                                        \
        DB_TEXT_ARRAY, offsetof(struct record_row, field)                                                    \
    }
#define BYTES(field)                                                                                         \
    {                                                                                                        \
        DB_BYTES_ARRAY, offsetof(struct record_row, field)                                                   \
    }
#define NUMBER(kind, field)                                                                                  \
    {                                                                                                        \
        kind, offsetof(struct record_row, field)                                                             \
    }

static const struct record_column {
    enum db_type type;
    size_t offset;
} columns[] = {
    { DB_UUID_ARRAY, offsetof(struct record_row, id) },
    NUMBER(DB_I32_ARRAY, what),
    TEXT(account),
    TEXT(channel),
    TEXT(event_key),
    BYTES(hash),
    NUMBER(DB_TIME_US_ARRAY, occurred_us),
    NUMBER(DB_TIME_US_ARRAY, received_us),
    NUMBER(DB_I32_ARRAY, sender_kind),
    TEXT(sender_scope),
    TEXT(sender_value),
    TEXT(sender_name),
    TEXT(thread_key),
    NUMBER(DB_BOOL_ARRAY, is_public),
    TEXT(thread_title),
    TEXT(thread_url),
    TEXT(origin_key),
    TEXT(provider_id),
    BYTES(content),
    TEXT(preview),
    TEXT(subject),
    NUMBER(DB_BOOL_ARRAY, is_echo),
    BYTES(raw),
    TEXT(raw_type),
    TEXT(boot_id),
    NUMBER(DB_I32_ARRAY, boot_lane),
    NUMBER(DB_I64_ARRAY, boot_n),
    TEXT(word),
    NUMBER(DB_BOOL_ARRAY, flag),
    NUMBER(DB_I32_ARRAY, state),
    NUMBER(DB_I32_ARRAY, claim_kind),
    TEXT(claim_scope),
    TEXT(claim_value),
    TEXT(claim_name),
    TEXT(delivery_id),
    NUMBER(DB_TIME_US_ARRAY, watermark_us),
    NUMBER(DB_I32_ARRAY, reason),
    TEXT(provider_code),
    TEXT(provider_text),
    NUMBER(DB_I32_ARRAY, media_count),
};

_Static_assert(COUNT_OF(columns) == RECORD_COLUMN_COUNT, "a column without a parameter, or the reverse");

static bool is_text(enum db_type type)
{
    return type == DB_TEXT_ARRAY || type == DB_BYTES_ARRAY || type == DB_UUID_ARRAY;
}

static const void *column_items(const struct record_column *column, const struct record_row *rows,
                                const size_t *indexes, size_t count, struct arena *arena)
{
    struct str_view *views;
    int64_t *numbers;

    if (is_text(column->type)) {
        views = context_alloc(arena, count * sizeof(*views));
        for (size_t i = 0; i < count; i++)
            views[i] = *(const struct str_view *)((const char *)&rows[indexes[i]] + column->offset);
        return views;
    }
    numbers = context_alloc(arena, count * sizeof(*numbers));
    for (size_t i = 0; i < count; i++)
        numbers[i] = *(const int64_t *)((const char *)&rows[indexes[i]] + column->offset);
    return numbers;
}

/* Places count from 1, as arrays do in the database. */
static void media_params(const struct record_row *rows, const size_t *indexes, size_t count,
                         struct arena *arena, struct db_param ret_params[RECORD_MEDIA_COLUMN_COUNT])
{
    int64_t *places, *parts;
    struct str_view *packed, *hashes, *gone;
    size_t total = 0, at = 0;

    for (size_t i = 0; i < count; i++)
        total += (size_t)rows[indexes[i]].media_count;
    places = context_alloc(arena, (total + 1) * sizeof(*places));
    parts = context_alloc(arena, (total + 1) * sizeof(*parts));
    packed = context_alloc(arena, (total + 1) * sizeof(*packed));
    hashes = context_alloc(arena, (total + 1) * sizeof(*hashes));
    gone = context_alloc(arena, (total + 1) * sizeof(*gone));
    for (size_t i = 0; i < count; i++)
        for (int64_t m = 0; m < rows[indexes[i]].media_count; m++, at++) {
            places[at] = (int64_t)i + 1;
            parts[at] = (int64_t)rows[indexes[i]].media[m].part;
            packed[at] = rows[indexes[i]].media[m].packed;
            hashes[at] = rows[indexes[i]].media[m].sha256;
            gone[at] = rows[indexes[i]].media[m].gone;
        }
    ret_params[0] = (struct db_param){ .type = DB_I32_ARRAY, .items = places, .count = total };
    ret_params[1] = (struct db_param){ .type = DB_I32_ARRAY, .items = parts, .count = total };
    ret_params[2] = (struct db_param){ .type = DB_BYTES_ARRAY, .items = packed, .count = total };
    ret_params[3] = (struct db_param){ .type = DB_BYTES_ARRAY, .items = hashes, .count = total };
    ret_params[4] = (struct db_param){ .type = DB_BYTES_ARRAY, .items = gone, .count = total };
}

void record_row_params(const struct record_row *rows, const size_t *indexes, size_t count,
                       struct arena *arena, struct db_param ret_params[RECORD_PARAM_COUNT])
{
    for (size_t i = 0; i < RECORD_COLUMN_COUNT; i++)
        ret_params[i] = (struct db_param){
            .type = columns[i].type,
            .items = column_items(&columns[i], rows, indexes, count, arena),
            .count = count,
        };
    media_params(rows, indexes, count, arena, ret_params + RECORD_COLUMN_COUNT);
}
