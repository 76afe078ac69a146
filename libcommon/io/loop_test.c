/* SPDX-License-Identifier: Apache-2.0 */
/* loop_test.c - order and completeness of posts, timers, polls, and what the watchdog sees. */
#include "io/loop.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <setjmp.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/err.h"

#define POSTS_EACH 20000
#define WAIT_MS 10000

struct poster {
    struct loop *loop;
    pthread_t thread;
    uint32_t number;
    uint32_t *seen; /* how many came of each poster */
    uint32_t *total;
};

struct post {
    struct poster *poster;
    uint32_t index;
};

static void on_post(void *arg)
{
    struct post *post = arg;

    assert_int_equal(post->index, post->poster->seen[post->poster->number]);
    post->poster->seen[post->poster->number]++;
    (*post->poster->total)++;
    free(post);
}

static void *post_all(void *arg)
{
    struct poster *poster = arg;

    for (uint32_t i = 0; i < POSTS_EACH; i++) {
        struct post *post = malloc(sizeof(*post));

        if (post == NULL)
            abort();
        *post = (struct post){ poster, i };
        loop_post(poster->loop, on_post, post);
    }
    return NULL;
}

static void posts_of_threads_arrive_once_and_in_order(void **state)
{
    struct loop *loop = loop_new();
    uint32_t seen[3] = { 0 }, total = 0;
    struct poster posters[3];
    uint64_t until;

    (void)state;
    for (uint32_t i = 0; i < COUNT_OF(posters); i++) {
        posters[i] = (struct poster){ .loop = loop, .number = i, .seen = seen, .total = &total };
        assert_int_equal(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
    }
    for (until = loop_now_ms(loop) + WAIT_MS; total < 3 * POSTS_EACH && loop_now_ms(loop) < until;)
        loop_turn(loop, 100);
    assert_int_equal(total, 3 * POSTS_EACH);
    for (uint32_t i = 0; i < COUNT_OF(posters); i++)
        pthread_join(posters[i].thread, NULL);
    loop_free(&loop);
    assert_null(loop);
}

struct counted {
    struct loop *loop;
    struct loop_timer *timer;
    uint32_t count;
    uint64_t at_ms;
};

static void on_counted(void *arg)
{
    struct counted *counted = arg;

    counted->count++;
    counted->at_ms = uv_hrtime() / 1000000;
    loop_stop(counted->loop);
}

static void on_defer_again(void *arg)
{
    struct counted *counted = arg;

    if (++counted->count < 3)
        loop_defer(counted->loop, on_defer_again, counted);
}

static void deferred_runs_later_and_without_waiting(void **state)
{
    struct counted counted = { .loop = loop_new() };
    uint64_t started_ns = uv_hrtime();

    (void)state;
    loop_defer(counted.loop, on_defer_again, &counted);
    assert_int_equal(counted.count, 0);
    loop_turn(counted.loop, WAIT_MS);
    assert_int_equal(counted.count, 1);
    loop_turn(counted.loop, WAIT_MS);
    loop_turn(counted.loop, WAIT_MS);
    assert_int_equal(counted.count, 3);
    assert_true(uv_hrtime() - started_ns < 1000000000u);
    loop_free(&counted.loop);
}

static void count(void *arg)
{
    (*(uint32_t *)arg)++;
}

static void what_is_posted_before_free_still_runs(void **state)
{
    struct loop *loop = loop_new();
    uint32_t runs = 0;

    (void)state;
    loop_post(loop, count, &runs);
    loop_defer(loop, count, &runs);
    loop_free(&loop);
    assert_int_equal(runs, 2);
}

static void stop_before_run_is_not_lost(void **state)
{
    struct loop *loop = loop_new();

    (void)state;
    loop_stop(loop);
    loop_run(loop); /* would hang otherwise */
    loop_free(&loop);
}

static void timer_is_never_early_after_a_long_turn(void **state)
{
    struct counted counted = { .loop = loop_new() };
    uint64_t started_ms;

    (void)state;
    counted.timer = loop_timer_new(counted.loop, on_counted, &counted);
    usleep(40000); /* the loop's cached time is now old */
    started_ms = uv_hrtime() / 1000000;
    loop_timer_start(counted.timer, 30, 0);
    assert_true(loop_timer_is_active(counted.timer));
    loop_run(counted.loop);
    assert_int_equal(counted.count, 1);
    assert_true(counted.at_ms - started_ms >= 29);
    assert_false(loop_timer_is_active(counted.timer));
    loop_timer_free(&counted.timer);
    assert_null(counted.timer);
    loop_free(&counted.loop);
}

static void restart_at_zero(void *arg)
{
    struct counted *counted = arg;

    counted->count++;
    loop_timer_start(counted->timer, 0, 0);
}

static void timer_that_restarts_at_zero_lets_others_run(void **state)
{
    struct counted counted = { .loop = loop_new() };

    (void)state;
    counted.timer = loop_timer_new(counted.loop, restart_at_zero, &counted);
    loop_timer_start(counted.timer, 0, 0);
    for (int i = 0; i < 20; i++)
        loop_turn(counted.loop, 20);
    assert_in_range(counted.count, 1, 40);
    loop_timer_free(&counted.timer);
    loop_free(&counted.loop);
}

static void free_timer(void *arg)
{
    struct counted *counted = arg;

    counted->count++;
    loop_timer_free(&counted->timer);
    loop_stop(counted->loop);
}

static void timer_may_be_freed_in_its_callback(void **state)
{
    struct counted counted = { .loop = loop_new() };

    (void)state;
    counted.timer = loop_timer_new(counted.loop, free_timer, &counted);
    loop_timer_start(counted.timer, 1, 1);
    loop_run(counted.loop);
    loop_turn(counted.loop, 10);
    assert_int_equal(counted.count, 1);
    loop_free(&counted.loop);
}

struct pipe_test {
    struct loop *loop;
    struct loop_poll *poll;
    int fds[2];
    uint32_t readable;
};

static void on_readable(void *arg, int events, int status)
{
    struct pipe_test *test = arg;
    char byte;

    assert_int_equal(status, 0);
    assert_true((events & UV_READABLE) != 0);
    assert_int_equal(read(test->fds[0], &byte, 1), 1);
    test->readable++;
    loop_poll_free(&test->poll);
    loop_stop(test->loop);
}

static void poll_tells_readiness_and_may_be_freed_in_its_callback(void **state)
{
    struct pipe_test test = { .loop = loop_new() };

    (void)state;
    assert_int_equal(pipe(test.fds), 0);
    test.poll = loop_poll_new(test.loop, test.fds[0], on_readable, &test);
    loop_poll_start(test.poll, UV_READABLE);
    loop_turn(test.loop, 0);
    assert_int_equal(test.readable, 0);
    assert_int_equal(write(test.fds[1], "x", 1), 1);
    loop_run(test.loop);
    assert_int_equal(test.readable, 1);
    close(test.fds[0]);
    close(test.fds[1]);
    loop_free(&test.loop);
}

static void on_term(void *arg)
{
    on_counted(arg);
}

static void on_hup(void *arg)
{
    struct counted *counted = arg;

    counted->count += 100;
    loop_stop(counted->loop);
}

static void signals_come_on_the_loop(void **state)
{
    struct counted counted = { .loop = loop_new() };

    (void)state;
    loop_on_signals(counted.loop, on_term, on_hup, &counted);
    kill(getpid(), SIGTERM);
    loop_run(counted.loop);
    assert_int_equal(counted.count, 1);
    kill(getpid(), SIGHUP);
    loop_run(counted.loop);
    assert_int_equal(counted.count, 101);
    loop_free(&counted.loop);
}

/* ---- watchdog ---- */

static void block(void *arg)
{
    usleep(80000);
    (void)arg;
}

/* So much of our own processor time: on a busy machine far more on the wall. */
static void compute_ms(int64_t ms)
{
    struct timespec started, now;
    int64_t used_us;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &started);
    do {
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        used_us = (now.tv_sec - started.tv_sec) * 1000000 + (now.tv_nsec - started.tv_nsec) / 1000;
    } while (used_us < ms * 1000);
}

static void compute_20_ms(void *arg)
{
    (void)arg;
    compute_ms(20);
}

static void compute_80_ms(void *arg)
{
    (void)arg;
    compute_ms(80);
}

static void block_excused_by_loop(void *arg)
{
    loop_excuse(arg);
    block(NULL);
}

static void do_nothing(void *arg)
{
    (void)arg;
}

static void watchdog_counts_long_turns_only(void **state)
{
    static const struct {
        const char *label;
        loop_fn *fn;
        uint32_t max_ms;
        uint64_t expected;
    } cases[] = {
        { "a callback that sleeps", block, 50, 1 },
        { "a callback that computes", compute_80_ms, 50, 1 },
        { "below the limit", block, 5000, 0 },
        { "excused by the loop", block_excused_by_loop, 50, 0 },
        { "waiting for events is no turn", do_nothing, 50, 0 },
    };

    (void)state;
    unsetenv("GUICHET_LOOP_ABORT");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct loop *loop = loop_new();

        print_message("%s\n", cases[i].label);
        loop_set_turn_max_ms(loop, cases[i].max_ms);
        loop_post(loop, cases[i].fn, loop);
        loop_turn(loop, 10);
        loop_turn(loop, 120); /* nothing to do: waits */
        usleep(80000);        /* between turns is not the loop's time */
        loop_turn(loop, 0);
        assert_int_equal(loop_long_turns(loop), cases[i].expected);
        loop_free(&loop);
    }
    setenv("GUICHET_LOOP_ABORT", "1", 1);
}

static void watchdog_aborts_when_told(void **state)
{
    int status = 0;
    pid_t child = fork();

    (void)state;
    assert_true(child >= 0);
    if (child == 0) {
        struct loop *loop;

        setenv("GUICHET_LOOP_ABORT", "1", 1);
        signal(SIGABRT, SIG_DFL);
        loop = loop_new();
        loop_post(loop, block, NULL);
        loop_turn(loop, 10);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* A stopped process is not blocked: SIGSTOP comes in the middle of a turn here. */
static void stop_myself(void *arg)
{
    (void)arg;
    raise(SIGSTOP);
}

static void watchdog_does_not_mind_a_stop(void **state)
{
    int status = 0;
    pid_t child = fork();

    (void)state;
    assert_true(child >= 0);
    if (child == 0) {
        struct loop *loop;

        setenv("GUICHET_LOOP_ABORT", "1", 1);
        signal(SIGABRT, SIG_DFL);
        loop = loop_new();
        loop_post(loop, stop_myself, NULL);
        loop_turn(loop, 10);
        _exit(loop_long_turns(loop) == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status));
    usleep(200000);
    kill(child, SIGCONT);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Busy children on every processor: our thread is runnable but does not run. */
static void waiting_for_a_processor_is_not_counted(void **state)
{
    struct loop *loop;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    pid_t children[64];
    long count = processors * 4 < 64 ? processors * 4 : 64;

    (void)state;
    if (access("/proc/thread-self/schedstat", R_OK) != 0) {
        print_message("the kernel does not tell waiting times: not tested here\n");
        return;
    }
    unsetenv("GUICHET_LOOP_ABORT");
    for (long i = 0; i < count; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            for (;;)
                continue;
        }
    }
    loop = loop_new();
    for (int i = 0; i < 10; i++) {
        loop_post(loop, compute_20_ms, NULL);
        loop_turn(loop, 20);
    }
    assert_int_equal(loop_long_turns(loop), 0);
    for (long i = 0; i < count; i++) {
        kill(children[i], SIGKILL);
        waitpid(children[i], NULL, 0);
    }
    loop_free(&loop);
    setenv("GUICHET_LOOP_ABORT", "1", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(posts_of_threads_arrive_once_and_in_order),
        cmocka_unit_test(deferred_runs_later_and_without_waiting),
        cmocka_unit_test(what_is_posted_before_free_still_runs),
        cmocka_unit_test(stop_before_run_is_not_lost),
        cmocka_unit_test(timer_is_never_early_after_a_long_turn),
        cmocka_unit_test(timer_that_restarts_at_zero_lets_others_run),
        cmocka_unit_test(timer_may_be_freed_in_its_callback),
        cmocka_unit_test(poll_tells_readiness_and_may_be_freed_in_its_callback),
        cmocka_unit_test(signals_come_on_the_loop),
        cmocka_unit_test(watchdog_counts_long_turns_only),
        cmocka_unit_test(watchdog_aborts_when_told),
        cmocka_unit_test(watchdog_does_not_mind_a_stop),
        cmocka_unit_test(waiting_for_a_processor_is_not_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
