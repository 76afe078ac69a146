/* SPDX-License-Identifier: Apache-2.0 */
/* handlers.h - what the route table names: one handler per operation, and the bodies they take. */
#ifndef GUICHET_GATEWAY_HANDLERS_H
#define GUICHET_GATEWAY_HANDLERS_H

#include "api.h"

extern const struct body_field sessions_login_body[], sessions_presence_body[], agents_body[];
extern const struct body_field replies_start_body[], replies_message_body[], replies_note_body[],
    conversations_read_body[];
extern const struct body_field merges_body[], merges_join_body[];
extern const struct body_field actions_assign_body[], actions_transfer_body[], customers_body[];

/* sessions.c */
void sessions_create(struct call *call);
void sessions_delete(struct call *call);
void sessions_me(struct call *call);
void sessions_presence(struct call *call);
/* agents.c */
void agents_list(struct call *call);
void agents_put(struct call *call);
void agents_queues(struct call *call);
void agents_accounts(struct call *call);
/* conversations.c, actions.c */
void conversations_list(struct call *call);
void conversations_get(struct call *call);
void conversations_mark_read(struct call *call);
void actions_assign(struct call *call);
void actions_transfer(struct call *call);
void actions_close(struct call *call);
void actions_reopen(struct call *call);
/* messages.c, replies.c */
void messages_list(struct call *call);
void replies_send(struct call *call);
void replies_note(struct call *call);
void replies_start(struct call *call);
/* customers.c */
void customers_find(struct call *call);
void customers_get(struct call *call);
void customers_update(struct call *call);
void customers_timeline(struct call *call);
/* typing.c, merges.c */
void typing_set(struct call *call);
void merges_create(struct call *call);
void merges_delete(struct call *call);
void merges_join(struct call *call);
/* dead_letters.c */
void dead_letters_list(struct call *call);
void dead_letters_get(struct call *call);
void dead_letters_replay(struct call *call);
void dead_letters_drop(struct call *call);
/* audit.c */
void audit_get(struct call *call);
/* media_upload.c: only reached when the body did not go to the sink */
void media_upload_misplaced(struct call *call);
/* events_ticket.c, contract.c */
void events_ticket_create(struct call *call);
void contract_openapi(struct call *call);
void contract_event_schemas(struct call *call);

/* view.c: both halves of the conversation {id} into call->view, then next; answers 404 by itself when there
 * is none or the agent may not see it. */
void view_load(struct call *call, call_fn *next);
bool view_is_visible(const Guichet__V1__WorkItem *work, const Guichet__V1__Agent *agent);
void view_etag_set(struct call *call);
/* messages.c: copies the reply's messages into the call, joins their deliveries, answers the page. */
void messages_reply(struct call *call, const Guichet__V1__ListMessagesReply *reply);

#endif
