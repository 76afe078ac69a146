/* SPDX-License-Identifier: Apache-2.0 */
/* record_refused.c - what is refused for good, and what a connector gives up unread: kept whole, told in the feed.
 *
 * The same refused event is the same row: it is known by the hash of its content, a dead one by that of its
 * bytes. The manifest names both. */
#include "record_batch.h"

#include <string.h>

#include <openssl/sha.h>

#include "statements.h"

enum { REASON_MAX_BYTES = 1024, ACCOUNT_MAX_BYTES = 128, CHANNEL_MAX_BYTES = 64, BOOT_MAX_BYTES = 128 };

/* The columns of context.refuse(), in its order. */
enum text_column { IDS, ACCOUNTS, CHANNELS, KEYS, HASHES, REASONS, EVENTS, TEXT_COUNT };
enum number_column { ATTEMPTS, IS_DEAD, WHATS, NUMBER_COUNT };

struct refused {
    struct record_batch *batch;
    const Guichet__V1__RecordRequest *input;
    struct str_view *texts[TEXT_COUNT], *boots;
    int64_t *numbers[NUMBER_COUNT], *lanes, *boot_ns;
    size_t *places; /* per event of the batch: its place in the columns, from 1; 0: not refused */
    size_t count;
    struct record_seen seen;
    record_kept_fn *done;
    void *arg;
};

static struct str_view cut(const char *text, size_t max_bytes)
{
    struct str_view view = str_view_of(text);

    view.len = utf8_cut(view, max_bytes);
    return view;
}

static void add_boot(struct refused *refused, struct str_view boot, int64_t lane, int64_t number)
{
    size_t at = refused->count;

    refused->boots[at] = boot;
    refused->lanes[at] = lane;
    refused->boot_ns[at] = number;
    record_seen_add(&refused->seen, at + 1, boot, lane, number);
}

static void add_event(struct refused *refused, size_t i)
{
    struct record_batch *batch = refused->batch;
    const struct record_row *row = &batch->rows[i];
    size_t at = refused->count;

    refused->texts[IDS][at] = row->id;
    refused->texts[ACCOUNTS][at] = row->account;
    refused->texts[CHANNELS][at] = row->channel;
    refused->texts[KEYS][at] = row->event_key;
    refused->texts[HASHES][at] = row->hash;
    refused->texts[REASONS][at] = str_view_of(batch->results[i].reason);
    refused->texts[EVENTS][at] = record_pack(&batch->events[i]->base, batch->call->arena);
    refused->numbers[ATTEMPTS][at] = 1;
    refused->numbers[WHATS][at] = row->what;
    add_boot(refused, row->boot_id, row->boot_lane, row->boot_n);
    refused->places[i] = ++refused->count;
}

/* A repeat has its first one's answer: refused, when that was. */
static void add_events(struct refused *refused)
{
    struct record_batch *batch = refused->batch;

    for (size_t i = 0; i < batch->count; i++) {
        size_t first = batch->same_as[i];

        if (!record_is_refused(batch, i))
            continue;
        if (first == i || refused->places[first] == 0)
            add_event(refused, i);
        else if (strcmp(batch->results[i].reason, batch->results[first].reason) != 0)
            add_event(refused, i);
        else
            record_seen_add(&refused->seen, refused->places[first], batch->rows[i].boot_id,
                            batch->rows[i].boot_lane, batch->rows[i].boot_n);
    }
}

static struct str_view hash_dead(const Guichet__V1__DeadEvent *dead, struct arena *arena)
{
    uint8_t *hash = context_alloc(arena, SHA256_DIGEST_LENGTH);
    struct str_view packed;
    Guichet__V1__DeadEvent lasting = *dead;

    lasting.reason = lasting.boot_id = (char *)protobuf_c_empty_string;
    lasting.attempt_count = lasting.boot_lane = 0;
    lasting.boot_n = 0;
    packed = record_pack(&lasting.base, arena);
    SHA256((const uint8_t *)packed.data, packed.len, hash);
    return (struct str_view){ (const char *)hash, SHA256_DIGEST_LENGTH };
}

static void add_dead(struct refused *refused, const Guichet__V1__DeadEvent *dead)
{
    struct arena *arena = refused->batch->call->arena;
    const struct record_batch *batch = refused->batch;
    bool is_numbered = record_is_numbered(dead->boot_id, dead->boot_lane, dead->boot_n);
    char *id = context_alloc(arena, ID_TEXT_BYTES);
    size_t at = refused->count;

    id_new_text(id);
    refused->texts[IDS][at] = str_view_of(id);
    refused->texts[ACCOUNTS][at] = cut(dead->account_id, ACCOUNT_MAX_BYTES);
    refused->texts[CHANNELS][at] =
        cut(batch->channel_count == 1 ? batch->channels[0] : "", CHANNEL_MAX_BYTES);
    refused->texts[KEYS][at] = cut(dead->event_key, RECORD_KEY_MAX_BYTES);
    refused->texts[HASHES][at] = hash_dead(dead, arena);
    refused->texts[REASONS][at] = cut(dead->reason, REASON_MAX_BYTES);
    refused->texts[EVENTS][at] =
        dead->event.len > 0 ? (struct str_view){ (const char *)dead->event.data, dead->event.len }
                            : STR_LITERAL("");
    refused->numbers[ATTEMPTS][at] = dead->attempt_count <= INT32_MAX ? dead->attempt_count : INT32_MAX;
    refused->numbers[IS_DEAD][at] = true;
    add_boot(refused, cut(is_numbered ? dead->boot_id : "", BOOT_MAX_BYTES),
             is_numbered ? dead->boot_lane : 0, is_numbered ? (int64_t)dead->boot_n : 0);
    refused->count++;
}

static struct refused *collect(struct record_batch *batch, const Guichet__V1__RecordRequest *input)
{
    struct arena *arena = batch->call->arena;
    struct refused *refused = context_alloc(arena, sizeof(*refused));
    size_t max = batch->count + input->n_dead + 1;

    refused->batch = batch;
    refused->input = input;
    for (size_t c = 0; c < TEXT_COUNT; c++)
        refused->texts[c] = context_alloc(arena, max * sizeof(struct str_view));
    for (size_t c = 0; c < NUMBER_COUNT; c++)
        refused->numbers[c] = context_alloc(arena, max * sizeof(int64_t));
    refused->boots = context_alloc(arena, max * sizeof(*refused->boots));
    refused->lanes = context_alloc(arena, max * sizeof(*refused->lanes));
    refused->boot_ns = context_alloc(arena, max * sizeof(*refused->boot_ns));
    refused->places = context_alloc(arena, max * sizeof(*refused->places));
    refused->seen = record_seen_new(arena, max);
    add_events(refused);
    for (size_t i = 0; i < input->n_dead; i++)
        add_dead(refused, input->dead[i]);
    return refused;
}

static void on_kept(void *arg, struct db_work *work, const struct err *err)
{
    struct refused *refused = arg;
    struct record_batch *batch = refused->batch;
    size_t statement = batch->is_void_told ? 0 : 1;
    uint64_t sequence = 0;

    if (err->kind == ERR_NONE && refused->count > 0) {
        sequence = (uint64_t)db_i64(db_work_result(work, statement), 0, 0);
        context_ring(batch->call->context, batch->call->tenant, sequence);
    }
    refused->done(refused->arg, sequence, err);
}

static void add_statement(const struct refused *refused, struct db_work *work)
{
    static const enum db_type text_types[TEXT_COUNT] = { DB_UUID_ARRAY,  DB_TEXT_ARRAY, DB_TEXT_ARRAY,
                                                         DB_TEXT_ARRAY,  DB_BYTES_ARRAY, DB_TEXT_ARRAY,
                                                         DB_BYTES_ARRAY };
    static const enum db_type number_types[NUMBER_COUNT] = { DB_I32_ARRAY, DB_BOOL_ARRAY, DB_I32_ARRAY };
    struct db_param params[1 + TEXT_COUNT + NUMBER_COUNT + 3 + RECORD_SEEN_COLUMN_COUNT] = {
        DB_PARAM_TEXT(refused->batch->call->tenant)
    };
    size_t at = 1, count = refused->count;

    for (size_t c = 0; c < TEXT_COUNT; c++)
        params[at++] = (struct db_param){ .type = text_types[c], .items = refused->texts[c], .count = count };
    for (size_t c = 0; c < NUMBER_COUNT; c++)
        params[at++] =
            (struct db_param){ .type = number_types[c], .items = refused->numbers[c], .count = count };
    params[at++] = (struct db_param){ .type = DB_TEXT_ARRAY, .items = refused->boots, .count = count };
    params[at++] = (struct db_param){ .type = DB_I32_ARRAY, .items = refused->lanes, .count = count };
    params[at++] = (struct db_param){ .type = DB_I64_ARRAY, .items = refused->boot_ns, .count = count };
    record_seen_params(&refused->seen, params + at);
    db_work_add(work, &context_refuse_events, params, COUNT_OF(params));
}

void record_keep_refused(struct record_batch *batch, const Guichet__V1__RecordRequest *input,
                         record_kept_fn *done, void *arg)
{
    static const struct err none = { 0 };
    struct refused *refused = collect(batch, input);
    struct db_work *work;

    refused->done = done;
    refused->arg = arg;
    if (refused->count == 0 && batch->is_void_told) {
        done(arg, 0, &none);
        return;
    }
    work = db_work_new(batch->call->context->database.ingest);
    if (!batch->is_void_told)
        record_add_voided(input, batch->call->arena, work);
    if (refused->count > 0)
        add_statement(refused, work);
    db_work_run(work, on_kept, refused);
}
