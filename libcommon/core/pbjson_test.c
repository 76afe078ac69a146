/* SPDX-License-Identifier: Apache-2.0 */
/* pbjson_test.c - both styles of writing; reading of both spellings; errors with their place. */
#include "core/pbjson.h"

#include "core/check.h"
#include "core/pbtime.h"
#include "guichet/v1/capability.pb-c.h"
#include "guichet/v1/connector.pb-c.h"
#include "guichet/v1/content.pb-c.h"
#include "guichet/v1/conversation.pb-c.h"
#include "guichet/v1/delivery.pb-c.h"
#include "guichet/v1/event.pb-c.h"
#include "guichet/v1/identity.pb-c.h"
#include "guichet/v1/inbound.pb-c.h"

#define BUDGET (64 * 1024)

#define CONTENT &guichet__v1__content__descriptor
#define PART &guichet__v1__part__descriptor
#define MEDIA &guichet__v1__media__descriptor
#define EVENT &guichet__v1__event__descriptor
#define DELIVERY &guichet__v1__delivery__descriptor
#define LOCATION &guichet__v1__location__descriptor
#define ORDER_LINE &guichet__v1__order_line__descriptor
#define AGENT &guichet__v1__agent__descriptor
#define INBOUND &guichet__v1__inbound_event__descriptor

/* What is read, and how it is written in each style. */
static const struct {
    const char *label;
    const ProtobufCMessageDescriptor *type;
    const char *json, *proto3, *api;
} both[] = {
    { "nothing given", PART, "{}", "{}", "{}" },
    { "defaults left out in proto3 only", LOCATION, "{}", "{}",
      "{\"latitude\":0,\"longitude\":0,\"name\":\"\",\"address\":\"\"}" },
    { "null is absent", LOCATION, "{\"latitude\":null,\"name\":null}", "{}",
      "{\"latitude\":0,\"longitude\":0,\"name\":\"\",\"address\":\"\"}" },
    { "doubles", LOCATION, "{\"latitude\":48.8584,\"longitude\":-0.1}",
      "{\"latitude\":48.8584,\"longitude\":-0.1}",
      "{\"latitude\":48.8584,\"longitude\":-0.1,\"name\":\"\",\"address\":\"\"}" },
    { "a double that needs 17 digits", LOCATION, "{\"latitude\":0.1000000000000000055511151231257827,"
      "\"longitude\":5e-324}", "{\"latitude\":0.1,\"longitude\":4.94065645841247e-324}", NULL },
    { "no number", LOCATION, "{\"latitude\":\"NaN\",\"longitude\":\"-Infinity\"}",
      "{\"latitude\":\"NaN\",\"longitude\":\"-Infinity\"}", NULL },
    { "64 bits as text", ORDER_LINE, "{\"unitPriceMicros\":\"-9223372036854775808\",\"quantity\":3}",
      "{\"quantity\":3,\"unitPriceMicros\":\"-9223372036854775808\"}", NULL },
    { "64 bits as number", ORDER_LINE, "{\"unit_price_micros\":12500000,\"product_id\":\"a\"}",
      "{\"productId\":\"a\",\"unitPriceMicros\":\"12500000\"}",
      "{\"product_id\":\"a\",\"title\":\"\",\"quantity\":0,"
      "\"unit_price_micros\":\"12500000\",\"currency\":\"\"}" },
    { "whole number as a double", ORDER_LINE, "{\"quantity\":1e3}", "{\"quantity\":1000}", NULL },
    { "unsigned 64", MEDIA, "{\"sizeBytes\":\"18446744073709551615\"}",
      "{\"sizeBytes\":\"18446744073709551615\"}", NULL },
    { "bytes and enums", MEDIA,
      "{\"state\":\"MEDIA_STATE_STORED\",\"disposition\":\"voice_note\",\"sha256\":\"3q2-7w\"}",
      "{\"state\":\"MEDIA_STATE_STORED\",\"disposition\":\"MEDIA_DISPOSITION_VOICE_NOTE\","
      "\"sha256\":\"3q2+7w==\"}",
      "{\"state\":\"stored\",\"disposition\":\"voice_note\",\"content_type\":\"\",\"file_name\":\"\","
      "\"size_bytes\":\"0\",\"sha256\":\"3q2+7w==\",\"provider_url\":\"\",\"provider_media_id\":\"\","
      "\"caption\":\"\",\"content_id\":\"\",\"duration_ms\":0,\"error\":\"\",\"link_url\":\"\"}" },
    { "enum unspecified is null; zero with a name is not", AGENT, "{\"tenant\":\"demo\"}",
      "{\"tenant\":\"demo\"}",
      "{\"id\":\"\",\"login\":\"\",\"display_name\":\"\",\"role\":null,\"presence\":\"offline\","
      "\"capacity\":0,"
      "\"load\":0,\"queue_ids\":[]}" },
    { "enum by number, also one of tomorrow", AGENT, "{\"role\":2,\"presence\":99}",
      "{\"role\":\"ROLE_SUPERVISOR\",\"presence\":99}", NULL },
    { "repeated texts", AGENT, "{\"queueIds\":[\"a\",\"\"]}", "{\"queueIds\":[\"a\",\"\"]}", NULL },
    { "oneof message", PART, "{\"text\":{}}", "{\"text\":{}}",
      "{\"text\":{\"text\":\"\",\"format\":\"plain\",\"language\":\"\"}}" },
    { "oneof null beside another", PART, "{\"media\":null,\"text\":{\"text\":\"x\"}}",
      "{\"text\":{\"text\":\"x\"}}", NULL },
    { "times", EVENT, "{\"at\":\"2026-03-01T13:00:00+01:00\"}", "{\"at\":\"2026-03-01T12:00:00.000000Z\"}",
      NULL },
    { "a time with nine digits", EVENT, "{\"at\":\"2026-03-01T12:00:00.000000009Z\"}",
      "{\"at\":\"2026-03-01T12:00:00.000000009Z\"}", NULL },
    { "a time with seven digits, before the epoch", EVENT, "{\"at\":\"1969-12-31T23:59:59.1234567Z\"}",
      "{\"at\":\"1969-12-31T23:59:59.123456700Z\"}", NULL },
    { "tenant is left out at every level", EVENT,
      "{\"tenant\":\"a\",\"delivery\":{\"tenant\":\"a\",\"id\":\"d\"}}",
      "{\"tenant\":\"a\",\"delivery\":{\"tenant\":\"a\",\"id\":\"d\"}}",
      "{\"sequence\":\"0\",\"type\":null,\"conversation_id\":\"\",\"conversation_number\":0,"
      "\"agent_id\":\"\","
      "\"previous_agent_id\":\"\",\"queue_id\":\"\",\"actor_id\":\"\",\"customer_id\":\"\",\"reason\":\"\","
      "\"delivery\":{\"id\":\"d\",\"message_id\":\"\",\"conversation_id\":\"\",\"thread_id\":\"\","
      "\"account_id\":\"\","
      "\"state\":null,\"attempt_count\":0,\"provider_id\":\"\",\"reason\":null,\"provider_code\":\"\","
      "\"provider_text\":\"\"},\"presence\":\"offline\",\"dead_letter_id\":"
      "\"\",\"other_customer_id\":\"\",\"other_conversation_id\":\"\"}" },
    { "escaped text", LOCATION, "{\"name\":\"a\\\"\\u00e9\\n\"}", "{\"name\":\"a\\\"\xC3\xA9\\n\"}", NULL },
    { "sha256 keeps its digits in camel case", MEDIA, "{\"sha256\":\"AA==\"}", "{\"sha256\":\"AA==\"}",
      NULL },
};

static void check_style(const char *label, const ProtobufCMessage *message, enum pbjson_style style,
    const char *expected)
{
    SCOPED_BUF buf;

    buf_init(&buf, BUDGET);
    pbjson_append(&buf, message, style);
    CHECK_CASE_TEXT(label, buf_text(&buf), expected);
}

static void test_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(both); i++) {
        SCOPED_ARENA arena = arena_new(BUDGET);
        SCOPED_JSON json = NULL;
        ProtobufCMessage *message = NULL;
        struct err err = { 0 };

        CHECK_CASE(both[i].label, json_read(str_view_of(both[i].json), &json, NULL));
        if (!pbjson_read(json, both[i].type, arena, &message, &err))
            fail_msg("case '%s': %s", both[i].label, err.text);
        check_style(both[i].label, message, PBJSON_PROTO3, both[i].proto3);
        if (both[i].api != NULL)
            check_style(both[i].label, message, PBJSON_API, both[i].api);
    }
}

static const struct {
    const char *label;
    const ProtobufCMessageDescriptor *type;
    const char *json, *error;
} wrong[] = {
    { "not an object", CONTENT, "[]", "the document: expected an object" },
    { "null", CONTENT, "null", "the document: expected an object" },
    { "unknown member", CONTENT, "{\"subjct\":\"x\"}", "/subjct: unknown" },
    { "unknown deep inside", CONTENT, "{\"parts\":[{},{\"text\":{\"txt\":1}}]}",
      "/parts/1/text/txt: unknown" },
    { "name with a slash", CONTENT, "{\"a/b~c\":1}", "/a~1b~0c: unknown" },
    { "upper case name", CONTENT, "{\"Subject\":\"x\"}", "/Subject: unknown" },
    { "both spellings", CONTENT, "{\"in_reply_to\":\"a\",\"inReplyTo\":\"b\"}",
      "/inReplyTo: given twice, in both spellings" },
    { "two of a oneof", PART, "{\"text\":{},\"media\":{}}", "/media: a second choice where only one may be" },
    { "text is a number", CONTENT, "{\"subject\":1}", "/subject: expected a text in quotes" },
    { "bool is a text", CONTENT, "{\"isAutomatic\":\"true\"}", "/isAutomatic: expected true or false" },
    { "no array", CONTENT, "{\"parts\":{}}", "/parts: expected an array" },
    { "null item", CONTENT, "{\"references\":[\"a\",null]}", "/references/1: null is no item" },
    { "item of another type", CONTENT, "{\"references\":[\"a\",2]}",
      "/references/1: expected a text in quotes" },
    { "message is a text", CONTENT, "{\"referral\":\"x\"}", "/referral: expected an object" },
    { "unknown enum name", MEDIA, "{\"state\":\"MEDIA_STATE_LOST\"}",
      "/state: 'MEDIA_STATE_LOST' is none of MediaState's values" },
    { "short enum name in capitals", MEDIA, "{\"state\":\"STORED\"}",
      "/state: 'STORED' is none of MediaState's values" },
    { "enum is an array", MEDIA, "{\"state\":[]}", "/state: expected a name in quotes" },
    { "enum beyond 32 bits", MEDIA, "{\"state\":2147483648}", "/state: the number is out of range" },
    { "not base64", MEDIA, "{\"sha256\":\"***\"}", "/sha256: not base64" },
    { "bytes are a number", MEDIA, "{\"sha256\":1}", "/sha256: expected base64 in quotes" },
    { "unsigned, negative", MEDIA, "{\"durationMs\":-1}", "/durationMs: the number is out of range" },
    { "unsigned, 2^32", MEDIA, "{\"durationMs\":4294967296}", "/durationMs: the number is out of range" },
    { "unsigned 64, 2^64", MEDIA, "{\"sizeBytes\":\"18446744073709551616\"}",
      "/sizeBytes: expected a whole number" },
    { "signed 64, 2^63", ORDER_LINE, "{\"unitPriceMicros\":9223372036854775808}",
      "/unitPriceMicros: the number is out of range" },
    { "fraction", MEDIA, "{\"durationMs\":1.5}", "/durationMs: expected a whole number" },
    { "beyond what a double counts", MEDIA, "{\"sizeBytes\":1e17}", "/sizeBytes: expected a whole number" },
    { "number with a blank", MEDIA, "{\"sizeBytes\":\" 1\"}", "/sizeBytes: expected a whole number" },
    { "number of nothing", MEDIA, "{\"sizeBytes\":\"\"}", "/sizeBytes: expected a whole number" },
    { "only a sign", MEDIA, "{\"sizeBytes\":\"-\"}", "/sizeBytes: expected a whole number" },
    { "double is a text", LOCATION, "{\"latitude\":\"48\"}", "/latitude: expected a number" },
    { "double too large", LOCATION, "{\"latitude\":1e999}", "/latitude: the number is out of range" },
    { "time is a number", EVENT, "{\"at\":1}", "/at: expected a time in quotes" },
    { "time without zone", EVENT, "{\"at\":\"2026-03-01T12:00:00\"}",
      "/at: '2026-03-01T12:00:00' is not a time such as 2026-03-01T12:00:00Z" },
    { "time before year 1 by its offset", EVENT, "{\"at\":\"0001-01-01T00:00:00+01:00\"}",
      "/at: '0001-01-01T00:00:00+01:00' is not within the years 1 to 9999" },
};

static void test_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        SCOPED_ARENA arena = arena_new(BUDGET);
        SCOPED_JSON json = NULL;
        ProtobufCMessage *message = NULL;
        struct err err = { 0 };

        CHECK_CASE(wrong[i].label, json_read(str_view_of(wrong[i].json), &json, NULL));
        CHECK_CASE(wrong[i].label, !pbjson_read(json, wrong[i].type, arena, &message, &err));
        CHECK_CASE_TEXT(wrong[i].label, err.text, wrong[i].error);
        CHECK_CASE(wrong[i].label, err.kind == ERR_INVALID && message == NULL);
    }
}

static void test_budget(void **state)
{
    SCOPED_JSON json = NULL;
    struct err err = { 0 };

    (void)state;
    assert_true(json_read(STR_LITERAL("{\"parts\":[{\"text\":{\"text\":\"0123456789\"}},"
                                      "{\"media\":{\"sha256\":\"AAAA\"}}"
                                      "],\"references\":[\"a\",\"b\"]}"), &json, NULL));
    for (size_t budget = 0; budget < 2000; budget += 16) {
        SCOPED_ARENA arena = arena_new(budget);
        ProtobufCMessage *message = NULL;

        if (pbjson_read(json, CONTENT, arena, &message, &err))
            return;
        assert_int_equal(err.kind, ERR_EXHAUSTED);
        assert_null(message);
    }
    fail_msg("it never fitted");
}

/* A message made by a program: unset strings are NULL or empty, times may be anything. */
static void test_write_of_made_message(void **state)
{
    Guichet__V1__Delivery delivery = GUICHET__V1__DELIVERY__INIT;
    Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;

    (void)state;
    delivery.id = NULL;
    delivery.provider_text = (char *)"caf\xE9";
    delivery.state = GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_SENT;
    delivery.queued_at = &time;
    time.seconds = INT64_MAX;
    check_style("proto3", &delivery.base, PBJSON_PROTO3,
        "{\"state\":\"DELIVERY_STATE_SENT\",\"providerText\":\"caf\xEF\xBF\xBD\","
        "\"queuedAt\":\"9999-12-31T23:59:59.000000Z\"}");
}

static void test_full_buffer_says_so(void **state)
{
    Guichet__V1__Delivery delivery = GUICHET__V1__DELIVERY__INIT;
    SCOPED_BUF buf;

    (void)state;
    buf_init(&buf, 20);
    pbjson_append(&buf, &delivery.base, PBJSON_API);
    assert_true(buf.is_full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_ways),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_write_of_made_message),
        cmocka_unit_test(test_full_buffer_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
