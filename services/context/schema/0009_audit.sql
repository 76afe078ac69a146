-- SPDX-License-Identifier: Apache-2.0
-- 0009 audit: did we lose anything? Two questions to the manifest (context.intake), each a slice at a time.
--
-- By time: is everything there that a manifest says is stored? By boot, lane and block of numbers: is every
-- number known that lies between others? Both give what the service adds up, and only read.

-- The manifests after p_after and before p_until, as many as hold p_events events; at least one. Gives
-- kind 1, once: the last manifest of this slice in event_id, none when there is no more;
-- kind 2, for each (boot, lane, block) in it: the block in number;
-- kind 3, for each event that should be there and is not: what of it is gone.
CREATE FUNCTION context.audit_rows(p_tenant text, p_after uuid, p_until uuid, p_events integer,
    p_refused_days integer)
RETURNS TABLE (kind integer, boot_id text, boot_lane integer, number bigint, account_id text, event_id uuid, result integer,
               at timestamptz, what text) LANGUAGE plpgsql STABLE
-- Rows are read by ranges of ids and hashed: row by row, a planner that guesses few would read a range for each.
SET enable_seqscan = off SET enable_nestloop = off SET plan_cache_mode = force_custom_plan SET work_mem = '32MB' SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    v_last uuid;
    v_from uuid;                        -- the oldest and the newest event of the slice
    v_to uuid;
BEGIN
    -- max(uuid) is not of every version
    SELECT p.id INTO v_last FROM (
        SELECT i.id, sum(i.event_count) OVER (ORDER BY i.id) - i.event_count AS before
        FROM (SELECT r.id, r.event_count FROM context.intake r WHERE r.tenant = p_tenant AND r.id > p_after AND r.id < p_until
              ORDER BY r.id LIMIT 20000) i) p
    WHERE p.before < p_events ORDER BY p.id DESC LIMIT 1;
    RETURN QUERY SELECT 1, NULL::text, 0, 0::bigint, NULL::text, v_last, 0, NULL::timestamptz, NULL::text;
    RETURN QUERY SELECT 2, r.boot_id, r.boot_lane, r.block, NULL::text, NULL::uuid, 0, NULL::timestamptz, NULL::text
                 FROM context.intake r WHERE r.tenant = p_tenant AND r.id > p_after AND r.id <= v_last
                 GROUP BY r.boot_id, r.boot_lane, r.block;
    SELECT min(e.id::text)::uuid, max(e.id::text)::uuid INTO v_from, v_to
    FROM context.intake r CROSS JOIN LATERAL unnest(r.ids, r.results) AS e (id, result)
    WHERE r.tenant = p_tenant AND r.id > p_after AND r.id <= v_last AND e.result = 1;
    RETURN QUERY
    WITH stored AS MATERIALIZED (
        SELECT r.boot_id, r.boot_lane, r.at, e.number, e.id, e.what, e.account
        FROM context.intake r CROSS JOIN LATERAL unnest(r.numbers, r.ids, r.results, r.whats, r.accounts)
             AS e (number, id, result, what, account)
        WHERE r.tenant = p_tenant AND r.id > p_after AND r.id <= v_last AND e.result = 1)
    SELECT 3, s.boot_id, s.boot_lane, s.number, s.account, s.id, 1, s.at,
           concat_ws(', ', CASE WHEN s.what <> 12 AND k.id IS NULL THEN 'event_key' END,
                           CASE WHEN s.what < 10 AND s.what <> 6 AND m.id IS NULL THEN 'message' END,
                           CASE WHEN w.id IS NULL THEN 'message_raw' END)
    FROM stored s
    LEFT JOIN (SELECT t.id FROM context.event_key t WHERE t.tenant = p_tenant AND t.id >= v_from AND t.id <= v_to) k ON k.id = s.id
    LEFT JOIN (SELECT t.id FROM context.message t WHERE t.tenant = p_tenant AND t.id >= v_from AND t.id <= v_to) m ON m.id = s.id
    LEFT JOIN (SELECT t.id FROM context.message_raw t WHERE t.tenant = p_tenant AND t.id >= v_from AND t.id <= v_to) w ON w.id = s.id
    WHERE w.id IS NULL OR (s.what <> 12 AND k.id IS NULL) OR (s.what < 10 AND s.what <> 6 AND m.id IS NULL);
    -- Few are refused: each is looked up, but for those that may have been pruned.
    RETURN QUERY
    SELECT 3, r.boot_id, r.boot_lane, e.number, e.account, e.id, 3, r.at, 'refused_event'
    FROM context.intake r CROSS JOIN LATERAL unnest(r.numbers, r.ids, r.results, r.accounts) AS e (number, id, result, account)
    LEFT JOIN LATERAL (SELECT t.id FROM context.refused_event t WHERE t.tenant = p_tenant AND t.id = e.id LIMIT 1) f ON true
    WHERE r.tenant = p_tenant AND r.id > p_after AND r.id <= v_last AND e.result = 3 AND f.id IS NULL
      AND e.id >= context.uuid7_at(now() - p_refused_days * interval '1 day');
END $$;

-- One block of numbers of a boot's lane. Counts are of the manifests from p_since on and before p_until; gaps are
-- looked for among all manifests there are, however late they came, and count where a neighbour is of that time.
-- p_is_whole: no manifest of this boot can have been pruned, so its first number is 1. Gives
-- kind 1, for each account and result: how many numbers; a number that came twice counts once, as the best of what it was;
-- kind 2, for each gap: its first and last number, when the next one was recorded, and the account if the block has one only.
CREATE FUNCTION context.audit_block(p_tenant text, p_boot text, p_lane integer, p_block bigint, p_since uuid, p_until uuid,
    p_is_whole boolean)
RETURNS TABLE (kind integer, account_id text, result integer, amount bigint, first bigint, last bigint, at timestamptz)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET plan_cache_mode = force_custom_plan SET work_mem = '32MB' SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    v_before bigint;                    -- the last number known before this block, and whether it is of the time asked for
    v_is_before_ours boolean;
BEGIN
    SELECT e.number, bool_or(r.id >= p_since AND r.id < p_until) INTO v_before, v_is_before_ours
    FROM context.intake r CROSS JOIN LATERAL unnest(r.numbers) AS e (number)
    WHERE r.tenant = p_tenant AND r.boot_id = p_boot AND r.boot_lane = p_lane
      AND r.block = (SELECT b.block FROM context.intake b WHERE b.tenant = p_tenant AND b.boot_id = p_boot
                     AND b.boot_lane = p_lane AND b.block < p_block ORDER BY b.block DESC LIMIT 1)
    GROUP BY e.number ORDER BY e.number DESC LIMIT 1;
    IF v_before IS NULL AND p_is_whole THEN
        v_before := 0;
        v_is_before_ours := false;
    END IF;
    RETURN QUERY
    WITH entries AS (
        SELECT e.number, e.result::integer AS result, e.account, r.at, r.id >= p_since AND r.id < p_until AS is_ours
        FROM context.intake r CROSS JOIN LATERAL unnest(r.numbers, r.results, r.accounts) AS e (number, result, account)
        WHERE r.tenant = p_tenant AND r.boot_id = p_boot AND r.boot_lane = p_lane AND r.block = p_block AND r.event_count > 0
        UNION ALL
        SELECT g.number, 4, NULL, r.at, r.id >= p_since AND r.id < p_until
        FROM context.intake r CROSS JOIN LATERAL generate_series(r.numbers[1], r.numbers[2]) AS g (number)
        WHERE r.tenant = p_tenant AND r.boot_id = p_boot AND r.boot_lane = p_lane AND r.block = p_block AND r.event_count = 0
    ), known AS MATERIALIZED (
        SELECT DISTINCT ON (e.number) e.* FROM entries e ORDER BY e.number, e.result, e.at
    ), gaps AS (
        SELECT k.number, k.at, k.is_ours OR lag(k.is_ours, 1, v_is_before_ours) OVER w AS is_ours,
               lag(k.number, 1, v_before) OVER w AS before
        FROM known k WINDOW w AS (ORDER BY k.number))
    SELECT 1, k.account, k.result, count(*), 0::bigint, 0::bigint, NULL::timestamptz
    FROM known k WHERE k.is_ours AND k.result < 4 GROUP BY k.account, k.result
    UNION ALL
    SELECT 2, (SELECT min(k.account) FROM known k HAVING count(DISTINCT k.account) = 1), 0, g.number - g.before - 1, g.before + 1,
           g.number - 1, g.at
    FROM gaps g WHERE g.is_ours AND g.number > g.before + 1;
END $$;
