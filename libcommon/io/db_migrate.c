/* SPDX-License-Identifier: Apache-2.0 */
/* db_migrate.c - forward-only migrations: numbered files, each in a transaction of its own, recorded with
 * their checksum in <schema>.migration.
 *
 * Blocking, by one program at a time: an advisory lock keyed by the schema makes a
 * second one wait. A migration gives up quickly on a lock that a running service holds
 * (and tries again), so that it never stands in front of the service's own work. */
#include "io/db_internal.h"

#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECKSUM_TEXT_BYTES (2 * SHA256_DIGEST_LENGTH + 1)
#define LOCK_ATTEMPTS_MAX 10
#define LOCK_PAUSE_US 500000

const struct db_statement db_migration_version = {
    .name = "db_migration_version",
    .sql = "SELECT coalesce(max(number), 0)::int4 FROM migration",
};

struct migrator {
    PGconn *pg;
    const char *schema;
    char *quoted; /* schema, as an identifier */
    const struct db_migration *migrations;
    size_t count;
    uint32_t newest; /* applied; 0: none */
};

static void ignore_notice(void *arg, const PGresult *result)
{
    (void)arg;
    (void)result;
}

static void checksum(const char *text, char ret_text[CHECKSUM_TEXT_BYTES])
{
    unsigned char digest[SHA256_DIGEST_LENGTH];

    SHA256((const unsigned char *)text, strlen(text), digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(ret_text + 2 * i, 3, "%02x", digest[i]);
}

/* Owned result; NULL on failure. */
static PGresult *query(struct migrator *migrator, const char *sql, int count, const char *const *values,
                       struct err *err)
{
    PGresult *result = PQexecParams(migrator->pg, sql, count, NULL, values, NULL, NULL, 0);
    char sqlstate[DB_SQLSTATE_BYTES];

    if (PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK)
        return result;
    db_error_of(result, NULL, err, sqlstate);
    PQclear(result);
    return NULL;
}

static bool command(struct migrator *migrator, const char *sql, struct err *err)
{
    PGresult *result = query(migrator, sql, 0, NULL, err);
    bool ok = result != NULL;

    PQclear(result);
    return ok;
}

static bool lock(struct migrator *migrator, struct err *err)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    char key_text[32];
    const char *values[] = { key_text };
    PGresult *result;
    uint64_t key;

    SHA256((const unsigned char *)migrator->schema, strlen(migrator->schema), digest);
    memcpy(&key, digest, sizeof(key));
    snprintf(key_text, sizeof(key_text), "%" PRId64, (int64_t)key);
    if (!command(migrator, "SET statement_timeout = '10min'", err))
        return false;
    result = query(migrator, "SELECT pg_advisory_lock($1::bigint)", 1, values, err);
    PQclear(result);
    return result != NULL && command(migrator, "SET statement_timeout = 0", err) &&
           command(migrator, "SET lock_timeout = '3s'", err);
}

/* CREATE SCHEMA IF NOT EXISTS would need the right to create even where it exists. */
static bool create_schema(struct migrator *migrator, struct err *err)
{
    const char *values[] = { migrator->schema };
    PGresult *result = query(migrator, "SELECT 1 FROM pg_namespace WHERE nspname = $1", 1, values, err);
    bool ok = result != NULL;
    char sql[512];

    if (ok && PQntuples(result) == 0) {
        snprintf(sql, sizeof(sql), "CREATE SCHEMA %s", migrator->quoted);
        ok = command(migrator, sql, err);
    }
    PQclear(result);
    snprintf(sql, sizeof(sql),
             "CREATE TABLE IF NOT EXISTS %s.migration (number int PRIMARY KEY, name text NOT NULL,"
             " checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
             migrator->quoted);
    return ok && command(migrator, sql, err);
}

static const struct db_migration *find(const struct migrator *migrator, uint32_t number)
{
    for (size_t i = 0; i < migrator->count; i++)
        if (migrator->migrations[i].number == number)
            return &migrator->migrations[i];
    return NULL;
}

static bool check_applied(const struct migrator *migrator, uint32_t number, const char *name,
                          const char *recorded, struct err *err)
{
    const struct db_migration *migration = find(migrator, number);
    char text[CHECKSUM_TEXT_BYTES];

    if (migration == NULL)
        return err_set(
            err, ERR_CONFIG,
            "migration %u (%s) is applied and not known here: the database is newer than this program",
            number, name);
    checksum(migration->sql, text);
    if (strcmp(text, recorded) != 0)
        return err_set(err, ERR_CONFIG,
                       "%s.sql was changed after it was applied (checksum %.12s, applied %.12s)",
                       migration->name, text, recorded);
    return true;
}

static bool check_all_applied(struct migrator *migrator, struct err *err)
{
    char sql[512];
    PGresult *result;
    bool ok = true;

    snprintf(sql, sizeof(sql), "SELECT number, name, checksum FROM %s.migration ORDER BY number",
             migrator->quoted);
    result = query(migrator, sql, 0, NULL, err);
    if (result == NULL)
        return false;
    for (int i = 0; ok && i < PQntuples(result); i++) {
        migrator->newest = (uint32_t)strtoul(PQgetvalue(result, i, 0), NULL, 10);
        ok = check_applied(migrator, migrator->newest, PQgetvalue(result, i, 1), PQgetvalue(result, i, 2),
                           err);
    }
    /* Forward only: each file up to the newest applied one must be among them. */
    for (size_t i = 0; ok && i < migrator->count && migrator->migrations[i].number <= migrator->newest; i++)
        if (i >= (size_t)PQntuples(result) ||
            strtoul(PQgetvalue(result, (int)i, 0), NULL, 10) != migrator->migrations[i].number)
            ok = err_set(err, ERR_CONFIG, "%s.sql comes before migration %u, which is applied already",
                         migrator->migrations[i].name, migrator->newest);
    PQclear(result);
    return ok;
}

static bool check_order(const struct migrator *migrator, struct err *err)
{
    for (size_t i = 0; i < migrator->count; i++)
        if (migrator->migrations[i].number <= (i > 0 ? migrator->migrations[i - 1].number : 0))
            return err_set(err, ERR_CONFIG, "%s.sql is out of order", migrator->migrations[i].name);
    return true;
}

/* The line of the position-th character (PostgreSQL counts characters from 1). */
static unsigned line_of(const char *sql, const char *position)
{
    size_t rest = position != NULL ? strtoul(position, NULL, 10) : 0;
    unsigned line = 1;

    if (rest == 0)
        return 0;
    for (; *sql != '\0' && rest > 1; sql++) {
        line += *sql == '\n';
        rest -= ((unsigned char)sql[1] & 0xC0) != 0x80;
    }
    return line;
}

static bool file_failed(const struct db_migration *migration, const PGresult *result, struct err *err,
                        char ret_sqlstate[DB_SQLSTATE_BYTES])
{
    unsigned line = line_of(migration->sql, PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION));
    const char *context = PQresultErrorField(result, PG_DIAG_CONTEXT);

    db_error_of(result, NULL, err, ret_sqlstate);
    if (context != NULL)
        err_at(err, "%.60s", context);
    if (line > 0)
        return err_at(err, "%s.sql:%u", migration->name, line);
    return err_at(err, "%s.sql", migration->name);
}

/* The simple protocol takes a file of many statements as it is. */
static bool run_file(struct migrator *migrator, const struct db_migration *migration, struct err *err,
                     char ret_sqlstate[DB_SQLSTATE_BYTES])
{
    PGresult *result = PQexec(migrator->pg, migration->sql);
    ExecStatusType status = PQresultStatus(result);
    bool ok = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY;

    if (!ok)
        file_failed(migration, result, err, ret_sqlstate);
    else if (PQtransactionStatus(migrator->pg) != PQTRANS_INTRANS)
        ok = err_set(err, ERR_CONFIG, "%s.sql ends its transaction itself: it must not", migration->name);
    PQclear(result);
    return ok;
}

static bool record(struct migrator *migrator, const struct db_migration *migration, struct err *err)
{
    char sql[512], number[16], text[CHECKSUM_TEXT_BYTES];
    const char *values[] = { number, migration->name, text };
    PGresult *result;

    snprintf(number, sizeof(number), "%u", migration->number);
    checksum(migration->sql, text);
    snprintf(sql, sizeof(sql), "INSERT INTO %s.migration (number, name, checksum) VALUES ($1::int, $2, $3)",
             migrator->quoted);
    result = query(migrator, sql, COUNT_OF(values), values, err);
    PQclear(result);
    return result != NULL;
}

static bool apply_once(struct migrator *migrator, const struct db_migration *migration, struct err *err,
                       char ret_sqlstate[DB_SQLSTATE_BYTES])
{
    char sql[512];
    struct err ignored;
    bool ok;

    ret_sqlstate[0] = '\0';
    snprintf(sql, sizeof(sql), "SET LOCAL search_path TO %s, public", migrator->quoted);
    ok = command(migrator, "BEGIN", err) && command(migrator, sql, err) &&
         run_file(migrator, migration, err, ret_sqlstate) && record(migrator, migration, err) &&
         command(migrator, "COMMIT", err);
    if (!ok && PQtransactionStatus(migrator->pg) != PQTRANS_IDLE)
        (void)command(migrator, "ROLLBACK", &ignored);
    return ok;
}

static bool apply(struct migrator *migrator, const struct db_migration *migration, struct err *err)
{
    char sqlstate[DB_SQLSTATE_BYTES];

    for (unsigned attempt = 1; !apply_once(migrator, migration, err, sqlstate); attempt++) {
        bool is_locked = strcmp(sqlstate, "55P03") == 0 || db_error_is_passing(sqlstate);

        if (!is_locked || attempt == LOCK_ATTEMPTS_MAX)
            return false;
        usleep(LOCK_PAUSE_US);
    }
    return true;
}

static bool apply_all(struct migrator *migrator, uint32_t *ret_applied, struct err *err)
{
    uint32_t applied = 0;

    for (size_t i = 0; i < migrator->count; i++) {
        if (migrator->migrations[i].number <= migrator->newest)
            continue;
        if (!apply(migrator, &migrator->migrations[i], err))
            return false;
        applied++;
    }
    *ret_applied = applied;
    return true;
}

static bool open_session(const char *conninfo, PGconn **ret_pg, struct err *err)
{
    struct db_conninfo info;

    if (!db_conninfo_parse(conninfo, "guichetctl migrate", &info, err))
        return false;
    if (db_conninfo_get(&info, "connect_timeout")[0] == '\0')
        db_conninfo_set(&info, "connect_timeout", "10");
    *ret_pg = db_conninfo_connect(&info);
    db_conninfo_done(&info);
    PQsetNoticeReceiver(*ret_pg, ignore_notice, NULL);
    if (PQstatus(*ret_pg) == CONNECTION_OK)
        return true;
    db_error_of_conn(*ret_pg, err);
    PQfinish(*ret_pg);
    return false;
}

bool db_migrate(const char *conninfo, const char *schema, const struct db_migration *migrations, size_t count,
                uint32_t *ret_applied, struct err *err)
{
    struct migrator migrator = { .schema = schema, .migrations = migrations, .count = count };
    bool ok;

    if (!check_order(&migrator, err) || !open_session(conninfo, &migrator.pg, err))
        return false;
    migrator.quoted = PQescapeIdentifier(migrator.pg, schema, strlen(schema));
    if (migrator.quoted == NULL)
        ok = err_set(err, ERR_CONFIG, "'%s' is not a name for a schema", schema);
    else
        ok = lock(&migrator, err) && create_schema(&migrator, err) && check_all_applied(&migrator, err) &&
             apply_all(&migrator, ret_applied, err);
    PQfreemem(migrator.quoted);
    PQfinish(migrator.pg);
    return ok;
}
