/* SPDX-License-Identifier: Apache-2.0 */
/* media_ticket.c - the packed ticket and its HMAC-SHA256, as text that a URL can hold. */
#include "service/media_ticket.h"

#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "core/pbjson.h"

enum { MAC_BYTES = 32, PACKED_MAX_BYTES = 1024, TYPE_MAX_BYTES = 128, NAME_MAX_BYTES = 512 };

static struct str_view make_mac(const char *key, struct str_view packed, uint8_t ret_mac[EVP_MAX_MD_SIZE])
{
    unsigned len = 0;

    HMAC(EVP_sha256(), key, (int)strlen(key), (const uint8_t *)packed.data, packed.len, ret_mac, &len);
    return (struct str_view){ (const char *)ret_mac, len };
}

static const char *cut(const char *text, size_t max_bytes, char *ret_text)
{
    size_t len = utf8_cut(str_view_of(text), max_bytes);

    memcpy(ret_text, text, len);
    ret_text[len] = '\0';
    return ret_text;
}

void media_ticket_sign(const struct media_ticket_keys *keys, const Guichet__V1__MediaTicket *ticket,
                       struct buf *buf)
{
    Guichet__V1__MediaTicket signed_one = *ticket;
    char type[TYPE_MAX_BYTES + 1], name[NAME_MAX_BYTES + 1];
    uint8_t mac[EVP_MAX_MD_SIZE];
    SCOPED_BUF packed = { 0 };

    signed_one.content_type = (char *)cut(ticket->content_type, TYPE_MAX_BYTES, type);
    signed_one.file_name = (char *)cut(ticket->file_name, NAME_MAX_BYTES, name);
    buf_init(&packed, PACKED_MAX_BYTES);
    pb_pack(&signed_one.base, &packed);
    buf_append_view(&packed, make_mac(keys->current, buf_view(&packed), mac));
    base64url_append(buf, packed.data, packed.len);
}

static bool is_signed_by(const char *key, struct str_view packed, struct str_view mac)
{
    uint8_t own[EVP_MAX_MD_SIZE];

    return key != NULL && key[0] != '\0' && str_equal_secret(make_mac(key, packed, own), mac);
}

bool media_ticket_verify(const struct media_ticket_keys *keys, struct str_view token, int64_t now_us,
                         struct arena *arena, Guichet__V1__MediaTicket **ret_ticket, struct err *err)
{
    struct str_view packed, mac;
    ProtobufCMessage *message;
    Guichet__V1__MediaTicket *ticket;
    SCOPED_BUF bytes = { 0 };

    buf_init(&bytes, MEDIA_TICKET_TEXT_MAX_BYTES);
    if (token.len > MEDIA_TICKET_TEXT_MAX_BYTES || !base64_decode(token, &bytes) || bytes.len <= MAC_BYTES)
        return err_set(err, ERR_FORBIDDEN, "the link is malformed");
    packed = (struct str_view){ bytes.data, bytes.len - MAC_BYTES };
    mac = (struct str_view){ bytes.data + packed.len, MAC_BYTES };
    if (!is_signed_by(keys->current, packed, mac) && !is_signed_by(keys->previous, packed, mac))
        return err_set(err, ERR_FORBIDDEN, "the link is not one of ours");
    if (!pb_unpack(packed, &guichet__v1__media_ticket__descriptor, &pb_limits_default, arena, &message, err))
        return err_at(err, "link");
    ticket = (Guichet__V1__MediaTicket *)message;
    if (now_us < 0 || ticket->expires_at_s <= (uint64_t)now_us / 1000000)
        return err_set(err, ERR_FORBIDDEN, "the link's time is over");
    *ret_ticket = ticket;
    return true;
}

void media_link_append(struct buf *buf, const char *base, const struct media_ticket_keys *keys,
                       const Guichet__V1__MediaTicket *ticket)
{
    size_t len = strlen(base);

    buf_append(buf, base, len > 0 && base[len - 1] == '/' ? len - 1 : len);
    buf_append_char(buf, '/');
    media_ticket_sign(keys, ticket, buf);
    if (ticket->file_name[0] == '\0')
        return;
    buf_append_char(buf, '/');
    url_append(buf, (struct str_view){ ticket->file_name,
                                       utf8_cut(str_view_of(ticket->file_name), NAME_MAX_BYTES) });
}
