/* SPDX-License-Identifier: Apache-2.0 */
/* gateway.c - the service put together, and taken apart in an order that leaves nothing dangling.
 *
 * Closing: remembered sessions and mesh calls are ended first, while the requests and
 * sockets that wait for them can still be answered; then the listeners; then the rest. */
#include "gateway.h"

#include <stdlib.h>

#include "api.h"
#include "auth.h"
#include "events.h"
#include "guichet/v1/blob.pb-c.h"
#include "media.h"
#include "tickets.h"

/* The server's own deadline comes after ours: it is the net, 504 is ours to say. */
#define ANSWER_MARGIN_MS 2000

static bool client_new(struct gateway *gateway, const ProtobufCServiceDescriptor *peer, const char *name,
                       const struct config_strings *addresses, struct mesh_client **ret_client,
                       struct err *err)
{
    const struct mesh_client_options options = {
        .name = name,
        .descriptor = peer,
        .addresses = (const char *const *)addresses->items,
        .address_count = addresses->count,
        .attempt_timeout_ms = gateway->config->attempt_timeout_ms,
        .max_in_flight = gateway->config->calls_max,
    };

    if (addresses->count == 0)
        return err_set(err, ERR_CONFIG, "key '%s': names no address", name);
    return mesh_client_new(gateway->loop, &options, ret_client, err) || err_at(err, "%s", name);
}

static bool listeners_new(struct gateway *gateway, struct err *err)
{
    const struct gateway_config *config = gateway->config;
    uint32_t slowest_ms = config->login_timeout_ms > config->request_timeout_ms ? config->login_timeout_ms
                                                                                : config->request_timeout_ms;
    struct http_server_options api = {
        .name = "api",
        .listen = config->listen,
        .connections_max = config->connections_max,
        .requests_max = config->requests_max,
        .body_max_bytes = config->body_max_bytes,
        .answer_timeout_ms = slowest_ms + ANSWER_MARGIN_MS,
        .handler = api_handle,
        .head = api_head,
        .problem = api_problem,
        .arg = gateway,
    };
    struct http_server_options sockets = {
        .name = "events",
        .listen = config->listen_events,
        .connections_max = config->sockets_max,
        .requests_max = config->requests_max,
        .body_max_bytes = 1024,
        .connection_memory_bytes = config->socket_memory_bytes,
        .answer_timeout_ms = slowest_ms + ANSWER_MARGIN_MS,
        .allow_upgrade = true,
        .handler = events_handle,
        .problem = api_problem,
        .arg = gateway,
    };

    return (http_server_new(gateway->loop, &api, &gateway->api, err) || err_at(err, "listen")) &&
           (http_server_new(gateway->loop, &sockets, &gateway->sockets, err) || err_at(err, "listen_events"));
}

static bool routing_check(void *arg, struct err *err)
{
    const struct gateway *gateway = arg;

    return mesh_client_is_healthy(gateway->routing) ||
           err_set(err, ERR_UNAVAILABLE, "no routing replica answers");
}

static bool context_check(void *arg, struct err *err)
{
    const struct gateway *gateway = arg;

    return mesh_client_is_healthy(gateway->context) ||
           err_set(err, ERR_UNAVAILABLE, "no context replica answers");
}

void gateway_drain(void *arg)
{
    struct gateway *gateway = arg;

    http_server_drain(gateway->api);
    http_server_drain(gateway->sockets);
    events_close_all(gateway->events);
}

bool gateway_is_drained(void *arg)
{
    const struct gateway *gateway = arg;

    return http_server_open_requests(gateway->api) == 0 && http_server_open_requests(gateway->sockets) == 0 &&
           events_socket_count(gateway->events) == 0;
}

bool gateway_new(struct loop *loop, const struct gateway_config *config, struct gateway **ret_gateway,
                 struct err *err)
{
    struct gateway *gateway = calloc(1, sizeof(*gateway));

    if (gateway == NULL)
        abort();
    gateway->loop = loop;
    gateway->config = config;
    gateway->stats = stats_new("gateway", gateway_stats, GATEWAY_STAT_COUNT);
    gateway->tickets = tickets_new(config->ticket_key);
    if (!client_new(gateway, &guichet__v1__routing__descriptor, "routing", &config->routing,
                    &gateway->routing, err) ||
        !client_new(gateway, &guichet__v1__context__descriptor, "context", &config->context,
                    &gateway->context, err) ||
        !client_new(gateway, &guichet__v1__blobs__descriptor, "context_blobs", &config->context_blobs,
                    &gateway->blobs, err) ||
        !media_new(gateway, err)) {
        gateway_free(&gateway);
        return false;
    }
    gateway->sessions = auth_sessions_new(gateway->loop, config, gateway->routing, gateway->stats);
    gateway->events = events_new(gateway);
    if (!mesh_subscriber_new(gateway->loop, (const char *const *)config->routing_doorbells.items,
                             config->routing_doorbells.count, events_on_doorbell, gateway, &gateway->doorbell,
                             err) ||
        !listeners_new(gateway, err)) {
        gateway_free(&gateway);
        return false;
    }
    *ret_gateway = gateway;
    return true;
}

void gateway_attach(struct gateway *gateway, struct service *service)
{
    service_add_check(service, "routing", routing_check, gateway);
    service_add_check(service, "context", context_check, gateway);
    service_on_drain(service, gateway_drain, gateway_is_drained, gateway);
}

void gateway_free(struct gateway **gateway)
{
    struct gateway *closing = *gateway;

    if (closing == NULL)
        return;
    *gateway = NULL;
    mesh_subscriber_free(&closing->doorbell);
    if (closing->sessions != NULL)
        auth_sessions_cancel(closing->sessions);
    mesh_client_free(&closing->routing);
    mesh_client_free(&closing->context);
    http_server_free(&closing->api);
    http_server_free(&closing->sockets);
    media_free(&closing->media);
    mesh_client_free(&closing->blobs);
    events_free(&closing->events);
    auth_sessions_free(&closing->sessions);
    tickets_free(&closing->tickets);
    stats_free(&closing->stats);
    free(closing);
}
