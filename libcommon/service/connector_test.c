/* SPDX-License-Identifier: Apache-2.0 */
/* connector_test.c - webhooks in: what is answered when, in which order and in which batches it is submitted. */
#include "service/connector_world_calls.h"

enum { HOOKS_MAX = 64 };

/* ---- single webhooks ---- */

static const struct {
    const char *label, *method, *path, *header, *body;
    int status;
    const char *answer;
} hooks[] = {
    { "stored", "POST", "/hooks/toy/toy-1", "yes", "1 alice hello", 200, "<ok/>" },
    { "another answer", "POST", "/hooks/toy/toy-1/status", "yes", "2 alice hello", 204, "" },
    { "no events", "POST", "/hooks/toy/toy-1", "yes", "", 200, "<ok/>" },
    { "several events", "POST", "/hooks/toy/toy-2", "yes", "3 alice a\n4 bob b\n5 carol c", 200, "<ok/>" },
    { "GET", "GET", "/hooks/toy/toy-1", "yes", "", 200, "<ok/>" },
    { "handshake", "GET", "/hooks/toy/toy-1/handshake", "yes", "", 200, "hello" },
    { "handshake not signed", "GET", "/hooks/toy/toy-1/handshake", "no", "", 403, "forbidden" },
    { "signature refused", "POST", "/hooks/toy/toy-1", "no", "6 alice hello", 403, "forbidden" },
    { "malformed", "POST", "/hooks/toy/toy-1", "yes", "7 alice", 400, "a line has not three words" },
    { "malformed beside good", "POST", "/hooks/toy/toy-1", "yes", "8 alice hi\n9", 400,
      "a line has not three words" },
    { "unknown account", "POST", "/hooks/toy/toy-3", "yes", "10 alice hello", 404, "no such account" },
    { "longer account", "POST", "/hooks/toy/toy-11", "yes", "10 alice hello", 404, "no such account" },
    { "no account", "POST", "/hooks/toy/", "yes", "10 alice hello", 404, "no such account" },
    { "another prefix", "POST", "/hooks/toyx/toy-1", "yes", "10 alice hello", 404, "no such account" },
    { "method", "PUT", "/hooks/toy/toy-1", "yes", "11 alice hello", 405, "only POST and GET" },
};

static void test_hooks(void **state)
{
    struct world world = { 0 };

    (void)state;
    world_open(&world, "");
    wait_announced(&world);
    for (size_t i = 0; i < COUNT_OF(hooks); i++) {
        struct hook_call call = { 0 };

        hook_start(&world, &call, hooks[i].method, hooks[i].path, hooks[i].header, hooks[i].body);
        WAIT_FOR(&world, call.is_done);
        if (call.status != hooks[i].status || strcmp(call.body, hooks[i].answer) != 0)
            fail_msg("case '%s': %d '%s'", hooks[i].label, call.status, call.body);
    }
    assert_int_equal(world.centre.key_count, 5);
    for (size_t i = 0; i < 5; i++) { /* each lane counts from 1 */
        uint64_t n = 1;

        for (size_t j = 0; j < i; j++)
            n += world.centre.boot_lanes[j] == world.centre.boot_lanes[i];
        assert_int_equal(world.centre.boot_ns[i], n);
    }
    assert_int_equal(counted(&world, CONNECTOR_EVENTS_STORED), 5);
    assert_int_equal(counted(&world, CONNECTOR_SIGNATURE_REFUSED), 2);
    assert_int_equal(counted(&world, CONNECTOR_HOOKS_MALFORMED), 2);
    assert_int_equal(counted(&world, CONNECTOR_HOOKS_UNKNOWN), 4);
    world_close(&world);
}

static void test_body_too_large(void **state)
{
    struct world world = { 0 };
    struct hook_call call = { 0 };
    char *body = calloc(1, 3000);

    (void)state;
    memset(body, 'x', 2999);
    world_open(&world, "body_max_bytes: 1024");
    wait_announced(&world);
    hook_post(&world, &call, body);
    WAIT_FOR(&world, call.is_done);
    assert_int_equal(call.status, 413);
    free(body);
    world_close(&world);
}

/* ---- the promise: a 2xx only when every event was answered ---- */

static const struct {
    const char *label;
    Guichet__V1__RecordResult result;
    bool has_wrong_key;
    enum err_kind fails;
    unsigned fails_count;
    int status;
    enum connector_stat counted;
} answers[] = {
    { "stored", GUICHET__V1__RECORD_RESULT__RECORD_RESULT_STORED, false, 0, 0, 200, CONNECTOR_EVENTS_STORED },
    { "duplicate", GUICHET__V1__RECORD_RESULT__RECORD_RESULT_DUPLICATE, false, 0, 0, 200,
      CONNECTOR_EVENTS_DUPLICATE },
    { "refused", GUICHET__V1__RECORD_RESULT__RECORD_RESULT_REFUSED, false, 0, 0, 200,
      CONNECTOR_EVENTS_REFUSED },
    { "a result of tomorrow", 9, false, 0, 0, 503, CONNECTOR_EVENTS_UNANSWERED },
    { "result of another event", 0, true, 0, 0, 503, CONNECTOR_EVENTS_UNANSWERED },
    { "unavailable", 0, false, ERR_UNAVAILABLE, UINT32_MAX, 503, CONNECTOR_EVENTS_UNANSWERED },
    { "exhausted", 0, false, ERR_EXHAUSTED, UINT32_MAX, 503, CONNECTOR_EVENTS_UNANSWERED },
    { "internal", 0, false, ERR_INTERNAL, UINT32_MAX, 503, CONNECTOR_EVENTS_UNANSWERED },
    { "invalid", 0, false, ERR_INVALID, UINT32_MAX, 503, CONNECTOR_EVENTS_UNANSWERED },
    { "token refused once", 0, false, ERR_FORBIDDEN, 1, 200, CONNECTOR_EVENTS_STORED },
    { "token refused for good", 0, false, ERR_FORBIDDEN, UINT32_MAX, 503, CONNECTOR_EVENTS_UNANSWERED },
};

static void test_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(answers); i++) {
        struct world world = { .centre = { .result = answers[i].result,
                                           .has_wrong_key = answers[i].has_wrong_key,
                                           .submit_fails = answers[i].fails,
                                           .submit_fails_count = answers[i].fails_count } };
        int status;

        world_open(&world, "");
        wait_announced(&world);
        status = hook_status(&world, "1 alice hello");
        if (status != answers[i].status || counted(&world, answers[i].counted) != 1)
            fail_msg("case '%s': %d, counted %lu", answers[i].label, status,
                     (unsigned long)counted(&world, answers[i].counted));
        if (answers[i].fails == ERR_FORBIDDEN)
            assert_int_equal(world.centre.announces, 2);
        world_close(&world);
    }
}

static void test_not_answered_in_time(void **state)
{
    struct world world = { .centre = { .is_holding = true } };
    struct hook_call calls[3] = { 0 };

    (void)state;
    world_open(&world, "submit_timeout_ms: 300ms\nsubmit_attempt_timeout_ms: 200ms");
    wait_announced(&world);
    for (size_t i = 0; i < COUNT_OF(calls); i++)
        hook_post(&world, &calls[i], "1 alice hello");
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        WAIT_FOR(&world, calls[i].is_done);
        assert_int_equal(calls[i].status, 503);
        assert_int_equal(calls[i].retry_after_ms, 5000);
    }
    assert_int_equal(counted(&world, CONNECTOR_HOOKS_UNAVAILABLE), 3);
    world_close(&world);
}

/* ---- batches and order ---- */

/* While a lane's Submit is under way, its next batch forms; another lane does not wait for it. */
static void test_batches(void **state)
{
    struct world world = { .centre = { .is_holding = true } };
    struct hook_call calls[HOOKS_MAX] = { 0 };
    char body[64];

    (void)state;
    world_open(&world, PATIENT "lanes: 1");
    wait_announced(&world);
    hook_post(&world, &calls[0], "0 alice hello");
    WAIT_FOR(&world, world.centre.held_count == 1);
    for (int i = 1; i < 21; i++) {
        snprintf(body, sizeof(body), "%d alice hello", i);
        hook_post(&world, &calls[i], body);
        WAIT_FOR(&world, connector_lanes_waiting(world.runtime->lanes) == (size_t)i + 1);
    }
    assert_int_equal(world.centre.submits, 1);
    assert_false(calls[0].is_done);
    world.centre.is_holding = false;
    centre_release(&world.centre);
    for (int i = 0; i < 21; i++) {
        WAIT_FOR(&world, calls[i].is_done);
        assert_int_equal(calls[i].status, 200);
        snprintf(body, sizeof(body), "message:%d", i);
        assert_string_equal(world.centre.keys[i], body);
    }
    assert_int_equal(world.centre.submits, 2);
    assert_int_equal(world.centre.batch_sizes[1], 20);
    world_close(&world);
}

static void test_batch_limit(void **state)
{
    struct world world = { 0 };
    struct hook_call call = { 0 };

    (void)state;
    world_open(&world, "lanes: 1\nbatch_events_max: 2");
    wait_announced(&world);
    hook_post(&world, &call, "1 a x\n2 a x\n3 a x\n4 a x\n5 a x");
    WAIT_FOR(&world, call.is_done);
    assert_int_equal(call.status, 200);
    assert_int_equal(world.centre.submits, 3);
    assert_int_equal(world.centre.batch_sizes[0], 2);
    assert_int_equal(world.centre.batch_sizes[2], 1);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(world.centre.boot_ns[i], i + 1);
    world_close(&world);
}

/* Of sixteen other people some have another lane than the one that is held: those are answered. */
static void test_lanes_are_independent(void **state)
{
    struct world world = { .centre = { .is_holding = true } };
    struct hook_call held = { 0 }, calls[16] = { 0 };
    char body[64];

    (void)state;
    world_open(&world, PATIENT "lanes: 8");
    wait_announced(&world);
    hook_post(&world, &held, "0 alice hello");
    WAIT_FOR(&world, world.centre.held_count == 1);
    world.centre.is_holding = false;
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        snprintf(body, sizeof(body), "p%zu person-%zu hello", i, i);
        hook_post(&world, &calls[i], body);
    }
    WAIT_FOR(&world, counted(&world, CONNECTOR_HOOKS) == 1 + COUNT_OF(calls));
    WAIT_FOR(&world, connector_lanes_waiting(world.runtime->lanes) < COUNT_OF(calls));
    assert_false(held.is_done);
    centre_release(&world.centre);
    WAIT_FOR(&world, held.is_done);
    for (size_t i = 0; i < COUNT_OF(calls); i++)
        WAIT_FOR(&world, calls[i].is_done && calls[i].status == 200);
    world_close(&world);
}

/* One event that routing cannot read must not cost its neighbours. */
static void test_poison(void **state)
{
    struct world world = { .centre = { .poison = "message:bad" } };
    struct hook_call calls[3] = { 0 };

    (void)state;
    world_open(&world, PATIENT "lanes: 1");
    wait_announced(&world);
    world.centre.is_holding = true;
    hook_post(&world, &calls[0], "0 alice hello");
    WAIT_FOR(&world, world.centre.held_count == 1);
    hook_post(&world, &calls[1], "1 alice a\n2 alice b\n3 alice c");
    hook_post(&world, &calls[2], "bad alice d");
    WAIT_FOR(&world, connector_lanes_waiting(world.runtime->lanes) == 5);
    world.centre.is_holding = false;
    centre_release(&world.centre);
    for (size_t i = 0; i < COUNT_OF(calls); i++)
        WAIT_FOR(&world, calls[i].is_done);
    assert_int_equal(calls[0].status, 200);
    assert_int_equal(calls[1].status, 200);
    assert_int_equal(calls[2].status, 200); /* kept as a dead letter */
    assert_int_equal(world.centre.deads, 1);
    assert_string_equal(world.centre.dead_key, "message:bad");
    assert_int_equal(counted(&world, CONNECTOR_EVENTS_STORED), 4);
    assert_int_equal(counted(&world, CONNECTOR_EVENTS_REFUSED), 1);
    world_close(&world);
}

/* Numbers whose events were answered 503 are told with the lane's next Submit, until that is answered. */
static void test_voided(void **state)
{
    struct world world = { .centre = { .submit_fails = ERR_UNAVAILABLE, .submit_fails_count = 4 } };

    (void)state;
    world_open(&world, "lanes: 1");
    wait_announced(&world);
    assert_int_equal(hook_status(&world, "1 alice a\n2 alice b"), 503);
    assert_int_equal(hook_status(&world, "3 alice c"), 503);
    world.centre.submit_fails_count = 0;
    assert_int_equal(hook_status(&world, "4 alice d"), 200);
    assert_int_equal(world.centre.boot_ns[0], 4);
    assert_int_equal(world.centre.voided, 1); /* neighbours are one range */
    assert_int_equal(world.centre.voided_first, 1);
    assert_int_equal(world.centre.voided_last, 3);
    assert_int_equal(hook_status(&world, "5 alice e"), 200);
    assert_int_equal(world.centre.voided, 1);
    world_close(&world);
}

/* ---- Announce ---- */

static void test_not_announced(void **state)
{
    struct world world = { .centre = { .announce_fails = ERR_FORBIDDEN } };

    (void)state;
    world_open(&world, "");
    WAIT_FOR(&world, world.centre.announces > 0);
    assert_int_equal(hook_status(&world, "1 alice hello"), 503);
    assert_int_equal(world.centre.submits, 0);
    world.centre.announce_fails = ERR_NONE;
    wait_announced(&world);
    assert_int_equal(hook_status(&world, "1 alice hello"), 200);
    world_close(&world);
}

static void test_token_is_renewed(void **state)
{
    struct world world = { .centre = { .token_ttl_ms = 600 } };

    (void)state;
    world_open(&world, "");
    WAIT_FOR(&world, world.centre.announces >= 3);
    assert_int_equal(hook_status(&world, "1 alice hello"), 200);
    world_close(&world);
}

static void test_account_refused(void **state)
{
    struct world world = { .centre = { .refused_account = "toy-1" } };
    struct hook_call other = { 0 };

    (void)state;
    world_open(&world, "");
    wait_announced(&world);
    assert_int_equal(hook_status(&world, "1 alice hello"), 503);
    hook_start(&world, &other, "POST", "/hooks/toy/toy-2", "yes", "1 alice hello");
    WAIT_FOR(&world, other.is_done);
    assert_int_equal(other.status, 200);
    world_close(&world);
}

/* ---- stopping ---- */

/* What was accepted is finished before the end; free with webhooks open answers them. */
static void test_drain(void **state)
{
    struct world world = { .centre = { .is_holding = true } };
    struct hook_call call = { 0 };

    (void)state;
    world_open(&world, PATIENT);
    wait_announced(&world);
    hook_post(&world, &call, "1 alice hello");
    WAIT_FOR(&world, world.centre.held_count == 1);
    connector_runtime_drain(world.runtime);
    assert_false(connector_runtime_is_drained(world.runtime));
    centre_release(&world.centre);
    WAIT_FOR(&world, connector_runtime_is_drained(world.runtime));
    WAIT_FOR(&world, call.is_done);
    assert_int_equal(call.status, 200);
    world_close(&world);
}

static void test_free_while_open(void **state)
{
    struct world world = { .centre = { .is_holding = true } };
    struct hook_call calls[2] = { 0 };

    (void)state;
    world_open(&world, PATIENT "lanes: 1");
    wait_announced(&world);
    hook_post(&world, &calls[0], "1 alice hello");
    hook_post(&world, &calls[1], "2 alice hello");
    WAIT_FOR(&world, connector_lanes_waiting(world.runtime->lanes) == 2);
    connector_runtime_free(&world.runtime);
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        WAIT_FOR(&world, calls[i].is_done);
        assert_int_not_equal(calls[i].status, 200);
    }
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hooks),
        cmocka_unit_test(test_body_too_large),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_not_answered_in_time),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_batch_limit),
        cmocka_unit_test(test_lanes_are_independent),
        cmocka_unit_test(test_poison),
        cmocka_unit_test(test_voided),
        cmocka_unit_test(test_not_announced),
        cmocka_unit_test(test_token_is_renewed),
        cmocka_unit_test(test_account_refused),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_free_while_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
