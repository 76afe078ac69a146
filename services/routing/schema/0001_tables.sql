-- SPDX-License-Identifier: Apache-2.0
-- Tables of the routing service.
--
-- Every primary key and unique constraint starts with the tenant, so that the schema can be distributed by
-- it. Numbers of kinds and states are those of proto/guichet/v1. All writing goes through the functions of
-- the next files, which lock the tenant's counter row first: writers of one tenant are serial, hence no
-- deadlock, no double assignment, and an event log in commit order without holes.
CREATE SCHEMA IF NOT EXISTS routing;

CREATE TABLE routing.counter (
    tenant         text PRIMARY KEY,
    epoch          uuid NOT NULL DEFAULT gen_random_uuid(),
    event_sequence bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);

-- Cursor on context's change feed, and who reads it. `fencing` grows with each change of hands.
CREATE TABLE routing.feed (
    tenant        text PRIMARY KEY REFERENCES routing.counter,
    cursor        bigint NOT NULL DEFAULT 0,
    context_epoch text NOT NULL DEFAULT '',
    holder        uuid,
    fencing       bigint NOT NULL DEFAULT 0,
    expires_at    timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 10);

CREATE TABLE routing.queue (
    tenant   text NOT NULL REFERENCES routing.counter,
    id       uuid NOT NULL,
    name     text NOT NULL,
    -- The lowest is where accounts go that no queue names.
    position integer NOT NULL,
    accounts text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name)
);

CREATE TABLE routing.agent (
    tenant        text NOT NULL REFERENCES routing.counter,
    id            uuid NOT NULL,
    login         text NOT NULL,
    display_name  text NOT NULL,
    password_hash text NOT NULL,
    role          smallint NOT NULL,
    presence      smallint NOT NULL DEFAULT 0,
    capacity      integer NOT NULL CHECK (capacity >= 0),
    -- Work items assigned now: kept here because picking the longest idle of thousands must not count.
    load          integer NOT NULL DEFAULT 0 CHECK (load >= 0),
    idle_since    timestamptz NOT NULL DEFAULT now(),
    seen_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, login)
) WITH (fillfactor = 70);
CREATE INDEX agent_present ON routing.agent (tenant, seen_at) WHERE presence <> 0;

CREATE TABLE routing.queue_agent (
    tenant     text NOT NULL,
    queue_id   uuid NOT NULL,
    agent_id   uuid NOT NULL,
    -- The agent's idle_since while online with room, else NULL.
    free_since timestamptz,
    PRIMARY KEY (tenant, queue_id, agent_id),
    FOREIGN KEY (tenant, queue_id) REFERENCES routing.queue,
    FOREIGN KEY (tenant, agent_id) REFERENCES routing.agent
) WITH (fillfactor = 70);
CREATE INDEX queue_agent_free ON routing.queue_agent (tenant, queue_id, free_since, agent_id)
    WHERE free_since IS NOT NULL;
CREATE INDEX queue_agent_agent ON routing.queue_agent (tenant, agent_id);

CREATE TABLE routing.session (
    tenant     text NOT NULL,
    token_hash bytea NOT NULL,
    agent_id   uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, token_hash),
    FOREIGN KEY (tenant, agent_id) REFERENCES routing.agent
);
-- A token is looked up before its tenant is known.
CREATE INDEX session_token ON routing.session (token_hash);
CREATE INDEX session_agent ON routing.session (tenant, agent_id);

-- Attempts since the window began; kept for unknown logins as well, so that they cannot be told apart.
CREATE TABLE routing.login_attempt (
    tenant        text NOT NULL,
    login         text NOT NULL,
    attempt_count integer NOT NULL,
    began_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant, login)
);

CREATE TABLE routing.channel_account (
    tenant          text NOT NULL REFERENCES routing.counter,
    id              text NOT NULL,
    connector       text NOT NULL,
    channel         text NOT NULL,
    address         text NOT NULL,
    display_name    text NOT NULL,
    queue_id        uuid,
    -- guichet.v1.Capabilities, packed; the next four are taken out of it.
    capabilities    bytea NOT NULL,
    sends_per_s     integer NOT NULL DEFAULT 0,
    resend          smallint NOT NULL DEFAULT 0,
    retry_horizon_s integer NOT NULL DEFAULT 0,
    media_delivery  smallint NOT NULL DEFAULT 0,
    announced_at    timestamptz NOT NULL,
    -- Token bucket by virtual scheduling (GCRA): when the last sending granted is due at the plain rate.
    bucket_at       timestamptz NOT NULL DEFAULT '2000-01-01Z',
    -- The provider slows the whole account down.
    paused_until    timestamptz NOT NULL DEFAULT '2000-01-01Z',
    -- What waits in its connector's spool, by the connector's last word.
    spool_count     bigint NOT NULL DEFAULT 0,
    spool_oldest_at timestamptz,
    PRIMARY KEY (tenant, id)
) WITH (fillfactor = 70);
-- An account's id is unique in the system.
CREATE INDEX channel_account_id ON routing.channel_account (id);

-- Order of waiting and of changing. Writers of a tenant are serial, so its numbers grow in commit order.
CREATE SEQUENCE routing.position CACHE 1;

-- No foreign keys from here on: each would be paid for by every message.
CREATE TABLE routing.work_item (
    tenant              text NOT NULL,
    conversation_id     uuid NOT NULL,
    conversation_number integer NOT NULL,
    customer_id         uuid,
    state               smallint NOT NULL,          -- 1 waiting, 2 assigned, 3 closed
    queue_id            uuid NOT NULL,
    agent_id            uuid,
    previous_agent_id   uuid,
    -- Who gets it back when online with room; a transfer clears it.
    preferred_agent_id  uuid,
    waiting_since       timestamptz,
    waiting_position    bigint NOT NULL,
    assigned_at         timestamptz,
    updated_at          timestamptz NOT NULL,
    changed_position    bigint NOT NULL,
    version             integer NOT NULL DEFAULT 1,
    reason              text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, conversation_id),
    CHECK ((state = 2) = (agent_id IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX work_item_waiting ON routing.work_item (tenant, queue_id, waiting_position) WHERE state = 1;
CREATE INDEX work_item_load ON routing.work_item (tenant, agent_id, changed_position) WHERE state = 2;
CREATE INDEX work_item_taken ON routing.work_item (tenant, changed_position) WHERE state = 2;
CREATE INDEX work_item_changed ON routing.work_item (tenant, changed_position);

CREATE TABLE routing.delivery (
    tenant          text NOT NULL,
    id              uuid NOT NULL,
    message_id      uuid NOT NULL,
    conversation_id uuid NOT NULL,
    conversation_number integer NOT NULL,
    thread_id       uuid NOT NULL,
    account_id      text NOT NULL,
    sequence        integer NOT NULL,               -- the message's place in its thread
    state           smallint NOT NULL DEFAULT 1,
    attempt_count   integer NOT NULL DEFAULT 0,
    lease           uuid,
    -- Leased, sending, or unknown and not yet given up: the thread's line waits for it.
    is_holding      boolean NOT NULL DEFAULT false,
    -- When holding ends by itself: the lease's end, or the end of waiting for an unknown one.
    deadline_at     timestamptz,
    queued_at       timestamptz NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    sent_at         timestamptz,
    updated_at      timestamptz NOT NULL,
    provider_id     text NOT NULL DEFAULT '',
    reason          smallint NOT NULL DEFAULT 0,
    provider_code   text NOT NULL DEFAULT '',
    provider_text   text NOT NULL DEFAULT '',
    -- guichet.v1.Outbound, packed; NULL once the delivery is final (a dead letter has it then).
    payload         bytea,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, message_id),
    CHECK (is_holding = (deadline_at IS NOT NULL))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01);
-- The rule of one at a time per thread, as a constraint.
CREATE UNIQUE INDEX delivery_flight ON routing.delivery (tenant, thread_id) WHERE is_holding;
CREATE INDEX delivery_line ON routing.delivery (tenant, thread_id, sequence) WHERE state = 1 OR is_holding;
CREATE INDEX delivery_ready ON routing.delivery (tenant, account_id, next_attempt_at) WHERE state = 1;
CREATE INDEX delivery_deadline ON routing.delivery (tenant, deadline_at) WHERE is_holding;
CREATE INDEX delivery_provider ON routing.delivery (tenant, account_id, provider_id) WHERE provider_id <> '';
CREATE INDEX delivery_watermark ON routing.delivery (tenant, thread_id, sent_at) WHERE state IN (4, 5);
CREATE INDEX delivery_conversation ON routing.delivery (tenant, conversation_id);
CREATE INDEX delivery_unknown ON routing.delivery (tenant, updated_at) WHERE state = 8;

-- Receipts that came before our own Report told the provider's id.
CREATE TABLE routing.parked_receipt (
    tenant        text NOT NULL,
    account_id    text NOT NULL,
    provider_id   text NOT NULL,
    state         smallint NOT NULL,
    reason        smallint NOT NULL,
    provider_code text NOT NULL,
    provider_text text NOT NULL,
    parked_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant, account_id, provider_id, state)
);
CREATE INDEX parked_receipt_age ON routing.parked_receipt (tenant, parked_at);

CREATE TABLE routing.event (
    tenant              text NOT NULL,
    sequence            bigint NOT NULL,
    type                smallint NOT NULL,
    at                  timestamptz NOT NULL,
    conversation_id     uuid,
    conversation_number integer,
    agent_id            uuid,
    previous_agent_id   uuid,
    queue_id            uuid,
    actor_id            uuid,
    customer_id         uuid,
    reason              text,
    message_id          uuid,
    thread_id           uuid,
    message_sequence    integer,
    direction           smallint,
    message_kind        smallint,
    channel             text,
    account_id          text,
    text                text,
    occurred_at         timestamptz,
    delivery_id         uuid,
    delivery_state      smallint,
    attempt_count       integer,
    provider_id         text,
    failure_reason      smallint,
    provider_code       text,
    provider_text       text,
    queued_at           timestamptz,
    next_attempt_at     timestamptz,
    presence            smallint,
    dead_letter_id      uuid,
    other_customer_id   uuid,
    other_conversation_id uuid,
    PRIMARY KEY (tenant, sequence)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);
