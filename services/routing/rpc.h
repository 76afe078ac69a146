/* SPDX-License-Identifier: Apache-2.0 */
/* rpc.h - the functions of the service Routing, as protoc-c's table wants them. */
#ifndef GUICHET_ROUTING_RPC_H
#define GUICHET_ROUTING_RPC_H

#include "call.h"

/* ROUTING_RPC(list_work, ListWork, ListWorkReply): its parameters are service, input, closure, closure_data. */
#define ROUTING_RPC(name, method, reply)                                                                     \
    void routing_rpc_##name(Guichet__V1__Routing_Service *service,                                           \
                            const Guichet__V1__##method##Request *input,                                     \
                            Guichet__V1__##reply##_Closure closure, void *closure_data)
/* First line of each. */
#define ROUTING_RPC_CALL() ROUTING_CALL((struct routing_rpc *)service, input, closure, closure_data)

ROUTING_RPC(login, Login, LoginReply); /* login.c */
ROUTING_RPC(logout, Logout, LogoutReply);
ROUTING_RPC(check_session, CheckSession, CheckSessionReply);
ROUTING_RPC(set_presence, SetPresence, SetPresenceReply); /* agents.c */
ROUTING_RPC(put_agent, PutAgent, PutAgentReply);
ROUTING_RPC(list_agents, ListAgents, ListAgentsReply);
ROUTING_RPC(list_queues, ListQueues, ListQueuesReply);
ROUTING_RPC(list_accounts, ListAccounts, ListAccountsReply);
ROUTING_RPC(list_work, ListWork, ListWorkReply); /* work.c */
ROUTING_RPC(get_work, GetWork, GetWorkReply);
ROUTING_RPC(assign, Assign, WorkReply);
ROUTING_RPC(transfer, Transfer, WorkReply);
ROUTING_RPC(close, Close, WorkReply); /* state.c */
ROUTING_RPC(reopen, Reopen, WorkReply);
ROUTING_RPC(reply, Reply, ReplyReply); /* reply.c */
ROUTING_RPC(start_conversation, StartConversation, ReplyReply);
ROUTING_RPC(get_deliveries, GetDeliveries, GetDeliveriesReply); /* events.c */
ROUTING_RPC(read_events, ReadEvents, ReadEventsReply);
ROUTING_RPC(get_status, GetStatus, GetStatusReply);
ROUTING_RPC(set_typing, SetTyping, SetTypingReply);                         /* typing.c */
ROUTING_RPC(list_dead_letters, ListDeadLetters, ListDeadLettersReply);      /* dead_letters.c */
ROUTING_RPC(get_dead_letter, GetDeadLetter, GetDeadLetterReply);
ROUTING_RPC(replay_dead_letter, ReplayDeadLetter, DeadLetterReply);
ROUTING_RPC(drop_dead_letter, DropDeadLetter, DeadLetterReply);
/* audit.c */
void routing_rpc_get_audit(Guichet__V1__Routing_Service *service, const Guichet__V1__AuditRequest *input,
                           Guichet__V1__AuditReply_Closure closure, void *closure_data);

/* What an agent may do with a conversation: `get_actor` asks, this reads the answer and says no by itself. */
struct routing_actor {
    Guichet__V1__Role role;
    bool is_in_queue, is_assigned; /* of the item's queue; the item is theirs */
    Guichet__V1__WorkItem *item;   /* NULL: there is none */
};
void routing_actor_query(struct routing_call *call, const char *tenant, const char *conversation_id,
                         const char *actor_id, routing_rows_fn *on_rows);
/* false: answered. An empty actor is the system and may do anything. */
bool routing_actor_read(struct routing_call *call, struct db_work *work, const char *actor_id,
                        struct routing_actor *ret_actor);
/* Why they may not write in it, and the kind of error; NULL: they may. */
const char *routing_actor_cannot_write(const struct routing_actor *actor, enum err_kind *ret_kind);
/* The one named, else the one the customer last wrote on; NULL: there is none. (reply.c) */
const Guichet__V1__Thread *routing_choose_thread(const Guichet__V1__Conversation *conversation,
                                                 const char *id);

#endif
