/* SPDX-License-Identifier: Apache-2.0 */
/* record_media.c - which media parts of an inbound message are still at the provider.
 *
 * Content is kept as it came; how its media stand is kept beside it (context.media), so that fetching
 * changes neither the message nor the hash that makes recording happen once. */
#include "record_row.h"

static bool is_pending(const Guichet__V1__Part *part)
{
    const Guichet__V1__Media *media = part->media;

    if (part->kind_case != GUICHET__V1__PART__KIND_MEDIA)
        return false;
    if (media->state == GUICHET__V1__MEDIA_STATE__MEDIA_STATE_UNSPECIFIED)
        return media->provider_url[0] != '\0' || media->provider_media_id[0] != '\0';
    return media->state == GUICHET__V1__MEDIA_STATE__MEDIA_STATE_PENDING;
}

static struct str_view pack_pending(const Guichet__V1__Media *media, struct arena *arena)
{
    Guichet__V1__Media pending = *media;

    pending.state = GUICHET__V1__MEDIA_STATE__MEDIA_STATE_PENDING;
    return record_pack(&pending.base, arena);
}

void record_media_fill(struct record_row *row, const Guichet__V1__Content *content, struct arena *arena)
{
    size_t count = content == NULL ? 0 : content->n_parts;
    struct record_media *media = NULL;

    for (size_t i = 0; i < count && i <= INT16_MAX; i++) {
        if (!is_pending(content->parts[i]))
            continue;
        if (media == NULL)
            media = context_alloc(arena, count * sizeof(*media));
        media[row->media_count++] = (struct record_media){ i, pack_pending(content->parts[i]->media, arena) };
    }
    row->media = media;
}
