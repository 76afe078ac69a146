-- SPDX-License-Identifier: Apache-2.0
-- Cases of jobs, dead letters, splits and joins; on what stands at the head of schema_test.sql.

-- One change with what only some kinds have: media parts (index and state), the other conversation, threads.
CREATE FUNCTION t.more(p_kind integer, p_conversation integer, p_message integer DEFAULT NULL,
    p_parts integer[] DEFAULT '{}', p_states integer[] DEFAULT '{}', p_other integer DEFAULT NULL,
    p_state integer DEFAULT 1, p_refused uuid DEFAULT NULL, p_why text DEFAULT '',
    p_threads integer[] DEFAULT '{}', p_is_new boolean DEFAULT false, p_other_customer uuid DEFAULT NULL,
    p_account text DEFAULT 'sms-1-demo') RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_cursor bigint;
BEGIN
    UPDATE t.feed SET cursor = cursor + 1 RETURNING cursor INTO v_cursor;
    RETURN routing.apply('demo', t.id(1), 1, v_cursor - 1, 'e', 3000, ARRAY[v_cursor], ARRAY[p_kind],
        ARRAY[now()], ARRAY[t.id(p_conversation)], ARRAY[p_conversation], ARRAY[t.id(10000 + p_conversation)],
        ARRAY[t.id(20000 + p_conversation)], ARRAY[p_account], '{sms}', ARRAY[t.id(p_message)], '{1}', '{1}',
        '{1}', '{hello}', ARRAY[now()], ARRAY[p_is_new], '{f}', ARRAY[p_state], ARRAY[NULL::uuid],
        ARRAY[p_why], '{key}', '{0}', ARRAY[NULL::uuid], ARRAY[NULL::timestamptz], '{0}', '{""}', '{""}',
        ARRAY[NULL::bytea], p_other_customer => ARRAY[p_other_customer],
        p_other_conversation => ARRAY[t.id(p_other)],
        p_refused => ARRAY[p_refused], p_attempts => '{1}',
        p_media_change => array_fill(1, ARRAY[cardinality(p_parts)]), p_media_part => p_parts,
        p_media_state => p_states,
        p_media_job => ARRAY(SELECT gen_random_uuid() FROM unnest(p_parts)),
        p_media_payload => ARRAY(SELECT ('part ' || i)::bytea FROM unnest(p_parts) i),
        p_thread_change => array_fill(1, ARRAY[cardinality(p_threads)]),
        p_thread_id => ARRAY(SELECT t.id(i) FROM unnest(p_threads) i));
END $$;
-- A message with one part to be fetched.
CREATE FUNCTION t.picture(p_message integer, p_account text DEFAULT 'sms-1-demo') RETURNS bigint LANGUAGE sql AS $$
    SELECT t.more(1, 1, p_message, '{0}', '{1}', p_is_new => NOT EXISTS (SELECT FROM routing.work_item),
                  p_account => p_account)
$$;
CREATE FUNCTION t.job(p_message integer, p_part integer DEFAULT 0) RETURNS routing.job LANGUAGE sql AS $$
    SELECT * FROM routing.job WHERE tenant = 'demo' AND message_id = t.id(p_message) AND part_index = p_part
$$;
-- What a pull gives: the kinds, in order.
CREATE FUNCTION t.pulled(p_most integer DEFAULT 10, p_media_max integer DEFAULT 4) RETURNS integer[]
LANGUAGE sql AS $$
    SELECT coalesce(array_agg(kind), '{}') FROM routing.pull('demo', '{sms-1-demo,sms-2-demo}',
        (SELECT array_agg(gen_random_uuid()) FROM generate_series(1, p_most)), 60000, p_media_max)
$$;
-- What is asked of context: 0 nothing, 1 stored, 2 failed.
CREATE FUNCTION t.says(p_job routing.job, p_kind integer, p_lease uuid DEFAULT NULL,
                       p_retry_after bigint DEFAULT 0) RETURNS integer LANGUAGE sql AS $$
    SELECT ask FROM routing.report('demo', p_job.id, coalesce(p_lease, p_job.lease), p_kind, '', p_retry_after,
                                   false, 0, '404', 'gone', '{1000,2000,4000}', 600000, NULL, 5, 30000)
$$;
CREATE FUNCTION t.due() RETURNS void LANGUAGE sql AS $$
    UPDATE routing.job SET next_attempt_at = least(next_attempt_at, now()),
        deadline_at = CASE WHEN deadline_at IS NOT NULL THEN now() - interval '1 s' END WHERE state IN (1, 2, 5)
$$;
CREATE FUNCTION t.expires() RETURNS integer[] LANGUAGE sql AS $$
    SELECT coalesce(array_agg(what ORDER BY what), '{}') FROM routing.expire_jobs('demo', '{1000,2000}', 5, 30000)
$$;
CREATE FUNCTION t.letter() RETURNS routing.dead_letter LANGUAGE sql AS $$
    SELECT * FROM routing.dead_letter WHERE tenant = 'demo' ORDER BY id DESC LIMIT 1
$$;
-- `p_at`: the letter as it was when it was taken; NULL: as it is.
CREATE FUNCTION t.replays(p_letter uuid, p_actor uuid DEFAULT NULL, p_is_requeued boolean DEFAULT false,
                          p_at timestamptz DEFAULT NULL)
RETURNS boolean LANGUAGE sql AS $$
    SELECT is_changed FROM routing.replay_dead_letter('demo', p_letter, p_actor, 'guichetctl root', p_is_requeued,
        coalesce(p_at, (SELECT at FROM routing.dead_letter WHERE tenant = 'demo' AND id = p_letter)))
$$;
-- The part cannot be had, and context has heard it.
CREATE FUNCTION t.fails(p_message integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    ASSERT t.pulled() = '{1}' AND t.says(t.job(p_message), 3) = 2, 'failed for good';
    PERFORM routing.end_job('demo', (t.job(p_message)).id, 4);
END $$;

-- case: media: a job for each pending part, once; stored only after context has heard
SELECT t.more(1, 1, 7, '{0,2,3}', '{1,1,2}', p_is_new => true);
DO $$ BEGIN
    ASSERT (SELECT array_agg(part_index ORDER BY part_index) FROM routing.job) = '{0,2}', 'what is pending';
    PERFORM t.more(10, 1, 7, '{0}', '{1}');
    ASSERT (SELECT count(*) = 2 FROM routing.job), 'pending still: nothing new';
    ASSERT t.last('type') <> '15', 'pending is not told';
    ASSERT t.pulled() = '{1,1}' AND t.pulled() = '{}', 'leased once';
    ASSERT t.says(t.job(7), 1) = 1, 'stored: context hears it';
    ASSERT (t.job(7)).state = 2, 'and not before that it is done';
    ASSERT (SELECT state = 4 AND NOT is_dead FROM routing.end_job('demo', (t.job(7)).id, 3)), 'sent is done';
    ASSERT t.says(t.job(7), 1) = 0 AND t.says(t.job(7), 3) = 0 AND (t.job(7)).state = 3, 'a repeat changes nothing';
    ASSERT (SELECT state = 4 FROM routing.end_job('demo', (t.job(7)).id, 4)), 'nor does another end';
    PERFORM t.more(10, 1, 7, '{0}', '{2}', p_state => 2);
    ASSERT t.last('type') = '15' AND t.last('message_id') = t.id(7)::text, 'told';
    PERFORM t.more(10, 1, 7, '{0}', '{1}');
    ASSERT (t.job(7)).state = 1 AND (t.job(7)).attempt_count = 0, 'pending again: fetched again';
    ASSERT (SELECT count(*) = 2 FROM routing.job), 'the same job';
    PERFORM t.check_all('media');
END $$;

-- case: leases given back: what was not started is queued again, under that lease only
SELECT t.sends(1, 1, 1), t.sends(2, 2, 1);
DO $$ BEGIN
    PERFORM t.pulls();
    PERFORM t.starts(1);
    PERFORM routing.end_leases('demo', ARRAY[t.id(1), t.id(2)], ARRAY[t.lease_of(1), t.id(77)]);
    ASSERT (SELECT lease_ms > 50000 FROM routing.next_due('demo')), 'started; and another lease: both stand';
    PERFORM routing.end_leases('demo', ARRAY[t.id(2)], ARRAY[t.lease_of(2)]);
    ASSERT (SELECT lease_ms = 0 FROM routing.next_due('demo')) AND NOT t.starts(2), 'over';
    PERFORM routing.expire_leases('demo', '{1000}', 600000);
    ASSERT t.state(1) = 3 AND t.state(2) = 1 AND t.pulls(p_lease => 6000) = 1, 'for the next at once';
END $$;

-- case: a job's lease given back is no attempt
SELECT t.picture(7);
DO $$ BEGIN
    ASSERT t.pulled() = '{1}' AND (t.job(7)).attempt_count = 1, 'leased';
    PERFORM routing.end_leases('demo', ARRAY[(t.job(7)).id], ARRAY[(t.job(7)).lease]);
    ASSERT t.expires() = '{1}' AND (t.job(7)).state = 1 AND (t.job(7)).attempt_count = 0, 'as before';
    PERFORM routing.end_leases('demo', ARRAY[(t.job(7)).id], ARRAY[t.id(77)]);
    ASSERT (t.job(7)).attempt_count = 0, 'not leased: nothing to give back';
END $$;

-- case: media that cannot be had: five attempts, context, a dead letter; replayed when it is pending again
SELECT t.picture(7);
DO $$
DECLARE
    v_old uuid;
BEGIN
    FOR i IN 1 .. 4 LOOP
        PERFORM t.due();
        ASSERT t.pulled() = '{1}', format('attempt %s', i);
        v_old := (t.job(7)).lease;
        ASSERT t.says(t.job(7), CASE i % 2 WHEN 0 THEN 2 ELSE 4 END, p_retry_after => CASE i WHEN 3 THEN 70000 ELSE 0 END)
               = 0 AND (t.job(7)).state = 1, 'again later';
        ASSERT t.pulled() = '{}', 'not at once';
        IF i = 3 THEN
            ASSERT (SELECT ready_ms BETWEEN 69000 AND 70000 FROM routing.next_due('demo')), 'as the provider said';
        END IF;
    END LOOP;
    PERFORM t.due(), t.pulled();
    ASSERT t.says(t.job(7), 2, v_old) = 0 AND (t.job(7)).state = 2, 'an old lease changes nothing';
    ASSERT t.says(t.job(7), 2) = 2 AND (t.job(7)).state = 5, 'the fifth: context is to hear it';
    ASSERT t.says(t.job(7), 2) = 2, 'and again, when the answer was lost';
    ASSERT t.expires() = '{}', 'not yet by the clock';
    PERFORM t.due();
    ASSERT t.expires() = '{4}' AND t.expires() = '{}', 'by the clock, once in a while';
    ASSERT (SELECT state = 7 AND is_dead FROM routing.end_job('demo', (t.job(7)).id, 4)), 'failed';
    ASSERT NOT (SELECT is_dead FROM routing.end_job('demo', (t.job(7)).id, 4)), 'once';
    ASSERT (t.letter()).kind = 3 AND (t.letter()).reason = 'gone' AND (t.letter()).attempt_count = 5
           AND (t.letter()).payload = 'part 0' AND (t.letter()).message_id = t.id(7), (t.letter())::text;
    ASSERT t.last('type') = '16' AND t.last('dead_letter_id') = (t.letter()).id::text, 'told';
    ASSERT t.replays((t.letter()).id, p_is_requeued => true) AND (t.job(7)).state = 4, 'by the feed';
    PERFORM t.more(10, 1, 7, '{0}', '{1}');
    ASSERT (t.job(7)).state = 1 AND t.pulled() = '{1}', 'again';
    ASSERT t.says(t.job(7), 3) = 2, 'failed for good';
    PERFORM routing.end_job('demo', (t.job(7)).id, 4);
    ASSERT (SELECT count(*) = 1 FROM routing.dead_letter) AND (t.letter()).state = 1
           AND (t.letter()).replay_count = 1, 'the same row, open again';
    PERFORM t.check_all('dead media');
END $$;

-- case: a part that fails again before its replay is written down stays a dead letter
SELECT t.picture(7);
DO $$
DECLARE
    v_taken routing.dead_letter;
BEGIN
    PERFORM t.fails(7);
    v_taken := t.letter();
    PERFORM t.more(10, 1, 7, '{0}', '{1}');
    PERFORM t.fails(7);
    ASSERT t.replays(v_taken.id, p_is_requeued => true, p_at => v_taken.at), 'counted';
    ASSERT (t.job(7)).state = 4 AND (t.letter()).id = v_taken.id AND (t.letter()).state = 1
           AND (t.letter()).replay_count = 1 AND (t.letter()).replay_error = 'it failed again: gone', (t.letter())::text;
    ASSERT t.last('type') = '16', 'not told as replayed';
    v_taken := t.letter();
    PERFORM t.more(10, 1, 7, '{0}', '{1}');
    ASSERT t.pulled() = '{1}' AND t.replays(v_taken.id, p_is_requeued => true, p_at => v_taken.at)
           AND (t.letter()).state = 2 AND (t.letter()).replay_error = '', 'under way: resolved';
    PERFORM t.check_all('replayed twice');
END $$;

-- case: a part given up that is there after all resolves its dead letter
SELECT t.picture(7);
DO $$
DECLARE
    v_last bigint;
BEGIN
    PERFORM t.fails(7);
    ASSERT t.says(t.job(7), 2) = 0 AND t.says(t.job(7), 3) = 0 AND (t.job(7)).state = 4, 'it has failed already';
    ASSERT t.says(t.job(7), 1, t.id(77)) = 1 AND (t.job(7)).state = 4 AND (t.letter()).state = 1, 'context hears first';
    ASSERT (SELECT state = 4 AND NOT is_dead FROM routing.end_job('demo', (t.job(7)).id, 3)), 'done';
    ASSERT (t.job(7)).state = 3 AND (t.letter()).state = 2 AND (t.letter()).resolved_by = 'late report'
           AND (t.letter()).replay_count = 0, (t.letter())::text;
    ASSERT t.last('type') = '17' AND t.last('dead_letter_id') = (t.letter()).id::text, 'told';
    v_last := t.last('sequence');
    ASSERT t.says(t.job(7), 1) = 0 AND NOT (SELECT is_dead FROM routing.end_job('demo', (t.job(7)).id, 3))
           AND t.last('sequence')::bigint = v_last, 'once';
    ASSERT NOT t.replays((t.letter()).id, p_is_requeued => true), 'nothing to replay';
    PERFORM t.more(10, 1, 7, '{0}', '{1}'), t.fails(7);
    ASSERT (t.letter()).state = 1, 'open again';
    PERFORM routing.drop_dead_letter('demo', (t.letter()).id, NULL, 'me');
    ASSERT t.says(t.job(7), 1) = 1 AND (SELECT state = 4 FROM routing.end_job('demo', (t.job(7)).id, 3))
           AND (t.letter()).state = 3, 'dropped stays dropped';
    PERFORM t.check_all('late');
END $$;

-- case: leases of jobs that end are offered again, to the fifth
SELECT t.picture(7);
DO $$ BEGIN
    FOR i IN 1 .. 4 LOOP
        PERFORM t.due(), t.pulled();
        ASSERT t.expires() = '{}', 'the lease stands';
        PERFORM t.due();
        ASSERT t.expires() = '{1}' AND (t.job(7)).state = 1, 'offered again';
    END LOOP;
    PERFORM t.due(), t.pulled(), t.due();
    ASSERT t.expires() = '{2}' AND (t.job(7)).state = 5, 'given up';
    ASSERT (SELECT lease_ms = 0 FROM routing.next_due('demo')), 'context is told at once';
    ASSERT t.says(t.job(7), 1) = 1, 'a late word that it is there counts';
END $$;

-- case: few media jobs of an account at once, and other accounts do not wait
SELECT t.picture(i) FROM generate_series(11, 16) i;
SELECT t.picture(17, 'sms-2-demo');
DO $$ BEGIN
    ASSERT t.pulled(p_media_max => 2) = '{1,1,1}', 'two and one';
    ASSERT t.pulled(p_media_max => 2) = '{}', 'no more';
    PERFORM routing.end_job('demo', (t.job(11)).id, 3);
    ASSERT t.pulled(p_media_max => 2) = '{1}', 'one has ended';
END $$;

-- case: neither deliveries nor jobs starve the other
SELECT t.sends(i, i, 1) FROM generate_series(1, 20) i;
SELECT t.picture(100 + i) FROM generate_series(1, 20) i;
DO $$ BEGIN
    ASSERT t.pulled(10, 100) = '{1,1,1,1,1,0,0,0,0,0}', 'half and half';
    UPDATE routing.delivery SET state = 4 WHERE state = 1;
    ASSERT t.pulled(10, 100) = '{1,1,1,1,1,1,1,1,1,1}', 'all, when the others want nothing';
    UPDATE routing.delivery SET state = 1 WHERE state = 4;
    ASSERT t.pulled(10, 0) = '{0,0,0,0,0,0,0,0,0,0}', 'and the other way';
    FOR i IN 1 .. 40 LOOP
        EXIT WHEN t.pulled(1, 100) = '{0}';
        ASSERT i < 40, 'one place: by chance';
    END LOOP;
END $$;

-- case: jobs do not use up the account's rate
UPDATE routing.channel_account SET sends_per_s = 1 WHERE id = 'sms-1-demo';
SELECT t.picture(i) FROM generate_series(11, 14) i;
SELECT t.sends(i, i, 1) FROM generate_series(1, 3) i;
DO $$ BEGIN
    ASSERT t.pulled() = '{1,1,1,1,0}', 'one to send, all to fetch';
END $$;

-- case: typing: one mark a thread, once in a while, dropped when nobody comes for it
CREATE FUNCTION t.types(p_text text) RETURNS boolean LANGUAGE sql AS $$
    SELECT routing.set_typing('demo', gen_random_uuid(), 'sms-1-demo', t.id(1), t.id(10001), p_text::bytea, 3000, 10000)
$$;
DO $$
DECLARE
    v_job routing.job;
BEGIN
    ASSERT t.types('a') AND NOT t.types('b'), 'one in three seconds';
    ASSERT t.pulled() = '{2}', 'pulled';
    SELECT * INTO v_job FROM routing.job;
    UPDATE routing.job SET queued_at = queued_at - interval '3 s';
    ASSERT t.types('c') AND t.says(v_job, 1) = 0, 'refreshed while it is under way';
    ASSERT (SELECT state = 1 AND payload = 'c' AND count(*) OVER () = 1 FROM routing.job), 'the old lease is nobody''s';
    ASSERT (SELECT lease_ms BETWEEN 9000 AND 10000 FROM routing.next_due('demo')), 'its end is in sight';
    PERFORM t.due();
    ASSERT t.pulled() = '{}' AND t.expires() = '{3}', 'too late';
    ASSERT (SELECT state = 3 FROM routing.job), 'dropped';
    UPDATE routing.job SET queued_at = queued_at - interval '3 s';
    ASSERT t.types('d') AND t.pulled() = '{2}', 'again';
    ASSERT t.says((SELECT j FROM routing.job j), 3) = 0, 'a failed one is no loss';
    ASSERT (SELECT state = 3 FROM routing.job), 'ended';
    ASSERT NOT EXISTS (SELECT FROM routing.dead_letter), 'no dead letter';
END $$;

-- case: templates are synchronised by the same rows
SELECT routing.sync_templates('demo', t.id(50), 'sms-1-demo', ''), routing.sync_templates('demo', t.id(51), 'sms-1-demo', '');
DO $$ BEGIN
    ASSERT (SELECT count(*) = 1 FROM routing.job), 'one waits';
    ASSERT t.pulled() = '{3}', 'pulled';
    ASSERT t.says((SELECT j FROM routing.job j), 2) = 0, 'retried';
    ASSERT (SELECT state = 1 FROM routing.job), 'queued';
    PERFORM t.due(), t.pulled();
    ASSERT t.says((SELECT j FROM routing.job j), 3) = 0, 'failed';
    ASSERT (SELECT state = 4 FROM routing.job), 'ended';
    ASSERT (t.letter()).kind = 3 AND (t.letter()).payload_type = 'guichet.v1.SyncTemplates', 'a dead letter';
    ASSERT t.replays((t.letter()).id) AND t.pulled() = '{3}', 'replayed';
    ASSERT t.says((SELECT j FROM routing.job j), 1) = 0, 'done';
    ASSERT (SELECT state = 3 FROM routing.job), 'ended';
END $$;

-- case: a connector ends the jobs of its own accounts only
SELECT t.picture(7);
DO $$ BEGIN
    PERFORM t.pulled();
    ASSERT t.error_of(format('SELECT routing.report(''demo'', %L, %L, 1, '''', 0, false, 0, '''', '''', ''{1}'', 1, ''{x}'')',
                             (t.job(7)).id, (t.job(7)).lease)) = 'forbidden', 'another account';
    ASSERT t.error_of('SELECT routing.report(''demo'', t.id(404), t.id(1), 1, '''', 0, false, 0, '''', '''', ''{1}'', 1)')
           = 'not_found', 'no such job';
END $$;

-- case: a delivery that fails is a dead letter with what was to be sent; replayed, it is as if new
SELECT t.agent(11, 1), t.agent(12, 1, p_role => 3);
SELECT t.sends(1, 1, 1), t.sends(1, 2, 2);
DO $$
DECLARE
    v_id uuid;
BEGIN
    PERFORM t.pulls(), t.starts(1);
    ASSERT (SELECT is_dead FROM routing.report('demo', t.id(1), t.lease_of(1), 3, '', 0, false, 4, '30007', 'spam',
            '{1}', 1)), 'dead';
    v_id := (t.letter()).id;
    ASSERT (t.letter()).kind = 2 AND (t.letter()).subject = t.id(1)::text AND (t.letter()).payload = 'payload'
           AND (t.letter()).reason = 'content refused: 30007: spam' AND (t.letter()).attempt_count = 1,
           (t.letter())::text;
    ASSERT (SELECT array_agg(type ORDER BY sequence) FROM routing.event WHERE tenant = 'demo' AND type IN (9, 16))
           = '{9,16}', 'told';
    ASSERT t.error_of(format('SELECT t.replays(%L, t.id(11))', v_id)) = 'forbidden', 'admins only';
    ASSERT t.error_of('SELECT t.replays(t.id(404))') = 'not_found', 'no such letter';
    ASSERT t.replays(v_id, t.id(12)) AND t.state(1) = 1, 'queued';
    ASSERT (SELECT attempt_count = 0 AND payload = 'payload' AND reason = 0 AND queued_at > now() - interval '1 minute'
            FROM routing.delivery WHERE id = t.id(1)), 'as if new';
    ASSERT NOT t.replays(v_id, t.id(12)), 'once';
    ASSERT (t.letter()).state = 2 AND (t.letter()).resolved_by = 'guichetctl root' AND (t.letter()).replay_count = 1,
           (t.letter())::text;
    ASSERT t.last('type') = '17' AND t.last('actor_id') = t.id(12)::text, 'told by whom';
    UPDATE routing.delivery SET queued_at = now() - interval '2 days' WHERE id = t.id(1);
    ASSERT t.pulls(p_lease => 6000) = 1 AND t.starts(1) AND t.reports(1, 2) = 7, 'its horizon is over';
    ASSERT (t.letter()).id = v_id AND (t.letter()).state = 1 AND (t.letter()).reason LIKE 'not taken before its horizon%',
           (t.letter())::text;
    ASSERT (SELECT is_changed FROM routing.drop_dead_letter('demo', v_id, NULL, 'guichetctl root')), 'dropped';
    ASSERT NOT t.replays(v_id) AND t.state(1) = 7 AND (t.letter()).state = 3, 'stays so';
    ASSERT t.last('type') = '17' AND t.last('reason') = 'dropped by guichetctl root', t.last('reason');
    PERFORM t.check_all('letters');
END $$;

-- case: what failed at the provider after it was sent has nothing to send again
SELECT t.sends(1, 1, 1), t.sends(2, 2, 1);
DO $$ BEGIN
    PERFORM t.sent(1, 'SM1'), t.starts(2), t.reports(2, 4), t.receipt('SM1', 7), t.receipt('SM2', 7, t.id(2));
    ASSERT t.state(1) = 7 AND t.state(2) = 7, 'both failed';
    ASSERT (SELECT array_agg(subject) = ARRAY[t.id(2)::text] FROM routing.dead_letter), 'only the one in doubt';
END $$;

-- case: an event refused is a dead letter; a replay that did not help keeps it
SELECT t.more(9, 1, p_refused => t.id(77), p_why => 'two ids in one');
DO $$ BEGIN
    ASSERT (t.letter()).id = t.id(77) AND (t.letter()).kind = 1 AND (t.letter()).subject = 'key'
           AND (t.letter()).payload IS NULL AND (t.letter()).account_id = 'sms-1-demo', (t.letter())::text;
    ASSERT (SELECT array_agg(type ORDER BY sequence) FROM routing.event WHERE tenant = 'demo') = '{14,16}', 'told';
    PERFORM t.more(9, 1, p_refused => t.id(77), p_why => 'again');
    ASSERT (SELECT count(*) = 1 FROM routing.dead_letter), 'the same row';
    ASSERT (SELECT is_changed FROM routing.fail_replay('demo', t.id(77), NULL, 'still wrong')), 'kept';
    ASSERT (t.letter()).state = 1 AND (t.letter()).replay_error = 'still wrong' AND (t.letter()).replay_count = 1, 'says why';
    ASSERT t.replays(t.id(77)) AND (t.letter()).replay_error = '', 'resolved';
END $$;

-- case: a change that cannot be applied is a dead letter, and is applied from it once
SELECT routing.skip_change('demo', t.id(1), 1, 0, 5, 'e', 3000, 'sms-1-demo', t.id(1), NULL, 'bad', 5, 'change');
DO $$
DECLARE
    v_id uuid := (t.letter()).id;
    v_apply text := format('SELECT routing.apply(''demo'', NULL, 0, 0, '''', 0, ''{5}'', ''{1}'', ARRAY[now()], ARRAY[t.id(1)],
        ''{1}'', ARRAY[t.id(2)], ARRAY[t.id(3)], ''{sms-1-demo}'', ''{sms}'', ARRAY[t.id(4)], ''{1}'', ''{1}'', ''{1}'', ''{a}'',
        ARRAY[now()], ''{t}'', ''{f}'', ''{1}'', ARRAY[NULL::uuid], ''{""}'', ''{""}'', ''{0}'', ARRAY[NULL::uuid],
        ARRAY[NULL::timestamptz], ''{0}'', ''{""}'', ''{""}'', ARRAY[NULL::bytea], p_letter => %L, p_letter_by => ''x'')', v_id);
    v_sequence bigint;
BEGIN
    ASSERT (SELECT cursor = 5 FROM routing.feed WHERE tenant = 'demo'), 'passed over';
    ASSERT (t.letter()).kind = 4 AND (t.letter()).subject = '5' AND (t.letter()).payload = 'change', (t.letter())::text;
    EXECUTE v_apply INTO v_sequence;
    ASSERT v_sequence > 0 AND t.who(1) = 0 AND (t.letter()).state = 2, 'applied';
    EXECUTE v_apply INTO v_sequence;
    ASSERT v_sequence IS NULL, 'once';
    ASSERT (SELECT cursor = 5 FROM routing.feed WHERE tenant = 'demo'), 'the cursor stays';
    PERFORM t.check_all('change');
END $$;

-- case: customers merged and unmerged are told
SELECT t.more(11, 1, p_other_customer => t.id(5)), t.more(12, 1, p_other_customer => t.id(5));
DO $$ BEGIN
    ASSERT (SELECT array_agg(type ORDER BY sequence) = '{18,19}' AND bool_and(other_customer_id = t.id(5))
            FROM routing.event WHERE tenant = 'demo'), 'both';
END $$;

-- case: a conversation split off stays with its agent, and takes its deliveries with it
SELECT t.agent(11, 1);
SELECT t.arrives(1);
SELECT t.sends(1, 100, 1);
SELECT t.more(13, 2, p_other => 1, p_threads => '{10001}');
DO $$ BEGIN
    ASSERT t.who(1) = 11 AND t.who(2) = 11, 'the same agent, beyond the capacity';
    ASSERT (SELECT conversation_id = t.id(2) AND conversation_number = 2 FROM routing.delivery), 'moved';
    ASSERT (SELECT other_conversation_id = t.id(1) FROM routing.event WHERE tenant = 'demo' AND type = 20), 'told';
    PERFORM t.check_all('split');
    PERFORM t.closes(1), t.closes(2);
    PERFORM t.more(13, 3, p_other => 1);
    ASSERT t.who(3) = 11 AND t.last('type') = '6', 'of a closed one: by the rules';
    PERFORM t.more(13, 4, p_other => 1, p_state => 2), t.more(13, 5, p_other => 404);
    ASSERT t.who(4) = -1 AND t.who(5) = 0, 'closed; unknown';
    PERFORM t.check_all('splits');
END $$;

-- case: jobs that have ended are not read when threads move
SELECT t.agent(11, 1);
SELECT t.picture(7);
INSERT INTO routing.job (tenant, id, kind, account_id, conversation_id, thread_id, message_id, part_index, state,
                         queued_at, next_attempt_at, updated_at, payload)
SELECT 'demo', gen_random_uuid(), 1, 'sms-1-demo', t.id(1), t.id(10001), gen_random_uuid(), 0, 3, now(), now(), now(), ''
FROM generate_series(1, 5000);
ANALYZE routing.job;
DO $$
DECLARE
    v_line text;
    v_plan text := '';
BEGIN
    FOR v_line IN EXPLAIN UPDATE routing.job SET conversation_id = t.id(2)
                  WHERE tenant = 'demo' AND conversation_id = t.id(1) AND state NOT IN (3, 4) LOOP
        v_plan := v_plan || v_line;
    END LOOP;
    ASSERT v_plan LIKE '%job_conversation%', v_plan;
    PERFORM t.more(13, 2, p_other => 1, p_threads => '{10001}');
    ASSERT (t.job(7)).conversation_id = t.id(2), 'what is under way follows';
    ASSERT (SELECT count(*) = 5000 FROM routing.job WHERE conversation_id = t.id(1)), 'what has ended stays';
END $$;

-- case: a conversation joined into another closes and frees its agent
SELECT t.agent(11, 2);
SELECT t.arrives(1), t.arrives(2), t.arrives(3);
SELECT t.sends(2, 100, 1);
SELECT t.more(14, 1, p_other => 2);
DO $$ BEGIN
    ASSERT t.who(1) = 11 AND t.who(2) = -1 AND t.who(3) = 11, 'room for the next';
    ASSERT (SELECT conversation_id = t.id(1) AND conversation_number = 1 FROM routing.delivery), 'moved';
    ASSERT (SELECT other_conversation_id = t.id(2) FROM routing.event WHERE tenant = 'demo' AND type = 21), 'told';
    PERFORM t.closes(2);
    PERFORM t.check_all('join');
END $$;

-- case: what has ended goes after its time, a failed job with its dead letter
SELECT t.picture(i) FROM generate_series(1, 3) i;
DO $$ BEGIN
    PERFORM t.pulled(), t.says(t.job(2), 3);
    PERFORM routing.end_job('demo', (t.job(1)).id, 3), routing.end_job('demo', (t.job(2)).id, 4);
    ASSERT routing.prune_ended('demo', 1000, 1000, 100) = 0, 'too young';
    UPDATE routing.job SET updated_at = now() - interval '1 day';
    ASSERT routing.prune_ended('demo', 1000, 1000, 100) = 1, 'what is done';
    PERFORM routing.drop_dead_letter('demo', (t.letter()).id, NULL, 'me');
    UPDATE routing.dead_letter SET resolved_at = now() - interval '1 day';
    ASSERT routing.prune_ended('demo', 1000, 1000, 100) = 2, 'and what was dropped';
    ASSERT (SELECT count(*) = 1 FROM routing.job), 'the rest stays';
END $$;

-- case: what waits in spools is kept as last told
DO $$ BEGIN
    PERFORM routing.announce('demo', 'c', 'sms', '{sms-1-demo}', '{+1}', '{x}', ARRAY[''::bytea], '{0}', '{1}', '{0}', 60000,
                             '{1}', '{7}', ARRAY[now()]);
    ASSERT (SELECT spool_count = 7 AND spool_oldest_at = now() AND media_delivery = 1 FROM routing.channel_account
            WHERE id = 'sms-1-demo'), 'told';
    PERFORM routing.announce('demo', 'c', 'sms', '{sms-1-demo}', '{+1}', '{x}', ARRAY[''::bytea], '{0}', '{1}', '{0}', 60000);
    ASSERT (SELECT spool_count = 0 AND spool_oldest_at IS NULL FROM routing.channel_account WHERE id = 'sms-1-demo'), 'empty';
END $$;
