-- SPDX-License-Identifier: Apache-2.0
-- 0004 record_batch: context.record(), the transaction itself; what it is made of is in 0003.

-- Consents, claims and names: what a batch says about people besides messages.
CREATE FUNCTION context.record_people(p_tenant text, p_what integer[], p_is_new boolean[], p_ids uuid[], p_accounts text[],
    p_identities uuid[], p_customers uuid[], p_occurred timestamptz[], p_names text[], p_words text[], p_flags boolean[],
    p_states integer[], p_claim_kinds integer[], p_claim_scopes text[], p_claim_values text[])
RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off
AS $$
DECLARE
    v_event record;
BEGIN
    -- The last word by the provider's clock counts, whatever the order of arrival.
    INSERT INTO context.consent AS c (tenant, identity_id, changed_at, state, account_id, evidence)
    SELECT DISTINCT ON (e.identity, e.account) p_tenant, e.identity, e.occurred, e.state, e.account, coalesce(e.word, '')
    FROM unnest(p_what, p_is_new, p_accounts, p_identities, p_occurred, p_words, p_states)
         WITH ORDINALITY AS e (what, is_new, account, identity, occurred, word, state, n)
    WHERE e.what = 6 AND e.is_new
    ORDER BY e.identity, e.account, e.occurred DESC, e.n DESC
    ON CONFLICT (tenant, identity_id, account_id) DO UPDATE
    SET changed_at = excluded.changed_at, state = excluded.state, evidence = excluded.evidence
    WHERE excluded.changed_at >= c.changed_at;

    INSERT INTO context.claim (tenant, message_id, identity_id, kind, is_verified, scope, value, proof)
    SELECT p_tenant, e.id, e.identity, e.kind, coalesce(e.flag, false), e.scope, e.value, coalesce(e.word, '')
    FROM unnest(p_what, p_is_new, p_ids, p_identities, p_flags, p_words, p_claim_kinds, p_claim_scopes, p_claim_values)
         AS e (what, is_new, id, identity, flag, word, kind, scope, value)
    WHERE e.what = 5 AND e.is_new;
    -- Providers' names change; the customer's own stays what agents made it.
    FOR v_event IN
        SELECT e.* FROM unnest(p_what, p_is_new, p_identities, p_customers, p_names, p_flags, p_claim_kinds, p_claim_scopes,
                               p_claim_values)
             WITH ORDINALITY AS e (what, is_new, identity, customer, name, flag, kind, scope, value, n)
        WHERE e.what < 10 AND e.is_new AND (e.name <> '' OR e.what = 5) ORDER BY e.n
    LOOP
        IF v_event.what = 5 AND v_event.flag THEN
            -- Its root: when this batch has just made it, who merged meanwhile has not seen it.
            UPDATE context.identity i SET is_verified = true, root_id = c.root_id FROM context.customer c
            WHERE i.tenant = p_tenant AND i.kind = v_event.kind AND i.scope = v_event.scope AND i.value = v_event.value
              AND i.customer_id = v_event.customer AND c.tenant = p_tenant AND c.id = v_event.customer
              AND (NOT i.is_verified OR i.root_id <> c.root_id);
        END IF;
        IF v_event.name <> '' THEN
            UPDATE context.identity i SET display_name = v_event.name
            WHERE i.tenant = p_tenant AND i.id = v_event.identity AND i.display_name <> v_event.name;
            UPDATE context.customer c SET display_name = v_event.name
            WHERE c.tenant = p_tenant AND c.id = v_event.customer AND c.display_name = '' AND c.version = 1;
        END IF;
    END LOOP;
END $$;

-- The answer, one row per event: 1 stored, 2 known already, 3 known with another content.
CREATE FUNCTION context.record(p_tenant text, p_reopen_window_ms bigint,
    p_ids uuid[], p_what integer[], p_accounts text[], p_channels text[], p_keys text[], p_hashes bytea[],
    p_occurred timestamptz[], p_received timestamptz[],
    p_sender_kinds integer[], p_sender_scopes text[], p_sender_values text[], p_sender_names text[],
    p_thread_keys text[], p_thread_public boolean[], p_thread_titles text[], p_thread_urls text[], p_origin_keys text[],
    p_provider_ids text[], p_contents bytea[], p_previews text[], p_subjects text[], p_is_echo boolean[],
    p_raws bytea[], p_raw_types text[], p_boot_ids text[], p_boot_lanes integer[], p_boot_numbers bigint[],
    p_words text[], p_flags boolean[], p_states integer[],
    p_claim_kinds integer[], p_claim_scopes text[], p_claim_values text[], p_claim_names text[],
    p_delivery_ids text[], p_watermarks timestamptz[], p_reasons integer[], p_provider_codes text[], p_provider_texts text[],
    p_media_counts integer[], p_media_places integer[], p_media_parts integer[], p_media bytea[], p_media_hashes bytea[],
    p_media_gone bytea[],
    p_repeat_places integer[], p_repeat_boots text[], p_repeat_lanes integer[], p_repeat_numbers bigint[],
    p_customers_max integer DEFAULT 1000)
RETURNS TABLE (n integer, result integer, id uuid, conversation_id uuid, thread_id uuid, sequence integer, change_sequence bigint)
LANGUAGE plpgsql
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    v_identity uuid[];
    v_customer uuid[];                  -- leaves, and the roots of their persons
    v_root uuid[];
    v_claimed uuid[] := '{}';           -- whose the claimed identities are: leaves and roots
    v_claimed_root uuid[] := '{}';
    v_merged uuid[] := '{}';            -- merges made of claims
    v_merged_other uuid[] := '{}';
    v_merged_reason text[] := '{}';
    v_is_claimed_missing boolean := false;
    v_was_merged boolean;
    v_is_missing boolean;
    v_has_people boolean := false;
    v_known_id uuid[];
    v_known_hash bytea[];
    v_is_new boolean[];
    v_is_message boolean[];             -- new, and becomes a message
    v_thread uuid[];
    v_conversation uuid[];
    v_thread_place tid[];               -- where their rows are: nobody moves them under the person's lock
    v_conversation_place tid[];
    v_is_open boolean[];
    v_is_wanted boolean[];
    v_number bigint[];
    v_last_sequence integer[];
    v_sequence integer[];
    v_last integer[];                   -- the last event of the same conversation
    v_is_first boolean[];               -- the first one of it
    v_opened uuid[] := '{}';            -- new conversations, and the events that make them
    v_firsts integer[] := '{}';
    v_reopened uuid[] := '{}';
    v_changes bigint;
    v_conversations bigint;
    v_change_base bigint := 0;          -- where this batch's numbers begin, under the counter's lock
    v_number_base bigint := 0;
    v_count bigint;
    v_at timestamptz;
BEGIN
    -- A plan made for a small table may read all of it for each event, and would be kept: not before 1 MiB.
    IF pg_relation_size('context.thread') > 1048576 THEN
        SET LOCAL plan_cache_mode = force_generic_plan;
    END IF;

    -- Who: make those who are missing and look again for them only, then take the locks of the persons' roots, which cover all below them.
    FOR v_pass IN 1..2 LOOP
        SELECT array_agg(coalesce(e.identity, i.id) ORDER BY e.n), array_agg(coalesce(e.customer, i.customer_id) ORDER BY e.n),
               array_agg(coalesce(e.root, i.root_id) ORDER BY e.n), bool_or(e.identity IS NULL AND i.id IS NULL AND e.what < 10),
               v_has_people OR coalesce(bool_or(e.what IN (5, 6) OR (e.what < 10 AND e.name <> '' AND i.display_name <> e.name)), false)
        INTO v_identity, v_customer, v_root, v_is_missing, v_has_people
        FROM unnest(p_what, p_sender_kinds, p_sender_scopes, p_sender_values, p_sender_names, v_identity, v_customer, v_root)
             WITH ORDINALITY AS e (what, kind, scope, value, name, identity, customer, root, n)
        LEFT JOIN LATERAL (SELECT t.id, t.customer_id, t.root_id, t.display_name FROM context.identity t WHERE e.identity IS NULL
                           AND t.tenant = p_tenant AND t.kind = e.kind AND t.scope = e.scope AND t.value = e.value LIMIT 1) i ON true;
        IF 5 = ANY (p_what) THEN
            SELECT * INTO v_claimed, v_claimed_root, v_is_claimed_missing
            FROM context.claimed_customers(p_tenant, p_what, p_flags, p_claim_kinds, p_claim_scopes, p_claim_values);
        END IF;
        EXIT WHEN v_pass = 2 OR NOT (v_is_missing OR v_is_claimed_missing);
        PERFORM context.record_senders(p_tenant, p_what, v_identity, p_accounts, p_keys, p_sender_kinds, p_sender_scopes, p_sender_values,
            p_sender_names, p_flags, p_claim_kinds, p_claim_scopes, p_claim_values, p_claim_names);
    END LOOP;
    SELECT bool_or(CASE WHEN c.root_id = c.id THEN c.was_merged ELSE context.moved() END) INTO v_was_merged
    FROM (SELECT u.root FROM unnest(v_root, p_what) u (root, what) WHERE u.what < 10 UNION SELECT unnest(v_claimed_root) ORDER BY 1) e
    CROSS JOIN LATERAL (SELECT c.id, c.root_id, c.was_merged FROM context.customer c WHERE c.tenant = p_tenant AND c.id = e.root
                        LIMIT 1 FOR NO KEY UPDATE) c;
    IF v_was_merged AND EXISTS (
        SELECT FROM (SELECT u.customer, u.root FROM unnest(v_customer, v_root, p_what) u (customer, root, what) WHERE u.what < 10
                     UNION SELECT * FROM unnest(v_claimed, v_claimed_root)) e
        CROSS JOIN LATERAL (SELECT c.root_id FROM context.customer c WHERE c.tenant = p_tenant AND c.id = e.customer LIMIT 1) c
        WHERE c.root_id <> e.root)
    THEN
        PERFORM context.moved();
    END IF;

    -- What is known already. Nobody else can be recording the same event of the same sender now.
    SELECT array_agg(k.id ORDER BY e.n), array_agg(k.content_hash ORDER BY e.n), array_agg(k.id IS NULL ORDER BY e.n),
           array_agg(k.id IS NULL AND e.what < 10 AND e.what <> 6 ORDER BY e.n)
    INTO v_known_id, v_known_hash, v_is_new, v_is_message
    FROM unnest(p_what, p_accounts, p_keys) WITH ORDINALITY AS e (what, account, key, n)
    LEFT JOIN LATERAL (SELECT t.id, t.content_hash FROM context.event_key t WHERE t.tenant = p_tenant
                       AND t.account_id = e.account AND t.event_key = e.key LIMIT 1) k ON true;

    -- Where: the current threads, opened where needed, and the places of their rows. What is open is not looked up again.
    FOR v_pass IN 1..2 LOOP
        SELECT array_agg(CASE WHEN e.is_open THEN e.thread ELSE t.id END ORDER BY e.n),
               array_agg(CASE WHEN e.is_open THEN e.thread_place ELSE t.ctid END ORDER BY e.n),
               array_agg(CASE WHEN e.is_open THEN e.conversation ELSE t.conversation_id END ORDER BY e.n),
               array_agg(CASE WHEN e.is_open THEN e.conversation_place ELSE c.ctid END ORDER BY e.n),
               array_agg(CASE WHEN e.is_open THEN e.number ELSE c.number END ORDER BY e.n),
               array_agg(CASE WHEN e.is_open THEN e.last_sequence ELSE t.last_sequence END ORDER BY e.n),
               array_agg(coalesce(e.is_open OR c.state = 1, false) ORDER BY e.n),
               array_agg(e.is_message AND e.is_open IS NOT TRUE AND c.state IS DISTINCT FROM 1 ORDER BY e.n)
        INTO v_thread, v_thread_place, v_conversation, v_conversation_place, v_number, v_last_sequence, v_is_open, v_is_wanted
        FROM unnest(v_is_message, p_accounts, v_identity, p_thread_keys, v_thread, v_thread_place, v_conversation,
                    v_conversation_place, v_number, v_last_sequence, v_is_open)
             WITH ORDINALITY AS e (is_message, account, identity, key, thread, thread_place, conversation,
                    conversation_place, number, last_sequence, is_open, n)
        LEFT JOIN LATERAL (SELECT r.ctid, r.id, r.conversation_id, r.last_sequence FROM context.thread r
                           WHERE e.is_open IS NOT TRUE AND r.tenant = p_tenant AND r.account_id = e.account
                             AND r.identity_id = e.identity AND r.thread_key = e.key AND r.is_current LIMIT 1) t ON true
        LEFT JOIN LATERAL (SELECT r.ctid, r.number, r.state FROM context.conversation r WHERE r.tenant = p_tenant
                           AND r.id = t.conversation_id LIMIT 1) c ON true;
        EXIT WHEN v_pass = 2 OR NOT true = ANY (v_is_wanted);
        SELECT * INTO v_opened, v_firsts, v_reopened FROM context.open_threads(p_tenant, p_reopen_window_ms, p_accounts, p_channels, v_identity,
            v_root, p_thread_keys, p_thread_public, p_thread_titles, p_thread_urls, p_origin_keys, v_is_wanted);
    END LOOP;

    -- In which order: payload order in each thread, under its person's lock.
    SELECT array_agg(w.sequence ORDER BY w.n), array_agg(w.last ORDER BY w.n), array_agg(w.is_first ORDER BY w.n)
    INTO v_sequence, v_last, v_is_first
    FROM (SELECT e.n, CASE WHEN e.is_message THEN
                 e.last_sequence + row_number() OVER (PARTITION BY e.is_message, e.thread ORDER BY e.n) END AS sequence,
                 max(e.n) OVER (PARTITION BY e.is_message, e.conversation) AS last,
                 row_number() OVER (PARTITION BY e.is_message, e.conversation ORDER BY e.n) = 1 AS is_first
          FROM unnest(v_is_message, v_thread, v_conversation, v_last_sequence)
               WITH ORDINALITY AS e (is_message, thread, conversation, last_sequence, n)) w;

    -- Not ON CONFLICT: that looks each key up a second time.
    BEGIN
        INSERT INTO context.event_key (tenant, id, account_id, event_key, content_hash)
        SELECT p_tenant, e.id, e.account, e.key, e.hash
        FROM unnest(v_is_new, p_ids, p_accounts, p_keys, p_hashes) AS e (is_new, id, account, key, hash)
        WHERE e.is_new AND e.key <> ''
        ORDER BY e.account COLLATE "C", e.key COLLATE "C";
    EXCEPTION WHEN unique_violation THEN
        RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'another batch has just recorded one of these events';
    END;

    INSERT INTO context.message (tenant, id, conversation_id, thread_id, customer_id, occurred_at, received_at, sequence,
                                 direction, kind, media_count, is_removed, provider_id, reaction, content)
    SELECT p_tenant, e.id, e.conversation, e.thread, e.customer, e.occurred, e.received, e.sequence,
           CASE WHEN e.is_echo THEN 2 ELSE 1 END, e.what, e.media_count, e.what = 4 AND coalesce(e.flag, false), nullif(e.provider_id, ''),
           CASE WHEN e.what = 4 THEN e.word END, e.content
    FROM unnest(v_is_message, p_ids, v_conversation, v_thread, v_customer, p_occurred, p_received, v_sequence, p_is_echo, p_what,
                p_flags, p_media_counts, p_provider_ids, p_words, p_contents)
         AS e (is_message, id, conversation, thread, customer, occurred, received, sequence, is_echo, what,
               flag, media_count, provider_id, word, content)
    WHERE e.is_message;
    INSERT INTO context.message_raw (tenant, id, raw_type, raw)
    SELECT p_tenant, e.id, nullif(e.raw_type, ''), e.raw
    FROM unnest(v_is_new, p_ids, p_raw_types, p_raws) AS e (is_new, id, raw_type, raw)
    WHERE e.is_new;
    IF cardinality(p_media_places) > 0 THEN
        INSERT INTO context.media (tenant, message_id, part_index, state, media)
        SELECT p_tenant, p_ids[m.place], m.part, CASE m.hash WHEN '' THEN 1 ELSE 2 END, m.media
        FROM unnest(p_media_places, p_media_parts, p_media, p_media_hashes) AS m (place, part, media, hash)
        WHERE v_is_message[m.place];
        PERFORM context.ref_media(p_tenant, p_ids[m.place], m.part, m.hash, m.gone)
        FROM (SELECT * FROM unnest(p_media_places, p_media_parts, p_media_hashes, p_media_gone) AS m (place, part, hash, gone)
              WHERE m.hash <> '' AND v_is_message[m.place] ORDER BY m.hash) m;
    END IF;

    -- The manifest, for the audit. What contradicts is left to context.refuse(), which keeps it.
    INSERT INTO context.intake (tenant, id, boot_id, boot_lane, block, event_count, numbers, ids, results, whats, accounts)
    SELECT p_tenant, context.uuid7(), e.boot, e.lane, e.number >> 16, count(*), array_agg(e.number),
           array_agg(coalesce(e.known_id, e.id)), array_agg(CASE WHEN e.is_new THEN 1 ELSE 2 END), array_agg(e.what), array_agg(e.account)
    FROM unnest(p_boot_ids, p_boot_lanes, p_boot_numbers, v_is_new, p_ids, v_known_id, v_known_hash, p_hashes, p_what, p_accounts)
         AS e (boot, lane, number, is_new, id, known_id, known_hash, hash, what, account)
    WHERE e.number > 0 AND (e.is_new OR e.known_hash = e.hash)
    GROUP BY e.boot, e.lane, e.number >> 16;
    IF cardinality(p_repeat_places) > 0 THEN
        INSERT INTO context.intake (tenant, id, boot_id, boot_lane, block, event_count, numbers, ids, results, whats, accounts)
        SELECT p_tenant, context.uuid7(), r.boot, r.lane, r.number >> 16, count(*), array_agg(r.number),
               array_agg(coalesce(v_known_id[r.place], p_ids[r.place])), array_agg(2), array_agg(p_what[r.place]),
               array_agg(p_accounts[r.place])
        FROM unnest(p_repeat_places, p_repeat_boots, p_repeat_lanes, p_repeat_numbers) AS r (place, boot, lane, number)
        WHERE v_is_new[r.place] OR v_known_hash[r.place] = p_hashes[r.place]
        GROUP BY r.boot, r.lane, r.number >> 16;
    END IF;

    -- Updated in place; nobody else can have moved these rows, so a miss is our own fault.
    UPDATE context.thread t SET last_sequence = e.sequence, last_inbound_at = greatest(t.last_inbound_at, e.inbound_at)
    FROM (SELECT (array_agg(u.place))[1] AS place, max(u.sequence) AS sequence,
                 max(least(u.occurred, clock_timestamp())) FILTER (WHERE NOT u.is_echo) AS inbound_at
          FROM unnest(v_is_message, v_thread, v_thread_place, v_sequence, p_occurred, p_is_echo)
               AS u (is_message, thread, place, sequence, occurred, is_echo)
          WHERE u.is_message GROUP BY u.thread) e
    WHERE t.ctid = e.place;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    IF v_count <> (SELECT count(DISTINCT e.thread) FROM unnest(v_is_message, v_thread) e (is_message, thread)
                   WHERE e.is_message) THEN
        RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'a thread has moved under its lock';
    END IF;
    UPDATE context.conversation c
    SET last_message_at = greatest(c.last_message_at, least(u.occurred, clock_timestamp())), last_preview = u.preview
    FROM unnest(v_is_message, v_conversation_place, v_last, p_occurred, p_previews)
         WITH ORDINALITY AS u (is_message, place, last, occurred, preview, n)
    WHERE u.is_message AND u.last = u.n AND c.ctid = u.place;
    IF v_has_people THEN
        PERFORM context.record_people(p_tenant, p_what, v_is_new, p_ids, p_accounts, v_identity, v_customer, p_occurred,
            p_sender_names, p_words, p_flags, p_states, p_claim_kinds, p_claim_scopes, p_claim_values);
    END IF;

    IF 5 = ANY (p_what) THEN
        SELECT * INTO v_merged, v_merged_other, v_merged_reason
        FROM context.merge_claims(p_tenant, p_customers_max, p_what, v_is_new, p_ids, v_customer, v_claimed, p_words);
    END IF;

    -- The feed, last: from here to the commit the tenant's other writers wait. A typing mark of somebody
    -- who has no thread is nobody's to see.
    SELECT count(*) FILTER (WHERE e.is_new AND (e.what <> 12 OR e.thread IS NOT NULL)) + cardinality(v_merged) INTO v_changes
    FROM unnest(v_is_new, p_what, v_thread) e (is_new, what, thread);
    v_conversations := cardinality(v_opened);
    IF v_changes > 0 THEN
        SELECT * INTO v_change_base, v_number_base FROM context.advance(p_tenant, v_changes, v_conversations);
        v_at := clock_timestamp();
        INSERT INTO context.conversation (tenant, id, customer_id, number, opened_at, last_message_at, subject, last_preview)
        SELECT p_tenant, o.conversation, v_customer[o.n], v_number_base + o.number, v_at,
               least(p_occurred[v_last[o.n]], v_at), coalesce(p_subjects[o.n], ''), p_previews[v_last[o.n]]
        FROM unnest(v_opened, v_firsts) WITH ORDINALITY AS o (conversation, n, number);
        INSERT INTO context.change (tenant, sequence, at, kind, direction, message_kind, state, message_sequence,
            conversation_number, conversation_id, thread_id, customer_id, message_id, occurred_at, watermark_at,
            failure_reason, receipt_state, consent, media_count, is_new_conversation, is_reopened, account_id, channel, text,
            provider_id, delivery_id, provider_code, provider_text, reason)
        SELECT p_tenant, v_change_base + row_number() OVER (ORDER BY e.n), v_at,
               CASE e.what WHEN 6 THEN 8 WHEN 11 THEN 4 WHEN 12 THEN 5 ELSE 1 END,
               CASE WHEN e.is_message THEN CASE WHEN e.is_echo THEN 2 ELSE 1 END END, CASE WHEN e.is_message THEN e.what END,
               CASE WHEN e.is_message THEN 1 END, e.sequence,
               coalesce(e.number, v_number_base + array_position(v_opened, e.conversation)),
               e.conversation, e.thread, e.customer, CASE WHEN e.is_message THEN e.id END, e.occurred, e.watermark,
               e.reason, CASE WHEN e.what = 11 THEN e.state END, CASE WHEN e.what = 6 THEN e.state END,
               CASE WHEN e.is_message THEN nullif(e.media_count, 0) END,
               e.is_message AND e.is_first AND e.conversation = ANY (v_opened),
               e.is_message AND e.is_first AND e.conversation = ANY (v_reopened),
               e.account, e.channel, CASE WHEN e.is_message THEN e.preview END,
               nullif(e.provider_id, ''), nullif(e.delivery_id, ''), nullif(e.provider_code, ''), nullif(e.provider_text, ''),
               CASE WHEN e.what = 6 THEN e.word WHEN e.what = 12 AND e.flag THEN 'stopped' END
        FROM unnest(v_is_new, v_is_message, p_what, p_ids, v_sequence, v_number, v_conversation, v_thread, v_customer,
                    p_occurred, p_watermarks, p_reasons, p_states, p_flags, v_is_first, p_is_echo, p_accounts, p_channels,
                    p_previews, p_provider_ids, p_delivery_ids, p_provider_codes, p_provider_texts, p_words, p_media_counts)
             WITH ORDINALITY AS e (is_new, is_message, what, id, sequence, number, conversation, thread, customer,
                    occurred, watermark, reason, state, flag, is_first, is_echo, account, channel,
                    preview, provider_id, delivery_id, provider_code, provider_text, word, media_count, n)
        WHERE e.is_new AND (e.what <> 12 OR e.thread IS NOT NULL);
        INSERT INTO context.change (tenant, sequence, at, kind, customer_id, other_customer_id, reason)
        SELECT p_tenant, v_change_base + v_changes - cardinality(v_merged) + m.n, v_at, 11, m.customer, m.other, m.reason
        FROM unnest(v_merged, v_merged_other, v_merged_reason) WITH ORDINALITY AS m (customer, other, reason, n);
    END IF;

    RETURN QUERY
    SELECT e.n::integer, CASE WHEN e.is_new THEN 1 WHEN e.known_hash = e.hash THEN 2 ELSE 3 END,
           CASE WHEN e.is_new THEN CASE WHEN e.is_message THEN e.id END ELSE m.id END,
           CASE WHEN e.is_new THEN e.conversation ELSE m.conversation_id END,
           CASE WHEN e.is_new THEN e.thread ELSE m.thread_id END,
           CASE WHEN e.is_new THEN e.sequence ELSE m.sequence END,
           CASE WHEN v_changes > 0 THEN v_change_base + v_changes ELSE 0 END
    FROM unnest(v_is_new, v_is_message, p_ids, v_conversation, v_thread, v_sequence, v_known_id, v_known_hash, p_hashes)
         WITH ORDINALITY AS e (is_new, is_message, id, conversation, thread, sequence, known_id, known_hash, hash, n)
    LEFT JOIN LATERAL (SELECT r.id, r.conversation_id, r.thread_id, r.sequence FROM context.message r
                       WHERE r.tenant = p_tenant AND r.id = e.known_id LIMIT 1) m ON true
    ORDER BY e.n;
END $$;
