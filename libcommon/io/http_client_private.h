/* SPDX-License-Identifier: Apache-2.0 */
/* http_client_private.h - what the http_client*.c files share; nobody else includes it. */
#ifndef GUICHET_IO_HTTP_CLIENT_PRIVATE_H
#define GUICHET_IO_HTTP_CLIENT_PRIVATE_H

#include <curl/curl.h>

#include "io/http_client.h"

#define HTTP_CLIENT_REFUSED_BYTES 160

enum http_call_step { HTTP_CALL_WAITING, HTTP_CALL_RUNNING, HTTP_CALL_ENDED };

struct http_calls {
    struct http_call *first, *last;
    uint32_t count;
};

struct http_call {
    struct http_client *client;
    enum http_call_step step;
    struct http_call *earlier, *later; /* in the list of its step */
    http_done_fn *done;
    void *arg;
    CURL *curl;
    char *host;
    struct curl_slist *headers;
    struct buf body, answer;
    size_t body_given; /* how much of it libcurl has taken */
    bool is_safe_method;
    uint64_t started_ms, deadline_ms;
    char refused[HTTP_CLIENT_REFUSED_BYTES]; /* what the guard said */
    char curl_error[CURL_ERROR_SIZE];
    struct http_result result;
};

/* http_client_request.c: a request becomes options of libcurl */
bool http_client_prepare(struct http_call *call, const struct http_client_options *options,
                         const struct http_client_request *request, struct err *err) MUST_USE;
void http_client_set_timeout(struct http_call *call, uint64_t left_ms);
/* What became of it, from libcurl's code. */
void http_client_read_result(struct http_call *call, CURLcode code);

bool http_client_allows(const struct http_client *client, const struct sockaddr *address); /* http_client.c */

/* http_client_guard.c */
curl_socket_t http_client_open_socket(void *call, curlsocktype purpose, struct curl_sockaddr *address);

#endif
