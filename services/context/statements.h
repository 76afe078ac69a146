/* SPDX-License-Identifier: Apache-2.0 */
/* statements.h - all SQL the service sends; what writes is one call of a function in schema/. */
#ifndef GUICHET_CONTEXT_STATEMENTS_H
#define GUICHET_CONTEXT_STATEMENTS_H

#include "io/db.h"

/* ---- writing ---- */
extern const struct db_statement context_record_batch;    /* tenant, window ms, then record_row_params(), then
                                                              the manifest of repeats: record_seen.h */
extern const struct db_statement context_refuse_events;   /* tenant, REFUSED_* columns, then record_seen.h */
extern const struct db_statement context_void_numbers;    /* tenant, boots[], lanes[], firsts[], lasts[] */
extern const struct db_statement context_probe;           /* tenant: does the database take a write? */
extern const struct db_statement context_store_message;   /* tenant, id, conversation, thread, direction,
                                                              content, preview, actor, key, hash, media
                                                              parts[], their sha256[] */
extern const struct db_statement context_change_media;    /* tenant, message, part, state, media, sha256,
                                                              reason, actor */
extern const struct db_statement context_end_replay;      /* tenant, id, result, reason, message, conversation,
                                                              thread, sequence, actor */
extern const struct db_statement context_open_thread_for; /* tenant, window ms, account, channel, kind, scope,
                                                              value, name, actor, subject */
extern const struct db_statement context_set_state;       /* tenant, conversation, state, actor, if_version */
extern const struct db_statement context_rename_customer; /* tenant, customer, name, if_version, actor */
extern const struct db_statement context_set_read_mark;   /* tenant, conversation, agent, message */
extern const struct db_statement context_make_partitions; /* months ahead */
extern const struct db_statement context_prune_intake;    /* days to keep */
extern const struct db_statement context_prune_refused;   /* days to keep, limit: how many went */

/* ---- the feed ---- */
extern const struct db_statement context_select_changes; /* tenant, after, limit: CHANGE_* columns */
extern const struct db_statement context_select_feed;    /* tenant: epoch, last sequence */

/* ---- reading: rows.h has the columns ---- */
extern const struct db_statement context_select_conversations;       /* tenant, ids[], agent */
extern const struct db_statement context_select_threads;             /* tenant, conversations[] */
extern const struct db_statement context_select_thread;              /* tenant, id */
extern const struct db_statement context_select_opened_thread;       /* tenant, account, kind, scope, value */
extern const struct db_statement context_select_opened_conversation; /* the same */
extern const struct db_statement context_select_stored_message;      /* tenant, actor, idempotency key */
extern const struct db_statement context_select_stored_thread;       /* the same */
extern const struct db_statement context_select_messages;            /* tenant, conversation, before, limit */
extern const struct db_statement context_select_timeline;            /* tenant, customer of a person, before, limit */
extern const struct db_statement context_count_conversation;         /* tenant, id: 0 or 1 */
extern const struct db_statement context_count_customer;             /* tenant, id: 0 or 1 */
extern const struct db_statement context_find_by_identity;           /* tenant, kind, scope, value */
extern const struct db_statement context_find_by_name;               /* tenant, prefix, after, limit */

extern const struct db_statement context_select_blobs;               /* tenant, sha256[]: size, type, or NULL */
extern const struct db_statement context_audit_rows;                 /* tenant, after, until, events, refused days */
extern const struct db_statement context_audit_block;                /* tenant, boot, lane, block, since, until,
                                                                        is whole */
extern const struct db_statement context_select_refused;             /* tenant, id: refused.c has the columns */

#endif
