/* SPDX-License-Identifier: Apache-2.0 */
/* spool_counts.c - how much waits where: kept in memory by the loop, so that nobody waits for the worker to know
 * whether a lane has rows. */
#include "io/spool_job.h"

#include <stdlib.h>
#include <string.h>

void spool_counts_init(struct spool_counts *counts, const struct spool_scope *scope)
{
    *counts = (struct spool_counts){
        .lanes = calloc(scope->account_count * scope->lanes, sizeof(*counts->lanes)),
        .account_events = calloc(scope->account_count, sizeof(*counts->account_events)),
        .account_oldest_us = calloc(scope->account_count, sizeof(*counts->account_oldest_us)),
    };
    if (counts->lanes == NULL || counts->account_events == NULL || counts->account_oldest_us == NULL)
        abort();
}

void spool_counts_done(struct spool_counts *counts)
{
    free(counts->lanes);
    free(counts->account_events);
    free(counts->account_oldest_us);
    *counts = (struct spool_counts){ 0 };
}

void spool_counts_add_row(struct spool_counts *counts, const struct spool_scope *scope,
                          const struct spool_row *row, bool is_in)
{
    uint64_t one = is_in ? 1 : UINT64_MAX; /* unsigned: adds -1 */
    size_t lane = row->account * scope->lanes + row->thread_key % scope->lanes;

    counts->rows += one;
    counts->bytes += is_in ? row->bytes.len : 0 - row->bytes.len;
    if (row->kind == SPOOL_REPORT) {
        counts->reports += one;
        return;
    }
    counts->lanes[lane] += one;
    if (row->kind != SPOOL_EVENT)
        return;
    counts->events += one;
    counts->account_events[row->account] += one;
    if (counts->account_events[row->account] == 0)
        counts->account_oldest_us[row->account] = 0;
    else if (counts->account_oldest_us[row->account] == 0)
        counts->account_oldest_us[row->account] = row->at_us;
}

void spool_counts_add(struct spool_counts *to, const struct spool_scope *scope,
                      const struct spool_counts *from)
{
    to->rows += from->rows;
    to->events += from->events;
    to->reports += from->reports;
    to->bytes += from->bytes;
    for (size_t i = 0; i < scope->account_count * scope->lanes; i++)
        to->lanes[i] += from->lanes[i];
    for (size_t i = 0; i < scope->account_count; i++) {
        int64_t oldest_us = from->account_oldest_us[i];

        to->account_events[i] += from->account_events[i];
        if (oldest_us != 0 && (to->account_oldest_us[i] == 0 || oldest_us < to->account_oldest_us[i]))
            to->account_oldest_us[i] = oldest_us;
    }
}

/* Nothing in a file is older than its oldest row. */
void spool_raise_oldest(struct spool *spool, struct spool_file *file)
{
    for (size_t i = 0; file->oldest_us != 0 && i < spool->scope.account_count; i++)
        if (file->counts.account_oldest_us[i] != 0 && file->counts.account_oldest_us[i] < file->oldest_us)
            file->counts.account_oldest_us[i] = file->oldest_us;
}

bool spool_is_full(const struct spool *spool)
{
    struct spool_numbers numbers = spool_numbers(spool);

    return numbers.events + numbers.reports >= spool->options.rows_max ||
           numbers.bytes >= spool->options.bytes_max;
}

/* ---- what is known ---- */

bool spool_check_room(struct spool *spool, const struct spool_op *op, struct err *err)
{
    struct spool_numbers numbers = spool_numbers(spool);
    uint64_t rows = spool->pending_rows + op->row_count;

    for (const struct spool_file *file = spool->files; file != NULL; file = file->next)
        rows += file->counts.rows;
    if (rows > spool->options.rows_max)
        return err_set(err, ERR_EXHAUSTED, "spool: full: %llu events",
                       (unsigned long long)spool->options.rows_max);
    if (numbers.bytes + spool->pending_bytes + op->bytes > spool->options.bytes_max)
        return err_set(err, ERR_EXHAUSTED, "spool: full: %llu bytes",
                       (unsigned long long)spool->options.bytes_max);
    if (spool->own == NULL && !spool->is_opening)
        return err_set(err, ERR_UNAVAILABLE, "spool: no file can be made");
    return true;
}

bool spool_is_scanning(const struct spool *spool)
{
    return !spool->is_listed || spool->adopting > 0 || (spool->troubled > 0 && spool->own != NULL);
}

bool spool_is_refusing(const struct spool *spool, struct err *err)
{
    if (spool->failure.kind != ERR_NONE)
        return !err_set(err, spool->failure.kind, "%s", spool->failure.text);
    if (spool_is_full(spool))
        return !err_set(err, ERR_EXHAUSTED, "spool: full");
    return false;
}

uint64_t spool_lane_rows(const struct spool *spool, uint32_t account, uint32_t lane)
{
    const char *tenant = spool->scope.accounts[account].tenant;
    uint64_t rows = 0;

    for (const struct spool_file *file = spool->files; file != NULL; file = file->next)
        for (size_t i = 0; file->counts.rows > 0 && i < spool->scope.account_count; i++)
            if (i == account || strcmp(spool->scope.accounts[i].tenant, tenant) == 0)
                rows += file->counts.lanes[i * spool->scope.lanes + lane];
    return rows;
}

uint64_t spool_account_events(const struct spool *spool, uint32_t account, int64_t *ret_oldest_us)
{
    uint64_t events = 0;

    *ret_oldest_us = 0;
    for (const struct spool_file *file = spool->files; file != NULL; file = file->next) {
        int64_t oldest_us = file->counts.account_oldest_us[account];

        events += file->counts.account_events[account];
        if (oldest_us != 0 && (*ret_oldest_us == 0 || oldest_us < *ret_oldest_us))
            *ret_oldest_us = oldest_us;
    }
    return events;
}

struct spool_numbers spool_numbers(const struct spool *spool)
{
    struct spool_numbers numbers = spool->numbers;

    for (const struct spool_file *file = spool->files; file != NULL; file = file->next) {
        numbers.events += file->counts.events;
        numbers.reports += file->counts.reports;
        numbers.bytes += file->counts.bytes + file->counts.rows * SPOOL_ROW_OVERHEAD_BYTES;
        for (size_t i = 0; file->counts.events > 0 && i < spool->scope.account_count; i++) {
            int64_t oldest_us = file->counts.account_oldest_us[i];

            if (oldest_us != 0 && (numbers.oldest_us == 0 || oldest_us < numbers.oldest_us))
                numbers.oldest_us = oldest_us;
        }
    }
    return numbers;
}
