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
    OTHER_CUSTOMER,
    OTHER_CONVERSATION,
    REFUSED,
    ATTEMPTS,
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
    [OTHER_CUSTOMER] = DB_UUID_ARRAY,
    [OTHER_CONVERSATION] = DB_UUID_ARRAY,
    [REFUSED] = DB_UUID_ARRAY,
    [ATTEMPTS] = DB_I32_ARRAY,
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

static void *need(struct arena *arena, size_t size)
{
    void *memory = arena_alloc(arena, size);

    if (memory == NULL) /* a batch is bounded, so this is our own bug */
        abort();
    return memory;
}

static struct str_view pack(struct arena *arena, const ProtobufCMessage *message)
{
    size_t len;
    uint8_t *packed;

    if (message == NULL)
        return (struct str_view){ 0 };
    len = protobuf_c_message_get_packed_size(message);
    packed = need(arena, len + 1);
    protobuf_c_message_pack(message, packed);
    return (struct str_view){ (const char *)packed, len };
}

/* A conversation's state; of MEDIA, that of the part. */
static int64_t state_of(const Guichet__V1__Change *change)
{
    if (change->kind != GUICHET__V1__CHANGE_KIND__CHANGE_KIND_MEDIA)
        return change->state;
    return change->n_media > 0 && change->media[0]->media != NULL ? (int64_t)change->media[0]->media->state : 0;
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
    columns[STATE].numbers[i] = state_of(change);
    columns[ACTOR].texts[i] = id_view(change->actor_id);
    columns[WHY].texts[i] = str_view_of(change->reason);
    columns[PAYLOAD].texts[i] = pack(arena, change->outbound != NULL ? &change->outbound->base : NULL);
    columns[OTHER_CUSTOMER].texts[i] = id_view(change->other_customer_id);
    columns[OTHER_CONVERSATION].texts[i] = id_view(change->other_conversation_id);
    columns[REFUSED].texts[i] = id_view(change->refused_id);
    columns[ATTEMPTS].numbers[i] = change->attempt_count;
    fill_receipt(columns, i, change);
}

/* ---- what a change has several of: its media parts, its threads ---- */

enum { MEDIA_COLUMNS = 5, THREAD_COLUMNS = 2 };

static size_t count_media(Guichet__V1__Change *const *changes, size_t count)
{
    size_t total = 0;

    for (size_t i = 0; i < count; i++)
        total += changes[i]->n_media;
    return total;
}

static size_t count_threads(Guichet__V1__Change *const *changes, size_t count)
{
    size_t total = 0;

    for (size_t i = 0; i < count; i++)
        total += changes[i]->n_thread_ids;
    return total;
}

static struct str_view pack_fetch(struct arena *arena, const Guichet__V1__Change *change,
                                  const Guichet__V1__MediaPart *part)
{
    Guichet__V1__FetchMedia fetch = GUICHET__V1__FETCH_MEDIA__INIT;

    fetch.message_id = change->message_id;
    fetch.part_index = part->part_index;
    fetch.media = part->media;
    return pack(arena, &fetch.base);
}

static struct str_view new_id(struct arena *arena)
{
    char *id = need(arena, ID_TEXT_BYTES);

    id_new_text(id);
    return str_view_of(id);
}

/* Which change (from 1), part, state, id of the job it may become, the job. */
static void fill_media(struct db_param *params, Guichet__V1__Change *const *changes, size_t count,
                       struct arena *arena)
{
    size_t total = count_media(changes, count), n = 0;
    int64_t *indexes = need(arena, (total + 1) * sizeof(*indexes));
    int64_t *parts = need(arena, (total + 1) * sizeof(*parts));
    int64_t *states = need(arena, (total + 1) * sizeof(*states));
    struct str_view *ids = need(arena, (total + 1) * sizeof(*ids));
    struct str_view *jobs = need(arena, (total + 1) * sizeof(*jobs));

    for (size_t i = 0; i < count; i++) {
        for (size_t p = 0; p < changes[i]->n_media; p++) {
            const Guichet__V1__MediaPart *part = changes[i]->media[p];

            if (part->media == NULL)
                continue;
            indexes[n] = (int64_t)i + 1;
            parts[n] = part->part_index;
            states[n] = part->media->state;
            ids[n] = new_id(arena);
            jobs[n++] = pack_fetch(arena, changes[i], part);
        }
    }
    params[0] = (struct db_param){ .type = DB_I32_ARRAY, .items = indexes, .count = n };
    params[1] = (struct db_param){ .type = DB_I32_ARRAY, .items = parts, .count = n };
    params[2] = (struct db_param){ .type = DB_I32_ARRAY, .items = states, .count = n };
    params[3] = (struct db_param){ .type = DB_UUID_ARRAY, .items = ids, .count = n };
    params[4] = (struct db_param){ .type = DB_BYTES_ARRAY, .items = jobs, .count = n };
}

static void fill_threads(struct db_param *params, Guichet__V1__Change *const *changes, size_t count,
                         struct arena *arena)
{
    size_t total = count_threads(changes, count), n = 0;
    int64_t *indexes = need(arena, (total + 1) * sizeof(*indexes));
    struct str_view *ids = need(arena, (total + 1) * sizeof(*ids));

    for (size_t i = 0; i < count; i++) {
        for (size_t t = 0; t < changes[i]->n_thread_ids; t++) {
            indexes[n] = (int64_t)i + 1;
            ids[n++] = id_view(changes[i]->thread_ids[t]);
        }
    }
    params[0] = (struct db_param){ .type = DB_I32_ARRAY, .items = indexes, .count = n };
    params[1] = (struct db_param){ .type = DB_UUID_ARRAY, .items = ids, .count = n };
}

/* ---- the call ---- */

static void fill_columns(struct db_param *params, Guichet__V1__Change *const *changes, size_t count,
                         struct arena *arena)
{
    union cell_column columns[COLUMN_COUNT];

    for (size_t c = 0; c < COLUMN_COUNT; c++) {
        size_t bytes = count * (is_text(column_types[c]) ? sizeof(struct str_view) : sizeof(int64_t));
        void *items = need(arena, bytes);

        if (is_text(column_types[c]))
            columns[c].texts = items;
        else
            columns[c].numbers = items;
        params[c] = (struct db_param){ .type = column_types[c], .items = items, .count = count };
    }
    for (size_t i = 0; i < count; i++)
        fill_change(columns, i, changes[i], arena);
}

void routing_apply_add(struct db_work *work, const struct routing_feed_lease *lease,
                       const struct routing_replay *replay, Guichet__V1__Change *const *changes, size_t count)
{
    static const struct routing_replay nothing = { "", "", "" };
    struct arena *arena = db_work_arena(work);
    enum { HEAD = 6, MEDIA = HEAD + COLUMN_COUNT, THREADS = MEDIA + MEDIA_COLUMNS };
    enum { REPLAY = THREADS + THREAD_COLUMNS, PARAM_COUNT = REPLAY + 3 };
    struct db_param params[PARAM_COUNT] = {
        DB_PARAM_TEXT(lease->tenant), DB_PARAM_UUID(lease->holder), DB_PARAM_I64(lease->fencing),
        DB_PARAM_I64(lease->cursor),  DB_PARAM_TEXT(lease->epoch),  DB_PARAM_I64(lease->ttl_ms),
    };

    if (replay == NULL)
        replay = &nothing;
    fill_columns(params + HEAD, changes, count, arena);
    fill_media(params + MEDIA, changes, count, arena);
    fill_threads(params + THREADS, changes, count, arena);
    params[REPLAY] = DB_PARAM_UUID(replay->letter);
    params[REPLAY + 1] = DB_PARAM_UUID(replay->actor);
    params[REPLAY + 2] = DB_PARAM_TEXT(replay->by);
    db_work_add(work, &routing_sql_apply, params, COUNT_OF(params));
}
