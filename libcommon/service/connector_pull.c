/* SPDX-License-Identifier: Apache-2.0 */
/* connector_pull.c - one long poll under way at each routing replica, so that any of them can wake us.
 *
 * A pull asks for as many jobs as there is room for; with no room the next pull waits for a job to end.
 * Outcomes that routing has not heard yet count as under way, which is what bounds them. */
#include "service/connector_internal.h"

#include <stdlib.h>
#include <string.h>

#include "ops/log.h"

enum {
    RETRY_FIRST_MS = 200,
    RETRY_MAX_MS = 5000,
    ANSWER_EXTRA_MS = 3000, /* beyond the wait that we ask for */
    EMPTY_FAST_MS = 50,     /* a server that does not hold the poll … */
    EMPTY_PAUSE_MS = 100,   /* … must not be asked in a tight loop */
};

struct connector_puller {
    struct connector_runtime *runtime;
    struct mesh_client *client;
    struct loop_timer *timer;
    struct connector_send **sends; /* pull_max places, NULL when free */
    size_t send_count;
    uint64_t pulled_ms;
    uint32_t token_generation;
    uint32_t retry_ms;
    bool is_busy; /* a pull is under way, or an announce is waited for */
    bool is_stopped;
};

static void pull(void *arg);
static void on_pulled(const Guichet__V1__PullReply *reply, void *arg);

/* ---- jobs under way ---- */

static void on_send_done(void *arg, struct connector_send *send)
{
    struct connector_puller *puller = arg;

    for (size_t i = 0; i < puller->runtime->config->pull_max; i++) {
        if (puller->sends[i] == send) {
            puller->sends[i] = NULL;
            puller->send_count--;
        }
    }
    connector_send_free(&send);
    if (!puller->is_busy && !puller->is_stopped && !loop_timer_is_active(puller->timer))
        loop_timer_start(puller->timer, 0, 0);
}

static void take_job(struct connector_puller *puller, const Guichet__V1__Job *job)
{
    for (size_t i = 0; i < puller->runtime->config->pull_max; i++) {
        if (puller->sends[i] == NULL) {
            puller->sends[i] = connector_send_start(puller->runtime, job, on_send_done, puller);
            puller->send_count += puller->sends[i] != NULL;
            return;
        }
    }
    log_event(LOG_ERROR, "job_without_room", LOG_TEXT("delivery", job->id)); /* its lease runs out */
}

/* ---- pulling ---- */

static void pull_later(struct connector_puller *puller, const struct err *err)
{
    uint32_t delay_ms = puller->retry_ms / 2, jitter;

    if (puller->retry_ms == RETRY_FIRST_MS)
        log_event(LOG_WARN, "pull_failed", LOG_ERR(err));
    random_bytes(&jitter, sizeof(jitter));
    delay_ms += jitter % (puller->retry_ms / 2 + 1);
    if (delay_ms < err->retry_after_ms)
        delay_ms = err->retry_after_ms;
    loop_timer_start(puller->timer, delay_ms, 0);
    puller->retry_ms = puller->retry_ms * 2 < RETRY_MAX_MS ? puller->retry_ms * 2 : RETRY_MAX_MS;
}

static void on_announced(void *arg, bool is_announced)
{
    struct connector_puller *puller = arg;
    struct err err = { 0 };

    puller->is_busy = false;
    if (puller->is_stopped)
        return;
    if (is_announced) {
        loop_timer_start(puller->timer, 0, 0);
        return;
    }
    err_set(&err, ERR_UNAVAILABLE, "not announced to routing");
    pull_later(puller, &err);
}

static size_t fill_accounts(const struct connector_runtime *runtime, char **ret_ids)
{
    size_t count = 0;

    for (size_t i = 0; i < runtime->slot_count; i++)
        if (!runtime->slots[i].is_refused)
            ret_ids[count++] = runtime->slots[i].account->id;
    return count;
}

static void pull(void *arg)
{
    struct connector_puller *puller = arg;
    struct connector_runtime *runtime = puller->runtime;
    uint32_t wait_ms = runtime->config->pull_wait_ms;
    struct mesh_call call = {
        .token = connector_token(runtime, &puller->token_generation),
        .timeout_ms = wait_ms + ANSWER_EXTRA_MS,
        .attempt_timeout_ms = wait_ms + ANSWER_EXTRA_MS,
        .no_retry = true,
    };
    Guichet__V1__PullRequest request = GUICHET__V1__PULL_REQUEST__INIT;

    if (puller->is_stopped || puller->is_busy || puller->send_count >= runtime->config->pull_max)
        return;
    puller->is_busy = true;
    if (call.token.data == NULL) {
        connector_announce_again(runtime, puller->token_generation, on_announced, puller);
        return;
    }
    request.account_ids = calloc(runtime->slot_count, sizeof(*request.account_ids));
    if (request.account_ids == NULL)
        abort();
    request.n_account_ids = fill_accounts(runtime, request.account_ids);
    request.max_jobs = (uint32_t)(runtime->config->pull_max - puller->send_count);
    request.wait_ms = wait_ms;
    puller->pulled_ms = loop_now_ms(runtime->loop);
    guichet__v1__connector__pull(mesh_client_call(puller->client, &call), &request, on_pulled, puller);
    free(request.account_ids);
}

static void on_pull_failed(struct connector_puller *puller, const struct err *err)
{
    if (puller->is_stopped || err->kind == ERR_CANCELED)
        return;
    if (err->kind == ERR_FORBIDDEN) {
        puller->is_busy = true;
        connector_announce_again(puller->runtime, puller->token_generation, on_announced, puller);
        return;
    }
    pull_later(puller, err);
}

static void on_pulled(const Guichet__V1__PullReply *reply, void *arg)
{
    struct connector_puller *puller = arg;
    uint64_t took_ms = loop_now_ms(puller->runtime->loop) - puller->pulled_ms;

    puller->is_busy = false;
    if (reply == NULL) {
        struct err err = *mesh_err();

        on_pull_failed(puller, &err);
        return;
    }
    puller->retry_ms = RETRY_FIRST_MS;
    for (size_t i = 0; i < reply->n_jobs; i++)
        take_job(puller, reply->jobs[i]);
    if (puller->is_stopped)
        return;
    loop_timer_start(puller->timer, reply->n_jobs == 0 && took_ms < EMPTY_FAST_MS ? EMPTY_PAUSE_MS : 0, 0);
}

/* ---- life ---- */

bool connector_puller_new(struct connector_runtime *runtime, const char *address,
                          struct connector_puller **ret_puller, struct err *err)
{
    const struct mesh_client_options options = {
        .name = "routing_pull",
        .addresses = &address,
        .address_count = 1,
        .descriptor = &guichet__v1__connector__descriptor,
    };
    struct connector_puller *puller = calloc(1, sizeof(*puller));

    if (puller == NULL)
        abort();
    if (!mesh_client_new(runtime->loop, &options, &puller->client, err)) {
        free(puller);
        return err_at(err, "routing_pull");
    }
    puller->runtime = runtime;
    puller->retry_ms = RETRY_FIRST_MS;
    puller->sends = calloc(runtime->config->pull_max, sizeof(*puller->sends));
    if (puller->sends == NULL)
        abort();
    puller->timer = loop_timer_new(runtime->loop, pull, puller);
    loop_timer_start(puller->timer, 0, 0);
    *ret_puller = puller;
    return true;
}

void connector_puller_stop(struct connector_puller *puller)
{
    puller->is_stopped = true;
    loop_timer_stop(puller->timer);
    mesh_client_free(&puller->client);
}

size_t connector_puller_jobs(const struct connector_puller *puller)
{
    return puller->send_count;
}

/* After the mesh client, the announcer and the HTTP client are gone: nothing can call back any more. */
void connector_puller_free(struct connector_puller **puller_ptr)
{
    struct connector_puller *puller = *puller_ptr;

    *puller_ptr = NULL;
    if (puller == NULL)
        return;
    for (size_t i = 0; i < puller->runtime->config->pull_max; i++)
        connector_send_free(&puller->sends[i]);
    loop_timer_free(&puller->timer);
    free(puller->sends);
    free(puller);
}
