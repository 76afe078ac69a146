/* SPDX-License-Identifier: Apache-2.0 */
/* events_test.c - the WebSocket through a whole gateway: who gets what, without gap or repeat. */
#include "io/websocket_client.h"

#include "core/json.h"
#include "events.h"
#include "test_http.h"

#define RECEIVED GUICHET__V1__EVENT_TYPE__EVENT_TYPE_MESSAGE_RECEIVED
#define QUEUED GUICHET__V1__EVENT_TYPE__EVENT_TYPE_CONVERSATION_QUEUED
#define FRAMES_MAX 4096

struct client {
    struct websocket_client *socket;
    uint64_t sequences[FRAMES_MAX]; /* of the events, in the order they came */
    size_t events, frames, resyncs;
    char first[512], last[1024]; /* frames */
    char cursor[512];            /* the newest */
    int close_code;              /* 0: open */
    bool is_open;
};

static void on_open(void *arg)
{
    struct client *client = arg;

    client->is_open = true;
}

static void on_text(void *arg, struct str_view text)
{
    struct client *client = arg;
    SCOPED_JSON frame = NULL;
    struct err err = { 0 };

    assert_true(json_read(text, &frame, &err));
    snprintf(client->last, sizeof(client->last), "%.*s", (int)text.len, text.data);
    if (client->frames++ == 0)
        snprintf(client->first, sizeof(client->first), "%.*s", (int)text.len, text.data);
    if (json_str(frame, "cursor") != NULL)
        snprintf(client->cursor, sizeof(client->cursor), "%s", json_str(frame, "cursor"));
    if (strcmp(json_str(frame, "type"), "event") == 0)
        client->sequences[client->events++] =
            strtoull(json_str(json_member(frame, "event"), "sequence"), NULL, 10);
    if (strcmp(json_str(frame, "type"), "resync_required") == 0)
        client->resyncs++;
}

static void on_close(void *arg, int code, const struct err *err)
{
    struct client *client = arg;

    (void)err;
    client->socket = NULL;
    client->close_code = code;
}

static void ticket_of(const char *token, char *ret_ticket, size_t size)
{
    char *answer = kit_call("POST", "/v1/events/ticket", token, NULL, NULL);
    char *at = strstr(answer, "\"ticket\":\"");

    assert_non_null(at);
    at += strlen("\"ticket\":\"");
    snprintf(ret_ticket, size, "%.*s", (int)strcspn(at, "\""), at);
    free(answer);
}

/* Connects and waits for hello; cursor NULL: from now. */
static void client_start(struct client *client, const char *token, const char *cursor)
{
    char ticket[1024], target[2048], port[8];

    memset(client, 0, sizeof(*client));
    ticket_of(token, ticket, sizeof(ticket));
    snprintf(target, sizeof(target), "/v1/events?ticket=%s%s%s", ticket,
             cursor == NULL ? "" : "&cursor=", cursor == NULL ? "" : cursor);
    snprintf(port, sizeof(port), "%u", http_server_port(kit.gateway->sockets));
    client->socket =
        websocket_client_start(kit.loop, &(struct websocket_client_options){ .host = "127.0.0.1",
                                                                             .port = port,
                                                                             .target = target,
                                                                             .subprotocol = "guichet.v1.json",
                                                                             .on_open = on_open,
                                                                             .on_text = on_text,
                                                                             .on_close = on_close,
                                                                             .arg = client });
    kit_wait(client->frames > 0 || client->close_code != 0);
    assert_non_null(strstr(client->first, "{\"type\":\"hello\",\"session_id\":\""));
}

static void client_stop(struct client *client)
{
    if (client->socket != NULL)
        websocket_client_close(client->socket);
    kit_wait(client->socket == NULL);
}

/* Exactly the sequences from..to, in order. */
static void check_run(const struct client *client, uint64_t from, uint64_t to)
{
    assert_int_equal(client->events, to - from + 1);
    for (size_t i = 0; i < client->events; i++)
        assert_int_equal(client->sequences[i], from + i);
}

static void ring(void)
{
    mesh_publish(kit.doorbell, "demo", fake.event_count);
}

static void add(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        fake_event(RECEIVED, C1, ADA, Q1);
}

static int stop(void **state)
{
    (void)state;
    kit_stop();
    return 0;
}

static int start_with_bell(void **state)
{
    (void)state;
    kit_start("poll_ms: 1h\n");
    /* A doorbell that is not yet heard is lost: ring until one was. */
    for (int i = 0; i < 500 && stats_value(kit.gateway->stats, GATEWAY_DOORBELLS) == 0; i++) {
        mesh_publish(kit.doorbell, "nobody", 1);
        loop_turn(kit.loop, 10);
    }
    return 0;
}

static int start_with_poll(void **state)
{
    (void)state;
    kit_start("poll_ms: 50ms\nring_events: 4\nread_events: 3\nsession_check_ms: 100ms\n");
    return 0;
}

static void test_the_bell_is_enough(void **state)
{
    struct client ada, sue;

    (void)state;
    add(3);
    client_start(&ada, "ada", NULL);
    client_start(&sue, "sue", NULL);
    fake_event(RECEIVED, C1, ADA, Q1); /* 4: ada's */
    fake_event(RECEIVED, C3, BOB, Q1); /* 5: bob's */
    fake_event(QUEUED, C2, "", Q1);    /* 6: waits in her queue */
    fake_event(QUEUED, C4, "", Q2);    /* 7: elsewhere */
    ring();
    kit_wait(sue.events == 4 && ada.events == 2);
    check_run(&sue, 4, 7);
    assert_int_equal(ada.sequences[0], 4);
    assert_int_equal(ada.sequences[1], 6);
    assert_int_equal(fake.event_reads, 3); /* begin, what came meanwhile, the bell */
    client_stop(&ada);
    client_stop(&sue);
    kit_wait(events_socket_count(kit.gateway->events) == 0);
}

static void test_another_tenant_hears_nothing(void **state)
{
    struct client sue, eve;

    (void)state;
    client_start(&sue, "sue", NULL);
    client_start(&eve, "eve", NULL);
    add(2);
    mesh_publish(kit.doorbell, "demo", 2);
    kit_wait(sue.events == 2);
    assert_int_equal(eve.events, 0);
    client_stop(&sue);
    client_stop(&eve);
}

static void test_the_poll_is_enough(void **state)
{
    struct client sue;

    (void)state;
    client_start(&sue, "sue", NULL);
    add(7);
    kit_wait(sue.events == 7);
    check_run(&sue, 1, 7);
    client_stop(&sue);
}

/* Where a client left off, near and far behind the ring, while more comes. */
static void test_resume(void **state)
{
    static const uint32_t missed[] = { 0, 1, 3, 4, 5, 40 };
    struct client keeper, sue;
    uint64_t last = 0;

    (void)state;
    client_start(&keeper, "sue", NULL);
    for (size_t i = 0; i < COUNT_OF(missed); i++) {
        char cursor[512];

        client_start(&sue, "sue", NULL);
        add(2);
        kit_wait(sue.events == 2);
        last = fake.event_count;
        snprintf(cursor, sizeof(cursor), "%s", sue.cursor);
        client_stop(&sue);
        add(missed[i]);
        kit_wait(keeper.events == fake.event_count);
        client_start(&sue, "sue", cursor);
        add(5);
        kit_wait(sue.events >= missed[i] + 5);
        check_run(&sue, last + 1, fake.event_count);
        assert_int_equal(sue.resyncs, 0);
        client_stop(&sue);
    }
    check_run(&keeper, 1, fake.event_count);
    client_stop(&keeper);
}

/* Another replica was ahead of ours: its cursor is good here, and nothing comes twice. */
static void test_cursor_ahead_of_the_tail(void **state)
{
    struct client keeper, sue;
    SCOPED_BUF cursor;

    (void)state;
    buf_init(&cursor, 512);
    add(5);
    client_start(&keeper, "sue", NULL);
    kit_wait(fake.event_reads >= 2);
    kit_idle(50);
    add(5); /* no bell: our tail stands at 5 */
    cursor_event_append(&cursor, "epoch-1", 9);
    client_start(&sue, "sue", buf_text(&cursor));
    kit_wait(sue.events == 1 && keeper.events == 5);
    check_run(&sue, 10, 10);
    check_run(&keeper, 6, 10);
    add(1);
    ring();
    kit_wait(sue.events == 2 && keeper.events == 6);
    check_run(&sue, 10, 11);
    client_stop(&sue);
    client_stop(&keeper);
}

static void test_resync(void **state)
{
    static const struct {
        const char *label, *epoch;
        uint64_t sequence;
    } cursors[] = {
        { "another epoch", "epoch-0", 15 },
        { "beyond retention", "epoch-1", 3 },
        { "beyond the end", "epoch-1", 1000 },
    };
    struct client sue;

    (void)state;
    add(20);
    fake.pruned = 10;
    for (size_t i = 0; i < COUNT_OF(cursors); i++) {
        uint64_t before = fake.event_count;
        SCOPED_BUF cursor;

        buf_init(&cursor, 512);
        cursor_event_append(&cursor, cursors[i].epoch, cursors[i].sequence);
        client_start(&sue, "sue", buf_text(&cursor));
        kit_wait(sue.resyncs == 1);
        add(3);
        kit_wait(sue.events == 3);
        check_run(&sue, before + 1, before + 3);
        client_stop(&sue);
    }
}

static void test_the_log_is_restored_under_us(void **state)
{
    struct client sue, back;

    (void)state;
    add(10);
    client_start(&sue, "sue", NULL);
    add(1);
    kit_wait(sue.events == 1);
    snprintf(fake.epoch, sizeof(fake.epoch), "epoch-2");
    fake.event_count = 4;
    kit_wait(sue.resyncs == 1);
    add(2);
    kit_wait(sue.events == 3);
    assert_int_equal(sue.sequences[2], 6);
    client_start(&back, "sue", sue.cursor);
    add(1);
    kit_wait(back.events == 1 && sue.events == 4);
    assert_int_equal(back.resyncs, 0);
    client_stop(&sue);
    client_stop(&back);
}

static void test_routing_comes_back(void **state)
{
    struct client sue;

    (void)state;
    client_start(&sue, "sue", NULL);
    err_set(&fake.failure, ERR_UNAVAILABLE, "restarts");
    add(5);
    kit_idle(200);
    assert_int_equal(sue.events, 0);
    fake.failure = (struct err){ 0 };
    kit_wait(sue.events == 5);
    check_run(&sue, 1, 5);
    client_stop(&sue);
}

/* Sockets that come and go while the log is slow to answer. */
static void test_leaving_during_a_read(void **state)
{
    struct client sue, other;
    SCOPED_BUF cursor;

    (void)state;
    buf_init(&cursor, 512);
    add(50);
    cursor_event_append(&cursor, "epoch-1", 0);
    client_start(&sue, "sue", NULL);
    kit_wait(fake.event_reads >= 2);
    kit_idle(30);
    fake.holds_reads = true;
    client_start(&other, "sue", buf_text(&cursor)); /* reads by itself: held */
    kit_wait(fake.held_count > 0);
    client_stop(&other);
    client_stop(&sue);
    kit_wait(events_socket_count(kit.gateway->events) == 0);
    fake_release();
    kit_idle(100);
    client_start(&sue, "sue", buf_text(&cursor));
    kit_wait(sue.events == 50);
    check_run(&sue, 1, 50);
    client_stop(&sue);
}

static void test_what_clients_say(void **state)
{
    struct client sue;

    (void)state;
    add(3);
    client_start(&sue, "sue", NULL);
    websocket_client_send(sue.socket, STR_LITERAL("{\"type\":\"ping\"}"));
    kit_wait(strstr(sue.last, "{\"type\":\"pong\",\"cursor\":\"") != NULL);
    websocket_client_send(sue.socket, STR_LITERAL("{\"type\":\"subscribe\"}"));
    kit_wait(strstr(sue.last, "\"code\":\"invalid_frame\"") != NULL);
    websocket_client_send(sue.socket, STR_LITERAL("[1"));
    kit_wait(sue.frames == 4);
    assert_int_equal(sue.close_code, 0);
    client_stop(&sue);
}

static void test_sessions_end(void **state)
{
    struct client ada, sue;

    (void)state;
    client_start(&ada, "ada", NULL);
    client_start(&sue, "sue", NULL);
    free(kit_call("DELETE", "/v1/sessions/current", "sue", NULL, NULL));
    kit_wait(sue.close_code == 4001);
    assert_int_equal(ada.close_code, 0);
    err_set(&fake.session_failure, ERR_UNAVAILABLE, "down"); /* is no answer */
    kit_idle(300);
    assert_int_equal(ada.close_code, 0);
    fake.session_failure = (struct err){ 0 };
    err_set(&fake.session_failure, ERR_FORBIDDEN, "expired");
    kit_wait(ada.close_code == 4001);
}

/* An open socket is a sign of life, again and again. */
static void test_sockets_keep_present(void **state)
{
    struct client ada;
    uint32_t before;

    (void)state;
    client_start(&ada, "ada", NULL);
    before = fake.session_checks;
    kit_wait(fake.session_checks >= before + 3);
    client_stop(&ada);
}

static void test_closing_with_sockets_open(void **state)
{
    static struct client ada;

    (void)state;
    client_start(&ada, "ada", NULL);
    add(1);
    gateway_free(&kit.gateway);
    kit_wait(ada.close_code != 0);
}

static int raw_socket(const char *token)
{
    const struct sockaddr_in address = { .sin_family = AF_INET,
                                         .sin_port = htons(http_server_port(kit.gateway->sockets)),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0), small = 4096;
    char ticket[1024], request[2048];

    ticket_of(token, ticket, sizeof(ticket));
    snprintf(request, sizeof(request),
             "GET /v1/events?ticket=%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
             "Sec-WebSocket-Protocol: guichet.v1.json\r\n\r\n",
             ticket);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    return fd;
}

/* Reads until the server closes; the code of the close frame that must stand at the end. */
static int close_code_of(int fd)
{
    uint64_t until_ms = uv_hrtime() / 1000000 + KIT_WAIT_MS;
    char bytes[65536];
    ssize_t len;
    int code = 0;
    SCOPED_BUF all;

    buf_init(&all, 16u * 1024 * 1024);
    while ((len = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) != 0 && uv_hrtime() / 1000000 < until_ms) {
        if (len > 0)
            buf_append(&all, bytes, (size_t)len);
        else if (errno != EAGAIN)
            break;
        loop_turn(kit.loop, len > 0 ? 0 : 10);
    }
    for (size_t i = all.len > 64 ? all.len - 64 : 0; i + 4 <= all.len; i++) {
        if ((uint8_t)all.data[i] == 0x88 && (uint8_t)all.data[i + 1] == all.len - i - 2)
            code = (uint8_t)all.data[i + 2] << 8 | (uint8_t)all.data[i + 3];
    }
    close(fd);
    return code;
}

static void test_drain(void **state)
{
    struct client ada;
    int fd;

    (void)state;
    client_start(&ada, "ada", NULL);
    fd = raw_socket("sue");
    kit_wait(events_socket_count(kit.gateway->events) == 2);
    gateway_drain(kit.gateway);
    kit_wait(ada.close_code != 0);
    assert_int_equal(close_code_of(fd), 1012);
    kit_wait(gateway_is_drained(kit.gateway));
}

/* Who takes nothing is sent away; the others get all of it. */
static void test_slow_client(void **state)
{
    static char long_reason[16384];
    struct client sue;
    int fd;

    (void)state;
    client_start(&sue, "sue", NULL);
    fd = raw_socket("ada");
    kit_wait(events_socket_count(kit.gateway->events) == 2);
    memset(long_reason, 'x', sizeof(long_reason) - 1);
    for (int i = 0; i < 1000; i++) { /* more than two kernels keep for a socket */
        fake.events[fake_event(RECEIVED, C1, ADA, Q1) - 1].reason = long_reason;
        if (i % 20 == 19) {
            ring();
            kit_wait(sue.events == fake.event_count);
        }
    }
    check_run(&sue, 1, fake.event_count);
    assert_int_equal(close_code_of(fd), 1013);
    kit_wait(events_socket_count(kit.gateway->events) == 1);
    assert_int_equal(sue.close_code, 0);
    client_stop(&sue);
}

#define UPGRADE "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define PROTOCOL "Sec-WebSocket-Protocol: chat, guichet.v1.json\r\n"

static const struct {
    const char *label, *line, *headers;
    int status;
} handshakes[] = {
    { "no such path", "GET /v1/nothing", UPGRADE VERSION PROTOCOL, 404 },
    { "wrong method", "POST /v1/events", UPGRADE VERSION PROTOCOL, 405 },
    { "foreign origin", "GET /v1/events?ticket=%s",
      UPGRADE VERSION PROTOCOL "Origin: https://evil.example\r\n", 403 },
    { "no WebSocket", "GET /v1/events?ticket=%s", "", 426 },
    { "old version", "GET /v1/events?ticket=%s", UPGRADE "Sec-WebSocket-Version: 8\r\n" PROTOCOL, 426 },
    { "no subprotocol", "GET /v1/events?ticket=%s", UPGRADE VERSION, 400 },
    { "nonsense for a cursor", "GET /v1/events?ticket=%s&cursor=x", UPGRADE VERSION PROTOCOL, 400 },
    { "no ticket", "GET /v1/events", UPGRADE VERSION PROTOCOL, 401 },
    { "nonsense for a ticket", "GET /v1/events?ticket=x", UPGRADE VERSION PROTOCOL, 401 },
    { "allowed origin", "GET /v1/events?ticket=%s",
      UPGRADE VERSION PROTOCOL "Origin: http://localhost:3000\r\n", 101 },
    { "the same ticket again", "GET /v1/events?ticket=%s", UPGRADE VERSION PROTOCOL, 401 },
};

static char *handshake(const char *line, const char *headers, const char *ticket)
{
    SCOPED_BUF request;

    buf_init(&request, 8192);
    if (strstr(line, "%s") != NULL)
        buf_printf(&request, "%.*s%s%s", (int)(strstr(line, "%s") - line), line, ticket,
                   strstr(line, "%s") + 2);
    else
        buf_append_text(&request, line);
    buf_printf(&request, " HTTP/1.1\r\nHost: x\r\n%s%s\r\n", headers,
               strstr(headers, "Connection") == NULL ? "Connection: close\r\n" : "");
    return kit_exchange(http_server_port(kit.gateway->sockets), buf_view(&request));
}

static void check_handshake(size_t i, const char *ticket)
{
    char *answer = handshake(handshakes[i].line, handshakes[i].headers, ticket);

    if (kit_status(answer) != handshakes[i].status)
        fail_msg("case '%s': wanted %d, got %s", handshakes[i].label, handshakes[i].status, answer);
    CHECK_CASE(handshakes[i].label,
               handshakes[i].status == 101 || strstr(answer, "application/problem+json") != NULL);
    free(answer);
}

static int start_handshakes(void **state)
{
    (void)state;
    kit_start("");
    return 0;
}

static void test_handshakes(void **state)
{
    char ticket[1024];

    (void)state;
    ticket_of("ada", ticket, sizeof(ticket));
    for (size_t i = 0; i < COUNT_OF(handshakes); i++)
        check_handshake(i, ticket);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_bell_is_enough, start_with_bell, stop),
        cmocka_unit_test_setup_teardown(test_another_tenant_hears_nothing, start_with_bell, stop),
        cmocka_unit_test_setup_teardown(test_cursor_ahead_of_the_tail, start_with_bell, stop),
        cmocka_unit_test_setup_teardown(test_the_poll_is_enough, start_with_poll, stop),
        cmocka_unit_test_setup_teardown(test_resume, start_with_poll, stop),
        cmocka_unit_test_setup_teardown(test_resync, start_with_poll, stop),
        cmocka_unit_test_setup_teardown(test_the_log_is_restored_under_us, start_with_poll, stop),
        cmocka_unit_test_setup_teardown(test_routing_comes_back, start_with_poll, stop),
        cmocka_unit_test_setup_teardown(test_leaving_during_a_read, start_with_bell, stop),
        cmocka_unit_test_setup_teardown(test_what_clients_say, start_with_bell, stop),
        cmocka_unit_test_setup_teardown(test_sessions_end, start_with_poll, stop),
        cmocka_unit_test_setup_teardown(test_sockets_keep_present, start_with_poll, stop),
        cmocka_unit_test_setup_teardown(test_drain, start_with_bell, stop),
        cmocka_unit_test_setup_teardown(test_closing_with_sockets_open, start_with_bell, stop),
        cmocka_unit_test_setup_teardown(test_slow_client, start_with_bell, stop),
        cmocka_unit_test_setup_teardown(test_handshakes, start_handshakes, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
