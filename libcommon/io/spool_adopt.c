/* SPDX-License-Identifier: Apache-2.0 */
/* spool_adopt.c - what other boots left in the folder: found, and put aside when it cannot be used.
 *
 * Nothing is ever deleted that may hold a row: a damaged file keeps its bytes under another name, for whoever has
 * better tools than we have, after what SQLite still reads of it was copied into our own file. */
#include "io/spool_private.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/duration.h"

enum { NAMES_MAX = 10000, SALVAGE_ROW_MAX_BYTES = 64 * 1024 * 1024 };

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_spool_name(const char *name)
{
    size_t len = strlen(name), suffix = strlen(SPOOL_SUFFIX);

    return len > suffix && len < SPOOL_NAME_MAX && strcmp(name + len - suffix, SPOOL_SUFFIX) == 0;
}

bool spool_list(const char *dir, char ***ret_names, size_t *ret_count, struct err *err)
{
    DIR *folder = opendir(dir);
    struct dirent *entry;
    char **names = NULL;
    size_t count = 0;

    if (folder == NULL)
        return err_set(err, ERR_CONFIG, "spool_dir '%s': %s", dir, strerror(errno));
    while ((entry = readdir(folder)) != NULL && count < NAMES_MAX) {
        if (!is_spool_name(entry->d_name))
            continue;
        names = realloc(names, (count + 1) * sizeof(*names));
        if (names == NULL)
            abort();
        names[count++] = str_dup(str_view_of(entry->d_name));
    }
    closedir(folder);
    if (count > 0)
        qsort(names, count, sizeof(*names), compare_names);
    *ret_names = names;
    *ret_count = count;
    return true;
}

/* ---- counting ---- */

static void count_group(sqlite3_stmt *statement, uint32_t account, const struct spool_scope *scope,
                        struct spool_counts *counts)
{
    uint64_t count = (uint64_t)sqlite3_column_int64(statement, 4);
    int64_t oldest_us = sqlite3_column_int64(statement, 6), *known_us = &counts->account_oldest_us[account];

    counts->rows += count;
    counts->bytes += (uint64_t)sqlite3_column_int64(statement, 5);
    if (sqlite3_column_int(statement, 2) == SPOOL_REPORT) {
        counts->reports += count;
        return;
    }
    counts->lanes[account * scope->lanes + (uint64_t)sqlite3_column_int64(statement, 3)] += count;
    if (sqlite3_column_int(statement, 2) != SPOOL_EVENT)
        return;
    counts->events += count;
    counts->account_events[account] += count;
    if (*known_us == 0 || oldest_us < *known_us)
        *known_us = oldest_us;
}

bool spool_db_count(struct spool_db *db, const struct spool_scope *scope, struct spool_counts *counts,
                    bool *ret_is_ours, struct err *err)
{
    sqlite3_stmt *statement = NULL;
    int code;

    *ret_is_ours = true;
    if (!spool_db_prepare(
            db,
            "SELECT tenant, account, kind, thread_key % ?1, count(*), sum(length(bytes)), min(at_us)"
            " FROM spooled GROUP BY 1, 2, 3, 4",
            &statement, err))
        return false;
    sqlite3_bind_int64(statement, 1, scope->lanes);
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *tenant = (const char *)sqlite3_column_text(statement, 0);
        const char *id = (const char *)sqlite3_column_text(statement, 1);
        uint32_t account;

        if (tenant != NULL && id != NULL && spool_find_account(scope, tenant, id, &account))
            count_group(statement, account, scope, counts);
        else
            *ret_is_ours = false;
    }
    if (code != SQLITE_DONE)
        spool_db_error(db, "reading", err);
    sqlite3_finalize(statement);
    return code == SQLITE_DONE;
}

/* ---- saving what can be read ---- */

/* Row by row, without the index, which may be what is broken. Ends where the file is damaged; any other error may
 * pass, and what it hides is not given up. */
static bool copy_rows(struct spool_db *db, sqlite3_stmt *statement, const struct spool_scope *scope,
                      struct spool_db *own, struct spool_counts *counts, struct err *err)
{
    int code;

    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        SCOPED_ARENA arena = arena_new(SALVAGE_ROW_MAX_BYTES);
        struct spool_row row;

        if (!spool_row_take(statement, scope, arena, &row) || row.is_damaged) {
            if (sqlite3_errcode(db->db) == SQLITE_NOMEM)
                return spool_db_error(db, "reading", err);
            continue;
        }
        if (!spool_db_insert(own, &scope->accounts[row.account], &row, err))
            return false;
        counts->rows++;
        counts->bytes += row.bytes.len;
        if (row.kind == SPOOL_REPORT) {
            counts->reports++;
            continue;
        }
        counts->lanes[row.account * scope->lanes + row.thread_key % scope->lanes]++;
        if (row.kind == SPOOL_EVENT) {
            counts->events++;
            counts->account_events[row.account]++;
            if (counts->account_oldest_us[row.account] == 0)
                counts->account_oldest_us[row.account] = row.at_us;
        }
    }
    return code == SQLITE_DONE || spool_db_is_damaged(db) || spool_db_error(db, "reading", err);
}

/* Nothing readable is no error: the file is put aside as it is. */
static bool save_rows(struct spool_db *db, const struct spool_scope *scope, struct spool_db *own,
                      struct spool_counts *counts, struct err *err)
{
    sqlite3_stmt *statement = NULL;
    bool is_saved;

    if (sqlite3_prepare_v2(db->db, "SELECT " SPOOL_COLUMNS " FROM spooled NOT INDEXED ORDER BY seq", -1,
                           &statement, NULL) != SQLITE_OK)
        return spool_db_is_damaged(db) ||
               (sqlite3_errcode(db->db) & 0xff) == SQLITE_ERROR || /* no such table */
               spool_db_error(db, "reading", err);
    is_saved = spool_db_begin(own, err) && copy_rows(db, statement, scope, own, counts, err) &&
               spool_db_commit(own, err);
    sqlite3_finalize(statement);
    if (!is_saved) {
        spool_db_rollback(own);
        spool_counts_done(counts);
        spool_counts_init(counts, scope);
    }
    return is_saved;
}

/* "….spool.damaged-20260301T120000Z", "….spool.version-2" */
static void name_aside(const char *name, enum spool_trouble trouble, int version, char *ret_name, size_t size)
{
    char time[TIME_TEXT_BYTES], digits[TIME_TEXT_BYTES];
    size_t len = 0;

    if (trouble == SPOOL_TROUBLE_VERSION) {
        snprintf(ret_name, size, "%s.version-%d", name, version);
        return;
    }
    time_format(time_now_us(), time);
    for (size_t i = 0; time[i] != '\0' && time[i] != '.'; i++)
        if (time[i] != '-' && time[i] != ':')
            digits[len++] = time[i];
    digits[len] = '\0';
    snprintf(ret_name, size, "%s.damaged-%sZ", name, digits);
}

/* The log first: after a crash in between, the file is found again, and what only the log had is saved already. */
static bool rename_aside(const char *dir, const char *name, const char *aside, struct err *err)
{
    static const char *const suffixes[] = { "-wal", "" };
    char from[SPOOL_PATH_MAX], to[SPOOL_PATH_MAX];

    for (size_t i = 0; i < COUNT_OF(suffixes); i++) {
        if (!spool_path(dir, name, suffixes[i], from) || !spool_path(dir, aside, suffixes[i], to))
            return err_set(err, ERR_CONFIG, "spool_dir '%s' is too long", dir);
        if (rename(from, to) != 0 && (errno != ENOENT || suffixes[i][0] == '\0'))
            return err_set(err, ERR_UNAVAILABLE, "spool file '%s': %s", from, strerror(errno));
    }
    spool_sync_dir(dir);
    return true;
}

bool spool_put_aside(struct spool_db *db, const char *dir, const char *name, enum spool_trouble trouble,
                     int version, const struct spool_scope *scope, struct spool_db *own,
                     struct spool_counts *saved, struct err *err)
{
    char aside[SPOOL_NAME_MAX * 2];
    bool is_done;

    name_aside(name, trouble, version, aside, sizeof(aside));
    db->is_suspect = true;
    is_done = (trouble == SPOOL_TROUBLE_VERSION || save_rows(db, scope, own, saved, err)) &&
              rename_aside(dir, name, aside, err);
    spool_db_close(db);
    return is_done;
}
