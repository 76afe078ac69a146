/* SPDX-License-Identifier: Apache-2.0 */
/* connector_settings.h - what every connector and each of its accounts is configured with; connector_config.c has
 * the table, with the meaning of each. */
#ifndef GUICHET_SERVICE_CONNECTOR_SETTINGS_H
#define GUICHET_SERVICE_CONNECTOR_SETTINGS_H

#include "ops/config.h"
#include "service/service.h"

/* First member of every connector's configuration. Keys added by the skeleton: connector (its name),
 * connector_secret, hook_listen, hook_prefix, routing (addresses of the connector role),
 * routing_pull (addresses), submit_timeout_ms, lanes, batch_events_max, batch_bytes_max, pull_max,
 * pull_wait_ms, provider_timeout_ms, allow_private_addresses, allow_plain_http, body_max_bytes … */
struct connector_config {
    struct service_config service;
    char *connector;
    char *connector_secret;
    char *hook_listen;
    char *hook_prefix;
    struct config_strings routing;
    struct config_strings routing_pull;
    uint32_t submit_timeout_ms;
    uint32_t lanes;
    uint32_t batch_events_max;
    uint32_t batch_bytes_max;
    uint32_t pull_max;
    uint32_t pull_wait_ms;
    uint32_t provider_timeout_ms;
    uint32_t body_max_bytes;
    uint32_t requests_max;
    uint32_t announce_interval_ms;
    uint32_t submit_attempt_timeout_ms;
    uint32_t report_keep_ms;
    char *spool_dir; /* empty: no spool */
    uint32_t spool_max_bytes;
    uint32_t spool_events_max;
    uint32_t spool_free_min_bytes;
    uint32_t spool_scan_ms;
    uint32_t spool_retry_ms;
    uint32_t spool_retry_max_ms;
    uint32_t spool_attempts_max;
    struct config_strings routing_blobs;
    struct config_strings media_types; /* patterns: a type, a type with any subtype, or any */
    uint32_t media_max_bytes;
    uint32_t media_fetches_max;
    uint32_t media_stall_timeout_ms;
    struct config_list accounts; /* of the connector's account type */
    bool allow_private_addresses;
    bool allow_plain_http;
};

/* First member of every account's configuration: its keys are added by the skeleton. */
struct connector_account {
    char *tenant;
    char *id; /* unique in the system; part of the webhook URL */
    char *address;
    char *display_name;
    char *public_url; /* the webhook's URL as the provider knows it, without trailing slash */
};

#endif
