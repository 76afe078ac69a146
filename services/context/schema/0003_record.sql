-- SPDX-License-Identifier: Apache-2.0
-- 0003 record: a batch of inbound events in one call, one transaction.
--
-- The arrays run parallel, one element per event. p_what is a MessageKind for what becomes a message
-- (1 message, 2 edit, 3 delete, 4 reaction, 5 claim, 7 unsupported), 6 consent, 11 receipt, 12 typing;
-- so "what < 10" is what needs a person. No (account, key) may come twice in one call: the service
-- answers repeats inside a batch itself.
--
-- Written against the planner, which guesses few rows for arrays, for young tables and for a tenant, and
-- then reads all of the tenant for each event: every lookup is a LATERAL … LIMIT 1, which can only be done
-- row by row, by key; every update of an existing row is one by its key or by its place. Which index serves
-- a key is a tie for the planner while tables are small, so plans are kept only once they are not (record()).

-- Inserts the identities given, in key order, each with the customer given; gives nothing for those that
-- are there already. A new identity whose customer is new makes that customer as well.
CREATE FUNCTION context.insert_identities(p_tenant text, p_kinds integer[], p_scopes text[], p_values text[],
    p_names text[], p_customers uuid[], p_is_verified boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH made AS (
        INSERT INTO context.identity (tenant, id, customer_id, root_id, kind, is_verified, scope, value, display_name)
        SELECT p_tenant, context.uuid7(), e.owner,
               CASE WHEN e.customer IS NULL THEN e.owner ELSE (SELECT c.root_id FROM context.customer c
                   WHERE c.tenant = p_tenant AND c.id = e.customer LIMIT 1) END,
               e.kind, p_is_verified, e.scope, e.value, coalesce(e.name, '')
        FROM (SELECT DISTINCT ON (u.kind, u.scope COLLATE "C", u.value COLLATE "C")
                     u.*, coalesce(u.customer, context.uuid7()) AS owner
              FROM unnest(p_kinds, p_scopes, p_values, p_names, p_customers)
                   WITH ORDINALITY AS u (kind, scope, value, name, customer, n)
              ORDER BY u.kind, u.scope COLLATE "C", u.value COLLATE "C", u.n) e
        ORDER BY e.kind, e.scope COLLATE "C", e.value COLLATE "C"
        ON CONFLICT (tenant, kind, scope, value) DO NOTHING
        RETURNING customer_id, display_name)
    INSERT INTO context.customer (tenant, id, root_id, display_name)
    SELECT p_tenant, m.customer_id, m.customer_id, m.display_name FROM made m
    WHERE NOT m.customer_id = ANY (array_remove(p_customers, NULL));
END $$;

-- Makes the senders that are not known yet. Those who make a verified claim come first, then what they
-- claim, as an identity of the same customer; then everybody else. An event that is known already, by its
-- key, makes nobody. p_identities: those who are known, NULL for the others.
CREATE FUNCTION context.record_senders(p_tenant text, p_what integer[], p_identities uuid[], p_accounts text[], p_keys text[],
    p_kinds integer[], p_scopes text[], p_values text[], p_names text[], p_flags boolean[],
    p_claim_kinds integer[], p_claim_scopes text[], p_claim_values text[], p_claim_names text[])
RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off
AS $$
DECLARE
    v_is_new boolean[];
BEGIN
    SELECT array_agg(e.is_missing AND k.id IS NULL ORDER BY e.n) INTO v_is_new
    FROM (SELECT u.what = 5 OR (u.what < 10 AND u.identity IS NULL) AS is_missing, u.account, u.key, u.n
          FROM unnest(p_what, p_identities, p_accounts, p_keys) WITH ORDINALITY AS u (what, identity, account, key, n)) e
    LEFT JOIN LATERAL (SELECT t.id FROM context.event_key t WHERE e.is_missing AND t.tenant = p_tenant
                       AND t.account_id = e.account AND t.event_key = e.key LIMIT 1) k ON true;

    IF EXISTS (SELECT FROM unnest(p_what, p_flags, v_is_new) e (what, flag, is_new)
               WHERE e.what = 5 AND e.flag AND e.is_new) THEN
        PERFORM context.insert_identities(p_tenant, array_agg(e.kind ORDER BY e.n), array_agg(e.scope ORDER BY e.n),
            array_agg(e.value ORDER BY e.n), array_agg(e.name ORDER BY e.n), array_agg(NULL::uuid), false)
        FROM unnest(p_kinds, p_scopes, p_values, p_names, p_what, p_flags, v_is_new)
             WITH ORDINALITY AS e (kind, scope, value, name, what, flag, is_new, n)
        WHERE e.what = 5 AND e.flag AND e.is_new;

        PERFORM context.insert_identities(p_tenant, array_agg(e.kind ORDER BY e.n), array_agg(e.scope ORDER BY e.n),
            array_agg(e.value ORDER BY e.n), array_agg(e.name ORDER BY e.n), array_agg(i.customer_id ORDER BY e.n), true)
        FROM unnest(p_claim_kinds, p_claim_scopes, p_claim_values, p_claim_names, p_what, p_flags, v_is_new,
                    p_kinds, p_scopes, p_values)
             WITH ORDINALITY AS e (kind, scope, value, name, what, flag, is_new, by_kind, by_scope, by_value, n)
        CROSS JOIN LATERAL (SELECT t.customer_id FROM context.identity t WHERE t.tenant = p_tenant AND t.kind = e.by_kind
                            AND t.scope = e.by_scope AND t.value = e.by_value LIMIT 1) i
        WHERE e.what = 5 AND e.flag AND e.is_new;
    END IF;

    PERFORM context.insert_identities(p_tenant, array_agg(e.kind ORDER BY e.n), array_agg(e.scope ORDER BY e.n),
        array_agg(e.value ORDER BY e.n), array_agg(e.name ORDER BY e.n), array_agg(NULL::uuid), false)
    FROM unnest(p_kinds, p_scopes, p_values, p_names, v_is_new) WITH ORDINALITY AS e (kind, scope, value, name, is_new, n)
    WHERE e.is_new
    HAVING count(*) > 0;
END $$;

-- Gives every wanted thread an open conversation: the one it has; the same, reopened, when it was closed
-- less than the window ago; else the only open one of the person, unless the thread is public; else the
-- open one of the thread it originates from; else a new one. A thread that gets another conversation gets
-- another row. New conversations are given back, not inserted: their number comes from the counter, which is locked last.
CREATE FUNCTION context.open_threads(p_tenant text, p_reopen_window_ms bigint, p_accounts text[], p_channels text[],
    p_identities uuid[], p_roots uuid[], p_thread_keys text[], p_thread_public boolean[], p_thread_titles text[],
    p_thread_urls text[], p_origin_keys text[], p_is_wanted boolean[],
    OUT new_conversations uuid[], OUT new_firsts integer[], OUT reopened uuid[]) LANGUAGE plpgsql
SET enable_seqscan = off
AS $$
DECLARE
    v_wanted record;
    v_conversation uuid;
    v_opened uuid[] := '{}';            -- conversations opened by this call, and whose they are
    v_opened_roots uuid[] := '{}';
    v_firsts integer[] := '{}';         -- threads to insert: the event that wants it, its conversation
    v_conversations uuid[] := '{}';
    v_open uuid[];
BEGIN
    new_conversations := '{}';
    new_firsts := '{}';
    reopened := '{}';
    FOR v_wanted IN
        SELECT e.n, e.root, e.is_public, e.account, e.origin, t.id AS thread_id, t.conversation_id, o.open_ids, g.conversation_id AS origin_id,
               c.closed_at > clock_timestamp() - p_reopen_window_ms * interval '1 millisecond' AS is_recent
        FROM (SELECT DISTINCT ON (u.account, u.identity, u.key) u.*
              FROM unnest(p_accounts, p_identities, p_roots, p_thread_keys, p_thread_public, p_origin_keys, p_is_wanted)
                   WITH ORDINALITY AS u (account, identity, root, key, is_public, origin, is_wanted, n)
              WHERE u.is_wanted ORDER BY u.account, u.identity, u.key, u.n) e
        LEFT JOIN LATERAL (SELECT r.id, r.conversation_id FROM context.thread r WHERE r.tenant = p_tenant
                           AND r.account_id = e.account AND r.identity_id = e.identity AND r.thread_key = e.key
                           AND r.is_current LIMIT 1) t ON true
        LEFT JOIN LATERAL (SELECT r.state, r.closed_at FROM context.conversation r WHERE r.tenant = p_tenant
                           AND r.id = t.conversation_id LIMIT 1) c ON true
        LEFT JOIN LATERAL (SELECT r.conversation_id FROM context.thread r WHERE e.origin <> '' AND r.tenant = p_tenant
                           AND r.account_id = e.account AND r.identity_id = e.identity AND r.thread_key = e.origin
                           AND r.is_current LIMIT 1) g ON true
        CROSS JOIN LATERAL (SELECT array_agg(s.id) AS open_ids
                            FROM (SELECT a.id FROM (SELECT e.root AS id UNION ALL SELECT m.id FROM context.customer m
                                      WHERE m.tenant = p_tenant AND m.root_id = e.root AND m.root_id <> m.id) p
                                  CROSS JOIN LATERAL (SELECT r.id FROM context.conversation r WHERE r.tenant = p_tenant
                                      AND r.customer_id = p.id AND r.state = 1 LIMIT 100) a LIMIT 100) s) o
        WHERE t.id IS NULL OR c.state <> 1
        ORDER BY e.n
    LOOP
        CONTINUE WHEN v_wanted.conversation_id = ANY (v_opened);
        v_open := coalesce(v_wanted.open_ids, '{}');
        IF v_wanted.root = ANY (v_opened_roots) THEN
            SELECT v_open || array_agg(o.id) INTO v_open
            FROM unnest(v_opened, v_opened_roots) o (id, root) WHERE o.root = v_wanted.root;
        END IF;
        IF v_wanted.is_recent THEN
            UPDATE context.conversation c SET state = 1, closed_at = NULL, version = c.version + 1
            WHERE c.tenant = p_tenant AND c.id = v_wanted.conversation_id;
            reopened := reopened || v_wanted.conversation_id;
            v_opened := v_opened || v_wanted.conversation_id;
            v_opened_roots := v_opened_roots || v_wanted.root;
            CONTINUE;
        END IF;
        IF v_wanted.origin <> '' AND v_wanted.origin_id IS NULL THEN
            SELECT f.conversation INTO v_wanted.origin_id FROM unnest(v_firsts, v_conversations) f (n, conversation)
            WHERE p_thread_keys[f.n] = v_wanted.origin AND p_roots[f.n] = v_wanted.root
              AND p_accounts[f.n] = v_wanted.account;
        END IF;
        IF NOT v_wanted.is_public AND cardinality(v_open) = 1 THEN
            v_conversation := v_open[1];
        ELSIF v_wanted.origin_id = ANY (v_open) THEN
            v_conversation := v_wanted.origin_id;
        ELSE
            v_conversation := context.uuid7();
            new_conversations := new_conversations || v_conversation;
            new_firsts := new_firsts || v_wanted.n::integer;
            v_opened := v_opened || v_conversation;
            v_opened_roots := v_opened_roots || v_wanted.root;
        END IF;
        v_firsts := v_firsts || v_wanted.n::integer;
        v_conversations := v_conversations || v_conversation;
        IF v_wanted.thread_id IS NOT NULL THEN
            UPDATE context.thread t SET is_current = false WHERE t.tenant = p_tenant AND t.id = v_wanted.thread_id;
        END IF;
    END LOOP;

    INSERT INTO context.thread (tenant, id, conversation_id, identity_id, is_public, account_id, channel, thread_key,
                                origin_key, title, url)
    SELECT p_tenant, context.uuid7(), f.conversation, p_identities[f.n], p_thread_public[f.n], p_accounts[f.n],
           p_channels[f.n], p_thread_keys[f.n], p_origin_keys[f.n], p_thread_titles[f.n], p_thread_urls[f.n]
    FROM unnest(v_firsts, v_conversations) f (n, conversation);
END $$;
