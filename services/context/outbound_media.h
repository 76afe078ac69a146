/* SPDX-License-Identifier: Apache-2.0 */
/* outbound_media.h - the media of what the house writes: blobs that are here already. */
#ifndef GUICHET_CONTEXT_OUTBOUND_MEDIA_H
#define GUICHET_CONTEXT_OUTBOUND_MEDIA_H

#include "context.h"

struct outbound_media {
    const Guichet__V1__Content *content; /* as asked for, its media stored, their sizes and types the blobs' */
    int64_t *parts;                      /* indexes of the parts that are media */
    struct str_view *hashes;             /* and what they are */
    size_t count;
};

typedef void outbound_media_fn(struct call *call, const struct outbound_media *media, const struct err *err);

/* Looks for the blob of each media part: ERR_NOT_FOUND names the part that has none. Once; at once when there
 * is nothing to look for or a part names no blob. */
void outbound_media_find(struct call *call, const Guichet__V1__Content *content, outbound_media_fn *done);

#endif
