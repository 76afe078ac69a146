/* SPDX-License-Identifier: Apache-2.0 */
/* connector_send_test.c - messages out: Start before the provider's call, an outcome for each, Report until heard. */
#include "service/connector_world_calls.h"

static const struct {
    const char *label, *account, *text, *settings;
    int provider_status; /* 0: no answer */
    Guichet__V1__OutcomeKind kind;
    Guichet__V1__FailureReason reason;
    unsigned provider_calls;
} sends[] = {
    { "accepted", "toy-1", "hello", "", 200, ACCEPTED, 0, 1 },
    { "provider says no", "toy-1", "hello", "", 500, RETRY, 0, 1 },
    { "no answer", "toy-1", "hello", "provider_timeout_ms: 200ms", 0, UNKNOWN, 0, 1 },
    { "no connection", "toy-2", "hello", "", 200, RETRY, REASON(PROVIDER_ERROR), 0 },
    { "cannot be rendered", "toy-1", NULL, "", 200, FAILED, REASON(CONTENT_REFUSED), 0 },
};

static void test_outcomes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(sends); i++) {
        struct world world = { .provider_status = sends[i].provider_status };
        struct toy_job job;

        job_fill(&job, sends[i].account, sends[i].text);
        world_open(&world, sends[i].settings);
        give(&world, &job);
        WAIT_FOR(&world, world.centre.reports == 1 && jobs_open(&world) == 0);
        if (world.centre.outcome != sends[i].kind || world.centre.reason != sends[i].reason ||
            world.provider_calls != sends[i].provider_calls || world.centre.starts != 1)
            fail_msg("case '%s': outcome %d, reason %d, provider calls %u, starts %u", sends[i].label,
                     (int)world.centre.outcome, (int)world.centre.reason, world.provider_calls,
                     world.centre.starts);
        if (sends[i].kind == ACCEPTED) {
            assert_string_equal(world.centre.provider_id, "P1");
            assert_int_equal(counted(&world, CONNECTOR_UNITS), 3);
        }
        world_close(&world);
    }
}

/* The guard's refusal is a matter of configuration: no repeat would help. */
static void test_guard_refuses(void **state)
{
    struct world world = { .provider_status = 200 };
    struct toy_job job;

    (void)state;
    job_fill(&job, "toy-1", "hello");
    world_open(&world, "");
    world.config.allow_private_addresses = false;
    http_client_free(&world.runtime->http);
    world.runtime->http =
        http_client_new(world.loop, &(struct http_client_options){ .allow_plain_http = true });
    give(&world, &job);
    WAIT_FOR(&world, world.centre.reports == 1);
    assert_int_equal(world.centre.outcome, FAILED);
    assert_int_equal(world.centre.reason, REASON(ACCOUNT_BROKEN));
    assert_int_equal(world.provider_calls, 0);
    world_close(&world);
}

static void test_start_denied(void **state)
{
    struct world world = { .provider_status = 200, .centre = { .is_start_denied = true } };
    struct toy_job job;

    (void)state;
    job_fill(&job, "toy-1", "hello");
    world_open(&world, "");
    give(&world, &job);
    WAIT_FOR(&world, world.centre.starts == 1 && jobs_open(&world) == 0);
    assert_int_equal(world.provider_calls, 0);
    assert_int_equal(world.centre.reports, 0);
    assert_int_equal(counted(&world, CONNECTOR_STARTS_DENIED), 1);
    world_close(&world);
}

/* Start not answered: nothing was sent, and that is what is reported. */
static void test_start_fails(void **state)
{
    struct world world = { .provider_status = 200,
                           .centre = { .start_fails = ERR_UNAVAILABLE, .start_fails_count = UINT32_MAX } };
    struct toy_job job;

    (void)state;
    job_fill(&job, "toy-1", "hello");
    world_open(&world, "");
    give(&world, &job);
    WAIT_FOR(&world, world.centre.reports == 1);
    assert_int_equal(world.centre.outcome, RETRY);
    assert_int_equal(world.provider_calls, 0);
    world_close(&world);
}

static void test_lease_too_short(void **state)
{
    struct world world = { .provider_status = 200, .centre = { .lease_ms = 1000 } };
    struct toy_job job;

    (void)state;
    job_fill(&job, "toy-1", "hello");
    world_open(&world, "");
    give(&world, &job);
    WAIT_FOR(&world, world.centre.reports == 1);
    assert_int_equal(world.centre.outcome, RETRY);
    assert_int_equal(world.provider_calls, 0);
    world_close(&world);
}

/* ---- Report ---- */

static const struct {
    const char *label;
    enum err_kind fails;
    unsigned fails_count, reports, repeated, dropped;
} reports[] = {
    { "unavailable for a while", ERR_UNAVAILABLE, 5, 1, 1, 0 },
    { "internal once", ERR_INTERNAL, 1, 1, 1, 0 },
    { "token refused", ERR_FORBIDDEN, 1, 1, 1, 0 },
    { "conflict", ERR_CONFLICT, UINT32_MAX, 0, 0, 1 },
    { "not found", ERR_NOT_FOUND, UINT32_MAX, 0, 0, 1 },
};

static void test_reports(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(reports); i++) {
        struct world world = { .provider_status = 200,
                               .centre = { .report_fails = reports[i].fails,
                                           .report_fails_count = reports[i].fails_count } };
        struct toy_job job;

        job_fill(&job, "toy-1", "hello");
        world_open(&world, "");
        give(&world, &job);
        WAIT_FOR(&world, counted(&world, CONNECTOR_SENDS_ACCEPTED) == 1 && jobs_open(&world) == 0);
        if (world.centre.reports != reports[i].reports ||
            counted(&world, CONNECTOR_REPORTS_REPEATED) < reports[i].repeated ||
            counted(&world, CONNECTOR_REPORTS_DROPPED) != reports[i].dropped || world.provider_calls != 1)
            fail_msg("case '%s': %u reports, %u provider calls", reports[i].label, world.centre.reports,
                     world.provider_calls);
        world_close(&world);
    }
}

static void test_report_is_given_up(void **state)
{
    struct world world = {
        .provider_status = 200,
        .centre = { .lease_ms = 3000, .report_fails = ERR_UNAVAILABLE, .report_fails_count = UINT32_MAX }
    };
    struct toy_job job;

    (void)state;
    job_fill(&job, "toy-1", "hello");
    world_open(&world, "report_keep_ms: 1s");
    give(&world, &job);
    WAIT_FOR(&world, counted(&world, CONNECTOR_REPORTS_DROPPED) == 1);
    WAIT_FOR(&world, jobs_open(&world) == 0);
    world_close(&world);
}

/* ---- room, order of calls, stopping ---- */

/* With one place taken there is no pull; the moment it is free there is. */
static void test_room(void **state)
{
    struct world world = { .provider_status = 0 };
    struct toy_job job;

    (void)state;
    job_fill(&job, "toy-1", "hello");
    world_open(&world, "pull_max: 1");
    give(&world, &job);
    WAIT_FOR(&world, world.provider_open != NULL);
    assert_int_equal(world.centre.pulls, 1);
    assert_null(world.centre.pull_closure);
    http_exchange_reply(world.provider_open, 200, "text/plain", STR_LITERAL("P1"));
    world.provider_open = NULL;
    WAIT_FOR(&world, world.centre.pulls == 2);
    assert_int_equal(world.centre.reports, 1);
    world_close(&world);
}

static void test_job_of_another(void **state)
{
    struct world world = { .provider_status = 200 };
    struct toy_job job;

    (void)state;
    job_fill(&job, "elsewhere-1", "hello");
    world_open(&world, "");
    give(&world, &job);
    WAIT_FOR(&world, world.centre.pulls == 2);
    assert_int_equal(world.centre.starts, 0);
    world_close(&world);
}

/* SIGTERM: nothing more is pulled, what was begun is sent and reported. */
static void test_drain(void **state)
{
    struct world world = { .provider_status = 0 };
    struct toy_job job;

    (void)state;
    job_fill(&job, "toy-1", "hello");
    world_open(&world, "");
    give(&world, &job);
    WAIT_FOR(&world, world.provider_open != NULL);
    connector_runtime_drain(world.runtime);
    assert_false(connector_runtime_is_drained(world.runtime));
    http_exchange_reply(world.provider_open, 200, "text/plain", STR_LITERAL("P1"));
    world.provider_open = NULL;
    WAIT_FOR(&world, connector_runtime_is_drained(world.runtime));
    assert_int_equal(world.centre.reports, 1);
    assert_int_equal(world.centre.outcome, ACCEPTED);
    world_close(&world);
}

static void test_free_while_sending(void **state)
{
    struct world world = { .provider_status = 0 };
    struct toy_job job;

    (void)state;
    job_fill(&job, "toy-1", "hello");
    world_open(&world, "");
    give(&world, &job);
    WAIT_FOR(&world, world.provider_open != NULL);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outcomes),           cmocka_unit_test(test_guard_refuses),
        cmocka_unit_test(test_start_denied),       cmocka_unit_test(test_start_fails),
        cmocka_unit_test(test_lease_too_short),    cmocka_unit_test(test_reports),
        cmocka_unit_test(test_report_is_given_up), cmocka_unit_test(test_room),
        cmocka_unit_test(test_job_of_another),     cmocka_unit_test(test_drain),
        cmocka_unit_test(test_free_while_sending),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
