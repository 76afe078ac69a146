/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_pubsub_test.c - the doorbell: it rings, from any publisher, again after a restart; and it can be cut. */
#include "io/mesh_test_kit.h"

#include "ops/failpoint.h"

struct heard {
    uint32_t count;
    uint64_t last;
    uint32_t connects;
    uint32_t others;  /* of the tenant "other" */
    bool is_odd_demo; /* check: odd sequences are demo's, even ones the other's */
};

static void on_doorbell(void *arg, const char *tenant, uint64_t sequence)
{
    struct heard *heard = arg;

    if (tenant[0] == '\0') {
        heard->connects++;
        return;
    }
    heard->count++;
    heard->last = sequence;
    heard->others += strcmp(tenant, "other") == 0;
    if (heard->is_odd_demo)
        assert_string_equal(tenant, sequence % 2 ? "demo" : "other");
}

static struct mesh_publisher *open_publisher(struct loop *loop, const char *listen)
{
    struct mesh_publisher *publisher = NULL;
    struct err err = { 0 };

    if (!mesh_publisher_new(loop, listen, &publisher, &err))
        fail_msg("publisher: %s", err.text);
    return publisher;
}

static struct mesh_subscriber *open_subscriber(struct loop *loop, const char *const *urls, size_t count,
                                               struct heard *heard)
{
    struct mesh_subscriber *subscriber = NULL;
    struct err err = { 0 };

    *heard = (struct heard){ 0 };
    if (!mesh_subscriber_new(loop, urls, count, on_doorbell, heard, &subscriber, &err))
        fail_msg("subscriber: %s", err.text);
    return subscriber;
}

/* Whoever has just connected hears from the next ring on. */
static void ring_until_heard(struct loop *loop, struct mesh_publisher *publisher, const char *tenant,
                             uint64_t sequence, const struct heard *heard)
{
    uint64_t until = uv_hrtime() / 1000000 + KIT_WAIT_MS;

    while (heard->last != sequence && uv_hrtime() / 1000000 < until) {
        mesh_publish(publisher, tenant, sequence);
        loop_turn(loop, 20);
    }
    assert_int_equal(heard->last, sequence);
}

static void rings_of_every_publisher_are_heard(void **state)
{
    struct loop *loop = loop_new();
    struct mesh_publisher *publishers[2];
    struct mesh_subscriber *subscribers[2];
    struct heard heard[2];
    const char *urls[2];

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        publishers[i] = open_publisher(loop, "tcp://127.0.0.1:0");
        urls[i] = mesh_publisher_url(publishers[i]);
    }
    for (size_t i = 0; i < 2; i++)
        subscribers[i] = open_subscriber(loop, urls, 2, &heard[i]);
    heard[0].is_odd_demo = heard[1].is_odd_demo = true;
    for (uint64_t sequence = 1; sequence <= 4; sequence++) {
        for (size_t i = 0; i < 2; i++)
            ring_until_heard(loop, publishers[sequence % 2], sequence % 2 ? "demo" : "other", sequence,
                             &heard[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_true(heard[i].others > 0);
        assert_in_range(heard[i].connects, 1, 2); /* of two publishers, told together or not */
        mesh_subscriber_free(&subscribers[i]);
        mesh_publisher_free(&publishers[i]);
    }
    loop_free(&loop);
}

/* A burst of a thousand fits the queues: nng's own, 16 and 128, would lose most of it. */
static void a_burst_is_not_lost(void **state)
{
    struct loop *loop = loop_new();
    struct mesh_publisher *publisher = open_publisher(loop, "tcp://127.0.0.1:0");
    const char *url = mesh_publisher_url(publisher);
    struct heard heard;
    struct mesh_subscriber *subscriber = open_subscriber(loop, &url, 1, &heard);

    (void)state;
    loop_set_turn_max_ms(loop, 1000);
    ring_until_heard(loop, publisher, "demo", 1, &heard);
    for (int i = 0; i < 5; i++) /* the rest of the first rings */
        loop_turn(loop, 20);
    heard.count = 0;
    for (uint64_t sequence = 2; sequence <= 1001; sequence++)
        mesh_publish(publisher, "demo", sequence);
    kit_wait(loop, heard.last == 1001);
    assert_int_equal(heard.count, 1000);
    mesh_subscriber_free(&subscriber);
    mesh_publisher_free(&publisher);
    loop_free(&loop);
}

static void a_restarted_publisher_is_heard_again(void **state)
{
    struct loop *loop = loop_new();
    struct mesh_publisher *publisher = open_publisher(loop, "tcp://127.0.0.1:0");
    char url_text[64];
    const char *url = url_text;
    struct heard heard;
    struct mesh_subscriber *subscriber;

    (void)state;
    snprintf(url_text, sizeof(url_text), "%s", mesh_publisher_url(publisher));
    subscriber = open_subscriber(loop, &url, 1, &heard);
    ring_until_heard(loop, publisher, "demo", 1, &heard);
    mesh_publisher_free(&publisher);
    heard.connects = 0;
    publisher = open_publisher(loop, url);
    kit_wait(loop, heard.connects == 1); /* what rang in between is lost: look everywhere */
    ring_until_heard(loop, publisher, "demo", 2, &heard);
    mesh_subscriber_free(&subscriber);
    mesh_publisher_free(&publisher);
    loop_free(&loop);
}

static void the_failpoint_cuts_it(void **state)
{
    struct loop *loop = loop_new();
    struct mesh_publisher *publisher = open_publisher(loop, "tcp://127.0.0.1:0");
    const char *url = mesh_publisher_url(publisher);
    struct heard heard;
    struct mesh_subscriber *subscriber = open_subscriber(loop, &url, 1, &heard);
    struct err err = { 0 };

    (void)state;
    ring_until_heard(loop, publisher, "demo", 1, &heard);
    for (int i = 0; i < 5; i++)
        loop_turn(loop, 20);
    setenv("GUICHET_FAILPOINT", "mesh_publish_cut:drop", 1);
    assert_true(failpoint_init(&err));
    heard.count = 0;
    for (uint64_t sequence = 2; sequence < 20; sequence++) {
        mesh_publish(publisher, "demo", sequence);
        loop_turn(loop, 5);
    }
    assert_int_equal(heard.count, 0);
    unsetenv("GUICHET_FAILPOINT");
    assert_true(failpoint_init(&err));
    ring_until_heard(loop, publisher, "demo", 20, &heard);
    mesh_subscriber_free(&subscriber);
    mesh_publisher_free(&publisher);
    loop_free(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rings_of_every_publisher_are_heard),
        cmocka_unit_test(a_burst_is_not_lost),
        cmocka_unit_test(a_restarted_publisher_is_heard_again),
        cmocka_unit_test(the_failpoint_cuts_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
