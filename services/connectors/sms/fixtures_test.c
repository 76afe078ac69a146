/* SPDX-License-Identifier: Apache-2.0 */
/* fixtures_test.c - payloads of others, where they lie beside the checkout (../shared/fixtures/sms-twilio).
 *
 * They are not ours to copy. Without them this test has nothing to do and says so; the same ground is
 * covered by testdata/. */
#include "twilio.h"

#include "testing.h"

#include <glob.h>

#include "core/json.h"

#define FIXTURES TEST_SOURCE_DIR "/../shared/fixtures/sms-twilio"

/* providers' classes of error codes as documented, and how we take them. */
static const struct {
    const char *label;
    const int64_t *codes;
    size_t count;
    Guichet__V1__OutcomeKind kind;
    Guichet__V1__FailureReason reason;
    bool is_account_wide;
} classes[] = {
#define CODES(...)                                                                                           \
    (const int64_t[]){ __VA_ARGS__ }, sizeof((const int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)
    { "throttled", CODES(20429, 14107, 63018, 30022, 21611), GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_RETRY,
      GUICHET__V1__FAILURE_REASON__FAILURE_REASON_PROVIDER_ERROR, true },
    { "retry", CODES(30001, 30017), GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_RETRY,
      GUICHET__V1__FAILURE_REASON__FAILURE_REASON_PROVIDER_ERROR, false },
    { "opted out", CODES(21610), GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_FAILED,
      GUICHET__V1__FAILURE_REASON__FAILURE_REASON_RECIPIENT_OPTED_OUT, false },
    { "window", CODES(63016), GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_FAILED,
      GUICHET__V1__FAILURE_REASON__FAILURE_REASON_WINDOW_CLOSED, false },
    { "authentication and senders", CODES(20003, 20005, 30002, 21212, 21606, 21660, 30034),
      GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_FAILED,
      GUICHET__V1__FAILURE_REASON__FAILURE_REASON_ACCOUNT_BROKEN, true },
    { "recipient invalid", CODES(21211, 21614, 30005, 63003, 63024),
      GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_FAILED,
      GUICHET__V1__FAILURE_REASON__FAILURE_REASON_RECIPIENT_INVALID, false },
    { "recipient unreachable", CODES(21408, 21608, 21612, 30003, 30004, 30006),
      GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_FAILED,
      GUICHET__V1__FAILURE_REASON__FAILURE_REASON_RECIPIENT_UNREACHABLE, false },
    { "content", CODES(21617, 30007, 30019), GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_FAILED,
      GUICHET__V1__FAILURE_REASON__FAILURE_REASON_CONTENT_REFUSED, false },
    { "carrier", CODES(30008), GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_FAILED,
      GUICHET__V1__FAILURE_REASON__FAILURE_REASON_PROVIDER_ERROR, false },
#undef CODES
};

static void test_error_classes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(classes); i++)
        for (size_t j = 0; j < classes[i].count; j++) {
            const struct sms_twilio_error *error = sms_twilio_error_find(classes[i].codes[j]);

            CHECK_CASE(classes[i].label, error != NULL);
            CHECK_CASE(classes[i].label,
                       error->kind == classes[i].kind && error->reason == classes[i].reason);
            CHECK_CASE(classes[i].label, error->is_account_wide == classes[i].is_account_wide);
        }
    assert_null(sms_twilio_error_find(0));
    assert_null(sms_twilio_error_find(99999));
}

/* Each code that we know is one of Twilio's, and any code at all has an outcome that is not a doubt. */
static void test_error_codes(void **state)
{
    size_t len = 0;
    char *text = test_read_file(FIXTURES "/twilio_error_codes.json", &len);
    SCOPED_JSON codes = NULL;

    (void)state;
    if (text == NULL) {
        print_message("no fixtures beside the checkout\n");
        return;
    }
    codes = json_tokener_parse(text);
    assert_non_null(codes);
    for (size_t i = 0; i < COUNT_OF(classes); i++)
        for (size_t j = 0; j < classes[i].count; j++) {
            int64_t code = classes[i].codes[j];
            bool is_younger = code == 21660 || code == 30034; /* than the list */
            char name[24];

            snprintf(name, sizeof(name), "%lld", (long long)code);
            CHECK_CASE(name, is_younger || json_object_object_get_ex(codes, name, NULL));
        }
    json_object_object_foreach(codes, code, value)
    {
        SCOPED_ARENA arena = arena_new(65536);
        struct sms_account account = test_account();
        char *body = arena_printf(arena, "{\"code\":%s,\"status\":400}", code);
        struct http_result result = { .status = 400,
                                      .body = str_view_of(body),
                                      .content_type = "application/json" };
        Guichet__V1__Outcome outcome = GUICHET__V1__OUTCOME__INIT;

        (void)value;
        sms_twilio_outcome(&account, &result, arena, &outcome);
        CHECK_CASE(code, outcome.kind == GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_RETRY ||
                             outcome.kind == GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_FAILED);
        CHECK_CASE(code, strcmp(outcome.provider_code, code) == 0);
    }
    free(text);
}

static void normalise_one(const char *path)
{
    SCOPED_ARENA arena = arena_new(1024 * 1024);
    struct sms_account account = test_account();
    struct event_batch batch = { .arena = arena, .received_us = TEST_RECEIVED_US };
    size_t len = 0;
    char *form = test_read_file(path, &len);
    struct hook_request request;
    struct err err = { 0 };

    assert_non_null(form);
    while (len > 0 && form[len - 1] == '\n')
        len--;
    request = test_request("", "", (struct str_view){ form, len });
    account.account_sid = "acctid";
    if (!sms_twilio_normalise(&account, &request, &batch, &err))
        fail_msg("case '%s': %s", path, err.text);
    CHECK_CASE(path, batch.count == 1);
    for (size_t i = 0; i < batch.count; i++) {
        CHECK_CASE(path, batch.events[i]->event_key[0] != '\0');
        CHECK_CASE(path, batch.events[i]->provider_id[0] != '\0');
        CHECK_CASE(path, batch.events[i]->body_case != GUICHET__V1__INBOUND_EVENT__BODY__NOT_SET);
        CHECK_CASE(path, (batch.events[i]->body_case == GUICHET__V1__INBOUND_EVENT__BODY_UNSUPPORTED) ==
                             (strstr(path, "Invalid") != NULL));
    }
    free(form);
}

static void test_forms(void **state)
{
    glob_t found = { 0 };

    (void)state;
    if (glob(FIXTURES "/*.form", 0, NULL, &found) != 0) {
        print_message("no fixtures beside the checkout\n");
        globfree(&found);
        return;
    }
    for (size_t i = 0; i < found.gl_pathc; i++)
        normalise_one(found.gl_pathv[i]);
    print_message("%zu forms\n", found.gl_pathc);
    globfree(&found);
}

static void answer_one(const char *path)
{
    SCOPED_ARENA arena = arena_new(65536);
    struct sms_account account = test_account();
    size_t len = 0;
    char *answer = test_read_file(path, &len);
    struct http_result result = { .status = strstr(path, "json_201_") != NULL ? 201 : 200,
                                  .body = { answer, len },
                                  .content_type = "application/json" };
    Guichet__V1__Outcome outcome = GUICHET__V1__OUTCOME__INIT;
    bool has_sid;

    assert_non_null(answer);
    has_sid = strstr(answer, "\"sid\":") != NULL;
    sms_twilio_outcome(&account, &result, arena, &outcome);
    CHECK_CASE(path, outcome.kind == (has_sid ? GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_ACCEPTED
                                              : GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_UNKNOWN));
    CHECK_CASE(path, (outcome.provider_id[0] != '\0') == has_sid);
    free(answer);
}

static void test_answers(void **state)
{
    glob_t found = { 0 };

    (void)state;
    if (glob(FIXTURES "/resp_post_*Messages*.json", 0, NULL, &found) != 0) {
        print_message("no fixtures beside the checkout\n");
        globfree(&found);
        return;
    }
    for (size_t i = 0; i < found.gl_pathc; i++)
        answer_one(found.gl_pathv[i]);
    print_message("%zu answers\n", found.gl_pathc);
    globfree(&found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_classes),
        cmocka_unit_test(test_error_codes),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
