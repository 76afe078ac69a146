/* SPDX-License-Identifier: Apache-2.0 */
/* http_client.h - one HTTP request, one answer (libcurl multi on the loop).
 *
 * done() is called exactly once, always from the loop and never from inside
 * http_call_start(), also on timeout and on cancel. After done() the call is gone.
 * No redirects unless the request asks for them, no proxies from the environment, no
 * cookies. The address really connected to is checked, at each hop: loopback, private,
 * link-local, CGNAT, multicast, mapped and unspecified ones are refused unless the
 * client allows them (the SSRF guard).
 *
 * Bodies too large for memory: an answer's goes to `piece` and a request's comes from
 * `read`, both from the loop, never from inside start or resume. Either may say "later":
 * the call rests until http_call_resume(). While it rests no stall is counted, and at
 * most one piece (64 KiB) is held. */
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
    bool allow_private_addresses;  /* loopback and private ones, never link-local: test stand-ins, own nets */
    bool allow_plain_http;         /* otherwise https only */
    const char *user_agent;
};

struct http_header {
    const char *name;
    const char *value;
};

/* What became of a piece; LATER: it comes again after http_call_resume(). STOP ends the call with ERR_CANCELED. */
enum http_piece_answer { HTTP_PIECE_TAKEN, HTTP_PIECE_LATER, HTTP_PIECE_STOP };
typedef enum http_piece_answer http_piece_fn(void *arg, const struct http_call *call, struct str_view piece);

/* Writes up to `size` bytes of the request's body. HTTP_READ_LATER: none yet, and http_call_resume() follows.
 * HTTP_READ_STOP ends the call with ERR_CANCELED. */
#define HTTP_READ_LATER ((size_t)0)
#define HTTP_READ_STOP ((size_t)-1)
typedef size_t http_read_fn(void *arg, char *data, size_t size);

struct http_client_request {
    const char *method; /* "POST" */
    const char *url;
    struct http_header headers[16];
    size_t header_count;
    struct str_view body; /* copied by start */
    http_read_fn *read;   /* instead of body; sent once, never again */
    uint64_t read_bytes;  /* how many it gives */
    http_piece_fn *piece; /* for the body of a 2xx; what else is answered comes whole, at most 64 KiB */
    void *body_arg;       /* of read and piece */
    const char *user, *password; /* basic auth; NULL: none */
    /* "aws:amz:<region>:<service>": user and password are an access key, and sign the request (SigV4) instead. The
     * header x-amz-content-sha256 must be among the headers; the path must need no encoding. NULL: none. */
    const char *aws_sigv4;
    uint32_t timeout_ms;         /* of the whole call, redirects included; required */
    uint32_t connect_timeout_ms; /* 0: 5000 */
    uint32_t stall_timeout_ms;   /* nothing comes or goes for so long (whole seconds); 0: 30 s */
    uint64_t answer_max_bytes;   /* 0: 1 MiB; past it ERR_EXHAUSTED */
    /* GET and HEAD only: follows so many. From https only to https. Another origin (scheme, host, port) gets
     * neither user and password nor headers. */
    uint32_t redirects_max;
};

struct http_result {
    struct err err; /* ERR_NONE when an answer came, whatever its status */
    bool is_sent;   /* with an error: the request may have reached the peer */
    int status;
    struct str_view body;     /* borrowed: valid inside done() only; without what piece() took */
    uint64_t body_bytes;      /* of the answer's body, taken by piece() or not */
    const char *content_type; /* "" when none */
    uint32_t retry_after_ms;  /* Retry-After, seconds or date; 0: none */
};

typedef void http_done_fn(void *arg, const struct http_result *result);

struct http_client *http_client_new(struct loop *loop, const struct http_client_options *options);
void http_client_free(struct http_client **client); /* ends every call with ERR_CANCELED */
struct http_call *http_call_start(struct http_client *client, const struct http_client_request *request,
                                  http_done_fn *done, void *arg);
void http_call_cancel(
    struct http_call *call); /* done() still comes, with ERR_CANCELED; fine inside piece and read */
void http_call_resume(struct http_call *call); /* after a "later" */
/* What is known when the first piece comes. */
int http_call_status(const struct http_call *call);
const char *http_call_header(const struct http_call *call,
                             const char *name); /* NULL: absent; valid until the next */
/* Is this numeric address one that the guard lets through? For tests and the media fetcher. */
bool http_address_is_public(const struct sockaddr *address);
bool http_address_is_own(
    const struct sockaddr *address); /* loopback and private: what may be allowed besides */

/* For --describe. */
extern const struct stat_info http_client_stats[];
extern const size_t http_client_stats_count;

#endif
