/* SPDX-License-Identifier: Apache-2.0 */
/* db.h - PostgreSQL without blocking (libpq): pools by class, prepared statements, transactions of
 * one round trip, LISTEN, migrations. The only user of libpq.
 *
 * A db_work is a list of statements that run in order in one transaction, sent as one
 * pipeline (BEGIN … COMMIT and Sync in one round trip). A list of one is sent without
 * BEGIN. All results are kept until done() returns. Serialisation failures and
 * deadlocks (40001, 40P01) are tried again here, with jitter, up to 5 times. A
 * connection lost before the pipeline's end gives ERR_UNAVAILABLE, and what became of
 * a COMMIT is then unknown: callers are idempotent.
 *
 * Errors: 23505 unique -> CONFLICT, other 22xxx/23xxx -> INVALID, 57014 -> DEADLINE,
 * P0001 raised by our functions: the HINT is the kind's name ("not_found"), the
 * MESSAGE the text; connection, 53xxx and 57Pxx -> UNAVAILABLE; the rest INTERNAL.
 * The SQLSTATE is in the result. */
#ifndef GUICHET_IO_DB_H
#define GUICHET_IO_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/id.h"
#include "core/str.h"
#include "io/loop.h"
#include "io/worker.h"
#include "ops/stats.h"

#define DB_STAT_COUNT 8
extern const struct stat_info db_stats[DB_STAT_COUNT];

struct db;          /* one database, several pools */
struct db_pool;
struct db_work;

struct db_pool_options {
    const char *name;                  /* "ingest", "short", "long" */
    uint32_t connections;
    uint32_t statement_timeout_ms;     /* the server's, set per session */
    uint32_t work_timeout_ms;          /* ours, from start to done, queueing included */
    uint32_t queue_max;                /* works waiting for a connection; past it ERR_EXHAUSTED */
};

struct db_options {
    const char *conninfo;              /* postgresql://… or key=value; keepalives are added */
    const char *application;           /* application_name */
    const char *search_path;           /* the service's own schema */
    bool allow_fsync_off;              /* "unsafe_allow_fsync_off": otherwise a server with fsync or
                                          full_page_writes off is refused, by name */
};

/* Scalars go as text (but BYTES and TIME_US), so $n may be cast to whatever the text can be: jsonb, any integer.
 * Arrays go in binary: their $n is text[], bytea[], int8[], int4[], bool[], uuid[] or timestamptz[] and nothing
 * else ($1::text[]::jsonb[] where another type is wanted). NUL in a text, a bad UUID: the work ends INVALID. */
enum db_type { DB_TEXT, DB_BYTES, DB_I64, DB_I32, DB_BOOL, DB_UUID, DB_TIME_US /* timestamptz */,
               DB_TEXT_ARRAY, DB_BYTES_ARRAY, DB_I64_ARRAY, DB_I32_ARRAY, DB_BOOL_ARRAY, DB_UUID_ARRAY,
               DB_TIME_US_ARRAY };

struct db_param {
    enum db_type type;
    bool is_null;
    struct str_view text;              /* TEXT, BYTES; UUID as its 36 characters, "" is NULL */
    int64_t number;                    /* I64, I32, BOOL, TIME_US (0 is NULL) */
    const void *items;                 /* arrays: struct str_view[] for TEXT, BYTES and UUID (data NULL is
                                          NULL, for UUID also ""), int64_t[] for I64, I32, BOOL and TIME_US
                                          (0 is NULL for TIME_US) */
    size_t count;
};

#define DB_PARAM_TEXT(value)  ((struct db_param){ .type = DB_TEXT, .text = str_view_of(value) })
#define DB_PARAM_UUID(value)  ((struct db_param){ .type = DB_UUID, .text = str_view_of(value) })
#define DB_PARAM_BYTES(view)  ((struct db_param){ .type = DB_BYTES, .text = (view) })
#define DB_PARAM_I64(value)   ((struct db_param){ .type = DB_I64, .number = (int64_t)(value) })
#define DB_PARAM_I32(value)   ((struct db_param){ .type = DB_I32, .number = (int64_t)(value) })
#define DB_PARAM_BOOL(value)  ((struct db_param){ .type = DB_BOOL, .number = (value) })
#define DB_PARAM_TIME(us)     ((struct db_param){ .type = DB_TIME_US, .number = (us) })
#define DB_PARAM_NULL         ((struct db_param){ .type = DB_TEXT, .is_null = true })

struct db_statement {                  /* lives as long as the db; an unnamed one until done() */
    const char *name;                  /* prepared under this name on each connection, at first use; NULL: not */
    const char *sql;                   /* with $1::type casts */
};

struct db_result;                      /* of one statement */

typedef void db_done_fn(void *arg, struct db_work *work, const struct err *err);   /* ERR_NONE: committed */

bool db_new(struct loop *loop, struct worker *worker, const struct db_options *options, struct db **ret_db,
            struct err *err) MUST_USE;
void db_free(struct db **db);   /* not from a done() of its own; works under way end with ERR_CANCELED here */
struct db_pool *db_pool_new(struct db *db, const struct db_pool_options *options);  /* freed with db */
bool db_is_ready(const struct db *db);              /* every pool has a live connection */
bool db_check(const struct db *db, struct err *err);/* the same, and why not: err may be NULL */
/* Before the loop runs (blocks, 3 s at most): ERR_CONFIG when the server is refused, ERR_UNAVAILABLE when it
 * is down. */
bool db_check_server(const struct db_options *options, struct err *err) MUST_USE;

/* Starts the list; parameters are copied. db_work_run() consumes the work: done() comes exactly once, from the loop. */
struct db_work *db_work_new(struct db_pool *pool);
void db_work_add(struct db_work *work, const struct db_statement *statement,
                 const struct db_param *params, size_t count);
void db_work_run(struct db_work *work, db_done_fn *done, void *arg);
struct arena *db_work_arena(struct db_work *work);  /* lives as long as the work: until done() returns */

/* Inside done() with ERR_NONE: the result of the index-th statement. Rows come in binary format. */
const struct db_result *db_work_result(const struct db_work *work, size_t index);
const char *db_work_sqlstate(const struct db_work *work);          /* "" when none */
size_t db_work_failed_index(const struct db_work *work);           /* which statement; SIZE_MAX unknown */
size_t db_rows(const struct db_result *result);
bool db_is_null(const struct db_result *result, size_t row, size_t column);
int64_t db_i64(const struct db_result *result, size_t row, size_t column);   /* int2/4/8, bool; NULL is 0 */
int64_t db_time_us(const struct db_result *result, size_t row, size_t column); /* timestamptz; NULL is 0 */
double db_f64(const struct db_result *result, size_t row, size_t column);
struct str_view db_bytes(const struct db_result *result, size_t row, size_t column); /* text, bytea; borrowed */
/* text or uuid as a NUL-terminated string in the work's arena; NULL is "" */
char *db_text(const struct db_work *work, const struct db_result *result, size_t row, size_t column);

/* LISTEN on a connection of its own, re-established with jitter; also called once after each (re)connect. */
typedef void db_notify_fn(void *arg, const char *channel, const char *payload);
struct db_listener;
struct db_listener *db_listen(struct db *db, const char *channel, db_notify_fn *on_notify, void *arg);
void db_listener_free(struct db_listener **listener);

/* Forward-only migrations: NNNN_what.sql of `files`, applied in order under an advisory lock, each in
 * its own transaction with its checksum recorded in <schema>.migration. A known file whose checksum
 * changed, or a database newer than the files, is ERR_CONFIG. Errors name file and line,
 * the caller puts the schema in front. Blocking: for guichetctl, before any loop runs. */
struct db_migration { uint32_t number; const char *name; const char *sql; };
bool db_migrate(const char *conninfo, const char *schema, const struct db_migration *migrations, size_t count,
                uint32_t *ret_applied, struct err *err) MUST_USE;
/* Statement that reads the newest applied number; services compare it with their own at start: older is
 * "run guichetctl migrate", newer by one or more is accepted only if marked so (0 unknown newer: refuse). */
extern const struct db_statement db_migration_version;

#endif
