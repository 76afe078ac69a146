/* SPDX-License-Identifier: Apache-2.0 */
/* blob.c - blobs: the listener for routing and gateways, its small methods, and its beginning and end.
 *
 * A pool of its own: uploads must not use up the connections that quick reads need. On closing, the worker
 * and the store's connections end first, while the database is still there to be refused by. */
#include "blob.h"

#include <stdlib.h>
#include <string.h>

#include "blob_statements.h"
#include "blob_store.h"
#include "core/pbtime.h"
#include "ops/failpoint.h"

enum { WORKER_QUEUE_MAX = 64, TENANT_MAX_BYTES = 64, TYPE_MAX_BYTES = 255, POOL_QUEUE_MAX = 256 };

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

/* ---- a request ---- */

/* Tenants are parts of names in the stores, so they are what routing lets tenants be called, and no more. */
static bool check_tenant(const char *tenant, const char *envelope, struct err *err)
{
    if (tenant[0] == '\0' || strlen(tenant) > TENANT_MAX_BYTES ||
        tenant[strspn(tenant, NAME_CHARACTERS)] != '\0')
        return err_set(err, ERR_INVALID, "tenant: '%.64s' is none", tenant);
    if (envelope[0] != '\0' && strcmp(tenant, envelope) != 0)
        return err_set(err, ERR_INVALID, "tenant: '%s', but the envelope says '%s'", tenant, envelope);
    return true;
}

struct call *blob_call_open(Guichet__V1__Blobs_Service *service, const char *tenant,
                            const ProtobufCMessage *input, ProtobufCClosure closure, void *closure_data)
{
    struct blobs *blobs = ((struct blob_role *)service)->blobs;
    struct mesh_request *request = mesh_request_of(closure_data);
    struct arena *arena = arena_new((size_t)4 * BLOB_GROUP_BYTES);
    struct call *call = context_alloc(arena, sizeof(*call));
    struct err err = { 0 };

    *call = (struct call){ .context = blobs->context,
                           .arena = arena,
                           .tenant = tenant,
                           .closure = closure,
                           .closure_data = closure_data,
                           .data = (void *)input };
    stats_add_label(blobs->context->stats, CONTEXT_CALLS, strrchr(mesh_request_method(request), '/') + 1, 1);
    if (blobs->is_closing)
        err_set(&err, ERR_UNAVAILABLE, "the service ends");
    else if (check_tenant(tenant, mesh_request_tenant(request), &err))
        return call;
    context_call_fail(call, &err);
    return NULL;
}

struct blobs *blob_blobs_of(const struct call *call)
{
    return call->context->blobs;
}

bool blob_check_sha256(const ProtobufCBinaryData *sha256, struct err *err)
{
    if (sha256->len != BLOB_SHA256_BYTES)
        return err_set(err, ERR_INVALID, "sha256: has %zu bytes, not %d", sha256->len, BLOB_SHA256_BYTES);
    return true;
}

Guichet__V1__Blob *blob_row(struct call *call, const struct db_work *work, const struct db_result *result)
{
    Guichet__V1__Blob *blob = context_alloc(call->arena, sizeof(*blob));
    struct str_view sha256 = db_bytes(result, 0, 0);

    guichet__v1__blob__init(blob);
    blob->tenant = (char *)call->tenant;
    blob->sha256 = (ProtobufCBinaryData){ sha256.len, (uint8_t *)sha256.data };
    blob->size_bytes = (uint64_t)db_i64(result, 0, 1);
    blob->content_type = db_text(work, result, 0, 2);
    blob->created_at = pbtime_new(call->arena, db_time_us(result, 0, 3));
    return blob;
}

/* ---- PutChunk ---- */

static bool check_chunk(const struct blob_config *config, const Guichet__V1__PutChunkRequest *input,
                        struct err *err)
{
    if (!context_check_id("upload_id", input->upload_id, err))
        return false;
    if (input->offset % BLOB_CHUNK_BYTES != 0)
        return err_set(err, ERR_INVALID, "offset: %llu is no multiple of %d",
                       (unsigned long long)input->offset, BLOB_CHUNK_BYTES);
    if (input->bytes.len > BLOB_CHUNK_BYTES)
        return err_set(err, ERR_INVALID, "bytes: %zu, at most %d are a chunk", input->bytes.len,
                       BLOB_CHUNK_BYTES);
    if (input->bytes.len == 0 && input->offset > 0)
        return err_set(err, ERR_INVALID, "bytes: none, which only a blob of none has, at 0");
    if (input->offset > config->blob_max_bytes || input->offset + input->bytes.len > config->blob_max_bytes)
        return err_set(err, ERR_INVALID, "upload %s: is larger than %u bytes", input->upload_id,
                       config->blob_max_bytes);
    return true;
}

static void on_chunk_put(void *arg, struct db_work *work, const struct err *err)
{
    struct call *call = arg;
    const Guichet__V1__PutChunkRequest *input = call->data;
    Guichet__V1__PutChunkReply reply = GUICHET__V1__PUT_CHUNK_REPLY__INIT;
    struct err failed = *err;

    (void)work;
    if (failed.kind == ERR_NONE && FAILPOINT("context_blob_after_chunk_commit_before_reply"))
        err_set(&failed, ERR_UNAVAILABLE, "failpoint");
    if (failed.kind != ERR_NONE) {
        context_call_fail(call, &failed);
        return;
    }
    stats_add_label(call->context->stats, CONTEXT_BLOB_BYTES, "in", input->bytes.len);
    context_call_reply(call, &reply);
}

void blob_put_chunk(Guichet__V1__Blobs_Service *service, const Guichet__V1__PutChunkRequest *input,
                    Guichet__V1__PutChunkReply_Closure closure, void *closure_data)
{
    struct call *call = BLOB_CALL_OPEN(service, input, closure, closure_data);
    const struct blob_config *config;
    struct err err = { 0 };
    struct db_work *work;

    if (call == NULL)
        return;
    config = blob_blobs_of(call)->config;
    if (!check_chunk(config, input, &err) ||
        (FAILPOINT("context_blob_before_chunk") && !err_set(&err, ERR_UNAVAILABLE, "failpoint"))) {
        context_call_fail(call, &err);
        return;
    }
    work = db_work_new(blob_blobs_of(call)->pool);
    db_work_add(work, &blob_sql_put_chunk,
                (struct db_param[]){
                    DB_PARAM_TEXT(input->tenant), DB_PARAM_UUID(input->upload_id),
                    DB_PARAM_I64(input->offset),
                    DB_PARAM_BYTES(((struct str_view){ input->bytes.len > 0 ? (char *)input->bytes.data : "",
                                                       input->bytes.len })),
                    DB_PARAM_I32(config->uploads_max), DB_PARAM_I64(config->upload_crowded_idle_ms) },
                6);
    db_work_run(work, on_chunk_put, call);
}

/* ---- AbortUpload, GetBlob ---- */

static void on_aborted(void *arg, struct db_work *work, const struct err *err)
{
    struct call *call = arg;
    struct blobs *blobs = blob_blobs_of(call);
    Guichet__V1__AbortUploadReply reply = GUICHET__V1__ABORT_UPLOAD_REPLY__INIT;

    (void)work;
    if (err->kind != ERR_NONE) {
        context_call_fail(call, err);
        return;
    }
    context_call_reply(call, &reply);
    blob_collect_soon(blobs);
}

void blob_abort_upload(Guichet__V1__Blobs_Service *service, const Guichet__V1__AbortUploadRequest *input,
                       Guichet__V1__AbortUploadReply_Closure closure, void *closure_data)
{
    struct call *call = BLOB_CALL_OPEN(service, input, closure, closure_data);
    struct err err = { 0 };
    struct db_work *work;

    if (call == NULL)
        return;
    if (!context_check_id("upload_id", input->upload_id, &err)) {
        context_call_fail(call, &err);
        return;
    }
    work = db_work_new(blob_blobs_of(call)->pool);
    db_work_add(work, &blob_sql_abort_upload,
                (struct db_param[]){ DB_PARAM_TEXT(input->tenant), DB_PARAM_UUID(input->upload_id) }, 2);
    db_work_run(work, on_aborted, call);
}

static void on_blob(void *arg, struct db_work *work, const struct err *err)
{
    struct call *call = arg;
    Guichet__V1__GetBlobReply reply = GUICHET__V1__GET_BLOB_REPLY__INIT;
    struct err failed = *err;

    if (failed.kind == ERR_NONE && db_rows(db_work_result(work, 0)) == 0)
        err_set(&failed, ERR_NOT_FOUND, "blob: there is none");
    if (failed.kind != ERR_NONE) {
        context_call_fail(call, &failed);
        return;
    }
    reply.blob = blob_row(call, work, db_work_result(work, 0));
    context_call_reply(call, &reply);
}

void blob_get_blob(Guichet__V1__Blobs_Service *service, const Guichet__V1__GetBlobRequest *input,
                   Guichet__V1__GetBlobReply_Closure closure, void *closure_data)
{
    struct call *call = BLOB_CALL_OPEN(service, input, closure, closure_data);
    struct err err = { 0 };
    struct db_work *work;

    if (call == NULL)
        return;
    if (!blob_check_sha256(&input->sha256, &err)) {
        context_call_fail(call, &err);
        return;
    }
    work = db_work_new(blob_blobs_of(call)->pool);
    db_work_add(work, &blob_sql_select_blob,
                (struct db_param[]){
                    DB_PARAM_TEXT(input->tenant),
                    DB_PARAM_BYTES(((struct str_view){ (char *)input->sha256.data, input->sha256.len })) },
                2);
    db_work_run(work, on_blob, call);
}

/* ---- the worker ---- */

struct task {
    struct blobs *blobs;
    worker_fn *work;
    worker_done_fn *done;
    void *arg;
};

static void run_task(void *arg)
{
    struct task *task = arg;

    task->work(task->arg);
}

static void on_task_done(void *arg, const struct err *err)
{
    struct task *task = arg;

    task->blobs->task_count--;
    task->done(task->arg, err);
    free(task);
}

void blob_work(struct blobs *blobs, worker_fn *work, worker_done_fn *done, void *arg)
{
    struct task *task = malloc(sizeof(*task));

    if (task == NULL)
        abort();
    *task = (struct task){ blobs, work, done, arg };
    blobs->task_count++;
    worker_start(blobs->worker, run_task, on_task_done, task);
}

/* ---- beginning and end ---- */

static bool open_listener(struct blobs *blobs, struct err *err)
{
    const struct mesh_server_options options = {
        .name = "blobs",
        .listen = blobs->config->listen_blobs,
        .max_in_flight = blobs->config->blob_requests_max,
        .service = "context",
    };

    if (!mesh_server_new(blobs->context->loop, &options, &blobs->server, err))
        return err_at(err, "listen_blobs");
    mesh_server_add(blobs->server, &blobs->role.methods.base);
    return true;
}

static void open_pool(struct blobs *blobs)
{
    const struct db_pool_options options = {
        .name = "blobs",
        .connections = blobs->config->blob_connections,
        .statement_timeout_ms = blobs->config->blob_timeout_ms,
        .work_timeout_ms = 2 * blobs->config->blob_timeout_ms,
        .queue_max = POOL_QUEUE_MAX,
    };

    blobs->pool = db_pool_new(blobs->context->database.db, &options);
}

static void open_http(struct blobs *blobs)
{
    const struct http_client_options options = {
        .allow_private_addresses = true, /* the operator names the host, nobody else */
        .allow_plain_http = strncmp(blobs->config->s3_endpoint, "http:", 5) == 0,
        .user_agent = "guichet",
    };

    if (blobs->config->s3_endpoint[0] != '\0')
        blobs->http = http_client_new(blobs->context->loop, &options);
}

static enum blob_store store_of(const char *name)
{
    if (strcmp(name, "s3") == 0)
        return BLOB_STORE_S3;
    return strcmp(name, "directory") == 0 ? BLOB_STORE_DIRECTORY : BLOB_STORE_DATABASE;
}

bool blob_check_config(const struct blob_config *config, struct err *err)
{
    const char *store = config->blob_store;

    if (strcmp(store, "database") != 0 && strcmp(store, "s3") != 0 && strcmp(store, "directory") != 0)
        return err_set(err, ERR_CONFIG, "blob_store '%s' is not database, s3 or directory", store);
    if (strcmp(store, "s3") == 0 && (config->s3_endpoint[0] == '\0' || config->s3_access_key[0] == '\0' ||
                                     config->s3_secret_key[0] == '\0'))
        return err_set(err, ERR_CONFIG, "blob_store s3 needs s3_endpoint, s3_access_key and s3_secret_key");
    if (config->s3_endpoint[0] != '\0' && strncmp(config->s3_endpoint, "http://", 7) != 0 &&
        strncmp(config->s3_endpoint, "https://", 8) != 0)
        return err_set(err, ERR_CONFIG, "s3_endpoint '%s' begins with neither https:// nor http://",
                       config->s3_endpoint);
    if (config->s3_prefix[strspn(config->s3_prefix, NAME_CHARACTERS "/.")] != '\0')
        return err_set(err, ERR_CONFIG, "s3_prefix '%s' has more than letters, digits, '-', '_', '.' and '/'",
                       config->s3_prefix);
    if (strcmp(store, "directory") == 0 && config->blob_dir[0] == '\0')
        return err_set(err, ERR_CONFIG, "blob_store directory needs blob_dir");
    return true;
}

bool context_blobs_new(struct context *context, struct service *service, struct blobs **ret_blobs,
                       struct err *err)
{
    struct blobs *blobs = calloc(1, sizeof(*blobs));

    if (blobs == NULL)
        abort();
    *ret_blobs = blobs; /* half-built is freed by context_blobs_free() */
    blobs->context = context;
    blobs->config = &context->config->blobs;
    blobs->role = (struct blob_role){ GUICHET__V1__BLOBS__INIT(blob_), blobs };
    blobs->store = store_of(blobs->config->blob_store);
    if (!blob_directory_check(blobs->config, err))
        return false;
    blobs->worker = worker_new(service->loop, 1, WORKER_QUEUE_MAX);
    open_http(blobs);
    open_pool(blobs);
    if (!open_listener(blobs, err))
        return false;
    blob_collect_start(blobs);
    return true;
}

void context_blobs_drain(struct blobs *blobs)
{
    mesh_server_drain(blobs->server);
}

bool context_blobs_is_drained(const struct blobs *blobs)
{
    return mesh_server_in_flight(blobs->server) == 0;
}

void context_blobs_stop(struct blobs *blobs)
{
    if (blobs == NULL)
        return;
    blobs->is_closing = true;
    http_client_free(&blobs->http);
    worker_free(&blobs->worker);
    while (blobs->task_count > 0)
        loop_turn(blobs->context->loop, 10);
}

void context_blobs_free(struct blobs **blobs)
{
    struct blobs *closing = *blobs;

    if (closing == NULL)
        return;
    *blobs = NULL;
    loop_timer_free(&closing->collect_timer);
    mesh_server_free(&closing->server);
    free(closing);
}
