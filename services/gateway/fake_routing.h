/* SPDX-License-Identifier: Apache-2.0 */
/* fake_routing.h - for tests of the gateway: the routing service, put together. */
#ifndef GUICHET_GATEWAY_FAKE_ROUTING_H
#define GUICHET_GATEWAY_FAKE_ROUTING_H

#include "fake_agents.h"
#include "fake_log.h"
#include "fake_replies.h"
#include "fake_work.h"

static void fake_get_status(Guichet__V1__Routing_Service *service, const Guichet__V1__GetStatusRequest *input,
                            Guichet__V1__GetStatusReply_Closure closure, void *closure_data)
{
    (void)service, (void)input, (void)closure;
    fake_fail(closure_data, ERR_INTERNAL, "the gateway never asks this");
}

#define FAKE_ROUTING_NEVER(name, Input, Output)                                                              \
    static void fake_##name(Guichet__V1__Routing_Service *service, const Guichet__V1__##Input *input,        \
                            Guichet__V1__##Output##_Closure closure, void *closure_data)                     \
    {                                                                                                        \
        (void)service, (void)input, (void)closure;                                                           \
        fake_fail(closure_data, ERR_INTERNAL, "the gateway never asks this");                                \
    }
FAKE_ROUTING_NEVER(set_typing, SetTypingRequest, SetTypingReply)
FAKE_ROUTING_NEVER(list_dead_letters, ListDeadLettersRequest, ListDeadLettersReply)
FAKE_ROUTING_NEVER(get_dead_letter, GetDeadLetterRequest, GetDeadLetterReply)
FAKE_ROUTING_NEVER(replay_dead_letter, ReplayDeadLetterRequest, DeadLetterReply)
FAKE_ROUTING_NEVER(drop_dead_letter, DropDeadLetterRequest, DeadLetterReply)
FAKE_ROUTING_NEVER(get_audit, AuditRequest, AuditReply)

static Guichet__V1__Routing_Service fake_routing_service = GUICHET__V1__ROUTING__INIT(fake_);

#endif
