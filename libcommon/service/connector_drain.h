/* SPDX-License-Identifier: Apache-2.0 */
/* connector_drain.h - out of the spool: rows of a lane in their order (connector_drain.c), and what may break whoever
 * gets it, alone and after a probe (connector_trial.c). */
#ifndef GUICHET_SERVICE_CONNECTOR_DRAIN_H
#define GUICHET_SERVICE_CONNECTOR_DRAIN_H

#include "service/connector_lane.h"

/* ---- connector_drain.c ---- */

struct connector_drain *connector_drain_new(struct lane *lane);
void connector_drain_free(struct connector_drain **drain);
void connector_drain_kick(struct connector_drain *drain);    /* looks whether there is something to do */
void connector_drain_retry(struct connector_drain *drain);   /* the centre answers again, or may by now */
void connector_drain_refresh(struct connector_drain *drain); /* what could not be read before, may be now */
void connector_drain_reread(struct connector_drain *drain);  /* other accounts are served than before */
bool connector_drain_is_moving(const struct connector_drain *drain); /* rows are on their way out just now */
bool connector_drain_is_waiting(const struct connector_drain *drain);
void connector_drain_release(struct connector_drain *drain,
                             uint32_t thread_key); /* of a suspect that is gone */

/* ---- connector_trial.c ---- */

struct connector_trials *connector_trials_new(struct connector_lanes *lanes);
void connector_trials_free(struct connector_trials **trials);
/* Somebody waits for the centre: it is asked, with growing pauses, and then every waiting drain is told. */
void connector_trials_watch(struct connector_trials *trials);
void connector_trials_heard(struct connector_trials *trials); /* the centre has recorded something */

/* One trial at a time, so that nobody is blamed for another's fault: run() comes after a probe, whose answer it is
 * told; who was told true calls connector_trial_end() when the attempt is over. */
typedef void connector_trial_fn(void *arg, bool is_answering);
void connector_trial_want(struct connector_trials *trials, struct lane *lane, connector_trial_fn *run,
                          void *arg);
void connector_trial_end(struct connector_trials *trials);

/* The row failed alone, in a trial. It is tried apart from its lane, which goes on around its thread until
 * connector_drain_release(). false: there are too many already. */
bool connector_suspect_add(struct connector_trials *trials, struct lane *lane, const struct spool_row *row,
                           uint32_t attempts);

#endif
