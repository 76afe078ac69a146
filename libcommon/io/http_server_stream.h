/* SPDX-License-Identifier: Apache-2.0 */
/* http_server_stream.h - bodies that are not held, both ways; for the http_server*.c files only. */
#ifndef GUICHET_IO_HTTP_SERVER_STREAM_H
#define GUICHET_IO_HTTP_SERVER_STREAM_H

#include "io/http_server_private.h"

void http_sink_offer(struct http_connection *connection); /* to the head handler; may refuse */
enum MHD_Result http_sink_piece(struct http_connection *connection, const char *data, size_t len);
/* No more of the body will come: the sink is told, and the exchange is its owner's alone. */
void http_sink_leave(struct http_connection *connection);
/* The handler's answer while the body is still coming. */
void http_sink_answer(struct http_connection *connection, int status, const char *content_type,
                      struct str_view body);
void http_stream_leave(struct http_connection *connection); /* the answer is over */
/* The client is too slow, or the server is closing: what is going out is broken off. */
void http_stream_cut(struct http_connection *connection);

/* http_server_connection.c */
/* Suspended connections only: goes on with the next run. */
void http_connection_resume(struct http_connection *connection);
/* Refuses while the body is still coming, past libmicrohttpd; what still comes is thrown away. */
enum MHD_Result http_connection_refuse_raw(struct http_connection *connection, int status,
                                           const char *detail);
enum MHD_Result http_connection_send_raw(struct http_connection *connection, int status,
                                         struct str_view answer);
void http_connection_unpause(struct http_connection *connection); /* 503: the sink takes too long */

/* http_server_exchange.c */
void http_exchange_raw(struct http_exchange *exchange, int status, const char *content_type,
                       struct str_view body, struct buf *ret_answer);
void http_exchange_add_headers(const struct http_exchange *exchange, struct MHD_Response *response);

#endif
