/* SPDX-License-Identifier: Apache-2.0 */
/* http_server.h - HTTP/1.1 behind a reverse proxy (libmicrohttpd, its epoll descriptor on our loop).
 *
 * A handler gets the whole request (body read up to the limit) and answers it now or
 * later, exactly once; until then the connection is suspended. Every request has a
 * deadline: past it the server answers 503 itself, and the late answer is dropped
 * (http_exchange_reply() then returns false). Over the limits: 413, 431, 429 with
 * Retry-After, without the handler. */
#ifndef GUICHET_IO_HTTP_SERVER_H
#define GUICHET_IO_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/err.h"
#include "core/str.h"
#include "io/loop.h"
#include "ops/stats.h"

struct http_server;
struct http_exchange;

typedef void http_handler_fn(void *arg, struct http_exchange *exchange);
/* Writes the body of an answer that the server gives by itself (400, 408, 413, 429, 503) as problem details of the
 * service's own; may set headers. Must not answer the exchange. */
typedef void http_problem_fn(void *arg, struct http_exchange *exchange, int status, const char *detail,
                             struct buf *ret_body);

/* Called when the head is there, before the body: may give the body to a sink (http_exchange_sink()). */
typedef void http_head_fn(void *arg, struct http_exchange *exchange);

struct http_server_options {
    const char *name;               /* for metrics: "webhooks", "api", "ops" */
    const char *listen;             /* "127.0.0.1:8081"; port 0 picks one */
    uint32_t connections_max;       /* 0: 1024 */
    uint32_t requests_max;          /* suspended at once; 0: 512. Past it 429 */
    size_t body_max_bytes;          /* 0: 1 MiB */
    size_t connection_memory_bytes; /* 0: 16 KiB: bounds header size (431 past it) */
    uint32_t idle_timeout_ms;       /* 0: 30 s */
    uint32_t read_timeout_ms;       /* head and body; 0: 10 s */
    uint32_t answer_timeout_ms;     /* handler; 0: 10 s */
    bool allow_upgrade;
    http_handler_fn *handler;
    http_problem_fn *problem; /* NULL: type, title, status and detail */
    http_head_fn *head;       /* NULL: every body is held in memory, up to body_max_bytes */
    void *arg;
};

bool http_server_new(struct loop *loop, const struct http_server_options *options,
                     struct http_server **ret_server, struct err *err) MUST_USE;
void http_server_drain(struct http_server *server); /* accepts no more; open requests go on */
uint32_t http_server_open_requests(const struct http_server *server);
uint16_t http_server_port(const struct http_server *server);
void http_server_free(struct http_server **server); /* answers 503 to what is open, closes sockets */

/* The request: all borrowed until the answer. The handler owes each exchange exactly one reply or
 * upgrade, also when the client has left or the deadline has passed: the exchange stays valid until then
 * and is gone afterwards. HEAD shows as GET; the body of its answer is left out by the server. */
const char *http_exchange_method(const struct http_exchange *exchange);
const char *http_exchange_path(const struct http_exchange *exchange);  /* not decoded */
const char *http_exchange_query(const struct http_exchange *exchange); /* without '?', "" when none */
const char *http_exchange_header(const struct http_exchange *exchange,
                                 const char *name); /* NULL when absent */
struct str_view http_exchange_body(const struct http_exchange *exchange);
const char *http_exchange_peer(const struct http_exchange *exchange);
/* Decoded query parameter in the arena; NULL when absent. */
const char *http_exchange_param(struct http_exchange *exchange, const char *name);
struct arena *http_exchange_arena(struct http_exchange *exchange); /* lives until the answer */
uint64_t http_exchange_started_ms(const struct http_exchange *exchange);

/* The answer. Header strings and body are copied; a header with a line break in it is left out,
 * and one set again replaces the first. reply and
 * upgrade return false when the server has answered already: deadline, or it was freed. */
void http_exchange_set_header(struct http_exchange *exchange, const char *name, const char *value);
bool http_exchange_reply(struct http_exchange *exchange, int status, const char *content_type,
                         struct str_view body);
/* A problem in the server's words (options.problem), with their headers and none that were set before: for what
 * stands between the server and its handler, to reply with as application/problem+json. */
void http_exchange_word_problem(struct http_exchange *exchange, int status, const char *detail,
                                struct buf *ret_body);

/* Bodies that are not held in memory. From options.head only: pieces go to piece() as they come, up to max_bytes (413
 * past it), then the handler is called as ever, with an empty body. From here on the exchange is owed its one reply,
 * which may be given before the body is whole: no piece comes after it. gone() says that neither more pieces nor the
 * handler will come: the client has left, or the server has refused the rest; the reply is still owed. */
struct http_body_sink {
    void (*piece)(void *arg, struct str_view piece);
    void (*gone)(void *arg);
    void *arg;
};
void http_exchange_sink(struct http_exchange *exchange, const struct http_body_sink *sink,
                        uint64_t max_bytes);
void *http_exchange_sink_arg(const struct http_exchange *exchange); /* NULL: none */
/* At most one more piece comes until resume. Paused past the answer's time-out: the server answers 503. */
void http_exchange_pause(struct http_exchange *exchange);
void http_exchange_resume(struct http_exchange *exchange);

/* An answer of `size` bytes that is not held in memory. read() copies up to `size` bytes; 0: none yet, and
 * http_stream_ready() follows; HTTP_STREAM_BROKEN: the connection is cut, so that the client sees that it is not
 * whole. end() comes exactly once, last, however it ended; the stream is nobody's after it. */
#define HTTP_STREAM_BROKEN ((size_t)-1)
struct http_stream;
struct http_body_source {
    size_t (*read)(void *arg, char *buffer, size_t size);
    void (*end)(void *arg);
    void *arg;
};
/* false: the server has answered already, and end() was called. HEAD: no read() comes. */
bool http_exchange_reply_stream(struct http_exchange *exchange, int status, const char *content_type,
                                uint64_t size, const struct http_body_source *source,
                                struct http_stream **ret_stream);
void http_stream_ready(struct http_stream *stream);

/* Takes the connection over (101). After true, on_socket comes exactly once, from the loop: with a
 * non-blocking descriptor and the bytes that came early, `close` then to be called once, with `close_arg`,
 * instead of close(2); or with descriptor -1 and `close` NULL when the client left before. */
typedef void http_close_fn(void *close_arg);
typedef void http_upgraded_fn(void *arg, int fd, struct str_view early, http_close_fn *close,
                              void *close_arg);
bool http_exchange_upgrade(struct http_exchange *exchange, const char *protocol, http_upgraded_fn *on_socket,
                           void *arg);
/* on_gone comes from http_server_free() when the socket is still open then: it must call `close` before it returns. */
typedef void http_gone_fn(void *arg);
void http_upgraded_on_gone(void *close_arg, http_gone_fn *on_gone, void *arg);
uint32_t http_server_open_sockets(const struct http_server *server); /* upgraded, not yet closed */

/* For --describe. */
extern const struct stat_info http_server_stats[];
extern const size_t http_server_stats_count;

#endif
