/* SPDX-License-Identifier: Apache-2.0 */
/* db_testkit.h - what the tests of db share: a real PostgreSQL, a schema of one's own, waiting on a condition. */
#ifndef GUICHET_IO_DB_TESTKIT_H
#define GUICHET_IO_DB_TESTKIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <libpq-fe.h>

#include "core/arena.h"
#include "io/db.h"

#define KIT_UNUSED __attribute__((unused))
#define KIT_WAIT_MS 20000

struct kit {
    const char *url;
    char schema[64];
    struct loop *loop;
    struct worker *worker;
    struct db *db;
    struct db_pool *pool;
};

/* What a work's done() saw. `look` is called inside it. */
struct outcome {
    bool is_done;
    unsigned calls;
    struct err err;
    char sqlstate[8];
    size_t failed_index;
    void (*look)(struct db_work *work, void *arg);
    void *arg;
};

static KIT_UNUSED const char *kit_url(void)
{
    const char *url = getenv("GUICHET_TEST_DATABASE");

    if (url == NULL || url[0] == '\0') {
        fprintf(stderr, "GUICHET_TEST_DATABASE is not set: these tests need a PostgreSQL, "
                        "e.g. the one that `tests/kit/postgres start DIR PORT` starts\n");
        exit(1);
    }
    return url;
}

/* Blocking, beside the code under test. Returns the first value as text, owned. */
static KIT_UNUSED char *kit_sql(const char *url, const char *sql)
{
    PGconn *pg = PQconnectdb(url);
    PGresult *result = PQexec(pg, sql);
    char *value;

    if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
        fail_msg("'%s': %s", sql, PQerrorMessage(pg));
    value = strdup(PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    PQfinish(pg);
    return value;
}

static KIT_UNUSED void kit_exec(const struct kit *kit, const char *fmt, ...)
{
    char sql[4096], with_path[4300];
    va_list args;

    va_start(args, fmt);
    vsnprintf(sql, sizeof(sql), fmt, args);
    va_end(args);
    snprintf(with_path, sizeof(with_path), "SET client_min_messages = error; SET search_path TO %s; %s",
             kit->schema, sql);
    free(kit_sql(kit->url, with_path));
}

static KIT_UNUSED uint64_t kit_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Runs the loop until the condition holds; fails with its text when that takes too long. */
#define KIT_UNTIL(kit, condition)                                                                            \
    do {                                                                                                     \
        uint64_t kit_end_ms_ = kit_now_ms() + KIT_WAIT_MS;                                                   \
        while (!(condition)) {                                                                               \
            if (kit_now_ms() > kit_end_ms_)                                                                  \
                fail_msg("waited %d ms in vain for: %s", KIT_WAIT_MS, #condition);                           \
            loop_turn((kit)->loop, 20);                                                                      \
        }                                                                                                    \
    } while (0)

static KIT_UNUSED void kit_open(struct kit *kit, const char *url, const struct db_pool_options *pool)
{
    static unsigned number;
    struct db_options options = { .conninfo = url, .application = kit->schema, .search_path = kit->schema };
    struct err err = { 0 };

    kit->url = url;
    snprintf(kit->schema, sizeof(kit->schema), "db_test_%d_%u", (int)getpid(), ++number);
    free(kit_sql(url, "SELECT 1"));
    kit_exec(kit, "CREATE SCHEMA %s", kit->schema);
    kit->loop = loop_new();
    kit->worker = worker_new(kit->loop, 1, 64);
    if (!db_new(kit->loop, kit->worker, &options, &kit->db, &err))
        fail_msg("db_new: %s", err.text);
    kit->pool = db_pool_new(kit->db, pool);
}

static KIT_UNUSED void kit_close(struct kit *kit)
{
    db_free(&kit->db);
    worker_free(&kit->worker);
    loop_free(&kit->loop);
    kit_exec(kit, "DROP SCHEMA %s CASCADE", kit->schema);
}

static KIT_UNUSED void kit_on_done(void *arg, struct db_work *work, const struct err *err)
{
    struct outcome *outcome = arg;

    outcome->is_done = true;
    outcome->calls++;
    outcome->err = *err;
    snprintf(outcome->sqlstate, sizeof(outcome->sqlstate), "%s", db_work_sqlstate(work));
    outcome->failed_index = db_work_failed_index(work);
    if (outcome->look != NULL && err->kind == ERR_NONE)
        outcome->look(work, outcome->arg);
}

/* How many of this kit's connections are in that state; valid until the next call. */
static KIT_UNUSED const char *kit_count(const struct kit *kit, const char *condition)
{
    static char text[16];
    char sql[512];
    char *value;

    snprintf(sql, sizeof(sql), "SELECT count(*) FROM pg_stat_activity WHERE application_name = '%s' AND %s",
             kit->schema, condition);
    value = kit_sql(kit->url, sql);
    snprintf(text, sizeof(text), "%s", value);
    free(value);
    return text;
}

static KIT_UNUSED void kit_terminate(const struct kit *kit)
{
    kit_exec(kit, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '%s'",
             kit->schema);
}

/* The statement lives in the work: unnamed, so not prepared. */
static KIT_UNUSED void kit_add(struct db_work *work, const char *sql)
{
    struct db_statement *statement = arena_alloc(db_work_arena(work), sizeof(*statement));

    statement->sql = arena_strdup(db_work_arena(work), sql);
    db_work_add(work, statement, NULL, 0);
}

static KIT_UNUSED void kit_start(struct kit *kit, const char *sql, struct outcome *outcome)
{
    struct db_work *work = db_work_new(kit->pool);

    kit_add(work, sql);
    db_work_run(work, kit_on_done, outcome);
}

/* One statement, to its end. */
static KIT_UNUSED enum err_kind kit_run(struct kit *kit, const char *sql)
{
    struct outcome outcome = { 0 };

    kit_start(kit, sql, &outcome);
    assert_false(outcome.is_done);
    KIT_UNTIL(kit, outcome.is_done);
    return outcome.err.kind;
}

#endif
