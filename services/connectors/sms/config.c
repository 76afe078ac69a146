/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - the settings of an SMS account; README.md shows them as --describe prints them. */
#include "sms.h"

const struct config_key sms_account_keys[] = {
    { CONFIG_AT(sms_account, provider), .type = CONFIG_STR, .fallback = "twilio",
      .help = "Whose API this account speaks: twilio." },
    { CONFIG_AT(sms_account, account_sid), .type = CONFIG_STR, .flags = CONFIG_REQUIRED, .min = 1, .max = 64,
      .help = "Twilio's id of the account (AC…)." },
    { CONFIG_AT(sms_account, auth_token), .type = CONFIG_STR, .flags = CONFIG_REQUIRED | CONFIG_SECRET,
      .help = "Auth token: proves the webhooks, and signs in to the API unless an API key is set." },
    { CONFIG_AT(sms_account, auth_token_previous), .type = CONFIG_STR, .flags = CONFIG_SECRET,
      .help = "The token before the last rotation, accepted in webhooks as well." },
    { CONFIG_AT(sms_account, messaging_service_sid), .type = CONFIG_STR, .max = 64,
      .help = "Messaging Service (MG…) that chooses the sender; instead of the account's address." },
    { CONFIG_AT(sms_account, api_key_sid), .type = CONFIG_STR, .max = 64,
      .help = "API key (SK…) to sign in with instead of the auth token." },
    { CONFIG_AT(sms_account, api_key_secret), .type = CONFIG_STR, .flags = CONFIG_SECRET,
      .help = "Secret of the API key." },
    { CONFIG_AT(sms_account, api_base), .type = CONFIG_STR, .fallback = "https://api.twilio.com",
      .help = "Where the API is, without trailing slash; a region's address or a stand-in." },
    { CONFIG_AT(sms_account, sends_per_second), .type = CONFIG_U32, .fallback = "10", .min = 1, .max = 1000,
      .help = "Messages a second that the account may send (long code 1, toll-free 3, short code 100)." },
    { CONFIG_AT(sms_account, retry_horizon_ms), .type = CONFIG_MS, .fallback = "4h", .min = 1000,
      .max = 7 * 86400000LL, .help = "How long a message is tried before it fails as expired." },
    { CONFIG_AT(sms_account, validity_period_s), .type = CONFIG_U32, .fallback = "0", .max = 36000,
      .help = "Seconds that Twilio may keep a message in its own queue; 0: Twilio's default." },
    { CONFIG_AT(sms_account, mms), .type = CONFIG_BOOL, .fallback = "false",
      .help = "Files go out as MMS; only where the number can. Files that come in need no setting." },
    { 0 },
};
