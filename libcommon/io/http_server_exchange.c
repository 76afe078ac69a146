/* SPDX-License-Identifier: Apache-2.0 */
/* http_server_exchange.c - one request and its answer, as the handler sees them.
 *
 * Everything the handler can ask for is copied out of libmicrohttpd's memory first: the handler may
 * still read it after the deadline, when the connection is answered and perhaps closed. */
#include "io/http_server_stream.h"

#include <arpa/inet.h>
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { EXCHANGE_ARENA_BYTES_BASE = 1 << 20, EXCHANGE_ARENA_PER_BODY = 8, PROBLEM_BYTES = 2048 };

struct http_exchange *http_exchange_new(struct http_connection *connection, const char *uri)
{
    const struct http_server_options *options = &connection->server->options;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct http_exchange *exchange = calloc(1, sizeof(*exchange));
    const char *question = strchr(uri, '?');
    struct str_view path = { uri, question != NULL ? (size_t)(question - uri) : strlen(uri) };

    if (exchange == NULL)
        abort();
    exchange->connection = connection;
    exchange->owners = 1;
    exchange->headers_end = &exchange->headers;
    exchange->started_ms = loop_now_ms(connection->server->loop);
    exchange->arena =
        arena_new(EXCHANGE_ARENA_BYTES_BASE + EXCHANGE_ARENA_PER_BODY * options->body_max_bytes);
    buf_init(&exchange->body, options->body_max_bytes);
    exchange->path = arena_dup(exchange->arena, path);
    exchange->query = arena_strdup(exchange->arena, question != NULL ? question + 1 : "");
    exchange->method = "";
    if (info != NULL && info->client_addr->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)info->client_addr)->sin_addr, exchange->peer,
                  sizeof(exchange->peer));
    else if (info != NULL && info->client_addr->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)info->client_addr)->sin6_addr, exchange->peer,
                  sizeof(exchange->peer));
    return exchange;
}

void http_exchange_leave(struct http_exchange **exchange_ptr)
{
    struct http_exchange *exchange = *exchange_ptr;

    *exchange_ptr = NULL;
    if (exchange == NULL || --exchange->owners > 0)
        return;
    buf_done(&exchange->body);
    arena_free(&exchange->arena);
    free(exchange);
}

static enum MHD_Result copy_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct http_exchange *exchange = cls;
    struct http_pair *pair = arena_alloc(exchange->arena, sizeof(*pair));

    (void)kind;
    if (pair == NULL)
        return MHD_NO;
    pair->name = arena_strdup(exchange->arena, name);
    pair->value = arena_strdup(exchange->arena, value != NULL ? value : "");
    *exchange->headers_end = pair;
    exchange->headers_end = &pair->next;
    return MHD_YES;
}

static unsigned count_header(const struct http_exchange *exchange, const char *name)
{
    unsigned count = 0;

    for (const struct http_pair *pair = exchange->headers; pair != NULL; pair = pair->next)
        count += strcasecmp(pair->name, name) == 0;
    return count;
}

bool http_exchange_read_head(struct http_exchange *exchange, struct MHD_Connection *mhd, const char *method)
{
    const char *length, *encoding;

    exchange->is_head = strcmp(method, "HEAD") == 0;
    exchange->method = exchange->is_head ? "GET" : arena_strdup(exchange->arena, method);
    MHD_get_connection_values(mhd, MHD_HEADER_KIND, copy_header, exchange);
    length = http_exchange_header(exchange, "Content-Length");
    encoding = http_exchange_header(exchange, "Transfer-Encoding");
    if (length != NULL &&
        (encoding != NULL || *length == '\0' || length[strspn(length, "0123456789")] != '\0'))
        return false;
    if (encoding != NULL && strcasecmp(encoding, "chunked") != 0)
        return false;
    return count_header(exchange, "Content-Length") <= 1 &&
           count_header(exchange, "Transfer-Encoding") <= 1 && count_header(exchange, "Host") <= 1;
}

const char *http_exchange_method(const struct http_exchange *exchange)
{
    return exchange->method;
}

const char *http_exchange_path(const struct http_exchange *exchange)
{
    return exchange->path;
}

const char *http_exchange_query(const struct http_exchange *exchange)
{
    return exchange->query;
}

const char *http_exchange_header(const struct http_exchange *exchange, const char *name)
{
    for (const struct http_pair *pair = exchange->headers; pair != NULL; pair = pair->next)
        if (strcasecmp(pair->name, name) == 0)
            return pair->value;
    return NULL;
}

struct str_view http_exchange_body(const struct http_exchange *exchange)
{
    return buf_view(&exchange->body);
}

const char *http_exchange_peer(const struct http_exchange *exchange)
{
    return exchange->peer;
}

struct arena *http_exchange_arena(struct http_exchange *exchange)
{
    return exchange->arena;
}

uint64_t http_exchange_started_ms(const struct http_exchange *exchange)
{
    return exchange->started_ms;
}

const char *http_exchange_param(struct http_exchange *exchange, const char *name)
{
    struct str_view rest = str_view_of(exchange->query), piece, wanted = str_view_of(name);
    SCOPED_BUF decoded;

    buf_init(&decoded, rest.len + 1);
    while (str_next(&rest, '&', &piece)) {
        struct str_view value = piece, key;

        if (!str_next(&value, '=', &key))
            continue;
        buf_clear(&decoded);
        if (!form_decode(key, &decoded) || !str_equal(buf_view(&decoded), wanted))
            continue;
        buf_clear(&decoded);
        return form_decode(value, &decoded) ? arena_dup(exchange->arena, buf_view(&decoded)) : NULL;
    }
    return NULL;
}

void http_exchange_set_header(struct http_exchange *exchange, const char *name, const char *value)
{
    struct http_pair *pair = exchange->answer_headers;

    while (pair != NULL && strcasecmp(pair->name, name) != 0)
        pair = pair->next;
    if (pair != NULL) {
        pair->value = arena_strdup(exchange->arena, value);
        return;
    }
    pair = arena_alloc(exchange->arena, sizeof(*pair));
    if (pair == NULL)
        return;
    pair->name = arena_strdup(exchange->arena, name);
    pair->value = arena_strdup(exchange->arena, value);
    pair->next = exchange->answer_headers;
    exchange->answer_headers = pair;
}

static struct MHD_Response *response_new(struct http_server *server, const char *content_type,
                                         struct str_view body)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        body.len, (void *)(body.len > 0 ? body.data : ""), MHD_RESPMEM_MUST_COPY);

    if (response == NULL)
        abort();
    if (content_type != NULL && *content_type != '\0')
        MHD_add_response_header(response, "Content-Type", content_type);
    if (server->is_draining)
        MHD_add_response_header(response, "Connection", "close");
    return response;
}

/* In the order in which they were set. */
static void add_headers(struct MHD_Response *response, const struct http_pair *pair)
{
    if (pair == NULL)
        return;
    add_headers(response, pair->next);
    if (pair->name != NULL && pair->value != NULL)
        MHD_add_response_header(response, pair->name, pair->value);
}

/* Headers that a handler set for its own answer are not this one's. */
static void problem_text(struct http_server *server, struct http_exchange *exchange, int status,
                         const char *detail, struct buf *ret_body)
{
    exchange->answer_headers = NULL;
    if (server->options.problem != NULL)
        server->options.problem(server->options.arg, exchange, status, detail, ret_body);
    else
        buf_printf(ret_body, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\"}",
                   MHD_get_reason_phrase_for((unsigned)status), status, detail);
    if (status == MHD_HTTP_TOO_MANY_REQUESTS || status == MHD_HTTP_SERVICE_UNAVAILABLE)
        http_exchange_set_header(exchange, "Retry-After", "1");
}

void http_exchange_word_problem(struct http_exchange *exchange, int status, const char *detail,
                                struct buf *ret_body)
{
    if (exchange->connection != NULL) /* else nobody will read it */
        problem_text(exchange->connection->server, exchange, status, detail, ret_body);
}

struct MHD_Response *http_exchange_problem(struct http_server *server, struct http_exchange *exchange,
                                           int status, const char *detail)
{
    struct MHD_Response *response;
    SCOPED_BUF body;

    buf_init(&body, PROBLEM_BYTES);
    problem_text(server, exchange, status, detail, &body);
    response = response_new(server, "application/problem+json", buf_view(&body));
    add_headers(response, exchange->answer_headers);
    return response;
}

void http_exchange_problem_raw(struct http_server *server, struct http_exchange *exchange, int status,
                               const char *detail, struct buf *ret_answer)
{
    SCOPED_BUF body;

    buf_init(&body, PROBLEM_BYTES);
    problem_text(server, exchange, status, detail, &body);
    http_exchange_raw(exchange, status, "application/problem+json", buf_view(&body), ret_answer);
}

void http_exchange_raw(struct http_exchange *exchange, int status, const char *content_type,
                       struct str_view body, struct buf *ret_answer)
{
    buf_printf(ret_answer, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n", status,
               MHD_get_reason_phrase_for((unsigned)status), content_type, body.len);
    for (const struct http_pair *pair = exchange->answer_headers; pair != NULL; pair = pair->next)
        if (pair->name != NULL && pair->value != NULL && strpbrk(pair->value, "\r\n") == NULL)
            buf_printf(ret_answer, "%s: %s\r\n", pair->name, pair->value);
    buf_append_text(ret_answer, "Connection: close\r\n\r\n");
    buf_append_view(ret_answer, body);
}

void http_exchange_add_headers(const struct http_exchange *exchange, struct MHD_Response *response)
{
    add_headers(response, exchange->answer_headers);
}

bool http_exchange_reply(struct http_exchange *exchange, int status, const char *content_type,
                         struct str_view body)
{
    struct http_connection *connection = exchange->connection;
    struct MHD_Response *response;

    if (connection != NULL && connection->phase == HTTP_PHASE_BODY) {
        http_sink_answer(connection, status, content_type, body);
    } else if (connection != NULL) {
        response = response_new(connection->server, content_type, body);
        add_headers(response, exchange->answer_headers);
        http_connection_answer(connection, status, response);
    }
    http_exchange_leave(&exchange);
    return connection != NULL;
}

static void on_upgraded(void *cls, struct MHD_Connection *mhd, void *context, const char *early,
                        size_t early_len, MHD_socket fd, struct MHD_UpgradeResponseHandle *upgrade)
{
    struct http_connection *connection = cls;
    http_upgraded_fn *on_socket = connection->on_socket;

    (void)mhd, (void)context;
    connection->on_socket = NULL;
    connection->upgrade = upgrade;
    connection->phase = HTTP_PHASE_UPGRADED;
    http_connection_wait(connection, HTTP_LINE_UPGRADED);
    http_server_count_socket(connection->server, 1);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    on_socket(connection->socket_arg, fd, (struct str_view){ early, early_len },
              http_connection_close_upgraded, connection);
}

bool http_exchange_upgrade(struct http_exchange *exchange, const char *protocol, http_upgraded_fn *on_socket,
                           void *arg)
{
    struct http_connection *connection = exchange->connection;
    struct MHD_Response *response;

    if (connection != NULL) {
        assert(connection->server->options.allow_upgrade);
        response = MHD_create_response_for_upgrade(on_upgraded, connection);
        if (response == NULL)
            abort();
        MHD_add_response_header(response, "Upgrade", protocol);
        add_headers(response, exchange->answer_headers);
        connection->on_socket = on_socket;
        connection->socket_arg = arg;
        http_connection_answer(connection, MHD_HTTP_SWITCHING_PROTOCOLS, response);
    }
    http_exchange_leave(&exchange);
    return connection != NULL;
}

void http_upgraded_on_gone(void *close_arg, http_gone_fn *on_gone, void *arg)
{
    struct http_connection *connection = close_arg;

    connection->on_gone = on_gone;
    connection->gone_arg = arg;
}
