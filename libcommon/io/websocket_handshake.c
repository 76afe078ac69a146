/* SPDX-License-Identifier: Apache-2.0 */
/* websocket_handshake.c - the opening handshake of RFC 6455 §4.2, as the server checks it. */
#include "io/websocket_private.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

enum { KEY_BYTES = 16, SHA1_BYTES = 20, KEY_TEXT_MAX_BYTES = 64, PROBLEM_MAX_BYTES = 2048 };

/* Is `wanted` one of the comma-separated words of the header? */
static bool has_word(const struct http_exchange *exchange, const char *name, const char *wanted,
                     bool is_case_kept)
{
    struct str_view rest = str_view_of(http_exchange_header(exchange, name)), piece;

    while (str_next(&rest, ',', &piece)) {
        struct str_view word = str_trim(piece);

        if (is_case_kept ? str_equal(word, str_view_of(wanted)) : str_equal_nocase(word, str_view_of(wanted)))
            return true;
    }
    return false;
}

static bool refuse(struct http_exchange *exchange, int status, const char *detail)
{
    SCOPED_BUF body;

    buf_init(&body, PROBLEM_MAX_BYTES);
    http_exchange_word_problem(exchange, status, detail, &body);
    if (status == 426) {
        http_exchange_set_header(exchange, "Upgrade", "websocket");
        http_exchange_set_header(exchange, "Sec-WebSocket-Version", "13");
    }
    (void)http_exchange_reply(exchange, status, "application/problem+json", buf_view(&body));
    return false;
}

static bool is_key(const char *key)
{
    bool is_sound;
    SCOPED_BUF bytes;

    buf_init(&bytes, KEY_TEXT_MAX_BYTES);
    is_sound =
        key != NULL && strlen(key) == 24 && base64_decode(str_view_of(key), &bytes) && bytes.len == KEY_BYTES;
    return is_sound;
}

static void answer_key(const char *key, char ret_accept[WEBSOCKET_ACCEPT_BYTES])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    char joined[KEY_TEXT_MAX_BYTES + 40];
    SCOPED_BUF text;

    snprintf(joined, sizeof(joined), "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    EVP_Digest(joined, strlen(joined), digest, NULL, EVP_sha1(), NULL);
    buf_init(&text, WEBSOCKET_ACCEPT_BYTES);
    base64_append(&text, digest, SHA1_BYTES);
    snprintf(ret_accept, WEBSOCKET_ACCEPT_BYTES, "%s", buf_text(&text));
}

bool websocket_check_handshake(struct http_exchange *exchange, const char *subprotocol,
                               char ret_accept[WEBSOCKET_ACCEPT_BYTES])
{
    const char *version = http_exchange_header(exchange, "Sec-WebSocket-Version");
    const char *key = http_exchange_header(exchange, "Sec-WebSocket-Key");

    if (strcmp(http_exchange_method(exchange), "GET") != 0 ||
        !has_word(exchange, "Upgrade", "websocket", false))
        return refuse(exchange, 426, "this is a WebSocket");
    if (!has_word(exchange, "Connection", "upgrade", false))
        return refuse(exchange, 400, "Connection is not Upgrade");
    if (version == NULL || strcmp(version, "13") != 0)
        return refuse(exchange, 426, "Sec-WebSocket-Version is not 13");
    if (!is_key(key))
        return refuse(exchange, 400, "Sec-WebSocket-Key is not 16 bytes in base64");
    if (subprotocol != NULL && !has_word(exchange, "Sec-WebSocket-Protocol", subprotocol, true))
        return refuse(exchange, 400, "Sec-WebSocket-Protocol has none that is spoken here");
    answer_key(key, ret_accept);
    return true;
}
