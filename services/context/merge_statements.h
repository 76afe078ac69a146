/* SPDX-License-Identifier: Apache-2.0 */
/* merge_statements.h - the SQL about persons; the rest is in statements.h. */
#ifndef GUICHET_CONTEXT_MERGE_STATEMENTS_H
#define GUICHET_CONTEXT_MERGE_STATEMENTS_H

#include "io/db.h"

/* ---- writing ---- */
extern const struct db_statement context_merge_two; /* tenant, id, customer, other, evidence, actor, key, max:
                                                        is_duplicate, change_sequence, then a merge */
extern const struct db_statement context_unmerge;   /* tenant, merge, actor: a row per conversation split */
extern const struct db_statement context_join;      /* tenant, conversation, other, actor */

/* ---- reading: persons.h has the columns ---- */
extern const struct db_statement context_select_merge;              /* tenant, id */
extern const struct db_statement context_select_open_conversations; /* tenant, customer */
extern const struct db_statement context_select_customers;          /* tenant, ids[] */
extern const struct db_statement context_select_members;            /* the same: owner, id */
extern const struct db_statement context_select_merges;             /* the same: owner, then a merge */
extern const struct db_statement context_select_identities;         /* the same: an identity, then owner */
extern const struct db_statement context_select_consents;           /* the same: owner, then a consent */

#endif
