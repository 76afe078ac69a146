/* SPDX-License-Identifier: Apache-2.0 */
/* blob_store.h - what the stores that are not the database do: put, read, remove; each done() from the loop. */
#ifndef GUICHET_CONTEXT_BLOB_STORE_H
#define GUICHET_CONTEXT_BLOB_STORE_H

#include "blob.h"

/* bytes: borrowed until it returns. */
typedef void blob_bytes_fn(void *arg, struct str_view bytes, const struct err *err);
typedef void blob_removed_fn(void *arg, const struct err *err);

struct blob_piece {
    const char *place;
    uint64_t offset;
    size_t len; /* all of them are there */
};

/* "<tenant>/ab/cd/<sha256>.<upload id>": never written twice. */
void blob_name(const struct blob_finish *finish, const char *prefix, char ret_place[BLOB_PLACE_MAX_BYTES]);

void blob_directory_put(struct blob_finish *finish);
void blob_directory_read(struct blobs *blobs, const struct blob_piece *piece, blob_bytes_fn *done, void *arg);
void blob_directory_remove(struct blobs *blobs, const char *place, blob_removed_fn *done, void *arg);
bool blob_directory_check(const struct blob_config *config, struct err *err) MUST_USE;

void blob_s3_put(struct blob_finish *finish);
void blob_s3_read(struct blobs *blobs, const struct blob_piece *piece, blob_bytes_fn *done, void *arg);
void blob_s3_remove(struct blobs *blobs, const char *place, blob_removed_fn *done, void *arg);

#endif
