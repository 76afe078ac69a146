/* SPDX-License-Identifier: Apache-2.0 */
/* guichetctl agent chat: a terminal agent, on the same public API as any frontend.
 *
 * What is typed goes to the conversation assigned last; lines that begin with a slash are
 * commands. Order: log in, go online, live events, lines; at the end offline again. */
#include "chat.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 8192

static const char help[] =
    "* TEXT answers; /list, /take NUMBER, /history, /note TEXT, /close, /away, /online, /quit\n";

static void leave(struct chat *chat)
{
    ctl_end(chat->ctl, 0);
}

/* ---- answers ---- */

static void on_done(struct chat *chat, int status, struct json_object *value)
{
    (void)chat;
    chat_is_problem(status, value);
}

static struct json_object *list_items(struct json_object *value)
{
    struct json_object *items = value != NULL ? json_member(value, "items") : NULL;

    return items != NULL && json_object_is_type(items, json_type_array) ? items : NULL;
}

/* "" where there is none. */
static const char *word(struct json_object *object, const char *name)
{
    const char *text = object != NULL ? json_str(object, name) : NULL;

    return text != NULL ? text : "";
}

static void print_conversation(struct json_object *item)
{
    struct json_object *conversation = json_member(item, "conversation"), *work = json_member(item, "work");
    int64_t number = 0;

    if (conversation == NULL)
        return;
    json_int(conversation, "number", &number);
    printf("[%lld] %-9s %-20s %s\n", (long long)number, word(work, "state"),
           word(conversation, "customer_name"), word(conversation, "last_preview"));
}

static void on_list(struct chat *chat, int status, struct json_object *value)
{
    struct json_object *items = list_items(value);

    (void)chat;
    if (chat_is_problem(status, value) || items == NULL)
        return;
    for (size_t i = 0; i < json_object_array_length(items); i++)
        print_conversation(json_object_array_get_idx(items, i));
    fflush(stdout);
}

/* The list again, looking for the number in chat->conversation_number. */
static void on_take_list(struct chat *chat, int status, struct json_object *value)
{
    struct json_object *items = list_items(value);
    char path[128], body[128];

    if (chat_is_problem(status, value) || items == NULL)
        return;
    for (size_t i = 0; i < json_object_array_length(items); i++) {
        struct json_object *conversation = json_member(json_object_array_get_idx(items, i), "conversation");
        int64_t number = 0;

        if (conversation == NULL || !json_int(conversation, "number", &number) ||
            number != chat->conversation_number)
            continue;
        snprintf(chat->conversation_id, sizeof chat->conversation_id, "%s", json_str(conversation, "id"));
        snprintf(path, sizeof path, "/conversations/%s/assign", chat->conversation_id);
        snprintf(body, sizeof body, "{\"agent_id\":\"%s\"}", chat->agent_id);
        chat_call(chat, "POST", path, str_view_of(body), on_done);
        return;
    }
    fprintf(stderr, "! no conversation %u in your list\n", chat->conversation_number);
}

/* A text as it is, a file as a line with its link. */
static void print_part(const char *direction, struct json_object *part)
{
    struct json_object *text = json_member(part, "text"), *media = json_member(part, "media");

    if (text != NULL)
        printf("  %-8s %s\n", direction, json_str(text, "text"));
    else if (media != NULL)
        printf("  %-8s [%s, %s] %s%s\n", direction, json_str(media, "content_type"), json_str(media, "state"),
               json_str(media, "link_url"), json_str(media, "error"));
}

static void on_history(struct chat *chat, int status, struct json_object *value)
{
    struct json_object *items = list_items(value);

    (void)chat;
    if (chat_is_problem(status, value) || items == NULL)
        return;
    for (size_t i = json_object_array_length(items); i-- > 0;) {
        struct json_object *item = json_object_array_get_idx(items, i),
                           *content = json_member(item, "content");
        struct json_object *parts = content != NULL ? json_member(content, "parts") : NULL;

        for (size_t p = 0; parts != NULL && p < json_object_array_length(parts); p++)
            print_part(json_str(item, "direction"), json_object_array_get_idx(parts, p));
    }
    fflush(stdout);
}

/* ---- lines ---- */

static void post_text(struct chat *chat, const char *what, const char *text)
{
    char path[128];
    SCOPED_BUF body = { 0 };

    if (chat->conversation_id[0] == '\0') {
        fprintf(stderr, "! no conversation is yours yet; /list shows them, /take NUMBER takes one\n");
        return;
    }
    buf_init(&body, 4 * LINE_MAX_BYTES);
    buf_append_text(&body, "{\"text\":");
    json_append_string(&body, str_view_of(text));
    buf_append_char(&body, '}');
    snprintf(path, sizeof path, "/conversations/%s/%s", chat->conversation_id, what);
    chat_call(chat, "POST", path, buf_view(&body), on_done);
}

static void set_presence(struct chat *chat, const char *presence)
{
    char body[64];

    snprintf(body, sizeof body, "{\"presence\":\"%s\"}", presence);
    chat_call(chat, "PUT", "/me/presence", str_view_of(body), on_done);
}

static void with_conversation(struct chat *chat, const char *method, const char *what, chat_answer_fn *done)
{
    char path[128];

    if (chat->conversation_id[0] == '\0') {
        fprintf(stderr, "! no conversation is yours yet\n");
        return;
    }
    snprintf(path, sizeof path, "/conversations/%s/%s", chat->conversation_id, what);
    chat_call(chat, method, path, STR_LITERAL(""), done);
}

static void on_line(struct chat *chat, const char *line)
{
    if (line[0] == '\0')
        return;
    if (line[0] != '/') {
        post_text(chat, "messages", line);
    } else if (strcmp(line, "/list") == 0) {
        chat_call(chat, "GET", "/conversations?limit=50", STR_LITERAL(""), on_list);
    } else if (strncmp(line, "/take ", 6) == 0) {
        chat->conversation_number = (uint32_t)strtoul(line + 6, NULL, 10);
        chat_call(chat, "GET", "/conversations?limit=100", STR_LITERAL(""), on_take_list);
    } else if (strncmp(line, "/note ", 6) == 0) {
        post_text(chat, "notes", line + 6);
    } else if (strcmp(line, "/history") == 0) {
        with_conversation(chat, "GET", "messages", on_history);
    } else if (strcmp(line, "/close") == 0) {
        with_conversation(chat, "POST", "close", on_done);
    } else if (strcmp(line, "/away") == 0 || strcmp(line, "/online") == 0) {
        set_presence(chat, line + 1);
    } else if (strcmp(line, "/quit") == 0) {
        leave(chat);
    } else {
        printf("%s", help);
        fflush(stdout);
    }
}

static void on_input(void *arg, int events, int status)
{
    struct chat *chat = arg;
    char chunk[1024];
    ssize_t got = status < 0 ? 0 : read(STDIN_FILENO, chunk, sizeof chunk);

    (void)events;
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        leave(chat);
        return;
    }
    for (ssize_t i = 0; i < got; i++) {
        if (chunk[i] != '\n') {
            buf_append_char(&chat->line, chunk[i]);
            continue;
        }
        on_line(chat, buf_text(&chat->line));
        buf_clear(&chat->line);
    }
}

/* ---- from login to the end ---- */

static void on_login(struct chat *chat, int status, struct json_object *value)
{
    struct json_object *agent = value != NULL ? json_member(value, "agent") : NULL;

    if (chat_is_problem(status, value) || agent == NULL || json_str(value, "token") == NULL) {
        ctl_end(chat->ctl, status == 0 ? 69 : 77);
        return;
    }
    chat->token = str_dup(str_view_of(json_str(value, "token")));
    snprintf(chat->agent_id, sizeof chat->agent_id, "%s", json_str(agent, "id"));
    chat_events_start(chat);
    set_presence(chat, "online");
    printf("%s", help);
    fflush(stdout);
    chat->input = loop_poll_new(chat->ctl->loop, STDIN_FILENO, on_input, chat);
    loop_poll_start(chat->input, UV_READABLE);
}

static void login(struct chat *chat)
{
    SCOPED_BUF body = { 0 };

    buf_init(&body, 4096);
    buf_append_text(&body, "{\"tenant\":");
    json_append_string(&body, str_view_of(chat->tenant));
    buf_append_text(&body, ",\"login\":");
    json_append_string(&body, str_view_of(chat->login));
    buf_append_text(&body, ",\"password\":");
    json_append_string(&body, str_view_of(chat->password));
    buf_append_char(&body, '}');
    chat_call(chat, "POST", "/sessions", buf_view(&body), on_login);
}

static void on_offline(struct chat *chat, int status, struct json_object *value)
{
    (void)status;
    (void)value;
    leave(chat);
}

static void chat_close(struct chat *chat)
{
    if (chat->input != NULL)
        loop_poll_free(&chat->input);
    if (chat->token != NULL) {
        chat_events_stop(chat);
        chat_call(chat, "PUT", "/me/presence", STR_LITERAL("{\"presence\":\"offline\"}"), on_offline);
        loop_run(chat->ctl->loop);
    }
    http_client_free(&chat->client);
    buf_done(&chat->line);
    free(chat->password);
    free(chat->token);
    free(chat->cursor);
    loop_free(&chat->ctl->loop);
}

int ctl_agent_chat(struct ctl *ctl, int argc, char **argv)
{
    const struct http_client_options client = { .allow_private_addresses = true, .allow_plain_http = true };
    struct chat chat = { .ctl = ctl, .tenant = "demo", .login = "alice" };
    const char *password = NULL;
    const struct ctl_option options[] = {
        { "--tenant", &chat.tenant, "the tenant's name" },
        { "--login", &chat.login, "the agent's login" },
        { "--password", &password, "as file: or env:" },
        { NULL, NULL, NULL },
    };
    struct err err = { 0 };
    int exit_code;

    if (!ctl_options(&argc, argv, options, &err) || !ctl_secret(password, &chat.password, &err))
        return ctl_fail(&err);
    ctl->loop = loop_new();
    buf_init(&chat.line, LINE_MAX_BYTES);
    chat.client = http_client_new(ctl->loop, &client);
    login(&chat);
    loop_run(ctl->loop);
    exit_code = ctl->exit_code;
    chat_close(&chat);
    return exit_code;
}
