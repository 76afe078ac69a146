/* SPDX-License-Identifier: Apache-2.0 */
/* db_conn.h - one connection: how it comes up, and what is expected on it. For the db*.c files only.
 *
 * States: CLOSED -> RESOLVING -> CONNECTING -> PREPARING -> IDLE <-> BUSY; from each of them back to CLOSED, and
 * from CLOSED up again by itself, after a pause with full jitter. */
#ifndef GUICHET_IO_DB_CONN_H
#define GUICHET_IO_DB_CONN_H

#include "io/db_internal.h"

enum db_conn_state {
    DB_CONN_CLOSED,
    DB_CONN_RESOLVING,
    DB_CONN_CONNECTING,
    DB_CONN_PREPARING,
    DB_CONN_IDLE,
    DB_CONN_BUSY
};

/* One per query sent, in the order of the answers. */
enum db_step_kind {
    DB_STEP_SETTINGS,
    DB_STEP_LISTEN,
    DB_STEP_DEALLOCATE,
    DB_STEP_PREPARE,
    DB_STEP_BEGIN,
    DB_STEP_STATEMENT,
    DB_STEP_COMMIT,
    DB_STEP_ROLLBACK,
    DB_STEP_SYNC
};
struct db_step {
    enum db_step_kind kind;
    size_t index; /* of the work's query */
};

struct db_conn_owner {
    void (*on_idle)(void *arg);  /* it can take work */
    void (*on_moved)(void *arg); /* its state is another; nothing may be started from here */
    void (*on_notify)(void *arg, const char *channel, const char *payload); /* may be NULL */
};

struct db_resolving;

struct db_conn {
    struct db *db;
    const struct db_conn_owner *owner;
    void *owner_arg;
    const char *role; /* the pool's name, or "listen"; label of its figures */
    uint32_t statement_timeout_ms;
    const char *channel; /* LISTENs to it; NULL: none */

    enum db_conn_state state;
    PGconn *pg;
    struct loop_poll *poll;
    int watched;              /* what the poll waits for, once the connection is up */
    struct loop_timer *timer; /* CLOSED: the next attempt; while coming up: the time for it */
    struct db_resolving *resolving;
    uint32_t attempts; /* that failed, in a row */

    struct db_work *work;
    struct db_step *steps;
    size_t step_count, step_next, step_size;
    bool is_in_transaction; /* BEGIN was answered, COMMIT was not */
    const char **prepared;  /* names; they live as long as the statements */
    size_t prepared_count, prepared_size;
    bool is_stale; /* what is prepared is out of date */
    struct err setup_err;

    bool is_in_callback; /* the poll's callback is on the stack … */
    bool is_doomed;      /* … so freeing waits for its end        */
};

struct db_conn *db_conn_new(struct db *db, const struct db_conn_owner *owner, void *owner_arg,
                            const char *role, uint32_t statement_timeout_ms, const char *channel);
void db_conn_free(struct db_conn **conn); /* its work, if any, is left to the caller */
void db_conn_move(struct db_conn *conn, enum db_conn_state state); /* the only writer of `state` */
void db_conn_run(struct db_conn *conn, struct db_work *work); /* of an IDLE one; its end is db_work_end() */
void db_conn_drop(struct db_conn *conn,
                  const struct err *err);         /* closes; ends its work; comes up again by itself */
bool db_conn_is_live(const struct db_conn *conn); /* IDLE or BUSY */
void db_conn_settled(struct db_conn *conn);       /* the settings were answered */

bool db_pipeline_send_settings(struct db_conn *conn);
bool db_pipeline_send_work(struct db_conn *conn, struct db_work *work);
/* Takes what has arrived. false: the connection is of no more use, *err says why. */
bool db_pipeline_read(struct db_conn *conn, struct err *err);
void db_pipeline_reset(struct db_conn *conn); /* forgets all expectations */

#endif
