/* SPDX-License-Identifier: Apache-2.0 */
/* http_client_redirect.c - redirects are followed by us, hop by hop.
 *
 * libcurl could follow by itself; but here each hop is a transfer of its own, whose address the guard judges, and
 * what belongs to the first origin (credentials, headers) surely stays there. */
#include "io/http_client_private.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static char *part_dup(CURLU *url, CURLUPart part, unsigned flags)
{
    char *text = NULL, *copy = NULL;

    if (curl_url_get(url, part, &text, flags) == CURLUE_OK)
        copy = str_dup(str_view_of(text));
    curl_free(text);
    return copy;
}

void http_client_url_done(struct http_client_url *url)
{
    free(url->scheme);
    free(url->host);
    free(url->port);
    *url = (struct http_client_url){ 0 };
}

bool http_client_read_url(const char *text, bool allow_plain_http, struct http_client_url *ret_url,
                          struct err *err)
{
    CURLU *handle = curl_url();
    struct http_client_url url = { 0 };

    if (handle == NULL)
        abort();
    if (curl_url_set(handle, CURLUPART_URL, text, 0) == CURLUE_OK)
        url = (struct http_client_url){ part_dup(handle, CURLUPART_SCHEME, 0),
                                        part_dup(handle, CURLUPART_HOST, 0),
                                        part_dup(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT) };
    curl_url_cleanup(handle);
    *ret_url = url;
    if (url.host == NULL || url.scheme == NULL)
        return err_set(err, ERR_INVALID, "the URL is not one");
    if (strcmp(url.scheme, "https") != 0 && !(allow_plain_http && strcmp(url.scheme, "http") == 0))
        return err_set(err, ERR_INVALID, "the URL of host %s is not %s", url.host,
                       allow_plain_http ? "http or https" : "https");
    return true;
}

static bool has_user(const char *text)
{
    CURLU *url = curl_url();
    bool has;

    if (url == NULL)
        abort();
    has = curl_url_set(url, CURLUPART_URL, text, CURLU_DISALLOW_USER) == CURLUE_USER_NOT_ALLOWED;
    curl_url_cleanup(url);
    return has;
}

bool http_client_may_follow(const char *from_text, const char *to_text, bool allow_plain_http,
                            bool *ret_is_same_origin, struct err *err)
{
    struct http_client_url from = { 0 }, to = { 0 };
    bool may = http_client_read_url(from_text, allow_plain_http, &from, err) &&
               http_client_read_url(to_text, allow_plain_http, &to, err);

    if (may && has_user(to_text))
        may = err_set(err, ERR_INVALID, "the URL of host %s names a user", to.host);
    if (may && strcmp(from.scheme, "https") == 0 && strcmp(to.scheme, "https") != 0)
        may = err_set(err, ERR_INVALID, "the URL of host %s is not https", to.host);
    *ret_is_same_origin = may && strcmp(from.scheme, to.scheme) == 0 && strcasecmp(from.host, to.host) == 0 &&
                          strcmp(from.port, to.port) == 0;
    http_client_url_done(&from);
    http_client_url_done(&to);
    return may;
}

static bool is_redirect_status(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

bool http_client_is_redirect(const struct http_call *call)
{
    return call->follows_redirects && is_redirect_status(http_call_status(call)) &&
           http_call_header(call, "Location") != NULL;
}

static void forget_credentials(struct http_call *call)
{
    curl_easy_setopt(call->curl, CURLOPT_USERNAME, NULL);
    curl_easy_setopt(call->curl, CURLOPT_PASSWORD, NULL);
    curl_easy_setopt(call->curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_NONE);
    curl_easy_setopt(call->curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(call->headers);
    call->headers = NULL;
}

static void begin_hop(struct http_call *call, const char *to, bool is_same_origin)
{
    struct http_client_url url = { 0 };
    struct err ignored = { 0 };

    if (!is_same_origin)
        forget_credentials(call);
    if (http_client_read_url(to, true, &url, &ignored)) {
        free(call->host);
        call->host = str_dup(str_view_of(url.host));
    }
    http_client_url_done(&url);
    free(call->url);
    call->url = str_dup(str_view_of(to));
    curl_easy_setopt(call->curl, CURLOPT_URL, call->url);
    call->result = (struct http_result){ 0 };
    call->answer_bytes = 0;
    call->refused[0] = call->curl_error[0] = '\0';
    buf_clear(&call->answer);
}

/* By ourselves: the URL that libcurl tells (CURLINFO_REDIRECT_URL) has our credentials in it. NULL: no URL. */
static char *resolve(const char *from, const char *location)
{
    CURLU *url = curl_url();
    char *to = NULL;

    if (url == NULL)
        abort();
    if (location != NULL && curl_url_set(url, CURLUPART_URL, from, 0) == CURLUE_OK &&
        curl_url_set(url, CURLUPART_URL, location, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK)
        to = part_dup(url, CURLUPART_URL, 0);
    curl_url_cleanup(url);
    return to;
}

bool http_client_follow(struct http_call *call, const struct http_client_options *options, struct err *err)
{
    char *to = resolve(call->url, http_call_header(call, "Location"));
    bool is_same_origin = false, may = false;

    if (to == NULL)
        (void)err_set(err, ERR_INVALID, "host %s redirects to what is no URL", call->host);
    else if (call->redirects_left == 0)
        (void)err_set(err, ERR_INVALID, "host %s: too many redirects", call->host);
    else if (http_client_may_follow(call->url, to, options->allow_plain_http, &is_same_origin, err))
        may = true;
    else
        (void)err_at(err, "host %s redirects", call->host);
    if (may) {
        call->redirects_left--;
        begin_hop(call, to, is_same_origin);
    }
    free(to);
    return may;
}
