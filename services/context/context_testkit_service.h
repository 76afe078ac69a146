/* SPDX-License-Identifier: Apache-2.0 */
/* context_testkit_service.h - part of context_testkit.h: the service and its database, up and down; Record. */
#ifndef GUICHET_CONTEXT_TESTKIT_SERVICE_H
#define GUICHET_CONTEXT_TESTKIT_SERVICE_H

static KIT_UNUSED const char *kit_server_url(void)
{
    const char *url = getenv("GUICHET_TEST_DATABASE");

    if (url == NULL || strrchr(url, '/') == NULL) {
        fprintf(stderr, "GUICHET_TEST_DATABASE is not set: these tests need a PostgreSQL, "
                        "e.g. the one that `tests/kit/postgres start DIR PORT` starts\n");
        exit(1);
    }
    return url;
}

static KIT_UNUSED struct db_pool *kit_connect(struct kit *kit, const char *url, struct db **ret_db)
{
    const struct db_options options = { .conninfo = url, .application = "test", .search_path = "public" };
    const struct db_pool_options pool = { .name = "test",
                                          .connections = 1,
                                          .statement_timeout_ms = KIT_WAIT_MS,
                                          .work_timeout_ms = KIT_WAIT_MS,
                                          .queue_max = 8 };
    struct err err = { 0 };

    if (!db_new(kit->service.loop, kit->service.worker, &options, ret_db, &err))
        fail_msg("db_new: %s", err.text);
    return db_pool_new(*ret_db, &pool);
}

static KIT_UNUSED void kit_open_database(struct kit *kit)
{
    const char *url = kit_server_url();
    struct err err = { 0 };
    uint32_t applied;

    kit->admin_pool = kit_connect(kit, url, &kit->admin);
    kit_run(kit, kit->admin_pool, arena_printf(kit->arena, "DROP DATABASE IF EXISTS %s", kit->database));
    kit_run(kit, kit->admin_pool, arena_printf(kit->arena, "CREATE DATABASE %s", kit->database));
    loop_excuse(kit->service.loop);
    if (!db_migrate(kit->url, "context", context_migrations, context_migration_count, &applied, &err))
        fail_msg("db_migrate: %s", err.text);
    kit->pool = kit_connect(kit, kit->url, &kit->db);
}

static KIT_UNUSED struct mesh_client *kit_client(struct kit *kit, const struct mesh_server *server)
{
    const char *address = mesh_server_url(server);
    const struct mesh_client_options options = { .name = "context",
                                                 .addresses = &address,
                                                 .address_count = 1,
                                                 .descriptor = &guichet__v1__context__descriptor };
    struct mesh_client *client = NULL;
    struct err err = { 0 };

    if (!mesh_client_new(kit->service.loop, &options, &client, &err))
        fail_msg("mesh_client_new: %s", err.text);
    KIT_UNTIL(kit, mesh_client_is_healthy(client));
    return client;
}

static KIT_UNUSED int kit_set_up(void **state)
{
    static const char *const settings[][2] = {
        { "GUICHET_CONTEXT_DATABASE_URL", "env:CONTEXT_TEST_URL" },
        { "GUICHET_CONTEXT_OPS_LISTEN", "127.0.0.1:0" },
        { "GUICHET_CONTEXT_LOG_LEVEL", "error" },
        { "GUICHET_CONTEXT_LISTEN_CENTRE", "tcp://127.0.0.1:0" },
        { "GUICHET_CONTEXT_LISTEN_GATEWAY", "tcp://127.0.0.1:0" },
        { "GUICHET_CONTEXT_LISTEN_BLOBS", "tcp://127.0.0.1:0" },
        { "GUICHET_CONTEXT_PUBLISH", "tcp://127.0.0.1:0" },
    };
    struct kit *kit = calloc(1, sizeof(*kit));
    char program[] = "guichet-context", *argv[] = { program, NULL };
    struct err err = { 0 };

    kit->arena = arena_new(SIZE_MAX);
    snprintf(kit->database, sizeof(kit->database), "context_test_%d", (int)getpid());
    snprintf(kit->url, sizeof(kit->url), "%.*s/%s", (int)(strrchr(kit_server_url(), '/') - kit_server_url()),
             kit_server_url(), kit->database);
    for (size_t i = 0; i < COUNT_OF(settings); i++)
        setenv(settings[i][0], settings[i][1], 1);
    setenv("CONTEXT_TEST_URL", kit->url, 1);
    kit->service = (struct service){ .name = "context",
                                     .summary = "test",
                                     .config_keys = context_keys,
                                     .config = &kit->config,
                                     .stats = context_stats_tables };
    if (!service_open(&kit->service, 1, argv, &err))
        fail_msg("service_open: %s", err.text);
    kit_open_database(kit);
    for (size_t i = 0; i < KIT_REPLICAS; i++) {
        if (!context_new(&kit->service, &kit->config, &kit->replicas[i], &err))
            fail_msg("context_new: %s", err.text);
        KIT_UNTIL(kit, db_is_ready(kit->replicas[i]->database.db));
        kit->centre[i] = kit_client(kit, kit->replicas[i]->centre);
    }
    kit->gateway = kit_client(kit, kit->replicas[0]->gateway);
    *state = kit;
    return 0;
}

static KIT_UNUSED int kit_tear_down(void **state)
{
    struct kit *kit = *state;

    mesh_client_free(&kit->gateway);
    for (size_t i = 0; i < KIT_REPLICAS; i++) {
        mesh_client_free(&kit->centre[i]);
        context_free(&kit->replicas[i]);
    }
    db_free(&kit->db);
    kit_run(kit, kit->admin_pool, arena_printf(kit->arena, "DROP DATABASE %s WITH (FORCE)", kit->database));
    db_free(&kit->admin);
    service_close(&kit->service);
    arena_free(&kit->arena);
    free(kit);
    return 0;
}

static KIT_UNUSED Guichet__V1__RecordRequest kit_record_request(const char *tenant,
                                                                Guichet__V1__InboundEvent **events,
                                                                size_t count)
{
    static char sms[] = "sms", *channels[] = { sms };
    Guichet__V1__RecordRequest request = GUICHET__V1__RECORD_REQUEST__INIT;

    request.tenant = (char *)tenant;
    request.events = events;
    request.n_events = count;
    request.channels = channels;
    request.n_channels = 1;
    return request;
}

static KIT_UNUSED const Guichet__V1__RecordReply *kit_record(struct kit *kit, const char *tenant,
                                                             Guichet__V1__InboundEvent **events, size_t count)
{
    Guichet__V1__RecordRequest request = kit_record_request(tenant, events, count);
    const Guichet__V1__RecordReply *reply;
    struct err err = { 0 };

    reply = KIT_CALL(kit, kit->centre[0], record, RecordReply, &request, &err);
    if (reply == NULL)
        fail_msg("record: %s", err.text);
    assert_int_equal(reply->n_results, count);
    return reply;
}

static KIT_UNUSED const Guichet__V1__ReadChangesReply *kit_changes(struct kit *kit, const char *tenant,
                                                                   uint64_t after)
{
    Guichet__V1__ReadChangesRequest request = GUICHET__V1__READ_CHANGES_REQUEST__INIT;
    const Guichet__V1__ReadChangesReply *reply;
    struct err err = { 0 };

    request.tenant = (char *)tenant;
    request.after_sequence = after;
    reply = KIT_CALL(kit, kit->centre[0], read_changes, ReadChangesReply, &request, &err);
    if (reply == NULL)
        fail_msg("read_changes: %s", err.text);
    return reply;
}

#endif
