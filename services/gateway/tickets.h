/* SPDX-License-Identifier: Apache-2.0 */
/* tickets.h - one-time tickets that let a browser open the WebSocket without its token in the URL.
 *
 * Stateless, so that any replica takes what another gave: the session's token and an
 * expiry, sealed with AES-256-GCM under a key all replicas share. Single use is per
 * replica (nonces are remembered until they expire); what limits the rest is the expiry. */
#ifndef GUICHET_GATEWAY_TICKETS_H
#define GUICHET_GATEWAY_TICKETS_H

#include "core/str.h"

struct tickets;

struct tickets *tickets_new(const char *key);
void tickets_free(struct tickets **tickets);
/* base64url, ready for a URL. */
void tickets_append(const struct tickets *tickets, const char *token, int64_t expires_us,
                    struct buf *ret_ticket);
/* Opens and uses up a ticket: ret_token gets the session's token. ERR_FORBIDDEN: forged, expired or used. */
bool tickets_use(struct tickets *tickets, const char *ticket, int64_t now_us, struct buf *ret_token,
                 struct err *err) MUST_USE;

#endif
