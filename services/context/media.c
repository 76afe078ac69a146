/* SPDX-License-Identifier: Apache-2.0 */
/* media.c - media parts of messages. */
#include "context.h"

void context_set_media(Guichet__V1__Context_Service *service, const Guichet__V1__SetMediaRequest *input,
    Guichet__V1__SetMediaReply_Closure closure, void *closure_data)
{
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    struct err err = { 0 };

    if (call == NULL)
        return;
    err_set(&err, ERR_UNAVAILABLE, "set_media: not built yet");
    context_call_fail(call, &err);
}
