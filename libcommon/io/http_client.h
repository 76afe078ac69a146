/* SPDX-License-Identifier: Apache-2.0 */
/* http_client.h - one HTTP request, one answer (libcurl multi on the loop).
 *
 * done() is called exactly once, always from the loop and never from inside
 * http_call_start(), also on timeout and on cancel. After done() the call is gone.
 * No redirects, no proxies from the environment, no cookies. The address really
 * connected to is checked: loopback, private, link-local, CGNAT, multicast, mapped
 * and unspecified ones are refused unless the client allows them (the SSRF guard). */
#ifndef GUICHET_IO_HTTP_CLIENT_H
#define GUICHET_IO_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "core/err.h"
#include "core/str.h"
#include "io/loop.h"
#include "ops/stats.h"

struct http_client;
struct http_call;

struct http_client_options {
    uint32_t max_in_flight;        /* 0: 64; past it calls wait inside */
    uint32_t host_connections_max; /* 0: 8 */
    bool allow_private_addresses;  /* test stand-ins, own networks */
    bool allow_plain_http;         /* otherwise https only */
    const char *user_agent;
};

struct http_header {
    const char *name;
    const char *value;
};

struct http_client_request {
    const char *method; /* "POST" */
    const char *url;
    struct http_header headers[16];
    size_t header_count;
    struct str_view body;        /* copied by start */
    const char *user, *password; /* basic auth; NULL: none */
    uint32_t timeout_ms;         /* of the whole call; required */
    uint32_t connect_timeout_ms; /* 0: 5000 */
    size_t answer_max_bytes;     /* 0: 1 MiB; past it ERR_EXHAUSTED */
};

struct http_result {
    struct err err; /* ERR_NONE when an answer came, whatever its status */
    bool is_sent;   /* with an error: the request may have reached the peer */
    int status;
    struct str_view body;     /* borrowed: valid inside done() only */
    const char *content_type; /* "" when none */
    uint32_t retry_after_ms;  /* Retry-After, seconds or date; 0: none */
};

typedef void http_done_fn(void *arg, const struct http_result *result);

struct http_client *http_client_new(struct loop *loop, const struct http_client_options *options);
void http_client_free(struct http_client **client); /* ends every call with ERR_CANCELED */
struct http_call *http_call_start(struct http_client *client, const struct http_client_request *request,
                                  http_done_fn *done, void *arg);
void http_call_cancel(struct http_call *call); /* done() still comes, with ERR_CANCELED */
/* Is this numeric address one that the guard lets through? For tests and the media fetcher. */
bool http_address_is_public(const struct sockaddr *address);

/* For --describe. */
extern const struct stat_info http_client_stats[];
extern const size_t http_client_stats_count;

#endif
