/* SPDX-License-Identifier: Apache-2.0 */
/* twilio_verify_test.c - signatures made by Twilio's own Node library (6.0), and forged ones. */
#include "twilio.h"

#include "testing.h"

#define BODY                                                                                                 \
    "AccountSid=AC1&From=%2B33612345678&To=%2B33700000000&Body=O%C3%B9+est+ma+commande+n%C2%B0+42+%3F"       \
    "&MessageSid=SM1&NumMedia=0"
#define SID "MessageSid=SM1"
#define STATUS_QUERY "delivery=0192aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee"
#define JSON_BODY "{\"CallSid\":\"CA1\"}"
#define JSON_QUERY "bodySHA256=85264246de8d570722726062407cde49dc5bb2c2569c179765b178e3ffe30825"
#define GET_QUERY "From=%2B33612345678&Body=hello&MessageSid=SM1&AccountSid=AC1"

static const struct {
    const char *label, *method, *url, *path, *query, *body, *signature;
    bool is_ours;
} cases[] = {
    { "plain", "POST", TEST_URL, "", "", BODY, "ID2YiIoQcbWcJYYWPxSCXr1AS4o=", true },
    { "signed with port 443", "POST", TEST_URL, "", "", BODY, "B30i2Hd0rFfQKkIxswi7mr341kI=", true },
    { "without padding", "POST", TEST_URL, "", "", BODY, "ID2YiIoQcbWcJYYWPxSCXr1AS4o", true },
    { "previous token", "POST", TEST_URL, "", "", BODY, "83KNRxBSlmbAe2+dd/3qRndYNT0=", true },
    { "another token", "POST", TEST_URL, "", "", BODY, "xZLAAPo3CTYtKbd5qL9fyLxJBaw=", false },
    { "no header", "POST", TEST_URL, "", "", BODY, NULL, false },
    { "empty header", "POST", TEST_URL, "", "", BODY, "", false },
    { "no base64", "POST", TEST_URL, "", "", BODY, "!!!!", false },
    { "cut short", "POST", TEST_URL, "", "", BODY, "ID2YiIoQcbWcJYYWPxSCXr0=", false },
    { "too long", "POST", TEST_URL, "", "", BODY, "ID2YiIoQcbWcJYYWPxSCXr1AS4oAAAA=", false },
    { "other case", "POST", TEST_URL, "", "", BODY, "id2yIiOqCBwCjyywpXscxR1as4O=", false },
    { "body changed", "POST", TEST_URL, "", "", BODY "1", "ID2YiIoQcbWcJYYWPxSCXr1AS4o=", false },
    { "parameter added", "POST", TEST_URL, "", "", BODY "&A=1", "ID2YiIoQcbWcJYYWPxSCXr1AS4o=", false },
    { "parameters in another order", "POST", TEST_URL, "", "",
      "MessageSid=SM1&NumMedia=0&AccountSid=AC1&From=%2b"
      "33612345678&To=%2B33700000000&Body=O%c3%b9%20est+ma+commande+n%C2%B0+42+?",
      "ID2YiIoQcbWcJYYWPxSCXr1AS4o=", true },
    { "another account's URL", "POST", "https://desk.example.org/hooks/sms/sms-2", "", "", BODY,
      "ID2YiIoQcbWcJYYWPxSCXr1AS4o=", false },
    { "status with our query", "POST", TEST_URL, "/status", STATUS_QUERY, "MessageSid=SM1&MessageStatus=sent",
      "9nwdmaZ1etewGJ4OS9LG+Wve9Dk=", true },
    { "status, query changed", "POST", TEST_URL, "/status", "delivery=1", "MessageSid=SM1&MessageStatus=sent",
      "9nwdmaZ1etewGJ4OS9LG+Wve9Dk=", false },
    { "query as it is", "POST", TEST_URL, "", "q=a%20b&q=c&n=%7Ex", SID,
      "zkPRzDrItI3DGULst/ENWkHjTUg=", true },
    { "query re-encoded", "POST", TEST_URL, "", "q=a%20b&q=c&n=%7Ex", SID,
      "TaRizZcbO+oPttZH1ybKEUjpC2c=", true },
    { "query re-encoded and grouped", "POST", TEST_URL, "", "q=a+b&n=%7ex&q=c%27d&e", SID,
      "kg56ekFxJeYPvFr+4klQWWBHOn4=", true },
    { "repeated parameter: unique, sorted", "POST", TEST_URL, "", "", SID "&A=2&A=1&A=2&A=10",
      "GBrYTSGbQIi3NaYv4QfLZOyezB0=", true },
    { "GET", "GET", TEST_URL, "", GET_QUERY, "", "x10uJY1Qaimr+LX3dZCMxctZFqw=", true },
    { "GET, query changed", "GET", TEST_URL, "", GET_QUERY "1", "", "x10uJY1Qaimr+LX3dZCMxctZFqw=", false },
    { "a GET's signature on a POST with a body", "POST", TEST_URL, "", GET_QUERY, SID,
      "x10uJY1Qaimr+LX3dZCMxctZFqw=", false },
    { "JSON by hash", "POST", TEST_URL, "", JSON_QUERY, JSON_BODY, "mjpetVqh9PetLc+kEgdeirJy5Ng=", true },
    { "JSON by hash, body changed", "POST", TEST_URL, "", JSON_QUERY, JSON_BODY " ",
      "mjpetVqh9PetLc+kEgdeirJy5Ng=", false },
    { "port of its own", "POST", "http://127.0.0.1:8080/hooks/sms/sms-1", "", "", SID,
      "/iih/ybk7uNi7lnh4ZnXiXj2rEU=", true },
    { "port of its own, signed without", "POST", "http://127.0.0.1:8080/hooks/sms/sms-1", "", "", SID,
      "VaWCnG6UagYbS04UWBkeByFrtkM=", true },
    { "empty value", "POST", TEST_URL, "", "", SID "&Body=", "FODmzbu+2jVPvjhvONlEN4n3owE=", true },
    { "broken escape is signed as it stands", "POST", TEST_URL, "", "", SID "&Body=100%zz",
      "7KNQoESBbt+JSAiWs5Rk7ZoCOh4=", true },
    { "user and password in the URL", "POST", "https://me:pw@desk.example.org/hooks/sms/sms-1", "", "", SID,
      "CRb2D5+x78w0I6IlrGikPpG9qG4=", true },
    { "IPv6 address", "POST", "https://[2001:db8::1]/hooks/sms/sms-1", "", "", SID,
      "liwUrD/hY89kgoqImMnpzstEGpQ=", true },
};

static void test_verify(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        SCOPED_ARENA arena = arena_new(1024 * 1024);
        struct sms_account account = test_account();
        struct hook_request request = test_request(cases[i].path, cases[i].query, str_view_of(cases[i].body));
        struct err err = { 0 };

        account.account.public_url = (char *)cases[i].url;
        request.method = cases[i].method;
        request.header_arg = (void *)cases[i].signature;
        CHECK_CASE(cases[i].label, sms_twilio_verify(&account, &request, arena, &err) == cases[i].is_ours);
        CHECK_CASE(cases[i].label, (err.kind == ERR_NONE) == cases[i].is_ours);
        if (!cases[i].is_ours)
            CHECK_CASE(cases[i].label, err.kind == ERR_FORBIDDEN && strstr(err.text, cases[i].url) != NULL);
    }
}

/* The log gets this text: it must help to find a wrong public_url, and give nothing away. */
static void test_refusal_text(void **state)
{
    SCOPED_ARENA arena = arena_new(1024 * 1024);
    struct sms_account account = test_account();
    struct hook_request request = test_request("/status", STATUS_QUERY, STR_LITERAL(SID));
    struct err err = { 0 };

    (void)state;
    request.header_arg = "ID2YiIoQcbWcJYYWPxSCXr1AS4o=";
    assert_false(sms_twilio_verify(&account, &request, arena, &err));
    assert_non_null(strstr(err.text, TEST_URL "/status?" STATUS_QUERY));
    assert_null(strstr(err.text, TEST_TOKEN));
    assert_null(strstr(err.text, "ID2YiIoQ"));
    request = test_request("", GET_QUERY, STR_LITERAL(""));
    request.method = "GET";
    request.header_arg = "ID2YiIoQcbWcJYYWPxSCXr1AS4o=";
    err_clear(&err);
    assert_false(sms_twilio_verify(&account, &request, arena, &err));
    assert_null(strstr(err.text, "33612345678"));
}

static void test_no_previous_token(void **state)
{
    SCOPED_ARENA arena = arena_new(1024 * 1024);
    struct sms_account account = test_account();
    struct hook_request request = test_request("", "", STR_LITERAL(BODY));
    struct err err = { 0 };

    (void)state;
    request.header_arg = "83KNRxBSlmbAe2+dd/3qRndYNT0=";
    account.auth_token_previous = "";
    assert_false(sms_twilio_verify(&account, &request, arena, &err));
    account.auth_token_previous = NULL;
    err_clear(&err);
    assert_false(sms_twilio_verify(&account, &request, arena, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verify),
        cmocka_unit_test(test_refusal_text),
        cmocka_unit_test(test_no_previous_token),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
