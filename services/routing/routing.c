/* SPDX-License-Identifier: Apache-2.0 */
/* routing.c - opens what the service is made of, closes it in reverse, and is where a commit is told.
 *
 * Tenants and queues are made in the database once it is connected; until then the service is not ready and
 * the feeds are not read. */
#include "routing.h"

#include <stdlib.h>
#include <string.h>

#include "blobs.h"
#include "connector.h"
#include "core/id.h"
#include "login.h"
#include "ops/log.h"
#include "rpc.h"
#include "statements.h"

enum { RETRY_MS = 500 };

extern const struct db_migration routing_migrations[];
extern const size_t routing_migration_count;

struct routing_start {
    struct loop_timer *timer;
    size_t tenant; /* which is being made */
};

struct routing_published {
    uint64_t sequence;
}; /* one per tenant, in the configuration's order */

static const Guichet__V1__Connector_Service connector_service =
    GUICHET__V1__CONNECTOR__INIT(routing_connector_);
static const Guichet__V1__Routing_Service routing_service = GUICHET__V1__ROUTING__INIT(routing_rpc_);

/* ---- tenants, at start ---- */

static void put_next(void *arg);

static void on_tenants_made(struct routing *routing)
{
    loop_timer_free(&routing->start->timer);
    free(routing->start);
    routing->start = NULL;
    routing->has_tenants = true;
    log_event(LOG_INFO, "tenants_made", LOG_NUMBER("count", routing->config->tenants.count));
    routing->applier = routing_applier_new(routing);
    routing_clocks_set(routing->clocks, NULL);
}

static void on_put(void *arg, struct db_work *work, const struct err *err)
{
    struct routing *routing = arg;

    (void)work;
    if (err->kind == ERR_CANCELED)
        return;
    if (err->kind != ERR_NONE) {
        log_event(LOG_WARN, "tenant_not_made", LOG_ERR(err));
        loop_timer_start(routing->start->timer, RETRY_MS, 0);
        return;
    }
    routing->start->tenant++;
    put_next(routing);
}

/* Account ids of a queue as one text, a line each: SQL arrays here have one dimension. */
static struct str_view join_accounts(const struct config_strings *accounts, struct arena *arena)
{
    const char *text = "";

    for (size_t i = 0; i < accounts->count; i++)
        text = arena_printf(arena, "%s%s\n", text, accounts->items[i]);
    return str_view_of(text);
}

static void put_next(void *arg)
{
    struct routing *routing = arg;
    const struct routing_tenant_config *tenant = routing->config->tenants.items;
    const struct routing_queue_config *queues;
    struct db_work *work;
    struct arena *arena;
    size_t count;

    if (routing->start->tenant == routing->config->tenants.count) {
        on_tenants_made(routing);
        return;
    }
    tenant += routing->start->tenant;
    queues = tenant->queues.items;
    count = tenant->queues.count;
    work = db_work_new(routing->database.short_);
    arena = db_work_arena(work);
    struct str_view *ids = arena_alloc(arena, count * sizeof(*ids)),
                    *names = arena_alloc(arena, count * sizeof(*ids));
    struct str_view *accounts = arena_alloc(arena, count * sizeof(*ids));
    for (size_t i = 0; i < count; i++) {
        char *id = arena_alloc(arena, ID_TEXT_BYTES);

        id_new_text(id);
        ids[i] = str_view_of(id);
        names[i] = str_view_of(queues[i].name);
        accounts[i] = join_accounts(&queues[i].accounts, arena);
    }
    const struct db_param params[] = {
        DB_PARAM_TEXT(tenant->name),
        { .type = DB_UUID_ARRAY, .items = ids, .count = count },
        { .type = DB_TEXT_ARRAY, .items = names, .count = count },
        { .type = DB_TEXT_ARRAY, .items = accounts, .count = count },
    };
    db_work_add(work, &routing_sql_put_tenant, params, COUNT_OF(params));
    db_work_run(work, on_put, routing);
}

static bool check_tenants(void *arg, struct err *err)
{
    const struct routing *routing = arg;

    if (!routing->has_tenants)
        return err_set(err, ERR_UNAVAILABLE, "the tenants are not made yet");
    return routing_applier_check(routing->applier, err);
}

static bool check_context(void *arg, struct err *err)
{
    const struct routing *routing = arg;

    return mesh_client_is_healthy(routing->context) ||
           err_set(err, ERR_UNAVAILABLE, "no replica of context answers");
}

/* ---- what is told ---- */

void routing_committed(struct routing *routing, const char *tenant, uint64_t sequence)
{
    const struct routing_tenant_config *tenants = routing->config->tenants.items;
    const struct routing_tenant_config *found = routing_find_tenant(routing->config, tenant);

    if (found == NULL || sequence <= routing->published[found - tenants].sequence)
        return;
    routing->published[found - tenants].sequence = sequence;
    mesh_publish(routing->publisher, tenant, sequence);
}

void routing_wake(struct routing *routing, const char *tenant)
{
    routing_pulls_wake(routing->pulls, tenant);
    routing_clocks_set(routing->clocks, tenant);
}

static void kick_all(struct routing *routing)
{
    const struct routing_tenant_config *tenants = routing->config->tenants.items;

    for (size_t i = 0; i < routing->config->tenants.count; i++)
        routing_applier_kick(routing->applier, tenants[i].name, false);
}

/* "work demo": from a commit of any replica. NULL or empty after each reconnect: something may have been missed. */
static void on_notify(void *arg, const char *channel, const char *payload)
{
    struct routing *routing = arg;
    const char *space = payload != NULL ? strchr(payload, ' ') : NULL;
    const char *tenant = space != NULL ? space + 1 : NULL;
    struct str_view word = { payload, space != NULL ? (size_t)(space - payload) : 0 };

    (void)channel;
    if (!routing->has_tenants || routing->is_draining)
        return;
    if (tenant == NULL) {
        kick_all(routing);
        routing_wake(routing, NULL);
    } else if (str_equal(word, STR_LITERAL("kick"))) {
        routing_applier_kick(routing->applier, tenant, false);
    } else if (str_equal(word, STR_LITERAL("work"))) {
        routing_wake(routing, tenant);
    } else if (str_equal(word, STR_LITERAL("lease"))) {
        routing_clocks_set(routing->clocks, tenant);
    } else if (str_equal(word, STR_LITERAL("presence"))) {
        routing_clocks_presence_in(routing->clocks, tenant, routing->config->presence_ttl_ms);
    } else if (str_equal(word, STR_LITERAL("applied"))) {
        routing_applier_look(routing->applier);
    } else if (str_equal(word, STR_LITERAL("free"))) {
        routing_applier_hold(routing->applier);
    }
}

static void on_doorbell(void *arg, const char *tenant, uint64_t sequence)
{
    struct routing *routing = arg;

    (void)sequence;
    if (!routing->has_tenants)
        return;
    if (tenant[0] == '\0') /* connected anew: anything may have rung */
        kick_all(routing);
    else
        routing_applier_kick(routing->applier, tenant, false);
}

/* ---- drain ---- */

static void on_drain(void *arg)
{
    struct routing *routing = arg;

    routing->is_draining = true;
    for (size_t i = 0; i < ROUTING_LISTENERS; i++)
        mesh_server_drain(routing->servers[i]);
    routing_pulls_drain(routing->pulls);
    if (routing->applier != NULL)
        routing_applier_stop(routing->applier);
}

static bool is_drained(void *arg)
{
    const struct routing *routing = arg;

    for (size_t i = 0; i < ROUTING_LISTENERS; i++)
        if (mesh_server_in_flight(routing->servers[i]) > 0)
            return false;
    return routing->applier == NULL || routing_applier_is_idle(routing->applier);
}

/* ---- opening ---- */

static bool open_listener(struct routing *routing, size_t index, const char *name, const char *listen,
                          ProtobufCService *rpc, struct err *err)
{
    bool is_blobs = rpc == &routing->blobs_rpc.base;
    bool is_for_connectors = is_blobs || rpc->descriptor == &guichet__v1__connector__descriptor;
    const struct mesh_server_options options = {
        .name = name,
        .listen = listen,
        .service = "routing",
        .max_in_flight =
            rpc == &routing->pull_rpc.base.base ? routing->config->pulls_max
            : is_blobs                          ? routing->config->blob_requests_max
                                                : routing->config->requests_max,
        .authorise = is_for_connectors ? routing_connector_authorise : NULL,
        .authorise_arg = routing,
    };

    if (!mesh_server_new(routing->loop, &options, &routing->servers[index], err))
        return false;
    mesh_server_add(routing->servers[index], rpc);
    return true;
}

static bool open_blobs(struct routing *routing, struct err *err)
{
    const struct routing_config *config = routing->config;
    const struct mesh_client_options options = {
        .name = "blobs",
        .descriptor = &guichet__v1__blobs__descriptor,
        .addresses = (const char *const *)config->context_blobs.items,
        .address_count = config->context_blobs.count,
        .attempt_timeout_ms = config->blob_attempt_timeout_ms,
        .max_in_flight = config->blob_requests_max,
    };

    routing_blobs_init(&routing->blobs_rpc, routing);
    return mesh_client_new(routing->loop, &options, &routing->blobs, err) &&
           open_listener(routing, 4, "blobs", config->listen_blobs, &routing->blobs_rpc.base, err);
}

static bool open_mesh(struct routing *routing, struct err *err)
{
    const struct routing_config *config = routing->config;
    const struct mesh_client_options options = {
        .name = "context",
        .descriptor = &guichet__v1__context__descriptor,
        .addresses = (const char *const *)config->context.items,
        .address_count = config->context.count,
        .attempt_timeout_ms = config->context_timeout_ms,
        .max_in_flight = config->requests_max,
    };

    routing->submit_rpc = (struct routing_connector_rpc){ connector_service, routing };
    routing->submit_rpc.base.pull = routing_connector_no_pull;
    routing->pull_rpc = (struct routing_connector_rpc){ connector_service, routing };
    routing->routing_rpc = (struct routing_rpc){ routing_service, routing, false };
    routing->ctl_rpc = (struct routing_rpc){ routing_service, routing, true };
    return mesh_client_new(routing->loop, &options, &routing->context, err) &&
           mesh_publisher_new(routing->loop, config->publish, &routing->publisher, err) &&
           open_listener(routing, 0, "connector", config->listen_connector, &routing->submit_rpc.base.base,
                         err) &&
           open_listener(routing, 1, "pull", config->listen_pull, &routing->pull_rpc.base.base, err) &&
           open_listener(routing, 2, "gateway", config->listen_gateway, &routing->routing_rpc.base.base,
                         err) &&
           open_listener(routing, 3, "ctl", config->listen_ctl, &routing->ctl_rpc.base.base, err) &&
           open_blobs(routing, err) &&
           mesh_subscriber_new(routing->loop, (const char *const *)config->context_doorbells.items,
                               config->context_doorbells.count, on_doorbell, routing, &routing->doorbells,
                               err);
}

bool routing_new(struct routing **ret_routing, struct service *service, const struct routing_config *config,
                 struct err *err)
{
    struct routing *routing = calloc(1, sizeof(*routing));
    uint32_t newest = routing_migrations[routing_migration_count - 1].number;

    if (routing == NULL)
        abort();
    *ret_routing = routing; /* half-built is freed by routing_free() */
    routing->service = service;
    routing->config = config;
    routing->loop = service->loop;
    routing->published = calloc(config->tenants.count + 1, sizeof(*routing->published));
    routing->start = calloc(1, sizeof(*routing->start));
    if (routing->published == NULL || routing->start == NULL)
        abort();
    routing->stats = stats_new("routing", routing_stats, ROUTING_STAT_COUNT);
    routing->pulls = routing_pulls_new(routing);
    routing->clocks = routing_clocks_new(routing);
    routing->passwords = worker_new(routing->loop, config->password_threads, config->password_queue_max);
    routing->start->timer = loop_timer_new(routing->loop, put_next, routing);
    if (!routing_login_init(routing, err) ||
        !database_open(&routing->database, service, &config->database, "routing", newest, err) ||
        !open_mesh(routing, err))
        return false;
    routing->listener = db_listen(routing->database.db, "guichet_routing", on_notify, routing);
    service_add_check(service, "tenants", check_tenants, routing);
    service_add_check(service, "context", check_context, routing);
    service_on_drain(service, on_drain, is_drained, routing);
    loop_timer_start(routing->start->timer, 0, 0);
    return true;
}

/* Callers hear first (the mesh), then what was asked for them ends (workers, database), then what waited. */
void routing_free(struct routing **routing_ptr)
{
    struct routing *routing = *routing_ptr;

    *routing_ptr = NULL;
    if (routing == NULL)
        return;
    routing->is_draining = true;
    mesh_subscriber_free(&routing->doorbells);
    if (routing->listener != NULL)
        db_listener_free(&routing->listener);
    for (size_t i = 0; i < ROUTING_LISTENERS; i++)
        mesh_server_free(&routing->servers[i]);
    mesh_client_free(&routing->context);
    mesh_client_free(&routing->blobs);
    worker_free(&routing->passwords);
    database_close(&routing->database);
    routing_applier_free(&routing->applier);
    routing_pulls_free(&routing->pulls);
    routing_clocks_free(&routing->clocks);
    if (routing->start != NULL)
        loop_timer_free(&routing->start->timer);
    free(routing->start);
    mesh_publisher_free(&routing->publisher);
    stats_free(&routing->stats);
    free(routing->dummy_hash);
    free(routing->published);
    free(routing);
}
