/* SPDX-License-Identifier: Apache-2.0 */
/* blob_client_world.h - for the blob client's tests: a centre in this process that holds, fails or refuses as told. */
#ifndef GUICHET_SERVICE_BLOB_CLIENT_WORLD_H
#define GUICHET_SERVICE_BLOB_CLIENT_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/sha.h>

#include "service/blob_client.h"

enum { WAIT_MS = 20000, BLOB_MAX_BYTES = 8 << 20, HELD_MAX = 64 };

/* ---- the centre: one blob ---- */

struct held {
    Guichet__V1__PutChunkReply_Closure closure;
    void *closure_data;
};

struct centre {
    Guichet__V1__Blobs_Service service; /* first: the stubs hand us this address */
    uint8_t *bytes;
    size_t len;
    uint8_t sha256[SHA256_DIGEST_LENGTH];
    bool is_finished;
    unsigned puts, finishes, aborts, reads;
    /* told by the test */
    enum err_kind put_fails, finish_fails, read_fails;
    unsigned put_fails_count, finish_fails_count, read_fails_count;
    bool is_holding; /* puts wait for release() */
    struct held held[HELD_MAX];
    size_t held_count;
    size_t read_short; /* this much less than asked for */
    char token[64];
};

static bool fails(enum err_kind kind, unsigned *count, void *closure_data)
{
    struct err err = { 0 };

    if (*count == 0)
        return false;
    (*count)--;
    err_set(&err, kind, "as the test wants it");
    mesh_request_fail(mesh_request_of(closure_data), &err);
    return true;
}

static void centre_put_chunk(Guichet__V1__Blobs_Service *service, const Guichet__V1__PutChunkRequest *input,
                             Guichet__V1__PutChunkReply_Closure closure, void *closure_data)
{
    struct centre *centre = (struct centre *)service;
    const Guichet__V1__PutChunkReply reply = GUICHET__V1__PUT_CHUNK_REPLY__INIT;
    struct str_view token = mesh_request_token(mesh_request_of(closure_data));

    centre->puts++;
    snprintf(centre->token, sizeof(centre->token), "%.*s", (int)token.len, token.data);
    if (fails(centre->put_fails, &centre->put_fails_count, closure_data))
        return;
    assert_int_equal(input->offset % BLOB_CHUNK_BYTES, 0);
    assert_string_equal(input->tenant, "demo");
    assert_in_range(input->offset + input->bytes.len, 0, BLOB_MAX_BYTES);
    if (input->bytes.len > 0)
        memcpy(centre->bytes + input->offset, input->bytes.data, input->bytes.len);
    if (centre->len < input->offset + input->bytes.len)
        centre->len = input->offset + input->bytes.len;
    if (!centre->is_holding) {
        closure(&reply, closure_data);
        return;
    }
    assert_in_range(centre->held_count, 0, HELD_MAX - 1);
    centre->held[centre->held_count++] = (struct held){ closure, closure_data };
}

static void centre_finish_upload(Guichet__V1__Blobs_Service *service,
                                 const Guichet__V1__FinishUploadRequest *input,
                                 Guichet__V1__FinishUploadReply_Closure closure, void *closure_data)
{
    struct centre *centre = (struct centre *)service;
    Guichet__V1__FinishUploadReply reply = GUICHET__V1__FINISH_UPLOAD_REPLY__INIT;
    Guichet__V1__Blob blob = GUICHET__V1__BLOB__INIT;

    centre->finishes++;
    if (fails(centre->finish_fails, &centre->finish_fails_count, closure_data))
        return;
    assert_int_equal(input->size_bytes, centre->len);
    assert_string_equal(input->content_type, "image/png");
    SHA256(centre->bytes, centre->len, centre->sha256);
    assert_memory_equal(input->sha256.data, centre->sha256, SHA256_DIGEST_LENGTH);
    centre->is_finished = true;
    blob.sha256 = input->sha256;
    blob.size_bytes = input->size_bytes;
    reply.blob = &blob;
    closure(&reply, closure_data);
}

static void centre_abort_upload(Guichet__V1__Blobs_Service *service,
                                const Guichet__V1__AbortUploadRequest *input,
                                Guichet__V1__AbortUploadReply_Closure closure, void *closure_data)
{
    const Guichet__V1__AbortUploadReply reply = GUICHET__V1__ABORT_UPLOAD_REPLY__INIT;

    (void)input;
    ((struct centre *)service)->aborts++;
    closure(&reply, closure_data);
}

static void centre_get_blob(Guichet__V1__Blobs_Service *service, const Guichet__V1__GetBlobRequest *input,
                            Guichet__V1__GetBlobReply_Closure closure, void *closure_data)
{
    const Guichet__V1__GetBlobReply reply = GUICHET__V1__GET_BLOB_REPLY__INIT;

    (void)service;
    (void)input;
    closure(&reply, closure_data);
}

static void centre_read_chunk(Guichet__V1__Blobs_Service *service, const Guichet__V1__ReadChunkRequest *input,
                              Guichet__V1__ReadChunkReply_Closure closure, void *closure_data)
{
    struct centre *centre = (struct centre *)service;
    Guichet__V1__ReadChunkReply reply = GUICHET__V1__READ_CHUNK_REPLY__INIT;
    size_t left = input->offset < centre->len ? centre->len - (size_t)input->offset : 0;

    centre->reads++;
    if (fails(centre->read_fails, &centre->read_fails_count, closure_data))
        return;
    reply.size_bytes = centre->len;
    reply.bytes.len = left < input->max_bytes ? left : input->max_bytes;
    reply.bytes.len -= centre->read_short < reply.bytes.len ? centre->read_short : reply.bytes.len;
    reply.bytes.data = centre->bytes + (left > 0 ? input->offset : 0);
    closure(&reply, closure_data);
}

/* ---- the world ---- */

struct world {
    struct loop *loop;
    struct centre centre;
    struct mesh_server *server;
    struct mesh_client *client;
    struct blob_upload *upload;
    struct blob_read *read;
    uint8_t *source;
    unsigned rooms, dones, changes;
    bool is_freeing; /* by the callback itself */
    uint64_t blob_bytes;
    struct err err;
};

#define UNTIL(world, condition)                                                                              \
    do {                                                                                                     \
        uint64_t until_ = uv_hrtime() / 1000000 + WAIT_MS;                                                   \
        while (!(condition) && uv_hrtime() / 1000000 < until_)                                               \
            loop_turn((world)->loop, 20);                                                                    \
        if (!(condition))                                                                                    \
            fail_msg("waited in vain for: %s", #condition);                                                  \
    } while (0)

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    struct mesh_server_options server = { .name = "blobs",
                                          .listen = "tcp://127.0.0.1:0",
                                          .service = "centre" };
    struct mesh_client_options client = { .name = "blobs", .address_count = 1 };
    const char *address;
    struct err err = { 0 };

    world->loop = loop_new();
    world->centre.service = (Guichet__V1__Blobs_Service)GUICHET__V1__BLOBS__INIT(centre_);
    world->centre.bytes = calloc(1, BLOB_MAX_BYTES);
    world->source = malloc(BLOB_MAX_BYTES);
    for (size_t i = 0; i < BLOB_MAX_BYTES; i++)
        world->source[i] = (uint8_t)((i * 2654435761u) >> 13);
    if (!mesh_server_new(world->loop, &server, &world->server, &err))
        fail_msg("%s", err.text);
    mesh_server_add(world->server, &world->centre.service.base);
    address = mesh_server_url(world->server);
    client.addresses = &address;
    client.descriptor = &guichet__v1__blobs__descriptor;
    if (!mesh_client_new(world->loop, &client, &world->client, &err))
        fail_msg("%s", err.text);
    UNTIL(world, mesh_client_is_healthy(world->client));
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;

    blob_upload_free(&world->upload);
    blob_read_free(&world->read);
    mesh_client_free(&world->client);
    mesh_server_free(&world->server);
    loop_free(&world->loop);
    free(world->centre.bytes);
    free(world->source);
    free(world);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
