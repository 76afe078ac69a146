/* SPDX-License-Identifier: Apache-2.0 */
/* media_private.h - what media*.c share. */
#ifndef GUICHET_GATEWAY_MEDIA_PRIVATE_H
#define GUICHET_GATEWAY_MEDIA_PRIVATE_H

#include <sys/queue.h>

#include "media.h"
#include "service/blob_client.h"
#include "service/media_ticket.h"

struct media_upload;
struct media_download;
TAILQ_HEAD(media_uploads, media_upload);
TAILQ_HEAD(media_downloads, media_download);

struct media {
    struct media_ticket_keys keys;
    const char *base_url;
    char *host; /* of base_url, as a request's Host names it */
    const struct config_strings *hosts; /* that are served too */
    struct media_uploads uploads;
    struct media_downloads downloads;
};

void media_uploads_end(struct media *media);
void media_downloads_end(struct media *media);
/* Are files served under that name? `host` may be NULL. */
bool media_serves(const struct media *media, const char *host);
/* Readers' words for a ticket of this blob. */
void media_ticket_init(Guichet__V1__MediaTicket *ret_ticket, const char *tenant, ProtobufCBinaryData sha256,
                       const char *content_type, const char *file_name, uint32_t ttl_ms);
/* `type/subtype` without parameters, in the arena; application/octet-stream for what is none. */
const char *media_type_clean(struct arena *arena, const char *content_type);

#endif
