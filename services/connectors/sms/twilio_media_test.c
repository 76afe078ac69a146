/* SPDX-License-Identifier: Apache-2.0 */
/* twilio_media_test.c - files in: where the credentials go; files out: links as MediaUrl. */
#include "twilio.h"

#include "testing.h"

static const struct {
    const char *label, *base, *url;
    bool is_valid, is_signed_in;
} fetches[] = {
    { "the API", "https://api.twilio.com", "https://api.twilio.com/2010-04-01/x/Media/ME1", true, true },
    { "another case", "https://api.twilio.com", "HTTPS://API.Twilio.com/x", true, true },
    { "another of Twilio's", "https://api.twilio.com", "https://mcs.us1.twilio.com/x", true, true },
    { "Twilio's, not https", "https://api.twilio.com", "http://api.twilio.com/x", true, false },
    { "looks alike", "https://api.twilio.com", "https://api.twilio.com.evil.example/x", true, false },
    { "ends alike", "https://api.twilio.com", "https://eviltwilio.com/x", true, false },
    { "another port", "https://api.twilio.com", "https://api.twilio.com:444/x", true, false },
    { "a user in it", "https://api.twilio.com", "https://api.twilio.com@evil.example/x", false, false },
    { "a backslash", "https://api.twilio.com", "https://evil.example\\.twilio.com/x", false, false },
    { "a backslash that hides a user", "https://api.twilio.com", "https://api.twilio.com\\@evil.example/x",
      false, false },
    { "a blank", "https://api.twilio.com", "https://api.twilio.com /x", false, false },
    { "a tab", "https://api.twilio.com", "https://api.twilio.com\t@evil.example/x", false, false },
    { "not ASCII", "https://api.twilio.com",
      "https://api.twilio.com\xe3\x80\x82"
      "evil.example/x",
      false, false },
    { "elsewhere", "https://api.twilio.com", "https://media.example/x.jpg", true, false },
    { "the stand-in", "http://127.0.0.1:8099/demo", "http://127.0.0.1:8099/media/1", true, true },
    { "beside the stand-in", "http://127.0.0.1:8099/demo", "http://127.0.0.1:8100/media/1", true, false },
    { "Twilio's, of a stand-in", "http://127.0.0.1:8099", "https://api.twilio.com/x", true, false },
    { "no URL", "https://api.twilio.com", "ME1", false, false },
    { "nothing", "https://api.twilio.com", "", false, false },
    { "other scheme", "https://api.twilio.com", "ftp://api.twilio.com/x", false, false },
};

static void test_credentials(void **state)
{
    SCOPED_ARENA arena = arena_new(1024 * 1024);

    (void)state;
    for (size_t i = 0; i < COUNT_OF(fetches); i++) {
        Guichet__V1__FetchMedia fetch = GUICHET__V1__FETCH_MEDIA__INIT;
        Guichet__V1__Media media = GUICHET__V1__MEDIA__INIT;
        struct http_client_request request = { 0 };
        struct sms_account account = test_account();
        struct err err = { 0 };

        account.api_base = (char *)fetches[i].base;
        media.provider_url = (char *)fetches[i].url;
        fetch.media = &media;
        CHECK_CASE(fetches[i].label,
                   sms_twilio_media(&account, &fetch, arena, &request, &err) == fetches[i].is_valid);
        if (!fetches[i].is_valid)
            continue;
        CHECK_CASE(fetches[i].label, strcmp(request.method, "GET") == 0);
        CHECK_CASE(fetches[i].label, strcmp(request.url, fetches[i].url) == 0);
        CHECK_CASE(fetches[i].label, (request.user != NULL) == fetches[i].is_signed_in);
        if (request.user != NULL)
            assert_string_equal(request.password, TEST_TOKEN);
    }
}

/* A text, then files; a caption is text. */
static void test_files_out(void **state)
{
    SCOPED_ARENA arena = arena_new(1024 * 1024);
    Guichet__V1__Text text = GUICHET__V1__TEXT__INIT;
    Guichet__V1__Media media[2] = { GUICHET__V1__MEDIA__INIT, GUICHET__V1__MEDIA__INIT };
    Guichet__V1__Part parts[3] = { GUICHET__V1__PART__INIT, GUICHET__V1__PART__INIT,
                                   GUICHET__V1__PART__INIT };
    Guichet__V1__Part *list[] = { &parts[0], &parts[1], &parts[2] };
    Guichet__V1__Content content = GUICHET__V1__CONTENT__INIT;
    Guichet__V1__Address recipient = GUICHET__V1__ADDRESS__INIT;
    Guichet__V1__Outbound message = GUICHET__V1__OUTBOUND__INIT;
    struct http_client_request request = { 0 };
    struct sms_account account = test_account();
    struct err err = { 0 };

    (void)state;
    text.text = "hi";
    parts[0].kind_case = GUICHET__V1__PART__KIND_TEXT;
    parts[0].text = &text;
    for (size_t i = 0; i < 2; i++) {
        parts[i + 1].kind_case = GUICHET__V1__PART__KIND_MEDIA;
        parts[i + 1].media = &media[i];
    }
    media[0].link_url = "https://m.example/media/t1/a.jpg";
    media[1].link_url = "https://m.example/media/t2";
    media[1].caption = "see";
    content.parts = list;
    content.n_parts = 3;
    recipient.value = "+33612345678";
    message.recipient = &recipient;
    message.content = &content;
    message.delivery_id = "d1";

    assert_false(sms_twilio_render(&account, &message, arena, &request, &err));
    assert_string_equal(err.text, "part 2 is a file: this account sends text only");
    account.mms = true;
    assert_true(sms_twilio_render(&account, &message, arena, &request, &err));
    assert_non_null(strstr(request.body.data,
                           "&Body=hi%0Asee&MediaUrl=https%3A%2F%2Fm.example%2Fmedia%2Ft1%2Fa.jpg"
                           "&MediaUrl=https%3A%2F%2Fm.example%2Fmedia%2Ft2&StatusCallback="));
    assert_int_equal(sms_units(&account, &message), 1);
    content.parts = list + 1;
    content.n_parts = 1;
    assert_true(sms_twilio_render(&account, &message, arena, &request, &err));
    assert_null(strstr(request.body.data, "Body="));
    media[0].link_url = "";
    assert_false(sms_twilio_render(&account, &message, arena, &request, &err));
    assert_string_equal(err.text, "part 1 is a file without a link to read it from");
}

static void test_capabilities(void **state)
{
    Guichet__V1__Capabilities with = GUICHET__V1__CAPABILITIES__INIT, without = with;
    struct sms_account account = test_account();

    (void)state;
    sms_capabilities(&account, &without);
    assert_false(without.has_media);
    assert_int_equal(without.n_media, 0);
    account.mms = true;
    sms_capabilities(&account, &with);
    assert_true(with.has_media);
    assert_int_equal(with.media_max_count, 10);
    assert_int_equal(with.media_max_total_bytes, 5000000);
    assert_int_equal(with.media_delivery, GUICHET__V1__MEDIA_DELIVERY__MEDIA_DELIVERY_LINK);
    assert_string_equal(with.media[0]->content_type, "image/jpeg");
    assert_int_equal(with.media[0]->max_bytes, 5000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_files_out),
        cmocka_unit_test(test_capabilities),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
