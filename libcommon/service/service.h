/* SPDX-License-Identifier: Apache-2.0 */
/* service.h - the skeleton of every service: options, configuration, log, loop, ops port, signals, drain.
 *
 * Options: --config FILE, --describe (Markdown of settings and metrics), --check (configuration only),
 * --healthcheck (is the running one ready? 0 or 1), --version, --failpoints.
 * Ops port (config key ops_listen): /livez, /readyz, /metrics.
 * SIGTERM: not ready -> on_drain -> run until is_drained or drain_timeout_ms -> closed. A second SIGTERM,
 * or a close that hangs for 10 s, ends the process at once. */
#ifndef GUICHET_SERVICE_SERVICE_H
#define GUICHET_SERVICE_SERVICE_H

#include "core/err.h"
#include "io/loop.h"
#include "io/worker.h"
#include "ops/config.h"
#include "ops/log.h"
#include "ops/stats.h"

/* First member of every service's configuration; its keys are added by the skeleton:
 * log_level, ops_listen, drain_timeout_ms, loop_turn_max_ms. */
struct service_config {
    char *log_level;
    char *ops_listen;
    uint32_t drain_timeout_ms;
    uint32_t loop_turn_max_ms;
};

struct service_stats_table {
    const char *module;
    const struct stat_info *infos;
    size_t count;
};

struct service {
    /* given by main */
    const char *name;
    const char *summary;                     /* one sentence for --help and --describe */
    const struct config_key *config_keys;    /* the service's own */
    void *config;                            /* zeroed; begins with struct service_config */
    const struct service_stats_table *stats; /* ends with module NULL; for --describe */
    /* What the table of keys cannot say; may be NULL. Asked after reading, by --check as well. */
    bool (*check_config)(void *arg, struct err *err);
    void *check_config_arg;
    /* made by service_open */
    struct loop *loop;
    struct worker *worker;
    struct service_state *state;
};

/* false with ERR_NONE: --describe and alike did their work; exit 0. */
bool service_open(struct service *service, int argc, char **argv, struct err *err) MUST_USE;
/* Health: each check is asked by /readyz, with its name in the answer. */
typedef bool service_check_fn(void *arg, struct err *err);
void service_add_check(struct service *service, const char *name, service_check_fn *check, void *arg);
/* Drain: called at SIGTERM; is_drained is polled until true. */
typedef void service_drain_fn(void *arg);
typedef bool service_is_drained_fn(void *arg);
void service_on_drain(struct service *service, service_drain_fn *drain, service_is_drained_fn *is_drained,
                      void *arg);
bool service_ready(struct service *service, struct err *err) MUST_USE;
void service_run(struct service *service);
int service_fail(struct service *service, const struct err *err); /* one line on stderr; the exit code */
void service_close(struct service *service);

#endif
