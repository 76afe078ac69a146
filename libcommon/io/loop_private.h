/* SPDX-License-Identifier: Apache-2.0 */
/* loop_private.h - what the files of the loop share; nobody else includes it. */
#ifndef GUICHET_IO_LOOP_PRIVATE_H
#define GUICHET_IO_LOOP_PRIVATE_H

#include "io/loop.h"

struct loop_watchdog;

typedef void loop_any_fn(void); /* a function that is named, never called */

/* What a turn of the loop ran longest, so that the watchdog can name it. */
struct loop_watchdog *loop_watchdog_new(uv_loop_t *uv);
void loop_watchdog_free(struct loop_watchdog **watchdog);
void loop_watchdog_begin(struct loop_watchdog *watchdog); /* the loop starts or goes on */
void loop_watchdog_end(struct loop_watchdog *watchdog);   /* a turn is over, the next begins */
void loop_watchdog_excuse(struct loop_watchdog *watchdog);
void loop_watchdog_set_max_ms(struct loop_watchdog *watchdog, uint32_t max_ms);
/* Runs fn(arg) and notes how long it took; `blamed` is what to name for it. */
void loop_watchdog_call(struct loop_watchdog *watchdog, loop_fn *fn, void *arg, loop_any_fn *blamed);
uint64_t loop_watchdog_long_turns(const struct loop_watchdog *watchdog);

struct loop_watchdog *loop_watchdog(struct loop *loop);

#endif
