-- SPDX-License-Identifier: Apache-2.0
-- Tenants, queues, agents, their presence and sessions; channel accounts.

-- Makes or changes a tenant as configured. Queues that the configuration no longer names stay: work may be
-- in them. Returns the number of queues made.
CREATE FUNCTION routing.put_tenant(p_tenant text, p_ids uuid[], p_names text[], p_accounts text[])
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_made integer := 0;
    v_rows integer;
BEGIN
    INSERT INTO routing.counter (tenant) VALUES (p_tenant) ON CONFLICT DO NOTHING;
    PERFORM routing.lock_tenant(p_tenant);
    INSERT INTO routing.feed (tenant) VALUES (p_tenant) ON CONFLICT DO NOTHING;
    FOR i IN 1 .. cardinality(p_names) LOOP
        -- Account ids of one queue come as one text, separated by newlines: arrays here have one dimension.
        INSERT INTO routing.queue (tenant, id, name, position, accounts)
        VALUES (p_tenant, p_ids[i], p_names[i], i, array_remove(string_to_array(p_accounts[i], E'\n'), ''))
        ON CONFLICT (tenant, name) DO NOTHING;
        GET DIAGNOSTICS v_rows = ROW_COUNT;
        v_made := v_made + v_rows;
        UPDATE routing.queue
        SET position = i, accounts = array_remove(string_to_array(p_accounts[i], E'\n'), '')
        WHERE tenant = p_tenant AND name = p_names[i];
    END LOOP;
    UPDATE routing.queue SET position = position + 1000, accounts = '{}'
    WHERE tenant = p_tenant AND position <= 1000 AND NOT name = ANY (p_names);
    UPDATE routing.channel_account a SET queue_id = routing.queue_of(p_tenant, a.id) WHERE tenant = p_tenant;
    RETURN v_made;
END $$;

CREATE FUNCTION routing.queue_of(p_tenant text, p_account text) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT id FROM routing.queue WHERE tenant = p_tenant
    ORDER BY (p_account = ANY (accounts)) DESC, position LIMIT 1
$$;

-- Stores what a connector announced; returns the accounts refused, and why.
CREATE FUNCTION routing.announce(p_tenant text, p_connector text, p_channel text, p_ids text[],
                                 p_addresses text[], p_names text[], p_capabilities bytea[],
                                 p_sends integer[], p_resends integer[], p_horizons integer[],
                                 p_connected_ms bigint, p_deliveries integer[] DEFAULT NULL,
                                 p_spools bigint[] DEFAULT NULL, p_spools_oldest timestamptz[] DEFAULT NULL)
RETURNS TABLE (id text, reason text) LANGUAGE plpgsql AS $$
DECLARE
    v_other routing.channel_account;
    v_now timestamptz;
BEGIN
    PERFORM routing.lock_tenant(p_tenant);
    v_now := clock_timestamp();
    FOR i IN 1 .. cardinality(p_ids) LOOP
        SELECT * INTO v_other FROM routing.channel_account a WHERE a.id = p_ids[i]
        ORDER BY (a.tenant = p_tenant) LIMIT 1;
        IF FOUND AND v_other.tenant <> p_tenant THEN
            id := p_ids[i];
            reason := 'another tenant has an account of this id';
            RETURN NEXT;
        ELSIF FOUND AND v_other.connector <> p_connector
              AND v_other.announced_at > v_now - p_connected_ms * interval '1 millisecond' THEN
            id := p_ids[i];
            reason := format('connector ''%s'' serves it', v_other.connector);
            RETURN NEXT;
        ELSE
            INSERT INTO routing.channel_account AS c (tenant, id, connector, channel, address, display_name,
                queue_id, capabilities, sends_per_s, resend, retry_horizon_s, media_delivery, spool_count,
                spool_oldest_at, announced_at)
            VALUES (p_tenant, p_ids[i], p_connector, p_channel, p_addresses[i], p_names[i],
                    routing.queue_of(p_tenant, p_ids[i]), p_capabilities[i], p_sends[i], p_resends[i],
                    p_horizons[i], coalesce(p_deliveries[i], 0), coalesce(p_spools[i], 0),
                    p_spools_oldest[i], v_now)
            ON CONFLICT ON CONSTRAINT channel_account_pkey DO UPDATE
            SET connector = excluded.connector, channel = excluded.channel, address = excluded.address,
                display_name = excluded.display_name, capabilities = excluded.capabilities,
                sends_per_s = excluded.sends_per_s, resend = excluded.resend,
                retry_horizon_s = excluded.retry_horizon_s, media_delivery = excluded.media_delivery,
                spool_count = excluded.spool_count, spool_oldest_at = excluded.spool_oldest_at,
                announced_at = excluded.announced_at;
        END IF;
    END LOOP;
END $$;

-- Makes or changes an agent by login; empty or zero keeps what is there.
CREATE FUNCTION routing.put_agent(p_tenant text, p_id uuid, p_login text, p_name text, p_hash text,
                                  p_role integer, p_capacity integer, p_capacity_default integer,
                                  p_queues text[])
RETURNS TABLE (agent_id uuid, is_new boolean, event_sequence bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_sequence bigint := routing.lock_tenant(p_tenant);
    v_unknown text;
    v_id uuid;
BEGIN
    SELECT n INTO v_unknown FROM unnest(p_queues) n
    WHERE NOT EXISTS (SELECT FROM routing.queue q WHERE q.tenant = p_tenant AND q.name = n) LIMIT 1;
    IF FOUND THEN
        PERFORM routing.fail('not_found', format('no queue ''%s'' in tenant ''%s''', v_unknown, p_tenant));
    END IF;
    UPDATE routing.agent a
    SET display_name = coalesce(nullif(p_name, ''), a.display_name),
        password_hash = coalesce(nullif(p_hash, ''), a.password_hash),
        role = coalesce(nullif(p_role, 0), a.role), capacity = coalesce(nullif(p_capacity, 0), a.capacity)
    WHERE a.tenant = p_tenant AND a.login = p_login RETURNING a.id INTO v_id;
    is_new := NOT FOUND;
    IF is_new AND p_hash = '' THEN
        PERFORM routing.fail('invalid', format('agent ''%s'' is new: a password is needed', p_login));
    END IF;
    IF is_new THEN
        v_id := p_id;
        INSERT INTO routing.agent (tenant, id, login, display_name, password_hash, role, capacity)
        VALUES (p_tenant, p_id, p_login, coalesce(nullif(p_name, ''), p_login), p_hash,
                coalesce(nullif(p_role, 0), 1), coalesce(nullif(p_capacity, 0), p_capacity_default));
    ELSIF p_hash <> '' THEN
        DELETE FROM routing.session s WHERE s.tenant = p_tenant AND s.agent_id = v_id;
    END IF;
    PERFORM routing.put_agent_queues(p_tenant, v_id, p_queues);
    v_sequence := routing.assign(p_tenant, '{}', v_sequence);
    PERFORM routing.finish(p_tenant, v_sequence, false);
    agent_id := v_id;
    event_sequence := v_sequence;
    RETURN NEXT;
END $$;

CREATE FUNCTION routing.put_agent_queues(p_tenant text, p_agent uuid, p_queues text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM routing.queue_agent qa USING routing.queue q
    WHERE qa.tenant = p_tenant AND qa.agent_id = p_agent AND q.tenant = p_tenant AND q.id = qa.queue_id
      AND cardinality(p_queues) > 0 AND NOT q.name = ANY (p_queues);
    INSERT INTO routing.queue_agent (tenant, queue_id, agent_id)
    SELECT p_tenant, q.id, p_agent FROM routing.queue q
    WHERE q.tenant = p_tenant AND (cardinality(p_queues) = 0 OR q.name = ANY (p_queues))
    ON CONFLICT DO NOTHING;
    PERFORM routing.refresh_agent(p_tenant, p_agent);
END $$;

-- Appends "presence changed" and stores it; idle time begins when somebody comes online.
CREATE FUNCTION routing.move_presence(p_tenant text, p_agent uuid, p_presence integer, p_actor uuid,
                                      p_reason text, INOUT io_sequence bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    UPDATE routing.agent
    SET presence = p_presence, idle_since = CASE WHEN p_presence = 1 THEN v_now ELSE idle_since END
    WHERE tenant = p_tenant AND id = p_agent;
    PERFORM routing.refresh_agent(p_tenant, p_agent);
    io_sequence := io_sequence + 1;
    INSERT INTO routing.event (tenant, sequence, type, at, agent_id, actor_id, reason, presence)
    VALUES (p_tenant, io_sequence, 10, v_now, p_agent, p_actor, p_reason, p_presence);
END $$;

CREATE FUNCTION routing.set_presence(p_tenant text, p_agent uuid, p_presence integer) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_sequence bigint := routing.lock_tenant(p_tenant);
    v_presence smallint;
BEGIN
    SELECT presence INTO v_presence FROM routing.agent WHERE tenant = p_tenant AND id = p_agent FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM routing.fail('not_found', format('no agent %s', p_agent));
    END IF;
    UPDATE routing.agent SET seen_at = clock_timestamp() WHERE tenant = p_tenant AND id = p_agent;
    IF v_presence <> p_presence THEN
        v_sequence := routing.move_presence(p_tenant, p_agent, p_presence, p_agent, '', v_sequence);
        v_sequence := routing.assign(p_tenant, '{}', v_sequence);
        PERFORM routing.finish(p_tenant, v_sequence, false);
        PERFORM pg_notify('guichet_routing', 'presence ' || p_tenant);
    END IF;
    RETURN v_sequence;
END $$;

-- Agents nobody has heard of for `p_ttl_ms` go offline. Returns the log's last sequence.
CREATE FUNCTION routing.expire_presence(p_tenant text, p_ttl_ms bigint)
RETURNS TABLE (event_sequence bigint, expired_count integer) LANGUAGE plpgsql AS $$
DECLARE
    v_sequence bigint := routing.lock_tenant(p_tenant);
    v_agent uuid;
BEGIN
    expired_count := 0;
    FOR v_agent IN
        SELECT id FROM routing.agent
        WHERE tenant = p_tenant AND presence <> 0
          AND seen_at <= clock_timestamp() - p_ttl_ms * interval '1 millisecond'
        ORDER BY id FOR UPDATE
    LOOP
        v_sequence := routing.move_presence(p_tenant, v_agent, 0, NULL, 'not seen', v_sequence);
        expired_count := expired_count + 1;
    END LOOP;
    PERFORM routing.finish(p_tenant, v_sequence, false);
    event_sequence := v_sequence;
    RETURN NEXT;
END $$;

-- Counts an attempt before the password is looked at, so that attempts made at once are all counted.
-- No row: locked out, `retry_ms` says how long. Unknown logins give an empty hash.
CREATE FUNCTION routing.begin_login(p_tenant text, p_login text, p_attempts_max integer, p_window_ms bigint)
RETURNS TABLE (agent_id uuid, password_hash text, retry_ms bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_attempt routing.login_attempt;
    v_window interval := p_window_ms * interval '1 millisecond';
BEGIN
    INSERT INTO routing.login_attempt AS l (tenant, login, attempt_count, began_at)
    VALUES (p_tenant, p_login, 1, now())
    ON CONFLICT (tenant, login) DO UPDATE
    SET attempt_count = CASE WHEN l.began_at < now() - v_window THEN 1 ELSE l.attempt_count + 1 END,
        began_at = CASE WHEN l.began_at < now() - v_window THEN now() ELSE l.began_at END
    RETURNING * INTO v_attempt;
    retry_ms := 0;
    IF v_attempt.attempt_count > p_attempts_max THEN
        retry_ms := greatest(1, extract(epoch FROM v_attempt.began_at + v_window - now()) * 1000);
    END IF;
    SELECT a.id, a.password_hash INTO agent_id, password_hash FROM routing.agent a
    WHERE a.tenant = p_tenant AND a.login = p_login;
    password_hash := coalesce(password_hash, '');
    RETURN NEXT;
END $$;

CREATE FUNCTION routing.open_session(p_tenant text, p_agent uuid, p_login text, p_token_hash bytea,
                                     p_ttl_ms bigint) RETURNS timestamptz LANGUAGE plpgsql AS $$
DECLARE
    v_expires timestamptz := now() + p_ttl_ms * interval '1 millisecond';
BEGIN
    DELETE FROM routing.login_attempt WHERE tenant = p_tenant AND login = p_login;
    DELETE FROM routing.session WHERE tenant = p_tenant AND agent_id = p_agent AND expires_at <= now();
    INSERT INTO routing.session (tenant, token_hash, agent_id, expires_at)
    VALUES (p_tenant, p_token_hash, p_agent, v_expires);
    UPDATE routing.agent SET seen_at = clock_timestamp() WHERE tenant = p_tenant AND id = p_agent;
    RETURN v_expires;
END $$;

-- Who holds this token; marks them as seen, at most once in `p_touch_ms`.
CREATE FUNCTION routing.check_session(p_token_hash bytea, p_touch_ms bigint)
RETURNS TABLE (tenant text, agent_id uuid, expires_at timestamptz) LANGUAGE plpgsql AS $$
BEGIN
    SELECT s.tenant, s.agent_id, s.expires_at INTO tenant, agent_id, expires_at
    FROM routing.session s WHERE s.token_hash = p_token_hash AND s.expires_at > now();
    IF FOUND THEN
        UPDATE routing.agent a SET seen_at = clock_timestamp()
        WHERE a.tenant = check_session.tenant AND a.id = check_session.agent_id
          AND a.seen_at < clock_timestamp() - p_touch_ms * interval '1 millisecond';
        RETURN NEXT;
    END IF;
END $$;
