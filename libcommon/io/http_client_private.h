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

/* Where a URL leads; for messages the host only: the rest of it may hold what is nobody's business. */
struct http_client_url {
    char *scheme, *host, *port;
};

struct http_call {
    struct http_client *client;
    enum http_call_step step;
    struct http_call *earlier, *later; /* in the list of its step */
    http_done_fn *done;
    void *arg;
    CURL *curl;
    char *url, *host;
    struct curl_slist *headers;
    struct buf body, answer;
    uint64_t body_given; /* how much of it libcurl has taken */
    http_read_fn *read;
    uint64_t read_bytes;
    http_piece_fn *piece;
    void *body_arg;
    uint64_t answer_bytes, answer_max_bytes;
    uint32_t redirects_left;
    bool follows_redirects;
    bool is_safe_method;
    bool is_too_large; /* the answer */
    bool is_given_up;  /* from inside read() or piece(), where libcurl cannot be told */
    bool is_resumed;   /* asked for, not done yet */
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

/* http_client_body.c */
void http_client_set_bodies(struct http_call *call, const struct http_client_request *request);

/* http_client_redirect.c. A URL that may be called; ret_url is to be freed whatever comes back. */
bool http_client_read_url(const char *text, bool allow_plain_http, struct http_client_url *ret_url,
                          struct err *err) MUST_USE;
void http_client_url_done(struct http_client_url *url);
bool http_client_may_follow(const char *from, const char *to, bool allow_plain_http, bool *ret_is_same_origin,
                            struct err *err) MUST_USE;
bool http_client_is_redirect(const struct http_call *call); /* one that the call follows */
/* Makes the call, whose hop has ended in a redirect, the next hop's. */
bool http_client_follow(struct http_call *call, const struct http_client_options *options,
                        struct err *err) MUST_USE;

/* Around read() and piece(): libcurl may not be called from inside itself. */
void http_client_enter(struct http_client *client); /* http_client.c */
void http_client_leave(struct http_client *client);
bool http_client_allows(const struct http_client *client, const struct sockaddr *address); /* http_client.c */

/* http_client_guard.c */
curl_socket_t http_client_open_socket(void *call, curlsocktype purpose, struct curl_sockaddr *address);

#endif
