/* SPDX-License-Identifier: Apache-2.0 */
/* blob_statements.c - the SQL of blobs. */
#include "blob_statements.h"

#define BLOB_COLUMNS "b.sha256, b.size_bytes, b.content_type, b.created_at, b.place"

const struct db_statement blob_sql_put_chunk = {
    "blob_put_chunk",
    "SELECT context.put_chunk($1::text, $2::uuid, $3::int8, $4::bytea, $5::int4, $6::int8)",
};

const struct db_statement blob_sql_check_upload = {
    "blob_check_upload",
    "SELECT context.check_upload($1::text, $2::uuid, $3::int8, $4::int8)",
};

const struct db_statement blob_sql_select_chunks = {
    "blob_select_chunks",
    "SELECT c.chunk_offset, c.bytes FROM context.blob_chunk c WHERE c.tenant = $1::text"
    " AND c.upload_id = $2::uuid AND c.chunk_offset >= $3::int8 ORDER BY c.chunk_offset LIMIT $4::int4",
};

const struct db_statement blob_sql_intend = {
    "blob_intend",
    "SELECT context.intend_blob($1::text, $2::uuid, $3::int4, $4::text, $5::int8)",
};

const struct db_statement blob_sql_finish_upload = {
    "blob_finish_upload",
    "SELECT " BLOB_COLUMNS " FROM context.finish_upload($1::text, $2::uuid, $3::bytea, $4::int8, $5::text,"
    " $6::int4, $7::text) b",
};

const struct db_statement blob_sql_abort_upload = {
    "blob_abort_upload",
    "SELECT context.abort_upload($1::text, $2::uuid)",
};

const struct db_statement blob_sql_select_blob = {
    "blob_select_blob",
    "SELECT " BLOB_COLUMNS " FROM context.blob b WHERE b.tenant = $1::text AND b.sha256 = $2::bytea",
};

/* The piece lies in one chunk or in two neighbours; of each only what is asked for is read. */
const struct db_statement blob_sql_read = {
    "blob_read",
    "SELECT b.size_bytes, b.store, b.place, CASE WHEN b.store = 1 THEN coalesce(("
    "SELECT string_agg(substring(c.bytes FROM greatest($3::int8 - c.chunk_offset, 0)::int4 + 1"
    " FOR least($4::int8, $3::int8 + $4::int8 - c.chunk_offset)::int4), ''::bytea ORDER BY c.chunk_offset)"
    " FROM context.blob_chunk c WHERE c.tenant = $1::text AND c.upload_id = b.place::uuid"
    " AND c.chunk_offset > $3::int8 - 262144 AND c.chunk_offset < $3::int8 + $4::int8), ''::bytea) END"
    " FROM context.blob b WHERE b.tenant = $1::text AND b.sha256 = $2::bytea",
};

const struct db_statement blob_sql_collect = {
    "blob_collect",
    "SELECT did, blobs, uploads FROM context.collect_blobs($1::int8, $2::int8, $3::int4)",
};

const struct db_statement blob_sql_claim_removals = {
    "blob_claim_removals",
    "SELECT r.tenant, r.store, r.place FROM context.claim_removals($1::int4, $2::int8) r",
};

const struct db_statement blob_sql_forget_removal = {
    "blob_forget_removal",
    "DELETE FROM context.blob_removal r WHERE r.tenant = $1::text AND r.store = $2::int4 AND r.place = $3::text"
    " AND r.is_doomed",
};
