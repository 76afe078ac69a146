/* SPDX-License-Identifier: Apache-2.0 */
/* db_test.c - works, results, parameters and errors against a real PostgreSQL. */
#include "io/db_testkit.h"

static const struct db_pool_options pool_options = {
    .name = "short", .connections = 2, .statement_timeout_ms = 2000, .work_timeout_ms = 10000, .queue_max = 64
};

static int set_up(void **state)
{
    struct kit *kit = calloc(1, sizeof(*kit));

    kit_open(kit, kit_url(), &pool_options);
    *state = kit;
    return 0;
}

static int tear_down(void **state)
{
    struct kit *kit = *state;

    kit_close(kit);
    free(kit);
    return 0;
}

static void look_scalars(struct db_work *work, void *arg)
{
    const struct db_result *result = db_work_result(work, 0);

    assert_int_equal(db_rows(result), 2);
    assert_int_equal(db_i64(result, 0, 0), -7);
    assert_int_equal(db_i64(result, 0, 1), 70000);
    assert_true(db_i64(result, 0, 2) == INT64_C(9007199254740993));
    assert_int_equal(db_i64(result, 0, 3), 1);
    assert_true(db_f64(result, 0, 4) == 0.25);
    assert_true(db_time_us(result, 0, 5) == INT64_C(1772366400123456));
    assert_string_equal(db_text(work, result, 0, 6), "01890a5d-ac96-774b-bcce-b302099a8057");
    assert_string_equal(db_text(work, result, 0, 7), "caf\xc3\xa9");
    assert_int_equal(db_bytes(result, 0, 8).len, 3);
    assert_memory_equal(db_bytes(result, 0, 8).data, "\0\xff\\", 3);
    assert_string_equal(db_text(work, result, 0, 9), "{\"a\": 1}");
    for (size_t column = 0; column < 10; column++)
        assert_true(db_is_null(result, 1, column));
    assert_int_equal(db_i64(result, 1, 0), 0);
    assert_true(db_time_us(result, 1, 5) == 0);
    assert_string_equal(db_text(work, result, 1, 7), "");
    assert_null(db_work_result(work, 1));
    *(bool *)arg = true;
}

static void test_scalars_are_read(void **state)
{
    struct kit *kit = *state;
    bool looked = false;
    struct outcome outcome = { .look = look_scalars, .arg = &looked };

    kit_start(kit,
              "SELECT (-7)::int2, 70000::int4, 9007199254740993::int8, true, 0.25::float8,"
              " '2026-03-01 12:00:00.123456Z'::timestamptz, '01890a5d-ac96-774b-bcce-b302099a8057'::uuid,"
              " 'caf\xc3\xa9'::text, '\\x00ff5c'::bytea, '{\"a\": 1}'::jsonb UNION ALL"
              " SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL",
              &outcome);
    KIT_UNTIL(kit, outcome.is_done);
    assert_string_equal(outcome.err.text, "");
    assert_true(looked);
}

/* STR_LITERAL() is no constant for C17. */
#define VIEW(literal)                                                                                        \
    {                                                                                                        \
        (literal), sizeof(literal) - 1                                                                       \
    }

/* Each parameter, sent and asked back as text: what PostgreSQL understood. */
static const struct str_view texts[] = { VIEW("plain"), VIEW("q\"uo'te\\{,}"), { NULL, 0 },
                                         { "", 0 },     VIEW("NULL"),          VIEW("\xe2\x82\xac") };
static const struct str_view blobs[] = { VIEW("\0\\\xff"), { NULL, 0 }, { "", 0 } };
static const struct str_view uuids[] = { VIEW("01890a5d-ac96-774b-bcce-b302099a8057"), { "", 0 } };
static const struct str_view bad_uuids[] = { VIEW("01890a5d") };
static const struct str_view nul_texts[] = { { "a\0b", 3 } };
static const int64_t numbers[] = { 0, -1, INT32_MAX, INT32_MIN };
static const int64_t big_numbers[] = { INT64_MAX, INT64_MIN };
static const int64_t bools[] = { 1, 0 };
static const int64_t times[] = { INT64_C(1772366400123456), 0, -1 };

#define ARRAY(kind, values)                                                                                  \
    {                                                                                                        \
        .type = (kind), .items = (values), .count = COUNT_OF(values)                                         \
    }

static const struct {
    const char *label, *sql;
    struct db_param param;
    const char *expected; /* NULL: SQL NULL */
    enum err_kind kind;
} params[] = {
    { "text",
      "SELECT $1::text",
      { .type = DB_TEXT, .text = VIEW("it's \\ \"x\"\n\xc3\xa9") },
      "it's \\ \"x\"\n\xc3\xa9",
      0 },
    { "empty text", "SELECT $1::text", { .type = DB_TEXT, .text = { NULL, 0 } }, "", 0 },
    { "null text", "SELECT $1::text", { .type = DB_TEXT, .is_null = true }, NULL, 0 },
    { "text with NUL", "SELECT $1::text", { .type = DB_TEXT, .text = { "a\0b", 3 } }, NULL, ERR_INVALID },
    { "text not UTF-8", "SELECT $1::text", { .type = DB_TEXT, .text = VIEW("\xff") }, NULL, ERR_INVALID },
    { "text as jsonb", "SELECT $1::jsonb->>'a'", { .type = DB_TEXT, .text = VIEW("{\"a\":\"b\"}") }, "b", 0 },
    { "bytea",
      "SELECT encode($1::bytea, 'hex')",
      { .type = DB_BYTES, .text = { "\0\xff'", 3 } },
      "00ff27",
      0 },
    { "empty bytea", "SELECT 'x' || encode($1::bytea, 'hex')", { .type = DB_BYTES }, "x", 0 },
    { "int8", "SELECT $1::int8::text", { .type = DB_I64, .number = INT64_MIN }, "-9223372036854775808", 0 },
    { "int8 to an int4", "SELECT $1::int4::text", { .type = DB_I64, .number = 12 }, "12", 0 },
    { "int4 too large",
      "SELECT $1::int4::text",
      { .type = DB_I32, .number = INT64_C(1) << 40 },
      NULL,
      ERR_INVALID },
    { "true", "SELECT $1::bool::text", { .type = DB_BOOL, .number = 1 }, "true", 0 },
    { "false", "SELECT $1::bool::text", { .type = DB_BOOL, .number = 0 }, "false", 0 },
    { "uuid",
      "SELECT $1::uuid::text",
      { .type = DB_UUID, .text = VIEW("01890A5D-AC96-774B-BCCE-B302099A8057") },
      "01890a5d-ac96-774b-bcce-b302099a8057",
      0 },
    { "no uuid", "SELECT $1::uuid::text", { .type = DB_UUID, .text = VIEW("") }, NULL, 0 },
    { "bad uuid", "SELECT $1::uuid::text", { .type = DB_UUID, .text = VIEW("x") }, NULL, ERR_INVALID },
    { "time",
      "SELECT $1::timestamptz::text",
      { .type = DB_TIME_US, .number = INT64_C(1772366400123456) },
      "2026-03-01 12:00:00.123456+00",
      0 },
    { "time before 1970",
      "SELECT $1::timestamptz::text",
      { .type = DB_TIME_US, .number = -1 },
      "1969-12-31 23:59:59.999999+00",
      0 },
    { "no time", "SELECT $1::timestamptz::text", { .type = DB_TIME_US, .number = 0 }, NULL, 0 },
    { "text[]", "SELECT $1::text[]::text", ARRAY(DB_TEXT_ARRAY, texts),
      "{plain,\"q\\\"uo'te\\\\{,}\",NULL,\"\",\"NULL\",\xe2\x82\xac}", 0 },
    { "empty text[]", "SELECT $1::text[]::text", { .type = DB_TEXT_ARRAY }, "{}", 0 },
    { "null text[]", "SELECT $1::text[]::text", { .type = DB_TEXT_ARRAY, .is_null = true }, NULL, 0 },
    { "text[] with NUL", "SELECT $1::text[]::text", ARRAY(DB_TEXT_ARRAY, nul_texts), NULL, ERR_INVALID },
    { "bytea[]", "SELECT $1::bytea[]::text", ARRAY(DB_BYTES_ARRAY, blobs), "{\"\\\\x005cff\",NULL,\"\\\\x\"}",
      0 },
    { "int8[]", "SELECT $1::int8[]::text", ARRAY(DB_I64_ARRAY, big_numbers),
      "{9223372036854775807,-9223372036854775808}", 0 },
    { "int4[]", "SELECT $1::int4[]::text", ARRAY(DB_I32_ARRAY, numbers), "{0,-1,2147483647,-2147483648}", 0 },
    { "int4[] too large", "SELECT $1::int4[]::text", ARRAY(DB_I32_ARRAY, big_numbers), NULL, ERR_INVALID },
    { "empty int8[]", "SELECT cardinality($1::int8[])::text", { .type = DB_I64_ARRAY }, "0", 0 },
    { "bool[]", "SELECT $1::bool[]::text", ARRAY(DB_BOOL_ARRAY, bools), "{t,f}", 0 },
    { "uuid[]", "SELECT $1::uuid[]::text", ARRAY(DB_UUID_ARRAY, uuids),
      "{01890a5d-ac96-774b-bcce-b302099a8057,NULL}", 0 },
    { "uuid[] with a bad one", "SELECT $1::uuid[]::text", ARRAY(DB_UUID_ARRAY, bad_uuids), NULL,
      ERR_INVALID },
    { "timestamptz[]", "SELECT $1::timestamptz[]::text", ARRAY(DB_TIME_US_ARRAY, times),
      "{\"2026-03-01 12:00:00.123456+00\",NULL,\"1969-12-31 23:59:59.999999+00\"}", 0 },
};

static void look_param(struct db_work *work, void *arg)
{
    const char **ret_text = arg;
    const struct db_result *result = db_work_result(work, 0);

    *ret_text = db_is_null(result, 0, 0) ? NULL : strdup(db_text(work, result, 0, 0));
}

static void test_params_arrive(void **state)
{
    struct kit *kit = *state;

    for (size_t i = 0; i < COUNT_OF(params); i++) {
        const char *text = NULL;
        struct outcome outcome = { .look = look_param, .arg = &text };
        struct db_statement statement = { .sql = params[i].sql };
        struct db_work *work = db_work_new(kit->pool);

        db_work_add(work, &statement, &params[i].param, 1);
        db_work_run(work, kit_on_done, &outcome);
        KIT_UNTIL(kit, outcome.is_done);
        if (outcome.err.kind != params[i].kind)
            fail_msg("%s: %s (%s)", params[i].label, err_kind_name(outcome.err.kind), outcome.err.text);
        if ((text == NULL) != (params[i].expected == NULL) ||
            (text != NULL && strcmp(text, params[i].expected) != 0))
            fail_msg("%s: got %s", params[i].label, text != NULL ? text : "NULL");
        free((void *)text);
    }
}

static const struct {
    const char *label, *sql;
    enum err_kind kind;
    const char *sqlstate, *text; /* the text contains this */
} errors[] = {
    { "unique", "INSERT INTO t VALUES (1), (1)", ERR_CONFLICT, "23505", "t_pkey" },
    { "not null", "INSERT INTO t VALUES (NULL)", ERR_INVALID, "23502", "null value" },
    { "data", "SELECT 'x'::int", ERR_INVALID, "22P02", "\"x\"" },
    { "division", "SELECT 1/0", ERR_INVALID, "22012", "division by zero" },
    { "statement time-out", "SELECT pg_sleep(30)", ERR_DEADLINE, "57014", "statement timeout" },
    { "syntax", "SELEKT", ERR_INTERNAL, "42601", "syntax error" },
    { "raised not_found", "SELECT raise('not_found', 'no such customer')", ERR_NOT_FOUND, "P0001",
      "no such customer" },
    { "raised conflict", "SELECT raise('conflict', 'key used')", ERR_CONFLICT, "P0001", "key used" },
    { "raised exhausted", "SELECT raise('exhausted', 'later')", ERR_EXHAUSTED, "P0001", "later" },
    { "raised forbidden", "SELECT raise('forbidden', 'no')", ERR_FORBIDDEN, "P0001", "no" },
    { "raised with a strange hint", "SELECT raise('misspelt', 'm')", ERR_INTERNAL, "P0001", "m" },
    { "deferred constraint, at the commit", "INSERT INTO late VALUES (1), (1)", ERR_CONFLICT, "23505",
      "late_n" },
    { "lock time-out", "SELECT pg_advisory_xact_lock(hashtext(current_schema))", ERR_UNAVAILABLE, "55P03",
      "lock timeout" },
    { "read only", "SET TRANSACTION READ ONLY", ERR_NONE, "", "" },
};

static void test_errors_have_kinds(void **state)
{
    struct kit *kit = *state;
    PGconn *holder = PQconnectdb(kit->url);
    char sql[256];

    kit_exec(kit, "CREATE TABLE t (n int PRIMARY KEY);"
                  "CREATE TABLE late (n int, CONSTRAINT late_n UNIQUE (n) DEFERRABLE INITIALLY DEFERRED);"
                  "CREATE FUNCTION raise(kind text, words text) RETURNS void LANGUAGE plpgsql AS $$"
                  "BEGIN RAISE EXCEPTION USING ERRCODE = 'P0001', MESSAGE = words, HINT = kind; END $$");
    snprintf(sql, sizeof(sql), "SELECT pg_advisory_lock(hashtext('%s'))", kit->schema);
    PQclear(PQexec(holder, sql));
    for (size_t i = 0; i < COUNT_OF(errors); i++) {
        struct outcome outcome = { 0 };

        kit_start(kit, errors[i].sql, &outcome);
        KIT_UNTIL(kit, outcome.is_done);
        if (outcome.err.kind != errors[i].kind || strcmp(outcome.sqlstate, errors[i].sqlstate) != 0 ||
            strstr(outcome.err.text, errors[i].text) == NULL)
            fail_msg("%s: %s %s '%s'", errors[i].label, err_kind_name(outcome.err.kind), outcome.sqlstate,
                     outcome.err.text);
        assert_int_equal(outcome.calls, 1);
    }
    PQfinish(holder);
}

static void look_number(struct db_work *work, void *arg)
{
    *(int64_t *)arg = db_i64(db_work_result(work, 0), 0, 0);
}

static int64_t number_of(struct kit *kit, const char *sql)
{
    int64_t number = -1;
    struct outcome outcome = { .look = look_number, .arg = &number };

    kit_start(kit, sql, &outcome);
    KIT_UNTIL(kit, outcome.is_done);
    assert_string_equal(outcome.err.text, "");
    return number;
}

static void test_a_list_is_one_transaction(void **state)
{
    struct kit *kit = *state;
    struct outcome good = { 0 }, bad = { 0 }, late = { 0 };
    struct db_work *work = db_work_new(kit->pool);

    kit_exec(kit, "CREATE TABLE t (n int, CONSTRAINT t_n UNIQUE (n) DEFERRABLE INITIALLY DEFERRED)");
    kit_add(work, "INSERT INTO t VALUES (1)");
    kit_add(work, "INSERT INTO t VALUES (2)");
    db_work_run(work, kit_on_done, &good);
    KIT_UNTIL(kit, good.is_done);
    assert_int_equal(good.err.kind, ERR_NONE);
    assert_int_equal(number_of(kit, "SELECT count(*) FROM t"), 2);

    work = db_work_new(kit->pool);
    kit_add(work, "INSERT INTO t VALUES (3)");
    kit_add(work, "SELECT 1/0");
    kit_add(work, "INSERT INTO t VALUES (4)");
    db_work_run(work, kit_on_done, &bad);
    KIT_UNTIL(kit, bad.is_done);
    assert_int_equal(bad.err.kind, ERR_INVALID);
    assert_int_equal(bad.failed_index, 1);
    assert_int_equal(number_of(kit, "SELECT count(*) FROM t"), 2);

    work = db_work_new(kit->pool);
    kit_add(work, "INSERT INTO t VALUES (5)");
    kit_add(work, "INSERT INTO t VALUES (1)"); /* found out by the COMMIT only */
    db_work_run(work, kit_on_done, &late);
    KIT_UNTIL(kit, late.is_done);
    assert_int_equal(late.err.kind, ERR_CONFLICT);
    assert_true(late.failed_index == SIZE_MAX);
    assert_int_equal(number_of(kit, "SELECT count(*) FROM t"), 2);
}

static void test_statements_are_prepared_once_a_connection(void **state)
{
    static const struct db_statement statement = { "test_add", "SELECT $1::int + $2::int" };
    static const struct db_statement broken = { "test_broken", "SELECT * FROM no_such_table" };
    struct kit *kit = *state;
    int64_t sum = 0;

    for (int64_t i = 0; i < 20; i++) {
        struct outcome outcome = { .look = look_number, .arg = &sum };
        struct db_param values[] = { DB_PARAM_I64(i), DB_PARAM_I64(i) };
        struct db_work *work = db_work_new(kit->pool);

        db_work_add(work, &statement, values, COUNT_OF(values));
        db_work_add(work, &statement, values, COUNT_OF(values));
        db_work_run(work, kit_on_done, &outcome);
        KIT_UNTIL(kit, outcome.is_done);
        assert_string_equal(outcome.err.text, "");
        assert_int_equal(sum, 2 * i);
    }
    assert_true(number_of(kit, "SELECT count(*) FROM pg_prepared_statements WHERE name = 'test_add'") == 1);
    for (int i = 0; i < 2; i++) { /* one that cannot be prepared fails its work each time, and no more */
        struct outcome outcome = { 0 };
        struct db_work *work = db_work_new(kit->pool);

        db_work_add(work, &statement, (struct db_param[]){ DB_PARAM_I64(1), DB_PARAM_I64(1) }, 2);
        db_work_add(work, &broken, NULL, 0);
        db_work_run(work, kit_on_done, &outcome);
        KIT_UNTIL(kit, outcome.is_done);
        assert_string_equal(outcome.sqlstate, "42P01");
        assert_int_equal(outcome.failed_index, 1);
    }
    kit_exec(kit, "CREATE TABLE no_such_table (n int); INSERT INTO no_such_table VALUES (5)");
    for (int i = 0; i < 4; i++) { /* a migration changes the result, under both connections */
        struct outcome outcomes[2] = { 0 };

        if (i == 2)
            kit_exec(kit, "ALTER TABLE no_such_table ADD COLUMN more text");
        for (size_t w = 0; w < COUNT_OF(outcomes); w++) {
            struct db_work *work = db_work_new(kit->pool);

            outcomes[w] = (struct outcome){ .look = look_number, .arg = &sum };
            db_work_add(work, &broken, NULL, 0);
            db_work_run(work, kit_on_done, &outcomes[w]);
        }
        KIT_UNTIL(kit, outcomes[0].is_done && outcomes[1].is_done);
        assert_string_equal(outcomes[0].err.text, "");
        assert_string_equal(outcomes[1].err.text, "");
        assert_int_equal(sum, 5);
    }
}

static void look_settings(struct db_work *work, void *arg)
{
    const struct db_result *result = db_work_result(work, 0);
    struct kit *kit = arg;
    const char *const expected[] = { "2s", "1s", "2s", "UTC", "on", kit->schema, "UTF8", "1s", "off" };

    for (size_t i = 0; i < COUNT_OF(expected); i++)
        assert_string_equal(db_text(work, result, 0, i), expected[i]);
    assert_string_equal(db_text(work, result, 0, COUNT_OF(expected)), kit->schema);
}

static void test_session_settings(void **state)
{
    struct kit *kit = *state;
    struct outcome outcome = { .look = look_settings, .arg = kit };

    kit_start(kit,
              "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),"
              " current_setting('idle_in_transaction_session_timeout'), current_setting('TimeZone'),"
              " current_setting('synchronous_commit'), current_setting('application_name'),"
              " current_setting('client_encoding'), current_setting('client_connection_check_interval'),"
              " current_setting('jit'), current_setting('search_path')",
              &outcome);
    KIT_UNTIL(kit, outcome.is_done);
    assert_string_equal(outcome.err.text, "");
    assert_true(db_is_ready(kit->db) || db_check(kit->db, NULL) == db_is_ready(kit->db));
}

static void test_nothing_to_do_is_done(void **state)
{
    struct kit *kit = *state;
    struct outcome outcome = { 0 };

    (void)db_work_new(kit->pool); /* made and never run: freed with the db */
    db_work_run(db_work_new(kit->pool), kit_on_done, &outcome);
    assert_false(outcome.is_done);
    KIT_UNTIL(kit, outcome.is_done);
    assert_int_equal(outcome.err.kind, ERR_NONE);
}

static void test_close_ends_what_is_under_way(void **state)
{
    struct kit *kit = *state;
    struct outcome outcomes[8] = { 0 };

    assert_int_equal(kit_run(kit, "SELECT 1"), ERR_NONE);
    for (size_t i = 0; i < COUNT_OF(outcomes); i++)
        kit_start(kit, "SELECT pg_sleep(1)", &outcomes[i]);
    loop_turn(kit->loop, 20);
    db_free(&kit->db);
    for (size_t i = 0; i < COUNT_OF(outcomes); i++) {
        assert_int_equal(outcomes[i].calls, 1);
        assert_int_equal(outcomes[i].err.kind, ERR_CANCELED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_scalars_are_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_params_arrive, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_errors_have_kinds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_list_is_one_transaction, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_statements_are_prepared_once_a_connection, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_session_settings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nothing_to_do_is_done, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_close_ends_what_is_under_way, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("db", tests, NULL, NULL);
}
