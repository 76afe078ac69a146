/* SPDX-License-Identifier: Apache-2.0 */
/* events_socket.h - one agent's WebSocket. */
#ifndef GUICHET_GATEWAY_EVENTS_SOCKET_H
#define GUICHET_GATEWAY_EVENTS_SOCKET_H

#include "events.h"

#define EVENTS_SUBPROTOCOL "guichet.v1.json"

/* Takes the exchange over, or answers it with 400. Everything given is copied; `at` NULL: from now. */
void events_socket_open(struct gateway *gateway, struct http_exchange *exchange, const char *token,
                        const Guichet__V1__Agent *agent, const struct event_cursor *at);

#endif
