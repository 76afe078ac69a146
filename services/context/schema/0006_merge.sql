-- SPDX-License-Identifier: Apache-2.0
-- 0006 merge: customers that are one person, until that is taken back; conversations joined and split.
--
-- A merge is an edge. What the edges not taken back connect is a person; customer.root_id and identity.root_id
-- say which, and are all that merging rewrites: identities and messages keep their leaf for ever, so that
-- taking an edge back knows what was whose. Every function here holds the roots' locks of all it touches.

-- At most one edge between two customers at a time; those taken back stay, for the record.
CREATE TABLE context.customer_merge (
    tenant text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    customer_id uuid NOT NULL,
    other_customer_id uuid NOT NULL,
    merged_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    unmerged_at timestamptz,
    evidence text NOT NULL,
    actor_id text COLLATE "C" NOT NULL,
    unmerged_by text COLLATE "C",
    idempotency_key text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, actor_id, idempotency_key)
);
CREATE UNIQUE INDEX customer_merge_pair ON context.customer_merge
    (tenant, least(customer_id, other_customer_id), greatest(customer_id, other_customer_id)) WHERE unmerged_at IS NULL;
CREATE INDEX customer_merge_customer ON context.customer_merge (customer_id);
CREATE INDEX customer_merge_other ON context.customer_merge (other_customer_id);

-- The edges between two customers, whichever way round; those taken back too.
CREATE FUNCTION context.merges_between(p_tenant text, p_customer uuid, p_other uuid)
RETURNS SETOF context.customer_merge LANGUAGE sql STABLE AS $$
    SELECT * FROM context.customer_merge m
    WHERE m.tenant = p_tenant AND m.customer_id = p_customer AND m.other_customer_id = p_other
    UNION ALL
    SELECT * FROM context.customer_merge m
    WHERE m.tenant = p_tenant AND m.customer_id = p_other AND m.other_customer_id = p_customer
$$;

-- Everybody whom edges connect with this customer, itself included.
CREATE FUNCTION context.connected(p_tenant text, p_customer uuid) RETURNS uuid[]
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_found uuid[] := ARRAY[p_customer];
    v_last uuid[] := ARRAY[p_customer];
BEGIN
    LOOP
        SELECT array_agg(DISTINCT e.id) INTO v_last FROM unnest(v_last) l (id)
        CROSS JOIN LATERAL (
            SELECT m.other_customer_id AS id FROM context.customer_merge m
            WHERE m.tenant = p_tenant AND m.customer_id = l.id AND m.unmerged_at IS NULL
            UNION ALL
            SELECT m.customer_id FROM context.customer_merge m
            WHERE m.tenant = p_tenant AND m.other_customer_id = l.id AND m.unmerged_at IS NULL) e
        WHERE NOT e.id = ANY (v_found);
        EXIT WHEN v_last IS NULL;
        v_found := v_found || v_last;
    END LOOP;
    RETURN v_found;
END $$;

-- These customers are one person now: the smallest id is its root.
CREATE FUNCTION context.set_root(p_tenant text, p_customers uuid[]) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_root uuid := (SELECT c.id FROM unnest(p_customers) c (id) ORDER BY 1 LIMIT 1);
BEGIN
    UPDATE context.customer c SET root_id = v_root, was_merged = true
    WHERE c.tenant = p_tenant AND c.id = ANY (p_customers) AND (c.root_id <> v_root OR NOT c.was_merged);
    UPDATE context.identity i SET root_id = v_root
    WHERE i.tenant = p_tenant AND i.customer_id = ANY (p_customers) AND i.root_id <> v_root;
END $$;

-- Adds the edge, under the locks of both; false: the person would have too many customers.
CREATE FUNCTION context.connect(p_tenant text, p_id uuid, p_customer uuid, p_other uuid, p_evidence text, p_actor text,
    p_key text, p_customers_max integer) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_here uuid[] := ARRAY(SELECT context.person(p_tenant, p_customer));
    v_there uuid[] := ARRAY(SELECT context.person(p_tenant, p_other));
BEGIN
    IF v_here[1] <> v_there[1] AND cardinality(v_here) + cardinality(v_there) > p_customers_max THEN
        RETURN false;
    END IF;
    INSERT INTO context.customer_merge (tenant, id, customer_id, other_customer_id, evidence, actor_id, idempotency_key)
    VALUES (p_tenant, p_id, p_customer, p_other, p_evidence, p_actor, p_key)
    ON CONFLICT (tenant, actor_id, idempotency_key) DO NOTHING;
    IF NOT FOUND THEN
        PERFORM context.fail('conflict', 'idempotency key: used before for other customers');
    END IF;
    IF v_here[1] <> v_there[1] THEN
        PERFORM context.set_root(p_tenant, v_here || v_there);
    END IF;
    RETURN true;
END $$;

-- Merges once per (tenant, actor, key). Two customers between whom there is an edge have it already.
CREATE FUNCTION context.merge_customers(p_tenant text, p_id uuid, p_customer uuid, p_other uuid, p_evidence text,
    p_actor text, p_key text, p_customers_max integer,
    OUT merge context.customer_merge, OUT is_duplicate boolean, OUT change_sequence bigint)
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_roots uuid[];
BEGIN
    change_sequence := 0;
    v_roots := context.lock_persons(p_tenant, ARRAY[p_customer, p_other]);
    IF coalesce(cardinality(v_roots), 0) <> 2 THEN
        PERFORM context.fail('not_found', format('customer %s or %s: there is none', p_customer, p_other));
    END IF;
    SELECT * INTO merge FROM context.customer_merge m
    WHERE m.tenant = p_tenant AND m.actor_id = p_actor AND m.idempotency_key = p_key;
    IF FOUND AND (least(p_customer, p_other), greatest(p_customer, p_other))
              <> (least(merge.customer_id, merge.other_customer_id), greatest(merge.customer_id, merge.other_customer_id)) THEN
        PERFORM context.fail('conflict', 'idempotency key: used before for other customers');
    ELSIF NOT FOUND THEN
        SELECT * INTO merge FROM context.merges_between(p_tenant, p_customer, p_other) m WHERE m.unmerged_at IS NULL;
    END IF;
    is_duplicate := merge.id IS NOT NULL;
    IF is_duplicate THEN
        RETURN;
    END IF;
    IF NOT context.connect(p_tenant, p_id, p_customer, p_other, p_evidence, p_actor, p_key, p_customers_max) THEN
        PERFORM context.fail('conflict', format('a person of more than %s customers', p_customers_max));
    END IF;
    SELECT * INTO merge FROM context.customer_merge m WHERE m.tenant = p_tenant AND m.id = p_id;
    SELECT a.change_base + 1 INTO change_sequence FROM context.advance(p_tenant, 1, 0) a;
    INSERT INTO context.change (tenant, sequence, at, kind, customer_id, other_customer_id, reason, actor_id)
    VALUES (p_tenant, change_sequence, clock_timestamp(), 11, p_customer, p_other, p_evidence, nullif(p_actor, ''));
END $$;

-- For each verified claim of a batch: whose the claimed identity is, leaf and root; NULL where nobody's.
CREATE FUNCTION context.claimed_customers(p_tenant text, p_what integer[], p_flags boolean[], p_claim_kinds integer[],
    p_claim_scopes text[], p_claim_values text[], OUT customers uuid[], OUT roots uuid[], OUT is_missing boolean)
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    SELECT array_agg(i.customer_id ORDER BY e.n), array_agg(i.root_id ORDER BY e.n),
           bool_or(e.what = 5 AND e.flag AND i.customer_id IS NULL)
    INTO customers, roots, is_missing
    FROM unnest(p_what, p_flags, p_claim_kinds, p_claim_scopes, p_claim_values)
         WITH ORDINALITY AS e (what, flag, kind, scope, value, n)
    LEFT JOIN LATERAL (SELECT t.customer_id, t.root_id FROM context.identity t WHERE e.what = 5 AND e.flag AND t.tenant = p_tenant
                       AND t.kind = e.kind AND t.scope = e.scope AND t.value = e.value LIMIT 1) i ON true;
END $$;

-- A verified claim of an identity that has another customer makes the two one person, unless there is an edge
-- between them, or was one that somebody took back: their word counts more. The locks of both are held.
CREATE FUNCTION context.merge_claims(p_tenant text, p_customers_max integer, p_what integer[], p_is_new boolean[], p_ids uuid[],
    p_customers uuid[], p_claimed uuid[], p_proofs text[], OUT customers uuid[], OUT others uuid[], OUT reasons text[])
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_claim record;
BEGIN
    customers := '{}';
    others := '{}';
    reasons := '{}';
    FOR v_claim IN
        SELECT e.id, e.customer, e.claimed, concat_ws(': ', 'verified claim', nullif(e.proof, '')) AS reason
        FROM unnest(p_what, p_is_new, p_ids, p_customers, p_claimed, p_proofs)
             WITH ORDINALITY AS e (what, is_new, id, customer, claimed, proof, n)
        WHERE e.what = 5 AND e.is_new AND e.claimed <> e.customer ORDER BY e.n
    LOOP
        CONTINUE WHEN EXISTS (SELECT FROM context.merges_between(p_tenant, v_claim.customer, v_claim.claimed));
        IF context.connect(p_tenant, context.uuid7(), v_claim.customer, v_claim.claimed, v_claim.reason, '',
                           'claim:' || v_claim.id, p_customers_max) THEN
            customers := customers || v_claim.customer;
            others := others || v_claim.claimed;
            reasons := reasons || v_claim.reason;
        END IF;
    END LOOP;
END $$;

-- A page of everything with a person, newest first: a page of each customer, then of all of them. In the order of the
-- index, whatever the planner guesses about one customer: some have written for years.
CREATE FUNCTION context.timeline(p_tenant text, p_customer uuid, p_before uuid, p_limit integer)
RETURNS SETOF context.message LANGUAGE plpgsql STABLE ROWS 50
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT m.* FROM context.person(p_tenant, p_customer) p (id)
    CROSS JOIN LATERAL (SELECT * FROM context.message r WHERE r.tenant = p_tenant AND r.customer_id = p.id
                        AND r.id < coalesce(p_before, 'ffffffff-ffff-ffff-ffff-ffffffffffff') ORDER BY r.id DESC LIMIT p_limit) m
    ORDER BY m.id DESC LIMIT p_limit;
END $$;

-- When the last was written or received that is still there.
CREATE FUNCTION context.last_message_at(p_tenant text, p_conversation uuid) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT max(least(m.occurred_at, m.committed_at)) FROM context.message m
    WHERE m.tenant = p_tenant AND m.conversation_id = p_conversation AND m.direction <> 3
$$;

-- Takes from each conversation of two persons the threads that are not of its own customer's person, with their
-- messages, for a new conversation. The new ones are given back, not inserted: their number comes from the
-- counter, which is locked last.
CREATE FUNCTION context.split_conversations(p_tenant text, p_here uuid[], p_there uuid[],
    OUT old_ids uuid[], OUT new_ids uuid[], OUT customers uuid[], OUT last_threads uuid[])
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_mixed record;
    v_new uuid;
BEGIN
    old_ids := '{}';
    new_ids := '{}';
    customers := '{}';
    last_threads := '{}';
    FOR v_mixed IN
        SELECT c.id, array_agg(t.id) AS threads, (array_agg(i.customer_id ORDER BY t.id))[1] AS customer,
               (array_agg(t.id ORDER BY t.last_inbound_at DESC NULLS LAST, t.id DESC))[1] AS last_thread
        FROM unnest(p_here || p_there) p (id)
        CROSS JOIN LATERAL (SELECT r.id, r.customer_id FROM context.identity r WHERE r.tenant = p_tenant
                            AND r.customer_id = p.id) i
        CROSS JOIN LATERAL (SELECT r.id, r.conversation_id, r.last_inbound_at FROM context.thread r WHERE r.tenant = p_tenant
                            AND r.identity_id = i.id) t
        CROSS JOIN LATERAL (SELECT r.id, r.number, r.customer_id FROM context.conversation r WHERE r.tenant = p_tenant
                            AND r.id = t.conversation_id LIMIT 1) c
        WHERE (i.customer_id = ANY (p_here)) <> (c.customer_id = ANY (p_here))
        GROUP BY c.id, c.number ORDER BY c.number
    LOOP
        v_new := context.uuid7();
        UPDATE context.thread t SET conversation_id = v_new WHERE t.tenant = p_tenant AND t.id = ANY (v_mixed.threads);
        UPDATE context.message m SET conversation_id = v_new
        WHERE m.tenant = p_tenant AND m.conversation_id = v_mixed.id AND m.thread_id = ANY (v_mixed.threads);
        -- A mark is a moment: it says as much about the part that went as about the part that stays.
        INSERT INTO context.read_mark (tenant, conversation_id, message_id, at, agent_id)
        SELECT r.tenant, v_new, r.message_id, r.at, r.agent_id FROM context.read_mark r
        WHERE r.tenant = p_tenant AND r.conversation_id = v_mixed.id;
        old_ids := old_ids || v_mixed.id;
        new_ids := new_ids || v_new;
        customers := customers || v_mixed.customer;
        last_threads := last_threads || v_mixed.last_thread;
    END LOOP;
END $$;

-- Takes one edge back. Gives a row for each conversation split, or one without.
CREATE FUNCTION context.unmerge_customers(p_tenant text, p_merge uuid, p_actor text)
RETURNS TABLE (is_changed boolean, change_sequence bigint, conversation_id uuid, new_conversation_id uuid, new_number bigint)
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_merge context.customer_merge;
    v_here uuid[];
    v_there uuid[];
    v_split record;
    v_base record;
    v_count bigint := 0;
    v_at timestamptz;
BEGIN
    SELECT * INTO v_merge FROM context.customer_merge m WHERE m.tenant = p_tenant AND m.id = p_merge;
    IF NOT FOUND THEN
        PERFORM context.fail('not_found', format('merge %s: there is none', p_merge));
    END IF;
    PERFORM context.lock_persons(p_tenant, ARRAY[v_merge.customer_id, v_merge.other_customer_id]);
    UPDATE context.customer_merge m SET unmerged_at = clock_timestamp(), unmerged_by = p_actor
    WHERE m.tenant = p_tenant AND m.id = p_merge AND m.unmerged_at IS NULL;
    IF NOT FOUND THEN
        RETURN QUERY SELECT false, 0::bigint, NULL::uuid, NULL::uuid, NULL::bigint;
        RETURN;
    END IF;

    v_here := context.connected(p_tenant, v_merge.customer_id);
    IF NOT v_merge.other_customer_id = ANY (v_here) THEN
        v_there := context.connected(p_tenant, v_merge.other_customer_id);
        PERFORM context.set_root(p_tenant, v_here);
        PERFORM context.set_root(p_tenant, v_there);
        SELECT * INTO v_split FROM context.split_conversations(p_tenant, v_here, v_there);
        v_count := cardinality(v_split.new_ids);
    END IF;

    SELECT * INTO v_base FROM context.advance(p_tenant, 1 + v_count, v_count);
    v_at := clock_timestamp();
    INSERT INTO context.change (tenant, sequence, at, kind, customer_id, other_customer_id, reason, actor_id)
    VALUES (p_tenant, v_base.change_base + 1, v_at, 12, v_merge.customer_id, v_merge.other_customer_id, v_merge.evidence, nullif(p_actor, ''));
    IF v_count = 0 THEN
        RETURN QUERY SELECT true, v_base.change_base + 1, NULL::uuid, NULL::uuid, NULL::bigint;
        RETURN;
    END IF;
    INSERT INTO context.conversation (tenant, id, customer_id, number, opened_at, closed_at, last_message_at, state, subject, last_preview)
    SELECT p_tenant, s.new_id, s.customer, v_base.conversation_base + s.n, v_at, c.closed_at,
           context.last_message_at(p_tenant, s.new_id), c.state, c.subject, NULL
    FROM unnest(v_split.old_ids, v_split.new_ids, v_split.customers) WITH ORDINALITY AS s (old_id, new_id, customer, n)
    CROSS JOIN LATERAL (SELECT * FROM context.conversation r WHERE r.tenant = p_tenant AND r.id = s.old_id LIMIT 1) c;
    UPDATE context.conversation c
    SET version = c.version + 1, last_preview = NULL, last_message_at = context.last_message_at(p_tenant, c.id)
    WHERE c.tenant = p_tenant AND c.id = ANY (v_split.old_ids);
    INSERT INTO context.change (tenant, sequence, at, kind, state, conversation_number, conversation_id, other_conversation_id,
        thread_id, thread_ids, customer_id, is_new_conversation, account_id, channel, actor_id)
    SELECT p_tenant, v_base.change_base + 1 + s.n, v_at, 13, c.state, c.number, s.new_id, s.old_id, t.id,
           (SELECT array_agg(r.id ORDER BY r.id) FROM context.thread r WHERE r.tenant = p_tenant AND r.conversation_id = s.new_id),
           c.customer_id, true, t.account_id, t.channel, nullif(p_actor, '')
    FROM unnest(v_split.old_ids, v_split.new_ids, v_split.last_threads) WITH ORDINALITY AS s (old_id, new_id, last_thread, n)
    CROSS JOIN LATERAL (SELECT * FROM context.conversation r WHERE r.tenant = p_tenant AND r.id = s.new_id LIMIT 1) c
    CROSS JOIN LATERAL (SELECT * FROM context.thread r WHERE r.tenant = p_tenant AND r.id = s.last_thread LIMIT 1) t;
    RETURN QUERY
    SELECT true, v_base.change_base + 1 + v_count, s.old_id, s.new_id, v_base.conversation_base + s.n
    FROM unnest(v_split.old_ids, v_split.new_ids) WITH ORDINALITY AS s (old_id, new_id, n);
END $$;

-- Read marks of two conversations that become one: what an agent has not read in either stays unread. The mark
-- is the last message before the first unread one, of both; none where that is the very first.
CREATE FUNCTION context.join_read_marks(p_tenant text, p_conversation uuid, p_other uuid) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_agent record;
    v_mark uuid;
BEGIN
    FOR v_agent IN
        SELECT r.agent_id, max(r.at) AS at, (array_agg(r.message_id ORDER BY r.message_id DESC))[1] AS last,
               (SELECT m.id FROM unnest(ARRAY[p_conversation, p_other]) c (id)
                CROSS JOIN LATERAL (SELECT n.id FROM context.message n WHERE n.tenant = p_tenant AND n.conversation_id = c.id
                    AND n.direction = 1 AND n.id > coalesce((SELECT k.message_id FROM context.read_mark k
                        WHERE k.tenant = p_tenant AND k.conversation_id = c.id AND k.agent_id = r.agent_id),
                        '00000000-0000-0000-0000-000000000000')
                    ORDER BY n.id LIMIT 1) m ORDER BY m.id LIMIT 1) AS first_unread
        FROM context.read_mark r WHERE r.tenant = p_tenant AND r.conversation_id IN (p_conversation, p_other)
        GROUP BY r.agent_id
    LOOP
        SELECT m.id INTO v_mark FROM unnest(ARRAY[p_conversation, p_other]) c (id)
        CROSS JOIN LATERAL (SELECT n.id FROM context.message n WHERE n.tenant = p_tenant AND n.conversation_id = c.id
                            AND n.id < v_agent.first_unread ORDER BY n.id DESC LIMIT 1) m ORDER BY m.id DESC LIMIT 1;
        IF v_agent.first_unread IS NULL THEN
            v_mark := v_agent.last;
        END IF;
        DELETE FROM context.read_mark r WHERE r.tenant = p_tenant AND r.conversation_id IN (p_conversation, p_other)
                                          AND r.agent_id = v_agent.agent_id;
        INSERT INTO context.read_mark (tenant, conversation_id, message_id, at, agent_id)
        SELECT p_tenant, p_conversation, v_mark, v_agent.at, v_agent.agent_id WHERE v_mark IS NOT NULL;
    END LOOP;
END $$;

-- One person's two open conversations become one. The other is closed, for ever: its threads have moved. Each of its
-- messages is rewritten under the person's lock, so there is a bound.
CREATE FUNCTION context.join_conversations(p_tenant text, p_conversation uuid, p_other uuid, p_actor text,
    p_messages_max integer, OUT is_changed boolean, OUT change_sequence bigint) LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_roots uuid[];
    v_here context.conversation;
    v_there context.conversation;
BEGIN
    is_changed := false;
    change_sequence := 0;
    SELECT context.lock_persons(p_tenant, array_agg(c.customer_id)) INTO v_roots FROM context.conversation c
    WHERE c.tenant = p_tenant AND c.id IN (p_conversation, p_other) HAVING count(*) = 2;
    IF v_roots IS NULL THEN
        PERFORM context.fail('not_found', format('conversation %s or %s: there is none', p_conversation, p_other));
    END IF;
    SELECT * INTO v_here FROM context.conversation c WHERE c.tenant = p_tenant AND c.id = p_conversation;
    SELECT * INTO v_there FROM context.conversation c WHERE c.tenant = p_tenant AND c.id = p_other;
    IF v_there.joined_into_id = p_conversation THEN
        RETURN;
    ELSIF v_there.joined_into_id IS NOT NULL OR v_here.joined_into_id IS NOT NULL THEN
        PERFORM context.fail('conflict', 'one of the conversations was joined into another before');
    ELSIF v_here.state <> 1 OR v_there.state <> 1 THEN
        PERFORM context.fail('conflict', 'one of the conversations is closed');
    ELSIF v_roots[1] <> v_roots[2] THEN
        PERFORM context.fail('conflict', 'the conversations are not of one person');
    ELSIF (SELECT count(*) FROM (SELECT FROM context.message m WHERE m.tenant = p_tenant AND m.conversation_id = p_other
                                 LIMIT p_messages_max + 1) n) > p_messages_max THEN
        PERFORM context.fail('conflict', format('conversation %s: has more than %s messages, too many to be moved', p_other,
                                                p_messages_max));
    END IF;
    is_changed := true;
    PERFORM context.join_read_marks(p_tenant, p_conversation, p_other);
    UPDATE context.thread t SET conversation_id = p_conversation WHERE t.tenant = p_tenant AND t.conversation_id = p_other;
    UPDATE context.message m SET conversation_id = p_conversation WHERE m.tenant = p_tenant AND m.conversation_id = p_other;
    UPDATE context.conversation c
    SET version = c.version + 1, subject = coalesce(nullif(c.subject, ''), v_there.subject),
        last_message_at = greatest(c.last_message_at, v_there.last_message_at), last_preview = NULL
    WHERE c.tenant = p_tenant AND c.id = p_conversation;
    UPDATE context.conversation c
    SET version = c.version + 1, state = 2, closed_at = clock_timestamp(), joined_into_id = p_conversation
    WHERE c.tenant = p_tenant AND c.id = p_other;
    SELECT a.change_base + 1 INTO change_sequence FROM context.advance(p_tenant, 1, 0) a;
    INSERT INTO context.change (tenant, sequence, at, kind, state, conversation_number, conversation_id, other_conversation_id,
        customer_id, actor_id)
    VALUES (p_tenant, change_sequence, clock_timestamp(), 14, 1, v_here.number, p_conversation, p_other,
        v_here.customer_id, nullif(p_actor, ''));
END $$;
