/* SPDX-License-Identifier: Apache-2.0 */
/* handlers.h - what the route table names: one handler per operation, and the bodies they take. */
#ifndef GUICHET_GATEWAY_HANDLERS_H
#define GUICHET_GATEWAY_HANDLERS_H

#include "api.h"

extern const struct body_field session_body[], presence_body[], agent_body[];
extern const struct body_field start_body[], message_body[], note_body[], read_body[];
extern const struct body_field assign_body[], transfer_body[], customer_body[];

/* sessions.c */
void session_create(struct call *call);
void session_delete(struct call *call);
void me_get(struct call *call);
void presence_put(struct call *call);
/* agents.c */
void agents_list(struct call *call);
void agent_put(struct call *call);
void queues_list(struct call *call);
void accounts_list(struct call *call);
/* conversations.c, actions.c */
void conversations_list(struct call *call);
void conversation_get(struct call *call);
void conversation_read_mark(struct call *call);
void conversation_assign(struct call *call);
void conversation_transfer(struct call *call);
void conversation_close(struct call *call);
void conversation_reopen(struct call *call);
/* messages.c, replies.c */
void messages_list(struct call *call);
void message_send(struct call *call);
void note_add(struct call *call);
void conversation_start(struct call *call);
/* customers.c */
void customers_find(struct call *call);
void customer_get(struct call *call);
void customer_update(struct call *call);
void timeline_list(struct call *call);
/* events_ticket.c, contract.c */
void ticket_create(struct call *call);
void openapi_get(struct call *call);
void event_schemas_get(struct call *call);

/* view.c: both halves of the conversation {id} into call->view, then next; answers 404 by itself when there
 * is none or the agent may not see it. */
void view_load(struct call *call, call_fn *next);
bool view_is_visible(const Guichet__V1__WorkItem *work, const Guichet__V1__Agent *agent);
void view_etag_set(struct call *call);
/* messages.c: copies the reply's messages into the call, joins their deliveries, answers the page. */
void messages_reply(struct call *call, const Guichet__V1__ListMessagesReply *reply);
/* Takes out what is not for agents: where the provider keeps a file. */
void message_conceal(Guichet__V1__Message *message);
/* Content of one plain text, in the arena. */
Guichet__V1__Content *content_of_text(struct arena *arena, const char *text);

#endif
