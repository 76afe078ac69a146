/* SPDX-License-Identifier: Apache-2.0 */
/* db_fault_test.c - what callers see when PostgreSQL is lost, slow, full or in conflict with itself. */
#include "io/db_testkit.h"

#include <signal.h>

#include "ops/failpoint.h"

#define POOL(connection_count, statement_ms, work_ms, queue_count)                                           \
    (&(struct db_pool_options){ .name = "short",                                                             \
                                .connections = (connection_count),                                           \
                                .statement_timeout_ms = (statement_ms),                                      \
                                .work_timeout_ms = (work_ms),                                                \
                                .queue_max = (queue_count) })

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

static bool stats_have(const char *line)
{
    SCOPED_BUF buf;
    bool has;

    buf_init(&buf, 1 << 20);
    stats_print(&buf);
    has = strstr(buf_text(&buf), line) != NULL;
    if (!has)
        fprintf(stderr, "%s", buf_text(&buf));
    return has;
}

static void test_terminated_backends(void **state)
{
    struct kit kit;
    struct outcome outcomes[2] = { 0 };

    (void)state;
    kit_open(&kit, kit_url(), POOL(2, 10000, 15000, 64));
    for (size_t i = 0; i < COUNT_OF(outcomes); i++)
        kit_start(&kit, "SELECT pg_sleep(8)", &outcomes[i]);
    KIT_UNTIL(&kit, strcmp(kit_count(&kit, "wait_event = 'PgSleep'"), "2") == 0);
    kit_terminate(&kit);
    KIT_UNTIL(&kit, outcomes[0].is_done && outcomes[1].is_done);
    for (size_t i = 0; i < COUNT_OF(outcomes); i++) {
        assert_int_equal(outcomes[i].err.kind, ERR_UNAVAILABLE);
        assert_string_equal(outcomes[i].sqlstate, "57P01");
    }
    assert_int_equal(kit_run(&kit, "SELECT 1"), ERR_NONE);
    assert_true(stats_have("guichet_db_connections_lost_total{pool=\"short\"} 2\n"));
    kit_close(&kit);
}

static void test_killed_backend_is_not_retried(void **state)
{
    struct kit kit;
    struct outcome outcome = { 0 };

    (void)state;
    kit_open(&kit, kit_url(), POOL(1, 10000, 15000, 64));
    kit_exec(&kit, "CREATE SEQUENCE tries");
    kit_start(&kit, "SELECT nextval('tries'), pg_sleep(8)", &outcome);
    KIT_UNTIL(&kit, strcmp(kit_count(&kit, "wait_event = 'PgSleep'"), "1") == 0);
    kit_terminate(&kit);
    KIT_UNTIL(&kit, outcome.is_done);
    assert_int_equal(outcome.err.kind, ERR_UNAVAILABLE);
    assert_int_equal(number_of(&kit, "SELECT last_value FROM tries"), 1);
    kit_close(&kit);
}

/* The commit was answered, the connection was cut before we read it: unknown, and told as such. */
static void test_cut_after_the_commit(void **state)
{
    struct kit kit;
    struct outcome outcome = { 0 };
    struct err err = { 0 };

    (void)state;
    kit_open(&kit, kit_url(), POOL(1, 10000, 15000, 64));
    kit_exec(&kit, "CREATE TABLE t (n int)");
    setenv("GUICHET_FAILPOINT", "db_cut:error@1", 1);
    assert_true(failpoint_init(&err));
    kit_start(&kit, "INSERT INTO t VALUES (1)", &outcome);
    KIT_UNTIL(&kit, outcome.is_done);
    assert_int_equal(outcome.err.kind, ERR_UNAVAILABLE);
    assert_int_equal(number_of(&kit, "SELECT count(*) FROM t"), 1);
    unsetenv("GUICHET_FAILPOINT");
    assert_true(failpoint_init(&err));
    kit_close(&kit);
}

static void test_stopped_backend_is_left(void **state)
{
    struct kit kit;
    pid_t pid;
    struct outcome outcome = { 0 };

    (void)state;
    kit_open(&kit, kit_url(), POOL(1, 10000, 500, 64));
    pid = (pid_t)number_of(&kit, "SELECT pg_backend_pid()");
    if (kill(pid, SIGSTOP) != 0) {
        kit_close(&kit);
        fail_msg("cannot stop PostgreSQL's process %d: this test needs a cluster of the same user or root",
                 pid);
    }
    kit_start(&kit, "SELECT 1", &outcome);
    KIT_UNTIL(&kit, outcome.is_done);
    kill(pid, SIGCONT);
    assert_int_equal(outcome.err.kind, ERR_DEADLINE);
    assert_int_equal(kit_run(&kit, "SELECT 1"), ERR_NONE);
    kit_close(&kit);
}

static void test_work_timeout_gives_the_server_up(void **state)
{
    struct kit kit;
    struct outcome outcome = { 0 };

    (void)state;
    kit_open(&kit, kit_url(), POOL(1, 60000, 300, 64));
    assert_int_equal(kit_run(&kit, "SELECT 1"), ERR_NONE);
    kit_start(&kit, "SELECT pg_sleep(60)", &outcome);
    KIT_UNTIL(&kit, outcome.is_done);
    assert_int_equal(outcome.err.kind, ERR_DEADLINE);
    KIT_UNTIL(&kit, db_is_ready(kit.db));
    assert_int_equal(kit_run(&kit, "SELECT 1"), ERR_NONE);
    /* What it ran ends long before its own time-out, for its client has gone. */
    KIT_UNTIL(&kit, strcmp(kit_count(&kit, "wait_event = 'PgSleep'"), "0") == 0);
    assert_int_equal(outcome.calls, 1);
    kit_close(&kit);
}

static void test_deadlock_is_tried_again(void **state)
{
    static const char *const updates[] = { "UPDATE t SET n = n + 1 WHERE id = 1",
                                           "UPDATE t SET n = n + 1 WHERE id = 2" };
    struct kit kit;
    struct outcome outcomes[2] = { 0 };

    (void)state;
    kit_open(&kit, kit_url(), POOL(2, 10000, 15000, 64));
    kit_exec(&kit, "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 0), (2, 0)");
    KIT_UNTIL(&kit, strcmp(kit_count(&kit, "state = 'idle'"), "2") == 0);
    for (size_t i = 0; i < 2; i++) {
        struct db_work *work = db_work_new(kit.pool);

        kit_add(work, updates[i]);
        kit_add(work, "SELECT pg_sleep(0.5)");
        kit_add(work, updates[1 - i]);
        db_work_run(work, kit_on_done, &outcomes[i]);
    }
    KIT_UNTIL(&kit, outcomes[0].is_done && outcomes[1].is_done);
    assert_string_equal(outcomes[0].err.text, "");
    assert_string_equal(outcomes[1].err.text, "");
    assert_int_equal(number_of(&kit, "SELECT sum(n)::int FROM t"), 4);
    assert_true(stats_have("guichet_db_retries_total 1\n"));
    kit_close(&kit);
}

static void test_serialisation_failure_up_to_five_times(void **state)
{
    struct kit kit;
    struct outcome outcome = { 0 };

    (void)state;
    kit_open(&kit, kit_url(), POOL(1, 10000, 15000, 64));
    kit_exec(&kit,
             "CREATE SEQUENCE tries; CREATE FUNCTION fails(times int) RETURNS void LANGUAGE plpgsql AS $$"
             "BEGIN IF nextval('tries') <= times THEN RAISE EXCEPTION USING ERRCODE = '40001',"
             " MESSAGE = 'again'; END IF; END $$");
    assert_int_equal(kit_run(&kit, "SELECT fails(5)"), ERR_NONE);
    kit_start(&kit, "SELECT fails(1000)", &outcome);
    KIT_UNTIL(&kit, outcome.is_done);
    assert_int_equal(outcome.err.kind, ERR_UNAVAILABLE);
    assert_string_equal(outcome.sqlstate, "40001");
    assert_int_equal(number_of(&kit, "SELECT last_value FROM tries"), 12);
    kit_close(&kit);
}

static void test_queue_is_bounded(void **state)
{
    struct kit kit;
    struct outcome outcomes[8] = { 0 };
    size_t refused = 0;

    (void)state;
    kit_open(&kit, kit_url(), POOL(1, 10000, 15000, 4));
    assert_int_equal(kit_run(&kit, "SELECT 1"), ERR_NONE);
    for (size_t i = 0; i < COUNT_OF(outcomes); i++)
        kit_start(&kit, "SELECT pg_sleep(0.1)", &outcomes[i]);
    for (size_t i = 0; i < COUNT_OF(outcomes); i++) {
        KIT_UNTIL(&kit, outcomes[i].is_done);
        assert_int_equal(outcomes[i].calls, 1);
        refused += outcomes[i].err.kind == ERR_EXHAUSTED && outcomes[i].err.retry_after_ms > 0;
        assert_int_equal(outcomes[i].err.kind, i < 5 ? ERR_NONE : ERR_EXHAUSTED);
    }
    assert_int_equal(refused, 3);
    kit_close(&kit);
}

static void look_large(struct db_work *work, void *arg)
{
    for (size_t i = 0; i < 200; i++)
        *(size_t *)arg += db_bytes(db_work_result(work, i), 0, 0).len;
}

/* Both sides' buffers are full long before either is at its end: who only writes, or only reads, stands still. */
static void test_pipeline_of_200_with_large_results(void **state)
{
    static const struct db_statement statement = { "test_large", "SELECT repeat($1::text, 5)" };
    static char text[20000];
    struct kit kit;
    size_t total = 0;
    struct outcome outcome = { .look = look_large, .arg = &total };
    struct db_work *work;

    (void)state;
    kit_open(&kit, kit_url(), POOL(1, 10000, 15000, 64));
    memset(text, 'x', sizeof(text));
    work = db_work_new(kit.pool);
    for (size_t i = 0; i < 200; i++) {
        struct db_param param = { .type = DB_TEXT, .text = { text, sizeof(text) } };

        db_work_add(work, &statement, &param, 1);
    }
    db_work_run(work, kit_on_done, &outcome);
    KIT_UNTIL(&kit, outcome.is_done);
    assert_string_equal(outcome.err.text, "");
    assert_int_equal(total, (size_t)200 * 5 * sizeof(text));
    kit_close(&kit);
}

static void test_names_are_resolved(void **state)
{
    struct kit kit;
    struct db_options options = { .search_path = "public" };
    struct db *db = NULL;
    struct db_pool *pool = NULL;
    struct err err = { 0 };
    char url[256];
    const char *numeric = strstr(kit_url(), "127.0.0.1");

    (void)state;
    if (numeric == NULL)
        fail_msg("GUICHET_TEST_DATABASE must name 127.0.0.1 for this test");
    kit_open(&kit, kit_url(), POOL(2, 10000, 15000, 64));
    snprintf(url, sizeof(url), "%.*slocalhost%s", (int)(numeric - kit_url()), kit_url(), numeric + 9);
    options.conninfo = url;
    assert_true(db_new(kit.loop, kit.worker, &options, &db, &err));
    (void)db_pool_new(db, POOL(2, 10000, 15000, 64));
    KIT_UNTIL(&kit, db_is_ready(db));
    db_free(&db);

    options.conninfo = "host=no-such-host.invalid";
    assert_true(db_new(kit.loop, kit.worker, &options, &db, &err));
    pool = db_pool_new(db, POOL(2, 10000, 15000, 64));
    assert_non_null(pool);
    KIT_UNTIL(&kit, !db_check(db, &err) && strstr(err.text, "no-such-host.invalid") != NULL);
    assert_int_equal(err.kind, ERR_UNAVAILABLE);
    db_free(&db);

    options.conninfo = "postgresql://user:secret@host/?bogus=1";
    err = (struct err){ 0 };
    assert_false(db_new(kit.loop, kit.worker, &options, &db, &err));
    assert_int_equal(err.kind, ERR_CONFIG);
    assert_null(strstr(err.text, "secret"));
    kit_close(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_terminated_backends),
        cmocka_unit_test(test_killed_backend_is_not_retried),
        cmocka_unit_test(test_cut_after_the_commit),
        cmocka_unit_test(test_stopped_backend_is_left),
        cmocka_unit_test(test_work_timeout_gives_the_server_up),
        cmocka_unit_test(test_deadlock_is_tried_again),
        cmocka_unit_test(test_serialisation_failure_up_to_five_times),
        cmocka_unit_test(test_queue_is_bounded),
        cmocka_unit_test(test_pipeline_of_200_with_large_results),
        cmocka_unit_test(test_names_are_resolved),
    };

    return cmocka_run_group_tests_name("db_fault", tests, NULL, NULL);
}
