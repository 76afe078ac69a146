/* SPDX-License-Identifier: Apache-2.0 */
/* spool_job.h - what spool.c hands to spool_job.c, and gets back. */
#ifndef GUICHET_IO_SPOOL_JOB_H
#define GUICHET_IO_SPOOL_JOB_H

#include "io/spool_private.h"
#include "io/worker.h"

#define SPOOL_ROW_OVERHEAD_BYTES 160 /* what a row takes besides its bytes, about */

/* Housekeeping first: each is a job of its own. */
enum spool_op_kind {
    SPOOL_OP_OPEN,
    SPOOL_OP_LIST,
    SPOOL_OP_ADOPT,
    SPOOL_OP_CLOSE,
    SPOOL_OP_REMOVE,
    SPOOL_OP_TRIM,
    SPOOL_OP_CHECK, /* can our file be written again? */
    SPOOL_OP_APPEND,
    SPOOL_OP_DELETE,
    SPOOL_OP_ATTEMPTS,
    SPOOL_OP_READ,
};

struct spool_file {
    uint32_t id;
    char name[SPOOL_NAME_MAX];
    struct spool_db db;         /* the worker's */
    struct spool_counts counts; /* the loop's, from here on */
    int64_t oldest_us;          /* of its rows, when the last job ended */
    bool has_grown;
    struct spool_file *next;
};

struct spool_op {
    enum spool_op_kind kind;
    struct err err;
    struct spool_file *file;      /* housekeeping */
    const struct spool_row *rows; /* APPEND: the caller's */
    struct spool_row
        *refs; /* DELETE, ATTEMPTS: where they are; is_damaged turns true where a row was there */
    size_t row_count;
    size_t bytes;
    bool is_refused; /* APPEND: not even tried; err says why */
    struct spool_query query;
    uint32_t *held_threads, *held_accounts;
    struct spool_page *page;
    char **names; /* LIST */
    size_t name_count;
    enum spool_trouble trouble; /* ADOPT */
    bool is_ours;
    struct spool_counts counts; /* ADOPT: what was saved into our file */
    spool_done_fn *done;
    spool_read_fn *read_done;
    void *arg;
    struct spool_op *next;
};

struct spool_job {
    struct spool *spool; /* NULL: it is gone */
    struct spool_op *ops;
    uint64_t commits;
    bool is_run;
};

struct spool {
    struct loop *loop;
    struct worker *worker;
    struct loop_timer *start_timer, *scan_timer;
    struct spool_options options;
    struct spool_scope scope;
    struct spool_file *files; /* sorted by name; changed between jobs only */
    struct spool_file *own;
    struct spool_op *first, *last;
    struct spool_job *job; /* under way */
    uint32_t last_file_id, own_count, adopting;
    uint32_t troubled;                    /* files that could not be opened for now, at the last scan */
    uint64_t pending_rows, pending_bytes; /* asked for, not written yet */
    uint64_t renewed_ms;
    struct err failure; /* of the last write; ERR_NONE when it went well */
    struct spool_numbers numbers;
    char left[32][SPOOL_NAME_MAX]; /* names of files left alone */
    size_t left_count;
    bool is_opening, is_listed, is_finishing, is_closing;
};

bool spool_check_room(struct spool *spool, const struct spool_op *op, struct err *err) MUST_USE;
bool spool_is_full(const struct spool *spool);
void spool_raise_oldest(struct spool *spool, struct spool_file *file);
void spool_job_run(void *arg); /* on the worker; arg: the job */

#endif
