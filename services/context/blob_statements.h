/* SPDX-License-Identifier: Apache-2.0 */
/* blob_statements.h - the SQL of blobs; what writes is one call of a function in schema/0008_blobs.sql. */
#ifndef GUICHET_CONTEXT_BLOB_STATEMENTS_H
#define GUICHET_CONTEXT_BLOB_STATEMENTS_H

#include "io/db.h"

extern const struct db_statement blob_sql_put_chunk;    /* tenant, upload, offset, bytes, uploads max,
                                                              idle ms when there are */
extern const struct db_statement blob_sql_check_upload; /* tenant, upload, size, hold ms: its sha256 or NULL */
extern const struct db_statement
    blob_sql_select_chunks;                       /* tenant, upload, from offset, limit: offset, bytes */
extern const struct db_statement blob_sql_intend; /* tenant, upload, store, place, hold ms: is it open? */
extern const struct db_statement blob_sql_finish_upload; /* tenant, upload, sha256, size, type, store, place:
                                                              sha256, size, type, created, place */
extern const struct db_statement blob_sql_abort_upload;  /* tenant, upload */
extern const struct db_statement blob_sql_select_blob;   /* tenant, sha256: as finish_upload */
extern const struct db_statement blob_sql_read;    /* tenant, sha256, offset, length: size, store, place,
                                                              bytes (NULL in other stores) */
extern const struct db_statement blob_sql_collect; /* idle ms, grace ms, limit: did, blobs, uploads */
extern const struct db_statement blob_sql_claim_removals; /* limit, hold ms: tenant, store, place */
extern const struct db_statement blob_sql_forget_removal; /* tenant, store, place */

#endif
