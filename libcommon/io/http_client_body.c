/* SPDX-License-Identifier: Apache-2.0 */
/* http_client_body.c - bodies on their way: held whole in memory, or in pieces with back-pressure.
 *
 * A request's body goes through a read callback, and its rewinding is refused: libcurl sends a request again by
 * itself when a kept connection turns out dead, and a message that a provider may have taken must not leave a
 * second time without its sender's knowing. */
#include "io/http_client_private.h"

#include <assert.h>
#include <string.h>

enum {
    REFUSAL_MAX_BYTES = 64 << 10, /* of a body that is no success, where success is streamed */
    PIECE_MAX_BYTES = 64 << 10,
};

/* ---- the request's ---- */

static size_t read_held(struct http_call *call, char *data, size_t len)
{
    size_t left = call->body.len - (size_t)call->body_given;

    if (len > left)
        len = left;
    if (len > 0)
        memcpy(data, call->body.data + call->body_given, len);
    call->body_given += len;
    return len;
}

static size_t on_read(char *data, size_t size, size_t count, void *arg)
{
    struct http_call *call = arg;
    uint64_t left = call->read_bytes - call->body_given;
    size_t len = size * count, got;

    if (call->read == NULL)
        return read_held(call, data, len);
    if (len > left)
        len = (size_t)left;
    if (len == 0)
        return 0;
    http_client_enter(call->client);
    got = call->read(call->body_arg, data, len);
    http_client_leave(call->client);
    if (got == HTTP_READ_STOP)
        call->is_given_up = true;
    if (call->is_given_up)
        return CURL_READFUNC_ABORT;
    if (got == HTTP_READ_LATER)
        return CURL_READFUNC_PAUSE;
    assert(got <= len);
    call->body_given += got;
    return got;
}

static int on_seek(void *arg, curl_off_t offset, int origin)
{
    struct http_call *call = arg;
    bool is_gone = call->body_given > 0 && (!call->is_safe_method || call->read != NULL);

    if (origin != SEEK_SET || offset != 0 || is_gone)
        return CURL_SEEKFUNC_FAIL;
    call->body_given = 0;
    return CURL_SEEKFUNC_OK;
}

/* ---- the answer's ---- */

/* libcurl takes any count but the one it gave for a failure. */
static size_t refuse(size_t len)
{
    return len > 0 ? 0 : 1;
}

static size_t give_piece(struct http_call *call, struct str_view piece)
{
    enum http_piece_answer answer;
    curl_off_t announced = -1;

    curl_easy_getinfo(call->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced);
    if (piece.len > call->answer_max_bytes - call->answer_bytes ||
        (announced > 0 && (uint64_t)announced > call->answer_max_bytes)) {
        call->is_too_large = true;
        return refuse(piece.len);
    }
    http_client_enter(call->client);
    answer = call->piece(call->body_arg, call, piece);
    http_client_leave(call->client);
    if (answer == HTTP_PIECE_STOP)
        call->is_given_up = true;
    if (call->is_given_up)
        return refuse(piece.len);
    if (answer == HTTP_PIECE_LATER)
        return CURL_WRITEFUNC_PAUSE;
    call->answer_bytes += piece.len;
    return piece.len;
}

/* What is beyond the limit of a refusal's text is read and forgotten; of a redirect's, nothing is kept. */
static size_t keep_some(struct http_call *call, struct str_view piece)
{
    size_t room = call->answer.max_bytes - call->answer.len;

    call->answer_bytes += piece.len;
    if (call->answer_bytes > call->answer_max_bytes + REFUSAL_MAX_BYTES)
        return refuse(piece.len);
    if (!http_client_is_redirect(call))
        buf_append(&call->answer, piece.data, piece.len < room ? piece.len : room);
    return piece.len;
}

static size_t on_write(char *data, size_t size, size_t count, void *arg)
{
    struct http_call *call = arg;
    struct str_view piece = { data, size * count };

    if (http_client_is_redirect(call) || (call->piece != NULL && http_call_status(call) / 100 != 2))
        return keep_some(call, piece);
    if (call->piece != NULL)
        return give_piece(call, piece);
    buf_append_view(&call->answer, piece);
    call->answer_bytes += piece.len;
    call->is_too_large = call->answer.is_full;
    return call->is_too_large ? refuse(piece.len) : piece.len;
}

/* ---- what a call may ask ---- */

int http_call_status(const struct http_call *call)
{
    long status = 0;

    curl_easy_getinfo(call->curl, CURLINFO_RESPONSE_CODE, &status);
    return (int)status;
}

const char *http_call_header(const struct http_call *call, const char *name)
{
    struct curl_header *header = NULL;

    if (curl_easy_header(call->curl, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return NULL;
    return header->value;
}

/* ---- options ---- */

static void set_request_body(struct http_call *call, const struct http_client_request *request)
{
    uint64_t len = request->read != NULL ? request->read_bytes : request->body.len;

    call->read = request->read;
    call->read_bytes = request->read_bytes;
    if (request->read == NULL) {
        buf_init(&call->body, request->body.len);
        buf_append_view(&call->body, request->body);
    }
    curl_easy_setopt(call->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
    curl_easy_setopt(call->curl, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(call->curl, CURLOPT_READDATA, call);
    curl_easy_setopt(call->curl, CURLOPT_SEEKFUNCTION, on_seek);
    curl_easy_setopt(call->curl, CURLOPT_SEEKDATA, call);
}

void http_client_set_bodies(struct http_call *call, const struct http_client_request *request)
{
    call->body_arg = request->body_arg;
    call->piece = request->piece;
    if (strcmp(request->method, "HEAD") != 0)
        set_request_body(call, request);
    curl_easy_setopt(call->curl, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(call->curl, CURLOPT_WRITEDATA, call);
    if (request->piece != NULL) {
        buf_init(&call->answer, REFUSAL_MAX_BYTES);
        curl_easy_setopt(call->curl, CURLOPT_BUFFERSIZE, (long)PIECE_MAX_BYTES);
    } else {
        buf_init(&call->answer, (size_t)call->answer_max_bytes);
        curl_easy_setopt(call->curl, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)call->answer_max_bytes);
    }
    /* With HTTP/2 a call that rests still receives a window of 32 MiB. */
    if (request->piece != NULL || request->read != NULL)
        curl_easy_setopt(call->curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
}
