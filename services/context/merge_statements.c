/* SPDX-License-Identifier: Apache-2.0 */
/* merge_statements.c - the SQL about persons: who they are made of, and what makes them so.
 *
 * A customer is asked for by any of the person's ids; owner is the id asked for, the first column or the last.
 * Lookups are row by row, by key, as in statements.c. */
#include "merge_statements.h"

#define MERGE_COLUMNS                                                                                        \
    "m.id, m.customer_id, m.other_customer_id, m.evidence, m.actor_id, m.merged_at, m.unmerged_at"

const struct db_statement context_merge_two = {
    "context_merge_two",
    "SELECT f.is_duplicate, f.change_sequence, (f.merge).id, (f.merge).customer_id,"
    " (f.merge).other_customer_id,"
    " (f.merge).evidence, (f.merge).actor_id, (f.merge).merged_at, (f.merge).unmerged_at FROM"
    " context.merge_customers(p_tenant => $1::text,"
    " p_id => $2::uuid, p_customer => $3::uuid, p_other => $4::uuid, p_evidence => $5::text,"
    " p_actor => $6::text,"
    " p_key => $7::text, p_customers_max => $8::int4) f",
};

const struct db_statement context_unmerge = {
    "context_unmerge",
    "SELECT u.is_changed, u.change_sequence, u.conversation_id, u.new_conversation_id, u.new_number"
    " FROM context.unmerge_customers(p_tenant => $1::text, p_merge => $2::uuid, p_actor => $3::text) u",
};

const struct db_statement context_join = {
    "context_join",
    "SELECT j.is_changed, j.change_sequence FROM context.join_conversations(p_tenant => $1::text,"
    " p_conversation => $2::uuid, p_other => $3::uuid, p_actor => $4::text, p_messages_max => $5::int4) j",
};

const struct db_statement context_select_merge = {
    "context_merge",
    "SELECT " MERGE_COLUMNS " FROM context.customer_merge m WHERE m.tenant = $1::text AND m.id = $2::uuid",
};

const struct db_statement context_select_open_conversations = {
    "context_open_conversations",
    "SELECT c.id FROM context.person($1::text, $2::uuid) p (id) CROSS JOIN LATERAL (SELECT r.id"
    " FROM context.conversation r WHERE r.tenant = $1::text AND r.customer_id = p.id AND r.state = 1"
    " LIMIT 100) c ORDER BY c.id LIMIT 100",
};

#define EACH_PERSON                                                                                          \
    " FROM unnest($2::uuid[]) WITH ORDINALITY AS e (id, n)"                                                  \
    " CROSS JOIN LATERAL context.person($1::text, e.id) p (id) "

/* Who has no name of their own is called as another customer of the person. */
const struct db_statement context_select_customers = {
    "context_customers",
    "SELECT c.id, coalesce(nullif(c.display_name, ''), s.display_name, ''), c.created_at,"
    " c.version, s.last_seen_at"
    " FROM unnest($2::uuid[]) WITH ORDINALITY AS e (id, n)"
    " CROSS JOIN LATERAL (SELECT * FROM context.customer r WHERE r.tenant = $1::text AND r.id ="
    " e.id LIMIT 1) c"
    " CROSS JOIN LATERAL (SELECT max(a.last_seen_at) AS last_seen_at,"
    " (array_agg(o.display_name ORDER BY o.id) FILTER (WHERE o.display_name <> ''))[1] AS display_name"
    " FROM context.person($1::text, e.id) p (id)"
    " CROSS JOIN LATERAL (SELECT r.id, r.display_name FROM context.customer r WHERE r.tenant = $1::text"
    " AND r.id = p.id LIMIT 1) o"
    " CROSS JOIN LATERAL (SELECT max(t.last_inbound_at) AS last_seen_at FROM context.identity i"
    " JOIN context.thread t ON t.tenant = $1::text AND t.identity_id = i.id"
    " WHERE i.tenant = $1::text AND i.customer_id = p.id) a) s ORDER BY e.n",
};

const struct db_statement context_select_members = {
    "context_members",
    "SELECT e.id, p.id" EACH_PERSON "ORDER BY e.n, p.id",
};

const struct db_statement context_select_merges = {
    "context_merges",
    "SELECT e.id, " MERGE_COLUMNS EACH_PERSON "CROSS JOIN LATERAL (SELECT * FROM context.customer_merge r"
    " WHERE r.tenant = $1::text AND r.customer_id = p.id AND r.unmerged_at IS NULL LIMIT 1000) m"
    " ORDER BY e.n, m.id",
};

const struct db_statement context_select_identities = {
    "context_identities",
    "SELECT i.id, i.kind, i.scope, i.value, i.display_name, i.customer_id, i.is_verified,"
    " i.created_at, e.id" EACH_PERSON
    "CROSS JOIN LATERAL (SELECT * FROM context.identity r"
    " WHERE r.tenant = $1::text AND r.customer_id = p.id ORDER BY r.id LIMIT 1000) i ORDER BY e.n, i.id",
};

const struct db_statement context_select_consents = {
    "context_consents",
    "SELECT e.id, s.account_id, s.identity_id, s.state, s.evidence, s.changed_at" EACH_PERSON
    "CROSS JOIN LATERAL (SELECT * FROM context.identity r"
    " WHERE r.tenant = $1::text AND r.customer_id = p.id ORDER BY r.id LIMIT 1000) i"
    " CROSS JOIN LATERAL (SELECT * FROM context.consent r WHERE r.tenant = $1::text AND r.identity_id = i.id"
    " LIMIT 1000) s ORDER BY e.n, s.identity_id, s.account_id",
};
