/* SPDX-License-Identifier: Apache-2.0 */
/* twilio_send_test.c - requests as Twilio wants them, and what its answers mean. */
#include "twilio.h"

#include "testing.h"

#define DELIVERY "0192aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee"
#define CALLBACK                                                                                             \
    "&StatusCallback=https%3A%2F%2Fdesk.example.org%2Fhooks%2Fsms%2Fsms-1%2Fstatus%3Fdelivery%3D" DELIVERY

struct outbound {
    Guichet__V1__Outbound message;
    Guichet__V1__Content content;
    Guichet__V1__Address recipient;
    Guichet__V1__Part parts[2], *part_list[2];
    Guichet__V1__Text texts[2];
};

static Guichet__V1__Outbound *fill(struct outbound *out, const char *first, const char *second)
{
    const char *texts[] = { first, second };

    guichet__v1__outbound__init(&out->message);
    guichet__v1__content__init(&out->content);
    guichet__v1__address__init(&out->recipient);
    out->message.delivery_id = DELIVERY;
    out->message.content = &out->content;
    out->message.recipient = &out->recipient;
    out->recipient.value = "+33612345678";
    out->content.parts = out->part_list;
    for (size_t i = 0; i < 2 && texts[i] != NULL; i++) {
        guichet__v1__part__init(&out->parts[i]);
        guichet__v1__text__init(&out->texts[i]);
        out->texts[i].text = (char *)texts[i];
        out->parts[i].kind_case = GUICHET__V1__PART__KIND_TEXT;
        out->parts[i].text = &out->texts[i];
        out->part_list[i] = &out->parts[i];
        out->content.n_parts++;
    }
    return &out->message;
}

static const struct {
    const char *label, *first, *second, *thread_key, *address, *service, *body;
    uint32_t validity_s;
} rendered[] = {
    { "plain", "Bonjour à vous", NULL, "", "+33700000000", "",
      "To=%2B33612345678&From=%2B33700000000&Body=Bonjour+%C3%A0+vous" CALLBACK, 0 },
    { "two texts", "one", "two", "", "+33700000000", "",
      "To=%2B33612345678&From=%2B33700000000&Body=one%0Atwo" CALLBACK, 0 },
    { "messaging service", "hi", NULL, "", "", "MG1",
      "To=%2B33612345678&MessagingServiceSid=MG1&Body=hi" CALLBACK, 0 },
    { "validity", "hi", NULL, "", "+33700000000", "",
      "To=%2B33612345678&From=%2B33700000000&Body=hi" CALLBACK "&ValidityPeriod=600", 600 },
    { "answer to WhatsApp", "hi", NULL, "whatsapp", "+33700000000", "",
      "To=whatsapp%3A%2B33612345678&From=whatsapp%3A%2B33700000000&Body=hi" CALLBACK, 0 },
    { "first message of a WhatsApp account", "hi", NULL, "", "whatsapp:+33700000000", "",
      "To=whatsapp%3A%2B33612345678&From=whatsapp%3A%2B33700000000&Body=hi" CALLBACK, 0 },
};

static void test_render(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rendered); i++) {
        SCOPED_ARENA arena = arena_new(1024 * 1024);
        struct sms_account account = test_account();
        struct http_client_request request = { 0 };
        struct outbound out = { 0 };
        Guichet__V1__Outbound *message = fill(&out, rendered[i].first, rendered[i].second);
        struct err err = { 0 };

        message->thread_key = (char *)rendered[i].thread_key;
        account.account.address = (char *)rendered[i].address;
        account.messaging_service_sid = (char *)rendered[i].service;
        account.validity_period_s = rendered[i].validity_s;
        CHECK_CASE(rendered[i].label, sms_twilio_render(&account, message, arena, &request, &err));
        if (strcmp(request.body.data, rendered[i].body) != 0)
            fail_msg("case '%s': %s", rendered[i].label, request.body.data);
        CHECK_CASE(rendered[i].label, strcmp(request.method, "POST") == 0);
        CHECK_CASE(rendered[i].label,
                   strcmp(request.url, "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages.json") == 0);
        CHECK_CASE(rendered[i].label,
                   strcmp(request.user, "AC1") == 0 && strcmp(request.password, TEST_TOKEN) == 0);
    }
}

static void test_render_with_key(void **state)
{
    SCOPED_ARENA arena = arena_new(1024 * 1024);
    struct sms_account account = test_account();
    struct http_client_request request = { 0 };
    struct outbound out = { 0 };
    struct err err = { 0 };

    (void)state;
    account.api_key_sid = "SK1";
    account.api_key_secret = "secret";
    account.api_base = "http://127.0.0.1:8099";
    assert_true(sms_twilio_render(&account, fill(&out, "hi", NULL), arena, &request, &err));
    assert_string_equal(request.user, "SK1");
    assert_string_equal(request.password, "secret");
    assert_string_equal(request.url, "http://127.0.0.1:8099/2010-04-01/Accounts/AC1/Messages.json");
}

static char *repeat(struct arena *arena, const char *unit, size_t count)
{
    size_t len = strlen(unit);
    char *text = arena_alloc(arena, len * count + 1);

    for (size_t i = 0; i < count; i++)
        memcpy(text + i * len, unit, len);
    return text;
}

static void test_render_refuses(void **state)
{
    SCOPED_ARENA arena = arena_new(1024 * 1024);
    struct sms_account account = test_account();
    struct http_client_request request = { 0 };
    struct outbound out = { 0 };
    struct err err = { 0 };
    Guichet__V1__Media media = GUICHET__V1__MEDIA__INIT;

    (void)state;
    assert_true(
        sms_twilio_render(&account, fill(&out, repeat(arena, "é", 1600), NULL), arena, &request, &err));
    assert_false(
        sms_twilio_render(&account, fill(&out, repeat(arena, "é", 1601), NULL), arena, &request, &err));
    assert_non_null(strstr(err.text, "1601"));
    assert_false(sms_twilio_render(&account, fill(&out, "", NULL), arena, &request, &err));
    assert_false(sms_twilio_render(&account, fill(&out, NULL, NULL), arena, &request, &err));
    fill(&out, "hi", "there");
    out.texts[1].format = GUICHET__V1__TEXT_FORMAT__TEXT_FORMAT_HTML;
    assert_false(sms_twilio_render(&account, &out.message, arena, &request, &err));
    assert_non_null(strstr(err.text, "part 2"));
    fill(&out, "hi", "there");
    out.parts[1].kind_case = GUICHET__V1__PART__KIND_MEDIA;
    out.parts[1].media = &media;
    assert_false(sms_twilio_render(&account, &out.message, arena, &request, &err));
    fill(&out, "hi", NULL);
    out.recipient.value = "";
    assert_false(sms_twilio_render(&account, &out.message, arena, &request, &err));
    assert_int_equal(err.kind, ERR_INVALID);
}

#define ACCEPTED GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_ACCEPTED
#define RETRY GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_RETRY
#define FAILED GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_FAILED
#define UNKNOWN GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_UNKNOWN
#define REASON(word) GUICHET__V1__FAILURE_REASON__FAILURE_REASON_##word

static const struct {
    const char *label;
    int status;
    const char *body;
    uint32_t retry_after_ms;
    Guichet__V1__OutcomeKind kind;
    const char *provider_id, *code;
    Guichet__V1__FailureReason reason;
    uint32_t wanted_after_ms;
    bool is_account_wide;
} outcomes[] = {
    { "created", 201, "{\"sid\":\"SM1\",\"status\":\"queued\"}", 0, ACCEPTED, "SM1", "", 0, 0, false },
    { "ok", 200, "{\"sid\":\"SM1\"}", 0, ACCEPTED, "SM1", "", 0, 0, false },
    { "created, cut answer", 201, "{\"sid\":\"SM1\"", 0, UNKNOWN, "", "", 0, 0, false },
    { "created, no sid", 201, "{\"status\":\"queued\"}", 0, UNKNOWN, "", "", 0, 0, false },
    { "created, empty sid", 201, "{\"sid\":\"\"}", 0, UNKNOWN, "", "", 0, 0, false },
    { "created, a list", 201, "[1]", 0, UNKNOWN, "", "", 0, 0, false },
    { "created, nothing", 201, "", 0, UNKNOWN, "", "", 0, 0, false },
    { "throttled", 429, "{\"code\":20429,\"message\":\"Too many\"}", 0, RETRY, "", "20429",
      REASON(PROVIDER_ERROR), 1000, true },
    { "throttled, later", 429, "{\"code\":20429}", 7000, RETRY, "", "20429", REASON(PROVIDER_ERROR), 7000,
      true },
    { "throttled without code", 429, "slow down", 3000, RETRY, "", "HTTP 429", REASON(PROVIDER_ERROR), 3000,
      true },
    { "queue full", 400, "{\"code\":21611}", 0, RETRY, "", "21611", REASON(PROVIDER_ERROR), 60000, true },
    { "opted out", 400, "{\"code\":21610,\"message\":\"STOP\"}", 0, FAILED, "", "21610",
      REASON(RECIPIENT_OPTED_OUT), 0, false },
    { "window closed", 400, "{\"code\":63016}", 0, FAILED, "", "63016", REASON(WINDOW_CLOSED), 0, false },
    { "no number", 400, "{\"code\":21211}", 0, FAILED, "", "21211", REASON(RECIPIENT_INVALID), 0, false },
    { "too long", 400, "{\"code\":21617}", 0, FAILED, "", "21617", REASON(CONTENT_REFUSED), 0, false },
    { "credentials", 401, "{\"code\":20003}", 0, FAILED, "", "20003", REASON(ACCOUNT_BROKEN), 0, true },
    { "credentials, no JSON", 401, "", 0, FAILED, "", "HTTP 401", REASON(ACCOUNT_BROKEN), 0, true },
    { "no such account", 404, "{\"code\":20404}", 0, FAILED, "", "20404", REASON(ACCOUNT_BROKEN), 0, true },
    { "code unknown to us", 400, "{\"code\":29999}", 0, FAILED, "", "29999", REASON(PROVIDER_ERROR), 0,
      false },
    { "a proxy's error", 502, "<html>", 0, UNKNOWN, "", "HTTP 502", REASON(PROVIDER_ERROR), 0, false },
    { "no word of Twilio", 500, "<html>", 0, UNKNOWN, "", "HTTP 500", REASON(PROVIDER_ERROR), 0, false },
    { "timed out there", 408, "", 0, UNKNOWN, "", "HTTP 408", REASON(PROVIDER_ERROR), 0, false },
    { "server error", 500, "{\"code\":20500,\"message\":\"oops\"}", 0, RETRY, "", "20500",
      REASON(PROVIDER_ERROR), 0, false },
    { "overloaded", 503, "", 2000, RETRY, "", "HTTP 503", REASON(PROVIDER_ERROR), 2000, false },
    { "redirect", 307, "", 0, FAILED, "", "HTTP 307", REASON(PROVIDER_ERROR), 0, false },
};

static void test_outcome(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(outcomes); i++) {
        SCOPED_ARENA arena = arena_new(65536);
        struct sms_account account = test_account();
        struct http_result result = { .status = outcomes[i].status,
                                      .body = str_view_of(outcomes[i].body),
                                      .content_type = "application/json",
                                      .retry_after_ms = outcomes[i].retry_after_ms };
        Guichet__V1__Outcome outcome = GUICHET__V1__OUTCOME__INIT;

        sms_twilio_outcome(&account, &result, arena, &outcome);
        CHECK_CASE(outcomes[i].label, outcome.kind == outcomes[i].kind);
        CHECK_CASE(outcomes[i].label, strcmp(outcome.provider_id, outcomes[i].provider_id) == 0);
        CHECK_CASE(outcomes[i].label, strcmp(outcome.provider_code, outcomes[i].code) == 0);
        CHECK_CASE(outcomes[i].label, outcome.reason == outcomes[i].reason);
        CHECK_CASE(outcomes[i].label, outcome.retry_after_ms == outcomes[i].wanted_after_ms);
        CHECK_CASE(outcomes[i].label, outcome.is_account_wide == outcomes[i].is_account_wide);
    }
}

static const struct {
    const char *label;
    size_t offset;
    char *value;
    const char *error;
} accounts[] = {
    { "no public URL", offsetof(struct sms_account, account.public_url), "", "public_url" },
    { "public URL with slash", offsetof(struct sms_account, account.public_url), TEST_URL "/", "public_url" },
    { "public URL with query", offsetof(struct sms_account, account.public_url), TEST_URL "?a=1",
      "public_url" },
    { "public URL without scheme", offsetof(struct sms_account, account.public_url), "desk.example.org",
      "public_url" },
    { "API base without scheme", offsetof(struct sms_account, api_base), "api.twilio.com", "api_base" },
    { "no token", offsetof(struct sms_account, auth_token), "", "auth_token" },
    { "account id with slash", offsetof(struct sms_account, account_sid), "AC1/..", "account_sid" },
    { "no sender", offsetof(struct sms_account, account.address), "", "messaging_service_sid" },
    { "key without secret", offsetof(struct sms_account, api_key_sid), "SK1", "api_key_secret" },
    { "unknown provider", offsetof(struct sms_account, provider), "carrier-pigeon", "provider" },
};

static void test_check(void **state)
{
    struct sms_account account = test_account();
    struct err err = { 0 };

    (void)state;
    assert_true(sms_check(&account, &err));
    for (size_t i = 0; i < COUNT_OF(accounts); i++) {
        account = test_account();
        *(char **)((char *)&account + accounts[i].offset) = accounts[i].value;
        err_clear(&err);
        CHECK_CASE(accounts[i].label, !sms_check(&account, &err));
        CHECK_CASE(accounts[i].label, err.kind == ERR_CONFIG && strstr(err.text, accounts[i].error) != NULL);
    }
}

static void test_units(void **state)
{
    SCOPED_ARENA arena = arena_new(65536);
    struct sms_account account = test_account();
    struct outbound out = { 0 };

    (void)state;
    assert_int_equal(sms_units(&account, fill(&out, "hi", NULL)), 1);
    assert_int_equal(sms_units(&account, fill(&out, repeat(arena, "a", 161), NULL)), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_render),         cmocka_unit_test(test_render_with_key),
        cmocka_unit_test(test_render_refuses), cmocka_unit_test(test_outcome),
        cmocka_unit_test(test_check),          cmocka_unit_test(test_units),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
