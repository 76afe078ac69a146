/* SPDX-License-Identifier: Apache-2.0 */
/* blob_config.h - the settings of blobs, a part of the service's. */
#ifndef GUICHET_CONTEXT_BLOB_CONFIG_H
#define GUICHET_CONTEXT_BLOB_CONFIG_H

#include "ops/config.h"

struct blob_config {
    char *listen_blobs;
    uint32_t blob_requests_max, blob_connections, blob_timeout_ms;
    uint32_t blob_max_bytes, uploads_max;
    uint32_t upload_idle_ms, upload_crowded_idle_ms;
    uint32_t blob_finishes_max, blob_finish_timeout_ms;
    char *blob_store;
    char *blob_dir;
    char *s3_endpoint, *s3_region, *s3_bucket, *s3_prefix, *s3_access_key, *s3_secret_key;
    uint32_t s3_timeout_ms;
    uint32_t blob_grace_ms, blob_collect_interval_ms;
};

#define BLOB_AT(type_name, member, field)                                                                    \
    .name = #field, .offset = offsetof(struct type_name, member) + offsetof(struct blob_config, field)

/* What the table of keys cannot say: a store's own settings are there. */
bool blob_check_config(const struct blob_config *config, struct err *err) MUST_USE;

#endif
