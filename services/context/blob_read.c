/* SPDX-License-Identifier: Apache-2.0 */
/* blob_read.c - ReadChunk: a piece of a blob, from the store it lies in. */
#include "blob.h"

#include <string.h>

#include "blob_statements.h"
#include "blob_store.h"

struct piece {
    uint64_t size_bytes;
    size_t len;
};

static void reply_bytes(struct call *call, uint64_t size_bytes, struct str_view bytes)
{
    Guichet__V1__ReadChunkReply reply = GUICHET__V1__READ_CHUNK_REPLY__INIT;

    reply.bytes = (ProtobufCBinaryData){ bytes.len, (uint8_t *)bytes.data };
    reply.size_bytes = size_bytes;
    stats_add_label(call->context->stats, CONTEXT_BLOB_BYTES, "out", bytes.len);
    context_call_reply(call, &reply);
}

static void on_stored_bytes(void *arg, struct str_view bytes, const struct err *err)
{
    struct call *call = arg;
    const struct piece *piece = call->data;

    if (err->kind != ERR_NONE)
        context_call_fail(call, err);
    else
        reply_bytes(call, piece->size_bytes, bytes);
}

static size_t piece_len(const Guichet__V1__ReadChunkRequest *input, uint64_t size_bytes)
{
    uint64_t left = size_bytes > input->offset ? size_bytes - input->offset : 0;

    return left < input->max_bytes ? (size_t)left : input->max_bytes;
}

static void read_store(struct call *call, const struct db_work *work, const struct db_result *found)
{
    const Guichet__V1__ReadChunkRequest *input = call->data;
    struct blobs *blobs = blob_blobs_of(call);
    struct piece *piece = context_alloc(call->arena, sizeof(*piece));
    struct blob_piece where = { .offset = input->offset };

    piece->size_bytes = (uint64_t)db_i64(found, 0, 0);
    where.len = piece_len(input, piece->size_bytes);
    where.place = arena_strdup(call->arena, db_text(work, found, 0, 2));
    if (where.len == 0) {
        reply_bytes(call, piece->size_bytes, (struct str_view){ "", 0 });
        return;
    }
    call->data = piece;
    if (db_i64(found, 0, 1) == BLOB_STORE_S3)
        blob_s3_read(blobs, &where, on_stored_bytes, call);
    else
        blob_directory_read(blobs, &where, on_stored_bytes, call);
}

static void on_found(void *arg, struct db_work *work, const struct err *err)
{
    struct call *call = arg;
    const Guichet__V1__ReadChunkRequest *input = call->data;
    const struct db_result *found;
    struct err failed = *err;

    if (failed.kind == ERR_NONE && blob_blobs_of(call)->is_closing)
        err_set(&failed, ERR_UNAVAILABLE, "the service ends");
    if (failed.kind == ERR_NONE && db_rows(db_work_result(work, 0)) == 0)
        err_set(&failed, ERR_NOT_FOUND, "blob: there is none");
    if (failed.kind != ERR_NONE) {
        context_call_fail(call, &failed);
        return;
    }
    found = db_work_result(work, 0);
    if (db_i64(found, 0, 1) != BLOB_STORE_DATABASE) {
        read_store(call, work, found);
        return;
    }
    if (db_bytes(found, 0, 3).len != piece_len(input, (uint64_t)db_i64(found, 0, 0))) {
        err_set(&failed, ERR_INTERNAL, "blob: chunks of it are gone");
        context_call_fail(call, &failed);
        return;
    }
    reply_bytes(call, (uint64_t)db_i64(found, 0, 0), db_bytes(found, 0, 3));
}

void blob_read_chunk(Guichet__V1__Blobs_Service *service, const Guichet__V1__ReadChunkRequest *input,
                     Guichet__V1__ReadChunkReply_Closure closure, void *closure_data)
{
    struct call *call = BLOB_CALL_OPEN(service, input, closure, closure_data);
    struct err err = { 0 };
    struct db_work *work;

    if (call == NULL)
        return;
    if (input->max_bytes == 0 || input->max_bytes > BLOB_CHUNK_BYTES)
        err_set(&err, ERR_INVALID, "max_bytes: %u, 1 to %d are allowed", input->max_bytes, BLOB_CHUNK_BYTES);
    else if (input->offset > INT64_MAX / 2)
        err_set(&err, ERR_INVALID, "offset: is beyond everything");
    if (err.kind != ERR_NONE || !blob_check_sha256(&input->sha256, &err)) {
        context_call_fail(call, &err);
        return;
    }
    work = db_work_new(blob_blobs_of(call)->pool);
    db_work_add(work, &blob_sql_read,
                (struct db_param[]){
                    DB_PARAM_TEXT(input->tenant),
                    DB_PARAM_BYTES(((struct str_view){ (char *)input->sha256.data, input->sha256.len })),
                    DB_PARAM_I64(input->offset), DB_PARAM_I64(input->max_bytes) },
                4);
    db_work_run(work, on_found, call);
}
