/* SPDX-License-Identifier: Apache-2.0 */
/* testing.h - what the tests of this folder share: an account, a request, a file, a labelled check. */
#ifndef GUICHET_SMS_TESTING_H
#define GUICHET_SMS_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

#include "sms.h"

#define CHECK_CASE(label, is_true)                                                                           \
    do {                                                                                                     \
        if (!(is_true))                                                                                      \
            fail_msg("case '%s': %s", (label), #is_true);                                                    \
    } while (0)

#define TEST_TOKEN "0123456789abcdef0123456789abcdef"
#define TEST_TOKEN_PREVIOUS "fedcba9876543210fedcba9876543210"
#define TEST_URL "https://desk.example.org/hooks/sms/sms-1"
#define TEST_RECEIVED_US 1772366400000000 /* 2026-03-01T12:00:00Z */

static inline struct sms_account test_account(void)
{
    return (struct sms_account){
        .account = { .tenant = "demo", .id = "sms-1", .address = "+33700000000", .public_url = TEST_URL },
        .provider = "twilio",
        .account_sid = "AC1",
        .auth_token = TEST_TOKEN,
        .auth_token_previous = TEST_TOKEN_PREVIOUS,
        .messaging_service_sid = "",
        .api_key_sid = "",
        .api_key_secret = "",
        .api_base = "https://api.twilio.com",
        .sends_per_second = 10,
        .retry_horizon_ms = 4 * 3600 * 1000,
    };
}

/* The only header the provider's webhooks are read for; NULL: absent. */
static inline const char *test_header(const struct hook_request *request, const char *name)
{
    return strcasecmp(name, "X-Twilio-Signature") == 0 ? request->header_arg : NULL;
}

static inline struct hook_request test_request(const char *path, const char *query, struct str_view body)
{
    return (struct hook_request){
        .method = "POST",
        .path = path,
        .query = query,
        .body = body,
        .content_type = "application/x-www-form-urlencoded",
        .header = test_header,
    };
}

/* Whole file, NUL-terminated, owned; NULL when there is none. */
static inline char *test_read_file(const char *path, size_t *ret_len)
{
    FILE *file = fopen(path, "rb");
    char *data = NULL;
    long size;

    if (file == NULL)
        return NULL;
    fseek(file, 0, SEEK_END);
    size = ftell(file);
    rewind(file);
    data = calloc(1, (size_t)size + 1);
    if (data != NULL && fread(data, 1, (size_t)size, file) == (size_t)size)
        *ret_len = (size_t)size;
    fclose(file);
    return data;
}

#endif
