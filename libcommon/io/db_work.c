/* SPDX-License-Identifier: Apache-2.0 */
/* db_work.c - one unit of work: a list of statements, sent as one, ended once.
 *
 * States: NEW -> QUEUED -> SENT -> ENDED, with SENT -> PAUSED -> QUEUED when the server
 * asks for another attempt; NEW -> REFUSED -> ENDED when it cannot even be queued. */
#include "io/db_conn.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WORK_MAX_BYTES (256u << 20)
#define ATTEMPTS_MAX 5
#define PAUSE_FIRST_MS 10

struct db_work *db_work_new(struct db_pool *pool)
{
    struct db_work *work = calloc(1, sizeof(*work));

    if (work == NULL)
        abort();
    work->pool = pool;
    work->arena = arena_new(WORK_MAX_BYTES);
    work->failed_index = SIZE_MAX;
    TAILQ_INSERT_TAIL(&pool->created, work, link);
    return work;
}

static void clear_results(struct db_work *work)
{
    for (size_t i = 0; i < work->query_count; i++) {
        PQclear(work->queries[i].result);
        work->queries[i].result = NULL;
    }
}

void db_work_free(struct db_work **work_at)
{
    struct db_work *work = *work_at;

    *work_at = NULL;
    if (work == NULL)
        return;
    clear_results(work);
    loop_timer_free(&work->pause);
    arena_free(&work->arena);
    free(work->queries);
    free(work);
}

struct arena *db_work_arena(struct db_work *work)
{
    return work->arena;
}

/* The first error counts: what follows is its consequence. */
static bool is_first_error(const struct db_work *work)
{
    return work->err.kind == ERR_NONE;
}

void db_work_fail_text(struct db_work *work, enum err_kind kind, const char *text)
{
    if (is_first_error(work))
        err_set(&work->err, kind, "%s", text);
}

void db_work_fail(struct db_work *work, const PGresult *result, size_t index)
{
    if (!is_first_error(work))
        return;
    db_error_of(result, index < work->query_count ? work->queries[index].statement->name : NULL, &work->err,
                work->sqlstate);
    work->failed_index = index;
    work->is_stale = db_error_is_stale(result);
}

static struct db_query *add_query(struct db_work *work)
{
    if (work->query_count == work->query_size) {
        work->query_size = work->query_size == 0 ? 4 : work->query_size * 2;
        work->queries = realloc(work->queries, work->query_size * sizeof(*work->queries));
        if (work->queries == NULL)
            abort();
    }
    work->queries[work->query_count] = (struct db_query){ 0 };
    return &work->queries[work->query_count++];
}

void db_work_add(struct db_work *work, const struct db_statement *statement, const struct db_param *params,
                 size_t count)
{
    struct db_query *query = add_query(work);
    const char *name = statement->name != NULL ? statement->name : "";
    struct err err = { 0 };

    query->statement = statement;
    query->param_count = (int)count;
    if (count == 0 || !is_first_error(work))
        return;
    query->values = arena_alloc(work->arena, count * sizeof(*query->values));
    query->lengths = arena_alloc(work->arena, count * sizeof(*query->lengths));
    query->formats = arena_alloc(work->arena, count * sizeof(*query->formats));
    if (query->values == NULL || query->lengths == NULL || query->formats == NULL) {
        db_work_fail_text(work, ERR_INVALID, "the parameters of one database work are too large");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (!db_param_encode(work->arena, &params[i], &query->values[i], &query->lengths[i],
                             &query->formats[i], &err)) {
            err_at(&err, "%s, parameter %zu", name, i + 1);
            db_work_fail_text(work, err.kind, err.text);
            work->failed_index = work->query_count - 1;
            return;
        }
    }
}

static void on_pause_over(void *arg)
{
    struct db_work *work = arg;

    db_pool_enqueue(work->pool, work, true);
    db_pool_kick(work->pool);
}

static bool is_worth_another(const struct db_work *work)
{
    return work->err.kind != ERR_NONE && work->attempts < ATTEMPTS_MAX &&
           (work->is_stale || db_error_is_passing(work->sqlstate));
}

/* 40001 and 40P01 mean that nothing was done; the full jitter parts those who met. */
static void try_again(struct db_work *work)
{
    uint32_t number;

    random_bytes(&number, sizeof(number));
    stats_add(work->pool->db->stats, DB_RETRIES, 1);
    clear_results(work);
    work->err = (struct err){ 0 };
    work->sqlstate[0] = '\0';
    work->failed_index = SIZE_MAX;
    work->is_stale = false;
    work->state = DB_WORK_PAUSED;
    if (work->pause == NULL)
        work->pause = loop_timer_new(work->pool->db->loop, on_pause_over, work);
    loop_timer_start(work->pause, 1 + number % (PAUSE_FIRST_MS << work->attempts), 0);
    work->attempts++;
}

void db_work_end(struct db_work *work)
{
    work->conn = NULL;
    if (work->is_stale)
        db_pool_forget_prepared(work->pool);
    if (is_worth_another(work))
        try_again(work);
    else
        db_work_finish(work);
}

void db_work_finish(struct db_work *work)
{
    struct db_pool *pool = work->pool;
    struct stats *stats = pool->db->stats;

    db_pool_forget(work);
    work->state = DB_WORK_ENDED;
    loop_timer_free(&work->pause);
    if (work->err.kind != ERR_NONE) {
        clear_results(work);
        stats_add_label(stats, DB_FAILURES, err_kind_name(work->err.kind), 1);
    }
    stats_add_label(stats, DB_WORKS, pool->name, 1);
    stats_observe_ms(stats, DB_TIME, (double)(loop_now_ms(pool->db->loop) - work->start_ms));
    work->done(work->arg, work, &work->err);
    db_work_free(&work);
}

const struct db_result *db_work_result(const struct db_work *work, size_t index)
{
    return index < work->query_count ? (const struct db_result *)work->queries[index].result : NULL;
}

const char *db_work_sqlstate(const struct db_work *work)
{
    return work->sqlstate;
}

size_t db_work_failed_index(const struct db_work *work)
{
    return work->failed_index;
}
