/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_nng_habits_test.c - what nng does by design and we cannot use, each red without our way round it.
 *
 *   resend        a request is delivered again when the connection is lost: work done twice
 *                 on: NNG_OPT_REQ_RESENDTIME infinite, the call ends with UNAVAILABLE      off: the default
 *   publish_loss  most of a burst is lost, silently, by the default queues
 *                 on: the queues of mesh_wire_open()                                       off: the default
 *   blind_choice  one socket over two peers hands requests to the stopped one as well
 *                 on: a socket, a breaker and a ping per replica                           off: one socket
 *
 * Late replies, which nng handles well: mesh_test.c. Replicas as processes: mesh_replica_test.c. */
#include "io/mesh_nng_kit.h"

#define BURST 1000

/* ---- resend ---- */

/* A replier that takes one request and goes away, and its successor on the same port: does that one get it again? */
static bool is_delivered_again(uint16_t port, nng_socket first)
{
    nng_socket second;
    nng_msg *message;
    char url[64];
    bool is_again;

    nng_close(first);
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port);
    CHECK(nng_rep0_open(&second) == 0 && nng_listen(second, url, NULL, 0) == 0);
    nng_socket_set_ms(second, NNG_OPT_RECVTIMEO, 3000);
    is_again = nng_recvmsg(second, &message, 0) == 0;
    nng_close(second);
    return is_again;
}

static void take_one(nng_socket replier)
{
    nng_msg *message;

    nng_socket_set_ms(replier, NNG_OPT_RECVTIMEO, 5000);
    CHECK(nng_recvmsg(replier, &message, 0) == 0);
    nng_msg_free(message);
}

static void run_resend(bool is_on)
{
    nng_socket first, client;
    nng_listener listener;
    nng_msg *message;
    char url[64];
    uint16_t port;

    CHECK(nng_rep0_open(&first) == 0 && nng_listen(first, "tcp://127.0.0.1:0", &listener, 0) == 0);
    port = port_of(listener);
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port);
    if (is_on) {
        struct loop *loop = loop_new();
        struct mesh_wire *wire = open_wire(loop, MESH_WIRE_REQUEST);
        struct seen seen = { 0 };
        struct err err = { 0 };

        CHECK(mesh_wire_dial(wire, url, &err));
        mesh_wire_call(mesh_wire_op_new(wire, on_done, &seen), STR_LITERAL("work"), 10000);
        for (int i = 0; i < 20; i++)
            loop_turn(loop, 10); /* sent, and waiting for its answer */
        take_one(first);
        loop_excuse(loop);
        CHECK(!is_delivered_again(port, first));
        turn_until(loop, &seen, 1, 2000);
        CHECK(seen.count == 1 && seen.last.kind == ERR_UNAVAILABLE);
        mesh_wire_close(&wire);
        loop_free(&loop);
        return;
    }
    CHECK(nng_req0_open(&client) == 0);
    nng_socket_set_ms(client, NNG_OPT_RECONNMINT, 100);
    CHECK(nng_dial(client, url, NULL, 0) == 0);
    CHECK(nng_msg_alloc(&message, 0) == 0 && nng_sendmsg(client, message, 0) == 0);
    take_one(first);
    CHECK(!is_delivered_again(port, first));
}

/* ---- publish_loss ---- */

static void publish_by_wires(void)
{
    struct loop *loop = loop_new();
    struct mesh_wire *publisher = open_wire(loop, MESH_WIRE_PUBLISH);
    struct mesh_wire *subscriber = open_wire(loop, MESH_WIRE_SUBSCRIBE);
    struct seen seen = { 0 };
    struct mesh_wire_op *op = mesh_wire_op_new(subscriber, on_done, &seen);
    struct err err = { 0 };
    char *url = NULL;

    loop_set_turn_max_ms(loop, 5000);
    CHECK(mesh_wire_listen(publisher, "tcp://127.0.0.1:0", &url, &err) &&
          mesh_wire_dial(subscriber, url, &err));
    sleep_ms(500);
    for (int i = 0; i < BURST; i++)
        mesh_wire_publish(publisher, STR_LITERAL("ring"));
    for (uint32_t i = 1; i <= BURST; i++) {
        mesh_wire_receive(op);
        turn_until(loop, &seen, i, 2000);
        CHECK(seen.count == i);
    }
    free(url);
    mesh_wire_close(&publisher);
    mesh_wire_close(&subscriber);
    loop_free(&loop);
}

static void publish_by_defaults(void)
{
    nng_socket publisher, subscriber;
    nng_listener listener;
    nng_msg *message;
    char url[64];
    int received = 0;

    CHECK(nng_pub0_open(&publisher) == 0 && nng_listen(publisher, "tcp://127.0.0.1:0", &listener, 0) == 0);
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port_of(listener));
    CHECK(nng_sub0_open(&subscriber) == 0 && nng_socket_set(subscriber, NNG_OPT_SUB_SUBSCRIBE, "", 0) == 0);
    CHECK(nng_dial(subscriber, url, NULL, 0) == 0);
    nng_socket_set_ms(subscriber, NNG_OPT_RECVTIMEO, 1000);
    sleep_ms(500);
    for (int i = 0; i < BURST; i++)
        CHECK(nng_msg_alloc(&message, 4) == 0 && nng_sendmsg(publisher, message, 0) == 0);
    sleep_ms(200);
    while (nng_recvmsg(subscriber, &message, 0) == 0) {
        nng_msg_free(message);
        received++;
    }
    CHECK(received == BURST);
}

static void run_publish_loss(bool is_on)
{
    if (is_on)
        publish_by_wires();
    else
        publish_by_defaults();
}

/* ---- blind_choice ---- */

/* Two peers, one of which takes connections and reads nothing, as a stopped process does. */
static void choose_by_client(const char *silent_url)
{
    struct loop *loop = loop_new();
    struct kit_server server = { 0 };
    struct mesh_client *client;
    struct kit_answer answer;
    const char *urls[2] = { silent_url };

    kit_server_open(loop, &server, (struct mesh_server_options){ 0 });
    urls[1] = mesh_server_url(server.mesh);
    client = kit_client(loop, urls, 2, (struct mesh_client_options){ .attempt_timeout_ms = 200 });
    for (int i = 0; i < 20; i++) {
        kit_call(client, &(struct mesh_call){ .timeout_ms = 3000 }, "echo", "x", &answer);
        kit_wait(loop, answer.count > 0);
        CHECK(answer.err.kind == ERR_NONE);
    }
    mesh_client_free(&client);
    kit_server_close(&server);
    loop_free(&loop);
}

static void run_blind_choice(bool is_on)
{
    nng_socket silent, client;
    nng_listener listener;
    nng_msg *message;
    char silent_url[64], good_url[64];
    int failed = 0;

    CHECK(nng_rep0_open(&silent) == 0 && nng_listen(silent, "tcp://127.0.0.1:0", &listener, 0) == 0);
    snprintf(silent_url, sizeof(silent_url), "tcp://127.0.0.1:%u", port_of(listener));
    if (is_on) {
        choose_by_client(silent_url);
        return;
    }
    open_replier("tcp://127.0.0.1:0", &listener);
    snprintf(good_url, sizeof(good_url), "tcp://127.0.0.1:%u", port_of(listener));
    CHECK(nng_req0_open(&client) == 0);
    nng_socket_set_ms(client, NNG_OPT_RECVTIMEO, 200);
    CHECK(nng_dial(client, silent_url, NULL, 0) == 0 && nng_dial(client, good_url, NULL, 0) == 0);
    sleep_ms(200);
    for (int i = 0; i < 20; i++) {
        CHECK(nng_msg_alloc(&message, 0) == 0 && nng_sendmsg(client, message, 0) == 0);
        if (nng_recvmsg(client, &message, 0) != 0)
            failed++;
        else
            nng_msg_free(message);
    }
    CHECK(failed == 0);
}

/* ---- all of them ---- */

/* clang-format off */
static const struct scenario scenarios[] = {
    { "resend", run_resend, NULL, true },
    { "publish_loss", run_publish_loss, NULL, true },
    { "blind_choice", run_blind_choice, NULL, true },
};
/* clang-format on */

static void each_habit_is_red_without_our_way_round_it_only(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(scenarios); i++)
        check_scenario(&scenarios[i]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_habit_is_red_without_our_way_round_it_only),
    };

    if (argc == 4 && strcmp(argv[1], "run") == 0)
        return run_child(scenarios, COUNT_OF(scenarios), argv[2], argv[3]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
