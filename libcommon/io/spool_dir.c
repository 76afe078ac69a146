/* SPDX-License-Identifier: Apache-2.0 */
/* spool_dir.c - a folder of spool files, looked at and moved by people: no connector runs, or another one.
 *
 * What a running connector has locked is left to it. A file is moved whole: its log is written into it first, so
 * that there is one file to move; over a border of file systems it is copied, synced, and only then deleted. */
#include "io/spool_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int64_t read_count(struct spool_db *db, const char *text)
{
    sqlite3_stmt *statement = NULL;
    int64_t value = 0;

    if (sqlite3_prepare_v2(db->db, text, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

static void read_connector(struct spool_db *db, struct spool_listed *listed)
{
    sqlite3_stmt *statement = NULL;

    if (sqlite3_prepare_v2(db->db, "SELECT connector FROM header", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        snprintf(listed->connector, sizeof(listed->connector), "%s",
                 (const char *)sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
}

static uint64_t size_of(const char *dir, const char *name)
{
    static const char *const suffixes[] = { "", "-wal" };
    char path[SPOOL_PATH_MAX];
    struct stat found;
    uint64_t bytes = 0;

    for (size_t i = 0; i < COUNT_OF(suffixes); i++)
        if (spool_path(dir, name, suffixes[i], path) && stat(path, &found) == 0)
            bytes += (uint64_t)found.st_size;
    return bytes;
}

static void list_file(const char *dir, const char *name, spool_listed_fn *fn, void *arg)
{
    struct spool_listed listed = { .name = name, .file_bytes = size_of(dir, name) };
    struct spool_db db;
    int version = 0;
    enum spool_trouble trouble = spool_db_open(&db, dir, name, &version, &listed.err);

    if (trouble == SPOOL_TROUBLE_GONE)
        return;
    listed.is_locked = trouble == SPOOL_TROUBLE_LOCKED;
    listed.is_readable = trouble == SPOOL_TROUBLE_NONE;
    if (listed.is_readable) {
        read_connector(&db, &listed);
        listed.events = (uint64_t)read_count(&db, "SELECT count(*) FROM spooled WHERE kind = 1");
        listed.reports = (uint64_t)read_count(&db, "SELECT count(*) FROM spooled WHERE kind = 3");
        listed.oldest_us = spool_db_oldest(&db);
    }
    if (!listed.is_readable)
        db.is_suspect = true; /* looked at only: it stays as it is */
    spool_db_close(&db);
    fn(arg, &listed);
}

bool spool_dir_list(const char *dir, spool_listed_fn *fn, void *arg, struct err *err)
{
    char **names = NULL;
    size_t count = 0;

    if (!spool_list(dir, &names, &count, err))
        return false;
    for (size_t i = 0; i < count; i++) {
        list_file(dir, names[i], fn, arg);
        free(names[i]);
    }
    free(names);
    return true;
}

/* ---- moving ---- */

static bool copy_bytes(int from, int to, struct err *err)
{
    char block[64 * 1024];
    ssize_t len;

    if (lseek(from, 0, SEEK_SET) != 0)
        return err_set(err, ERR_UNAVAILABLE, "spool: reading: %s", strerror(errno));
    while ((len = read(from, block, sizeof(block))) > 0)
        if (write(to, block, (size_t)len) != len)
            return err_set(err, ERR_UNAVAILABLE, "spool: writing: %s", strerror(errno));
    if (len < 0 || fsync(to) != 0)
        return err_set(err, ERR_UNAVAILABLE, "spool: copying: %s", strerror(errno));
    return true;
}

/* Under a name that no connector looks for, until all of it is on the disk. */
static bool copy_file(int from, const char *into, const char *name, struct err *err)
{
    char part[SPOOL_PATH_MAX], path[SPOOL_PATH_MAX];
    bool is_copied;
    int to;

    if (!spool_path(into, name, ".part", part) || !spool_path(into, name, "", path))
        return err_set(err, ERR_INVALID, "'%s' is too long", into);
    to = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (to < 0)
        return err_set(err, ERR_UNAVAILABLE, "'%s': %s", part, strerror(errno));
    is_copied = copy_bytes(from, to, err);
    close(to);
    if (is_copied && rename(part, path) != 0)
        is_copied = err_set(err, ERR_UNAVAILABLE, "'%s': %s", path, strerror(errno));
    if (!is_copied)
        unlink(part);
    return is_copied;
}

static bool move_locked(int fd, const char *from, const char *name, const char *into, struct err *err)
{
    char old_path[SPOOL_PATH_MAX], new_path[SPOOL_PATH_MAX];
    struct stat found;

    if (!spool_path(from, name, "", old_path) || !spool_path(into, name, "", new_path))
        return err_set(err, ERR_INVALID, "'%s' is too long", into);
    if (stat(new_path, &found) == 0)
        return err_set(err, ERR_CONFLICT, "'%s' is there already", new_path);
    if (rename(old_path, new_path) != 0) {
        if (errno != EXDEV)
            return err_set(err, ERR_UNAVAILABLE, "'%s' to '%s': %s", old_path, into, strerror(errno));
        if (!copy_file(fd, into, name, err))
            return false;
        unlink(old_path);
    }
    spool_sync_dir(into);
    spool_sync_dir(from);
    return true;
}

/* SQLite's last close writes the log into the file and deletes it; the lock is ours until the move is done. */
static bool settle(struct spool_db *db, const char *from, const char *name, struct err *err)
{
    sqlite3_stmt *const all[] = { db->insert, db->erase, db->attempt, db->voids, db->events, db->reports };
    char log[SPOOL_PATH_MAX];
    bool is_settled = sqlite3_exec(db->db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL) == SQLITE_OK;

    if (!is_settled)
        spool_db_error(db, "writing", err);
    for (size_t i = 0; i < COUNT_OF(all); i++)
        sqlite3_finalize(all[i]);
    sqlite3_close(db->db);
    *db = (struct spool_db){ .fd = db->fd };
    if (is_settled && spool_path(from, name, "-wal", log) && access(log, F_OK) == 0)
        return err_set(err, ERR_UNAVAILABLE, "'%s' is still needed: its log was not written back", name);
    return is_settled;
}

bool spool_dir_move(const char *from, const char *name, const char *into, struct err *err)
{
    struct spool_db db;
    int version = 0;
    enum spool_trouble trouble = spool_db_open(&db, from, name, &version, err);
    bool is_moved = false;

    if (trouble == SPOOL_TROUBLE_LOCKED)
        return err_set(err, ERR_CONFLICT, "'%s' is locked: a connector runs with it", name);
    if (trouble == SPOOL_TROUBLE_NONE)
        is_moved = settle(&db, from, name, err) && move_locked(db.fd, from, name, into, err);
    else
        db.is_suspect = true;
    spool_db_close(&db);
    return is_moved;
}
