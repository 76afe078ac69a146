/* SPDX-License-Identifier: Apache-2.0 */
/* record_media.c - which media parts of an inbound message are still at the provider, and which are stored.
 *
 * Content is kept as it came; how its media stand is kept beside it (context.media), so that fetching
 * changes neither the message nor the hash that makes recording happen once. A connector that had the bytes in
 * hand (mail) has stored them before: then the message holds the blob from its commit on. Where it was collected
 * meanwhile, the message comes all the same and says so. */
#include "record_row.h"

static bool is_stored(const Guichet__V1__Media *media)
{
    return media->state == GUICHET__V1__MEDIA_STATE__MEDIA_STATE_STORED &&
           media->sha256.len == RECORD_HASH_BYTES;
}

static bool is_pending(const Guichet__V1__Media *media)
{
    if (media->state == GUICHET__V1__MEDIA_STATE__MEDIA_STATE_UNSPECIFIED)
        return media->provider_url[0] != '\0' || media->provider_media_id[0] != '\0';
    return media->state == GUICHET__V1__MEDIA_STATE__MEDIA_STATE_PENDING;
}

static struct str_view pack_gone(const Guichet__V1__Media *media, struct arena *arena)
{
    static char error[] = "the file was not kept";
    Guichet__V1__Media gone = *media;

    gone.state = GUICHET__V1__MEDIA_STATE__MEDIA_STATE_FAILED;
    gone.sha256 = (ProtobufCBinaryData){ 0 };
    gone.error = error;
    return record_pack(&gone.base, arena);
}

static struct record_media describe(const Guichet__V1__Media *media, size_t part, struct arena *arena)
{
    Guichet__V1__Media copy = *media;
    struct record_media row = { .part = part, .sha256 = { "", 0 }, .gone = { "", 0 } };

    if (is_stored(media)) {
        row.sha256 = (struct str_view){ (const char *)media->sha256.data, media->sha256.len };
        row.gone = pack_gone(media, arena);
    } else {
        copy.state = GUICHET__V1__MEDIA_STATE__MEDIA_STATE_PENDING;
    }
    row.packed = record_pack(&copy.base, arena);
    return row;
}

void record_media_fill(struct record_row *row, const Guichet__V1__Content *content, struct arena *arena)
{
    size_t count = content == NULL ? 0 : content->n_parts;
    struct record_media *rows = NULL;

    for (size_t i = 0; i < count && i <= INT16_MAX; i++) {
        const Guichet__V1__Media *media = content->parts[i]->media;

        if (content->parts[i]->kind_case != GUICHET__V1__PART__KIND_MEDIA ||
            (!is_stored(media) && !is_pending(media)))
            continue;
        if (rows == NULL)
            rows = context_alloc(arena, count * sizeof(*rows));
        rows[row->media_count++] = describe(media, i, arena);
    }
    row->media = rows;
}
