/* SPDX-License-Identifier: Apache-2.0 */
/* websocket_client.h - WebSocket (RFC 6455) client side, without TLS: for guichetctl and tests on this machine.
 *
 * on_close comes exactly once, from the loop, also when it never opened (code 1006);
 * after it the socket is gone. */
#ifndef GUICHET_IO_WEBSOCKET_CLIENT_H
#define GUICHET_IO_WEBSOCKET_CLIENT_H

#include "core/err.h"
#include "core/str.h"
#include "io/loop.h"

struct websocket_client;

struct websocket_client_options {
    const char *host, *port, *target;        /* target: path and query; all copied */
    const char *subprotocol;                 /* NULL: none */
    void (*on_open)(void *arg);
    void (*on_text)(void *arg, struct str_view text);
    void (*on_close)(void *arg, int code, const struct err *err);
    void *arg;
};

struct websocket_client *websocket_client_start(struct loop *loop, const struct websocket_client_options *options);
void websocket_client_send(struct websocket_client *socket, struct str_view text);
void websocket_client_close(struct websocket_client *socket);    /* on_close follows */

#endif
