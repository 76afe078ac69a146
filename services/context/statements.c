/* SPDX-License-Identifier: Apache-2.0 */
/* statements.c - all SQL of the context service.
 *
 * Lookups by arrays are LATERAL … LIMIT 1, row by row, by key: the planner guesses young tables and
 * arrays wrong (schema/0003). The order of columns is that of the enums in rows.h and changes.c. */
#include "statements.h"

const struct db_statement context_record_batch = {
    "context_record",
    "SELECT r.n, r.result, r.id, r.conversation_id, r.thread_id, r.sequence, r.change_sequence FROM context.record("
    "p_tenant => $1::text, p_reopen_window_ms => $2::int8, p_ids => $3::uuid[], p_what => $4::int4[],"
    " p_accounts => $5::text[], p_channels => $6::text[], p_keys => $7::text[], p_hashes => $8::bytea[],"
    " p_occurred => $9::timestamptz[], p_received => $10::timestamptz[], p_sender_kinds => $11::int4[],"
    " p_sender_scopes => $12::text[], p_sender_values => $13::text[], p_sender_names => $14::text[],"
    " p_thread_keys => $15::text[], p_thread_public => $16::bool[], p_thread_titles => $17::text[],"
    " p_thread_urls => $18::text[], p_origin_keys => $19::text[], p_provider_ids => $20::text[],"
    " p_contents => $21::bytea[], p_previews => $22::text[], p_subjects => $23::text[], p_is_echo => $24::bool[],"
    " p_raws => $25::bytea[], p_raw_types => $26::text[], p_boot_ids => $27::text[], p_boot_lanes => $28::int4[],"
    " p_boot_numbers => $29::int8[], p_words => $30::text[], p_flags => $31::bool[], p_states => $32::int4[],"
    " p_claim_kinds => $33::int4[], p_claim_scopes => $34::text[], p_claim_values => $35::text[],"
    " p_claim_names => $36::text[], p_delivery_ids => $37::text[], p_watermarks => $38::timestamptz[],"
    " p_reasons => $39::int4[], p_provider_codes => $40::text[], p_provider_texts => $41::text[],"
    " p_media_counts => $42::int4[], p_media_places => $43::int4[], p_media_parts => $44::int4[],"
    " p_media => $45::bytea[], p_media_hashes => $46::bytea[], p_media_gone => $47::bytea[],"
    " p_repeat_places => $48::int4[], p_repeat_boots => $49::text[], p_repeat_lanes => $50::int4[],"
    " p_repeat_numbers => $51::int8[], p_customers_max => $52::int4) r",
};

const struct db_statement context_refuse_events = {
    "context_refuse",
    "SELECT context.refuse(p_tenant => $1::text, p_ids => $2::uuid[], p_accounts => $3::text[],"
    " p_channels => $4::text[], p_keys => $5::text[], p_hashes => $6::bytea[], p_reasons => $7::text[],"
    " p_events => $8::bytea[], p_attempts => $9::int4[], p_is_dead => $10::bool[], p_whats => $11::int4[],"
    " p_boots => $12::text[], p_lanes => $13::int4[], p_numbers => $14::int8[], p_seen_places => $15::int4[],"
    " p_seen_boots => $16::text[], p_seen_lanes => $17::int4[], p_seen_numbers => $18::int8[])",
};

const struct db_statement context_void_numbers = {
    "context_void",
    "SELECT context.void_numbers(p_tenant => $1::text, p_boots => $2::text[], p_lanes => $3::int4[],"
    " p_firsts => $4::int8[], p_lasts => $5::int8[])",
};

const struct db_statement context_probe = {
    "context_probe",
    "SELECT context.write_probe(p_tenant => $1::text)",
};

const struct db_statement context_store_message = {
    "context_store_outbound",
    "SELECT s.is_duplicate, s.change_sequence FROM context.store_outbound(p_tenant => $1::text, p_id => $2::uuid,"
    " p_conversation => $3::uuid, p_thread => $4::uuid, p_direction => $5::int4, p_content => $6::bytea,"
    " p_preview => $7::text, p_actor => $8::text, p_key => $9::text, p_hash => $10::bytea,"
    " p_media_parts => $11::int4[], p_media_hashes => $12::bytea[]) s",
};

const struct db_statement context_select_blobs = {
    "context_blobs",
    "SELECT b.size_bytes, b.content_type FROM unnest($2::bytea[]) WITH ORDINALITY AS e (sha256, n)"
    " LEFT JOIN LATERAL (SELECT r.size_bytes, r.content_type FROM context.blob r WHERE r.tenant = $1::text"
    " AND r.sha256 = e.sha256 LIMIT 1) b ON true ORDER BY e.n",
};

const struct db_statement context_change_media = {
    "context_set_media",
    "SELECT s.is_changed, s.change_sequence, s.media FROM context.set_media(p_tenant => $1::text,"
    " p_message => $2::uuid, p_part => $3::int4, p_state => $4::int4, p_media => $5::bytea, p_sha256 => $6::bytea,"
    " p_reason => $7::text, p_actor => $8::text) s",
};

const struct db_statement context_audit_rows = {
    "context_audit_rows",
    "SELECT r.kind, r.boot_id, r.boot_lane, r.number, r.account_id, r.event_id, r.result, r.at, r.what"
    " FROM context.audit_rows(p_tenant => $1::text, p_after => $2::uuid, p_until => $3::uuid, p_events => $4::int4,"
    " p_refused_days => $5::int4) r",
};

const struct db_statement context_audit_block = {
    "context_audit_block",
    "SELECT b.kind, b.account_id, b.result, b.amount, b.first, b.last, b.at"
    " FROM context.audit_block(p_tenant => $1::text, p_boot => $2::text, p_lane => $3::int4, p_block => $4::int8,"
    " p_since => $5::uuid, p_until => $6::uuid, p_is_whole => $7::bool) b",
};

const struct db_statement context_select_refused = {
    "context_refused",
    "SELECT r.at, r.account_id, r.channel, r.event_key, r.reason, r.attempts, r.boot_id, r.boot_lane, r.boot_n,"
    " r.event, r.state, r.recorded_result, r.recorded_message, r.recorded_conversation, r.recorded_thread,"
    " r.recorded_sequence FROM context.refused_event r WHERE r.tenant = $1::text AND r.id = $2::uuid",
};

const struct db_statement context_end_replay = {
    "context_replay_refused",
    "SELECT context.replay_refused(p_tenant => $1::text, p_id => $2::uuid, p_result => $3::int4,"
    " p_reason => $4::text, p_message => $5::uuid, p_conversation => $6::uuid, p_thread => $7::uuid,"
    " p_sequence => $8::int4, p_actor => $9::text)",
};

const struct db_statement context_open_thread_for = {
    "context_open_thread",
    "SELECT o.is_new, o.change_sequence, o.is_repeat FROM context.open_thread(p_tenant => $1::text,"
    " p_reopen_window_ms => $2::int8, p_account => $3::text, p_channel => $4::text, p_kind => $5::int4,"
    " p_scope => $6::text, p_value => $7::text, p_name => $8::text, p_actor => $9::text, p_subject => $10::text,"
    " p_key => $11::text) o",
};

const struct db_statement context_set_state = {
    "context_set_state",
    "SELECT s.is_changed, s.change_sequence FROM context.set_conversation_state(p_tenant => $1::text,"
    " p_conversation => $2::uuid, p_state => $3::int4, p_actor => $4::text, p_if_version => $5::int4) s",
};

const struct db_statement context_rename_customer = {
    "context_update_customer",
    "SELECT context.update_customer(p_tenant => $1::text, p_customer => $2::uuid, p_name => $3::text,"
    " p_if_version => $4::int4, p_actor => $5::text)",
};

const struct db_statement context_set_read_mark = {
    "context_mark_read",
    "SELECT context.mark_read(p_tenant => $1::text, p_conversation => $2::uuid, p_agent => $3::text,"
    " p_message => $4::uuid)",
};

const struct db_statement context_make_partitions = {
    "context_make_partitions",
    "SELECT context.make_partitions($1::int4)",
};

const struct db_statement context_prune_intake = {
    "context_prune_intake",
    "SELECT context.prune_intake($1::int4)",
};

const struct db_statement context_prune_refused = {
    "context_prune_refused",
    "SELECT context.prune_refused($1::int4, $2::int4)",
};

/* How its media stand: of each part its index, its length and the packed Media. */
#define MEDIA_OF(message, which)                                                                               \
    "(SELECT string_agg(int4send(a.part_index::int4) || int4send(octet_length(a.media)) || a.media, ''::bytea" \
    " ORDER BY a.part_index) FROM context.media a WHERE a.tenant = $1::text AND a.message_id = " message which \
    ")"

const struct db_statement context_select_changes = {
    "context_changes",
    "SELECT c.sequence, c.kind, c.at, c.conversation_id, c.conversation_number, c.thread_id, c.customer_id,"
    " c.account_id, c.channel, c.message_id, c.message_sequence, c.direction, c.message_kind, c.text, c.occurred_at,"
    " c.is_new_conversation, c.is_reopened, c.state, c.receipt_state, c.delivery_id, c.watermark_at,"
    " c.failure_reason, c.provider_code, c.provider_text, c.provider_id, c.actor_id, c.reason, c.consent,"
    " c.other_customer_id, c.other_conversation_id,"
    " o.content, o.thread_key, o.is_public, o.kind AS address_kind, o.scope, o.value, o.display_name,"
    " c.refused_id, c.attempt_count,"
    " CASE WHEN c.kind = 1 AND c.media_count > 0 THEN " MEDIA_OF(
        "c.message_id", " AND a.state = 1") " WHEN c.kind = 10 THEN " MEDIA_OF("c.message_id",
                                                                               " AND a.part_index = "
                                                                               "c.media_part") " END,"
    " array_to_string(c.thread_ids, ',')"
    " FROM context.change c LEFT JOIN LATERAL ("
    "  SELECT m.content, t.thread_key, t.is_public, i.kind, i.scope, i.value, i.display_name"
    "  FROM context.message m JOIN context.thread t ON t.tenant = m.tenant AND t.id = m.thread_id"
    "  JOIN context.identity i ON i.tenant = t.tenant AND i.id = t.identity_id"
    "  WHERE c.kind = 2 AND m.tenant = c.tenant AND m.id = c.message_id LIMIT 1) o ON true"
    " WHERE c.tenant = $1::text AND c.sequence > $2::int8 ORDER BY c.sequence LIMIT $3::int4",
};

const struct db_statement context_select_feed = {
    "context_feed",
    "SELECT m.epoch, coalesce((SELECT c.change_sequence FROM context.counter c WHERE c.tenant = $1::text), 0)"
    " FROM context.meta m",
};

#define CONVERSATION_COLUMNS                                                                                 \
    "c.id, c.number, c.state, c.customer_id, u.display_name, c.subject, c.opened_at, c.closed_at,"           \
    " c.last_message_at, c.last_preview, c.version, c.joined_into_id, k.ids, m.kind, m.is_removed,"          \
    " m.reaction, m.content"
/* Somebody without a name is called as another customer of the same person, or by the address they first wrote
 * from. Then the person's other open conversations; and the last message, where a split left no preview. */
#define CONVERSATION_REST                                                                                     \
    " LEFT JOIN LATERAL (SELECT coalesce(nullif(r.display_name, ''), (SELECT o.display_name"                  \
    " FROM context.person($1::text, r.id) p (id) CROSS JOIN LATERAL (SELECT q.id, q.display_name"             \
    " FROM context.customer q WHERE q.tenant = $1::text AND q.id = p.id LIMIT 1) o"                           \
    " WHERE r.was_merged AND o.display_name <> '' ORDER BY o.id LIMIT 1),"                                    \
    " (SELECT i.value FROM context.identity i"                                                                \
    " WHERE i.tenant = $1::text AND i.customer_id = r.id ORDER BY i.created_at, i.id LIMIT 1), '')"           \
    " AS display_name FROM context.customer r WHERE r.tenant = $1::text"                                      \
    " AND r.id = c.customer_id LIMIT 1) u ON true"                                                            \
    " LEFT JOIN LATERAL (SELECT string_agg(o.id::text, ',' ORDER BY o.id) AS ids FROM"                        \
    " context.person($1::text, c.customer_id) p (id) CROSS JOIN LATERAL (SELECT r.id"                         \
    " FROM context.conversation r WHERE r.tenant = $1::text AND r.customer_id = p.id AND r.state = 1"         \
    " AND r.id <> c.id LIMIT 100) o WHERE c.state = 1) k ON true"                                             \
    " LEFT JOIN LATERAL (SELECT r.kind, r.is_removed, r.reaction, r.content FROM context.message r"           \
    " WHERE c.last_preview IS NULL AND r.tenant = $1::text AND r.conversation_id = c.id AND r.direction <> 3" \
    " ORDER BY r.id DESC LIMIT 1) m ON true"

const struct db_statement context_select_conversations = {
    "context_conversations",
    "SELECT " CONVERSATION_COLUMNS ","
    " CASE WHEN $3::text = '' THEN 0 ELSE context.unread_count($1::text, c.id, $3::text) END"
    " FROM unnest($2::uuid[]) WITH ORDINALITY AS e (id, n) CROSS JOIN LATERAL (SELECT * FROM context.conversation r"
    " WHERE r.tenant = $1::text AND r.id = e.id LIMIT 1) c" CONVERSATION_REST " ORDER BY e.n",
};

#define THREAD_COLUMNS                                                                                       \
    "t.id, t.conversation_id, t.account_id, t.channel, t.thread_key, t.is_public, t.title, t.url,"           \
    " t.last_sequence, t.last_inbound_at, i.id, i.kind, i.scope, i.value, i.display_name, i.customer_id,"    \
    " i.is_verified, i.created_at"
#define THREAD_IDENTITY                                                                                        \
    " CROSS JOIN LATERAL (SELECT * FROM context.identity r WHERE r.tenant = $1::text AND r.id = t.identity_id" \
    " LIMIT 1) i"

const struct db_statement context_select_threads = {
    "context_threads",
    "SELECT " THREAD_COLUMNS
    " FROM unnest($2::uuid[]) e (id) CROSS JOIN LATERAL (SELECT * FROM context.thread r"
    " WHERE r.tenant = $1::text AND r.conversation_id = e.id ORDER BY r.id LIMIT 1000) t" THREAD_IDENTITY
    " ORDER BY t.id",
};

const struct db_statement context_select_thread = {
    "context_thread",
    "SELECT " THREAD_COLUMNS " FROM context.thread t" THREAD_IDENTITY
    " WHERE t.tenant = $1::text AND t.id = $2::uuid",
};

/* The thread of what was written under this key already, else the current one of the address. */
#define OPENED_THREAD                                                                                        \
    "(SELECT r.* FROM context.thread r WHERE r.tenant = $1::text AND r.id = coalesce("                       \
    "(SELECT m.thread_id FROM context.outbound_key k CROSS JOIN LATERAL (SELECT n.thread_id"                 \
    " FROM context.message n WHERE n.tenant = $1::text AND n.id = k.message_id LIMIT 1) m"                   \
    " WHERE k.tenant = $1::text AND k.actor_id = $6::text AND k.idempotency_key = $7::text),"                \
    " (SELECT q.id FROM context.thread q WHERE q.tenant = $1::text AND q.account_id = $2::text"              \
    " AND q.thread_key = '' AND q.is_current AND q.identity_id = (SELECT i.id FROM context.identity i"       \
    " WHERE i.tenant = $1::text AND i.kind = $3::int4 AND i.scope = $4::text AND i.value = $5::text))))"

const struct db_statement context_select_opened_thread = {
    "context_opened_thread",
    "SELECT " THREAD_COLUMNS " FROM " OPENED_THREAD " t" THREAD_IDENTITY,
};

const struct db_statement context_select_opened_conversation = {
    "context_opened_conversation",
    "SELECT " CONVERSATION_COLUMNS ", 0 FROM " OPENED_THREAD " t CROSS JOIN LATERAL (SELECT *"
    " FROM context.conversation r WHERE r.tenant = $1::text AND r.id = t.conversation_id LIMIT 1) c"
    /* and whose it is */ CONVERSATION_REST,
};

#define MESSAGE_COLUMNS                                                                                      \
    "m.id, m.conversation_id, m.thread_id, m.sequence, m.direction, m.kind, t.channel, t.account_id,"        \
    " m.customer_id, t.identity_id, m.content, m.provider_id, m.author_id, m.occurred_at, m.received_at,"    \
    " m.committed_at, m.reaction, m.is_removed,"                                                             \
    " CASE WHEN m.media_count > 0 THEN " MEDIA_OF("m.id", "") " END"
#define MESSAGE_THREAD                                                                                       \
    " LEFT JOIN LATERAL (SELECT r.channel, r.account_id, r.identity_id FROM context.thread r"                \
    " WHERE r.tenant = $1::text AND r.id = m.thread_id LIMIT 1) t ON true"
#define STORED_MESSAGE                                                                                       \
    "(SELECT r.* FROM context.message r WHERE r.tenant = $1::text AND r.id = (SELECT k.message_id"           \
    " FROM context.outbound_key k WHERE k.tenant = $1::text AND k.actor_id = $2::text"                       \
    " AND k.idempotency_key = $3::text))"

const struct db_statement context_select_stored_message = {
    "context_stored_message",
    "SELECT " MESSAGE_COLUMNS " FROM " STORED_MESSAGE " m" MESSAGE_THREAD,
};

const struct db_statement context_select_stored_thread = {
    "context_stored_thread",
    "SELECT " THREAD_COLUMNS " FROM " STORED_MESSAGE " m CROSS JOIN LATERAL (SELECT * FROM context.thread r"
    " WHERE r.tenant = $1::text AND r.id = m.thread_id LIMIT 1) t" THREAD_IDENTITY,
};

#define BEFORE(parameter) "coalesce(" parameter "::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)"

const struct db_statement context_select_messages = {
    "context_messages",
    "SELECT " MESSAGE_COLUMNS " FROM (SELECT * FROM context.message r WHERE r.tenant = $1::text"
    " AND r.conversation_id = $2::uuid AND r.id < " BEFORE(
        "$3") " ORDER BY r.id DESC LIMIT $4::int4) m" MESSAGE_THREAD " ORDER BY m.id DESC",
};

const struct db_statement context_select_timeline = {
    "context_timeline",
    "SELECT " MESSAGE_COLUMNS " FROM context.timeline($1::text, $2::uuid, $3::uuid, $4::int4) m" MESSAGE_THREAD
    " ORDER BY m.id DESC",
};

const struct db_statement context_count_conversation = {
    "context_count_conversation",
    "SELECT count(*) FROM context.conversation c WHERE c.tenant = $1::text AND c.id = $2::uuid",
};

const struct db_statement context_count_customer = {
    "context_count_customer",
    "SELECT count(*) FROM context.customer c WHERE c.tenant = $1::text AND c.id = $2::uuid",
};

const struct db_statement context_find_by_identity = {
    "context_find_by_identity",
    "SELECT i.customer_id FROM context.identity i WHERE i.tenant = $1::text AND i.kind = $2::int4"
    " AND i.scope = $3::text AND i.value = $4::text",
};

/* In the order of names; after_id is a customer of the page before, whose name says where it ended. A person of
 * several customers comes once: where the first of them stands.
 * U+10FFFF is above every character, so it ends the range of a prefix. */
#define IS_PREFIXED(customer)                                                                                \
    " " customer ".name_key >= lower($2::text COLLATE \"und-x-icu\") COLLATE \"C\""                          \
    " AND " customer ".name_key < (lower($2::text COLLATE \"und-x-icu\") || chr(1114111)) COLLATE \"C\""

const struct db_statement context_find_by_name = {
    "context_find_by_name",
    "SELECT c.id FROM context.customer c WHERE c.tenant = $1::text AND" IS_PREFIXED("c")
    " AND (c.name_key, c.id) > (coalesce((SELECT a.name_key FROM context.customer a WHERE a.tenant = $1::text"
    " AND a.id = $3::uuid), ''), coalesce($3::uuid, '00000000-0000-0000-0000-000000000000'::uuid))"
    " AND NOT (c.was_merged AND EXISTS (SELECT FROM context.person($1::text, c.id) p (id)"
    " CROSS JOIN LATERAL (SELECT r.id, r.name_key FROM context.customer r WHERE r.tenant = $1::text AND r.id = p.id"
    " LIMIT 1) o WHERE" IS_PREFIXED("o") " AND (o.name_key, o.id) < (c.name_key, c.id)))"
    " ORDER BY c.name_key, c.id LIMIT $4::int4",
};
