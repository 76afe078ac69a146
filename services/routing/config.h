/* SPDX-License-Identifier: Apache-2.0 */
/* config.h - the settings of the routing service, and its counters. */
#ifndef GUICHET_ROUTING_CONFIG_H
#define GUICHET_ROUTING_CONFIG_H

#include "service/database.h"
#include "service/service.h"

struct routing_queue_config {
    char *name;
    struct config_strings accounts;
};

struct routing_tenant_config {
    char *name;
    struct config_list queues; /* struct routing_queue_config */
};

struct routing_connector_config {
    char *name;
    char *channel;
    char *secret;
    struct config_strings tenants;
};

struct routing_config {
    struct service_config service;
    struct database_config database;
    char *listen_connector, *listen_pull, *listen_gateway, *listen_ctl, *listen_blobs, *publish;
    struct config_strings context, context_doorbells;
    uint32_t context_timeout_ms;
    struct config_strings context_blobs;
    uint32_t blob_requests_max, blob_attempt_timeout_ms;
    char *media_key, *media_key_previous, *media_base_url;
    uint32_t media_link_ttl_ms;
    char *token_key, *token_key_previous;
    uint32_t token_ttl_ms, clock_skew_ms, account_ttl_ms;
    struct config_list tenants, connectors;
    uint32_t lease_ttl_ms, poll_ms, apply_limit, apply_interval_ms, apply_wait_ms;
    uint32_t job_attempts_max, job_tell_ms, media_jobs_max, change_attempts_max;
    uint32_t typing_interval_ms, typing_ttl_ms;
    uint32_t delivery_lease_ms, unknown_hold_ms, retry_base_ms, retry_cap_ms, pull_wait_max_ms, pull_jobs_max;
    uint32_t pulls_max, requests_max;
    uint32_t presence_ttl_ms, seen_interval_ms, agent_capacity;
    uint32_t session_ttl_ms, login_failures_max, login_window_ms, password_threads, password_queue_max;
    uint32_t event_retention_ms, parked_retention_ms, prune_interval_ms;
    uint32_t job_retention_ms, dead_letter_retention_ms;
};

enum routing_stat {
    ROUTING_SUBMITTED,
    ROUTING_SUBMIT_TIME,
    ROUTING_ANNOUNCES,
    ROUTING_APPLIED,
    ROUTING_APPLY_TIME,
    ROUTING_SKIPPED,
    ROUTING_FEEDS_HELD,
    ROUTING_FEED_LAG,
    ROUTING_RESYNC,
    ROUTING_PULLS_WAITING,
    ROUTING_PULLS_GONE,
    ROUTING_LEASED,
    ROUTING_STARTS,
    ROUTING_REPORTS,
    ROUTING_EXPIRED,
    ROUTING_LOGINS,
    ROUTING_REPLIES,
    ROUTING_PRESENCE_EXPIRED,
    ROUTING_PRUNED,
    ROUTING_BLOB_CALLS,
    ROUTING_DEAD_LETTERS,
    ROUTING_DEAD_LETTERS_OPEN,
    ROUTING_STAT_COUNT
};

extern const struct config_key routing_keys[];
extern const struct service_stats_table routing_stats_tables[];
bool routing_config_check(void *config, struct err *err); /* for service.check_config */
extern const struct stat_info routing_stats[ROUTING_STAT_COUNT];

/* NULL when it is none of ours. */
const struct routing_tenant_config *routing_find_tenant(const struct routing_config *config,
                                                        const char *name);

#endif
