/* SPDX-License-Identifier: Apache-2.0 */
/* auth.h - who holds this token: routing's answer, remembered for seconds. */
#ifndef GUICHET_GATEWAY_AUTH_H
#define GUICHET_GATEWAY_AUTH_H

#include "gateway.h"

#define TOKEN_BYTES_MAX 512

struct session_query {
    const char *token;
    const char *traceparent; /* may be NULL */
    uint32_t timeout_ms;
    bool is_fresh; /* ask routing, whatever is remembered */
};

/* agent is borrowed until the callback returns; NULL with an error.
 * ERR_FORBIDDEN: there is no such session. */
typedef void session_done_fn(void *arg, const Guichet__V1__Agent *agent, const struct err *err);

struct sessions *auth_sessions_new(struct loop *loop, const struct gateway_config *config,
                                   struct mesh_client *routing, struct stats *stats);
void auth_sessions_free(struct sessions **sessions);
/* done() comes once, from the loop, never from inside. */
void auth_sessions_check(struct sessions *sessions, const struct session_query *query, session_done_fn *done,
                         void *arg);
/* Before the mesh client goes: answers from memory that are still owed end with ERR_CANCELED. */
void auth_sessions_cancel(struct sessions *sessions);
/* At log-out: the next check asks routing. */
void auth_sessions_forget(struct sessions *sessions, const char *token);

#endif
