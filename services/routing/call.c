/* SPDX-License-Identifier: Apache-2.0 */
/* call.c - what every handler would otherwise write again: memory, errors, deadline, tenant. */
#include "call.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/id.h"
#include "ops/log.h"

enum { ANSWER_MARGIN_MS = 20 }; /* of the caller's deadline, kept for the way back */

struct routing_call *routing_call_new(struct routing *routing, const ProtobufCMessage *input,
                                      ProtobufCClosure closure, void *closure_data)
{
    struct mesh_request *request = mesh_request_of(closure_data);
    struct arena *arena = mesh_request_arena(request);
    struct routing_call *call = arena_alloc(arena, sizeof(*call));

    if (call == NULL)
        abort();
    *call = (struct routing_call){
        .routing = routing,
        .request = request,
        .arena = arena,
        .input = input,
        .closure = closure,
        .closure_data = closure_data,
    };
    return call;
}

void *routing_call_state(struct routing_call *call, size_t size)
{
    call->state = arena_alloc(call->arena, size);
    if (call->state == NULL)
        abort();
    return call->state;
}

void routing_call_answer(struct routing_call *call, const ProtobufCMessage *reply)
{
    call->closure(reply, call->closure_data);
}

void routing_call_fail(struct routing_call *call, const struct err *err)
{
    if (err->kind == ERR_INTERNAL)
        log_event(LOG_ERROR, "request_failed", LOG_TEXT("method", mesh_request_method(call->request)),
                  LOG_ERR(err));
    mesh_request_fail(call->request, err);
}

void routing_call_refuse(struct routing_call *call, enum err_kind kind, const char *fmt, ...)
{
    struct err err = { 0 };
    char text[ERR_TEXT_BYTES];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    err_set(&err, kind, "%s", text);
    routing_call_fail(call, &err);
}

bool routing_call_is_tenant(struct routing_call *call, const char *tenant)
{
    const char *envelope = mesh_request_tenant(call->request);

    if (envelope[0] != '\0' && strcmp(envelope, tenant) != 0) {
        routing_call_refuse(call, ERR_INVALID, "tenant '%s' is not the envelope's '%s'", tenant, envelope);
        return false;
    }
    if (routing_find_tenant(call->routing->config, tenant) == NULL) {
        routing_call_refuse(call, ERR_NOT_FOUND, "tenant '%s' is not configured", tenant);
        return false;
    }
    if (!call->routing->has_tenants) {
        routing_call_refuse(call, ERR_UNAVAILABLE, "the tenants are not made yet");
        return false;
    }
    return true;
}

bool routing_call_is_id(struct routing_call *call, const char *name, const char *value, bool is_optional)
{
    struct id id;

    if ((is_optional && value[0] == '\0') || id_parse(value, &id))
        return true;
    routing_call_refuse(call, ERR_INVALID, "%s '%.64s' is not an id", name, value);
    return false;
}

static void on_done(void *arg, struct db_work *work, const struct err *err)
{
    struct routing_call *call = arg;

    if (err->kind != ERR_NONE)
        routing_call_fail(call, err);
    else
        call->on_rows(call, work);
}

void routing_call_run(struct routing_call *call, struct db_work *work, routing_rows_fn *on_rows)
{
    call->on_rows = on_rows;
    db_work_run(work, on_done, call);
}

void routing_call_query(struct routing_call *call, struct db_pool *pool, const struct db_statement *statement,
                        const struct db_param *params, size_t count, routing_rows_fn *on_rows)
{
    struct db_work *work = db_work_new(pool);

    db_work_add(work, statement, params, count);
    routing_call_run(call, work, on_rows);
}

struct mesh_call routing_call_mesh(const struct routing_call *call, const char *tenant)
{
    uint32_t left_ms = mesh_request_left_ms(call->request);

    return (struct mesh_call){
        .tenant = tenant,
        .traceparent = mesh_request_traceparent(call->request),
        .timeout_ms = left_ms > 2 * ANSWER_MARGIN_MS ? left_ms - ANSWER_MARGIN_MS : ANSWER_MARGIN_MS,
        .attempt_timeout_ms = call->routing->config->context_timeout_ms,
    };
}

uint32_t routing_page_limit(const Guichet__V1__Page *page, uint32_t most)
{
    if (page == NULL || page->limit == 0)
        return most < 50 ? most : 50;
    return page->limit < most ? page->limit : most;
}
