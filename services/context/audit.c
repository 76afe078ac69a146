/* SPDX-License-Identifier: Apache-2.0 */
/* audit.c - Audit: did we lose anything? The manifest is asked, slice by slice, and added up here.
 *
 * First by time: what manifests say is stored must be there; the same slices tell which blocks of numbers were
 * in use. Then block by block: what each number became, and the gaps between them. A slice is one statement of
 * bounded size, so that a day of millions of events needs neither a long transaction nor much memory. */
#include "context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/duration.h"
#include "core/id.h"
#include "core/pbtime.h"
#include "rows.h"
#include "statements.h"

enum {
    SLICE_EVENTS = 20000,
    HOLES_MAX = 1000,
    BLOCKS_MAX = 200000, /* of 65536 numbers each: past it a shorter time must be asked for */
};

enum rows_column {
    ROWS_KIND,
    ROWS_BOOT_ID,
    ROWS_BOOT_LANE,
    ROWS_NUMBER,
    ROWS_ACCOUNT_ID,
    ROWS_EVENT_ID,
    ROWS_RESULT,
    ROWS_AT,
    ROWS_WHAT,
};
enum rows_kind { ROWS_LAST = 1, ROWS_BLOCK = 2, ROWS_GONE = 3 };

enum block_column {
    BLOCK_KIND,
    BLOCK_ACCOUNT_ID,
    BLOCK_RESULT,
    BLOCK_AMOUNT,
    BLOCK_FIRST,
    BLOCK_LAST,
    BLOCK_AT,
};
enum block_kind { BLOCK_COUNT = 1, BLOCK_GAP = 2 };

enum { RESULT_STORED = 1, RESULT_DUPLICATE = 2, RESULT_REFUSED = 3, RESULT_COUNT };

struct block {
    const char *boot_id;
    int64_t lane, number;
};

/* Signed: what is gone is taken off before what came is counted. */
struct sums {
    char *account_id;
    int64_t counts[RESULT_COUNT], missing;
};

struct audit {
    struct call *call;
    char since[ID_TEXT_BYTES], until[ID_TEXT_BYTES], after[ID_TEXT_BYTES];
    struct block *blocks; /* on the heap: freed by end() */
    size_t block_count, block_size, block_at;
    struct sums *sums;
    size_t sums_count, sums_size;
    Guichet__V1__AuditReply reply;
};

static void run_rows(struct audit *audit);
static void run_block(struct audit *audit);

static uint64_t positive(int64_t count)
{
    return count > 0 ? (uint64_t)count : 0;
}

static Guichet__V1__AuditAccount *account_of(const struct sums *sums, struct arena *arena)
{
    Guichet__V1__AuditAccount *account = context_alloc(arena, sizeof(*account));

    guichet__v1__audit_account__init(account);
    account->account_id = sums->account_id;
    account->stored_count = positive(sums->counts[RESULT_STORED]);
    account->duplicate_count = positive(sums->counts[RESULT_DUPLICATE]);
    account->refused_count = positive(sums->counts[RESULT_REFUSED]);
    account->missing_count = positive(sums->missing);
    account->received_count = account->stored_count + account->duplicate_count + account->refused_count +
                              account->missing_count;
    return account;
}

static int compare_sums(const void *left, const void *right)
{
    return strcmp(((const struct sums *)left)->account_id, ((const struct sums *)right)->account_id);
}

static void answer(struct audit *audit)
{
    Guichet__V1__AuditReply *reply = &audit->reply;

    if (audit->sums_count > 0)
        qsort(audit->sums, audit->sums_count, sizeof(*audit->sums), compare_sums);
    reply->accounts =
        context_alloc(audit->call->arena, (audit->sums_count + 1) * sizeof(*reply->accounts));
    for (size_t i = 0; i < audit->sums_count; i++)
        reply->accounts[reply->n_accounts++] = account_of(&audit->sums[i], audit->call->arena);
    context_call_reply(audit->call, reply);
}

static void end(struct audit *audit, const struct err *err)
{
    free(audit->blocks);
    audit->blocks = NULL;
    if (err->kind != ERR_NONE)
        context_call_fail(audit->call, err);
    else
        answer(audit);
}

/* Nobody waits any more: the rest would be for nothing. */
static bool is_in_time(const struct audit *audit, struct err *err)
{
    return mesh_request_left_ms(mesh_request_of(audit->call->closure_data)) > 0 ||
           err_set(err, ERR_DEADLINE, "the audit of so long a time takes longer");
}

/* ---- adding up ---- */

static struct sums *sums_of(struct audit *audit, const char *account_id)
{
    struct sums *grown;

    for (size_t i = 0; i < audit->sums_count; i++)
        if (strcmp(audit->sums[i].account_id, account_id) == 0)
            return &audit->sums[i];
    if (audit->sums_count == audit->sums_size) {
        audit->sums_size = audit->sums_size * 2 + 16;
        grown = context_alloc(audit->call->arena, audit->sums_size * sizeof(*grown));
        if (audit->sums_count > 0)
            memcpy(grown, audit->sums, audit->sums_count * sizeof(*grown));
        audit->sums = grown;
    }
    audit->sums[audit->sums_count].account_id = arena_strdup(audit->call->arena, account_id);
    return &audit->sums[audit->sums_count++];
}

/* NULL: there are more than are told. */
static Guichet__V1__AuditHole *add_hole(struct audit *audit, struct sums *sums, int64_t count)
{
    Guichet__V1__AuditReply *reply = &audit->reply;
    Guichet__V1__AuditHole *hole;

    sums->missing += count;
    reply->missing_count += (uint64_t)count;
    if (reply->n_holes == HOLES_MAX)
        return NULL;
    if (reply->holes == NULL)
        reply->holes = context_alloc(audit->call->arena, HOLES_MAX * sizeof(*reply->holes));
    hole = context_alloc(audit->call->arena, sizeof(*hole));
    guichet__v1__audit_hole__init(hole);
    hole->account_id = sums->account_id;
    reply->holes[reply->n_holes++] = hole;
    return hole;
}

/* ---- block by block ---- */

static void read_gap(struct audit *audit, const struct rows *rows, size_t row)
{
    const struct block *block = &audit->blocks[audit->block_at];
    Guichet__V1__AuditHole *hole = add_hole(audit, sums_of(audit, rows_text(rows, row, BLOCK_ACCOUNT_ID)),
                                            db_i64(rows->result, row, BLOCK_AMOUNT));

    if (hole == NULL)
        return;
    hole->boot_id = (char *)block->boot_id;
    hole->boot_lane = (uint32_t)block->lane;
    hole->first = (uint64_t)db_i64(rows->result, row, BLOCK_FIRST);
    hole->last = (uint64_t)db_i64(rows->result, row, BLOCK_LAST);
    hole->at = rows_time(rows, row, BLOCK_AT);
    hole->what = arena_strdup(rows->arena, "never recorded");
}

static void read_count(struct audit *audit, const struct rows *rows, size_t row)
{
    int64_t result = db_i64(rows->result, row, BLOCK_RESULT);

    if (result >= RESULT_STORED && result < RESULT_COUNT)
        sums_of(audit, rows_text(rows, row, BLOCK_ACCOUNT_ID))->counts[result] +=
            db_i64(rows->result, row, BLOCK_AMOUNT);
}

static void on_block(void *arg, struct db_work *work, const struct err *err)
{
    struct audit *audit = arg;
    struct rows rows;

    if (err->kind != ERR_NONE) {
        end(audit, err);
        return;
    }
    rows = rows_of(audit->call, work, 0);
    for (size_t row = 0; row < db_rows(rows.result); row++)
        if (db_i64(rows.result, row, BLOCK_KIND) == BLOCK_COUNT)
            read_count(audit, &rows, row);
        else
            read_gap(audit, &rows, row);
    audit->block_at++;
    run_block(audit);
}

/* Manifests of a boot that began within the retention are all there, from number 1 on. */
static bool is_whole(const struct audit *audit, const char *boot_id)
{
    int64_t kept_us = (int64_t)audit->call->context->config->intake_retention_days * 86400 * 1000000;
    char oldest[ID_TEXT_BYTES];
    struct id id;

    if (!id_parse(boot_id, &id) || id.bytes[6] >> 4 != 7)
        return false;
    id_format(id_at(time_now_us() - kept_us), oldest);
    return strcmp(boot_id, oldest) > 0;
}

static void run_block(struct audit *audit)
{
    const struct block *block = &audit->blocks[audit->block_at];
    struct err err = { 0 };
    struct db_work *work;

    if (audit->block_at == audit->block_count || !is_in_time(audit, &err)) {
        end(audit, &err);
        return;
    }
    work = db_work_new(audit->call->context->database.long_);
    db_work_add(work, &context_audit_block,
                (struct db_param[]){ DB_PARAM_TEXT(audit->call->tenant), DB_PARAM_TEXT(block->boot_id),
                                     DB_PARAM_I32(block->lane), DB_PARAM_I64(block->number),
                                     DB_PARAM_UUID(audit->since), DB_PARAM_UUID(audit->until),
                                     DB_PARAM_BOOL(is_whole(audit, block->boot_id)) },
                7);
    db_work_run(work, on_block, audit);
}

/* ---- by time ---- */

static void read_gone(struct audit *audit, const struct rows *rows, size_t row)
{
    struct sums *sums = sums_of(audit, rows_text(rows, row, ROWS_ACCOUNT_ID));
    Guichet__V1__AuditHole *hole = add_hole(audit, sums, 1);
    struct arena *arena = rows->arena;

    sums->counts[db_i64(rows->result, row, ROWS_RESULT)]--;
    if (hole == NULL)
        return;
    hole->boot_id = arena_strdup(arena, rows_text(rows, row, ROWS_BOOT_ID));
    hole->boot_lane = (uint32_t)db_i64(rows->result, row, ROWS_BOOT_LANE);
    hole->first = hole->last = (uint64_t)db_i64(rows->result, row, ROWS_NUMBER);
    hole->event_id = arena_strdup(arena, rows_text(rows, row, ROWS_EVENT_ID));
    hole->at = rows_time(rows, row, ROWS_AT);
    hole->what = arena_strdup(arena, rows_text(rows, row, ROWS_WHAT));
}

static int compare_blocks(const void *left, const void *right)
{
    const struct block *a = left, *b = right;
    int order = strcmp(a->boot_id, b->boot_id);

    if (order == 0)
        order = (a->lane > b->lane) - (a->lane < b->lane);
    return order != 0 ? order : (a->number > b->number) - (a->number < b->number);
}

/* Kept sorted: a block is in use for many slices. */
static bool add_block(struct audit *audit, const struct rows *rows, size_t row, struct err *err)
{
    struct block block = { rows_text(rows, row, ROWS_BOOT_ID), db_i64(rows->result, row, ROWS_BOOT_LANE),
                           db_i64(rows->result, row, ROWS_NUMBER) };
    size_t low = 0, high = audit->block_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_blocks(&audit->blocks[middle], &block);

        if (order == 0)
            return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (audit->block_count == BLOCKS_MAX)
        return err_set(err, ERR_EXHAUSTED, "so long a time has more than %d blocks of numbers", BLOCKS_MAX);
    if (audit->block_count == audit->block_size) {
        audit->block_size = audit->block_size * 2 + 64;
        audit->blocks = realloc(audit->blocks, audit->block_size * sizeof(*audit->blocks));
        if (audit->blocks == NULL)
            abort();
    }
    memmove(audit->blocks + low + 1, audit->blocks + low, (audit->block_count - low) * sizeof(block));
    block.boot_id = arena_strdup(rows->arena, block.boot_id);
    audit->blocks[low] = block;
    audit->block_count++;
    return true;
}

static void on_rows(void *arg, struct db_work *work, const struct err *err)
{
    struct audit *audit = arg;
    struct err wrong = { 0 };
    struct rows rows;

    if (err->kind != ERR_NONE) {
        end(audit, err);
        return;
    }
    rows = rows_of(audit->call, work, 0);
    audit->after[0] = '\0';
    for (size_t row = 0; row < db_rows(rows.result) && wrong.kind == ERR_NONE; row++) {
        int64_t kind = db_i64(rows.result, row, ROWS_KIND);

        if (kind == ROWS_LAST)
            snprintf(audit->after, sizeof(audit->after), "%s", rows_text(&rows, row, ROWS_EVENT_ID));
        else if (kind == ROWS_BLOCK)
            (void)add_block(audit, &rows, row, &wrong);
        else
            read_gone(audit, &rows, row);
    }
    if (wrong.kind != ERR_NONE)
        end(audit, &wrong);
    else if (audit->after[0] == '\0')
        run_block(audit);
    else
        run_rows(audit);
}

static void run_rows(struct audit *audit)
{
    struct err err = { 0 };
    struct db_work *work;

    if (!is_in_time(audit, &err)) {
        end(audit, &err);
        return;
    }
    work = db_work_new(audit->call->context->database.long_);
    db_work_add(work, &context_audit_rows,
                (struct db_param[]){ DB_PARAM_TEXT(audit->call->tenant), DB_PARAM_UUID(audit->after),
                                     DB_PARAM_UUID(audit->until), DB_PARAM_I32(SLICE_EVENTS),
                                     DB_PARAM_I32(audit->call->context->config->refused_retention_days) },
                5);
    db_work_run(work, on_rows, audit);
}

void context_audit(Guichet__V1__Context_Service *service, const Guichet__V1__AuditRequest *input,
                   Guichet__V1__AuditReply_Closure closure, void *closure_data)
{
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    int64_t since_us = pbtime_us(input->since), until_us = pbtime_us(input->until);
    struct audit *audit;
    struct err err = { 0 };

    if (call == NULL)
        return;
    if (until_us == 0)
        until_us = time_now_us() + 1000; /* the millisecond that runs */
    if (since_us < 0 || since_us >= until_us) {
        (void)err_set(&err, ERR_INVALID, "since: is not before until");
        context_call_fail(call, &err);
        return;
    }
    audit = context_alloc(call->arena, sizeof(*audit));
    audit->call = call;
    guichet__v1__audit_reply__init(&audit->reply);
    id_format(id_at(since_us), audit->since);
    id_format(id_at(until_us), audit->until);
    snprintf(audit->after, sizeof(audit->after), "%s", audit->since);
    run_rows(audit);
}
