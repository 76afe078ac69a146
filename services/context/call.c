/* SPDX-License-Identifier: Apache-2.0 */
/* call.c - one request: opened once, answered once; and the checks that many methods share.
 *
 * A call has an arena of its own: the request's is budgeted by the request's size, a reply is
 * as large as what was asked for. */
#include "context.h"

#include <stdlib.h>
#include <string.h>

#include "core/id.h"

enum {
    ARENA_MAX_BYTES = 64 << 20,
    TENANT_MAX_BYTES = 128,
    PAGE_LIMIT_DEFAULT = 50,
    PAGE_LIMIT_MAX = 100,
};

void *context_alloc(struct arena *arena, size_t size)
{
    void *memory = arena_alloc(arena, size);

    if (memory == NULL)
        abort();
    return memory;
}

static const char *method_name(const struct mesh_request *request)
{
    const char *method = mesh_request_method(request);
    const char *slash = strrchr(method, '/');

    return slash == NULL ? method : slash + 1;
}

static bool check_tenant(const char *tenant, const char *envelope, struct err *err)
{
    if (tenant[0] == '\0')
        return err_set(err, ERR_INVALID, "tenant: is empty");
    if (strlen(tenant) > TENANT_MAX_BYTES)
        return err_set(err, ERR_INVALID, "tenant: is longer than %d bytes", TENANT_MAX_BYTES);
    if (envelope[0] != '\0' && strcmp(tenant, envelope) != 0)
        return err_set(err, ERR_INVALID, "tenant: '%s', but the envelope says '%s'", tenant, envelope);
    return true;
}

struct call *context_call_open(const Guichet__V1__Context_Service *service, const char *tenant,
                               ProtobufCClosure closure, void *closure_data)
{
    const struct context_role *role = (const struct context_role *)service;
    struct mesh_request *request = mesh_request_of(closure_data);
    struct arena *arena = arena_new(ARENA_MAX_BYTES);
    struct call *call = context_alloc(arena, sizeof(*call));
    struct err err = { 0 };

    *call = (struct call){ .context = role->context,
                           .role = role,
                           .arena = arena,
                           .tenant = tenant,
                           .closure = closure,
                           .closure_data = closure_data };
    stats_add_label(role->context->stats, CONTEXT_CALLS, method_name(request), 1);
    if (!check_tenant(tenant, mesh_request_tenant(request), &err)) {
        context_call_fail(call, &err);
        return NULL;
    }
    return call;
}

void context_call_reply(struct call *call, const void *reply)
{
    struct arena *arena = call->arena;

    call->closure(reply, call->closure_data);
    arena_free(&arena);
}

void context_call_fail(struct call *call, const struct err *err)
{
    struct arena *arena = call->arena;
    struct mesh_request *request = mesh_request_of(call->closure_data);

    stats_add_label(call->context->stats, CONTEXT_CALLS_FAILED, err_kind_name(err->kind), 1);
    log_event(err->kind == ERR_INTERNAL ? LOG_ERROR : LOG_DEBUG, "call_failed",
              LOG_TEXT("method", method_name(request)), LOG_TEXT("tenant", call->tenant),
              LOG_TEXT("trace", mesh_request_traceparent(request)), LOG_ERR(err));
    mesh_request_fail(request, err);
    arena_free(&arena);
}

void context_ring(struct context *context, const char *tenant, uint64_t change_sequence)
{
    if (change_sequence > 0)
        mesh_publish(context->publisher, tenant, change_sequence);
}

bool context_check_id(const char *name, const char *id, struct err *err)
{
    struct id parsed;

    if (!id_parse(id, &parsed))
        return err_set(err, ERR_INVALID, "%s: '%.40s' is no id", name, id);
    return true;
}

bool context_check_optional_id(const char *name, const char *id, struct err *err)
{
    return id[0] == '\0' || context_check_id(name, id, err);
}

bool context_check_text(const char *name, const char *text, size_t max_bytes, struct err *err)
{
    size_t len = strlen(text);

    if (len > max_bytes)
        return err_set(err, ERR_INVALID, "%s: has %zu bytes, at most %zu are allowed", name, len, max_bytes);
    return true;
}

bool context_check_page(const Guichet__V1__Page *page, uint32_t *ret_limit, const char **ret_after_id,
                        struct err *err)
{
    const char *after_id = page == NULL ? "" : page->after_id;
    uint32_t limit = page == NULL || page->limit == 0 ? PAGE_LIMIT_DEFAULT : page->limit;

    if (limit > PAGE_LIMIT_MAX)
        return err_set(err, ERR_INVALID, "page.limit: %u, at most %d", limit, PAGE_LIMIT_MAX);
    if (!context_check_optional_id("page.after_id", after_id, err))
        return false;
    *ret_limit = limit;
    *ret_after_id = after_id;
    return true;
}
