/* SPDX-License-Identifier: Apache-2.0 */
/* websocket_private.h - what the websocket*.c files share; nobody else includes it. */
#ifndef GUICHET_IO_WEBSOCKET_PRIVATE_H
#define GUICHET_IO_WEBSOCKET_PRIVATE_H

#include "io/websocket.h"

#define WEBSOCKET_ACCEPT_BYTES 29 /* base64 of a SHA-1, and its NUL */

/* Checks the client's opening handshake (RFC 6455 §4.2.1). true: *ret_accept is the key's answer.
 * false: the exchange is answered. */
bool websocket_check_handshake(struct http_exchange *exchange, const char *subprotocol,
                               char ret_accept[WEBSOCKET_ACCEPT_BYTES]);

#endif
