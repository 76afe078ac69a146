/* SPDX-License-Identifier: Apache-2.0 */
/* twilio_media.c - a file of an incoming message becomes a GET of its MediaUrl.
 *
 * The URL comes in a webhook, which is signed, but it may lead anywhere all the same: credentials go to the API's own
 * host only. Twilio answers with a redirect to a store of its own, which gets none (http_client.h). */
#include "twilio.h"

#include <string.h>

#define TWILIO_DOMAIN ".twilio.com"

struct place {
    struct str_view scheme, host; /* host with its port */
};

/* Where readers of URLs disagree: a backslash ends the host for some and is part of a user's name for others. */
static bool is_plain(const char *url)
{
    for (const char *c = url; *c != '\0'; c++)
        if (*c <= ' ' || *c >= 0x7f || *c == '\\')
            return false;
    return true;
}

/* false: no absolute http or https URL, or one that names a user or that may be read in two ways. */
static bool read_place(const char *url, struct place *ret_place)
{
    const char *colon = strstr(url, "://");
    struct place place;

    if (colon == NULL || !is_plain(url))
        return false;
    place.scheme = (struct str_view){ url, (size_t)(colon - url) };
    place.host = (struct str_view){ colon + 3, strcspn(colon + 3, "/?#") };
    *ret_place = place;
    return place.host.len > 0 && memchr(place.host.data, '@', place.host.len) == NULL &&
           (str_equal_nocase(place.scheme, STR_LITERAL("https")) ||
            str_equal_nocase(place.scheme, STR_LITERAL("http")));
}

static bool is_twilio(const struct place *place)
{
    size_t len = sizeof(TWILIO_DOMAIN) - 1;

    return str_equal_nocase(place->scheme, STR_LITERAL("https")) && place->host.len > len &&
           str_equal_nocase((struct str_view){ place->host.data + place->host.len - len, len },
                            STR_LITERAL(TWILIO_DOMAIN));
}

static bool is_trusted(const struct sms_account *account, const struct place *place)
{
    struct place base;

    if (!read_place(account->api_base, &base))
        return false;
    if (str_equal_nocase(place->scheme, base.scheme) && str_equal_nocase(place->host, base.host))
        return true;
    return is_twilio(&base) && is_twilio(place);
}

bool sms_twilio_media(const struct sms_account *account, const Guichet__V1__FetchMedia *fetch,
                      struct arena *arena, struct http_client_request *ret_request, struct err *err)
{
    bool has_key = account->api_key_sid[0] != '\0';
    struct place place;

    (void)arena;
    if (!read_place(fetch->media->provider_url, &place))
        return err_set(err, ERR_INVALID, "the provider gave no address to fetch it from");
    *ret_request = (struct http_client_request){ .method = "GET", .url = fetch->media->provider_url };
    if (is_trusted(account, &place)) {
        ret_request->user = has_key ? account->api_key_sid : account->account_sid;
        ret_request->password = has_key ? account->api_key_secret : account->auth_token;
    }
    return true;
}
