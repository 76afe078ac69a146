/* SPDX-License-Identifier: Apache-2.0 */
/* apply.c - changes of context as the columns of routing.apply(). No loop, no decision: those are SQL's. */
#include <stdlib.h>
#include <string.h>

#include "core/id.h"
#include "core/pbtime.h"
#include "routing.h"
#include "statements.h"

/* In the order of the function's parameters, from the seventh on. */
enum column {
    SEQUENCE,
    KIND,
    AT,
    CONVERSATION,
    NUMBER,
    THREAD,
    CUSTOMER,
    ACCOUNT,
    CHANNEL,
    MESSAGE,
    MESSAGE_SEQUENCE,
    DIRECTION,
    MESSAGE_KIND,
    TEXT,
    OCCURRED,
    IS_NEW,
    IS_REOPENED,
    STATE,
    ACTOR,
    WHY,
    PROVIDER_ID,
    RECEIPT_STATE,
    RECEIPT_DELIVERY,
    WATERMARK,
    RECEIPT_REASON,
    PROVIDER_CODE,
    PROVIDER_TEXT,
    PAYLOAD,
    COLUMN_COUNT
};

static const enum db_type column_types[COLUMN_COUNT] = {
    [SEQUENCE] = DB_I64_ARRAY,
    [KIND] = DB_I32_ARRAY,
    [AT] = DB_TIME_US_ARRAY,
    [CONVERSATION] = DB_UUID_ARRAY,
    [NUMBER] = DB_I32_ARRAY,
    [THREAD] = DB_UUID_ARRAY,
    [CUSTOMER] = DB_UUID_ARRAY,
    [ACCOUNT] = DB_TEXT_ARRAY,
    [CHANNEL] = DB_TEXT_ARRAY,
    [MESSAGE] = DB_UUID_ARRAY,
    [MESSAGE_SEQUENCE] = DB_I32_ARRAY,
    [DIRECTION] = DB_I32_ARRAY,
    [MESSAGE_KIND] = DB_I32_ARRAY,
    [TEXT] = DB_TEXT_ARRAY,
    [OCCURRED] = DB_TIME_US_ARRAY,
    [IS_NEW] = DB_BOOL_ARRAY,
    [IS_REOPENED] = DB_BOOL_ARRAY,
    [STATE] = DB_I32_ARRAY,
    [ACTOR] = DB_UUID_ARRAY,
    [WHY] = DB_TEXT_ARRAY,
    [PROVIDER_ID] = DB_TEXT_ARRAY,
    [RECEIPT_STATE] = DB_I32_ARRAY,
    [RECEIPT_DELIVERY] = DB_UUID_ARRAY,
    [WATERMARK] = DB_TIME_US_ARRAY,
    [RECEIPT_REASON] = DB_I32_ARRAY,
    [PROVIDER_CODE] = DB_TEXT_ARRAY,
    [PROVIDER_TEXT] = DB_TEXT_ARRAY,
    [PAYLOAD] = DB_BYTES_ARRAY,
};

union cell_column {
    int64_t *numbers;
    struct str_view *texts;
};

static bool is_text(enum db_type type)
{
    return type == DB_TEXT_ARRAY || type == DB_UUID_ARRAY || type == DB_BYTES_ARRAY;
}

/* What is no id becomes NULL: some of these come from providers. */
static struct str_view id_view(const char *text)
{
    struct id id;

    return id_parse(text, &id) ? str_view_of(text) : (struct str_view){ 0 };
}

static struct str_view pack_outbound(struct arena *arena, const Guichet__V1__Outbound *outbound)
{
    size_t len;
    uint8_t *packed;

    if (outbound == NULL)
        return (struct str_view){ 0 };
    len = protobuf_c_message_get_packed_size(&outbound->base);
    packed = arena_alloc(arena, len + 1);
    if (packed == NULL)
        abort();
    protobuf_c_message_pack(&outbound->base, packed);
    return (struct str_view){ (const char *)packed, len };
}

static void fill_receipt(union cell_column *columns, size_t i, const Guichet__V1__Change *change)
{
    static const Guichet__V1__Receipt nothing = GUICHET__V1__RECEIPT__INIT;
    const Guichet__V1__Receipt *receipt = change->receipt != NULL ? change->receipt : &nothing;

    columns[PROVIDER_ID].texts[i] = str_view_of(change->provider_id);
    columns[RECEIPT_STATE].numbers[i] = receipt->state;
    columns[RECEIPT_DELIVERY].texts[i] = id_view(receipt->delivery_id);
    columns[WATERMARK].numbers[i] = pbtime_us(receipt->watermark_at);
    columns[RECEIPT_REASON].numbers[i] = receipt->reason;
    columns[PROVIDER_CODE].texts[i] = str_view_of(receipt->provider_code);
    columns[PROVIDER_TEXT].texts[i] = str_view_of(receipt->provider_text);
}

static void fill_change(union cell_column *columns, size_t i, const Guichet__V1__Change *change,
                        struct arena *arena)
{
    columns[SEQUENCE].numbers[i] = (int64_t)change->sequence;
    columns[KIND].numbers[i] = change->kind;
    columns[AT].numbers[i] = pbtime_us(change->at);
    columns[CONVERSATION].texts[i] = id_view(change->conversation_id);
    columns[NUMBER].numbers[i] = change->conversation_number;
    columns[THREAD].texts[i] = id_view(change->thread_id);
    columns[CUSTOMER].texts[i] = id_view(change->customer_id);
    columns[ACCOUNT].texts[i] = str_view_of(change->account_id);
    columns[CHANNEL].texts[i] = str_view_of(change->channel);
    columns[MESSAGE].texts[i] = id_view(change->message_id);
    columns[MESSAGE_SEQUENCE].numbers[i] = change->message_sequence;
    columns[DIRECTION].numbers[i] = change->direction;
    columns[MESSAGE_KIND].numbers[i] = change->message_kind;
    columns[TEXT].texts[i] = str_view_of(change->text);
    columns[OCCURRED].numbers[i] = pbtime_us(change->occurred_at);
    columns[IS_NEW].numbers[i] = change->is_new_conversation;
    columns[IS_REOPENED].numbers[i] = change->is_reopened;
    columns[STATE].numbers[i] = change->state;
    columns[ACTOR].texts[i] = id_view(change->actor_id);
    columns[WHY].texts[i] = str_view_of(change->reason);
    columns[PAYLOAD].texts[i] = pack_outbound(arena, change->outbound);
    fill_receipt(columns, i, change);
}

void routing_apply_add(struct db_work *work, const struct routing_feed_lease *lease,
                       Guichet__V1__Change *const *changes, size_t count)
{
    struct arena *arena = db_work_arena(work);
    union cell_column columns[COLUMN_COUNT];
    enum { HEAD = 6 };
    struct db_param params[HEAD + COLUMN_COUNT] = {
        DB_PARAM_TEXT(lease->tenant), DB_PARAM_UUID(lease->holder), DB_PARAM_I64(lease->fencing),
        DB_PARAM_I64(lease->cursor),  DB_PARAM_TEXT(lease->epoch),  DB_PARAM_I64(lease->ttl_ms),
    };

    for (size_t c = 0; c < COLUMN_COUNT; c++) {
        size_t bytes = count * (is_text(column_types[c]) ? sizeof(struct str_view) : sizeof(int64_t));
        void *items = arena_alloc(arena, bytes);

        if (items == NULL)
            abort();
        if (is_text(column_types[c]))
            columns[c].texts = items;
        else
            columns[c].numbers = items;
        params[HEAD + c] = (struct db_param){ .type = column_types[c], .items = items, .count = count };
    }
    for (size_t i = 0; i < count; i++)
        fill_change(columns, i, changes[i], arena);
    db_work_add(work, &routing_sql_apply, params, COUNT_OF(params));
}
