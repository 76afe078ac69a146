/* SPDX-License-Identifier: Apache-2.0 */
/* token.c - stateless proof: any replica that has the keys can check what another signed.
 *
 * A token is the packed claims followed by their HMAC-SHA256. Two keys are believed and the first signs, so
 * that keys can be changed without a moment in which somebody is refused. */
#include "token.h"

#include <inttypes.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "core/pbjson.h"
#include "core/pbtime.h"

enum { MAC_BYTES = 32, MAC_TEXT_MAX_BYTES = 4096 };

static struct str_view make_mac(const char *key, struct str_view text, uint8_t ret_mac[EVP_MAX_MD_SIZE])
{
    unsigned len = 0;

    HMAC(EVP_sha256(), key, (int)strlen(key), (const uint8_t *)text.data, text.len, ret_mac, &len);
    return (struct str_view){ (const char *)ret_mac, len };
}

void routing_token_sign(const struct routing_token_keys *keys, const Guichet__V1__AnnounceRequest *claims,
                        struct buf *buf)
{
    uint8_t mac[EVP_MAX_MD_SIZE];

    pb_pack(&claims->base, buf);
    buf_append_view(buf, make_mac(keys->current, buf_view(buf), mac));
}

static bool is_signed_by(const char *key, struct str_view packed, struct str_view mac)
{
    uint8_t own[EVP_MAX_MD_SIZE];

    return key != NULL && key[0] != '\0' && str_equal_secret(make_mac(key, packed, own), mac);
}

bool routing_token_verify(const struct routing_token_keys *keys, struct str_view token, int64_t now_us,
                          struct arena *arena, Guichet__V1__AnnounceRequest **ret_claims, struct err *err)
{
    struct str_view packed, mac;
    ProtobufCMessage *message;
    Guichet__V1__AnnounceRequest *claims;

    if (token.len == 0)
        return err_set(err, ERR_FORBIDDEN, "no token: announce first");
    if (token.len <= MAC_BYTES)
        return err_set(err, ERR_FORBIDDEN, "the token is malformed");
    packed = (struct str_view){ token.data, token.len - MAC_BYTES };
    mac = (struct str_view){ token.data + packed.len, MAC_BYTES };
    if (!is_signed_by(keys->current, packed, mac) && !is_signed_by(keys->previous, packed, mac))
        return err_set(err, ERR_FORBIDDEN, "the token is not of this centre");
    if (!pb_unpack(packed, &guichet__v1__announce_request__descriptor, &pb_limits_default, arena, &message,
                   err))
        return err_at(err, "token");
    claims = (Guichet__V1__AnnounceRequest *)message;
    if (pbtime_us(claims->at) <= now_us)
        return err_set(err, ERR_FORBIDDEN, "the token of connector '%s' is over: announce again",
                       claims->connector);
    *ret_claims = claims;
    return true;
}

const Guichet__V1__AnnouncedAccount *routing_token_account(const Guichet__V1__AnnounceRequest *claims,
                                                           const char *tenant, const char *account_id)
{
    for (size_t i = 0; i < claims->n_accounts; i++) {
        const Guichet__V1__AnnouncedAccount *account = claims->accounts[i];

        if (strcmp(account->id, account_id) == 0 &&
            (tenant[0] == '\0' || strcmp(account->tenant, tenant) == 0))
            return account;
    }
    return NULL;
}

bool routing_token_check_mac(const Guichet__V1__AnnounceRequest *request, const char *secret, int64_t now_us,
                             uint32_t skew_ms, struct err *err)
{
    int64_t at_us = pbtime_us(request->at), off_us = at_us > now_us ? at_us - now_us : now_us - at_us;
    struct str_view mac = { (const char *)request->mac.data, request->mac.len };
    uint8_t own[EVP_MAX_MD_SIZE];
    SCOPED_BUF text = { 0 };

    if (off_us > (int64_t)skew_ms * 1000)
        return err_set(err, ERR_FORBIDDEN,
                       "connector '%s': its clock is off by %" PRId64 " s, allowed are %u",
                       request->connector, off_us / 1000000, skew_ms / 1000);
    buf_init(&text, MAC_TEXT_MAX_BYTES);
    buf_printf(&text, "%s\n%s\n%" PRId64 "\n", request->connector, request->channel, at_us / 1000000);
    hex_append(&text, request->nonce.data, request->nonce.len);
    if (text.is_full || !str_equal_secret(make_mac(secret, buf_view(&text), own), mac))
        return err_set(err, ERR_FORBIDDEN, "connector '%s': unknown, or its secret is another",
                       request->connector);
    return true;
}
