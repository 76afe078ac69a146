-- SPDX-License-Identifier: Apache-2.0
-- 0001 tables: who the customer is, and all that was ever said.
--
-- Every key begins with the tenant, so that the schema can be distributed by it. Keys that people
-- or providers choose compare as bytes (COLLATE "C"). There are no foreign keys: each costs a lookup
-- per message, and every row here is written by the functions of this schema only. Each index is
-- paid per message as well; the ones here are the ones that a query needs. Those that begin with a
-- UUID leave the tenant out (queries do not): it would only make them larger, and give the planner one
-- more way to read a whole tenant.
CREATE SCHEMA IF NOT EXISTS context;

-- Which life of the database this is: a cursor of another life is worth nothing.
CREATE TABLE context.meta (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    epoch uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO context.meta DEFAULT VALUES;

-- One row per tenant, locked last in every writing transaction: so sequence is commit order.
CREATE TABLE context.counter (
    tenant text COLLATE "C" PRIMARY KEY,
    change_sequence bigint NOT NULL DEFAULT 0,
    conversation_number bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);

-- A person is one customer, or several that merges connect (0006). root_id is the smallest id of them: the
-- row that is locked, in id order, before anything of the person changes. was_merged stays true for ever:
-- where it is false, nobody's root was ever another.
CREATE TABLE context.customer (
    tenant text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    root_id uuid NOT NULL,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    was_merged boolean NOT NULL DEFAULT false,
    display_name text NOT NULL DEFAULT '',
    name_key text COLLATE "C" NOT NULL
        GENERATED ALWAYS AS (lower(left(display_name, 100) COLLATE "und-x-icu")) STORED,
    PRIMARY KEY (tenant, id)
) WITH (fillfactor = 80);
CREATE INDEX customer_name ON context.customer (tenant, name_key, id);
CREATE INDEX customer_root ON context.customer (root_id) WHERE root_id <> id;

-- customer_id is the leaf: merging adds edges, it never rewrites it. root_id is that customer's, so that a batch
-- finds the row to lock without a second lookup.
CREATE TABLE context.identity (
    tenant text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    customer_id uuid NOT NULL,
    root_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind smallint NOT NULL,
    is_verified boolean NOT NULL DEFAULT false,
    scope text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    display_name text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, id),
    -- The column that tells most comes first: each comparison on the way down ends there.
    UNIQUE (tenant, value, kind, scope)
);
CREATE INDEX identity_customer ON context.identity (customer_id);

-- customer_id is the leaf that opened it. joined_into_id: where its threads went, for ever.
-- last_preview is NULL after a split: who reads it makes it from the last message.
CREATE TABLE context.conversation (
    tenant text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    customer_id uuid NOT NULL,
    joined_into_id uuid,
    number bigint NOT NULL,
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at timestamptz,
    last_message_at timestamptz,
    version integer NOT NULL DEFAULT 1,
    state smallint NOT NULL DEFAULT 1,
    subject text NOT NULL DEFAULT '',
    last_preview text DEFAULT '',
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, number)
) WITH (fillfactor = 80);
CREATE INDEX conversation_open ON context.conversation (customer_id) WHERE state = 1;

-- (account, identity, key) names it; only one row of a name is current, the others belong to
-- conversations that ended.
CREATE TABLE context.thread (
    tenant text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    identity_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_inbound_at timestamptz,
    last_sequence integer NOT NULL DEFAULT 0,
    is_current boolean NOT NULL DEFAULT true,
    is_public boolean NOT NULL DEFAULT false,
    account_id text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    thread_key text COLLATE "C" NOT NULL DEFAULT '',
    origin_key text COLLATE "C" NOT NULL DEFAULT '',
    title text NOT NULL DEFAULT '',
    url text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, id)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX thread_current ON context.thread (tenant, identity_id, account_id, thread_key) WHERE is_current;
CREATE INDEX thread_conversation ON context.thread (conversation_id);
CREATE INDEX thread_identity ON context.thread (identity_id);

-- By month of the UUIDv7, so that age is dropped by the table. Account and channel are its thread's.
-- customer_id is for ever the leaf customer it came from or went to.
CREATE TABLE context.message (
    tenant text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    thread_id uuid,
    customer_id uuid NOT NULL,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz,
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    sequence integer NOT NULL DEFAULT 0,
    direction smallint NOT NULL,
    kind smallint NOT NULL DEFAULT 1,
    media_count smallint NOT NULL DEFAULT 0,    -- its parts in context.media, which say how its media stand
    is_removed boolean NOT NULL DEFAULT false,
    provider_id text COLLATE "C",
    author_id text COLLATE "C",
    reaction text,
    content bytea NOT NULL,
    PRIMARY KEY (tenant, id)
) PARTITION BY RANGE (id);
CREATE INDEX message_conversation ON context.message (conversation_id, id);
CREATE INDEX message_customer ON context.message (customer_id, id);
CREATE TABLE context.message_default PARTITION OF context.message DEFAULT;

-- The provider's payload as it came, for every recorded event. The id is the message's where the event made one.
CREATE TABLE context.message_raw (
    tenant text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    raw_type text COLLATE "C",
    raw bytea,
    PRIMARY KEY (tenant, id)
) PARTITION BY RANGE (id);
CREATE TABLE context.message_raw_default PARTITION OF context.message_raw DEFAULT;

-- What makes recording happen once. Not partitioned: a replay must be known whenever it comes.
CREATE TABLE context.event_key (
    tenant text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    account_id text COLLATE "C" NOT NULL,
    event_key text COLLATE "C" NOT NULL,
    content_hash bytea NOT NULL,
    PRIMARY KEY (tenant, account_id, event_key)
);

-- The change feed: narrow rows, consecutive per tenant.
CREATE TABLE context.change (
    tenant text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    at timestamptz NOT NULL,
    kind smallint NOT NULL,
    direction smallint,
    message_kind smallint,
    state smallint,
    message_sequence integer,
    conversation_number bigint,
    conversation_id uuid,
    thread_id uuid,
    customer_id uuid,
    other_conversation_id uuid,
    other_customer_id uuid,
    message_id uuid,
    occurred_at timestamptz,
    watermark_at timestamptz,
    failure_reason smallint,
    receipt_state smallint,
    consent smallint,
    media_count smallint,
    media_part smallint,
    attempt_count integer,
    refused_id uuid,
    thread_ids uuid[],          -- what a split took along
    is_new_conversation boolean NOT NULL DEFAULT false,
    is_reopened boolean NOT NULL DEFAULT false,
    account_id text COLLATE "C",
    channel text COLLATE "C",
    text text,
    provider_id text COLLATE "C",
    delivery_id text COLLATE "C",
    provider_code text,
    provider_text text,
    actor_id text COLLATE "C",
    reason text,
    PRIMARY KEY (tenant, sequence)
);

-- May we write to this identity from this account? No row: nobody said anything.
CREATE TABLE context.consent (
    tenant text COLLATE "C" NOT NULL,
    identity_id uuid NOT NULL,
    changed_at timestamptz NOT NULL,
    state smallint NOT NULL,
    account_id text COLLATE "C" NOT NULL,
    evidence text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, identity_id, account_id)
);

-- Who a provider or a page says a sender is: evidence for merging.
CREATE TABLE context.claim (
    tenant text COLLATE "C" NOT NULL,
    message_id uuid NOT NULL,
    identity_id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind smallint NOT NULL,
    is_verified boolean NOT NULL,
    scope text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    proof text NOT NULL,
    PRIMARY KEY (tenant, message_id)
);

CREATE TABLE context.read_mark (
    tenant text COLLATE "C" NOT NULL,
    conversation_id uuid NOT NULL,
    message_id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    agent_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, conversation_id, agent_id)
);

-- What makes storing an outbound message happen once.
CREATE TABLE context.outbound_key (
    tenant text COLLATE "C" NOT NULL,
    message_id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor_id text COLLATE "C" NOT NULL,
    idempotency_key text COLLATE "C" NOT NULL,
    content_hash bytea NOT NULL,
    PRIMARY KEY (tenant, actor_id, idempotency_key)
);

-- Events refused for good, whole. The same event refused again is the same row. The bytes of a dead one
-- (is_dead) were never read. A replay that records it says here what it recorded.
CREATE TABLE context.refused_event (
    tenant text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    replayed_at timestamptz,
    boot_n bigint NOT NULL DEFAULT 0,
    boot_lane integer NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 1,
    state smallint NOT NULL DEFAULT 1,          -- 1 open, 2 replayed: it is recorded
    recorded_result smallint NOT NULL DEFAULT 0,
    recorded_sequence integer NOT NULL DEFAULT 0,
    recorded_message uuid,
    recorded_conversation uuid,
    recorded_thread uuid,
    is_dead boolean NOT NULL DEFAULT false,
    content_hash bytea NOT NULL,
    account_id text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    event_key text COLLATE "C" NOT NULL,
    boot_id text COLLATE "C" NOT NULL DEFAULT '',
    replayed_by text COLLATE "C",
    reason text NOT NULL,
    event bytea NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, content_hash)
);
CREATE INDEX refused_event_age ON context.refused_event (id);
