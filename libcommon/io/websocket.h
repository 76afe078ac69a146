/* SPDX-License-Identifier: Apache-2.0 */
/* websocket.h - WebSocket (RFC 6455) server side, on a connection that http_server upgraded; frames by wslay.
 *
 * The queue of each socket is bounded: past queue_max_bytes the client is closed with
 * 1013 (slow), never a message dropped silently. Pings go out each ping_interval_ms;
 * a peer that shows no sign of life for two of them is closed. on_close comes exactly
 * once for every websocket_accept() that returned true, from the loop or from
 * http_server_free(), with 1006 and without on_open when the client left before the
 * upgrade; after it the socket is gone. */
#ifndef GUICHET_IO_WEBSOCKET_H
#define GUICHET_IO_WEBSOCKET_H

#include "core/str.h"
#include "io/http_server.h"

struct websocket;

struct websocket_options {
    const char *subprotocol;   /* NULL: none; otherwise required of the client */
    size_t message_max_bytes;  /* inbound; 0: 16 KiB */
    size_t queue_max_bytes;    /* outbound; 0: 1 MiB */
    uint32_t ping_interval_ms; /* 0: 25 s */
    void (*on_open)(void *arg, struct websocket *socket);
    void (*on_text)(void *arg, struct websocket *socket, struct str_view text);
    void (*on_close)(void *arg, struct websocket *socket, int code);
    void *arg;
};

/* Checks the handshake headers and takes the exchange over in any case: when it is no WebSocket request it
 * answers 400 or 426 by itself and returns false; false also when the exchange's deadline has passed. */
bool websocket_accept(struct loop *loop, struct http_exchange *exchange,
                      const struct websocket_options *options);
void websocket_send_text(struct websocket *socket, struct str_view text); /* copied */
size_t websocket_queued_bytes(const struct websocket *socket);
void websocket_close(struct websocket *socket, int code, const char *reason); /* on_close follows */
void websocket_set_arg(struct websocket *socket, void *arg);

#endif
