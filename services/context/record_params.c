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

void record_row_params(const struct record_row *rows, const size_t *indexes, size_t count,
                       struct arena *arena, struct db_param ret_params[RECORD_COLUMN_COUNT])
{
    for (size_t i = 0; i < RECORD_COLUMN_COUNT; i++)
        ret_params[i] = (struct db_param){
            .type = columns[i].type,
            .items = column_items(&columns[i], rows, indexes, count, arena),
            .count = count,
        };
}
