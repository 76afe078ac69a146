/* SPDX-License-Identifier: Apache-2.0 */
/* tickets.c - one-time WebSocket tickets.
 *
 * Layout before base64url: 12 bytes of nonce, then AES-256-GCM of (8 bytes expiry, big
 * endian; the token), then its 16 bytes of tag. Random nonces under one key are safe for
 * 2^32 tickets (NIST SP 800-38D §8.3), centuries of log-ins; the key is changed sooner. */
#include "tickets.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

#include "core/id.h"

#define NONCE_BYTES 12
#define TAG_BYTES 16
#define EXPIRY_BYTES 8
#define TICKET_BYTES_MAX 2048

struct used_nonce {
    unsigned char nonce[NONCE_BYTES];
    int64_t expires_us;
};

struct tickets {
    unsigned char key[SHA256_DIGEST_LENGTH];
    struct used_nonce *used;
    size_t count, size;
};

static const unsigned char purpose[] = "guichet.events.ticket.1";

struct tickets *tickets_new(const char *key)
{
    struct tickets *tickets = calloc(1, sizeof(*tickets));

    if (tickets == NULL)
        abort();
    SHA256((const unsigned char *)key, strlen(key), tickets->key);
    return tickets;
}

void tickets_free(struct tickets **tickets)
{
    if (*tickets == NULL)
        return;
    free((*tickets)->used);
    free(*tickets);
    *tickets = NULL;
}

static EVP_CIPHER_CTX *cipher_new(void)
{
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();

    if (cipher == NULL)
        abort();
    return cipher;
}

void tickets_append(const struct tickets *tickets, const char *token, int64_t expires_us,
                    struct buf *ret_ticket)
{
    unsigned char plain[TICKET_BYTES_MAX], sealed[NONCE_BYTES + TICKET_BYTES_MAX + TAG_BYTES];
    size_t token_len = strlen(token), plain_len = EXPIRY_BYTES + token_len;
    EVP_CIPHER_CTX *cipher = cipher_new();
    int len = 0;

    if (plain_len > sizeof(plain))
        abort(); /* tokens are bounded where they come in */
    for (size_t i = 0; i < EXPIRY_BYTES; i++)
        plain[i] = (unsigned char)((uint64_t)expires_us >> (56 - 8 * i));
    memcpy(plain + EXPIRY_BYTES, token, token_len);
    random_bytes(sealed, NONCE_BYTES);
    if (EVP_EncryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, tickets->key, sealed) != 1 ||
        EVP_EncryptUpdate(cipher, NULL, &len, purpose, sizeof(purpose)) != 1 ||
        EVP_EncryptUpdate(cipher, sealed + NONCE_BYTES, &len, plain, (int)plain_len) != 1 ||
        EVP_EncryptFinal_ex(cipher, sealed + NONCE_BYTES + plain_len, &len) != 1 ||
        EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, sealed + NONCE_BYTES + plain_len) != 1)
        abort();
    EVP_CIPHER_CTX_free(cipher);
    base64url_append(ret_ticket, sealed, NONCE_BYTES + plain_len + TAG_BYTES);
}

/* false: not sealed by this key. */
static bool open_sealed(const struct tickets *tickets, const unsigned char *sealed, size_t plain_len,
                        unsigned char *ret_plain)
{
    EVP_CIPHER_CTX *cipher = cipher_new();
    unsigned char tag[TAG_BYTES];
    int len = 0;
    bool ok;

    memcpy(tag, sealed + NONCE_BYTES + plain_len, TAG_BYTES);
    ok = EVP_DecryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, tickets->key, sealed) == 1 &&
         EVP_DecryptUpdate(cipher, NULL, &len, purpose, sizeof(purpose)) == 1 &&
         EVP_DecryptUpdate(cipher, ret_plain, &len, sealed + NONCE_BYTES, (int)plain_len) == 1 &&
         EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, tag) == 1 &&
         EVP_DecryptFinal_ex(cipher, ret_plain + plain_len, &len) == 1;
    EVP_CIPHER_CTX_free(cipher);
    return ok;
}

/* false: used before. Drops what has expired on the way. */
static bool nonce_use(struct tickets *tickets, const unsigned char *nonce, int64_t expires_us, int64_t now_us)
{
    size_t kept = 0;
    bool is_new = true;

    for (size_t i = 0; i < tickets->count; i++) {
        if (memcmp(tickets->used[i].nonce, nonce, NONCE_BYTES) == 0)
            is_new = false;
        if (tickets->used[i].expires_us > now_us)
            tickets->used[kept++] = tickets->used[i];
    }
    tickets->count = kept;
    if (!is_new)
        return false;
    if (tickets->count == tickets->size) {
        tickets->size = tickets->size == 0 ? 64 : tickets->size * 2;
        tickets->used = realloc(tickets->used, tickets->size * sizeof(*tickets->used));
        if (tickets->used == NULL)
            abort();
    }
    memcpy(tickets->used[tickets->count].nonce, nonce, NONCE_BYTES);
    tickets->used[tickets->count++].expires_us = expires_us;
    return true;
}

bool tickets_use(struct tickets *tickets, const char *ticket, int64_t now_us, struct buf *ret_token,
                 struct err *err)
{
    unsigned char plain[TICKET_BYTES_MAX];
    uint64_t expires = 0;
    size_t plain_len;
    SCOPED_BUF sealed;

    buf_init(&sealed, NONCE_BYTES + sizeof(plain) + TAG_BYTES);
    if (!base64_decode(str_view_of(ticket), &sealed) || sealed.is_full ||
        sealed.len <= NONCE_BYTES + EXPIRY_BYTES + TAG_BYTES)
        return err_set(err, ERR_FORBIDDEN, "this is no ticket");
    plain_len = sealed.len - NONCE_BYTES - TAG_BYTES;
    if (!open_sealed(tickets, (const unsigned char *)sealed.data, plain_len, plain))
        return err_set(err, ERR_FORBIDDEN, "this is no ticket of ours");
    for (size_t i = 0; i < EXPIRY_BYTES; i++)
        expires = expires << 8 | plain[i];
    if ((int64_t)expires <= now_us)
        return err_set(err, ERR_FORBIDDEN, "the ticket has expired");
    if (!nonce_use(tickets, (const unsigned char *)sealed.data, (int64_t)expires, now_us))
        return err_set(err, ERR_FORBIDDEN, "the ticket was used before");
    buf_append(ret_token, plain + EXPIRY_BYTES, plain_len - EXPIRY_BYTES);
    return true;
}
