/* SPDX-License-Identifier: Apache-2.0 */
/* record.c - Record: a batch in one transaction, and nobody's fault but the culprit's.
 *
 * Events that cannot be right are refused before the database sees them, repeats inside the batch
 * share the answer of the first. The rest goes in one call. When the database refuses the data, the
 * batch is halved, the first half first, until the one event at fault stands alone: so the order of a
 * thread's messages stays that of the payload. What is refused is committed, whole, before the answer. */
#include "context.h"

#include <stdlib.h>
#include <string.h>

#include "ops/failpoint.h"
#include "record_row.h"
#include "statements.h"

enum { SPANS_MAX = 64 }; /* halves waiting: one for each time a batch can be halved, and one more */

enum record_column {
    RECORD_N,
    RECORD_RESULT,
    RECORD_MESSAGE_ID,
    RECORD_CONVERSATION_ID,
    RECORD_THREAD_ID,
    RECORD_SEQUENCE,
    RECORD_CHANGE_SEQUENCE,
};

enum { RESULT_STORED = 1, RESULT_DUPLICATE = 2, RESULT_CONFLICT = 3 }; /* context.record()'s words */

struct span {
    size_t from, count;
};

struct record {
    struct call *call;
    const Guichet__V1__RecordRequest *input;
    struct record_row *rows;
    Guichet__V1__Recorded *results;
    size_t *same_as;          /* per event: itself, or the first of its key in this batch */
    size_t *todo, todo_count; /* indexes of events for the database */
    struct span spans[SPANS_MAX];
    size_t span_count;
    struct span running;
    uint64_t change_sequence;
    uint64_t started_ms;
};

static void run_next_span(struct record *record);

static const char *channel_of(const Guichet__V1__RecordRequest *input, size_t i)
{
    return input->channels[input->n_channels == 1 ? 0 : i];
}

static void refuse(struct record *record, size_t i, const char *reason)
{
    record->results[i].result = GUICHET__V1__RECORD_RESULT__RECORD_RESULT_REFUSED;
    record->results[i].reason = arena_strdup(record->call->arena, reason);
    log_event(LOG_WARN, "event_refused", LOG_TEXT("tenant", record->call->tenant),
              LOG_TEXT("account", record->input->events[i]->account_id), LOG_TEXT("reason", reason));
}

static bool is_refused(const struct record *record, size_t i)
{
    return record->results[i].result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_REFUSED;
}

/* ---- the answer ---- */

/* The second event of a key in one batch is known already, or contradicts the first. */
static void answer_repeat(struct record *record, size_t i)
{
    const Guichet__V1__Recorded *first = &record->results[record->same_as[i]];
    char *event_key = record->results[i].event_key;

    record->results[i] = *first;
    record->results[i].event_key = event_key;
    if (first->result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_STORED)
        record->results[i].result = GUICHET__V1__RECORD_RESULT__RECORD_RESULT_DUPLICATE;
}

static void count_results(const struct record *record)
{
    static const char *const words[] = { "none", "stored", "duplicate", "refused" };
    struct stats *stats = record->call->context->stats;
    uint64_t counts[COUNT_OF(words)] = { 0 };

    for (size_t i = 0; i < record->input->n_events; i++)
        counts[record->results[i].result]++;
    for (size_t i = 1; i < COUNT_OF(words); i++)
        if (counts[i] > 0)
            stats_add_label(stats, CONTEXT_EVENTS, words[i], counts[i]);
    stats_observe_ms(stats, CONTEXT_RECORD_SECONDS,
                     (double)(loop_now_ms(record->call->context->loop) - record->started_ms));
}

static void answer(struct record *record)
{
    Guichet__V1__RecordReply reply = GUICHET__V1__RECORD_REPLY__INIT;
    size_t count = record->input->n_events;
    struct err err = { 0 };

    if (FAILPOINT("context_after_record_commit_before_reply")) {
        (void)err_set(&err, ERR_UNAVAILABLE, "failpoint: committed, not answered");
        context_call_fail(record->call, &err);
        return;
    }
    reply.results = context_alloc(record->call->arena, (count + 1) * sizeof(*reply.results));
    reply.n_results = count;
    for (size_t i = 0; i < count; i++) {
        if (record->same_as[i] != i && !is_refused(record, i))
            answer_repeat(record, i);
        reply.results[i] = &record->results[i];
    }
    reply.change_sequence = record->change_sequence;
    count_results(record);
    context_call_reply(record->call, &reply);
}

/* ---- what is refused ---- */

static void on_refused(void *arg, struct db_work *work, const struct err *err)
{
    struct record *record = arg;
    int64_t sequence;

    if (err->kind != ERR_NONE) {
        context_call_fail(record->call, err);
        return;
    }
    sequence = db_i64(db_work_result(work, 0), 0, 0);
    if (sequence > 0)
        record->change_sequence = (uint64_t)sequence;
    context_ring(record->call->context, record->call->tenant, (uint64_t)sequence);
    answer(record);
}

enum {
    REFUSED_IDS,
    REFUSED_ACCOUNTS,
    REFUSED_CHANNELS,
    REFUSED_KEYS,
    REFUSED_HASHES,
    REFUSED_REASONS,
    REFUSED_EVENTS,
    REFUSED_COUNT
};

static size_t collect_refused(const struct record *record, struct str_view *columns[REFUSED_COUNT])
{
    struct arena *arena = record->call->arena;
    size_t count = 0;

    for (size_t c = 0; c < REFUSED_COUNT; c++)
        columns[c] = context_alloc(arena, (record->input->n_events + 1) * sizeof(*columns[c]));
    for (size_t i = 0; i < record->input->n_events; i++) {
        const struct record_row *row = &record->rows[i];

        if (!is_refused(record, i))
            continue;
        columns[REFUSED_IDS][count] = row->id;
        columns[REFUSED_ACCOUNTS][count] = row->account;
        columns[REFUSED_CHANNELS][count] = row->channel;
        columns[REFUSED_KEYS][count] = row->event_key;
        columns[REFUSED_HASHES][count] = row->hash;
        columns[REFUSED_REASONS][count] = str_view_of(record->results[i].reason);
        columns[REFUSED_EVENTS][count] = record_pack(&record->input->events[i]->base, arena);
        count++;
    }
    return count;
}

static void keep_refused(struct record *record)
{
    static const enum db_type types[REFUSED_COUNT] = { DB_UUID_ARRAY, DB_TEXT_ARRAY,  DB_TEXT_ARRAY,
                                                       DB_TEXT_ARRAY, DB_BYTES_ARRAY, DB_TEXT_ARRAY,
                                                       DB_BYTES_ARRAY };
    struct str_view *columns[REFUSED_COUNT];
    struct db_param params[1 + REFUSED_COUNT] = { DB_PARAM_TEXT(record->call->tenant) };
    size_t count = collect_refused(record, columns);
    struct db_work *work;

    if (count == 0) {
        answer(record);
        return;
    }
    for (size_t c = 0; c < REFUSED_COUNT; c++)
        params[1 + c] = (struct db_param){ .type = types[c], .items = columns[c], .count = count };
    work = db_work_new(record->call->context->database.ingest);
    db_work_add(work, &context_refuse_events, params, COUNT_OF(params));
    db_work_run(work, on_refused, record);
}

/* ---- what is recorded ---- */

static void read_result(struct record *record, const struct db_work *work, size_t row)
{
    const struct db_result *result = db_work_result(work, 0);
    size_t i = record->todo[record->running.from + (size_t)db_i64(result, row, RECORD_N) - 1];
    Guichet__V1__Recorded *recorded = &record->results[i];
    struct arena *arena = record->call->arena;

    if (db_i64(result, row, RECORD_RESULT) == RESULT_CONFLICT) {
        refuse(record, i, "event_key: is known with another content");
        return;
    }
    recorded->result = db_i64(result, row, RECORD_RESULT) == RESULT_DUPLICATE
                           ? GUICHET__V1__RECORD_RESULT__RECORD_RESULT_DUPLICATE
                           : GUICHET__V1__RECORD_RESULT__RECORD_RESULT_STORED;
    recorded->message_id = arena_strdup(arena, db_text(work, result, row, RECORD_MESSAGE_ID));
    recorded->conversation_id = arena_strdup(arena, db_text(work, result, row, RECORD_CONVERSATION_ID));
    recorded->thread_id = arena_strdup(arena, db_text(work, result, row, RECORD_THREAD_ID));
    recorded->sequence = (uint32_t)db_i64(result, row, RECORD_SEQUENCE);
}

static void read_results(struct record *record, const struct db_work *work)
{
    const struct db_result *result = db_work_result(work, 0);
    uint64_t sequence = db_rows(result) == 0 ? 0 : (uint64_t)db_i64(result, 0, RECORD_CHANGE_SEQUENCE);

    for (size_t row = 0; row < db_rows(result); row++)
        read_result(record, work, row);
    if (sequence > 0)
        record->change_sequence = sequence;
    stats_add(record->call->context->stats, CONTEXT_BATCHES, 1);
    context_ring(record->call->context, record->call->tenant, sequence);
}

/* The data's fault, not the database's: classes 22 (data), 23 (constraints), 54 (limits of a row). */
static bool is_data_error(const struct db_work *work, const struct err *err)
{
    const char *sqlstate = db_work_sqlstate(work);

    return err->kind == ERR_INVALID || strncmp(sqlstate, "22", 2) == 0 || strncmp(sqlstate, "23", 2) == 0 ||
           strncmp(sqlstate, "54", 2) == 0;
}

static void push_span(struct record *record, size_t from, size_t count)
{
    if (record->span_count == SPANS_MAX)
        abort();
    record->spans[record->span_count++] = (struct span){ from, count };
}

static void split(struct record *record, const struct err *err)
{
    struct span whole = record->running;
    size_t half = whole.count / 2;

    if (whole.count == 1) {
        refuse(record, record->todo[whole.from], err->text);
        return;
    }
    stats_add(record->call->context->stats, CONTEXT_BATCHES_SPLIT, 1);
    push_span(record, whole.from + half, whole.count - half);
    push_span(record, whole.from, half);
}

static void on_recorded(void *arg, struct db_work *work, const struct err *err)
{
    struct record *record = arg;

    if (err->kind == ERR_NONE) {
        read_results(record, work);
    } else if (is_data_error(work, err)) {
        split(record, err);
    } else {
        context_call_fail(record->call, err);
        return;
    }
    run_next_span(record);
}

static void run_next_span(struct record *record)
{
    struct db_param params[2 + RECORD_COLUMN_COUNT] = {
        DB_PARAM_TEXT(record->call->tenant),
        DB_PARAM_I64(record->call->context->config->reopen_window_ms),
    };
    struct db_work *work;

    if (record->span_count == 0) {
        keep_refused(record);
        return;
    }
    record->running = record->spans[--record->span_count];
    record_row_params(record->rows, record->todo + record->running.from, record->running.count,
                      record->call->arena, params + 2);
    work = db_work_new(record->call->context->database.ingest);
    db_work_add(work, &context_record_batch, params, COUNT_OF(params));
    db_work_run(work, on_recorded, record);
}

/* ---- the batch ---- */

static int compare_views(struct str_view a, struct str_view b)
{
    int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* By account, key and place: what repeats stands side by side, the first first. */
static int compare_keys(const void *left, const void *right)
{
    const struct record_row *a = *(const struct record_row *const *)left;
    const struct record_row *b = *(const struct record_row *const *)right;
    int order = compare_views(a->account, b->account);

    if (order == 0)
        order = compare_views(a->event_key, b->event_key);
    return order != 0 ? order : (a > b) - (a < b);
}

static bool is_same_key(const struct record_row *a, const struct record_row *b)
{
    return a->event_key.len > 0 && str_equal(a->account, b->account) && str_equal(a->event_key, b->event_key);
}

static void find_repeats(struct record *record)
{
    size_t count = record->input->n_events;
    const struct record_row **sorted = context_alloc(record->call->arena, (count + 1) * sizeof(*sorted));
    size_t kept = 0;

    for (size_t i = 0; i < count; i++)
        if (!is_refused(record, i))
            sorted[kept++] = &record->rows[i];
    qsort(sorted, kept, sizeof(*sorted), compare_keys);
    for (size_t k = 1; k < kept; k++) {
        size_t i = (size_t)(sorted[k] - record->rows);
        size_t first = record->same_as[sorted[k - 1] - record->rows];

        if (!is_same_key(sorted[k - 1], sorted[k]))
            continue;
        record->same_as[i] = first;
        if (!str_equal(record->rows[i].hash, record->rows[first].hash))
            refuse(record, i, "event_key: comes twice in the batch, with different content");
    }
}

static void read_events(struct record *record)
{
    for (size_t i = 0; i < record->input->n_events; i++) {
        const Guichet__V1__InboundEvent *event = record->input->events[i];
        struct err err = { 0 };

        guichet__v1__recorded__init(&record->results[i]);
        record->results[i].event_key = event->event_key;
        record->same_as[i] = i;
        if (!record_row_fill(&record->rows[i], event, record->call->tenant, channel_of(record->input, i),
                             record->call->context->config, record->call->arena, &err))
            refuse(record, i, err.text);
    }
    find_repeats(record);
    for (size_t i = 0; i < record->input->n_events; i++)
        if (record->same_as[i] == i && !is_refused(record, i))
            record->todo[record->todo_count++] = i;
}

static bool check_request(const struct context_config *config, const Guichet__V1__RecordRequest *input,
                          struct err *err)
{
    if (input->n_events > config->events_max)
        return err_set(err, ERR_INVALID, "events: %zu, at most %u are allowed", input->n_events,
                       config->events_max);
    if (input->n_channels != input->n_events && input->n_channels != 1)
        return err_set(err, ERR_INVALID, "channels: %zu for %zu events", input->n_channels, input->n_events);
    if (FAILPOINT("context_before_record"))
        return err_set(err, ERR_UNAVAILABLE, "failpoint: nothing is recorded");
    return true;
}

void context_record(Guichet__V1__Context_Service *service, const Guichet__V1__RecordRequest *input,
                    Guichet__V1__RecordReply_Closure closure, void *closure_data)
{
    size_t count = input->n_events;
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    struct record *record;
    struct err err = { 0 };

    if (call == NULL)
        return;
    if (!check_request(call->context->config, input, &err)) {
        context_call_fail(call, &err);
        return;
    }
    record = context_alloc(call->arena, sizeof(*record));
    record->call = call;
    record->input = input;
    record->started_ms = loop_now_ms(call->context->loop);
    record->rows = context_alloc(call->arena, (count + 1) * sizeof(*record->rows));
    record->results = context_alloc(call->arena, (count + 1) * sizeof(*record->results));
    record->same_as = context_alloc(call->arena, (count + 1) * sizeof(*record->same_as));
    record->todo = context_alloc(call->arena, (count + 1) * sizeof(*record->todo));
    read_events(record);
    if (record->todo_count > 0)
        push_span(record, 0, record->todo_count);
    run_next_span(record);
}
