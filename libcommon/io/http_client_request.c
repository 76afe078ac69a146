/* SPDX-License-Identifier: Apache-2.0 */
/* http_client_request.c - a request becomes options of libcurl, and libcurl's answer a result. */
#include "io/http_client_private.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    CONNECT_TIMEOUT_MS = 5000,
    ANSWER_MAX_BYTES = 1 << 20,
    LOW_SPEED_BYTES = 1,
    STALL_TIMEOUT_MS = 30000,
    HEADER_MAX_BYTES = 16 << 10,
};

static bool is_header_text(const char *text, bool is_name)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f || (is_name && strchr(" :", *text) != NULL))
            return *text == '\t' && !is_name;
    return true;
}

static bool add_header(struct http_call *call, const char *name, const char *value, struct err *err)
{
    struct curl_slist *longer;
    SCOPED_BUF line = { 0 };

    if (*name == '\0' || !is_header_text(name, true) || !is_header_text(value, false))
        return err_set(err, ERR_INVALID, "header '%s' is not sendable", name);
    buf_init(&line, HEADER_MAX_BYTES);
    /* libcurl leaves a header without a value out, unless it is written with a semicolon. */
    buf_printf(&line, *value != '\0' ? "%s: %s" : "%s;", name, value);
    if (line.is_full)
        return err_set(err, ERR_INVALID, "header '%s' is too long", name);
    longer = curl_slist_append(call->headers, buf_text(&line));
    if (longer == NULL)
        abort();
    call->headers = longer;
    return true;
}

static bool set_headers(struct http_call *call, const struct http_client_request *request, struct err *err)
{
    if (request->header_count > COUNT_OF(request->headers))
        return err_set(err, ERR_INVALID, "%zu headers are too many", request->header_count);
    for (size_t i = 0; i < request->header_count; i++)
        if (!add_header(call, request->headers[i].name, request->headers[i].value, err))
            return false;
    /* No wait for 100. Not where it signs: libcurl 7.88 would sign the header that is not sent. */
    if (request->aws_sigv4 == NULL)
        call->headers = curl_slist_append(call->headers, "Expect:");
    curl_easy_setopt(call->curl, CURLOPT_HTTPHEADER, call->headers);
    return true;
}

static bool read_host(struct http_call *call, const struct http_client_request *request,
                      bool allow_plain_http, struct err *err)
{
    struct http_client_url url = { 0 };
    bool is_allowed = http_client_read_url(request->url, allow_plain_http, &url, err);

    if (url.host != NULL)
        call->host = str_dup(str_view_of(url.host));
    http_client_url_done(&url);
    return is_allowed;
}

static void set_method(struct http_call *call, const struct http_client_request *request)
{
    const char *method = request->method;
    bool has_body = request->body.len > 0 || request->read != NULL;

    call->is_safe_method = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(call->curl, CURLOPT_NOBODY, 1L);
    } else if (has_body || strcmp(method, "POST") == 0) {
        curl_easy_setopt(call->curl, CURLOPT_POST, 1L);
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0 && strcmp(method, "POST") != 0)
        curl_easy_setopt(call->curl, CURLOPT_CUSTOMREQUEST, method);
    /* Nothing of it would have to be rewound, so nothing would stop libcurl from sending it twice. */
    if (!has_body && !call->is_safe_method)
        curl_easy_setopt(call->curl, CURLOPT_FRESH_CONNECT, 1L);
}

static void set_limits(struct http_call *call, const struct http_client_options *options,
                       const struct http_client_request *request)
{
    const char *protocols = options->allow_plain_http ? "http,https" : "https";
    uint32_t connect_ms = request->connect_timeout_ms != 0 ? request->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    uint32_t stall_ms = request->stall_timeout_ms != 0 ? request->stall_timeout_ms : STALL_TIMEOUT_MS;

    call->answer_max_bytes = request->answer_max_bytes != 0 ? request->answer_max_bytes : ANSWER_MAX_BYTES;
    call->follows_redirects = request->redirects_max > 0 && call->is_safe_method;
    call->redirects_left = request->redirects_max;
    curl_easy_setopt(call->curl, CURLOPT_PROTOCOLS_STR, protocols);
    curl_easy_setopt(call->curl, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
    curl_easy_setopt(call->curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(call->curl, CURLOPT_MAXREDIRS, 0L);
    curl_easy_setopt(call->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    curl_easy_setopt(call->curl, CURLOPT_LOW_SPEED_LIMIT, (long)LOW_SPEED_BYTES);
    curl_easy_setopt(call->curl, CURLOPT_LOW_SPEED_TIME, ((long)stall_ms + 999) / 1000);
}

static void set_surroundings(struct http_call *call, const struct http_client_options *options)
{
    CURL *curl = call->curl;

    curl_easy_setopt(curl, CURLOPT_PRIVATE, call);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L); /* never join a thread that resolves a name */
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, call->curl_error);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, http_client_open_socket);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, call);
    if (options->user_agent != NULL)
        curl_easy_setopt(curl, CURLOPT_USERAGENT, options->user_agent);
}

bool http_client_prepare(struct http_call *call, const struct http_client_options *options,
                         const struct http_client_request *request, struct err *err)
{
    if (!read_host(call, request, options->allow_plain_http, err))
        return false;
    call->curl = curl_easy_init();
    if (call->curl == NULL)
        abort();
    set_surroundings(call, options);
    set_method(call, request);
    set_limits(call, options, request);
    http_client_set_bodies(call, request);
    call->url = str_dup(str_view_of(request->url));
    curl_easy_setopt(call->curl, CURLOPT_URL, call->url);
    /* Whether a connection can carry several calls is known after TLS; without TLS only after its first answer,
     * and a call that waits for that waits for a peer that may never give it. */
    curl_easy_setopt(call->curl, CURLOPT_PIPEWAIT, strncasecmp(request->url, "https:", 6) == 0 ? 1L : 0L);
    if (request->user != NULL) {
        curl_easy_setopt(call->curl, CURLOPT_HTTPAUTH,
                         request->aws_sigv4 != NULL ? (long)CURLAUTH_AWS_SIGV4 : (long)CURLAUTH_BASIC);
        if (request->aws_sigv4 != NULL)
            curl_easy_setopt(call->curl, CURLOPT_AWS_SIGV4, request->aws_sigv4);
        curl_easy_setopt(call->curl, CURLOPT_USERNAME, request->user);
        curl_easy_setopt(call->curl, CURLOPT_PASSWORD, request->password != NULL ? request->password : "");
    }
    return set_headers(call, request, err);
}

void http_client_set_timeout(struct http_call *call, uint64_t left_ms)
{
    curl_easy_setopt(call->curl, CURLOPT_TIMEOUT_MS, (long)(left_ms > 0 ? left_ms : 1));
}

static bool may_be_sent(CURL *curl)
{
    long request_bytes = 0;
    curl_off_t body_bytes = 0, ready_us = 0;

    curl_easy_getinfo(curl, CURLINFO_REQUEST_SIZE, &request_bytes);
    curl_easy_getinfo(curl, CURLINFO_SIZE_UPLOAD_T, &body_bytes);
    curl_easy_getinfo(curl, CURLINFO_PRETRANSFER_TIME_T, &ready_us);
    return request_bytes > 0 || body_bytes > 0 || ready_us > 0;
}

static void read_error(struct http_call *call, CURLcode code)
{
    struct err *err = &call->result.err;
    const char *text = call->curl_error[0] != '\0' ? call->curl_error : curl_easy_strerror(code);

    call->result.is_sent = may_be_sent(call->curl);
    if (call->is_given_up)
        (void)err_set(err, ERR_CANCELED, "host %s: the call was given up", call->host);
    else if (code == CURLE_FILESIZE_EXCEEDED || call->is_too_large)
        (void)err_set(err, ERR_EXHAUSTED, "the answer of host %s is larger than %llu bytes", call->host,
                      (unsigned long long)call->answer_max_bytes);
    else if (call->refused[0] != '\0' && !call->result.is_sent && code != CURLE_OPERATION_TIMEDOUT)
        (void)err_set(err, ERR_FORBIDDEN, "%s", call->refused);
    else if (code == CURLE_OPERATION_TIMEDOUT)
        (void)err_set(err, ERR_DEADLINE, "host %s: %s", call->host, text);
    else if (code == CURLE_SEND_FAIL_REWIND)
        (void)err_set(err, ERR_UNAVAILABLE, "host %s: the connection ended after the request was sent",
                      call->host);
    else
        (void)err_set(err, ERR_UNAVAILABLE, "host %s: %s", call->host, text);
}

/* What came, or was announced when it was refused for its size. */
static uint64_t answer_bytes(const struct http_call *call)
{
    curl_off_t announced = -1;

    curl_easy_getinfo(call->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced);
    return call->is_too_large && announced > 0 ? (uint64_t)announced : call->answer_bytes;
}

void http_client_read_result(struct http_call *call, CURLcode code)
{
    struct http_result *result = &call->result;
    long status = 0;
    curl_off_t retry_after_s = 0;
    const char *content_type = NULL;

    result->body_bytes = answer_bytes(call);
    if (code != CURLE_OK || call->is_given_up) {
        read_error(call, code);
        return;
    }
    curl_easy_getinfo(call->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(call->curl, CURLINFO_CONTENT_TYPE, &content_type);
    curl_easy_getinfo(call->curl, CURLINFO_RETRY_AFTER, &retry_after_s); /* seconds or a date */
    result->status = (int)status;
    result->is_sent = true;
    result->body = buf_view(&call->answer);
    result->content_type = content_type != NULL ? content_type : "";
    if (retry_after_s > 0)
        result->retry_after_ms =
            retry_after_s < UINT32_MAX / 1000 ? (uint32_t)retry_after_s * 1000 : UINT32_MAX;
}
