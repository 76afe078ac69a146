/* SPDX-License-Identifier: Apache-2.0 */
/* replies.c - what agents write: answers, notes, first messages.
 *
 * All three are idempotent by (tenant, agent, Idempotency-Key), checked where the message
 * is stored. So a time-out here is safe to repeat, by the mesh and by the client alike. */
#include "handlers.h"

#include "core/pbjson.h"
#include "media.h"
#include "ops/failpoint.h"
#include "service/media_ticket.h"

#define TEXT_MAX 65536
#define MEDIA_MAX 10
#define ANSWER_BYTES_MAX (4u * 1024 * 1024)

const struct body_field replies_message_body[] = {
    { "/text", BODY_TEXT, false, 1, TEXT_MAX, NULL },
    { "/media", BODY_TEXTS, false, MEDIA_TICKET_TEXT_MAX_BYTES, MEDIA_MAX, NULL },
    { "/thread_id", BODY_ID, false, 0, 0, NULL },
    { 0 },
};

const struct body_field replies_note_body[] = {
    { "/text", BODY_TEXT, false, 1, TEXT_MAX, NULL },
    { "/media", BODY_TEXTS, false, MEDIA_TICKET_TEXT_MAX_BYTES, MEDIA_MAX, NULL },
    { 0 },
};

const struct body_field replies_start_body[] = {
    { "/account_id", BODY_TEXT, true, 1, 128, NULL },
    { "/recipient", BODY_OBJECT, true, 0, 0, NULL },
    { "/recipient/kind", BODY_ENUM, true, 0, 0, &guichet__v1__identity_kind__descriptor },
    { "/recipient/value", BODY_TEXT, true, 1, 512, NULL },
    { "/recipient/scope", BODY_TEXT, false, 0, 256, NULL },
    { "/recipient/display_name", BODY_TEXT, false, 0, 256, NULL },
    { "/text", BODY_TEXT, false, 1, TEXT_MAX, NULL },
    { "/media", BODY_TEXTS, false, MEDIA_TICKET_TEXT_MAX_BYTES, MEDIA_MAX, NULL },
    { 0 },
};

static Guichet__V1__Part *part_new(struct arena *arena)
{
    Guichet__V1__Part *part = arena_alloc(arena, sizeof(*part));

    guichet__v1__part__init(part);
    return part;
}

static Guichet__V1__Part *text_part(struct arena *arena, const char *text)
{
    Guichet__V1__Part *part = part_new(arena);

    part->kind_case = GUICHET__V1__PART__KIND_TEXT;
    part->text = arena_alloc(arena, sizeof(*part->text));
    guichet__v1__text__init(part->text);
    part->text->text = (char *)text;
    return part;
}

/* `text` and `media` of the body, in the arena; NULL: answered. */
static Guichet__V1__Content *content_read(struct call *call)
{
    Guichet__V1__Content *content = arena_alloc(call->arena, sizeof(*content));
    const char *text = call_text(call, "/text"), *id;

    guichet__v1__content__init(content);
    content->parts = arena_alloc(call->arena, (MEDIA_MAX + 1) * sizeof(*content->parts));
    if (text[0] != '\0')
        content->parts[content->n_parts++] = text_part(call->arena, text);
    for (size_t i = 0; (id = call_text_at(call, "/media", i)) != NULL; i++) {
        Guichet__V1__Part *part = part_new(call->arena);

        part->kind_case = GUICHET__V1__PART__KIND_MEDIA;
        part->media = media_of_id(call, id);
        if (part->media == NULL) {
            call_bad_member(
                call, "/media",
                arena_printf(call->arena, "item %zu is no media_id of POST /v1/media, or too old", i));
            return NULL;
        }
        content->parts[content->n_parts++] = part;
    }
    if (content->n_parts > 0)
        return content;
    call_problem(call,
                 &(struct problem){ PROBLEM_MISSING_MEMBER, "required, unless there is media", "/text", 0 });
    return NULL;
}

static void replayed_set(struct call *call, bool is_duplicate)
{
    if (is_duplicate)
        http_exchange_set_header(call->exchange, "Idempotency-Replayed", "true");
}

static const Guichet__V1__Message *shown(struct call *call, const Guichet__V1__Message *message)
{
    Guichet__V1__Message *copy = (Guichet__V1__Message *)pb_dup(&message->base, call->arena);

    if (copy == NULL)
        return message;
    media_show(call, copy);
    return copy;
}

/* The answer of send and start: message, delivery, view; without routing's own flag. */
static void on_reply(const Guichet__V1__ReplyReply *reply, void *arg)
{
    struct call *call = arg;
    SCOPED_BUF body;

    buf_init(&body, ANSWER_BYTES_MAX);
    if (reply != NULL && FAILPOINT("gateway_after_reply_call_before_202")) {
        call_fail(call, &(struct err){ .kind = ERR_UNAVAILABLE, .text = "failpoint" });
        return;
    }
    if (reply == NULL) {
        call_fail(call, mesh_err());
        return;
    }
    if (reply->message == NULL) {
        call_fail(call, &(struct err){ .kind = ERR_INTERNAL, .text = "routing answered no message" });
        return;
    }
    replayed_set(call, reply->is_duplicate);
    buf_append_text(&body, "{\"message\":");
    pbjson_append(&body, &shown(call, reply->message)->base, PBJSON_API);
    if (reply->delivery != NULL) {
        buf_append_text(&body, ",\"delivery\":");
        pbjson_append(&body, &reply->delivery->base, PBJSON_API);
    }
    if (reply->view != NULL) {
        buf_append_text(&body, ",\"view\":");
        pbjson_append(&body, &reply->view->base, PBJSON_API);
    }
    buf_append_char(&body, '}');
    call_reply_text(call, 202, "application/json", buf_view(&body));
}

static void on_view_to_send(struct call *call)
{
    Guichet__V1__ReplyRequest request = GUICHET__V1__REPLY_REQUEST__INIT;

    request.content = content_read(call);
    if (request.content == NULL)
        return;
    if (FAILPOINT("gateway_before_reply_call")) {
        call_fail(call, &(struct err){ .kind = ERR_UNAVAILABLE, .text = "failpoint" });
        return;
    }
    request.tenant = call_tenant(call);
    request.conversation_id = (char *)call->id;
    request.thread_id = (char *)call_text(call, "/thread_id");
    request.actor_id = call->agent->id;
    request.idempotency_key = (char *)call->key;
    guichet__v1__routing__reply(call_routing(call), &request, on_reply, call);
}

void replies_send(struct call *call)
{
    view_load(call, on_view_to_send);
}

void replies_start(struct call *call)
{
    Guichet__V1__StartConversationRequest request = GUICHET__V1__START_CONVERSATION_REQUEST__INIT;
    Guichet__V1__Address recipient = GUICHET__V1__ADDRESS__INIT;

    request.content = content_read(call);
    if (request.content == NULL)
        return;
    recipient.kind = (Guichet__V1__IdentityKind)call_word(call, "/recipient/kind");
    recipient.value = (char *)call_text(call, "/recipient/value");
    recipient.scope = (char *)call_text(call, "/recipient/scope");
    recipient.display_name = (char *)call_text(call, "/recipient/display_name");
    request.tenant = call_tenant(call);
    request.account_id = (char *)call_text(call, "/account_id");
    request.recipient = &recipient;
    request.actor_id = call->agent->id;
    request.idempotency_key = (char *)call->key;
    guichet__v1__routing__start_conversation(call_routing(call), &request, on_reply, call);
}

static void on_noted(const Guichet__V1__StoreOutboundReply *reply, void *arg)
{
    struct call *call = arg;

    if (reply == NULL) {
        call_fail(call, mesh_err());
        return;
    }
    if (reply->message == NULL) {
        call_fail(call, &(struct err){ .kind = ERR_INTERNAL, .text = "context answered no message" });
        return;
    }
    replayed_set(call, reply->is_duplicate);
    call_reply(call, 201, &shown(call, reply->message)->base);
}

static void on_view_to_note(struct call *call)
{
    Guichet__V1__StoreOutboundRequest request = GUICHET__V1__STORE_OUTBOUND_REQUEST__INIT;

    request.content = content_read(call);
    if (request.content == NULL)
        return;
    request.tenant = call_tenant(call);
    request.conversation_id = (char *)call->id;
    request.direction = GUICHET__V1__MESSAGE_DIRECTION__MESSAGE_DIRECTION_NOTE;
    request.actor_id = call->agent->id;
    request.idempotency_key = (char *)call->key;
    guichet__v1__context__store_outbound(call_context(call), &request, on_noted, call);
}

void replies_note(struct call *call)
{
    view_load(call, on_view_to_note);
}
