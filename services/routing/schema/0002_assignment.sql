-- SPDX-License-Identifier: Apache-2.0
-- Who answers: the rules of assignment, and the small functions all writers share.
--
-- A writer: routing.lock_tenant() gives the log's last sequence; it is handed on (io_sequence) through
-- whatever appends events; routing.finish() stores it. One call is one transaction is one round trip.

-- Raises an error of the mesh's closed set: io/db reads the kind from the hint.
CREATE FUNCTION routing.fail(p_kind text, p_message text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'P0001', MESSAGE = p_message, HINT = p_kind;
END $$;

CREATE FUNCTION routing.lock_tenant(p_tenant text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_sequence bigint;
BEGIN
    SELECT event_sequence INTO v_sequence FROM routing.counter WHERE tenant = p_tenant FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM routing.fail('not_found', format('tenant ''%s'' is not configured', p_tenant));
    END IF;
    RETURN v_sequence;
END $$;

-- `p_wake`: something may be ready for a connector: tell the other replicas.
CREATE FUNCTION routing.finish(p_tenant text, p_sequence bigint, p_wake boolean) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE routing.counter SET event_sequence = p_sequence
    WHERE tenant = p_tenant AND event_sequence <> p_sequence;
    IF p_wake THEN
        PERFORM pg_notify('guichet_routing', 'work ' || p_tenant);
    END IF;
END $$;

-- Carries what an agent's row says over to the rows assignment looks at.
CREATE FUNCTION routing.refresh_agent(p_tenant text, p_agent uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE routing.queue_agent q
    SET free_since = CASE WHEN a.presence = 1 AND a.load < a.capacity THEN a.idle_since END
    FROM routing.agent a
    WHERE a.tenant = p_tenant AND a.id = p_agent AND q.tenant = p_tenant AND q.agent_id = p_agent
      AND q.free_since IS DISTINCT FROM
          CASE WHEN a.presence = 1 AND a.load < a.capacity THEN a.idle_since END;
END $$;

-- An agent has one conversation less.
CREATE FUNCTION routing.relieve_agent(p_tenant text, p_agent uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE routing.agent SET load = load - 1, idle_since = clock_timestamp()
    WHERE tenant = p_tenant AND id = p_agent;
    PERFORM routing.refresh_agent(p_tenant, p_agent);
END $$;

-- Hands an item that is nobody's to an agent.
CREATE FUNCTION routing.give(p_tenant text, p_conversation uuid, p_agent uuid, p_actor uuid, p_reason text,
                             INOUT io_sequence bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    io_sequence := io_sequence + 1;
    -- Two statements, not four: each costs more to begin than what it does to one row.
    WITH item AS (
        UPDATE routing.work_item
        SET state = 2, agent_id = p_agent, assigned_at = v_now, updated_at = v_now, version = version + 1,
            reason = p_reason, changed_position = nextval('routing.position')
        WHERE tenant = p_tenant AND conversation_id = p_conversation
        RETURNING conversation_number, previous_agent_id, queue_id, customer_id)
    INSERT INTO routing.event (tenant, sequence, type, at, conversation_id, conversation_number, agent_id,
                               previous_agent_id, queue_id, actor_id, customer_id, reason)
    SELECT p_tenant, io_sequence, 6, v_now, p_conversation, i.conversation_number, p_agent,
           i.previous_agent_id, i.queue_id, p_actor, i.customer_id, p_reason FROM item i;
    WITH receiver AS (
        UPDATE routing.agent SET load = load + 1, idle_since = v_now WHERE tenant = p_tenant AND id = p_agent
        RETURNING CASE WHEN presence = 1 AND load < capacity THEN idle_since END AS free_since)
    UPDATE routing.queue_agent q SET free_since = r.free_since FROM receiver r
    WHERE q.tenant = p_tenant AND q.agent_id = p_agent AND q.free_since IS DISTINCT FROM r.free_since;
END $$;

-- Takes an item from whoever has it and puts it at the end of its queue.
CREATE FUNCTION routing.put_waiting(p_tenant text, p_conversation uuid, p_queue uuid, p_preferred uuid,
                                    p_reason text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_agent uuid;
    v_now timestamptz := clock_timestamp();
BEGIN
    SELECT agent_id INTO v_agent FROM routing.work_item
    WHERE tenant = p_tenant AND conversation_id = p_conversation;
    UPDATE routing.work_item
    SET state = 1, queue_id = p_queue, agent_id = NULL,
        previous_agent_id = coalesce(agent_id, previous_agent_id), preferred_agent_id = p_preferred,
        waiting_since = v_now, waiting_position = nextval('routing.position'), assigned_at = NULL,
        updated_at = v_now, changed_position = currval('routing.position'), version = version + 1,
        reason = p_reason
    WHERE tenant = p_tenant AND conversation_id = p_conversation;
    IF v_agent IS NOT NULL THEN
        PERFORM routing.relieve_agent(p_tenant, v_agent);
    END IF;
END $$;

-- Why nobody has it: said once, when it began to wait.
CREATE FUNCTION routing.waiting_reason(p_tenant text, p_queue uuid) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM routing.queue_agent q
                             JOIN routing.agent a ON a.tenant = q.tenant AND a.id = q.agent_id
                             WHERE q.tenant = p_tenant AND q.queue_id = p_queue AND a.presence = 1)
                THEN 'every agent present is at capacity' ELSE 'no agent present' END
$$;

-- Appends "queued" for those of `p_touched` that are waiting still.
CREATE FUNCTION routing.tell_waiting(p_tenant text, p_touched uuid[], INOUT io_sequence bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_item record;
BEGIN
    FOR v_item IN
        UPDATE routing.work_item w SET reason = routing.waiting_reason(p_tenant, w.queue_id)
        WHERE w.tenant = p_tenant AND w.state = 1 AND w.conversation_id = ANY (p_touched)
        RETURNING w.*
    LOOP
        io_sequence := io_sequence + 1;
        INSERT INTO routing.event (tenant, sequence, type, at, conversation_id, conversation_number,
                                   previous_agent_id, queue_id, customer_id, reason)
        VALUES (p_tenant, io_sequence, 5, v_item.updated_at, v_item.conversation_id,
                v_item.conversation_number, v_item.previous_agent_id, v_item.queue_id, v_item.customer_id,
                v_item.reason);
    END LOOP;
END $$;

-- Matches what waits with who has room until one of them runs out: the oldest waiting item of all queues
-- that have somebody free; to the agent it is to go back to, else to the longest idle. Called at the end
-- of each function that changes either side, so that nothing ever waits beside a free agent.
CREATE FUNCTION routing.assign(p_tenant text, p_touched uuid[], INOUT io_sequence bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_conversation uuid;
    v_queue uuid;
    v_preferred uuid;
    v_agent uuid;
    -- What was matched before in this call stays in the indexes until later: both bounds skip it. They only
    -- rise, because matching never adds a waiting item or makes an agent idle for longer.
    v_position bigint := 0;
    v_bound_queue uuid;
    v_bound timestamptz := '-infinity';
BEGIN
    LOOP
        SELECT w.conversation_id, w.queue_id, w.preferred_agent_id, w.waiting_position
        INTO v_conversation, v_queue, v_preferred, v_position
        FROM routing.queue q
        CROSS JOIN LATERAL (
            SELECT i.conversation_id, i.queue_id, i.preferred_agent_id, i.waiting_position
            FROM routing.work_item i
            WHERE i.tenant = p_tenant AND i.state = 1 AND i.queue_id = q.id
              AND i.waiting_position > v_position
            ORDER BY i.waiting_position LIMIT 1) w
        WHERE q.tenant = p_tenant
          AND EXISTS (SELECT FROM routing.queue_agent f
                      WHERE f.tenant = p_tenant AND f.queue_id = q.id AND f.free_since IS NOT NULL
                        AND f.free_since >= CASE WHEN q.id = v_bound_queue THEN v_bound
                                            ELSE '-infinity' END)
        ORDER BY w.waiting_position LIMIT 1;
        EXIT WHEN NOT FOUND;

        v_agent := NULL;
        IF v_preferred IS NOT NULL THEN
            SELECT agent_id INTO v_agent FROM routing.queue_agent
            WHERE tenant = p_tenant AND queue_id = v_queue AND agent_id = v_preferred
              AND free_since IS NOT NULL;
        END IF;
        IF v_agent IS NOT NULL THEN
            io_sequence := routing.give(p_tenant, v_conversation, v_agent, NULL,
                                        'agent who had it before', io_sequence);
        ELSE
            IF v_bound_queue IS DISTINCT FROM v_queue THEN
                v_bound := '-infinity';
            END IF;
            SELECT agent_id, free_since INTO v_agent, v_bound FROM routing.queue_agent
            WHERE tenant = p_tenant AND queue_id = v_queue AND free_since IS NOT NULL
              AND free_since >= v_bound
            ORDER BY free_since, agent_id LIMIT 1;
            v_bound_queue := v_queue;
            io_sequence := routing.give(p_tenant, v_conversation, v_agent, NULL,
                                        'longest idle agent with room', io_sequence);
        END IF;
    END LOOP;
    IF cardinality(p_touched) > 0 THEN
        io_sequence := routing.tell_waiting(p_tenant, p_touched, io_sequence);
    END IF;
END $$;

-- The item an agent wants to change, if the version is the one they saw.
CREATE FUNCTION routing.take_item(p_tenant text, p_conversation uuid, p_if_version integer)
RETURNS routing.work_item LANGUAGE plpgsql AS $$
DECLARE
    v_item routing.work_item;
BEGIN
    SELECT * INTO v_item FROM routing.work_item
    WHERE tenant = p_tenant AND conversation_id = p_conversation;
    IF NOT FOUND THEN
        PERFORM routing.fail('not_found', format('no work item for conversation %s', p_conversation));
    END IF;
    IF p_if_version <> 0 AND p_if_version <> v_item.version THEN
        PERFORM routing.fail('conflict', format('conversation %s is at version %s, not %s', p_conversation,
                                                v_item.version, p_if_version));
    END IF;
    IF v_item.state = 3 THEN
        PERFORM routing.fail('conflict', format('conversation %s is closed', p_conversation));
    END IF;
    RETURN v_item;
END $$;

-- 3 (admin) for the system itself, which names no actor.
CREATE FUNCTION routing.role_of(p_tenant text, p_actor uuid) RETURNS smallint LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_role smallint := 3;
BEGIN
    IF p_actor IS NOT NULL THEN
        SELECT role INTO v_role FROM routing.agent WHERE tenant = p_tenant AND id = p_actor;
        IF NOT FOUND THEN
            PERFORM routing.fail('forbidden', format('%s is no agent of this tenant', p_actor));
        END IF;
    END IF;
    RETURN v_role;
END $$;

-- Can this agent be given something by hand? Supervisors may exceed the capacity and choose somebody who is
-- away; nobody may choose somebody who is not there.
CREATE FUNCTION routing.check_receiver(p_tenant text, p_agent uuid, p_queue uuid, p_role smallint)
RETURNS void LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_agent routing.agent;
BEGIN
    SELECT * INTO v_agent FROM routing.agent WHERE tenant = p_tenant AND id = p_agent;
    IF NOT FOUND THEN
        PERFORM routing.fail('not_found', format('no agent %s', p_agent));
    END IF;
    IF NOT EXISTS (SELECT FROM routing.queue_agent
                   WHERE tenant = p_tenant AND queue_id = p_queue AND agent_id = p_agent) THEN
        PERFORM routing.fail(CASE WHEN p_role = 1 THEN 'forbidden' ELSE 'conflict' END,
                             format('agent ''%s'' is not in queue %s', v_agent.login, p_queue));
    END IF;
    IF v_agent.presence = 0 OR (v_agent.presence <> 1 AND p_role = 1) THEN
        PERFORM routing.fail('conflict', format('agent ''%s'' is not online', v_agent.login));
    END IF;
    IF v_agent.load >= v_agent.capacity AND p_role = 1 THEN
        PERFORM routing.fail('conflict', format('agent ''%s'' is at capacity: %s of %s', v_agent.login,
                                                v_agent.load, v_agent.capacity));
    END IF;
END $$;

-- Claim by an agent, or assignment by a supervisor.
CREATE FUNCTION routing.assign_by_hand(p_tenant text, p_conversation uuid, p_agent uuid, p_actor uuid,
                                       p_if_version integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_sequence bigint := routing.lock_tenant(p_tenant);
    v_role smallint := routing.role_of(p_tenant, p_actor);
    v_item routing.work_item := routing.take_item(p_tenant, p_conversation, p_if_version);
BEGIN
    IF v_item.agent_id = p_agent THEN
        RETURN v_sequence;
    END IF;
    IF v_role = 1 AND p_agent <> p_actor THEN
        PERFORM routing.fail('forbidden', 'only a supervisor assigns to somebody else');
    END IF;
    IF v_role = 1 AND v_item.agent_id IS NOT NULL THEN
        PERFORM routing.fail('conflict', format('conversation %s is assigned to another agent',
                                                p_conversation));
    END IF;
    PERFORM routing.check_receiver(p_tenant, p_agent, v_item.queue_id, v_role);
    IF v_item.agent_id IS NOT NULL THEN
        PERFORM routing.put_waiting(p_tenant, p_conversation, v_item.queue_id, NULL, '');
    END IF;
    v_sequence := routing.give(p_tenant, p_conversation, p_agent, p_actor,
                               CASE WHEN p_agent = p_actor THEN 'claimed' ELSE 'assigned by hand' END,
                               v_sequence);
    v_sequence := routing.assign(p_tenant, '{}', v_sequence);
    PERFORM routing.finish(p_tenant, v_sequence, false);
    RETURN v_sequence;
END $$;

-- To a queue and its next agent with room, or to one agent. Who transfers gets it back only where nobody
-- else has room: they count as having just finished.
CREATE FUNCTION routing.transfer(p_tenant text, p_conversation uuid, p_queue uuid, p_agent uuid, p_actor uuid,
                                 p_if_version integer, p_reason text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_sequence bigint := routing.lock_tenant(p_tenant);
    v_role smallint := routing.role_of(p_tenant, p_actor);
    v_item routing.work_item := routing.take_item(p_tenant, p_conversation, p_if_version);
    v_queue uuid := p_queue;
    v_reason text := 'transferred' || CASE WHEN p_reason = '' THEN '' ELSE ': ' || p_reason END;
BEGIN
    IF v_role = 1 AND v_item.agent_id IS DISTINCT FROM p_actor THEN
        PERFORM routing.fail('forbidden', 'only its agent or a supervisor transfers a conversation');
    END IF;
    IF v_queue IS NULL AND p_agent IS NOT NULL THEN
        SELECT queue_id INTO v_queue FROM routing.queue_agent
        WHERE tenant = p_tenant AND agent_id = p_agent ORDER BY (queue_id = v_item.queue_id) DESC, queue_id
        LIMIT 1;
    END IF;
    IF v_queue IS NULL OR NOT EXISTS (SELECT FROM routing.queue WHERE tenant = p_tenant AND id = v_queue) THEN
        PERFORM routing.fail('not_found', 'no such queue, or the agent is in none');
    END IF;
    IF p_agent IS NOT NULL THEN
        IF v_item.agent_id = p_agent AND v_item.queue_id = v_queue THEN
            RETURN v_sequence;
        END IF;
        PERFORM routing.check_receiver(p_tenant, p_agent, v_queue, v_role);
    END IF;
    PERFORM routing.put_waiting(p_tenant, p_conversation, v_queue, NULL, v_reason);
    IF p_agent IS NOT NULL THEN
        v_sequence := routing.give(p_tenant, p_conversation, p_agent, p_actor, v_reason, v_sequence);
    ELSE
        v_sequence := v_sequence + 1;
        INSERT INTO routing.event (tenant, sequence, type, at, conversation_id, conversation_number,
                                   previous_agent_id, queue_id, actor_id, customer_id, reason)
        SELECT p_tenant, v_sequence, 5, updated_at, conversation_id, conversation_number, previous_agent_id,
               queue_id, p_actor, customer_id, reason
        FROM routing.work_item WHERE tenant = p_tenant AND conversation_id = p_conversation;
    END IF;
    v_sequence := routing.assign(p_tenant, '{}', v_sequence);
    PERFORM routing.finish(p_tenant, v_sequence, false);
    RETURN v_sequence;
END $$;
