/* SPDX-License-Identifier: Apache-2.0 */
/* One call of the agents' API: JSON out, JSON in. */
#include "chat.h"

#include <stdio.h>
#include <stdlib.h>

#define CALL_TIMEOUT_MS 15000

struct chat_call {
    struct chat *chat;
    chat_answer_fn *done;
};

static void on_answer(void *arg, const struct http_result *result)
{
    struct chat_call call = *(struct chat_call *)arg;
    SCOPED_JSON value = NULL;
    struct err err = { 0 };

    free(arg);
    if (result->err.kind != ERR_NONE) {
        if (result->err.kind != ERR_CANCELED)
            fprintf(stderr, "! %s\n", result->err.text);
        call.done(call.chat, 0, NULL);
        return;
    }
    if (result->body.len > 0 && !json_read(result->body, &value, &err))
        value = NULL;
    call.done(call.chat, result->status, value);
}

void chat_call(struct chat *chat, const char *method, const char *path, struct str_view body,
               chat_answer_fn *done)
{
    struct http_client_request request = { .method = method, .body = body, .timeout_ms = CALL_TIMEOUT_MS };
    struct chat_call *call = malloc(sizeof *call);
    char url[1024], authorisation[512], key[ID_TEXT_BYTES];

    if (call == NULL)
        abort();
    *call = (struct chat_call){ chat, done };
    snprintf(url, sizeof url, "%s/v1%s", chat->ctl->api, path);
    snprintf(authorisation, sizeof authorisation, "Bearer %s", chat->token != NULL ? chat->token : "");
    id_new_text(key);
    request.url = url;
    if (chat->token != NULL)
        request.headers[request.header_count++] = (struct http_header){ "Authorization", authorisation };
    if (body.len > 0)
        request.headers[request.header_count++] = (struct http_header){ "Content-Type", "application/json" };
    request.headers[request.header_count++] = (struct http_header){ "Idempotency-Key", key };
    http_call_start(chat->client, &request, on_answer, call);
}

bool chat_is_problem(int status, struct json_object *value)
{
    if (status >= 200 && status < 300)
        return false;
    if (status != 0)
        fprintf(stderr, "! %d %s\n", status,
                value != NULL && json_str(value, "detail") != NULL ? json_str(value, "detail") : "");
    return true;
}
