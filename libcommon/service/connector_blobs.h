/* SPDX-License-Identifier: Apache-2.0 */
/* connector_blobs.h - for the skeleton's own tests: the centre's Blobs, in memory, in the same process. */
#ifndef GUICHET_SERVICE_CONNECTOR_BLOBS_H
#define GUICHET_SERVICE_CONNECTOR_BLOBS_H

#include "service/connector_centre.h"

enum { BLOBS_MAX_BYTES = 8 << 20 };

struct blobs {
    Guichet__V1__Blobs_Service service; /* first: the stubs hand us this address */
    struct mesh_server *server;
    enum err_kind put_fails, finish_fails; /* told by the test; always */
    unsigned puts, finishes, aborts;       /* seen */
    char *bytes;                           /* of the only upload, or blob */
    uint64_t end;                          /* of the furthest chunk */
    uint8_t sha256[BLOB_SHA256_BYTES];
    bool has_blob;
    char content_type[64];
};

static bool blobs_fail(enum err_kind kind, void *closure_data)
{
    unsigned always = UINT32_MAX;

    if (kind == ERR_NONE)
        return false;
    return centre_fail(kind, &always, closure_data);
}

static void blobs_put_chunk(Guichet__V1__Blobs_Service *service, const Guichet__V1__PutChunkRequest *request,
                            Guichet__V1__PutChunkReply_Closure closure, void *closure_data)
{
    struct blobs *blobs = (struct blobs *)service;
    Guichet__V1__PutChunkReply reply = GUICHET__V1__PUT_CHUNK_REPLY__INIT;

    assert_string_equal(request->tenant, "demo");
    assert_true(mesh_request_token(mesh_request_of(closure_data)).len > 0);
    assert_int_equal(request->offset % BLOB_CHUNK_BYTES, 0);
    blobs->puts++;
    if (blobs_fail(blobs->put_fails, closure_data))
        return;
    assert_true(request->offset + request->bytes.len <= BLOBS_MAX_BYTES);
    memcpy(blobs->bytes + request->offset, request->bytes.data, request->bytes.len);
    if (request->offset + request->bytes.len > blobs->end)
        blobs->end = request->offset + request->bytes.len;
    closure(&reply, closure_data);
}

static inline void blobs_hash(struct blobs *blobs)
{
    assert_int_equal(EVP_Digest(blobs->bytes, (size_t)blobs->end, blobs->sha256, NULL, EVP_sha256(), NULL),
                     1);
    blobs->has_blob = true;
}

static void blobs_finish_upload(Guichet__V1__Blobs_Service *service,
                                const Guichet__V1__FinishUploadRequest *request,
                                Guichet__V1__FinishUploadReply_Closure closure, void *closure_data)
{
    struct blobs *blobs = (struct blobs *)service;
    Guichet__V1__FinishUploadReply reply = GUICHET__V1__FINISH_UPLOAD_REPLY__INIT;
    Guichet__V1__Blob blob = GUICHET__V1__BLOB__INIT;

    blobs->finishes++;
    if (blobs_fail(blobs->finish_fails, closure_data))
        return;
    assert_int_equal(request->size_bytes, blobs->end);
    blobs_hash(blobs);
    if (request->sha256.len > 0 && memcmp(request->sha256.data, blobs->sha256, BLOB_SHA256_BYTES) != 0) {
        blobs_fail(ERR_INVALID, closure_data);
        return;
    }
    snprintf(blobs->content_type, sizeof(blobs->content_type), "%s", request->content_type);
    blob.tenant = request->tenant;
    blob.size_bytes = blobs->end;
    blob.sha256 = (ProtobufCBinaryData){ BLOB_SHA256_BYTES, blobs->sha256 };
    blob.content_type = request->content_type;
    reply.blob = &blob;
    closure(&reply, closure_data);
}

static void blobs_abort_upload(Guichet__V1__Blobs_Service *service,
                               const Guichet__V1__AbortUploadRequest *request,
                               Guichet__V1__AbortUploadReply_Closure closure, void *closure_data)
{
    Guichet__V1__AbortUploadReply reply = GUICHET__V1__ABORT_UPLOAD_REPLY__INIT;

    (void)request;
    ((struct blobs *)service)->aborts++;
    closure(&reply, closure_data);
}

static bool blobs_has(const struct blobs *blobs, const ProtobufCBinaryData *sha256)
{
    return blobs->has_blob && sha256->len == BLOB_SHA256_BYTES &&
           memcmp(sha256->data, blobs->sha256, BLOB_SHA256_BYTES) == 0;
}

static void blobs_get_blob(Guichet__V1__Blobs_Service *service, const Guichet__V1__GetBlobRequest *request,
                           Guichet__V1__GetBlobReply_Closure closure, void *closure_data)
{
    struct blobs *blobs = (struct blobs *)service;
    Guichet__V1__GetBlobReply reply = GUICHET__V1__GET_BLOB_REPLY__INIT;
    Guichet__V1__Blob blob = GUICHET__V1__BLOB__INIT;

    if (!blobs_has(blobs, &request->sha256)) {
        blobs_fail(ERR_NOT_FOUND, closure_data);
        return;
    }
    blob.tenant = request->tenant;
    blob.size_bytes = blobs->end;
    blob.sha256 = request->sha256;
    reply.blob = &blob;
    closure(&reply, closure_data);
}

static void blobs_read_chunk(Guichet__V1__Blobs_Service *service,
                             const Guichet__V1__ReadChunkRequest *request,
                             Guichet__V1__ReadChunkReply_Closure closure, void *closure_data)
{
    struct blobs *blobs = (struct blobs *)service;
    Guichet__V1__ReadChunkReply reply = GUICHET__V1__READ_CHUNK_REPLY__INIT;
    uint64_t left;

    if (!blobs_has(blobs, &request->sha256)) {
        blobs_fail(ERR_NOT_FOUND, closure_data);
        return;
    }
    left = request->offset < blobs->end ? blobs->end - request->offset : 0;
    reply.bytes.len = (size_t)(left < request->max_bytes ? left : request->max_bytes);
    reply.bytes.data = (uint8_t *)blobs->bytes + request->offset;
    reply.size_bytes = blobs->end;
    closure(&reply, closure_data);
}

/* `len` bytes that repeat only after a long while. */
static inline void blobs_fill(char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)(i * 2654435761u >> 13);
}

static inline void blobs_open(struct blobs *blobs, struct loop *loop)
{
    static const Guichet__V1__Blobs_Service service = GUICHET__V1__BLOBS__INIT(blobs_);
    const struct mesh_server_options options = { .name = "blobs",
                                                 .listen = "tcp://127.0.0.1:0",
                                                 .service = "routing" };
    struct err err = { 0 };

    blobs->service = service;
    if (blobs->bytes == NULL)
        blobs->bytes = calloc(1, BLOBS_MAX_BYTES);
    if (!mesh_server_new(loop, &options, &blobs->server, &err))
        fail_msg("%s", err.text);
    mesh_server_add(blobs->server, &blobs->service.base);
}

static inline void blobs_close(struct blobs *blobs)
{
    mesh_server_free(&blobs->server);
    free(blobs->bytes);
    blobs->bytes = NULL;
}

#endif
