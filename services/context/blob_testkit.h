/* SPDX-License-Identifier: Apache-2.0 */
/* blob_testkit.h - for blob*_test.c only: calls of the service Blobs, uploads of made-up bytes, other settings. */
#ifndef GUICHET_CONTEXT_BLOB_TESTKIT_H
#define GUICHET_CONTEXT_BLOB_TESTKIT_H

#include <openssl/sha.h>

#include "blob.h"
#include "context_testkit.h"

enum { KIT_CHUNK = BLOB_CHUNK_BYTES };

#define KIT_BLOB_START(kit, client, method, Reply, request, answer_)                                         \
    ((answer_)->arena = (kit)->arena,                                                                        \
     guichet__v1__blobs__##method(                                                                           \
         mesh_client_call((client), &(struct mesh_call){ .tenant = (request)->tenant,                        \
                                                         .timeout_ms = KIT_WAIT_MS,                          \
                                                         .attempt_timeout_ms = KIT_WAIT_MS,                  \
                                                         .no_retry = true }),                                \
         (request), (Guichet__V1__##Reply##_Closure)kit_on_answer, (answer_)))

#define KIT_BLOB_CALL(kit, client, method, Reply, request, err_)                                             \
    __extension__({                                                                                          \
        struct answer call_ = { 0 };                                                                         \
        KIT_BLOB_START((kit), (client), method, Reply, (request), &call_);                                   \
        KIT_UNTIL((kit), call_.is_done);                                                                     \
        *(struct err *)(err_) = call_.err;                                                                   \
        (const Guichet__V1__##Reply *)call_.reply;                                                           \
    })

/* A context with settings of its own, on the kit's database. */
struct blob_house {
    struct context_config config;
    struct context *context;
    struct mesh_client *client;
};

static KIT_UNUSED struct mesh_client *kit_blob_client(struct kit *kit, const struct context *context)
{
    const char *address = mesh_server_url(context->blobs->server);
    const struct mesh_client_options options = { .name = "blobs",
                                                 .addresses = &address,
                                                 .address_count = 1,
                                                 .descriptor = &guichet__v1__blobs__descriptor };
    struct mesh_client *client = NULL;
    struct err err = { 0 };

    if (!mesh_client_new(kit->service.loop, &options, &client, &err))
        fail_msg("mesh_client_new: %s", err.text);
    KIT_UNTIL(kit, mesh_client_is_healthy(client));
    return client;
}

static KIT_UNUSED void house_open(struct kit *kit, struct blob_house *house)
{
    struct err err = { 0 };

    if (!context_new(&kit->service, &house->config, &house->context, &err))
        fail_msg("context_new: %s", err.text);
    KIT_UNTIL(kit, db_is_ready(house->context->database.db));
    house->client = kit_blob_client(kit, house->context);
}

static KIT_UNUSED void house_close(struct blob_house *house)
{
    mesh_client_free(&house->client);
    context_free(&house->context);
}

/* Bytes that differ from chunk to chunk, and by seed. */
static KIT_UNUSED uint8_t *kit_bytes(struct kit *kit, size_t len, uint32_t seed)
{
    uint8_t *bytes = context_alloc(kit->arena, len + 1);

    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(seed >> 24);
    }
    return bytes;
}

struct kit_upload {
    const char *tenant;
    char id[ID_TEXT_BYTES];
    const uint8_t *bytes;
    size_t len;
    uint8_t sha256[SHA256_DIGEST_LENGTH];
};

static KIT_UNUSED struct kit_upload kit_upload(struct kit *kit, const char *tenant, size_t len, uint32_t seed)
{
    struct kit_upload upload = { .tenant = tenant, .bytes = kit_bytes(kit, len, seed), .len = len };

    id_new_text(upload.id);
    SHA256(upload.bytes, len, upload.sha256);
    return upload;
}

static KIT_UNUSED bool kit_put(struct kit *kit, struct mesh_client *client, const struct kit_upload *upload,
                               size_t offset, struct err *err)
{
    Guichet__V1__PutChunkRequest request = GUICHET__V1__PUT_CHUNK_REQUEST__INIT;
    size_t left = upload->len - offset;

    request.tenant = (char *)upload->tenant;
    request.upload_id = (char *)upload->id;
    request.offset = offset;
    request.bytes =
        (ProtobufCBinaryData){ left < KIT_CHUNK ? left : KIT_CHUNK, (uint8_t *)upload->bytes + offset };
    return KIT_BLOB_CALL(kit, client, put_chunk, PutChunkReply, &request, err) != NULL;
}

static KIT_UNUSED void kit_put_all(struct kit *kit, struct mesh_client *client,
                                   const struct kit_upload *upload)
{
    struct err err = { 0 };

    for (size_t offset = 0; offset < upload->len || offset == 0; offset += KIT_CHUNK)
        if (!kit_put(kit, client, upload, offset, &err))
            fail_msg("put at %zu: %s", offset, err.text);
}

static KIT_UNUSED Guichet__V1__FinishUploadRequest kit_finish_request(const struct kit_upload *upload)
{
    Guichet__V1__FinishUploadRequest request = GUICHET__V1__FINISH_UPLOAD_REQUEST__INIT;

    request.tenant = (char *)upload->tenant;
    request.upload_id = (char *)upload->id;
    request.size_bytes = upload->len;
    request.sha256 = (ProtobufCBinaryData){ SHA256_DIGEST_LENGTH, (uint8_t *)upload->sha256 };
    request.content_type = (char *)"image/png";
    return request;
}

static KIT_UNUSED const Guichet__V1__Blob *kit_finish(struct kit *kit, struct mesh_client *client,
                                                      const struct kit_upload *upload, struct err *err)
{
    Guichet__V1__FinishUploadRequest request = kit_finish_request(upload);
    const Guichet__V1__FinishUploadReply *reply =
        KIT_BLOB_CALL(kit, client, finish_upload, FinishUploadReply, &request, err);

    return reply != NULL ? reply->blob : NULL;
}

static KIT_UNUSED const Guichet__V1__ReadChunkReply *kit_read(struct kit *kit, struct mesh_client *client,
                                                              const struct kit_upload *upload, size_t offset,
                                                              size_t len, struct err *err)
{
    Guichet__V1__ReadChunkRequest request = GUICHET__V1__READ_CHUNK_REQUEST__INIT;

    request.tenant = (char *)upload->tenant;
    request.sha256 = (ProtobufCBinaryData){ SHA256_DIGEST_LENGTH, (uint8_t *)upload->sha256 };
    request.offset = offset;
    request.max_bytes = (uint32_t)len;
    return KIT_BLOB_CALL(kit, client, read_chunk, ReadChunkReply, &request, err);
}

/* Reads it whole, and pieces across chunks' borders; fails the test when a byte differs. */
static KIT_UNUSED void kit_check_bytes(struct kit *kit, struct mesh_client *client,
                                       const struct kit_upload *upload)
{
    const size_t pieces[][2] = { { 0, 1 },
                                 { 0, KIT_CHUNK },
                                 { KIT_CHUNK - 3, 7 },
                                 { KIT_CHUNK, KIT_CHUNK },
                                 { KIT_CHUNK + 1, KIT_CHUNK },
                                 { upload->len > 5 ? upload->len - 5 : 0, 100 },
                                 { upload->len, 100 },
                                 { upload->len + 1000000, 100 } };
    struct err err = { 0 };

    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        size_t offset = pieces[i][0], len = pieces[i][1];
        size_t left = offset < upload->len ? upload->len - offset : 0;
        const Guichet__V1__ReadChunkReply *reply = kit_read(kit, client, upload, offset, len, &err);

        if (reply == NULL)
            fail_msg("read %zu at %zu: %s", len, offset, err.text);
        assert_int_equal(reply->size_bytes, upload->len);
        assert_int_equal(reply->bytes.len, len < left ? len : left);
        if (reply->bytes.len > 0)
            assert_memory_equal(reply->bytes.data, upload->bytes + offset, reply->bytes.len);
    }
}

#endif
