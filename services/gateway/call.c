/* SPDX-License-Identifier: Apache-2.0 */
/* call.c - a call towards the mesh, and its one answer towards the client. */
#include "api.h"

#include <stdio.h>
#include <string.h>

#include "core/pbjson.h"
#include "cursor.h"

#define CALL_ARENA_BYTES (16u * 1024 * 1024)
#define ANSWER_BYTES_MAX (32u * 1024 * 1024)

void call_headers(struct http_exchange *exchange)
{
    http_exchange_set_header(exchange, "X-Content-Type-Options", "nosniff");
    http_exchange_set_header(exchange, "Cache-Control", "no-store");
}

struct call *call_new(struct gateway *gateway, struct http_exchange *exchange)
{
    struct arena *arena = arena_new(CALL_ARENA_BYTES);
    struct call *call = arena_alloc(arena, sizeof(*call));

    call->gateway = gateway;
    call->exchange = exchange;
    call->arena = arena;
    call->id = call->token = call->key = "";
    call->started_ms = loop_now_ms(gateway->loop);
    guichet__v1__conversation_view__init(&call->view);
    trace_begin(&call->trace, http_exchange_header(exchange, "traceparent"));
    call_headers(exchange);
    return call;
}

void call_free(struct call **call)
{
    struct arena *arena;

    if (*call == NULL)
        return;
    json_put(&(*call)->body);
    arena = (*call)->arena;
    *call = NULL;
    arena_free(&arena);
}

uint32_t call_left_ms(const struct call *call)
{
    uint64_t spent = loop_now_ms(call->gateway->loop) - call->started_ms;
    uint64_t budget = call->gateway->config->request_timeout_ms;

    return spent >= budget ? 1 : (uint32_t)(budget - spent);
}

static ProtobufCService *stub_of(struct call *call, struct mesh_client *client)
{
    return mesh_client_call(client, &(struct mesh_call){
                                        .tenant = call->agent == NULL ? NULL : call->agent->tenant,
                                        .traceparent = call->trace.parent,
                                        .timeout_ms = call_left_ms(call),
                                    });
}

ProtobufCService *call_routing(struct call *call)
{
    return stub_of(call, call->gateway->routing);
}

ProtobufCService *call_context(struct call *call)
{
    return stub_of(call, call->gateway->context);
}

char *call_tenant(const struct call *call)
{
    return call->agent->tenant;
}

bool call_is_lead(const struct call *call)
{
    return call->agent->role >= GUICHET__V1__ROLE__ROLE_SUPERVISOR;
}

static void call_count(const struct call *call, int status)
{
    uint64_t took_ms = loop_now_ms(call->gateway->loop) - call->started_ms;
    char word[12];

    snprintf(word, sizeof(word), "%d", status);
    stats_add_label(call->gateway->stats, GATEWAY_REQUESTS, word, 1);
    stats_observe_ms(call->gateway->stats, GATEWAY_REQUEST_MS, (double)took_ms);
    log_event(status >= 500 ? LOG_WARN : LOG_DEBUG, "request", LOG_NUMBER("status", status),
              LOG_TEXT("route", call->route == NULL ? "" : call->route->path),
              LOG_TEXT("method", call->route == NULL ? "" : call->route->method),
              LOG_TEXT("tenant", call->agent == NULL ? "" : call->agent->tenant),
              LOG_TEXT("agent", call->agent == NULL ? "" : call->agent->id),
              LOG_TEXT("trace_id", call->trace.id), LOG_NUMBER("took_ms", took_ms));
}

void call_reply_text(struct call *call, int status, const char *content_type, struct str_view body)
{
    call_count(call, status);
    (void)http_exchange_reply(call->exchange, status, content_type, body); /* false: it was too late */
    call_free(&call);
}

bool call_reply_stream(struct call *call, int status, const char *content_type, uint64_t size,
                       const struct http_body_source *source, struct http_stream **ret_stream)
{
    bool is_begun;

    call_count(call, status);
    is_begun = http_exchange_reply_stream(call->exchange, status, content_type, size, source, ret_stream);
    call_free(&call);
    return is_begun;
}

/* Every rendered answer ends here: past its cap it would be cut in the middle. */
static void call_reply_buf(struct call *call, int status, const char *content_type, const struct buf *body)
{
    if (body->is_full) {
        call_problem(call, &(struct problem){ PROBLEM_INTERNAL, "the answer is over its limit", NULL, 0 });
        return;
    }
    call_reply_text(call, status, content_type, buf_view(body));
}

void call_reply(struct call *call, int status, const ProtobufCMessage *message)
{
    SCOPED_BUF body;

    buf_init(&body, ANSWER_BYTES_MAX);
    pbjson_append(&body, message, PBJSON_API);
    call_reply_buf(call, status, "application/json", &body);
}

void call_reply_page(struct call *call, const char *scope, ProtobufCMessage *const *items, size_t count,
                     const char *next_id)
{
    SCOPED_BUF body;

    buf_init(&body, ANSWER_BYTES_MAX);
    buf_append_text(&body, "{\"items\":[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_append_char(&body, ',');
        pbjson_append(&body, items[i], PBJSON_API);
    }
    buf_append_text(&body, "],\"next_cursor\":");
    if (next_id == NULL) {
        buf_append_text(&body, "null}");
    } else {
        buf_append_char(&body, '"');
        cursor_page_append(&body, scope, next_id);
        buf_append_text(&body, "\"}");
    }
    call_reply_buf(call, 200, "application/json", &body);
}

void call_problem(struct call *call, const struct problem *problem)
{
    int status = problem_status(problem->code);
    uint32_t retry_after_s = problem_retry_after_s(problem);
    char seconds[12];
    SCOPED_BUF body;

    buf_init(&body, 8192);
    problem_append(problem, call->trace.id, &body);
    if (retry_after_s > 0) {
        snprintf(seconds, sizeof(seconds), "%u", retry_after_s);
        http_exchange_set_header(call->exchange, "Retry-After", seconds);
    }
    if (status == 401)
        http_exchange_set_header(call->exchange, "WWW-Authenticate", "Bearer realm=\"guichet\"");
    call_reply_text(call, status, "application/problem+json", buf_view(&body));
}

/* What clients are told when it is not their fault: addresses and methods of the mesh are for the log. */
static const char *public_detail(enum problem_code code)
{
    switch (code) {
    case PROBLEM_INTERNAL:
        return "a defect of ours; the log has it under this trace_id";
    case PROBLEM_UNAVAILABLE:
        return "a part behind the gateway is down; repeat it later";
    case PROBLEM_DEADLINE:
        return "no answer in time; whether it was done is unknown: repeat it with the same key";
    case PROBLEM_TOO_MANY_REQUESTS:
        return "too many at once, or too many attempts; repeat it later";
    default:
        return NULL;
    }
}

void call_fail(struct call *call, const struct err *err)
{
    struct problem problem = { problem_of(err->kind), err->text, NULL, err->retry_after_ms };
    const char *detail = public_detail(problem.code);

    if (detail != NULL) {
        log_event(problem.code == PROBLEM_INTERNAL ? LOG_ERROR : LOG_WARN, "request_failed", LOG_ERR(err),
                  LOG_TEXT("trace_id", call->trace.id));
        problem.detail = detail;
    }
    call_problem(call, &problem);
}

void call_bad_member(struct call *call, const char *pointer, const char *detail)
{
    call_problem(call, &(struct problem){ PROBLEM_INVALID_MEMBER, detail, pointer, 0 });
}

void call_bad_param(struct call *call, const char *detail)
{
    call_problem(call, &(struct problem){ PROBLEM_INVALID_PARAMETER, detail, NULL, 0 });
}
