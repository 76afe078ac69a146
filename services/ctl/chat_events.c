/* SPDX-License-Identifier: Apache-2.0 */
/* The terminal agent's live events: ticket, socket, cursor; resumes where it was. */
#include "chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECONNECT_MS 1000

static void on_ticket(struct chat *chat, int status, struct json_object *value);

static void fetch_ticket(void *arg)
{
    chat_call(arg, "POST", "/events/ticket", STR_LITERAL(""), on_ticket);
}

static void on_open(void *arg)
{
    struct chat *chat = arg;

    if (chat->cursor == NULL)
        printf("* you are online; customers' messages appear here\n");
    fflush(stdout);
}

static void on_close(void *arg, int code, const struct err *err)
{
    struct chat *chat = arg;

    (void)code;
    chat->socket = NULL;
    if (chat->is_leaving)
        return;
    if (err->kind != ERR_NONE)
        fprintf(stderr, "! live events: %s; trying again\n", err->text);
    loop_timer_start(chat->reconnect, RECONNECT_MS, 0);
}

static void take_conversation(struct chat *chat, struct json_object *event)
{
    const char *id = json_str(event, "conversation_id");
    int64_t number = 0;

    if (id == NULL || strlen(id) >= sizeof chat->conversation_id)
        return;
    snprintf(chat->conversation_id, sizeof chat->conversation_id, "%s", id);
    if (json_int(event, "conversation_number", &number))
        chat->conversation_number = (uint32_t)number;
}

static void print_event(struct chat *chat, struct json_object *event)
{
    const char *type = json_str(event, "type"), *agent = json_str(event, "agent_id");
    struct json_object *message = json_member(event, "message"), *delivery = json_member(event, "delivery");
    int64_t number = 0;

    json_int(event, "conversation_number", &number);
    if (type == NULL)
        return;
    if (strcmp(type, "message_received") == 0 && message != NULL)
        printf("[%lld] customer: %s\n", (long long)number, json_str(message, "text"));
    else if (strcmp(type, "message_updated") == 0)
        printf("[%lld] a file of it has come, or failed: /history shows it\n", (long long)number);
    else if (strcmp(type, "conversation_closed") == 0)
        printf("[%lld] closed\n", (long long)number);
    else if (strcmp(type, "delivery_updated") == 0 && delivery != NULL)
        printf("[%lld] your answer: %s\n", (long long)number, json_str(delivery, "state"));
    if (strcmp(type, "conversation_assigned") == 0 && agent != NULL && strcmp(agent, chat->agent_id) == 0) {
        take_conversation(chat, event);
        printf("[%lld] is yours: what you type now goes there\n", (long long)number);
    }
    fflush(stdout);
}

static void on_text(void *arg, struct str_view text)
{
    struct chat *chat = arg;
    SCOPED_JSON frame = NULL;
    struct err err = { 0 };

    if (!json_read(text, &frame, &err))
        return;
    if (json_str(frame, "cursor") != NULL) {
        free(chat->cursor);
        chat->cursor = str_dup(str_view_of(json_str(frame, "cursor")));
    }
    if (json_member(frame, "event") != NULL)
        print_event(chat, json_member(frame, "event"));
}

/* "http://host:port" -> host and port, in the buffers given. */
static void split_origin(const char *api, char *host, size_t host_size, char *port, size_t port_size)
{
    const char *start = strstr(api, "://"), *colon;
    size_t len;

    start = start != NULL ? start + 3 : api;
    colon = strchr(start, ':');
    len = colon != NULL ? (size_t)(colon - start) : strcspn(start, "/");
    snprintf(host, host_size, "%.*s", (int)len, start);
    snprintf(port, port_size, "%.*s", colon != NULL ? (int)strcspn(colon + 1, "/") : 2,
             colon != NULL ? colon + 1 : "80");
}

static void on_ticket(struct chat *chat, int status, struct json_object *value)
{
    char host[256], port[16];
    SCOPED_BUF target = { 0 };

    if (chat->is_leaving)
        return;
    if (chat_is_problem(status, value) || status == 0 || json_str(value, "ticket") == NULL) {
        loop_timer_start(chat->reconnect, RECONNECT_MS, 0);
        return;
    }
    buf_init(&target, 4096);
    buf_append_text(&target, "/v1/events?ticket=");
    url_append(&target, str_view_of(json_str(value, "ticket")));
    if (chat->cursor != NULL) {
        buf_append_text(&target, "&cursor=");
        url_append(&target, str_view_of(chat->cursor));
    }
    split_origin(chat->ctl->api, host, sizeof host, port, sizeof port);
    const struct websocket_client_options options = {
        .host = host,
        .port = port,
        .target = buf_text(&target),
        .subprotocol = "guichet.v1.json",
        .on_open = on_open,
        .on_text = on_text,
        .on_close = on_close,
        .arg = chat,
    };
    chat->socket = websocket_client_start(chat->ctl->loop, &options);
}

void chat_events_start(struct chat *chat)
{
    chat->reconnect = loop_timer_new(chat->ctl->loop, fetch_ticket, chat);
    fetch_ticket(chat);
}

void chat_events_stop(struct chat *chat)
{
    chat->is_leaving = true;
    if (chat->socket != NULL)
        websocket_client_close(chat->socket);
    if (chat->reconnect != NULL)
        loop_timer_free(&chat->reconnect);
}
