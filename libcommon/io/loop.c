/* SPDX-License-Identifier: Apache-2.0 */
/* loop.c - the loop itself: turns, posts from other threads, deferred calls, signals.
 *
 * uv_async_send() coalesces: many sends, one callback. So what is posted goes into an
 * array under a mutex, and the callback takes the whole array. The mutex is also the
 * fence that libuv before 1.53 needs between the write and the send. */
#include "io/loop_private.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "ops/failpoint.h"
#include "ops/log.h"

#define CLOSING_TURNS_MAX 1000
#define QUEUE_START_COUNT 64

struct entry {
    loop_fn *fn;
    void *arg;
};

/* `filling` takes what comes; the other one is being run. */
struct queue {
    struct entry *filling;
    size_t count, size;
    struct entry *spare;
    size_t spare_size;
};

struct loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_check_t check;
    uv_idle_t idle; /* active while something is deferred: then the poll does not wait */
    uv_timer_t turn_timer;
    pthread_mutex_t mutex; /* guards `posted` */
    struct queue posted;
    struct queue deferred;
    struct loop_watchdog *watchdog;
    uv_signal_t signals[3];
    size_t signal_count;
    loop_fn *on_term, *on_hup;
    void *signal_arg;
};

static void queue_push(struct queue *queue, loop_fn *fn, void *arg)
{
    if (queue->count == queue->size) {
        queue->size = queue->size == 0 ? QUEUE_START_COUNT : queue->size * 2;
        queue->filling = realloc(queue->filling, queue->size * sizeof(*queue->filling));
        if (queue->filling == NULL)
            abort();
    }
    queue->filling[queue->count++] = (struct entry){ fn, arg };
}

/* Takes what is there; the caller runs it and gives the array back. */
static struct entry *queue_take(struct queue *queue, size_t *ret_count, size_t *ret_size)
{
    struct entry *entries = queue->filling;

    *ret_count = queue->count;
    *ret_size = queue->size;
    queue->filling = queue->spare;
    queue->size = queue->spare_size;
    queue->count = 0;
    queue->spare = NULL;
    queue->spare_size = 0;
    return entries;
}

static void queue_give_back(struct queue *queue, struct entry *entries, size_t size)
{
    if (queue->spare != NULL) {
        free(entries);
        return;
    }
    queue->spare = entries;
    queue->spare_size = size;
}

static void queue_done(struct queue *queue)
{
    free(queue->filling);
    free(queue->spare);
}

static void run_entries(struct loop *loop, const struct entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++)
        loop_watchdog_call(loop->watchdog, entries[i].fn, entries[i].arg, (loop_any_fn *)entries[i].fn);
}

static void on_wake(uv_async_t *handle)
{
    struct loop *loop = handle->data;
    struct entry *entries;
    size_t count, size;

    pthread_mutex_lock(&loop->mutex);
    entries = queue_take(&loop->posted, &count, &size);
    pthread_mutex_unlock(&loop->mutex);
    run_entries(loop, entries, count);
    pthread_mutex_lock(&loop->mutex);
    queue_give_back(&loop->posted, entries, size);
    pthread_mutex_unlock(&loop->mutex);
}

static void on_idle(uv_idle_t *handle)
{
    struct loop *loop = handle->data;
    size_t count, size;
    struct entry *entries = queue_take(&loop->deferred, &count, &size);

    run_entries(loop, entries, count);
    queue_give_back(&loop->deferred, entries, size);
    if (loop->deferred.count == 0)
        uv_idle_stop(&loop->idle);
}

static void on_check(uv_check_t *handle)
{
    struct loop *loop = handle->data;

    loop_watchdog_end(loop->watchdog);
}

static void on_turn_over(uv_timer_t *timer)
{
    (void)timer; /* its only use is to end the wait */
}

static void on_failpoint_sleep(void *arg)
{
    loop_excuse(arg);
}

struct loop *loop_new(void)
{
    struct loop *loop = calloc(1, sizeof(*loop));

    if (loop == NULL || uv_loop_init(&loop->uv) != 0 ||
        uv_loop_configure(&loop->uv, UV_METRICS_IDLE_TIME) != 0 ||
        uv_async_init(&loop->uv, &loop->wake, on_wake) != 0 || pthread_mutex_init(&loop->mutex, NULL) != 0)
        abort();
    uv_check_init(&loop->uv, &loop->check);
    uv_idle_init(&loop->uv, &loop->idle);
    uv_timer_init(&loop->uv, &loop->turn_timer);
    loop->uv.data = loop->wake.data = loop->check.data = loop->idle.data = loop;
    uv_check_start(&loop->check, on_check);
    uv_unref((uv_handle_t *)&loop->check);
    loop->watchdog = loop_watchdog_new(&loop->uv);
    failpoint_set_excuse(on_failpoint_sleep, loop);
    return loop;
}

static bool has_posted(struct loop *loop)
{
    bool has;

    pthread_mutex_lock(&loop->mutex);
    has = loop->posted.count > 0;
    pthread_mutex_unlock(&loop->mutex);
    return has || loop->deferred.count > 0;
}

static void log_leaked_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    log_event(LOG_ERROR, "loop_handle_leaked",
              LOG_TEXT("type", uv_handle_type_name(uv_handle_get_type(handle))));
}

/* Closing takes turns, and what runs in them may post again. */
static void run_to_end(struct loop *loop)
{
    for (int turn = 0; turn < CLOSING_TURNS_MAX && has_posted(loop); turn++)
        uv_run(&loop->uv, UV_RUN_NOWAIT);
}

void loop_free(struct loop **loop_ptr)
{
    struct loop *loop = *loop_ptr;
    const char *is_aborting = getenv("GUICHET_LOOP_ABORT");
    int status = UV_EBUSY;

    if (loop == NULL)
        return;
    *loop_ptr = NULL;
    failpoint_set_excuse(NULL, NULL);
    loop_watchdog_set_max_ms(loop->watchdog, UINT32_MAX);
    run_to_end(loop);
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->idle, NULL);
    uv_close((uv_handle_t *)&loop->turn_timer, NULL);
    for (size_t i = 0; i < loop->signal_count; i++)
        uv_close((uv_handle_t *)&loop->signals[i], NULL);
    for (int turn = 0; turn < CLOSING_TURNS_MAX && status == UV_EBUSY; turn++) {
        uv_run(&loop->uv, UV_RUN_NOWAIT);
        status = uv_loop_close(&loop->uv);
    }
    if (status != 0) {
        uv_walk(&loop->uv, log_leaked_handle, NULL);
        if (is_aborting != NULL && strcmp(is_aborting, "1") == 0)
            abort();
        return; /* handles still point into it */
    }
    loop_watchdog_free(&loop->watchdog);
    pthread_mutex_destroy(&loop->mutex);
    queue_done(&loop->posted);
    queue_done(&loop->deferred);
    free(loop);
}

void loop_run(struct loop *loop)
{
    loop_watchdog_begin(loop->watchdog);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    loop_watchdog_end(loop->watchdog);
}

void loop_stop(struct loop *loop)
{
    uv_stop(&loop->uv);
}

void loop_turn(struct loop *loop, uint32_t max_ms)
{
    loop_watchdog_begin(loop->watchdog);
    if (max_ms > 0) {
        uv_update_time(&loop->uv);
        uv_timer_start(&loop->turn_timer, on_turn_over, max_ms, 0);
    }
    uv_run(&loop->uv, max_ms > 0 ? UV_RUN_ONCE : UV_RUN_NOWAIT);
    uv_timer_stop(&loop->turn_timer);
    loop_watchdog_end(loop->watchdog);
}

uv_loop_t *loop_uv(struct loop *loop)
{
    return &loop->uv;
}

struct loop_watchdog *loop_watchdog(struct loop *loop)
{
    return loop->watchdog;
}

uint64_t loop_now_ms(const struct loop *loop)
{
    return uv_now(&loop->uv);
}

void loop_post(struct loop *loop, loop_fn *fn, void *arg)
{
    pthread_mutex_lock(&loop->mutex);
    queue_push(&loop->posted, fn, arg);
    uv_async_send(&loop->wake);
    pthread_mutex_unlock(&loop->mutex);
}

void loop_defer(struct loop *loop, loop_fn *fn, void *arg)
{
    if (loop->deferred.count == 0)
        uv_idle_start(&loop->idle, on_idle);
    queue_push(&loop->deferred, fn, arg);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct loop *loop = handle->data;
    loop_fn *fn = number == SIGHUP ? loop->on_hup : loop->on_term;

    loop_watchdog_call(loop->watchdog, fn, loop->signal_arg, (loop_any_fn *)fn);
}

void loop_on_signals(struct loop *loop, loop_fn *on_term, loop_fn *on_hup, void *arg)
{
    static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };

    signal(SIGPIPE, SIG_IGN);
    loop->on_term = on_term;
    loop->on_hup = on_hup;
    loop->signal_arg = arg;
    for (size_t i = loop->signal_count; i < (on_hup != NULL ? 3u : 2u); i++) {
        uv_signal_init(&loop->uv, &loop->signals[i]);
        loop->signals[i].data = loop;
        uv_signal_start(&loop->signals[i], on_signal, numbers[i]);
        uv_unref((uv_handle_t *)&loop->signals[i]);
        loop->signal_count = i + 1;
    }
}

void loop_excuse(struct loop *loop)
{
    loop_watchdog_excuse(loop->watchdog);
}

void loop_set_turn_max_ms(struct loop *loop, uint32_t max_ms)
{
    loop_watchdog_set_max_ms(loop->watchdog, max_ms);
}

uint64_t loop_long_turns(const struct loop *loop)
{
    return loop_watchdog_long_turns(loop->watchdog);
}
