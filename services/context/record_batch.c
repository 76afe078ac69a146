/* SPDX-License-Identifier: Apache-2.0 */
/* record_batch.c - a batch in one transaction, and nobody's fault but the culprit's.
 *
 * Events that cannot be right are refused before the database sees them, repeats inside the batch
 * share the answer of the first. The rest goes in one call. When the database refuses the data, the
 * batch is halved, the first half first, until the one event at fault stands alone: so the order of a
 * thread's messages stays that of the payload. Each transaction writes its part of the manifest. */
#include "record_batch.h"

#include <stdlib.h>
#include <string.h>

#include "statements.h"

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

static void run_next_span(struct record_batch *batch);

static void refuse(struct record_batch *batch, size_t i, const char *reason)
{
    batch->results[i].result = GUICHET__V1__RECORD_RESULT__RECORD_RESULT_REFUSED;
    batch->results[i].reason = arena_strdup(batch->call->arena, reason);
    log_event(LOG_WARN, "event_refused", LOG_TEXT("tenant", batch->call->tenant),
              LOG_TEXT("account", batch->events[i]->account_id), LOG_TEXT("reason", reason));
}

bool record_is_refused(const struct record_batch *batch, size_t i)
{
    return batch->results[i].result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_REFUSED;
}

/* ---- the manifest ---- */

struct record_seen record_seen_new(struct arena *arena, size_t max)
{
    return (struct record_seen){ .places = context_alloc(arena, (max + 1) * sizeof(int64_t)),
                                 .lanes = context_alloc(arena, (max + 1) * sizeof(int64_t)),
                                 .numbers = context_alloc(arena, (max + 1) * sizeof(int64_t)),
                                 .boots = context_alloc(arena, (max + 1) * sizeof(struct str_view)) };
}

void record_seen_add(struct record_seen *seen, size_t place, struct str_view boot, int64_t lane,
                     int64_t number)
{
    if (number <= 0)
        return;
    seen->places[seen->count] = (int64_t)place;
    seen->boots[seen->count] = boot;
    seen->lanes[seen->count] = lane;
    seen->numbers[seen->count] = number;
    seen->count++;
}

void record_seen_params(const struct record_seen *seen, struct db_param ret_params[RECORD_SEEN_COLUMN_COUNT])
{
    ret_params[0] = (struct db_param){ .type = DB_I32_ARRAY, .items = seen->places, .count = seen->count };
    ret_params[1] = (struct db_param){ .type = DB_TEXT_ARRAY, .items = seen->boots, .count = seen->count };
    ret_params[2] = (struct db_param){ .type = DB_I32_ARRAY, .items = seen->lanes, .count = seen->count };
    ret_params[3] = (struct db_param){ .type = DB_I64_ARRAY, .items = seen->numbers, .count = seen->count };
}

/* Repeats of the events of this span: known by the time they are looked at. */
static void repeat_params(const struct record_batch *batch, struct db_param *params)
{
    const size_t *todo = batch->todo + batch->running.from;
    struct record_seen seen = record_seen_new(batch->call->arena, batch->count);

    for (size_t i = 0; i < batch->count && batch->todo_count < batch->count; i++) {
        if (batch->same_as[i] == i || record_is_refused(batch, i))
            continue;
        for (size_t t = 0; t < batch->running.count; t++)
            if (todo[t] == batch->same_as[i])
                record_seen_add(&seen, t + 1, batch->rows[i].boot_id, batch->rows[i].boot_lane,
                                batch->rows[i].boot_n);
    }
    record_seen_params(&seen, params);
}

/* ---- the answer ---- */

/* The second event of a key in one batch is known already, or contradicts the first. */
static void answer_repeat(struct record_batch *batch, size_t i)
{
    const Guichet__V1__Recorded *first = &batch->results[batch->same_as[i]];
    char *event_key = batch->results[i].event_key;

    batch->results[i] = *first;
    batch->results[i].event_key = event_key;
    if (first->result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_STORED)
        batch->results[i].result = GUICHET__V1__RECORD_RESULT__RECORD_RESULT_DUPLICATE;
}

static void finish(struct record_batch *batch, const struct err *err)
{
    for (size_t i = 0; i < batch->count && err->kind == ERR_NONE; i++)
        if (batch->same_as[i] != i && !record_is_refused(batch, i))
            answer_repeat(batch, i);
    batch->done(batch, err);
}

/* ---- what is recorded ---- */

static void read_result(struct record_batch *batch, const struct db_work *work, size_t statement, size_t row)
{
    const struct db_result *result = db_work_result(work, statement);
    size_t i = batch->todo[batch->running.from + (size_t)db_i64(result, row, RECORD_N) - 1];
    Guichet__V1__Recorded *recorded = &batch->results[i];
    struct arena *arena = batch->call->arena;

    if (db_i64(result, row, RECORD_RESULT) == RESULT_CONFLICT) {
        refuse(batch, i, "event_key: is known with another content");
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

static void read_results(struct record_batch *batch, const struct db_work *work)
{
    size_t statement = batch->is_void_told ? 0 : 1; /* after that of the voided numbers */
    const struct db_result *result = db_work_result(work, statement);
    uint64_t sequence = db_rows(result) == 0 ? 0 : (uint64_t)db_i64(result, 0, RECORD_CHANGE_SEQUENCE);

    for (size_t row = 0; row < db_rows(result); row++)
        read_result(batch, work, statement, row);
    batch->is_void_told = true;
    if (sequence > 0)
        batch->change_sequence = sequence;
    stats_add(batch->call->context->stats, CONTEXT_BATCHES, 1);
    context_ring(batch->call->context, batch->call->tenant, sequence);
}

/* The data's fault, not the database's: classes 22 (data), 23 (constraints), 54 (limits of a row). */
static bool is_data_error(const struct db_work *work, const struct err *err)
{
    const char *sqlstate = db_work_sqlstate(work);

    return err->kind == ERR_INVALID || strncmp(sqlstate, "22", 2) == 0 || strncmp(sqlstate, "23", 2) == 0 ||
           strncmp(sqlstate, "54", 2) == 0;
}

static void push_span(struct record_batch *batch, size_t from, size_t count)
{
    if (batch->span_count == RECORD_SPANS_MAX)
        abort();
    batch->spans[batch->span_count++] = (struct record_span){ from, count };
}

static void split(struct record_batch *batch, const struct err *err)
{
    struct record_span whole = batch->running;
    size_t half = whole.count / 2;

    if (whole.count == 1) {
        refuse(batch, batch->todo[whole.from], err->text);
        return;
    }
    stats_add(batch->call->context->stats, CONTEXT_BATCHES_SPLIT, 1);
    push_span(batch, whole.from + half, whole.count - half);
    push_span(batch, whole.from, half);
}

static void on_recorded(void *arg, struct db_work *work, const struct err *err)
{
    struct record_batch *batch = arg;

    if (err->kind == ERR_NONE) {
        read_results(batch, work);
    } else if (is_data_error(work, err)) {
        split(batch, err);
    } else {
        finish(batch, err);
        return;
    }
    run_next_span(batch);
}

static void run_next_span(struct record_batch *batch)
{
    static const struct err none = { 0 };
    struct db_param params[2 + RECORD_PARAM_COUNT + RECORD_SEEN_COLUMN_COUNT + 1] = {
        DB_PARAM_TEXT(batch->call->tenant),
        DB_PARAM_I64(batch->call->context->config->reopen_window_ms),
    };
    struct db_work *work;

    if (batch->span_count == 0) {
        finish(batch, &none);
        return;
    }
    batch->running = batch->spans[--batch->span_count];
    record_row_params(batch->rows, batch->todo + batch->running.from, batch->running.count,
                      batch->call->arena, params + 2);
    repeat_params(batch, params + 2 + RECORD_PARAM_COUNT);
    params[COUNT_OF(params) - 1] = DB_PARAM_I32(batch->call->context->config->person_customers_max);
    work = db_work_new(batch->call->context->database.ingest);
    if (!batch->is_void_told)
        record_add_voided(batch->voided, batch->call->arena, work);
    db_work_add(work, &context_record_batch, params, COUNT_OF(params));
    db_work_run(work, on_recorded, batch);
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

static void find_repeats(struct record_batch *batch)
{
    const struct record_row **sorted =
        context_alloc(batch->call->arena, (batch->count + 1) * sizeof(*sorted));
    size_t kept = 0;

    for (size_t i = 0; i < batch->count; i++)
        if (!record_is_refused(batch, i))
            sorted[kept++] = &batch->rows[i];
    qsort(sorted, kept, sizeof(*sorted), compare_keys);
    for (size_t k = 1; k < kept; k++) {
        size_t i = (size_t)(sorted[k] - batch->rows);
        size_t first = batch->same_as[sorted[k - 1] - batch->rows];

        if (!is_same_key(sorted[k - 1], sorted[k]))
            continue;
        batch->same_as[i] = first;
        if (!str_equal(batch->rows[i].hash, batch->rows[first].hash))
            refuse(batch, i, "event_key: comes twice in the batch, with different content");
    }
}

static void read_event(struct record_batch *batch, size_t i)
{
    const char *channel = batch->channels[batch->channel_count == 1 ? 0 : i];
    struct err err = { 0 };

    guichet__v1__recorded__init(&batch->results[i]);
    batch->results[i].event_key = batch->events[i]->event_key;
    batch->same_as[i] = i;
    if (!record_row_fill(&batch->rows[i], batch->events[i], batch->call->tenant, channel,
                         batch->call->context->config, batch->call->arena, &err))
        refuse(batch, i, err.text);
    if (batch->is_unnumbered)
        batch->rows[i].boot_n = 0;
}

void record_batch_run(struct record_batch *batch)
{
    struct arena *arena = batch->call->arena;

    batch->rows = context_alloc(arena, (batch->count + 1) * sizeof(*batch->rows));
    batch->results = context_alloc(arena, (batch->count + 1) * sizeof(*batch->results));
    batch->same_as = context_alloc(arena, (batch->count + 1) * sizeof(*batch->same_as));
    batch->todo = context_alloc(arena, (batch->count + 1) * sizeof(*batch->todo));
    batch->is_void_told = batch->voided == NULL || batch->voided->n_voided == 0;
    for (size_t i = 0; i < batch->count; i++)
        read_event(batch, i);
    find_repeats(batch);
    for (size_t i = 0; i < batch->count; i++)
        if (batch->same_as[i] == i && !record_is_refused(batch, i))
            batch->todo[batch->todo_count++] = i;
    if (batch->todo_count > 0)
        push_span(batch, 0, batch->todo_count);
    run_next_span(batch);
}
