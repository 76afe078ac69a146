/* SPDX-License-Identifier: Apache-2.0 */
/* database.c - the database of a service: pools by class, and whether it can be used.
 *
 * Three classes, because a connection is serial and a slow timeline must not stand
 * before what records messages. Readiness is asked of the server again and again until
 * it is right; a database that is down or not yet migrated keeps the service from being
 * ready, not from starting. */
#include "service/database.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    INGEST_QUEUE_MAX = 512,
    SHORT_QUEUE_MAX = 1024,
    LONG_QUEUE_MAX = 256,
    NOT_READY_INTERVAL_MS = 100,
    READY_INTERVAL_MS = 1000,
    PATIENCE_TICKS = 10, /* at the start, before "not ready" is worth a line */
};

struct database_state {
    struct database *database;
    char *schema;
    uint32_t newest_migration;
    struct loop_timer *timer;
    bool is_asking;
    enum told { TOLD_NOTHING, TOLD_READY, TOLD_NOT_READY } told; /* to the log */
    uint32_t ticks;
    struct err version_err; /* ERR_NONE: the schema is as this program knows it */
};

static bool check_version(const struct database_state *state, int64_t found, struct err *err)
{
    if (found < (int64_t)state->newest_migration)
        return err_set(err, ERR_UNAVAILABLE, "schema %s is at migration %d of %u: run guichetctl migrate",
                       state->schema, (int)found, state->newest_migration);
    if (found > (int64_t)state->newest_migration)
        return err_set(err, ERR_UNAVAILABLE,
                       "schema %s is at migration %d, this program knows %u only: "
                       "run a newer version of it",
                       state->schema, (int)found, state->newest_migration);
    err_clear(err);
    return true;
}

static bool is_missing(const char *sqlstate)
{
    return strcmp(sqlstate, "42P01") == 0 ||
           strcmp(sqlstate, "3F000") == 0; /* no such table, no such schema */
}

static void on_version(void *arg, struct db_work *work, const struct err *err)
{
    struct database_state *state = arg;

    state->is_asking = false;
    if (err->kind == ERR_NONE)
        (void)check_version(state, db_i64(db_work_result(work, 0), 0, 0), &state->version_err);
    else if (is_missing(db_work_sqlstate(work)))
        (void)check_version(state, 0, &state->version_err);
    else
        state->version_err = *err;
}

static bool is_ready(void *arg, struct err *err)
{
    struct database_state *state = arg;

    if (!db_check(state->database->db, err))
        return false;
    if (state->version_err.kind != ERR_NONE)
        return err_set(err, state->version_err.kind, "%s", state->version_err.text);
    return true;
}

/* The log tells each change once; at the start it waits a second for good news. */
static void log_change(struct database_state *state)
{
    struct err err = { 0 };
    bool ready = is_ready(state, &err);
    enum told now = ready ? TOLD_READY : TOLD_NOT_READY;

    if (now == state->told || (state->told == TOLD_NOTHING && !ready && ++state->ticks < PATIENCE_TICKS))
        return;
    state->told = now;
    if (ready)
        log_event(LOG_INFO, "database_ready", LOG_TEXT("schema", state->schema),
                  LOG_NUMBER("migration", state->newest_migration));
    else
        log_event(LOG_WARN, "database_not_ready", LOG_TEXT("schema", state->schema), LOG_ERR(&err));
}

static void on_timer(void *arg)
{
    struct database_state *state = arg;
    struct db_work *work;

    log_change(state);
    if (state->version_err.kind != ERR_NONE && !state->is_asking && db_is_ready(state->database->db)) {
        state->is_asking = true;
        work = db_work_new(state->database->short_);
        db_work_add(work, &db_migration_version, NULL, 0);
        db_work_run(work, on_version, state);
    }
    loop_timer_start(state->timer, is_ready(state, NULL) ? READY_INTERVAL_MS : NOT_READY_INTERVAL_MS, 0);
}

/* At most two statements' time, queueing included: whoever waits for us has given up by then. */
static struct db_pool *open_pool(struct db *db, const char *name, uint32_t connections, uint32_t timeout_ms,
                                 uint32_t queue_max)
{
    return db_pool_new(db, &(struct db_pool_options){ .name = name,
                                                      .connections = connections,
                                                      .statement_timeout_ms = timeout_ms,
                                                      .work_timeout_ms = 2 * timeout_ms,
                                                      .queue_max = queue_max });
}

static void open_pools(struct database *database, const struct database_config *config)
{
    database->ingest = open_pool(database->db, "ingest", config->database_ingest_connections,
                                 config->database_ingest_timeout_ms, INGEST_QUEUE_MAX);
    database->short_ = open_pool(database->db, "short", config->database_short_connections,
                                 config->database_short_timeout_ms, SHORT_QUEUE_MAX);
    database->long_ = open_pool(database->db, "long", config->database_long_connections,
                                config->database_long_timeout_ms, LONG_QUEUE_MAX);
}

static void open_state(struct database *database, struct service *service, const char *schema,
                       uint32_t newest_migration)
{
    struct database_state *state = calloc(1, sizeof(*state));

    if (state == NULL)
        abort();
    state->database = database;
    state->schema = str_dup(str_view_of(schema));
    state->newest_migration = newest_migration;
    (void)err_set(&state->version_err, ERR_UNAVAILABLE, "schema %s: its version is not known yet", schema);
    state->timer = loop_timer_new(service->loop, on_timer, state);
    loop_timer_start(state->timer, NOT_READY_INTERVAL_MS / 2, 0);
    database->state = state;
    service_add_check(service, "database", is_ready, state);
}

bool database_open(struct database *database, struct service *service, const struct database_config *config,
                   const char *schema, uint32_t newest_migration, struct err *err)
{
    char application[64], search_path[128];
    struct db_options options = { .conninfo = config->database_url,
                                  .application = application,
                                  .search_path = search_path,
                                  .allow_fsync_off = config->unsafe_allow_fsync_off };
    struct err server_err = { 0 };

    snprintf(application, sizeof(application), "guichet-%s", service->name);
    snprintf(search_path, sizeof(search_path), "%s, public", schema);
    if (!db_check_server(&options, &server_err) && server_err.kind == ERR_CONFIG) {
        if (err != NULL)
            *err = server_err;
        return false;
    }
    if (config->unsafe_allow_fsync_off)
        log_event(LOG_WARN, "database_fsync_not_required", LOG_TEXT("setting", "unsafe_allow_fsync_off"));
    if (!db_new(service->loop, service->worker, &options, &database->db, err))
        return err_at(err, "database_url");
    open_pools(database, config);
    open_state(database, service, schema, newest_migration);
    return true;
}

void database_close(struct database *database)
{
    struct database_state *state = database->state;

    db_free(&database->db);
    if (state != NULL) {
        loop_timer_free(&state->timer);
        free(state->schema);
        free(state);
    }
    *database = (struct database){ 0 };
}
