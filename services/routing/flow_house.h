/* SPDX-License-Identifier: Apache-2.0 */
/* flow_house.h - the routing service in a test: its settings, a context in memory, clients of each role.
 *
 * Every fall-back poll is set to an hour: what happens, happens by kicks, notifications and clocks. */
#ifndef GUICHET_ROUTING_FLOW_HOUSE_H
#define GUICHET_ROUTING_FLOW_HOUSE_H

#include "flow_call.h"

static KIT_UNUSED struct mesh_client *dial(struct house *house, size_t listener)
{
    const char *url = mesh_server_url(house->routing->servers[listener]);
    const struct mesh_client_options options = {
        .name = "routing",
        .addresses = &url,
        .address_count = 1,
        .descriptor = listener < 2 ? &guichet__v1__connector__descriptor : &guichet__v1__routing__descriptor,
    };
    struct mesh_client *client = NULL;
    struct err err = { 0 };

    if (!mesh_client_new(house->service.loop, &options, &client, &err))
        fail_msg("dial: %s", err.text);
    return client;
}

static KIT_UNUSED void write_config(struct house *house, const char *extra)
{
    FILE *file;
    int fd;

    snprintf(house->path, sizeof(house->path), "/tmp/guichet-routing-XXXXXX");
    fd = mkstemp(house->path);
    file = fdopen(fd, "w");
    assert_non_null(file);
    fprintf(
        file,
        "ops_listen: 127.0.0.1:0\ndatabase_url: env:ROUTING_TEST_URL\ntoken_key: env:ROUTING_TEST_KEY\n"
        "listen_connector: tcp://127.0.0.1:0\nlisten_pull: tcp://127.0.0.1:0\n"
        "listen_gateway: tcp://127.0.0.1:0\nlisten_ctl: tcp://127.0.0.1:0\nlisten_blobs: tcp://127.0.0.1:0\n"
        "publish: tcp://127.0.0.1:0\n"
        "poll_ms: 1h\nlog_level: error\n%s"
        "tenants:\n  - name: %s\n    queues:\n      - name: support\n      - name: billing\n"
        "connectors:\n  - name: sms-1\n    channel: sms\n    secret: env:ROUTING_TEST_KEY\n    tenants: [%s]\n",
        extra, house->tenant, house->tenant);
    fclose(file);
    setenv("ROUTING_TEST_URL", database.url, 1);
    setenv("ROUTING_TEST_KEY", "0123456789abcdef", 1);
}

static KIT_UNUSED void open_house(struct house *house, const char *tenant, const char *extra)
{
    char *argv[] = { (char[]){ "guichet-routing" }, (char[]){ "--config" }, house->path, NULL };
    struct err err = { 0 };
    bool ok;

    memset(house, 0, sizeof(*house));
    snprintf(house->tenant, sizeof(house->tenant), "%s", tenant);
    house->arena = arena_new(64 << 20);
    guichet__v1__capabilities__init(&house->can);
    house->can.text_max_length = 20;
    house->can.can_start = true;
    house->can.resend = GUICHET__V1__RESEND_POLICY__RESEND_POLICY_ASK;
    buf_init(&house->token, 65536);
    write_config(house, extra);
    house->service = (struct service){ .name = "routing",
                                       .config_keys = routing_keys,
                                       .config = &house->config,
                                       .stats = routing_stats_tables };
    if (!service_open(&house->service, 3, argv, &err))
        fail_msg("service_open: %s", err.text);
    /* Hashing a password (argon2id, on the worker) takes and gives back so much memory at once that under sanitizers
     * the loop's own page faults wait for it. */
    loop_set_turn_max_ms(house->service.loop, 1000);
    open_fake(&house->fake, house->service.loop, house->tenant);
    free(house->config.context.items[0]);
    house->config.context.items[0] = str_dup(str_view_of(mesh_server_url(house->fake.server)));
    free(house->config.context_blobs.items[0]);
    house->config.context_blobs.items[0] = str_dup(str_view_of(mesh_server_url(house->fake.server)));
    free(house->config.context_doorbells.items[0]);
    house->config.context_doorbells.items[0] =
        str_dup(str_view_of(mesh_publisher_url(house->fake.publisher)));
    ok = routing_new(&house->routing, &house->service, &house->config, &err);
    if (!ok)
        fail_msg("routing_new: %s", err.text);
    house->connector = dial(house, 0);
    house->pull = dial(house, 1);
    house->gateway = dial(house, 2);
    house->ctl = dial(house, 3);
    UNTIL(house, house->routing->has_tenants && mesh_client_is_healthy(house->connector) &&
                     mesh_client_is_healthy(house->pull) && mesh_client_is_healthy(house->gateway) &&
                     mesh_client_is_healthy(house->ctl) && mesh_client_is_healthy(house->routing->blobs) &&
                     mesh_client_is_healthy(house->routing->context));
}

static KIT_UNUSED void close_house(struct house *house)
{
    mesh_client_free(&house->connector);
    mesh_client_free(&house->pull);
    mesh_client_free(&house->gateway);
    mesh_client_free(&house->ctl);
    routing_free(&house->routing);
    mesh_server_free(&house->fake.server);
    mesh_publisher_free(&house->fake.publisher);
    service_close(&house->service);
    arena_free(&house->fake.arena);
    arena_free(&house->arena);
    buf_done(&house->token);
    unlink(house->path);
}

#endif
