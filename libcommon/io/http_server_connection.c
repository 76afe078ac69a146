/* SPDX-License-Identifier: Apache-2.0 */
/* http_server_connection.c - a connection's way through its requests: libmicrohttpd's callbacks, and the deadlines.
 *
 * libmicrohttpd can answer only once the head is read and then only once the body is, has but an idle
 * time-out, and does not notice a client that leaves while suspended. So refusals in the middle of a body
 * are written past it: nothing of an answer can be under way then, since it takes one request at a time.
 * After such an answer only our direction is shut, and what still comes is read and thrown away: closing
 * with unread bytes would reset the connection and take the answer away from the client. */
#include "io/http_server_stream.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { RAW_ANSWER_BYTES = 4096 };

static void line_remove(struct http_connection *connection)
{
    struct http_line *line = &connection->server->lines[connection->line];

    *(connection->earlier != NULL ? &connection->earlier->later : &line->first) = connection->later;
    *(connection->later != NULL ? &connection->later->earlier : &line->last) = connection->earlier;
    connection->earlier = connection->later = NULL;
}

static void arm_deadlines(struct http_server *server, uint64_t at_ms)
{
    uint64_t now_ms = loop_now_ms(server->loop);

    server->next_check_ms = at_ms;
    if (at_ms != UINT64_MAX)
        loop_timer_start(server->deadlines, at_ms > now_ms ? at_ms - now_ms : 1, 0);
}

static void line_append(struct http_connection *connection, enum http_line_kind kind)
{
    struct http_server *server = connection->server;
    struct http_line *line = &server->lines[kind];
    uint64_t now_ms = loop_now_ms(server->loop);

    connection->line = kind;
    connection->deadline_ms = now_ms + line->wait_ms;
    connection->earlier = line->last;
    *(line->last != NULL ? &line->last->later : &line->first) = connection;
    line->last = connection;
    if (kind != HTTP_LINE_UPGRADED && connection->deadline_ms < server->next_check_ms)
        arm_deadlines(server, connection->deadline_ms);
}

void http_connection_wait(struct http_connection *connection, enum http_line_kind line)
{
    line_remove(connection);
    line_append(connection, line);
}

void http_connection_notify(void *cls, struct MHD_Connection *mhd, void **context,
                            enum MHD_ConnectionNotificationCode code)
{
    struct http_server *server = cls;
    struct http_connection *connection = *context;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        connection = calloc(1, sizeof(*connection));
        if (connection == NULL)
            abort();
        connection->server = server;
        connection->mhd = mhd;
        connection->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        connection->line = HTTP_LINE_READ;
        line_append(connection, HTTP_LINE_READ);
        *context = connection;
        return;
    }
    http_connection_completed(server, mhd, context, MHD_REQUEST_TERMINATED_CLIENT_ABORT);
    line_remove(connection);
    *context = NULL;
    free(connection);
}

static struct http_connection *connection_of(struct MHD_Connection *mhd)
{
    return MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

void *http_connection_uri(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    struct http_connection *connection = connection_of(mhd);

    (void)cls;
    assert(connection->exchange == NULL);
    connection->exchange = http_exchange_new(connection, uri);
    connection->phase = HTTP_PHASE_HEAD;
    http_connection_wait(connection, HTTP_LINE_READ);
    return NULL;
}

void http_connection_completed(void *cls, struct MHD_Connection *mhd, void **context,
                               enum MHD_RequestTerminationCode code)
{
    struct http_connection *connection = connection_of(mhd);
    http_upgraded_fn *on_socket = connection->on_socket;

    (void)cls, (void)context, (void)code;
    if (connection->phase == HTTP_PHASE_HANDLER)
        http_server_count_open(connection->server, -1);
    else if (connection->exchange != NULL && connection->exchange->sink.piece != NULL)
        http_sink_leave(connection);
    if (connection->exchange != NULL)
        connection->exchange->connection = NULL;
    http_exchange_leave(&connection->exchange);
    http_stream_leave(connection);
    if (connection->response != NULL)
        MHD_destroy_response(connection->response);
    connection->response = NULL;
    connection->on_socket = NULL;
    if (connection->phase != HTTP_PHASE_UPGRADED && connection->phase != HTTP_PHASE_REFUSED) {
        connection->phase = HTTP_PHASE_IDLE;
        http_connection_wait(connection, HTTP_LINE_REST);
    }
    if (on_socket != NULL)
        on_socket(connection->socket_arg, -1, (struct str_view){ NULL, 0 }, NULL, NULL);
}

enum MHD_Result http_connection_send_raw(struct http_connection *connection, int status,
                                         struct str_view answer)
{
    http_server_count_answer(connection->server, status, connection->exchange->started_ms);
    connection->phase = HTTP_PHASE_REFUSED;
    buf_done(&connection->exchange->body);
    if (send(connection->fd, answer.data, answer.len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return MHD_NO;
    shutdown(connection->fd, SHUT_WR);
    return MHD_YES;
}

enum MHD_Result http_connection_refuse_raw(struct http_connection *connection, int status, const char *detail)
{
    SCOPED_BUF answer = { 0 };
    enum MHD_Result result;

    buf_init(&answer, RAW_ANSWER_BYTES);
    http_exchange_problem_raw(connection->server, connection->exchange, status, detail, &answer);
    result = http_connection_send_raw(connection, status, buf_view(&answer));
    if (connection->exchange->sink.piece != NULL)
        http_sink_leave(connection);
    return result;
}

static enum MHD_Result queue_answer(struct http_connection *connection)
{
    struct MHD_Response *response = connection->response;
    enum MHD_Result result;

    connection->response = NULL;
    result = MHD_queue_response(connection->mhd, (unsigned)connection->status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result refuse(struct http_connection *connection, int status, const char *detail)
{
    http_connection_answer(connection, status,
                           http_exchange_problem(connection->server, connection->exchange, status, detail));
    return queue_answer(connection);
}

static uint64_t body_max_bytes(const struct http_exchange *exchange)
{
    return exchange->sink.piece != NULL ? exchange->sink_max_bytes
                                        : exchange->connection->server->options.body_max_bytes;
}

/* The head is there. libmicrohttpd asks for the body unless we answer now. */
static enum MHD_Result on_head(struct http_connection *connection, const char *method)
{
    struct http_exchange *exchange = connection->exchange;
    bool is_sound = http_exchange_read_head(exchange, connection->mhd, method);
    const char *length = http_exchange_header(exchange, "Content-Length");

    connection->phase = HTTP_PHASE_BODY;
    if (is_sound && connection->server->options.head != NULL)
        http_sink_offer(connection);
    if (connection->phase == HTTP_PHASE_REFUSED)
        return MHD_YES;
    if (!is_sound)
        return http_connection_refuse_raw(connection, MHD_HTTP_BAD_REQUEST,
                                          "Content-Length, Transfer-Encoding or Host is ambiguous");
    if (length != NULL && strtoull(length, NULL, 10) > body_max_bytes(exchange)) {
        http_server_count_limit(connection->server);
        /* A client that waits for 100 sends no body once it has the answer. */
        if (http_exchange_header(exchange, "Expect") != NULL && exchange->sink.piece == NULL)
            return refuse(connection, MHD_HTTP_CONTENT_TOO_LARGE, "the body is too large");
        return http_connection_refuse_raw(connection, MHD_HTTP_CONTENT_TOO_LARGE, "the body is too large");
    }
    return MHD_YES;
}

static enum MHD_Result on_body(struct http_connection *connection, const char *data, size_t *data_len)
{
    struct buf *body = &connection->exchange->body;
    size_t len = *data_len;

    *data_len = 0;
    if (connection->exchange->sink.piece != NULL)
        return http_sink_piece(connection, data, len);
    buf_append(body, data, len);
    if (!body->is_full)
        return MHD_YES;
    http_server_count_limit(connection->server);
    return http_connection_refuse_raw(connection, MHD_HTTP_CONTENT_TOO_LARGE, "the body is too large");
}

static enum MHD_Result on_whole(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    struct http_exchange *exchange = connection->exchange;

    if (exchange->sink.piece != NULL) {
        exchange->sink.gone = NULL;
    } else if (server->is_closing) {
        return refuse(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "the service is stopping");
    } else if (server->open_requests >= server->options.requests_max) {
        http_server_count_limit(server);
        return refuse(connection, MHD_HTTP_TOO_MANY_REQUESTS, "too many requests are under way");
    } else {
        exchange->owners++;
        http_server_count_open(server, 1);
    }
    connection->phase = HTTP_PHASE_HANDLER;
    http_connection_wait(connection, HTTP_LINE_ANSWER);
    server->options.handler(server->options.arg, exchange);
    if (connection->response != NULL)
        return queue_answer(connection);
    connection->is_suspended = true;
    MHD_suspend_connection(connection->mhd);
    return MHD_YES;
}

enum MHD_Result http_connection_request(void *cls, struct MHD_Connection *mhd, const char *url,
                                        const char *method, const char *version, const char *data,
                                        size_t *data_len, void **context)
{
    struct http_connection *connection = connection_of(mhd);

    (void)cls, (void)url, (void)version, (void)context;
    switch (connection->phase) {
    case HTTP_PHASE_HEAD:
        return on_head(connection, method);
    case HTTP_PHASE_BODY:
        return *data_len > 0 ? on_body(connection, data, data_len) : on_whole(connection);
    case HTTP_PHASE_REFUSED:
        if (*data_len == 0)
            return MHD_NO;
        *data_len = 0;
        return MHD_YES;
    case HTTP_PHASE_ANSWER:
        return connection->response != NULL ? queue_answer(connection) : MHD_NO;
    case HTTP_PHASE_IDLE:
    case HTTP_PHASE_HANDLER:
    case HTTP_PHASE_UPGRADED:
        break;
    }
    return MHD_NO;
}

void http_connection_answer(struct http_connection *connection, int status, struct MHD_Response *response)
{
    struct http_server *server = connection->server;

    assert(connection->response == NULL && connection->exchange != NULL);
    if (connection->phase == HTTP_PHASE_HANDLER)
        http_server_count_open(server, -1);
    connection->phase = HTTP_PHASE_ANSWER;
    connection->status = status;
    connection->response = response;
    http_server_count_answer(server, status, connection->exchange->started_ms);
    connection->exchange->connection = NULL;
    http_exchange_leave(&connection->exchange);
    http_connection_wait(connection, HTTP_LINE_REST);
    http_connection_resume(connection); /* else on_whole() or refuse() queues it */
}

void http_connection_resume(struct http_connection *connection)
{
    struct http_server *server = connection->server;

    if (!connection->is_suspended || connection->is_resuming)
        return;
    connection->is_resuming = true;
    connection->next_to_resume = server->to_resume;
    server->to_resume = connection;
    http_server_wake(server);
}

void http_connection_expire(struct http_connection *connection)
{
    http_connection_answer(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
                           http_exchange_problem(connection->server, connection->exchange,
                                                 MHD_HTTP_SERVICE_UNAVAILABLE, "no answer in time"));
}

void http_connection_unpause(struct http_connection *connection)
{
    (void)http_connection_refuse_raw(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
                                     "the body could not be taken in time");
    http_connection_wait(connection, HTTP_LINE_READ);
    http_connection_resume(connection);
}

static void read_too_slow(struct http_connection *connection)
{
    if (connection->phase == HTTP_PHASE_HEAD || connection->phase == HTTP_PHASE_BODY)
        (void)http_connection_refuse_raw(connection, MHD_HTTP_REQUEST_TIMEOUT, "the request came too slowly");
    shutdown(connection->fd, SHUT_RDWR); /* libmicrohttpd sees the end, and closes */
    http_connection_wait(connection, HTTP_LINE_REST);
}

void http_connection_check_deadlines(void *arg)
{
    struct http_server *server = arg;
    struct http_connection *connection;
    uint64_t now_ms = loop_now_ms(server->loop);
    uint64_t earliest_ms = UINT64_MAX;

    while ((connection = server->lines[HTTP_LINE_READ].first) != NULL && connection->deadline_ms <= now_ms)
        read_too_slow(connection);
    while ((connection = server->lines[HTTP_LINE_ANSWER].first) != NULL && connection->deadline_ms <= now_ms)
        http_connection_expire(connection);
    while ((connection = server->lines[HTTP_LINE_PAUSED].first) != NULL && connection->deadline_ms <= now_ms)
        http_connection_unpause(connection);
    while ((connection = server->lines[HTTP_LINE_REST].first) != NULL && connection->deadline_ms <= now_ms) {
        shutdown(connection->fd, SHUT_RDWR);
        http_connection_wait(connection, HTTP_LINE_REST);
        http_stream_cut(connection);
    }
    for (size_t i = 0; i < HTTP_LINE_UPGRADED; i++)
        if (server->lines[i].first != NULL && server->lines[i].first->deadline_ms < earliest_ms)
            earliest_ms = server->lines[i].first->deadline_ms;
    arm_deadlines(server, earliest_ms);
}

void http_connection_close_upgraded(void *close_arg)
{
    struct http_connection *connection = close_arg;
    struct MHD_UpgradeResponseHandle *upgrade = connection->upgrade;

    assert(upgrade != NULL);
    connection->upgrade = NULL;
    connection->on_gone = NULL;
    http_server_wake(connection->server);
    http_server_count_socket(connection->server, -1);
    MHD_upgrade_action(upgrade, MHD_UPGRADE_ACTION_CLOSE);
}
