/* SPDX-License-Identifier: Apache-2.0 */
/* http_server_private.h - what the http_server*.c files share; nobody else includes it.
 *
 * A connection is libmicrohttpd's and ends when that says so. An exchange has two owners, its
 * connection (until there is an answer) and the handler that must give it: whichever goes first leaves the
 * other a valid object. `exchange->connection` is NULL once the server has answered in the handler's place.
 *
 * Every connection stands in exactly one line. All in a line wait equally long, so that a line is
 * sorted by deadline simply by appending, and one timer serves thousands of deadlines. */
#ifndef GUICHET_IO_HTTP_SERVER_PRIVATE_H
#define GUICHET_IO_HTTP_SERVER_PRIVATE_H

#include <netinet/in.h>

#include <microhttpd.h>

#include "io/http_server.h"

enum http_line_kind {
    HTTP_LINE_READ,     /* head or body is coming: 408 */
    HTTP_LINE_ANSWER,   /* the handler has it: 503 */
    HTTP_LINE_PAUSED,   /* the sink has enough for now: 503 */
    HTTP_LINE_REST,     /* answer going out, or idle between requests: closed */
    HTTP_LINE_UPGRADED, /* somebody else's; no deadline */
    HTTP_LINE_COUNT,
};

enum http_phase {
    HTTP_PHASE_IDLE, /* no request line yet */
    HTTP_PHASE_HEAD,
    HTTP_PHASE_BODY,
    HTTP_PHASE_REFUSED, /* answered past libmicrohttpd; what still comes is thrown away */
    HTTP_PHASE_HANDLER,
    HTTP_PHASE_ANSWER, /* `response` is to be queued, or is going out */
    HTTP_PHASE_UPGRADED,
};

struct http_pair {
    const char *name, *value;
    struct http_pair *next;
};

struct http_line {
    struct http_connection *first, *last;
    uint32_t wait_ms;
};

struct http_connection {
    struct http_server *server;
    struct MHD_Connection *mhd;
    int fd;
    enum http_phase phase;
    bool is_suspended;
    struct http_exchange *exchange; /* NULL between requests and once answered */
    struct MHD_Response *response;
    int status;

    enum http_line_kind line;
    uint64_t deadline_ms;
    struct http_connection *earlier, *later;
    bool is_resuming; /* in the server's list to_resume */
    struct http_connection *next_to_resume;
    struct http_stream *stream; /* of the answer that is going out */

    http_upgraded_fn *on_socket;
    void *socket_arg;
    struct MHD_UpgradeResponseHandle *upgrade;
    http_gone_fn *on_gone;
    void *gone_arg;
};

struct http_exchange {
    struct http_connection *connection; /* NULL: expired */
    unsigned owners;
    struct arena *arena;
    struct buf body;
    struct http_body_sink sink; /* piece NULL: the body is held */
    uint64_t sink_max_bytes, sink_bytes;
    bool is_paused;
    bool is_head;
    const char *method, *path, *query;
    struct http_pair *headers, **headers_end;
    struct http_pair *answer_headers; /* last set first */
    char peer[INET6_ADDRSTRLEN];
    uint64_t started_ms;
};

struct http_server {
    struct http_server_options options; /* zeros replaced by the defaults */
    char *name;
    struct loop *loop;
    struct MHD_Daemon *daemon;
    struct loop_poll *poll;
    struct loop_timer *timer; /* next MHD_run */
    struct loop_timer *deadlines;
    uint64_t next_check_ms; /* when that goes off; UINT64_MAX: not armed */
    struct http_line lines[HTTP_LINE_COUNT];
    struct http_connection *to_resume;
    uint32_t open_requests; /* with a handler, not yet answered */
    uint32_t open_sockets;
    uint16_t port;
    bool is_draining, is_closing, is_running, is_wake_wanted;
    struct stats *stats;
};

/* http_server_listen.c */
bool http_server_listen(const char *listen_text, int *ret_fd, uint16_t *ret_port, struct err *err) MUST_USE;

/* http_server.c */
void http_server_wake(struct http_server *server); /* runs libmicrohttpd at the end of this turn */
void http_server_count_answer(struct http_server *server, int status, uint64_t started_ms);
void http_server_count_limit(struct http_server *server);
void http_server_count_open(struct http_server *server, int change);
void http_server_count_socket(struct http_server *server, int change);

/* http_server_connection.c: libmicrohttpd's callbacks, and the deadlines */
void http_connection_notify(void *cls, struct MHD_Connection *mhd, void **context,
                            enum MHD_ConnectionNotificationCode code);
void *http_connection_uri(void *cls, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result http_connection_request(void *cls, struct MHD_Connection *mhd, const char *url,
                                        const char *method, const char *version, const char *data,
                                        size_t *data_len, void **context);
void http_connection_completed(void *cls, struct MHD_Connection *mhd, void **context,
                               enum MHD_RequestTerminationCode code);
void http_connection_wait(struct http_connection *connection, enum http_line_kind line);
void http_connection_check_deadlines(void *arg);
/* Gives the answer to the connection, to go out with the next run. Consumes the response. */
void http_connection_answer(struct http_connection *connection, int status, struct MHD_Response *response);
/* The server answers in place of a handler that has the exchange now; the handler's own comes to nothing. */
void http_connection_expire(struct http_connection *connection);
void http_connection_close_upgraded(void *close_arg);

/* http_server_exchange.c */
struct http_exchange *http_exchange_new(struct http_connection *connection, const char *uri);
void http_exchange_leave(struct http_exchange **exchange); /* one owner less */
/* Copies method and headers; false: framing that two servers may read differently (RFC 9112 §6.3). */
bool http_exchange_read_head(struct http_exchange *exchange, struct MHD_Connection *mhd, const char *method);
/* The server's own answers: RFC 9457 problem details. */
struct MHD_Response *http_exchange_problem(struct http_server *server, struct http_exchange *exchange,
                                           int status, const char *detail);
/* The same as bytes for the wire. */
void http_exchange_problem_raw(struct http_server *server, struct http_exchange *exchange, int status,
                               const char *detail, struct buf *ret_answer);

#endif
