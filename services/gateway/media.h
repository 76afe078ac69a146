/* SPDX-License-Identifier: Apache-2.0 */
/* media.h - files on their way through the gateway: up from agents, down to whoever holds a signed link. */
#ifndef GUICHET_GATEWAY_MEDIA_H
#define GUICHET_GATEWAY_MEDIA_H

#include "api.h"

#define MEDIA_UPLOAD_PATH "/v1/media"

/* What is under way; for the end. */
bool media_new(struct gateway *gateway, struct err *err) MUST_USE;
void media_free(
    struct media **media); /* ends what is under way; after the listeners, before the mesh client */

/* ---- media.c ---- */

/* Links into what is stored; where the provider keeps a file is not for agents. */
void media_show(struct call *call, Guichet__V1__Message *message);
/* The part that a media_id of POST /v1/media stands for, in the arena; NULL: it does not hold. */
Guichet__V1__Media *media_of_id(struct call *call, const char *id);

/* ---- media_upload.c ---- */

void media_upload_begin(struct gateway *gateway, struct http_exchange *exchange);
void media_upload_whole(void *sink_arg);

/* ---- media_download.c ---- */

bool media_is_download(struct http_exchange *exchange);
void media_download(struct gateway *gateway, struct http_exchange *exchange);

#endif
