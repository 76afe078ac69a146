/* SPDX-License-Identifier: Apache-2.0 */
/* load.c - guichet-bench load: signed webhooks, one message each, over keep-alive connections; and a supervisor's
 * socket, on which each message is looked for. One process, one clock.
 *
 * Without --rate the loop is closed: each connection sends its next webhook when the last is answered. With it
 * webhooks are due at even distances whether or not the earlier ones are answered, and times count from then.
 * A webhook answered otherwise than 2xx is sent again, as a provider would. Requests are signed beforehand. */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "io/loop.h"
#include "io/websocket_client.h"

enum { ANSWER_MAX_BYTES = 2048, REQUEST_MAX_BYTES = 4096, TICK_MS = 1, AGAIN_MS = 50, PATIENCE_MS = 10000 };

/* Microseconds; 0: not yet. */
struct message {
    uint64_t due, answered, visible;
    size_t offset, len; /* of its request */
};

struct connection {
    struct load *load;
    int fd;
    struct loop_poll *poll;
    uint32_t message;
    char answer[ANSWER_MAX_BYTES];
    size_t answer_len;
};

struct load {
    struct loop *loop;
    struct loop_timer *tick;
    struct bench_traffic traffic;
    struct message *messages;
    struct buf requests;
    uint32_t count, rate, connection_count;
    uint32_t next, released; /* to be sent next; due by now */
    uint32_t answered, visible, twice, repeated;
    struct connection *connections, **idle;
    uint32_t idle_count;
    uint32_t *again; /* answered otherwise; sent again from `again_at` on */
    uint32_t again_count;
    uint64_t again_at, began, progress_at;
    const char *port;
    bool has_failed;
};

static uint64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void fail(struct load *load, const char *what)
{
    fprintf(stderr, "guichet-bench: %s\n", what);
    load->has_failed = true;
    loop_stop(load->loop);
}

static void end_if_done(struct load *load)
{
    load->progress_at = loop_now_ms(load->loop);
    if (load->answered == load->count && load->visible == load->count)
        loop_stop(load->loop);
}

/* ---- webhooks ---- */

/* One request is under way on a connection, and it is smaller than a socket's buffer: it goes whole. */
static void send_message(struct load *load, struct connection *connection, uint32_t i)
{
    const struct message *message = &load->messages[i];
    ssize_t sent = send(connection->fd, load->requests.data + message->offset, message->len, MSG_NOSIGNAL);

    connection->message = i;
    connection->answer_len = 0;
    if (sent != (ssize_t)message->len)
        fail(load, "a webhook was not sent whole");
}

static void send_due(struct load *load)
{
    bool is_again = load->again_count > 0 && loop_now_ms(load->loop) >= load->again_at;

    while (load->idle_count > 0 && ((is_again && load->again_count > 0) || load->next < load->released)) {
        struct connection *connection = load->idle[--load->idle_count];
        uint32_t i = is_again && load->again_count > 0 ? load->again[--load->again_count] : load->next++;

        if (load->messages[i].due == 0)
            load->messages[i].due = now_us();
        send_message(load, connection, i);
    }
}

static void take_answer(struct connection *connection)
{
    struct load *load = connection->load;
    struct message *message = &load->messages[connection->message];

    if (strncmp(connection->answer, "HTTP/1.1 2", 10) == 0) {
        message->answered = now_us();
        load->answered++;
    } else {
        load->repeated++;
        load->again[load->again_count++] = connection->message;
        load->again_at = loop_now_ms(load->loop) + AGAIN_MS;
    }
    load->idle[load->idle_count++] = connection;
    end_if_done(load);
    send_due(load);
}

static bool is_whole(const struct connection *connection)
{
    const char *end = strstr(connection->answer, "\r\n\r\n");
    const char *length = strcasestr(connection->answer, "\r\nContent-Length:");
    size_t body = length != NULL ? strtoul(length + strlen("\r\nContent-Length:"), NULL, 10) : 0;

    return end != NULL && connection->answer_len >= (size_t)(end + 4 - connection->answer) + body;
}

static void on_readable(void *arg, int events, int status)
{
    struct connection *connection = arg;
    ssize_t got = recv(connection->fd, connection->answer + connection->answer_len,
                       ANSWER_MAX_BYTES - 1 - connection->answer_len, 0);

    (void)events;
    (void)status;
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        fail(connection->load, "a connection was closed");
        loop_poll_stop(connection->poll);
        return;
    }
    connection->answer_len += (size_t)got;
    connection->answer[connection->answer_len] = '\0';
    if (is_whole(connection))
        take_answer(connection);
}

static bool connect_one(struct load *load, struct connection *connection)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(load->port)) };
    int one = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connection->load = load;
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 || connect(connection->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        return false;
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    fcntl(connection->fd, F_SETFL, O_NONBLOCK);
    connection->poll = loop_poll_new(load->loop, connection->fd, on_readable, connection);
    loop_poll_start(connection->poll, UV_READABLE);
    load->idle[load->idle_count++] = connection;
    return true;
}

static void on_tick(void *arg)
{
    struct load *load = arg;
    uint64_t now = now_us();

    if (loop_now_ms(load->loop) - load->progress_at > PATIENCE_MS) {
        fail(load, "nothing happened for ten seconds");
        return;
    }
    while (load->rate > 0 && load->released < load->count) {
        uint64_t due = load->began + (uint64_t)load->released * 1000000 / load->rate;

        if (due > now)
            break;
        load->messages[load->released++].due = due;
    }
    send_due(load);
}

/* ---- the supervisor's socket ---- */

static void on_text(void *arg, struct str_view text)
{
    struct load *load = arg;
    const char *mark = memmem(text.data, text.len, load->traffic.mark, BENCH_MARK_LEN);
    uint32_t i;

    if (load->began == 0) { /* hello: from here on nothing is missed */
        load->began = now_us();
        load->released = load->rate > 0 ? 0 : load->count;
        loop_timer_start(load->tick, 0, TICK_MS);
    }
    if (mark == NULL || (size_t)(text.data + text.len - mark) < BENCH_MARK_LEN + BENCH_NUMBER_LEN ||
        memmem(text.data, text.len, "\"message_received\"", strlen("\"message_received\"")) == NULL)
        return;
    i = (uint32_t)strtoul(mark + BENCH_MARK_LEN, NULL, 10);
    if (i >= load->count)
        return;
    if (load->messages[i].visible != 0) {
        load->twice++;
        return;
    }
    load->messages[i].visible = now_us();
    load->visible++;
    end_if_done(load);
}

static void on_close(void *arg, int code, const struct err *err)
{
    fprintf(stderr, "guichet-bench: the socket was closed: %d %s\n", code, err->text);
    fail(arg, "no events any more");
}

static void on_open(void *arg)
{
    struct load *load = arg;

    load->progress_at = loop_now_ms(load->loop);
    for (uint32_t i = 0; i < load->connection_count; i++)
        if (!connect_one(load, &load->connections[i])) {
            fail(load, "cannot connect to the hook port");
            return;
        }
}

/* ---- the whole ---- */

static void print_times(const struct load *load, const char *name, bool is_from_answer, bool is_to_visible)
{
    double *values = calloc(load->count + 1, sizeof(*values)), p50;
    uint32_t count = 0;

    if (values == NULL)
        abort();
    for (uint32_t i = 0; i < load->count; i++) {
        const struct message *message = &load->messages[i];
        uint64_t from = is_from_answer ? message->answered : message->due;
        uint64_t to = is_to_visible ? message->visible : message->answered;

        if (from != 0 && to != 0) /* seen before its answer: seen at once */
            values[count++] = to > from ? (double)(to - from) / 1000 : 0;
    }
    p50 = bench_quantile(values, count, 0.5);
    printf(",\"%s_p50\":%.2f,\"%s_p99\":%.2f", name, p50, name, bench_quantile(values, count, 0.99));
    free(values);
}

static void print_result(const struct load *load)
{
    uint64_t last = load->began;
    struct rusage usage;

    for (uint32_t i = 0; i < load->count; i++) {
        last = load->messages[i].visible > last ? load->messages[i].visible : last;
        last = load->messages[i].answered > last ? load->messages[i].answered : last;
    }
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"messages\":%u,\"acknowledged\":%u,\"events\":%u,\"twice\":%u,\"repeated\":%u,\"customers\":%u",
           load->count, load->answered, load->visible, load->twice, load->repeated,
           bench_distinct_customers(&load->traffic, load->count));
    printf(",\"seconds\":%.3f,\"rate\":%.1f", (double)(last - load->began) / 1e6,
           load->visible * 1e6 / (double)(last - load->began + 1));
    print_times(load, "answer", false, false);
    print_times(load, "visible", false, true);
    print_times(load, "after_answer", true, true);
    printf(",\"cpu\":%.2f}\n", (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                                   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
}

static void sign_all(struct load *load, const char *path)
{
    buf_init(&load->requests, SIZE_MAX / 2);
    for (uint32_t i = 0; i < load->count; i++) {
        load->messages[i].offset = load->requests.len;
        bench_request(&load->traffic, path, i, &load->requests);
        load->messages[i].len = load->requests.len - load->messages[i].offset;
    }
}

static struct load *load_new(char **words)
{
    struct load *load = calloc(1, sizeof(*load));

    if (load == NULL)
        abort();
    load->traffic = bench_traffic_of(words);
    load->count = bench_number(words, "messages", NULL);
    load->rate = bench_number(words, "rate", "0");
    load->connection_count = bench_number(words, "connections", "256");
    load->port = bench_option(words, "port", NULL);
    load->messages = calloc(load->count + 1, sizeof(*load->messages));
    load->again = calloc(load->count + 1, sizeof(*load->again));
    load->connections = calloc(load->connection_count, sizeof(*load->connections));
    load->idle = calloc(load->connection_count, sizeof(struct connection *));
    if (load->messages == NULL || load->again == NULL || load->connections == NULL || load->idle == NULL)
        abort();
    sign_all(load, bench_option(words, "path", NULL));
    load->loop = loop_new();
    load->tick = loop_timer_new(load->loop, on_tick, load);
    return load;
}

int bench_load(char **words)
{
    struct load *load = load_new(words);
    const struct websocket_client_options options = {
        .host = "127.0.0.1",
        .port = bench_option(words, "events-port", NULL),
        .target = bench_option(words, "events-target", NULL),
        .subprotocol = "guichet.v1.json",
        .on_open = on_open,
        .on_text = on_text,
        .on_close = on_close,
        .arg = load,
    };

    loop_set_turn_max_ms(load->loop, 10000);
    websocket_client_start(load->loop, &options);
    loop_run(load->loop);
    print_result(load);
    fflush(stdout);
    _exit(load->has_failed ? 1 : 0); /* the system closes the sockets: no ceremony */
}
