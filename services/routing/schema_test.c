/* SPDX-License-Identifier: Apache-2.0 */
/* schema_test.c - runs the cases of schema_test.sql and schema_jobs_test.sql against a real PostgreSQL.
 *
 * The rules live in SQL, so their cases do as well: whoever changes a function can run one with psql.
 * The schema is made anew, in a database of its own; every case is rolled back. */
#include "testkit.h"

#include <libpq-fe.h>

#include "core/str.h"

#define CASE_MARK "\n-- case: "
#define CASES_MAX 64

/* What stands before the first case of a file runs before each of its cases; the first file's before all. */
static const char *const files[] = { "schema_test.sql", "schema_jobs_test.sql" };

static struct {
    char *texts[COUNT_OF(files)];
    char labels[CASES_MAX][120];
    char *bodies[CASES_MAX];
    size_t files[CASES_MAX];
    size_t count;
    struct testkit_database database;
} suite;

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    SCOPED_BUF text;
    char piece[4096];
    size_t len;

    assert_non_null(file);
    buf_init(&text, 1 << 20);
    while ((len = fread(piece, 1, sizeof(piece), file)) > 0)
        buf_append(&text, piece, len);
    fclose(file);
    return str_dup(buf_view(&text));
}

static void split_cases(size_t file)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", TEST_FOLDER, files[file]);
    suite.texts[file] = read_file(path);
    for (char *mark = strstr(suite.texts[file], CASE_MARK); mark != NULL;) {
        char *label = mark + strlen(CASE_MARK);
        char *end = strchr(label, '\n');

        assert_non_null(end);
        assert_true(suite.count < CASES_MAX);
        *mark = '\0';
        snprintf(suite.labels[suite.count], sizeof(suite.labels[0]), "%.*s", (int)(end - label), label);
        suite.files[suite.count] = file;
        suite.bodies[suite.count++] = end + 1;
        mark = strstr(end, CASE_MARK);
    }
}

static bool run_sql(PGconn *conn, const char *label, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    bool ok = PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK;

    if (!ok)
        fprintf(stderr, "case '%s': %s", label, PQresultErrorMessage(result));
    PQclear(result);
    return ok;
}

static void test_schema_cases(void **state)
{
    PGconn *conn = PQconnectdb(suite.database.url);
    size_t failed = 0;

    (void)state;
    assert_int_equal(PQstatus(conn), CONNECTION_OK);
    assert_true(run_sql(conn, "setting", "SET client_min_messages = error"));
    for (size_t i = 0; i < suite.count; i++) {
        assert_true(run_sql(conn, "begin", "BEGIN"));
        if (!run_sql(conn, "preamble", suite.texts[0]) ||
            (suite.files[i] > 0 && !run_sql(conn, "preamble", suite.texts[suite.files[i]])) ||
            !run_sql(conn, suite.labels[i], suite.bodies[i]))
            failed++;
        assert_true(run_sql(conn, "rollback", "ROLLBACK"));
    }
    PQfinish(conn);
    printf("%zu cases, %zu failed\n", suite.count, failed);
    assert_int_equal(failed, 0);
}

static int set_up(void **state)
{
    (void)state;
    testkit_open(&suite.database, "schema");
    for (size_t i = 0; i < COUNT_OF(files); i++)
        split_cases(i);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    testkit_close(&suite.database);
    for (size_t i = 0; i < COUNT_OF(files); i++)
        free(suite.texts[i]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_schema_cases) };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
