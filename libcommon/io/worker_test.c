/* SPDX-License-Identifier: Apache-2.0 */
/* worker_test.c - every job ends in exactly one done(), on the loop. */
#include "io/worker.h"

#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <setjmp.h>

#include <cmocka.h>

#define WAIT_MS 10000

struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t opened;
    bool is_open;
};

struct job {
    struct gate *gate;
    pthread_t worked_on, done_on;
    bool is_worked;
    uint32_t done_count;
    enum err_kind kind;
};

static struct gate gate_closed(void)
{
    return (struct gate){ PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false };
}

static void gate_open(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    gate->is_open = true;
    pthread_cond_broadcast(&gate->opened);
    pthread_mutex_unlock(&gate->mutex);
}

static void work(void *arg)
{
    struct job *job = arg;

    if (job->gate != NULL) {
        pthread_mutex_lock(&job->gate->mutex);
        while (!job->gate->is_open)
            pthread_cond_wait(&job->gate->opened, &job->gate->mutex);
        pthread_mutex_unlock(&job->gate->mutex);
    }
    job->worked_on = pthread_self();
    job->is_worked = true;
}

static void on_done(void *arg, const struct err *err)
{
    struct job *job = arg;

    job->done_on = pthread_self();
    job->done_count++;
    job->kind = err->kind;
}

static bool all_done(const struct job *jobs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (jobs[i].done_count == 0)
            return false;
    }
    return true;
}

static void wait_for(struct loop *loop, const struct job *jobs, size_t count)
{
    uint64_t until = loop_now_ms(loop) + WAIT_MS;

    while (!all_done(jobs, count) && loop_now_ms(loop) < until)
        loop_turn(loop, 100);
    assert_true(all_done(jobs, count));
}

static void work_runs_elsewhere_and_ends_on_the_loop(void **state)
{
    struct loop *loop = loop_new();
    struct worker *worker = worker_new(loop, 2, 100);
    struct job jobs[50] = { 0 };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(jobs); i++)
        worker_start(worker, work, on_done, &jobs[i]);
    wait_for(loop, jobs, COUNT_OF(jobs));
    for (size_t i = 0; i < COUNT_OF(jobs); i++) {
        assert_int_equal(jobs[i].done_count, 1);
        assert_int_equal(jobs[i].kind, ERR_NONE);
        assert_true(jobs[i].is_worked);
        assert_false(pthread_equal(jobs[i].worked_on, pthread_self()));
        assert_true(pthread_equal(jobs[i].done_on, pthread_self()));
    }
    worker_free(&worker);
    loop_free(&loop);
}

static void past_the_queue_a_job_is_refused_not_run(void **state)
{
    struct loop *loop = loop_new();
    struct worker *worker = worker_new(loop, 1, 2);
    struct gate gate = gate_closed();
    struct job jobs[6] = { 0 };
    uint32_t refused = 0;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(jobs); i++) {
        jobs[i].gate = &gate;
        worker_start(worker, work, on_done, &jobs[i]);
        assert_int_equal(jobs[i].done_count, 0); /* never from inside start */
    }
    gate_open(&gate);
    wait_for(loop, jobs, COUNT_OF(jobs));
    for (size_t i = 0; i < COUNT_OF(jobs); i++) {
        assert_int_equal(jobs[i].done_count, 1);
        assert_true(jobs[i].is_worked == (jobs[i].kind == ERR_NONE));
        refused += jobs[i].kind == ERR_EXHAUSTED;
    }
    assert_in_range(refused, 3, 4); /* one may have been taken by the thread in between */
    worker_free(&worker);
    loop_free(&loop);
}

static void *open_later(void *arg)
{
    struct timespec wait = { 0, 50 * 1000 * 1000 };

    nanosleep(&wait, NULL);
    gate_open(arg);
    return NULL;
}

static void free_waits_for_what_runs_and_cancels_the_rest(void **state)
{
    struct loop *loop = loop_new();
    struct worker *worker = worker_new(loop, 1, 10);
    struct gate gate = gate_closed();
    struct job jobs[4] = { 0 };
    uint32_t canceled = 0;
    pthread_t opener;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(jobs); i++) {
        jobs[i].gate = &gate;
        worker_start(worker, work, on_done, &jobs[i]);
    }
    assert_int_equal(pthread_create(&opener, NULL, open_later, &gate), 0);
    worker_free(&worker);
    assert_null(worker);
    pthread_join(opener, NULL);
    wait_for(loop, jobs, COUNT_OF(jobs));
    for (size_t i = 0; i < COUNT_OF(jobs); i++) {
        assert_int_equal(jobs[i].done_count, 1);
        assert_true(jobs[i].is_worked == (jobs[i].kind == ERR_NONE));
        canceled += jobs[i].kind == ERR_CANCELED;
    }
    assert_in_range(canceled, 3, 4);
    loop_free(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_runs_elsewhere_and_ends_on_the_loop),
        cmocka_unit_test(past_the_queue_a_job_is_refused_not_run),
        cmocka_unit_test(free_waits_for_what_runs_and_cancels_the_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
