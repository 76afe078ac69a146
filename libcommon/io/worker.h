/* SPDX-License-Identifier: Apache-2.0 */
/* worker.h - what must block (argon2id, PQcancel, name resolution, SQLite's fsync) runs here.
 *
 * One or two threads, a bounded queue, results on the loop. `work` sees no object of
 * the loop's but its own arg. done() comes exactly once, from the loop. */
#ifndef GUICHET_IO_WORKER_H
#define GUICHET_IO_WORKER_H

#include "core/err.h"
#include "io/loop.h"

struct worker;

typedef void worker_fn(void *arg);                             /* on the worker's thread */
typedef void worker_done_fn(void *arg, const struct err *err); /* on the loop; ERR_EXHAUSTED: was not run */

struct worker *worker_new(struct loop *loop, uint32_t threads, uint32_t queue_max);
void worker_free(struct worker **worker); /* waits for what runs; the rest ends CANCELED */
void worker_start(struct worker *worker, worker_fn *work, worker_done_fn *done, void *arg);

#endif
