/* SPDX-License-Identifier: Apache-2.0 */
/* loop_handle.c - timers and readiness of descriptors.
 *
 * libuv's handles may only be freed in their close callback; ours are gone for the
 * caller at once, and their memory follows a turn later. */
#include "io/loop_private.h"

#include <stdlib.h>

#define NS_PER_MS 1000000u

struct loop_timer {
    uv_timer_t uv;
    struct loop *loop;
    loop_fn *fn;
    void *arg;
};

struct loop_poll {
    uv_poll_t uv;
    struct loop *loop;
    loop_poll_fn *fn;
    void *arg;
    int events, status; /* of the callback that is running */
};

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_timer(uv_timer_t *handle)
{
    struct loop_timer *timer = handle->data;

    loop_watchdog_call(loop_watchdog(timer->loop), timer->fn, timer->arg, (loop_any_fn *)timer->fn);
}

struct loop_timer *loop_timer_new(struct loop *loop, loop_fn *fn, void *arg)
{
    struct loop_timer *timer = calloc(1, sizeof(*timer));

    if (timer == NULL)
        abort();
    uv_timer_init(loop_uv(loop), &timer->uv);
    timer->uv.data = timer;
    timer->loop = loop;
    timer->fn = fn;
    timer->arg = arg;
    return timer;
}

void loop_timer_start(struct loop_timer *timer, uint64_t delay_ms, uint64_t repeat_ms)
{
    uint64_t now_ms = uv_hrtime() / NS_PER_MS;
    uint64_t cached_ms = uv_now(loop_uv(timer->loop));

    /* libuv counts from the turn's start, which may be a while ago: without this the timer is early. At
     * least 1 ms, because libuv before 1.45 runs a timer that restarts itself with 0 for ever in one turn. */
    if (now_ms > cached_ms)
        delay_ms += now_ms - cached_ms;
    uv_timer_start(&timer->uv, on_timer, delay_ms > 0 ? delay_ms : 1, repeat_ms);
}

void loop_timer_stop(struct loop_timer *timer)
{
    uv_timer_stop(&timer->uv);
}

bool loop_timer_is_active(const struct loop_timer *timer)
{
    return uv_is_active((const uv_handle_t *)&timer->uv);
}

void loop_timer_free(struct loop_timer **timer)
{
    if (*timer == NULL)
        return;
    uv_close((uv_handle_t *)&(*timer)->uv, on_closed);
    *timer = NULL;
}

static void run_poll(void *arg)
{
    struct loop_poll *poll = arg;

    poll->fn(poll->arg, poll->events, poll->status);
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct loop_poll *poll = handle->data;

    poll->events = events;
    poll->status = status;
    loop_watchdog_call(loop_watchdog(poll->loop), run_poll, poll, (loop_any_fn *)poll->fn);
}

struct loop_poll *loop_poll_new(struct loop *loop, int fd, loop_poll_fn *fn, void *arg)
{
    struct loop_poll *poll = calloc(1, sizeof(*poll));

    if (poll == NULL || uv_poll_init(loop_uv(loop), &poll->uv, fd) != 0)
        abort();
    poll->uv.data = poll;
    poll->loop = loop;
    poll->fn = fn;
    poll->arg = arg;
    return poll;
}

void loop_poll_start(struct loop_poll *poll, int events)
{
    uv_poll_start(&poll->uv, events, on_poll);
}

void loop_poll_stop(struct loop_poll *poll)
{
    uv_poll_stop(&poll->uv);
}

void loop_poll_free(struct loop_poll **poll)
{
    if (*poll == NULL)
        return;
    uv_close((uv_handle_t *)&(*poll)->uv, on_closed);
    *poll = NULL;
}
