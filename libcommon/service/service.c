/* SPDX-License-Identifier: Apache-2.0 */
/* service.c - the life of a service: opened, ready, drained, closed.
 *
 * What matters is durable elsewhere (PostgreSQL, the spool), so the end may be abrupt: a drain is a
 * courtesy to those who wait for an answer, bounded in time, and a close that hangs is cut by a thread
 * of its own. */
#include "service/service_private.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "ops/failpoint.h"

enum {
    WORKER_THREADS = 2,
    WORKER_QUEUE_MAX = 1024,
    OPS_CONNECTIONS_MAX = 64,
    OPS_REQUESTS_MAX = 32,
    DRAIN_POLL_MS = 10,
    CLOSE_TIMEOUT_S = 10,
    EXIT_BY_SIGTERM = 128 + 15,
    HEALTHCHECK_TIMEOUT_MS = 2000,
};

static struct service_config *config_of(const struct service *service)
{
    return service->config;
}

static bool apply_log_level(const struct service_config *config, enum log_level *ret_level, struct err *err)
{
    if (!log_level_parse(config->log_level, ret_level))
        return err_set(err, ERR_CONFIG, "log_level '%s' is not debug, info, warn or error",
                       config->log_level);
    return true;
}

/* SIGHUP: the log level only; everything else needs a restart. */
static void on_hup(void *arg)
{
    struct service *service = arg;
    struct service_state *state = service->state;
    void *config = calloc(1, service_config_bytes(state->keys));
    enum log_level level;
    struct err err = { 0 };

    if (config == NULL)
        abort();
    loop_excuse(service->loop);
    if (config_read(service->name, state->options.config_path, state->keys, config, &err) &&
        apply_log_level(config, &level, &err)) {
        log_set_level(level);
        log_event(LOG_INFO, "config_reloaded",
                  LOG_TEXT("log_level", ((struct service_config *)config)->log_level));
    } else {
        log_event(LOG_WARN, "config_reload_refused", LOG_ERR(&err));
    }
    config_free(state->keys, config);
    free(config);
}

static void check_drained(void *arg)
{
    struct service *service = arg;
    struct service_state *state = service->state;
    bool is_late = loop_now_ms(service->loop) >= state->drain_deadline_ms;

    for (size_t i = 0; i < state->drain_count && !is_late; i++)
        if (state->drains[i].is_drained != NULL && !state->drains[i].is_drained(state->drains[i].arg))
            return;
    if (is_late)
        log_event(LOG_WARN, "service_drain_late",
                  LOG_NUMBER("timeout_ms", config_of(service)->drain_timeout_ms));
    loop_timer_stop(state->drain_timer);
    loop_stop(service->loop);
}

static void on_term(void *arg)
{
    struct service *service = arg;
    struct service_state *state = service->state;

    if (state->step >= SERVICE_DRAINING)
        _exit(EXIT_BY_SIGTERM);
    state->step = SERVICE_DRAINING;
    log_event(LOG_INFO, "service_draining", LOG_NUMBER("timeout_ms", config_of(service)->drain_timeout_ms));
    state->drain_deadline_ms = loop_now_ms(service->loop) + config_of(service)->drain_timeout_ms;
    for (size_t i = 0; i < state->drain_count; i++)
        if (state->drains[i].drain != NULL)
            state->drains[i].drain(state->drains[i].arg);
    loop_timer_start(state->drain_timer, 0, DRAIN_POLL_MS);
}

static bool open_ops(struct service *service, struct err *err)
{
    struct service_state *state = service->state;
    const struct http_server_options options = {
        .name = "ops",
        .listen = config_of(service)->ops_listen,
        .connections_max = OPS_CONNECTIONS_MAX,
        .requests_max = OPS_REQUESTS_MAX,
        .handler = service_ops_handle,
        .arg = service,
    };

    state->stats = stats_new("service", service_stats, service_stats_count);
    stats_set_label(state->stats, 0, GUICHET_VERSION, 1);
    return http_server_new(service->loop, &options, &state->ops, err) || err_at(err, "ops_listen");
}

static bool open_config(struct service *service, struct err *err)
{
    struct service_state *state = service->state;
    enum log_level level;

    state->is_config_read = true;
    if (!config_read(service->name, state->options.config_path, state->keys, service->config, err) ||
        !apply_log_level(config_of(service), &level, err) || !failpoint_init(err))
        return false;
    if (service->check_config != NULL && !service->check_config(service->check_config_arg, err))
        return false;
    log_init(service->name, level);
    return true;
}

/* Options that need the settings and nothing else: true when there was one. *err says how it went. */
static bool ask_and_end(const struct service *service, struct err *err)
{
    const struct service_options *options = &service->state->options;

    if (options->is_check)
        printf("guichet-%s: the settings are right\n", service->name);
    else if (options->is_healthcheck &&
             service_healthcheck(config_of(service)->ops_listen, HEALTHCHECK_TIMEOUT_MS, err))
        printf("guichet-%s: ready\n", service->name);
    return options->is_check || options->is_healthcheck;
}

bool service_open(struct service *service, int argc, char **argv, struct err *err)
{
    struct service_state *state = calloc(1, sizeof(*state));

    if (state == NULL)
        abort();
    service->state = state;
    pthread_mutex_init(&state->mutex, NULL);
    pthread_cond_init(&state->closed, NULL);
    state->keys = service_merge_keys(service->config_keys);
    if (!service_parse_options(service, argc, argv, &state->options, err) ||
        service_answer_options(service, &state->options, state->keys) || !open_config(service, err) ||
        ask_and_end(service, err))
        return false;
    service->loop = loop_new();
    loop_set_turn_max_ms(service->loop, config_of(service)->loop_turn_max_ms);
    loop_excuse(service->loop);
    service->worker = worker_new(service->loop, WORKER_THREADS, WORKER_QUEUE_MAX);
    state->drain_timer = loop_timer_new(service->loop, check_drained, service);
    loop_on_signals(service->loop, on_term, on_hup, service);
    return open_ops(service, err);
}

void service_add_check(struct service *service, const char *name, service_check_fn *check, void *arg)
{
    struct service_state *state = service->state;

    assert(state->check_count < SERVICE_CHECKS_MAX);
    state->checks[state->check_count++] = (struct service_check){ name, check, arg };
}

void service_on_drain(struct service *service, service_drain_fn *drain, service_is_drained_fn *is_drained,
                      void *arg)
{
    struct service_state *state = service->state;

    assert(state->drain_count < SERVICE_DRAINS_MAX);
    state->drains[state->drain_count++] = (struct service_drain){ drain, is_drained, arg };
}

bool service_ready(struct service *service, struct err *err)
{
    struct service_state *state = service->state;

    if (state->step != SERVICE_STARTING)
        return err_set(err, ERR_CANCELED, "stopped while starting");
    state->step = SERVICE_READY;
    log_event(LOG_INFO, "service_ready", LOG_TEXT("version", GUICHET_VERSION),
              LOG_NUMBER("ops_port", http_server_port(state->ops)));
    return true;
}

static void *watch_close(void *arg)
{
    struct service_state *state = arg;
    struct timespec until;
    int status = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += CLOSE_TIMEOUT_S;
    pthread_mutex_lock(&state->mutex);
    while (!state->is_closed && status != ETIMEDOUT)
        status = pthread_cond_timedwait(&state->closed, &state->mutex, &until);
    if (!state->is_closed) {
        static const char note[] = "the close hangs: ended\n";

        (void)!write(STDERR_FILENO, note, sizeof(note) - 1);
        _exit(EX_SOFTWARE);
    }
    pthread_mutex_unlock(&state->mutex);
    return NULL;
}

/* From here on the process ends within CLOSE_TIMEOUT_S. */
static void start_watchdog(struct service_state *state)
{
    if (state == NULL || state->has_watchdog)
        return;
    state->has_watchdog = pthread_create(&state->watchdog, NULL, watch_close, state) == 0;
}

static void stop_watchdog(struct service_state *state)
{
    if (!state->has_watchdog)
        return;
    pthread_mutex_lock(&state->mutex);
    state->is_closed = true;
    pthread_cond_signal(&state->closed);
    pthread_mutex_unlock(&state->mutex);
    pthread_join(state->watchdog, NULL);
}

void service_run(struct service *service)
{
    loop_run(service->loop);
    service->state->step = SERVICE_STOPPED;
    start_watchdog(service->state);
    log_event(LOG_INFO, "service_stopping", LOG_TEXT("version", GUICHET_VERSION));
}

int service_fail(struct service *service, const struct err *err)
{
    start_watchdog(service->state);
    if (err->kind == ERR_NONE || (err->kind == ERR_CANCELED && service->state->step == SERVICE_DRAINING))
        return EX_OK;
    fprintf(stderr, "guichet-%s: %s\n", service->name, err->text);
    /* Container engines give a meaning of their own to what is neither 0 nor 1. */
    return service->state->options.is_healthcheck ? EXIT_FAILURE : err_exit_code(err->kind);
}

void service_close(struct service *service)
{
    struct service_state *state = service->state;

    if (state == NULL)
        return;
    service->state = NULL;
    start_watchdog(state);
    http_server_free(&state->ops);
    stats_free(&state->stats);
    if (state->drain_timer != NULL)
        loop_timer_free(&state->drain_timer);
    worker_free(&service->worker);
    loop_free(&service->loop);
    if (state->is_config_read)
        config_free(state->keys, service->config);
    free(state->keys);
    stop_watchdog(state);
    pthread_cond_destroy(&state->closed);
    pthread_mutex_destroy(&state->mutex);
    free(state);
}
