/* SPDX-License-Identifier: Apache-2.0 */
/* twilio_verify.c - is this webhook Twilio's? HMAC-SHA1 over the public URL and the decoded parameters.
 *
 * The URL comes from configuration: behind a proxy neither Host nor X-Forwarded-* can be believed.
 * Twilio's own libraries take four forms of it (with and without port, query as is and re-encoded), as
 * its back ends do not agree; so do we, for the token and the one before it, so that a rotation loses nothing. */
#include "twilio.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "form.h"

enum { SIGNATURE_BYTES = 20, HASH_BYTES = 32, URL_MAX_BYTES = 16384 };

/* ---- the four forms of the URL ---- */

struct url_parts {
    struct str_view scheme; /* with "://" */
    struct str_view user;   /* with '@', or empty */
    struct str_view host;
    struct str_view port;  /* with ':', or empty */
    struct str_view path;  /* up to the query */
    struct str_view query; /* without '?' */
    bool has_query;
};

static struct str_view cut(struct str_view *rest, size_t len)
{
    struct str_view piece = { rest->data, len };

    rest->data += len;
    rest->len -= len;
    return piece;
}

/* Splits without normalising anything: what was signed is what was configured. */
static void url_split(struct str_view url, struct url_parts *ret_parts)
{
    struct url_parts parts = { 0 };
    struct str_view rest = url, authority;
    const char *mark = memmem(url.data, url.len, "://", 3);
    size_t len;

    parts.scheme = cut(&rest, mark != NULL ? (size_t)(mark - url.data) + 3 : 0);
    for (len = 0; len < rest.len && strchr("/?", rest.data[len]) == NULL; len++)
        ;
    authority = cut(&rest, len);
    mark = memrchr(authority.data, '@', authority.len);
    parts.user = cut(&authority, mark != NULL ? (size_t)(mark - authority.data) + 1 : 0);
    mark = memrchr(authority.data, ']', authority.len); /* an IPv6 address holds colons */
    len = mark != NULL ? (size_t)(mark - authority.data) : 0;
    while (len < authority.len && authority.data[len] != ':')
        len++;
    parts.host = cut(&authority, len);
    parts.port = authority;
    mark = memchr(rest.data, '?', rest.len);
    parts.has_query = mark != NULL;
    parts.path = cut(&rest, mark != NULL ? (size_t)(mark - rest.data) : rest.len);
    if (mark != NULL)
        parts.query = (struct str_view){ rest.data + 1, rest.len - 1 };
    *ret_parts = parts;
}

/* As encodeURIComponent() does, with which the helper libraries re-encode. */
static void append_component(struct buf *buf, struct str_view text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        bool is_alphanumeric = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

        if (is_alphanumeric || (c != '\0' && strchr("-_.!~*'()", c) != NULL))
            buf_append_char(buf, (char)c);
        else
            buf_printf(buf, "%%%02X", c);
    }
}

/* Parameters of one name come together, where the first of them stood. */
static void append_legacy_query(struct buf *buf, const struct sms_form *query)
{
    bool is_first = true;

    for (size_t i = 0; i < query->count; i++) {
        bool is_repeat = false;

        for (size_t j = 0; j < i && !is_repeat; j++)
            is_repeat = str_equal(query->params[j].name, query->params[i].name);
        for (size_t j = i; j < query->count && !is_repeat; j++) {
            if (!str_equal(query->params[j].name, query->params[i].name))
                continue;
            if (!is_first)
                buf_append_char(buf, '&');
            is_first = false;
            append_component(buf, query->params[j].name);
            buf_append_char(buf, '=');
            append_component(buf, query->params[j].value);
        }
    }
}

static void append_url(struct buf *buf, const struct url_parts *parts, bool has_port,
                       const struct sms_form *legacy)
{
    buf_append_view(buf, parts->scheme);
    buf_append_view(buf, parts->user);
    buf_append_view(buf, parts->host);
    if (has_port && parts->port.len > 0)
        buf_append_view(buf, parts->port);
    else if (has_port)
        buf_append_text(buf, str_equal_nocase(parts->scheme, STR_LITERAL("https://")) ? ":443" : ":80");
    buf_append_view(buf, parts->path);
    if (parts->has_query)
        buf_append_char(buf, '?');
    if (legacy != NULL)
        append_legacy_query(buf, legacy);
    else
        buf_append_view(buf, parts->query);
}

/* ---- what is signed beside the URL ---- */

static int compare_views(struct str_view a, struct str_view b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len > 0 ? memcmp(a.data, b.data, len) : 0;

    if (order != 0)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

static int compare_params(const void *a, const void *b)
{
    const struct sms_form_param *left = a, *right = b;
    int order = compare_views(left->name, right->name);

    return order != 0 ? order : compare_views(left->value, right->value);
}

/* Sorted by name, then by value, each pair once. */
static void append_params(struct buf *buf, const struct sms_form *form)
{
    for (size_t i = 0; i < form->count; i++) {
        if (i > 0 && compare_params(&form->params[i], &form->params[i - 1]) == 0)
            continue;
        buf_append_view(buf, form->params[i].name);
        buf_append_view(buf, form->params[i].value);
    }
}

static bool is_token_match(const char *token, struct str_view data, struct str_view signature)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_len = 0;

    if (token == NULL || token[0] == '\0')
        return false;
    if (HMAC(EVP_sha1(), token, (int)strlen(token), (const unsigned char *)data.data, data.len, mac,
             &mac_len) == NULL)
        return false;
    return str_equal_secret(signature, (struct str_view){ (const char *)mac, mac_len });
}

static bool is_signed(const struct sms_account *account, struct str_view url, const struct sms_form *params,
                      const struct sms_form *query, struct str_view signature)
{
    bool is_match = false;
    struct url_parts parts;

    url_split(url, &parts);
    for (int form = 0; form < 4 && !is_match; form++) {
        SCOPED_BUF data;

        buf_init(&data, 4 * URL_MAX_BYTES + 1024 * 1024);
        append_url(&data, &parts, (form & 1) != 0, (form & 2) != 0 ? query : NULL);
        append_params(&data, params);
        if (data.is_full)
            continue;
        is_match |= is_token_match(account->auth_token, buf_view(&data), signature);
        is_match |= is_token_match(account->auth_token_previous, buf_view(&data), signature);
    }
    return is_match;
}

/* A body that is no form is covered by its hash, which the signed URL carries. */
static bool is_body_hash_match(struct str_view hash_hex, struct str_view body)
{
    unsigned char hash[HASH_BYTES];
    unsigned hash_len = 0;
    SCOPED_BUF expected;

    buf_init(&expected, 256);
    if (!hex_decode(hash_hex, &expected) || expected.len != HASH_BYTES)
        return false;
    if (EVP_Digest(body.data, body.len, hash, &hash_len, EVP_sha256(), NULL) != 1)
        return false;
    return str_equal_secret(buf_view(&expected), (struct str_view){ (const char *)hash, hash_len });
}

/* ---- the slot ---- */

/* For people: a GET's query is the message itself, so it is left out. */
static bool refuse(struct err *err, const char *why, const struct hook_request *request, const char *url)
{
    int shown = (int)(strcmp(request->method, "GET") == 0 ? strcspn(url, "?") : strlen(url));

    return err_set(err, ERR_FORBIDDEN, "%s; checked against %.*s", why, shown, url);
}

bool sms_twilio_verify(const struct sms_account *account, const struct hook_request *request,
                       struct arena *arena, struct err *err)
{
    const char *header = request->header(request, "X-Twilio-Signature");
    const char *url = arena_printf(arena, "%s%s%s%s", account->account.public_url, request->path,
                                   request->query[0] != '\0' ? "?" : "", request->query);
    struct sms_form query, params = { 0 };
    struct str_view body_hash;
    SCOPED_BUF signature;

    buf_init(&signature, 256);
    if (header == NULL)
        return refuse(err, "no X-Twilio-Signature", request, url);
    if (strlen(url) > URL_MAX_BYTES)
        return err_set(err, ERR_FORBIDDEN, "URL longer than %d bytes", URL_MAX_BYTES);
    if (!base64_decode(str_view_of(header), &signature) || signature.len != SIGNATURE_BYTES)
        return refuse(err, "X-Twilio-Signature is no base64 of 20 bytes", request, url);
    if (!sms_form_read(str_view_of(request->query), arena, &query, err))
        return err_at(err, "query");
    body_hash = sms_form_get(&query, "bodySHA256");
    if (body_hash.data == NULL && strcmp(request->method, "GET") != 0) {
        if (!sms_form_read(request->body, arena, &params, err))
            return false;
        qsort(params.params, params.count, sizeof(*params.params), compare_params);
    }
    if (!is_signed(account, str_view_of(url), &params, &query, buf_view(&signature)))
        return refuse(err, "signature does not match", request, url);
    if (body_hash.data != NULL && !is_body_hash_match(body_hash, request->body))
        return refuse(err, "bodySHA256 is not that of the body", request, url);
    return true;
}
