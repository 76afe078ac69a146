/* SPDX-License-Identifier: Apache-2.0 */
/* blob_client.h - bytes up to the centre and down from it, in chunks, never the whole in memory.
 *
 * Both directions repeat by themselves what failed for a while (every call is idempotent, any replica will
 * do), and give up when nothing went through for patience_ms. What is given as text is copied. Callbacks come
 * from the loop, never from inside a call; after free() none comes. free() is allowed inside them. */
#ifndef GUICHET_SERVICE_BLOB_CLIENT_H
#define GUICHET_SERVICE_BLOB_CLIENT_H

#include "core/str.h"
#include "guichet/v1/blob.pb-c.h"
#include "io/mesh.h"

enum { BLOB_CHUNK_BYTES = 262144, BLOB_SHA256_BYTES = 32, BLOB_UPLOAD_HELD_CHUNKS = 4 };

/* Asked before each call, since a connector's token is renewed now and then; borrowed until the call is made. */
typedef struct str_view blob_token_fn(void *arg);
typedef void blob_change_fn(void *arg);

struct blob_access {
    struct loop *loop;
    struct mesh_client *client; /* to addresses that serve guichet.v1.Blobs; outlives what is made with it */
    const char *tenant;
    const char *traceparent; /* may be NULL */
    blob_token_fn *token;    /* NULL: none is needed */
    void *token_arg;
    uint32_t patience_ms; /* 0: 30 s */
};

/* ---- up ---- */

struct blob_upload;

/* blob: NULL when err says why not; both borrowed until it returns. */
typedef void blob_upload_done_fn(void *arg, const Guichet__V1__Blob *blob, const struct err *err);

struct blob_upload_options {
    struct blob_access access;
    uint64_t max_bytes; /* 0: the centre's limit alone */
    /* There is room again after there was none; or the upload failed, and the next push says why. */
    blob_change_fn *on_room;
    void *arg;
};

struct blob_upload_finish {
    const uint8_t *sha256; /* BLOB_SHA256_BYTES that it must be; NULL: not known before */
    const char *content_type;
};

struct blob_upload *blob_upload_new(const struct blob_upload_options *options);
/* At least BLOB_CHUNK_BYTES may be pushed. false: stop the source until on_room. At most 1 MiB is held. */
bool blob_upload_has_room(const struct blob_upload *upload);
/* Takes all of `bytes` (copied), at most BLOB_CHUNK_BYTES at once. ERR_EXHAUSTED: past max_bytes; or pushed
 * although there was no room. Otherwise why the upload failed. After an error only free() makes sense. */
bool blob_upload_push(struct blob_upload *upload, struct str_view bytes, struct err *err) MUST_USE;
uint64_t blob_upload_size(const struct blob_upload *upload); /* pushed so far */
/* No more comes. done() exactly once, unless freed before. INVALID: another hash than was said. */
void blob_upload_finish(struct blob_upload *upload, const struct blob_upload_finish *finish,
                        blob_upload_done_fn *done, void *arg);
/* Before the end: the centre is told to forget it, without waiting for its answer. */
void blob_upload_free(struct blob_upload **upload);

/* ---- down ---- */

struct blob_read;

enum blob_read_state {
    BLOB_READ_WAITING, /* on_change comes */
    BLOB_READ_READY,   /* blob_read_take() gives something */
    BLOB_READ_ENDED,
    BLOB_READ_FAILED,
};

struct blob_read_options {
    struct blob_access access;
    const uint8_t *sha256;     /* BLOB_SHA256_BYTES; copied */
    uint64_t offset;           /* where to begin */
    uint64_t length;           /* how much of it at most; 0: to its end */
    blob_change_fn *on_change; /* it waited, and does no more */
    void *arg;
};

/* Begins to read at once; at most two chunks are fetched ahead of what was taken. */
struct blob_read *blob_read_new(const struct blob_read_options *options);
enum blob_read_state blob_read_state(const struct blob_read *read);
/* Copies up to `len` bytes of what is here; 0 when it is not READY. */
size_t blob_read_take(struct blob_read *read, void *data, size_t len);
uint64_t blob_read_size(const struct blob_read *read); /* of the whole blob; 0 before the first on_change */
const struct err *blob_read_err(const struct blob_read *read); /* when FAILED: NOT_FOUND, UNAVAILABLE … */
void blob_read_free(struct blob_read **read);

#endif
