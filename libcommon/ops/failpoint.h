/* SPDX-License-Identifier: Apache-2.0 */
/* failpoint.h - named places where a test may make the process fail.
 *
 * Compiled in with -DGUICHET_FAILPOINTS only (test builds); elsewhere FAILPOINT() is
 * false and costs nothing. GUICHET_FAILPOINT="name:action[,name:action…]", action one of
 *   kill         SIGKILL to ourselves, at the first pass
 *   kill@N       … at the N-th pass
 *   error        FAILPOINT() is true: the caller takes its failure path
 *   error@N      … at the N-th pass only
 *   drop         as error; used where something is to be lost silently
 *   sleep=MS     blocks the thread (the watchdog is told)
 * Every pass at an armed point writes the log line event=failpoint name=… pass=N.
 * All names stand in failpoint.c's table, with what they are for; an unknown name in
 * the variable stops the start. `SERVICE --failpoints` prints the table. */
#ifndef GUICHET_OPS_FAILPOINT_H
#define GUICHET_OPS_FAILPOINT_H

#include <stdbool.h>

#include "core/err.h"

#ifdef GUICHET_FAILPOINTS
bool failpoint_hit(const char *name);
#define FAILPOINT(name) failpoint_hit(name)
#else
#define FAILPOINT(name) false
#endif

/* Reads GUICHET_FAILPOINT. In builds without failpoints a set variable is an error. */
bool failpoint_init(struct err *err) MUST_USE;
void failpoint_print_all(void);
/* Called before a sleep, so that the watchdog can be told: the service skeleton gives loop_excuse(). */
typedef void failpoint_excuse_fn(void *arg);
void failpoint_set_excuse(failpoint_excuse_fn *fn, void *arg);

#endif
