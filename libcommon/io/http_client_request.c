/* SPDX-License-Identifier: Apache-2.0 */
/* http_client_request.c - a request becomes options of libcurl, and libcurl's answer a result.
 *
 * The body goes through a read callback, and its rewinding is refused: libcurl sends a request again by
 * itself when a kept connection turns out dead, and a message that a provider may have taken must not
 * leave a second time without its sender's knowing. */
#include "io/http_client_private.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    CONNECT_TIMEOUT_MS = 5000,
    ANSWER_MAX_BYTES = 1 << 20,
    LOW_SPEED_BYTES = 1,
    LOW_SPEED_SECONDS = 30,
    HEADER_MAX_BYTES = 16 << 10,
};

static size_t on_read(char *data, size_t size, size_t count, void *arg)
{
    struct http_call *call = arg;
    size_t len = size * count, left = call->body.len - call->body_given;

    if (len > left)
        len = left;
    if (len > 0)
        memcpy(data, call->body.data + call->body_given, len);
    call->body_given += len;
    return len;
}

static int on_seek(void *arg, curl_off_t offset, int origin)
{
    struct http_call *call = arg;

    if (origin != SEEK_SET || offset != 0 || (call->body_given > 0 && !call->is_safe_method))
        return CURL_SEEKFUNC_FAIL;
    call->body_given = 0;
    return CURL_SEEKFUNC_OK;
}

static size_t on_write(char *data, size_t size, size_t count, void *arg)
{
    struct http_call *call = arg;

    buf_append(&call->answer, data, size * count);
    return call->answer.is_full ? 0 : size * count;
}

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
    call->headers = curl_slist_append(call->headers, "Expect:"); /* no wait for 100 */
    curl_easy_setopt(call->curl, CURLOPT_HTTPHEADER, call->headers);
    return true;
}

/* Host of the URL, for messages: the rest of it may hold what is nobody's business. */
static bool read_host(struct http_call *call, const struct http_client_request *request,
                      bool allow_plain_http, struct err *err)
{
    CURLU *url = curl_url();
    char *host = NULL, *scheme = NULL;
    bool is_url, is_allowed;

    if (url == NULL)
        abort();
    is_url = curl_url_set(url, CURLUPART_URL, request->url, 0) == CURLUE_OK &&
             curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
             curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK;
    is_allowed =
        is_url && (strcmp(scheme, "https") == 0 || (allow_plain_http && strcmp(scheme, "http") == 0));
    if (is_url)
        call->host = str_dup(str_view_of(host));
    curl_free(host);
    curl_free(scheme);
    curl_url_cleanup(url);
    if (!is_url)
        return err_set(err, ERR_INVALID, "the URL is not one");
    if (!is_allowed)
        return err_set(err, ERR_INVALID, "the URL of host %s is not %s", call->host,
                       allow_plain_http ? "http or https" : "https");
    return true;
}

static void set_method(struct http_call *call, const struct http_client_request *request)
{
    const char *method = request->method;

    call->is_safe_method = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(call->curl, CURLOPT_NOBODY, 1L);
    } else if (request->body.len > 0 || strcmp(method, "POST") == 0) {
        curl_easy_setopt(call->curl, CURLOPT_POST, 1L);
        curl_easy_setopt(call->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
        curl_easy_setopt(call->curl, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(call->curl, CURLOPT_READDATA, call);
        curl_easy_setopt(call->curl, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(call->curl, CURLOPT_SEEKDATA, call);
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0 && strcmp(method, "POST") != 0)
        curl_easy_setopt(call->curl, CURLOPT_CUSTOMREQUEST, method);
    /* Nothing of it would have to be rewound, so nothing would stop libcurl from sending it twice. */
    if (request->body.len == 0 && !call->is_safe_method)
        curl_easy_setopt(call->curl, CURLOPT_FRESH_CONNECT, 1L);
}

static void set_limits(struct http_call *call, const struct http_client_options *options,
                       const struct http_client_request *request)
{
    const char *protocols = options->allow_plain_http ? "http,https" : "https";
    uint32_t connect_ms = request->connect_timeout_ms != 0 ? request->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    size_t max_bytes = request->answer_max_bytes != 0 ? request->answer_max_bytes : ANSWER_MAX_BYTES;

    buf_init(&call->answer, max_bytes);
    curl_easy_setopt(call->curl, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)max_bytes);
    curl_easy_setopt(call->curl, CURLOPT_PROTOCOLS_STR, protocols);
    curl_easy_setopt(call->curl, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
    curl_easy_setopt(call->curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(call->curl, CURLOPT_MAXREDIRS, 0L);
    curl_easy_setopt(call->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    curl_easy_setopt(call->curl, CURLOPT_LOW_SPEED_LIMIT, (long)LOW_SPEED_BYTES);
    curl_easy_setopt(call->curl, CURLOPT_LOW_SPEED_TIME, (long)LOW_SPEED_SECONDS);
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
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, call);
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
    buf_init(&call->body, request->body.len);
    buf_append_view(&call->body, request->body);
    set_surroundings(call, options);
    set_limits(call, options, request);
    set_method(call, request);
    curl_easy_setopt(call->curl, CURLOPT_URL, request->url);
    /* Whether a connection can carry several calls is known after TLS; without TLS only after its first answer,
     * and a call that waits for that waits for a peer that may never give it. */
    curl_easy_setopt(call->curl, CURLOPT_PIPEWAIT, strncasecmp(request->url, "https:", 6) == 0 ? 1L : 0L);
    if (request->user != NULL) {
        curl_easy_setopt(call->curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
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
    if (code == CURLE_FILESIZE_EXCEEDED || (code == CURLE_WRITE_ERROR && call->answer.is_full))
        (void)err_set(err, ERR_EXHAUSTED, "the answer of host %s is larger than %zu bytes", call->host,
                      call->answer.max_bytes);
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

void http_client_read_result(struct http_call *call, CURLcode code)
{
    struct http_result *result = &call->result;
    long status = 0;
    curl_off_t retry_after_s = 0;
    const char *content_type = NULL;

    if (code != CURLE_OK) {
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
