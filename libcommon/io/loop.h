/* SPDX-License-Identifier: Apache-2.0 */
/* loop.h - the one event loop of a process (libuv), timers, posts from other threads, signals.
 *
 * Everything but loop_post() is called from the loop's thread. Callbacks never run
 * from inside the call that asked for them. A watchdog measures each turn: past
 * `loop_turn_max_ms` it counts and logs; with GUICHET_LOOP_ABORT=1 (tests) it aborts.
 * Time spent waiting for a processor is not counted. */
#ifndef GUICHET_IO_LOOP_H
#define GUICHET_IO_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "ops/stats.h"

struct loop;
struct loop_timer;

typedef void loop_fn(void *arg);

struct loop *loop_new(void);
void loop_free(struct loop **loop); /* runs what is closing to its end; a leak aborts in tests */
void loop_run(struct loop *loop);   /* until loop_stop() */
void loop_stop(struct loop *loop);
/* One turn, waiting at most max_ms; for tests. */
void loop_turn(struct loop *loop, uint32_t max_ms);
uv_loop_t *loop_uv(struct loop *loop);         /* for libcommon/io only */
uint64_t loop_now_ms(const struct loop *loop); /* monotonic, cached per turn */

/* Thread-safe. fn(arg) runs once on the loop, in the order posted. Never drops. */
void loop_post(struct loop *loop, loop_fn *fn, void *arg);
/* Runs fn(arg) in the next turn; from the loop's thread only. */
void loop_defer(struct loop *loop, loop_fn *fn, void *arg);

struct loop_timer *loop_timer_new(struct loop *loop, loop_fn *fn, void *arg);
void loop_timer_start(struct loop_timer *timer, uint64_t delay_ms, uint64_t repeat_ms); /* restarts */
void loop_timer_stop(struct loop_timer *timer);
bool loop_timer_is_active(const struct loop_timer *timer);
void loop_timer_free(struct loop_timer **timer);

/* Readiness of a descriptor that somebody else owns. Free it before the descriptor is closed. */
struct loop_poll;
typedef void loop_poll_fn(void *arg, int events /* UV_READABLE | UV_WRITABLE */, int status);
struct loop_poll *loop_poll_new(struct loop *loop, int fd, loop_poll_fn *fn, void *arg);
void loop_poll_start(struct loop_poll *poll, int events);
void loop_poll_stop(struct loop_poll *poll);
void loop_poll_free(struct loop_poll **poll);

/* Runs fn(arg) on the loop at SIGTERM/SIGINT (on_term) and SIGHUP (on_hup, may be NULL). */
void loop_on_signals(struct loop *loop, loop_fn *on_term, loop_fn *on_hup, void *arg);

/* Tells the watchdog that this turn may be long (start-up, failpoint sleep). */
void loop_excuse(struct loop *loop);
void loop_set_turn_max_ms(struct loop *loop, uint32_t max_ms); /* 50 unless set */
uint64_t loop_long_turns(const struct loop *loop);             /* how many were past it; for tests */

/* For --describe. */
extern const struct stat_info loop_stats[];
extern const size_t loop_stats_count;

#endif
