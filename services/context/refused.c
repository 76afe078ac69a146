/* SPDX-License-Identifier: Apache-2.0 */
/* refused.c - events refused for good. */
#include "context.h"

void context_get_refused(Guichet__V1__Context_Service *service, const Guichet__V1__GetRefusedRequest *input,
    Guichet__V1__GetRefusedReply_Closure closure, void *closure_data)
{
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    struct err err = { 0 };

    if (call == NULL)
        return;
    err_set(&err, ERR_UNAVAILABLE, "get_refused: not built yet");
    context_call_fail(call, &err);
}

void context_replay_refused(Guichet__V1__Context_Service *service, const Guichet__V1__ReplayRefusedRequest *input,
    Guichet__V1__ReplayRefusedReply_Closure closure, void *closure_data)
{
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    struct err err = { 0 };

    if (call == NULL)
        return;
    err_set(&err, ERR_UNAVAILABLE, "replay_refused: not built yet");
    context_call_fail(call, &err);
}
