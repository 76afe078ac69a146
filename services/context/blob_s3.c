/* SPDX-License-Identifier: Apache-2.0 */
/* blob_s3.c - blobs as objects of an S3-compatible store: one PUT, Range GETs, DELETE.
 *
 * Path style (`<endpoint>/<bucket>/<key>`), which every such store understands; with an empty bucket the
 * endpoint names it. libcurl signs (SigV4). The payload's hash is the blob's own, so the store refuses
 * whatever is not the blob. Keys hold only characters that need no encoding: libcurl signs the path as it is. */
#include "blob_store.h"

#include <stdlib.h>
#include <string.h>

enum { URL_MAX_BYTES = 4096, SCOPE_MAX_BYTES = 128, HEX_BYTES = 2 * BLOB_SHA256_BYTES + 1 };

#define NO_BYTES_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct object {
    struct blobs *blobs;
    char url[URL_MAX_BYTES], scope[SCOPE_MAX_BYTES], range[64];
    size_t len; /* of the piece */
    blob_bytes_fn *on_bytes;
    blob_removed_fn *on_removed;
    void *arg;
};

/* The text that request->url and the others point to lives in *object. */
static void init_request(const struct blobs *blobs, const char *method, const char *place,
                         const char *sha256_hex, struct object *object, struct http_client_request *request)
{
    const struct blob_config *config = blobs->config;
    size_t endpoint_len = strlen(config->s3_endpoint);

    while (endpoint_len > 0 && config->s3_endpoint[endpoint_len - 1] == '/')
        endpoint_len--;
    snprintf(object->url, sizeof(object->url), "%.*s/%s%s%s", (int)endpoint_len, config->s3_endpoint,
             config->s3_bucket, config->s3_bucket[0] != '\0' ? "/" : "", place);
    snprintf(object->scope, sizeof(object->scope), "aws:amz:%s:s3", config->s3_region);
    *request = (struct http_client_request){
        .method = method,
        .url = object->url,
        .headers = { { "x-amz-content-sha256", sha256_hex } },
        .header_count = 1,
        .user = config->s3_access_key,
        .password = config->s3_secret_key,
        .aws_sigv4 = object->scope,
        .timeout_ms = config->s3_timeout_ms,
    };
}

/* What the store answered, as one of our kinds. Its words name what is wrong ("SignatureDoesNotMatch"). */
static bool check_status(const struct http_result *result, const char *what, struct err *err)
{
    struct str_view body = result->body;
    const char *code, *end;

    if (result->err.kind != ERR_NONE) {
        *err = result->err;
        return err_at(err, "%s", what);
    }
    if (result->status >= 200 && result->status < 300)
        return true;
    code = body.len > 0 ? memmem(body.data, body.len, "<Code>", 6) : NULL;
    end = code != NULL ? memchr(code + 6, '<', body.len - (size_t)(code + 6 - body.data)) : NULL;
    err_set(err, result->status == 404 ? ERR_NOT_FOUND : ERR_UNAVAILABLE, "%s: the store answered %d %.*s",
            what, result->status, end != NULL && end - code < 70 ? (int)(end - code - 6) : 0,
            code != NULL ? code + 6 : "");
    err->retry_after_ms = result->retry_after_ms;
    return false;
}

/* ---- put ---- */

static void on_group(struct blob_finish *finish)
{
    http_call_resume(finish->put);
}

static size_t give_body(void *arg, char *data, size_t size)
{
    struct blob_finish *finish = arg;
    size_t left = finish->group_len - finish->group_given;

    if (left == 0) {
        if (!blob_finish_has_more(finish))
            return HTTP_READ_STOP;
        blob_finish_fetch(finish, on_group);
        return HTTP_READ_LATER;
    }
    if (size > left)
        size = left;
    memcpy(data, finish->group + finish->group_given, size);
    finish->group_given += size;
    return size;
}

static void on_put(void *arg, const struct http_result *result)
{
    struct blob_finish *finish = arg;

    if (finish->err.kind == ERR_NONE)
        (void)!check_status(result, "put", &finish->err);
    if (finish->err.kind == ERR_NOT_FOUND) /* the bucket: ours to set right, the caller may come again */
        finish->err.kind = ERR_UNAVAILABLE;
    blob_finish_stored(finish);
}

void blob_s3_put(struct blob_finish *finish)
{
    struct blobs *blobs = finish->blobs;
    struct http_client_request request;
    struct object object;
    uint64_t now_ms = loop_now_ms(blobs->context->loop);
    SCOPED_BUF hex = { 0 };

    buf_init(&hex, HEX_BYTES);
    hex_append(&hex, finish->sha256, BLOB_SHA256_BYTES);
    init_request(blobs, "PUT", finish->place, buf_text(&hex), &object, &request);
    request.timeout_ms = finish->deadline_ms > now_ms ? (uint32_t)(finish->deadline_ms - now_ms) : 1;
    request.headers[request.header_count++] =
        (struct http_header){ "content-type", "application/octet-stream" };
    if (finish->size_bytes > 0) {
        request.read = give_body;
        request.read_bytes = finish->size_bytes;
        request.body_arg = finish;
    }
    finish->put = http_call_start(blobs->http, &request, on_put, finish);
}

/* ---- read and remove ---- */

static struct object *object_new(struct blobs *blobs, void *arg)
{
    struct object *object = calloc(1, sizeof(*object));

    if (object == NULL)
        abort();
    object->blobs = blobs;
    object->arg = arg;
    return object;
}

static void on_get(void *arg, const struct http_result *result)
{
    struct object *object = arg;
    struct err err = { 0 };

    if (check_status(result, "get", &err) && result->body.len != object->len)
        err_set(&err, ERR_INTERNAL, "get: the store gave %zu bytes, not %zu", result->body.len, object->len);
    if (err.kind == ERR_NOT_FOUND || err.kind == ERR_EXHAUSTED) /* not what the row says */
        err.kind = ERR_INTERNAL;
    object->on_bytes(object->arg, result->body, &err);
    free(object);
}

static void on_unconfigured(void *arg)
{
    struct object *object = arg;
    struct err err = { 0 };

    err_set(&err, ERR_UNAVAILABLE, "the blob is in S3, and s3_endpoint is not set");
    if (object->on_bytes != NULL)
        object->on_bytes(object->arg, (struct str_view){ "", 0 }, &err);
    else
        object->on_removed(object->arg, &err);
    free(object);
}

void blob_s3_read(struct blobs *blobs, const struct blob_piece *piece, blob_bytes_fn *done, void *arg)
{
    struct object *object = object_new(blobs, arg);
    struct http_client_request request;

    object->on_bytes = done;
    object->len = piece->len;
    if (blobs->http == NULL) {
        loop_defer(blobs->context->loop, on_unconfigured, object);
        return;
    }
    init_request(blobs, "GET", piece->place, NO_BYTES_SHA256, object, &request);
    snprintf(object->range, sizeof(object->range), "bytes=%llu-%llu", (unsigned long long)piece->offset,
             (unsigned long long)(piece->offset + piece->len - 1));
    request.headers[request.header_count++] = (struct http_header){ "range", object->range };
    http_call_start(blobs->http, &request, on_get, object);
}

static void on_delete(void *arg, const struct http_result *result)
{
    struct object *object = arg;
    struct err err = { 0 };

    if (!check_status(result, "delete", &err) && err.kind == ERR_NOT_FOUND)
        err_clear(&err);
    object->on_removed(object->arg, &err);
    free(object);
}

void blob_s3_remove(struct blobs *blobs, const char *place, blob_removed_fn *done, void *arg)
{
    struct object *object = object_new(blobs, arg);
    struct http_client_request request;

    object->on_removed = done;
    if (blobs->http == NULL) {
        loop_defer(blobs->context->loop, on_unconfigured, object);
        return;
    }
    init_request(blobs, "DELETE", place, NO_BYTES_SHA256, object, &request);
    http_call_start(blobs->http, &request, on_delete, object);
}
