-- SPDX-License-Identifier: Apache-2.0
-- Cases for the rules in schema/*.sql. schema_test.c runs what stands before the first case and then one
-- case, each in a transaction that is rolled back: a case fails by ASSERT or by any error.
CREATE SCHEMA t;
CREATE TABLE t.feed (cursor bigint NOT NULL);
INSERT INTO t.feed VALUES (0);

-- Readable ids: t.id(7) is 00000000-0000-0000-0000-000000000007.
CREATE FUNCTION t.id(p integer) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT lpad(p::text, 32, '0')::uuid
$$;
CREATE FUNCTION t.tenant(p_tenant text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM routing.put_tenant(p_tenant, ARRAY[t.id(901), t.id(902)], ARRAY['support', 'billing'],
                               ARRAY[E'sms-1', E'sms-2\nsms-3']);
    PERFORM routing.announce(p_tenant, 'c', 'sms', ARRAY['sms-1-' || p_tenant, 'sms-2-' || p_tenant], '{+1,+2}',
                             '{one,two}', ARRAY[''::bytea, ''], '{0,0}', '{1,1}', '{86400,86400}', 60000);
    PERFORM routing.hold_feeds(ARRAY[p_tenant], t.id(1), 3000);
END $$;
CREATE FUNCTION t.agent(p_id integer, p_capacity integer, p_queues text[] DEFAULT '{}', p_role integer DEFAULT 1)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM routing.put_agent('demo', t.id(p_id), 'agent-' || p_id, '', 'hash', p_role, p_capacity, 5, p_queues);
    PERFORM routing.set_presence('demo', t.id(p_id), 1);
END $$;
-- One change of the feed. Conversation n has thread 10000+n; message ids count.
CREATE FUNCTION t.change(p_kind integer, p_conversation integer, p_message integer DEFAULT NULL,
    p_is_new boolean DEFAULT false, p_is_reopened boolean DEFAULT false, p_state integer DEFAULT 1,
    p_actor uuid DEFAULT NULL, p_account text DEFAULT 'sms-1-demo', p_sequence integer DEFAULT 1,
    p_receipt integer DEFAULT NULL, p_delivery uuid DEFAULT NULL, p_provider text DEFAULT '',
    p_watermark timestamptz DEFAULT NULL, p_message_kind integer DEFAULT 1) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_cursor bigint;
BEGIN
    UPDATE t.feed SET cursor = cursor + 1 RETURNING cursor INTO v_cursor;
    RETURN routing.apply('demo', t.id(1), 1, v_cursor - 1, 'e', 3000, ARRAY[v_cursor], ARRAY[p_kind],
        ARRAY[now()], ARRAY[t.id(p_conversation)], ARRAY[p_conversation], ARRAY[t.id(10000 + p_conversation)],
        ARRAY[t.id(20000 + p_conversation)], ARRAY[p_account], '{sms}', ARRAY[t.id(p_message)],
        ARRAY[p_sequence], ARRAY[CASE p_kind WHEN 2 THEN 2 ELSE 1 END], ARRAY[p_message_kind], '{hello}',
        ARRAY[now()], ARRAY[p_is_new], ARRAY[p_is_reopened], ARRAY[p_state], ARRAY[p_actor], '{""}',
        ARRAY[p_provider], ARRAY[p_receipt], ARRAY[p_delivery], ARRAY[p_watermark], '{0}', '{""}', '{""}',
        ARRAY['payload'::bytea]);
END $$;
CREATE FUNCTION t.arrives(p_conversation integer) RETURNS bigint LANGUAGE sql AS $$
    SELECT t.change(1, p_conversation, 30000 + p_conversation,
                    p_is_new => NOT EXISTS (SELECT FROM routing.work_item
                                            WHERE tenant = 'demo' AND conversation_id = t.id(p_conversation)))
$$;
CREATE FUNCTION t.closes(p_conversation integer) RETURNS bigint LANGUAGE sql AS $$
    SELECT t.change(6, p_conversation, p_state => 2)
$$;
CREATE FUNCTION t.sends(p_conversation integer, p_message integer, p_sequence integer,
                        p_account text DEFAULT 'sms-1-demo') RETURNS bigint LANGUAGE sql AS $$
    SELECT t.change(2, p_conversation, p_message, p_sequence => p_sequence, p_account => p_account)
$$;
-- The agent's number, 0 waiting, -1 closed, -2 no item.
CREATE FUNCTION t.who(p_conversation integer) RETURNS integer LANGUAGE sql AS $$
    SELECT coalesce((SELECT CASE state WHEN 1 THEN 0 WHEN 3 THEN -1 ELSE right(agent_id::text, 6)::integer END
                     FROM routing.work_item WHERE tenant = 'demo' AND conversation_id = t.id(p_conversation)), -2)
$$;
CREATE FUNCTION t.last(p_column text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v text;
BEGIN
    EXECUTE format('SELECT %I::text FROM routing.event WHERE tenant = ''demo'' ORDER BY sequence DESC LIMIT 1',
                   p_column) INTO v;
    RETURN v;
END $$;
CREATE FUNCTION t.state(p_message integer) RETURNS integer LANGUAGE sql AS $$
    SELECT state::integer FROM routing.delivery WHERE tenant = 'demo' AND id = t.id(p_message)
$$;
-- Leases what there is; how many.
CREATE FUNCTION t.pulls(p_max integer DEFAULT 10, p_lease integer DEFAULT 5000,
                        p_accounts text[] DEFAULT '{sms-1-demo,sms-2-demo}') RETURNS integer LANGUAGE sql AS $$
    SELECT count(*)::integer FROM routing.lease('demo', p_accounts,
        (SELECT array_agg(t.id(p_lease + i) ORDER BY i) FROM generate_series(1, p_max) i), 60000)
$$;
CREATE FUNCTION t.lease_of(p_message integer) RETURNS uuid LANGUAGE sql AS $$
    SELECT lease FROM routing.delivery WHERE tenant = 'demo' AND id = t.id(p_message)
$$;
CREATE FUNCTION t.starts(p_message integer) RETURNS boolean LANGUAGE sql AS $$
    SELECT is_granted FROM routing.start('demo', t.id(p_message), t.lease_of(p_message), 60000)
$$;
CREATE FUNCTION t.reports(p_message integer, p_kind integer, p_provider text DEFAULT '',
    p_lease uuid DEFAULT NULL, p_retry_after bigint DEFAULT 0, p_is_account_wide boolean DEFAULT false)
RETURNS integer LANGUAGE sql AS $$
    SELECT state FROM routing.report('demo', t.id(p_message), coalesce(p_lease, t.lease_of(p_message)), p_kind,
        p_provider, p_retry_after, p_is_account_wide, 8, 'code', 'words', '{1000,2000,4000}', 600000)
$$;
CREATE FUNCTION t.receipt(p_provider text, p_state integer, p_delivery uuid DEFAULT NULL) RETURNS bigint
LANGUAGE sql AS $$
    SELECT t.change(4, 1, p_receipt => p_state, p_provider => p_provider, p_delivery => p_delivery)
$$;
-- Sent under this provider id.
CREATE FUNCTION t.sent(p_message integer, p_provider text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM t.pulls();
    ASSERT t.starts(p_message), 'start was not granted';
    ASSERT t.reports(p_message, 1, p_provider) >= 4, 'not sent';
END $$;
CREATE FUNCTION t.error_of(p_sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_hint text;
BEGIN
    EXECUTE p_sql;
    RETURN 'none';
EXCEPTION WHEN SQLSTATE 'P0001' THEN
    GET STACKED DIAGNOSTICS v_hint = PG_EXCEPTION_HINT;
    RETURN v_hint;
END $$;
-- What must hold after each transaction.
CREATE FUNCTION t.check_all(p_what text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_bad record;
BEGIN
    SELECT a.login, a.load, n.n INTO v_bad FROM routing.agent a
    CROSS JOIN LATERAL (SELECT count(*) AS n FROM routing.work_item w
                        WHERE w.tenant = a.tenant AND w.agent_id = a.id AND w.state = 2) n
    WHERE a.load <> n.n;
    ASSERT NOT FOUND, format('%s: load of %s is %s, has %s', p_what, v_bad.login, v_bad.load, v_bad.n);
    SELECT w.conversation_id, a.login INTO v_bad FROM routing.work_item w
    JOIN routing.queue_agent q ON q.tenant = w.tenant AND q.queue_id = w.queue_id
    JOIN routing.agent a ON a.tenant = w.tenant AND a.id = q.agent_id
    WHERE w.state = 1 AND a.presence = 1 AND a.load < a.capacity;
    ASSERT NOT FOUND, format('%s: %s waits, %s has room', p_what, v_bad.conversation_id, v_bad.login);
    SELECT a.login INTO v_bad FROM routing.queue_agent q
    JOIN routing.agent a ON a.tenant = q.tenant AND a.id = q.agent_id
    WHERE q.free_since IS DISTINCT FROM
          CASE WHEN a.presence = 1 AND a.load < a.capacity THEN a.idle_since END;
    ASSERT NOT FOUND, format('%s: free_since of %s', p_what, v_bad.login);
    ASSERT (SELECT count(*) = coalesce(max(sequence), 0) FROM routing.event WHERE tenant = 'demo'), p_what || ': holes';
    ASSERT (SELECT coalesce(max(sequence), 0) FROM routing.event WHERE tenant = 'demo')
           = (SELECT event_sequence FROM routing.counter WHERE tenant = 'demo'), p_what || ': counter';
END $$;
SELECT t.tenant('demo');
SELECT t.tenant('other');

-- case: a new conversation goes to the agent with room, and says so in the log
SELECT t.agent(11, 2);
SELECT t.arrives(1);
DO $$ BEGIN
    ASSERT t.who(1) = 11, 'not assigned';
    ASSERT (SELECT array_agg(type ORDER BY sequence) FROM routing.event WHERE tenant = 'demo' AND type <> 10)
           = '{4,1,6}', 'opened, message, assigned';
    ASSERT t.last('reason') = 'longest idle agent with room', t.last('reason');
    ASSERT t.last('agent_id') = t.id(11)::text, 'agent of the event';
    ASSERT (SELECT count(*) = 0 FROM routing.event WHERE tenant = 'other'), 'another tenant';
END $$;

-- case: nobody there: it waits, and the log says why
SELECT t.arrives(1);
DO $$ BEGIN
    ASSERT t.who(1) = 0, 'not waiting';
    ASSERT t.last('type') = '5' AND t.last('reason') = 'no agent present', t.last('reason');
END $$;
SELECT t.agent(11, 1);
SELECT t.arrives(2);
DO $$ BEGIN
    ASSERT t.who(1) = 11, 'assigned the moment an agent comes';
    ASSERT t.who(2) = 0 AND t.last('reason') = 'every agent present is at capacity', t.last('reason');
END $$;

-- case: the longest idle agent is first
SELECT t.agent(11, 5);
SELECT t.agent(12, 5);
SELECT t.agent(13, 5);
SELECT t.arrives(1), t.arrives(2), t.arrives(3), t.arrives(4);
SELECT t.closes(2);
SELECT t.arrives(5), t.arrives(6), t.arrives(7);
DO $$ BEGIN
    ASSERT ARRAY[t.who(1), t.who(3), t.who(4)] = '{11,13,11}', 'round of the idle';
    ASSERT ARRAY[t.who(5), t.who(6), t.who(7)] = '{13,11,12}', 'who finished goes to the end';
END $$;

-- case: a batch is spread over agents, each by who is idle longest
SELECT t.agent(11, 3);
SELECT t.agent(12, 3);
SELECT routing.apply('demo', t.id(1), 1, 0, 'e', 3000, array_agg(i::bigint), array_agg(1), array_agg(now()),
    array_agg(t.id(i)), array_agg(i), array_agg(t.id(i)), array_agg(t.id(i)), array_agg('sms-1-demo'::text),
    array_agg('sms'::text), array_agg(t.id(i)), array_agg(1), array_agg(1), array_agg(1), array_agg(''::text),
    array_agg(now()), array_agg(true), array_agg(false), array_agg(1), array_agg(NULL::uuid),
    array_agg(''::text), array_agg(''::text), array_agg(0), array_agg(NULL::uuid),
    array_agg(NULL::timestamptz), array_agg(0), array_agg(''::text), array_agg(''::text),
    array_agg(NULL::bytea)) FROM generate_series(1, 8) i;
DO $$ BEGIN
    ASSERT (SELECT array_agg(t.who(i) ORDER BY i) FROM generate_series(1, 8) i) = '{11,12,11,12,11,12,0,0}',
           (SELECT array_agg(t.who(i) ORDER BY i)::text FROM generate_series(1, 8) i);
    PERFORM t.check_all('batch');
END $$;

-- case: who waits longest goes first, whichever queue
SELECT t.change(1, 1, 1, true, p_account => 'sms-1-demo');
SELECT t.change(1, 2, 2, true, p_account => 'sms-2-demo');
SELECT t.change(1, 3, 3, true, p_account => 'sms-1-demo');
UPDATE routing.channel_account SET queue_id = t.id(902) WHERE id = 'sms-2-demo';
UPDATE routing.work_item SET queue_id = t.id(902) WHERE conversation_id = t.id(2);
SELECT t.agent(11, 2);
DO $$ BEGIN
    ASSERT ARRAY[t.who(1), t.who(2), t.who(3)] = '{11,11,0}', 'first come';
END $$;
SELECT t.agent(12, 2, '{billing}');
DO $$ BEGIN
    ASSERT t.who(3) = 0, 'not of that queue';
END $$;
SELECT t.closes(2);
DO $$ BEGIN
    ASSERT t.who(3) = 11, 'room was made';
END $$;

-- case: capacity is never exceeded, and room made is used at once
SELECT t.agent(11, 1);
SELECT t.arrives(1), t.arrives(2), t.arrives(3);
DO $$ BEGIN
    ASSERT ARRAY[t.who(1), t.who(2), t.who(3)] = '{11,0,0}', 'one only';
END $$;
SELECT routing.put_agent('demo', t.id(11), 'agent-11', '', '', 0, 2, 5, '{}');
DO $$ BEGIN
    ASSERT ARRAY[t.who(2), t.who(3)] = '{11,0}', 'capacity raised';
END $$;
SELECT t.closes(1);
DO $$ BEGIN
    ASSERT t.who(3) = 11, 'closed one makes room';
END $$;

-- case: a customer who writes again keeps the agent; a closed one comes back to the same agent
SELECT t.agent(11, 2);
SELECT t.agent(12, 2);
SELECT t.arrives(1);
SELECT t.arrives(1);
DO $$ BEGIN ASSERT t.who(1) = 11, 'kept'; END $$;
SELECT t.closes(1);
SELECT t.change(1, 1, 2, p_is_reopened => true);
DO $$ BEGIN
    ASSERT t.who(1) = 11, format('went to %s', t.who(1));
    ASSERT t.last('reason') = 'agent who had it before', t.last('reason');
    ASSERT (SELECT count(*) = 1 FROM routing.event WHERE tenant = 'demo' AND type = 8), 'one reopened';
END $$;

-- case: closed, and its agent has left: somebody else
SELECT t.agent(11, 2);
SELECT t.agent(12, 2);
SELECT t.arrives(1);
SELECT t.closes(1);
SELECT routing.set_presence('demo', t.id(11), 0);
SELECT t.change(1, 1, 2, p_is_reopened => true);
DO $$ BEGIN ASSERT t.who(1) = 12, 'somebody present'; END $$;

-- case: the customer writes and the agent is not there: waiting, then another, and back when alone
SELECT t.agent(11, 1);
SELECT t.arrives(1);
SELECT routing.set_presence('demo', t.id(11), 0);
DO $$ BEGIN ASSERT t.who(1) = 11, 'nothing happens before the customer writes'; END $$;
SELECT t.change(1, 1, 2, p_message_kind => 4);
DO $$ BEGIN ASSERT t.who(1) = 11, 'a reaction moves nothing'; END $$;
SELECT t.arrives(1);
DO $$ BEGIN
    ASSERT t.who(1) = 0 AND t.last('type') = '5', 'waiting';
    ASSERT t.last('previous_agent_id') = t.id(11)::text, 'who had it';
    ASSERT (SELECT load = 0 FROM routing.agent WHERE id = t.id(11)), 'load';
END $$;
SELECT routing.set_presence('demo', t.id(11), 1);
DO $$ BEGIN ASSERT t.who(1) = 11, 'back'; END $$;
SELECT routing.set_presence('demo', t.id(11), 2);
SELECT t.agent(12, 1);
SELECT t.arrives(1);
DO $$ BEGIN ASSERT t.who(1) = 12, 'away counts as not there'; END $$;

-- case: opened, written to, closed and reopened in one batch
SELECT t.agent(11, 1);
SELECT routing.apply('demo', t.id(1), 1, 0, 'e', 3000, '{1,2,3,4}', '{1,1,6,1}', array_fill(now(), '{4}'),
    array_fill(t.id(1), '{4}'), '{1,1,1,1}', array_fill(t.id(2), '{4}'), array_fill(t.id(3), '{4}'),
    array_fill('sms-1-demo'::text, '{4}'), array_fill('sms'::text, '{4}'), array_fill(t.id(4), '{4}'),
    '{1,2,0,3}', '{1,1,0,1}', '{1,1,0,1}', '{a,b,"",c}', array_fill(now(), '{4}'), '{t,f,f,f}', '{f,f,f,t}',
    '{1,1,2,1}', array_fill(NULL::uuid, '{4}'), array_fill(''::text, '{4}'), array_fill(''::text, '{4}'),
    '{0,0,0,0}', array_fill(NULL::uuid, '{4}'), array_fill(NULL::timestamptz, '{4}'), '{0,0,0,0}',
    array_fill(''::text, '{4}'), array_fill(''::text, '{4}'), array_fill(NULL::bytea, '{4}'));
DO $$ BEGIN
    ASSERT t.who(1) = 11, 'assigned at the end';
    ASSERT (SELECT array_agg(type ORDER BY sequence) FROM routing.event WHERE tenant = 'demo' AND type <> 10)
           = '{4,1,1,7,8,1,6}', 'order of the log';
END $$;

-- case: who starts a conversation by writing first has it
SELECT t.agent(11, 5);
SELECT t.agent(12, 5);
SELECT t.change(6, 1, p_is_new => true, p_actor => t.id(12));
SELECT t.change(2, 1, 1, p_actor => t.id(12));
SELECT t.change(2, 2, 2, p_is_new => true, p_actor => t.id(12));
DO $$ BEGIN
    ASSERT t.who(1) = 12 AND t.who(2) = 12, 'theirs';
    ASSERT t.state(1) = 1 AND t.state(2) = 1, 'deliveries queued';
END $$;

-- case: claim: compare and set
SELECT t.agent(11, 1);
SELECT t.agent(12, 1, '{billing}');
SELECT t.agent(13, 1, p_role => 2);
SELECT routing.set_presence('demo', t.id(11), 2), routing.set_presence('demo', t.id(13), 2);
SELECT t.arrives(1), t.arrives(2);
SELECT routing.set_presence('demo', t.id(11), 1);
DO $$ BEGIN
    ASSERT t.who(1) = 11 AND t.who(2) = 0, 'full';
    ASSERT t.error_of('SELECT routing.assign_by_hand(''demo'', t.id(2), t.id(11), t.id(11), 0)') = 'conflict',
           'self-claim over capacity';
    ASSERT t.error_of('SELECT routing.assign_by_hand(''demo'', t.id(2), t.id(12), t.id(12), 0)') = 'forbidden',
           'not of the queue';
    ASSERT t.error_of('SELECT routing.assign_by_hand(''demo'', t.id(2), t.id(12), t.id(11), 0)') = 'forbidden',
           'agents do not assign others';
    ASSERT t.error_of('SELECT routing.assign_by_hand(''demo'', t.id(1), t.id(12), t.id(12), 0)') = 'conflict',
           'taken already';
    ASSERT t.error_of('SELECT routing.assign_by_hand(''demo'', t.id(2), t.id(11), t.id(13), 77)') = 'conflict',
           'another version';
    ASSERT t.error_of('SELECT routing.assign_by_hand(''demo'', t.id(9), t.id(11), t.id(13), 0)') = 'not_found',
           'no such conversation';
    PERFORM routing.assign_by_hand('demo', t.id(2), t.id(11), t.id(13), 1);
    ASSERT t.who(2) = 11, 'a supervisor may exceed the capacity';
    PERFORM routing.assign_by_hand('demo', t.id(2), t.id(11), t.id(11), 0);
END $$;

-- case: transfer to a queue leaves the agent, to an agent needs room
SELECT t.agent(11, 1);
SELECT t.arrives(1);
SELECT t.agent(12, 1, '{billing}');
SELECT routing.transfer('demo', t.id(1), t.id(902), NULL, t.id(11), 0, 'invoice');
DO $$ BEGIN
    ASSERT t.who(1) = 12, 'the other agent of that queue';
    ASSERT (SELECT reason = 'transferred: invoice' AND previous_agent_id = t.id(11) FROM routing.event
            WHERE tenant = 'demo' AND type = 5), 'queued says why';
    ASSERT t.error_of('SELECT routing.transfer(''demo'', t.id(1), t.id(901), NULL, t.id(11), 0, '''')')
           = 'forbidden', 'not its agent any more';
    ASSERT t.error_of('SELECT routing.transfer(''demo'', t.id(1), t.id(555), NULL, t.id(12), 0, '''')')
           = 'not_found', 'no such queue';
END $$;
SELECT t.arrives(2);
DO $$ BEGIN
    ASSERT t.who(2) = 11, 'room';
    ASSERT t.error_of('SELECT routing.transfer(''demo'', t.id(1), NULL, t.id(11), t.id(12), 0, '''')')
           = 'conflict', 'full';
    PERFORM t.closes(2);
    PERFORM routing.transfer('demo', t.id(1), NULL, t.id(11), t.id(12), 0, '');
    ASSERT t.who(1) = 11, 'handed over';
    PERFORM routing.set_presence('demo', t.id(12), 0);
    ASSERT t.error_of('SELECT routing.transfer(''demo'', t.id(1), NULL, t.id(12), t.id(11), 0, '''')')
           = 'conflict', 'not online';
    PERFORM t.closes(1);
    ASSERT t.error_of('SELECT routing.transfer(''demo'', t.id(1), NULL, t.id(11), NULL, 0, '''')')
           = 'conflict', 'closed';
    PERFORM t.check_all('transfer');
END $$;

-- case: not seen for long: offline
SELECT t.agent(11, 1);
SELECT t.agent(12, 1);
UPDATE routing.agent SET seen_at = now() - interval '6 minutes' WHERE id = t.id(11);
DO $$ BEGIN
    ASSERT (SELECT expired_count = 1 FROM routing.expire_presence('demo', 300000)), 'one';
    ASSERT (SELECT presence = 0 FROM routing.agent WHERE id = t.id(11)), 'offline';
    ASSERT t.last('type') = '10' AND t.last('reason') = 'not seen', 'told';
    ASSERT (SELECT expired_count = 0 FROM routing.expire_presence('demo', 300000)), 'once';
END $$;
SELECT t.arrives(1);
DO $$ BEGIN ASSERT t.who(1) = 12, 'nothing for the absent'; END $$;

-- case: random operations keep the invariants
DO $$
DECLARE
    v_op integer;
    v_agent integer;
    v_conversation integer;
    v_step text;
    v_over integer;
BEGIN
    PERFORM setseed(0.42);
    FOR i IN 11 .. 16 LOOP
        PERFORM routing.put_agent('demo', t.id(i), 'agent-' || i, '', 'hash', 1, 1 + i % 3, 5,
                                  CASE i % 3 WHEN 0 THEN '{support}' WHEN 1 THEN '{billing}' ELSE '{}' END::text[]);
    END LOOP;
    FOR i IN 1 .. 1500 LOOP
        v_op := floor(random() * 10);
        v_agent := 11 + floor(random() * 6);
        v_conversation := 1 + floor(random() * 40);
        v_step := format('step %s: op %s, agent %s, conversation %s', i, v_op, v_agent, v_conversation);
        IF v_op <= 3 THEN
            PERFORM t.change(1, v_conversation, 1, t.who(v_conversation) = -2, t.who(v_conversation) = -1,
                             p_account => CASE WHEN v_conversation % 2 = 0 THEN 'sms-1-demo' ELSE 'x' END);
        ELSIF v_op = 4 THEN
            PERFORM t.closes(v_conversation);
        ELSIF v_op <= 6 THEN
            PERFORM routing.set_presence('demo', t.id(v_agent), floor(random() * 3)::integer);
        ELSIF v_op = 7 AND t.who(v_conversation) > 0 THEN
            PERFORM t.error_of(format('SELECT routing.transfer(''demo'', t.id(%s), t.id(%s), NULL, t.id(%s), 0, '''')',
                v_conversation, 901 + floor(random() * 2)::integer, t.who(v_conversation)));
        ELSIF v_op = 8 THEN
            PERFORM t.error_of(format('SELECT routing.assign_by_hand(''demo'', t.id(%s), t.id(%s), t.id(%s), 0)',
                v_conversation, v_agent, v_agent));
        ELSIF v_op = 9 THEN
            PERFORM t.change(6, v_conversation, p_state => 1, p_actor => t.id(v_agent))
            WHERE t.who(v_conversation) = -1;
        END IF;
        PERFORM t.check_all(v_step);
        SELECT count(*) INTO v_over FROM routing.agent WHERE load > capacity;
        ASSERT v_over = 0, v_step || ': over capacity';
    END LOOP;
END $$;

-- case: delivery: leased, started, sent, delivered, read
SELECT t.sends(1, 1, 1);
DO $$ BEGIN
    ASSERT t.state(1) = 1, 'queued';
    ASSERT (SELECT type = 2 AND delivery_id = t.id(1) AND delivery_state = 1 FROM routing.event
            WHERE tenant = 'demo' AND type IN (1, 2)), 'message queued';
    ASSERT t.pulls() = 1 AND t.state(1) = 2, 'leased';
    ASSERT t.pulls() = 0, 'leased once';
    ASSERT t.starts(1) AND t.state(1) = 3, 'sending';
    ASSERT t.starts(1), 'the same lease may ask again';
    ASSERT t.reports(1, 1, 'SM1') = 4, 'sent';
    ASSERT (SELECT payload IS NULL AND attempt_count = 1 FROM routing.delivery), 'payload is gone';
    ASSERT t.reports(1, 1, 'SM1') = 4, 'the same report again';
    PERFORM t.receipt('SM1', 5), t.receipt('SM1', 6), t.receipt('SM1', 5), t.receipt('SM1', 4);
    ASSERT t.state(1) = 6, 'read stays read';
    ASSERT (SELECT array_agg(delivery_state ORDER BY sequence) FROM routing.event
            WHERE tenant = 'demo' AND type = 9) = '{4,5,6}', 'one event each';
    PERFORM t.receipt('SM1', 7);
    ASSERT t.state(1) = 6, 'failed after read';
END $$;

-- case: one at a time per thread, in order; other threads do not wait
SELECT t.sends(1, 1, 1), t.sends(1, 2, 2), t.sends(2, 3, 1);
DO $$ BEGIN
    ASSERT t.pulls() = 2 AND t.state(1) = 2 AND t.state(2) = 1 AND t.state(3) = 2, 'heads of line';
    PERFORM t.starts(1), t.reports(1, 2);
    ASSERT t.state(1) = 1 AND t.pulls() = 0, 'waiting to be tried again, it holds the line';
    UPDATE routing.delivery SET next_attempt_at = now() WHERE id = t.id(1);
    ASSERT t.pulls() = 1 AND t.state(1) = 2, 'first again';
    PERFORM t.starts(1), t.reports(1, 3);
    ASSERT t.state(1) = 7 AND t.pulls() = 1 AND t.state(2) = 2, 'failed: the next';
END $$;

-- case: leases that end: never started is queued again, started is unknown and holds its line for a while
SELECT t.sends(1, 1, 1), t.sends(1, 2, 2), t.sends(2, 3, 1);
DO $$
DECLARE
    v_old uuid;
BEGIN
    PERFORM t.pulls();
    v_old := t.lease_of(3);
    PERFORM t.starts(1);
    UPDATE routing.delivery SET deadline_at = now() - interval '1 second' WHERE is_holding;
    ASSERT NOT t.starts(3), 'too late to start';
    PERFORM routing.expire_leases('demo', '{1000}', 600000);
    ASSERT t.state(1) = 8 AND t.state(3) = 1, 'unknown; queued';
    ASSERT t.last('delivery_state') = '8', 'told';
    ASSERT t.pulls(p_lease => 6000) = 1 AND t.state(2) = 1, 'the unknown one holds its line';
    ASSERT t.reports(3, 2, p_lease => v_old) = 2, 'an old lease changes nothing';
    ASSERT NOT (SELECT is_granted FROM routing.start('demo', t.id(3), v_old, 1000)), 'another lease holds it';
    UPDATE routing.delivery SET deadline_at = now() - interval '1 second' WHERE id = t.id(1);
    PERFORM routing.expire_leases('demo', '{1000}', 600000);
    ASSERT t.state(1) = 8 AND t.pulls(p_lease => 7000) = 1 AND t.state(2) = 2, 'the line is free, the doubt stays';
    ASSERT t.reports(1, 1, 'SM1') = 4, 'a late report resolves it';
END $$;

-- case: an unknown one is resolved by a receipt, or fails by one
SELECT t.sends(1, 1, 1), t.sends(2, 2, 1);
DO $$ BEGIN
    PERFORM t.pulls(), t.starts(1), t.starts(2), t.reports(1, 4), t.reports(2, 4);
    ASSERT t.state(1) = 8 AND t.state(2) = 8, 'unknown';
    PERFORM t.receipt('SM1', 5, t.id(1)), t.receipt('SM2', 7, t.id(2));
    ASSERT t.state(1) = 5 AND t.state(2) = 7, 'resolved';
    PERFORM t.receipt('SM2', 5);
    ASSERT t.state(2) = 7, 'failed is final';
    ASSERT (SELECT count(*) = 0 FROM routing.delivery WHERE is_holding), 'lines are free';
END $$;

-- case: where the provider drops repeats by key, a doubt is sent again
UPDATE routing.channel_account SET resend = 2;
SELECT t.sends(1, 1, 1);
DO $$ BEGIN
    PERFORM t.pulls(), t.starts(1), t.reports(1, 4);
    ASSERT t.state(1) = 1, 'queued again';
END $$;

-- case: receipts before our own report: by id at once, by provider id parked
SELECT t.sends(1, 1, 1), t.sends(2, 2, 1);
DO $$ BEGIN
    PERFORM t.pulls(), t.starts(1), t.starts(2);
    PERFORM t.receipt('SM1', 5), t.receipt('SM1', 4), t.receipt('SM2', 4, t.id(2));
    ASSERT t.state(1) = 3 AND (SELECT count(*) = 2 FROM routing.parked_receipt), 'parked';
    ASSERT t.state(2) = 4, 'by our own id';
    ASSERT t.reports(1, 1, 'SM1') = 5, 'delivered at once';
    ASSERT t.reports(2, 1, 'SM2') = 4, 'sent';
    ASSERT (SELECT count(*) = 0 FROM routing.parked_receipt), 'nothing left';
    PERFORM t.receipt('SM9', 5);
    ASSERT (SELECT count(*) = 1 FROM routing.parked_receipt), 'of nobody yet';
END $$;

-- case: a read receipt by watermark
SELECT t.sends(1, 1, 1), t.sends(1, 2, 2), t.sends(2, 3, 1);
DO $$ BEGIN
    PERFORM t.pulls(), t.starts(1), t.reports(1, 1, 'a');
    PERFORM t.pulls(), t.starts(2), t.starts(3), t.reports(2, 1, 'b'), t.reports(3, 1, 'c');
    UPDATE routing.delivery SET sent_at = now() + interval '1 hour' WHERE id = t.id(2);
    PERFORM t.change(4, 1, p_receipt => 6, p_watermark => now() + interval '1 minute');
    ASSERT t.state(1) = 6 AND t.state(2) = 4 AND t.state(3) = 4, 'up to the time, in that thread';
END $$;

-- case: with nothing under way there is no next moment
SELECT t.sends(1, 1, 1);
DO $$ BEGIN
    ASSERT (SELECT lease_ms IS NULL AND ready_ms IS NULL FROM routing.next_due('demo')), 'due now, nothing to wait for';
    PERFORM t.pulls();
    ASSERT (SELECT lease_ms BETWEEN 59000 AND 60000 FROM routing.next_due('demo')), 'the lease';
    PERFORM t.starts(1), t.reports(1, 1, 'a');
    ASSERT (SELECT lease_ms IS NULL AND ready_ms IS NULL FROM routing.next_due('demo')), 'none';
END $$;

-- case: retry: waits its time, counts its attempts, ends at its horizon
SELECT t.sends(1, 1, 1);
DO $$ BEGIN
    PERFORM t.pulls(), t.starts(1);
    ASSERT t.reports(1, 2) = 1 AND t.pulls() = 0, 'not yet';
    ASSERT (SELECT ready_ms BETWEEN 1 AND 1000 FROM routing.next_due('demo')), 'due in a second';
    UPDATE routing.delivery SET next_attempt_at = now();
    PERFORM t.pulls(), t.starts(1), t.reports(1, 2, p_retry_after => 90000);
    ASSERT (SELECT ready_ms BETWEEN 89000 AND 90000 FROM routing.next_due('demo')), 'retry after';
    ASSERT (SELECT attempt_count = 2 FROM routing.delivery), 'attempts';
    UPDATE routing.delivery SET next_attempt_at = now(), queued_at = now() - interval '1 day';
    PERFORM t.pulls(), t.starts(1);
    ASSERT t.reports(1, 2) = 7, 'horizon';
    ASSERT (SELECT reason = 7 FROM routing.delivery), 'expired';
END $$;

-- case: the account's rate is kept, over all who pull; a slowed account waits
UPDATE routing.channel_account SET sends_per_s = 2 WHERE id = 'sms-1-demo';
SELECT t.sends(i, i, 1) FROM generate_series(1, 6) i;
SELECT t.sends(7, 7, 1, 'sms-2-demo');
DO $$ BEGIN
    ASSERT t.pulls() = 3, 'two and one';
    ASSERT t.pulls(p_lease => 6000) = 0, 'empty';
    ASSERT (SELECT ready_ms BETWEEN 1 AND 500 FROM routing.next_due('demo')), 'half a second for the next';
    UPDATE routing.channel_account SET bucket_at = clock_timestamp() + interval '499 ms' WHERE id = 'sms-1-demo';
    ASSERT t.pulls(p_lease => 7000) = 1, 'one again';
    UPDATE routing.channel_account SET bucket_at = now() - interval '1 hour' WHERE id = 'sms-1-demo';
    PERFORM t.starts(7), t.starts(1), t.reports(1, 2, p_retry_after => 60000, p_is_account_wide => true);
    ASSERT t.pulls(p_lease => 8000) = 0, 'the whole account waits';
    ASSERT (SELECT ready_ms BETWEEN 50000 AND 60000 FROM routing.next_due('demo')), 'until then';
END $$;

-- case: a feed has one reader; another's batch is refused
DO $$ BEGIN
    ASSERT NOT (SELECT is_held FROM routing.hold_feeds('{demo}', t.id(2), 3000)), 'held by the first';
    UPDATE routing.feed SET expires_at = now() - interval '1 second';
    ASSERT (SELECT is_held AND fencing = 2 FROM routing.hold_feeds('{demo}', t.id(2), 3000)), 'taken over';
    ASSERT t.error_of('SELECT t.arrives(1)') = 'conflict', 'the first is fenced off';
    ASSERT (SELECT is_held AND fencing = 2 FROM routing.hold_feeds('{demo}', t.id(2), 3000)), 'renewed';
    PERFORM routing.release_feeds(t.id(2));
    ASSERT (SELECT is_held AND fencing = 3 FROM routing.hold_feeds('{demo}', t.id(1), 3000)), 'given back';
END $$;

-- case: a batch is applied once: its cursor moves with it
SELECT t.arrives(1);
DO $$ BEGIN
    UPDATE t.feed SET cursor = 0;
    ASSERT t.error_of('SELECT t.arrives(1)') = 'conflict', 'not from where it was';
    ASSERT (SELECT cursor = 1 FROM routing.feed WHERE tenant = 'demo'), 'cursor';
END $$;

-- case: accounts: a second tenant or connector cannot take one
DO $$ BEGIN
    ASSERT (SELECT reason LIKE 'another tenant%' FROM routing.announce('other', 'c', 'sms', '{sms-1-demo}', '{+1}',
            '{x}', ARRAY[''::bytea], '{0}', '{1}', '{0}', 60000)), 'tenant';
    ASSERT (SELECT reason LIKE 'connector%' FROM routing.announce('demo', 'd', 'sms', '{sms-1-demo}', '{+1}',
            '{x}', ARRAY[''::bytea], '{0}', '{1}', '{0}', 60000)), 'connector';
    UPDATE routing.channel_account SET announced_at = now() - interval '2 minutes';
    ASSERT NOT EXISTS (SELECT FROM routing.announce('demo', 'd', 'sms', '{sms-1-demo}', '{+1}',
            '{x}', ARRAY[''::bytea], '{0}', '{1}', '{0}', 60000)), 'the other is gone';
END $$;

-- case: login attempts are counted before the password is looked at
SELECT t.agent(11, 1);
DO $$ BEGIN
    FOR i IN 1 .. 3 LOOP
        ASSERT (SELECT retry_ms = 0 AND agent_id = t.id(11) FROM routing.begin_login('demo', 'agent-11', 3, 60000));
    END LOOP;
    ASSERT (SELECT retry_ms BETWEEN 1 AND 60000 FROM routing.begin_login('demo', 'agent-11', 3, 60000)), 'locked';
    PERFORM routing.open_session('demo', t.id(11), 'agent-11', 'hash', 1000);
    ASSERT (SELECT retry_ms = 0 FROM routing.begin_login('demo', 'agent-11', 3, 60000)), 'counted anew';
    ASSERT (SELECT tenant = 'demo' AND agent_id = t.id(11) FROM routing.check_session('hash', 10000)), 'session';
    ASSERT (SELECT password_hash = '' AND agent_id IS NULL FROM routing.begin_login('demo', 'nobody', 3, 60000));
    PERFORM routing.put_agent('demo', t.id(99), 'agent-11', '', 'new', 0, 0, 5, '{}');
    ASSERT NOT EXISTS (SELECT FROM routing.check_session('hash', 10000)), 'a new password ends sessions';
END $$;

-- case: pruning takes the oldest only
SELECT t.arrives(i) FROM generate_series(1, 4) i;
UPDATE routing.event SET at = now() - interval '40 days' WHERE tenant = 'demo' AND sequence <= 5;
DO $$ BEGIN
    ASSERT routing.prune('demo', 30 * 86400000::bigint, 1000, 100) >= 5, 'gone';
    ASSERT (SELECT min(sequence) = 6 FROM routing.event WHERE tenant = 'demo'), 'the rest stays';
END $$;
