/* SPDX-License-Identifier: Apache-2.0 */
/* outbound_media.c - finds the blobs that an outbound message names, and says of each what is known.
 *
 * Whether they are still there when the message is stored is for its transaction (context.refer_to_blobs); here
 * it is found out what they are, since the content is packed before that. */
#include "outbound_media.h"

#include <inttypes.h>

#include "core/pbjson.h"
#include "statements.h"

enum { SHA256_BYTES = 32 };

enum blob_column { BLOB_SIZE_BYTES, BLOB_CONTENT_TYPE };

struct search {
    struct call *call;
    Guichet__V1__Content *content; /* our own copy */
    struct outbound_media media;
    outbound_media_fn *done;
};

static const struct err none = { 0 };

static void fill_part(const struct search *search, const struct db_work *work, size_t row)
{
    const struct db_result *result = db_work_result(work, 0);
    Guichet__V1__Media *media = search->content->parts[search->media.parts[row]]->media;

    media->state = GUICHET__V1__MEDIA_STATE__MEDIA_STATE_STORED;
    media->size_bytes = (uint64_t)db_i64(result, row, BLOB_SIZE_BYTES);
    if (media->content_type[0] == '\0')
        media->content_type =
            arena_strdup(search->call->arena, db_text(work, result, row, BLOB_CONTENT_TYPE));
    media->link_url = media->provider_url = media->provider_media_id = media->error =
        (char *)protobuf_c_empty_string;
}

static void on_blobs(void *arg, struct db_work *work, const struct err *err)
{
    struct search *search = arg;
    struct err missing = { 0 };

    for (size_t row = 0; row < search->media.count && err->kind == ERR_NONE; row++) {
        if (db_is_null(db_work_result(work, 0), row, BLOB_SIZE_BYTES)) {
            (void)err_set(&missing, ERR_NOT_FOUND, "content.parts[%" PRId64 "]: there is no blob of this sha256",
                          search->media.parts[row]);
            err = &missing;
            break;
        }
        fill_part(search, work, row);
    }
    search->done(search->call, &search->media, err);
}

static bool collect(struct search *search, struct err *err)
{
    Guichet__V1__Content *content = search->content;
    struct outbound_media *media = &search->media;

    media->parts = context_alloc(search->call->arena, (content->n_parts + 1) * sizeof(*media->parts));
    media->hashes = context_alloc(search->call->arena, (content->n_parts + 1) * sizeof(*media->hashes));
    for (size_t i = 0; i < content->n_parts; i++) {
        const Guichet__V1__Media *part = content->parts[i]->media;

        if (content->parts[i]->kind_case != GUICHET__V1__PART__KIND_MEDIA)
            continue;
        if (part->sha256.len != SHA256_BYTES)
            return err_set(err, ERR_INVALID, "content.parts[%zu]: names no blob by its sha256", i);
        media->parts[media->count] = (int64_t)i;
        media->hashes[media->count] = (struct str_view){ (const char *)part->sha256.data, SHA256_BYTES };
        media->count++;
    }
    return true;
}

void outbound_media_find(struct call *call, const Guichet__V1__Content *content, outbound_media_fn *done)
{
    struct search *search = context_alloc(call->arena, sizeof(*search));
    struct err err = { 0 };
    struct db_work *work;

    search->call = call;
    search->done = done;
    search->content = (Guichet__V1__Content *)pb_dup(&content->base, call->arena);
    search->media.content = search->content;
    if (!collect(search, &err) || search->media.count == 0) {
        done(call, &search->media, err.kind != ERR_NONE ? &err : &none);
        return;
    }
    work = db_work_new(call->context->database.ingest);
    db_work_add(work, &context_select_blobs,
                (struct db_param[]){ DB_PARAM_TEXT(call->tenant),
                                     { .type = DB_BYTES_ARRAY,
                                       .items = search->media.hashes,
                                       .count = search->media.count } },
                2);
    db_work_run(work, on_blobs, search);
}
