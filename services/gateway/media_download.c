/* SPDX-License-Identifier: Apache-2.0 */
/* media_download.c - GET /media/<token>[/<name>]: a blob to whoever holds a link that still holds.
 *
 * What customers send is hostile: it is served as an attachment, with its type not to be guessed, in a
 * sandbox, and only under the host of media_base_url, which is no other page's. One range at a time is
 * understood (RFC 9110 §14.2), so that players can seek; other ranges get the whole. */
#include "media_private.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/duration.h"
#include "cors.h"

#define DOWNLOAD_PREFIX "/media/"

enum { HEADER_BYTES_MAX = 4096 };

struct media_download {
    TAILQ_ENTRY(media_download) link;
    struct media *media;
    struct stats *stats;
    struct call *call; /* NULL once answered */
    struct blob_read *read;
    struct http_stream *stream;
    const Guichet__V1__MediaTicket *ticket; /* in the call's arena */
    uint64_t first, length;                 /* of a range; length 0: to the end */
    bool has_range;
};

bool media_is_download(struct http_exchange *exchange)
{
    return strncmp(http_exchange_path(exchange), DOWNLOAD_PREFIX, strlen(DOWNLOAD_PREFIX)) == 0;
}

static void download_free(struct media_download *download, const char *result)
{
    stats_add_label(download->stats, GATEWAY_DOWNLOADS, result, 1);
    TAILQ_REMOVE(&download->media->downloads, download, link);
    blob_read_free(&download->read);
    free(download);
}

/* ---- headers ---- */

/* RFC 6266: attachment, with the name as RFC 8187 wants it. */
static void set_disposition(struct call *call, const char *file_name)
{
    SCOPED_BUF value = { 0 };

    buf_init(&value, HEADER_BYTES_MAX);
    buf_append_text(&value, "attachment");
    if (file_name[0] != '\0') {
        buf_append_text(&value, "; filename*=UTF-8''");
        for (const char *c = file_name; *c != '\0'; c++) {
            if ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
                strchr("-._", *c) != NULL)
                buf_append_char(&value, *c);
            else
                buf_printf(&value, "%%%02X", (unsigned char)*c);
        }
    }
    http_exchange_set_header(call->exchange, "Content-Disposition", buf_text(&value));
}

static void set_headers(struct call *call, const Guichet__V1__MediaTicket *ticket)
{
    char age[48];
    int64_t left_s = (int64_t)ticket->expires_at_s - time_now_us() / 1000000;

    set_disposition(call, ticket->file_name);
    snprintf(age, sizeof(age), "private, max-age=%lld", (long long)(left_s > 0 ? left_s : 0));
    http_exchange_set_header(call->exchange, "Cache-Control", age);
    http_exchange_set_header(call->exchange, "Content-Security-Policy", "sandbox; default-src 'none'");
    http_exchange_set_header(call->exchange, "Cross-Origin-Resource-Policy", "cross-origin");
    http_exchange_set_header(call->exchange, "Referrer-Policy", "no-referrer");
    http_exchange_set_header(call->exchange, "Accept-Ranges", "bytes");
}

/* "bytes=first-[last]"; anything else is the whole. */
static void read_range(struct media_download *download, const char *range)
{
    unsigned long long first, last;
    char *end;

    if (range == NULL || strncasecmp(range, "bytes=", 6) != 0 || range[6] < '0' || range[6] > '9')
        return;
    first = strtoull(range + 6, &end, 10);
    if (*end++ != '-')
        return;
    last = *end >= '0' && *end <= '9' ? strtoull(end, &end, 10) : UINT64_MAX;
    if (*end != '\0' || last < first)
        return;
    download->has_range = true;
    download->first = first;
    download->length = last == UINT64_MAX ? 0 : last - first + 1;
}

/* ---- bytes ---- */

static size_t source_read(void *arg, char *buffer, size_t size)
{
    struct media_download *download = arg;
    size_t len = blob_read_take(download->read, buffer, size);

    if (len > 0)
        return len;
    return blob_read_state(download->read) == BLOB_READ_WAITING ? 0 : HTTP_STREAM_BROKEN;
}

static void source_end(void *arg)
{
    struct media_download *download = arg;
    bool is_whole = blob_read_state(download->read) == BLOB_READ_ENDED;

    download_free(download, is_whole ? "served" : "broken_off");
}

static void answer(struct media_download *download)
{
    uint64_t size = blob_read_size(download->read);
    uint64_t left = size > download->first ? size - download->first : 0;
    uint64_t length = download->length > 0 && download->length < left ? download->length : left;
    struct call *call = download->call;
    char text[96];

    download->call = NULL;
    if (download->has_range && left == 0) {
        snprintf(text, sizeof(text), "bytes */%llu", (unsigned long long)size);
        http_exchange_set_header(call->exchange, "Content-Range", text);
        call_reply_text(call, 416, "text/plain", STR_LITERAL("past its end\n"));
        download_free(download, "refused");
        return;
    }
    set_headers(call, download->ticket);
    if (download->has_range) {
        snprintf(text, sizeof(text), "bytes %llu-%llu/%llu", (unsigned long long)download->first,
                 (unsigned long long)(download->first + length - 1), (unsigned long long)size);
        http_exchange_set_header(call->exchange, "Content-Range", text);
    }
    (void)call_reply_stream(
        call, download->has_range ? 206 : 200, media_type_clean(call->arena, download->ticket->content_type),
        length, &(struct http_body_source){ source_read, source_end, download }, &download->stream);
}

static void refuse(struct media_download *download)
{
    struct err err = *blob_read_err(download->read);
    struct call *call = download->call;

    download_free(download, err.kind == ERR_NOT_FOUND ? "gone" : "failed");
    if (err.kind == ERR_NOT_FOUND)
        err_set(&err, ERR_NOT_FOUND, "the file is no longer kept");
    call_fail(call, &err);
}

static void on_change(void *arg)
{
    struct media_download *download = arg;

    if (download->stream != NULL)
        http_stream_ready(download->stream);
    else if (download->call != NULL && blob_read_state(download->read) == BLOB_READ_FAILED)
        refuse(download);
    else if (download->call != NULL)
        answer(download);
}

/* ---- who may ---- */

static bool check(struct call *call, const struct media *media, Guichet__V1__MediaTicket **ret_ticket)
{
    const char *host = http_exchange_header(call->exchange, "Host");
    struct str_view rest = str_view_of(http_exchange_path(call->exchange) + strlen(DOWNLOAD_PREFIX)),
                    token = rest;
    struct err err = { 0 };

    if (strcmp(http_exchange_method(call->exchange), "GET") != 0) {
        http_exchange_set_header(call->exchange, "Allow", "GET, HEAD");
        call_problem(call, &(struct problem){ PROBLEM_METHOD_NOT_ALLOWED, "files are only read", NULL, 0 });
        return false;
    }
    if (!media_serves(media, host)) {
        call_problem(call,
                     &(struct problem){ PROBLEM_NOT_FOUND, "files are served under another host", NULL, 0 });
        return false;
    }
    (void)str_next(&rest, '/', &token);
    if (!media_ticket_verify(&media->keys, token, time_now_us(), call->arena, ret_ticket, &err) ||
        (*ret_ticket)->sha256.len != BLOB_SHA256_BYTES) {
        call_problem(call,
                     &(struct problem){ PROBLEM_NOT_FOUND, "the link does not hold, or no longer", NULL, 0 });
        return false;
    }
    return true;
}

void media_download(struct gateway *gateway, struct http_exchange *exchange)
{
    struct call *call = call_new(gateway, exchange);
    struct media_download *download;
    Guichet__V1__MediaTicket *ticket;

    cors_apply(&gateway->config->allowed_origins, exchange);
    if (!check(call, gateway->media, &ticket))
        return;
    download = calloc(1, sizeof(*download));
    if (download == NULL)
        abort();
    download->media = gateway->media;
    download->stats = gateway->stats;
    download->call = call;
    download->ticket = ticket;
    read_range(download, http_exchange_header(exchange, "Range"));
    TAILQ_INSERT_TAIL(&gateway->media->downloads, download, link);
    download->read = blob_read_new(&(struct blob_read_options){
        .access = { .loop = gateway->loop,
                    .client = gateway->blobs,
                    .tenant = ticket->tenant,
                    .traceparent = call->trace.parent,
                    .patience_ms = gateway->config->request_timeout_ms },
        .sha256 = ticket->sha256.data,
        .offset = download->first,
        .length = download->length,
        .on_change = on_change,
        .arg = download,
    });
}

/* Streams have ended with their listener; what is left waits for its first byte. */
void media_downloads_end(struct media *media)
{
    struct media_download *download;

    while ((download = TAILQ_FIRST(&media->downloads)) != NULL) {
        struct call *call = download->call;

        download_free(download, "broken_off");
        if (call != NULL)
            call_problem(call, &(struct problem){ PROBLEM_UNAVAILABLE, "the service is stopping", NULL, 0 });
    }
}
