/* SPDX-License-Identifier: Apache-2.0 */
/* audit.c - did we lose anything? */
#include "rpc.h"

void routing_rpc_get_audit(Guichet__V1__Routing_Service *service, const Guichet__V1__AuditRequest *input,
                           Guichet__V1__AuditReply_Closure closure, void *closure_data)
{
    routing_call_refuse(ROUTING_RPC_CALL(), ERR_UNAVAILABLE, "get_audit: not built yet");
}
