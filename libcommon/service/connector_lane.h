/* SPDX-License-Identifier: Apache-2.0 */
/* connector_lane.h - what the files of a lane share: events in (connector_lane.c), Submit (connector_submit.c),
 * out of the spool (connector_drain.h).
 *
 * A lane's batch under way is either submitted or appended to the spool. While the spool has rows of the lane it is
 * diverted: what comes in goes there too, and only the drain submits, so that a thread keeps its order. */
#ifndef GUICHET_SERVICE_CONNECTOR_LANE_H
#define GUICHET_SERVICE_CONNECTOR_LANE_H

#include "service/connector_spool.h"

struct connector_drain;
struct connector_trials;

struct lane_event {
    Guichet__V1__InboundEvent *event;
    struct connector_slot *slot;
    connector_recorded_fn *done;
    void *arg;
    size_t bytes;
    uint32_t thread_key;
    uint64_t added_ms;
};

/* Which voids a request told. */
struct void_share {
    uint32_t taken_id;  /* the lane's own up to this id; 0: none */
    size_t row_count;   /* so many of the given rows, whole */
    uint64_t part_last; /* and the row behind them up to here; 0: nothing of it */
    bool has_any, is_alone;
};

struct batch {
    struct lane_event *events;
    size_t count, size, bytes;
    uint32_t token_generation;
    uint64_t sent_ms;
    bool was_forbidden;
    bool is_dead; /* a single event that was refused as a whole: submitted as such */
    struct err why;
    struct arena *arena; /* what the spool is given */
    struct void_share share;
    struct batch *next;
};

/* Numbers whose events were not acknowledged after all. Told with the lane's next Submit, or kept in the spool
 * beside its next rows: a number is never above a hole that nobody explains. */
struct lane_voids {
    struct lane_void {
        uint64_t first, last;
        uint32_t id;
    } * ranges; /* by id: one that grows gets a new one */
    size_t count, size;
    uint32_t last_id;
    bool is_doubtful; /* a request with some of them was refused: the next ones go alone */
};

struct lane {
    struct connector_lanes *lanes;
    const char *tenant;
    uint32_t account;   /* one of the tenant's, for the spool */
    uint32_t index;     /* thread_key % lanes */
    uint32_t boot_lane; /* from 1, over all tenants */
    uint64_t boot_n;
    struct lane_voids voids;
    struct batch *sending;
    bool is_appending;          /* `sending` goes to the spool */
    struct batch *first, *last; /* waiting; the last is the one that forms */
    struct connector_drain *drain;
};

struct connector_lanes {
    struct connector_runtime *runtime;
    struct loop_timer
        *kick; /* idle lanes start at the end of the turn, so that one turn's events go together */
    struct loop_timer *hold_timer; /* looks at batches that are held back */
    struct lane *lanes;
    size_t lane_count;
    size_t waiting;
    struct connector_trials *trials;
};

/* ---- connector_lane.c ---- */

void connector_lane_next(struct lane *lane);
bool connector_lane_is_diverted(const struct lane *lane);

/* ---- connector_void.c ---- */

void connector_lane_void(struct lane *lane, uint64_t n);
void connector_lane_drop_voids(struct lane *lane, uint32_t taken_id);
/* As many as one request takes: rows of the spool, then the lane's own. false: there are more. */
bool connector_voids_fill(const struct lane *lane, const struct spool_row *rows, size_t row_count,
                          struct arena *arena, Guichet__V1__SubmitRequest *request,
                          struct void_share *share) MUST_USE;
/* What was told is no longer in the rows. */
void connector_voids_drop_rows(struct spool_row **rows, size_t *count, struct void_share *share);
/* Takes the answer's part that is about voids. true: it was about nothing else, the events are still to be sent. */
bool connector_voids_answered(struct lane *lane, const struct void_share *share, const struct err *err);

/* ---- connector_submit.c ---- */

/* One request: events or dead ones, with the lane's voids and those given. Voids that do not fit in beside the
 * events go without them (share.is_alone). false: no token, nothing was called. */
struct submit {
    Guichet__V1__InboundEvent **events;
    size_t event_count;
    Guichet__V1__DeadEvent *dead;      /* at most one */
    const struct spool_row *void_rows; /* rows of kind SPOOL_VOID */
    size_t void_count;
    uint32_t timeout_ms;
    bool is_single;            /* it may break who gets it: one replica, not the next as well */
    bool without_voids;        /* they were told, or are in the spool */
    uint32_t token_generation; /* given back, as is the share */
    struct void_share share;
};
bool connector_submit(struct lane *lane, struct submit *submit, Guichet__V1__SubmitReply_Closure closure,
                      void *arg) MUST_USE;
/* A dead event of a row; in the arena. */
Guichet__V1__DeadEvent *connector_dead_row(struct arena *arena, const char *account_id,
                                           const Guichet__V1__InboundEvent *event,
                                           const struct spool_row *row, const char *reason,
                                           uint32_t attempts);
/* The event as it is given up: its key made fit to be read. In the arena. */
Guichet__V1__DeadEvent *connector_dead_event(struct arena *arena, const char *account_id,
                                             const char *event_key, struct str_view packed,
                                             const char *reason, uint32_t attempts);
/* Only what routing says word for word counts as an answer. event_key NULL: any, for a dead event. */
bool connector_is_answer(const char *event_key, const Guichet__V1__Recorded *recorded);
enum connector_stat connector_stat_of(const Guichet__V1__Recorded *recorded);
void connector_count_answer(struct connector_runtime *runtime, const struct connector_account *account,
                            const Guichet__V1__Recorded *recorded); /* also logs a refused one */

#endif
