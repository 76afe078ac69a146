/* SPDX-License-Identifier: Apache-2.0 */
/* How Twilio signs a form: base64(HMAC-SHA1(token, URL + each name and value, sorted by name)). */
#include "ctl.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#define SIGN_PARAMS_MAX 64
#define SIGN_TEXT_MAX_BYTES 65536

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct sign_param *)a)->name, ((const struct sign_param *)b)->name);
}

void ctl_sign_form(const char *token, const char *url, const struct sign_param *params, size_t count,
                   struct buf *signature)
{
    struct sign_param sorted[SIGN_PARAMS_MAX];
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_len = 0;
    SCOPED_BUF text = { 0 };

    buf_init(&text, SIGN_TEXT_MAX_BYTES);
    if (count > SIGN_PARAMS_MAX)
        count = SIGN_PARAMS_MAX;
    memcpy(sorted, params, count * sizeof sorted[0]);
    qsort(sorted, count, sizeof sorted[0], by_name);
    buf_append_text(&text, url);
    for (size_t i = 0; i < count; i++) {
        buf_append_text(&text, sorted[i].name);
        buf_append_text(&text, sorted[i].value);
    }
    HMAC(EVP_sha1(), token, (int)strlen(token), (const unsigned char *)buf_text(&text), text.len, mac,
         &mac_len);
    base64_append(signature, mac, mac_len);
}
