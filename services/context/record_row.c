/* SPDX-License-Identifier: Apache-2.0 */
/* record_row.c - checks one event and flattens it.
 *
 * Nothing is normalised here: identities come normalised from the connectors. What is checked is
 * what would harm others: keys too long for an index, content too large for a reply. Names are cut
 * instead, since nobody loses anything by that. */
#include "record_row.h"

#include <string.h>

#include <openssl/sha.h>

#include "core/duration.h"
#include "core/pbtime.h"
#include "preview.h"

enum {
    ACCOUNT_MAX_BYTES = 128,
    CHANNEL_MAX_BYTES = 64,
    NAME_MAX_BYTES = 256,
    WORD_MAX_BYTES = 1024,
    URL_MAX_BYTES = 4096,
    BOOT_MAX_BYTES = 128,
};

struct str_view record_pack(const ProtobufCMessage *message, struct arena *arena)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = context_alloc(arena, size + 1);

    return (struct str_view){ (const char *)bytes, protobuf_c_message_pack(message, bytes) };
}

void record_hash(const Guichet__V1__InboundEvent *event, uint8_t ret_hash[RECORD_HASH_BYTES])
{
    Guichet__V1__InboundEvent lasting = *event;
    struct arena *arena = arena_new(SIZE_MAX);
    struct str_view packed;

    lasting.received_at = NULL;
    lasting.raw = (ProtobufCBinaryData){ 0 };
    lasting.raw_type = (char *)protobuf_c_empty_string;
    lasting.boot_id = (char *)protobuf_c_empty_string;
    lasting.boot_lane = 0;
    lasting.boot_n = 0;
    packed = record_pack(&lasting.base, arena);
    SHA256((const uint8_t *)packed.data, packed.len, ret_hash);
    arena_free(&arena);
}

static struct str_view cut(const char *text, size_t max_bytes)
{
    struct str_view view = str_view_of(text);

    view.len = utf8_cut(view, max_bytes);
    return view;
}

static struct str_view bytes_view(ProtobufCBinaryData bytes)
{
    return (struct str_view){ (const char *)bytes.data, bytes.len };
}

struct text_limit {
    const char *name;
    const char *text;
    size_t max_bytes;
    bool is_required;
};

static bool check_texts(const struct text_limit *limits, size_t count, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        if (limits[i].is_required && limits[i].text[0] == '\0')
            return err_set(err, ERR_INVALID, "%s: is empty", limits[i].name);
        if (!context_check_text(limits[i].name, limits[i].text, limits[i].max_bytes, err))
            return false;
    }
    return true;
}

static bool check_address(const char *name, const Guichet__V1__Address *address, bool is_required,
                          struct err *err)
{
    if (address == NULL || address->kind == GUICHET__V1__IDENTITY_KIND__IDENTITY_KIND_UNSPECIFIED ||
        address->value[0] == '\0')
        return !is_required || err_set(err, ERR_INVALID, "%s: says nobody", name);
    if (!context_check_text("value", address->value, RECORD_KEY_MAX_BYTES, err) ||
        !context_check_text("scope", address->scope, RECORD_KEY_MAX_BYTES, err))
        return err_at(err, "%s", name);
    return true;
}

static bool check_event(const struct record_row *row, const Guichet__V1__InboundEvent *event,
                        const char *tenant, const char *channel, const struct context_config *config,
                        struct err *err)
{
    const struct text_limit limits[] = {
        { "account_id", event->account_id, ACCOUNT_MAX_BYTES, true },
        { "channel", channel, CHANNEL_MAX_BYTES, true },
        { "event_key", event->event_key, RECORD_KEY_MAX_BYTES, row->what != RECORD_TYPING },
        { "provider_id", event->provider_id, RECORD_KEY_MAX_BYTES, false },
        { "raw_type", event->raw_type, WORD_MAX_BYTES, false },
        { "boot_id", event->boot_id, BOOT_MAX_BYTES, false },
    };

    if (event->body_case == GUICHET__V1__INBOUND_EVENT__BODY__NOT_SET)
        return err_set(err, ERR_INVALID, "body: is not set");
    if (strcmp(event->tenant, tenant) != 0)
        return err_set(err, ERR_INVALID, "tenant: '%.60s', in a batch of '%.60s'", event->tenant, tenant);
    if (!check_texts(limits, COUNT_OF(limits), err) ||
        !check_address("sender", event->sender, row->what < RECORD_RECEIPT, err))
        return false;
    if (event->raw.len > config->raw_max_bytes)
        return err_set(err, ERR_INVALID, "raw: has %zu bytes, at most %u are allowed", event->raw.len,
                       config->raw_max_bytes);
    if (row->content.len > config->content_max_bytes)
        return err_set(err, ERR_INVALID, "content: has %zu bytes, at most %u are allowed", row->content.len,
                       config->content_max_bytes);
    return true;
}

static bool check_thread(const Guichet__V1__ThreadRef *thread, struct err *err)
{
    const struct text_limit limits[] = {
        { "thread.key", thread->key, RECORD_KEY_MAX_BYTES, false },
        { "thread.origin_key", thread->origin_key, RECORD_KEY_MAX_BYTES, false },
        { "thread.url", thread->url, URL_MAX_BYTES, false },
    };

    return check_texts(limits, COUNT_OF(limits), err);
}

static void fill_who_and_where(struct record_row *row, const Guichet__V1__InboundEvent *event)
{
    const Guichet__V1__Address *sender = event->sender;
    const Guichet__V1__ThreadRef *thread = event->thread;

    row->sender_scope = row->sender_value = row->sender_name = STR_LITERAL("");
    row->thread_key = row->thread_title = row->thread_url = row->origin_key = STR_LITERAL("");
    if (sender != NULL && sender->value[0] != '\0') {
        row->sender_kind = sender->kind;
        row->sender_scope = str_view_of(sender->scope);
        row->sender_value = str_view_of(sender->value);
        row->sender_name = cut(sender->display_name, NAME_MAX_BYTES);
    }
    if (thread != NULL) {
        row->thread_key = str_view_of(thread->key);
        row->thread_title = cut(thread->title, WORD_MAX_BYTES);
        row->thread_url = str_view_of(thread->url);
        row->origin_key = str_view_of(thread->origin_key);
        row->is_public = thread->is_public;
    }
}

static void fill_content(struct record_row *row, const Guichet__V1__Content *content, struct arena *arena)
{
    static const Guichet__V1__Content nothing = GUICHET__V1__CONTENT__INIT;

    content = content == NULL ? &nothing : content;
    row->content = record_pack(&content->base, arena);
    row->subject = cut(content->subject, WORD_MAX_BYTES);
}

/* What the connector did not know becomes content of its own kind, so that the agent sees it. */
static void fill_unsupported(struct record_row *row, Guichet__V1__Unsupported *unsupported,
                             struct arena *arena)
{
    Guichet__V1__Part part = GUICHET__V1__PART__INIT;
    Guichet__V1__Part *parts[] = { &part };
    Guichet__V1__Content content = GUICHET__V1__CONTENT__INIT;

    part.kind_case = GUICHET__V1__PART__KIND_UNSUPPORTED;
    part.unsupported = unsupported;
    content.parts = parts;
    content.n_parts = 1;
    fill_content(row, &content, arena);
}

static bool fill_receipt(struct record_row *row, const Guichet__V1__Receipt *receipt, struct err *err)
{
    if (receipt->state == GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_UNSPECIFIED)
        return err_set(err, ERR_INVALID, "receipt.state: is not set");
    row->state = receipt->state;
    row->delivery_id = cut(receipt->delivery_id, RECORD_KEY_MAX_BYTES);
    row->watermark_us = pbtime_us(receipt->watermark_at);
    row->reason = receipt->reason;
    row->provider_code = cut(receipt->provider_code, WORD_MAX_BYTES);
    row->provider_text = cut(receipt->provider_text, WORD_MAX_BYTES);
    return true;
}

static bool fill_claim(struct record_row *row, const Guichet__V1__IdentityClaim *claim, struct err *err)
{
    if (!check_address("claim.claimed", claim->claimed, true, err))
        return false;
    row->claim_kind = claim->claimed->kind;
    row->claim_scope = str_view_of(claim->claimed->scope);
    row->claim_value = str_view_of(claim->claimed->value);
    row->claim_name = cut(claim->claimed->display_name, NAME_MAX_BYTES);
    row->word = cut(claim->proof, WORD_MAX_BYTES);
    row->flag = claim->is_verified;
    return true;
}

static bool fill_consent(struct record_row *row, const Guichet__V1__ConsentChange *consent, struct err *err)
{
    if (consent->state != GUICHET__V1__CONSENT_STATE__CONSENT_STATE_GIVEN &&
        consent->state != GUICHET__V1__CONSENT_STATE__CONSENT_STATE_WITHDRAWN)
        return err_set(err, ERR_INVALID, "consent.state: %d says neither given nor withdrawn",
                       consent->state);
    row->state = consent->state;
    row->word = cut(consent->evidence, WORD_MAX_BYTES);
    return true;
}

static bool fill_body(struct record_row *row, const Guichet__V1__InboundEvent *event, struct arena *arena,
                      struct err *err)
{
    fill_content(row, NULL, arena);
    switch (event->body_case) {
    case GUICHET__V1__INBOUND_EVENT__BODY_MESSAGE:
        row->is_echo = event->message->is_echo;
        fill_content(row, event->message->content, arena);
        record_media_fill(row, event->message->content, arena);
        return true;
    case GUICHET__V1__INBOUND_EVENT__BODY_EDIT:
        fill_content(row, event->edit->content, arena);
        record_media_fill(row, event->edit->content, arena);
        return true;
    case GUICHET__V1__INBOUND_EVENT__BODY_REACTION:
        row->word = cut(event->reaction->reaction, WORD_MAX_BYTES);
        row->flag = event->reaction->is_removed;
        return true;
    case GUICHET__V1__INBOUND_EVENT__BODY_RECEIPT:
        return fill_receipt(row, event->receipt, err);
    case GUICHET__V1__INBOUND_EVENT__BODY_TYPING:
        row->flag = event->typing->is_stopped;
        return true;
    case GUICHET__V1__INBOUND_EVENT__BODY_CLAIM:
        return fill_claim(row, event->claim, err);
    case GUICHET__V1__INBOUND_EVENT__BODY_CONSENT:
        return fill_consent(row, event->consent, err);
    case GUICHET__V1__INBOUND_EVENT__BODY_UNSUPPORTED:
        fill_unsupported(row, event->unsupported, arena);
        return true;
    default:
        return true;
    }
}

static enum record_what what_of(const Guichet__V1__InboundEvent *event)
{
    switch (event->body_case) {
    case GUICHET__V1__INBOUND_EVENT__BODY_EDIT:
        return RECORD_EDIT;
    case GUICHET__V1__INBOUND_EVENT__BODY_DELETE:
        return RECORD_DELETE;
    case GUICHET__V1__INBOUND_EVENT__BODY_REACTION:
        return RECORD_REACTION;
    case GUICHET__V1__INBOUND_EVENT__BODY_RECEIPT:
        return RECORD_RECEIPT;
    case GUICHET__V1__INBOUND_EVENT__BODY_TYPING:
        return RECORD_TYPING;
    case GUICHET__V1__INBOUND_EVENT__BODY_CLAIM:
        return RECORD_CLAIM;
    case GUICHET__V1__INBOUND_EVENT__BODY_CONSENT:
        return RECORD_CONSENT;
    case GUICHET__V1__INBOUND_EVENT__BODY_UNSUPPORTED:
        return RECORD_UNSUPPORTED;
    default:
        return RECORD_MESSAGE;
    }
}

bool record_is_numbered(const char *boot_id, uint32_t boot_lane, uint64_t boot_n)
{
    return boot_id[0] != '\0' && boot_lane <= INT32_MAX && boot_n > 0 && boot_n < INT64_MAX;
}

static void fill_keys(struct record_row *row, const Guichet__V1__InboundEvent *event, const char *channel,
                      struct arena *arena)
{
    char *id = context_alloc(arena, ID_TEXT_BYTES);
    uint8_t *hash = context_alloc(arena, RECORD_HASH_BYTES);

    id_new_text(id);
    record_hash(event, hash);
    *row = (struct record_row){ .id = str_view_of(id),
                                .hash = { (const char *)hash, RECORD_HASH_BYTES },
                                .account = cut(event->account_id, ACCOUNT_MAX_BYTES),
                                .channel = cut(channel, CHANNEL_MAX_BYTES),
                                .event_key = cut(event->event_key, RECORD_KEY_MAX_BYTES),
                                .boot_id = STR_LITERAL(""),
                                .what = what_of(event) };
    if (!record_is_numbered(event->boot_id, event->boot_lane, event->boot_n))
        return;
    row->boot_id = cut(event->boot_id, BOOT_MAX_BYTES);
    row->boot_lane = event->boot_lane;
    row->boot_n = (int64_t)event->boot_n;
}

bool record_row_fill(struct record_row *row, const Guichet__V1__InboundEvent *event, const char *tenant,
                     const char *channel, const struct context_config *config, struct arena *arena,
                     struct err *err)
{
    fill_keys(row, event, channel, arena);
    fill_who_and_where(row, event);
    if (!fill_body(row, event, arena, err) || !check_event(row, event, tenant, channel, config, err) ||
        (event->thread != NULL && !check_thread(event->thread, err)))
        return false;
    row->provider_id = str_view_of(event->provider_id);
    row->raw = bytes_view(event->raw);
    row->raw_type = str_view_of(event->raw_type);
    row->received_us = pbtime_us(event->received_at);
    row->occurred_us = pbtime_us(event->occurred_at);
    if (row->occurred_us == 0)
        row->occurred_us = row->received_us != 0 ? row->received_us : time_now_us();
    row->preview = preview_event(event, config->preview_max_bytes, arena);
    return true;
}
