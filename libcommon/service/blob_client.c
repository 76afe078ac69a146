/* SPDX-License-Identifier: Apache-2.0 */
/* blob_client.c - up: what is pushed is cut into chunks, each sent until it is there, then the upload finished.
 *
 * At most four chunks are held, sent side by side and in any order. The hash is made on the way and always
 * told, so that what arrives is what was pushed. Finishing is asked again and again at the same replica while
 * it takes longer than one request: it goes on there meanwhile. */
#include "service/blob_client_private.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "core/id.h"

enum {
    CHUNK_TIMEOUT_MS = 8000,
    CHUNK_ATTEMPT_MS = 4000,
    FINISH_TIMEOUT_MS = 20000,
    ABORT_TIMEOUT_MS = 2000,
    FINISH_BYTES_PER_S = 1 << 20, /* patience with who hashes and stores */
};

enum chunk_state { CHUNK_EMPTY, CHUNK_FILLING, CHUNK_FULL, CHUNK_SENDING };

struct chunk {
    struct blob_upload *upload;
    enum chunk_state state;
    uint64_t offset;
    size_t len;
    char *data;
};

enum upload_state { UPLOAD_OPEN, UPLOAD_ENDING /* no more is pushed */, UPLOAD_FINISHING, UPLOAD_DONE };

struct blob_upload {
    struct blob_link link;
    enum upload_state state;
    char id[ID_TEXT_BYTES];
    uint32_t lane;
    struct chunk chunks[BLOB_UPLOAD_HELD_CHUNKS];
    uint64_t size_bytes, max_bytes;
    EVP_MD_CTX *hash;
    uint8_t sha256[BLOB_SHA256_BYTES];
    char *content_type;
    struct err err; /* why it failed */
    bool is_begun; /* at the centre, or nearly */
    bool is_wanting_room;
    blob_change_fn *on_room;
    void *arg;
    blob_upload_done_fn *done;
    void *done_arg;
};

static void send_chunks(struct blob_upload *upload);
static void go_on(struct blob_upload *upload);
static void start_finish(struct blob_upload *upload);

/* ---- the end ---- */

static void upload_free(struct blob_upload *upload)
{
    blob_link_done(&upload->link);
    for (size_t i = 0; i < COUNT_OF(upload->chunks); i++)
        free(upload->chunks[i].data);
    EVP_MD_CTX_free(upload->hash);
    free(upload->content_type);
    free(upload);
}

static void leave(struct blob_upload *upload)
{
    if (blob_link_leave(&upload->link))
        upload_free(upload);
}

static bool is_over(const struct blob_upload *upload)
{
    return upload->link.is_freed || upload->err.kind != ERR_NONE || upload->state == UPLOAD_DONE;
}

/* From the loop only. */
static void fail(struct blob_upload *upload, const struct err *err)
{
    upload->err = *err;
    loop_timer_stop(upload->link.retry);
    if (upload->done != NULL)
        upload->done(upload->done_arg, NULL, &upload->err);
    else if (upload->on_room != NULL)
        upload->on_room(upload->arg);
}

static void on_retry(void *arg)
{
    go_on(arg);
}

/* ---- chunks ---- */

static struct chunk *find(struct blob_upload *upload, enum chunk_state state)
{
    for (size_t i = 0; i < COUNT_OF(upload->chunks); i++)
        if (upload->chunks[i].state == state)
            return &upload->chunks[i];
    return NULL;
}

static void tell_room(struct blob_upload *upload)
{
    if (upload->state != UPLOAD_OPEN || !upload->is_wanting_room)
        return;
    upload->is_wanting_room = false;
    if (upload->on_room != NULL)
        upload->on_room(upload->arg);
}

static void on_chunk_sent(const Guichet__V1__PutChunkReply *reply, void *arg)
{
    struct chunk *chunk = arg;
    struct blob_upload *upload = chunk->upload;
    const struct err *err = mesh_err();

    chunk->state = reply != NULL ? CHUNK_EMPTY : CHUNK_FULL;
    if (!is_over(upload)) {
        if (reply != NULL) {
            blob_link_progress(&upload->link);
            tell_room(upload);
            go_on(upload);
        } else if (!blob_link_retry(&upload->link, err, 0)) {
            fail(upload, err);
        }
    }
    leave(upload);
}

static void send_chunk(struct chunk *chunk)
{
    static char nothing[1];
    struct blob_upload *upload = chunk->upload;
    Guichet__V1__PutChunkRequest request = GUICHET__V1__PUT_CHUNK_REQUEST__INIT;
    const struct mesh_call how = { .timeout_ms = CHUNK_TIMEOUT_MS, .attempt_timeout_ms = CHUNK_ATTEMPT_MS };

    chunk->state = CHUNK_SENDING;
    upload->is_begun = true;
    request.tenant = (char *)upload->link.access.tenant;
    request.upload_id = upload->id;
    request.offset = chunk->offset;
    request.bytes = (ProtobufCBinaryData){ chunk->len, (uint8_t *)(chunk->len > 0 ? chunk->data : nothing) };
    guichet__v1__blobs__put_chunk(blob_link_call(&upload->link, &how), &request, on_chunk_sent, chunk);
}

/* After a failure all wait for the timer: whoever comes first would only fail as well. */
static void send_chunks(struct blob_upload *upload)
{
    for (size_t i = 0; i < COUNT_OF(upload->chunks); i++)
        if (upload->chunks[i].state == CHUNK_FULL && !loop_timer_is_active(upload->link.retry))
            send_chunk(&upload->chunks[i]);
}

static void go_on(struct blob_upload *upload)
{
    bool is_all_there = find(upload, CHUNK_FULL) == NULL && find(upload, CHUNK_SENDING) == NULL;

    if (is_over(upload))
        return;
    send_chunks(upload);
    if (is_all_there && upload->state == UPLOAD_ENDING)
        start_finish(upload);
    else if (upload->state == UPLOAD_FINISHING && upload->link.failures > 0 &&
             !loop_timer_is_active(upload->link.retry))
        start_finish(upload);
}

/* ---- pushing ---- */

/* The same upload always goes to the same replica of context to be finished. */
static uint32_t lane_of(const char *id)
{
    uint32_t hash = 2166136261u;

    for (; *id != '\0'; id++)
        hash = (hash ^ (uint8_t)*id) * 16777619u;
    return hash != 0 ? hash : 1;
}

struct blob_upload *blob_upload_new(const struct blob_upload_options *options)
{
    struct blob_upload *upload = calloc(1, sizeof(*upload));

    if (upload == NULL || (upload->hash = EVP_MD_CTX_new()) == NULL ||
        EVP_DigestInit_ex(upload->hash, EVP_sha256(), NULL) != 1)
        abort();
    blob_link_init(&upload->link, &options->access, on_retry, upload);
    id_new_text(upload->id);
    upload->lane = lane_of(upload->id);
    upload->max_bytes = options->max_bytes;
    upload->on_room = options->on_room;
    upload->arg = options->arg;
    for (size_t i = 0; i < COUNT_OF(upload->chunks); i++)
        upload->chunks[i].upload = upload;
    return upload;
}

bool blob_upload_has_room(const struct blob_upload *upload)
{
    return upload->err.kind != ERR_NONE || find((struct blob_upload *)upload, CHUNK_EMPTY) != NULL;
}

static struct chunk *begin_chunk(struct blob_upload *upload)
{
    struct chunk *chunk = find(upload, CHUNK_EMPTY);

    if (chunk == NULL)
        return NULL;
    if (chunk->data == NULL && (chunk->data = malloc(BLOB_CHUNK_BYTES)) == NULL)
        abort();
    chunk->state = CHUNK_FILLING;
    chunk->offset = upload->size_bytes;
    chunk->len = 0;
    return chunk;
}

static bool check_push(struct blob_upload *upload, size_t len)
{
    if (upload->err.kind != ERR_NONE)
        return false;
    if (upload->state != UPLOAD_OPEN)
        return err_set(&upload->err, ERR_INTERNAL, "upload: pushed after its end");
    if (len > BLOB_CHUNK_BYTES || find(upload, CHUNK_EMPTY) == NULL)
        return err_set(&upload->err, ERR_EXHAUSTED, "upload: pushed without room for it");
    if (upload->max_bytes > 0 && len > upload->max_bytes - upload->size_bytes)
        return err_set(&upload->err, ERR_EXHAUSTED, "upload: is larger than %llu bytes",
                       (unsigned long long)upload->max_bytes);
    return true;
}

bool blob_upload_push(struct blob_upload *upload, struct str_view bytes, struct err *err)
{
    if (!check_push(upload, bytes.len)) {
        if (err != NULL)
            *err = upload->err;
        return false;
    }
    if (EVP_DigestUpdate(upload->hash, bytes.data, bytes.len) != 1)
        abort();
    while (bytes.len > 0) {
        struct chunk *chunk = find(upload, CHUNK_FILLING);
        size_t room, len;

        if (chunk == NULL)
            chunk = begin_chunk(upload);
        room = BLOB_CHUNK_BYTES - chunk->len;
        len = bytes.len < room ? bytes.len : room;
        memcpy(chunk->data + chunk->len, bytes.data, len);
        chunk->len += len;
        upload->size_bytes += len;
        bytes = (struct str_view){ bytes.data + len, bytes.len - len };
        if (chunk->len == BLOB_CHUNK_BYTES)
            chunk->state = CHUNK_FULL;
    }
    send_chunks(upload);
    upload->is_wanting_room = !blob_upload_has_room(upload);
    return true;
}

uint64_t blob_upload_size(const struct blob_upload *upload)
{
    return upload->size_bytes;
}

/* ---- finishing ---- */

static void on_finished(const Guichet__V1__FinishUploadReply *reply, void *arg)
{
    struct blob_upload *upload = arg;
    const struct err *err = mesh_err();
    static const struct err none = { .kind = ERR_NONE };

    if (!is_over(upload)) {
        if (reply != NULL && reply->blob != NULL) {
            upload->state = UPLOAD_DONE;
            upload->done(upload->done_arg, reply->blob, &none);
        } else if (!blob_link_retry(&upload->link, err, upload->size_bytes * 1000 / FINISH_BYTES_PER_S)) {
            fail(upload, err);
        }
    }
    leave(upload);
}

static void start_finish(struct blob_upload *upload)
{
    Guichet__V1__FinishUploadRequest request = GUICHET__V1__FINISH_UPLOAD_REQUEST__INIT;
    const struct mesh_call how = { .timeout_ms = FINISH_TIMEOUT_MS,
                                   .attempt_timeout_ms = FINISH_TIMEOUT_MS,
                                   .lane = upload->lane };

    upload->state = UPLOAD_FINISHING;
    request.tenant = (char *)upload->link.access.tenant;
    request.upload_id = upload->id;
    request.size_bytes = upload->size_bytes;
    request.sha256 = (ProtobufCBinaryData){ BLOB_SHA256_BYTES, upload->sha256 };
    request.content_type = upload->content_type;
    guichet__v1__blobs__finish_upload(blob_link_call(&upload->link, &how), &request, on_finished, upload);
}

static void on_ending(void *arg)
{
    struct blob_upload *upload = arg;
    const struct err failed = upload->err;

    if (upload->link.is_freed) {
        leave(upload);
        return;
    }
    if (failed.kind != ERR_NONE)
        fail(upload, &failed);
    else
        go_on(upload);
    leave(upload);
}

void blob_upload_finish(struct blob_upload *upload, const struct blob_upload_finish *finish,
                        blob_upload_done_fn *done, void *arg)
{
    struct chunk *last = find(upload, CHUNK_FILLING);

    upload->done = done;
    upload->done_arg = arg;
    upload->content_type = str_dup(str_view_of(finish->content_type));
    upload->state = UPLOAD_ENDING;
    if (EVP_DigestFinal_ex(upload->hash, upload->sha256, NULL) != 1)
        abort();
    if (last == NULL && upload->size_bytes == 0)
        last = begin_chunk(upload); /* it begins the upload */
    if (last != NULL)
        last->state = CHUNK_FULL;
    if (upload->err.kind == ERR_NONE && finish->sha256 != NULL &&
        memcmp(finish->sha256, upload->sha256, BLOB_SHA256_BYTES) != 0)
        err_set(&upload->err, ERR_INVALID, "upload: its sha256 is another than was said");
    blob_link_enter(&upload->link);
    loop_defer(upload->link.access.loop, on_ending, upload);
}

/* ---- giving up ---- */

static void on_aborted(const Guichet__V1__AbortUploadReply *reply, void *arg)
{
    (void)reply; /* not told: collected after the grace period */
    leave(arg);
}

void blob_upload_free(struct blob_upload **upload_at)
{
    struct blob_upload *upload = *upload_at;
    Guichet__V1__AbortUploadRequest request = GUICHET__V1__ABORT_UPLOAD_REQUEST__INIT;
    const struct mesh_call how = { .timeout_ms = ABORT_TIMEOUT_MS };

    *upload_at = NULL;
    if (upload == NULL)
        return;
    upload->link.is_freed = true;
    loop_timer_stop(upload->link.retry);
    blob_link_enter(&upload->link);
    if (upload->state != UPLOAD_DONE && upload->is_begun) {
        request.tenant = (char *)upload->link.access.tenant;
        request.upload_id = upload->id;
        guichet__v1__blobs__abort_upload(blob_link_call(&upload->link, &how), &request, on_aborted, upload);
    }
    leave(upload);
}
