/* SPDX-License-Identifier: Apache-2.0 */
/* spool.c - the loop's side: what is asked waits in one queue, and goes to the worker in jobs.
 *
 * A job is either one piece of housekeeping (open, list, adopt …) or all the reading and writing that waits: that
 * is the group commit. While a job runs the worker owns the files, and the loop only what is counted of them. */
#include "io/spool_job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    WORKER_QUEUE_MAX = 4,
    JOB_OPS_MAX = 1024,
    JOB_BYTES_MAX = 4 * 1024 * 1024,
    RENEW_PAUSE_MS = 1000,
    TRIM_MIN_BYTES = 1024 * 1024
};

static void start_job(void *arg);
static void on_job_done(void *arg, const struct err *err);

/* ---- the queue ---- */

static struct spool_op *op_new(enum spool_op_kind kind)
{
    struct spool_op *op = calloc(1, sizeof(*op));

    if (op == NULL)
        abort();
    op->kind = kind;
    return op;
}

static void op_free(struct spool_op *op)
{
    for (size_t i = 0; i < op->name_count; i++)
        free(op->names[i]);
    free(op->names);
    free(op->refs);
    free(op->held_threads);
    free(op->held_accounts);
    spool_counts_done(&op->counts);
    spool_page_free(&op->page);
    free(op);
}

static void enqueue(struct spool *spool, struct spool_op *op)
{
    if (spool->last != NULL)
        spool->last->next = op;
    else
        spool->first = op;
    spool->last = op;
    if (spool->job == NULL && !spool->is_finishing && !loop_timer_is_active(spool->start_timer))
        loop_timer_start(spool->start_timer, 0, 0);
}

static struct spool_op *dequeue(struct spool *spool)
{
    struct spool_op *op = spool->first;

    spool->first = op->next;
    if (spool->first == NULL)
        spool->last = NULL;
    op->next = NULL;
    return op;
}

static bool is_housekeeping(const struct spool_op *op)
{
    return op->kind < SPOOL_OP_APPEND;
}

static void start_job(void *arg)
{
    struct spool *spool = arg;
    struct spool_job *job;
    struct spool_op **end;
    size_t count = 0, bytes = 0;
    bool is_alone;

    if (spool->job != NULL || spool->first == NULL)
        return;
    job = calloc(1, sizeof(*job));
    if (job == NULL)
        abort();
    job->spool = spool;
    end = &job->ops;
    do {
        is_alone = is_housekeeping(spool->first);
        *end = dequeue(spool);
        bytes += (*end)->bytes;
        end = &(*end)->next;
    } while (!is_alone && spool->first != NULL && !is_housekeeping(spool->first) && ++count < JOB_OPS_MAX &&
             bytes < JOB_BYTES_MAX);
    spool->job = job;
    worker_start(spool->worker, spool_job_run, on_job_done, job);
}

/* ---- files ---- */

static struct spool_file *file_new(struct spool *spool, const char *name)
{
    struct spool_file *file = calloc(1, sizeof(*file));

    if (file == NULL)
        abort();
    file->id = ++spool->last_file_id;
    file->db.fd = -1;
    snprintf(file->name, sizeof(file->name), "%s", name);
    spool_counts_init(&file->counts, &spool->scope);
    return file;
}

static void file_free(struct spool_file *file)
{
    spool_db_close(&file->db);
    spool_counts_done(&file->counts);
    free(file);
}

/* By name: boot ids are in the order of time. */
static void link_file(struct spool *spool, struct spool_file *file)
{
    struct spool_file **at = &spool->files;

    while (*at != NULL && strcmp((*at)->name, file->name) < 0)
        at = &(*at)->next;
    file->next = *at;
    *at = file;
}

static void unlink_file(struct spool *spool, struct spool_file *file)
{
    struct spool_file **at = &spool->files;

    while (*at != file)
        at = &(*at)->next;
    *at = file->next;
    file->next = NULL;
    if (spool->own == file)
        spool->own = NULL;
}

static bool is_known(const struct spool *spool, const char *name)
{
    for (const struct spool_file *file = spool->files; file != NULL; file = file->next)
        if (strcmp(file->name, name) == 0)
            return true;
    return false;
}

static void note(struct spool *spool, enum spool_note what, const char *file, const struct err *err)
{
    static const struct err none = { 0 };

    spool->options.on_note(spool->options.arg, what, file, err != NULL ? err : &none);
}

static void enqueue_file(struct spool *spool, enum spool_op_kind kind, struct spool_file *file)
{
    struct spool_op *op = op_new(kind);

    op->file = file;
    enqueue(spool, op);
}

/* A later file of the same boot sorts after the first. */
static void enqueue_open(struct spool *spool)
{
    char name[SPOOL_NAME_MAX];

    if (spool->is_opening)
        return;
    spool->is_opening = true;
    spool->own_count++;
    if (spool->own_count == 1)
        snprintf(name, sizeof(name), "%s%s", spool->options.boot_id, SPOOL_SUFFIX);
    else
        snprintf(name, sizeof(name), "%s_%03u%s", spool->options.boot_id, spool->own_count, SPOOL_SUFFIX);
    enqueue_file(spool, SPOOL_OP_OPEN, file_new(spool, name));
}

static void enqueue_adopt(struct spool *spool, const char *name)
{
    spool->adopting++;
    enqueue_file(spool, SPOOL_OP_ADOPT, file_new(spool, name));
}

/* ---- counting ---- */

static void set_failure(struct spool *spool, const struct err *err)
{
    bool was_refusing = spool->failure.kind != ERR_NONE;

    spool->failure = *err;
    if (!was_refusing)
        note(spool, SPOOL_FAILED, spool->own != NULL ? spool->own->name : "", err);
}

static void clear_failure(struct spool *spool)
{
    if (spool->failure.kind == ERR_NONE)
        return;
    err_clear(&spool->failure);
    note(spool, SPOOL_RECOVERED, spool->own != NULL ? spool->own->name : "", NULL);
}

static void count_deleted(struct spool *spool, const struct spool_op *op)
{
    for (size_t i = 0; i < op->row_count; i++)
        for (struct spool_file *file = spool->files; file != NULL; file = file->next)
            if (file->id == op->refs[i].file && op->refs[i].is_damaged) /* here: it was there */
                spool_counts_add_row(&file->counts, &spool->scope, &op->refs[i], false);
}

/* ---- results ---- */

static void on_opened(struct spool *spool, struct spool_op *op)
{
    spool->is_opening = false;
    if (op->err.kind == ERR_NONE) {
        spool->own = op->file;
        link_file(spool, op->file);
        clear_failure(spool);
        return;
    }
    set_failure(spool, &op->err);
    file_free(op->file);
}

static void on_listed(struct spool *spool, struct spool_op *op)
{
    if (op->err.kind != ERR_NONE) { /* what is there is not known: at the next scan */
        set_failure(spool, &op->err);
        return;
    }
    spool->is_listed = true;
    spool->troubled = 0;
    for (size_t i = 0; i < op->name_count; i++)
        if (!is_known(spool, op->names[i]))
            enqueue_adopt(spool, op->names[i]);
}

/* Told once: it is found again at each scan. */
static void note_left_alone(struct spool *spool, const char *name, const struct err *err)
{
    static const struct err not_ours = { .kind = ERR_NOT_FOUND,
                                         .text = "it holds events of accounts that are not here" };

    for (size_t i = 0; i < spool->left_count; i++)
        if (strcmp(spool->left[i], name) == 0)
            return;
    if (spool->left_count < COUNT_OF(spool->left))
        snprintf(spool->left[spool->left_count++], SPOOL_NAME_MAX, "%s", name);
    note(spool, SPOOL_LEFT_ALONE, name, err->kind != ERR_NONE ? err : &not_ours);
}

static void on_adopted(struct spool *spool, struct spool_op *op)
{
    struct spool_file *file = op->file;

    spool->adopting--;
    if (op->counts.rows > 0 && spool->own != NULL)
        spool_counts_add(&spool->own->counts, &spool->scope, &op->counts);
    if (op->trouble == SPOOL_TROUBLE_DAMAGED || op->trouble == SPOOL_TROUBLE_VERSION) {
        spool->numbers.put_aside++;
        note(spool, SPOOL_PUT_ASIDE, file->name, &op->err);
    } else if (op->trouble == SPOOL_TROUBLE_OTHER) {
        spool->troubled++; /* until it can be read its events are older than any */
        note_left_alone(spool, file->name, &op->err);
    } else if (op->trouble == SPOOL_TROUBLE_DENIED || (op->trouble == SPOOL_TROUBLE_NONE && !op->is_ours)) {
        note_left_alone(spool, file->name, &op->err);
    } else if (op->trouble == SPOOL_TROUBLE_NONE && file->db.fd >= 0) {
        spool->numbers.adopted++;
        link_file(spool, file);
        note(spool, SPOOL_ADOPTED, file->name, NULL);
        return;
    }
    file_free(file);
}

/* In doubt: let go, and taken up again as any file of another boot, which reads it back from the disk. */
static void give_up(struct spool *spool, struct spool_file *file)
{
    bool is_renewed = spool->own == file && loop_now_ms(spool->loop) >= spool->renewed_ms + RENEW_PAUSE_MS;

    unlink_file(spool, file);
    enqueue_file(spool, SPOOL_OP_CLOSE, file);
    if (is_renewed) { /* else at the next scan: a disk that is broken must not be filled with files */
        spool->renewed_ms = loop_now_ms(spool->loop);
        enqueue_open(spool);
    }
    enqueue_adopt(spool, file->name);
}

static void finish_append(struct spool *spool, struct spool_op *op)
{
    spool->pending_rows -= op->row_count;
    spool->pending_bytes -= op->bytes;
    if (op->err.kind != ERR_NONE) {
        set_failure(spool, &op->err);
        return;
    }
    for (size_t i = 0; i < op->row_count; i++)
        spool_counts_add_row(&spool->own->counts, &spool->scope, &op->rows[i], true);
    clear_failure(spool);
}

static void finish_op(struct spool *spool, struct spool_op *op)
{
    struct spool_page *page = op->page;

    switch (op->kind) {
    case SPOOL_OP_OPEN:
        on_opened(spool, op);
        break;
    case SPOOL_OP_LIST:
        on_listed(spool, op);
        break;
    case SPOOL_OP_ADOPT:
        on_adopted(spool, op);
        break;
    case SPOOL_OP_CLOSE:
    case SPOOL_OP_REMOVE:
        file_free(op->file);
        break;
    case SPOOL_OP_CHECK:
        if (op->err.kind == ERR_NONE && !spool_is_full(spool))
            clear_failure(spool);
        break;
    case SPOOL_OP_APPEND:
        finish_append(spool, op);
        op->done(op->arg, &op->err);
        break;
    case SPOOL_OP_DELETE:
    case SPOOL_OP_ATTEMPTS:
        if (op->err.kind == ERR_NONE && op->kind == SPOOL_OP_DELETE)
            count_deleted(spool, op);
        op->done(op->arg, &op->err);
        break;
    case SPOOL_OP_READ:
        op->page = NULL;
        op->read_done(op->arg, page, &op->err);
        break;
    case SPOOL_OP_TRIM:
        break;
    }
    op_free(op);
}

/* Emptied files go, those in doubt are let go; our own gives the disk back when it has grown. */
static void tidy(struct spool *spool)
{
    struct spool_file *next;

    for (struct spool_file *file = spool->files; file != NULL; file = next) {
        next = file->next;
        spool_raise_oldest(spool, file);
        if (file->db.is_suspect) {
            give_up(spool, file);
        } else if (file->counts.rows == 0 && file != spool->own) {
            unlink_file(spool, file);
            enqueue_file(spool, SPOOL_OP_REMOVE, file);
        } else if (file->counts.rows == 0 && file->has_grown && spool->pending_rows == 0) {
            file->has_grown = false;
            enqueue_file(spool, SPOOL_OP_TRIM, file);
        } else if (file->counts.bytes > TRIM_MIN_BYTES) {
            file->has_grown = true;
        }
    }
}

/* Reading changes nothing, and a list only the first time. */
static bool is_change(const struct spool *spool, const struct spool_op *op)
{
    return op->kind != SPOOL_OP_READ && op->kind != SPOOL_OP_CHECK &&
           (op->kind != SPOOL_OP_LIST || !spool->is_listed);
}

static void finish_job(struct spool *spool, struct spool_job *job, const struct err *err)
{
    struct spool_op *op = job->ops, *next;
    bool has_changed = false;

    spool->is_finishing = true;
    spool->job = NULL;
    spool->numbers.commits += job->commits;
    job->ops = NULL;
    for (; op != NULL; op = next) {
        next = op->next;
        if (!job->is_run)
            op->err = *err;
        has_changed |= is_change(spool, op);
        finish_op(spool, op);
    }
    if (!spool->is_closing)
        tidy(spool);
    spool->is_finishing = false;
    if (has_changed && !spool->is_closing)
        spool->options.on_changed(spool->options.arg);
    if (spool->first != NULL && !spool->is_closing)
        loop_timer_start(spool->start_timer, 0, 0);
}

static void on_job_done(void *arg, const struct err *err)
{
    struct spool_job *job = arg;

    if (job->spool != NULL)
        finish_job(job->spool, job, err);
    free(job);
}

/* ---- asking ---- */

void spool_append(struct spool *spool, const struct spool_row *rows, size_t count, spool_done_fn *done,
                  void *arg)
{
    struct spool_op *op = op_new(SPOOL_OP_APPEND);

    op->rows = rows;
    op->row_count = count;
    op->done = done;
    op->arg = arg;
    for (size_t i = 0; i < count; i++)
        op->bytes += rows[i].bytes.len + SPOOL_ROW_OVERHEAD_BYTES;
    op->is_refused = !spool_check_room(spool, op, &op->err);
    spool->pending_rows += count;
    spool->pending_bytes += op->bytes;
    enqueue(spool, op);
}

static struct spool_op *op_of_rows(enum spool_op_kind kind, const struct spool_row *rows, size_t count)
{
    struct spool_op *op = op_new(kind);

    op->refs = calloc(count > 0 ? count : 1, sizeof(*op->refs));
    if (op->refs == NULL)
        abort();
    memcpy(op->refs, rows, count * sizeof(*op->refs));
    for (size_t i = 0; i < count; i++)
        op->refs[i].is_damaged = false; /* from here on: the row was there */
    op->row_count = count;
    return op;
}

void spool_delete(struct spool *spool, const struct spool_row *rows, size_t count, spool_done_fn *done,
                  void *arg)
{
    struct spool_op *op = op_of_rows(SPOOL_OP_DELETE, rows, count);

    op->done = done;
    op->arg = arg;
    enqueue(spool, op);
}

void spool_set_attempts(struct spool *spool, const struct spool_row *row, uint32_t attempts,
                        spool_done_fn *done, void *arg)
{
    struct spool_op *op = op_of_rows(SPOOL_OP_ATTEMPTS, row, 1);

    op->refs[0].attempts = attempts;
    op->done = done;
    op->arg = arg;
    enqueue(spool, op);
}

static uint32_t *numbers_dup(const uint32_t *numbers, size_t count)
{
    uint32_t *copy = count > 0 ? malloc(count * sizeof(*copy)) : NULL;

    if (count > 0 && copy == NULL)
        abort();
    if (count > 0)
        memcpy(copy, numbers, count * sizeof(*copy));
    return copy;
}

void spool_read(struct spool *spool, const struct spool_query *query, spool_read_fn *done, void *arg)
{
    struct spool_op *op = op_new(SPOOL_OP_READ);

    op->query = *query;
    op->held_threads = numbers_dup(query->held_threads, query->held_thread_count);
    op->held_accounts = numbers_dup(query->held_accounts, query->held_account_count);
    op->query.held_threads = op->held_threads;
    op->query.held_accounts = op->held_accounts;
    op->read_done = done;
    op->arg = arg;
    enqueue(spool, op);
}

void spool_page_free(struct spool_page **page_ptr)
{
    struct spool_page *page = *page_ptr;

    *page_ptr = NULL;
    if (page == NULL)
        return;
    arena_free(&page->arena);
    free(page->rows);
    free(page);
}

/* ---- life ---- */

/* Orphans may appear, and what failed may work again. */
static void on_scan(void *arg)
{
    struct spool *spool = arg;

    if (spool->own == NULL && loop_now_ms(spool->loop) >= spool->renewed_ms + RENEW_PAUSE_MS)
        enqueue_open(spool);
    else if (spool->own != NULL && spool->failure.kind != ERR_NONE)
        enqueue(spool, op_new(SPOOL_OP_CHECK));
    if (spool->adopting == 0)
        enqueue(spool, op_new(SPOOL_OP_LIST));
}

bool spool_new(struct loop *loop, const struct spool_options *options, struct spool **ret_spool,
               struct err *err)
{
    struct spool *spool;

    if (access(options->dir, R_OK | W_OK | X_OK) != 0)
        return err_set(err, ERR_CONFIG, "spool_dir '%s': %s", options->dir, strerror(errno));
    spool = calloc(1, sizeof(*spool));
    if (spool == NULL)
        abort();
    spool->loop = loop;
    spool->options = *options;
    spool->scope = (struct spool_scope){ options->accounts, options->account_count, options->lanes };
    spool->worker = worker_new(loop, 1, WORKER_QUEUE_MAX);
    spool->start_timer = loop_timer_new(loop, start_job, spool);
    spool->scan_timer = loop_timer_new(loop, on_scan, spool);
    loop_timer_start(spool->scan_timer, options->scan_ms, options->scan_ms);
    enqueue_open(spool);
    enqueue(spool, op_new(SPOOL_OP_LIST));
    *ret_spool = spool;
    return true;
}

static void close_files(struct spool *spool)
{
    struct spool_file *file;

    while ((file = spool->files) != NULL) {
        spool->files = file->next;
        if (file->counts.rows == 0 && file->db.db != NULL && !file->db.is_suspect)
            spool_db_remove(&file->db, spool->options.dir, file->name);
        file_free(file);
    }
    spool->own = NULL;
}

void spool_free(struct spool **spool_ptr)
{
    struct spool *spool = *spool_ptr;
    struct spool_job *job;
    struct err err = { 0 };

    *spool_ptr = NULL;
    if (spool == NULL)
        return;
    spool->is_closing = true;
    err_set(&err, ERR_CANCELED, "stopping");
    worker_free(&spool->worker);
    job = spool->job;
    if (job != NULL) {
        finish_job(spool, job, &err);
        job->spool = NULL; /* its done() still comes, and frees it */
    }
    spool->is_finishing = true;
    while (spool->first != NULL) {
        struct spool_op *op = dequeue(spool);

        if (!op->is_refused)
            op->err = err;
        finish_op(spool, op);
    }
    close_files(spool);
    loop_timer_free(&spool->start_timer);
    loop_timer_free(&spool->scan_timer);
    free(spool);
}
