/* SPDX-License-Identifier: Apache-2.0 */
/* replies.c - what agents write: answers, notes, first messages.
 *
 * All three are idempotent by (tenant, agent, Idempotency-Key), checked where the message
 * is stored. So a time-out here is safe to repeat, by the mesh and by the client alike. */
#include "handlers.h"

#include "core/pbjson.h"
#include "ops/failpoint.h"

#define TEXT_MAX 65536
#define ANSWER_BYTES_MAX (4u * 1024 * 1024)

const struct body_field replies_message_body[] = {
    { "/text", BODY_TEXT, true, 1, TEXT_MAX, NULL },
    { "/thread_id", BODY_ID, false, 0, 0, NULL },
    { 0 },
};

const struct body_field replies_note_body[] = {
    { "/text", BODY_TEXT, true, 1, TEXT_MAX, NULL },
    { 0 },
};

const struct body_field replies_start_body[] = {
    { "/account_id", BODY_TEXT, true, 1, 128, NULL },
    { "/recipient", BODY_OBJECT, true, 0, 0, NULL },
    { "/recipient/kind", BODY_ENUM, true, 0, 0, &guichet__v1__identity_kind__descriptor },
    { "/recipient/value", BODY_TEXT, true, 1, 512, NULL },
    { "/recipient/scope", BODY_TEXT, false, 0, 256, NULL },
    { "/recipient/display_name", BODY_TEXT, false, 0, 256, NULL },
    { "/text", BODY_TEXT, true, 1, TEXT_MAX, NULL },
    { 0 },
};

/* Content of one plain text, in the arena. */
static Guichet__V1__Content *content_of_text(struct arena *arena, const char *text)
{
    Guichet__V1__Content *content = arena_alloc(arena, sizeof(*content));
    Guichet__V1__Part *part = arena_alloc(arena, sizeof(*part));
    Guichet__V1__Text *plain = arena_alloc(arena, sizeof(*plain));

    guichet__v1__content__init(content);
    guichet__v1__part__init(part);
    guichet__v1__text__init(plain);
    plain->text = (char *)text;
    part->kind_case = GUICHET__V1__PART__KIND_TEXT;
    part->text = plain;
    content->parts = arena_alloc(arena, sizeof(Guichet__V1__Part *));
    content->parts[0] = part;
    content->n_parts = 1;
    return content;
}

static void replayed_set(struct call *call, bool is_duplicate)
{
    if (is_duplicate)
        http_exchange_set_header(call->exchange, "Idempotency-Replayed", "true");
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
    pbjson_append(&body, &reply->message->base, PBJSON_API);
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

    if (FAILPOINT("gateway_before_reply_call")) {
        call_fail(call, &(struct err){ .kind = ERR_UNAVAILABLE, .text = "failpoint" });
        return;
    }
    request.tenant = call_tenant(call);
    request.conversation_id = (char *)call->id;
    request.thread_id = (char *)call_text(call, "/thread_id");
    request.content = content_of_text(call->arena, call_text(call, "/text"));
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

    recipient.kind = (Guichet__V1__IdentityKind)call_word(call, "/recipient/kind");
    recipient.value = (char *)call_text(call, "/recipient/value");
    recipient.scope = (char *)call_text(call, "/recipient/scope");
    recipient.display_name = (char *)call_text(call, "/recipient/display_name");
    request.tenant = call_tenant(call);
    request.account_id = (char *)call_text(call, "/account_id");
    request.recipient = &recipient;
    request.content = content_of_text(call->arena, call_text(call, "/text"));
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
    call_reply(call, 201, &reply->message->base);
}

static void on_view_to_note(struct call *call)
{
    Guichet__V1__StoreOutboundRequest request = GUICHET__V1__STORE_OUTBOUND_REQUEST__INIT;

    request.tenant = call_tenant(call);
    request.conversation_id = (char *)call->id;
    request.content = content_of_text(call->arena, call_text(call, "/text"));
    request.direction = GUICHET__V1__MESSAGE_DIRECTION__MESSAGE_DIRECTION_NOTE;
    request.actor_id = call->agent->id;
    request.idempotency_key = (char *)call->key;
    guichet__v1__context__store_outbound(call_context(call), &request, on_noted, call);
}

void replies_note(struct call *call)
{
    view_load(call, on_view_to_note);
}
