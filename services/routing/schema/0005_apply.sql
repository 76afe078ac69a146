-- SPDX-License-Identifier: Apache-2.0
-- The change feed of context, applied: work items, deliveries, receipts, the event log, assignment, cursor.
--
-- One batch is one call. A batch is cut at changes of a conversation's state, and where one is split or joined;
-- what lies between is handled set by set, since between them a conversation is only made, reopened or written
-- to.

-- Who reads which tenant's feed. Takes or renews what is ours or has run out; `is_held` tells, and `wait_ms`
-- is when to look again. The fencing number grows with each change of hands.
CREATE FUNCTION routing.hold_feeds(p_tenants text[], p_holder uuid, p_ttl_ms bigint)
RETURNS TABLE (tenant text, is_held boolean, fencing bigint, cursor bigint, context_epoch text,
               wait_ms bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_feed routing.feed;
BEGIN
    FOR v_feed IN SELECT * FROM routing.feed f WHERE f.tenant = ANY (p_tenants) ORDER BY f.tenant FOR UPDATE
    LOOP
        tenant := v_feed.tenant;
        is_held := v_feed.holder IS NOT DISTINCT FROM p_holder OR v_feed.expires_at <= clock_timestamp();
        fencing := v_feed.fencing;
        IF is_held THEN
            fencing := fencing + (v_feed.holder IS DISTINCT FROM p_holder)::integer;
            UPDATE routing.feed f
            SET holder = p_holder, fencing = hold_feeds.fencing,
                expires_at = clock_timestamp() + p_ttl_ms * interval '1 millisecond'
            WHERE f.tenant = v_feed.tenant;
        END IF;
        cursor := v_feed.cursor;
        context_epoch := v_feed.context_epoch;
        wait_ms := CASE WHEN is_held THEN p_ttl_ms
                   ELSE ceil(extract(epoch FROM v_feed.expires_at - clock_timestamp()) * 1000) END;
        RETURN NEXT;
    END LOOP;
END $$;

-- At shutdown: the others need not wait for the lease to end.
CREATE FUNCTION routing.release_feeds(p_holder uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_tenant text;
BEGIN
    FOR v_tenant IN SELECT tenant FROM routing.feed WHERE holder = p_holder ORDER BY tenant FOR UPDATE LOOP
        UPDATE routing.feed SET holder = NULL, expires_at = '-infinity' WHERE tenant = v_tenant;
        PERFORM pg_notify('guichet_routing', 'free ' || v_tenant);
    END LOOP;
END $$;

-- Locks tenant and feed for the lease's holder, and moves the cursor from where they believe it to be.
CREATE FUNCTION routing.move_cursor(p_tenant text, p_holder uuid, p_fencing bigint, p_from bigint,
                                    p_to bigint, p_epoch text, p_ttl_ms bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_sequence bigint := routing.lock_tenant(p_tenant);
    v_cursor bigint;
BEGIN
    UPDATE routing.feed f
    SET cursor = p_to, context_epoch = p_epoch,
        expires_at = clock_timestamp() + p_ttl_ms * interval '1 millisecond'
    WHERE f.tenant = p_tenant AND f.holder = p_holder AND f.fencing = p_fencing AND f.cursor = p_from;
    IF NOT FOUND THEN
        SELECT cursor INTO v_cursor FROM routing.feed WHERE tenant = p_tenant;
        PERFORM routing.fail('conflict', format('feed of ''%s'': the lease is another''s, or the cursor is %s, '
                                                'not %s', p_tenant, v_cursor, p_from));
    END IF;
    RETURN v_sequence;
END $$;

-- A change that cannot be applied: a dead letter, and passed over. `p_payload`: guichet.v1.Change, packed.
CREATE FUNCTION routing.skip_change(p_tenant text, p_holder uuid, p_fencing bigint, p_from bigint,
                                    p_to bigint, p_epoch text, p_ttl_ms bigint, p_account text,
                                    p_conversation uuid, p_message uuid, p_reason text, p_attempts integer,
                                    p_payload bytea)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_sequence bigint := routing.move_cursor(p_tenant, p_holder, p_fencing, p_from, p_to, p_epoch, p_ttl_ms);
BEGIN
    v_sequence := routing.add_dead_letter(p_tenant, NULL, 4, p_to::text, p_account, p_conversation, p_message,
                                          p_reason, p_attempts, p_payload, 'guichet.v1.Change', v_sequence);
    PERFORM routing.finish(p_tenant, v_sequence, false);
    RETURN v_sequence;
END $$;

-- A conversation is open again: to the agent who reopens it, else back to who had it.
CREATE FUNCTION routing.reopen_item(p_tenant text, p_conversation uuid, p_actor uuid, p_reason text)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_item routing.work_item;
    v_preferred uuid;
BEGIN
    SELECT * INTO v_item FROM routing.work_item
    WHERE tenant = p_tenant AND conversation_id = p_conversation AND state = 3;
    IF FOUND THEN
        SELECT agent_id INTO v_preferred FROM routing.queue_agent
        WHERE tenant = p_tenant AND queue_id = v_item.queue_id AND agent_id = p_actor;
        PERFORM routing.put_waiting(p_tenant, p_conversation, v_item.queue_id,
                                    coalesce(v_preferred, v_item.previous_agent_id), p_reason);
    END IF;
END $$;

-- The queue of an account's conversations, announced or not.
CREATE FUNCTION routing.queue_for(p_tenant text, p_account text) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT queue_id FROM routing.channel_account
                     WHERE tenant = p_tenant AND id = p_account),
                    routing.queue_of(p_tenant, p_account))
$$;

-- A conversation's state changed in context: make, close or reopen the work item. What waits by it is
-- appended to io_touched.
CREATE FUNCTION routing.apply_state(p_tenant text, p_conversation uuid, p_number integer, p_customer uuid,
                                    p_account text, p_state integer, p_actor uuid, p_why text,
                                    INOUT io_sequence bigint, INOUT io_touched uuid[])
LANGUAGE plpgsql AS $$
DECLARE
    v_item routing.work_item;
    v_now timestamptz := clock_timestamp();
    v_type smallint := CASE p_state WHEN 2 THEN 7 ELSE 8 END;
BEGIN
    SELECT * INTO v_item FROM routing.work_item
    WHERE tenant = p_tenant AND conversation_id = p_conversation;
    IF NOT FOUND THEN
        v_type := CASE p_state WHEN 2 THEN 7 ELSE 4 END;
        INSERT INTO routing.work_item (tenant, conversation_id, conversation_number, customer_id, state,
            queue_id, waiting_since, waiting_position, updated_at, changed_position)
        VALUES (p_tenant, p_conversation, p_number, p_customer, CASE p_state WHEN 2 THEN 3 ELSE 1 END,
                routing.queue_for(p_tenant, p_account), v_now, nextval('routing.position'), v_now,
                currval('routing.position'))
        RETURNING * INTO v_item;
    ELSIF (p_state = 2) = (v_item.state = 3) THEN
        RETURN;
    ELSIF p_state = 2 THEN
        PERFORM routing.close_item(p_tenant, p_conversation, v_item.agent_id);
    ELSE
        PERFORM routing.reopen_item(p_tenant, p_conversation, p_actor, 'reopened');
    END IF;
    io_sequence := io_sequence + 1;
    INSERT INTO routing.event (tenant, sequence, type, at, conversation_id, conversation_number,
                               previous_agent_id, queue_id, actor_id, customer_id, reason)
    VALUES (p_tenant, io_sequence, v_type, v_now, p_conversation, v_item.conversation_number,
            coalesce(v_item.agent_id, v_item.previous_agent_id), v_item.queue_id, p_actor,
            v_item.customer_id, p_why);
    IF v_type = 4 AND EXISTS (SELECT FROM routing.agent WHERE tenant = p_tenant AND id = p_actor) THEN
        io_sequence := routing.give(p_tenant, p_conversation, p_actor, p_actor, 'wrote first', io_sequence);
    ELSIF v_type <> 7 THEN
        io_touched := io_touched || p_conversation;
    END IF;
END $$;

CREATE FUNCTION routing.close_item(p_tenant text, p_conversation uuid, p_agent uuid) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE routing.work_item
    SET state = 3, agent_id = NULL, previous_agent_id = coalesce(agent_id, previous_agent_id),
        assigned_at = NULL, waiting_since = NULL, updated_at = clock_timestamp(), version = version + 1,
        changed_position = nextval('routing.position'), reason = 'closed'
    WHERE tenant = p_tenant AND conversation_id = p_conversation;
    IF p_agent IS NOT NULL THEN
        PERFORM routing.relieve_agent(p_tenant, p_agent);
    END IF;
END $$;

-- What messages do to work items, set by set: make those routing has not seen, in the order of their first
-- change; reopen; and where the customer writes and the agent is not there, it is somebody else's turn.
CREATE FUNCTION routing.apply_items(p_tenant text, p_kind integer[], p_conversation uuid[], p_number integer[],
                                    p_customer uuid[], p_account text[], p_direction integer[],
                                    p_message_kind integer[], p_is_reopened boolean[], p_actor uuid[],
                                    INOUT io_touched uuid[]) LANGUAGE plpgsql AS $$
DECLARE
    v_made uuid[];
    v_written uuid[];
    v_accounts text[] := ARRAY(SELECT DISTINCT a FROM unnest(p_account) a);
    v_queues uuid[] := ARRAY(SELECT routing.queue_for(p_tenant, a.account)
                             FROM unnest(v_accounts) WITH ORDINALITY a (account, i) ORDER BY a.i);
    v_row record;
BEGIN
    WITH made AS (
        INSERT INTO routing.work_item (tenant, conversation_id, conversation_number, customer_id, state,
            queue_id, waiting_since, waiting_position, updated_at, changed_position)
        SELECT p_tenant, f.conversation, f.number, f.customer, 1,
               v_queues[array_position(v_accounts, f.account)],
               clock_timestamp(), nextval('routing.position'), clock_timestamp(), currval('routing.position')
        FROM (SELECT * FROM (
                  SELECT DISTINCT ON (c.conversation) c.*
                  FROM unnest(p_conversation, p_number, p_customer, p_account, p_kind)
                       WITH ORDINALITY c (conversation, number, customer, account, kind, i)
                  WHERE c.kind IN (1, 2) AND c.conversation IS NOT NULL
                    AND NOT EXISTS (SELECT FROM routing.work_item w
                                    WHERE w.tenant = p_tenant AND w.conversation_id = c.conversation)
                  ORDER BY c.conversation, c.i) d
              ORDER BY d.i OFFSET 0) f
        RETURNING conversation_id)
    SELECT coalesce(array_agg(conversation_id), '{}') INTO v_made FROM made;
    io_touched := io_touched || v_made;

    FOR v_row IN
        SELECT c.conversation, c.actor
        FROM unnest(p_conversation, p_is_reopened, p_actor) WITH ORDINALITY c (conversation, reopened, actor, i)
        WHERE c.reopened ORDER BY c.i
    LOOP
        PERFORM routing.reopen_item(p_tenant, v_row.conversation, v_row.actor, 'reopened');
        io_touched := io_touched || v_row.conversation;
    END LOOP;

    -- An array, not a join: the planner then takes the primary key whatever it knows of the table.
    v_written := ARRAY(SELECT c.conversation FROM unnest(p_conversation, p_kind, p_direction, p_message_kind)
                       c (conversation, kind, direction, message_kind)
                       WHERE c.kind = 1 AND c.direction = 1 AND c.message_kind IN (1, 2, 7));
    FOR v_row IN
        SELECT w.conversation_id, w.queue_id, w.agent_id
        FROM routing.work_item w
        JOIN routing.agent a ON a.tenant = p_tenant AND a.id = w.agent_id
        WHERE w.tenant = p_tenant AND w.conversation_id = ANY (v_written) AND w.state = 2 AND a.presence <> 1
        ORDER BY array_position(v_written, w.conversation_id)
    LOOP
        PERFORM routing.put_waiting(p_tenant, v_row.conversation_id, v_row.queue_id, v_row.agent_id,
                                    'its agent is not present');
        io_touched := io_touched || v_row.conversation_id;
    END LOOP;
END $$;

-- The log of what was said: "opened" or "reopened" goes before what made it so.
CREATE FUNCTION routing.apply_log(p_tenant text, p_kind integer[], p_at timestamptz[], p_conversation uuid[],
    p_number integer[], p_thread uuid[], p_customer uuid[], p_account text[], p_channel text[],
    p_message uuid[], p_message_sequence integer[], p_direction integer[], p_message_kind integer[],
    p_text text[], p_occurred timestamptz[], p_is_new boolean[], p_is_reopened boolean[], p_actor uuid[],
    p_why text[], p_state integer[], p_other_customer uuid[], INOUT io_sequence bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_rows integer;
BEGIN
    INSERT INTO routing.event (tenant, sequence, type, at, conversation_id, conversation_number, agent_id,
        previous_agent_id, queue_id, actor_id, customer_id, reason, message_id, thread_id, message_sequence,
        direction, message_kind, channel, account_id, text, occurred_at, delivery_id, delivery_state,
        attempt_count, queued_at, other_customer_id)
    SELECT p_tenant, io_sequence + row_number() OVER (ORDER BY c.i, s.step), s.type, clock_timestamp(),
           c.conversation, coalesce(w.conversation_number, c.number), w.agent_id,
           CASE WHEN w.agent_id IS NULL THEN w.previous_agent_id END, w.queue_id, c.actor, c.customer, c.why,
           CASE WHEN s.step = 1 THEN c.message END, c.thread,
           CASE WHEN s.step = 1 THEN c.message_sequence END, CASE WHEN s.step = 1 THEN c.direction END,
           CASE WHEN s.step = 1 THEN c.message_kind END, c.channel, c.account,
           CASE WHEN s.step = 1 THEN c.text END, CASE WHEN s.step = 1 THEN c.occurred END,
           CASE WHEN s.type = 2 THEN c.message END, CASE WHEN s.type = 2 THEN 1 END,
           CASE WHEN s.type = 2 THEN 0 END, CASE WHEN s.type = 2 THEN c.at END, c.other_customer
    FROM unnest(p_kind, p_at, p_conversation, p_number, p_thread, p_customer, p_account, p_channel, p_message,
                p_message_sequence, p_direction, p_message_kind, p_text, p_occurred, p_is_new, p_is_reopened,
                p_actor, p_why, p_state, p_other_customer)
         WITH ORDINALITY c (kind, at, conversation, number, thread, customer, account, channel, message,
                message_sequence, direction, message_kind, text, occurred, is_new, is_reopened, actor, why,
                state, other_customer, i)
    CROSS JOIN LATERAL (
        SELECT 0 AS step, CASE WHEN c.is_new THEN 4 ELSE 8 END AS type
        WHERE (c.is_new OR c.is_reopened) AND c.kind <> 4
        UNION ALL
        SELECT 1, CASE c.kind WHEN 5 THEN 13 WHEN 7 THEN 11 WHEN 8 THEN 12 WHEN 9 THEN 14 WHEN 10 THEN 15
                  WHEN 11 THEN 18 WHEN 12 THEN 19 ELSE c.kind END
        -- Of media, what is stored or has failed: a part that waits looks as before.
        WHERE c.kind IN (1, 2, 3, 5, 7, 8, 9, 11, 12) OR (c.kind = 10 AND c.state IN (2, 3))) s
    LEFT JOIN routing.work_item w ON w.tenant = p_tenant AND w.conversation_id = c.conversation;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    io_sequence := io_sequence + v_rows;
END $$;

-- Outbound messages become deliveries; an agent whose message made the conversation has it.
CREATE FUNCTION routing.apply_outbound(p_tenant text, p_kind integer[], p_at timestamptz[],
    p_conversation uuid[], p_number integer[], p_thread uuid[], p_account text[], p_message uuid[],
    p_message_sequence integer[], p_is_new boolean[], p_actor uuid[], p_payload bytea[],
    INOUT io_sequence bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_row record;
BEGIN
    INSERT INTO routing.delivery (tenant, id, message_id, conversation_id, conversation_number, thread_id,
        account_id, sequence, queued_at, next_attempt_at, updated_at, payload)
    SELECT p_tenant, c.message, c.message, c.conversation, c.number, c.thread, c.account, c.message_sequence,
           c.at, clock_timestamp(), clock_timestamp(), c.payload
    FROM unnest(p_kind, p_at, p_conversation, p_number, p_thread, p_account, p_message, p_message_sequence,
                p_payload) c (kind, at, conversation, number, thread, account, message, message_sequence,
                payload)
    WHERE c.kind = 2
    ON CONFLICT DO NOTHING;
    FOR v_row IN
        SELECT c.conversation, c.actor
        FROM unnest(p_kind, p_conversation, p_is_new, p_actor) WITH ORDINALITY
             c (kind, conversation, is_new, actor, i)
        JOIN routing.work_item w ON w.tenant = p_tenant AND w.conversation_id = c.conversation
        JOIN routing.agent a ON a.tenant = p_tenant AND a.id = c.actor
        WHERE c.kind = 2 AND c.is_new AND w.state = 1 ORDER BY c.i
    LOOP
        io_sequence := routing.give(p_tenant, v_row.conversation, v_row.actor, v_row.actor, 'wrote first',
                                    io_sequence);
    END LOOP;
END $$;

CREATE FUNCTION routing.apply_receipts(p_tenant text, p_kind integer[], p_delivery uuid[], p_account text[],
    p_provider_id text[], p_thread uuid[], p_watermark timestamptz[], p_state integer[], p_reason integer[],
    p_code text[], p_text text[], INOUT io_sequence bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_row record;
BEGIN
    FOR v_row IN
        SELECT c.* FROM unnest(p_kind, p_delivery, p_account, p_provider_id, p_thread, p_watermark, p_state,
                               p_reason, p_code, p_text)
             WITH ORDINALITY c (kind, delivery, account, provider_id, thread, watermark, state, reason, code,
                                text, i)
        WHERE c.kind = 4 ORDER BY c.i
    LOOP
        io_sequence := routing.take_receipt(p_tenant, v_row.delivery, v_row.account, v_row.provider_id,
            v_row.thread, v_row.watermark, v_row.state, v_row.reason, v_row.code, v_row.text, io_sequence);
    END LOOP;
END $$;

-- Events refused for good: their bytes stay in context, which is asked to replay them.
CREATE FUNCTION routing.apply_refused(p_tenant text, p_kind integer[], p_refused uuid[], p_subject text[],
    p_account text[], p_conversation uuid[], p_message uuid[], p_why text[], p_attempts integer[],
    INOUT io_sequence bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_row record;
BEGIN
    FOR v_row IN
        SELECT c.* FROM unnest(p_kind, p_refused, p_subject, p_account, p_conversation, p_message, p_why,
                               p_attempts)
             WITH ORDINALITY c (kind, refused, subject, account, conversation, message, why, attempts, i)
        WHERE c.kind = 9 AND c.refused IS NOT NULL ORDER BY c.i
    LOOP
        io_sequence := routing.add_dead_letter(p_tenant, v_row.refused, 1,
            coalesce(nullif(v_row.subject, ''), v_row.refused::text), v_row.account, v_row.conversation,
            v_row.message, v_row.why, v_row.attempts, NULL, '', io_sequence);
    END LOOP;
END $$;

-- A conversation's threads, and what is under way in them, belong to another one now. `p_threads`: only these;
-- NULL: all.
CREATE FUNCTION routing.move_threads(p_tenant text, p_from uuid, p_to uuid, p_number integer, p_threads uuid[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE routing.delivery SET conversation_id = p_to, conversation_number = coalesce(p_number,
                                                                                       conversation_number)
    WHERE tenant = p_tenant AND conversation_id = p_from
      AND (p_threads IS NULL OR thread_id = ANY (p_threads));
    UPDATE routing.job SET conversation_id = p_to
    WHERE tenant = p_tenant AND conversation_id = p_from AND state NOT IN (3, 4)
      AND (p_threads IS NULL OR thread_id = ANY (p_threads));
END $$;

CREATE FUNCTION routing.tell_moved(p_tenant text, p_type integer, p_conversation uuid, p_other uuid,
                                   p_actor uuid, p_why text, INOUT io_sequence bigint) LANGUAGE plpgsql AS $$
BEGIN
    io_sequence := io_sequence + 1;
    INSERT INTO routing.event (tenant, sequence, type, at, conversation_id, conversation_number, agent_id,
        previous_agent_id, queue_id, actor_id, customer_id, reason, other_conversation_id)
    SELECT p_tenant, io_sequence, p_type, clock_timestamp(), p_conversation, w.conversation_number, w.agent_id,
           w.previous_agent_id, w.queue_id, p_actor, w.customer_id, p_why, p_other
    FROM (SELECT 1) one
    LEFT JOIN routing.work_item w ON w.tenant = p_tenant AND w.conversation_id = p_conversation;
END $$;

-- Split off another conversation: the same queue, and the same agent while that one is theirs. `p_state`: the new
-- one's (2 closed).
CREATE FUNCTION routing.apply_split(p_tenant text, p_conversation uuid, p_number integer, p_customer uuid,
                                    p_account text, p_state integer, p_actor uuid, p_why text, p_other uuid,
                                    p_threads uuid[], INOUT io_sequence bigint, INOUT io_touched uuid[])
LANGUAGE plpgsql AS $$
DECLARE
    v_old routing.work_item;
    v_now timestamptz := clock_timestamp();
BEGIN
    SELECT * INTO v_old FROM routing.work_item WHERE tenant = p_tenant AND conversation_id = p_other;
    INSERT INTO routing.work_item (tenant, conversation_id, conversation_number, customer_id, state,
        queue_id, previous_agent_id, waiting_since, waiting_position, updated_at, changed_position)
    VALUES (p_tenant, p_conversation, p_number, p_customer, CASE p_state WHEN 2 THEN 3 ELSE 1 END,
            coalesce(v_old.queue_id, routing.queue_for(p_tenant, p_account)), v_old.previous_agent_id,
            CASE WHEN p_state <> 2 THEN v_now END, nextval('routing.position'), v_now,
            currval('routing.position'))
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM routing.move_threads(p_tenant, p_other, p_conversation, p_number, p_threads);
        io_sequence := routing.tell_moved(p_tenant, 20, p_conversation, p_other, p_actor, p_why, io_sequence);
        IF v_old.state = 2 AND p_state <> 2 THEN
            io_sequence := routing.give(p_tenant, p_conversation, v_old.agent_id, p_actor, 'split off',
                                        io_sequence);
        ELSIF p_state <> 2 THEN
            io_touched := io_touched || p_conversation;
        END IF;
    END IF;
END $$;

-- Joined into another one: its work item closes, and its agent has one less.
CREATE FUNCTION routing.apply_joined(p_tenant text, p_conversation uuid, p_number integer, p_actor uuid,
                                     p_why text, p_other uuid, INOUT io_sequence bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_item routing.work_item;
BEGIN
    SELECT * INTO v_item FROM routing.work_item WHERE tenant = p_tenant AND conversation_id = p_other;
    IF v_item.state IN (1, 2) THEN
        PERFORM routing.close_item(p_tenant, p_other, v_item.agent_id);
    END IF;
    PERFORM routing.move_threads(p_tenant, p_other, p_conversation, nullif(p_number, 0), NULL);
    io_sequence := routing.tell_moved(p_tenant, 21, p_conversation, p_other, p_actor, p_why, io_sequence);
END $$;

-- A batch of changes from `p_from`, everything in this one transaction. p_media_* and p_thread_* say of which
-- change they are, from 1. With `p_letter` it is one change applied anew from its dead letter, and no cursor moves.
CREATE FUNCTION routing.apply(
    p_tenant text, p_holder uuid, p_fencing bigint, p_from bigint, p_epoch text, p_ttl_ms bigint,
    p_sequence bigint[], p_kind integer[], p_at timestamptz[], p_conversation uuid[], p_number integer[],
    p_thread uuid[], p_customer uuid[], p_account text[], p_channel text[], p_message uuid[],
    p_message_sequence integer[], p_direction integer[], p_message_kind integer[], p_text text[],
    p_occurred timestamptz[], p_is_new boolean[], p_is_reopened boolean[], p_state integer[], p_actor uuid[],
    p_why text[], p_provider_id text[], p_receipt_state integer[], p_receipt_delivery uuid[],
    p_watermark timestamptz[], p_receipt_reason integer[], p_provider_code text[], p_provider_text text[],
    p_payload bytea[], p_other_customer uuid[] DEFAULT NULL, p_other_conversation uuid[] DEFAULT NULL,
    p_refused uuid[] DEFAULT NULL, p_attempts integer[] DEFAULT NULL, p_media_change integer[] DEFAULT '{}',
    p_media_part integer[] DEFAULT '{}', p_media_state integer[] DEFAULT '{}', p_media_job uuid[] DEFAULT '{}',
    p_media_payload bytea[] DEFAULT '{}', p_thread_change integer[] DEFAULT '{}',
    p_thread_id uuid[] DEFAULT '{}', p_letter uuid DEFAULT NULL, p_letter_actor uuid DEFAULT NULL,
    p_letter_by text DEFAULT '') RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_count integer := cardinality(p_sequence);
    q bigint := CASE WHEN p_letter IS NULL
                THEN routing.move_cursor(p_tenant, p_holder, p_fencing, p_from, p_sequence[v_count], p_epoch,
                                         p_ttl_ms)
                ELSE routing.begin_replay(p_tenant, p_letter, p_letter_actor) END;
    v_touched uuid[] := '{}';
    i integer := 1;
    j integer;
BEGIN
    IF q IS NULL THEN
        RETURN NULL;
    END IF;
    WHILE i <= v_count LOOP
        IF p_kind[i] = 6 THEN
            SELECT io_sequence, io_touched INTO q, v_touched
            FROM routing.apply_state(p_tenant, p_conversation[i], p_number[i], p_customer[i], p_account[i],
                                     p_state[i], p_actor[i], p_why[i], q, v_touched);
        ELSIF p_kind[i] = 13 THEN
            SELECT io_sequence, io_touched INTO q, v_touched
            FROM routing.apply_split(p_tenant, p_conversation[i], p_number[i], p_customer[i], p_account[i],
                                     p_state[i], p_actor[i], p_why[i], p_other_conversation[i],
                                     p_thread[i] || ARRAY(SELECT t.id FROM unnest(p_thread_change, p_thread_id)
                                                          t (change, id) WHERE t.change = i), q, v_touched);
        ELSIF p_kind[i] = 14 THEN
            q := routing.apply_joined(p_tenant, p_conversation[i], p_number[i], p_actor[i], p_why[i],
                                      p_other_conversation[i], q);
        END IF;
        IF p_kind[i] IN (6, 13, 14) THEN
            i := i + 1;
            CONTINUE;
        END IF;
        j := i;
        WHILE j < v_count AND p_kind[j + 1] NOT IN (6, 13, 14) LOOP
            j := j + 1;
        END LOOP;
        v_touched := routing.apply_items(p_tenant, p_kind[i:j], p_conversation[i:j], p_number[i:j],
            p_customer[i:j], p_account[i:j], p_direction[i:j], p_message_kind[i:j], p_is_reopened[i:j],
            p_actor[i:j], v_touched);
        q := routing.apply_log(p_tenant, p_kind[i:j], p_at[i:j], p_conversation[i:j], p_number[i:j],
            p_thread[i:j], p_customer[i:j], p_account[i:j], p_channel[i:j], p_message[i:j],
            p_message_sequence[i:j], p_direction[i:j], p_message_kind[i:j], p_text[i:j], p_occurred[i:j],
            p_is_new[i:j], p_is_reopened[i:j], p_actor[i:j], p_why[i:j], p_state[i:j], p_other_customer[i:j],
            q);
        IF 2 = ANY (p_kind[i:j]) THEN
            q := routing.apply_outbound(p_tenant, p_kind[i:j], p_at[i:j], p_conversation[i:j], p_number[i:j],
                p_thread[i:j], p_account[i:j], p_message[i:j], p_message_sequence[i:j], p_is_new[i:j],
                p_actor[i:j], p_payload[i:j], q);
        END IF;
        IF 4 = ANY (p_kind[i:j]) THEN
            q := routing.apply_receipts(p_tenant, p_kind[i:j], p_receipt_delivery[i:j], p_account[i:j],
                p_provider_id[i:j], p_thread[i:j], p_watermark[i:j], p_receipt_state[i:j],
                p_receipt_reason[i:j], p_provider_code[i:j], p_provider_text[i:j], q);
        END IF;
        IF 9 = ANY (p_kind[i:j]) THEN
            q := routing.apply_refused(p_tenant, p_kind[i:j], p_refused[i:j], p_provider_id[i:j],
                p_account[i:j], p_conversation[i:j], p_message[i:j], p_why[i:j], p_attempts[i:j], q);
        END IF;
        i := j + 1;
    END LOOP;
    IF cardinality(p_media_change) > 0 THEN
        PERFORM routing.apply_media(p_tenant, p_conversation, p_thread, p_account, p_message, p_media_change,
                                    p_media_part, p_media_state, p_media_job, p_media_payload);
    END IF;
    q := routing.assign(p_tenant, v_touched, q);
    IF p_letter IS NOT NULL THEN
        q := routing.resolve_dead_letter(p_tenant, p_letter, 2, p_letter_actor, p_letter_by, q);
    END IF;
    PERFORM routing.finish(p_tenant, q, p_kind && ARRAY[2, 4] OR cardinality(p_media_change) > 0);
    -- Whoever closed, reopened, wrote first or joined may wait at another replica.
    IF p_kind && ARRAY[2, 6, 13, 14] THEN
        PERFORM pg_notify('guichet_routing', 'applied ' || p_tenant);
    END IF;
    RETURN q;
END $$;

-- Deletes what is beyond retention, a bounded number of rows at a time; returns how many went.
CREATE FUNCTION routing.prune(p_tenant text, p_event_ms bigint, p_parked_ms bigint, p_limit integer)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_last bigint;
    v_rows integer;
    v_gone integer;
BEGIN
    SELECT max(sequence) INTO v_last FROM (
        SELECT sequence, at FROM routing.event WHERE tenant = p_tenant ORDER BY sequence LIMIT p_limit) e
    WHERE e.at < now() - p_event_ms * interval '1 millisecond';
    DELETE FROM routing.event WHERE tenant = p_tenant AND sequence <= v_last;
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    DELETE FROM routing.parked_receipt
    WHERE tenant = p_tenant AND parked_at < now() - p_parked_ms * interval '1 millisecond';
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    DELETE FROM routing.session WHERE tenant = p_tenant AND expires_at < now();
    DELETE FROM routing.login_attempt WHERE tenant = p_tenant AND began_at < now() - interval '1 day';
    RETURN v_gone + v_rows;
END $$;
