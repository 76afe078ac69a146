-- SPDX-License-Identifier: Apache-2.0
-- Dead letters: what was refused for good, or failed too often. One row for one thing, opened again when it
-- fails again after a replay.
--
-- Kinds: 1 event, 2 delivery, 3 job, 4 change. States: 1 open, 2 replayed, 3 dropped.
CREATE TABLE routing.dead_letter (
    tenant          text NOT NULL,
    -- Of an event: the id it is kept by in context.
    id              uuid NOT NULL,
    kind            smallint NOT NULL,
    state           smallint NOT NULL DEFAULT 1,
    subject         text NOT NULL,
    -- What makes it one: the id of what failed, or the sequence of the change.
    source          text NOT NULL,
    account_id      text NOT NULL DEFAULT '',
    conversation_id uuid,
    message_id      uuid,
    reason          text NOT NULL,
    attempt_count   integer NOT NULL DEFAULT 0,
    at              timestamptz NOT NULL,
    resolved_at     timestamptz,
    resolved_by     text NOT NULL DEFAULT '',
    replay_count    integer NOT NULL DEFAULT 0,
    replay_error    text NOT NULL DEFAULT '',
    -- A packed message; NULL for events, whose bytes are in context.
    payload         bytea,
    payload_type    text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, kind, source)
);
CREATE INDEX dead_letter_list ON routing.dead_letter (tenant, state, id);
CREATE INDEX dead_letter_resolved ON routing.dead_letter (tenant, resolved_at) WHERE state <> 1;

-- UUIDv7, so that the newest is the last.
CREATE FUNCTION routing.uuid7() RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT encode(set_byte(overlay(uuid_send(gen_random_uuid())
                                   PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint)
                                                     FROM 3)
                                   FROM 1 FOR 6),
                           6, (get_byte(uuid_send(gen_random_uuid()), 6) & 15) | 112), 'hex')::uuid
$$;

CREATE FUNCTION routing.tell_dead_letter(p_tenant text, p_id uuid, p_type integer, p_actor uuid, p_why text,
                                         INOUT io_sequence bigint) LANGUAGE plpgsql AS $$
BEGIN
    io_sequence := io_sequence + 1;
    INSERT INTO routing.event (tenant, sequence, type, at, conversation_id, actor_id, reason, message_id,
                               account_id, dead_letter_id)
    SELECT p_tenant, io_sequence, p_type, clock_timestamp(), d.conversation_id, p_actor, p_why, d.message_id,
           d.account_id, d.id
    FROM routing.dead_letter d WHERE d.tenant = p_tenant AND d.id = p_id;
END $$;

-- Makes it, or opens it again; one that is open stays, with the newest reason. Told when it was not open.
CREATE FUNCTION routing.add_dead_letter(p_tenant text, p_id uuid, p_kind integer, p_subject text,
    p_account text, p_conversation uuid, p_message uuid, p_reason text, p_attempts integer, p_payload bytea,
    p_payload_type text, INOUT io_sequence bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_source text := CASE p_kind WHEN 1 THEN p_id::text ELSE p_subject END;
    v_was smallint;
    v_id uuid;
BEGIN
    SELECT state INTO v_was FROM routing.dead_letter
    WHERE tenant = p_tenant AND kind = p_kind AND source = v_source;
    INSERT INTO routing.dead_letter AS d (tenant, id, kind, subject, source, account_id, conversation_id,
        message_id, reason, attempt_count, at, payload, payload_type)
    VALUES (p_tenant, coalesce(p_id, routing.uuid7()), p_kind, p_subject, v_source, coalesce(p_account, ''),
            p_conversation, p_message, left(coalesce(p_reason, ''), 1000), coalesce(p_attempts, 0),
            clock_timestamp(), p_payload, p_payload_type)
    ON CONFLICT (tenant, kind, source) DO UPDATE
    SET state = 1, reason = excluded.reason, attempt_count = excluded.attempt_count, at = excluded.at,
        resolved_at = NULL, resolved_by = '', payload = coalesce(excluded.payload, d.payload)
    RETURNING d.id INTO v_id;
    IF v_was IS DISTINCT FROM 1 THEN
        io_sequence := routing.tell_dead_letter(p_tenant, v_id, 16, NULL, left(coalesce(p_reason, ''), 1000),
                                                io_sequence);
    END IF;
END $$;

-- A failed delivery becomes one while its payload is there: what was sent, and failed at the provider, has none
-- to send again.
CREATE FUNCTION routing.bury_delivery(p_delivery routing.delivery, p_reason integer, p_code text, p_text text,
                                      INOUT io_sequence bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_reasons text[] := '{recipient invalid,recipient unreachable,recipient opted out,content refused,'
                        'window closed,account broken,not taken before its horizon,provider error}';
BEGIN
    IF p_delivery.payload IS NULL THEN
        RETURN;
    END IF;
    io_sequence := routing.add_dead_letter(p_delivery.tenant, NULL, 2, p_delivery.id::text,
        p_delivery.account_id, p_delivery.conversation_id, p_delivery.message_id,
        concat_ws(': ', v_reasons[p_reason], nullif(p_code, ''), nullif(p_text, '')),
        p_delivery.attempt_count, p_delivery.payload, 'guichet.v1.Outbound', io_sequence);
END $$;

-- Only admins; NULL is guichetctl, which has a listener of its own.
CREATE FUNCTION routing.check_admin(p_tenant text, p_actor uuid) RETURNS void LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF routing.role_of(p_tenant, p_actor) <> 3 THEN
        PERFORM routing.fail('forbidden', 'only admins deal with dead letters');
    END IF;
END $$;

CREATE FUNCTION routing.take_dead_letter(p_tenant text, p_id uuid, p_actor uuid) RETURNS routing.dead_letter
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_letter routing.dead_letter;
BEGIN
    PERFORM routing.check_admin(p_tenant, p_actor);
    SELECT * INTO v_letter FROM routing.dead_letter WHERE tenant = p_tenant AND id = p_id;
    IF NOT FOUND THEN
        PERFORM routing.fail('not_found', format('no dead letter %s', p_id));
    END IF;
    RETURN v_letter;
END $$;

-- The end of one: `p_state` 2 replayed, 3 dropped. Who and when is kept, and told.
CREATE FUNCTION routing.resolve_dead_letter(p_tenant text, p_id uuid, p_state integer, p_actor uuid,
                                            p_by text, INOUT io_sequence bigint) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE routing.dead_letter
    SET state = p_state, resolved_at = clock_timestamp(), resolved_by = p_by, replay_error = '',
        replay_count = replay_count + CASE p_state WHEN 2 THEN 1 ELSE 0 END
    WHERE tenant = p_tenant AND id = p_id;
    io_sequence := routing.tell_dead_letter(p_tenant, p_id, 17, p_actor,
        CASE p_state WHEN 2 THEN 'replayed' ELSE 'dropped' END
        || CASE WHEN p_actor IS NULL THEN ' by ' || p_by ELSE '' END, io_sequence);
END $$;

-- A job given up is reported done after all.
CREATE FUNCTION routing.resolve_late(p_tenant text, p_job uuid, INOUT io_sequence bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_id uuid;
BEGIN
    UPDATE routing.dead_letter
    SET state = 2, resolved_at = clock_timestamp(), resolved_by = 'late report', replay_error = ''
    WHERE tenant = p_tenant AND kind = 3 AND source = p_job::text AND state = 1 RETURNING id INTO v_id;
    IF FOUND THEN
        io_sequence := routing.tell_dead_letter(p_tenant, v_id, 17, NULL, 'done by a late report', io_sequence);
    END IF;
END $$;

-- Back into its thread's line, as if it were new: the one exception to "states move forward only", because a
-- person asks for it, and only from failed.
CREATE FUNCTION routing.revive_delivery(p_letter routing.dead_letter, INOUT io_sequence bigint)
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE routing.delivery
    SET state = 1, attempt_count = 0, lease = NULL, is_holding = false, deadline_at = NULL,
        queued_at = clock_timestamp(), next_attempt_at = clock_timestamp(), updated_at = clock_timestamp(),
        provider_id = '', reason = 0, provider_code = '', provider_text = '', payload = p_letter.payload
    WHERE tenant = p_letter.tenant AND id = p_letter.subject::uuid AND state = 7;
    IF NOT FOUND THEN
        PERFORM routing.fail('conflict', format('delivery %s has not failed', p_letter.subject));
    END IF;
    io_sequence := routing.tell_delivery(p_letter.tenant, p_letter.subject::uuid, io_sequence);
END $$;

CREATE FUNCTION routing.revive_job(p_letter routing.dead_letter) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE routing.job
    SET state = 1, attempt_count = 0, lease = NULL, deadline_at = NULL, queued_at = clock_timestamp(),
        next_attempt_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE tenant = p_letter.tenant AND id = p_letter.subject::uuid AND state = 4;
    IF NOT FOUND AND NOT EXISTS (SELECT FROM routing.job WHERE tenant = p_letter.tenant
                                 AND id = p_letter.subject::uuid) THEN
        PERFORM routing.fail('conflict', format('job %s is no longer there', p_letter.subject));
    END IF;
END $$;

-- Tries it again: deliveries and jobs go back into their line; of an event context has recorded it already.
-- `p_is_requeued`: the job's part goes back by the feed, and may have been fetched and have failed again before
-- we are here; then the letter is younger than `p_at`, and stays open. One that is not open stays as it is.
CREATE FUNCTION routing.replay_dead_letter(p_tenant text, p_id uuid, p_actor uuid, p_by text,
                                           p_is_requeued boolean, p_at timestamptz)
RETURNS TABLE (event_sequence bigint, is_changed boolean) LANGUAGE plpgsql AS $$
DECLARE
    v_letter routing.dead_letter;
BEGIN
    event_sequence := routing.lock_tenant(p_tenant);
    v_letter := routing.take_dead_letter(p_tenant, p_id, p_actor);
    is_changed := v_letter.state = 1;
    IF is_changed AND p_is_requeued AND v_letter.at > p_at THEN
        PERFORM routing.fail_replay(p_tenant, p_id, p_actor, 'it failed again: ' || v_letter.reason);
    ELSIF is_changed THEN
        IF v_letter.kind = 2 THEN
            event_sequence := routing.revive_delivery(v_letter, event_sequence);
        ELSIF v_letter.kind = 3 AND NOT p_is_requeued THEN
            PERFORM routing.revive_job(v_letter);
        END IF;
        event_sequence := routing.resolve_dead_letter(p_tenant, p_id, 2, p_actor, p_by, event_sequence);
        PERFORM routing.finish(p_tenant, event_sequence, true);
    END IF;
    RETURN NEXT;
END $$;

-- The replay did not help: it stays open, and says why.
CREATE FUNCTION routing.fail_replay(p_tenant text, p_id uuid, p_actor uuid, p_error text)
RETURNS TABLE (event_sequence bigint, is_changed boolean) LANGUAGE plpgsql AS $$
BEGIN
    event_sequence := routing.lock_tenant(p_tenant);
    PERFORM routing.take_dead_letter(p_tenant, p_id, p_actor);
    UPDATE routing.dead_letter SET replay_count = replay_count + 1, replay_error = left(p_error, 1000)
    WHERE tenant = p_tenant AND id = p_id AND state = 1;
    is_changed := FOUND;
    RETURN NEXT;
END $$;

CREATE FUNCTION routing.drop_dead_letter(p_tenant text, p_id uuid, p_actor uuid, p_by text)
RETURNS TABLE (event_sequence bigint, is_changed boolean) LANGUAGE plpgsql AS $$
BEGIN
    event_sequence := routing.lock_tenant(p_tenant);
    is_changed := (routing.take_dead_letter(p_tenant, p_id, p_actor)).state = 1;
    IF is_changed THEN
        event_sequence := routing.resolve_dead_letter(p_tenant, p_id, 3, p_actor, p_by, event_sequence);
        PERFORM routing.finish(p_tenant, event_sequence, false);
    END IF;
    RETURN NEXT;
END $$;

-- Before a replay of a change: locks the tenant. The sequence of the log; NULL: it is not open.
CREATE FUNCTION routing.begin_replay(p_tenant text, p_id uuid, p_actor uuid) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_sequence bigint := routing.lock_tenant(p_tenant);
BEGIN
    RETURN CASE WHEN (routing.take_dead_letter(p_tenant, p_id, p_actor)).state = 1 THEN v_sequence END;
END $$;

-- Jobs that ended and dead letters that were resolved long ago, a bounded number at a time. A failed job stays as
-- long as its dead letter may be replayed.
CREATE FUNCTION routing.prune_ended(p_tenant text, p_job_ms bigint, p_letter_ms bigint, p_limit integer)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_jobs integer;
    v_letters integer;
BEGIN
    DELETE FROM routing.job WHERE tenant = p_tenant AND id IN (
        SELECT j.id FROM routing.job j
        WHERE j.tenant = p_tenant AND j.state IN (3, 4)
          AND j.updated_at < now() - p_job_ms * interval '1 millisecond'
          AND NOT EXISTS (SELECT FROM routing.dead_letter d WHERE d.tenant = p_tenant AND d.kind = 3
                          AND d.source = j.id::text AND d.state = 1)
        ORDER BY j.updated_at LIMIT p_limit);
    GET DIAGNOSTICS v_jobs = ROW_COUNT;
    DELETE FROM routing.dead_letter WHERE tenant = p_tenant AND id IN (
        SELECT d.id FROM routing.dead_letter d
        WHERE d.tenant = p_tenant AND d.state <> 1
          AND d.resolved_at < now() - p_letter_ms * interval '1 millisecond'
        ORDER BY d.resolved_at LIMIT p_limit);
    GET DIAGNOSTICS v_letters = ROW_COUNT;
    RETURN v_jobs + v_letters;
END $$;
