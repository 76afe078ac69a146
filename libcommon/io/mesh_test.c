/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_test.c - calls as their callers see them: answers, errors, deadlines, retries, lanes. */
#include "io/mesh_test_kit.h"

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>

#include "core/pbjson.h"
#include "guichet/v1/mesh.pb-c.h"
#include "io/mesh_breaker.h"
#include "io/mesh_stats.h"

struct pair {
    struct loop *loop;
    struct kit_server server;
    struct mesh_client *client;
    const char *url;
};

static void pair_open(struct pair *pair, struct mesh_client_options options)
{
    memset(pair, 0, sizeof(*pair));
    pair->loop = loop_new();
    kit_server_open(pair->loop, &pair->server, (struct mesh_server_options){ 0 });
    pair->url = mesh_server_url(pair->server.mesh);
    pair->client = kit_client(pair->loop, &pair->url, 1, options);
}

static void pair_close(struct pair *pair)
{
    mesh_client_free(&pair->client);
    kit_server_close(&pair->server);
    loop_free(&pair->loop);
}

static void call_carries_everything_both_ways(void **state)
{
    struct pair pair;
    struct kit_answer answer;

    (void)state;
    pair_open(&pair, (struct mesh_client_options){ 0 });
    kit_call(pair.client,
             &(struct mesh_call){ .tenant = "demo",
                                  .traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                                  .token = STR_LITERAL("proof") },
             "echo", "sms-1", &answer);
    kit_wait(pair.loop, answer.count > 0);
    assert_int_equal(answer.err.kind, ERR_NONE);
    assert_string_equal(answer.token, "sms-1");
    assert_string_equal(pair.server.tenant, "demo");
    assert_string_equal(pair.server.token, "proof");
    assert_string_equal(pair.server.traceparent, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_string_equal(pair.server.method, "guichet.v1.Connector/Announce");
    assert_true(mesh_client_is_healthy(pair.client));
    pair_close(&pair);
}

static void a_trace_begins_where_none_was_given(void **state)
{
    struct pair pair;
    struct kit_answer answer;
    char first[64];

    (void)state;
    pair_open(&pair, (struct mesh_client_options){ 0 });
    kit_call(pair.client, &(struct mesh_call){ 0 }, "echo", "a", &answer);
    kit_wait(pair.loop, answer.count > 0);
    assert_int_equal(strlen(pair.server.traceparent), 55);
    assert_memory_equal(pair.server.traceparent, "00-", 3);
    snprintf(first, sizeof(first), "%s", pair.server.traceparent);
    kit_call(pair.client, &(struct mesh_call){ 0 }, "echo", "a", &answer);
    kit_wait(pair.loop, answer.count > 0);
    assert_string_not_equal(first, pair.server.traceparent);
    assert_string_equal(pair.server.tenant, "");
    pair_close(&pair);
}

static void errors_arrive_as_they_were_raised(void **state)
{
    static const struct {
        enum err_kind raised, seen;
        uint32_t retry_after_ms;
        uint32_t requests;
    } cases[] = {
        { ERR_INVALID, ERR_INVALID, 0, 1 },       { ERR_NOT_FOUND, ERR_NOT_FOUND, 0, 1 },
        { ERR_CONFLICT, ERR_CONFLICT, 0, 1 },     { ERR_FORBIDDEN, ERR_FORBIDDEN, 0, 1 },
        { ERR_EXHAUSTED, ERR_EXHAUSTED, 700, 1 }, { ERR_INTERNAL, ERR_INTERNAL, 0, 1 },
        { ERR_CONFIG, ERR_INTERNAL, 0, 1 },       { ERR_UNAVAILABLE, ERR_UNAVAILABLE, 20, 2 },
        { ERR_CANCELED, ERR_UNAVAILABLE, 0, 2 },  { ERR_DEADLINE, ERR_DEADLINE, 0, 2 },
    };
    struct pair pair;

    (void)state;
    pair_open(&pair, (struct mesh_client_options){ 0 });
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct kit_answer answer;

        print_message("%s\n", err_kind_name(cases[i].raised));
        pair.server.requests = 0;
        pair.server.fails_left = 100;
        err_set(&pair.server.fail_with, cases[i].raised, "account 'é' is wrong");
        pair.server.fail_with.retry_after_ms = cases[i].retry_after_ms;
        kit_call(pair.client, &(struct mesh_call){ .timeout_ms = 3000 }, "fail", "x", &answer);
        kit_wait(pair.loop, answer.count > 0);
        assert_int_equal(answer.err.kind, cases[i].seen);
        assert_string_equal(answer.err.text, "account 'é' is wrong");
        assert_int_equal(answer.err.retry_after_ms, cases[i].retry_after_ms);
        assert_int_equal(pair.server.requests, cases[i].requests);
        err_clear(&pair.server.fail_with);
    }
    /* None of these is the transport's failure: the breaker has stayed closed. */
    assert_true(mesh_client_is_healthy(pair.client));
    pair_close(&pair);
}

static void one_replica_is_asked_again_after_a_moment(void **state)
{
    struct pair pair;
    struct kit_answer answer;
    uint64_t started_ms = uv_hrtime() / 1000000;

    (void)state;
    pair_open(&pair, (struct mesh_client_options){ 0 });
    pair.server.fails_left = 1;
    err_set(&pair.server.fail_with, ERR_UNAVAILABLE, "database is starting");
    kit_call(pair.client, &(struct mesh_call){ 0 }, "fail", "x", &answer);
    kit_wait(pair.loop, answer.count > 0);
    assert_int_equal(answer.err.kind, ERR_NONE);
    assert_int_equal(pair.server.requests, 2);
    assert_true(uv_hrtime() / 1000000 - started_ms >= 49);
    pair.server.fails_left = 1;
    kit_call(pair.client, &(struct mesh_call){ .no_retry = true }, "fail", "x", &answer);
    kit_wait(pair.loop, answer.count > 0);
    assert_int_equal(answer.err.kind, ERR_UNAVAILABLE);
    assert_int_equal(pair.server.requests, 3);
    pair_close(&pair);
}

static void deadline_ends_a_call_that_is_not_answered(void **state)
{
    struct pair pair;
    struct kit_answer answer;
    uint64_t started_ms, took_ms;

    (void)state;
    pair_open(&pair, (struct mesh_client_options){ 0 });
    kit_wait(pair.loop, mesh_client_is_healthy(pair.client));
    started_ms = uv_hrtime() / 1000000;
    kit_call(pair.client, &(struct mesh_call){ .timeout_ms = 150, .no_retry = true }, "hold", "x", &answer);
    kit_wait(pair.loop, answer.count > 0);
    took_ms = uv_hrtime() / 1000000 - started_ms;
    assert_int_equal(answer.err.kind, ERR_DEADLINE);
    assert_in_range(took_ms, 140, 2000);
    pair_close(&pair);
}

static void a_call_to_nobody_ends_by_its_deadline(void **state)
{
    struct loop *loop = loop_new();
    const char *url = "tcp://127.0.0.1:21999"; /* nobody listens there */
    struct mesh_client *client =
        kit_client(loop, &url, 1, (struct mesh_client_options){ .breaker_failures = 2 });
    struct kit_answer answer;

    (void)state;
    kit_call(client, &(struct mesh_call){ .timeout_ms = 100, .no_retry = true }, "echo", "x", &answer);
    kit_wait(loop, answer.count > 0);
    assert_int_equal(answer.err.kind, ERR_DEADLINE);
    kit_call(client, &(struct mesh_call){ .timeout_ms = 100, .no_retry = true }, "echo", "x", &answer);
    kit_wait(loop, answer.count > 0);
    kit_call(client, &(struct mesh_call){ .timeout_ms = 5000, .no_retry = true }, "echo", "x", &answer);
    kit_wait(loop, answer.count > 0);
    assert_int_equal(answer.err.kind, ERR_UNAVAILABLE); /* the breaker is open: known at once */
    assert_true(answer.err.retry_after_ms > 0);
    assert_false(mesh_client_is_healthy(client));
    mesh_client_free(&client);
    loop_free(&loop);
}

/* Our server answers by itself when the deadline passes, so the late one has to be a bare replier. */
static void take_announce(nng_ctx context)
{
    nng_aio *aio;
    bool is_announce = false;

    assert_int_equal(nng_aio_alloc(&aio, NULL, NULL), 0);
    while (!is_announce) { /* pings stay unanswered */
        Guichet__V1__Request *request;

        nng_aio_set_timeout(aio, 5000);
        nng_ctx_recv(context, aio);
        nng_aio_wait(aio);
        assert_int_equal(nng_aio_result(aio), 0);
        request = guichet__v1__request__unpack(NULL, nng_msg_len(nng_aio_get_msg(aio)),
                                               nng_msg_body(nng_aio_get_msg(aio)));
        is_announce = strcmp(request->method, "guichet.v1.Connector/Announce") == 0;
        guichet__v1__request__free_unpacked(request, NULL);
        nng_msg_free(nng_aio_get_msg(aio));
    }
    nng_aio_free(aio);
}

static void send_announce_reply(nng_ctx context, const char *token)
{
    Guichet__V1__AnnounceReply body = GUICHET__V1__ANNOUNCE_REPLY__INIT;
    Guichet__V1__Reply reply = GUICHET__V1__REPLY__INIT;
    SCOPED_BUF packed_body = { 0 }, packed = { 0 };
    nng_aio *aio;
    nng_msg *message;

    buf_init(&packed_body, 4096);
    buf_init(&packed, 4096);
    body.token.data = (uint8_t *)token;
    body.token.len = strlen(token);
    body.token_ttl_ms = 42;
    pb_pack(&body.base, &packed_body);
    reply.body.data = (uint8_t *)packed_body.data;
    reply.body.len = packed_body.len;
    pb_pack(&reply.base, &packed);
    assert_int_equal(nng_msg_alloc(&message, 0), 0);
    assert_int_equal(nng_msg_append(message, packed.data, packed.len), 0);
    assert_int_equal(nng_aio_alloc(&aio, NULL, NULL), 0);
    nng_aio_set_msg(aio, message);
    nng_ctx_send(context, aio);
    nng_aio_wait(aio);
    assert_int_equal(nng_aio_result(aio), 0);
    nng_aio_free(aio);
}

static void a_late_answer_does_not_leak_into_the_next_call(void **state)
{
    struct loop *loop = loop_new();
    struct mesh_client *client;
    struct kit_answer first, second;
    const char *url = "tcp://127.0.0.1:21321";
    nng_socket replier;
    nng_ctx contexts[2];

    (void)state;
    assert_int_equal(nng_rep0_open(&replier), 0);
    assert_int_equal(nng_listen(replier, url, NULL, 0), 0);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(nng_ctx_open(&contexts[i], replier), 0);
    client = kit_client(loop, &url, 1,
                        (struct mesh_client_options){ .max_in_flight = 1, .breaker_failures = 100 });
    for (int i = 0; i < 10; i++) {
        kit_call(client, &(struct mesh_call){ .timeout_ms = 250, .no_retry = true }, "echo", "x", &first);
        take_announce(contexts[0]);
        kit_wait(loop, first.count > 0);
        assert_int_equal(first.err.kind, ERR_DEADLINE);
        /* The same context's next request; the old answer arrives before its own. */
        kit_call(client, &(struct mesh_call){ .no_retry = true }, "echo", "x", &second);
        take_announce(contexts[1]);
        send_announce_reply(contexts[0], "late");
        for (int turn = 0; turn < 3; turn++)
            loop_turn(loop, 5);
        assert_int_equal(second.count, 0);
        send_announce_reply(contexts[1], "mine");
        kit_wait(loop, second.count > 0);
        assert_int_equal(second.err.kind, ERR_NONE);
        assert_string_equal(second.token, "mine");
        assert_int_equal(first.count, 1);
    }
    mesh_client_free(&client);
    nng_close(replier);
    loop_free(&loop);
}

static void past_max_in_flight_a_call_fails_at_once(void **state)
{
    struct pair pair;
    struct kit_answer answers[5];

    (void)state;
    pair_open(&pair, (struct mesh_client_options){ .max_in_flight = 4 });
    kit_wait(pair.loop, mesh_client_is_healthy(pair.client));
    for (size_t i = 0; i < COUNT_OF(answers); i++)
        kit_call(pair.client, &(struct mesh_call){ .timeout_ms = 10000, .attempt_timeout_ms = 10000 }, "hold",
                 "x", &answers[i]);
    kit_wait(pair.loop, answers[4].count > 0);
    assert_int_equal(answers[4].err.kind, ERR_EXHAUSTED);
    kit_wait(pair.loop, pair.server.held_count == 4);
    assert_int_equal(mesh_server_in_flight(pair.server.mesh), 4);
    kit_answer_held(&pair.server);
    kit_wait(pair.loop, answers[0].count + answers[1].count + answers[2].count + answers[3].count == 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(answers[i].err.kind, ERR_NONE);
    pair_close(&pair);
}

static void a_thousand_calls_in_flight_get_their_own_answers(void **state)
{
    enum { ROUNDS = 20, EACH = 50 };
    struct pair pair;
    static struct kit_answer answers[EACH];

    (void)state;
    pair_open(&pair, (struct mesh_client_options){ 0 });
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t done = 0;

        for (int i = 0; i < EACH; i++) {
            char name[32];

            snprintf(name, sizeof(name), "%d-%d", round, i);
            kit_call(pair.client, &(struct mesh_call){ .lane = (uint32_t)i }, "echo", name, &answers[i]);
        }
        while (done < EACH) {
            loop_turn(pair.loop, 100);
            for (done = 0; done < EACH && answers[done].count == 1;)
                done++;
        }
        for (int i = 0; i < EACH; i++) {
            char name[32];

            snprintf(name, sizeof(name), "%d-%d", round, i);
            assert_int_equal(answers[i].err.kind, ERR_NONE);
            assert_string_equal(answers[i].token, name);
        }
    }
    assert_int_equal(pair.server.requests, ROUNDS * EACH);
    pair_close(&pair);
}

static void a_request_over_the_limit_never_leaves(void **state)
{
    struct pair pair;
    struct kit_answer answer;
    char *large = calloc(1, 5000);

    (void)state;
    memset(large, 'x', 4999);
    pair_open(&pair, (struct mesh_client_options){ .message_max_bytes = 4096 });
    kit_call(pair.client, &(struct mesh_call){ 0 }, "echo", large, &answer);
    kit_wait(pair.loop, answer.count > 0);
    assert_int_equal(answer.err.kind, ERR_INVALID);
    assert_int_equal(pair.server.requests, 0);
    free(large);
    pair_close(&pair);
}

static void freeing_the_client_ends_its_calls(void **state)
{
    struct pair pair;
    struct kit_answer held, refused, backing_off;

    (void)state;
    pair_open(&pair, (struct mesh_client_options){ .max_in_flight = 2 });
    pair.server.fails_left = 1;
    err_set(&pair.server.fail_with, ERR_UNAVAILABLE, "not yet");
    pair.server.fail_with.retry_after_ms = 2000;
    kit_call(pair.client, &(struct mesh_call){ .timeout_ms = 9000 }, "fail", "x", &backing_off);
    kit_wait(pair.loop, pair.server.requests == 1);
    for (int i = 0; i < 10; i++)
        loop_turn(pair.loop, 10);
    kit_call(pair.client, &(struct mesh_call){ .timeout_ms = 9000, .attempt_timeout_ms = 9000 }, "hold", "x",
             &held);
    kit_wait(pair.loop, pair.server.held_count == 1);
    kit_call(pair.client, &(struct mesh_call){ .timeout_ms = 9000 }, "echo", "x", &refused);
    mesh_client_free(&pair.client);
    assert_null(pair.client);
    assert_int_equal(held.count + refused.count + backing_off.count, 3);
    assert_int_equal(held.err.kind, ERR_CANCELED);
    assert_int_equal(refused.err.kind, ERR_CANCELED);
    assert_int_equal(backing_off.err.kind, ERR_CANCELED);
    for (int i = 0; i < 5; i++)
        loop_turn(pair.loop, 10);
    assert_int_equal(held.count + refused.count + backing_off.count, 3);
    pair_close(&pair);
}

static void a_lane_stays_and_the_rest_goes_round(void **state)
{
    struct loop *loop = loop_new();
    struct kit_server servers[2] = { 0 };
    const char *urls[2];
    struct mesh_client *client;
    struct kit_answer answer;
    uint32_t lanes_of_first = 0;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        kit_server_open(loop, &servers[i], (struct mesh_server_options){ 0 });
        urls[i] = mesh_server_url(servers[i].mesh);
    }
    client = kit_client(loop, urls, 2, (struct mesh_client_options){ .ping_interval_ms = 100 });
    for (int i = 0; i < 20; i++) /* both pings are answered */
        loop_turn(loop, 20);
    for (uint32_t lane = 1; lane <= 32; lane++) {
        servers[0].requests = servers[1].requests = 0;
        for (int i = 0; i < 4; i++) {
            kit_call(client, &(struct mesh_call){ .lane = lane }, "echo", "x", &answer);
            kit_wait(loop, answer.count > 0);
        }
        assert_true(servers[0].requests == 4 || servers[1].requests == 4);
        lanes_of_first += servers[0].requests == 4;
    }
    assert_in_range(lanes_of_first, 4, 28);
    servers[0].requests = servers[1].requests = 0;
    for (int i = 0; i < 10; i++) {
        kit_call(client, &(struct mesh_call){ 0 }, "echo", "x", &answer);
        kit_wait(loop, answer.count > 0);
    }
    assert_int_equal(servers[0].requests, 5);
    assert_int_equal(servers[1].requests, 5);
    mesh_client_free(&client);
    kit_server_close(&servers[0]);
    kit_server_close(&servers[1]);
    loop_free(&loop);
}

static void a_draining_replica_gets_no_more_calls(void **state)
{
    struct loop *loop = loop_new();
    struct kit_server servers[2] = { 0 };
    const char *urls[2];
    struct mesh_client *client;
    struct kit_answer answer;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        kit_server_open(loop, &servers[i], (struct mesh_server_options){ 0 });
        urls[i] = mesh_server_url(servers[i].mesh);
    }
    client = kit_client(loop, urls, 2, (struct mesh_client_options){ .ping_interval_ms = 100 });
    kit_wait(loop, mesh_client_is_healthy(client));
    mesh_server_drain(servers[0].mesh);
    for (int i = 0; i < 20; i++) {
        kit_call(client, &(struct mesh_call){ 0 }, "echo", "x", &answer);
        kit_wait(loop, answer.count > 0);
        assert_int_equal(answer.err.kind, ERR_NONE);
        loop_turn(loop, 20);
    }
    assert_int_equal(servers[0].requests, 0);
    assert_int_equal(servers[1].requests, 20);
    mesh_client_free(&client);
    kit_server_close(&servers[0]);
    kit_server_close(&servers[1]);
    loop_free(&loop);
}

static void a_restarted_server_is_found_again(void **state)
{
    struct pair pair;
    struct kit_answer answer;
    char url[64];

    (void)state;
    pair_open(&pair, (struct mesh_client_options){ .ping_interval_ms = 200, .attempt_timeout_ms = 200 });
    kit_call(pair.client, &(struct mesh_call){ 0 }, "echo", "x", &answer);
    kit_wait(pair.loop, answer.count > 0);
    snprintf(url, sizeof(url), "%s", pair.url);
    kit_server_close(&pair.server);
    kit_wait(pair.loop, !mesh_client_is_healthy(pair.client));
    kit_call(pair.client, &(struct mesh_call){ .timeout_ms = 300 }, "echo", "x", &answer);
    kit_wait(pair.loop, answer.count > 0);
    assert_int_not_equal(answer.err.kind, ERR_NONE);
    kit_server_open(pair.loop, &pair.server, (struct mesh_server_options){ .listen = url });
    kit_wait(pair.loop, mesh_client_is_healthy(pair.client));
    kit_call(pair.client, &(struct mesh_call){ 0 }, "echo", "x", &answer);
    kit_wait(pair.loop, answer.count > 0);
    assert_int_equal(answer.err.kind, ERR_NONE);
    pair_close(&pair);
}

static void wrong_addresses_are_named(void **state)
{
    static const struct {
        const char *label, *address;
    } cases[] = {
        { "another transport", "ipc:///tmp/guichet" },
        { "resolved names are not there yet", "dns+tcp://routing:7101" },
        { "no scheme", "127.0.0.1:7101" },
        { "no port", "tcp://127.0.0.1" },
        { "no number", "tcp://127.0.0.1:port" },
    };
    struct loop *loop = loop_new();

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct mesh_client *client = NULL;
        struct mesh_server *server = NULL;
        struct err err = { 0 };

        print_message("%s\n", cases[i].label);
        assert_false(mesh_client_new(loop,
                                     &(struct mesh_client_options){
                                         .name = "peer", .addresses = &cases[i].address, .address_count = 1 },
                                     &client, &err));
        assert_int_equal(err.kind, ERR_CONFIG);
        assert_non_null(strstr(err.text, cases[i].address));
        err_clear(&err);
        assert_false(
            mesh_server_new(loop, &(struct mesh_server_options){ .name = "role", .listen = cases[i].address },
                            &server, &err));
        assert_int_equal(err.kind, ERR_CONFIG);
    }
    loop_free(&loop);
}

static void breaker_opens_after_failures_in_a_row(void **state)
{
    struct mesh_breaker breaker;

    (void)state;
    mesh_breaker_init(&breaker, 3);
    assert_true(mesh_breaker_lets_through(&breaker));
    assert_false(mesh_breaker_on_failure(&breaker));
    assert_false(mesh_breaker_on_failure(&breaker));
    assert_true(mesh_breaker_on_success(&breaker, false)); /* new -> closed; the count begins again */
    assert_false(mesh_breaker_on_failure(&breaker));
    assert_false(mesh_breaker_on_failure(&breaker));
    assert_true(mesh_breaker_on_failure(&breaker));
    assert_false(mesh_breaker_lets_through(&breaker));
    assert_false(mesh_breaker_on_success(&breaker, false)); /* a straggler's answer does not close it */
    assert_false(mesh_breaker_lets_through(&breaker));
    mesh_breaker_on_trial(&breaker);
    assert_string_equal(mesh_breaker_name(&breaker), "half_open");
    assert_false(mesh_breaker_on_failure(&breaker));
    assert_string_equal(mesh_breaker_name(&breaker), "open");
    mesh_breaker_on_trial(&breaker);
    assert_true(mesh_breaker_on_success(&breaker, true));
    assert_true(mesh_breaker_lets_through(&breaker));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(call_carries_everything_both_ways),
        cmocka_unit_test(a_trace_begins_where_none_was_given),
        cmocka_unit_test(errors_arrive_as_they_were_raised),
        cmocka_unit_test(one_replica_is_asked_again_after_a_moment),
        cmocka_unit_test(deadline_ends_a_call_that_is_not_answered),
        cmocka_unit_test(a_call_to_nobody_ends_by_its_deadline),
        cmocka_unit_test(a_late_answer_does_not_leak_into_the_next_call),
        cmocka_unit_test(past_max_in_flight_a_call_fails_at_once),
        cmocka_unit_test(a_thousand_calls_in_flight_get_their_own_answers),
        cmocka_unit_test(a_request_over_the_limit_never_leaves),
        cmocka_unit_test(freeing_the_client_ends_its_calls),
        cmocka_unit_test(a_lane_stays_and_the_rest_goes_round),
        cmocka_unit_test(a_draining_replica_gets_no_more_calls),
        cmocka_unit_test(a_restarted_server_is_found_again),
        cmocka_unit_test(wrong_addresses_are_named),
        cmocka_unit_test(breaker_opens_after_failures_in_a_row),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
