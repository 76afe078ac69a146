/* SPDX-License-Identifier: Apache-2.0 */
/* audit.c - did we lose anything? */
#include "context.h"

void context_audit(Guichet__V1__Context_Service *service, const Guichet__V1__AuditRequest *input,
    Guichet__V1__AuditReply_Closure closure, void *closure_data)
{
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    struct err err = { 0 };

    if (call == NULL)
        return;
    err_set(&err, ERR_UNAVAILABLE, "audit: not built yet");
    context_call_fail(call, &err);
}
