/* SPDX-License-Identifier: Apache-2.0 */
/* media_upload.c - POST /v1/media: a body of any size into the centre, without holding it.
 *
 * The body comes while the session is still looked up: the first piece is held and the client paused. An
 * upload ends in exactly one answer; whoever gives it takes the upload off the list first. */
#include "media_private.h"

#include <stdlib.h>
#include <string.h>

#include "auth.h"
#include "core/pbjson.h"
#include "cors.h"
#include "handlers.h"

enum { FILE_NAME_BYTES_MAX = 255, EARLY_BYTES_MAX = BLOB_CHUNK_BYTES, ANSWER_BYTES_MAX = 8192 };

struct media_upload {
    TAILQ_ENTRY(media_upload) link;
    struct gateway *gateway;
    struct call *call;
    struct blob_upload *blob; /* NULL until it is known who asks */
    struct buf early;         /* what came before */
    uint64_t came;
    bool is_whole, is_gone, is_over;
    const char *file_name, *content_type;
};

/* Before the answer: afterwards nothing of it may be used. */
static struct call *upload_end(struct media_upload *upload, const char *result)
{
    struct call *call = upload->call;

    stats_add_label(upload->gateway->stats, GATEWAY_UPLOADS, result, 1);
    TAILQ_REMOVE(&upload->gateway->media->uploads, upload, link);
    blob_upload_free(&upload->blob);
    buf_done(&upload->early);
    free(upload);
    return call;
}

static void upload_fail(struct media_upload *upload, const struct err *err)
{
    /* EXHAUSTED is also the centre's word for too many uploads at once: that passes. */
    bool is_too_large = err->kind == ERR_EXHAUSTED && upload->is_over;
    struct err why = *err;
    struct call *call = upload_end(upload, is_too_large ? "too_large" : "failed");

    if (is_too_large)
        call_problem(call, &(struct problem){ PROBLEM_TOO_LARGE, "the file is too large", NULL, 0 });
    else
        call_fail(call, &why);
}

/* Nobody reads the answer, which is owed all the same. */
static void upload_drop(struct media_upload *upload)
{
    call_problem(upload_end(upload, "left"),
                 &(struct problem){ PROBLEM_UNAVAILABLE, "the upload was broken off", NULL, 0 });
}

static void on_stored(void *arg, const Guichet__V1__Blob *blob, const struct err *err)
{
    struct media_upload *upload = arg;
    const char *file_name = upload->file_name, *content_type = upload->content_type;
    Guichet__V1__MediaTicket ticket;
    struct call *call = upload->call;
    SCOPED_BUF body = { 0 };

    if (blob == NULL) {
        upload_fail(upload, err);
        return;
    }
    media_ticket_init(&ticket, call_tenant(call), blob->sha256, content_type, file_name,
                      call->gateway->config->upload_ttl_ms);
    buf_init(&body, ANSWER_BYTES_MAX);
    buf_append_text(&body, "{\"media_id\":\"");
    media_ticket_sign(&call->gateway->media->keys, &ticket, &body);
    buf_append_text(&body, "\",\"sha256\":\"");
    hex_append(&body, blob->sha256.data, blob->sha256.len);
    buf_printf(&body, "\",\"size_bytes\":\"%llu\",\"content_type\":", (unsigned long long)blob->size_bytes);
    json_append_string(&body, str_view_of(content_type));
    buf_append_text(&body, ",\"file_name\":");
    json_append_string(&body, str_view_of(file_name));
    buf_append_text(&body, ",\"link_url\":\"");
    media_link_append(&body, call->gateway->media->base_url, &call->gateway->media->keys, &ticket);
    buf_append_text(&body, "\"}");
    call_reply_text(upload_end(upload, "stored"), 201, "application/json", buf_view(&body));
}

static void upload_finish(struct media_upload *upload)
{
    if (blob_upload_size(upload->blob) == 0) {
        call_bad_member(upload_end(upload, "empty"), "", "the body is empty");
        return;
    }
    blob_upload_finish(upload->blob, &(struct blob_upload_finish){ .content_type = upload->content_type },
                       on_stored, upload);
}

/* false: it has failed, and is answered. */
static bool upload_push(struct media_upload *upload, struct str_view bytes)
{
    struct err err = { 0 };

    upload->came += bytes.len;
    upload->is_over = upload->came > upload->gateway->config->upload_max_bytes;
    if (bytes.len > 0 && !blob_upload_push(upload->blob, bytes, &err)) {
        upload_fail(upload, &err);
        return false;
    }
    if (!upload->is_whole && !blob_upload_has_room(upload->blob))
        http_exchange_pause(upload->call->exchange);
    return true;
}

static void on_room(void *arg)
{
    struct media_upload *upload = arg;

    http_exchange_resume(upload->call->exchange);
}

static void on_piece(void *arg, struct str_view piece)
{
    struct media_upload *upload = arg;

    if (upload->blob != NULL) {
        (void)upload_push(upload, piece);
        return;
    }
    buf_append_view(&upload->early, piece);
    http_exchange_pause(upload->call->exchange);
}

static void on_gone(void *arg)
{
    struct media_upload *upload = arg;

    upload->is_gone = true;
    if (upload->blob != NULL)
        upload_drop(upload); /* else the session's answer will see it */
}

void media_upload_whole(void *sink_arg)
{
    struct media_upload *upload = sink_arg;

    upload->is_whole = true;
    if (upload->blob != NULL)
        upload_finish(upload);
}

static const char *file_name_of(struct call *call)
{
    const char *name = call_param(call, "file_name");
    const char *slash;

    if (name == NULL)
        return "";
    slash = strrchr(name, '/');
    name = slash != NULL ? slash + 1 : name;
    slash = strrchr(name, '\\');
    return slash != NULL ? slash + 1 : name;
}

static bool name_check(const char *name)
{
    struct str_view view = str_view_of(name);

    for (size_t i = 0; i < view.len; i++)
        if ((unsigned char)view.data[i] < ' ' || view.data[i] == 0x7f)
            return false;
    return view.len <= FILE_NAME_BYTES_MAX && utf8_is_valid(view);
}

static void upload_start(struct media_upload *upload)
{
    struct call *call = upload->call;
    const struct gateway *gateway = call->gateway;

    upload->content_type =
        media_type_clean(call->arena, http_exchange_header(call->exchange, "Content-Type"));
    upload->blob = blob_upload_new(&(struct blob_upload_options){
        .access = { .loop = gateway->loop,
                    .client = gateway->blobs,
                    .tenant = call_tenant(call),
                    .traceparent = call->trace.parent },
        .max_bytes = gateway->config->upload_max_bytes,
        .on_room = on_room,
        .arg = upload,
    });
    if (!upload_push(upload, buf_view(&upload->early)))
        return;
    buf_done(&upload->early);
    if (upload->is_whole)
        upload_finish(upload);
    else if (blob_upload_has_room(upload->blob))
        http_exchange_resume(call->exchange);
}

static void on_session(void *arg, const Guichet__V1__Agent *agent, const struct err *err)
{
    struct media_upload *upload = arg;
    struct call *call = upload->call;

    if (upload->is_gone) {
        upload_drop(upload);
        return;
    }
    if (err->kind == ERR_FORBIDDEN) {
        call_problem(upload_end(upload, "refused"),
                     &(struct problem){ PROBLEM_UNAUTHORIZED, "no valid session", NULL, 0 });
        return;
    }
    if (err->kind != ERR_NONE) {
        upload_fail(upload, err);
        return;
    }
    call->agent = (const Guichet__V1__Agent *)pb_dup(&agent->base, call->arena);
    if (!call_params_check(call)) {
        (void)upload_end(upload, "refused"); /* answered */
        return;
    }
    upload->file_name = file_name_of(call);
    if (name_check(upload->file_name))
        upload_start(upload);
    else
        call_bad_param(upload_end(upload, "refused"),
                       "file_name: not UTF-8, over 255 bytes, or with control characters");
}

void media_upload_begin(struct gateway *gateway, struct http_exchange *exchange)
{
    struct media_upload *upload = calloc(1, sizeof(*upload));
    struct call *call = call_new(gateway, exchange);
    const char *token = api_bearer(exchange);
    struct str_view id;

    if (upload == NULL)
        abort();
    cors_apply(&gateway->config->allowed_origins, exchange);
    (void)routes_find("POST", MEDIA_UPLOAD_PATH, &call->route, &id, NULL);
    upload->gateway = gateway;
    upload->call = call;
    buf_init(&upload->early, EARLY_BYTES_MAX);
    TAILQ_INSERT_TAIL(&gateway->media->uploads, upload, link);
    http_exchange_sink(exchange, &(struct http_body_sink){ on_piece, on_gone, upload },
                       gateway->config->upload_max_bytes);
    if (token == NULL) {
        call_problem(upload_end(upload, "refused"),
                     &(struct problem){ PROBLEM_UNAUTHORIZED, "no valid session", NULL, 0 });
        return;
    }
    call->token = arena_strdup(call->arena, token);
    auth_sessions_check(gateway->sessions,
                        &(struct session_query){ .token = call->token,
                                                 .traceparent = call->trace.parent,
                                                 .timeout_ms = call_left_ms(call) },
                        on_session, upload);
}

void media_upload_misplaced(struct call *call)
{
    call_problem(call,
                 &(struct problem){ PROBLEM_INTERNAL, "the body did not go where uploads go", NULL, 0 });
}

void media_uploads_end(struct media *media)
{
    struct media_upload *upload;

    while ((upload = TAILQ_FIRST(&media->uploads)) != NULL)
        upload_drop(upload);
}
