/* SPDX-License-Identifier: Apache-2.0 */
/* spool.h - rows that must outlive us while nobody takes them: SQLite files on a worker; the only user of SQLite.
 *
 * One file per boot, `<boot id>.spool`, locked (flock) for as long as we live. Writes go in group commits: what is
 * queued while one commit runs makes the next, and done() comes after the fsync. Files of earlier boots that nobody
 * locks are adopted: their rows are read first, oldest boot first; an emptied one is deleted. What SQLite cannot
 * read, or another version wrote, is renamed aside after its readable rows were saved.
 *
 * After a failed write or fsync a file is never written again as if nothing had been: it is closed, read back
 * from the disk as an adopted one, and a new file takes its place. */
#ifndef GUICHET_IO_SPOOL_H
#define GUICHET_IO_SPOOL_H

#include "core/arena.h"
#include "core/err.h"
#include "core/id.h"
#include "io/loop.h"

#define SPOOL_FORMAT 1
#define SPOOL_SUFFIX ".spool"

enum spool_kind { SPOOL_EVENT = 1, SPOOL_VOID, SPOOL_REPORT };

struct spool_row {
    enum spool_kind kind;
    uint32_t account;    /* index in the options' accounts */
    uint32_t thread_key; /* its lane is thread_key % lanes */
    uint32_t attempts;
    int64_t at_us, until_us;
    const char *boot_id;
    uint32_t boot_lane;
    uint64_t boot_n, boot_last; /* a range, for SPOOL_VOID */
    struct str_view bytes;
    /* given by spool_read() */
    bool is_damaged; /* the bytes are not those that were written */
    uint32_t file;
    int64_t seq;
};

struct spool_account {
    const char *tenant, *id;
};

enum spool_note {
    SPOOL_ADOPTED,    /* a file of another boot is drained by us from now on */
    SPOOL_PUT_ASIDE,  /* a file that cannot be used was renamed; err says why */
    SPOOL_LEFT_ALONE, /* it holds rows of accounts that are not here, or cannot be opened; told once */
    SPOOL_FAILED,     /* writing failed; a new file takes over when there can be one */
    SPOOL_RECOVERED,  /* writing works again */
};

struct spool_options {
    const char *dir;
    const char *connector; /* for people who look at the file */
    const char *boot_id;
    const struct spool_account *accounts; /* borrowed for good */
    size_t account_count;
    uint32_t lanes;
    uint64_t bytes_max, rows_max;
    uint64_t free_min_bytes; /* of the disk, never used by us: deleting needs room as well */
    uint32_t scan_ms;
    void (*on_note)(void *arg, enum spool_note note, const char *file, const struct err *err);
    void (*on_changed)(void *arg); /* counts are others than before */
    void *arg;
};

struct spool_page {
    struct arena *arena;
    struct spool_row *rows;
    size_t count;
};

/* The oldest rows of a lane, voids of its tenant first; or of SPOOL_REPORT, whatever the lane. */
struct spool_query {
    enum spool_kind kind; /* SPOOL_EVENT or SPOOL_REPORT */
    uint32_t account;     /* any account of the lane's tenant */
    uint32_t lane;
    const uint32_t *held_threads; /* these keys are passed over */
    size_t held_thread_count;
    const uint32_t *held_accounts; /* and these accounts */
    size_t held_account_count;
    uint32_t
        after_file; /* SPOOL_REPORT: what is behind this row; 0: all. Those that are past `until_us` come also */
    int64_t after_seq; /* when their account is held */
    size_t rows_max, bytes_max;
};

struct spool_numbers {
    uint64_t events, reports, bytes, commits, adopted, put_aside;
    int64_t oldest_us; /* 0: nothing waits */
};

struct spool;
typedef void spool_done_fn(void *arg, const struct err *err);
/* page is the callee's, NULL when err says why. */
typedef void spool_read_fn(void *arg, struct spool_page *page, const struct err *err);

/* The folder must be there; files are opened later, on the worker. */
bool spool_new(struct loop *loop, const struct spool_options *options, struct spool **ret_spool,
               struct err *err) MUST_USE;
/* Every done() that is owed comes now; an empty file of ours is deleted. */
void spool_free(struct spool **spool);

/* The rows are borrowed until done(). All of them or none. EXHAUSTED: full; UNAVAILABLE: it cannot be written. */
void spool_append(struct spool *spool, const struct spool_row *rows, size_t count, spool_done_fn *done,
                  void *arg);
void spool_delete(struct spool *spool, const struct spool_row *rows, size_t count, spool_done_fn *done,
                  void *arg);
void spool_set_attempts(struct spool *spool, const struct spool_row *row, uint32_t attempts,
                        spool_done_fn *done, void *arg);
void spool_read(struct spool *spool, const struct spool_query *query, spool_read_fn *done, void *arg);
void spool_page_free(struct spool_page **page);

/* Earlier boots' files are not all adopted yet, or one cannot be read for now: any lane may have older rows. */
bool spool_is_scanning(const struct spool *spool);
/* The last write failed, or there is no room: the next would be refused. */
bool spool_is_refusing(const struct spool *spool, struct err *err);
uint64_t spool_lane_rows(const struct spool *spool, uint32_t account, uint32_t lane); /* of its tenant */
uint64_t spool_account_events(const struct spool *spool, uint32_t account, int64_t *ret_oldest_us);
struct spool_numbers spool_numbers(const struct spool *spool);

/* ---- spool_dir.c: for people at a terminal, no connector needed; both block ---- */

struct spool_listed {
    const char *name;
    bool is_locked; /* a running connector has it: nothing else is known */
    bool is_readable;
    char connector[64];
    uint64_t events, reports, file_bytes;
    int64_t oldest_us;
    struct err err; /* why it is not readable */
};
typedef void spool_listed_fn(void *arg, const struct spool_listed *listed);
bool spool_dir_list(const char *dir, spool_listed_fn *fn, void *arg, struct err *err) MUST_USE;
/* Moves one file that nobody locks, whole: its log is written into it first. */
bool spool_dir_move(const char *from, const char *name, const char *into, struct err *err) MUST_USE;

#endif
