/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_request.c - one request at a server: from the wire to the handler's answer.
 *
 * The handler holds a pointer to it until it answers, so it lives until then, whatever
 * became of the caller, the deadline or even the server: a service closes its mesh
 * before its database, whose works then end and answer. Those orphans stay in a list. */
#include "io/mesh_server_private.h"

#include <stdlib.h>

#include "io/mesh_envelope.h"
#include "io/mesh_stats.h"

/* What a handler may make: an answer of the largest size, unpacked, several times over. */
#define HANDLER_ARENA_FACTOR 16

static struct mesh_request *orphans;

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

/* ---- lists of those that the handler still has ---- */

static void list_add(struct mesh_request **list, struct mesh_request *request)
{
    request->previous = NULL;
    request->next = *list;
    if (*list != NULL)
        (*list)->previous = request;
    *list = request;
}

static void list_remove(struct mesh_request **list, struct mesh_request *request)
{
    if (request->previous != NULL)
        request->previous->next = request->next;
    else
        *list = request->next;
    if (request->next != NULL)
        request->next->previous = request->previous;
}

void mesh_request_leave(struct mesh_request *request)
{
    list_add(&request->server->late, request);
    request->server->late_count++;
}

void mesh_request_orphan_all(struct mesh_server *server)
{
    while (server->late != NULL) {
        struct mesh_request *request = server->late;

        list_remove(&server->late, request);
        request->server = NULL;
        list_add(&orphans, request);
    }
}

/* ---- life ---- */

struct mesh_request *mesh_request_new(struct mesh_server *server, struct str_view packed,
                                      uint64_t received_ms)
{
    struct mesh_request *request = calloc(1, sizeof(*request));

    if (request == NULL)
        abort();
    request->server = server;
    request->deadline_ms = received_ms;
    request->wire_arena = mesh_envelope_arena(packed, server->budget_factor);
    return request;
}

void mesh_request_free(struct mesh_request *request)
{
    arena_free(&request->arena);
    arena_free(&request->wire_arena);
    free(request);
}

/* The handler is done with a request that was answered for it. */
static void end_late(struct mesh_request *request)
{
    if (request->server == NULL) {
        list_remove(&orphans, request);
    } else {
        mesh_stats_add(MESH_STAT_LATE_ANSWERS, request->server->name);
        list_remove(&request->server->late, request);
        request->server->late_count--;
    }
    mesh_request_free(request);
}

static void answer(struct mesh_request *request, const struct err *err, const ProtobufCMessage *reply)
{
    SCOPED_BUF body = { 0 };

    if (request->slot == NULL) {
        end_late(request);
        return;
    }
    buf_init(&body, request->server->message_max_bytes);
    if (reply != NULL)
        pb_pack(reply, &body);
    if (body.is_full) {
        struct err too_large = { 0 };

        err_set(&too_large, ERR_INTERNAL, "%s: the reply is over the limit of %zu bytes",
                mesh_request_method(request), request->server->message_max_bytes);
        buf_clear(&body);
        mesh_server_answer(request, &too_large, (struct str_view){ NULL, 0 });
    } else {
        mesh_server_answer(request, err, buf_view(&body));
    }
    mesh_request_free(request);
}

void mesh_request_on_answer(const ProtobufCMessage *reply, void *closure_data)
{
    struct mesh_request *request = closure_data;
    struct err err = { 0 };

    if (reply == NULL)
        err_set(&err, ERR_INTERNAL, "%s: the handler gave no reply", mesh_request_method(request));
    answer(request, &err, reply);
}

void mesh_request_fail(struct mesh_request *request, const struct err *err)
{
    struct err unnamed = { 0 };

    if (err->kind == ERR_NONE) {
        err_set(&unnamed, ERR_INTERNAL, "%s: failed without an error", mesh_request_method(request));
        err = &unnamed;
    }
    answer(request, err, NULL);
}

/* ---- what the handler sees ---- */

struct mesh_request *mesh_request_of(void *closure_data)
{
    return closure_data;
}

const char *mesh_request_tenant(const struct mesh_request *request)
{
    return request->envelope->tenant;
}

const char *mesh_request_traceparent(const struct mesh_request *request)
{
    return request->envelope->traceparent;
}

struct str_view mesh_request_token(const struct mesh_request *request)
{
    return mesh_envelope_body(&request->envelope->token);
}

const char *mesh_request_method(const struct mesh_request *request)
{
    return request->envelope->method;
}

struct arena *mesh_request_arena(struct mesh_request *request)
{
    if (request->arena == NULL)
        request->arena = arena_new(
            (request->server != NULL ? request->server->message_max_bytes : MESH_DEFAULT_MESSAGE_BYTES) *
            HANDLER_ARENA_FACTOR);
    return request->arena;
}

uint32_t mesh_request_left_ms(const struct mesh_request *request)
{
    uint64_t now = now_ms();

    return request->deadline_ms > now ? (uint32_t)(request->deadline_ms - now) : 0;
}

void mesh_request_set_claims(struct mesh_request *request, void *claims)
{
    request->claims = claims;
}

void *mesh_request_claims(const struct mesh_request *request)
{
    return request->claims;
}

void mesh_request_on_gone(struct mesh_request *request, loop_fn *fn, void *arg)
{
    request->on_gone = fn;
    request->gone_arg = arg;
    if (request->slot != NULL && !mesh_wire_is_peer(request->server->wire, request->peer))
        loop_timer_start(request->server->gone_timer, 0, 0);
}
