/* SPDX-License-Identifier: Apache-2.0 */
/* spool_job.c - a job, on the worker's thread.
 *
 * All that a job writes into one file is one transaction: one fsync for everybody who waits. When it fails because
 * there is no room for what is new, what deletes is tried again alone: that is how room comes about. */
#include "io/spool_job.h"

#include <stdlib.h>
#include <sys/statvfs.h>

#include "ops/failpoint.h"

enum { PAGE_MAX_BYTES = 64 * 1024 * 1024 };

/* ---- writing ---- */

/* The last of the disk is not ours to use: deleting writes as well. */
static bool check_disk(const struct spool *spool, struct err *err)
{
    struct statvfs disk;
    uint64_t free_bytes;

    if (statvfs(spool->options.dir, &disk) != 0)
        return true; /* writing will tell */
    free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (free_bytes < spool->options.free_min_bytes)
        return err_set(err, ERR_EXHAUSTED, "spool: the disk has %llu bytes left",
                       (unsigned long long)free_bytes);
    return true;
}

static bool is_write_to(const struct spool *spool, const struct spool_file *file, const struct spool_op *op)
{
    if (op->kind == SPOOL_OP_APPEND)
        return !op->is_refused && file == spool->own;
    if (op->kind != SPOOL_OP_DELETE && op->kind != SPOOL_OP_ATTEMPTS)
        return false;
    for (size_t i = 0; i < op->row_count; i++)
        if (op->refs[i].file == file->id)
            return true;
    return false;
}

static bool write_op(struct spool *spool, struct spool_file *file, struct spool_op *op, struct err *err)
{
    for (size_t i = 0; i < op->row_count; i++) {
        if (op->kind == SPOOL_OP_APPEND) {
            if (!spool_db_insert(&file->db, &spool->scope.accounts[op->rows[i].account], &op->rows[i], err))
                return false;
            continue;
        }
        if (op->refs[i].file != file->id)
            continue;
        if (op->kind == SPOOL_OP_ATTEMPTS
                ? !spool_db_attempt(&file->db, op->refs[i].seq, op->refs[i].attempts, err)
                : !spool_db_erase(&file->db, op->refs[i].seq, &op->refs[i].is_damaged, err))
            return false;
    }
    return true;
}

static bool commit(struct spool_file *file, bool has_appends, struct err *err)
{
    if (has_appends && FAILPOINT("connector_before_spool_commit"))
        return err_set(err, ERR_UNAVAILABLE, "failpoint");
    return spool_db_commit(&file->db, err);
}

static bool write_all(struct spool_job *job, struct spool_file *file, bool with_appends, struct err *err)
{
    int64_t last_seq = file->db.last_seq;
    bool is_ok, has_appends = false;

    is_ok = spool_db_begin(&file->db, err);
    for (struct spool_op *op = job->ops; op != NULL && is_ok; op = op->next) {
        if (!is_write_to(job->spool, file, op) || (op->kind == SPOOL_OP_APPEND && !with_appends))
            continue;
        has_appends |= op->kind == SPOOL_OP_APPEND;
        is_ok = write_op(job->spool, file, op, err);
    }
    is_ok = is_ok && commit(file, has_appends, err);
    if (is_ok) {
        job->commits++;
        return true;
    }
    if (file->db.db != NULL)
        spool_db_rollback(&file->db);
    file->db.last_seq = last_seq;
    return false;
}

static void fail_ops(struct spool_job *job, const struct spool_file *file, bool is_append,
                     const struct err *err)
{
    for (struct spool_op *op = job->ops; op != NULL; op = op->next)
        if ((op->kind == SPOOL_OP_APPEND) == is_append && is_write_to(job->spool, file, op))
            op->err = *err;
}

static void write_file(struct spool_job *job, struct spool_file *file)
{
    bool has_appends = false, has_others = false;
    struct err err = { 0 };

    for (struct spool_op *op = job->ops; op != NULL; op = op->next) {
        bool is_here = is_write_to(job->spool, file, op);

        has_appends |= is_here && op->kind == SPOOL_OP_APPEND;
        has_others |= is_here && op->kind != SPOOL_OP_APPEND;
    }
    if (!has_appends && !has_others)
        return;
    if (has_appends && !check_disk(job->spool, &err)) {
        fail_ops(job, file, true, &err);
        has_appends = false;
        if (!has_others)
            return;
    }
    err_clear(&err);
    if (write_all(job, file, has_appends, &err))
        return;
    if (has_appends)
        fail_ops(job, file, true, &err);
    if (!has_others)
        return;
    if (has_appends && !file->db.is_suspect && write_all(job, file, false, &err))
        return;
    fail_ops(job, file, false, &err);
}

/* ---- reading ---- */

static bool has_file(const struct spool *spool, uint32_t id)
{
    for (const struct spool_file *file = spool->files; file != NULL; file = file->next)
        if (file->id == id)
            return true;
    return false;
}

/* File by file, the oldest first: the next is read only when the one before has no more for this lane. */
static void read_op(struct spool *spool, struct spool_op *op)
{
    struct spool_page *page = calloc(1, sizeof(*page));
    size_t bytes_left = op->query.bytes_max;
    bool is_full = false, is_behind = !has_file(spool, op->query.after_file);

    if (page == NULL)
        abort();
    op->page = page;
    page->arena = arena_new(PAGE_MAX_BYTES);
    page->rows = calloc(op->query.rows_max + 1, sizeof(*page->rows));
    if (page->rows == NULL)
        abort();
    for (struct spool_file *file = spool->files; file != NULL && !is_full; file = file->next) {
        is_behind |= file->id == op->query.after_file;
        if (is_behind && !file->db.is_suspect &&
            !spool_db_read(&file->db, file->id, &spool->scope, &op->query, page, &bytes_left, &is_full,
                           &op->err)) {
            spool_page_free(&op->page);
            return;
        }
    }
}

static void run_data(struct spool_job *job)
{
    struct spool *spool = job->spool;

    for (struct spool_op *op = job->ops; op != NULL; op = op->next)
        if (op->kind == SPOOL_OP_APPEND && !op->is_refused &&
            (spool->own == NULL || spool->own->db.is_suspect)) {
            err_set(&op->err, ERR_UNAVAILABLE, "spool: no file can be made");
            op->is_refused = true;
        }
    for (struct spool_file *file = spool->files; file != NULL; file = file->next)
        if (!file->db.is_suspect)
            write_file(job, file);
    for (struct spool_op *op = job->ops; op != NULL; op = op->next)
        if (op->kind == SPOOL_OP_READ)
            read_op(spool, op);
    for (struct spool_file *file = spool->files; file != NULL; file = file->next)
        file->oldest_us = file->db.is_suspect ? 0 : spool_db_oldest(&file->db);
}

/* ---- housekeeping ---- */

static void adopt(struct spool *spool, struct spool_op *op)
{
    struct spool_file *file = op->file;
    int version = 0;

    op->is_ours = true;
    spool_counts_init(&op->counts, &spool->scope);
    op->trouble = spool_db_open(&file->db, spool->options.dir, file->name, &version, &op->err);
    if (op->trouble == SPOOL_TROUBLE_NONE &&
        !spool_db_count(&file->db, &spool->scope, &file->counts, &op->is_ours, &op->err)) {
        op->trouble = spool_db_is_damaged(&file->db) ? SPOOL_TROUBLE_DAMAGED : SPOOL_TROUBLE_OTHER;
        if (op->trouble == SPOOL_TROUBLE_OTHER)
            spool_db_close(&file->db);
    }
    if (op->trouble == SPOOL_TROUBLE_DAMAGED || op->trouble == SPOOL_TROUBLE_VERSION) {
        struct err err = { 0 };

        /* Without a file of our own there is nowhere to save to: it is found again. */
        if (spool->own == NULL ||
            !spool_put_aside(&file->db, spool->options.dir, file->name, op->trouble, version, &spool->scope,
                             &spool->own->db, &op->counts, &err))
            op->trouble = SPOOL_TROUBLE_OTHER;
        spool_db_close(&file->db);
    } else if (op->trouble == SPOOL_TROUBLE_NONE && !op->is_ours) {
        spool_db_close(&file->db);
    } else if (op->trouble == SPOOL_TROUBLE_NONE && file->counts.rows == 0) {
        spool_db_remove(&file->db, spool->options.dir, file->name);
    }
}

static bool check_writing(struct spool *spool, struct err *err)
{
    struct spool_db *db = &spool->own->db;

    if (!check_disk(spool, err) || !spool_db_begin(db, err))
        return false;
    if (sqlite3_exec(db->db, "UPDATE header SET made_at_us = made_at_us", NULL, NULL, NULL) == SQLITE_OK &&
        spool_db_commit(db, err))
        return true;
    spool_db_error(db, "writing", err);
    spool_db_rollback(db);
    return false;
}

static void run_housekeeping(struct spool *spool, struct spool_op *op)
{
    const char *dir = spool->options.dir;

    switch (op->kind) {
    case SPOOL_OP_OPEN:
        if (!check_disk(spool, &op->err) ||
            !spool_db_create(&op->file->db, dir, op->file->name, spool->options.connector, &op->err))
            return;
        break;
    case SPOOL_OP_LIST:
        if (!spool_list(dir, &op->names, &op->name_count, &op->err))
            return;
        break;
    case SPOOL_OP_ADOPT:
        adopt(spool, op);
        break;
    case SPOOL_OP_CLOSE:
        spool_db_close(&op->file->db);
        break;
    case SPOOL_OP_REMOVE:
        spool_db_remove(&op->file->db, dir, op->file->name);
        break;
    case SPOOL_OP_TRIM:
        if (!spool_db_trim(&op->file->db, &op->err))
            return;
        break;
    case SPOOL_OP_CHECK:
        if (spool->own != NULL && !check_writing(spool, &op->err))
            return;
        break;
    default:
        break;
    }
}

void spool_job_run(void *arg)
{
    struct spool_job *job = arg;

    if (job->ops->kind < SPOOL_OP_APPEND)
        run_housekeeping(job->spool, job->ops);
    else
        run_data(job);
    job->is_run = true;
}
