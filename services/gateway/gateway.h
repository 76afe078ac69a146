/* SPDX-License-Identifier: Apache-2.0 */
/* gateway.h - the agents' door: what the parts of the service share.
 *
 * The gateway owns no data. It is a client of routing and context, and a listener to
 * routing's doorbell; everything it keeps (sessions seen, events lately read, sockets)
 * is a cache that a restart may lose. */
#ifndef GUICHET_GATEWAY_H
#define GUICHET_GATEWAY_H

#include "guichet/v1/context.pb-c.h"
#include "guichet/v1/routing.pb-c.h"
#include "io/http_server.h"
#include "io/mesh.h"
#include "service/service.h"

struct sessions;
struct tickets;
struct events;
struct media;

struct gateway_config {
    struct service_config service;
    char *listen;
    char *listen_events;
    struct config_strings routing;
    struct config_strings context;
    struct config_strings routing_doorbells;
    struct config_strings allowed_origins;
    char *events_url;
    char *ticket_key;
    uint32_t ticket_ttl_ms;
    uint32_t session_cache_ms;
    uint32_t session_check_ms;
    uint32_t sessions_max;
    uint32_t request_timeout_ms;
    uint32_t attempt_timeout_ms;
    uint32_t login_timeout_ms;
    uint32_t calls_max;
    uint32_t requests_max;
    uint32_t connections_max;
    uint32_t body_max_bytes;
    uint32_t sockets_max;
    uint32_t socket_memory_bytes;
    uint32_t socket_queue_bytes;
    uint32_t socket_stall_ms;
    uint32_t heartbeat_ms;
    uint32_t poll_ms;
    uint32_t ring_events;
    uint32_t read_events;
    struct config_strings context_blobs;
    char *media_base_url;
    struct config_strings media_hosts;
    char *media_key;
    char *media_key_previous;
    uint32_t media_link_ttl_ms;
    uint32_t upload_ttl_ms;
    uint32_t upload_max_bytes;
};

extern const struct config_key gateway_keys[];

enum gateway_stat {
    GATEWAY_REQUESTS,
    GATEWAY_REQUEST_MS,
    GATEWAY_SESSION_CHECKS,
    GATEWAY_TICKETS,
    GATEWAY_SOCKETS,
    GATEWAY_SOCKETS_CLOSED,
    GATEWAY_EVENTS_SENT,
    GATEWAY_EVENT_READS,
    GATEWAY_RESYNCS,
    GATEWAY_TAILS,
    GATEWAY_DOORBELLS,
    GATEWAY_UPLOADS,
    GATEWAY_DOWNLOADS,
    GATEWAY_STAT_COUNT,
};

extern const struct stat_info gateway_stats[GATEWAY_STAT_COUNT];
extern const struct service_stats_table gateway_stats_tables[];

struct gateway {
    struct loop *loop;
    const struct gateway_config *config;
    struct stats *stats;
    struct mesh_client *routing;
    struct mesh_client *context;
    struct mesh_client *blobs;
    struct media *media;
    struct sessions *sessions;
    struct tickets *tickets;
    struct events *events;
    struct http_server *api;
    struct http_server *sockets;
    struct mesh_subscriber *doorbell;
};

/* Opens both listeners and the clients. The config is borrowed until free. */
bool gateway_new(struct loop *loop, const struct gateway_config *config, struct gateway **ret_gateway,
                 struct err *err) MUST_USE;
/* Adds the readiness checks and the drain. */
void gateway_attach(struct gateway *gateway, struct service *service);
/* SIGTERM: no more requests; sockets are sent away with 1012. */
void gateway_drain(void *gateway);
bool gateway_is_drained(void *gateway);
void gateway_free(struct gateway **gateway);

/* The documents built in from embed/. */
extern const char gateway_openapi_yaml[];
extern const unsigned long gateway_openapi_yaml_len;
extern const char gateway_event_schemas_json[];
extern const unsigned long gateway_event_schemas_json_len;

#endif
