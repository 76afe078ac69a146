/* SPDX-License-Identifier: Apache-2.0 */
/* typing.c - the agent writes: shown to the customer where the channel can. */
#include "handlers.h"

static void on_typing(const Guichet__V1__SetTypingReply *reply, void *arg)
{
    if (reply == NULL)
        call_fail(arg, mesh_err());
    else
        call_reply_text(arg, 204, NULL, STR_LITERAL(""));
}

static void on_typing_view(struct call *call)
{
    Guichet__V1__SetTypingRequest request = GUICHET__V1__SET_TYPING_REQUEST__INIT;

    request.tenant = call_tenant(call);
    request.conversation_id = (char *)call->id;
    request.actor_id = call->agent->id;
    guichet__v1__routing__set_typing(call_routing(call), &request, on_typing, call);
}

void typing_set(struct call *call)
{
    view_load(call, on_typing_view);
}
