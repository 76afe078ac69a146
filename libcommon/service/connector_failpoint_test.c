/* SPDX-License-Identifier: Apache-2.0 */
/* connector_failpoint_test.c - each failpoint of the skeleton takes its failure path once, then all is well. */
#include "service/connector_world_calls.h"

#include "ops/failpoint.h"

static void test_webhooks(void **state)
{
    struct world world = { 0 };

    (void)state;
    world_open(&world, "");
    wait_announced(&world);
    assert_int_equal(hook_status(&world, "1 alice hello"), 503); /* before Submit */
    assert_int_equal(world.centre.submits, 0);
    assert_int_equal(hook_status(&world, "1 alice hello"), 503); /* stored, before the 2xx */
    assert_int_equal(world.centre.submits, 1);
    assert_int_equal(hook_status(&world, "1 alice hello"), 200);
    world_close(&world);
}

static void test_messages(void **state)
{
    struct world world = { .provider_status = 200 };
    struct toy_job job;

    (void)state;
    job_fill(&job, "toy-1", "hello");
    world_open(&world, "");
    give(&world, &job); /* after Start, before the call */
    WAIT_FOR(&world, world.centre.reports == 1 && jobs_open(&world) == 0);
    assert_int_equal(world.centre.outcome, RETRY);
    assert_int_equal(world.provider_calls, 0);
    WAIT_FOR(&world, world.centre.pull_closure != NULL);
    give(&world, &job); /* after the call, before Report */
    WAIT_FOR(&world, world.provider_calls == 1 && jobs_open(&world) == 0);
    assert_int_equal(world.centre.reports, 1);
    WAIT_FOR(&world, world.centre.pull_closure != NULL);
    give(&world, &job);
    WAIT_FOR(&world, world.centre.reports == 2);
    assert_int_equal(world.centre.outcome, ACCEPTED);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_webhooks), cmocka_unit_test(test_messages) };
    struct err err = { 0 };

    setenv("GUICHET_FAILPOINT",
           "connector_after_receive_before_submit:error@1,connector_after_submit_before_2xx:error@1,"
           "connector_after_start_before_send:error@1,connector_after_send_before_report:error@1",
           1);
    if (!failpoint_init(&err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
