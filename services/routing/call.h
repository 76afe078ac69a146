/* SPDX-License-Identifier: Apache-2.0 */
/* call.h - one request that is being answered: its memory, its one way out, its questions to the database. */
#ifndef GUICHET_ROUTING_CALL_H
#define GUICHET_ROUTING_CALL_H

#include "routing.h"

struct routing_call;
typedef void routing_rows_fn(struct routing_call *call, struct db_work *work);

/* In the request's arena: gone with the answer. */
struct routing_call {
    struct routing *routing;
    struct mesh_request *request;
    struct arena *arena;
    const void *input;
    ProtobufCClosure closure;
    void *closure_data;
    routing_rows_fn *on_rows;
    void *state; /* the handler's own */
};

#define ROUTING_CALL(rpc, input, closure, closure_data)                                                      \
    routing_call_new((rpc)->routing, &(input)->base, (ProtobufCClosure)(closure), (closure_data))

struct routing_call *routing_call_new(struct routing *routing, const ProtobufCMessage *input,
                                      ProtobufCClosure closure, void *closure_data);
void *routing_call_state(struct routing_call *call, size_t size); /* zeroed; also call->state */
/* The one way out, either of them, once. */
void routing_call_answer(struct routing_call *call, const ProtobufCMessage *reply);
void routing_call_fail(struct routing_call *call, const struct err *err);
void routing_call_refuse(struct routing_call *call, enum err_kind kind, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* Checks that answer the request themselves when they fail. The tenant must be configured and the envelope's. */
bool routing_call_is_tenant(struct routing_call *call, const char *tenant);
bool routing_call_is_id(struct routing_call *call, const char *name, const char *value, bool is_optional);

/* One statement; errors are answered, on_rows() comes with its result only. */
void routing_call_query(struct routing_call *call, struct db_pool *pool, const struct db_statement *statement,
                        const struct db_param *params, size_t count, routing_rows_fn *on_rows);
/* The same for a list made by the caller. */
void routing_call_run(struct routing_call *call, struct db_work *work, routing_rows_fn *on_rows);
/* For a call to context: the tenant, what is left of the deadline, the trace. */
struct mesh_call routing_call_mesh(const struct routing_call *call, const char *tenant);
uint32_t routing_page_limit(const Guichet__V1__Page *page, uint32_t most);

#endif
