-- SPDX-License-Identifier: Apache-2.0
-- Deliveries: leases, starts, reports, receipts, time running out.
--
-- States: 1 queued, 2 leased, 3 sending, 4 sent, 5 delivered, 6 read, 7 failed, 8 unknown. They move forward
-- only; failed is final; unknown is resolved by a later Report or receipt and is never sent again blindly. Only a
-- person brings a failed one back, by replaying its dead letter.

-- Appends "delivery updated" as the delivery stands now.
CREATE FUNCTION routing.tell_delivery(p_tenant text, p_id uuid, INOUT io_sequence bigint)
LANGUAGE plpgsql AS $$
BEGIN
    io_sequence := io_sequence + 1;
    INSERT INTO routing.event (tenant, sequence, type, at, conversation_id, conversation_number, agent_id,
        queue_id, customer_id, message_id, thread_id, message_sequence, account_id, delivery_id,
        delivery_state, attempt_count, provider_id, failure_reason, provider_code, provider_text, queued_at,
        next_attempt_at)
    SELECT p_tenant, io_sequence, 9, d.updated_at, d.conversation_id, d.conversation_number, w.agent_id,
           w.queue_id, w.customer_id, d.message_id, d.thread_id, d.sequence, d.account_id, d.id, d.state,
           d.attempt_count, d.provider_id, d.reason, d.provider_code, d.provider_text, d.queued_at,
           CASE WHEN d.state = 1 THEN d.next_attempt_at END
    FROM routing.delivery d
    LEFT JOIN routing.work_item w ON w.tenant = d.tenant AND w.conversation_id = d.conversation_id
    WHERE d.tenant = p_tenant AND d.id = p_id;
END $$;

-- The end of a delivery's time in the line, whichever it is: sent and beyond, or failed.
CREATE FUNCTION routing.settle(p_tenant text, p_id uuid, p_state integer, p_reason integer, p_code text,
                               p_text text, INOUT io_sequence bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_before routing.delivery;
BEGIN
    SELECT * INTO v_before FROM routing.delivery WHERE tenant = p_tenant AND id = p_id;
    UPDATE routing.delivery
    SET state = p_state, is_holding = false, deadline_at = NULL, payload = NULL,
        updated_at = clock_timestamp(),
        sent_at = CASE WHEN p_state = 7 THEN sent_at ELSE coalesce(sent_at, clock_timestamp()) END,
        reason = p_reason, provider_code = p_code, provider_text = p_text
    WHERE tenant = p_tenant AND id = p_id;
    io_sequence := routing.tell_delivery(p_tenant, p_id, io_sequence);
    IF p_state = 7 THEN
        io_sequence := routing.bury_delivery(v_before, p_reason, p_code, p_text, io_sequence);
    END IF;
END $$;

-- Back into the line for another attempt, unless its horizon is reached.
CREATE FUNCTION routing.requeue(p_tenant text, p_id uuid, p_delay_ms bigint, p_reason integer, p_code text,
                                p_text text, INOUT io_sequence bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_next timestamptz := clock_timestamp() + p_delay_ms * interval '1 millisecond';
    v_expires timestamptz;
BEGIN
    SELECT d.queued_at + a.retry_horizon_s * interval '1 second' INTO v_expires
    FROM routing.delivery d
    JOIN routing.channel_account a ON a.tenant = d.tenant AND a.id = d.account_id
    WHERE d.tenant = p_tenant AND d.id = p_id AND a.retry_horizon_s > 0;
    IF v_next > v_expires THEN
        io_sequence := routing.settle(p_tenant, p_id, 7, 7, p_code, p_text, io_sequence);
        RETURN;
    END IF;
    UPDATE routing.delivery
    SET state = 1, is_holding = false, deadline_at = NULL, next_attempt_at = v_next,
        updated_at = clock_timestamp(), reason = p_reason, provider_code = p_code, provider_text = p_text
    WHERE tenant = p_tenant AND id = p_id;
    io_sequence := routing.tell_delivery(p_tenant, p_id, io_sequence);
END $$;

-- Nobody knows how it ended: it holds its thread's line for `p_hold_ms` more.
CREATE FUNCTION routing.doubt(p_tenant text, p_id uuid, p_hold_ms bigint, p_code text, p_text text,
                              INOUT io_sequence bigint) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE routing.delivery
    SET state = 8, is_holding = true, updated_at = clock_timestamp(),
        deadline_at = clock_timestamp() + p_hold_ms * interval '1 millisecond',
        provider_code = p_code, provider_text = p_text
    WHERE tenant = p_tenant AND id = p_id;
    io_sequence := routing.tell_delivery(p_tenant, p_id, io_sequence);
END $$;

-- One receipt for one delivery: forward only, so that a repeat or a late one changes nothing.
CREATE FUNCTION routing.receive(p_tenant text, p_id uuid, p_state integer, p_reason integer, p_code text,
                                p_text text, INOUT io_sequence bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_state smallint;
BEGIN
    SELECT state INTO v_state FROM routing.delivery WHERE tenant = p_tenant AND id = p_id;
    IF v_state <> 7 AND p_state BETWEEN 4 AND 7
       AND (v_state = 8 OR (p_state = 7 AND v_state < 5) OR (p_state <> 7 AND v_state < p_state)) THEN
        io_sequence := routing.settle(p_tenant, p_id, p_state, p_reason, p_code, p_text, io_sequence);
    END IF;
END $$;

-- The delivery's provider id is known now: what was parked under it applies.
CREATE FUNCTION routing.set_provider_id(p_tenant text, p_id uuid, p_account text, p_provider_id text,
                                        INOUT io_sequence bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_parked routing.parked_receipt;
BEGIN
    UPDATE routing.delivery SET provider_id = p_provider_id
    WHERE tenant = p_tenant AND id = p_id AND provider_id = '';
    FOR v_parked IN
        WITH gone AS (DELETE FROM routing.parked_receipt
                      WHERE tenant = p_tenant AND account_id = p_account AND provider_id = p_provider_id
                      RETURNING *)
        SELECT * FROM gone ORDER BY state
    LOOP
        io_sequence := routing.receive(p_tenant, p_id, v_parked.state, v_parked.reason,
                                       v_parked.provider_code, v_parked.provider_text, io_sequence);
    END LOOP;
END $$;

-- A receipt from the feed: by our id, by watermark, by the provider's id; else it is parked.
CREATE FUNCTION routing.take_receipt(p_tenant text, p_delivery uuid, p_account text, p_provider_id text,
                                     p_thread uuid, p_watermark timestamptz, p_state integer,
                                     p_reason integer, p_code text, p_text text, INOUT io_sequence bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_id uuid;
BEGIN
    IF p_watermark IS NOT NULL THEN
        FOR v_id IN
            SELECT id FROM routing.delivery
            WHERE tenant = p_tenant AND thread_id = p_thread AND state IN (4, 5) AND sent_at <= p_watermark
            ORDER BY sequence
        LOOP
            io_sequence := routing.receive(p_tenant, v_id, p_state, p_reason, p_code, p_text, io_sequence);
        END LOOP;
        RETURN;
    END IF;
    IF p_delivery IS NOT NULL THEN
        SELECT id INTO v_id FROM routing.delivery
        WHERE tenant = p_tenant AND id = p_delivery AND account_id = p_account;
    END IF;
    IF v_id IS NULL AND p_provider_id <> '' THEN
        SELECT id INTO v_id FROM routing.delivery
        WHERE tenant = p_tenant AND account_id = p_account AND provider_id = p_provider_id
        ORDER BY id DESC LIMIT 1;
    END IF;
    IF v_id IS NOT NULL THEN
        IF p_provider_id <> '' THEN
            io_sequence := routing.set_provider_id(p_tenant, v_id, p_account, p_provider_id, io_sequence);
        END IF;
        io_sequence := routing.receive(p_tenant, v_id, p_state, p_reason, p_code, p_text, io_sequence);
    ELSIF p_provider_id <> '' AND p_state BETWEEN 4 AND 7 THEN
        INSERT INTO routing.parked_receipt (tenant, account_id, provider_id, state, reason, provider_code,
                                            provider_text, parked_at)
        VALUES (p_tenant, p_account, p_provider_id, p_state, p_reason, p_code, p_text, clock_timestamp())
        ON CONFLICT DO NOTHING;
    END IF;
END $$;

-- How many sendings the account's bucket has now; 2147483647 where there is no limit. One second's worth may
-- go at once.
CREATE FUNCTION routing.bucket_room(p_account routing.channel_account, p_now timestamptz) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN p_account.paused_until > p_now THEN 0
        WHEN p_account.sends_per_s <= 0 THEN 2147483647
        ELSE greatest(0, floor((1 - greatest(0, extract(epoch FROM p_account.bucket_at - p_now)))
                               * p_account.sends_per_s + 0.000001)::integer) END
$$;

-- When the account may send again, if not now.
CREATE FUNCTION routing.bucket_opens(p_account routing.channel_account) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS $$
    SELECT greatest(p_account.paused_until,
                    CASE WHEN p_account.sends_per_s > 0
                         THEN p_account.bucket_at - interval '1 second'
                              + interval '1 second' / p_account.sends_per_s
                         ELSE p_account.paused_until END)
$$;

-- Leases what is at the head of its thread's line, as far as the accounts' rates allow.
-- Two parts: a look without the lock, so that idle pulls stand in nobody's way, then the taking.
CREATE FUNCTION routing.lease(p_tenant text, p_accounts text[], p_leases uuid[], p_lease_ms bigint)
RETURNS TABLE (id uuid, account_id text, lease uuid, lease_until timestamptz, attempt integer, payload bytea)
LANGUAGE plpgsql AS $$
DECLARE
    v_account routing.channel_account;
    v_room integer;
    v_taken integer := 0;
    v_bytes bigint := 0;
    v_before integer;
    v_now timestamptz;
    v_job record;
    v_sequence bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM routing.delivery d
                   WHERE d.tenant = p_tenant AND d.account_id = ANY (p_accounts)
                     AND d.state = 1 AND d.next_attempt_at <= clock_timestamp()) THEN
        RETURN;
    END IF;
    v_sequence := routing.lock_tenant(p_tenant);
    v_now := clock_timestamp();
    lease_until := v_now + p_lease_ms * interval '1 millisecond';
    FOR v_account IN SELECT * FROM routing.channel_account a
                     WHERE a.tenant = p_tenant AND a.id = ANY (p_accounts) ORDER BY a.bucket_at, a.id LOOP
        v_room := least(routing.bucket_room(v_account, v_now), cardinality(p_leases) - v_taken);
        CONTINUE WHEN v_room <= 0;
        v_before := v_taken;
        FOR v_job IN
            SELECT d.id, d.attempt_count, d.payload FROM routing.delivery d
            WHERE d.tenant = p_tenant AND d.account_id = v_account.id AND d.state = 1
              AND d.next_attempt_at <= v_now
              AND NOT EXISTS (SELECT FROM routing.delivery e
                              WHERE e.tenant = p_tenant AND e.thread_id = d.thread_id
                                AND (e.state = 1 OR e.is_holding)
                                AND (e.sequence < d.sequence OR e.is_holding))
            ORDER BY d.next_attempt_at, d.id LIMIT v_room
        LOOP
            -- One answer must fit into one message of the mesh; what is left is leased next.
            EXIT WHEN v_taken > 0 AND v_bytes + octet_length(v_job.payload) > 600000;
            v_bytes := v_bytes + octet_length(v_job.payload);
            v_taken := v_taken + 1;
            UPDATE routing.delivery d
            SET state = 2, lease = p_leases[v_taken], is_holding = true, deadline_at = lease_until,
                updated_at = v_now
            WHERE d.tenant = p_tenant AND d.id = v_job.id;
            id := v_job.id;
            account_id := v_account.id;
            lease := p_leases[v_taken];
            attempt := v_job.attempt_count + 1;
            payload := v_job.payload;
            RETURN NEXT;
        END LOOP;
        IF v_taken > v_before AND v_account.sends_per_s > 0 THEN
            UPDATE routing.channel_account a
            SET bucket_at = greatest(a.bucket_at, v_now)
                            + (v_taken - v_before) * interval '1 second' / a.sends_per_s
            WHERE a.tenant = p_tenant AND a.id = v_account.id;
        END IF;
    END LOOP;
    IF v_taken > 0 THEN
        -- The other replicas set their clocks: one of them ends the leases if we cannot.
        PERFORM pg_notify('guichet_routing', 'lease ' || p_tenant);
    END IF;
END $$;

-- Leased -> sending, if the lease stands; a repeat by the same lease is granted again. The lease begins anew.
CREATE FUNCTION routing.start(p_tenant text, p_id uuid, p_lease uuid, p_lease_ms bigint,
    p_accounts text[] DEFAULT NULL)
RETURNS TABLE (is_granted boolean, reason text, lease_ms bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_sequence bigint := routing.lock_tenant(p_tenant);
    v_delivery routing.delivery;
    v_now timestamptz := clock_timestamp();
BEGIN
    SELECT * INTO v_delivery FROM routing.delivery d WHERE d.tenant = p_tenant AND d.id = p_id;
    IF NOT FOUND THEN
        PERFORM routing.fail('not_found', format('no job %s', p_id));
    END IF;
    -- A connector speaks for its own accounts only (NULL: nobody asks).
    IF NOT coalesce(v_delivery.account_id = ANY (p_accounts), true) THEN
        PERFORM routing.fail('forbidden', format('job %s is of another account', p_id));
    END IF;
    is_granted := false;
    lease_ms := 0;
    reason := CASE
        WHEN v_delivery.state NOT IN (2, 3) OR NOT v_delivery.is_holding THEN 'it is not leased'
        WHEN v_delivery.lease <> p_lease THEN 'another lease holds it'
        WHEN v_delivery.deadline_at <= v_now THEN 'the lease is over'
        ELSE '' END;
    IF reason = '' THEN
        is_granted := true;
        IF v_delivery.state = 2 THEN
            UPDATE routing.delivery d
            SET state = 3, attempt_count = d.attempt_count + 1, updated_at = v_now,
                deadline_at = v_now + p_lease_ms * interval '1 millisecond'
            WHERE d.tenant = p_tenant AND d.id = p_id;
            lease_ms := p_lease_ms;
        ELSE
            lease_ms := extract(epoch FROM v_delivery.deadline_at - v_now) * 1000;
        END IF;
    END IF;
    RETURN NEXT;
END $$;

-- How it ended. `p_kind`: 1 accepted, 2 retry, 3 failed, 4 unknown. `p_delays_ms`: the back-off by attempt.
-- What no longer matters changes nothing; the answer is always the state the delivery has now. `is_dead`: it
-- became a dead letter. Other jobs: see routing.report_job().
CREATE FUNCTION routing.report(p_tenant text, p_id uuid, p_lease uuid, p_kind integer, p_provider_id text,
    p_retry_after_ms bigint, p_is_account_wide boolean, p_reason integer, p_code text, p_text text,
    p_delays_ms bigint[], p_hold_ms bigint, p_accounts text[] DEFAULT NULL, p_attempts_max integer DEFAULT 5,
    p_tell_ms bigint DEFAULT 30000)
RETURNS TABLE (state integer, event_sequence bigint, is_dead boolean, ask integer, message_id uuid,
               part_index integer, payload bytea, provider_text text) LANGUAGE plpgsql AS $$
DECLARE
    v_sequence bigint := routing.lock_tenant(p_tenant);
    v_delivery routing.delivery;
    v_is_ours boolean;
    v_delay bigint;
    v_before bigint := v_sequence;
BEGIN
    SELECT * INTO v_delivery FROM routing.delivery d WHERE d.tenant = p_tenant AND d.id = p_id;
    IF NOT FOUND THEN
        RETURN QUERY SELECT * FROM routing.report_job(p_tenant, p_id, p_lease, p_kind, p_retry_after_ms,
            p_code, p_text, p_delays_ms, p_attempts_max, p_tell_ms, p_accounts);
        RETURN;
    END IF;
    -- A connector speaks for its own accounts only (NULL: nobody asks).
    IF NOT coalesce(v_delivery.account_id = ANY (p_accounts), true) THEN
        PERFORM routing.fail('forbidden', format('job %s is of another account', p_id));
    END IF;
    v_is_ours := v_delivery.lease IS NOT DISTINCT FROM p_lease AND v_delivery.state IN (2, 3, 8);
    v_delay := greatest(p_retry_after_ms,
                        CASE WHEN p_retry_after_ms > 0 THEN 0
                             ELSE p_delays_ms[least(greatest(v_delivery.attempt_count, 1),
                                                    cardinality(p_delays_ms))] END);
    IF p_kind = 2 AND p_is_account_wide THEN
        UPDATE routing.channel_account a
        SET paused_until = greatest(a.paused_until, clock_timestamp() + v_delay * interval '1 millisecond')
        WHERE a.tenant = p_tenant AND a.id = v_delivery.account_id;
    END IF;
    IF p_kind = 1 THEN
        -- The provider has it: true whoever says so, unless another attempt is under way.
        IF v_is_ours OR v_delivery.state IN (1, 2, 8) THEN
            v_sequence := routing.settle(p_tenant, p_id, 4, 0, p_code, p_text, v_sequence);
        END IF;
        IF p_provider_id <> '' AND (v_is_ours OR v_delivery.state <> 3) THEN
            v_sequence := routing.set_provider_id(p_tenant, p_id, v_delivery.account_id, p_provider_id,
                                                  v_sequence);
        END IF;
    ELSIF v_is_ours AND p_kind = 2 THEN
        v_sequence := routing.requeue(p_tenant, p_id, v_delay, p_reason, p_code, p_text, v_sequence);
    ELSIF v_is_ours AND p_kind = 3 THEN
        v_sequence := routing.settle(p_tenant, p_id, 7, p_reason, p_code, p_text, v_sequence);
    ELSIF v_is_ours AND p_kind = 4 AND v_delivery.state <> 8 THEN
        v_sequence := routing.leave_open(v_delivery, p_delays_ms, p_hold_ms, p_code, p_text, v_sequence);
    END IF;
    PERFORM routing.finish(p_tenant, v_sequence, v_sequence > v_before);
    SELECT d.state INTO state FROM routing.delivery d WHERE d.tenant = p_tenant AND d.id = p_id;
    event_sequence := v_sequence;
    is_dead := state = 7 AND v_delivery.state <> 7 AND v_delivery.payload IS NOT NULL;
    ask := 0;
    RETURN NEXT;
END $$;

-- Unknown; where the provider drops repeats by key (resend policy 2), sent again instead.
CREATE FUNCTION routing.leave_open(p_delivery routing.delivery, p_delays_ms bigint[], p_hold_ms bigint,
                                   p_code text, p_text text, INOUT io_sequence bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_attempt integer := least(greatest(p_delivery.attempt_count, 1), cardinality(p_delays_ms));
BEGIN
    IF EXISTS (SELECT FROM routing.channel_account a WHERE a.tenant = p_delivery.tenant
               AND a.id = p_delivery.account_id AND a.resend = 2) THEN
        io_sequence := routing.requeue(p_delivery.tenant, p_delivery.id, p_delays_ms[v_attempt], 0, p_code,
                                       p_text, io_sequence);
    ELSE
        io_sequence := routing.doubt(p_delivery.tenant, p_delivery.id, p_hold_ms, p_code, p_text,
                                     io_sequence);
    END IF;
END $$;

-- Leases and waits that have run out: leased -> queued, sending -> unknown, unknown gives the line free.
CREATE FUNCTION routing.expire_leases(p_tenant text, p_delays_ms bigint[], p_hold_ms bigint)
RETURNS TABLE (event_sequence bigint, leased_count integer, sending_count integer, unknown_count integer,
               dead_count integer)
LANGUAGE plpgsql AS $$
DECLARE
    v_delivery routing.delivery;
BEGIN
    event_sequence := routing.lock_tenant(p_tenant);
    leased_count := 0;
    sending_count := 0;
    unknown_count := 0;
    dead_count := 0;
    FOR v_delivery IN SELECT * FROM routing.delivery d
                      WHERE d.tenant = p_tenant AND d.is_holding AND d.deadline_at <= clock_timestamp()
                      ORDER BY d.deadline_at LIMIT 1000 LOOP
        IF v_delivery.state = 2 THEN
            leased_count := leased_count + 1;
            UPDATE routing.delivery d
            SET state = 1, is_holding = false, deadline_at = NULL, updated_at = clock_timestamp()
            WHERE d.tenant = p_tenant AND d.id = v_delivery.id;
        ELSIF v_delivery.state = 3 THEN
            sending_count := sending_count + 1;
            event_sequence := routing.leave_open(v_delivery, p_delays_ms, p_hold_ms, '',
                                                 'no report before the lease ended', event_sequence);
            dead_count := dead_count + (SELECT (d.state = 7)::integer FROM routing.delivery d
                                        WHERE d.tenant = p_tenant AND d.id = v_delivery.id);
        ELSE
            unknown_count := unknown_count + 1;
            UPDATE routing.delivery d SET is_holding = false, deadline_at = NULL
            WHERE d.tenant = p_tenant AND d.id = v_delivery.id;
        END IF;
    END LOOP;
    PERFORM routing.finish(p_tenant, event_sequence, leased_count + sending_count + unknown_count > 0);
    RETURN NEXT;
END $$;

-- Milliseconds to the next moment at which time alone changes something; NULL: none in sight. `lease_ms`: a
-- lease or a wait ends. `ready_ms`: a delivery or a job becomes due, or an account may send again.
CREATE FUNCTION routing.next_due(p_tenant text, OUT lease_ms bigint, OUT ready_ms bigint)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    -- The first of each index, never the whole backlog: this runs after every change.
    SELECT ceil(greatest(0, extract(epoch FROM d.deadline_at - v_now)) * 1000) INTO lease_ms
    FROM (SELECT least((SELECT d.deadline_at FROM routing.delivery d WHERE d.tenant = p_tenant AND d.is_holding
                        ORDER BY d.deadline_at LIMIT 1),
                       (SELECT j.deadline_at FROM routing.job j WHERE j.tenant = p_tenant
                        AND j.deadline_at IS NOT NULL ORDER BY j.deadline_at LIMIT 1)) AS deadline_at) d
    WHERE d.deadline_at IS NOT NULL;
    SELECT ceil(extract(epoch FROM min(t.at) - v_now) * 1000) INTO ready_ms
    FROM routing.channel_account a
    CROSS JOIN LATERAL (
        (SELECT greatest(routing.bucket_opens(a), d.next_attempt_at) AS at FROM routing.delivery d
         WHERE d.tenant = p_tenant AND d.account_id = a.id AND d.state = 1
         ORDER BY d.next_attempt_at LIMIT 1)
        UNION ALL
        (SELECT greatest(routing.bucket_opens(a), d.next_attempt_at) FROM routing.delivery d
         WHERE d.tenant = p_tenant AND d.account_id = a.id AND d.state = 1 AND d.next_attempt_at > v_now
         ORDER BY d.next_attempt_at LIMIT 1)) t
    WHERE a.tenant = p_tenant AND t.at > v_now;
    ready_ms := least(ready_ms, (SELECT ceil(extract(epoch FROM j.next_attempt_at - v_now) * 1000)::bigint
                                 FROM routing.job j WHERE j.tenant = p_tenant AND j.state = 1
                                   AND j.next_attempt_at > v_now ORDER BY j.next_attempt_at LIMIT 1));
END $$;
