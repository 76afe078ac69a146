/* SPDX-License-Identifier: Apache-2.0 */
/* db_pipeline.c - what is sent over a connection, and what must come back for it.
 *
 * Each query sent adds a step; answers come in that order. libpq answers each query
 * with its result and then NULL, and each Sync with PGRES_PIPELINE_SYNC alone. After an
 * error the server skips to the Sync, which libpq tells as PGRES_PIPELINE_ABORTED.
 *
 * A work is one segment: what is not yet prepared on this connection, BEGIN, the
 * statements, COMMIT, Sync. It has succeeded only when the Sync is answered: the commit
 * of a lone statement happens there, and may still fail. After an error inside BEGIN the
 * COMMIT was skipped too, so a ROLLBACK of its own follows, which the caller need not
 * wait for. */
#include "io/db_conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BINARY 1
#define TEXT 0
#define IDLE_IN_TRANSACTION_MS "2000"

static void *grow(void *items, size_t count, size_t *size, size_t item_bytes)
{
    if (count < *size)
        return items;
    *size = *size == 0 ? 16 : *size * 2;
    items = realloc(items, *size * item_bytes);
    if (items == NULL)
        abort();
    return items;
}

static void expect(struct db_conn *conn, enum db_step_kind kind, size_t index)
{
    conn->steps = grow(conn->steps, conn->step_count, &conn->step_size, sizeof(*conn->steps));
    conn->steps[conn->step_count++] = (struct db_step){ .kind = kind, .index = index };
}

void db_pipeline_reset(struct db_conn *conn)
{
    conn->step_count = conn->step_next = 0;
    conn->prepared_count = 0;
    conn->is_in_transaction = false;
    conn->is_stale = false;
}

static bool send_command(struct db_conn *conn, enum db_step_kind kind, const char *sql)
{
    expect(conn, kind, 0);
    return PQsendQueryParams(conn->pg, sql, 0, NULL, NULL, NULL, NULL, TEXT);
}

static bool send_sync(struct db_conn *conn)
{
    expect(conn, DB_STEP_SYNC, 0);
    return PQpipelineSync(conn->pg);
}

/* Everything a session needs, in one round trip. A statement whose client has gone is given up within a second
 * (client_connection_check_interval), so that closing a connection is enough to cancel what it runs. */
bool db_pipeline_send_settings(struct db_conn *conn)
{
    static const char sql[] =
        "SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false),"
        " set_config('search_path', coalesce(nullif($3, ''), current_setting('search_path')), false),"
        " set_config('idle_in_transaction_session_timeout', '" IDLE_IN_TRANSACTION_MS "', false),"
        " set_config('client_connection_check_interval', '1000', false),"
        " set_config('TimeZone', 'UTC', false), set_config('jit', 'off', false),"
        " CASE WHEN current_setting('synchronous_commit') <> 'remote_apply'"
        "  THEN set_config('synchronous_commit', 'on', false) END,"
        " current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes";
    char statement_ms[16], lock_ms[16], listen[160];
    const char *values[] = { statement_ms, lock_ms, conn->db->search_path };
    char *quoted;
    bool ok;

    /* Half of it for a lock, so that waiting is told apart from working. */
    snprintf(statement_ms, sizeof(statement_ms), "%u", conn->statement_timeout_ms);
    snprintf(lock_ms, sizeof(lock_ms), "%u", conn->statement_timeout_ms / 2);
    expect(conn, DB_STEP_SETTINGS, 0);
    if (!PQsendQueryParams(conn->pg, sql, COUNT_OF(values), NULL, values, NULL, NULL, TEXT))
        return false;
    if (conn->channel != NULL) {
        quoted = PQescapeIdentifier(conn->pg, conn->channel, strlen(conn->channel));
        snprintf(listen, sizeof(listen), "LISTEN %s", quoted != NULL ? quoted : "");
        PQfreemem(quoted);
        ok = send_command(conn, DB_STEP_LISTEN, listen);
        if (!ok)
            return false;
    }
    return send_sync(conn);
}

static bool is_prepared(const struct db_conn *conn, const char *name)
{
    for (size_t i = 0; i < conn->prepared_count; i++)
        if (conn->prepared[i] == name)
            return true;
    for (size_t i = 0; i < conn->prepared_count; i++)
        if (strcmp(conn->prepared[i], name) == 0)
            return true;
    return false;
}

static bool has_name(const struct db_statement *statement)
{
    return statement->name != NULL && statement->name[0] != '\0';
}

/* The same statement may stand in a work many times; it is prepared once. */
static bool is_first_use(const struct db_work *work, size_t index)
{
    const char *name = work->queries[index].statement->name;

    for (size_t i = 0; i < index; i++)
        if (has_name(work->queries[i].statement) && strcmp(work->queries[i].statement->name, name) == 0)
            return false;
    return true;
}

static bool send_deallocate(struct db_conn *conn)
{
    conn->is_stale = false;
    conn->prepared_count = 0;
    return send_command(conn, DB_STEP_DEALLOCATE, "DEALLOCATE ALL");
}

static bool send_prepares(struct db_conn *conn, const struct db_work *work)
{
    for (size_t i = 0; i < work->query_count; i++) {
        const struct db_statement *statement = work->queries[i].statement;

        if (!has_name(statement) || is_prepared(conn, statement->name) || !is_first_use(work, i))
            continue;
        expect(conn, DB_STEP_PREPARE, i);
        if (!PQsendPrepare(conn->pg, statement->name, statement->sql, 0, NULL))
            return false;
    }
    return true;
}

static bool send_query(struct db_conn *conn, const struct db_query *query, size_t index)
{
    const struct db_statement *statement = query->statement;

    expect(conn, DB_STEP_STATEMENT, index);
    if (!has_name(statement))
        return PQsendQueryParams(conn->pg, statement->sql, query->param_count, NULL, query->values,
                                 query->lengths, query->formats, BINARY);
    return PQsendQueryPrepared(conn->pg, statement->name, query->param_count, query->values, query->lengths,
                               query->formats, BINARY);
}

bool db_pipeline_send_work(struct db_conn *conn, struct db_work *work)
{
    bool is_transaction = work->query_count > 1;

    if (conn->is_stale && !send_deallocate(conn))
        return false;
    if (!send_prepares(conn, work))
        return false;
    if (is_transaction && !send_command(conn, DB_STEP_BEGIN, "BEGIN"))
        return false;
    for (size_t i = 0; i < work->query_count; i++)
        if (!send_query(conn, &work->queries[i], i))
            return false;
    if (is_transaction && !send_command(conn, DB_STEP_COMMIT, "COMMIT"))
        return false;
    return send_sync(conn);
}

static void on_settings(struct db_conn *conn, PGresult *result)
{
    char sqlstate[DB_SQLSTATE_BYTES];
    int fsync = PQfnumber(result, "fsync"), pages = PQfnumber(result, "full_page_writes");

    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        db_error_of(result, "database session", &conn->setup_err, sqlstate);
    else if (!conn->db->is_fsync_off_allowed)
        (void)db_error_check_durable(PQgetvalue(result, 0, fsync), PQgetvalue(result, 0, pages),
                                     &conn->setup_err);
}

static void remember_prepared(struct db_conn *conn, const char *name)
{
    conn->prepared =
        grow(conn->prepared, conn->prepared_count, &conn->prepared_size, sizeof(*conn->prepared));
    conn->prepared[conn->prepared_count++] = name;
}

/* A COMMIT that the server turned into a ROLLBACK succeeds in words only. */
static void on_commit(struct db_conn *conn, PGresult *result)
{
    conn->is_in_transaction = false;
    if (PQresultStatus(result) == PGRES_COMMAND_OK && strcmp(PQcmdStatus(result), "COMMIT") != 0)
        db_work_fail_text(conn->work, ERR_INTERNAL, "the database rolled back instead of committing");
}

static void on_good(struct db_conn *conn, const struct db_step *step, PGresult **result)
{
    struct db_query *query;

    switch (step->kind) {
    case DB_STEP_PREPARE:
        remember_prepared(conn, conn->work->queries[step->index].statement->name);
        break;
    case DB_STEP_BEGIN:
        conn->is_in_transaction = true;
        break;
    case DB_STEP_STATEMENT:
        query = &conn->work->queries[step->index];
        PQclear(query->result);
        query->result = *result;
        *result = NULL;
        break;
    case DB_STEP_COMMIT:
        on_commit(conn, *result);
        break;
    case DB_STEP_ROLLBACK:
        conn->is_in_transaction = false;
        break;
    default:
        break;
    }
}

static void on_bad(struct db_conn *conn, const struct db_step *step, const PGresult *result)
{
    char sqlstate[DB_SQLSTATE_BYTES];

    if (conn->state == DB_CONN_PREPARING) {
        db_error_of(result, "database session", &conn->setup_err, sqlstate);
        return;
    }
    if (step->kind == DB_STEP_COMMIT)
        conn->is_in_transaction = false;
    if (conn->work != NULL)
        db_work_fail(conn->work, result,
                     step->kind == DB_STEP_STATEMENT || step->kind == DB_STEP_PREPARE ? step->index
                                                                                      : SIZE_MAX);
}

/* The segment is over. */
static bool on_sync(struct db_conn *conn)
{
    struct db_work *work = conn->work;
    bool ok = true;

    if (conn->state == DB_CONN_PREPARING) {
        db_conn_settled(conn);
        return true;
    }
    conn->work = NULL;
    if (conn->is_in_transaction)
        ok = send_command(conn, DB_STEP_ROLLBACK, "ROLLBACK") && send_sync(conn);
    else
        db_conn_move(conn, DB_CONN_IDLE);
    if (work != NULL)
        db_work_end(work);
    return ok;
}

static bool take(struct db_conn *conn, PGresult *result)
{
    struct db_step step = conn->steps[conn->step_next];
    bool ok = true;

    switch (PQresultStatus(result)) {
    case PGRES_PIPELINE_SYNC:
        if (step.kind != DB_STEP_SYNC) {
            ok = false;
            break;
        }
        conn->step_next++;
        if (conn->step_next == conn->step_count)
            conn->step_next = conn->step_count = 0;
        ok = on_sync(conn);
        break;
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
        if (step.kind == DB_STEP_SETTINGS)
            on_settings(conn, result);
        else
            on_good(conn, &step, &result);
        break;
    case PGRES_PIPELINE_ABORTED:
        break;
    default:
        on_bad(conn, &step, result);
    }
    PQclear(result);
    return ok;
}

bool db_pipeline_read(struct db_conn *conn, struct err *err)
{
    unsigned nulls = 0;

    while (conn->step_next < conn->step_count && !PQisBusy(conn->pg)) {
        PGresult *result = PQgetResult(conn->pg);

        if (result != NULL) {
            nulls = 0;
            if (!take(conn, result))
                return err_set(err, ERR_INTERNAL, "database: an answer came out of turn");
            if (conn->pg == NULL)
                return true; /* dropped in between; there is nothing left to read */
            continue;
        }
        /* NULL ends a query; a Sync has none, but a second one in a row means that nothing is to come. */
        if (conn->steps[conn->step_next].kind != DB_STEP_SYNC)
            conn->step_next++;
        if (++nulls > 2) {
            db_error_of_conn(conn->pg, err);
            return false;
        }
    }
    return true;
}
