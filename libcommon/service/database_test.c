/* SPDX-License-Identifier: Apache-2.0 */
/* database_test.c - when a service with a schema is ready, and what it says while it is not. */
#include "io/db_testkit.h"

#include "service/database.h"
#include "service/service_private.h"

struct test_config {
    struct service_config service;
    struct database_config database;
};

static const struct config_key keys[] = {
    DATABASE_KEYS(test_config, database),
    { 0 },
};

static const struct db_migration files[] = {
    { 1, "0001_a", "SELECT 1" },
    { 2, "0002_b", "SELECT 1" },
    { 3, "0003_c", "SELECT 1" },
};

struct fixture {
    struct kit kit; /* its loop only: KIT_UNTIL */
    struct service service;
    struct test_config config;
    struct database database;
    char path[64], schema[64];
};

static void open_service(struct fixture *fixture, const char *url)
{
    static unsigned number;
    char *argv[] = { (char[]){ "dbcheck" }, (char[]){ "--config" }, fixture->path, NULL };
    struct err err = { 0 };
    FILE *file;
    int fd;

    *fixture = (struct fixture){ 0 };
    snprintf(fixture->path, sizeof(fixture->path), "/tmp/guichet-database-XXXXXX");
    snprintf(fixture->schema, sizeof(fixture->schema), "database_test_%d_%u", (int)getpid(), ++number);
    fd = mkstemp(fixture->path);
    file = fdopen(fd, "w");
    assert_non_null(file);
    fprintf(file, "ops_listen: 127.0.0.1:0\ndatabase_url: env:DATABASE_TEST_URL\n");
    fclose(file);
    setenv("DATABASE_TEST_URL", url, 1);
    fixture->service = (struct service){ .name = "dbcheck", .config_keys = keys, .config = &fixture->config };
    if (!service_open(&fixture->service, 3, argv, &err))
        fail_msg("service_open: %s", err.text);
    fixture->kit.loop = fixture->service.loop;
}

static void close_service(struct fixture *fixture)
{
    char sql[128];

    database_close(&fixture->database);
    service_close(&fixture->service);
    unlink(fixture->path);
    snprintf(sql, sizeof(sql), "SET client_min_messages = error; DROP SCHEMA IF EXISTS %s CASCADE",
             fixture->schema);
    free(kit_sql(kit_url(), sql));
}

static bool check(struct fixture *fixture, struct err *err)
{
    struct service_state *state = fixture->service.state;

    assert_int_equal(state->check_count, 1);
    assert_string_equal(state->checks[0].name, "database");
    err_clear(err);
    return state->checks[0].check(state->checks[0].arg, err);
}

static bool says(struct fixture *fixture, const char *words)
{
    struct err err = { 0 };

    return !check(fixture, &err) && strstr(err.text, words) != NULL;
}

static void test_ready_when_migrated(void **state)
{
    struct fixture fixture;
    struct err err = { 0 };
    uint32_t applied;

    (void)state;
    open_service(&fixture, kit_url());
    assert_true(database_open(&fixture.database, &fixture.service, &fixture.config.database, fixture.schema,
                              2, &err));
    assert_false(check(&fixture, &err));
    KIT_UNTIL(&fixture.kit, says(&fixture, "is at migration 0 of 2: run guichetctl migrate"));
    assert_true(db_migrate(kit_url(), fixture.schema, files, 1, &applied, &err));
    KIT_UNTIL(&fixture.kit, says(&fixture, "is at migration 1 of 2"));
    assert_true(db_migrate(kit_url(), fixture.schema, files, 2, &applied, &err));
    KIT_UNTIL(&fixture.kit, check(&fixture, &err));
    assert_non_null(fixture.database.ingest);
    assert_non_null(fixture.database.short_);
    assert_non_null(fixture.database.long_);
    close_service(&fixture);
}

static void test_newer_schema_is_not_ours(void **state)
{
    struct fixture fixture;
    struct err err = { 0 };
    uint32_t applied;

    (void)state;
    open_service(&fixture, kit_url());
    assert_true(db_migrate(kit_url(), fixture.schema, files, 3, &applied, &err));
    assert_true(database_open(&fixture.database, &fixture.service, &fixture.config.database, fixture.schema,
                              2, &err));
    KIT_UNTIL(&fixture.kit, says(&fixture, "is at migration 3, this program knows 2 only"));
    close_service(&fixture);
}

static void test_server_down_is_no_reason_not_to_start(void **state)
{
    struct fixture fixture;
    struct err err = { 0 };

    (void)state;
    open_service(&fixture, "postgresql://guichet@127.0.0.1:1/guichet");
    assert_true(database_open(&fixture.database, &fixture.service, &fixture.config.database, fixture.schema,
                              1, &err));
    KIT_UNTIL(&fixture.kit, says(&fixture, "127.0.0.1"));
    close_service(&fixture);
}

static void test_bad_url_is_a_reason(void **state)
{
    struct fixture fixture;
    struct err err = { 0 };

    (void)state;
    open_service(&fixture, "postgresql://guichet:secret@127.0.0.1/guichet?bogus=1");
    assert_false(database_open(&fixture.database, &fixture.service, &fixture.config.database, fixture.schema,
                               1, &err));
    assert_int_equal(err.kind, ERR_CONFIG);
    assert_null(strstr(err.text, "secret"));
    close_service(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ready_when_migrated),
        cmocka_unit_test(test_newer_schema_is_not_ours),
        cmocka_unit_test(test_server_down_is_no_reason_not_to_start),
        cmocka_unit_test(test_bad_url_is_a_reason),
    };

    return cmocka_run_group_tests_name("database", tests, NULL, NULL);
}
