/* SPDX-License-Identifier: Apache-2.0 */
/* twilio_receive_test.c - webhooks of testdata/ become the events beside them, one JSON line each. */
#include "twilio.h"

#include "testing.h"

#include "core/pbjson.h"

#define DELIVERY "0192aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee"

static const struct {
    const char *name, *path, *query;
    int answer_status;
} cases[] = {
    { "message_text", "", "", 0 },
    { "message_short_code", "", "", 0 },
    { "message_alphanumeric", "", "", 0 },
    { "message_media", "", "", 0 },
    { "message_media_without_url", "", "", 0 },
    { "message_empty", "", "", 0 },
    { "message_stop", "", "", 0 },
    { "message_start", "", "", 0 },
    { "message_stop_in_a_sentence", "", "", 0 },
    { "message_opt_out_type", "", "", 0 },
    { "message_opt_out_help", "", "", 0 },
    { "message_invalid_utf8", "", "", 0 },
    { "message_unknown_type", "", "", 0 },
    { "whatsapp_text", "", "", 0 },
    { "whatsapp_button", "", "", 0 },
    { "whatsapp_location", "", "", 0 },
    { "whatsapp_location_broken", "", "", 0 },
    { "whatsapp_referral", "", "", 0 },
    { "messenger_text", "", "", 0 },
    { "status_sent", "/status", "delivery=" DELIVERY, 204 },
    { "status_delivered", "", "delivery=not-an-id", 204 },
    { "status_undelivered", "/status", "x=1&delivery=" DELIVERY, 204 },
    { "status_failed_opted_out", "/status", "", 204 },
    { "status_failed_no_code", "/status", "", 204 },
    { "status_undelivered_no_code", "/status", "", 204 },
    { "status_read", "/status", "", 204 },
    { "status_queued", "/status", "", 204 },
    { "status_unknown_word", "/status", "", 204 },
    { "status_canceled", "/status", "", 204 },
    { "status_by_sms_status", "/status", "", 204 },
};

/* The raw payload is checked apart: as base64 it would only hide the rest. */
static void append_events(struct buf *text, struct event_batch *batch, struct str_view raw, const char *label)
{
    for (size_t i = 0; i < batch->count; i++) {
        Guichet__V1__InboundEvent *event = batch->events[i];

        CHECK_CASE(label, event->raw.len == raw.len && memcmp(event->raw.data, raw.data, raw.len) == 0);
        CHECK_CASE(label, strcmp(event->raw_type, "application/x-www-form-urlencoded") == 0);
        event->raw = (ProtobufCBinaryData){ 0 };
        pbjson_append(text, &event->base, PBJSON_PROTO3);
        buf_append_char(text, '\n');
    }
}

static void test_normalise(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        SCOPED_ARENA arena = arena_new(1024 * 1024);
        struct sms_account account = test_account();
        struct event_batch batch = { .arena = arena, .received_us = TEST_RECEIVED_US };
        char *form_path = arena_printf(arena, "%s/testdata/%s.form", TEST_FOLDER, cases[i].name);
        char *events_path = arena_printf(arena, "%s/testdata/%s.events", TEST_FOLDER, cases[i].name);
        size_t form_len = 0, events_len = 0;
        char *form = test_read_file(form_path, &form_len), *events = test_read_file(events_path, &events_len);
        struct hook_request request =
            test_request(cases[i].path, cases[i].query, (struct str_view){ form, form_len });
        struct err err = { 0 };
        SCOPED_BUF text;

        buf_init(&text, 65536);
        CHECK_CASE(cases[i].name, form != NULL);
        if (!sms_twilio_normalise(&account, &request, &batch, &err))
            fail_msg("case '%s': %s", cases[i].name, err.text);
        append_events(&text, &batch, request.body, cases[i].name);
        if (events == NULL || strcmp(events, buf_text(&text)) != 0)
            fail_msg("case '%s': the events are\n%s", cases[i].name, buf_text(&text));
        CHECK_CASE(cases[i].name, batch.answer.status == cases[i].answer_status);
        free(form);
        free(events);
    }
}

static const struct {
    const char *label, *path, *form, *error;
} refused[] = {
    { "empty", "", "", "MessageSid" },
    { "no sid", "", "From=%2B33612345678&Body=x", "MessageSid" },
    { "no sender", "", "MessageSid=SM1&Body=x", "From" },
    { "sender is only a channel", "", "MessageSid=SM1&From=whatsapp%3A&Body=x", "From" },
    { "sender is no UTF-8", "", "MessageSid=SM1&From=%FF&Body=x", "From" },
    { "sid with a NUL", "", "MessageSid=SM%001&From=%2B33612345678&Body=x", "MessageSid" },
    { "sid too long", "", "MessageSid=SM00000000000000000000000000000000000000000000000000000000000000000",
      "MessageSid" },
    { "another account", "", "MessageSid=SM1&AccountSid=AC2&From=%2B33612345678&Body=x", "AccountSid" },
    { "broken escape", "", "MessageSid=SM1&From=%2B33612345678&Body=100%zz", "Body" },
    { "number of media is none", "", "MessageSid=SM1&From=%2B33612345678&NumMedia=x", "NumMedia" },
    { "number of media is negative", "", "MessageSid=SM1&From=%2B33612345678&NumMedia=-1", "NumMedia" },
    { "status without a word", "/status", "MessageSid=SM1", "SmsStatus" },
    { "status word is too long", "/status",
      "MessageSid=SM1&MessageStatus=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
      "xxxxxxxxxxxxxxxxxxxxxxxxx",
      "MessageStatus" },
};

static void test_normalise_refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        SCOPED_ARENA arena = arena_new(1024 * 1024);
        struct sms_account account = test_account();
        struct event_batch batch = { .arena = arena, .received_us = TEST_RECEIVED_US };
        struct hook_request request = test_request(refused[i].path, "", str_view_of(refused[i].form));
        struct err err = { 0 };

        CHECK_CASE(refused[i].label, !sms_twilio_normalise(&account, &request, &batch, &err));
        CHECK_CASE(refused[i].label, err.kind == ERR_INVALID);
        CHECK_CASE(refused[i].label, strstr(err.text, refused[i].error) != NULL);
        CHECK_CASE(refused[i].label, batch.count == 0);
    }
}

static void test_get(void **state)
{
    SCOPED_ARENA arena = arena_new(1024 * 1024);
    struct sms_account account = test_account();
    struct event_batch batch = { .arena = arena, .received_us = TEST_RECEIVED_US };
    struct hook_request request =
        test_request("", "From=%2B33612345678&Body=hi&MessageSid=SM1", STR_LITERAL(""));
    struct err err = { 0 };

    (void)state;
    request.method = "GET";
    assert_true(sms_twilio_normalise(&account, &request, &batch, &err));
    assert_int_equal(batch.count, 1);
    assert_string_equal(batch.events[0]->event_key, "message:SM1");
    assert_string_equal(batch.events[0]->message->content->parts[0]->text->text, "hi");
}

static void test_json_is_kept(void **state)
{
    SCOPED_ARENA arena = arena_new(1024 * 1024);
    struct sms_account account = test_account();
    struct event_batch batch = { .arena = arena, .received_us = TEST_RECEIVED_US };
    struct hook_request request = test_request("", "", STR_LITERAL("{\"CallSid\":\"CA1\"}"));
    struct err err = { 0 };

    (void)state;
    request.content_type = "application/json; charset=utf-8";
    assert_true(sms_twilio_normalise(&account, &request, &batch, &err));
    assert_int_equal(batch.count, 1);
    assert_int_equal(batch.events[0]->body_case, GUICHET__V1__INBOUND_EVENT__BODY_UNSUPPORTED);
    assert_string_equal(batch.events[0]->event_key,
                        "payload:85264246de8d570722726062407cde49dc5bb2c2569c179765b178e3ffe30825");
    assert_string_equal(batch.events[0]->raw_type, "application/json");
}

/* A webhook that comes again, later, must give the same event: all but when we received it. */
static void test_repeat_is_equal(void **state)
{
    SCOPED_ARENA arena = arena_new(1024 * 1024);
    struct sms_account account = test_account();
    struct hook_request request =
        test_request("", "", STR_LITERAL("From=%2B33612345678&Body=STOP&MessageSid=SM1"));
    struct event_batch batches[2] = { { .arena = arena, .received_us = TEST_RECEIVED_US },
                                      { .arena = arena, .received_us = TEST_RECEIVED_US + 5000000 } };
    struct buf texts[2];
    struct err err = { 0 };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        buf_init(&texts[i], 65536);
        assert_true(sms_twilio_normalise(&account, &request, &batches[i], &err));
        assert_int_equal(batches[i].count, 2);
        for (size_t j = 0; j < 2; j++) {
            batches[i].events[j]->received_at = NULL;
            pbjson_append(&texts[i], &batches[i].events[j]->base, PBJSON_PROTO3);
        }
    }
    assert_string_equal(buf_text(&texts[0]), buf_text(&texts[1]));
    buf_done(&texts[0]);
    buf_done(&texts[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normalise),    cmocka_unit_test(test_normalise_refuses),
        cmocka_unit_test(test_get),          cmocka_unit_test(test_repeat_is_equal),
        cmocka_unit_test(test_json_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
