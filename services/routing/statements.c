/* SPDX-License-Identifier: Apache-2.0 */
/* statements.c - all SQL the service sends.
 *
 * Column lists that a function in rows.c reads stand here once, as a macro, in the order in which it reads. */
#include "statements.h"

#define SQL(variable, text)                                                                                  \
    const struct db_statement routing_sql_##variable = { .name = #variable, .sql = text }

#define AGENT_COLUMNS                                                                                         \
    "a.tenant, a.id, a.login, a.display_name, a.role, a.presence, a.capacity, a.load, a.idle_since,"          \
    " (SELECT coalesce(string_agg(q.queue_id::text, ' ' ORDER BY q.queue_id), '') FROM routing.queue_agent q" \
    "  WHERE q.tenant = a.tenant AND q.agent_id = a.id)"
#define WORK_COLUMNS                                                                                         \
    "w.tenant, w.conversation_id, w.state, w.queue_id, w.agent_id, w.waiting_since, w.assigned_at,"          \
    " w.updated_at, w.version, w.reason"
#define ACCOUNT_COLUMNS                                                                                      \
    "c.tenant, c.id, c.channel, c.address, c.display_name, c.queue_id, c.capabilities, c.announced_at,"      \
    " c.announced_at > now() - $2::bigint * interval '1 millisecond'"
#define DELIVERY_COLUMNS                                                                                     \
    "d.tenant, d.id, d.message_id, d.conversation_id, d.thread_id, d.account_id, d.state, d.attempt_count,"  \
    " d.provider_id, d.reason, d.provider_code, d.provider_text, d.queued_at,"                               \
    " CASE WHEN d.state = 1 THEN d.next_attempt_at END, d.updated_at"
#define EVENT_COLUMNS                                                                                        \
    "e.sequence, e.type, e.at, e.conversation_id, e.conversation_number, e.agent_id, e.previous_agent_id,"   \
    " e.queue_id, e.actor_id, e.customer_id, e.reason, e.message_id, e.thread_id, e.message_sequence,"       \
    " e.direction, e.message_kind, e.channel, e.account_id, e.text, e.occurred_at, e.delivery_id,"           \
    " e.delivery_state, e.attempt_count, e.provider_id, e.failure_reason, e.provider_code, e.provider_text," \
    " e.queued_at, e.next_attempt_at, e.presence, e.dead_letter_id, e.other_customer_id,"                   \
    " e.other_conversation_id"
#define DEAD_LETTER_COLUMNS                                                                                  \
    "l.tenant, l.id, l.kind, l.state, l.account_id, l.conversation_id, l.message_id, l.subject, l.reason,"   \
    " l.attempt_count, l.at, l.resolved_at, l.resolved_by, l.replay_count, l.replay_error"

/* ---- set-up ---- */
SQL(put_tenant, "SELECT routing.put_tenant($1::text, $2::uuid[], $3::text[], $4::text[])");
SQL(announce, "SELECT id, reason FROM routing.announce($1::text, $2::text, $3::text, $4::text[], $5::text[],"
              " $6::text[], $7::bytea[], $8::integer[], $9::integer[], $10::integer[], $11::bigint,"
              " $12::integer[], $13::bigint[], $14::timestamptz[])");
SQL(prune, "SELECT routing.prune($1::text, $2::bigint, $3::bigint, $4::integer)"
           " + routing.prune_ended($1::text, $5::bigint, $6::bigint, $4::integer)");
SQL(status,
    "SELECT c.tenant, c.event_sequence, f.cursor,"
    " (SELECT count(*) FROM routing.work_item w WHERE w.tenant = c.tenant AND w.state = 1),"
    " (SELECT count(*) FROM routing.work_item w WHERE w.tenant = c.tenant AND w.state = 2),"
    " (SELECT count(*) FROM routing.delivery d WHERE d.tenant = c.tenant AND (d.state = 1 OR d.is_holding)"
    "  AND d.state < 4),"
    " (SELECT count(*) FROM routing.delivery d WHERE d.tenant = c.tenant AND d.state = 8),"
    " (SELECT count(*) FROM routing.agent a WHERE a.tenant = c.tenant AND a.presence = 1),"
    " (SELECT count(*) FROM routing.job j WHERE j.tenant = c.tenant AND j.state = 1)"
    " + (SELECT count(*) FROM routing.job j WHERE j.tenant = c.tenant AND j.state = 2),"
    " (SELECT count(*) FROM routing.dead_letter l WHERE l.tenant = c.tenant AND l.state = 1)"
    " FROM routing.counter c JOIN routing.feed f USING (tenant) WHERE c.tenant = ANY ($1::text[])"
    " ORDER BY c.tenant");

/* ---- feed ---- */
SQL(hold_feeds, "SELECT tenant, is_held, fencing, cursor, context_epoch, wait_ms"
                " FROM routing.hold_feeds($1::text[], $2::uuid, $3::bigint)");
SQL(read_feeds, "SELECT tenant, cursor FROM routing.feed WHERE tenant = ANY ($1::text[])");
SQL(release_feeds, "SELECT routing.release_feeds($1::uuid)");
SQL(apply, "SELECT routing.apply($1::text, $2::uuid, $3::bigint, $4::bigint, $5::text, $6::bigint,"
           " $7::bigint[], $8::integer[], $9::timestamptz[], $10::uuid[], $11::integer[], $12::uuid[],"
           " $13::uuid[], $14::text[], $15::text[], $16::uuid[], $17::integer[], $18::integer[],"
           " $19::integer[], $20::text[], $21::timestamptz[], $22::boolean[], $23::boolean[],"
           " $24::integer[], $25::uuid[], $26::text[], $27::text[], $28::integer[], $29::uuid[],"
           " $30::timestamptz[], $31::integer[], $32::text[], $33::text[], $34::bytea[], $35::uuid[],"
           " $36::uuid[], $37::uuid[], $38::integer[], $39::integer[], $40::integer[], $41::integer[],"
           " $42::uuid[], $43::bytea[], $44::integer[], $45::uuid[], $46::uuid, $47::uuid, $48::text)");
SQL(skip_change,
    "SELECT routing.skip_change($1::text, $2::uuid, $3::bigint, $4::bigint, $5::bigint, $6::text,"
    " $7::bigint, $8::text, $9::uuid, $10::uuid, $11::text, $12::integer, $13::bytea)");
SQL(kick, "SELECT pg_notify('guichet_routing', 'kick ' || $1::text)");

/* ---- agents ---- */
SQL(put_agent,
    "WITH p AS (SELECT * FROM routing.put_agent($1::text, $2::uuid, $3::text, $4::text, $5::text, $6::integer,"
    " $7::integer, $8::integer, $9::text[])) SELECT agent_id, is_new, event_sequence FROM p");
SQL(set_presence, "SELECT routing.set_presence($1::text, $2::uuid, $3::integer)");
SQL(expire_presence,
    "SELECT event_sequence, expired_count FROM routing.expire_presence($1::text, $2::bigint)");
SQL(next_presence,
    "SELECT CASE WHEN count(*) > 0 THEN"
    " ceil(greatest(0, extract(epoch FROM min(seen_at) - clock_timestamp()) * 1000 + $2::bigint))::bigint END"
    " FROM routing.agent WHERE tenant = $1::text AND presence <> 0");
SQL(get_agent, "SELECT " AGENT_COLUMNS " FROM routing.agent a WHERE a.tenant = $1::text AND a.id = $2::uuid");
SQL(list_agents, "SELECT " AGENT_COLUMNS " FROM routing.agent a WHERE a.tenant = $1::text"
                 " AND a.id > coalesce($2::uuid, '00000000-0000-0000-0000-000000000000')"
                 " ORDER BY a.id LIMIT $3::integer");
SQL(list_queues, "SELECT q.tenant, q.id, q.name, w.n, w.since FROM routing.queue q CROSS JOIN LATERAL ("
                 "SELECT count(*) AS n, min(i.waiting_since) AS since FROM routing.work_item i"
                 " WHERE i.tenant = q.tenant AND i.queue_id = q.id AND i.state = 1) w"
                 " WHERE q.tenant = $1::text ORDER BY q.position, q.name");
SQL(list_spools, "SELECT c.id, c.spool_count, c.spool_oldest_at FROM routing.channel_account c"
                 " WHERE c.tenant = $1::text AND c.spool_count > 0 ORDER BY c.id");
SQL(list_accounts, "SELECT " ACCOUNT_COLUMNS " FROM routing.channel_account c WHERE c.tenant = $1::text"
                   " ORDER BY c.id");
SQL(begin_login, "SELECT agent_id, password_hash, retry_ms"
                 " FROM routing.begin_login($1::text, $2::text, $3::integer, $4::bigint)");
SQL(open_session, "SELECT routing.open_session($1::text, $2::uuid, $3::text, $4::bytea, $5::bigint)");
SQL(close_session, "DELETE FROM routing.session WHERE token_hash = $1::bytea");
SQL(check_session,
    "SELECT " AGENT_COLUMNS ", s.expires_at FROM routing.check_session($1::bytea, $2::bigint) s"
    " JOIN routing.agent a ON a.tenant = s.tenant AND a.id = s.agent_id");

/* ---- work ---- */
/* Theirs, and what waits or was closed in their queues; not what others have. */
#define VISIBLE_TO(param)                                                                                    \
    " AND (" param "::uuid IS NULL OR w.agent_id = " param                                                   \
    "::uuid OR w.state <> 2 AND w.queue_id = ANY (ARRAY("                                                    \
    "SELECT v.queue_id FROM routing.queue_agent v WHERE v.tenant = $1::text AND v.agent_id = " param         \
    "::uuid)))"
#define POSITION_OF(column, param)                                                                           \
    "(SELECT p." column " FROM routing.work_item p WHERE p.tenant = $1::text"                                \
    " AND p.conversation_id = " param "::uuid)"

SQL(get_work, "SELECT " WORK_COLUMNS " FROM routing.work_item w WHERE w.tenant = $1::text"
              " AND w.conversation_id = ANY ($2::uuid[])");
/* clang-format would join strings and macros into lines that nobody can read. */
/* clang-format off */
SQL(list_waiting,
    "SELECT " WORK_COLUMNS " FROM routing.work_item w WHERE w.tenant = $1::text AND w.state = 1"
    " AND ($2::uuid IS NULL OR w.queue_id = $2::uuid)" VISIBLE_TO("$3")
    " AND ($4::uuid IS NULL OR w.waiting_position > " POSITION_OF("waiting_position", "$4") ")"
    " ORDER BY w.waiting_position LIMIT $5::integer");
SQL(list_assigned,
    "SELECT " WORK_COLUMNS " FROM routing.work_item w WHERE w.tenant = $1::text AND w.state = 2"
    " AND w.agent_id = $2::uuid AND ($3::uuid IS NULL OR w.queue_id = $3::uuid)" VISIBLE_TO("$4")
    " AND ($5::uuid IS NULL OR w.changed_position < " POSITION_OF("changed_position", "$5") ")"
    " ORDER BY w.changed_position DESC LIMIT $6::integer");
/* As the next, for one state: a parameter in its place could not use the partial index. */
SQL(list_taken,
    "SELECT " WORK_COLUMNS " FROM routing.work_item w WHERE w.tenant = $1::text AND w.state = 2"
    " AND $2::integer = 2 AND ($3::uuid IS NULL OR w.queue_id = $3::uuid)"
    VISIBLE_TO("$4")
    " AND ($5::uuid IS NULL OR w.changed_position < " POSITION_OF("changed_position", "$5") ")"
    " ORDER BY w.changed_position DESC LIMIT $6::integer");
SQL(list_work,
    "SELECT " WORK_COLUMNS " FROM routing.work_item w WHERE w.tenant = $1::text"
    " AND ($2::integer = 0 OR w.state = $2::integer) AND ($3::uuid IS NULL OR w.queue_id = $3::uuid)"
    VISIBLE_TO("$4")
    " AND ($5::uuid IS NULL OR w.changed_position < " POSITION_OF("changed_position", "$5") ")"
    " ORDER BY w.changed_position DESC LIMIT $6::integer");
/* clang-format on */
SQL(assign, "SELECT routing.assign_by_hand($1::text, $2::uuid, $3::uuid, $4::uuid, $5::integer)");
SQL(transfer,
    "SELECT routing.transfer($1::text, $2::uuid, $3::uuid, $4::uuid, $5::uuid, $6::integer, $7::text)");
/* One row always: role (0 when there is no such agent), is in the queue, then the item or NULLs. */
SQL(get_actor,
    "SELECT coalesce(a.role, 0)::integer, EXISTS (SELECT FROM routing.queue_agent q WHERE q.tenant = $1::text"
    " AND q.agent_id = $3::uuid AND q.queue_id = w.queue_id), " WORK_COLUMNS " FROM (SELECT 1) one"
    " LEFT JOIN routing.work_item w ON w.tenant = $1::text AND w.conversation_id = $2::uuid"
    " LEFT JOIN routing.agent a ON a.tenant = $1::text AND a.id = $3::uuid");
SQL(get_account, "SELECT " ACCOUNT_COLUMNS " FROM routing.channel_account c WHERE c.tenant = $1::text"
                 " AND c.id = $3::text");

/* ---- deliveries ---- */
SQL(pull, "SELECT id, account_id, lease, lease_until, attempt, payload, kind, media_delivery"
          " FROM routing.pull($1::text, $2::text[], $3::uuid[], $4::bigint, $5::integer)");
SQL(end_leases, "SELECT routing.end_leases($1::text, $2::uuid[], $3::uuid[])");
SQL(start,
    "SELECT is_granted, reason, lease_ms FROM routing.start($1::text, $2::uuid, $3::uuid, $4::bigint,"
    " $5::text[])");
SQL(report,
    "SELECT state, event_sequence, is_dead, ask, message_id, part_index, payload, provider_text"
    " FROM routing.report($1::text, $2::uuid, $3::uuid, $4::integer,"
    " $5::text, $6::bigint, $7::boolean, $8::integer, $9::text, $10::text, $11::bigint[], $12::bigint,"
    " $13::text[], $14::integer, $15::bigint)");
SQL(end_job, "SELECT state, event_sequence, is_dead FROM routing.end_job($1::text, $2::uuid, $3::integer)");
SQL(expire_leases, "SELECT event_sequence, leased_count, sending_count, unknown_count, dead_count"
                   " FROM routing.expire_leases($1::text, $2::bigint[], $3::bigint)");
SQL(expire_jobs, "SELECT what, event_sequence, is_dead, id, message_id, part_index, payload, provider_text"
                 " FROM routing.expire_jobs($1::text, $2::bigint[], $3::integer, $4::bigint)");
SQL(set_typing, "SELECT routing.set_typing($1::text, $2::uuid, $3::text, $4::uuid, $5::uuid, $6::bytea,"
                " $7::bigint, $8::bigint)");
SQL(next_due, "SELECT lease_ms, ready_ms FROM routing.next_due($1::text)");
SQL(get_deliveries, "SELECT " DELIVERY_COLUMNS " FROM routing.delivery d WHERE d.tenant = $1::text"
                    " AND d.message_id = ANY ($2::uuid[])");

/* ---- events ---- */
SQL(event_head, "SELECT epoch::text, event_sequence FROM routing.counter"
                " WHERE tenant = $1::text");
SQL(read_events, "SELECT " EVENT_COLUMNS " FROM routing.event e WHERE e.tenant = $1::text"
                 " AND e.sequence > $2::bigint ORDER BY e.sequence LIMIT $3::integer");

/* ---- dead letters ---- */
SQL(list_dead_letters, "SELECT " DEAD_LETTER_COLUMNS " FROM routing.dead_letter l WHERE l.tenant = $1::text"
                       " AND l.state = $2::integer AND ($3::integer = 0 OR l.kind = $3::integer)"
                       " AND ($4::text = '' OR l.account_id = $4::text)"
                       " AND ($5::uuid IS NULL OR l.id < $5::uuid) ORDER BY l.id DESC LIMIT $6::integer");
SQL(count_dead_letters, "SELECT t.tenant, (SELECT count(*) FROM routing.dead_letter l WHERE l.tenant = t.tenant"
                        " AND l.state = 1) FROM unnest($1::text[]) t (tenant)");
SQL(get_dead_letter, "SELECT " DEAD_LETTER_COLUMNS ", l.payload, l.payload_type FROM routing.dead_letter l"
                     " WHERE l.tenant = $1::text AND l.id = $2::uuid");
/* The same for who may replay it; raises when they may not, or when there is none. */
SQL(take_dead_letter,
    "SELECT " DEAD_LETTER_COLUMNS ", l.payload, l.payload_type"
    " FROM routing.take_dead_letter($1::text, $2::uuid, $3::uuid) l");
SQL(replay_dead_letter, "SELECT event_sequence, is_changed"
                        " FROM routing.replay_dead_letter($1::text, $2::uuid, $3::uuid, $4::text, $5::boolean,"
                        " $6::timestamptz)");
SQL(fail_replay,
    "SELECT event_sequence, is_changed FROM routing.fail_replay($1::text, $2::uuid, $3::uuid, $4::text)");
SQL(drop_dead_letter,
    "SELECT event_sequence, is_changed FROM routing.drop_dead_letter($1::text, $2::uuid, $3::uuid, $4::text)");
