/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_server_test.c - a server against bad input, too much of it, and its own end.
 *
 * The bad input comes from a bare nng socket: our own client could not send it. */
#include "io/mesh_test_kit.h"

#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>

#include "core/pbjson.h"
#include "guichet/v1/mesh.pb-c.h"
#include "io/mesh_stats.h"

struct fixture {
    struct loop *loop;
    struct kit_server server;
    const char *url;
    nng_socket raw;
};

static void open_fixture(struct fixture *fixture, struct mesh_server_options options)
{
    memset(fixture, 0, sizeof(*fixture));
    fixture->loop = loop_new();
    kit_server_open(fixture->loop, &fixture->server, options);
    fixture->url = mesh_server_url(fixture->server.mesh);
    assert_int_equal(nng_req0_open(&fixture->raw), 0);
    nng_socket_set_ms(fixture->raw, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
    nng_socket_set_ms(fixture->raw, NNG_OPT_SENDTIMEO, 2000);
    nng_socket_set_ms(fixture->raw, NNG_OPT_RECVTIMEO, 1);
    assert_int_equal(nng_dial(fixture->raw, fixture->url, NULL, 0), 0);
}

static void close_fixture(struct fixture *fixture)
{
    nng_close(fixture->raw);
    kit_server_close(&fixture->server);
    loop_free(&fixture->loop);
}

/* Sends bytes as they are; the reply, or NULL when none came. */
static Guichet__V1__Reply *send_raw(struct fixture *fixture, const void *data, size_t len, uint32_t wait_ms)
{
    uint64_t until = uv_hrtime() / 1000000 + wait_ms;
    Guichet__V1__Reply *reply = NULL;
    nng_aio *aio;
    nng_msg *message;

    assert_int_equal(nng_msg_alloc(&message, 0), 0);
    assert_int_equal(nng_msg_append(message, data, len), 0);
    assert_int_equal(nng_sendmsg(fixture->raw, message, 0), 0);
    assert_int_equal(nng_aio_alloc(&aio, NULL, NULL), 0);
    nng_aio_set_timeout(aio, (nng_duration)wait_ms);
    nng_recv_aio(fixture->raw, aio);
    while (nng_aio_result(aio) == 0 && nng_aio_get_msg(aio) == NULL && uv_hrtime() / 1000000 < until + 500)
        loop_turn(fixture->loop, 5);
    nng_aio_wait(aio);
    message = nng_aio_result(aio) == 0 ? nng_aio_get_msg(aio) : NULL;
    if (message != NULL) {
        reply = guichet__v1__reply__unpack(NULL, nng_msg_len(message), nng_msg_body(message));
        assert_non_null(reply);
        nng_msg_free(message);
    }
    nng_aio_free(aio);
    return reply;
}

static Guichet__V1__Reply *send_request(struct fixture *fixture, const char *method, uint32_t timeout_ms,
                                        const void *body, size_t len)
{
    Guichet__V1__Request request = GUICHET__V1__REQUEST__INIT;
    Guichet__V1__Reply *reply;
    uint8_t *packed;
    size_t packed_len;

    request.method = (char *)method;
    request.timeout_ms = timeout_ms;
    request.body.data = (uint8_t *)body;
    request.body.len = len;
    packed = malloc(guichet__v1__request__get_packed_size(&request) + 1);
    packed_len = guichet__v1__request__pack(&request, packed);
    reply = send_raw(fixture, packed, packed_len, 5000);
    free(packed);
    return reply;
}

static void bad_frames_are_answered_invalid(void **state)
{
    static const struct {
        const char *label, *bytes;
        size_t len;
    } cases[] = {
        { "nothing at all", "", 0 },
        { "no protobuf", "GET / HTTP/1.1\r\n\r\n", 18 },
        { "cut short", "\x0a\x10guichet", 9 },
        { "method is not UTF-8", "\x0a\x02\xc3\x28", 4 },
        { "method holds a NUL",
          "\x0a\x03"
          "a\0b",
          5 },
        { "a group", "\x0b\x0c", 2 },
        { "a length of 4 GiB", "\x0a\xff\xff\xff\xff\x0f", 6 },
    };
    struct fixture fixture;

    (void)state;
    open_fixture(&fixture, (struct mesh_server_options){ 0 });
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Guichet__V1__Reply *reply = send_raw(&fixture, cases[i].bytes, cases[i].len, 5000);

        print_message("%s\n", cases[i].label);
        assert_non_null(reply);
        assert_int_equal(reply->status, GUICHET__V1__STATUS__STATUS_INVALID);
        assert_true(strlen(reply->message) > 0);
        guichet__v1__reply__free_unpacked(reply, NULL);
    }
    assert_int_equal(fixture.server.requests, 0);
    close_fixture(&fixture);
}

static void bad_requests_are_refused_before_the_handler(void **state)
{
    static const struct {
        const char *label, *method;
        uint32_t timeout_ms;
        const char *body;
        Guichet__V1__Status status;
    } cases[] = {
        { "unknown service", "guichet.v1.Nobody/Announce", 1000, "", GUICHET__V1__STATUS__STATUS_INVALID },
        { "unknown method", "guichet.v1.Connector/Nothing", 1000, "", GUICHET__V1__STATUS__STATUS_INVALID },
        { "longer name", "guichet.v1.Connector2/Announce", 1000, "", GUICHET__V1__STATUS__STATUS_INVALID },
        { "no slash", "Announce", 1000, "", GUICHET__V1__STATUS__STATUS_INVALID },
        { "no method", "", 1000, "", GUICHET__V1__STATUS__STATUS_INVALID },
        { "no time left", "guichet.v1.Connector/Announce", 0, "", GUICHET__V1__STATUS__STATUS_DEADLINE },
        { "malformed body", "guichet.v1.Connector/Announce", 1000, "\x0a\x7f",
          GUICHET__V1__STATUS__STATUS_INVALID },
        { "body is not UTF-8", "guichet.v1.Connector/Announce", 1000, "\x0a\x01\xff",
          GUICHET__V1__STATUS__STATUS_INVALID },
        { "good", "guichet.v1.Connector/Announce", 1000, "\x0a\x01x", GUICHET__V1__STATUS__STATUS_OK },
    };
    struct fixture fixture;

    (void)state;
    open_fixture(&fixture, (struct mesh_server_options){ 0 });
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Guichet__V1__Reply *reply = send_request(&fixture, cases[i].method, cases[i].timeout_ms,
                                                 cases[i].body, strlen(cases[i].body));

        print_message("%s\n", cases[i].label);
        assert_non_null(reply);
        assert_int_equal(reply->status, cases[i].status);
        guichet__v1__reply__free_unpacked(reply, NULL);
    }
    assert_int_equal(fixture.server.requests, 1);
    close_fixture(&fixture);
}

/* Two bytes each on the wire, a struct each in memory. */
static void a_budget_bomb_is_refused(void **state)
{
    enum { EVENTS = 400000 };
    struct fixture fixture;
    char *bomb = malloc(2 * EVENTS);
    Guichet__V1__Reply *reply;

    (void)state;
    for (size_t i = 0; i < EVENTS; i++) {
        bomb[2 * i] = 0x12; /* SubmitRequest.events, length 0 */
        bomb[2 * i + 1] = 0;
    }
    open_fixture(&fixture, (struct mesh_server_options){ 0 });
    loop_set_turn_max_ms(fixture.loop, 2000); /* sanitizers make the unpacking slow */
    reply = send_request(&fixture, "guichet.v1.Connector/Submit", 4000, bomb, 2 * EVENTS);
    assert_non_null(reply);
    assert_int_equal(reply->status, GUICHET__V1__STATUS__STATUS_INVALID);
    guichet__v1__reply__free_unpacked(reply, NULL);
    reply = send_request(&fixture, "guichet.v1.Connector/Submit", 4000, bomb, 2 * 20);
    assert_non_null(reply);
    assert_int_equal(reply->status, GUICHET__V1__STATUS__STATUS_OK);
    guichet__v1__reply__free_unpacked(reply, NULL);
    assert_int_equal(fixture.server.requests, 1);
    free(bomb);
    close_fixture(&fixture);
}

static void a_message_over_the_limit_ends_the_connection_only(void **state)
{
    struct fixture fixture;
    char *large = calloc(1, 64 * 1024);
    Guichet__V1__Reply *reply;

    (void)state;
    open_fixture(&fixture, (struct mesh_server_options){ .message_max_bytes = 16 * 1024 });
    reply = send_raw(&fixture, large, 64 * 1024, 300);
    assert_null(reply);
    reply = send_request(&fixture, "guichet.v1.Connector/Announce", 1000, "", 0);
    assert_non_null(reply);
    assert_int_equal(reply->status, GUICHET__V1__STATUS__STATUS_OK);
    guichet__v1__reply__free_unpacked(reply, NULL);
    free(large);
    close_fixture(&fixture);
}

static void a_reply_over_the_limit_is_internal(void **state)
{
    struct fixture fixture;
    struct mesh_client *client;
    struct kit_answer answer;

    (void)state;
    open_fixture(&fixture, (struct mesh_server_options){ 0 });
    client = kit_client(fixture.loop, &fixture.url, 1, (struct mesh_client_options){ 0 });
    kit_call(client, &(struct mesh_call){ 0 }, "large", "x", &answer);
    kit_wait(fixture.loop, answer.count > 0);
    assert_int_equal(answer.err.kind, ERR_INTERNAL);
    assert_non_null(strstr(answer.err.text, "limit"));
    mesh_client_free(&client);
    close_fixture(&fixture);
}

static void past_its_limit_a_server_refuses_and_still_answers_pings(void **state)
{
    struct fixture fixture;
    struct mesh_client *client;
    struct kit_answer held[3], extra;
    const struct mesh_call patient = { .timeout_ms = 15000, .attempt_timeout_ms = 15000 };

    (void)state;
    open_fixture(&fixture, (struct mesh_server_options){ .max_in_flight = 3 });
    client = kit_client(fixture.loop, &fixture.url, 1,
                        (struct mesh_client_options){ .ping_interval_ms = 50, .breaker_failures = 2 });
    for (size_t i = 0; i < COUNT_OF(held); i++)
        kit_call(client, &patient, "hold", "x", &held[i]);
    kit_wait(fixture.loop, fixture.server.held_count == 3);
    assert_int_equal(mesh_server_in_flight(fixture.server.mesh), 3);
    kit_call(client, &patient, "echo", "x", &extra);
    kit_wait(fixture.loop, extra.count > 0);
    assert_int_equal(extra.err.kind, ERR_EXHAUSTED);
    assert_true(extra.err.retry_after_ms > 0);
    for (int i = 0; i < 30; i++) { /* pings go on */
        loop_turn(fixture.loop, 20);
        assert_true(mesh_client_is_healthy(client));
    }
    kit_answer_held(&fixture.server);
    kit_wait(fixture.loop, held[0].count + held[1].count + held[2].count == 3);
    kit_call(client, &patient, "echo", "x", &extra);
    kit_wait(fixture.loop, extra.count > 0);
    assert_int_equal(extra.err.kind, ERR_NONE);
    mesh_client_free(&client);
    close_fixture(&fixture);
}

static void the_server_answers_for_a_handler_that_is_late(void **state)
{
    struct fixture fixture;
    Guichet__V1__Reply *reply;

    (void)state;
    open_fixture(&fixture, (struct mesh_server_options){ .max_in_flight = 2 });
    reply = send_request(&fixture, "guichet.v1.Connector/Announce", 400, "\x12\x04hold", 6);
    assert_non_null(reply);
    assert_int_equal(reply->status, GUICHET__V1__STATUS__STATUS_DEADLINE);
    guichet__v1__reply__free_unpacked(reply, NULL);
    assert_int_equal(mesh_server_in_flight(fixture.server.mesh), 0);
    assert_int_equal(fixture.server.held_count, 1);
    kit_answer_held(&fixture.server); /* late: frees it, goes nowhere */
    assert_int_equal(mesh_stats_value(MESH_STAT_LATE_ANSWERS), 1);
    /* Handlers that never come back are bounded as well: two slots, then EXHAUSTED. */
    for (int i = 0; i < 3; i++) {
        reply = send_request(&fixture, "guichet.v1.Connector/Announce", 400, "\x12\x04hold", 6);
        assert_non_null(reply);
        assert_int_equal(reply->status, i < 2 ? GUICHET__V1__STATUS__STATUS_DEADLINE
                                              : GUICHET__V1__STATUS__STATUS_EXHAUSTED);
        guichet__v1__reply__free_unpacked(reply, NULL);
    }
    kit_answer_held(&fixture.server);
    reply = send_request(&fixture, "guichet.v1.Connector/Announce", 1000, "", 0);
    assert_int_equal(reply->status, GUICHET__V1__STATUS__STATUS_OK);
    guichet__v1__reply__free_unpacked(reply, NULL);
    close_fixture(&fixture);
}

static void a_request_that_waited_for_a_busy_loop_is_past_its_deadline(void **state)
{
    struct fixture fixture;
    struct mesh_client *client;
    struct kit_answer answer;

    (void)state;
    open_fixture(&fixture, (struct mesh_server_options){ 0 });
    client = kit_client(fixture.loop, &fixture.url, 1, (struct mesh_client_options){ 0 });
    kit_wait(fixture.loop, mesh_client_is_healthy(client));
    kit_call(client, &(struct mesh_call){ .timeout_ms = 100, .no_retry = true }, "echo", "x", &answer);
    usleep(200000); /* it arrives, and the loop does not turn */
    kit_wait(fixture.loop, answer.count > 0);
    assert_int_equal(answer.err.kind, ERR_DEADLINE);
    for (int i = 0; i < 10; i++)
        loop_turn(fixture.loop, 10);
    assert_int_equal(fixture.server.requests, 0);
    mesh_client_free(&client);
    close_fixture(&fixture);
}

static void draining_finishes_what_is_open_and_takes_no_more(void **state)
{
    struct fixture fixture;
    struct mesh_client *client;
    struct kit_answer held, refused;

    (void)state;
    open_fixture(&fixture, (struct mesh_server_options){ 0 });
    client = kit_client(fixture.loop, &fixture.url, 1, (struct mesh_client_options){ 0 });
    kit_call(client, &(struct mesh_call){ .timeout_ms = 15000, .attempt_timeout_ms = 15000 }, "hold", "x",
             &held);
    kit_wait(fixture.loop, fixture.server.held_count == 1);
    mesh_server_drain(fixture.server.mesh);
    kit_call(client, &(struct mesh_call){ .no_retry = true }, "echo", "x", &refused);
    kit_wait(fixture.loop, refused.count > 0);
    assert_int_equal(refused.err.kind, ERR_UNAVAILABLE);
    assert_int_equal(mesh_server_in_flight(fixture.server.mesh), 1);
    kit_answer_held(&fixture.server);
    kit_wait(fixture.loop, held.count > 0);
    assert_int_equal(held.err.kind, ERR_NONE);
    assert_int_equal(mesh_server_in_flight(fixture.server.mesh), 0);
    mesh_client_free(&client);
    close_fixture(&fixture);
}

static void freeing_the_server_answers_unavailable(void **state)
{
    struct fixture fixture;
    struct mesh_client *client;
    struct kit_answer held;

    (void)state;
    open_fixture(&fixture, (struct mesh_server_options){ 0 });
    client = kit_client(fixture.loop, &fixture.url, 1, (struct mesh_client_options){ 0 });
    kit_call(client,
             &(struct mesh_call){ .timeout_ms = 15000, .attempt_timeout_ms = 15000, .no_retry = true },
             "hold", "x", &held);
    kit_wait(fixture.loop, fixture.server.held_count == 1);
    mesh_server_free(&fixture.server.mesh);
    kit_wait(fixture.loop, held.count > 0);
    /* The farewell is a courtesy: nng says "sent" when it is handed over, and the close may overtake it. The caller
     * then hears of the lost connection, which is UNAVAILABLE as well. */
    assert_int_equal(held.err.kind, ERR_UNAVAILABLE);
    /* The handler answers after its server is gone: nothing happens, nothing leaks. */
    mesh_client_free(&client);
    close_fixture(&fixture);
}

struct gate {
    uint32_t calls;
};

static bool authorise(void *arg, struct mesh_request *request, struct err *err)
{
    struct gate *gate = arg;
    char *claims;

    gate->calls++;
    if (!str_equal(mesh_request_token(request), STR_LITERAL("open sesame")))
        return err_set(err, ERR_FORBIDDEN, "wrong token");
    claims = arena_strdup(mesh_request_arena(request), "sms-1");
    mesh_request_set_claims(request, claims);
    assert_string_equal(mesh_request_claims(request), "sms-1");
    return true;
}

static void only_the_authorised_reach_the_handler(void **state)
{
    struct fixture fixture;
    struct gate gate = { 0 };
    struct mesh_client *client;
    struct kit_answer answer;

    (void)state;
    open_fixture(&fixture, (struct mesh_server_options){ .authorise = authorise, .authorise_arg = &gate });
    client = kit_client(fixture.loop, &fixture.url, 1, (struct mesh_client_options){ 0 });
    kit_call(client, &(struct mesh_call){ .token = STR_LITERAL("please") }, "echo", "x", &answer);
    kit_wait(fixture.loop, answer.count > 0);
    assert_int_equal(answer.err.kind, ERR_FORBIDDEN);
    assert_int_equal(fixture.server.requests, 0);
    kit_call(client, &(struct mesh_call){ .token = STR_LITERAL("open sesame") }, "echo", "x", &answer);
    kit_wait(fixture.loop, answer.count > 0);
    assert_int_equal(answer.err.kind, ERR_NONE);
    assert_int_equal(gate.calls, 2); /* pings need no token */
    mesh_client_free(&client);
    close_fixture(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_frames_are_answered_invalid),
        cmocka_unit_test(bad_requests_are_refused_before_the_handler),
        cmocka_unit_test(a_budget_bomb_is_refused),
        cmocka_unit_test(a_message_over_the_limit_ends_the_connection_only),
        cmocka_unit_test(a_reply_over_the_limit_is_internal),
        cmocka_unit_test(past_its_limit_a_server_refuses_and_still_answers_pings),
        cmocka_unit_test(the_server_answers_for_a_handler_that_is_late),
        cmocka_unit_test(a_request_that_waited_for_a_busy_loop_is_past_its_deadline),
        cmocka_unit_test(draining_finishes_what_is_open_and_takes_no_more),
        cmocka_unit_test(freeing_the_server_answers_unavailable),
        cmocka_unit_test(only_the_authorised_reach_the_handler),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
