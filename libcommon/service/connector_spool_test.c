/* SPDX-License-Identifier: Apache-2.0 */
/* connector_spool_test.c - while the centre is away: 2xx after the commit, then everything once and in order; an
 * event that breaks the centre costs its neighbours nothing. */
#include "service/connector_spool_kit.h"

#include "core/duration.h"
#include "service/connector_drain.h"

/* ---- the centre is away ---- */

static const struct {
    const char *label;
    enum err_kind fails;
    bool is_holding, is_not_announced;
} absences[] = {
    { "nobody there", ERR_UNAVAILABLE, false, false },
    { "overloaded", ERR_EXHAUSTED, false, false },
    { "broken", ERR_INTERNAL, false, false },
    { "silent", ERR_NONE, true, false },
    { "never met", ERR_NONE, false, true },
};

static void test_absences(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(absences); i++) {
        struct world world = { .centre = { .is_holding = absences[i].is_holding,
                                           .submit_fails = absences[i].fails,
                                           .submit_fails_count = absences[i].fails ? UINT32_MAX : 0,
                                           .announce_fails =
                                               absences[i].is_not_announced ? ERR_UNAVAILABLE : 0 } };
        char dir[DIR_BYTES], body[64];

        dir_make(dir);
        spool_world_open(&world, dir, "lanes: 2");
        if (!absences[i].is_not_announced)
            wait_announced(&world);
        for (unsigned n = 1; n <= 8; n++) {
            snprintf(body, sizeof(body), "%u alice hello", n);
            if (hook_status(&world, body) != 200)
                fail_msg("case '%s'", absences[i].label);
        }
        assert_int_equal(spooled(&world), 8);
        assert_int_equal(counted(&world, CONNECTOR_EVENTS_SPOOLED), 8);
        WAIT_FOR(&world, absences[i].is_holding || absences[i].is_not_announced || world.centre.spooled > 0);
        world.centre.announce_fails = ERR_NONE;
        world.centre.is_holding = false;
        centre_release(&world.centre);
        centre_go(&world);
        WAIT_FOR(&world, spooled(&world) == 0);
        check_order(&world, 1, 8, absences[i].is_holding ? 64 : 1);
        WAIT_FOR(&world, world.centre.spooled == 0); /* announced again */
        assert_int_equal(hook_status(&world, "9 alice hello"), 200);
        assert_int_equal(counted(&world, CONNECTOR_EVENTS_SPOOLED), 8); /* no longer diverted */
        check_order(&world, 1, 9, 64);
        world_close(&world);
        dir_remove(dir);
    }
}

/* Events keep coming while the lane is drained: they queue behind those that wait. */
static void test_order_while_draining(void **state)
{
    struct world world = { 0 };
    struct hook_call calls[100] = { 0 };
    char dir[DIR_BYTES], body[64];

    (void)state;
    dir_make(dir);
    spool_world_open(&world, dir, "lanes: 2\nbatch_events_max: 8");
    wait_announced(&world);
    centre_stop(&world);
    for (unsigned n = 1; n <= COUNT_OF(calls); n++) {
        snprintf(body, sizeof(body), "%u alice hello\nb%u bob hello", n, n);
        hook_post(&world, &calls[n - 1], body);
        WAIT_FOR(&world, calls[n - 1].is_done);
        assert_int_equal(calls[n - 1].status, 200);
        if (n == 60)
            centre_go(&world);
    }
    WAIT_FOR(&world, spooled(&world) == 0);
    check_order(&world, 1, COUNT_OF(calls), 1);
    assert_int_equal(world.centre.key_count, 2 * COUNT_OF(calls));
    world_close(&world);
    dir_remove(dir);
}

/* The next process, with another number of lanes, keeps the order of each thread. */
static void test_next_process(void **state)
{
    struct world world = { 0 }, next = { 0 };
    char dir[DIR_BYTES], body[64];

    (void)state;
    dir_make(dir);
    spool_world_open(&world, dir, "lanes: 8");
    wait_announced(&world);
    centre_stop(&world);
    for (unsigned n = 1; n <= 20; n++) {
        snprintf(body, sizeof(body), "%u alice hello\nb%u bob-%u hello", n, n, n);
        assert_int_equal(hook_status(&world, body), 200);
    }
    world_close(&world);
    spool_world_open(&next, dir, "lanes: 3");
    assert_int_equal(hook_status(&next, "21 alice hello"), 200); /* whether or not they are adopted by then */
    WAIT_FOR(&next, next.centre.key_count >= 41 && spooled(&next) == 0);
    check_order(&next, 1, 21, 1);
    assert_int_equal(counted(&next, CONNECTOR_SPOOL_ADOPTED), 1);
    world_close(&next);
    dir_remove(dir);
}

/* ---- full ---- */

/* 503 past the limit. What was refused is told as void beside what is kept, also by the next process. */
static void test_full(void **state)
{
    struct world world = { 0 }, next = { 0 };
    struct err err = { 0 };
    char dir[DIR_BYTES];

    (void)state;
    dir_make(dir);
    spool_world_open(&world, dir, "lanes: 1\nspool_events_max: 4");
    wait_announced(&world);
    centre_stop(&world);
    assert_int_equal(hook_status(&world, "1 alice a\n2 alice b"), 200);
    assert_int_equal(hook_status(&world, "x alice c\ny alice d\nz alice e"), 503);
    assert_false(connector_spool_is_usable(world.runtime, &err));
    assert_int_equal(hook_status(&world, "3 alice f"), 200);
    assert_int_equal(hook_status(&world, "4 alice f"), 503);
    world_close(&world);
    spool_world_open(&next, dir, "lanes: 2");
    wait_announced(&next);
    WAIT_FOR(&next, next.centre.key_count == 3);
    check_order(&next, 1, 3, 1);
    assert_int_equal(next.centre.boot_ns[2], 6);
    assert_true(next.centre.voided > 0);
    assert_int_equal(next.centre.voided_first, 3);
    assert_int_equal(next.centre.voided_last, 5);
    WAIT_FOR(&next,
             spool_lane_rows(next.runtime->spool, 0, 0) + spool_lane_rows(next.runtime->spool, 0, 1) == 0);
    world_close(&next);
    dir_remove(dir);
}

/* ---- poison ---- */

/* One event ends the centre each time. Its neighbours are recorded; it becomes a dead letter; its thread goes on. */
static void test_killer(void **state)
{
    struct world world = { .centre = { .killer = "message:bad" } };
    struct hook_call calls[3] = { 0 };
    char dir[DIR_BYTES];
    size_t at;

    (void)state;
    dir_make(dir);
    spool_world_open(&world, dir, "lanes: 2\nspool_attempts_max: 100");
    wait_announced(&world);
    hook_post(&world, &calls[0], "1 alice a\n2 alice b\nbad eve x\nafter eve y\n3 alice c");
    WAIT_FOR(&world, calls[0].is_done);
    assert_int_equal(calls[0].status, 200);
    hook_post(&world, &calls[1], "4 alice d\nb1 bob e");
    WAIT_FOR(&world, calls[1].is_done);
    assert_int_equal(calls[1].status, 200);
    WAIT_FOR(&world, seen(&world, "message:4", &at) == 1 && seen(&world, "message:b1", &at) == 1);
    check_order(&world, 1, 4, 1);
    assert_int_equal(world.centre.deads, 0); /* long before it is given up */
    assert_int_equal(seen(&world, "message:after", &at), 0);
    world.config.spool_attempts_max = 5;
    WAIT_FOR(&world, spooled(&world) == 0);
    assert_int_equal(world.centre.deads, 1);
    assert_string_equal(world.centre.dead_key, "message:bad");
    assert_int_equal(seen(&world, "message:after", &at), 1);
    assert_int_equal(counted(&world, CONNECTOR_EVENTS_DEAD), 1);
    world_close(&world);
    dir_remove(dir);
}

static void test_killer_alone(void **state)
{
    struct world world = { .centre = { .killer = "message:bad" } };
    char dir[DIR_BYTES];

    (void)state;
    dir_make(dir);
    spool_world_open(&world, dir, "lanes: 1");
    wait_announced(&world);
    assert_int_equal(hook_status(&world, "bad eve x"), 200);
    WAIT_FOR(&world, spooled(&world) == 0);
    assert_int_equal(world.centre.deads, 1);
    assert_string_equal(world.centre.dead_reason, "the centre failed 5 times while recording it");
    assert_int_equal(counted(&world, CONNECTOR_EVENTS_DEAD), 1);
    world_close(&world);
    dir_remove(dir);
}

/* The attempts are counted over restarts. */
static void test_killer_over_restarts(void **state)
{
    struct world world = { .centre = { .killer = "message:bad" } },
                 next = { .centre = { .killer = "message:bad" } };
    char dir[DIR_BYTES];

    (void)state;
    dir_make(dir);
    spool_world_open(&world, dir, "lanes: 1\nspool_attempts_max: 100");
    wait_announced(&world);
    assert_int_equal(hook_status(&world, "bad eve x"), 200);
    WAIT_FOR(&world, world.centre.killed >= 12); /* the first few were nobody's fault yet */
    world_close(&world);
    spool_world_open(&next, dir, "lanes: 1\nspool_attempts_max: 4");
    WAIT_FOR(&next, next.centre.deads == 1);
    assert_int_equal(next.centre.killed, 1); /* once more: it is handed over right after a failure only */
    world_close(&next);
    dir_remove(dir);
}

/* While the centre does not answer the question either, nobody is blamed. */
static void test_nobody_is_blamed(void **state)
{
    struct world world = { 0 };
    struct hook_call call = { 0 };
    uint64_t until_ms;
    char dir[DIR_BYTES];

    (void)state;
    dir_make(dir);
    spool_world_open(&world, dir, "lanes: 1\nspool_attempts_max: 1");
    wait_announced(&world);
    centre_stop(&world);
    hook_post(&world, &call, "1 alice a");
    WAIT_FOR(&world, call.is_done && world.centre.probes >= 5);
    until_ms = loop_now_ms(world.loop) + 200;
    WAIT_FOR(&world, loop_now_ms(world.loop) > until_ms);
    assert_int_equal(world.centre.deads, 0);
    centre_go(&world);
    WAIT_FOR(&world, spooled(&world) == 0);
    assert_int_equal(world.centre.deads, 0);
    check_order(&world, 1, 1, 1);
    world_close(&world);
    dir_remove(dir);
}

static const struct {
    const char *label;
    bool is_probe_answered;
} outages[] = { { "nothing works", false }, { "only questions are answered", true } };

/* The centre takes no events for a while, whether or not it answers questions: nobody is given up, then or after. */
static void test_outages(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(outages); i++) {
        struct world world = { .centre = { .is_probe_answered = outages[i].is_probe_answered } };
        char dir[DIR_BYTES], body[64];

        dir_make(dir);
        spool_world_open(&world, dir, "lanes: 1");
        wait_announced(&world);
        centre_stop(&world);
        for (unsigned n = 1; n <= 20; n++) {
            snprintf(body, sizeof(body), "%u alice%u z", n, n);
            assert_int_equal(hook_status(&world, body), 200);
        }
        WAIT_FOR(&world, world.centre.probes >= (outages[i].is_probe_answered ? 300 : 30));
        assert_int_equal(spooled(&world), 20);
        centre_go(&world);
        WAIT_FOR(&world, spooled(&world) == 0);
        if (world.centre.deads > 0 || world.centre.key_count != 20)
            fail_msg("case '%s': %u given up", outages[i].label, world.centre.deads);
        world_close(&world);
        dir_remove(dir);
    }
}

/* What is refused as unreadable goes as bytes at once. */
static void test_invalid(void **state)
{
    struct world world = { .centre = { .poison = "message:bad" } };
    char dir[DIR_BYTES];

    (void)state;
    dir_make(dir);
    spool_world_open(&world, dir, "lanes: 1");
    wait_announced(&world);
    centre_stop(&world);
    assert_int_equal(hook_status(&world, "1 alice a\nbad eve x\n2 alice b\n3 alice c"), 200);
    centre_go(&world);
    WAIT_FOR(&world, spooled(&world) == 0);
    check_order(&world, 1, 3, 1);
    assert_int_equal(world.centre.deads, 1);
    assert_string_equal(world.centre.dead_key, "message:bad");
    world_close(&world);
    dir_remove(dir);
}

/* An account that routing refuses waits; the others do not wait with it. */
static void test_refused_account(void **state)
{
    struct world world = { 0 };
    struct hook_call other = { 0 };
    char dir[DIR_BYTES];

    (void)state;
    dir_make(dir);
    spool_world_open(&world, dir, "lanes: 1\nannounce_interval_ms: 1s");
    wait_announced(&world);
    centre_stop(&world);
    assert_int_equal(hook_status(&world, "1 alice a"), 200);
    hook_start(&world, &other, "POST", "/hooks/toy/toy-2", "yes", "2 bob b");
    WAIT_FOR(&world, other.is_done && other.status == 200);
    world.centre.refused_account = "toy-1";
    WAIT_FOR(&world, world.runtime->slots[0].is_refused);
    /* One that was under way by then may hold both. */
    WAIT_FOR(&world, connector_drain_is_waiting(world.runtime->lanes->lanes[0].drain));
    centre_go(&world);
    WAIT_FOR(&world, world.centre.key_count == 1);
    assert_string_equal(world.centre.keys[0], "message:2");
    world.centre.refused_account = NULL;
    WAIT_FOR(&world, spooled(&world) == 0);
    assert_string_equal(world.centre.keys[1], "message:1");
    world_close(&world);
    dir_remove(dir);
}

/* ---- outcomes ---- */

/* An outcome that routing does not hear leaves its place at once, and is told by the next process. */
static void test_reports(void **state)
{
    struct world world = { .provider_status = 200, .centre = { .report_fails = ERR_UNAVAILABLE } },
                 next = { 0 };
    struct toy_job job;
    char dir[DIR_BYTES];

    (void)state;
    dir_make(dir);
    job_fill(&job, "toy-1", "hello");
    world.centre.report_fails_count = UINT32_MAX;
    spool_world_open(&world, dir, "");
    give(&world, &job);
    WAIT_FOR(&world, world.provider_calls == 1 && jobs_open(&world) == 0);
    assert_int_equal(spool_numbers(world.runtime->spool).reports, 1);
    assert_int_equal(world.centre.reports, 0);
    world_close(&world);
    spool_world_open(&next, dir, "");
    WAIT_FOR(&next, next.centre.reports == 1);
    assert_int_equal(next.centre.outcome, ACCEPTED);
    assert_string_equal(next.centre.provider_id, "P1");
    WAIT_FOR(&next, spool_numbers(next.runtime->spool).reports == 0);
    assert_int_equal(next.centre.reports, 1);
    world_close(&next);
    dir_remove(dir);
}

static void on_kept(void *arg, const struct err *err)
{
    *(unsigned *)arg += err->kind == ERR_NONE;
}

/* Many that routing refuses for now keep back no other. */
static void test_reports_behind(void **state)
{
    struct world world = { .centre = { .report_fails = ERR_UNAVAILABLE, .report_hated = "hated" } };
    Guichet__V1__ReportRequest request = GUICHET__V1__REPORT_REQUEST__INIT;
    Guichet__V1__Outcome outcome = GUICHET__V1__OUTCOME__INIT;
    struct arena *arena = arena_new(1 << 20);
    char dir[DIR_BYTES];
    unsigned kept = 0;

    (void)state;
    dir_make(dir);
    spool_world_open(&world, dir, "");
    request.tenant = "demo";
    request.lease = "lease-1";
    request.outcome = &outcome;
    wait_announced(&world);
    for (unsigned n = 1; n <= 41; n++) {
        request.job_id = n <= 40 ? "hated" : "other";
        connector_report_keep(world.runtime, &world.runtime->slots[0], &request,
                              time_now_us() + 3600 * INT64_C(1000000), arena, on_kept, &kept);
    }
    WAIT_FOR(&world, kept == 41);
    WAIT_FOR(&world, world.centre.reports == 1 && spool_numbers(world.runtime->spool).reports == 40);
    world.centre.report_hated = NULL;
    WAIT_FOR(&world, spool_numbers(world.runtime->spool).reports == 0);
    assert_int_equal(world.centre.reports, 41);
    arena_free(&arena);
    world_close(&world);
    dir_remove(dir);
}

static void test_report_too_late(void **state)
{
    struct world world = { .provider_status = 200,
                           .centre = { .report_fails = ERR_UNAVAILABLE, .lease_ms = 3000 } };
    struct toy_job job;
    char dir[DIR_BYTES];

    (void)state;
    dir_make(dir);
    job_fill(&job, "toy-1", "hello");
    world.centre.report_fails_count = UINT32_MAX;
    spool_world_open(&world, dir, "report_keep_ms: 1s");
    give(&world, &job);
    WAIT_FOR(&world, world.provider_calls == 1 && spool_numbers(world.runtime->spool).reports == 1);
    WAIT_FOR(&world, spool_numbers(world.runtime->spool).reports == 0);
    assert_int_equal(counted(&world, CONNECTOR_REPORTS_DROPPED), 1);
    world_close(&world);
    dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_absences),
        cmocka_unit_test(test_order_while_draining),
        cmocka_unit_test(test_next_process),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_killer),
        cmocka_unit_test(test_killer_alone),
        cmocka_unit_test(test_killer_over_restarts),
        cmocka_unit_test(test_nobody_is_blamed),
        cmocka_unit_test(test_outages),
        cmocka_unit_test(test_invalid),
        cmocka_unit_test(test_refused_account),
        cmocka_unit_test(test_reports),
        cmocka_unit_test(test_reports_behind),
        cmocka_unit_test(test_report_too_late),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
