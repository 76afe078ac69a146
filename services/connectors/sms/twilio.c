/* SPDX-License-Identifier: Apache-2.0 */
/* twilio.c - the provider's table, and whether an account is complete for it. */
#include "twilio.h"

#include <string.h>

static bool is_set(const char *text)
{
    return text != NULL && text[0] != '\0';
}

/* An id stands in a URL's path and in Twilio's own fields: letters and digits only. */
static bool is_sid(const char *text)
{
    return text[strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")] == '\0';
}

static bool check_url(const char *key, const char *url, struct err *err)
{
    size_t len = strlen(url);

    if (strncmp(url, "https://", 8) != 0 && strncmp(url, "http://", 7) != 0)
        return err_set(err, ERR_CONFIG, "key '%s': '%s' is no http or https URL", key, url);
    if (url[len - 1] == '/' || strpbrk(url, "?# ") != NULL)
        return err_set(err, ERR_CONFIG, "key '%s': '%s' has a trailing slash, a query, a fragment or a blank",
                       key, url);
    return true;
}

bool sms_twilio_check(const struct sms_account *account, struct err *err)
{
    if (!is_set(account->account.public_url))
        return err_set(err, ERR_CONFIG, "key 'public_url' is missing: Twilio signs the URL it was given");
    if (!check_url("public_url", account->account.public_url, err) ||
        !check_url("api_base", account->api_base, err))
        return false;
    if (!is_set(account->account_sid) || !is_sid(account->account_sid))
        return err_set(err, ERR_CONFIG, "key 'account_sid' is missing, or not letters and digits only");
    if (!is_set(account->auth_token))
        return err_set(err, ERR_CONFIG, "key 'auth_token' is missing: it proves the webhooks");
    if (!is_set(account->account.address) && !is_set(account->messaging_service_sid))
        return err_set(err, ERR_CONFIG, "either 'address' or 'messaging_service_sid' must be set");
    if (is_set(account->api_key_sid) != is_set(account->api_key_secret))
        return err_set(err, ERR_CONFIG, "'api_key_sid' and 'api_key_secret' go together");
    return true;
}

const struct sms_provider sms_twilio = {
    .name = "twilio",
    .check = sms_twilio_check,
    .verify = sms_twilio_verify,
    .normalise = sms_twilio_normalise,
    .render = sms_twilio_render,
    .outcome = sms_twilio_outcome,
    .media = sms_twilio_media,
};
