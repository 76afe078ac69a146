/* SPDX-License-Identifier: Apache-2.0 */
/* worker.c - one or two threads with a bounded queue.
 *
 * Not libuv's thread pool: that one is shared with name resolution and files, and its
 * queue has no bound. A job belongs to exactly one place at a time: the queue, a
 * thread, or the loop's posts. done() needs nothing of the worker, so it may still
 * come after worker_free(). */
#include "io/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#define THREADS_MAX 8
#define STACK_BYTES (1024 * 1024) /* protobuf-c recurses: never less */

struct job {
    worker_fn *work;
    worker_done_fn *done;
    void *arg;
    struct err err;
    struct job *next;
};

struct worker {
    struct loop *loop;
    pthread_mutex_t mutex;
    pthread_cond_t has_work;
    struct job *first, **last;
    uint32_t queued, queue_max;
    bool is_stopping;
    pthread_t threads[THREADS_MAX];
    uint32_t thread_count;
};

static void on_job_done(void *arg)
{
    struct job *job = arg;

    job->done(job->arg, &job->err);
    free(job);
}

/* Waits for a job; NULL: the worker stops. */
static struct job *next_job(struct worker *worker)
{
    struct job *job;

    pthread_mutex_lock(&worker->mutex);
    while (worker->first == NULL && !worker->is_stopping)
        pthread_cond_wait(&worker->has_work, &worker->mutex);
    job = worker->is_stopping ? NULL : worker->first;
    if (job != NULL) {
        worker->first = job->next;
        if (worker->first == NULL)
            worker->last = &worker->first;
        worker->queued--;
    }
    pthread_mutex_unlock(&worker->mutex);
    return job;
}

static void *run_jobs(void *arg)
{
    struct worker *worker = arg;
    struct job *job;

    while ((job = next_job(worker)) != NULL) {
        job->work(job->arg);
        loop_post(worker->loop, on_job_done, job);
    }
    return NULL;
}

/* Signals are the loop thread's. */
static void start_threads(struct worker *worker, uint32_t count)
{
    pthread_attr_t attributes;
    sigset_t all, before;

    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (uint32_t i = 0; i < count; i++) {
        if (pthread_create(&worker->threads[i], &attributes, run_jobs, worker) != 0)
            abort();
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    worker->thread_count = count;
}

struct worker *worker_new(struct loop *loop, uint32_t threads, uint32_t queue_max)
{
    struct worker *worker = calloc(1, sizeof(*worker));

    if (worker == NULL || pthread_mutex_init(&worker->mutex, NULL) != 0 ||
        pthread_cond_init(&worker->has_work, NULL) != 0)
        abort();
    worker->loop = loop;
    worker->last = &worker->first;
    worker->queue_max = queue_max;
    start_threads(worker, threads == 0 ? 1 : threads < THREADS_MAX ? threads : THREADS_MAX);
    return worker;
}

void worker_free(struct worker **worker_ptr)
{
    struct worker *worker = *worker_ptr;
    struct job *next;

    if (worker == NULL)
        return;
    *worker_ptr = NULL;
    pthread_mutex_lock(&worker->mutex);
    worker->is_stopping = true;
    pthread_cond_broadcast(&worker->has_work);
    pthread_mutex_unlock(&worker->mutex);
    for (uint32_t i = 0; i < worker->thread_count; i++)
        pthread_join(worker->threads[i], NULL);
    for (struct job *job = worker->first; job != NULL; job = next) {
        next = job->next;
        err_set(&job->err, ERR_CANCELED, "the worker stops");
        loop_post(worker->loop, on_job_done, job);
    }
    pthread_cond_destroy(&worker->has_work);
    pthread_mutex_destroy(&worker->mutex);
    free(worker);
}

static bool enqueue(struct worker *worker, struct job *job)
{
    bool has_room;

    pthread_mutex_lock(&worker->mutex);
    has_room = worker->queued < worker->queue_max;
    if (has_room) {
        *worker->last = job;
        worker->last = &job->next;
        worker->queued++;
        pthread_cond_signal(&worker->has_work);
    }
    pthread_mutex_unlock(&worker->mutex);
    return has_room;
}

void worker_start(struct worker *worker, worker_fn *work, worker_done_fn *done, void *arg)
{
    struct job *job = calloc(1, sizeof(*job));

    if (job == NULL)
        abort();
    job->work = work;
    job->done = done;
    job->arg = arg;
    if (!enqueue(worker, job)) {
        err_set(&job->err, ERR_EXHAUSTED, "the worker's queue of %u is full", worker->queue_max);
        loop_defer(worker->loop, on_job_done, job);
    }
}
