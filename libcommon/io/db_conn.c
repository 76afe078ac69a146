/* SPDX-License-Identifier: Apache-2.0 */
/* db_conn.c - the life of one connection: names, connecting, session, work, loss, and up again.
 *
 * libpq may change its socket between two PQconnectPoll()s, even for one of the same
 * number; so the poll is made anew for each of them. A lost connection is closed
 * (PQfinish) and opened again after a pause with full jitter: PQreset would block. */
#include "io/db_conn.h"

#include <stdlib.h>
#include <string.h>

#include "ops/failpoint.h"
#include "ops/log.h"

#define CONNECT_TIMEOUT_MS 5000
#define PAUSE_FIRST_MS 50
#define PAUSE_MAX_MS 5000

/* A name look-up under way; it outlives its connection when that is freed meanwhile. */
struct db_resolving {
    struct db_conn *conn;
    struct db_conninfo info, resolved;
    bool ok;
    struct err err;
};

static const char *const state_names[] = {
    [DB_CONN_CLOSED] = "closed",       [DB_CONN_RESOLVING] = "resolving", [DB_CONN_CONNECTING] = "connecting",
    [DB_CONN_PREPARING] = "preparing", [DB_CONN_IDLE] = "idle",           [DB_CONN_BUSY] = "busy",
};

static void conn_open(struct db_conn *conn);
static void on_timer(void *arg);
static void on_resolved(void *arg, const struct err *err);
static void on_connecting(void *arg, int events, int status);
static void on_live(void *arg, int events, int status);

bool db_conn_is_live(const struct db_conn *conn)
{
    return conn->state == DB_CONN_IDLE || conn->state == DB_CONN_BUSY;
}

void db_conn_move(struct db_conn *conn, enum db_conn_state state)
{
    log_event(LOG_DEBUG, "db_connection", LOG_TEXT("role", conn->role),
              LOG_TEXT("from", state_names[conn->state]), LOG_TEXT("to", state_names[state]));
    conn->state = state;
    conn->owner->on_moved(conn->owner_arg);
}

struct db_conn *db_conn_new(struct db *db, const struct db_conn_owner *owner, void *owner_arg,
                            const char *role, uint32_t statement_timeout_ms, const char *channel)
{
    struct db_conn *conn = calloc(1, sizeof(*conn));

    if (conn == NULL)
        abort();
    conn->db = db;
    conn->owner = owner;
    conn->owner_arg = owner_arg;
    conn->role = role;
    conn->statement_timeout_ms = statement_timeout_ms;
    conn->channel = channel;
    conn->timer = loop_timer_new(db->loop, on_timer, conn);
    loop_timer_start(conn->timer, 0, 0); /* from the loop, as every later attempt */
    return conn;
}

static void close_socket(struct db_conn *conn)
{
    loop_poll_free(&conn->poll);
    if (conn->pg != NULL)
        PQfinish(conn->pg);
    conn->pg = NULL;
    db_pipeline_reset(conn);
}

void db_conn_free(struct db_conn **conn_at)
{
    struct db_conn *conn = *conn_at;

    *conn_at = NULL;
    if (conn == NULL)
        return;
    if (conn->is_in_callback) {
        conn->is_doomed = true;
        return;
    }
    if (conn->resolving != NULL)
        conn->resolving->conn = NULL;
    close_socket(conn);
    loop_timer_free(&conn->timer);
    free(conn->steps);
    free(conn->prepared);
    free(conn);
}

static uint64_t pause_ms(uint32_t attempts)
{
    uint64_t ceiling = attempts < 7 ? (uint64_t)PAUSE_FIRST_MS << attempts : PAUSE_MAX_MS;
    uint32_t number;

    random_bytes(&number, sizeof(number));
    return number % ((ceiling < PAUSE_MAX_MS ? ceiling : PAUSE_MAX_MS) + 1);
}

void db_conn_drop(struct db_conn *conn, const struct err *err)
{
    struct db_work *work = conn->work;

    conn->work = NULL;
    conn->db->refusal = *err;
    if (db_conn_is_live(conn))
        stats_add_label(conn->db->stats, DB_LOST, conn->role, 1);
    log_event(LOG_DEBUG, "db_connection_lost", LOG_TEXT("role", conn->role), LOG_ERR(err));
    close_socket(conn);
    db_conn_move(conn, DB_CONN_CLOSED);
    loop_timer_start(conn->timer, pause_ms(conn->attempts++), 0);
    if (work != NULL) {
        db_work_fail_text(work, ERR_UNAVAILABLE, err->text);
        db_work_end(work);
    }
}

static void drop_as_libpq_says(struct db_conn *conn)
{
    struct err err = { 0 };

    db_error_of_conn(conn->pg, &err);
    db_conn_drop(conn, &err);
}

/* CLOSED: time to try again. Coming up: it took too long. */
static void on_timer(void *arg)
{
    struct db_conn *conn = arg;
    struct err err = { 0 };

    if (conn->state == DB_CONN_CLOSED) {
        conn_open(conn);
        return;
    }
    if (conn->resolving != NULL)
        conn->resolving->conn = NULL;
    conn->resolving = NULL;
    err_set(&err, ERR_UNAVAILABLE, "database: no answer to a connection attempt within %d ms",
            CONNECT_TIMEOUT_MS);
    db_conn_drop(conn, &err);
}

static void ignore_notice(void *arg, const PGresult *result)
{
    (void)arg;
    (void)result;
}

static void conn_connect(struct db_conn *conn, const struct db_conninfo *info)
{
    db_conn_move(conn, DB_CONN_CONNECTING);
    conn->pg =
        PQconnectStartParams((const char *const *)info->keywords, (const char *const *)info->values, 0);
    if (conn->pg == NULL)
        abort();
    if (PQstatus(conn->pg) == CONNECTION_BAD || PQsocket(conn->pg) < 0) {
        drop_as_libpq_says(conn);
        return;
    }
    PQsetNoticeReceiver(conn->pg, ignore_notice, NULL);
    conn->poll = loop_poll_new(conn->db->loop, PQsocket(conn->pg), on_connecting, conn);
    loop_poll_start(conn->poll, UV_WRITABLE);
}

static void resolve(void *arg)
{
    struct db_resolving *resolving = arg;

    resolving->ok = db_conninfo_resolve(&resolving->info, &resolving->resolved, &resolving->err);
}

static void conn_open(struct db_conn *conn)
{
    struct db_resolving *resolving;

    loop_timer_start(conn->timer, CONNECT_TIMEOUT_MS, 0);
    if (!db_conninfo_has_names(&conn->db->conninfo)) {
        conn_connect(conn, &conn->db->conninfo);
        return;
    }
    resolving = calloc(1, sizeof(*resolving));
    if (resolving == NULL)
        abort();
    resolving->conn = conn;
    db_conninfo_copy(&conn->db->conninfo, &resolving->info);
    conn->resolving = resolving;
    db_conn_move(conn, DB_CONN_RESOLVING);
    worker_start(conn->db->worker, resolve, on_resolved, resolving);
}

static void on_resolved(void *arg, const struct err *err)
{
    struct db_resolving *resolving = arg;
    struct db_conn *conn = resolving->conn;
    bool was_run = err->kind == ERR_NONE;

    if (conn != NULL) {
        conn->resolving = NULL;
        if (was_run && resolving->ok)
            conn_connect(conn, &resolving->resolved);
        else
            db_conn_drop(conn, was_run ? &resolving->err : err);
    }
    db_conninfo_done(&resolving->info);
    db_conninfo_done(&resolving->resolved);
    free(resolving);
}

/* libuv takes a descriptor out of epoll and puts it in again each time it is started: only on change. */
static void watch(struct db_conn *conn)
{
    int events = PQflush(conn->pg) == 1 ? UV_READABLE | UV_WRITABLE : UV_READABLE;

    if (events != conn->watched)
        loop_poll_start(conn->poll, events);
    conn->watched = events;
}

static void conn_connected(struct db_conn *conn)
{
    db_conn_move(conn, DB_CONN_PREPARING);
    conn->setup_err = (struct err){ 0 };
    conn->poll = loop_poll_new(conn->db->loop, PQsocket(conn->pg), on_live, conn);
    conn->watched = 0;
    if (PQsetnonblocking(conn->pg, 1) != 0 || !PQenterPipelineMode(conn->pg) ||
        !db_pipeline_send_settings(conn)) {
        drop_as_libpq_says(conn);
        return;
    }
    watch(conn);
}

static void on_connecting(void *arg, int events, int status)
{
    struct db_conn *conn = arg;
    PostgresPollingStatusType next;

    (void)events;
    (void)status; /* libpq finds out by itself, and has the better words */
    loop_poll_free(&conn->poll);
    next = PQconnectPoll(conn->pg);
    if (next == PGRES_POLLING_OK) {
        conn_connected(conn);
        return;
    }
    if (next == PGRES_POLLING_FAILED || PQsocket(conn->pg) < 0) {
        drop_as_libpq_says(conn);
        return;
    }
    conn->poll = loop_poll_new(conn->db->loop, PQsocket(conn->pg), on_connecting, conn);
    loop_poll_start(conn->poll, next == PGRES_POLLING_READING ? UV_READABLE : UV_WRITABLE);
}

/* The session's settings are answered; called while reading. */
void db_conn_settled(struct db_conn *conn)
{
    if (conn->setup_err.kind != ERR_NONE) {
        struct err err = conn->setup_err;

        db_conn_drop(conn, &err);
        return;
    }
    loop_timer_stop(conn->timer);
    conn->attempts = 0;
    conn->db->refusal = (struct err){ 0 };
    db_conn_move(conn, DB_CONN_IDLE);
    if (conn->channel != NULL)
        conn->owner->on_notify(conn->owner_arg, conn->channel, "");
}

static void take_notifications(struct db_conn *conn)
{
    PGnotify *notify;

    while (conn->pg != NULL && !conn->is_doomed && (notify = PQnotifies(conn->pg)) != NULL) {
        if (conn->owner->on_notify != NULL && !FAILPOINT("db_notify_cut"))
            conn->owner->on_notify(conn->owner_arg, notify->relname, notify->extra);
        PQfreemem(notify);
    }
}

static void conn_take(struct db_conn *conn)
{
    bool has_input = PQconsumeInput(conn->pg);
    struct err err = { 0 };

    /* What came before the end of the stream counts: often it says why. */
    if (!db_pipeline_read(conn, &err)) {
        db_conn_drop(conn, &err);
        return;
    }
    take_notifications(conn);
    if (conn->pg == NULL || conn->is_doomed)
        return;
    if (!has_input || PQstatus(conn->pg) == CONNECTION_BAD) {
        drop_as_libpq_says(conn);
        return;
    }
    watch(conn);
}

static void on_live(void *arg, int events, int status)
{
    struct db_conn *conn = arg;

    (void)events;
    (void)status;
    conn->is_in_callback = true;
    if (conn->state == DB_CONN_BUSY && FAILPOINT("db_cut")) {
        struct err err = { .kind = ERR_UNAVAILABLE, .text = "database: cut by failpoint" };

        db_conn_drop(conn, &err);
    } else {
        conn_take(conn);
    }
    conn->is_in_callback = false;
    if (conn->is_doomed) {
        db_conn_free(&conn);
        return;
    }
    if (conn->state == DB_CONN_IDLE)
        conn->owner->on_idle(conn->owner_arg);
}

void db_conn_run(struct db_conn *conn, struct db_work *work)
{
    conn->work = work;
    db_conn_move(conn, DB_CONN_BUSY);
    if (!db_pipeline_send_work(conn, work)) {
        drop_as_libpq_says(conn);
        return;
    }
    watch(conn);
}
