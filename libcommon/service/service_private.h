/* SPDX-License-Identifier: Apache-2.0 */
/* service_private.h - what the service*.c files share; nobody else includes it. */
#ifndef GUICHET_SERVICE_SERVICE_PRIVATE_H
#define GUICHET_SERVICE_SERVICE_PRIVATE_H

#include <pthread.h>

#include "io/http_server.h"
#include "service/service.h"

#define SERVICE_CHECKS_MAX 16
#define SERVICE_DRAINS_MAX 8

struct service_check {
    const char *name;
    service_check_fn *check;
    void *arg;
};

struct service_drain {
    service_drain_fn *drain;
    service_is_drained_fn *is_drained;
    void *arg;
};

enum service_step { SERVICE_STARTING, SERVICE_READY, SERVICE_DRAINING, SERVICE_STOPPED };

struct service_options {
    const char *config_path;
    bool is_check, is_describe, is_version, is_help, is_failpoints, is_healthcheck;
};

struct service_state {
    struct service_options options;
    enum service_step step;
    struct config_key *keys; /* the skeleton's and the service's own */
    bool is_config_read;
    struct http_server *ops;
    struct stats *stats;
    struct service_check checks[SERVICE_CHECKS_MAX];
    size_t check_count;
    struct service_drain drains[SERVICE_DRAINS_MAX];
    size_t drain_count;
    struct loop_timer *drain_timer;
    uint64_t drain_deadline_ms;
    bool has_watchdog, is_closed; /* is_closed under the mutex */
    pthread_t watchdog;
    pthread_mutex_t mutex;
    pthread_cond_t closed;
};

/* service_options.c */
bool service_parse_options(const struct service *service, int argc, char **argv,
                           struct service_options *ret_options, struct err *err) MUST_USE;
/* The skeleton's keys, then the service's own; a key of the service replaces the skeleton's of that name. */
struct config_key *service_merge_keys(const struct config_key *own);
/* How many bytes the structure has that these keys fill. */
size_t service_config_bytes(const struct config_key *keys);
/* Does what --describe, --version, --help or --failpoints ask for; false when none was given. */
bool service_answer_options(const struct service *service, const struct service_options *options,
                            const struct config_key *keys);

/* service_healthcheck.c: asks what listens there for /readyz, blocking. */
bool service_healthcheck(const char *listen, uint32_t timeout_ms, struct err *err) MUST_USE;

/* service_ops.c */
extern const struct stat_info service_stats[];
extern const size_t service_stats_count;
void service_ops_handle(void *arg, struct http_exchange *exchange);

#endif
