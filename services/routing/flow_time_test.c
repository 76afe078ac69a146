/* SPDX-License-Identifier: Apache-2.0 */
/* flow_time_test.c - what ends by itself, and what the feed does with a change that cannot be applied. */
#include "flow_steps.h"

static void test_flow_leases_end(void **state)
{
    struct house house;
    Guichet__V1__PullReply *first, *second;
    Guichet__V1__Job *job;

    (void)state;
    open_house(&house, "leases", "delivery_lease_ms: 300ms\nunknown_hold_ms: 300ms\n");
    announce(&house, "leases", "0123456789abcdef");
    fake_message(&house.fake, 1, true);
    fake_outbound(&house.fake, 1, "");
    fake_outbound(&house.fake, 1, "");
    fake_ring(&house.fake);
    start_pull(&house, 1, 8000);
    first = end_pull(&house, 1);
    assert_int_equal(first->n_jobs, 1);
    start_pull(&house, 1, 8000); /* never started: offered again, by the clock alone */
    second = end_pull(&house, 1);
    job = second->jobs[0];
    assert_string_equal(job->id, first->jobs[0]->id);
    assert_false(start_job(&house, first->jobs[0])->is_granted);
    assert_true(start_job(&house, job)->is_granted);
    start_pull(&house, 2, 8000); /* started, never reported: unknown; later the line is free */
    second = end_pull(&house, 2);
    assert_string_not_equal(second->jobs[0]->id, job->id);
    assert_int_equal(
        count_value(&house, "SELECT count(*) FROM routing.delivery WHERE tenant = 'leases' AND state = 8"),
        1);
    assert_int_equal(report_job(&house, job, GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_ACCEPTED, "late")->state,
                     GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_SENT);
    start_pull(&house, 1, 100);
    assert_int_equal(end_pull(&house, 1)->n_jobs, 0); /* its time is up: an empty answer */
    close_house(&house);
}

static void test_flow_bad_change(void **state)
{
    struct house house;
    Guichet__V1__Change *bad;

    (void)state;
    open_house(&house, "bad", "");
    house.fake.is_silent = true;
    for (unsigned i = 1; i <= 9; i++)
        fake_message(&house.fake, i, true);
    bad = fake_outbound(&house.fake, 4, "");
    bad->message_id = (char *)""; /* a delivery without a message cannot be */
    for (unsigned i = 10; i <= 20; i++)
        fake_message(&house.fake, i, true);
    house.fake.is_silent = false;
    fake_ring(&house.fake);
    UNTIL(&house, count_value(&house, "SELECT count(*) FROM routing.work_item WHERE tenant = 'bad'") == 20);
    assert_int_equal(
        count_value(&house, "SELECT count(*) FROM routing.event WHERE tenant = 'bad' AND type = 16"), 1);
    assert_int_equal(
        count_value(&house, "SELECT count(*) - max(sequence) FROM routing.event WHERE tenant = 'bad'"), 0);
    house.fake.is_resync_required = true;
    fake_ring(&house.fake);
    UNTIL(&house, !routing_applier_check(house.routing->applier, NULL));
    close_house(&house);
}

static void test_flow_presence_ends(void **state)
{
    struct house house;

    (void)state;
    open_house(&house, "absent", "presence_ttl_ms: 300ms\n");
    make_agent(&house, "alice", GUICHET__V1__ROLE__ROLE_AGENT);
    UNTIL(&house, strcmp(event_types(&house), "10 10") == 0); /* online; offline, by the clock alone */
    fake_message(&house.fake, 1, true);
    fake_ring(&house.fake);
    UNTIL(&house, strcmp(event_types(&house), "10 10 4 1 5") == 0);
    close_house(&house);
}

static int set_up(void **state)
{
    (void)state;
    testkit_open(&database, "flow_time");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    testkit_close(&database);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flow_leases_end),
        cmocka_unit_test(test_flow_bad_change),
        cmocka_unit_test(test_flow_presence_ends),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
