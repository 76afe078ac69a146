/* SPDX-License-Identifier: Apache-2.0 */
/* http_client_test.c - calls to our own server, and to a peer that misbehaves, on the same loop. */
#include "io/http_client.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/http_server.h"

#define HELD_MAX 16
enum { WAIT_MS = 10000, TEXT_BYTES = 4096 };

struct fixture {
    struct loop *loop;
    struct http_server *server;
    struct http_client *client;
    struct http_exchange *held[HELD_MAX];
    size_t held_count;
    char url[64];
    /* the peer that misbehaves: answers as many requests as it is told, then reads and closes */
    int listen_fd, peer_fd;
    struct loop_poll *listen_poll, *peer_poll;
    int answers_left, requests_seen;
};

struct outcome {
    int count;
    bool is_inside; /* done() came from inside start or cancel */
    struct err err;
    bool is_sent;
    int status;
    uint32_t retry_after_ms;
    char body[TEXT_BYTES];
    char content_type[64];
};

static bool is_inside;

static void on_done(void *arg, const struct http_result *result)
{
    struct outcome *outcome = arg;

    outcome->count++;
    outcome->is_inside = is_inside;
    outcome->err = result->err;
    outcome->is_sent = result->is_sent;
    outcome->status = result->status;
    outcome->retry_after_ms = result->retry_after_ms;
    snprintf(outcome->body, sizeof(outcome->body), "%.*s", (int)result->body.len,
             result->body.data ? result->body.data : "");
    snprintf(outcome->content_type, sizeof(outcome->content_type), "%s", result->content_type);
}

static void echo(struct http_exchange *exchange)
{
    static const char *const names[] = { "Authorization", "User-Agent", "X-One", "X-Empty", "Expect" };
    struct str_view body = http_exchange_body(exchange);
    SCOPED_BUF buf;

    buf_init(&buf, TEXT_BYTES);
    buf_printf(&buf, "%s %s?%s", http_exchange_method(exchange), http_exchange_path(exchange),
               http_exchange_query(exchange));
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (http_exchange_header(exchange, names[i]) != NULL)
            buf_printf(&buf, " %s=%s", names[i], http_exchange_header(exchange, names[i]));
    buf_printf(&buf, " body=%.*s", (int)body.len, body.len > 0 ? body.data : "");
    assert_true(http_exchange_reply(exchange, 200, "text/x-echo", buf_view(&buf)));
}

static void handle(void *arg, struct http_exchange *exchange)
{
    struct fixture *fixture = arg;
    const char *path = http_exchange_path(exchange);
    char large[2000];

    memset(large, 'x', sizeof(large));
    if (strcmp(path, "/hold") == 0) {
        assert_true(fixture->held_count < HELD_MAX);
        fixture->held[fixture->held_count++] = exchange;
    } else if (strcmp(path, "/busy") == 0) {
        http_exchange_set_header(exchange, "Retry-After", http_exchange_param(exchange, "after"));
        assert_true(http_exchange_reply(exchange, 429, "text/plain", STR_LITERAL("later")));
    } else if (strcmp(path, "/moved") == 0) {
        http_exchange_set_header(exchange, "Location", "/elsewhere");
        assert_true(http_exchange_reply(exchange, 302, NULL, STR_LITERAL("")));
    } else if (strcmp(path, "/large") == 0) {
        assert_true(http_exchange_reply(exchange, 200, NULL, (struct str_view){ large, sizeof(large) }));
    } else {
        echo(exchange);
    }
}

static struct fixture *open_all(struct http_client_options options)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    const struct http_server_options server = {
        .name = "test", .listen = "127.0.0.1:0", .handler = handle, .arg = fixture
    };
    struct err err = { 0 };

    fixture->loop = loop_new();
    fixture->listen_fd = fixture->peer_fd = -1;
    loop_excuse(fixture->loop); /* libcurl's first use reads the certificates */
    if (!http_server_new(fixture->loop, &server, &fixture->server, &err))
        fail_msg("%s", err.text);
    fixture->client = http_client_new(fixture->loop, &options);
    snprintf(fixture->url, sizeof(fixture->url), "http://127.0.0.1:%u", http_server_port(fixture->server));
    return fixture;
}

static const struct http_client_options friendly = { .allow_private_addresses = true,
                                                     .allow_plain_http = true,
                                                     .user_agent = "guichet-test" };

static void answer_held(struct fixture *fixture)
{
    while (fixture->held_count > 0)
        (void)http_exchange_reply(fixture->held[--fixture->held_count], 200, NULL, STR_LITERAL("done"));
}

static void close_all(struct fixture *fixture)
{
    answer_held(fixture);
    http_client_free(&fixture->client);
    http_server_free(&fixture->server);
    loop_poll_free(&fixture->peer_poll);
    loop_poll_free(&fixture->listen_poll);
    if (fixture->peer_fd >= 0)
        close(fixture->peer_fd);
    if (fixture->listen_fd >= 0)
        close(fixture->listen_fd);
    loop_free(&fixture->loop);
    free(fixture);
}

static struct http_call *start(struct fixture *fixture, const char *path, struct http_client_request request,
                               struct outcome *outcome)
{
    char url[256];
    struct http_call *call;

    snprintf(url, sizeof(url), "%s%s", strstr(path, "://") != NULL ? "" : fixture->url, path);
    request.url = url;
    request.method = request.method != NULL ? request.method : "GET";
    request.timeout_ms = request.timeout_ms != 0 ? request.timeout_ms : WAIT_MS;
    memset(outcome, 0, sizeof(*outcome));
    is_inside = true;
    call = http_call_start(fixture->client, &request, on_done, outcome);
    is_inside = false;
    assert_int_equal(outcome->count, 0);
    return call;
}

#define wait_until(fixture, condition)                                                                       \
    for (uint64_t until_ms_ = loop_now_ms((fixture)->loop) + WAIT_MS; !(condition);) {                       \
        loop_turn((fixture)->loop, 20);                                                                      \
        if (loop_now_ms((fixture)->loop) > until_ms_)                                                        \
            fail_msg("waited in vain for %s", #condition);                                                   \
    }

static void call(struct fixture *fixture, const char *path, struct http_client_request request,
                 struct outcome *ret_outcome)
{
    start(fixture, path, request, ret_outcome);
    wait_until(fixture, ret_outcome->count > 0);
    assert_int_equal(ret_outcome->count, 1);
    assert_false(ret_outcome->is_inside);
}

static void answers_come(void **state)
{
    static const struct {
        const char *label;
        struct http_client_request request;
        const char *path, *wanted;
    } cases[] = {
        { "get", { .method = "GET" }, "/a?b=c", "GET /a?b=c User-Agent=guichet-test body=" },
        { "post",
          { .method = "POST", .body = { "hello", 5 } },
          "/",
          "POST /? User-Agent=guichet-test body=hello" },
        { "empty post", { .method = "POST" }, "/", "POST /? User-Agent=guichet-test body=" },
        { "put", { .method = "PUT", .body = { "x", 1 } }, "/", "PUT /? User-Agent=guichet-test body=x" },
        { "delete", { .method = "DELETE" }, "/", "DELETE /? User-Agent=guichet-test body=" },
        { "headers",
          { .headers = { { "X-One", "1" }, { "X-Empty", "" } }, .header_count = 2 },
          "/",
          "GET /? User-Agent=guichet-test X-One=1 X-Empty= body=" },
        { "basic",
          { .user = "u", .password = "p:q" },
          "/",
          "GET /? Authorization=Basic dTpwOnE= User-Agent=guichet-test body=" },
    };
    struct fixture *fixture = open_all(friendly);

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct outcome outcome;

        call(fixture, cases[i].path, cases[i].request, &outcome);
        if (outcome.err.kind != ERR_NONE || outcome.status != 200 ||
            strcmp(outcome.body, cases[i].wanted) != 0)
            fail_msg("%s: %s %d '%s'", cases[i].label, outcome.err.text, outcome.status, outcome.body);
        assert_string_equal(outcome.content_type, "text/x-echo");
    }
    close_all(fixture);
}

static void head_is_answered(void **state)
{
    struct fixture *fixture = open_all(friendly);
    struct outcome outcome;

    (void)state;
    call(fixture, "/", (struct http_client_request){ .method = "HEAD" }, &outcome);
    assert_int_equal(outcome.err.kind, ERR_NONE);
    assert_int_equal(outcome.status, 200);
    assert_string_equal(outcome.body, "");
    close_all(fixture);
}

static void redirect_is_not_followed(void **state)
{
    struct fixture *fixture = open_all(friendly);
    struct outcome outcome;

    (void)state;
    call(fixture, "/moved", (struct http_client_request){ 0 }, &outcome);
    assert_int_equal(outcome.err.kind, ERR_NONE);
    assert_int_equal(outcome.status, 302);
    close_all(fixture);
}

static void retry_after_is_read(void **state)
{
    struct fixture *fixture = open_all(friendly);
    struct outcome outcome;
    char path[128];
    time_t then = time(NULL) + 100;

    (void)state;
    call(fixture, "/busy?after=7", (struct http_client_request){ 0 }, &outcome);
    assert_int_equal(outcome.status, 429);
    assert_int_equal(outcome.retry_after_ms, 7000);
    strftime(path, sizeof(path), "/busy?after=%a,%%20%d%%20%b%%20%Y%%20%H:%M:%S%%20GMT", gmtime(&then));
    call(fixture, path, (struct http_client_request){ 0 }, &outcome);
    assert_in_range(outcome.retry_after_ms, 80000, 100000);
    call(fixture, "/busy?after=Sat,%2001%20Jan%202000%2000:00:00%20GMT", (struct http_client_request){ 0 },
         &outcome);
    assert_int_equal(outcome.retry_after_ms, 0);
    call(fixture, "/busy?after=soon", (struct http_client_request){ 0 }, &outcome);
    assert_int_equal(outcome.retry_after_ms, 0);
    close_all(fixture);
}

static void failures_say_what_failed(void **state)
{
    static const struct {
        const char *label, *url;
        struct http_client_request request;
        enum err_kind kind;
        const char *text;
        bool is_sent;
    } cases[] = {
        { "no answer in time", "/hold", { .timeout_ms = 50 }, ERR_DEADLINE, "host 127.0.0.1: ", true },
        { "nobody listens", "http://127.0.0.1:1/", { 0 }, ERR_UNAVAILABLE, "host 127.0.0.1: ", false },
        { "no such name",
          "http://nowhere.invalid/",
          { 0 },
          ERR_UNAVAILABLE,
          "host nowhere.invalid: ",
          false },
        { "answer too large, announced",
          "/large",
          { .answer_max_bytes = 1999 },
          ERR_EXHAUSTED,
          "larger than 1999 bytes",
          true },
        { "not a URL", "http://:x://", { 0 }, ERR_INVALID, "the URL is not one", false },
        { "other scheme", "file:///etc/passwd", { 0 }, ERR_INVALID, "the URL", false },
        { "gopher", "gopher://127.0.0.1/", { 0 }, ERR_INVALID, "not http or https", false },
        { "header with a line break",
          "/",
          { .headers = { { "X-One", "a\r\nb" } }, .header_count = 1 },
          ERR_INVALID,
          "header 'X-One' is not sendable",
          false },
        { "header name with a colon",
          "/",
          { .headers = { { "X:", "a" } }, .header_count = 1 },
          ERR_INVALID,
          "header 'X:' is not sendable",
          false },
        { "too many headers", "/", { .header_count = 17 }, ERR_INVALID, "17 headers", false },
    };
    struct fixture *fixture = open_all(friendly);

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct outcome outcome;

        call(fixture, cases[i].url, cases[i].request, &outcome);
        if (outcome.err.kind != cases[i].kind || strstr(outcome.err.text, cases[i].text) == NULL ||
            outcome.is_sent != cases[i].is_sent)
            fail_msg("%s: %s '%s' sent %d", cases[i].label, err_kind_name(outcome.err.kind), outcome.err.text,
                     outcome.is_sent);
    }
    close_all(fixture);
}

static void only_https_unless_allowed(void **state)
{
    struct fixture *fixture = open_all((struct http_client_options){ .allow_private_addresses = true });
    struct outcome outcome;

    (void)state;
    call(fixture, "/", (struct http_client_request){ 0 }, &outcome);
    assert_int_equal(outcome.err.kind, ERR_INVALID);
    assert_string_equal(outcome.err.text, "the URL of host 127.0.0.1 is not https");
    close_all(fixture);
}

static void private_addresses_are_refused(void **state)
{
    static const struct {
        const char *url, *text;
    } cases[] = {
        { "http://10.0.0.1/", "address 10.0.0.1 of host 10.0.0.1 is not public" },
        { "http://localhost/", "of host localhost is not public" },
        { "http://2130706433/", "address 127.0.0.1 of host " },
        { "http://[::ffff:169.254.169.254]/", "address ::ffff:169.254.169.254 of host " },
        { "http://[::1]/", "address ::1 of host [::1] is not public" },
    };
    struct fixture *fixture = open_all((struct http_client_options){ .allow_plain_http = true });

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct outcome outcome;

        call(fixture, cases[i].url, (struct http_client_request){ 0 }, &outcome);
        if (outcome.err.kind != ERR_FORBIDDEN || strstr(outcome.err.text, cases[i].text) == NULL ||
            outcome.is_sent)
            fail_msg("%s: %s '%s'", cases[i].url, err_kind_name(outcome.err.kind), outcome.err.text);
    }
    close_all(fixture);
}

static void calls_past_the_limit_wait(void **state)
{
    struct http_client_options options = friendly;
    struct fixture *fixture;
    struct outcome first, second, late;

    (void)state;
    options.max_in_flight = 1;
    fixture = open_all(options);
    start(fixture, "/hold", (struct http_client_request){ 0 }, &first);
    start(fixture, "/", (struct http_client_request){ 0 }, &second);
    start(fixture, "/", (struct http_client_request){ .timeout_ms = 50 }, &late);
    wait_until(fixture, late.count > 0);
    assert_int_equal(late.err.kind, ERR_DEADLINE);
    assert_false(late.is_sent);
    assert_int_equal(second.count, 0);
    assert_int_equal(fixture->held_count, 1);
    answer_held(fixture);
    wait_until(fixture, second.count > 0);
    assert_string_equal(first.body, "done");
    assert_int_equal(second.status, 200);
    close_all(fixture);
}

static void canceled_calls_end_once(void **state)
{
    struct http_client_options options = friendly;
    struct fixture *fixture;
    struct outcome running, waiting;
    struct http_call *running_call, *waiting_call;

    (void)state;
    options.max_in_flight = 1;
    fixture = open_all(options);
    running_call = start(fixture, "/hold",
                         (struct http_client_request){ .method = "POST", .body = { "x", 1 } }, &running);
    waiting_call = start(fixture, "/", (struct http_client_request){ 0 }, &waiting);
    wait_until(fixture, fixture->held_count == 1);
    is_inside = true;
    http_call_cancel(waiting_call);
    http_call_cancel(running_call);
    http_call_cancel(running_call);
    is_inside = false;
    wait_until(fixture, running.count > 0 && waiting.count > 0);
    loop_turn(fixture->loop, 0);
    assert_int_equal(running.count, 1);
    assert_int_equal(waiting.count, 1);
    assert_int_equal(running.err.kind, ERR_CANCELED);
    assert_int_equal(waiting.err.kind, ERR_CANCELED);
    assert_true(running.is_sent);
    assert_false(waiting.is_sent);
    assert_false(running.is_inside || waiting.is_inside);
    close_all(fixture);
}

static void end_of_the_client_ends_its_calls(void **state)
{
    struct fixture *fixture = open_all(friendly);
    struct outcome outcome;

    (void)state;
    start(fixture, "/hold", (struct http_client_request){ 0 }, &outcome);
    wait_until(fixture, fixture->held_count == 1);
    http_client_free(&fixture->client);
    assert_int_equal(outcome.count, 1);
    assert_int_equal(outcome.err.kind, ERR_CANCELED);
    close_all(fixture);
}

/* ---- the peer that misbehaves ---- */

static void on_peer(void *arg, int events, int status)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    struct fixture *fixture = arg;
    char text[TEXT_BYTES] = "";
    ssize_t got = recv(fixture->peer_fd, text, sizeof(text) - 1, MSG_DONTWAIT);

    (void)events, (void)status;
    if (got > 0 && strstr(text, "HTTP/1.1") != NULL)
        fixture->requests_seen++;
    if (got > 0 && strstr(text, "body") == NULL)
        return; /* the head alone: its body follows */
    if (got > 0 && fixture->answers_left-- > 0) {
        assert_int_equal(send(fixture->peer_fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL),
                         sizeof(answer) - 1);
        return;
    }
    loop_poll_free(&fixture->peer_poll);
    close(fixture->peer_fd);
    fixture->peer_fd = -1;
}

static void on_peer_connects(void *arg, int events, int status)
{
    struct fixture *fixture = arg;

    (void)events, (void)status;
    assert_int_equal(fixture->peer_fd, -1);
    fixture->peer_fd = accept(fixture->listen_fd, NULL, NULL);
    fixture->peer_poll = loop_poll_new(fixture->loop, fixture->peer_fd, on_peer, fixture);
    loop_poll_start(fixture->peer_poll, UV_READABLE);
}

static void open_peer(struct fixture *fixture, int answers)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);

    fixture->answers_left = answers;
    fixture->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fixture->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fixture->listen_fd, 8), 0);
    assert_int_equal(getsockname(fixture->listen_fd, (struct sockaddr *)&address, &len), 0);
    snprintf(fixture->url, sizeof(fixture->url), "http://127.0.0.1:%u", ntohs(address.sin_port));
    fixture->listen_poll = loop_poll_new(fixture->loop, fixture->listen_fd, on_peer_connects, fixture);
    loop_poll_start(fixture->listen_poll, UV_READABLE);
}

/* libcurl would send it again on a new connection: a message that the peer may have taken. */
static void post_is_never_sent_twice(void **state)
{
    const struct http_client_request post = { .method = "POST", .body = { "body", 4 } };
    struct fixture *fixture = open_all(friendly);
    struct outcome outcome;

    (void)state;
    open_peer(fixture, 1);
    call(fixture, "/", post, &outcome);
    assert_string_equal(outcome.body, "ok");
    call(fixture, "/", post, &outcome);
    assert_int_equal(outcome.err.kind, ERR_UNAVAILABLE);
    assert_true(outcome.is_sent);
    assert_int_equal(fixture->requests_seen, 2);
    close_all(fixture);
}

static void closed_before_the_answer_may_be_sent(void **state)
{
    struct fixture *fixture = open_all(friendly);
    struct outcome outcome;

    (void)state;
    open_peer(fixture, 0);
    call(fixture, "/", (struct http_client_request){ .method = "POST", .body = { "body", 4 } }, &outcome);
    assert_int_equal(outcome.err.kind, ERR_UNAVAILABLE);
    assert_true(outcome.is_sent);
    assert_int_equal(fixture->requests_seen, 1);
    close_all(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_come),
        cmocka_unit_test(head_is_answered),
        cmocka_unit_test(redirect_is_not_followed),
        cmocka_unit_test(retry_after_is_read),
        cmocka_unit_test(failures_say_what_failed),
        cmocka_unit_test(only_https_unless_allowed),
        cmocka_unit_test(private_addresses_are_refused),
        cmocka_unit_test(calls_past_the_limit_wait),
        cmocka_unit_test(canceled_calls_end_once),
        cmocka_unit_test(end_of_the_client_ends_its_calls),
        cmocka_unit_test(post_is_never_sent_twice),
        cmocka_unit_test(closed_before_the_answer_may_be_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
