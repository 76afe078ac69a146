/* SPDX-License-Identifier: Apache-2.0 */
/* spool_private.h - what the files of the spool share: spool_db.c and spool_adopt.c run on the worker's thread,
 * spool.c on the loop; a job belongs to one of them at a time. */
#ifndef GUICHET_IO_SPOOL_PRIVATE_H
#define GUICHET_IO_SPOOL_PRIVATE_H

#include <sqlite3.h>

#include "io/spool.h"

enum { SPOOL_NAME_MAX = 128, SPOOL_PATH_MAX = 4096 };

/* ---- spool_db.c: one file, blocking ---- */

struct spool_db {
    int fd; /* holds the lock; closed after SQLite, whose own locks would go with it */
    sqlite3 *db;
    sqlite3_stmt *insert, *erase, *attempt, *voids, *events, *reports;
    int64_t last_seq;
    bool is_suspect; /* a write or read failed in a way that puts what is in the file in doubt */
};

enum spool_trouble {
    SPOOL_TROUBLE_NONE,
    SPOOL_TROUBLE_LOCKED,
    SPOOL_TROUBLE_GONE,
    SPOOL_TROUBLE_DAMAGED,
    SPOOL_TROUBLE_VERSION,
    SPOOL_TROUBLE_OTHER,  /* no descriptors, no memory, a read that failed: another try may do */
    SPOOL_TROUBLE_DENIED, /* it belongs to somebody else */
};

struct spool_scope {
    const struct spool_account *accounts;
    size_t account_count;
    uint32_t lanes;
};

struct spool_counts {
    uint64_t rows, events, reports, bytes;
    uint64_t *lanes; /* of each account's lanes, account by account */
    uint64_t *account_events;
    int64_t *account_oldest_us;
};

bool spool_db_create(struct spool_db *db, const char *dir, const char *name, const char *connector,
                     struct err *err) MUST_USE;
/* *ret_version is the format found, for SPOOL_TROUBLE_VERSION. On trouble the file is left locked only when it is
 * DAMAGED or VERSION: spool_db_close() lets it go. */
enum spool_trouble spool_db_open(struct spool_db *db, const char *dir, const char *name, int *ret_version,
                                 struct err *err) MUST_USE;
void spool_db_close(struct spool_db *db);
void spool_db_remove(struct spool_db *db, const char *dir, const char *name); /* closes and deletes */

bool spool_db_prepare(struct spool_db *db, const char *text, sqlite3_stmt **ret_statement,
                      struct err *err) MUST_USE;
bool spool_db_begin(struct spool_db *db, struct err *err) MUST_USE;
bool spool_db_commit(struct spool_db *db, struct err *err) MUST_USE;
void spool_db_rollback(struct spool_db *db);
bool spool_db_insert(struct spool_db *db, const struct spool_account *account, const struct spool_row *row,
                     struct err *err) MUST_USE;
bool spool_db_erase(struct spool_db *db, int64_t seq, bool *ret_was_there, struct err *err) MUST_USE;
bool spool_db_attempt(struct spool_db *db, int64_t seq, uint32_t attempts, struct err *err) MUST_USE;
/* Appends to the page; *ret_is_full when a limit ended it. */
bool spool_db_read(struct spool_db *db, uint32_t file, const struct spool_scope *scope,
                   const struct spool_query *query, struct spool_page *page, size_t *bytes_left,
                   bool *ret_is_full, struct err *err) MUST_USE;
int64_t spool_db_oldest(struct spool_db *db);                      /* 0: there is none */
bool spool_db_trim(struct spool_db *db, struct err *err) MUST_USE; /* gives the disk back; only when empty */
bool spool_db_error(struct spool_db *db, const char *what, struct err *err);
bool spool_db_is_damaged(
    const struct spool_db *db); /* by the last error: the file itself, no passing trouble */
bool spool_find_account(const struct spool_scope *scope, const char *tenant, const char *id,
                        uint32_t *ret_index) MUST_USE;
/* The row a statement stands on: `SELECT` SPOOL_COLUMNS. Texts and bytes are copied into the arena. */
#define SPOOL_COLUMNS                                                                                        \
    "seq, kind, tenant, account, thread_key, attempts, at_us, until_us, boot_id, boot_lane, boot_n, "        \
    "boot_last, sum, bytes"
bool spool_row_take(sqlite3_stmt *statement, const struct spool_scope *scope, struct arena *arena,
                    struct spool_row *ret_row) MUST_USE;
bool spool_path(const char *dir, const char *name, const char *suffix,
                char ret_path[SPOOL_PATH_MAX]) MUST_USE;
void spool_sync_dir(const char *dir);

/* ---- spool_counts.c ---- */

void spool_counts_init(struct spool_counts *counts, const struct spool_scope *scope);
void spool_counts_done(struct spool_counts *counts);
void spool_counts_add_row(struct spool_counts *counts, const struct spool_scope *scope,
                          const struct spool_row *row, bool is_in);
void spool_counts_add(struct spool_counts *to, const struct spool_scope *scope,
                      const struct spool_counts *from);

/* ---- spool_adopt.c: files of earlier boots, blocking ---- */

/* The names of all spool files there, sorted; each freed by the caller. */
bool spool_list(const char *dir, char ***ret_names, size_t *ret_count, struct err *err) MUST_USE;
/* *ret_is_ours false: a row is of an account that is not in scope. */
bool spool_db_count(struct spool_db *db, const struct spool_scope *scope, struct spool_counts *counts,
                    bool *ret_is_ours, struct err *err) MUST_USE;
/* Copies what can be read of a damaged file into `own`, counted in *saved (none when saved->rows is 0), and
 * renames it. Closes db in any case. */
bool spool_put_aside(struct spool_db *db, const char *dir, const char *name, enum spool_trouble trouble,
                     int version, const struct spool_scope *scope, struct spool_db *own,
                     struct spool_counts *saved, struct err *err) MUST_USE;

#endif
