/* SPDX-License-Identifier: Apache-2.0 */
/* flow_gone_test.c - a connector vanishes while it waits for jobs: the next one gets them without delay.
 *
 * Leases are of an hour here: what the dead one was given would not come back within a test. */
#include <libpq-fe.h>

#include "flow_steps.h"

#define LEASES "delivery_lease_ms: 1h\n"

static uint64_t value_of(const struct house *house, enum routing_stat index)
{
    return stats_value(house->routing->stats, index);
}

/* One message to be sent, in conversation n. */
static void queue_delivery(struct house *house, unsigned n)
{
    fake_message(&house->fake, n, true);
    fake_outbound(&house->fake, n, "");
    fake_ring(&house->fake);
}

static void connect_again(struct house *house)
{
    house->pull = dial(house, 1);
    UNTIL(house, mesh_client_is_healthy(house->pull));
}

static void test_gone_while_waiting(void **state)
{
    struct house house;

    (void)state;
    open_house(&house, "gone", LEASES);
    announce(&house, "gone", "0123456789abcdef");
    start_pull(&house, 1, 8000);
    start_pull(&house, 2, 8000);
    UNTIL(&house, value_of(&house, ROUTING_PULLS_WAITING) == 2);
    mesh_client_free(&house.pull);
    UNTIL(&house, value_of(&house, ROUTING_PULLS_WAITING) == 0);
    assert_int_equal(value_of(&house, ROUTING_PULLS_GONE), 2);
    connect_again(&house);
    queue_delivery(&house, 1);
    start_pull(&house, 1, 8000);
    assert_int_equal(end_pull(&house, 1)->n_jobs, 1);
    assert_int_equal(value_of(&house, ROUTING_LEASED), 1);
    assert_int_equal(value_of(&house, ROUTING_PULLS_GONE), 2); /* who stays is not counted */
    close_house(&house);
}

/* Leased already, and the answer is not on its way yet: the database holds it up until the connector is gone. */
static void test_gone_while_leasing(void **state)
{
    struct house house;
    PGconn *other = PQconnectdb(database.url);

    (void)state;
    open_house(&house, "given", LEASES);
    announce(&house, "given", "0123456789abcdef");
    queue_delivery(&house, 1);
    UNTIL(&house,
          count_value(&house, "SELECT count(*) FROM routing.delivery WHERE tenant = 'given' AND state = 1") ==
              1);
    PQclear(PQexec(other, "BEGIN; SELECT FROM routing.counter WHERE tenant = 'given' FOR UPDATE"));
    start_pull(&house, 1, 8000);
    UNTIL(&house,
          count_value(&house, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                              " AND wait_event_type = 'Lock' AND query LIKE '%routing.pull(%'") == 1);
    mesh_client_free(&house.pull);
    UNTIL(&house, value_of(&house, ROUTING_PULLS_GONE) == 1);
    assert_int_equal(value_of(&house, ROUTING_PULLS_WAITING), 1); /* until it knows what it was given */
    PQclear(PQexec(other, "COMMIT"));
    UNTIL(&house, value_of(&house, ROUTING_PULLS_WAITING) == 0);
    assert_int_equal(value_of(&house, ROUTING_LEASED), 1);
    connect_again(&house);
    start_pull(&house, 1, 8000);
    assert_int_equal(end_pull(&house, 1)->n_jobs, 1);
    PQfinish(other);
    close_house(&house);
}

static int set_up(void **state)
{
    (void)state;
    testkit_open(&database, "flow_gone");
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
        cmocka_unit_test(test_gone_while_waiting),
        cmocka_unit_test(test_gone_while_leasing),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
