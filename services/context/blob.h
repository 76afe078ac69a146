/* SPDX-License-Identifier: Apache-2.0 */
/* blob.h - what the blob*.c files share: the listener's state, a call, an upload being finished, the stores.
 *
 * Three stores. The database has the chunks as they came; S3 and the directory get them copied when an upload
 * is finished, 1 MiB at a time. Nothing here holds a whole blob. Bytes are hashed, and files written, on a
 * worker of their own: it must not stand before what others need theirs for. */
#ifndef GUICHET_CONTEXT_BLOB_H
#define GUICHET_CONTEXT_BLOB_H

#include <openssl/evp.h>

#include "context.h"
#include "core/id.h"
#include "guichet/v1/blob.pb-c.h"
#include "io/http_client.h"

enum {
    BLOB_CHUNK_BYTES = 262144,
    BLOB_SHA256_BYTES = 32,
    BLOB_GROUP_CHUNKS = 4, /* fetched at once */
    BLOB_GROUP_BYTES = BLOB_GROUP_CHUNKS * BLOB_CHUNK_BYTES,
    BLOB_WAITERS_MAX = 16,
    BLOB_PLACE_MAX_BYTES = 1024,
};

enum blob_store { BLOB_STORE_DATABASE = 1, BLOB_STORE_S3 = 2, BLOB_STORE_DIRECTORY = 3 };

struct blobs;
struct blob_finish;

struct blob_role {
    Guichet__V1__Blobs_Service methods; /* first: the generated code hands it to the handlers */
    struct blobs *blobs;
};

struct blobs {
    struct context *context;
    const struct blob_config *config;
    enum blob_store store; /* where new ones go */
    struct db_pool *pool;
    struct worker *worker;
    struct http_client *http; /* NULL: no S3 is configured */
    struct mesh_server *server;
    struct blob_role role;
    struct loop_timer *collect_timer;
    bool is_collecting, is_collect_wanted;
    struct blob_finish *finishes;
    uint32_t finish_count;
    uint32_t task_count; /* on the worker */
    bool is_closing;
};

/* ---- a request: answered by context_call_reply() or context_call_fail() (blob.c) ---- */

/* NULL: the tenant is not one; the request is answered then. call->data is the input. */
struct call *blob_call_open(Guichet__V1__Blobs_Service *service, const char *tenant,
                            const ProtobufCMessage *input, ProtobufCClosure closure, void *closure_data);
#define BLOB_CALL_OPEN(service, input, closure, closure_data)                                                \
    blob_call_open((service), (input)->tenant, &(input)->base, (ProtobufCClosure)(closure), (closure_data))
struct blobs *blob_blobs_of(const struct call *call);
bool blob_check_sha256(const ProtobufCBinaryData *sha256, struct err *err) MUST_USE;
Guichet__V1__Blob *blob_row(struct call *call, const struct db_work *work, const struct db_result *result);
/* The worker's done() that context_blobs_stop() waits for. */
void blob_work(struct blobs *blobs, worker_fn *work, worker_done_fn *done, void *arg);
/* What is to be dropped is dropped soon. */
void blob_collect_soon(struct blobs *blobs);
void blob_collect_start(struct blobs *blobs);

/* ---- an upload being finished (blob_finish.c), one per upload and replica ---- */

typedef void blob_group_fn(struct blob_finish *finish);

struct blob_finish {
    struct blobs *blobs;
    struct blob_finish *next;
    char *tenant, *content_type;
    char upload_id[ID_TEXT_BYTES];
    uint64_t size_bytes;
    uint8_t said[BLOB_SHA256_BYTES], sha256[BLOB_SHA256_BYTES];
    bool has_said;
    struct call *waiters[BLOB_WAITERS_MAX];
    size_t waiter_count;
    uint64_t start_ms, deadline_ms;
    EVP_MD_CTX *hash;
    /* The chunks being read, for the hash first and then for the store. */
    uint64_t offset; /* of what is fetched next */
    char *group;     /* BLOB_GROUP_BYTES, at `group_offset` */
    uint64_t group_offset;
    size_t group_len, group_given;
    blob_group_fn *on_group;
    char place[BLOB_PLACE_MAX_BYTES];
    bool is_fetching;
    struct http_call *put;
    bool is_put_over; /* it ended while chunks for it were being fetched */
    int file;         /* the directory's; 0: not open */
    struct err err;   /* the worker's, or the store's */
};

/* Fetches the next group; on_group() when it is there, which never comes when that fails. */
void blob_finish_fetch(struct blob_finish *finish, blob_group_fn *on_group);
/* The store has it, or finish->err says why not. */
void blob_finish_stored(struct blob_finish *finish);
void blob_finish_fail(struct blob_finish *finish, const struct err *err);
bool blob_finish_has_more(const struct blob_finish *finish); /* to fetch */

/* ---- the service (blob.c) ---- */

bool context_blobs_new(struct context *context, struct service *service, struct blobs **ret_blobs,
                       struct err *err) MUST_USE;
void context_blobs_drain(struct blobs *blobs);
bool context_blobs_is_drained(const struct blobs *blobs);
/* Before the database is closed: takes no more, waits for the worker. */
void context_blobs_stop(struct blobs *blobs);
void context_blobs_free(struct blobs **blobs);

/* ---- the methods ---- */

#define BLOB_METHODS(METHOD)                                                                                 \
    METHOD(put_chunk, PutChunk)                                                                              \
    METHOD(finish_upload, FinishUpload)                                                                      \
    METHOD(abort_upload, AbortUpload)                                                                        \
    METHOD(get_blob, GetBlob)                                                                                \
    METHOD(read_chunk, ReadChunk)

#define BLOB_DECLARE(name, Method)                                                                           \
    void blob_##name(Guichet__V1__Blobs_Service *service, const Guichet__V1__##Method##Request *input,       \
                     Guichet__V1__##Method##Reply_Closure closure, void *closure_data);
BLOB_METHODS(BLOB_DECLARE)
#undef BLOB_DECLARE

#endif
