/* SPDX-License-Identifier: Apache-2.0 */
/* typing.c - the agent writes. */
#include "rpc.h"

ROUTING_RPC(set_typing, SetTyping, SetTypingReply)
{
    routing_call_refuse(ROUTING_RPC_CALL(), ERR_UNAVAILABLE, "set_typing: not built yet");
}
