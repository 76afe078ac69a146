-- SPDX-License-Identifier: Apache-2.0
-- 0008 blobs: bytes by their SHA-256, the uploads they come from, and how both are collected.
--
-- An upload is chunks under an id of the uploader's choice. Finished, its chunks are the blob (store 1), or
-- they are copied to another store and dropped in bites. A blob remembers its store and its place there, so
-- that another setting later leaves it readable. Places name the upload, so none is ever written twice: what
-- is deleted in a store can be nobody else's.
--
-- Locks: the upload's row, then the blob's, then a removal's. Who refers to a blob holds its row; who
-- collects it takes only rows that nobody holds, and looks again under the lock.

CREATE TABLE context.blob (
    tenant text COLLATE "C" NOT NULL,
    sha256 bytea NOT NULL,
    size_bytes bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Since when nothing refers to it; NULL while something does.
    idle_since timestamptz DEFAULT clock_timestamp(),
    store smallint NOT NULL, -- 1 database, 2 s3, 3 directory
    place text COLLATE "C" NOT NULL, -- the upload's id, the object's key, the file's path
    content_type text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, sha256)
);
CREATE INDEX blob_idle ON context.blob (idle_since) WHERE idle_since IS NOT NULL;

-- Which part of which message it is.
CREATE TABLE context.blob_ref (
    tenant text COLLATE "C" NOT NULL,
    sha256 bytea NOT NULL,
    message_id uuid NOT NULL,
    part_index integer NOT NULL,
    PRIMARY KEY (tenant, sha256, message_id, part_index)
);

-- 1 open; 2 finished, and its chunks are the blob; 3 finished, its chunks go; 4 given up, all of it goes;
-- 5 finished, remembered for those who ask again.
CREATE TABLE context.blob_upload (
    tenant text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    -- Since its last chunk, within ten seconds; while it is being finished, the moment when that must have
    -- ended; then since that.
    idle_since timestamptz NOT NULL DEFAULT clock_timestamp(),
    state smallint NOT NULL DEFAULT 1,
    sha256 bytea, -- once finished
    PRIMARY KEY (tenant, id)
);
CREATE INDEX blob_upload_open ON context.blob_upload (tenant) WHERE state = 1;
CREATE INDEX blob_upload_old ON context.blob_upload (idle_since) WHERE state IN (1, 5);
CREATE INDEX blob_upload_going ON context.blob_upload (tenant, id) WHERE state IN (3, 4);

-- Stored out of line and not compressed: media are already, and a piece can be read without the rest.
CREATE TABLE context.blob_chunk (
    tenant text COLLATE "C" NOT NULL,
    upload_id uuid NOT NULL,
    chunk_offset bigint NOT NULL,
    bytes bytea NOT NULL,
    PRIMARY KEY (tenant, upload_id, chunk_offset)
);
ALTER TABLE context.blob_chunk ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- What may be in a store without a blob: written down before it is put there, taken out by the commit that
-- makes the blob. Who removes it dooms it first; what is doomed is put there by nobody any more.
CREATE TABLE context.blob_removal (
    tenant text COLLATE "C" NOT NULL,
    store smallint NOT NULL,
    place text COLLATE "C" NOT NULL,
    due_at timestamptz NOT NULL,
    is_doomed boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant, store, place)
);
CREATE INDEX blob_removal_due ON context.blob_removal (due_at);

-- Gives up a tenant's open uploads that nobody has added to for so long; gives how many.
CREATE FUNCTION context.give_up_uploads(p_tenant text, p_idle_ms bigint) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_count integer;
BEGIN
    UPDATE context.blob_upload u SET state = 4 FROM (
        SELECT o.tenant, o.id FROM context.blob_upload o
        WHERE o.tenant = p_tenant AND o.state = 1 AND o.idle_since < clock_timestamp() - p_idle_ms * interval '1 millisecond'
        FOR UPDATE SKIP LOCKED) old
    WHERE u.tenant = old.tenant AND u.id = old.id;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

-- The first chunk begins the upload. Its row is held, so that finishing and collecting wait for the chunk. Where a tenant
-- has too many open, those of uploaders that have vanished make room (p_crowded_idle_ms).
CREATE FUNCTION context.put_chunk(p_tenant text, p_upload uuid, p_offset bigint, p_bytes bytea,
    p_uploads_max integer, p_crowded_idle_ms bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_state smallint;
    v_idle_since timestamptz;
    v_open integer;
BEGIN
    SELECT u.state, u.idle_since INTO v_state, v_idle_since FROM context.blob_upload u WHERE u.tenant = p_tenant AND u.id = p_upload
    FOR KEY SHARE;
    IF NOT FOUND THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('context.blob_upload ' || p_tenant, 0));
        v_open := (SELECT count(*) FROM context.blob_upload u
                   WHERE u.tenant = p_tenant AND u.state = 1 AND u.id <> p_upload);
        IF v_open >= p_uploads_max AND v_open - context.give_up_uploads(p_tenant, p_crowded_idle_ms) >= p_uploads_max THEN
            PERFORM context.fail('exhausted', format('%s uploads are open already', p_uploads_max));
        END IF;
        INSERT INTO context.blob_upload (tenant, id) VALUES (p_tenant, p_upload) ON CONFLICT DO NOTHING;
        SELECT u.state INTO v_state FROM context.blob_upload u WHERE u.tenant = p_tenant AND u.id = p_upload
        FOR KEY SHARE;
    END IF;
    IF v_state IS DISTINCT FROM 1 THEN
        PERFORM context.fail('conflict', format('upload %s: has ended', p_upload));
    END IF;
    INSERT INTO context.blob_chunk (tenant, upload_id, chunk_offset, bytes)
    VALUES (p_tenant, p_upload, p_offset, p_bytes) ON CONFLICT DO NOTHING;
    IF NOT FOUND AND NOT EXISTS (SELECT FROM context.blob_chunk c WHERE c.tenant = p_tenant
            AND c.upload_id = p_upload AND c.chunk_offset = p_offset AND c.bytes = p_bytes) THEN
        PERFORM context.fail('conflict', format('upload %s: has other bytes at %s', p_upload, p_offset));
    END IF;
    -- Not with each chunk: those of one upload that come at once would wait for each other.
    IF v_idle_since < clock_timestamp() - interval '10 seconds' THEN
        UPDATE context.blob_upload u SET idle_since = clock_timestamp()
        WHERE u.tenant = p_tenant AND u.id = p_upload AND u.idle_since < clock_timestamp() - interval '10 seconds';
    END IF;
END $$;

-- Is it whole? Gives the SHA-256 when it is finished already; otherwise NULL, or fails with what is wrong. Whole, it is
-- nobody's to give up while it may be being finished (p_hold_ms).
CREATE FUNCTION context.check_upload(p_tenant text, p_upload uuid, p_size bigint, p_hold_ms bigint) RETURNS bytea
LANGUAGE plpgsql AS $$
DECLARE
    c_chunk CONSTANT bigint := 262144;
    v_upload context.blob_upload;
    v_wrong record;
BEGIN
    SELECT * INTO v_upload FROM context.blob_upload u WHERE u.tenant = p_tenant AND u.id = p_upload;
    IF NOT FOUND OR v_upload.state = 4 THEN
        PERFORM context.fail('not_found', format('upload %s: there is none', p_upload));
    ELSIF v_upload.state <> 1 THEN
        RETURN v_upload.sha256;
    END IF;
    SELECT count(*) AS missing, min(s.at) AS first INTO v_wrong
    FROM generate_series(0, greatest(p_size - 1, 0), c_chunk) AS s (at)
    WHERE NOT EXISTS (SELECT FROM context.blob_chunk c WHERE c.tenant = p_tenant AND c.upload_id = p_upload
                      AND c.chunk_offset = s.at);
    IF v_wrong.missing > 0 THEN
        PERFORM context.fail('invalid', format('upload %s: %s chunks are missing, the first at %s', p_upload,
                                               v_wrong.missing, v_wrong.first));
    END IF;
    SELECT c.chunk_offset AS at, octet_length(c.bytes) AS has INTO v_wrong FROM context.blob_chunk c
    WHERE c.tenant = p_tenant AND c.upload_id = p_upload
        AND octet_length(c.bytes) <> greatest(least(c_chunk, p_size - c.chunk_offset), 0)
    ORDER BY c.chunk_offset LIMIT 1;
    IF FOUND THEN
        PERFORM context.fail('invalid', format('upload %s: the chunk at %s has %s bytes, in %s bytes of all',
                                               p_upload, v_wrong.at, v_wrong.has, p_size));
    END IF;
    UPDATE context.blob_upload u
    SET idle_since = greatest(u.idle_since, clock_timestamp() + p_hold_ms * interval '1 millisecond')
    WHERE u.tenant = p_tenant AND u.id = p_upload AND u.state = 1;
    RETURN NULL;
END $$;

-- Before something is put into a store. false: the upload has ended, and there is nothing to put. A finished
-- upload's place must not come onto the list again, for its blob lies there.
CREATE FUNCTION context.intend_blob(p_tenant text, p_upload uuid, p_store integer, p_place text, p_hold_ms bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM context.blob_upload u WHERE u.tenant = p_tenant AND u.id = p_upload AND u.state = 1 FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO context.blob_removal AS r (tenant, store, place, due_at)
    VALUES (p_tenant, p_store, p_place, clock_timestamp() + p_hold_ms * interval '1 millisecond')
    ON CONFLICT (tenant, store, place) DO UPDATE SET due_at = excluded.due_at WHERE NOT r.is_doomed;
    IF NOT FOUND THEN
        PERFORM context.fail('unavailable', format('place %s: is being removed', p_place));
    END IF;
    RETURN true;
END $$;

-- The upload becomes a blob, or is found to be one that is there. Asked again it answers the same.
CREATE FUNCTION context.finish_upload(p_tenant text, p_upload uuid, p_sha256 bytea, p_size bigint,
    p_content_type text, p_store integer, p_place text) RETURNS SETOF context.blob LANGUAGE plpgsql AS $$
DECLARE
    v_upload context.blob_upload;
    v_is_ours boolean;
BEGIN
    SELECT * INTO v_upload FROM context.blob_upload u WHERE u.tenant = p_tenant AND u.id = p_upload FOR UPDATE;
    IF NOT FOUND OR v_upload.state = 4 THEN
        PERFORM context.fail('not_found', format('upload %s: there is none', p_upload));
    ELSIF v_upload.state = 1 THEN
        INSERT INTO context.blob AS b (tenant, sha256, size_bytes, store, place, content_type)
        VALUES (p_tenant, p_sha256, p_size, p_store, p_place, p_content_type)
        ON CONFLICT (tenant, sha256) DO UPDATE SET
            idle_since = CASE WHEN b.idle_since IS NOT NULL THEN clock_timestamp() END
        RETURNING b.store = p_store AND b.place = p_place INTO v_is_ours;
        UPDATE context.blob_upload u SET sha256 = p_sha256, idle_since = clock_timestamp(),
            state = CASE WHEN v_is_ours AND p_store = 1 THEN 2 ELSE 3 END
        WHERE u.tenant = p_tenant AND u.id = p_upload;
        IF v_is_ours AND p_store <> 1 THEN
            DELETE FROM context.blob_removal r
            WHERE r.tenant = p_tenant AND r.store = p_store AND r.place = p_place AND NOT r.is_doomed;
            IF NOT FOUND THEN
                PERFORM context.fail('unavailable', format('place %s: is being removed', p_place));
            END IF;
        ELSIF p_store <> 1 THEN
            UPDATE context.blob_removal r SET due_at = clock_timestamp()
            WHERE r.tenant = p_tenant AND r.store = p_store AND r.place = p_place;
        END IF;
    END IF;
    RETURN QUERY SELECT * FROM context.blob b
    WHERE b.tenant = p_tenant AND b.sha256 = coalesce(v_upload.sha256, p_sha256);
END $$;

-- Gives it up, unless it is finished. No upload is no error.
CREATE FUNCTION context.abort_upload(p_tenant text, p_upload uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM context.blob_upload u WHERE u.tenant = p_tenant AND u.id = p_upload FOR UPDATE;
    UPDATE context.blob_upload u SET state = 4 WHERE u.tenant = p_tenant AND u.id = p_upload AND u.state = 1;
END $$;

-- A message's part is this blob: holds its row until commit, so that it is not collected meanwhile.
CREATE FUNCTION context.ref_blob(p_tenant text, p_sha256 bytea, p_message uuid, p_part integer)
RETURNS context.blob LANGUAGE plpgsql AS $$
DECLARE
    v_blob context.blob;
BEGIN
    SELECT * INTO v_blob FROM context.blob b WHERE b.tenant = p_tenant AND b.sha256 = p_sha256 FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM context.fail('not_found', format('blob %s: there is none', encode(p_sha256, 'hex')));
    END IF;
    IF v_blob.idle_since IS NOT NULL THEN
        UPDATE context.blob b SET idle_since = NULL WHERE b.tenant = p_tenant AND b.sha256 = p_sha256;
    END IF;
    INSERT INTO context.blob_ref (tenant, sha256, message_id, part_index)
    VALUES (p_tenant, p_sha256, p_message, p_part) ON CONFLICT DO NOTHING;
    RETURN v_blob;
END $$;

-- The same for what a connector says it has stored. What is not there any more fails, and the message says so: p_gone.
CREATE FUNCTION context.ref_media(p_tenant text, p_message uuid, p_part integer, p_sha256 bytea, p_gone bytea) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM context.blob b WHERE b.tenant = p_tenant AND b.sha256 = p_sha256 FOR NO KEY UPDATE;
    IF FOUND THEN
        PERFORM context.ref_blob(p_tenant, p_sha256, p_message, p_part);
    ELSE
        UPDATE context.media a SET state = 3, media = p_gone
        WHERE a.tenant = p_tenant AND a.message_id = p_message AND a.part_index = p_part;
    END IF;
END $$;

-- Drops so many chunks of one upload that goes; gives how many. The last bite ends it.
CREATE FUNCTION context.drop_chunks(p_tenant text, p_upload uuid, p_limit integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_state smallint;
    v_dropped integer;
BEGIN
    SELECT u.state INTO v_state FROM context.blob_upload u
    WHERE u.tenant = p_tenant AND u.id = p_upload AND u.state IN (3, 4) FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    DELETE FROM context.blob_chunk c WHERE c.tenant = p_tenant AND c.upload_id = p_upload AND c.chunk_offset IN
        (SELECT d.chunk_offset FROM context.blob_chunk d WHERE d.tenant = p_tenant AND d.upload_id = p_upload
         ORDER BY d.chunk_offset LIMIT p_limit);
    GET DIAGNOSTICS v_dropped = ROW_COUNT;
    IF v_dropped = p_limit THEN
        RETURN v_dropped;
    ELSIF v_state = 3 THEN
        UPDATE context.blob_upload u SET state = 5 WHERE u.tenant = p_tenant AND u.id = p_upload;
    ELSE
        DELETE FROM context.blob_upload u WHERE u.tenant = p_tenant AND u.id = p_upload;
    END IF;
    RETURN v_dropped;
END $$;

-- One blob that nothing refers to any more: the row goes, its bytes are next.
CREATE FUNCTION context.collect_blob(p_blob context.blob) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM context.blob_ref r WHERE r.tenant = p_blob.tenant AND r.sha256 = p_blob.sha256) THEN
        UPDATE context.blob b SET idle_since = NULL
        WHERE b.tenant = p_blob.tenant AND b.sha256 = p_blob.sha256;
        RETURN false;
    END IF;
    DELETE FROM context.blob b WHERE b.tenant = p_blob.tenant AND b.sha256 = p_blob.sha256;
    IF p_blob.store = 1 THEN
        UPDATE context.blob_upload u SET state = 4
        WHERE u.tenant = p_blob.tenant AND u.id = p_blob.place::uuid AND u.state = 2;
    ELSE
        INSERT INTO context.blob_removal (tenant, store, place, due_at)
        VALUES (p_blob.tenant, p_blob.store, p_blob.place, clock_timestamp()) ON CONFLICT DO NOTHING;
    END IF;
    RETURN true;
END $$;

-- One bite of collecting. `did` says whether to come again at once; nothing when another replica is at it.
CREATE FUNCTION context.collect_blobs(p_idle_ms bigint, p_grace_ms bigint, p_limit integer, OUT did integer, OUT blobs integer,
    OUT uploads integer) LANGUAGE plpgsql AS $$
DECLARE
    v_before timestamptz := clock_timestamp() - p_grace_ms * interval '1 millisecond';
    v_blob context.blob;
    v_upload record;
    v_count integer;
BEGIN
    did := 0;
    blobs := 0;
    uploads := 0;
    IF NOT pg_try_advisory_xact_lock(hashtext('context.collect_blobs')) THEN
        RETURN;
    END IF;
    UPDATE context.blob_upload u SET state = 4 FROM (
        SELECT o.tenant, o.id FROM context.blob_upload o WHERE o.state = 1
            AND o.idle_since < clock_timestamp() - p_idle_ms * interval '1 millisecond'
        ORDER BY o.idle_since LIMIT p_limit FOR UPDATE SKIP LOCKED) old
    WHERE u.tenant = old.tenant AND u.id = old.id;
    GET DIAGNOSTICS uploads = ROW_COUNT;
    DELETE FROM context.blob_upload u USING (
        SELECT o.tenant, o.id FROM context.blob_upload o WHERE o.state = 5 AND o.idle_since < v_before
        ORDER BY o.idle_since LIMIT p_limit FOR UPDATE SKIP LOCKED) old
    WHERE u.tenant = old.tenant AND u.id = old.id;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    did := uploads + v_count;
    FOR v_blob IN SELECT * FROM context.blob b WHERE b.idle_since < v_before
        ORDER BY b.idle_since LIMIT p_limit FOR UPDATE SKIP LOCKED
    LOOP
        blobs := blobs + context.collect_blob(v_blob)::integer;
        did := did + 1;
    END LOOP;
    SELECT u.tenant, u.id INTO v_upload FROM context.blob_upload u WHERE u.state IN (3, 4)
    ORDER BY u.tenant, u.id LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
        PERFORM context.drop_chunks(v_upload.tenant, v_upload.id, p_limit);
        did := did + 1;
    END IF;
END $$;

-- Takes a few things out of the list of what is to be deleted in stores. Who dies over it: they are due again soon.
CREATE FUNCTION context.claim_removals(p_limit integer, p_hold_ms bigint) RETURNS SETOF context.blob_removal
LANGUAGE sql VOLATILE AS $$
    UPDATE context.blob_removal r
    SET is_doomed = true, due_at = clock_timestamp() + p_hold_ms * interval '1 millisecond'
    FROM (SELECT o.tenant, o.store, o.place FROM context.blob_removal o WHERE o.due_at <= clock_timestamp()
          ORDER BY o.due_at LIMIT p_limit FOR UPDATE SKIP LOCKED) due
    WHERE r.tenant = due.tenant AND r.store = due.store AND r.place = due.place
    RETURNING r.*
$$;
