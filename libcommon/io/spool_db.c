/* SPDX-License-Identifier: Apache-2.0 */
/* spool_db.c - one spool file: SQLite in WAL mode with synchronous=FULL, so that each commit is an fsync.
 *
 * The flock on the file is our own: SQLite's locks are POSIX ones, gone with the first close() of any descriptor of
 * the file, so the descriptor that holds the flock is closed last. A new file gets its lock before it gets its
 * name, so that nobody can take it for an orphan. SQLite has no checksums in its pages: each row carries its own. */
#include "io/spool_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/duration.h"

enum {
    COLUMN_SEQ,
    COLUMN_KIND,
    COLUMN_TENANT,
    COLUMN_ACCOUNT,
    COLUMN_THREAD,
    COLUMN_ATTEMPTS,
    COLUMN_AT,
    COLUMN_UNTIL,
    COLUMN_BOOT,
    COLUMN_LANE,
    COLUMN_N,
    COLUMN_LAST,
    COLUMN_SUM,
    COLUMN_BYTES
};

static const char settings[] = "PRAGMA locking_mode = EXCLUSIVE;"
                               "PRAGMA journal_mode = WAL;"
                               "PRAGMA synchronous = FULL;"
                               "PRAGMA wal_autocheckpoint = 512;"
                               "PRAGMA journal_size_limit = 4194304;"
                               "PRAGMA temp_store = MEMORY;"
                               "PRAGMA cache_size = -1024;";

static const char schema[] =
    "CREATE TABLE header (format INTEGER NOT NULL, connector TEXT NOT NULL, made_at_us INTEGER NOT NULL);"
    "CREATE TABLE spooled ("
    "  seq INTEGER PRIMARY KEY, kind INTEGER NOT NULL, tenant TEXT NOT NULL, account TEXT NOT NULL,"
    "  thread_key INTEGER NOT NULL, attempts INTEGER NOT NULL, at_us INTEGER NOT NULL, until_us INTEGER NOT NULL,"
    "  boot_id TEXT NOT NULL, boot_lane INTEGER NOT NULL, boot_n INTEGER NOT NULL, boot_last INTEGER NOT NULL,"
    "  sum INTEGER NOT NULL, bytes BLOB NOT NULL) STRICT;"
    "CREATE INDEX spooled_drain ON spooled (kind, tenant, seq, thread_key, account);";

static const char insert_text[] = "INSERT INTO spooled (" SPOOL_COLUMNS
                                  ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
static const char erase_text[] = "DELETE FROM spooled WHERE seq = ?1";
static const char attempt_text[] = "UPDATE spooled SET attempts = ?2 WHERE seq = ?1";
static const char voids_text[] =
    "SELECT " SPOOL_COLUMNS " FROM spooled WHERE kind = 2 AND tenant = ?1 ORDER BY seq LIMIT ?2";
static const char events_text[] =
    "SELECT " SPOOL_COLUMNS " FROM spooled WHERE kind = 1 AND tenant = ?1 AND thread_key % ?3 = ?4"
    " AND thread_key NOT IN (SELECT value FROM json_each(?5)) AND account NOT IN (SELECT value FROM json_each(?6))"
    " ORDER BY seq LIMIT ?2";
static const char reports_text[] =
    "SELECT " SPOOL_COLUMNS " FROM spooled WHERE kind = 3 AND seq > ?7"
    " AND (until_us < ?8 OR account NOT IN (SELECT value FROM json_each(?6))) ORDER BY seq LIMIT ?2";

/* ---- errors ---- */

bool spool_db_error(struct spool_db *db, const char *what, struct err *err)
{
    int code = db->db != NULL ? sqlite3_extended_errcode(db->db) : SQLITE_CANTOPEN;
    int base = code & 0xff;

    if (base == SQLITE_IOERR || base == SQLITE_CORRUPT || base == SQLITE_NOTADB || base == SQLITE_CANTOPEN)
        db->is_suspect = true;
    return err_set(err, base == SQLITE_FULL ? ERR_EXHAUSTED : ERR_UNAVAILABLE, "spool: %s: %s (%d)", what,
                   db->db != NULL ? sqlite3_errmsg(db->db) : "no file", code);
}

static bool run(struct spool_db *db, const char *text, struct err *err)
{
    if (sqlite3_exec(db->db, text, NULL, NULL, NULL) != SQLITE_OK)
        return spool_db_error(db, "writing", err);
    return true;
}

static bool read_number(struct spool_db *db, const char *text, int64_t *ret_value)
{
    sqlite3_stmt *statement = NULL;
    bool is_there = sqlite3_prepare_v2(db->db, text, -1, &statement, NULL) == SQLITE_OK &&
                    sqlite3_step(statement) == SQLITE_ROW;

    if (is_there)
        *ret_value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return is_there;
}

/* ---- paths ---- */

bool spool_path(const char *dir, const char *name, const char *suffix, char ret_path[SPOOL_PATH_MAX])
{
    return snprintf(ret_path, SPOOL_PATH_MAX, "%s/%s%s", dir, name, suffix) < SPOOL_PATH_MAX;
}

/* A name is durable when its folder is. */
void spool_sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

/* ---- opening ---- */

bool spool_db_prepare(struct spool_db *db, const char *text, sqlite3_stmt **ret_statement, struct err *err)
{
    if (sqlite3_prepare_v3(db->db, text, -1, SQLITE_PREPARE_PERSISTENT, ret_statement, NULL) != SQLITE_OK)
        return spool_db_error(db, "opening", err);
    return true;
}

static bool prepare_all(struct spool_db *db, struct err *err)
{
    return spool_db_prepare(db, insert_text, &db->insert, err) &&
           spool_db_prepare(db, erase_text, &db->erase, err) &&
           spool_db_prepare(db, attempt_text, &db->attempt, err) &&
           spool_db_prepare(db, voids_text, &db->voids, err) &&
           spool_db_prepare(db, events_text, &db->events, err) &&
           spool_db_prepare(db, reports_text, &db->reports, err);
}

static bool open_sqlite(struct spool_db *db, const char *path, struct err *err)
{
    if (sqlite3_open_v2(path, &db->db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        return spool_db_error(db, "opening", err);
    sqlite3_extended_result_codes(db->db, 1);
    return run(db, settings, err);
}

static bool write_header(struct spool_db *db, const char *connector, struct err *err)
{
    sqlite3_stmt *statement = NULL;
    bool is_written;

    if (!run(db, "BEGIN IMMEDIATE", err) || !run(db, schema, err) ||
        !spool_db_prepare(db, "INSERT INTO header VALUES (?1, ?2, ?3)", &statement, err))
        return false;
    sqlite3_bind_int(statement, 1, SPOOL_FORMAT);
    sqlite3_bind_text(statement, 2, connector, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(statement, 3, time_now_us());
    is_written = sqlite3_step(statement) == SQLITE_DONE;
    sqlite3_finalize(statement);
    if (!is_written)
        return spool_db_error(db, "opening", err);
    return run(db, "COMMIT", err);
}

bool spool_db_create(struct spool_db *db, const char *dir, const char *name, const char *connector,
                     struct err *err)
{
    char path[SPOOL_PATH_MAX], new_path[SPOOL_PATH_MAX];

    *db = (struct spool_db){ .fd = -1 };
    if (!spool_path(dir, name, "", path) || !spool_path(dir, name, ".new", new_path))
        return err_set(err, ERR_CONFIG, "spool_dir '%s' is too long", dir);
    db->fd = open(new_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (db->fd < 0)
        return err_set(err, ERR_UNAVAILABLE, "spool file '%s': %s", new_path, strerror(errno));
    if (flock(db->fd, LOCK_EX | LOCK_NB) != 0 || rename(new_path, path) != 0) {
        err_set(err, ERR_UNAVAILABLE, "spool file '%s': %s", path, strerror(errno));
        unlink(new_path);
        spool_db_close(db);
        return false;
    }
    spool_sync_dir(dir);
    if (open_sqlite(db, path, err) && write_header(db, connector, err) && prepare_all(db, err))
        return true;
    spool_db_remove(db, dir, name);
    return false;
}

/* The lock of a file that was deleted meanwhile is worth nothing. */
static enum spool_trouble lock_file(struct spool_db *db, const char *path, struct err *err)
{
    struct stat here, there;

    db->fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (db->fd < 0) {
        int code = errno;

        err_set(err, ERR_UNAVAILABLE, "spool file '%s': %s", path, strerror(code));
        if (code == ENOENT)
            return SPOOL_TROUBLE_GONE;
        return code == EACCES || code == EPERM || code == ELOOP ? SPOOL_TROUBLE_DENIED : SPOOL_TROUBLE_OTHER;
    }
    if (flock(db->fd, LOCK_EX | LOCK_NB) != 0)
        return SPOOL_TROUBLE_LOCKED;
    if (fstat(db->fd, &here) != 0 || stat(path, &there) != 0 || here.st_ino != there.st_ino)
        return SPOOL_TROUBLE_GONE;
    return SPOOL_TROUBLE_NONE;
}

bool spool_db_is_damaged(const struct spool_db *db)
{
    int code = db->db != NULL ? sqlite3_errcode(db->db) & 0xff : SQLITE_CANTOPEN;

    return code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
}

/* No descriptors, no memory, a read that failed: it may well be whole. Only SQLite's own word makes it damaged. */
static enum spool_trouble trouble_of(struct spool_db *db, struct err *err)
{
    bool is_damaged = spool_db_is_damaged(db);

    if (err->kind == ERR_NONE)
        spool_db_error(db, "opening", err);
    return is_damaged ? SPOOL_TROUBLE_DAMAGED : SPOOL_TROUBLE_OTHER;
}

/* The check tells of a page that it could not read as of one that is damaged; the error's number says which. */
static enum spool_trouble trouble_told(const char *text)
{
    const char *at = strstr(text, "error code=");
    int code = at != NULL ? atoi(at + strlen("error code=")) & 0xff : SQLITE_CORRUPT;

    return code == SQLITE_CORRUPT || code == SQLITE_NOTADB ? SPOOL_TROUBLE_DAMAGED : SPOOL_TROUBLE_OTHER;
}

static enum spool_trouble check_pages(struct spool_db *db, struct err *err)
{
    sqlite3_stmt *statement = NULL;
    enum spool_trouble trouble = SPOOL_TROUBLE_NONE;
    const char *text;

    if (!spool_db_prepare(db, "PRAGMA quick_check(1)", &statement, err))
        return trouble_of(db, err);
    text = sqlite3_step(statement) == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : NULL;
    if (text == NULL) {
        trouble = trouble_of(db, err);
    } else if (strcmp(text, "ok") != 0) {
        err_set(err, ERR_UNAVAILABLE, "spool: %s", text);
        trouble = trouble_told(text);
    }
    sqlite3_finalize(statement);
    return trouble;
}

/* Both tables are there, and the header has its row. */
static enum spool_trouble read_header(struct spool_db *db, int64_t *ret_format, struct err *err)
{
    int64_t count = 0;
    int code;

    if (!read_number(
            db, "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('header', 'spooled')",
            &count))
        return trouble_of(db, err);
    if (count == 2 && read_number(db, "SELECT format FROM header", ret_format))
        return SPOOL_TROUBLE_NONE;
    code = sqlite3_errcode(db->db) & 0xff;
    if (count == 2 && code != SQLITE_OK && code != SQLITE_DONE && code != SQLITE_ERROR)
        return trouble_of(db, err);
    err_set(err, ERR_UNAVAILABLE, "spool: the header cannot be read");
    return SPOOL_TROUBLE_DAMAGED;
}

static enum spool_trouble check_file(struct spool_db *db, const char *path, int *ret_version, struct err *err)
{
    int64_t tables = 0, format = 0;
    enum spool_trouble trouble;

    if (!open_sqlite(db, path, err) || !read_number(db, "SELECT count(*) FROM sqlite_master", &tables))
        return trouble_of(db, err);
    if (tables == 0) /* made, and never written: as good as empty */
        return write_header(db, "", err) && prepare_all(db, err) ? SPOOL_TROUBLE_NONE : SPOOL_TROUBLE_OTHER;
    trouble = read_header(db, &format, err);
    if (trouble != SPOOL_TROUBLE_NONE)
        return trouble;
    if (format != SPOOL_FORMAT) {
        *ret_version = (int)format;
        err_set(err, ERR_UNAVAILABLE, "spool: the file has format %d, not %d", (int)format, SPOOL_FORMAT);
        return SPOOL_TROUBLE_VERSION;
    }
    trouble = check_pages(db, err);
    if (trouble != SPOOL_TROUBLE_NONE)
        return trouble;
    if (!prepare_all(db, err)) /* SQLITE_ERROR: its tables are not those of the format */
        return (sqlite3_errcode(db->db) & 0xff) == SQLITE_ERROR ? SPOOL_TROUBLE_DAMAGED : trouble_of(db, err);
    if (!read_number(db, "SELECT coalesce(max(seq), 0) FROM spooled", &db->last_seq))
        return trouble_of(db, err);
    db->is_suspect = false;
    return SPOOL_TROUBLE_NONE;
}

enum spool_trouble spool_db_open(struct spool_db *db, const char *dir, const char *name, int *ret_version,
                                 struct err *err)
{
    char path[SPOOL_PATH_MAX];
    enum spool_trouble trouble;

    *db = (struct spool_db){ .fd = -1 };
    if (!spool_path(dir, name, "", path))
        return SPOOL_TROUBLE_OTHER;
    trouble = lock_file(db, path, err);
    if (trouble == SPOOL_TROUBLE_NONE)
        trouble = check_file(db, path, ret_version, err);
    if (trouble != SPOOL_TROUBLE_NONE && trouble != SPOOL_TROUBLE_DAMAGED && trouble != SPOOL_TROUBLE_VERSION)
        spool_db_close(db);
    return trouble;
}

/* A file in doubt is left as it is on the disk: a last checkpoint would write what an fsync refused. */
void spool_db_close(struct spool_db *db)
{
    sqlite3_stmt *const all[] = { db->insert, db->erase, db->attempt, db->voids, db->events, db->reports };

    for (size_t i = 0; i < COUNT_OF(all); i++)
        sqlite3_finalize(all[i]);
    if (db->db != NULL && db->is_suspect)
        sqlite3_db_config(db->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
    sqlite3_close(db->db);
    if (db->fd >= 0)
        close(db->fd);
    *db = (struct spool_db){ .fd = -1 };
}

void spool_db_remove(struct spool_db *db, const char *dir, const char *name)
{
    static const char *const suffixes[] = { "-wal", "-shm", "-journal", "" };
    char path[SPOOL_PATH_MAX];

    for (size_t i = 0; i < COUNT_OF(suffixes); i++)
        if (spool_path(dir, name, suffixes[i], path))
            unlink(path);
    db->is_suspect = true; /* nothing to write back: it is gone */
    spool_db_close(db);
    spool_sync_dir(dir);
}

/* ---- writing ---- */

bool spool_db_begin(struct spool_db *db, struct err *err)
{
    return run(db, "BEGIN IMMEDIATE", err);
}

bool spool_db_commit(struct spool_db *db, struct err *err)
{
    return run(db, "COMMIT", err);
}

void spool_db_rollback(struct spool_db *db)
{
    if (!sqlite3_get_autocommit(db->db))
        sqlite3_exec(db->db, "ROLLBACK", NULL, NULL, NULL);
}

static bool step(struct spool_db *db, sqlite3_stmt *statement, const char *what, struct err *err)
{
    bool is_done = sqlite3_step(statement) == SQLITE_DONE;

    if (!is_done)
        spool_db_error(db, what, err);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return is_done;
}

/* FNV-1a, 64 bits: against bits that fell over, not against people. */
static int64_t sum_of(struct str_view bytes)
{
    uint64_t sum = 14695981039346656037u;

    for (size_t i = 0; i < bytes.len; i++)
        sum = (sum ^ (unsigned char)bytes.data[i]) * 1099511628211u;
    return (int64_t)sum;
}

bool spool_db_insert(struct spool_db *db, const struct spool_account *account, const struct spool_row *row,
                     struct err *err)
{
    sqlite3_stmt *insert = db->insert;

    sqlite3_bind_int64(insert, COLUMN_SEQ + 1, db->last_seq + 1);
    sqlite3_bind_int(insert, COLUMN_KIND + 1, (int)row->kind);
    sqlite3_bind_text(insert, COLUMN_TENANT + 1, account->tenant, -1, SQLITE_STATIC);
    sqlite3_bind_text(insert, COLUMN_ACCOUNT + 1, account->id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(insert, COLUMN_THREAD + 1, row->thread_key);
    sqlite3_bind_int64(insert, COLUMN_ATTEMPTS + 1, row->attempts);
    sqlite3_bind_int64(insert, COLUMN_AT + 1, row->at_us);
    sqlite3_bind_int64(insert, COLUMN_UNTIL + 1, row->until_us);
    sqlite3_bind_text(insert, COLUMN_BOOT + 1, row->boot_id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(insert, COLUMN_LANE + 1, row->boot_lane);
    sqlite3_bind_int64(insert, COLUMN_N + 1, (int64_t)row->boot_n);
    sqlite3_bind_int64(insert, COLUMN_LAST + 1, (int64_t)row->boot_last);
    sqlite3_bind_int64(insert, COLUMN_SUM + 1, sum_of(row->bytes));
    sqlite3_bind_blob64(insert, COLUMN_BYTES + 1, row->bytes.len > 0 ? row->bytes.data : "", row->bytes.len,
                        SQLITE_STATIC);
    if (!step(db, insert, "writing", err))
        return false;
    db->last_seq++;
    return true;
}

bool spool_db_erase(struct spool_db *db, int64_t seq, bool *ret_was_there, struct err *err)
{
    sqlite3_bind_int64(db->erase, 1, seq);
    if (!step(db, db->erase, "deleting", err))
        return false;
    *ret_was_there = sqlite3_changes(db->db) > 0;
    return true;
}

bool spool_db_attempt(struct spool_db *db, int64_t seq, uint32_t attempts, struct err *err)
{
    sqlite3_bind_int64(db->attempt, 1, seq);
    sqlite3_bind_int64(db->attempt, 2, attempts);
    return step(db, db->attempt, "writing", err);
}

int64_t spool_db_oldest(struct spool_db *db)
{
    int64_t at_us = 0;

    read_number(db, "SELECT at_us FROM spooled WHERE kind = 1 ORDER BY seq LIMIT 1", &at_us);
    return at_us;
}

bool spool_db_trim(struct spool_db *db, struct err *err)
{
    return run(db, "VACUUM", err) && run(db, "PRAGMA wal_checkpoint(TRUNCATE)", err);
}

/* ---- reading ---- */

static char *column_dup(sqlite3_stmt *statement, int column, struct arena *arena)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);

    return arena_dup(arena, (struct str_view){ text, (size_t)sqlite3_column_bytes(statement, column) });
}

bool spool_find_account(const struct spool_scope *scope, const char *tenant, const char *id,
                        uint32_t *ret_index)
{
    for (size_t i = 0; i < scope->account_count; i++)
        if (strcmp(scope->accounts[i].id, id) == 0 && strcmp(scope->accounts[i].tenant, tenant) == 0) {
            *ret_index = (uint32_t)i;
            return true;
        }
    return false;
}

bool spool_row_take(sqlite3_stmt *statement, const struct spool_scope *scope, struct arena *arena,
                    struct spool_row *ret_row)
{
    const char *tenant = (const char *)sqlite3_column_text(statement, COLUMN_TENANT);
    const char *account = (const char *)sqlite3_column_text(statement, COLUMN_ACCOUNT);
    const void *bytes = sqlite3_column_blob(statement, COLUMN_BYTES);
    size_t len = (size_t)sqlite3_column_bytes(statement, COLUMN_BYTES);
    struct spool_row row = {
        .kind = (enum spool_kind)sqlite3_column_int(statement, COLUMN_KIND),
        .thread_key = (uint32_t)sqlite3_column_int64(statement, COLUMN_THREAD),
        .attempts = (uint32_t)sqlite3_column_int64(statement, COLUMN_ATTEMPTS),
        .at_us = sqlite3_column_int64(statement, COLUMN_AT),
        .until_us = sqlite3_column_int64(statement, COLUMN_UNTIL),
        .boot_id = column_dup(statement, COLUMN_BOOT, arena),
        .boot_lane = (uint32_t)sqlite3_column_int64(statement, COLUMN_LANE),
        .boot_n = (uint64_t)sqlite3_column_int64(statement, COLUMN_N),
        .boot_last = (uint64_t)sqlite3_column_int64(statement, COLUMN_LAST),
        .seq = sqlite3_column_int64(statement, COLUMN_SEQ),
        .bytes = { arena_dup(arena, (struct str_view){ bytes, len }), len },
    };

    if (tenant == NULL || account == NULL || row.boot_id == NULL || row.bytes.data == NULL ||
        row.kind < SPOOL_EVENT || row.kind > SPOOL_REPORT ||
        !spool_find_account(scope, tenant, account, &row.account))
        return false;
    row.is_damaged = sum_of(row.bytes) != sqlite3_column_int64(statement, COLUMN_SUM);
    *ret_row = row;
    return true;
}

/* ["a","b"] for json_each(): account ids are words of a URL, thread keys numbers; neither needs escaping. */
static void bind_held(sqlite3_stmt *statement, const struct spool_scope *scope,
                      const struct spool_query *query, struct buf *buf)
{
    size_t cut;

    buf_append_char(buf, '[');
    for (size_t i = 0; i < query->held_thread_count; i++)
        buf_printf(buf, "%s%u", i > 0 ? "," : "", query->held_threads[i]);
    buf_append_char(buf, ']');
    cut = buf->len;
    buf_append_char(buf, '[');
    for (size_t i = 0; i < query->held_account_count; i++)
        buf_printf(buf, "%s\"%s\"", i > 0 ? "," : "", scope->accounts[query->held_accounts[i]].id);
    buf_append_char(buf, ']');
    sqlite3_bind_text(statement, 5, buf->data, (int)cut, SQLITE_STATIC);
    sqlite3_bind_text(statement, 6, buf->data + cut, (int)(buf->len - cut), SQLITE_STATIC);
}

/* false with *err clear: a limit ended it. */
static bool take_rows(struct spool_db *db, sqlite3_stmt *statement, uint32_t file,
                      const struct spool_scope *scope, const struct spool_query *query,
                      struct spool_page *page, size_t *bytes_left, bool *ret_is_full, struct err *err)
{
    int code;

    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        struct spool_row *row = &page->rows[page->count];
        size_t len = (size_t)sqlite3_column_bytes(statement, COLUMN_BYTES);

        if (page->count == query->rows_max || (page->count > 0 && len > *bytes_left)) {
            *ret_is_full = true;
            return true;
        }
        if (!spool_row_take(statement, scope, page->arena, row))
            continue;
        row->file = file;
        *bytes_left -= len < *bytes_left ? len : *bytes_left;
        page->count++;
    }
    return code == SQLITE_DONE ? true : spool_db_error(db, "reading", err);
}

bool spool_db_read(struct spool_db *db, uint32_t file, const struct spool_scope *scope,
                   const struct spool_query *query, struct spool_page *page, size_t *bytes_left,
                   bool *ret_is_full, struct err *err)
{
    bool is_events = query->kind == SPOOL_EVENT;
    sqlite3_stmt *statements[2] = { is_events ? db->voids : NULL, is_events ? db->events : db->reports };
    SCOPED_BUF held = { 0 };
    bool is_ok = true;

    buf_init(&held, 4 * 1024 * 1024);
    for (size_t i = 0; i < COUNT_OF(statements) && is_ok && !*ret_is_full; i++) {
        if (statements[i] == NULL)
            continue;
        if (is_events)
            sqlite3_bind_text(statements[i], 1, scope->accounts[query->account].tenant, -1, SQLITE_STATIC);
        sqlite3_bind_int64(statements[i], 2, (int64_t)query->rows_max + 1);
        if (statements[i] == db->events) {
            sqlite3_bind_int64(statements[i], 3, scope->lanes);
            sqlite3_bind_int64(statements[i], 4, query->lane);
            bind_held(statements[i], scope, query, &held);
        } else if (statements[i] == db->reports) {
            bind_held(statements[i], scope, query, &held);
            sqlite3_bind_int64(statements[i], 7, query->after_file == file ? query->after_seq : 0);
            sqlite3_bind_int64(statements[i], 8, time_now_us());
        }
        is_ok = take_rows(db, statements[i], file, scope, query, page, bytes_left, ret_is_full, err);
        sqlite3_reset(statements[i]);
        sqlite3_clear_bindings(statements[i]);
    }
    return is_ok;
}
