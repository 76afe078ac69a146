/* SPDX-License-Identifier: Apache-2.0 */
/* http_server_stream.c - bodies that are not held in memory: into a sink, out of a source.
 *
 * Both ways the rule is the same: when the other side has enough, or nothing yet, the connection is
 * suspended, and the loop goes on with it later. libmicrohttpd cannot answer in the middle of a body, so
 * an early answer is written past it, as refusals are. A stream of an answer has two owners: libmicrohttpd's
 * response, which ends it, and the source, which is told. */
#include "io/http_server_stream.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { STREAM_BLOCK_BYTES = 32 * 1024, RAW_HEAD_BYTES = 4096 };

/* ---- into a sink ---- */

void http_exchange_sink(struct http_exchange *exchange, const struct http_body_sink *sink, uint64_t max_bytes)
{
    assert(exchange->connection != NULL && exchange->connection->phase == HTTP_PHASE_BODY);
    assert(exchange->sink.piece == NULL && exchange->sink_bytes == 0);
    exchange->sink = *sink;
    exchange->sink_max_bytes = max_bytes;
    exchange->owners++;
    http_server_count_open(exchange->connection->server, 1);
}

void *http_exchange_sink_arg(const struct http_exchange *exchange)
{
    return exchange->sink.arg;
}

void http_sink_offer(struct http_connection *connection)
{
    struct http_server *server = connection->server;

    if (server->is_closing) {
        (void)http_connection_refuse_raw(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "the service is stopping");
    } else if (server->open_requests >= server->options.requests_max) {
        http_server_count_limit(server);
        (void)http_connection_refuse_raw(connection, MHD_HTTP_TOO_MANY_REQUESTS,
                                         "too many requests are under way");
    } else {
        server->options.head(server->options.arg, connection->exchange);
    }
}

enum MHD_Result http_sink_piece(struct http_connection *connection, const char *data, size_t len)
{
    struct http_exchange *exchange = connection->exchange;

    exchange->sink_bytes += len;
    if (exchange->sink_bytes > exchange->sink_max_bytes) {
        http_server_count_limit(connection->server);
        return http_connection_refuse_raw(connection, MHD_HTTP_CONTENT_TOO_LARGE, "the body is too large");
    }
    exchange->sink.piece(exchange->sink.arg, (struct str_view){ data, len });
    if (connection->phase != HTTP_PHASE_BODY)
        return MHD_YES; /* answered: what still comes is thrown away */
    if (exchange->is_paused) {
        http_connection_wait(connection, HTTP_LINE_PAUSED);
        connection->is_suspended = true;
        MHD_suspend_connection(connection->mhd);
    } else {
        http_connection_wait(connection, HTTP_LINE_READ);
    }
    return MHD_YES;
}

void http_exchange_pause(struct http_exchange *exchange)
{
    exchange->is_paused = true;
}

void http_exchange_resume(struct http_exchange *exchange)
{
    struct http_connection *connection = exchange->connection;

    exchange->is_paused = false;
    if (connection == NULL || connection->phase != HTTP_PHASE_BODY || !connection->is_suspended)
        return;
    http_connection_wait(connection, HTTP_LINE_READ);
    http_connection_resume(connection);
}

/* The exchange leaves the connection; its owner still owes the reply, which comes to nothing. */
static void detach(struct http_connection *connection)
{
    connection->exchange->connection = NULL;
    http_server_count_open(connection->server, -1);
    http_exchange_leave(&connection->exchange);
}

void http_sink_leave(struct http_connection *connection)
{
    struct http_exchange *exchange = connection->exchange;
    struct http_body_sink sink = exchange->sink;

    exchange->sink.gone = NULL;
    detach(connection);
    if (sink.gone != NULL)
        sink.gone(sink.arg);
}

void http_sink_answer(struct http_connection *connection, int status, const char *content_type,
                      struct str_view body)
{
    SCOPED_BUF answer = { 0 };

    buf_init(&answer, RAW_HEAD_BYTES + body.len);
    http_exchange_raw(connection->exchange, status, content_type, body, &answer);
    if (http_connection_send_raw(connection, status, buf_view(&answer)) != MHD_YES)
        shutdown(connection->fd, SHUT_RDWR);
    detach(connection);
    http_connection_wait(connection, HTTP_LINE_READ);
    http_connection_resume(connection);
}

/* ---- out of a source ---- */

struct http_stream {
    struct http_connection *connection; /* NULL: the client has left */
    struct http_body_source source;
    bool is_waiting, is_ready, is_cut;
};

static ssize_t on_wanted(void *cls, uint64_t at, char *buffer, size_t size)
{
    struct http_stream *stream = cls;
    size_t len;

    (void)at;
    if (stream->is_cut || stream->connection == NULL)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    do {
        stream->is_ready = false;
        len = stream->source.read(stream->source.arg, buffer, size);
    } while (len == 0 && stream->is_ready);
    if (len == HTTP_STREAM_BROKEN)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    http_connection_wait(stream->connection, HTTP_LINE_REST);
    if (len > 0)
        return (ssize_t)len;
    stream->is_waiting = true;
    stream->connection->is_suspended = true;
    MHD_suspend_connection(stream->connection->mhd);
    return 0;
}

/* libmicrohttpd lets go of the response. */
static void on_over(void *cls)
{
    struct http_stream *stream = cls;

    if (stream->connection != NULL)
        http_stream_leave(stream->connection);
    stream->source.end(stream->source.arg);
    free(stream);
}

void http_stream_leave(struct http_connection *connection)
{
    if (connection->stream == NULL)
        return;
    http_server_count_open(connection->server, -1);
    connection->stream->connection = NULL;
    connection->stream = NULL;
}

void http_stream_ready(struct http_stream *stream)
{
    stream->is_ready = true;
    if (!stream->is_waiting || stream->connection == NULL)
        return;
    stream->is_waiting = false;
    http_connection_resume(stream->connection);
}

void http_stream_cut(struct http_connection *connection)
{
    if (connection->stream == NULL)
        return;
    connection->stream->is_cut = true;
    connection->stream->is_waiting = false;
    http_connection_resume(connection);
}

bool http_exchange_reply_stream(struct http_exchange *exchange, int status, const char *content_type,
                                uint64_t size, const struct http_body_source *source,
                                struct http_stream **ret_stream)
{
    struct http_connection *connection = exchange->connection;
    struct http_stream *stream;
    struct MHD_Response *response;

    *ret_stream = NULL;
    if (connection == NULL) {
        http_exchange_leave(&exchange);
        source->end(source->arg);
        return false;
    }
    assert(connection->phase == HTTP_PHASE_HANDLER && connection->stream == NULL);
    stream = calloc(1, sizeof(*stream));
    if (stream == NULL)
        abort();
    stream->connection = connection;
    stream->source = *source;
    response = MHD_create_response_from_callback(size, STREAM_BLOCK_BYTES, on_wanted, stream, on_over);
    if (response == NULL)
        abort();
    MHD_add_response_header(response, "Content-Type", content_type);
    if (connection->server->is_draining)
        MHD_add_response_header(response, "Connection", "close");
    http_exchange_add_headers(exchange, response);
    connection->stream = *ret_stream = stream;
    http_server_count_open(connection->server, 1);
    http_connection_answer(connection, status, response);
    http_exchange_leave(&exchange);
    return true;
}
