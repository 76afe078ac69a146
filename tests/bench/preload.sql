-- SPDX-License-Identifier: Apache-2.0
-- preload.sql - a desk with a past: customers, their conversations, their messages, both logs, its agents.
--
-- Run by tests/bench/run into a database whose services have made the tenant `demo` and are stopped. It writes
-- what the functions of both schemas would have written, set by set. :customers and :messages are given.
--
-- Every customer has one SMS conversation: of twenty, seventeen are open and somebody's, two were closed
-- lately (who writes again reopens them), one long ago (who writes again begins another). Six of ten messages came in,
-- four went out and were delivered. The past is sixty days long, in the order of the ids.
SET synchronous_commit = off;
SET work_mem = '256MB';
SET maintenance_work_mem = '512MB';
SET jit = off;

SELECT context.make_partition(t, date_trunc('month', now()) - n * interval '1 month')
FROM unnest(ARRAY['message', 'message_raw', 'intake']) t, generate_series(1, 2) n;

-- A UUIDv7 of a moment whose other bits are those of a number and a word: the same each time.
CREATE FUNCTION pg_temp.made_id(p_word text, p_number bigint, p_at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM p_at) * 1000)::bigint), 12, '0') || '7'
            || substr(md5(p_word || p_number), 1, 3) || '8' || substr(md5(p_word || p_number), 4, 15))::uuid
$$;

CREATE TEMP TABLE person AS
SELECT c AS number, '+336' || lpad(c::text, 8, '0') AS phone, began,
       pg_temp.made_id('customer', c, began) AS customer_id, pg_temp.made_id('identity', c, began) AS identity_id,
       pg_temp.made_id('conversation', c, began) AS conversation_id, pg_temp.made_id('thread', c, began) AS thread_id,
       CASE WHEN c % 20 < 17 THEN 'open' WHEN c % 20 < 19 THEN 'closed' ELSE 'past' END AS state,
       pg_temp.made_id('agent', c % 100, '2020-01-01') AS agent_id
FROM generate_series(1, :customers) c, LATERAL (SELECT now() - interval '60 days' + c * interval '1 second' AS began) b;

CREATE TEMP TABLE word AS
SELECT m AS number, p.number AS customer, p.customer_id, p.conversation_id, p.thread_id, at,
       pg_temp.made_id('message', m, at) AS id, 1 + (m - 1) / :customers AS sequence,
       CASE WHEN (m / :customers) % 10 IN (1, 3, 5, 8) THEN 2 ELSE 1 END AS direction,
       'SM' || md5('sid' || m) AS sid, 'Bonjour, message ' || m || ' de la commande ' || md5(m::text) AS text
FROM generate_series(1, :messages) m JOIN person p ON p.number = 1 + (m - 1) % :customers,
     LATERAL (SELECT now() - interval '58 days' + m * (interval '57 days' / :messages) AS at) a;

INSERT INTO context.customer (tenant, id, root_id, created_at, display_name)
SELECT 'demo', customer_id, customer_id, began, '' FROM person ORDER BY number;
INSERT INTO context.identity (tenant, id, customer_id, root_id, created_at, kind, scope, value)
SELECT 'demo', identity_id, customer_id, customer_id, began, 1, '', phone FROM person ORDER BY number;
INSERT INTO context.conversation (tenant, id, customer_id, number, opened_at, closed_at, last_message_at, state, last_preview)
SELECT 'demo', conversation_id, customer_id, number, began,
       CASE state WHEN 'closed' THEN now() - interval '1 day' WHEN 'past' THEN now() - interval '30 days' END,
       now() - interval '1 day', CASE state WHEN 'open' THEN 1 ELSE 2 END, 'Bonjour' FROM person ORDER BY number;
INSERT INTO context.thread (tenant, id, conversation_id, identity_id, created_at, last_inbound_at, last_sequence, account_id, channel)
SELECT 'demo', thread_id, conversation_id, identity_id, began, now() - interval '1 day', :messages / :customers, 'sms-demo', 'sms'
FROM person ORDER BY number;
INSERT INTO context.message (tenant, id, conversation_id, thread_id, customer_id, occurred_at, received_at, committed_at, sequence,
                             direction, kind, provider_id, content)
SELECT 'demo', id, conversation_id, thread_id, customer_id, at, at, at, sequence, direction, 1,
       CASE direction WHEN 1 THEN sid END,
       -- Content{parts{text{text}}}, packed: all lengths are below 128.
       '\x0a'::bytea || set_byte('\x00', 0, octet_length(text) + 4) || '\x0a'::bytea || set_byte('\x00', 0, octet_length(text) + 2)
       || '\x0a'::bytea || set_byte('\x00', 0, octet_length(text)) || convert_to(text, 'UTF8')
FROM word ORDER BY number;
INSERT INTO context.message_raw (tenant, id, raw_type, raw)
SELECT 'demo', id, 'application/x-www-form-urlencoded',
       convert_to('ToCountry=FR&SmsMessageSid=' || sid || '&NumMedia=0&SmsSid=' || sid || '&SmsStatus=received&FromCountry=FR&To=%2B33199000000'
       || '&NumSegments=1&MessageSid=' || sid || '&From=%2B336' || lpad(customer::text, 8, '0') || '&Body=' || text, 'UTF8')
FROM word WHERE direction = 1 ORDER BY number;
INSERT INTO context.intake (tenant, id, at, block, boot_lane, event_count, boot_id, numbers, ids, results, whats, accounts)
SELECT 'demo', pg_temp.made_id('intake', min(n), min(at)), min(at), n >> 16, 1, count(*), '00000000-0000-7000-8000-000000000000',
       array_agg(n), array_agg(id), array_agg(1), array_agg(1), array_agg('sms-demo'::text)
FROM (SELECT row_number() OVER (ORDER BY number) AS n, id, at FROM word WHERE direction = 1) w GROUP BY n >> 16, n / 50 ORDER BY min(n);
INSERT INTO context.event_key (tenant, id, account_id, event_key, content_hash)
SELECT 'demo', id, 'sms-demo', 'message:' || sid, sha256(convert_to(sid, 'UTF8')) FROM word WHERE direction = 1 ORDER BY number;
INSERT INTO context.outbound_key (tenant, message_id, at, actor_id, idempotency_key, content_hash)
SELECT 'demo', id, at, 'agent', sid, sha256(convert_to(sid, 'UTF8')) FROM word WHERE direction = 2 ORDER BY number;
INSERT INTO context.change (tenant, sequence, at, kind, direction, message_kind, state, message_sequence, conversation_number,
    conversation_id, thread_id, customer_id, message_id, occurred_at, is_new_conversation, account_id, channel, text, provider_id)
SELECT 'demo', number, at, direction, direction, 1, 1, sequence, customer, conversation_id, thread_id, customer_id, id, at,
       sequence = 1, 'sms-demo', 'sms', text, CASE direction WHEN 1 THEN sid END FROM word ORDER BY number;
INSERT INTO context.counter (tenant, change_sequence, conversation_number) VALUES ('demo', :messages, :customers)
ON CONFLICT (tenant) DO UPDATE SET change_sequence = :messages, conversation_number = :customers;

-- A hundred agents, present for the length of the run, with room for more.
INSERT INTO routing.agent (tenant, id, login, display_name, password_hash, role, presence, capacity, load, idle_since, seen_at)
SELECT 'demo', pg_temp.made_id('agent', a, '2020-01-01'), 'agent' || a, 'Agent ' || a, '', 1, 1, 1000000,
       (SELECT count(*) FROM person p WHERE p.state = 'open' AND p.number % 100 = a), now(), now() + interval '1 year'
FROM generate_series(0, 99) a;
INSERT INTO routing.queue_agent (tenant, queue_id, agent_id, free_since)
SELECT 'demo', q.id, a.id, a.idle_since FROM routing.queue q, routing.agent a
WHERE q.tenant = 'demo' AND q.name = 'support' AND a.tenant = 'demo' AND a.login LIKE 'agent%';
INSERT INTO routing.work_item (tenant, conversation_id, conversation_number, customer_id, state, queue_id, agent_id, previous_agent_id,
    waiting_since, waiting_position, assigned_at, updated_at, changed_position)
SELECT 'demo', p.conversation_id, p.number, p.customer_id, CASE p.state WHEN 'open' THEN 2 ELSE 3 END, q.id,
       CASE p.state WHEN 'open' THEN p.agent_id END, CASE p.state WHEN 'open' THEN NULL ELSE p.agent_id END, NULL,
       nextval('routing.position'), now() - interval '1 day', now() - interval '1 day', currval('routing.position')
FROM person p JOIN routing.queue q ON q.tenant = 'demo' AND q.name = 'support' ORDER BY p.number;
INSERT INTO routing.delivery (tenant, id, message_id, conversation_id, conversation_number, thread_id, account_id, sequence, state,
    attempt_count, queued_at, next_attempt_at, sent_at, updated_at, provider_id)
SELECT 'demo', id, id, conversation_id, customer, thread_id, 'sms-demo', sequence, 5, 1, at, at, at, at, sid
FROM word WHERE direction = 2 ORDER BY number;
INSERT INTO routing.event (tenant, sequence, type, at, conversation_id, conversation_number, agent_id, queue_id, customer_id, message_id,
    thread_id, message_sequence, direction, message_kind, channel, account_id, text, occurred_at)
SELECT 'demo', c.event_sequence + w.number, w.direction, w.at, w.conversation_id, w.customer, p.agent_id, q.id, w.customer_id, w.id, w.thread_id,
       w.sequence, w.direction, 1, 'sms', 'sms-demo', w.text, w.at
FROM word w JOIN person p ON p.number = w.customer JOIN routing.queue q ON q.tenant = 'demo' AND q.name = 'support'
JOIN routing.counter c ON c.tenant = 'demo' ORDER BY w.number;
UPDATE routing.counter SET event_sequence = event_sequence + :messages WHERE tenant = 'demo';
UPDATE routing.feed SET cursor = :messages, context_epoch = (SELECT epoch::text FROM context.meta), holder = NULL, expires_at = '-infinity'
WHERE tenant = 'demo';

SET synchronous_commit = on;
VACUUM (ANALYZE);
CHECKPOINT;
