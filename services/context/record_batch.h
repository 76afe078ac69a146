/* SPDX-License-Identifier: Apache-2.0 */
/* record_batch.h - a batch of events brought into the database: for Record, and for a refused event's replay. */
#ifndef GUICHET_CONTEXT_RECORD_BATCH_H
#define GUICHET_CONTEXT_RECORD_BATCH_H

#include "record_row.h"

enum { RECORD_SPANS_MAX = 64 }; /* halves waiting: one for each time a batch can be halved, and one more */

struct record_span {
    size_t from, count;
};

struct record_batch;
/* ERR_NONE: results are there, and change_sequence when the feed grew. */
typedef void record_batch_done_fn(struct record_batch *batch, const struct err *err);

struct record_batch {
    /* set by the caller; lives until done, as the call does */
    struct call *call;
    Guichet__V1__InboundEvent *const *events;
    size_t count;
    char *const *channels; /* one for each event, or one for all */
    size_t channel_count;
    const Guichet__V1__RecordRequest *voided; /* whose voided numbers are told with the events; may be NULL */
    bool is_unnumbered;                       /* the manifest has these events already */
    record_batch_done_fn *done;
    void *data;

    /* what comes of it, one per event */
    struct record_row *rows;
    Guichet__V1__Recorded *results;
    uint64_t change_sequence;
    bool is_void_told;

    /* the batch's own */
    size_t *same_as;          /* per event: itself, or the first of its key in this batch */
    size_t *todo, todo_count; /* indexes of events for the database */
    struct record_span spans[RECORD_SPANS_MAX], running;
    size_t span_count;
};

/* done() comes once, never from here unless nothing is left for the database: then at once. */
void record_batch_run(struct record_batch *batch);
bool record_is_refused(const struct record_batch *batch, size_t i);

/* ---- entries of the manifest: the place of an event in the arrays of the statement, from 1, and its number ---- */

struct record_seen {
    int64_t *places, *lanes, *numbers;
    struct str_view *boots;
    size_t count;
};

#define RECORD_SEEN_COLUMN_COUNT 4
struct record_seen record_seen_new(struct arena *arena, size_t max);
/* What is not numbered is left out. */
void record_seen_add(struct record_seen *seen, size_t place, struct str_view boot, int64_t lane,
                     int64_t number);
void record_seen_params(const struct record_seen *seen, struct db_param ret_params[RECORD_SEEN_COLUMN_COUNT]);

/* ---- record_voided.c ---- */

/* Are they ranges of numbers, and not too many? */
bool record_check_voided(const Guichet__V1__RecordRequest *input, struct err *err) MUST_USE;
/* Adds the statement that tells voided numbers, when there are any. */
void record_add_voided(const Guichet__V1__RecordRequest *input, struct arena *arena, struct db_work *work);

/* ---- record_probe.c ---- */

/* Answers the call with nothing, once the database has taken a write. */
void record_probe(struct call *call);

/* ---- record_refused.c ---- */

/* Keeps what the batch refused and what the request gives up, then done(): the feed's sequence, 0 when it did not
 * grow. */
typedef void record_kept_fn(void *arg, uint64_t change_sequence, const struct err *err);
void record_keep_refused(struct record_batch *batch, const Guichet__V1__RecordRequest *input,
                         record_kept_fn *done, void *arg);

#endif
