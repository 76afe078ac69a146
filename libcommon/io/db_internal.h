/* SPDX-License-Identifier: Apache-2.0 */
/* db_internal.h - what the db*.c files share: the connection, its expected answers, the queue. Not for others.
 *
 * db.c holds pools and their queues, db_conn.c the life of one connection, db_pipeline.c what is sent over it and
 * what must come back, db_work.c one unit of work, db_conninfo.c where the server is. */
#ifndef GUICHET_IO_DB_INTERNAL_H
#define GUICHET_IO_DB_INTERNAL_H

#include <sys/queue.h>

#include <libpq-fe.h>

#include "core/arena.h"
#include "io/db.h"
#include "ops/stats.h"

#define DB_SQLSTATE_BYTES 6
#define DB_CONNINFO_MAX 80

struct db_conn;

/* Connection words, ours added where the operator gave none. */
struct db_conninfo {
    char *keywords[DB_CONNINFO_MAX + 1];
    char *values[DB_CONNINFO_MAX + 1];
    size_t count;
};

bool db_conninfo_parse(const char *text, const char *application, struct db_conninfo *ret_info,
                       struct err *err);
void db_conninfo_done(struct db_conninfo *info);
const char *db_conninfo_get(const struct db_conninfo *info, const char *keyword); /* "" when unset */
void db_conninfo_set(struct db_conninfo *info, const char *keyword, const char *value);
bool db_conninfo_has_names(const struct db_conninfo *info); /* a host that needs a name server */
/* A copy in which every name is replaced by its addresses. Blocks: for the worker. */
bool db_conninfo_resolve(const struct db_conninfo *info, struct db_conninfo *ret_info, struct err *err);
PGconn *db_conninfo_connect(const struct db_conninfo *info); /* blocks; PQstatus() tells */
void db_conninfo_copy(const struct db_conninfo *info, struct db_conninfo *ret_info);

enum db_stat { DB_WORKS, DB_FAILURES, DB_WAIT, DB_TIME, DB_IN_USE, DB_OPEN, DB_LOST, DB_RETRIES };

struct db_listener;
TAILQ_HEAD(db_work_list, db_work);

struct db {
    struct loop *loop;
    struct worker *worker;
    struct db_conninfo conninfo;
    char *search_path;
    bool is_fsync_off_allowed;
    struct stats *stats;
    LIST_HEAD(db_pool_list, db_pool) pools;
    LIST_HEAD(db_listener_list, db_listener) listeners;
    struct err refusal; /* why connections do not come up; ERR_NONE once one did */
};

struct db_pool {
    struct db *db;
    LIST_ENTRY(db_pool) link;
    struct db_pool_options options;
    char *name;
    struct db_conn **conns;
    struct db_work_list created; /* not yet run                                          */
    struct db_work_list started; /* run and not yet done, oldest first: deadlines in order */
    struct db_work_list queue;   /* of these, those that wait for a connection           */
    struct db_work_list refused; /* failed before they were queued; done() comes next turn */
    size_t queued_count;
    struct db_kick *kick; /* hands the queue to connections, from the loop        */
    struct loop_timer *deadline;
};

enum db_work_state {
    DB_WORK_NEW,
    DB_WORK_REFUSED,
    DB_WORK_QUEUED,
    DB_WORK_SENT,
    DB_WORK_PAUSED,
    DB_WORK_ENDED
};

struct db_query {
    const struct db_statement *statement;
    const char **values;
    int *lengths;
    int *formats;
    int param_count;
    PGresult *result;
};

struct db_work {
    struct db_pool *pool;
    TAILQ_ENTRY(db_work) link; /* created, refused or started */
    TAILQ_ENTRY(db_work) queue_link;
    enum db_work_state state;
    struct arena *arena;
    struct db_query *queries;
    size_t query_count, query_size;
    db_done_fn *done;
    void *arg;
    uint64_t start_ms, deadline_ms;
    uint32_t attempts;
    struct loop_timer *pause; /* before the next attempt; NULL until there is one */
    struct db_conn *conn;     /* while SENT */
    struct err err;
    char sqlstate[DB_SQLSTATE_BYTES];
    size_t failed_index;
    bool is_stale; /* failed because what was prepared is out of date */
};

void db_work_end(struct db_work *work);    /* its pipeline is over: try again, or done() */
void db_work_finish(struct db_work *work); /* done() and free */
void db_work_fail(struct db_work *work, const PGresult *result, size_t index); /* the first error counts */
void db_work_fail_text(struct db_work *work, enum err_kind kind, const char *text);
void db_work_free(struct db_work **work);

void db_pool_kick(struct db_pool *pool);
void db_pool_enqueue(struct db_pool *pool, struct db_work *work, bool is_first);
bool db_pool_is_live(const struct db_pool *pool);      /* at least one connection is up */
void db_pool_forget_prepared(struct db_pool *pool);    /* each connection, before its next work */
void db_pool_forget(struct db_work *work);             /* takes it out of the pool's lists */
void db_listener_detach(struct db_listener *listener); /* the db is going */

/* PostgreSQL's words to ours; `place` (a statement's name) may be NULL. */
void db_error_of(const PGresult *result, const char *place, struct err *err,
                 char ret_sqlstate[DB_SQLSTATE_BYTES]);
bool db_error_is_passing(const char *sqlstate);           /* 40001, 40P01: the same again may succeed */
bool db_error_is_stale(const PGresult *result);           /* a prepared statement is out of date */
void db_error_of_conn(const PGconn *pg, struct err *err); /* UNAVAILABLE, the text on one line */
/* ERR_CONFIG, by name, when a setting that durability needs is off. */
bool db_error_check_durable(const char *fsync, const char *full_page_writes, struct err *err);

bool db_param_encode(struct arena *arena, const struct db_param *param, const char **ret_value,
                     int *ret_length, int *ret_format, struct err *err);

#endif
