/* SPDX-License-Identifier: Apache-2.0 */
/* db.c - a database and its pools: who waits, which connection is free, who has waited too long.
 *
 * All works of a pool have the same time-out, so those that were started stand in the
 * order of their deadlines and one timer serves them all. Works are handed out from the
 * loop only, never from inside db_work_run(): so done() cannot come from inside it
 * either. */
#include "io/db_conn.h"

#include <stdlib.h>
#include <string.h>

#define RETRY_AFTER_MS 200

const struct stat_info db_stats[DB_STAT_COUNT] = {
    [DB_WORKS] = { "db_works_total", "Works that ended, well or not.", STAT_COUNTER, "pool" },
    [DB_FAILURES] = { "db_failures_total", "Works that ended with an error.", STAT_COUNTER, "kind" },
    [DB_WAIT] = { "db_wait_seconds", "From start until a connection was free.", STAT_HISTOGRAM, NULL },
    [DB_TIME] = { "db_work_seconds", "From start until done, repetitions included.", STAT_HISTOGRAM, NULL },
    [DB_IN_USE] = { "db_connections_in_use", "Connections that carry a work.", STAT_GAUGE, "pool" },
    [DB_OPEN] = { "db_connections_open", "Connections that are up.", STAT_GAUGE, "pool" },
    [DB_LOST] = { "db_connections_lost_total", "Connections that were up and were lost or given up.",
                  STAT_COUNTER, "pool" },
    [DB_RETRIES] = { "db_retries_total", "Works sent again after a serialisation failure or deadlock.",
                     STAT_COUNTER, NULL },
};

static void pool_dispatch(struct db_pool *pool);
static void on_idle(void *arg);
static void on_moved(void *arg);

static const struct db_conn_owner pool_owner = { .on_idle = on_idle, .on_moved = on_moved };

bool db_new(struct loop *loop, struct worker *worker, const struct db_options *options, struct db **ret_db,
            struct err *err)
{
    struct db *db;
    struct db_conninfo conninfo;

    if (!db_conninfo_parse(options->conninfo, options->application, &conninfo, err))
        return false;
    db = calloc(1, sizeof(*db));
    if (db == NULL)
        abort();
    db->loop = loop;
    db->worker = worker;
    db->conninfo = conninfo;
    db->search_path = str_dup(str_view_of(options->search_path));
    db->is_fsync_off_allowed = options->allow_fsync_off;
    db->stats = stats_new("db", db_stats, DB_STAT_COUNT);
    LIST_INIT(&db->pools);
    LIST_INIT(&db->listeners);
    *ret_db = db;
    return true;
}

bool db_pool_is_live(const struct db_pool *pool)
{
    for (uint32_t i = 0; i < pool->options.connections; i++)
        if (db_conn_is_live(pool->conns[i]))
            return true;
    return false;
}

bool db_check(const struct db *db, struct err *err)
{
    const struct db_pool *pool;

    LIST_FOREACH(pool, &db->pools, link)
    {
        if (db_pool_is_live(pool))
            continue;
        if (db->refusal.kind != ERR_NONE)
            return err_set(err, db->refusal.kind, "%s", db->refusal.text);
        return err_set(err, ERR_UNAVAILABLE, "database: pool '%s' is not connected yet", pool->name);
    }
    return true;
}

bool db_is_ready(const struct db *db)
{
    return db_check(db, NULL);
}

bool db_check_server(const struct db_options *options, struct err *err)
{
    static const char sql[] = "SELECT current_setting('fsync'), current_setting('full_page_writes')";
    struct db_conninfo info;
    PGconn *pg;
    PGresult *result = NULL;
    bool ok = false;

    if (!db_conninfo_parse(options->conninfo, options->application, &info, err))
        return false;
    if (db_conninfo_get(&info, "connect_timeout")[0] == '\0')
        db_conninfo_set(&info, "connect_timeout", "3");
    pg = db_conninfo_connect(&info);
    db_conninfo_done(&info);
    if (PQstatus(pg) == CONNECTION_OK)
        result = PQexec(pg, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        db_error_of_conn(pg, err);
    else
        ok = options->allow_fsync_off ||
             db_error_check_durable(PQgetvalue(result, 0, 0), PQgetvalue(result, 0, 1), err);
    PQclear(result);
    PQfinish(pg);
    return ok;
}

static void finish_refused(struct db_pool *pool)
{
    struct db_work *work;

    while ((work = TAILQ_FIRST(&pool->refused)) != NULL)
        db_work_finish(work);
}

/* What was deferred cannot be taken back: it outlives the pool when that is freed before the next turn. */
struct db_kick {
    struct db_pool *pool; /* NULL: gone */
    bool is_deferred;
};

static void on_kick(void *arg)
{
    struct db_kick *kick = arg;

    kick->is_deferred = false;
    if (kick->pool == NULL) {
        free(kick);
        return;
    }
    finish_refused(kick->pool);
    pool_dispatch(kick->pool);
}

void db_pool_kick(struct db_pool *pool)
{
    if (pool->kick->is_deferred)
        return;
    pool->kick->is_deferred = true;
    loop_defer(pool->db->loop, on_kick, pool->kick);
}

static void kick_free(struct db_kick **kick)
{
    (*kick)->pool = NULL;
    if (!(*kick)->is_deferred)
        free(*kick);
    *kick = NULL;
}

/* Never sent and nowhere to send to: that is known to have had no effect. */
static void expire(struct db_work *work)
{
    struct db_pool *pool = work->pool;
    struct db_conn *conn = work->conn;
    struct err err = { 0 };

    if (work->state != DB_WORK_SENT && !db_pool_is_live(pool)) {
        (void)db_check(pool->db, &err);
        db_work_fail_text(work, ERR_UNAVAILABLE, err.text);
    } else {
        err_set(&work->err, ERR_DEADLINE, "database: no answer within %u ms in pool '%s'",
                pool->options.work_timeout_ms, pool->name);
    }
    work->conn = NULL;
    if (conn != NULL) {
        conn->work = NULL;
        db_conn_drop(conn, &work->err);
    }
    db_work_finish(work);
}

static void on_deadline(void *arg)
{
    struct db_pool *pool = arg;
    uint64_t now = loop_now_ms(pool->db->loop);
    struct db_work *work;

    while ((work = TAILQ_FIRST(&pool->started)) != NULL && work->deadline_ms <= now)
        expire(work);
    if (work != NULL)
        loop_timer_start(pool->deadline, work->deadline_ms - now, 0);
}

struct db_pool *db_pool_new(struct db *db, const struct db_pool_options *options)
{
    struct db_pool *pool = calloc(1, sizeof(*pool));

    if (pool == NULL)
        abort();
    pool->db = db;
    pool->options = *options;
    pool->name = str_dup(str_view_of(options->name));
    pool->options.name = pool->name;
    TAILQ_INIT(&pool->created);
    TAILQ_INIT(&pool->started);
    TAILQ_INIT(&pool->queue);
    TAILQ_INIT(&pool->refused);
    pool->kick = calloc(1, sizeof(*pool->kick));
    if (pool->kick == NULL)
        abort();
    pool->kick->pool = pool;
    pool->deadline = loop_timer_new(db->loop, on_deadline, pool);
    pool->conns = calloc(options->connections, sizeof(struct db_conn *));
    if (pool->conns == NULL)
        abort();
    for (uint32_t i = 0; i < options->connections; i++)
        pool->conns[i] = db_conn_new(db, &pool_owner, pool, pool->name, options->statement_timeout_ms, NULL);
    LIST_INSERT_HEAD(&db->pools, pool, link);
    return pool;
}

static void on_moved(void *arg)
{
    struct db_pool *pool = arg;
    uint32_t live = 0, busy = 0;

    for (uint32_t i = 0; i < pool->options.connections; i++) {
        live += db_conn_is_live(pool->conns[i]);
        busy += pool->conns[i]->state == DB_CONN_BUSY;
    }
    stats_set_label(pool->db->stats, DB_IN_USE, pool->name, busy);
    stats_set_label(pool->db->stats, DB_OPEN, pool->name, live);
}

static void on_idle(void *arg)
{
    pool_dispatch(arg);
}

static struct db_conn *idle_conn(const struct db_pool *pool)
{
    for (uint32_t i = 0; i < pool->options.connections; i++)
        if (pool->conns[i]->state == DB_CONN_IDLE)
            return pool->conns[i];
    return NULL;
}

static void unqueue(struct db_work *work)
{
    TAILQ_REMOVE(&work->pool->queue, work, queue_link);
    work->pool->queued_count--;
}

static void pool_dispatch(struct db_pool *pool)
{
    struct db_work *work;
    struct db_conn *conn;

    while ((work = TAILQ_FIRST(&pool->queue)) != NULL && (conn = idle_conn(pool)) != NULL) {
        unqueue(work);
        work->state = DB_WORK_SENT;
        work->conn = conn;
        if (work->attempts == 0)
            stats_observe_ms(pool->db->stats, DB_WAIT,
                             (double)(loop_now_ms(pool->db->loop) - work->start_ms));
        db_conn_run(conn, work);
    }
}

void db_pool_enqueue(struct db_pool *pool, struct db_work *work, bool is_first)
{
    work->state = DB_WORK_QUEUED;
    if (is_first)
        TAILQ_INSERT_HEAD(&pool->queue, work, queue_link);
    else
        TAILQ_INSERT_TAIL(&pool->queue, work, queue_link);
    pool->queued_count++;
}

void db_pool_forget_prepared(struct db_pool *pool)
{
    for (uint32_t i = 0; i < pool->options.connections; i++)
        pool->conns[i]->is_stale = true;
}

void db_pool_forget(struct db_work *work)
{
    struct db_pool *pool = work->pool;

    if (work->state == DB_WORK_QUEUED)
        unqueue(work);
    TAILQ_REMOVE(work->state == DB_WORK_REFUSED ? &pool->refused : &pool->started, work, link);
}

static bool is_full(const struct db_pool *pool)
{
    size_t idle_count = 0;

    for (uint32_t i = 0; i < pool->options.connections; i++)
        idle_count += pool->conns[i]->state == DB_CONN_IDLE;
    return pool->queued_count >= pool->options.queue_max + idle_count;
}

void db_work_run(struct db_work *work, db_done_fn *done, void *arg)
{
    struct db_pool *pool = work->pool;

    work->done = done;
    work->arg = arg;
    work->start_ms = loop_now_ms(pool->db->loop);
    work->deadline_ms = work->start_ms + pool->options.work_timeout_ms;
    TAILQ_REMOVE(&pool->created, work, link);
    if (work->err.kind == ERR_NONE && work->query_count > 0 && is_full(pool)) {
        err_set(&work->err, ERR_EXHAUSTED, "database: %zu works wait in pool '%s' already",
                pool->queued_count, pool->name);
        work->err.retry_after_ms = RETRY_AFTER_MS;
    }
    db_pool_kick(pool);
    if (work->err.kind != ERR_NONE || work->query_count == 0) {
        work->state = DB_WORK_REFUSED;
        TAILQ_INSERT_TAIL(&pool->refused, work, link);
        return;
    }
    TAILQ_INSERT_TAIL(&pool->started, work, link);
    db_pool_enqueue(pool, work, false);
    if (!loop_timer_is_active(pool->deadline))
        loop_timer_start(pool->deadline, pool->options.work_timeout_ms, 0);
}

static bool has_works(const struct db_pool *pool)
{
    return !TAILQ_EMPTY(&pool->started) || !TAILQ_EMPTY(&pool->refused) || !TAILQ_EMPTY(&pool->created);
}

static void cancel_works(struct db_pool *pool)
{
    struct db_work *work;

    while ((work = TAILQ_FIRST(&pool->started)) != NULL) {
        db_work_fail_text(work, ERR_CANCELED, "the database is being closed");
        db_work_finish(work);
    }
    finish_refused(pool);
    while ((work = TAILQ_FIRST(&pool->created)) != NULL) {
        TAILQ_REMOVE(&pool->created, work, link);
        db_work_free(&work);
    }
}

static void pool_free(struct db_pool *pool)
{
    kick_free(&pool->kick);
    loop_timer_free(&pool->deadline);
    free(pool->conns);
    free(pool->name);
    free(pool);
}

/* A done() may start another work, even in another pool: until there is none. */
static void cancel_all(struct db *db)
{
    struct db_pool *pool;
    bool is_any = true;

    while (is_any) {
        is_any = false;
        LIST_FOREACH(pool, &db->pools, link)
        {
            is_any = is_any || has_works(pool);
            cancel_works(pool);
        }
    }
}

void db_free(struct db **db_at)
{
    struct db *db = *db_at;
    struct db_listener *listener;
    struct db_pool *pool;

    *db_at = NULL;
    if (db == NULL)
        return;
    while ((listener = LIST_FIRST(&db->listeners)) != NULL)
        db_listener_detach(listener);
    LIST_FOREACH(pool, &db->pools, link)
    {
        for (uint32_t i = 0; i < pool->options.connections; i++)
            db_conn_free(&pool->conns[i]);
        pool->options.connections = 0;
    }
    cancel_all(db);
    while ((pool = LIST_FIRST(&db->pools)) != NULL) {
        LIST_REMOVE(pool, link);
        pool_free(pool);
    }
    stats_free(&db->stats);
    db_conninfo_done(&db->conninfo);
    free(db->search_path);
    free(db);
}
