/* SPDX-License-Identifier: Apache-2.0 */
/* http_server_test.c - a raw client on a socket against a server on the same loop. */
#include "io/http_server.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define HELD_MAX 64
enum { WAIT_MS = 5000, ANSWER_BYTES = 1 << 16 };

struct fixture {
    struct loop *loop;
    struct http_server *server;
    struct http_exchange *held[HELD_MAX]; /* answered by the test, when it likes */
    size_t held_count;
    bool is_holding;
    int socket_fd; /* upgraded */
    char early[64];
    http_close_fn *close;
    void *close_arg;
    int socket_count;
};

static void on_gone(void *arg)
{
    struct fixture *fixture = arg;

    fixture->close(fixture->close_arg);
    fixture->close = NULL;
}

static void on_socket(void *arg, int fd, struct str_view early, http_close_fn *close_fn, void *close_arg)
{
    struct fixture *fixture = arg;

    fixture->socket_fd = fd;
    fixture->socket_count++;
    snprintf(fixture->early, sizeof(fixture->early), "%.*s", (int)early.len, early.data ? early.data : "");
    fixture->close = close_fn;
    fixture->close_arg = close_arg;
    if (fd >= 0)
        http_upgraded_on_gone(close_arg, on_gone, fixture);
}

static void describe_request(struct http_exchange *exchange, struct buf *buf)
{
    struct str_view body = http_exchange_body(exchange);
    const char *param = http_exchange_param(exchange, "a b");
    const char *header = http_exchange_header(exchange, "x-one");

    buf_init(buf, ANSWER_BYTES);
    buf_printf(buf, "%s %s?%s a b=%s x-one=%s peer=%s body=%zu:%.10s", http_exchange_method(exchange),
               http_exchange_path(exchange), http_exchange_query(exchange), param ? param : "-",
               header ? header : "-", http_exchange_peer(exchange), body.len, body.len > 0 ? body.data : "");
}

static void handle(void *arg, struct http_exchange *exchange)
{
    struct fixture *fixture = arg;
    SCOPED_BUF buf = { 0 };

    if (strcmp(http_exchange_path(exchange), "/upgrade") == 0) {
        assert_true(http_exchange_upgrade(exchange, "echo", on_socket, fixture));
        return;
    }
    if (fixture->is_holding) {
        assert_true(fixture->held_count < HELD_MAX);
        fixture->held[fixture->held_count++] = exchange;
        return;
    }
    describe_request(exchange, &buf);
    http_exchange_set_header(exchange, "X-Answer", "yes");
    http_exchange_set_header(exchange, "X-Broken", "a\r\nX-Injected: b");
    assert_true(http_exchange_reply(exchange, 200, "text/plain", buf_view(&buf)));
}

static struct fixture *open_server(struct http_server_options options)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct err err = { 0 };

    fixture->loop = loop_new();
    fixture->socket_fd = -1;
    options.name = "test";
    options.listen = "127.0.0.1:0";
    options.handler = handle;
    options.arg = fixture;
    if (!http_server_new(fixture->loop, &options, &fixture->server, &err))
        fail_msg("%s", err.text);
    return fixture;
}

static void close_server(struct fixture *fixture)
{
    http_server_free(&fixture->server);
    loop_free(&fixture->loop);
    free(fixture);
}

static int client_open(const struct fixture *fixture)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(http_server_port(fixture->server)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void client_send(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Reads what comes until `wanted` stands in it, or the end of the connection when NULL. */
static void client_wait(struct fixture *fixture, int fd, const char *wanted, char *ret_text)
{
    uint64_t deadline_ms = loop_now_ms(fixture->loop) + WAIT_MS;
    size_t len = 0;

    ret_text[0] = '\0';
    while (wanted == NULL || strstr(ret_text, wanted) == NULL) {
        ssize_t got = recv(fd, ret_text + len, ANSWER_BYTES - 1 - len, MSG_DONTWAIT);

        if (got == 0 || (got < 0 && wanted == NULL && len == 0 && loop_now_ms(fixture->loop) > deadline_ms))
            break;
        if (got > 0)
            len += (size_t)got;
        ret_text[len] = '\0';
        loop_turn(fixture->loop, got > 0 ? 0 : 5);
        if (loop_now_ms(fixture->loop) > deadline_ms)
            fail_msg("waited in vain for '%s', got '%s'", wanted ? wanted : "the end", ret_text);
    }
    if (wanted != NULL && strstr(ret_text, wanted) == NULL)
        fail_msg("closed before '%s' came, got '%s'", wanted, ret_text);
}

#define wait_until(fixture, condition)                                                                       \
    for (uint64_t until_ms_ = loop_now_ms((fixture)->loop) + WAIT_MS; !(condition);) {                       \
        loop_turn((fixture)->loop, 5);                                                                       \
        if (loop_now_ms((fixture)->loop) > until_ms_)                                                        \
            fail_msg("waited in vain for %s", #condition);                                                   \
    }

static void requests_are_read(void **state)
{
    static const struct {
        const char *label, *request, *wanted;
    } cases[] = {
        { "get", "GET /p%20q?a+b=c%26d&e HTTP/1.1\r\nHost: x\r\nX-One: 1\r\n\r\n",
          "GET /p%20q?a+b=c%26d&e a b=c&d x-one=1 peer=127.0.0.1 body=0:" },
        { "first of two headers", "GET / HTTP/1.1\r\nHost: x\r\nX-One: 1\r\nX-One: 2\r\n\r\n", "x-one=1 " },
        { "post", "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
          "POST /p? a b=- x-one=- peer=127.0.0.1 body=5:hello" },
        { "chunked",
          "POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
          "body=5:abcde" },
        { "own header", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "X-Answer: yes\r\n" },
        { "body at the limit", "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789",
          "body=10:0123456789" },
    };
    struct fixture *fixture = open_server((struct http_server_options){ .body_max_bytes = 10 });
    char text[ANSWER_BYTES];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int fd = client_open(fixture);

        client_send(fd, cases[i].request);
        client_wait(fixture, fd, cases[i].wanted, text);
        if (strncmp(text, "HTTP/1.1 200 OK\r\n", 17) != 0 || strstr(text, "X-Injected") != NULL)
            fail_msg("%s: %s", cases[i].label, text);
        close(fd);
    }
    close_server(fixture);
}

static void what_is_wrong_is_refused(void **state)
{
    static const struct {
        const char *label, *request, *wanted;
    } cases[] = {
        { "announced too large", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n01234567890",
          "HTTP/1.1 413 " },
        { "announced too large, waits for 100",
          "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n",
          "HTTP/1.1 413 " },
        { "chunks too large",
          "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n",
          "HTTP/1.1 413 " },
        { "two framings",
          "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
          "HTTP/1.1 400 " },
        { "two lengths", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
          "HTTP/1.1 400 " },
        { "signed length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc", "HTTP/1.1 4" },
        { "strange encoding",
          "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 4" },
        { "two hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "HTTP/1.1 400 " },
        { "no host", "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 " },
        { "slow head", "GET / HTTP/1.1\r\nHost:", "HTTP/1.1 408 " },
        { "slow body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nab", "HTTP/1.1 408 " },
    };
    struct fixture *fixture =
        open_server((struct http_server_options){ .body_max_bytes = 10, .read_timeout_ms = 100 });
    char text[ANSWER_BYTES];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int fd = client_open(fixture);

        print_message("%s\n", cases[i].label);
        client_send(fd, cases[i].request);
        client_wait(fixture, fd, NULL, text);
        if (strncmp(text, cases[i].wanted, strlen(cases[i].wanted)) != 0)
            fail_msg("%s: '%s'", cases[i].label, text);
        close(fd);
    }
    close_server(fixture);
}

static void silent_client_is_closed(void **state)
{
    struct fixture *fixture = open_server((struct http_server_options){ .read_timeout_ms = 50 });
    char text[ANSWER_BYTES];
    int fd = client_open(fixture);

    (void)state;
    client_wait(fixture, fd, NULL, text);
    assert_string_equal(text, "");
    close(fd);
    close_server(fixture);
}

static void large_head_is_431(void **state)
{
    struct fixture *fixture = open_server((struct http_server_options){ .connection_memory_bytes = 4096 });
    char text[ANSWER_BYTES], request[8192];
    int fd = client_open(fixture);

    (void)state;
    snprintf(request, sizeof(request), "GET / HTTP/1.1\r\nHost: x\r\nX-Large: %06000d\r\n\r\n", 1);
    client_send(fd, request);
    client_wait(fixture, fd, "HTTP/1.1 431 ", text);
    close(fd);
    close_server(fixture);
}

static void head_has_no_body(void **state)
{
    struct fixture *fixture = open_server((struct http_server_options){ 0 });
    char text[ANSWER_BYTES];
    int fd = client_open(fixture);

    (void)state;
    client_send(fd, "HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    client_wait(fixture, fd, NULL, text);
    assert_non_null(strstr(text, "Content-Length: "));
    assert_string_equal(strstr(text, "\r\n\r\n"), "\r\n\r\n");
    close(fd);
    close_server(fixture);
}

static void answers_may_come_later_and_in_any_order(void **state)
{
    enum { CLIENTS = 40 };
    struct fixture *fixture = open_server((struct http_server_options){ 0 });
    char text[ANSWER_BYTES];
    int fds[CLIENTS];

    (void)state;
    fixture->is_holding = true;
    for (size_t i = 0; i < CLIENTS; i++) {
        fds[i] = client_open(fixture);
        client_send(fds[i], "POST /later HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab");
    }
    wait_until(fixture, fixture->held_count == CLIENTS);
    assert_int_equal(http_server_open_requests(fixture->server), CLIENTS);
    for (size_t i = CLIENTS; i-- > 0;) {
        assert_string_equal(http_exchange_path(fixture->held[i]), "/later");
        assert_true(http_exchange_reply(fixture->held[i], 202, "text/plain", STR_LITERAL("done")));
    }
    assert_int_equal(http_server_open_requests(fixture->server), 0);
    for (size_t i = 0; i < CLIENTS; i++)
        client_wait(fixture, fds[i], "\r\n\r\ndone", text);
    fixture->is_holding = false;
    for (size_t i = 0; i < CLIENTS; i++) { /* the connections go on */
        client_send(fds[i], "GET /next HTTP/1.1\r\nHost: x\r\n\r\n");
        client_wait(fixture, fds[i], "GET /next", text);
        close(fds[i]);
    }
    close_server(fixture);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct fixture *fixture = open_server((struct http_server_options){ 0 });
    char text[ANSWER_BYTES];
    int fd = client_open(fixture);

    (void)state;
    client_send(fd, "GET /one HTTP/1.1\r\nHost: x\r\n\r\nGET /two HTTP/1.1\r\nHost: x\r\n\r\n");
    client_wait(fixture, fd, "GET /two", text);
    assert_non_null(strstr(text, "GET /one"));
    close(fd);
    close_server(fixture);
}

static void late_answer_is_dropped(void **state)
{
    struct fixture *fixture = open_server((struct http_server_options){ .answer_timeout_ms = 50 });
    char text[ANSWER_BYTES];
    int fd = client_open(fixture);

    (void)state;
    fixture->is_holding = true;
    client_send(fd, "POST /late HTTP/1.1\r\nHost: x\r\nX-One: kept\r\nContent-Length: 2\r\n\r\nab");
    client_wait(fixture, fd, "no answer in time", text);
    assert_non_null(strstr(text, "HTTP/1.1 503 "));
    assert_non_null(strstr(text, "Retry-After: 1\r\n"));
    close(fd);
    assert_string_equal(http_exchange_header(fixture->held[0], "X-One"), "kept");
    assert_false(http_exchange_reply(fixture->held[0], 200, NULL, STR_LITERAL("late")));
    close_server(fixture);
}

static void too_many_requests_are_429(void **state)
{
    struct fixture *fixture = open_server((struct http_server_options){ .requests_max = 1 });
    char text[ANSWER_BYTES];
    int first = client_open(fixture), second = client_open(fixture);

    (void)state;
    fixture->is_holding = true;
    client_send(first, "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_until(fixture, fixture->held_count == 1);
    client_send(second, "GET /2 HTTP/1.1\r\nHost: x\r\n\r\n");
    client_wait(fixture, second, "under way", text);
    assert_non_null(strstr(text, "HTTP/1.1 429 "));
    assert_non_null(strstr(text, "Retry-After: 1\r\n"));
    assert_true(http_exchange_reply(fixture->held[0], 200, NULL, STR_LITERAL("first")));
    client_wait(fixture, first, "first", text);
    fixture->is_holding = false;
    client_send(second, "GET /3 HTTP/1.1\r\nHost: x\r\n\r\n");
    client_wait(fixture, second, "GET /3", text);
    close(first);
    close(second);
    close_server(fixture);
}

static void client_may_leave_before_the_answer(void **state)
{
    struct fixture *fixture = open_server((struct http_server_options){ 0 });
    char text[ANSWER_BYTES];
    int fd = client_open(fixture);

    (void)state;
    fixture->is_holding = true;
    client_send(fd, "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_until(fixture, fixture->held_count == 1);
    close(fd);
    loop_turn(fixture->loop, 10);
    assert_true(http_exchange_reply(fixture->held[0], 200, NULL, STR_LITERAL("first")));
    fixture->is_holding = false;
    fd = client_open(fixture);
    client_send(fd, "GET /2 HTTP/1.1\r\nHost: x\r\n\r\n");
    client_wait(fixture, fd, "GET /2", text);
    close(fd);
    close_server(fixture);
}

static void end_answers_what_is_open(void **state)
{
    struct fixture *fixture = open_server((struct http_server_options){ 0 });
    char text[ANSWER_BYTES];
    int fd = client_open(fixture), idle = client_open(fixture);

    (void)state;
    fixture->is_holding = true;
    client_send(fd, "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_until(fixture, fixture->held_count == 1);
    http_server_free(&fixture->server);
    client_wait(fixture, fd, NULL, text);
    assert_non_null(strstr(text, "HTTP/1.1 503 "));
    assert_false(http_exchange_reply(fixture->held[0], 200, NULL, STR_LITERAL("late")));
    close(fd);
    close(idle);
    close_server(fixture);
}

static void drain_takes_no_more(void **state)
{
    struct fixture *fixture = open_server((struct http_server_options){ 0 });
    char text[ANSWER_BYTES];
    int fd = client_open(fixture);

    (void)state;
    fixture->is_holding = true;
    client_send(fd, "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_until(fixture, fixture->held_count == 1);
    http_server_drain(fixture->server);
    assert_int_equal(client_open(fixture), -1);
    assert_true(http_exchange_reply(fixture->held[0], 200, NULL, STR_LITERAL("last")));
    client_wait(fixture, fd, NULL, text);
    assert_non_null(strstr(text, "Connection: close"));
    assert_non_null(strstr(text, "last"));
    close(fd);
    close_server(fixture);
}

static void upgraded_socket_is_the_owners(void **state)
{
    struct fixture *fixture = open_server((struct http_server_options){ .allow_upgrade = true });
    char text[ANSWER_BYTES], got[16] = "";
    int fd = client_open(fixture);

    (void)state;
    client_send(fd, "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly");
    client_wait(fixture, fd, "\r\n\r\n", text);
    assert_int_equal(strncmp(text, "HTTP/1.1 101 ", 13), 0);
    wait_until(fixture, fixture->socket_fd >= 0);
    assert_int_equal(http_server_open_sockets(fixture->server), 1);
    client_send(fd, "more");
    wait_until(fixture, recv(fixture->socket_fd, got, sizeof(got) - 1, MSG_DONTWAIT) > 0);
    strcat(fixture->early, got);
    assert_string_equal(fixture->early, "earlymore");
    fixture->close(fixture->close_arg);
    client_wait(fixture, fd, NULL, text);
    assert_int_equal(http_server_open_sockets(fixture->server), 0);
    close(fd);
    close_server(fixture);
}

static void end_closes_upgraded_sockets(void **state)
{
    struct fixture *fixture = open_server((struct http_server_options){ .allow_upgrade = true });
    char text[ANSWER_BYTES];
    int fd = client_open(fixture);

    (void)state;
    client_send(fd, "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    client_wait(fixture, fd, "\r\n\r\n", text);
    wait_until(fixture, fixture->socket_fd >= 0);
    http_server_free(&fixture->server);
    assert_null(fixture->close);
    client_wait(fixture, fd, NULL, text);
    close(fd);
    close_server(fixture);
}

static void upgrade_that_never_happens_is_told(void **state)
{
    struct fixture *fixture = open_server((struct http_server_options){ .allow_upgrade = true });
    int fd = client_open(fixture);

    (void)state;
    fixture->is_holding = true;
    client_send(fd, "GET /hold HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    wait_until(fixture, fixture->held_count == 1);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
    close(fd); /* reset: the 101 cannot be written */
    assert_true(http_exchange_upgrade(fixture->held[0], "echo", on_socket, fixture));
    wait_until(fixture, fixture->socket_count == 1);
    if (fixture->socket_fd >= 0) /* libmicrohttpd may see it only afterwards */
        fixture->close(fixture->close_arg);
    close_server(fixture);
}

static void listen_addresses(void **state)
{
    static const struct {
        const char *listen, *wanted;
    } cases[] = {
        { "127.0.0.1", "has no port" },
        { "127.0.0.1:", "has no port" },
        { "127.0.0.1:70000x", "not a numeric address" },
        { "example.org:80", "not a numeric address" },
        { "192.0.2.1:8080", "cannot listen on '192.0.2.1:8080'" },
        { "[::1]:0", NULL },
        { "localhost:0", NULL },
        { "*:0", NULL },
    };
    struct loop *loop = loop_new();

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct http_server_options options = { .name = "test",
                                                     .listen = cases[i].listen,
                                                     .handler = handle };
        struct http_server *server = NULL;
        struct err err = { 0 };
        bool is_open = http_server_new(loop, &options, &server, &err);

        if (is_open != (cases[i].wanted == NULL) || (!is_open && strstr(err.text, cases[i].wanted) == NULL))
            fail_msg("%s: %s", cases[i].listen, err.text);
        http_server_free(&server);
    }
    loop_free(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_read),
        cmocka_unit_test(what_is_wrong_is_refused),
        cmocka_unit_test(silent_client_is_closed),
        cmocka_unit_test(large_head_is_431),
        cmocka_unit_test(head_has_no_body),
        cmocka_unit_test(answers_may_come_later_and_in_any_order),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(late_answer_is_dropped),
        cmocka_unit_test(too_many_requests_are_429),
        cmocka_unit_test(client_may_leave_before_the_answer),
        cmocka_unit_test(end_answers_what_is_open),
        cmocka_unit_test(drain_takes_no_more),
        cmocka_unit_test(upgraded_socket_is_the_owners),
        cmocka_unit_test(end_closes_upgraded_sockets),
        cmocka_unit_test(upgrade_that_never_happens_is_told),
        cmocka_unit_test(listen_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
