/* SPDX-License-Identifier: Apache-2.0 */
/* connector_runtime.c - opens the flows of a connector and closes them in an order in which none calls
 * back into one that is gone. */
#include "service/connector_spool.h"

#include <stdlib.h>
#include <string.h>

enum { ANSWER_EXTRA_MS = 5000, MESH_SPARE_CALLS = 48 };

struct connector_slot *connector_slot_find(struct connector_runtime *runtime, struct str_view account_id)
{
    for (size_t i = 0; i < runtime->slot_count; i++)
        if (str_equal(str_view_of(runtime->slots[i].account->id), account_id))
            return &runtime->slots[i];
    return NULL;
}

/* ---- opening ---- */

static bool open_mesh(struct connector_runtime *runtime, struct err *err)
{
    const struct connector_config *config = runtime->config;
    const struct mesh_client_options options = {
        .name = "routing",
        .descriptor = &guichet__v1__connector__descriptor,
        .addresses = (const char *const *)config->routing.items,
        .address_count = config->routing.count,
        .attempt_timeout_ms = config->submit_attempt_timeout_ms,
        .max_in_flight = (uint32_t)(config->lanes * runtime->slot_count +
                                    config->pull_max * config->routing_pull.count + MESH_SPARE_CALLS),
    };

    if (!mesh_client_new(runtime->loop, &options, &runtime->routing, err))
        return err_at(err, "routing");
    return true;
}

static bool open_blobs(struct connector_runtime *runtime, struct err *err)
{
    const struct connector_config *config = runtime->config;
    const struct mesh_client_options options = {
        .name = "routing_blobs",
        .descriptor = &guichet__v1__blobs__descriptor,
        .addresses = (const char *const *)config->routing_blobs.items,
        .address_count = config->routing_blobs.count,
        .attempt_timeout_ms = config->submit_attempt_timeout_ms,
        .max_in_flight = BLOB_UPLOAD_HELD_CHUNKS *
                         (uint32_t)(config->media_fetches_max + config->pull_max * config->routing_pull.count),
    };

    if (!mesh_client_new(runtime->loop, &options, &runtime->blobs, err))
        return err_at(err, "routing_blobs");
    return true;
}

static bool open_pullers(struct connector_runtime *runtime, struct err *err)
{
    const struct config_strings *addresses = &runtime->config->routing_pull;

    runtime->pullers = calloc(addresses->count, sizeof(struct connector_puller *));
    if (runtime->pullers == NULL)
        abort();
    for (size_t i = 0; i < addresses->count; i++) {
        if (!connector_puller_new(runtime, addresses->items[i], &runtime->pullers[i], err))
            return false;
        runtime->puller_count++;
    }
    return true;
}

static bool open_http(struct connector_runtime *runtime, struct err *err)
{
    const struct connector_config *config = runtime->config;
    const struct http_client_options client = {
        .max_in_flight = (uint32_t)(config->pull_max * config->routing_pull.count),
        .allow_private_addresses = config->allow_private_addresses,
        .allow_plain_http = config->allow_plain_http,
        .user_agent = "guichet/" GUICHET_VERSION,
    };
    const struct http_server_options server = {
        .name = "webhooks",
        .listen = config->hook_listen,
        .connections_max = config->requests_max * 2,
        .requests_max = config->requests_max,
        .body_max_bytes = config->body_max_bytes,
        .answer_timeout_ms = 2 * connector_submit_timeout_ms(config) + ANSWER_EXTRA_MS,
        .handler = connector_hook_on_request,
        .arg = runtime,
    };

    runtime->http = http_client_new(runtime->loop, &client);
    if (!http_server_new(runtime->loop, &server, &runtime->server, err))
        return err_at(err, "hook_listen");
    return true;
}

static void fill_slots(struct connector_runtime *runtime)
{
    runtime->slot_count = runtime->config->accounts.count;
    runtime->slots = calloc(runtime->slot_count, sizeof(*runtime->slots));
    if (runtime->slots == NULL)
        abort();
    for (size_t i = 0; i < runtime->slot_count; i++)
        runtime->slots[i].account = connector_account_at(runtime->table, runtime->config, i);
}

bool connector_runtime_new(struct loop *loop, const struct connector *table,
                           const struct connector_config *config, struct connector_runtime **ret_runtime,
                           struct err *err)
{
    struct connector_runtime *runtime = calloc(1, sizeof(*runtime));

    if (runtime == NULL)
        abort();
    runtime->loop = loop;
    runtime->table = table;
    runtime->config = config;
    id_new_text(runtime->boot_id);
    fill_slots(runtime);
    runtime->stats = stats_new("connector", connector_stats, CONNECTOR_STAT_COUNT);
    runtime->lanes = connector_lanes_new(runtime);
    runtime->reports = connector_reports_new(runtime);
    runtime->announcer = connector_announcer_new(runtime);
    runtime->fetches = connector_fetches_new(runtime);
    if (!connector_spool_open(runtime, err) || !open_mesh(runtime, err) || !open_blobs(runtime, err) ||
        !open_pullers(runtime, err) || !open_http(runtime, err)) {
        connector_runtime_free(&runtime);
        return false;
    }
    *ret_runtime = runtime;
    return true;
}

/* ---- closing ---- */

void connector_runtime_drain(struct connector_runtime *runtime)
{
    if (runtime->is_draining)
        return;
    runtime->is_draining = true;
    loop_excuse(runtime->loop); /* closing nng's sockets may take a while */
    http_server_drain(runtime->server);
    for (size_t i = 0; i < runtime->puller_count; i++)
        connector_puller_stop(runtime->pullers[i]);
}

bool connector_runtime_is_drained(const struct connector_runtime *runtime)
{
    if (http_server_open_requests(runtime->server) > 0 || connector_lanes_waiting(runtime->lanes) > 0)
        return false;
    for (size_t i = 0; i < runtime->puller_count; i++)
        if (connector_puller_jobs(runtime->pullers[i]) > 0)
            return false;
    return true;
}

/* First what calls back (pulls, provider calls, mesh calls: they end as cancelled), then who waits for it. */
void connector_runtime_free(struct connector_runtime **runtime_ptr)
{
    struct connector_runtime *runtime = *runtime_ptr;

    *runtime_ptr = NULL;
    if (runtime == NULL)
        return;
    runtime->is_closing = true;
    for (size_t i = 0; i < runtime->puller_count; i++)
        connector_puller_stop(runtime->pullers[i]);
    http_client_free(&runtime->http);
    mesh_client_free(&runtime->routing);
    connector_announcer_free(&runtime->announcer);
    spool_free(&runtime->spool); /* what is under way ends well, and is answered so */
    connector_lanes_free(&runtime->lanes);
    connector_reports_free(&runtime->reports);
    for (size_t i = 0; i < runtime->puller_count; i++)
        connector_puller_free(&runtime->pullers[i]);
    connector_fetches_free(&runtime->fetches);
    mesh_client_free(&runtime->blobs); /* after the uploads that are under way */
    http_server_free(&runtime->server);
    loop_timer_free(&runtime->spool_timer);
    free(runtime->spool_accounts);
    stats_free(&runtime->stats);
    free(runtime->pullers);
    free(runtime->slots);
    free(runtime);
}
