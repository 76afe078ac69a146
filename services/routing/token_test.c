/* SPDX-License-Identifier: Apache-2.0 */
/* token_test.c - whom we believe: keys, their change, time, and every altered byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "core/pbtime.h"
#include "token.h"

#define NOW_US 1700000000000000

static const struct routing_token_keys old_keys = { "the-old-key-of-16", NULL };
static const struct routing_token_keys both_keys = { "the-new-key-of-16", "the-old-key-of-16" };
static const struct routing_token_keys new_keys = { "the-new-key-of-16", "" };

static void sign(const struct routing_token_keys *keys, int64_t until_us, struct buf *buf)
{
    Guichet__V1__AnnounceRequest claims = GUICHET__V1__ANNOUNCE_REQUEST__INIT;
    Guichet__V1__AnnouncedAccount account = GUICHET__V1__ANNOUNCED_ACCOUNT__INIT, *accounts = &account;
    SCOPED_ARENA arena = arena_new(4096);

    account.tenant = (char[]){ "demo" };
    account.id = (char[]){ "sms-demo" };
    claims.connector = (char[]){ "sms-1" };
    claims.channel = (char[]){ "sms" };
    claims.at = pbtime_new(arena, until_us);
    claims.accounts = &accounts;
    claims.n_accounts = 1;
    routing_token_sign(keys, &claims, buf);
}

static bool verify(const struct routing_token_keys *keys, struct str_view token, struct err *err)
{
    SCOPED_ARENA arena = arena_new(65536);
    Guichet__V1__AnnounceRequest *claims = NULL;

    if (!routing_token_verify(keys, token, NOW_US, arena, &claims, err))
        return false;
    assert_string_equal(claims->channel, "sms");
    assert_non_null(routing_token_account(claims, "demo", "sms-demo"));
    assert_non_null(routing_token_account(claims, "", "sms-demo"));
    assert_null(routing_token_account(claims, "other", "sms-demo"));
    assert_null(routing_token_account(claims, "demo", "sms-other"));
    return true;
}

static void test_token_keys(void **state)
{
    static const struct {
        const char *label;
        const struct routing_token_keys *signs, *verifies;
        int64_t until_us;
        const char *says;
    } cases[] = {
        { "the same key", &old_keys, &old_keys, NOW_US + 1, NULL },
        { "signed before the change", &old_keys, &both_keys, NOW_US + 1, NULL },
        { "signed after the change", &both_keys, &new_keys, NOW_US + 1, NULL },
        { "the old key is gone", &old_keys, &new_keys, NOW_US + 1, "not of this centre" },
        { "over", &old_keys, &old_keys, NOW_US, "is over" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct err err = { 0 };
        SCOPED_BUF token;

        buf_init(&token, 4096);
        sign(cases[i].signs, cases[i].until_us, &token);
        if (verify(cases[i].verifies, buf_view(&token), &err) != (cases[i].says == NULL))
            fail_msg("case '%s': %s", cases[i].label, err.text);
        if (cases[i].says != NULL && (err.kind != ERR_FORBIDDEN || strstr(err.text, cases[i].says) == NULL))
            fail_msg("case '%s' says '%s'", cases[i].label, err.text);
    }
}

static void test_token_altered(void **state)
{
    SCOPED_BUF token;

    (void)state;
    buf_init(&token, 4096);
    sign(&old_keys, NOW_US + 1, &token);
    for (size_t i = 0; i < token.len; i++) {
        token.data[i] ^= 1;
        assert_false(verify(&old_keys, buf_view(&token), NULL));
        token.data[i] ^= 1;
        assert_false(verify(&old_keys, (struct str_view){ token.data, i }, NULL));
    }
    assert_true(verify(&old_keys, buf_view(&token), NULL));
}

static void test_announce_mac(void **state)
{
    static const struct {
        const char *label, *secret;
        int64_t off_us;
        const char *says;
    } cases[] = {
        { "right", "secret", 0, NULL },
        { "wrong secret", "guess", 0, "unknown, or its secret is another" },
        { "no secret", "", 0, "unknown, or its secret is another" },
        { "a minute off", "secret", 60000000, NULL },
        { "six minutes ago", "secret", -360000000, "its clock is off by 360 s" },
        { "six minutes ahead", "secret", 360000000, "its clock is off by 360 s" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Guichet__V1__AnnounceRequest request = GUICHET__V1__ANNOUNCE_REQUEST__INIT;
        SCOPED_ARENA arena = arena_new(4096);
        uint8_t mac[EVP_MAX_MD_SIZE];
        unsigned len = 0;
        char text[128];
        struct err err = { 0 };

        request.connector = (char[]){ "sms-1" };
        request.channel = (char[]){ "sms" };
        request.at = pbtime_new(arena, NOW_US + cases[i].off_us);
        request.nonce = (ProtobufCBinaryData){ 2, (uint8_t[]){ 0xab, 0x01 } };
        snprintf(text, sizeof(text), "sms-1\nsms\n%lld\nab01",
                 (long long)(NOW_US + cases[i].off_us) / 1000000);
        HMAC(EVP_sha256(), "secret", 6, (const uint8_t *)text, strlen(text), mac, &len);
        request.mac = (ProtobufCBinaryData){ len, mac };
        if (routing_token_check_mac(&request, cases[i].secret, NOW_US, 300000, &err) !=
            (cases[i].says == NULL))
            fail_msg("case '%s': %s", cases[i].label, err.text);
        if (cases[i].says != NULL && strstr(err.text, cases[i].says) == NULL)
            fail_msg("case '%s' says '%s'", cases[i].label, err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token_keys),
        cmocka_unit_test(test_token_altered),
        cmocka_unit_test(test_announce_mac),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
