/* SPDX-License-Identifier: Apache-2.0 */
/* testkit.h - a database of its own for each test program, beside that of GUICHET_TEST_DATABASE. */
#ifndef GUICHET_ROUTING_TESTKIT_H
#define GUICHET_ROUTING_TESTKIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <libpq-fe.h>

#include "io/db.h"

extern const struct db_migration routing_migrations[];
extern const size_t routing_migration_count;

struct testkit_database {
    char name[64];
    char url[512];
};

static inline bool testkit_sql(const char *url, const char *label, const char *sql)
{
    PGconn *conn = PQconnectdb(url);
    PGresult *result = PQexec(conn, sql);
    bool ok = PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK;

    if (!ok)
        fprintf(stderr, "%s: %s%s\n", label, PQerrorMessage(conn), PQresultErrorMessage(result));
    PQclear(result);
    PQfinish(conn);
    return ok;
}

/* The first column of the first row; "" when there is none. */
static inline const char *testkit_value(const char *url, const char *sql)
{
    static char value[256];
    PGconn *conn = PQconnectdb(url);
    PGresult *result = PQexec(conn, sql);

    value[0] = '\0';
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0)
        snprintf(value, sizeof(value), "%s", PQgetvalue(result, 0, 0));
    PQclear(result);
    PQfinish(conn);
    return value;
}

/* -1: nothing to test with, and said so. */
static inline int testkit_open(struct testkit_database *database, const char *what)
{
    const char *base = getenv("GUICHET_TEST_DATABASE");
    struct err err = { 0 };
    uint32_t applied = 0;
    const char *slash;
    char sql[128];

    if (base == NULL || (slash = strrchr(base, '/')) == NULL) {
        fprintf(stderr, "GUICHET_TEST_DATABASE is not set: a PostgreSQL URL is needed\n");
        return -1;
    }
    snprintf(database->name, sizeof(database->name), "routing_%s_%d", what, (int)getpid());
    snprintf(database->url, sizeof(database->url), "%.*s/%s", (int)(slash - base), base, database->name);
    snprintf(sql, sizeof(sql), "CREATE DATABASE %s", database->name);
    if (!testkit_sql(base, "create", sql))
        return -1;
    if (!db_migrate(database->url, "routing", routing_migrations, routing_migration_count, &applied, &err)) {
        fprintf(stderr, "migrate: %s\n", err.text);
        return -1;
    }
    return 0;
}

static inline void testkit_close(const struct testkit_database *database)
{
    char sql[128];

    if (database->name[0] == '\0')
        return;
    snprintf(sql, sizeof(sql), "DROP DATABASE IF EXISTS %s WITH (FORCE)", database->name);
    testkit_sql(getenv("GUICHET_TEST_DATABASE"), "drop", sql);
}

#endif
