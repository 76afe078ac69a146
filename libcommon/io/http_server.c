/* SPDX-License-Identifier: Apache-2.0 */
/* http_server.c - libmicrohttpd on the loop: its epoll descriptor, its timer, its end.
 *
 * The daemon has no thread of its own. Its epoll descriptor wakes MHD_run(); so does a timer, since
 * libmicrohttpd's time-outs and its own left-overs do not show on the descriptor. Answers that come late
 * are collected, and their connections resumed together with one MHD_run() at the end of the turn. */
#include "io/http_server_stream.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ops/log.h"

#if MHD_VERSION >= 0x00097701
#define HTTP_STRICT MHD_OPTION_CLIENT_DISCIPLINE_LVL
#else
#define HTTP_STRICT MHD_OPTION_STRICT_FOR_CLIENT
#endif

enum {
    CONNECTIONS_MAX = 1024,
    REQUESTS_MAX = 512,
    BODY_MAX_BYTES = 1 << 20,
    CONNECTION_MEMORY_BYTES = 16 << 10,
    IDLE_TIMEOUT_MS = 30000,
    READ_TIMEOUT_MS = 10000,
    ANSWER_TIMEOUT_MS = 10000,
    CLOSING_RUNS_MAX = 16,
    NOTE_BYTES = 256,
};

enum {
    STAT_ANSWERS_1XX,
    STAT_ANSWERS_2XX,
    STAT_ANSWERS_3XX,
    STAT_ANSWERS_4XX,
    STAT_ANSWERS_5XX,
    STAT_OPEN,
    STAT_SOCKETS,
    STAT_LIMITED,
    STAT_ANSWER_SECONDS,
};

const struct stat_info http_server_stats[] = {
    [STAT_ANSWERS_1XX] = { "http_server_upgrades_total", "Connections handed over (101).", STAT_COUNTER,
                           "server" },
    [STAT_ANSWERS_2XX] = { "http_server_answers_2xx_total", "Requests answered with success.", STAT_COUNTER,
                           "server" },
    [STAT_ANSWERS_3XX] = { "http_server_answers_3xx_total", "Requests answered with 3xx.", STAT_COUNTER,
                           "server" },
    [STAT_ANSWERS_4XX] = { "http_server_answers_4xx_total", "Requests refused: the client's fault.",
                           STAT_COUNTER, "server" },
    [STAT_ANSWERS_5XX] = { "http_server_answers_5xx_total",
                           "Requests that failed: our fault, or no answer in time.", STAT_COUNTER, "server" },
    [STAT_OPEN] = { "http_server_open_requests", "Requests that wait for their answer.", STAT_GAUGE,
                    "server" },
    [STAT_SOCKETS] = { "http_server_open_sockets", "Upgraded connections (WebSocket).", STAT_GAUGE,
                       "server" },
    [STAT_LIMITED] = { "http_server_limited_total",
                       "Requests refused by a limit: body size, or requests under way.", STAT_COUNTER,
                       "server" },
    [STAT_ANSWER_SECONDS] = { "http_server_answer_seconds",
                              "From the request line to the answer, all servers but the ops port.",
                              STAT_HISTOGRAM, NULL },
};
const size_t http_server_stats_count = COUNT_OF(http_server_stats);

void http_server_count_answer(struct http_server *server, int status, uint64_t started_ms)
{
    int status_class = status / 100;

    if (status_class < 1 || status_class > 5)
        status_class = 5;
    stats_add_label(server->stats, (size_t)(STAT_ANSWERS_1XX + status_class - 1), server->name, 1);
    if (strcmp(server->name, "ops") != 0)
        stats_observe_ms(server->stats, STAT_ANSWER_SECONDS,
                         (double)(loop_now_ms(server->loop) - started_ms));
}

void http_server_count_limit(struct http_server *server)
{
    stats_add_label(server->stats, STAT_LIMITED, server->name, 1);
}

void http_server_count_open(struct http_server *server, int change)
{
    server->open_requests = (uint32_t)((int64_t)server->open_requests + change);
    stats_set_label(server->stats, STAT_OPEN, server->name, server->open_requests);
}

void http_server_count_socket(struct http_server *server, int change)
{
    server->open_sockets = (uint32_t)((int64_t)server->open_sockets + change);
    stats_set_label(server->stats, STAT_SOCKETS, server->name, server->open_sockets);
}

static void run_daemon(struct http_server *server)
{
    struct http_connection *connection;
    MHD_UNSIGNED_LONG_LONG wait_ms;

    assert(!server->is_running);
    server->is_running = true;
    while ((connection = server->to_resume) != NULL) {
        server->to_resume = connection->next_to_resume;
        connection->next_to_resume = NULL;
        connection->is_suspended = connection->is_resuming = false;
        MHD_resume_connection(connection->mhd);
    }
    MHD_run(server->daemon);
    server->is_running = false;
    if (server->to_resume != NULL || server->is_wake_wanted)
        loop_timer_start(server->timer, 0, 0);
    else if (MHD_get_timeout(server->daemon, &wait_ms) == MHD_YES)
        loop_timer_start(server->timer, wait_ms, 0);
    else
        loop_timer_stop(server->timer);
    server->is_wake_wanted = false;
}

static void on_readable(void *arg, int events, int status)
{
    (void)events, (void)status;
    run_daemon(arg);
}

static void on_timer(void *arg)
{
    run_daemon(arg);
}

void http_server_wake(struct http_server *server)
{
    if (server->is_running)
        server->is_wake_wanted = true; /* run_daemon() sees to it */
    else
        loop_timer_start(server->timer, 0, 0);
}

static void on_note(void *arg, const char *fmt, va_list args)
{
    char text[NOTE_BYTES];
    struct http_server *server = arg;

    vsnprintf(text, sizeof(text), fmt, args);
    text[strcspn(text, "\n")] = '\0';
    log_event(LOG_DEBUG, "http_server_note", LOG_TEXT("server", server->name), LOG_TEXT("note", text));
}

static void fill_options(struct http_server *server, const struct http_server_options *given)
{
    struct http_server_options *options = &server->options;

    *options = *given;
    options->connections_max = given->connections_max != 0 ? given->connections_max : CONNECTIONS_MAX;
    options->requests_max = given->requests_max != 0 ? given->requests_max : REQUESTS_MAX;
    options->body_max_bytes = given->body_max_bytes != 0 ? given->body_max_bytes : BODY_MAX_BYTES;
    if (given->connection_memory_bytes == 0)
        options->connection_memory_bytes = CONNECTION_MEMORY_BYTES;
    options->idle_timeout_ms = given->idle_timeout_ms != 0 ? given->idle_timeout_ms : IDLE_TIMEOUT_MS;
    options->read_timeout_ms = given->read_timeout_ms != 0 ? given->read_timeout_ms : READ_TIMEOUT_MS;
    options->answer_timeout_ms = given->answer_timeout_ms != 0 ? given->answer_timeout_ms : ANSWER_TIMEOUT_MS;
    server->next_check_ms = UINT64_MAX;
    server->lines[HTTP_LINE_READ].wait_ms = options->read_timeout_ms;
    server->lines[HTTP_LINE_ANSWER].wait_ms = options->answer_timeout_ms;
    server->lines[HTTP_LINE_PAUSED].wait_ms = options->answer_timeout_ms;
    server->lines[HTTP_LINE_REST].wait_ms = options->idle_timeout_ms + options->read_timeout_ms;
}

static struct MHD_Daemon *start_daemon(struct http_server *server, int listen_fd)
{
    const struct http_server_options *options = &server->options;
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;

    if (options->allow_upgrade)
        flags |= MHD_ALLOW_UPGRADE;
    return MHD_start_daemon(
        flags, 0, NULL, NULL, http_connection_request, server, MHD_OPTION_EXTERNAL_LOGGER, on_note, server,
        MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)options->connections_max,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, options->connection_memory_bytes, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)((options->idle_timeout_ms + 999) / 1000), MHD_OPTION_NOTIFY_CONNECTION,
        http_connection_notify, server, MHD_OPTION_NOTIFY_COMPLETED, http_connection_completed, server,
        MHD_OPTION_URI_LOG_CALLBACK, http_connection_uri, server, HTTP_STRICT, 1, MHD_OPTION_END);
}

bool http_server_new(struct loop *loop, const struct http_server_options *options,
                     struct http_server **ret_server, struct err *err)
{
    struct http_server *server;
    uint16_t port;
    int listen_fd;

    if (!http_server_listen(options->listen, &listen_fd, &port, err))
        return err_at(err, "http server '%s'", options->name);
    server = calloc(1, sizeof(*server));
    if (server == NULL)
        abort();
    server->name = str_dup(str_view_of(options->name));
    server->loop = loop;
    server->port = port;
    fill_options(server, options);
    server->timer = loop_timer_new(loop, on_timer, server);
    server->deadlines = loop_timer_new(loop, http_connection_check_deadlines, server);
    server->stats = stats_new("http_server", http_server_stats, http_server_stats_count);
    server->daemon = start_daemon(server, listen_fd);
    if (server->daemon == NULL) {
        close(listen_fd);
        http_server_free(&server);
        return err_set(err, ERR_INTERNAL, "http server '%s' does not start", options->name);
    }
    server->poll = loop_poll_new(
        loop, MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd, on_readable, server);
    loop_poll_start(server->poll, UV_READABLE);
    *ret_server = server;
    return true;
}

void http_server_drain(struct http_server *server)
{
    MHD_socket listen_fd;

    if (server->is_draining)
        return;
    server->is_draining = true;
    listen_fd = MHD_quiesce_daemon(server->daemon);
    if (listen_fd != MHD_INVALID_SOCKET)
        close(listen_fd);
}

uint32_t http_server_open_requests(const struct http_server *server)
{
    return server->open_requests;
}

uint32_t http_server_open_sockets(const struct http_server *server)
{
    return server->open_sockets;
}

uint16_t http_server_port(const struct http_server *server)
{
    return server->port;
}

/* MHD_stop_daemon() aborts the process when a connection is suspended, upgraded ones included: every request
 * is answered and every socket closed before. */
static void stop_daemon(struct http_server *server)
{
    struct http_connection *connection;

    http_server_drain(server);
    server->is_closing = true;
    while ((connection = server->lines[HTTP_LINE_ANSWER].first) != NULL)
        http_connection_expire(connection);
    while ((connection = server->lines[HTTP_LINE_PAUSED].first) != NULL)
        http_connection_unpause(connection);
    for (connection = server->lines[HTTP_LINE_REST].first; connection != NULL; connection = connection->later)
        http_stream_cut(connection);
    for (connection = server->lines[HTTP_LINE_UPGRADED].first; connection != NULL;
         connection = connection->later) {
        if (connection->on_gone != NULL)
            connection->on_gone(connection->gone_arg);
        assert(connection->upgrade == NULL);
    }
    for (int i = 0; i < CLOSING_RUNS_MAX; i++)
        run_daemon(server);
    MHD_stop_daemon(server->daemon);
}

void http_server_free(struct http_server **server_ptr)
{
    struct http_server *server = *server_ptr;

    *server_ptr = NULL;
    if (server == NULL)
        return;
    assert(!server->is_running);
    if (server->daemon != NULL)
        stop_daemon(server);
    loop_poll_free(&server->poll);
    loop_timer_free(&server->timer);
    loop_timer_free(&server->deadlines);
    stats_free(&server->stats);
    free(server->name);
    free(server);
}
