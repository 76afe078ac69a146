/* SPDX-License-Identifier: Apache-2.0 */
/* connector_drain.c - a lane's rows out of the spool: read the oldest, submit, delete on the answer.
 *
 * What fails may be the centre's fault or its own. The first time it waits until the centre answers again; what
 * fails once more is tried under the trial's lock, and halved until the culprit is alone: that becomes a suspect,
 * and the lane goes on around its thread. A row is deleted only when it was answered for. */
#include "service/connector_drain.h"

#include <stdlib.h>
#include <string.h>

#include "core/pbjson.h"
#include "ops/failpoint.h"
#include "ops/log.h"

enum { HELD_MAX = 256, PIECES_MAX = 64 };

enum drain_step {
    DRAIN_IDLE,
    DRAIN_READING,
    DRAIN_SUBMITTING,
    DRAIN_DELETING,
    DRAIN_WAITING,   /* for the centre */
    DRAIN_IN_TRIAL,  /* asked for the lock, or for a probe */
    DRAIN_ANNOUNCING /* the token was refused */
};

/* Rows from..to of the page, tried together. */
struct piece {
    size_t from, to;
    unsigned failures;
    bool is_trial, is_dead;
    struct err why;
};

struct connector_drain {
    struct lane *lane;
    enum drain_step step;
    struct spool_page *page;
    struct spool_row *rows; /* those of the page that are submitted, in order; in its arena */
    Guichet__V1__InboundEvent **events;
    size_t row_count;
    struct spool_row *voids; /* of the page */
    size_t void_count;
    struct piece pieces[PIECES_MAX]; /* the last is the next */
    size_t piece_count;
    uint32_t held[HELD_MAX]; /* threads of suspects */
    size_t held_count;
    uint64_t seen_rows; /* so many were there when none could be read; UINT64_MAX: not known */
    uint32_t token_generation;
    struct void_share share;
    bool is_stale;                      /* the page was read for other accounts than are served now */
    bool was_forbidden, has_deleted_to; /* has_deleted_to: the first piece's deletion is what waits */
    size_t delete_from, delete_to;
};

static void next_piece(struct connector_drain *drain);
static void submit_piece(struct connector_drain *drain);
static void on_submitted(const Guichet__V1__SubmitReply *reply, void *arg);
static void on_reannounced(void *arg, bool is_announced);
static void delete_rows(struct connector_drain *drain);

static struct connector_runtime *runtime_of(const struct connector_drain *drain)
{
    return drain->lane->lanes->runtime;
}

static void drain_wait(struct connector_drain *drain)
{
    drain->step = DRAIN_WAITING;
    connector_trials_watch(drain->lane->lanes->trials);
}

/* The page is done with, or given back: what was not deleted is read again. */
static void end_page(struct connector_drain *drain)
{
    spool_page_free(&drain->page);
    drain->piece_count = drain->row_count = drain->void_count = 0;
    drain->is_stale = false;
    drain->step = DRAIN_IDLE;
    connector_drain_kick(drain);
}

/* ---- reading ---- */

static bool is_held(const struct connector_drain *drain, uint32_t thread_key)
{
    for (size_t i = 0; i < drain->held_count; i++)
        if (drain->held[i] == thread_key)
            return true;
    return false;
}

static void push_piece(struct connector_drain *drain, struct piece piece)
{
    if (piece.from < piece.to && drain->piece_count < PIECES_MAX)
        drain->pieces[drain->piece_count++] = piece;
}

/* Its thread waits from here on; the lane does not. false: there are too many suspects. */
static bool suspect(struct connector_drain *drain, const struct spool_row *row, uint32_t attempts)
{
    if (drain->held_count == HELD_MAX ||
        !connector_suspect_add(drain->lane->lanes->trials, drain->lane, row, attempts))
        return false;
    drain->held[drain->held_count++] = row->thread_key;
    return true;
}

/* Takes one row into the list. false: it cannot be read, and goes alone, as bytes. */
static bool take_row(struct connector_drain *drain, const struct spool_row *row)
{
    ProtobufCMessage *event = NULL;
    struct err err = { 0 };

    if (row->is_damaged || !pb_unpack(row->bytes, &guichet__v1__inbound_event__descriptor, &pb_limits_default,
                                      drain->page->arena, &event, &err))
        event = NULL;
    drain->rows[drain->row_count] = *row;
    drain->events[drain->row_count++] = (Guichet__V1__InboundEvent *)event;
    return event != NULL;
}

/* Pieces are a stack: pushed from the last to the first, cut at every row that cannot be read. */
static void make_pieces(struct connector_drain *drain)
{
    size_t to = drain->row_count;

    drain->piece_count = 0;
    for (size_t i = drain->row_count; i-- > 0;) {
        struct piece dead = { .from = i, .to = i + 1, .is_dead = true };

        if (drain->events[i] != NULL)
            continue;
        if (drain->piece_count > PIECES_MAX / 2) { /* the others in a page of their own */
            drain->piece_count = 0;
            drain->row_count = to = i + 1;
        }
        push_piece(drain, (struct piece){ .from = i + 1, .to = to });
        err_set(&dead.why, ERR_INVALID, "its bytes were damaged in the spool");
        push_piece(drain, dead);
        to = i;
    }
    push_piece(drain, (struct piece){ .from = 0, .to = to });
}

static void sort_rows(struct connector_drain *drain)
{
    for (size_t i = 0; i < drain->page->count; i++) {
        const struct spool_row *row = &drain->page->rows[i];

        if (row->kind == SPOOL_VOID)
            drain->voids[drain->void_count++] = *row;
        else if (!is_held(drain, row->thread_key) &&
                 (row->attempts == 0 || !suspect(drain, row, row->attempts)))
            take_row(drain, row);
    }
    make_pieces(drain);
}

static void on_read(void *arg, struct spool_page *page, const struct err *err)
{
    struct connector_drain *drain = arg;

    if (runtime_of(drain)->is_closing) {
        spool_page_free(&page);
        return;
    }
    if (page == NULL) {
        log_event(LOG_ERROR, "spool_read_failed", LOG_ERR(err));
        drain_wait(drain);
        return;
    }
    drain->page = page;
    drain->row_count = drain->void_count = 0;
    drain->rows = arena_alloc(page->arena, (page->count + 1) * sizeof(*drain->rows));
    drain->voids = arena_alloc(page->arena, (page->count + 1) * sizeof(*drain->voids));
    drain->events = arena_alloc(page->arena, (page->count + 1) * sizeof(*drain->events));
    sort_rows(drain);
    if (drain->row_count > 0 || drain->void_count > 0) {
        next_piece(drain);
        return;
    }
    if (!drain->is_stale)
        drain->seen_rows =
            spool_lane_rows(runtime_of(drain)->spool, drain->lane->account, drain->lane->index);
    end_page(drain);
}

static void read_page(struct connector_drain *drain)
{
    struct connector_runtime *runtime = runtime_of(drain);
    struct spool_query query = {
        .kind = SPOOL_EVENT,
        .account = drain->lane->account,
        .lane = drain->lane->index,
        .held_threads = drain->held,
        .held_thread_count = drain->held_count,
        .rows_max = runtime->config->batch_events_max,
        .bytes_max = runtime->config->batch_bytes_max,
    };
    uint32_t *refused = calloc(runtime->slot_count, sizeof(*refused));

    if (refused == NULL)
        abort();
    for (size_t i = 0; i < runtime->slot_count; i++)
        if (runtime->slots[i].is_refused)
            refused[query.held_account_count++] = (uint32_t)i;
    query.held_accounts = refused;
    drain->step = DRAIN_READING;
    spool_read(runtime->spool, &query, on_read, drain);
    free(refused);
}

void connector_drain_kick(struct connector_drain *drain)
{
    struct connector_runtime *runtime = runtime_of(drain);
    uint64_t rows;

    if (runtime->spool == NULL || runtime->is_closing || drain->step != DRAIN_IDLE ||
        spool_is_scanning(runtime->spool) || (drain->lane->sending != NULL && !drain->lane->is_appending))
        return;
    rows = spool_lane_rows(runtime->spool, drain->lane->account, drain->lane->index);
    if (rows == 0 || rows == drain->seen_rows)
        return;
    drain->seen_rows = UINT64_MAX;
    read_page(drain);
}

/* ---- submitting ---- */

static struct piece *current(struct connector_drain *drain)
{
    return &drain->pieces[drain->piece_count - 1];
}

static void on_trial(void *arg, bool is_answering)
{
    struct connector_drain *drain = arg;

    if (is_answering && !runtime_of(drain)->is_closing) {
        submit_piece(drain);
        return;
    }
    if (is_answering)
        connector_trial_end(drain->lane->lanes->trials);
    drain_wait(drain);
}

static void drop_empty(struct connector_drain *drain)
{
    while (drain->piece_count > 0 && current(drain)->from == current(drain)->to)
        drain->piece_count--;
}

static void next_piece(struct connector_drain *drain)
{
    drop_empty(drain);
    if (drain->is_stale || (drain->piece_count == 0 && drain->void_count == 0)) {
        end_page(drain);
    } else if (drain->piece_count > 0 && current(drain)->is_trial) {
        drain->step = DRAIN_IN_TRIAL;
        connector_trial_want(drain->lane->lanes->trials, drain->lane, on_trial, drain);
    } else {
        submit_piece(drain);
    }
}

/* Voids without any event left go alone, with an empty piece. */
static void submit_piece(struct connector_drain *drain)
{
    struct connector_runtime *runtime = runtime_of(drain);
    struct submit call = {
        .void_rows = drain->voids,
        .void_count = drain->void_count,
        .timeout_ms = runtime->config->submit_attempt_timeout_ms,
    };
    struct piece *piece;

    if (drain->piece_count == 0)
        drain->pieces[drain->piece_count++] = (struct piece){ 0 };
    piece = current(drain);
    call.is_single = piece->is_trial;
    if (piece->is_dead) {
        const struct spool_row *row = &drain->rows[piece->from];

        call.dead = connector_dead_row(drain->page->arena, runtime->slots[row->account].account->id,
                                       drain->events[piece->from], row, piece->why.text, row->attempts + 1);
    } else {
        call.events = drain->events + piece->from;
        call.event_count = piece->to - piece->from;
    }
    drain->step = DRAIN_SUBMITTING;
    if (!connector_submit(drain->lane, &call, on_submitted, drain)) {
        if (piece->is_trial)
            connector_trial_end(drain->lane->lanes->trials);
        drain_wait(drain);
        return;
    }
    drain->token_generation = call.token_generation;
    drain->share = call.share;
    for (size_t i = piece->from; i < piece->to && !call.share.is_alone; i++)
        connector_count(runtime, CONNECTOR_EVENTS_SUBMITTED, runtime->slots[drain->rows[i].account].account,
                        1);
}

/* ---- failures ---- */

static void split(struct connector_drain *drain, const struct piece *piece, bool is_trial)
{
    size_t middle = piece->from + (piece->to - piece->from) / 2;

    push_piece(drain, (struct piece){ .from = middle, .to = piece->to, .is_trial = is_trial });
    push_piece(drain, (struct piece){ .from = piece->from, .to = middle, .is_trial = is_trial });
}

/* Rows of a thread that waits are left in the spool: they are taken out of what is still to be tried. */
static void drop_thread(struct connector_drain *drain, uint32_t thread_key)
{
    for (size_t i = 0; i < drain->piece_count; i++) {
        struct piece *piece = &drain->pieces[i];
        size_t kept = piece->from;

        for (size_t j = piece->from; j < piece->to; j++)
            if (drain->rows[j].thread_key != thread_key) {
                drain->rows[kept] = drain->rows[j];
                drain->events[kept++] = drain->events[j];
            }
        piece->to = kept;
    }
}

/* It may be its own fault. */
static void on_doubt(struct connector_drain *drain, const struct err *err)
{
    struct piece piece = *current(drain);

    if (drain->share.is_alone) {
        drain_wait(drain);
        return;
    }
    if (!piece.is_trial) {
        current(drain)->failures++;
        current(drain)->is_trial =
            piece.failures > 0; /* failed again, though the centre answered in between */
        drain_wait(drain);
        return;
    }
    log_event(LOG_WARN, "spool_batch_suspected", LOG_NUMBER("events", piece.to - piece.from), LOG_ERR(err));
    if (piece.is_dead || piece.to - piece.from == 0) {
        drain_wait(drain);
    } else if (piece.to - piece.from > 1) {
        drain->piece_count--;
        split(drain, &piece, true);
        next_piece(drain);
    } else if (suspect(drain, &drain->rows[piece.from], drain->rows[piece.from].attempts + 1)) {
        drain->piece_count--;
        drop_thread(drain, drain->held[drain->held_count - 1]);
        next_piece(drain);
    } else {
        drain_wait(drain);
    }
}

static void on_invalid(struct connector_drain *drain, const struct err *err)
{
    struct piece *piece = current(drain), whole = *piece;

    if (whole.to - whole.from > 1) {
        drain->piece_count--;
        split(drain, &whole, whole.is_trial);
        next_piece(drain);
    } else if (!whole.is_dead && whole.to > whole.from) {
        piece->is_dead = true;
        piece->why = *err;
        next_piece(drain);
    } else {
        log_event(LOG_ERROR, "spool_event_stuck", LOG_ERR(err));
        drain_wait(drain);
    }
}

static void on_failed(struct connector_drain *drain, const struct err *err)
{
    switch (err->kind) {
    case ERR_CANCELED:
        drain->step = DRAIN_WAITING;
        break;
    case ERR_FORBIDDEN:
        if (drain->was_forbidden) {
            drain->was_forbidden = false;
            drain_wait(drain);
            break;
        }
        drain->was_forbidden = true;
        drain->step = DRAIN_ANNOUNCING;
        connector_announce_again(runtime_of(drain), drain->token_generation, on_reannounced, drain);
        break;
    case ERR_INVALID:
        on_invalid(drain, err);
        break;
    case ERR_UNAVAILABLE:
    case ERR_DEADLINE:
    case ERR_INTERNAL:
        on_doubt(drain, err);
        break;
    default:
        drain_wait(drain);
        break;
    }
}

static void on_reannounced(void *arg, bool is_announced)
{
    struct connector_drain *drain = arg;

    (void)is_announced;
    if (!runtime_of(drain)->is_closing)
        drain_wait(drain);
}

/* ---- answers ---- */

static bool is_answered(const struct connector_drain *drain, const struct piece *piece,
                        const Guichet__V1__SubmitReply *reply)
{
    if (reply->n_results != piece->to - piece->from)
        return false;
    for (size_t i = piece->from; i < piece->to; i++)
        if (!connector_is_answer(piece->is_dead ? NULL : drain->events[i]->event_key,
                                 reply->results[i - piece->from]))
            return false;
    return true;
}

static void count_answers(struct connector_drain *drain, const struct piece *piece,
                          const Guichet__V1__SubmitReply *reply)
{
    struct connector_runtime *runtime = runtime_of(drain);

    for (size_t i = piece->from; i < piece->to; i++)
        connector_count_answer(runtime, runtime->slots[drain->rows[i].account].account,
                               reply->results[i - piece->from]);
}

/* Those told go; refused beside events, they are told again, apart. */
static void on_voids_answered(struct connector_drain *drain)
{
    drain->delete_from = drain->delete_to = 0;
    if (drain->share.is_alone)
        delete_rows(drain);
    else
        next_piece(drain);
}

static void on_submitted(const Guichet__V1__SubmitReply *reply, void *arg)
{
    struct connector_drain *drain = arg;
    struct piece *piece = current(drain);
    struct err err = { 0 };

    if (reply == NULL)
        err = *mesh_err();
    else if (!drain->share.is_alone && !is_answered(drain, piece, reply))
        err_set(&err, ERR_INTERNAL, "the results are not those of the events");
    else if (FAILPOINT("connector_after_drain_submit_before_delete"))
        err_set(&err, ERR_UNAVAILABLE, "failpoint");
    if (piece->is_trial)
        connector_trial_end(drain->lane->lanes->trials);
    if (connector_voids_answered(drain->lane, &drain->share, &err)) {
        on_voids_answered(drain);
        return;
    }
    if (err.kind != ERR_NONE) {
        on_failed(drain, &err);
        return;
    }
    drain->was_forbidden = false;
    connector_trials_heard(drain->lane->lanes->trials);
    count_answers(drain, piece, reply);
    drain->delete_from = piece->from;
    drain->delete_to = piece->to;
    drain->piece_count--;
    delete_rows(drain);
}

/* What was answered for is not submitted again because it cannot be deleted now: that is tried until it can. */
static void on_deleted(void *arg, const struct err *err)
{
    struct connector_drain *drain = arg;

    if (runtime_of(drain)->is_closing)
        return;
    if (err->kind != ERR_NONE) {
        drain->has_deleted_to = true;
        log_event(LOG_ERROR, "spool_delete_failed", LOG_ERR(err));
        drain_wait(drain);
        return;
    }
    drain->has_deleted_to = false;
    next_piece(drain);
}

/* The voids that were told go as well; when that fails they are told once more. */
static void delete_rows(struct connector_drain *drain)
{
    size_t count = drain->delete_to - drain->delete_from, void_count = drain->share.row_count;
    struct spool_row *rows = calloc(count + void_count + 1, sizeof(*rows));

    if (rows == NULL)
        abort();
    memcpy(rows, drain->rows + drain->delete_from, count * sizeof(*rows));
    memcpy(rows + count, drain->voids, void_count * sizeof(*rows));
    drain->step = DRAIN_DELETING;
    spool_delete(runtime_of(drain)->spool, rows, count + void_count, on_deleted, drain);
    connector_voids_drop_rows(&drain->voids, &drain->void_count, &drain->share);
    free(rows);
}

/* ---- for the trials ---- */

bool connector_drain_is_moving(const struct connector_drain *drain)
{
    return drain->held_count == 0 &&
           (drain->step == DRAIN_READING || drain->step == DRAIN_SUBMITTING || drain->step == DRAIN_DELETING);
}

bool connector_drain_is_waiting(const struct connector_drain *drain)
{
    return drain->step == DRAIN_WAITING;
}

void connector_drain_retry(struct connector_drain *drain)
{
    if (drain->step != DRAIN_WAITING)
        return;
    if (drain->has_deleted_to)
        delete_rows(drain);
    else if (drain->page == NULL)
        end_page(drain);
    else
        next_piece(drain);
}

void connector_drain_refresh(struct connector_drain *drain)
{
    drain->seen_rows = UINT64_MAX;
    if (drain->step == DRAIN_WAITING && !drain->has_deleted_to) { /* with a page that was read before */
        spool_page_free(&drain->page);
        drain->piece_count = drain->row_count = drain->void_count = 0;
    }
    connector_drain_kick(drain);
}

void connector_drain_reread(struct connector_drain *drain)
{
    drain->is_stale = drain->step != DRAIN_IDLE;
    connector_drain_refresh(drain);
}

void connector_drain_release(struct connector_drain *drain, uint32_t thread_key)
{
    size_t kept = 0;
    bool is_one_gone = false;

    for (size_t i = 0; i < drain->held_count; i++) {
        if (drain->held[i] == thread_key && !is_one_gone)
            is_one_gone = true;
        else
            drain->held[kept++] = drain->held[i];
    }
    drain->held_count = kept;
    connector_drain_refresh(drain);
}

/* ---- life ---- */

struct connector_drain *connector_drain_new(struct lane *lane)
{
    struct connector_drain *drain = calloc(1, sizeof(*drain));

    if (drain == NULL)
        abort();
    drain->lane = lane;
    drain->seen_rows = UINT64_MAX;
    return drain;
}

void connector_drain_free(struct connector_drain **drain_ptr)
{
    struct connector_drain *drain = *drain_ptr;

    *drain_ptr = NULL;
    if (drain == NULL)
        return;
    spool_page_free(&drain->page);
    free(drain);
}
