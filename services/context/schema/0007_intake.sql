-- SPDX-License-Identifier: Apache-2.0
-- 0007 intake: what came in, whatever became of it: the manifest, refused events, and media to be fetched.

-- The manifest: one row per Record call and (boot, lane), written with the events it names, so that the audit
-- can ask whether anything is missing. Its arrays run parallel: the connector's number, what became of it
-- (1 stored, 2 duplicate, 3 refused), the event's id, what it was (as in 0003) and its account. A row of result
-- {4} has a range instead: numbers {first, last} stand for nothing, their events were answered as failed. A row
-- stays within one block of 65536 numbers, so that the audit can work block by block.
CREATE TABLE context.intake (
    tenant text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    block bigint NOT NULL,
    boot_lane integer NOT NULL,
    event_count integer NOT NULL,
    boot_id text COLLATE "C" NOT NULL,
    numbers bigint[] NOT NULL,
    ids uuid[] NOT NULL,
    results smallint[] NOT NULL,
    whats smallint[] NOT NULL,
    accounts text[] NOT NULL,
    PRIMARY KEY (tenant, id)
) PARTITION BY RANGE (id);
CREATE INDEX intake_boot ON context.intake (boot_id, boot_lane, block);
CREATE TABLE context.intake_default PARTITION OF context.intake DEFAULT;

-- The audit asks for keys by id. They are written in the order of their ids, so ranges of pages will do.
CREATE INDEX event_key_age ON context.event_key USING brin (id) WITH (pages_per_range = 16, autosummarize = on);

-- How each media part of an inbound message stands that the provider keeps: content never changes, this does.
CREATE TABLE context.media (
    tenant text COLLATE "C" NOT NULL,
    message_id uuid NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    part_index smallint NOT NULL,
    state smallint NOT NULL,            -- a MediaState: 1 pending, 2 stored, 3 failed
    media bytea NOT NULL,               -- guichet.v1.Media, packed; what is changed later is put behind it
    PRIMARY KEY (tenant, message_id, part_index)
) WITH (fillfactor = 80);

-- Numbers that stand for nothing: their events were not acknowledged.
CREATE FUNCTION context.void_numbers(p_tenant text, p_boots text[], p_lanes integer[], p_firsts bigint[], p_lasts bigint[])
RETURNS void LANGUAGE sql VOLATILE AS $$
    INSERT INTO context.intake (tenant, id, boot_id, boot_lane, block, event_count, numbers, ids, results, whats, accounts)
    SELECT p_tenant, context.uuid7(), v.boot, v.lane, b.block, 0,
           ARRAY[greatest(v.first, b.block << 16), least(v.last, ((b.block + 1) << 16) - 1)], '{}', '{4}', '{}', '{}'
    FROM unnest(p_boots, p_lanes, p_firsts, p_lasts) AS v (boot, lane, first, last)
    CROSS JOIN LATERAL generate_series(v.first >> 16, v.last >> 16) AS b (block)
$$;

-- Keeps events refused for good, whole, and those given up unread (p_is_dead); gives the feed's sequence, 0 when
-- all were kept before. p_seen_* are the manifest's: the place of the event, its boot, lane and number.
CREATE FUNCTION context.refuse(p_tenant text, p_ids uuid[], p_accounts text[], p_channels text[], p_keys text[],
    p_hashes bytea[], p_reasons text[], p_events bytea[], p_attempts integer[], p_is_dead boolean[], p_whats integer[],
    p_boots text[], p_lanes integer[], p_numbers bigint[],
    p_seen_places integer[], p_seen_boots text[], p_seen_lanes integer[], p_seen_numbers bigint[])
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_new uuid[];
    v_kept uuid[];
    v_base record;
BEGIN
    WITH kept AS (
        INSERT INTO context.refused_event (tenant, id, content_hash, account_id, channel, event_key, reason, event, attempts,
                                           is_dead, boot_id, boot_lane, boot_n)
        SELECT p_tenant, e.id, e.hash, e.account, e.channel, e.key, e.reason, e.event, e.attempts, e.is_dead, e.boot, e.lane, e.number
        FROM unnest(p_ids, p_hashes, p_accounts, p_channels, p_keys, p_reasons, p_events, p_attempts, p_is_dead, p_boots, p_lanes, p_numbers)
             AS e (id, hash, account, channel, key, reason, event, attempts, is_dead, boot, lane, number)
        ORDER BY e.hash
        ON CONFLICT (tenant, content_hash) DO NOTHING
        RETURNING id)
    SELECT coalesce(array_agg(k.id), '{}') INTO v_new FROM kept k;
    SELECT array_agg(r.id ORDER BY e.n) INTO v_kept FROM unnest(p_hashes) WITH ORDINALITY AS e (hash, n)
    CROSS JOIN LATERAL (SELECT t.id FROM context.refused_event t WHERE t.tenant = p_tenant AND t.content_hash = e.hash LIMIT 1) r;
    INSERT INTO context.intake (tenant, id, boot_id, boot_lane, block, event_count, numbers, ids, results, whats, accounts)
    SELECT p_tenant, context.uuid7(), s.boot, s.lane, s.number >> 16, count(*), array_agg(s.number), array_agg(v_kept[s.place]),
           array_agg(3), array_agg(p_whats[s.place]), array_agg(p_accounts[s.place])
    FROM unnest(p_seen_places, p_seen_boots, p_seen_lanes, p_seen_numbers) AS s (place, boot, lane, number)
    GROUP BY s.boot, s.lane, s.number >> 16;
    IF cardinality(v_new) = 0 THEN
        RETURN 0;
    END IF;
    SELECT * INTO v_base FROM context.advance(p_tenant, cardinality(v_new), 0);
    INSERT INTO context.change (tenant, sequence, at, kind, attempt_count, refused_id, account_id, channel, provider_id, reason)
    SELECT p_tenant, v_base.change_base + row_number() OVER (ORDER BY e.n), clock_timestamp(), 9, e.attempts, e.id, e.account,
           e.channel, nullif(e.key, ''), e.reason
    FROM unnest(p_ids, p_accounts, p_channels, p_keys, p_reasons, p_attempts)
         WITH ORDINALITY AS e (id, account, channel, key, reason, attempts, n)
    WHERE e.id = ANY (v_new);
    RETURN v_base.change_base + cardinality(v_new);
END $$;

-- What a replay gave: recorded (1 stored, 2 duplicate), once for good; or refused again (3), and why.
CREATE FUNCTION context.replay_refused(p_tenant text, p_id uuid, p_result integer, p_reason text, p_message uuid,
    p_conversation uuid, p_thread uuid, p_sequence integer, p_actor text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_result = 3 THEN
        UPDATE context.refused_event r SET reason = p_reason, attempts = r.attempts + 1
        WHERE r.tenant = p_tenant AND r.id = p_id AND r.state = 1;
    ELSE
        UPDATE context.refused_event r
        SET state = 2, attempts = r.attempts + 1, recorded_result = p_result, recorded_sequence = p_sequence,
            recorded_message = p_message, recorded_conversation = p_conversation, recorded_thread = p_thread,
            replayed_at = clock_timestamp(), replayed_by = nullif(p_actor, '')
        WHERE r.tenant = p_tenant AND r.id = p_id AND r.state = 1;
    END IF;
END $$;

-- A media part is stored (2), has failed (3), or is to be fetched again (1). Stored is final; failed goes back only when
-- asked to. p_media is put behind the packed original, which in Protocol Buffers sets the fields it has.
CREATE FUNCTION context.set_media(p_tenant text, p_message uuid, p_part integer, p_state integer, p_media bytea, p_sha256 bytea,
    p_reason text, p_actor text, OUT is_changed boolean, OUT change_sequence bigint, OUT media bytea) LANGUAGE plpgsql
SET enable_seqscan = off
AS $$
DECLARE
    v_state smallint;
    v_base record;
BEGIN
    change_sequence := 0;
    SELECT a.state, a.media INTO v_state, media FROM context.media a
    WHERE a.tenant = p_tenant AND a.message_id = p_message AND a.part_index = p_part FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM context.fail('not_found', format('message %s: its part %s is no media to be fetched', p_message, p_part));
    END IF;
    is_changed := CASE v_state WHEN 1 THEN p_state IN (2, 3) WHEN 3 THEN p_state IN (1, 2) ELSE false END;
    IF NOT is_changed THEN
        RETURN;
    END IF;
    IF p_state = 2 THEN
        PERFORM context.refer_to_blobs(p_tenant, p_message, ARRAY[p_part], ARRAY[p_sha256]);
    END IF;
    media := media || p_media;
    UPDATE context.media a SET state = p_state, media = set_media.media, updated_at = clock_timestamp()
    WHERE a.tenant = p_tenant AND a.message_id = p_message AND a.part_index = p_part;
    SELECT * INTO v_base FROM context.advance(p_tenant, 1, 0);
    change_sequence := v_base.change_base + 1;
    INSERT INTO context.change (tenant, sequence, at, kind, direction, message_kind, message_sequence, media_part,
        conversation_number, conversation_id, thread_id, customer_id, message_id, occurred_at, account_id, channel, actor_id, reason)
    SELECT p_tenant, change_sequence, clock_timestamp(), 10, m.direction, m.kind, m.sequence, p_part,
           c.number, m.conversation_id, m.thread_id, m.customer_id, m.id, m.occurred_at, t.account_id, t.channel,
           nullif(p_actor, ''), nullif(p_reason, '')
    FROM context.message m
    LEFT JOIN context.conversation c ON c.tenant = p_tenant AND c.id = m.conversation_id
    LEFT JOIN context.thread t ON t.tenant = p_tenant AND t.id = m.thread_id
    WHERE m.tenant = p_tenant AND m.id = p_message;
END $$;

-- The parts of a message that are these blobs: none of them may be collected any more.
CREATE FUNCTION context.refer_to_blobs(p_tenant text, p_message uuid, p_parts integer[], p_hashes bytea[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_part record;
BEGIN
    FOR v_part IN SELECT e.part, e.sha256 FROM unnest(p_parts, p_hashes) AS e (part, sha256) ORDER BY e.sha256, e.part LOOP
        PERFORM context.ref_blob(p_tenant, v_part.sha256, p_message, v_part.part);
    END LOOP;
END $$;

-- Forgets manifests past the retention, a month at a time; gives how many tables it dropped. A table that cannot
-- be locked at once is left for the next call: nobody may wait behind us.
CREATE FUNCTION context.prune_intake(p_keep_days integer) RETURNS integer LANGUAGE plpgsql
SET lock_timeout = '200ms' AS $$
DECLARE
    v_table text;
    v_dropped integer := 0;
BEGIN
    FOR v_table IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'context.intake'::regclass AND c.relname ~ '^intake_\d{4}_\d{2}$'
          AND to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month' < now() AT TIME ZONE 'UTC' - p_keep_days * interval '1 day'
        ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TABLE context.%I', v_table);
        v_dropped := v_dropped + 1;
    END LOOP;
    DELETE FROM context.intake_default WHERE id < context.uuid7_at(now() - p_keep_days * interval '1 day');
    RETURN v_dropped;
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END $$;

-- Forgets refused events past the retention, replayed or not, the oldest first and so many at once; gives how many.
CREATE FUNCTION context.prune_refused(p_keep_days integer, p_limit integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_pruned integer;
BEGIN
    DELETE FROM context.refused_event r USING (
        SELECT o.tenant, o.id FROM context.refused_event o
        WHERE o.id < context.uuid7_at(now() - p_keep_days * interval '1 day')
        ORDER BY o.id LIMIT p_limit FOR UPDATE SKIP LOCKED) old
    WHERE r.tenant = old.tenant AND r.id = old.id;
    GET DIAGNOSTICS v_pruned = ROW_COUNT;
    RETURN v_pruned;
END $$;

SELECT context.make_partitions(3);
