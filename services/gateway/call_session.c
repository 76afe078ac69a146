/* SPDX-License-Identifier: Apache-2.0 */
/* call_session.c - the session behind a call: who asks.
 *
 * Only routing knows sessions. That it cannot be asked (503) is another answer than that
 * there is none (401): a client that is logged in must not log in again for it. */
#include "api.h"

#include <string.h>

#include "auth.h"
#include "core/pbjson.h"

static void on_session(void *arg, const Guichet__V1__Agent *agent, const struct err *err)
{
    struct call *call = arg;

    if (err->kind == ERR_FORBIDDEN) {
        call_problem(call, &(struct problem){ PROBLEM_UNAUTHORIZED, "no valid session", NULL, 0 });
        return;
    }
    if (err->kind != ERR_NONE) {
        call_fail(call, err);
        return;
    }
    call->agent = (const Guichet__V1__Agent *)pb_dup(&agent->base, call->arena);
    call->next(call);
}

void call_authenticate(struct call *call, const char *token, bool is_fresh, call_fn *next)
{
    if (token == NULL || strlen(token) > TOKEN_BYTES_MAX) {
        call_problem(call, &(struct problem){ PROBLEM_UNAUTHORIZED, "no valid session", NULL, 0 });
        return;
    }
    call->token = arena_strdup(call->arena, token);
    call->next = next;
    auth_sessions_check(call->gateway->sessions,
                        &(struct session_query){ .token = call->token,
                                                 .traceparent = call->trace.parent,
                                                 .timeout_ms = call_left_ms(call),
                                                 .is_fresh = is_fresh },
                        on_session, call);
}
