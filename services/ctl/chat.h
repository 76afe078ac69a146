/* SPDX-License-Identifier: Apache-2.0 */
/* chat.h - the terminal agent's private types: its API calls (chat_api.c), live events (chat_events.c),
 * lines typed (chat.c). */
#ifndef GUICHET_CTL_CHAT_H
#define GUICHET_CTL_CHAT_H

#include "ctl.h"

#include "core/id.h"
#include "core/json.h"
#include "io/websocket_client.h"

struct chat {
    struct ctl *ctl;
    struct http_client *client;
    const char *tenant, *login;
    char *password;
    char *token;                             /* of the session */
    char agent_id[ID_TEXT_BYTES];
    char conversation_id[ID_TEXT_BYTES];     /* the one that lines go to; "" none */
    uint32_t conversation_number;
    struct websocket_client *socket;
    char *cursor;                            /* of the last frame: where a reconnect resumes */
    struct loop_timer *reconnect;
    struct loop_poll *input;
    struct buf line;
    bool is_leaving;
};

/* An answer of the API: `value` is NULL where it had no JSON body; borrowed. */
typedef void chat_answer_fn(struct chat *chat, int status, struct json_object *value);

/* Calls METHOD /v1<path> with a JSON body (empty: none) and an Idempotency-Key; a failure prints one line. */
void chat_call(struct chat *chat, const char *method, const char *path, struct str_view body, chat_answer_fn *done);
/* Prints the problem (RFC 9457) of an answer that is no 2xx; true when it was one. */
bool chat_is_problem(int status, struct json_object *value);

/* Gets a ticket, opens the socket, prints what happens, and opens it again when it closes. */
void chat_events_start(struct chat *chat);
void chat_events_stop(struct chat *chat);

#endif
