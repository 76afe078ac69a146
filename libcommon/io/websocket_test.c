/* SPDX-License-Identifier: Apache-2.0 */
/* websocket_test.c - a raw client (handshake text, masked frames) against our WebSocket on the same loop. */
#include "io/websocket.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 8000, BYTES = 1 << 16 };
enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10, FIN = 0x80 };

struct fixture {
    struct loop *loop;
    struct http_server *server;
    struct websocket_options options;
    struct websocket *socket;
    int opened, closed, close_code, texts;
    char text[BYTES];
    bool is_refused;
    /* the client */
    int fd;
    uint8_t bytes[BYTES];
    size_t len;
    bool is_at_end;
};

static void on_open(void *arg, struct websocket *socket)
{
    struct fixture *fixture = arg;

    fixture->opened++;
    fixture->socket = socket;
}

/* Says back what it hears. */
static void on_text(void *arg, struct websocket *socket, struct str_view text)
{
    struct fixture *fixture = arg;

    fixture->texts++;
    snprintf(fixture->text, sizeof(fixture->text), "%.*s", (int)text.len, text.data);
    if (strcmp(fixture->text, "bye") == 0)
        websocket_close(socket, 4001, "as you wish");
    else
        websocket_send_text(socket, text);
}

static void on_close(void *arg, struct websocket *socket, int code)
{
    struct fixture *fixture = arg;

    (void)socket;
    fixture->closed++;
    fixture->close_code = code;
    fixture->socket = NULL;
}

static void handle(void *arg, struct http_exchange *exchange)
{
    struct fixture *fixture = arg;

    fixture->is_refused = !websocket_accept(fixture->loop, exchange, &fixture->options);
}

static struct fixture *open_all(struct websocket_options options)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    const struct http_server_options server = {
        .name = "test", .listen = "127.0.0.1:0", .handler = handle, .arg = fixture, .allow_upgrade = true
    };
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct err err = { 0 };

    fixture->loop = loop_new();
    if (!http_server_new(fixture->loop, &server, &fixture->server, &err))
        fail_msg("%s", err.text);
    fixture->options = options;
    fixture->options.on_open = on_open;
    fixture->options.on_text = on_text;
    fixture->options.on_close = on_close;
    fixture->options.arg = fixture;
    address.sin_port = htons(http_server_port(fixture->server));
    fixture->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fixture->fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fixture;
}

static void close_all(struct fixture *fixture)
{
    http_server_free(&fixture->server);
    assert_int_equal(fixture->closed, fixture->opened);
    close(fixture->fd);
    loop_free(&fixture->loop);
    free(fixture);
}

/* One turn, and what came of it for the client. */
static void turn(struct fixture *fixture)
{
    ssize_t got;

    loop_turn(fixture->loop, 5);
    got = recv(fixture->fd, fixture->bytes + fixture->len, BYTES - 1 - fixture->len, MSG_DONTWAIT);
    if (got == 0)
        fixture->is_at_end = true;
    if (got > 0)
        fixture->len += (size_t)got;
    fixture->bytes[fixture->len] = '\0';
}

#define wait_until(fixture, condition)                                                                       \
    for (uint64_t until_ms_ = loop_now_ms((fixture)->loop) + WAIT_MS; !(condition);) {                       \
        turn(fixture);                                                                                       \
        if (loop_now_ms((fixture)->loop) > until_ms_)                                                        \
            fail_msg("waited in vain for %s", #condition);                                                   \
    }

static void client_send(struct fixture *fixture, const void *bytes, size_t len)
{
    assert_int_equal(send(fixture->fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* A masked frame (RFC 6455 §5.2). */
static size_t frame_write(uint8_t *ret_bytes, int first, const void *data, size_t len)
{
    static const uint8_t mask[4] = { 0x12, 0x34, 0x56, 0x78 };
    size_t at = 0;

    ret_bytes[at++] = (uint8_t)first;
    if (len < 126) {
        ret_bytes[at++] = (uint8_t)(0x80 | len);
    } else {
        ret_bytes[at++] = 0x80 | 126;
        ret_bytes[at++] = (uint8_t)(len >> 8);
        ret_bytes[at++] = (uint8_t)len;
    }
    memcpy(ret_bytes + at, mask, 4);
    at += 4;
    for (size_t i = 0; i < len; i++)
        ret_bytes[at + i] = ((const uint8_t *)data)[i] ^ mask[i % 4];
    return at + len;
}

static void send_frame(struct fixture *fixture, int first, const void *data, size_t len)
{
    static uint8_t bytes[BYTES];

    client_send(fixture, bytes, frame_write(bytes, first, data, len));
}

/* The whole frame at the client's front, if there is one; its bytes are taken away. */
static bool take_frame(struct fixture *fixture, int *ret_first, char *ret_data, size_t *ret_len)
{
    size_t head = 2, len;

    if (fixture->len < 4)
        return fixture->len >= 2 && fixture->bytes[1] == 0 && (*ret_first = fixture->bytes[0]) &&
               (*ret_len = 0, true) && (memmove(fixture->bytes, fixture->bytes + 2, fixture->len -= 2), true);
    len = fixture->bytes[1];
    if (len == 126) {
        len = (size_t)fixture->bytes[2] << 8 | fixture->bytes[3];
        head = 4;
    }
    if (fixture->len < head + len)
        return false;
    *ret_first = fixture->bytes[0];
    *ret_len = len;
    memcpy(ret_data, fixture->bytes + head, len);
    ret_data[len] = '\0';
    fixture->len -= head + len;
    memmove(fixture->bytes, fixture->bytes + head + len, fixture->len);
    return true;
}

static void expect_frame(struct fixture *fixture, int first, const char *data)
{
    char got[BYTES] = "";
    size_t len = 0;
    int got_first = 0;

    wait_until(fixture, take_frame(fixture, &got_first, got, &len));
    if (got_first != first || len != strlen(data) || memcmp(got, data, len) != 0)
        fail_msg("wanted %02x '%s', got %02x '%s'", (unsigned)first, data, (unsigned)got_first, got);
}

/* `code` 0: a close frame without one. */
static void expect_close(struct fixture *fixture, int code)
{
    char got[BYTES] = "";
    size_t len = 0;
    int first = 0;

    while (first != (FIN | CLOSE))
        wait_until(fixture, take_frame(fixture, &first, got, &len));
    if (code == 0 && len == 0)
        return;
    if (len < 2 || ((uint8_t)got[0] << 8 | (uint8_t)got[1]) != code)
        fail_msg("wanted close %d, got %d", code, (uint8_t)got[0] << 8 | (uint8_t)got[1]);
}

#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define HANDSHAKE                                                                                            \
    "GET /v1/events HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"        \
    "Sec-WebSocket-Version: 13\r\n" KEY

static void shake_hands(struct fixture *fixture)
{
    char *end;

    client_send(fixture, HANDSHAKE "\r\n", strlen(HANDSHAKE "\r\n"));
    wait_until(fixture, strstr((char *)fixture->bytes, "\r\n\r\n") != NULL && fixture->opened == 1);
    end = strstr((char *)fixture->bytes, "\r\n\r\n") + 4;
    fixture->len -= (size_t)(end - (char *)fixture->bytes);
    memmove(fixture->bytes, end, fixture->len + 1);
}

static void handshakes(void **state)
{
    static const struct {
        const char *label, *subprotocol, *request, *wanted;
    } cases[] = {
        { "good, RFC 6455 §1.3", NULL, HANDSHAKE "\r\n",
          "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" },
        { "its status", NULL, HANDSHAKE "\r\n", "HTTP/1.1 101 " },
        { "subprotocol", "guichet.v1", HANDSHAKE "Sec-WebSocket-Protocol: a, guichet.v1\r\n\r\n",
          "Sec-WebSocket-Protocol: guichet.v1\r\n" },
        { "no subprotocol", "guichet.v1", HANDSHAKE "\r\n", "HTTP/1.1 400 " },
        { "another subprotocol", "guichet.v1", HANDSHAKE "Sec-WebSocket-Protocol: GUICHET.v1\r\n\r\n",
          "HTTP/1.1 400 " },
        { "no upgrade", NULL, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 426 " },
        { "no upgrade, said how", NULL, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "Upgrade: websocket\r\n" },
        { "post", NULL,
          "POST / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n"
          "Sec-WebSocket-Version: 13\r\n" KEY "\r\n",
          "HTTP/1.1 426 " },
        { "connection says nothing", NULL,
          "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive\r\n"
          "Sec-WebSocket-Version: 13\r\n" KEY "\r\n",
          "HTTP/1.1 400 " },
        { "old version", NULL,
          "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
          "Sec-WebSocket-Version: 8\r\n" KEY "\r\n",
          "Sec-WebSocket-Version: 13\r\n" },
        { "no key", NULL,
          "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
          "Sec-WebSocket-Version: 13\r\n\r\n",
          "HTTP/1.1 400 " },
        { "short key", NULL,
          "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
          "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25j\r\n\r\n",
          "HTTP/1.1 400 " },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct fixture *fixture = open_all((struct websocket_options){ .subprotocol = cases[i].subprotocol });

        client_send(fixture, cases[i].request, strlen(cases[i].request));
        wait_until(fixture, strstr((char *)fixture->bytes, "\r\n\r\n") != NULL);
        if (strstr((char *)fixture->bytes, cases[i].wanted) == NULL)
            fail_msg("%s: %s", cases[i].label, (char *)fixture->bytes);
        assert_int_equal(fixture->is_refused, strstr((char *)fixture->bytes, " 101 ") == NULL);
        close_all(fixture);
    }
}

static void texts_go_both_ways(void **state)
{
    struct fixture *fixture = open_all((struct websocket_options){ 0 });
    char large[10001];

    (void)state;
    memset(large, 'x', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    shake_hands(fixture);
    send_frame(fixture, FIN | TEXT, "h\xc3\xa9llo", 6);
    expect_frame(fixture, FIN | TEXT, "h\xc3\xa9llo");
    send_frame(fixture, FIN | TEXT, large, sizeof(large) - 1);
    expect_frame(fixture, FIN | TEXT, large);
    send_frame(fixture, TEXT, "frag", 4);
    send_frame(fixture, FIN | PING, "now", 3);
    send_frame(fixture, 0, "men", 3);
    send_frame(fixture, FIN, "ts", 2);
    expect_frame(fixture, FIN | PONG, "now");
    expect_frame(fixture, FIN | TEXT, "fragments");
    send_frame(fixture, FIN | TEXT, "", 0);
    wait_until(fixture, fixture->texts == 4);
    expect_frame(fixture, FIN | TEXT, "");
    close_all(fixture);
}

static void early_bytes_are_read_first(void **state)
{
    struct fixture *fixture = open_all((struct websocket_options){ 0 });
    uint8_t bytes[1024];
    size_t len = strlen(HANDSHAKE "\r\n");

    (void)state;
    memcpy(bytes, HANDSHAKE "\r\n", len);
    len += frame_write(bytes + len, FIN | TEXT, "one", 3);
    len += frame_write(bytes + len, FIN | TEXT, "two", 3);
    client_send(fixture, bytes, len - 2); /* the last of it comes later */
    wait_until(fixture, fixture->texts == 1);
    assert_string_equal(fixture->text, "one");
    client_send(fixture, bytes + len - 2, 2);
    wait_until(fixture, fixture->texts == 2);
    assert_string_equal(fixture->text, "two");
    close_all(fixture);
}

static void what_is_wrong_closes(void **state)
{
    static const struct {
        const char *label;
        int first;
        const char *data;
        size_t len;
        int code, reported;
    } cases[] = {
        { "binary", FIN | BINARY, "x", 1, 1003, 1003 },
        { "text that is not UTF-8", FIN | TEXT, "\xff\xfe", 2, 1007, 1007 },
        { "surrogate", FIN | TEXT, "\xed\xa0\x80", 3, 1007, 1007 },
        { "reserved opcode", FIN | 3, "x", 1, 1002, 1002 },
        { "reserved bit", FIN | 0x40 | TEXT, "x", 1, 1002, 1002 },
        { "continuation of nothing", FIN, "x", 1, 1002, 1002 },
        { "fragmented ping", PING, "x", 1, 0, 1002 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct fixture *fixture = open_all((struct websocket_options){ 0 });

        print_message("%s\n", cases[i].label);
        shake_hands(fixture);
        send_frame(fixture, cases[i].first, cases[i].data, cases[i].len);
        expect_close(fixture, cases[i].code);
        shutdown(fixture->fd, SHUT_WR);
        wait_until(fixture, fixture->closed == 1);
        assert_int_equal(fixture->close_code, cases[i].reported);
        close_all(fixture);
    }
}

static void unmasked_frame_closes(void **state)
{
    struct fixture *fixture = open_all((struct websocket_options){ 0 });

    (void)state;
    shake_hands(fixture);
    client_send(fixture, "\x81\x01x", 3);
    expect_close(fixture, 1002);
    close_all(fixture);
}

static void large_messages_are_1009(void **state)
{
    static char large[30000];
    struct fixture *fixture = open_all((struct websocket_options){ .message_max_bytes = 100 });

    (void)state;
    memset(large, 'x', sizeof(large));
    shake_hands(fixture);
    send_frame(fixture, FIN | TEXT, large, 100);
    wait_until(fixture, fixture->texts == 1);
    send_frame(fixture, FIN | TEXT, large, sizeof(large));
    expect_close(fixture, 1009); /* and it arrives, although much is unread */
    close_all(fixture);

    fixture = open_all((struct websocket_options){ .message_max_bytes = 100 });
    shake_hands(fixture);
    send_frame(fixture, TEXT, large, 60);
    send_frame(fixture, FIN, large, 60); /* too large together */
    expect_close(fixture, 1009);
    close_all(fixture);
}

static void client_closes(void **state)
{
    struct fixture *fixture = open_all((struct websocket_options){ 0 });

    (void)state;
    shake_hands(fixture);
    send_frame(fixture, FIN | CLOSE, "\x03\xe9going", 7);
    expect_close(fixture, 1001);
    wait_until(fixture, fixture->is_at_end && fixture->closed == 1);
    assert_int_equal(fixture->close_code, 1001);
    assert_int_equal(http_server_open_sockets(fixture->server), 0);
    close_all(fixture);
}

static void server_closes(void **state)
{
    struct fixture *fixture = open_all((struct websocket_options){ 0 });

    (void)state;
    shake_hands(fixture);
    send_frame(fixture, FIN | TEXT, "bye", 3);
    expect_close(fixture, 4001);
    assert_int_equal(fixture->closed, 0); /* waits for the client's */
    send_frame(fixture, FIN | TEXT, "unheard", 7);
    send_frame(fixture, FIN | CLOSE, "\x0f\xa1", 2);
    wait_until(fixture, fixture->is_at_end && fixture->closed == 1);
    assert_int_equal(fixture->close_code, 4001);
    assert_int_equal(fixture->texts, 1);
    close_all(fixture);
}

static void client_vanishes(void **state)
{
    struct fixture *fixture = open_all((struct websocket_options){ 0 });

    (void)state;
    shake_hands(fixture);
    close(fixture->fd);
    fixture->fd = -1;
    wait_until(fixture, fixture->closed == 1);
    assert_int_equal(fixture->close_code, 1006);
    close_all(fixture);
}

static void silent_client_is_closed(void **state)
{
    struct fixture *fixture = open_all((struct websocket_options){ .ping_interval_ms = 50 });

    (void)state;
    shake_hands(fixture);
    expect_frame(fixture, FIN | PING, "");
    send_frame(fixture, FIN | PONG, "", 0);
    expect_frame(fixture, FIN | PING, "");
    assert_int_equal(fixture->closed, 0);
    wait_until(fixture, fixture->closed == 1); /* no more pongs */
    assert_int_equal(fixture->close_code, 1006);
    close_all(fixture);
}

static void slow_client_is_1013(void **state)
{
    static char text[2000];
    struct fixture *fixture = open_all((struct websocket_options){ .queue_max_bytes = 100000 });
    int received = 0, first = 0;
    char got[BYTES];
    size_t len;

    (void)state;
    memset(text, 'x', sizeof(text));
    shake_hands(fixture);
    for (uint64_t until_ms = loop_now_ms(fixture->loop) + WAIT_MS; fixture->socket != NULL;) {
        size_t before = websocket_queued_bytes(fixture->socket);

        websocket_send_text(fixture->socket, (struct str_view){ text, sizeof(text) });
        assert_true(websocket_queued_bytes(fixture->socket) <= 100000 + 125); /* and the close frame */
        if (websocket_queued_bytes(fixture->socket) < before + sizeof(text))
            break; /* it has refused */
        if (before > 50000)
            continue; /* the client reads nothing: fill the rest at once */
        loop_turn(fixture->loop, 1);
        assert_true(loop_now_ms(fixture->loop) < until_ms);
    }
    while (first != (FIN | CLOSE)) { /* it reads again: whole messages, then the close */
        wait_until(fixture, take_frame(fixture, &first, got, &len));
        if (first == (FIN | TEXT))
            received += len == sizeof(text);
    }
    assert_true(received > 0);
    assert_int_equal((uint8_t)got[0] << 8 | (uint8_t)got[1], 1013);
    send_frame(fixture, FIN | CLOSE, "\x03\xf5", 2);
    wait_until(fixture, fixture->closed == 1);
    assert_int_equal(fixture->close_code, 1013);
    close_all(fixture);
}

static void client_that_never_closes_is_cut(void **state)
{
    struct fixture *fixture = open_all((struct websocket_options){ 0 });

    (void)state;
    shake_hands(fixture);
    websocket_close(fixture->socket, 1000, "");
    expect_close(fixture, 1000);
    wait_until(fixture, fixture->closed == 1);
    assert_int_equal(fixture->close_code, 1000);
    close_all(fixture);
}

static void end_of_the_server_says_going_away(void **state)
{
    struct fixture *fixture = open_all((struct websocket_options){ 0 });

    (void)state;
    shake_hands(fixture);
    http_server_free(&fixture->server);
    assert_int_equal(fixture->closed, 1);
    assert_int_equal(fixture->close_code, 1001);
    expect_close(fixture, 1001);
    close_all(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handshakes),
        cmocka_unit_test(texts_go_both_ways),
        cmocka_unit_test(early_bytes_are_read_first),
        cmocka_unit_test(what_is_wrong_closes),
        cmocka_unit_test(unmasked_frame_closes),
        cmocka_unit_test(large_messages_are_1009),
        cmocka_unit_test(client_closes),
        cmocka_unit_test(server_closes),
        cmocka_unit_test(client_vanishes),
        cmocka_unit_test(silent_client_is_closed),
        cmocka_unit_test(slow_client_is_1013),
        cmocka_unit_test(client_that_never_closes_is_cut),
        cmocka_unit_test(end_of_the_server_says_going_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
