/* SPDX-License-Identifier: Apache-2.0 */
/* provider_media.h - the provider stand-in's files: those that customers send, and those that it is sent. */
#ifndef GUICHET_CTL_PROVIDER_MEDIA_H
#define GUICHET_CTL_PROVIDER_MEDIA_H

#include "io/http_client.h"
#include "io/http_server.h"

enum { PROVIDER_FILE_MAX_BYTES = 32 << 20, PROVIDER_MESSAGE_FILES_MAX = 10 };

/* ---- of customers: kept in memory, the oldest go when there are too many ---- */

struct provider_files;

struct provider_files *provider_files_new(void);
void provider_files_free(struct provider_files **files);
/* Its id, valid while the file is kept. */
const char *provider_files_add(struct provider_files *files, const char *content_type, struct str_view bytes);
/* The type it was given, NULL: there is no such file. */
const char *provider_files_type(const struct provider_files *files, const char *id);
/* GET …/Media/<id> wants credentials and moves to /store/<id>, as Twilio does to its store. false: not its path. */
bool provider_files_serve(struct provider_files *files, struct http_exchange *exchange, bool is_authorised);

/* ---- of the business: read from their links, as Twilio does before it sends ---- */

struct provider_seen {
    int status; /* of the link; 0: no answer */
    uint64_t size_bytes;
    char content_type[128];
    char sha256[65];
};

typedef void provider_read_done_fn(void *arg, const struct provider_seen *seen, size_t count);
/* One after the other; done() comes later, once. */
void provider_read_start(struct http_client *client, const char *const *urls, size_t count,
                         provider_read_done_fn *done, void *arg);

#endif
