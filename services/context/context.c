/* SPDX-License-Identifier: Apache-2.0 */
/* context.c - the service put together: database, listeners, blobs, the doorbell.
 *
 * Each role has a listener of its own, and the listener is the proof of the role. What a
 * gateway may call is a list here; routing may call everything. On closing, the database goes
 * first: its works end, and with them every request that waits for one. */
#include "context.h"

#include <stdlib.h>
#include <string.h>

#include "blob.h"

/* Writing is routing's, but for what has no consequence there, or one that the feed tells it. */
static const char *const gateway_methods[] = {
    "guichet.v1.Context/StoreOutbound",     "guichet.v1.Context/GetConversations",
    "guichet.v1.Context/ListMessages",      "guichet.v1.Context/MarkRead",
    "guichet.v1.Context/GetCustomer",       "guichet.v1.Context/FindCustomers",
    "guichet.v1.Context/UpdateCustomer",    "guichet.v1.Context/Timeline",
    "guichet.v1.Context/MergeCustomers",    "guichet.v1.Context/UnmergeCustomers",
    "guichet.v1.Context/JoinConversations",
};

static bool authorise_gateway(void *arg, struct mesh_request *request, struct err *err)
{
    const char *method = mesh_request_method(request);

    (void)arg;
    for (size_t i = 0; i < COUNT_OF(gateway_methods); i++)
        if (strcmp(method, gateway_methods[i]) == 0)
            return true;
    return err_set(err, ERR_FORBIDDEN, "%s: is not for gateways", method);
}

static void init_role(struct context_role *role, struct context *context, bool is_gateway)
{
    *role = (struct context_role){ .methods = GUICHET__V1__CONTEXT__INIT(context_),
                                   .context = context,
                                   .is_gateway = is_gateway };
}

static bool open_listener(struct context *context, struct context_role *role, const char *name,
                          const char *listen, struct mesh_server **ret_server, struct err *err)
{
    const struct mesh_server_options options = {
        .name = name,
        .listen = listen,
        .max_in_flight = context->config->max_in_flight,
        .service = "context",
        .authorise = role->is_gateway ? authorise_gateway : NULL,
    };

    if (!mesh_server_new(context->loop, &options, ret_server, err))
        return err_at(err, "listen_%s", name);
    mesh_server_add(*ret_server, &role->methods.base);
    return true;
}

static void drain(void *arg)
{
    struct context *context = arg;

    mesh_server_drain(context->centre);
    mesh_server_drain(context->gateway);
    context_blobs_drain(context->blobs);
}

static bool is_drained(void *arg)
{
    const struct context *context = arg;

    return mesh_server_in_flight(context->centre) == 0 && mesh_server_in_flight(context->gateway) == 0 &&
           context_blobs_is_drained(context->blobs);
}

static bool open_parts(struct context *context, struct service *service, struct err *err)
{
    const struct context_config *config = context->config;
    uint32_t newest = context_migrations[context_migration_count - 1].number;

    if (!database_open(&context->database, service, &config->database, "context", newest, err) ||
        !open_listener(context, &context->centre_role, "centre", config->listen_centre, &context->centre,
                       err) ||
        !open_listener(context, &context->gateway_role, "gateway", config->listen_gateway, &context->gateway,
                       err) ||
        !context_blobs_new(context, service, &context->blobs, err))
        return false;
    return mesh_publisher_new(context->loop, config->publish, &context->publisher, err) ||
           err_at(err, "publish");
}

bool context_new(struct service *service, const struct context_config *config, struct context **ret_context,
                 struct err *err)
{
    struct context *context = calloc(1, sizeof(*context));

    if (context == NULL)
        abort();
    context->loop = service->loop;
    context->config = config;
    context->stats = stats_new("context", context_stats, CONTEXT_STAT_COUNT);
    init_role(&context->centre_role, context, false);
    init_role(&context->gateway_role, context, true);
    if (!open_parts(context, service, err)) {
        context_free(&context);
        return false;
    }
    service_on_drain(service, drain, is_drained, context);
    context_start_partitions(context);
    *ret_context = context;
    return true;
}

void context_free(struct context **context)
{
    struct context *closing = *context;

    if (closing == NULL)
        return;
    *context = NULL;
    loop_timer_free(&closing->partition_timer);
    context_blobs_stop(closing->blobs);
    database_close(&closing->database);
    context_blobs_free(&closing->blobs);
    mesh_server_free(&closing->centre);
    mesh_server_free(&closing->gateway);
    mesh_publisher_free(&closing->publisher);
    stats_free(&closing->stats);
    free(closing);
}
