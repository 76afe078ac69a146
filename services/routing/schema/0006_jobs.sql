-- SPDX-License-Identifier: Apache-2.0
-- Jobs for connectors other than deliveries: media to fetch, typing marks, templates to synchronise.
--
-- They may be done twice, so there is no Start: a lease that ends is offered again, `attempt_count` times at
-- most. States: 1 queued, 2 leased, 3 done, 4 failed, 5 failing (given up, and context is to be told first).
-- Kinds: 1 fetch media, 2 typing, 3 sync templates.
CREATE TABLE routing.job (
    tenant          text NOT NULL,
    id              uuid NOT NULL,
    kind            smallint NOT NULL,
    account_id      text NOT NULL,
    conversation_id uuid,
    thread_id       uuid,
    message_id      uuid,
    part_index      integer,
    state           smallint NOT NULL DEFAULT 1,
    attempt_count   integer NOT NULL DEFAULT 0,
    lease           uuid,
    -- When time changes it: the lease's end; a queued one's expiry; when context is told again.
    deadline_at     timestamptz,
    queued_at       timestamptz NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    provider_code   text NOT NULL DEFAULT '',
    provider_text   text NOT NULL DEFAULT '',
    -- guichet.v1.FetchMedia, TypingMark or SyncTemplates, packed.
    payload         bytea NOT NULL,
    PRIMARY KEY (tenant, id),
    CHECK (kind <> 1 OR (message_id IS NOT NULL AND part_index IS NOT NULL)),
    CHECK (kind <> 2 OR thread_id IS NOT NULL)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01);
-- A part is fetched once; a thread has one typing mark.
CREATE UNIQUE INDEX job_part ON routing.job (tenant, message_id, part_index) WHERE kind = 1;
CREATE UNIQUE INDEX job_typing ON routing.job (tenant, thread_id) WHERE kind = 2;
CREATE INDEX job_ready ON routing.job (tenant, account_id, kind, next_attempt_at) WHERE state = 1;
CREATE INDEX job_next ON routing.job (tenant, next_attempt_at) WHERE state = 1;
CREATE INDEX job_leased ON routing.job (tenant, account_id, kind) WHERE state = 2;
CREATE INDEX job_deadline ON routing.job (tenant, deadline_at) WHERE deadline_at IS NOT NULL;
CREATE INDEX job_ended ON routing.job (tenant, updated_at) WHERE state IN (3, 4);
-- For routing.move_threads(), which holds the tenant's lock.
CREATE INDEX job_conversation ON routing.job (tenant, conversation_id) WHERE state NOT IN (3, 4);

-- Media parts of the changes of a batch: what is pending becomes a job, once; what is pending again is tried
-- anew. `p_change` says which change each part is of, from 1.
CREATE FUNCTION routing.apply_media(p_tenant text, p_conversation uuid[], p_thread uuid[], p_account text[],
    p_message uuid[], p_change integer[], p_part integer[], p_state integer[], p_job uuid[], p_payload bytea[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    INSERT INTO routing.job AS j (tenant, id, kind, account_id, conversation_id, thread_id, message_id,
        part_index, queued_at, next_attempt_at, updated_at, payload)
    SELECT p_tenant, m.job, 1, p_account[m.change], p_conversation[m.change], p_thread[m.change],
           p_message[m.change], m.part, v_now, v_now, v_now, m.payload
    FROM (SELECT DISTINCT ON (p_message[u.change], u.part) u.*
          FROM unnest(p_change, p_part, p_state, p_job, p_payload) WITH ORDINALITY
               u (change, part, state, job, payload, i)
          WHERE u.state = 1 ORDER BY p_message[u.change], u.part, u.i DESC) m
    ON CONFLICT (tenant, message_id, part_index) WHERE kind = 1 DO UPDATE
    SET state = 1, attempt_count = 0, lease = NULL, deadline_at = NULL, queued_at = v_now,
        next_attempt_at = v_now, updated_at = v_now, payload = excluded.payload
    WHERE j.state IN (3, 4);
END $$;

-- Templates of an account are to be read anew; one such job at a time waits.
CREATE FUNCTION routing.sync_templates(p_tenant text, p_id uuid, p_account text, p_payload bytea)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_sequence bigint := routing.lock_tenant(p_tenant);
BEGIN
    INSERT INTO routing.job (tenant, id, kind, account_id, queued_at, next_attempt_at, updated_at, payload)
    SELECT p_tenant, p_id, 3, p_account, clock_timestamp(), clock_timestamp(), clock_timestamp(), p_payload
    WHERE NOT EXISTS (SELECT FROM routing.job j WHERE j.tenant = p_tenant AND j.account_id = p_account
                      AND j.kind = 3 AND j.state = 1);
    PERFORM routing.finish(p_tenant, v_sequence, true);
    RETURN v_sequence;
END $$;

-- The agent writes: one mark per thread, made or refreshed, at most one each `p_interval_ms`. Dropped when
-- nobody has pulled it `p_ttl_ms` later. Says whether there is one now.
CREATE FUNCTION routing.set_typing(p_tenant text, p_id uuid, p_account text, p_conversation uuid,
    p_thread uuid, p_payload bytea, p_interval_ms bigint, p_ttl_ms bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz;
    v_is_made boolean;
BEGIN
    PERFORM routing.lock_tenant(p_tenant);
    v_now := clock_timestamp();
    INSERT INTO routing.job AS j (tenant, id, kind, account_id, conversation_id, thread_id, queued_at,
        next_attempt_at, updated_at, deadline_at, payload)
    VALUES (p_tenant, p_id, 2, p_account, p_conversation, p_thread, v_now, v_now, v_now,
            v_now + p_ttl_ms * interval '1 millisecond', p_payload)
    ON CONFLICT (tenant, thread_id) WHERE kind = 2 DO UPDATE
    SET state = 1, attempt_count = 0, lease = NULL, account_id = excluded.account_id,
        conversation_id = excluded.conversation_id, queued_at = v_now, next_attempt_at = v_now,
        updated_at = v_now, deadline_at = excluded.deadline_at, payload = excluded.payload
    WHERE j.queued_at <= v_now - p_interval_ms * interval '1 millisecond';
    v_is_made := FOUND;
    IF v_is_made THEN
        PERFORM pg_notify('guichet_routing', 'work ' || p_tenant);
    END IF;
    RETURN v_is_made;
END $$;

-- What may be leased now: typing marks first, since they are gone soon; media as far as `p_media_max` jobs of
-- an account may be under way.
CREATE FUNCTION routing.jobs_ready(p_tenant text, p_accounts text[], p_media_max integer, p_limit integer)
RETURNS SETOF uuid LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    SELECT r.id FROM unnest(p_accounts) a (id)
    CROSS JOIN LATERAL (
        (SELECT j.id, 1 AS urgency, j.next_attempt_at FROM routing.job j
         WHERE j.tenant = p_tenant AND j.account_id = a.id AND j.kind = 1 AND j.state = 1
           AND j.next_attempt_at <= v_now
         ORDER BY j.next_attempt_at, j.id
         LIMIT greatest(0, p_media_max - (SELECT count(*) FROM routing.job l WHERE l.tenant = p_tenant
                                          AND l.account_id = a.id AND l.kind = 1 AND l.state = 2)))
        UNION ALL
        (SELECT j.id, CASE j.kind WHEN 2 THEN 0 ELSE 1 END, j.next_attempt_at FROM routing.job j
         WHERE j.tenant = p_tenant AND j.account_id = a.id AND j.kind IN (2, 3) AND j.state = 1
           AND j.next_attempt_at <= v_now AND coalesce(j.deadline_at > v_now, true)
         ORDER BY j.next_attempt_at, j.id LIMIT p_limit)) r
    ORDER BY r.urgency, r.next_attempt_at, r.id LIMIT p_limit;
END $$;

-- As routing.lease(), for jobs: a look without the lock, then the taking.
CREATE FUNCTION routing.lease_jobs(p_tenant text, p_accounts text[], p_leases uuid[], p_lease_ms bigint,
                                   p_media_max integer)
RETURNS TABLE (kind integer, id uuid, account_id text, lease uuid, lease_until timestamptz, attempt integer,
               payload bytea) LANGUAGE plpgsql AS $$
DECLARE
    v_limit integer := cardinality(p_leases);
    v_now timestamptz;
    v_job routing.job;
    v_taken integer := 0;
    v_bytes bigint := 0;
BEGIN
    IF v_limit = 0 OR NOT EXISTS (SELECT FROM routing.jobs_ready(p_tenant, p_accounts, p_media_max, 1)) THEN
        RETURN;
    END IF;
    PERFORM routing.lock_tenant(p_tenant);
    v_now := clock_timestamp();
    lease_until := v_now + p_lease_ms * interval '1 millisecond';
    FOR v_job IN SELECT j.* FROM routing.jobs_ready(p_tenant, p_accounts, p_media_max, v_limit)
                      WITH ORDINALITY r (id, i)
                 JOIN routing.job j ON j.tenant = p_tenant AND j.id = r.id ORDER BY r.i LOOP
        -- One answer must fit into one message of the mesh, with the deliveries beside it.
        EXIT WHEN v_taken > 0 AND v_bytes + octet_length(v_job.payload) > 150000;
        v_bytes := v_bytes + octet_length(v_job.payload);
        v_taken := v_taken + 1;
        UPDATE routing.job j
        SET state = 2, lease = p_leases[v_taken], deadline_at = lease_until, updated_at = v_now,
            attempt_count = j.attempt_count + 1
        WHERE j.tenant = p_tenant AND j.id = v_job.id;
        kind := v_job.kind;
        id := v_job.id;
        account_id := v_job.account_id;
        lease := p_leases[v_taken];
        attempt := v_job.attempt_count + 1;
        payload := v_job.payload;
        RETURN NEXT;
    END LOOP;
    IF v_taken > 0 THEN
        PERFORM pg_notify('guichet_routing', 'lease ' || p_tenant);
    END IF;
END $$;

-- What a Pull gets: deliveries (kind 0) and jobs. Half of the room is the jobs', the rest the deliveries', and
-- what either leaves is the other's, so that neither starves; one place goes to either by chance.
CREATE FUNCTION routing.pull(p_tenant text, p_accounts text[], p_leases uuid[], p_lease_ms bigint,
                             p_media_max integer)
RETURNS TABLE (kind integer, id uuid, account_id text, lease uuid, lease_until timestamptz, attempt integer,
               payload bytea, media_delivery integer) LANGUAGE plpgsql AS $$
DECLARE
    v_most integer := cardinality(p_leases);
    v_share integer := CASE WHEN v_most > 1 THEN v_most / 2 WHEN random() < 0.5 THEN 1 ELSE 0 END;
    v_rows integer;
    v_taken integer;
BEGIN
    RETURN QUERY SELECT j.*, 0 FROM routing.lease_jobs(p_tenant, p_accounts, p_leases[1:v_share], p_lease_ms,
                                                       p_media_max) j;
    GET DIAGNOSTICS v_taken = ROW_COUNT;
    IF v_taken < v_most THEN
        RETURN QUERY
        SELECT 0, d.id, d.account_id, d.lease, d.lease_until, d.attempt, d.payload,
               a.media_delivery::integer
        FROM routing.lease(p_tenant, p_accounts, p_leases[v_taken + 1:], p_lease_ms) d
        JOIN routing.channel_account a ON a.tenant = p_tenant AND a.id = d.account_id;
        GET DIAGNOSTICS v_rows = ROW_COUNT;
        IF v_taken = v_share THEN
            RETURN QUERY SELECT j.*, 0 FROM routing.lease_jobs(p_tenant, p_accounts,
                p_leases[v_taken + v_rows + 1:], p_lease_ms, p_media_max) j;
        END IF;
    END IF;
END $$;

-- Leases nobody was told of end now: their holder had left before the answer. What follows is what follows when
-- they run out (routing.expire_leases(), routing.expire_jobs()), but that it was no attempt of a job's.
CREATE FUNCTION routing.end_leases(p_tenant text, p_ids uuid[], p_leases uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM routing.lock_tenant(p_tenant);
    UPDATE routing.delivery d SET deadline_at = clock_timestamp()
    FROM unnest(p_ids, p_leases) l (id, lease)
    WHERE d.tenant = p_tenant AND d.id = l.id AND d.lease = l.lease AND d.state = 2;
    UPDATE routing.job j SET deadline_at = clock_timestamp(), attempt_count = j.attempt_count - 1
    FROM unnest(p_ids, p_leases) l (id, lease)
    WHERE j.tenant = p_tenant AND j.id = l.id AND j.lease = l.lease AND j.state = 2;
END $$;

CREATE FUNCTION routing.requeue_job(p_tenant text, p_id uuid, p_delay_ms bigint, p_code text, p_text text)
RETURNS void LANGUAGE sql AS $$
    UPDATE routing.job
    SET state = 1, lease = NULL, deadline_at = NULL, updated_at = clock_timestamp(), provider_code = p_code,
        provider_text = p_text,
        next_attempt_at = clock_timestamp() + p_delay_ms * interval '1 millisecond'
    WHERE tenant = p_tenant AND id = p_id
$$;

-- Done (3) or failed (4); a failed one is a dead letter. What has ended stays as it is, but for a part that had
-- failed and is there after all: nothing is left to replay. `io_sequence` grows where something is told.
CREATE FUNCTION routing.close_job(p_tenant text, p_id uuid, p_state integer, INOUT io_sequence bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_job routing.job;
    v_was smallint;
BEGIN
    SELECT state INTO v_was FROM routing.job WHERE tenant = p_tenant AND id = p_id;
    UPDATE routing.job SET state = p_state, deadline_at = NULL, updated_at = clock_timestamp()
    WHERE tenant = p_tenant AND id = p_id AND (state NOT IN (3, 4) OR (state = 4 AND kind = 1 AND p_state = 3))
    RETURNING * INTO v_job;
    IF FOUND AND v_was = 4 THEN
        io_sequence := routing.resolve_late(p_tenant, p_id, io_sequence);
    ELSIF FOUND AND p_state = 4 THEN
        io_sequence := routing.add_dead_letter(p_tenant, NULL, 3, p_id::text, v_job.account_id,
            v_job.conversation_id, v_job.message_id,
            coalesce(nullif(v_job.provider_text, ''), 'no connector reported it done'), v_job.attempt_count,
            v_job.payload, CASE v_job.kind WHEN 1 THEN 'guichet.v1.FetchMedia' WHEN 2 THEN
            'guichet.v1.TypingMark' ELSE 'guichet.v1.SyncTemplates' END, io_sequence);
    END IF;
END $$;

-- It will not be tried again. Media: context hears first, so it is `failing` until then; `p_tell_ms` later by the
-- clock, when whoever asks now does not manage to tell it. Nobody misses a typing mark.
CREATE FUNCTION routing.give_job_up(p_job routing.job, p_tell_ms bigint, p_code text, p_text text,
                                    INOUT io_sequence bigint) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE routing.job
    SET provider_code = p_code, provider_text = p_text, updated_at = clock_timestamp(),
        state = CASE p_job.kind WHEN 1 THEN 5 ELSE state END,
        deadline_at = CASE p_job.kind WHEN 1
                      THEN clock_timestamp() + p_tell_ms * interval '1 millisecond' END
    WHERE tenant = p_job.tenant AND id = p_job.id;
    IF p_job.kind <> 1 THEN
        io_sequence := routing.close_job(p_job.tenant, p_job.id, CASE p_job.kind WHEN 2 THEN 3 ELSE 4 END,
                                         io_sequence);
    END IF;
END $$;

-- The job's states as those of a delivery, which is what ReportReply speaks.
CREATE FUNCTION routing.job_state(p_state integer) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE p_state WHEN 3 THEN 4 WHEN 4 THEN 7 WHEN 5 THEN 2 ELSE p_state END
$$;

-- As routing.report(), for jobs. `ask`: what context is to be told before routing.end_job(): 1 the part is
-- stored, 2 it has failed; 0 nothing.
CREATE FUNCTION routing.report_job(p_tenant text, p_id uuid, p_lease uuid, p_kind integer,
    p_retry_after_ms bigint, p_code text, p_text text, p_delays_ms bigint[], p_attempts_max integer,
    p_tell_ms bigint, p_accounts text[])
RETURNS TABLE (state integer, event_sequence bigint, is_dead boolean, ask integer, message_id uuid,
               part_index integer, payload bytea, provider_text text) LANGUAGE plpgsql AS $$
DECLARE
    v_before bigint := routing.lock_tenant(p_tenant);
    v_job routing.job;
    v_is_ours boolean;
BEGIN
    event_sequence := v_before;
    SELECT * INTO v_job FROM routing.job j WHERE j.tenant = p_tenant AND j.id = p_id;
    IF NOT FOUND THEN
        PERFORM routing.fail('not_found', format('no job %s', p_id));
    END IF;
    IF NOT coalesce(v_job.account_id = ANY (p_accounts), true) THEN
        PERFORM routing.fail('forbidden', format('job %s is of another account', p_id));
    END IF;
    v_is_ours := v_job.lease IS NOT DISTINCT FROM p_lease AND v_job.state IN (2, 5);
    ask := 0;
    IF p_kind = 1 THEN
        -- The bytes are there: true whoever says so, and however late.
        IF v_job.kind = 1 AND v_job.state IN (1, 2, 4, 5) THEN
            ask := 1;
        ELSIF v_is_ours THEN
            event_sequence := routing.close_job(p_tenant, p_id, 3, event_sequence);
        END IF;
    ELSIF v_is_ours AND v_job.state = 2 AND p_kind <> 3 AND v_job.attempt_count < p_attempts_max
          AND v_job.kind <> 2 THEN
        PERFORM routing.requeue_job(p_tenant, p_id, CASE WHEN p_retry_after_ms > 0 THEN p_retry_after_ms
            ELSE p_delays_ms[least(greatest(v_job.attempt_count, 1), cardinality(p_delays_ms))] END,
            p_code, p_text);
    ELSIF v_is_ours THEN
        IF v_job.state = 2 THEN
            event_sequence := routing.give_job_up(v_job, p_tell_ms, p_code, p_text, event_sequence);
        END IF;
        ask := CASE v_job.kind WHEN 1 THEN 2 ELSE 0 END;
    END IF;
    PERFORM routing.finish(p_tenant, event_sequence, true);
    SELECT routing.job_state(j.state), j.message_id, j.part_index, j.payload, j.provider_text
    INTO state, message_id, part_index, payload, provider_text
    FROM routing.job j WHERE j.tenant = p_tenant AND j.id = p_id;
    is_dead := event_sequence > v_before;
    RETURN NEXT;
END $$;

-- Context has been told: the job ends.
CREATE FUNCTION routing.end_job(p_tenant text, p_id uuid, p_state integer)
RETURNS TABLE (state integer, event_sequence bigint, is_dead boolean) LANGUAGE plpgsql AS $$
DECLARE
    v_before bigint := routing.lock_tenant(p_tenant);
BEGIN
    event_sequence := routing.close_job(p_tenant, p_id, p_state, v_before);
    is_dead := p_state = 4 AND event_sequence > v_before;
    PERFORM routing.finish(p_tenant, event_sequence, true);
    SELECT routing.job_state(j.state) INTO state FROM routing.job j WHERE j.tenant = p_tenant AND j.id = p_id;
    RETURN NEXT;
END $$;

-- What time does to jobs, one row each. `what`: 1 offered again, 2 given up, 3 a typing mark dropped, 4 context
-- is to be told that the part has failed: now, and again after `p_tell_ms`.
CREATE FUNCTION routing.expire_jobs(p_tenant text, p_delays_ms bigint[], p_attempts_max integer,
                                    p_tell_ms bigint)
RETURNS TABLE (what integer, event_sequence bigint, is_dead boolean, id uuid, message_id uuid,
               part_index integer, payload bytea, provider_text text) LANGUAGE plpgsql AS $$
DECLARE
    v_before bigint;
    v_job routing.job;
    -- A variable, because no index is searched by what changes while it is.
    v_now timestamptz := clock_timestamp();
BEGIN
    IF NOT EXISTS (SELECT FROM routing.job j WHERE j.tenant = p_tenant AND j.deadline_at <= v_now) THEN
        RETURN;
    END IF;
    event_sequence := routing.lock_tenant(p_tenant);
    FOR v_job IN SELECT * FROM routing.job j
                 WHERE j.tenant = p_tenant AND j.deadline_at <= v_now
                 ORDER BY j.deadline_at LIMIT 30 LOOP
        v_before := event_sequence;
        id := v_job.id;
        message_id := v_job.message_id;
        part_index := v_job.part_index;
        payload := v_job.payload;
        provider_text := v_job.provider_text;
        IF v_job.kind = 2 THEN
            what := 3;
            event_sequence := routing.close_job(p_tenant, v_job.id, 3, event_sequence);
        ELSIF v_job.state = 5 THEN
            what := 4;
            UPDATE routing.job j SET deadline_at = v_now + p_tell_ms * interval '1 millisecond'
            WHERE j.tenant = p_tenant AND j.id = v_job.id;
        ELSIF v_job.attempt_count < p_attempts_max THEN
            what := 1;
            PERFORM routing.requeue_job(p_tenant, v_job.id,
                p_delays_ms[least(greatest(v_job.attempt_count, 1), cardinality(p_delays_ms))], '',
                'no report before the lease ended');
        ELSE
            what := 2;
            event_sequence := routing.give_job_up(v_job, 0, '', 'no report before the lease ended',
                                                  event_sequence);
        END IF;
        is_dead := event_sequence > v_before;
        RETURN NEXT;
    END LOOP;
    PERFORM routing.finish(p_tenant, event_sequence, true);
END $$;
