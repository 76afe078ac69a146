-- SPDX-License-Identifier: Apache-2.0
-- 0005 outbound: what the house itself does: writes, opens, closes, renames, reads.

-- Stores an outbound message (2) or a note (3), once per (tenant, actor, key).
CREATE FUNCTION context.store_outbound(p_tenant text, p_id uuid, p_conversation uuid, p_thread uuid, p_direction integer,
    p_content bytea, p_preview text, p_actor text, p_key text, p_hash bytea, p_media_parts integer[], p_media_hashes bytea[],
    OUT message_id uuid, OUT is_duplicate boolean, OUT change_sequence bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_conversation context.conversation;
    v_thread context.thread;
    v_customer uuid;
    v_hash bytea;
    v_base record;
    v_at timestamptz;
BEGIN
    change_sequence := 0;
    is_duplicate := false;
    v_conversation := context.lock_conversation(p_tenant, p_conversation);
    INSERT INTO context.outbound_key (tenant, message_id, actor_id, idempotency_key, content_hash)
    VALUES (p_tenant, p_id, p_actor, p_key, p_hash) ON CONFLICT (tenant, actor_id, idempotency_key) DO NOTHING;
    IF NOT FOUND THEN
        SELECT k.message_id, k.content_hash INTO message_id, v_hash FROM context.outbound_key k
        WHERE k.tenant = p_tenant AND k.actor_id = p_actor AND k.idempotency_key = p_key;
        IF v_hash <> p_hash THEN
            PERFORM context.fail('conflict', 'idempotency key: used before with other content');
        END IF;
        is_duplicate := true;
        RETURN;
    END IF;

    IF v_conversation.joined_into_id IS NOT NULL THEN
        PERFORM context.fail('conflict', format('conversation %s: was joined into %s', p_conversation, v_conversation.joined_into_id));
    END IF;
    v_customer := v_conversation.customer_id;
    IF p_direction = 2 THEN
        v_thread := context.outbound_thread(p_tenant, v_conversation, p_thread);
        UPDATE context.thread t SET last_sequence = t.last_sequence + 1 WHERE t.tenant = p_tenant AND t.id = v_thread.id
        RETURNING t.last_sequence INTO v_thread.last_sequence;
        SELECT i.customer_id INTO v_customer FROM context.identity i WHERE i.tenant = p_tenant AND i.id = v_thread.identity_id;
        UPDATE context.conversation c SET last_message_at = greatest(c.last_message_at, clock_timestamp()), last_preview = p_preview
        WHERE c.tenant = p_tenant AND c.id = p_conversation;
    END IF;
    message_id := p_id;
    INSERT INTO context.message (tenant, id, conversation_id, thread_id, customer_id, occurred_at, sequence, direction, kind,
                                 author_id, content)
    VALUES (p_tenant, p_id, p_conversation, v_thread.id, v_customer, clock_timestamp(),
            coalesce(v_thread.last_sequence, 0), p_direction, 1, nullif(p_actor, ''), p_content)
    RETURNING occurred_at INTO v_at;
    IF cardinality(p_media_parts) > 0 THEN
        PERFORM context.refer_to_blobs(p_tenant, p_id, p_media_parts, p_media_hashes);
    END IF;
    SELECT * INTO v_base FROM context.advance(p_tenant, 1, 0);
    change_sequence := v_base.change_base + 1;
    INSERT INTO context.change (tenant, sequence, at, kind, direction, message_kind, state, message_sequence,
        conversation_number, conversation_id, thread_id, customer_id, message_id, occurred_at, account_id, channel, text, actor_id)
    VALUES (p_tenant, change_sequence, clock_timestamp(), p_direction, p_direction, 1, v_conversation.state,
        coalesce(v_thread.last_sequence, 0), v_conversation.number, p_conversation, v_thread.id, v_customer,
        p_id, v_at, v_thread.account_id, v_thread.channel, p_preview, nullif(p_actor, ''));
END $$;

-- The thread to write on: the one named, else the one the customer last wrote on; refuses when nobody may.
CREATE FUNCTION context.outbound_thread(p_tenant text, p_conversation context.conversation, p_thread uuid)
RETURNS context.thread LANGUAGE plpgsql AS $$
DECLARE
    v_thread context.thread;
BEGIN
    IF p_conversation.state <> 1 THEN
        PERFORM context.fail('conflict', format('conversation %s: is closed', p_conversation.id));
    END IF;
    SELECT * INTO v_thread FROM context.thread t
    WHERE t.tenant = p_tenant AND t.conversation_id = p_conversation.id AND (p_thread IS NULL OR t.id = p_thread)
    ORDER BY t.last_inbound_at DESC NULLS LAST, t.id DESC LIMIT 1;
    IF NOT FOUND THEN
        PERFORM context.fail('not_found', CASE WHEN p_thread IS NULL
            THEN format('conversation %s: has no thread', p_conversation.id)
            ELSE format('thread %s: is not one of conversation %s', p_thread, p_conversation.id) END);
    END IF;
    IF EXISTS (SELECT FROM context.consent s WHERE s.tenant = p_tenant AND s.identity_id = v_thread.identity_id
                                               AND s.account_id = v_thread.account_id AND s.state = 2) THEN
        PERFORM context.fail('forbidden', 'recipient opted out');
    END IF;
    RETURN v_thread;
END $$;

-- Finds or makes identity, customer, conversation and thread for writing first; p_key as in store_outbound.
CREATE FUNCTION context.open_thread(p_tenant text, p_reopen_window_ms bigint, p_account text, p_channel text, p_kind integer,
    p_scope text, p_value text, p_name text, p_actor text, p_subject text, p_key text,
    OUT thread_id uuid, OUT conversation_id uuid, OUT is_new boolean, OUT change_sequence bigint, OUT is_repeat boolean) LANGUAGE plpgsql AS $$
DECLARE
    v_identity context.identity;
    v_roots uuid[];
    v_opened record;
    v_conversation context.conversation;
    v_base record;
BEGIN
    change_sequence := 0;
    is_new := false;
    -- Written under this key already: nothing is opened a second time, whatever became of the conversation since.
    SELECT m.thread_id, m.conversation_id INTO thread_id, conversation_id
    FROM context.outbound_key k CROSS JOIN LATERAL (SELECT n.thread_id, n.conversation_id FROM context.message n
        WHERE n.tenant = p_tenant AND n.id = k.message_id LIMIT 1) m
    WHERE k.tenant = p_tenant AND k.actor_id = p_actor AND k.idempotency_key = p_key;
    is_repeat := FOUND;
    IF is_repeat THEN
        RETURN;
    END IF;
    PERFORM context.insert_identities(p_tenant, ARRAY[p_kind], ARRAY[p_scope], ARRAY[p_value], ARRAY[p_name], ARRAY[NULL::uuid],
                                      false)
    WHERE NOT EXISTS (SELECT FROM context.identity i WHERE i.tenant = p_tenant AND i.kind = p_kind AND i.scope = p_scope
                                                       AND i.value = p_value);
    SELECT * INTO v_identity FROM context.identity i
    WHERE i.tenant = p_tenant AND i.kind = p_kind AND i.scope = p_scope AND i.value = p_value;
    v_roots := context.lock_persons(p_tenant, ARRAY[v_identity.customer_id]);
    SELECT * INTO v_opened FROM context.open_threads(p_tenant, p_reopen_window_ms, ARRAY[p_account], ARRAY[p_channel],
        ARRAY[v_identity.id], v_roots, ARRAY[''], ARRAY[false], ARRAY[''], ARRAY[''], ARRAY[''], ARRAY[true]);
    SELECT t.id, t.conversation_id INTO thread_id, conversation_id FROM context.thread t
    WHERE t.tenant = p_tenant AND t.account_id = p_account AND t.identity_id = v_identity.id AND t.thread_key = '' AND t.is_current;

    is_new := cardinality(v_opened.new_conversations) > 0;
    IF NOT is_new AND cardinality(v_opened.reopened) = 0 THEN
        RETURN;
    END IF;
    SELECT * INTO v_base FROM context.advance(p_tenant, 1, is_new::integer);
    change_sequence := v_base.change_base + 1;
    IF is_new THEN
        INSERT INTO context.conversation (tenant, id, customer_id, number, subject)
        VALUES (p_tenant, conversation_id, v_identity.customer_id, v_base.conversation_base + 1, coalesce(p_subject, ''));
    END IF;
    SELECT * INTO v_conversation FROM context.conversation c WHERE c.tenant = p_tenant AND c.id = conversation_id;
    INSERT INTO context.change (tenant, sequence, at, kind, state, conversation_number, conversation_id, thread_id, customer_id,
        is_new_conversation, is_reopened, account_id, channel, actor_id)
    VALUES (p_tenant, change_sequence, clock_timestamp(), 6, 1, v_conversation.number, conversation_id, thread_id,
        v_identity.customer_id, is_new, NOT is_new, p_account, p_channel, nullif(p_actor, ''));
END $$;

-- 1 open, 2 closed; nothing happens when it is so already.
CREATE FUNCTION context.set_conversation_state(p_tenant text, p_conversation uuid, p_state integer, p_actor text,
    p_if_version integer, OUT is_changed boolean, OUT change_sequence bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_conversation context.conversation;
    v_thread context.thread;
    v_base record;
BEGIN
    change_sequence := 0;
    v_conversation := context.lock_conversation(p_tenant, p_conversation);
    IF p_if_version <> 0 AND v_conversation.version <> p_if_version THEN
        PERFORM context.fail('conflict', format('conversation %s: has version %s, not %s', p_conversation,
                                                v_conversation.version, p_if_version));
    END IF;
    IF p_state = 1 AND v_conversation.joined_into_id IS NOT NULL THEN
        PERFORM context.fail('conflict', format('conversation %s: was joined into %s', p_conversation, v_conversation.joined_into_id));
    END IF;
    is_changed := v_conversation.state <> p_state;
    IF NOT is_changed THEN
        RETURN;
    END IF;
    UPDATE context.conversation c
    SET state = p_state, version = c.version + 1, closed_at = CASE WHEN p_state = 2 THEN clock_timestamp() END
    WHERE c.tenant = p_tenant AND c.id = p_conversation;
    SELECT * INTO v_thread FROM context.thread t WHERE t.tenant = p_tenant AND t.conversation_id = p_conversation
    ORDER BY t.last_inbound_at DESC NULLS LAST, t.id DESC LIMIT 1;
    SELECT * INTO v_base FROM context.advance(p_tenant, 1, 0);
    change_sequence := v_base.change_base + 1;
    INSERT INTO context.change (tenant, sequence, at, kind, state, conversation_number, conversation_id, thread_id, customer_id,
        is_reopened, account_id, channel, actor_id)
    VALUES (p_tenant, change_sequence, clock_timestamp(), 6, p_state, v_conversation.number, p_conversation, v_thread.id,
        v_conversation.customer_id, p_state = 1, v_thread.account_id, v_thread.channel, nullif(p_actor, ''));
END $$;

CREATE FUNCTION context.update_customer(p_tenant text, p_customer uuid, p_name text, p_if_version integer, p_actor text)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_customer context.customer;
    v_base record;
BEGIN
    SELECT * INTO v_customer FROM context.customer c WHERE c.tenant = p_tenant AND c.id = p_customer FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM context.fail('not_found', format('customer %s: there is none', p_customer));
    ELSIF p_if_version <> 0 AND v_customer.version <> p_if_version THEN
        PERFORM context.fail('conflict', format('customer %s: has version %s, not %s', p_customer, v_customer.version, p_if_version));
    ELSIF v_customer.display_name = p_name THEN
        RETURN 0;
    END IF;
    UPDATE context.customer c SET display_name = p_name, version = c.version + 1 WHERE c.tenant = p_tenant AND c.id = p_customer;
    SELECT * INTO v_base FROM context.advance(p_tenant, 1, 0);
    INSERT INTO context.change (tenant, sequence, at, kind, customer_id, actor_id)
    VALUES (p_tenant, v_base.change_base + 1, clock_timestamp(), 7, p_customer, nullif(p_actor, ''));
    RETURN v_base.change_base + 1;
END $$;

-- Inbound messages after the agent's mark; counts to a thousand, no further.
CREATE FUNCTION context.unread_count(p_tenant text, p_conversation uuid, p_agent text) RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT count(*)::integer FROM (
        SELECT FROM context.message m
        WHERE m.tenant = p_tenant AND m.conversation_id = p_conversation AND m.direction = 1
          AND m.id > coalesce((SELECT r.message_id FROM context.read_mark r WHERE r.tenant = p_tenant
                                AND r.conversation_id = p_conversation AND r.agent_id = p_agent),
                              '00000000-0000-0000-0000-000000000000')
        LIMIT 1000) s
$$;

-- A mark only moves forward.
CREATE FUNCTION context.mark_read(p_tenant text, p_conversation uuid, p_agent text, p_message uuid) RETURNS integer
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM context.message m
                   WHERE m.tenant = p_tenant AND m.id = p_message AND m.conversation_id = p_conversation) THEN
        PERFORM context.fail('not_found', format('message %s: is not one of conversation %s', p_message, p_conversation));
    END IF;
    INSERT INTO context.read_mark AS r (tenant, conversation_id, message_id, agent_id)
    VALUES (p_tenant, p_conversation, p_message, p_agent)
    ON CONFLICT (tenant, conversation_id, agent_id) DO UPDATE SET message_id = excluded.message_id, at = clock_timestamp()
    WHERE excluded.message_id > r.message_id;
    RETURN context.unread_count(p_tenant, p_conversation, p_agent);
END $$;

-- Plans are made once, by key, also while the tables are young (see 0003).
ALTER FUNCTION context.lock_conversation SET enable_seqscan = off;
ALTER FUNCTION context.outbound_thread SET enable_seqscan = off;
ALTER FUNCTION context.store_outbound SET enable_seqscan = off;
ALTER FUNCTION context.open_thread SET enable_seqscan = off;
ALTER FUNCTION context.set_conversation_state SET enable_seqscan = off;
ALTER FUNCTION context.update_customer SET enable_seqscan = off;
ALTER FUNCTION context.mark_read SET enable_seqscan = off;
