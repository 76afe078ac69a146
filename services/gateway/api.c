/* SPDX-License-Identifier: Apache-2.0 */
/* api.c - a request from the listener to its handler, in the order of the checks.
 *
 * Path, method, media type, session, role, required headers, query names, body: what
 * costs least and tells least comes first, and nothing of a request is looked at before
 * it is known who asks. */
#include "api.h"

#include <stdlib.h>
#include <string.h>

#include "cors.h"
#include "media.h"

#define KEY_BYTES_MAX 128

static void call_dispatch(struct call *call, const char *method, struct str_view *ret_id);
static void on_authenticated(struct call *call);

void api_handle(void *arg, struct http_exchange *exchange)
{
    struct gateway *gateway = arg;
    const char *method = http_exchange_method(exchange);
    struct str_view id = { "", 0 };
    struct call *call;

    if (http_exchange_sink_arg(exchange) != NULL) {
        media_upload_whole(http_exchange_sink_arg(exchange));
        return;
    }
    if (media_is_download(exchange)) {
        media_download(gateway, exchange);
        return;
    }
    call = call_new(gateway, exchange);
    cors_apply(&gateway->config->allowed_origins, exchange);
    if (cors_preflight(&gateway->config->allowed_origins, exchange)) {
        call_reply_text(call, 204, NULL, STR_LITERAL(""));
        return;
    }
    call_dispatch(call, method, &id);
}

void api_head(void *arg, struct http_exchange *exchange)
{
    if (strcmp(http_exchange_method(exchange), "POST") == 0 &&
        strcmp(http_exchange_path(exchange), MEDIA_UPLOAD_PATH) == 0)
        media_upload_begin(arg, exchange);
}

void api_problem(void *arg, struct http_exchange *exchange, int status, const char *detail,
                 struct buf *ret_body)
{
    struct gateway *gateway = arg;
    struct problem problem = { problem_of_status(status), detail, NULL, 0 };
    struct trace trace;

    call_headers(exchange);
    cors_apply(&gateway->config->allowed_origins, exchange);
    trace_begin(&trace, http_exchange_header(exchange, "traceparent"));
    problem_append(&problem, trace.id, ret_body);
    log_event(LOG_INFO, "request_refused", LOG_NUMBER("status", status), LOG_TEXT("trace_id", trace.id));
}

/* "application/json", with or without parameters. */
static bool is_json(const char *content_type)
{
    struct str_view rest = str_view_of(content_type), type;

    return content_type != NULL && str_next(&rest, ';', &type) &&
           str_equal_nocase(str_trim(type), STR_LITERAL("application/json"));
}

const char *api_bearer(struct http_exchange *exchange)
{
    const char *header = http_exchange_header(exchange, "Authorization");

    if (header == NULL || strncasecmp(header, "Bearer ", 7) != 0)
        return NULL;
    header += 7 + strspn(header + 7, " ");
    return *header == '\0' || strlen(header) > 512 ? NULL : header;
}

static void call_dispatch(struct call *call, const char *method, struct str_view *ret_id)
{
    const char *path = http_exchange_path(call->exchange);
    SCOPED_BUF allow;

    buf_init(&allow, 256);
    switch (routes_find(method, path, &call->route, ret_id, &allow)) {
    case ROUTE_NO_PATH:
        call_problem(call, &(struct problem){ PROBLEM_NOT_FOUND, "no such path", NULL, 0 });
        return;
    case ROUTE_NO_METHOD:
        http_exchange_set_header(call->exchange, "Allow", buf_text(&allow));
        call_problem(call, &(struct problem){ PROBLEM_METHOD_NOT_ALLOWED,
                                              "the path does not know this method", NULL, 0 });
        return;
    case ROUTE_FOUND:
        break;
    }
    call->id = arena_dup(call->arena, *ret_id);
    if (call->route->body != NULL && !is_json(http_exchange_header(call->exchange, "Content-Type")))
        call_problem(call,
                     &(struct problem){ PROBLEM_UNSUPPORTED_MEDIA_TYPE, "send application/json", NULL, 0 });
    else if (call->route->flags & ROUTE_PUBLIC)
        on_authenticated(call);
    else
        call_authenticate(call, api_bearer(call->exchange), false, on_authenticated);
}

/* Answers and returns false when a required header is absent or wrong. */
static bool headers_check(struct call *call)
{
    const char *key = http_exchange_header(call->exchange, "Idempotency-Key");
    struct problem problem = { PROBLEM_COUNT, NULL, NULL, 0 };

    if (call->route->flags & ROUTE_KEYED) {
        if (key == NULL) {
            problem.code = PROBLEM_KEY_MISSING;
            problem.detail = "give an Idempotency-Key, new for each thing to be done";
        } else if (*key == '\0' || strlen(key) > KEY_BYTES_MAX) {
            problem.code = PROBLEM_KEY_INVALID;
            problem.detail = "the Idempotency-Key has not 1 to 128 characters";
        }
        for (const char *c = key; problem.code == PROBLEM_COUNT && *c != '\0'; c++) {
            if (*c < '!' || *c > '~') {
                problem.code = PROBLEM_KEY_INVALID;
                problem.detail = "the Idempotency-Key is not visible ASCII";
            }
        }
    }
    if ((call->route->flags & ROUTE_IF_MATCH) && http_exchange_header(call->exchange, "If-Match") == NULL) {
        problem.code = PROBLEM_PRECONDITION_REQUIRED;
        problem.detail = "give If-Match with the ETag that was read";
    }
    if (problem.code != PROBLEM_COUNT) {
        call_problem(call, &problem);
        return false;
    }
    if (key != NULL)
        call->key = arena_strdup(call->arena, key);
    return true;
}

static const char *role_detail(Guichet__V1__Role role)
{
    return role == GUICHET__V1__ROLE__ROLE_ADMIN ? "only an admin may do this"
                                                 : "only a supervisor may do this";
}

static void on_authenticated(struct call *call)
{
    if (call->agent != NULL && call->agent->role < call->route->role) {
        call_problem(call, &(struct problem){ PROBLEM_FORBIDDEN, role_detail(call->route->role), NULL, 0 });
        return;
    }
    if (!headers_check(call) || !call_params_check(call) || !call_body_read(call))
        return;
    call->route->handler(call);
}
