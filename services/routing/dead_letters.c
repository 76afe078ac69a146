/* SPDX-License-Identifier: Apache-2.0 */
/* dead_letters.c - what was refused for good or failed too often. */
#include "rpc.h"

ROUTING_RPC(list_dead_letters, ListDeadLetters, ListDeadLettersReply)
{
    routing_call_refuse(ROUTING_RPC_CALL(), ERR_UNAVAILABLE, "list_dead_letters: not built yet");
}

ROUTING_RPC(get_dead_letter, GetDeadLetter, GetDeadLetterReply)
{
    routing_call_refuse(ROUTING_RPC_CALL(), ERR_UNAVAILABLE, "get_dead_letter: not built yet");
}

ROUTING_RPC(replay_dead_letter, ReplayDeadLetter, DeadLetterReply)
{
    routing_call_refuse(ROUTING_RPC_CALL(), ERR_UNAVAILABLE, "replay_dead_letter: not built yet");
}

ROUTING_RPC(drop_dead_letter, DropDeadLetter, DeadLetterReply)
{
    routing_call_refuse(ROUTING_RPC_CALL(), ERR_UNAVAILABLE, "drop_dead_letter: not built yet");
}
