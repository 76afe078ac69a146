/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_nng_test.c - the defects of nng that we live with, each red without our workaround.
 *
 *   ipc_probe     a listener dies of one connection without a greeting (#1518)
 *                 on: tcp://, the only transport mesh_wire_dial() and _listen() take       off: ipc://
 *   queued_send   freeing a send that is still queued when the receive has expired crashes (#1702)
 *                 on: one aio a context; the receive begins when the send has ended        off: both at once
 *   close_race    closing a socket while another thread receives hangs for ever (#1813, #1543), and by itself
 *                 when an answer comes in at that moment (pull request #1636, fixed in 1.6.0)
 *                 on: mesh_wire_close(): all stopped first, and nobody waits longer        off: two threads
 *                 than a second for nng
 *   junk          300 silent and talking connections that are no nng, then a good one: TLS listeners die of it,
 *                 tcp:// ones do not                                                       no off: we have no TLS
 *   send_forever  a send without a peer waits for ever
 *                 on: a time-out on every operation                                        off: the default */
#include "io/mesh_nng_kit.h"

#define PROBES 50
#define HANG_MS 4000
#define CLOSE_ROUNDS 3000

/* ---- ipc_probe ---- */

static void connect_and_close(int family, const void *address, socklen_t len)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(connect(fd, address, len) == 0);
    close(fd);
}

static struct sockaddr_in local_address(uint16_t port)
{
    return (struct sockaddr_in){ .sin_family = AF_INET,
                                 .sin_port = htons(port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static void run_ipc_probe(bool is_on)
{
    struct sockaddr_un ipc = { .sun_family = AF_UNIX };
    struct sockaddr_in tcp;
    nng_listener listener;
    char url[128];
    bool is_alive;

    if (is_on) {
        open_replier("tcp://127.0.0.1:0", &listener);
        tcp = local_address(port_of(listener));
        snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port_of(listener));
        CHECK(can_call(url));
        for (int i = 0; i < PROBES; i++)
            connect_and_close(AF_INET, &tcp, sizeof(tcp));
    } else {
        snprintf(ipc.sun_path, sizeof(ipc.sun_path), "/tmp/guichet-mesh-nng-%d", (int)getpid());
        snprintf(url, sizeof(url), "ipc://%s", ipc.sun_path);
        open_replier(url, &listener);
        CHECK(can_call(url));
        for (int i = 0; i < PROBES; i++)
            connect_and_close(AF_UNIX, &ipc, sizeof(ipc));
    }
    sleep_ms(200);
    is_alive = can_call(url);
    if (!is_on)
        unlink(ipc.sun_path);
    CHECK(is_alive);
}

/* ---- queued_send ---- */

static void run_queued_send(bool is_on)
{
    if (is_on) {
        struct loop *loop = loop_new();
        struct mesh_wire *wire = open_wire(loop, MESH_WIRE_REQUEST);
        struct seen seen = { 0 };
        struct mesh_wire_op *op = mesh_wire_op_new(wire, on_done, &seen);

        for (uint32_t i = 1; i <= 10; i++) {
            mesh_wire_call(op, STR_LITERAL("ping"), 50);
            turn_until(loop, &seen, i, 2000);
            CHECK(seen.count == i && seen.last.kind == ERR_DEADLINE);
        }
        mesh_wire_close(&wire);
        loop_free(&loop);
    } else {
        nng_socket socket;
        nng_ctx context;
        nng_aio *sending, *receiving;
        nng_msg *message;

        CHECK(nng_req0_open(&socket) == 0 && nng_ctx_open(&context, socket) == 0);
        CHECK(nng_aio_alloc(&sending, NULL, NULL) == 0 && nng_aio_alloc(&receiving, NULL, NULL) == 0);
        CHECK(nng_msg_alloc(&message, 0) == 0);
        nng_aio_set_msg(sending, message);
        nng_ctx_send(context, sending);
        nng_aio_set_timeout(receiving, 100);
        nng_ctx_recv(context, receiving);
        nng_aio_wait(receiving);
        nng_aio_free(sending);
        nng_close(socket);
    }
}

/* ---- close_race ---- */

static void *receive_until_closed(void *arg)
{
    nng_msg *message;

    if (nng_recvmsg(*(nng_socket *)arg, &message, 0) == 0)
        nng_msg_free(message);
    return NULL;
}

static atomic_uint rounds_done;

static void *race_closes(void *arg)
{
    for (int i = 0; i < CLOSE_ROUNDS; i++) {
        nng_socket socket;
        nng_msg *message;
        pthread_t receiver;

        CHECK(nng_req0_open(&socket) == 0 && nng_dial(socket, arg, NULL, 0) == 0);
        CHECK(nng_msg_alloc(&message, 0) == 0 && nng_sendmsg(socket, message, 0) == 0);
        CHECK(pthread_create(&receiver, NULL, receive_until_closed, &socket) == 0);
        nng_close(socket);
        pthread_join(receiver, NULL);
        atomic_fetch_add(&rounds_done, 1);
    }
    return NULL;
}

/* The counter stands still for HANG_MS: hung. */
static void watch_rounds(uint32_t rounds)
{
    uint64_t moved_ms = now_ms();
    uint32_t last = 0;

    while (last < rounds) {
        sleep_ms(20);
        if (atomic_load(&rounds_done) != last) {
            last = atomic_load(&rounds_done);
            moved_ms = now_ms();
        }
        CHECK(now_ms() - moved_ms < HANG_MS);
    }
}

static void close_on_one_thread(const char *url)
{
    struct loop *loop = loop_new();
    struct seen seen = { 0 };
    struct err err = { 0 };

    for (int i = 0; i < CLOSE_ROUNDS / 6; i++) {
        struct mesh_wire *wire = open_wire(loop, MESH_WIRE_REQUEST);
        struct mesh_wire_op *op = mesh_wire_op_new(wire, on_done, &seen);

        CHECK(mesh_wire_dial(wire, url, &err));
        mesh_wire_call(op, STR_LITERAL("ping"), 1000);
        for (int turn = 0; turn < i % 4; turn++)
            loop_turn(loop, 1);
        mesh_wire_close(&wire);
        atomic_fetch_add(&rounds_done, 1);
    }
    loop_free(&loop);
}

/* The answer has to come in the same moment: with a silent replier the race is not lost. */
static void run_close_race(bool is_on)
{
    static char url[64];
    nng_listener listener;
    pthread_t racer;

    open_replier("tcp://127.0.0.1:0", &listener);
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port_of(listener));
    if (is_on) {
        close_on_one_thread(url);
        return;
    }
    CHECK(pthread_create(&racer, NULL, race_closes, url) == 0);
    watch_rounds(CLOSE_ROUNDS);
}

/* ---- junk ---- */

static void run_junk(bool is_on)
{
    static const char junk[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    struct loop *loop = loop_new();
    struct kit_server server = { 0 };
    struct mesh_client *client;
    struct kit_answer answer;
    const char *url;

    (void)is_on;
    kit_server_open(loop, &server, (struct mesh_server_options){ 0 });
    url = mesh_server_url(server.mesh);
    for (int i = 0; i < 300; i++) {
        struct sockaddr_in address = local_address((uint16_t)atoi(strrchr(url, ':') + 1));
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
        if (i % 3 == 0)
            CHECK(write(fd, junk, sizeof(junk) - 1) > 0);
        /* Left open: they are silent while the good one comes. */
    }
    client = kit_client(loop, &url, 1, (struct mesh_client_options){ 0 });
    kit_call(client, &(struct mesh_call){ 0 }, "echo", "x", &answer);
    kit_wait(loop, answer.count > 0);
    CHECK(answer.err.kind == ERR_NONE);
    mesh_client_free(&client);
    kit_server_close(&server);
    loop_free(&loop);
}

/* ---- send_forever ---- */

static void run_send_forever(bool is_on)
{
    if (is_on) {
        struct loop *loop = loop_new();
        struct mesh_wire *wire = open_wire(loop, MESH_WIRE_REQUEST);
        struct seen seen = { 0 };

        mesh_wire_call(mesh_wire_op_new(wire, on_done, &seen), STR_LITERAL("ping"), 200);
        turn_until(loop, &seen, 1, 2000);
        CHECK(seen.count == 1 && seen.last.kind == ERR_DEADLINE);
        mesh_wire_close(&wire);
        loop_free(&loop);
    } else {
        nng_socket socket;
        nng_msg *message;

        CHECK(nng_req0_open(&socket) == 0 && nng_msg_alloc(&message, 0) == 0);
        alarm(2); /* its signal ends us: that is the red */
        nng_sendmsg(socket, message, 0);
    }
}

/* ---- all of them ---- */

/* clang-format off */
static const struct scenario scenarios[] = {
    { "ipc_probe", run_ipc_probe, "1.6.0", true },
    { "queued_send", run_queued_send, "1.6.0", true },
    { "close_race", run_close_race, "1.9.0", true },
    { "junk", run_junk, NULL, false },
    { "send_forever", run_send_forever, NULL, true },
};
/* clang-format on */

static void each_defect_is_red_without_its_workaround_only(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(scenarios); i++)
        check_scenario(&scenarios[i]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_defect_is_red_without_its_workaround_only),
    };

    if (argc == 4 && strcmp(argv[1], "run") == 0)
        return run_child(scenarios, COUNT_OF(scenarios), argv[2], argv[3]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
