-- SPDX-License-Identifier: Apache-2.0
-- 0002 common: ids, the counter, partitions, the customer's lock.
--
-- Locks are taken in one order by every function of this schema, so that no two can wait for each
-- other: new identities (sorted by kind, scope, value), roots of customers (by id), keys of events and of
-- outbound messages (sorted), and last the tenant's counter. Conversations, threads, identities and the other
-- customers of a person need no order: the lock of the person's root covers them. Whoever finds that a row is no
-- root any more gives up at once, with all its locks: so who changes roots never waits for one who waits.

-- RFC 9562 §5.7: 48 bits of milliseconds, the rest random.
CREATE FUNCTION context.uuid7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
        PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
        FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid
$$;

-- The smallest UUIDv7 of a moment.
CREATE FUNCTION context.uuid7_at(p_at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM p_at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- Takes that many numbers and locks the tenant's counter until commit. The bases are the numbers before.
CREATE FUNCTION context.advance(p_tenant text, p_changes bigint, p_conversations bigint,
    OUT change_base bigint, OUT conversation_base bigint) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO context.counter AS c (tenant, change_sequence, conversation_number)
    VALUES (p_tenant, p_changes, p_conversations)
    ON CONFLICT (tenant) DO UPDATE SET
        change_sequence = c.change_sequence + p_changes,
        conversation_number = c.conversation_number + p_conversations
    RETURNING c.change_sequence - p_changes, c.conversation_number - p_conversations
    INTO change_base, conversation_base;
END $$;

-- An error that the service passes on as it is; the hint is its kind.
CREATE FUNCTION context.fail(p_kind text, p_text text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'P0001', MESSAGE = p_text, HINT = p_kind;
END $$;

-- Somebody else has merged or unmerged in between: the service repeats the whole.
CREATE FUNCTION context.moved() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'a customer has just been merged or unmerged';
END $$;

-- The customers of a person, given any of them.
CREATE FUNCTION context.person(p_tenant text, p_customer uuid) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE ROWS 2 SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_root uuid;
BEGIN
    SELECT c.root_id INTO v_root FROM context.customer c WHERE c.tenant = p_tenant AND c.id = p_customer;
    IF FOUND THEN
        RETURN NEXT v_root;
        RETURN QUERY SELECT c.id FROM context.customer c
                     WHERE c.tenant = p_tenant AND c.root_id = v_root AND c.root_id <> c.id;
    END IF;
END $$;

-- The roots of some customers, in their order.
CREATE FUNCTION context.roots_of(p_tenant text, p_customers uuid[]) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN (SELECT array_agg(c.root_id ORDER BY e.n) FROM unnest(p_customers) WITH ORDINALITY AS e (id, n)
            CROSS JOIN LATERAL (SELECT r.root_id FROM context.customer r
                                WHERE r.tenant = p_tenant AND r.id = e.id LIMIT 1) c);
END $$;

-- Locks the persons of some customers, and gives their roots, in the order of the customers.
CREATE FUNCTION context.lock_persons(p_tenant text, p_customers uuid[]) RETURNS uuid[]
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_roots uuid[] := context.roots_of(p_tenant, p_customers);
    v_root uuid;
    v_was_merged boolean;
    v_recheck boolean := false;
BEGIN
    FOR v_root IN SELECT DISTINCT r.id FROM unnest(v_roots) r (id) ORDER BY 1 LOOP
        SELECT c.was_merged INTO v_was_merged FROM context.customer c
        WHERE c.tenant = p_tenant AND c.id = v_root AND c.root_id = c.id FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            PERFORM context.moved();
        END IF;
        v_recheck := v_recheck OR v_was_merged;
    END LOOP;
    IF v_recheck AND v_roots IS DISTINCT FROM context.roots_of(p_tenant, p_customers) THEN
        PERFORM context.moved();
    END IF;
    RETURN v_roots;
END $$;

-- Locks the person of the conversation, then gives the conversation as it stands under that lock.
CREATE FUNCTION context.lock_conversation(p_tenant text, p_conversation uuid)
RETURNS context.conversation LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_conversation context.conversation;
    v_root uuid;
    v_was_merged boolean;
BEGIN
    SELECT u.root_id INTO v_root FROM context.conversation c
    CROSS JOIN LATERAL (SELECT r.root_id FROM context.customer r WHERE r.tenant = p_tenant AND r.id = c.customer_id LIMIT 1) u
    WHERE c.tenant = p_tenant AND c.id = p_conversation;
    IF NOT FOUND THEN
        PERFORM context.fail('not_found', format('conversation %s: there is none', p_conversation));
    END IF;
    SELECT c.was_merged INTO v_was_merged FROM context.customer c
    WHERE c.tenant = p_tenant AND c.id = v_root AND c.root_id = c.id FOR NO KEY UPDATE;
    IF NOT FOUND OR (v_was_merged AND v_root <> (SELECT u.root_id FROM context.conversation c
        CROSS JOIN LATERAL (SELECT r.root_id FROM context.customer r WHERE r.tenant = p_tenant AND r.id = c.customer_id LIMIT 1) u
        WHERE c.tenant = p_tenant AND c.id = p_conversation)) THEN
        PERFORM context.moved();
    END IF;
    SELECT * INTO v_conversation FROM context.conversation c WHERE c.tenant = p_tenant AND c.id = p_conversation;
    RETURN v_conversation;
END $$;

-- Makes one month of one table, unless it is there. Attached, not created in place: attaching lets
-- readers and writers of the table go on. A month that the default partition already holds rows of stays
-- there; a table that cannot be locked at once is left for the next call: nobody may wait behind us.
CREATE FUNCTION context.make_partition(p_table text, p_month timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_name text := p_table || to_char(p_month AT TIME ZONE 'UTC', '_YYYY_MM');
    v_from uuid := context.uuid7_at(p_month);
    v_to uuid := context.uuid7_at((p_month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC');
BEGIN
    IF to_regclass(format('context.%I', v_name)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE context.%I (LIKE context.%I INCLUDING DEFAULTS INCLUDING STORAGE)', v_name, p_table);
    EXECUTE format('ALTER TABLE context.%I ATTACH PARTITION context.%I FOR VALUES FROM (%L) TO (%L)',
                   p_table, v_name, v_from, v_to);
    RETURN true;
EXCEPTION WHEN check_violation OR lock_not_available THEN
    RETURN false;
END $$;

-- This month and that many more, of every partitioned table; gives how many tables it made.
CREATE FUNCTION context.make_partitions(p_months_ahead integer) RETURNS integer LANGUAGE plpgsql
SET lock_timeout = '2s' SET client_min_messages = warning AS $$
DECLARE
    v_month timestamptz;
    v_table text;
    v_made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('context.make_partitions'));
    FOR v_month IN
        SELECT (date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month') AT TIME ZONE 'UTC'
        FROM generate_series(0, p_months_ahead) n
    LOOP
        FOR v_table IN SELECT c.relname FROM pg_class c
                       WHERE c.relnamespace = 'context'::regnamespace AND c.relkind = 'p' ORDER BY c.relname LOOP
            v_made := v_made + context.make_partition(v_table, v_month)::integer;
        END LOOP;
    END LOOP;
    RETURN v_made;
END $$;

SELECT context.make_partitions(3);
