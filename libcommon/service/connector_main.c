/* SPDX-License-Identifier: Apache-2.0 */
/* connector_main.c - the main() of every connector: settings, service, runtime, until SIGTERM. */
#include "service/connector_spool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PREFIX_MAX_BYTES = 128 };

static const struct service_stats_table stats_tables[] = {
    { "connector", connector_stats, CONNECTOR_STAT_COUNT },
    { NULL, NULL, 0 },
};

/* Ready is who can take a webhook and keep the promise: announced, with a token that holds, or with a spool that
 * takes it meanwhile. */
static bool check_routing(void *arg, struct err *err)
{
    struct connector_runtime *runtime = arg;

    if (connector_spool_is_usable(runtime, err))
        return true;
    if (runtime->spool != NULL && spool_numbers(runtime->spool).events > 0)
        return false; /* lanes that go through it get 503 */
    if (!connector_is_announced(runtime))
        return err_set(err, ERR_UNAVAILABLE, "not announced to routing");
    if (!mesh_client_is_healthy(runtime->routing))
        return err_set(err, ERR_UNAVAILABLE, "no routing replica answers");
    return true;
}

static void on_drain(void *arg)
{
    connector_runtime_drain(arg);
}

static bool is_drained(void *arg)
{
    return connector_runtime_is_drained(arg);
}

/* The default names the channel, so it cannot stand in the table. */
static void fill_prefix(struct connector_config *config, const char *name)
{
    char prefix[PREFIX_MAX_BYTES];

    if (config->hook_prefix != NULL && config->hook_prefix[0] != '\0')
        return;
    snprintf(prefix, sizeof(prefix), "/hooks/%s", name);
    free(config->hook_prefix);
    config->hook_prefix = str_dup(str_view_of(prefix));
}

struct checked {
    const struct connector *table;
    struct connector_config *config;
};

static bool check_config(void *arg, struct err *err)
{
    struct checked *checked = arg;

    fill_prefix(checked->config, checked->table->name);
    return connector_config_check(checked->table, checked->config, err);
}

static bool start(struct service *service, const struct connector *table, struct connector_config *config,
                  struct connector_runtime **ret_runtime, struct err *err)
{
    if (!connector_runtime_new(service->loop, table, config, ret_runtime, err))
        return false;
    service_add_check(service, "routing", check_routing, *ret_runtime);
    service_on_drain(service, on_drain, is_drained, *ret_runtime);
    return service_ready(service, err);
}

int connector_main(int argc, char **argv, const struct connector *connector)
{
    struct connector_config *config = calloc(1, connector->config_size);
    struct checked checked = { connector, config };
    struct service service = {
        .name = connector->name,
        .summary = connector->summary,
        .config = config,
        .stats = stats_tables,
        .check_config = check_config,
        .check_config_arg = &checked,
    };
    struct connector_runtime *runtime = NULL;
    struct connector_keys keys;
    struct err err = { 0 };
    int exit_code = 0;

    if (config == NULL)
        abort();
    connector_keys_init(&keys, connector);
    service.config_keys = keys.keys;
    if (!service_open(&service, argc, argv, &err) || !start(&service, connector, config, &runtime, &err))
        exit_code = service_fail(&service, &err);
    else
        service_run(&service);
    connector_runtime_free(&runtime);
    service_close(&service);
    connector_keys_done(&keys);
    free(config);
    return exit_code;
}
