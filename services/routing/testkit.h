/* SPDX-License-Identifier: Apache-2.0 */
/* testkit.h - a database of its own for each test program, beside that of GUICHET_TEST_DATABASE. */
#ifndef GUICHET_ROUTING_TESTKIT_H
#define GUICHET_ROUTING_TESTKIT_H

#include "io/db_testkit.h"

extern const struct db_migration routing_migrations[];
extern const size_t routing_migration_count;

struct testkit_database {
    char name[64];
    char url[512];
};

static inline void testkit_open(struct testkit_database *database, const char *what)
{
    const char *base = kit_url(), *slash = strrchr(base, '/');
    struct err err = { 0 };
    uint32_t applied = 0;
    char sql[128];

    assert_non_null(slash);
    snprintf(database->name, sizeof(database->name), "routing_%s_%d", what, (int)getpid());
    snprintf(database->url, sizeof(database->url), "%.*s/%s", (int)(slash - base), base, database->name);
    snprintf(sql, sizeof(sql), "CREATE DATABASE %s", database->name);
    free(kit_sql(base, sql));
    if (!db_migrate(database->url, "routing", routing_migrations, routing_migration_count, &applied, &err))
        fail_msg("migrate: %s", err.text);
}

static inline void testkit_close(const struct testkit_database *database)
{
    char sql[128];

    snprintf(sql, sizeof(sql), "DROP DATABASE IF EXISTS %s WITH (FORCE)", database->name);
    free(kit_sql(kit_url(), sql));
}

#endif
