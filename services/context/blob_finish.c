/* SPDX-License-Identifier: Apache-2.0 */
/* blob_finish.c - FinishUpload: is it whole, what is its hash, into the store, and then it is a blob.
 *
 * One at a time per upload and replica, 1 MiB in memory. It goes on when the one who asked has no time left,
 * for blob_finish_timeout_ms at most: who asks again meanwhile waits for the same, and who asks after it is
 * answered from the database. Another replica would do it once more, to the same end. */
#include "blob.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blob_statements.h"
#include "blob_store.h"
#include "ops/failpoint.h"

enum { TYPE_MAX_BYTES = 255, RETRY_AFTER_MS = 200 };

static void start_check(struct blob_finish *finish);
static void on_checked(void *arg, struct db_work *work, const struct err *err);
static void on_group_to_hash(struct blob_finish *finish);
static void hash_group(void *arg);
static void on_hashed(void *arg, const struct err *err);
static void compare(struct blob_finish *finish);
static void start_store(struct blob_finish *finish);
static void start_commit(struct blob_finish *finish);
static void on_committed(void *arg, struct db_work *work, const struct err *err);

/* ---- the end ---- */

static void leave(struct blob_finish *finish)
{
    struct blob_finish **at = &finish->blobs->finishes;

    while (*at != finish)
        at = &(*at)->next;
    *at = finish->next;
    finish->blobs->finish_count--;
}

static void finish_free(struct blob_finish *finish)
{
    if (finish->file != 0) /* it ended between two groups */
        close(finish->file);
    EVP_MD_CTX_free(finish->hash);
    free(finish->group);
    free(finish->tenant);
    free(finish->content_type);
    free(finish);
}

void blob_finish_fail(struct blob_finish *finish, const struct err *err)
{
    struct context *context = finish->blobs->context;
    const struct err failed = *err; /* it may be the job's own */

    leave(finish);
    log_event(failed.kind == ERR_INVALID || failed.kind == ERR_NOT_FOUND ? LOG_INFO : LOG_WARN,
              "upload_not_finished", LOG_TEXT("tenant", finish->tenant),
              LOG_TEXT("upload", finish->upload_id), LOG_NUMBER("bytes", finish->size_bytes),
              LOG_ERR(&failed));
    stats_add_label(context->stats, CONTEXT_BLOBS, "failed", 1);
    for (size_t i = 0; i < finish->waiter_count; i++)
        context_call_fail(finish->waiters[i], &failed);
    finish_free(finish);
}

/* Between two steps: is there still time, and anybody to do it? */
static bool may_go_on(struct blob_finish *finish, const struct err *err)
{
    struct err failed = *err;

    if (failed.kind == ERR_NONE && finish->blobs->is_closing)
        err_set(&failed, ERR_UNAVAILABLE, "the service ends");
    else if (failed.kind == ERR_NONE && loop_now_ms(finish->blobs->context->loop) > finish->deadline_ms)
        err_set(&failed, ERR_DEADLINE, "upload %s: finishing took longer than blob_finish_timeout_ms",
                finish->upload_id);
    if (failed.kind == ERR_NONE)
        return true;
    if (finish->put != NULL) { /* its end is ours */
        finish->err = failed;
        http_call_cancel(finish->put);
        return false;
    }
    blob_finish_fail(finish, &failed);
    return false;
}

/* ---- reading the chunks ---- */

bool blob_finish_has_more(const struct blob_finish *finish)
{
    return finish->offset < finish->size_bytes;
}

static bool take_group(struct blob_finish *finish, const struct db_result *chunks, struct err *err)
{
    finish->group_offset = finish->offset;
    finish->group_len = finish->group_given = 0;
    for (size_t i = 0; i < db_rows(chunks); i++) {
        struct str_view bytes = db_bytes(chunks, i, 1);

        if ((uint64_t)db_i64(chunks, i, 0) != finish->offset || bytes.len > BLOB_CHUNK_BYTES)
            break;
        memcpy(finish->group + finish->group_len, bytes.data, bytes.len);
        finish->group_len += bytes.len;
        finish->offset += bytes.len;
    }
    if (finish->group_len == 0)
        return err_set(err, ERR_NOT_FOUND, "upload %s: is gone", finish->upload_id);
    return true;
}

static void on_chunks(void *arg, struct db_work *work, const struct err *err)
{
    struct blob_finish *finish = arg;
    struct err failed = *err;

    finish->is_fetching = false;
    if (finish->is_put_over) {
        blob_finish_stored(finish);
        return;
    }
    if (failed.kind == ERR_NONE)
        (void)!take_group(finish, db_work_result(work, 0), &failed);
    if (may_go_on(finish, &failed))
        finish->on_group(finish);
}

void blob_finish_fetch(struct blob_finish *finish, blob_group_fn *on_group)
{
    struct db_work *work = db_work_new(finish->blobs->pool);

    finish->on_group = on_group;
    finish->is_fetching = true;
    if (finish->group == NULL && (finish->group = malloc(BLOB_GROUP_BYTES)) == NULL)
        abort();
    db_work_add(work, &blob_sql_select_chunks,
                (struct db_param[]){ DB_PARAM_TEXT(finish->tenant), DB_PARAM_UUID(finish->upload_id),
                                     DB_PARAM_I64(finish->offset), DB_PARAM_I32(BLOB_GROUP_CHUNKS) },
                4);
    db_work_run(work, on_chunks, finish);
}

/* ---- step by step ---- */

static void start_check(struct blob_finish *finish)
{
    struct db_work *work = db_work_new(finish->blobs->pool);

    db_work_add(work, &blob_sql_check_upload,
                (struct db_param[]){ DB_PARAM_TEXT(finish->tenant), DB_PARAM_UUID(finish->upload_id),
                                     DB_PARAM_I64(finish->size_bytes),
                                     DB_PARAM_I64(finish->blobs->config->blob_finish_timeout_ms) },
                4);
    db_work_run(work, on_checked, finish);
}

static void on_checked(void *arg, struct db_work *work, const struct err *err)
{
    struct blob_finish *finish = arg;

    if (!may_go_on(finish, err))
        return;
    if (!db_is_null(db_work_result(work, 0), 0, 0))
        start_commit(finish); /* it is finished: the commit answers the same */
    else if (blob_finish_has_more(finish))
        blob_finish_fetch(finish, on_group_to_hash);
    else
        on_group_to_hash(finish);
}

static void on_group_to_hash(struct blob_finish *finish)
{
    blob_work(finish->blobs, hash_group, on_hashed, finish);
}

/* On the worker. */
static void hash_group(void *arg)
{
    struct blob_finish *finish = arg;
    bool is_done = EVP_DigestUpdate(finish->hash, finish->group, finish->group_len) == 1;

    if (is_done && !blob_finish_has_more(finish))
        is_done = EVP_DigestFinal_ex(finish->hash, finish->sha256, NULL) == 1;
    if (!is_done)
        abort();
}

static void on_hashed(void *arg, const struct err *err)
{
    struct blob_finish *finish = arg;

    if (!may_go_on(finish, err))
        return;
    if (blob_finish_has_more(finish))
        blob_finish_fetch(finish, on_group_to_hash);
    else
        compare(finish);
}

static void on_dropped(void *arg, struct db_work *work, const struct err *err)
{
    struct blob_finish *finish = arg;
    struct blobs *blobs = finish->blobs;

    (void)work;
    (void)err; /* not dropped now: collected with those nobody finishes */
    blob_finish_fail(finish, &finish->err);
    blob_collect_soon(blobs);
}

static void drop(struct blob_finish *finish)
{
    struct db_work *work = db_work_new(finish->blobs->pool);

    db_work_add(work, &blob_sql_abort_upload,
                (struct db_param[]){ DB_PARAM_TEXT(finish->tenant), DB_PARAM_UUID(finish->upload_id) }, 2);
    db_work_run(work, on_dropped, finish);
}

static void compare(struct blob_finish *finish)
{
    SCOPED_BUF real = { 0 };

    if (!finish->has_said || memcmp(finish->said, finish->sha256, BLOB_SHA256_BYTES) == 0) {
        start_store(finish);
        return;
    }
    buf_init(&real, (size_t)4 * BLOB_SHA256_BYTES);
    hex_append(&real, finish->sha256, BLOB_SHA256_BYTES);
    err_set(&finish->err, ERR_INVALID, "upload %s: its sha256 is %s, another than was said",
            finish->upload_id, buf_text(&real));
    drop(finish);
}

/* ---- the store ---- */

void blob_name(const struct blob_finish *finish, const char *prefix, char ret_place[BLOB_PLACE_MAX_BYTES])
{
    SCOPED_BUF hex = { 0 };

    buf_init(&hex, (size_t)4 * BLOB_SHA256_BYTES);
    hex_append(&hex, finish->sha256, BLOB_SHA256_BYTES);
    snprintf(ret_place, BLOB_PLACE_MAX_BYTES, "%s%s/%.2s/%.2s/%s.%s", prefix, finish->tenant, buf_text(&hex),
             buf_text(&hex) + 2, buf_text(&hex), finish->upload_id);
}

static void on_intended(void *arg, struct db_work *work, const struct err *err)
{
    struct blob_finish *finish = arg;
    struct err failed = *err;

    if (failed.kind == ERR_NONE && FAILPOINT("context_blob_before_store_put"))
        err_set(&failed, ERR_UNAVAILABLE, "failpoint");
    if (!may_go_on(finish, &failed))
        return;
    if (db_i64(db_work_result(work, 0), 0, 0) == 0) {
        start_commit(finish); /* finished elsewhere meanwhile */
        return;
    }
    finish->offset = 0;
    finish->group_len = finish->group_given = 0;
    if (finish->blobs->store == BLOB_STORE_S3)
        blob_s3_put(finish);
    else
        blob_directory_put(finish);
}

/* Written down first, so that what lies in the store without a blob is found again; held for longer than any
 * finishing may take. */
static void start_store(struct blob_finish *finish)
{
    const struct blobs *blobs = finish->blobs;
    struct db_work *work;

    if (blobs->store == BLOB_STORE_DATABASE) {
        snprintf(finish->place, sizeof(finish->place), "%s", finish->upload_id);
        start_commit(finish);
        return;
    }
    blob_name(finish, blobs->store == BLOB_STORE_S3 ? blobs->config->s3_prefix : "", finish->place);
    work = db_work_new(blobs->pool);
    db_work_add(work, &blob_sql_intend,
                (struct db_param[]){ DB_PARAM_TEXT(finish->tenant), DB_PARAM_UUID(finish->upload_id),
                                     DB_PARAM_I32(blobs->store), DB_PARAM_TEXT(finish->place),
                                     DB_PARAM_I64(2 * (int64_t)blobs->config->blob_finish_timeout_ms) },
                5);
    db_work_run(work, on_intended, finish);
}

void blob_finish_stored(struct blob_finish *finish)
{
    finish->put = NULL;
    finish->is_put_over = finish->is_fetching;
    if (finish->is_fetching)
        return; /* the chunks come first, then it ends */
    if (finish->err.kind == ERR_NONE && FAILPOINT("context_blob_after_store_put_before_commit"))
        err_set(&finish->err, ERR_UNAVAILABLE, "failpoint");
    if (may_go_on(finish, &finish->err))
        start_commit(finish);
}

/* ---- the commit ---- */

static void start_commit(struct blob_finish *finish)
{
    struct db_work *work;
    const struct err none = { 0 };
    struct err failed = none;

    if (FAILPOINT("context_blob_before_finish_commit"))
        err_set(&failed, ERR_UNAVAILABLE, "failpoint");
    if (!may_go_on(finish, &failed))
        return;
    work = db_work_new(finish->blobs->pool);
    db_work_add(
        work, &blob_sql_finish_upload,
        (struct db_param[]){ DB_PARAM_TEXT(finish->tenant), DB_PARAM_UUID(finish->upload_id),
                             DB_PARAM_BYTES(((struct str_view){ (char *)finish->sha256, BLOB_SHA256_BYTES })),
                             DB_PARAM_I64(finish->size_bytes), DB_PARAM_TEXT(finish->content_type),
                             DB_PARAM_I32(finish->blobs->store), DB_PARAM_TEXT(finish->place) },
        7);
    db_work_run(work, on_committed, finish);
}

/* Finished before: was it what is asked for now? */
static bool check_answer(const struct blob_finish *finish, const struct db_result *blob, struct err *err)
{
    if (db_rows(blob) == 0)
        return err_set(err, ERR_NOT_FOUND, "upload %s: its blob was collected", finish->upload_id);
    if ((uint64_t)db_i64(blob, 0, 1) != finish->size_bytes ||
        (finish->has_said && memcmp(db_bytes(blob, 0, 0).data, finish->said, BLOB_SHA256_BYTES) != 0))
        return err_set(err, ERR_INVALID, "upload %s: was finished as another blob", finish->upload_id);
    return true;
}

static void answer(struct blob_finish *finish, struct db_work *work)
{
    for (size_t i = 0; i < finish->waiter_count; i++) {
        Guichet__V1__FinishUploadReply reply = GUICHET__V1__FINISH_UPLOAD_REPLY__INIT;

        reply.blob = blob_row(finish->waiters[i], work, db_work_result(work, 0));
        context_call_reply(finish->waiters[i], &reply);
    }
}

static void on_committed(void *arg, struct db_work *work, const struct err *err)
{
    struct blob_finish *finish = arg;
    struct context *context = finish->blobs->context;
    struct err failed = *err;
    bool is_ours;

    if (failed.kind == ERR_NONE && FAILPOINT("context_blob_after_finish_commit_before_reply"))
        err_set(&failed, ERR_UNAVAILABLE, "failpoint");
    if (failed.kind == ERR_NONE)
        (void)!check_answer(finish, db_work_result(work, 0), &failed);
    if (failed.kind != ERR_NONE) {
        blob_finish_fail(finish, &failed);
        return;
    }
    is_ours = strcmp(db_text(work, db_work_result(work, 0), 0, 4), finish->place) == 0;
    stats_add_label(context->stats, CONTEXT_BLOBS, is_ours ? "stored" : "known", 1);
    stats_observe_ms(context->stats, CONTEXT_BLOB_FINISH_SECONDS,
                     (double)(loop_now_ms(context->loop) - finish->start_ms));
    if (!is_ours || finish->blobs->store != BLOB_STORE_DATABASE)
        blob_collect_soon(finish->blobs); /* the chunks have served */
    leave(finish);
    answer(finish, work);
    finish_free(finish);
}

/* ---- the beginning ---- */

static bool check_input(const struct blob_config *config, const Guichet__V1__FinishUploadRequest *input,
                        struct err *err)
{
    if (input->size_bytes > config->blob_max_bytes)
        return err_set(err, ERR_INVALID, "upload %s: is larger than %u bytes", input->upload_id,
                       config->blob_max_bytes);
    return context_check_id("upload_id", input->upload_id, err) &&
           context_check_text("content_type", input->content_type, TYPE_MAX_BYTES, err) &&
           (input->sha256.len == 0 || blob_check_sha256(&input->sha256, err));
}

static struct blob_finish *find(const struct blobs *blobs, const Guichet__V1__FinishUploadRequest *input)
{
    struct blob_finish *finish = blobs->finishes;

    while (finish != NULL &&
           (strcmp(finish->upload_id, input->upload_id) != 0 || strcmp(finish->tenant, input->tenant) != 0))
        finish = finish->next;
    return finish;
}

static struct blob_finish *finish_new(struct blobs *blobs, const Guichet__V1__FinishUploadRequest *input)
{
    struct blob_finish *finish = calloc(1, sizeof(*finish));

    if (finish == NULL || (finish->hash = EVP_MD_CTX_new()) == NULL ||
        EVP_DigestInit_ex(finish->hash, EVP_sha256(), NULL) != 1)
        abort();
    finish->blobs = blobs;
    finish->tenant = str_dup(str_view_of(input->tenant));
    finish->content_type = str_dup(str_view_of(input->content_type));
    snprintf(finish->upload_id, sizeof(finish->upload_id), "%s", input->upload_id);
    finish->size_bytes = input->size_bytes;
    finish->has_said = input->sha256.len > 0;
    if (finish->has_said)
        memcpy(finish->said, input->sha256.data, BLOB_SHA256_BYTES);
    finish->start_ms = loop_now_ms(blobs->context->loop);
    finish->deadline_ms = finish->start_ms + blobs->config->blob_finish_timeout_ms;
    finish->next = blobs->finishes;
    blobs->finishes = finish;
    blobs->finish_count++;
    return finish;
}

/* One that is under way already must be after the same. */
static bool check_running(const struct blob_finish *finish, const Guichet__V1__FinishUploadRequest *input,
                          struct err *err)
{
    if (finish->waiter_count == BLOB_WAITERS_MAX)
        return err_set(err, ERR_EXHAUSTED, "upload %s: %d wait for its end already", finish->upload_id,
                       BLOB_WAITERS_MAX);
    if (finish->size_bytes != input->size_bytes || finish->has_said != (input->sha256.len > 0) ||
        (finish->has_said && memcmp(finish->said, input->sha256.data, BLOB_SHA256_BYTES) != 0))
        return err_set(err, ERR_CONFLICT, "upload %s: is being finished as another", finish->upload_id);
    return true;
}

void blob_finish_upload(Guichet__V1__Blobs_Service *service, const Guichet__V1__FinishUploadRequest *input,
                        Guichet__V1__FinishUploadReply_Closure closure, void *closure_data)
{
    struct call *call = BLOB_CALL_OPEN(service, input, closure, closure_data);
    struct blob_finish *finish;
    struct blobs *blobs;
    struct err err = { 0 };

    if (call == NULL)
        return;
    blobs = blob_blobs_of(call);
    finish = find(blobs, input);
    if (!check_input(blobs->config, input, &err)) {
        context_call_fail(call, &err);
    } else if (finish != NULL) {
        if (check_running(finish, input, &err))
            finish->waiters[finish->waiter_count++] = call;
        else
            context_call_fail(call, &err);
    } else if (blobs->finish_count >= blobs->config->blob_finishes_max) {
        err_set(&err, ERR_EXHAUSTED, "%u uploads are being finished already", blobs->finish_count);
        err.retry_after_ms = RETRY_AFTER_MS;
        context_call_fail(call, &err);
    } else {
        finish = finish_new(blobs, input);
        finish->waiters[finish->waiter_count++] = call;
        start_check(finish);
    }
}
