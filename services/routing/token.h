/* SPDX-License-Identifier: Apache-2.0 */
/* token.h - what a connector proves itself by: the MAC of Announce, and the token of every other call. */
#ifndef GUICHET_ROUTING_TOKEN_H
#define GUICHET_ROUTING_TOKEN_H

#include "core/arena.h"
#include "core/err.h"
#include "guichet/v1/connector.pb-c.h"

/* A token's claims are an AnnounceRequest: connector, channel, accounts (tenant and id), and in `at` the
 * moment it ends. */
struct routing_token_keys {
    const char *current, *previous;
}; /* previous may be NULL or empty */

void routing_token_sign(const struct routing_token_keys *keys, const Guichet__V1__AnnounceRequest *claims,
                        struct buf *buf);
/* The claims live in the arena. */
bool routing_token_verify(const struct routing_token_keys *keys, struct str_view token, int64_t now_us,
                          struct arena *arena, Guichet__V1__AnnounceRequest **ret_claims,
                          struct err *err) MUST_USE;
/* The account's claim; NULL when the token does not hold it. Empty tenant: any. */
const Guichet__V1__AnnouncedAccount *routing_token_account(const Guichet__V1__AnnounceRequest *claims,
                                                           const char *tenant, const char *account_id);
/* Is the request from who knows the secret, now? */
bool routing_token_check_mac(const Guichet__V1__AnnounceRequest *request, const char *secret, int64_t now_us,
                             uint32_t skew_ms, struct err *err) MUST_USE;

#endif
