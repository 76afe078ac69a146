/* SPDX-License-Identifier: Apache-2.0 */
/* database.h - what every service with a schema needs: its keys, its pools by class, its migrations check.
 *
 * Keys added by DATABASE_KEYS(type, field): database_url (secret), database_{ingest,short,long}_connections,
 * database_{ingest,short,long}_timeout_ms, unsafe_allow_fsync_off. */
#ifndef GUICHET_SERVICE_DATABASE_H
#define GUICHET_SERVICE_DATABASE_H

#include "io/db.h"
#include "service/service.h"

struct database_config {
    char *database_url;
    uint32_t database_ingest_connections, database_short_connections, database_long_connections;
    uint32_t database_ingest_timeout_ms, database_short_timeout_ms, database_long_timeout_ms;
    bool unsafe_allow_fsync_off;
};

#define DATABASE_AT(type_name, member, field) \
    .name = #field, .offset = offsetof(struct type_name, member) + offsetof(struct database_config, field)
#define DATABASE_KEYS(type_name, member)                                                                    \
    { DATABASE_AT(type_name, member, database_url), .type = CONFIG_STR,                                     \
      .flags = CONFIG_REQUIRED | CONFIG_SECRET, .help = "PostgreSQL, as a URL or key=value words." },       \
    { DATABASE_AT(type_name, member, database_ingest_connections), .type = CONFIG_U32, .fallback = "2",     \
      .min = 1, .max = 64, .help = "Connections that record and apply." },                                  \
    { DATABASE_AT(type_name, member, database_short_connections), .type = CONFIG_U32, .fallback = "4",      \
      .min = 1, .max = 64, .help = "Connections for quick reads and writes." },                             \
    { DATABASE_AT(type_name, member, database_long_connections), .type = CONFIG_U32, .fallback = "2",       \
      .min = 1, .max = 64, .help = "Connections for timelines and searches." },                             \
    { DATABASE_AT(type_name, member, database_ingest_timeout_ms), .type = CONFIG_MS, .fallback = "5s",      \
      .min = 100, .max = 60000, .help = "Statement time-out when recording." },                             \
    { DATABASE_AT(type_name, member, database_short_timeout_ms), .type = CONFIG_MS, .fallback = "2s",       \
      .min = 100, .max = 60000, .help = "Statement time-out of quick work." },                              \
    { DATABASE_AT(type_name, member, database_long_timeout_ms), .type = CONFIG_MS, .fallback = "10s",       \
      .min = 100, .max = 600000, .help = "Statement time-out of timelines and searches." },                 \
    { DATABASE_AT(type_name, member, unsafe_allow_fsync_off), .type = CONFIG_BOOL, .fallback = "false",     \
      .help = "Start although the server has fsync or full_page_writes off: acknowledged messages can be lost." }

struct database {
    struct db *db;
    struct db_pool *ingest, *short_, *long_;
    struct database_state *state;      /* the readiness check's */
};

/* Opens the pools and adds the readiness check "database": every pool is connected, and the schema's newest
 * migration is `newest_migration`. It is asked again until it is right, so a service may start before
 * `guichetctl migrate` has ended, or PostgreSQL has begun. A server that can lose what it acknowledged (fsync
 * or full_page_writes off) is ERR_CONFIG; `search_path` is the schema, then public. */
bool database_open(struct database *database, struct service *service, const struct database_config *config,
                   const char *schema, uint32_t newest_migration, struct err *err) MUST_USE;
void database_close(struct database *database);

#endif
