/* SPDX-License-Identifier: Apache-2.0 */
/* db_migrate_test.c - files applied once, in order, each whole or not at all; and what is refused. */
#include "io/db_testkit.h"

#include <pthread.h>

static char schema[64];

static char *sql_of(const char *fmt, ...)
{
    char sql[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(sql, sizeof(sql), fmt, args);
    va_end(args);
    return kit_sql(kit_url(), sql);
}

static void assert_sql(const char *expected, const char *fmt)
{
    char *value = sql_of(fmt, schema);

    assert_string_equal(value, expected);
    free(value);
}

static int new_schema(void **state)
{
    static unsigned number;

    (void)state;
    snprintf(schema, sizeof(schema), "db_migrate_test_%d_%u", (int)getpid(), ++number);
    return 0;
}

static int drop_schema(void **state)
{
    (void)state;
    free(sql_of("SET client_min_messages = error; DROP SCHEMA IF EXISTS %s CASCADE", schema));
    return 0;
}

static const struct db_migration files[] = {
    { 1, "0001_start",
      "CREATE TABLE note (id int PRIMARY KEY, text text);\n"
      "CREATE FUNCTION double(n int) RETURNS int LANGUAGE sql AS $$ SELECT n * 2; $$;\n" },
    { 2, "0002_more",
      "-- caf\xc3\xa9; with a comment\nINSERT INTO note VALUES (1, 'a;b');\n"
      "ALTER TABLE note ADD COLUMN extra int;" },
    { 4, "0004_last", "INSERT INTO note VALUES (double(2), 'c');" },
};

static void test_applied_once_in_order(void **state)
{
    struct err err = { 0 };
    uint32_t applied = 99;

    (void)state;
    assert_true(db_migrate(kit_url(), schema, files, 1, &applied, &err));
    assert_int_equal(applied, 1);
    assert_true(db_migrate(kit_url(), schema, files, COUNT_OF(files), &applied, &err));
    assert_int_equal(applied, 2);
    assert_true(db_migrate(kit_url(), schema, files, COUNT_OF(files), &applied, &err));
    assert_int_equal(applied, 0);
    assert_sql("1a;b4c", "SELECT string_agg(id || text, '' ORDER BY id) FROM %s.note");
    assert_sql("1,2,4", "SELECT string_agg(number::text, ',' ORDER BY number) FROM %s.migration");
    assert_sql("0002_more", "SELECT name FROM %s.migration WHERE number = 2 AND applied_at <= now()");
}

static void look_version(struct db_work *work, void *arg)
{
    *(int64_t *)arg = db_i64(db_work_result(work, 0), 0, 0);
}

static void test_version_is_read(void **state)
{
    struct kit kit;
    int64_t version = -1;
    struct outcome before = { 0 }, after = { .look = look_version, .arg = &version };
    struct err err = { 0 };
    uint32_t applied;
    struct db_work *work;

    (void)state;
    kit_open(&kit, kit_url(), &(struct db_pool_options){ "short", 1, 2000, 5000, 8 });
    work = db_work_new(kit.pool);
    db_work_add(work, &db_migration_version, NULL, 0);
    db_work_run(work, kit_on_done, &before);
    KIT_UNTIL(&kit, before.is_done);
    assert_string_equal(before.sqlstate, "42P01");

    assert_true(db_migrate(kit_url(), kit.schema, files, COUNT_OF(files), &applied, &err));
    work = db_work_new(kit.pool);
    db_work_add(work, &db_migration_version, NULL, 0);
    db_work_run(work, kit_on_done, &after);
    KIT_UNTIL(&kit, after.is_done);
    assert_int_equal(version, 4);
    kit_close(&kit);
}

static const struct {
    const char *label;
    struct db_migration first, second; /* applied one after the other */
    enum err_kind kind;
    const char *text;
} refusals[] = {
    { "changed afterwards",
      { 1, "0001_a", "SELECT 1" },
      { 1, "0001_a", "SELECT 2" },
      ERR_CONFIG,
      "0001_a.sql was changed after it was applied" },
    { "newer database",
      { 7, "0007_a", "SELECT 1" },
      { 3, "0003_a", "SELECT 1" },
      ERR_CONFIG,
      "migration 7 (0007_a) is applied and not known here" },
    { "syntax",
      { 0 },
      { 1, "0001_bad", "SELECT 1;\n-- caf\xc3\xa9 \xc3\xa9\nCREATE TABEL x (n int);\n" },
      ERR_INTERNAL,
      "0001_bad.sql:3: syntax error at or near \"TABEL\"" },
    { "unknown table",
      { 0 },
      { 1, "0001_bad", "CREATE TABLE half (n int);\n\nSELECT * FROM nowhere;" },
      ERR_INTERNAL,
      "0001_bad.sql:3: relation \"nowhere\" does not exist" },
    { "data",
      { 0 },
      { 1, "0001_bad", "CREATE TABLE half (n int);\nDO $$ BEGIN PERFORM 1/0; END $$;" },
      ERR_INVALID,
      "0001_bad.sql: " },
    { "ends its transaction",
      { 0 },
      { 1, "0001_bad", "SELECT 1; COMMIT;" },
      ERR_CONFIG,
      "0001_bad.sql ends its transaction itself" },
};

static void test_refusals(void **state)
{
    uint32_t applied = 0;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(refusals); i++) {
        struct err err = { 0 };

        new_schema(NULL);
        if (refusals[i].first.number > 0)
            assert_true(db_migrate(kit_url(), schema, &refusals[i].first, 1, &applied, &err));
        if (db_migrate(kit_url(), schema, &refusals[i].second, 1, &applied, &err))
            fail_msg("%s: was accepted", refusals[i].label);
        if (err.kind != refusals[i].kind || strstr(err.text, refusals[i].text) == NULL)
            fail_msg("%s: %s '%s'", refusals[i].label, err_kind_name(err.kind), err.text);
        if (refusals[i].first.number == 0) {
            assert_sql("0", "SELECT count(*) FROM %s.migration");
            assert_sql("0", "SELECT count(*) FROM pg_tables WHERE schemaname = '%s' AND tablename = 'half'");
        }
        drop_schema(NULL);
    }
}

static void test_order_is_checked(void **state)
{
    const struct db_migration disordered[] = { files[1], files[0] };
    const struct db_migration gap[] = { files[0], files[2] };
    struct err err = { 0 };
    uint32_t applied;

    (void)state;
    assert_false(db_migrate(kit_url(), schema, disordered, 2, &applied, &err));
    assert_int_equal(err.kind, ERR_CONFIG);
    assert_true(db_migrate(kit_url(), schema, gap, 2, &applied, &err));
    assert_false(db_migrate(kit_url(), schema, files, 3, &applied, &err));
    assert_non_null(strstr(err.text, "0002_more.sql comes before migration 4"));
}

static void test_server_down(void **state)
{
    struct err err = { 0 };
    uint32_t applied;

    (void)state;
    assert_false(db_migrate("host=127.0.0.1 port=1", schema, files, 1, &applied, &err));
    assert_int_equal(err.kind, ERR_UNAVAILABLE);
}

static void *migrate_beside(void *arg)
{
    struct err err = { 0 };
    uint32_t applied = 0;
    bool ok = db_migrate(kit_url(), schema, files, COUNT_OF(files), &applied, &err);

    *(uint32_t *)arg = ok ? applied : UINT32_MAX;
    return NULL;
}

static void test_two_at_once(void **state)
{
    uint32_t applied[4] = { 0 }, sum = 0;
    pthread_t threads[4];

    (void)state;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, migrate_beside, &applied[i]), 0);
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_true(applied[i] == 0 || applied[i] == 3);
        sum += applied[i];
    }
    assert_int_equal(sum, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_applied_once_in_order, new_schema, drop_schema),
        cmocka_unit_test_setup_teardown(test_version_is_read, new_schema, drop_schema),
        cmocka_unit_test_setup_teardown(test_refusals, new_schema, drop_schema),
        cmocka_unit_test_setup_teardown(test_order_is_checked, new_schema, drop_schema),
        cmocka_unit_test_setup_teardown(test_server_down, new_schema, drop_schema),
        cmocka_unit_test_setup_teardown(test_two_at_once, new_schema, drop_schema),
    };

    return cmocka_run_group_tests_name("db_migrate", tests, NULL, NULL);
}
