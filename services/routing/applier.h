/* SPDX-License-Identifier: Apache-2.0 */
/* applier.h - what applier.c (reading and applying) and lease.c (who may, who waits) share; private to both. */
#ifndef GUICHET_ROUTING_APPLIER_H
#define GUICHET_ROUTING_APPLIER_H

#include <sys/queue.h>

#include "core/id.h"
#include "routing.h"

enum { EPOCH_BYTES = 64 };

enum routing_feed_step { FEED_IDLE, FEED_READING, FEED_APPLYING };

struct routing_waiter {
    TAILQ_ENTRY(routing_waiter) link;
    struct loop_timer *timer;
    struct routing_feed *feed;
    uint64_t sequence;
    bool is_ready;
    routing_applied_fn *done;
    void *arg;
};

struct routing_feed {
    struct routing_applier *applier;
    const char *tenant;
    enum routing_feed_step step;
    bool is_held, is_broken, is_kicked;
    bool is_behind; /* more was there than one batch takes */
    bool is_forwarding, is_forwarded_again;
    uint64_t fencing, cursor, last_sequence;
    char epoch[EPOCH_BYTES];
    uint32_t limit; /* halves while a bad change is looked for */
    struct loop_timer *retry_timer;
    uint32_t retry_ms;
    uint64_t apply_started_ms;
    struct { /* the one change that cannot be applied */
        uint64_t sequence;
        uint32_t attempts;
    } culprit;
    struct { /* of the batch being applied */
        uint64_t last, count;
        uint64_t refused;
        bool has_work;
        char epoch[EPOCH_BYTES];
        struct buf change; /* packed, when it is the only one */
    } batch;
    TAILQ_HEAD(, routing_waiter) waiters;
};

struct routing_applier {
    struct routing *routing;
    char holder[ID_TEXT_BYTES];
    struct routing_feed *feeds;
    size_t count;
    struct loop_timer *hold_timer, *poll_timer;
    bool is_holding; /* hold_feeds under way */
    bool is_looking, is_looking_again;
    bool is_stopped;
};

struct routing_feed *routing_lease_find(struct routing_applier *applier,
                                        const char *tenant); /* NULL: not ours */
void routing_lease_hold_now(void *applier);                  /* takes or renews what can be had */
void routing_lease_tell_waiters(struct routing_feed *feed);  /* the cursor has moved */
void routing_lease_end_waiters(struct routing_feed *feed);   /* all, at once */
/* If it is ours and nothing is under way. */
void routing_applier_read(struct routing_feed *feed);

#endif
