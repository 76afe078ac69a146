/* SPDX-License-Identifier: Apache-2.0 */
/* http_client_stream_test.c - bodies in pieces, both ways, and redirects, against our own servers and a raw peer. */
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/http_client_private.h"
#include "io/http_server.h"

enum { WAIT_MS = 10000, LARGE_BYTES = 3000000, TEXT_BYTES = 1024 };

struct fixture {
    struct loop *loop;
    struct http_client *client;
    struct http_server *server, *other; /* two origins */
    char *large;
    /* the raw peer: sends `raw` to who connects, and ends */
    int listen_fd, peer_fd;
    struct loop_poll *listen_poll;
    struct str_view raw;
    char url[64], other_url[64], raw_url[64];
    char posted[64];
    size_t posted_bytes;
};

/* One call and how its streams behave. */
struct stream {
    struct fixture *fixture;
    struct http_call *call;
    struct loop_timer *timer;
    bool rests; /* every second time it is asked */
    bool is_rested;
    bool stops, cancels, starts, was_started;
    const char *give; /* what read() gives, from here */
    size_t piece_max;
    size_t taken, pieces, rests_seen, reads;
    int status;
    char length[32];
    bool is_wrong;
    int done_count;
    struct err err;
    bool is_sent;
    int result_status;
    uint64_t body_bytes;
    char body[TEXT_BYTES];
    int started_status;
};

/* ---- servers ---- */

static void reply_text(struct http_exchange *exchange, int status, const char *text)
{
    (void)http_exchange_reply(exchange, status, "text/plain", str_view_of(text));
}

static void echo_secrets(struct http_exchange *exchange)
{
    const char *authorization = http_exchange_header(exchange, "Authorization");
    const char *one = http_exchange_header(exchange, "X-One");
    char text[TEXT_BYTES];

    snprintf(text, sizeof(text), "auth=%s one=%s", authorization != NULL ? authorization : "-",
             one != NULL ? one : "-");
    reply_text(exchange, 200, text);
}

static void handle(void *arg, struct http_exchange *exchange)
{
    struct fixture *fixture = arg;
    const char *path = http_exchange_path(exchange), *to = http_exchange_param(exchange, "to");
    struct str_view body = http_exchange_body(exchange);

    if (strcmp(path, "/large") == 0) {
        (void)http_exchange_reply(exchange, 200, "image/x", (struct str_view){ fixture->large, LARGE_BYTES });
    } else if (strcmp(path, "/refused") == 0) {
        (void)http_exchange_reply(exchange, 404, "text/x", (struct str_view){ fixture->large, 100000 });
    } else if (to != NULL) {
        http_exchange_set_header(exchange, "Location", to);
        reply_text(exchange, atoi(path + 1), "moved");
    } else if (strcmp(path, "/post") == 0) {
        fixture->posted_bytes = body.len;
        snprintf(fixture->posted, sizeof(fixture->posted), "%.*s", body.len < 60 ? (int)body.len : 60,
                 body.data);
        reply_text(exchange, 200, "taken");
    } else {
        echo_secrets(exchange);
    }
}

static void on_peer(void *arg, int events, int status)
{
    struct fixture *fixture = arg;
    int fd = accept(fixture->listen_fd, NULL, NULL);

    (void)events, (void)status;
    assert_true(fd >= 0 && fixture->peer_fd < 0);
    assert_true(send(fd, fixture->raw.data, fixture->raw.len, MSG_NOSIGNAL) == (ssize_t)fixture->raw.len);
    shutdown(fd, SHUT_WR);
    fixture->peer_fd = fd;
}

static void open_peer(struct fixture *fixture)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);

    fixture->peer_fd = -1;
    fixture->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fixture->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fixture->listen_fd, 8), 0);
    assert_int_equal(getsockname(fixture->listen_fd, (struct sockaddr *)&address, &len), 0);
    snprintf(fixture->raw_url, sizeof(fixture->raw_url), "http://127.0.0.1:%u/", ntohs(address.sin_port));
    fixture->listen_poll = loop_poll_new(fixture->loop, fixture->listen_fd, on_peer, fixture);
    loop_poll_start(fixture->listen_poll, UV_READABLE);
}

static void open_server(struct fixture *fixture, struct http_server **ret_server, char *ret_url, size_t size)
{
    const struct http_server_options options = { .name = "test",
                                                 .listen = "127.0.0.1:0",
                                                 .handler = handle,
                                                 .body_max_bytes = LARGE_BYTES,
                                                 .arg = fixture };
    struct err err = { 0 };

    if (!http_server_new(fixture->loop, &options, ret_server, &err))
        fail_msg("%s", err.text);
    snprintf(ret_url, size, "http://127.0.0.1:%u", http_server_port(*ret_server));
}

static struct fixture *open_all(void)
{
    const struct http_client_options options = { .allow_private_addresses = true, .allow_plain_http = true };
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    fixture->large = malloc(LARGE_BYTES);
    for (size_t i = 0; i < LARGE_BYTES; i++)
        fixture->large[i] = (char)('a' + i % 23);
    fixture->loop = loop_new();
    loop_excuse(fixture->loop);
    open_server(fixture, &fixture->server, fixture->url, sizeof(fixture->url));
    open_server(fixture, &fixture->other, fixture->other_url, sizeof(fixture->other_url));
    open_peer(fixture);
    fixture->client = http_client_new(fixture->loop, &options);
    return fixture;
}

static void close_all(struct fixture *fixture)
{
    http_client_free(&fixture->client);
    http_server_free(&fixture->server);
    http_server_free(&fixture->other);
    loop_poll_free(&fixture->listen_poll);
    close(fixture->listen_fd);
    if (fixture->peer_fd >= 0)
        close(fixture->peer_fd);
    loop_free(&fixture->loop);
    free(fixture->large);
    free(fixture);
}

/* ---- streams ---- */

static void on_timer(void *arg)
{
    struct stream *stream = arg;

    http_call_resume(stream->call);
}

/* Whether it is time to rest; the timer wakes it up. */
static bool is_resting(struct stream *stream)
{
    stream->is_rested = stream->rests && !stream->is_rested;
    if (stream->is_rested) {
        stream->rests_seen++;
        loop_timer_start(stream->timer, 1, 0);
    }
    return stream->is_rested;
}

static void on_started_inside(void *arg, const struct http_result *result)
{
    struct stream *stream = arg;

    stream->started_status = result->err.kind == ERR_NONE ? result->status : -1;
}

static void start_inside(struct stream *stream)
{
    const struct http_client_request request = { .method = "GET",
                                                 .url = stream->fixture->url,
                                                 .timeout_ms = WAIT_MS };

    stream->starts = false;
    stream->was_started = true;
    http_call_start(stream->fixture->client, &request, on_started_inside, stream);
}

static enum http_piece_answer on_piece(void *arg, const struct http_call *call, struct str_view piece)
{
    struct stream *stream = arg;
    const char *length = http_call_header(call, "content-length");

    stream->status = http_call_status(call);
    snprintf(stream->length, sizeof(stream->length), "%s", length != NULL ? length : "-");
    if (stream->starts)
        start_inside(stream);
    if (is_resting(stream))
        return HTTP_PIECE_LATER;
    if (stream->cancels)
        http_call_cancel(stream->call);
    if (stream->stops)
        return HTTP_PIECE_STOP;
    stream->pieces++;
    if (piece.len > stream->piece_max)
        stream->piece_max = piece.len;
    for (size_t i = 0; i < piece.len && stream->give == NULL; i++)
        stream->is_wrong |= piece.data[i] != (char)('a' + (stream->taken + i) % 23);
    stream->taken += piece.len;
    return HTTP_PIECE_TAKEN;
}

static size_t on_read(void *arg, char *data, size_t size)
{
    struct stream *stream = arg;
    size_t len = size < 50000 ? size : 50000;

    stream->reads++;
    if (is_resting(stream))
        return HTTP_READ_LATER;
    if (stream->cancels)
        http_call_cancel(stream->call);
    if (stream->stops)
        return HTTP_READ_STOP;
    memcpy(data, stream->give, len);
    stream->give += len;
    return len;
}

static void on_done(void *arg, const struct http_result *result)
{
    struct stream *stream = arg;

    stream->done_count++;
    stream->err = result->err;
    stream->is_sent = result->is_sent;
    stream->result_status = result->status;
    stream->body_bytes = result->body_bytes;
    snprintf(stream->body, sizeof(stream->body), "%.*s", result->body.len < 500 ? (int)result->body.len : 500,
             result->body.data != NULL ? result->body.data : "");
}

static void run(struct fixture *fixture, struct stream *stream, struct http_client_request request)
{
    uint64_t until_ms = loop_now_ms(fixture->loop) + WAIT_MS;

    stream->fixture = fixture;
    stream->timer = loop_timer_new(fixture->loop, on_timer, stream);
    request.method = request.method != NULL ? request.method : "GET";
    request.timeout_ms = WAIT_MS;
    request.body_arg = stream;
    stream->call = http_call_start(fixture->client, &request, on_done, stream);
    while ((stream->done_count == 0 || (stream->was_started && stream->started_status == 0)) &&
           loop_now_ms(fixture->loop) < until_ms)
        loop_turn(fixture->loop, 10);
    assert_int_equal(stream->done_count, 1);
    loop_timer_free(&stream->timer);
}

static const char *url_of(const struct fixture *fixture, const char *path)
{
    static char url[512];

    snprintf(url, sizeof(url), "%s%s", path[0] == '/' ? fixture->url : "", path);
    return url;
}

/* ---- answers in pieces ---- */

static void answers_come_in_pieces(void **state)
{
    static const struct {
        const char *label;
        struct stream stream;
    } cases[] = { { "at once", { 0 } },
                  { "with rests", { .rests = true } },
                  { "with a call", { .starts = true } } };
    struct fixture *fixture = open_all();

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct stream stream = cases[i].stream;

        run(fixture, &stream,
            (struct http_client_request){
                .url = url_of(fixture, "/large"), .piece = on_piece, .answer_max_bytes = LARGE_BYTES });
        if (stream.err.kind != ERR_NONE || stream.taken != LARGE_BYTES || stream.is_wrong ||
            stream.status != 200 || stream.result_status != 200 || stream.body_bytes != LARGE_BYTES ||
            strcmp(stream.length, "3000000") != 0 || stream.piece_max > 64 << 10 || stream.body[0] != '\0')
            fail_msg("%s: %s, %zu bytes in %zu pieces of up to %zu", cases[i].label, stream.err.text,
                     stream.taken, stream.pieces, stream.piece_max);
        assert_true((stream.rests_seen > 10) == cases[i].stream.rests);
        if (cases[i].stream.starts)
            assert_int_equal(stream.started_status, 200);
    }
    close_all(fixture);
}

static const char chunked[] =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n5\r\nfghij\r\n0\r\n\r\n";
static const char cut[] = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabcde";
static const char empty[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

static void pieces_end_early(void **state)
{
    static const struct {
        const char *label, *path, *raw;
        struct stream stream;
        uint64_t max_bytes;
        enum err_kind kind;
        size_t taken;
        uint64_t body_bytes;
        int status;
    } cases[] = {
        { "stopped", "/large", NULL, { .stops = true }, 1 << 30, ERR_CANCELED, 0, 0, 0 },
        { "cancelled inside", "/large", NULL, { .cancels = true }, 1 << 30, ERR_CANCELED, 16384, 0, 0 },
        { "too large, announced", "/large", NULL, { 0 }, LARGE_BYTES - 1, ERR_EXHAUSTED, 0, LARGE_BYTES, 0 },
        { "too large, not announced", NULL, chunked, { 0 }, 7, ERR_EXHAUSTED, 5, 5, 0 },
        { "chunked", NULL, chunked, { 0 }, 10, ERR_NONE, 10, 10, 200 },
        { "cut in the middle", NULL, cut, { 0 }, 1000, ERR_UNAVAILABLE, 5, 5, 0 },
        { "nothing", NULL, empty, { 0 }, 1000, ERR_NONE, 0, 0, 200 },
        { "no success", "/refused", NULL, { 0 }, 1000000, ERR_NONE, 0, 100000, 404 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct fixture *fixture = open_all();
        struct stream stream = cases[i].stream;

        fixture->raw = str_view_of(cases[i].raw);
        run(fixture, &stream,
            (struct http_client_request){ .url = cases[i].raw != NULL ? fixture->raw_url
                                                                      : url_of(fixture, cases[i].path),
                                          .piece = on_piece,
                                          .answer_max_bytes = cases[i].max_bytes });
        if (stream.err.kind != cases[i].kind || stream.result_status != cases[i].status || stream.is_wrong ||
            (cases[i].kind != ERR_CANCELED &&
             (stream.taken != cases[i].taken || stream.body_bytes != cases[i].body_bytes)))
            fail_msg("%s: %s '%s', status %d, %zu taken, %llu bytes", cases[i].label,
                     err_kind_name(stream.err.kind), stream.err.text, stream.result_status, stream.taken,
                     (unsigned long long)stream.body_bytes);
        close_all(fixture);
    }
}

/* ---- requests in pieces ---- */

static void requests_go_in_pieces(void **state)
{
    static const struct {
        const char *label, *method;
        struct stream stream;
        uint64_t bytes;
        enum err_kind kind;
    } cases[] = {
        { "at once", "POST", { 0 }, LARGE_BYTES, ERR_NONE },
        { "with rests", "PUT", { .rests = true }, LARGE_BYTES, ERR_NONE },
        { "nothing", "POST", { 0 }, 0, ERR_NONE },
        { "stopped", "POST", { .stops = true }, LARGE_BYTES, ERR_CANCELED },
        { "cancelled inside", "POST", { .cancels = true }, LARGE_BYTES, ERR_CANCELED },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct fixture *fixture = open_all();
        struct stream stream = cases[i].stream;

        stream.give = fixture->large;
        run(fixture, &stream,
            (struct http_client_request){ .method = cases[i].method,
                                          .url = url_of(fixture, "/post"),
                                          .read = on_read,
                                          .read_bytes = cases[i].bytes });
        if (stream.err.kind != cases[i].kind ||
            fixture->posted_bytes != (cases[i].kind == ERR_NONE ? cases[i].bytes : 0))
            fail_msg("%s: %s, %zu bytes", cases[i].label, stream.err.text, fixture->posted_bytes);
        if (cases[i].kind == ERR_NONE) {
            assert_string_equal(stream.body, "taken");
            assert_int_equal((size_t)(stream.give - fixture->large), cases[i].bytes);
        }
        assert_true((stream.rests_seen > 10) == cases[i].stream.rests);
        close_all(fixture);
    }
}

/* ---- redirects ---- */

#define BASIC "auth=Basic dTpw one=1"

static void redirects_are_followed(void **state)
{
    static const struct {
        const char *label, *path; /* %1$s our origin, %2$s the other */
        uint32_t max;
        const char *method;
        int status;
        enum err_kind kind;
        const char *text;
    } cases[] = {
        { "not asked for", "/307?to=/", 0, "GET", 307, ERR_NONE, "moved" },
        { "same origin, relative", "/307?to=/", 5, "GET", 200, ERR_NONE, BASIC },
        { "same origin, absolute", "/301?to=%1$s/x", 5, "GET", 200, ERR_NONE, BASIC },
        { "other origin", "/302?to=%2$s/", 5, "GET", 200, ERR_NONE, "auth=- one=-" },
        { "there and back", "/307?to=%2$s/307%%3Fto=%1$s/", 5, "GET", 200, ERR_NONE, "auth=- one=-" },
        { "twice", "/307?to=/308%%3Fto=/", 2, "GET", 200, ERR_NONE, BASIC },
        { "once too often", "/307?to=/308%%3Fto=/", 1, "GET", 0, ERR_INVALID, "too many redirects" },
        { "no other status", "/201?to=/", 5, "GET", 201, ERR_NONE, "moved" },
        { "other scheme", "/307?to=ftp://127.0.0.1/", 5, "GET", 0, ERR_INVALID,
          "redirects: the URL of host" },
        { "file", "/307?to=file:///etc/passwd", 5, "GET", 0, ERR_INVALID, "redirects" },
        { "names a user", "/307?to=http://u:p@127.0.0.1/", 5, "GET", 0, ERR_INVALID, "names a user" },
        { "never a POST", "/307?to=/", 5, "POST", 307, ERR_NONE, "moved" },
    };
    struct fixture *fixture = open_all();

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct stream stream = { 0 };
        char path[256];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
        snprintf(path, sizeof(path), cases[i].path, fixture->url, fixture->other_url);
#pragma GCC diagnostic pop
        run(fixture, &stream,
            (struct http_client_request){ .method = cases[i].method,
                                          .url = url_of(fixture, path),
                                          .headers = { { "X-One", "1" } },
                                          .header_count = 1,
                                          .user = "u",
                                          .password = "p",
                                          .redirects_max = cases[i].max });
        if (stream.err.kind != cases[i].kind || stream.result_status != cases[i].status ||
            strstr(cases[i].kind == ERR_NONE ? stream.body : stream.err.text, cases[i].text) == NULL)
            fail_msg("%s: %s, status %d, '%s'", cases[i].label, stream.err.text, stream.result_status,
                     stream.body);
    }
    close_all(fixture);
}

static void redirect_gives_no_pieces(void **state)
{
    struct fixture *fixture = open_all();
    struct stream stream = { .rests = true };

    (void)state;
    run(fixture, &stream,
        (struct http_client_request){ .url = url_of(fixture, "/307?to=/large"),
                                      .piece = on_piece,
                                      .redirects_max = 1,
                                      .answer_max_bytes = LARGE_BYTES });
    assert_int_equal(stream.err.kind, ERR_NONE);
    assert_int_equal(stream.taken, LARGE_BYTES);
    assert_false(stream.is_wrong);
    close_all(fixture);
}

/* The first hop's address is allowed here by being none of the guard's business: only the rule is tested. */
static void origins_are_compared(void **state)
{
    static const struct {
        const char *from, *to;
        bool may, is_same;
    } cases[] = {
        { "https://a.example/x", "https://a.example/y", true, true },
        { "https://a.example/x", "https://A.example:443/y", true, true },
        { "https://a.example/x", "https://a.example:444/y", true, false },
        { "https://a.example/x", "https://b.example/x", true, false },
        { "https://a.example/x", "https://sub.a.example/x", true, false },
        { "https://a.example/x", "http://a.example/x", false, false },
        { "http://a.example/x", "https://a.example/x", true, false },
        { "https://a.example/x", "https://u@a.example/x", false, false },
        { "https://a.example/x", "gopher://a.example/x", false, false },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct err err = { 0 };
        bool is_same = false;
        bool may = http_client_may_follow(cases[i].from, cases[i].to, true, &is_same, &err);

        if (may != cases[i].may || is_same != cases[i].is_same)
            fail_msg("%s to %s: %s", cases[i].from, cases[i].to, err.text);
    }
}

/* Each hop is judged: private addresses are allowed here, but never link-local ones. */
static void hops_pass_the_guard(void **state)
{
    struct fixture *fixture = open_all();
    struct stream stream = { 0 };

    (void)state;
    run(fixture, &stream,
        (struct http_client_request){ .url = url_of(fixture, "/307?to=http://169.254.169.254/"),
                                      .redirects_max = 5 });
    assert_int_equal(stream.err.kind, ERR_FORBIDDEN);
    assert_string_equal(stream.err.text, "address 169.254.169.254 of host 169.254.169.254 is not public");
    close_all(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_come_in_pieces),   cmocka_unit_test(pieces_end_early),
        cmocka_unit_test(requests_go_in_pieces),    cmocka_unit_test(redirects_are_followed),
        cmocka_unit_test(redirect_gives_no_pieces), cmocka_unit_test(origins_are_compared),
        cmocka_unit_test(hops_pass_the_guard),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
