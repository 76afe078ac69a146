/* SPDX-License-Identifier: Apache-2.0 */
/* connector_toy.h - for the skeleton's own tests: a toy channel, and a centre in the same process.
 *
 * A webhook's body is lines "id sender text"; the header X-Toy must be "yes". A message is sent as a POST
 * of its text to the account's provider_url. The centre keeps what it was called with, and answers as told. */
#ifndef GUICHET_SERVICE_CONNECTOR_TOY_H
#define GUICHET_SERVICE_CONNECTOR_TOY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "core/duration.h"
#include "core/pbtime.h"
#include "service/connector_internal.h"

#define TOY_SECRET "toy-secret"
#define WAIT_MS 10000
#define PATIENT "submit_timeout_ms: 20s\nsubmit_attempt_timeout_ms: 20s\n"

/* ---- the toy channel ---- */

struct toy_account {
    struct connector_account account;
    char *provider_url;
};

static const struct config_key toy_account_keys[] = {
    { CONFIG_AT(toy_account, provider_url), .type = CONFIG_STR, .fallback = "http://127.0.0.1:1",
      .help = "Where messages are sent." },
    { 0 },
};

static void toy_capabilities(const void *account, Guichet__V1__Capabilities *ret_capabilities)
{
    (void)account;
    ret_capabilities->text_max_length = 42;
}

static bool toy_verify(const void *account, const struct hook_request *request, struct arena *arena,
                       struct hook_answer *ret_answer, struct err *err)
{
    const char *header = request->header(request, "X-Toy");

    (void)account;
    (void)arena;
    if (strcmp(request->path, "/handshake") == 0)
        *ret_answer =
            (struct hook_answer){ .status = 200, .content_type = "text/plain", .body = { "hello", 5 } };
    if (header == NULL || strcmp(header, "yes") != 0)
        return err_set(err, ERR_FORBIDDEN, "no X-Toy");
    return true;
}

static bool toy_read_line(const struct toy_account *account, struct str_view line, struct event_batch *batch,
                          struct err *err)
{
    Guichet__V1__InboundEvent *event;
    struct str_view id, sender;

    if (!str_next(&line, ' ', &id) || !str_next(&line, ' ', &sender) || line.len == 0)
        return err_set(err, ERR_INVALID, "a line has not three words");
    event = event_batch_add(batch, &account->account, line, "text/plain");
    event->event_key = arena_printf(batch->arena, "message:%.*s", (int)id.len, id.data);
    event->provider_id = arena_dup(batch->arena, id);
    event->sender = arena_alloc(batch->arena, sizeof(*event->sender));
    guichet__v1__address__init(event->sender);
    event->sender->value = arena_dup(batch->arena, sender);
    event->body_case = GUICHET__V1__INBOUND_EVENT__BODY_TYPING;
    event->typing = arena_alloc(batch->arena, sizeof(*event->typing));
    guichet__v1__typing__init(event->typing);
    return true;
}

static bool toy_normalise(const void *account, const struct hook_request *request, struct event_batch *batch,
                          struct err *err)
{
    struct str_view rest = request->body, line;

    if (strcmp(request->path, "/status") == 0)
        batch->answer = (struct hook_answer){ .status = 204, .content_type = "" };
    while (str_next(&rest, '\n', &line))
        if (line.len > 0 && !toy_read_line(account, line, batch, err))
            return false;
    return true;
}

static bool toy_render(const void *account, const Guichet__V1__Outbound *message, struct arena *arena,
                       struct http_client_request *ret_request, struct err *err)
{
    const struct toy_account *toy = account;

    (void)arena;
    if (message->content == NULL || message->content->n_parts == 0)
        return err_set(err, ERR_INVALID, "nothing to send");
    *ret_request = (struct http_client_request){
        .method = "POST",
        .url = toy->provider_url,
        .body = str_view_of(message->content->parts[0]->text->text),
    };
    return true;
}

static void toy_outcome(const void *account, const struct http_result *result, struct arena *arena,
                        Guichet__V1__Outcome *ret_outcome)
{
    (void)account;
    ret_outcome->kind = result->status == 200 ? GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_ACCEPTED
                                              : GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_RETRY;
    ret_outcome->provider_id = arena_dup(arena, result->body);
}

/* A file goes as "<" bytes ">", so that what surrounds it is seen. */
static bool toy_upload(const void *account, const Guichet__V1__Media *media, struct arena *arena,
                       struct media_upload *ret_upload, struct err *err)
{
    const struct toy_account *toy = account;

    if (strcmp(media->content_type, "text/x-refused") == 0)
        return err_set(err, ERR_INVALID, "no such files here");
    ret_upload->request = (struct http_client_request){
        .method = "POST",
        .url = arena_printf(arena, "%s/upload", toy->provider_url),
        .headers = { { "Content-Type", media->content_type } },
        .header_count = 1,
    };
    ret_upload->before = (struct str_view){ "<", 1 };
    ret_upload->after = (struct str_view){ ">", 1 };
    return true;
}

static void toy_uploaded(const void *account, const struct http_result *result, struct arena *arena,
                         Guichet__V1__Media *media, Guichet__V1__Outcome *ret_outcome)
{
    (void)account;
    ret_outcome->kind = result->status == 200 ? GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_ACCEPTED
                                              : GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_FAILED;
    media->provider_media_id = arena_dup(arena, result->body);
}

static bool toy_typing(const void *account, const Guichet__V1__TypingMark *mark, struct arena *arena,
                       struct http_client_request *ret_request, struct err *err)
{
    const struct toy_account *toy = account;

    if (mark->recipient == NULL)
        return err_set(err, ERR_INVALID, "for nobody");
    *ret_request = (struct http_client_request){
        .method = "POST",
        .url = arena_printf(arena, "%s/typing", toy->provider_url),
        .body = str_view_of(mark->recipient->value),
    };
    return true;
}

static uint32_t toy_units(const void *account, const Guichet__V1__Outbound *message)
{
    (void)account;
    (void)message;
    return 3;
}

static const struct connector toy_connector = {
    .name = "toy",
    .summary = "A channel for tests.",
    .config_size = sizeof(struct connector_config),
    .account_keys = toy_account_keys,
    .account_size = sizeof(struct toy_account),
    .hook_answer = { .status = 200, .content_type = "text/xml", .body = { "<ok/>", 5 } },
    .capabilities = toy_capabilities,
    .verify = toy_verify,
    .normalise = toy_normalise,
    .render = toy_render,
    .outcome = toy_outcome,
    .units = toy_units,
    .upload = toy_upload,
    .uploaded = toy_uploaded,
    .typing = toy_typing,
};

#endif
