/* SPDX-License-Identifier: Apache-2.0 */
/* golden_test.c - the contract carries every channel: one event of each kind, written by hand.
 *
 * Each file of tests/golden is read, packed, unpacked and written again, in both styles of JSON,
 * and must say the same. A kind that lost its file, or a file that no row names, fails. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "core/check.h"
#include "core/pbjson.h"
#include "guichet/v1/content.pb-c.h"
#include "guichet/v1/delivery.pb-c.h"
#include "guichet/v1/inbound.pb-c.h"

#define FOLDER TEST_SOURCE_DIR "/tests/golden"
#define BUDGET (1024 * 1024)
#define FILE_MAX_BYTES (64 * 1024)

#define BODY(name) GUICHET__V1__INBOUND_EVENT__BODY_##name
#define PART(name) GUICHET__V1__PART__KIND_##name
#define NO_PART GUICHET__V1__PART__KIND__NOT_SET

/* What the event is, and a part that its content must have. */
struct inbound_case {
    const char *name;
    Guichet__V1__InboundEvent__BodyCase body;
    Guichet__V1__Part__KindCase part;
};

static const struct inbound_case inbound_cases[] = {
    { "sms_message", BODY(MESSAGE), PART(TEXT) },
    { "email_message", BODY(MESSAGE), PART(MEDIA) },
    { "whatsapp_choice", BODY(MESSAGE), PART(CHOICE) },
    { "whatsapp_form", BODY(MESSAGE), PART(CHOICE) },
    { "whatsapp_order", BODY(MESSAGE), PART(ORDER) },
    { "whatsapp_echo", BODY(MESSAGE), PART(TEXT) },
    { "telegram_location", BODY(MESSAGE), PART(LOCATION) },
    { "facebook_comment", BODY(MESSAGE), PART(TEXT) },
    { "facebook_private_answer", BODY(MESSAGE), PART(TEXT) },
    { "voice_call", BODY(MESSAGE), PART(CALL) },
    { "store_review", BODY(MESSAGE), PART(RATING) },
    { "letter_scan", BODY(MESSAGE), PART(LETTER) },
    { "button_press", BODY(MESSAGE), PART(PRESS) },
    { "whatsapp_reaction", BODY(REACTION), NO_PART },
    { "whatsapp_reaction_removed", BODY(REACTION), NO_PART },
    { "telegram_edit", BODY(EDIT), PART(TEXT) },
    { "instagram_delete", BODY(DELETE), NO_PART },
    { "chat_typing", BODY(TYPING), NO_PART },
    { "chat_typing_stopped", BODY(TYPING), NO_PART },
    { "sms_receipt_delivered", BODY(RECEIPT), NO_PART },
    { "sms_receipt_failed", BODY(RECEIPT), NO_PART },
    { "messenger_receipt_read", BODY(RECEIPT), NO_PART },
    { "chat_claim", BODY(CLAIM), NO_PART },
    { "sms_consent_withdrawn", BODY(CONSENT), NO_PART },
    { "viber_unsupported", BODY(UNSUPPORTED), NO_PART },
};

static const struct outbound_case {
    const char *name;
    Guichet__V1__Part__KindCase part;
} outbound_cases[] = {
    { "whatsapp_template", PART(TEMPLATE) },
    { "whatsapp_menu", PART(MENU) },
    { "facebook_private_reply", PART(TEXT) },
};

static void read_file(const char *name, struct buf *text)
{
    char path[512], piece[4096];
    ssize_t got;
    int fd;

    snprintf(path, sizeof(path), "%s/%s.json", FOLDER, name);
    fd = open(path, O_RDONLY);
    CHECK_CASE(name, fd >= 0);
    while ((got = read(fd, piece, sizeof(piece))) > 0)
        buf_append(text, piece, (size_t)got);
    close(fd);
    CHECK_CASE(name, got == 0 && !text->is_full);
}

static ProtobufCMessage *from_json(const char *name, struct json_object *json,
    const ProtobufCMessageDescriptor *type, struct arena *arena)
{
    ProtobufCMessage *message = NULL;
    struct err err = { 0 };

    if (!pbjson_read(json, type, arena, &message, &err))
        fail_msg("case '%s': %s", name, err.text);
    return message;
}

static ProtobufCMessage *through_the_wire(const char *name, const ProtobufCMessage *message,
    struct arena *arena)
{
    ProtobufCMessage *again = NULL;
    struct err err = { 0 };
    SCOPED_BUF packed;

    buf_init(&packed, FILE_MAX_BYTES);
    pb_pack(message, &packed);
    if (!pb_unpack(buf_view(&packed), message->descriptor, &pb_limits_default, arena, &again, &err))
        fail_msg("case '%s': %s", name, err.text);
    return again;
}

static void check_proto3_style(const char *name, const ProtobufCMessage *message,
    struct json_object *original)
{
    SCOPED_JSON again = NULL;
    SCOPED_BUF text;

    buf_init(&text, FILE_MAX_BYTES);
    pbjson_append(&text, message, PBJSON_PROTO3);
    CHECK_CASE(name, json_read(buf_view(&text), &again, NULL));
    if (!json_object_equal(original, again))
        fail_msg("case '%s': came back as %s", name, buf_text(&text));
}

/* The API's form leaves the tenant out, and otherwise reads back as the same bytes. */
static void check_api_style(const char *name, ProtobufCMessage *message, char **tenant, struct arena *arena)
{
    SCOPED_BUF text, packed, packed_again;
    SCOPED_JSON json = NULL;

    buf_init(&text, FILE_MAX_BYTES);
    buf_init(&packed, FILE_MAX_BYTES);
    buf_init(&packed_again, FILE_MAX_BYTES);
    pbjson_append(&text, message, PBJSON_API);
    CHECK_CASE(name, json_read(buf_view(&text), &json, NULL));
    CHECK_CASE(name, json_member(json, "tenant") == NULL);
    *tenant = NULL;
    pb_pack(message, &packed);
    pb_pack(from_json(name, json, message->descriptor, arena), &packed_again);
    CHECK_CASE(name, str_equal(buf_view(&packed), buf_view(&packed_again)));
}

/* Reads a golden file and sends it over the wire. */
static ProtobufCMessage *load(const char *name, const ProtobufCMessageDescriptor *type, struct arena *arena)
{
    SCOPED_BUF text;
    SCOPED_JSON json = NULL;
    ProtobufCMessage *message;
    struct err err = { 0 };

    buf_init(&text, FILE_MAX_BYTES);
    read_file(name, &text);
    if (!json_read(buf_view(&text), &json, &err))
        fail_msg("case '%s': %s", name, err.text);
    message = through_the_wire(name, from_json(name, json, type, arena), arena);
    check_proto3_style(name, message, json);
    return message;
}

static bool has_part(const Guichet__V1__Content *content, Guichet__V1__Part__KindCase kind)
{
    for (size_t i = 0; content != NULL && i < content->n_parts; i++) {
        if (content->parts[i]->kind_case == kind)
            return true;
    }
    return kind == NO_PART;
}

static const Guichet__V1__Content *content_of(const Guichet__V1__InboundEvent *event)
{
    if (event->body_case == BODY(MESSAGE))
        return event->message->content;
    return event->body_case == BODY(EDIT) ? event->edit->content : NULL;
}

static void test_inbound(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(inbound_cases); i++) {
        const struct inbound_case *row = &inbound_cases[i];
        SCOPED_ARENA arena = arena_new(BUDGET);
        Guichet__V1__InboundEvent *event = (void *)load(row->name, &guichet__v1__inbound_event__descriptor,
            arena);

        CHECK_CASE(row->name, event->tenant[0] != '\0' && event->account_id[0] != '\0');
        CHECK_CASE(row->name, event->event_key[0] != '\0' && strlen(event->event_key) <= 512);
        CHECK_CASE(row->name, event->occurred_at != NULL && event->received_at != NULL);
        CHECK_CASE(row->name, event->body_case == row->body);
        CHECK_CASE(row->name, has_part(content_of(event), row->part));
        check_api_style(row->name, &event->base, &event->tenant, arena);
    }
}

static void test_outbound(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(outbound_cases); i++) {
        const struct outbound_case *row = &outbound_cases[i];
        SCOPED_ARENA arena = arena_new(BUDGET);
        Guichet__V1__Outbound *outbound = (void *)load(row->name, &guichet__v1__outbound__descriptor, arena);

        CHECK_CASE(row->name, outbound->tenant[0] != '\0' && outbound->account_id[0] != '\0');
        CHECK_CASE(row->name, outbound->delivery_id[0] != '\0' && outbound->recipient != NULL);
        CHECK_CASE(row->name, has_part(outbound->content, row->part));
        check_api_style(row->name, &outbound->base, &outbound->tenant, arena);
    }
}

/* What the kinds are about: publicness, where a private answer came from, ids and watermarks. */
static void test_what_they_say(void **state)
{
    SCOPED_ARENA arena = arena_new(BUDGET);
    const ProtobufCMessageDescriptor *type = &guichet__v1__inbound_event__descriptor;
    Guichet__V1__InboundEvent *comment = (void *)load("facebook_comment", type, arena);
    Guichet__V1__InboundEvent *answer = (void *)load("facebook_private_answer", type, arena);
    Guichet__V1__InboundEvent *by_id = (void *)load("sms_receipt_delivered", type, arena);
    Guichet__V1__InboundEvent *by_watermark = (void *)load("messenger_receipt_read", type, arena);
    Guichet__V1__InboundEvent *given = (void *)load("whatsapp_reaction", type, arena);
    Guichet__V1__InboundEvent *removed = (void *)load("whatsapp_reaction_removed", type, arena);
    Guichet__V1__InboundEvent *claim = (void *)load("chat_claim", type, arena);
    Guichet__V1__InboundEvent *mail = (void *)load("email_message", type, arena);
    Guichet__V1__Outbound *reply = (void *)load("facebook_private_reply", &guichet__v1__outbound__descriptor,
        arena);

    (void)state;
    assert_true(comment->thread->is_public);
    assert_false(answer->thread->is_public);
    assert_string_equal(answer->thread->origin_key, comment->thread->key);
    assert_false(reply->is_public);
    assert_string_equal(reply->origin_key, comment->thread->key);
    assert_string_equal(reply->content->in_reply_to, comment->provider_id);
    assert_string_not_equal(by_id->receipt->delivery_id, "");
    assert_null(by_id->sender);
    assert_string_equal(by_watermark->provider_id, "");
    assert_non_null(by_watermark->receipt->watermark_at);
    assert_string_equal(given->provider_id, removed->provider_id);
    assert_string_not_equal(given->event_key, removed->event_key);
    assert_true(removed->reaction->is_removed && !given->reaction->is_removed);
    assert_true(claim->claim->is_verified);
    assert_int_equal(mail->message->content->n_parts, 4);
    assert_string_not_equal(mail->message->content->subject, "");
}

static bool is_listed(const char *file)
{
    size_t len = strlen(file) - strlen(".json");

    for (size_t i = 0; i < COUNT_OF(inbound_cases); i++) {
        if (strlen(inbound_cases[i].name) == len && strncmp(inbound_cases[i].name, file, len) == 0)
            return true;
    }
    for (size_t i = 0; i < COUNT_OF(outbound_cases); i++) {
        if (strlen(outbound_cases[i].name) == len && strncmp(outbound_cases[i].name, file, len) == 0)
            return true;
    }
    return false;
}

static void test_every_file_has_a_row(void **state)
{
    DIR *folder = opendir(FOLDER);

    (void)state;
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        const char *ending = strrchr(entry->d_name, '.');

        if (ending != NULL && strcmp(ending, ".json") == 0)
            CHECK_CASE(entry->d_name, is_listed(entry->d_name));
    }
    closedir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inbound),
        cmocka_unit_test(test_outbound),
        cmocka_unit_test(test_what_they_say),
        cmocka_unit_test(test_every_file_has_a_row),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
