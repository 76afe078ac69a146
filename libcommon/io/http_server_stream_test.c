/* SPDX-License-Identifier: Apache-2.0 */
/* http_server_stream_test.c - bodies that are not held, both ways, against a raw client on the same loop. */
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

enum {
    WAIT_MS = 5000,
    LARGE_BYTES = 3 * 1024 * 1024,
    SINK_MAX_BYTES = 4 * 1024 * 1024,
    PIECE_MAX = 100 * 1000
};

/* What the handlers do, and what became of it. */
struct fixture {
    struct loop *loop;
    struct http_server *server;
    struct loop_timer *timer;
    struct http_exchange *exchange;
    size_t pause_at, answer_at; /* 0: never */
    bool is_pausing_for_good;
    size_t came;
    uint32_t sum;
    int pauses, gone, wholes;
    struct http_stream *stream;
    size_t given, break_at;
    bool is_dry; /* the source has nothing every other time */
    int dries, ends;
    char *answer;
    size_t answer_len;
};

static char byte_at(size_t at)
{
    return (char)(at * 31 + at / 4096);
}

static uint32_t sum_up(uint32_t sum, char byte)
{
    return sum * 16777619u + (uint8_t)byte;
}

static void on_timer(void *arg)
{
    struct fixture *fixture = arg;

    if (fixture->exchange != NULL)
        http_exchange_resume(fixture->exchange);
    if (fixture->stream != NULL)
        http_stream_ready(fixture->stream);
}

static void on_piece(void *arg, struct str_view piece)
{
    struct fixture *fixture = arg;

    for (size_t i = 0; i < piece.len; i++)
        fixture->sum = sum_up(fixture->sum, piece.data[i]);
    fixture->came += piece.len;
    if (fixture->pause_at > 0 && fixture->came >= fixture->pause_at) {
        fixture->pause_at += fixture->pause_at;
        fixture->pauses++;
        http_exchange_pause(fixture->exchange);
        if (!fixture->is_pausing_for_good)
            loop_timer_start(fixture->timer, 1, 0);
    }
    if (fixture->answer_at > 0 && fixture->came >= fixture->answer_at) {
        struct http_exchange *exchange = fixture->exchange;

        fixture->exchange = NULL;
        assert_true(http_exchange_reply(exchange, 403, "text/plain", str_view_of("enough")));
    }
}

static void on_gone(void *arg)
{
    struct fixture *fixture = arg;
    struct http_exchange *exchange = fixture->exchange;

    fixture->gone++;
    fixture->exchange = NULL;
    assert_false(http_exchange_reply(exchange, 200, "text/plain", str_view_of("late")));
}

static void on_head(void *arg, struct http_exchange *exchange)
{
    struct fixture *fixture = arg;

    if (strcmp(http_exchange_path(exchange), "/sink") != 0)
        return;
    fixture->exchange = exchange;
    http_exchange_sink(exchange, &(struct http_body_sink){ on_piece, on_gone, fixture }, SINK_MAX_BYTES);
}

static size_t source_read(void *arg, char *buffer, size_t size)
{
    struct fixture *fixture = arg;

    if (fixture->break_at > 0 && fixture->given >= fixture->break_at)
        return HTTP_STREAM_BROKEN;
    if (fixture->is_dry && fixture->dries++ % 2 == 0) {
        loop_timer_start(fixture->timer, 0, 0);
        return 0;
    }
    for (size_t i = 0; i < size; i++)
        buffer[i] = byte_at(fixture->given + i);
    fixture->given += size;
    return size;
}

static void source_end(void *arg)
{
    struct fixture *fixture = arg;

    fixture->ends++;
    fixture->stream = NULL;
}

static void handle(void *arg, struct http_exchange *exchange)
{
    struct fixture *fixture = arg;
    char text[64];

    fixture->wholes++;
    if (strcmp(http_exchange_path(exchange), "/source") == 0) {
        http_exchange_set_header(exchange, "X-Answer", "yes");
        assert_true(http_exchange_reply_stream(exchange, 200, "application/octet-stream", LARGE_BYTES,
                                               &(struct http_body_source){ source_read, source_end, fixture },
                                               &fixture->stream));
        return;
    }
    fixture->exchange = NULL;
    snprintf(text, sizeof(text), "%s %zu %u", http_exchange_sink_arg(exchange) == fixture ? "sink" : "held",
             fixture->came, fixture->sum);
    assert_true(http_exchange_reply(exchange, 200, "text/plain", str_view_of(text)));
}

static struct fixture *open_server(struct http_server_options options)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct err err = { 0 };

    fixture->loop = loop_new();
    fixture->timer = loop_timer_new(fixture->loop, on_timer, fixture);
    fixture->answer = malloc(LARGE_BYTES + 4096);
    options.name = "test";
    options.listen = "127.0.0.1:0";
    options.handler = handle;
    options.head = on_head;
    options.arg = fixture;
    if (!http_server_new(fixture->loop, &options, &fixture->server, &err))
        fail_msg("%s", err.text);
    return fixture;
}

static void close_server(struct fixture *fixture)
{
    http_server_free(&fixture->server);
    loop_timer_free(&fixture->timer);
    loop_free(&fixture->loop);
    free(fixture->answer);
    free(fixture);
}

static int client_open(const struct fixture *fixture)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(http_server_port(fixture->server)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* Reads what is there. false: the connection has ended. */
static bool client_read(struct fixture *fixture, int fd)
{
    ssize_t got = recv(fd, fixture->answer + fixture->answer_len, LARGE_BYTES + 4095 - fixture->answer_len,
                       MSG_DONTWAIT);

    if (got > 0)
        fixture->answer_len += (size_t)got;
    fixture->answer[fixture->answer_len] = '\0';
    return got != 0;
}

static void client_head(int fd, const char *request)
{
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
}

/* Sends `len` bytes of the body, as far as somebody reads them, until an answer is there. */
static void client_upload(struct fixture *fixture, int fd, size_t len, uint32_t *ret_sum)
{
    uint64_t deadline_ms = loop_now_ms(fixture->loop) + WAIT_MS;
    static char piece[PIECE_MAX];
    size_t sent = 0;

    *ret_sum = 0;
    for (size_t i = 0; i < len; i++)
        *ret_sum = sum_up(*ret_sum, byte_at(i));
    while (strstr(fixture->answer, "\r\n\r\n") == NULL) {
        size_t size = len - sent < PIECE_MAX ? len - sent : PIECE_MAX;
        ssize_t put;

        for (size_t i = 0; i < size; i++)
            piece[i] = byte_at(sent + i);
        put = size > 0 ? send(fd, piece, size, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
        if (put > 0)
            sent += (size_t)put;
        loop_turn(fixture->loop, 1);
        if (!client_read(fixture, fd))
            break;
        assert_true(loop_now_ms(fixture->loop) < deadline_ms);
    }
}

static void run_until(struct fixture *fixture, const int *count, int wanted)
{
    uint64_t deadline_ms = loop_now_ms(fixture->loop) + WAIT_MS;

    while (*count < wanted) {
        loop_turn(fixture->loop, 1);
        assert_true(loop_now_ms(fixture->loop) < deadline_ms);
    }
}

static void body_goes_to_the_sink(void **state)
{
    static const struct {
        const char *label;
        size_t len, pause_at;
    } cases[] = { { "at once", LARGE_BYTES, 0 }, { "with pauses", LARGE_BYTES, 10000 }, { "empty", 0, 0 } };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture *fixture = open_server((struct http_server_options){ .body_max_bytes = 1000 });
        int fd = client_open(fixture);
        char head[128], wanted[64];
        uint32_t sum;

        fixture->pause_at = cases[i].pause_at;
        fixture->answer[0] = '\0';
        snprintf(head, sizeof(head), "POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n",
                 cases[i].len);
        client_head(fd, head);
        client_upload(fixture, fd, cases[i].len, &sum);
        snprintf(wanted, sizeof(wanted), "\r\n\r\nsink %zu %u", cases[i].len, sum);
        if (strstr(fixture->answer, wanted) == NULL)
            fail_msg("%s: wanted '%s', got '%s'", cases[i].label, wanted, fixture->answer);
        assert_int_equal(fixture->gone, 0);
        assert_true(cases[i].pause_at == 0 || fixture->pauses > 3);
        assert_int_equal(http_server_open_requests(fixture->server), 0);
        close(fd);
        close_server(fixture);
    }
}

static void other_bodies_are_held(void **state)
{
    struct fixture *fixture = open_server((struct http_server_options){ .body_max_bytes = 1000 });
    int fd = client_open(fixture);

    (void)state;
    client_head(fd, "POST /held HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    run_until(fixture, &fixture->wholes, 1);
    assert_int_equal(fixture->came, 0);
    close(fd);
    close_server(fixture);
}

static void refusals_in_the_middle(void **state)
{
    static const struct {
        const char *label, *wanted;
        size_t len, pause_at, answer_at;
        bool is_chunked;
        int gone;
        bool is_expecting;
    } cases[] = {
        { "the handler has seen enough", "HTTP/1.1 403 ", LARGE_BYTES, 0, 1000000, false, 0 },
        { "told too large", "HTTP/1.1 413 ", SINK_MAX_BYTES + 1, 0, 0, false, 1 },
        { "told too large, by one who asks first", "HTTP/1.1 413 ", SINK_MAX_BYTES + 1, 0, 0, false, 1, true },
        { "too large as it comes", "HTTP/1.1 413 ", SINK_MAX_BYTES + 1, 0, 0, true, 1 },
        { "the sink never goes on", "HTTP/1.1 503 ", LARGE_BYTES, 10000, 0, false, 1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture *fixture =
            open_server((struct http_server_options){ .body_max_bytes = 1000, .answer_timeout_ms = 100 });
        int fd = client_open(fixture);
        char head[160];
        uint32_t sum;

        fixture->pause_at = cases[i].pause_at;
        fixture->is_pausing_for_good = cases[i].pause_at > 0;
        fixture->answer_at = cases[i].answer_at;
        fixture->answer[0] = '\0';
        snprintf(head, sizeof(head),
                 cases[i].is_chunked
                     ? "POST /sink HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n%s"
                     : "POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n%s\r\n",
                 cases[i].len, cases[i].is_expecting ? "Expect: 100-continue\r\n" : "");
        client_head(fd, head);
        client_upload(fixture, fd, cases[i].len, &sum);
        if (strncmp(fixture->answer, cases[i].wanted, strlen(cases[i].wanted)) != 0)
            fail_msg("%s: got '%s'", cases[i].label, fixture->answer);
        assert_int_equal(fixture->gone, cases[i].gone);
        assert_int_equal(fixture->wholes, 0);
        assert_int_equal(http_server_open_requests(fixture->server), 0);
        close(fd);
        close_server(fixture);
    }
}

static void client_leaves_in_the_middle(void **state)
{
    struct fixture *fixture = open_server((struct http_server_options){ 0 });
    int fd = client_open(fixture);

    (void)state;
    client_head(fd, "POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");
    while (fixture->came < 3)
        loop_turn(fixture->loop, 1);
    close(fd);
    run_until(fixture, &fixture->gone, 1);
    assert_int_equal(fixture->wholes, 0);
    close_server(fixture);
}

static void end_while_paused(void **state)
{
    struct fixture *fixture = open_server((struct http_server_options){ 0 });
    int fd = client_open(fixture);

    (void)state;
    fixture->pause_at = 1;
    fixture->is_pausing_for_good = true;
    client_head(fd, "POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");
    run_until(fixture, &fixture->pauses, 1);
    http_server_free(&fixture->server);
    assert_int_equal(fixture->gone, 1);
    close(fd);
    close_server(fixture);
}

static void download(struct fixture *fixture, int fd)
{
    uint64_t deadline_ms = loop_now_ms(fixture->loop) + WAIT_MS;

    while (client_read(fixture, fd)) {
        loop_turn(fixture->loop, 1);
        assert_true(loop_now_ms(fixture->loop) < deadline_ms);
    }
}

static void answer_comes_from_the_source(void **state)
{
    static const struct {
        const char *label;
        bool is_dry;
        size_t break_at, wanted;
    } cases[] = { { "at once", false, 0, LARGE_BYTES },
                  { "with waits", true, 0, LARGE_BYTES },
                  { "broken off", true, 1000000, 0 } };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture *fixture = open_server((struct http_server_options){ 0 });
        int fd = client_open(fixture);
        const char *body;
        size_t len;

        fixture->is_dry = cases[i].is_dry;
        fixture->break_at = cases[i].break_at;
        client_head(fd, "GET /source HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        download(fixture, fd);
        body = strstr(fixture->answer, "\r\n\r\n") + 4;
        len = fixture->answer_len - (size_t)(body - fixture->answer);
        assert_non_null(strstr(fixture->answer, "Content-Length: 3145728\r\n"));
        assert_non_null(strstr(fixture->answer, "X-Answer: yes\r\n"));
        if (cases[i].wanted > 0 ? len != cases[i].wanted : len >= LARGE_BYTES)
            fail_msg("%s: %zu bytes", cases[i].label, len);
        for (size_t at = 0; at < len; at++)
            if (body[at] != byte_at(at))
                fail_msg("%s: byte %zu", cases[i].label, at);
        assert_int_equal(fixture->ends, 1);
        assert_int_equal(http_server_open_requests(fixture->server), 0);
        close(fd);
        close_server(fixture);
    }
}

static void head_reads_nothing(void **state)
{
    struct fixture *fixture = open_server((struct http_server_options){ 0 });
    int fd = client_open(fixture);

    (void)state;
    client_head(fd, "HEAD /source HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    download(fixture, fd);
    assert_non_null(strstr(fixture->answer, "Content-Length: 3145728\r\n"));
    assert_int_equal(fixture->given, 0);
    assert_int_equal(fixture->ends, 1);
    close(fd);
    close_server(fixture);
}

static void reader_leaves_or_server_ends(void **state)
{
    (void)state;
    for (int is_end = 0; is_end < 2; is_end++) {
        struct fixture *fixture = open_server((struct http_server_options){ 0 });
        int fd = client_open(fixture);

        fixture->is_dry = is_end != 0;
        client_head(fd, "GET /source HTTP/1.1\r\nHost: a\r\n\r\n");
        while (fixture->given == 0)
            loop_turn(fixture->loop, 1);
        if (is_end != 0)
            http_server_free(&fixture->server);
        close(fd);
        if (is_end == 0)
            run_until(fixture, &fixture->ends, 1);
        assert_int_equal(fixture->ends, 1);
        close_server(fixture);
    }
}

/* A client that reads nothing is cut after the idle time. */
static void slow_reader_is_cut(void **state)
{
    struct fixture *fixture =
        open_server((struct http_server_options){ .idle_timeout_ms = 50, .read_timeout_ms = 50 });
    int fd = client_open(fixture);

    (void)state;
    client_head(fd, "GET /source HTTP/1.1\r\nHost: a\r\n\r\n");
    run_until(fixture, &fixture->ends, 1);
    close(fd);
    close_server(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(body_goes_to_the_sink),  cmocka_unit_test(other_bodies_are_held),
        cmocka_unit_test(refusals_in_the_middle), cmocka_unit_test(client_leaves_in_the_middle),
        cmocka_unit_test(end_while_paused),       cmocka_unit_test(answer_comes_from_the_source),
        cmocka_unit_test(head_reads_nothing),     cmocka_unit_test(reader_leaves_or_server_ends),
        cmocka_unit_test(slow_reader_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
