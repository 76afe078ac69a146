/* SPDX-License-Identifier: Apache-2.0 */
/* api.h - one HTTP request on its way: from the route table to its one answer.
 *
 * A call is made when the request has come in, lives in its own arena, and is freed by
 * the function that answers: call_reply(), call_document() or call_problem(). Whoever
 * answers must not touch it afterwards. Before the handler runs, the call has been
 * checked: route, role, headers, query names, body members. */
#ifndef GUICHET_GATEWAY_API_H
#define GUICHET_GATEWAY_API_H

#include "core/json.h"
#include "gateway.h"
#include "problem.h"
#include "trace.h"

struct call;
typedef void call_fn(struct call *call);

enum body_type { BODY_OBJECT, BODY_TEXT, BODY_ID, BODY_NUMBER, BODY_ENUM, BODY_TEXTS };

/* One member a body may have. The table ends with pointer NULL. */
struct body_field {
    const char *pointer; /* JSON Pointer: "/text", "/recipient/kind" */
    enum body_type type;
    bool is_required;
    uint32_t min, max; /* characters, or the number itself; lists: characters of an item (0: 64), items */
    const ProtobufCEnumDescriptor *words; /* BODY_ENUM */
};

enum route_flags {
    ROUTE_PUBLIC = 1,   /* no session needed */
    ROUTE_KEYED = 2,    /* Idempotency-Key required */
    ROUTE_IF_MATCH = 4, /* If-Match required */
    ROUTE_SINK = 8,     /* the body goes to a sink: api_head() */
};

struct route {
    const char *method;
    const char *path;       /* "/v1/conversations/{id}/notes" */
    Guichet__V1__Role role; /* the least that is needed */
    unsigned flags;
    const char *params;            /* names of query parameters, blank between; NULL: not looked at */
    const struct body_field *body; /* NULL: no body is read */
    call_fn *handler;
};

extern const struct route routes[];
extern const size_t routes_count;

enum route_result { ROUTE_FOUND, ROUTE_NO_PATH, ROUTE_NO_METHOD };
/* ret_id: what stood for {id}, borrowed from path. ret_allow: methods of the path, for ROUTE_NO_METHOD. */
enum route_result routes_find(const char *method, const char *path, const struct route **ret_route,
                              struct str_view *ret_id, struct buf *ret_allow);

struct call {
    struct gateway *gateway;
    struct http_exchange *exchange;
    struct arena *arena;
    const struct route *route;
    struct trace trace;
    const char *id;                  /* {id} of the path; "" when none */
    const char *token;               /* of the session; "" on public routes */
    const Guichet__V1__Agent *agent; /* NULL on public routes */
    const char *key;                 /* Idempotency-Key; "" when none */
    char *joining_id;                /* of a join: the conversation that stays */
    struct json_object *body;        /* NULL when none */
    uint64_t started_ms;
    /* What a handler needs between its steps. */
    uint32_t waiting_for; /* answers of calls made side by side */
    struct err failure;   /* the first of them that failed */
    call_fn *next;
    Guichet__V1__ConversationView view;
    Guichet__V1__Message **messages;
    size_t count; /* of messages, or of items */
    Guichet__V1__WorkItem **items;
    bool has_more;
};

/* Both take {gateway} as arg; the handlers of the two listeners. */
void api_handle(void *arg, struct http_exchange *exchange);
/* Problems of the listeners themselves, in our shape. */
void api_problem(void *arg, struct http_exchange *exchange, int status, const char *detail,
                 struct buf *ret_body);
/* The head is there: uploads go to a sink. */
void api_head(void *arg, struct http_exchange *exchange);
/* "Bearer …" (RFC 6750 §2.1); NULL when it is not that. */
const char *api_bearer(struct http_exchange *exchange);
/* What every answer carries. */
void call_headers(struct http_exchange *exchange);
/* A call with trace and headers every answer has; for listeners that have no routes. */
struct call *call_new(struct gateway *gateway, struct http_exchange *exchange);
void call_free(struct call **call); /* only for an exchange that was upgraded */

/* Finds the session of the bearer or ticket, then goes on. On failure it answers by itself. */
void call_authenticate(struct call *call, const char *token, bool is_fresh, call_fn *next);

/* Stubs for exactly one call, with tenant, trace and what is left of the request's time. */
ProtobufCService *call_routing(struct call *call);
ProtobufCService *call_context(struct call *call);
uint32_t call_left_ms(const struct call *call);
char *call_tenant(const struct call *call);
bool call_is_lead(const struct call *call); /* supervisor or admin: sees the whole tenant */

/* Body members after the check; "" or 0 when left out. */
const char *call_text(const struct call *call, const char *pointer);
uint32_t call_number(const struct call *call, const char *pointer);
int call_word(const struct call *call, const char *pointer); /* value of an enum; -1 when left out */
/* Element `index` of a list of strings; NULL past its end. */
const char *call_text_at(const struct call *call, const char *pointer, size_t index);
/* false: answered with a problem. */
bool call_body_read(struct call *call);
bool call_params_check(struct call *call);
/* Is the path's {id} one at all? false: answered with 404 and these words. */
bool call_id_check(struct call *call, const char *what);
const char *call_param(const struct call *call, const char *name); /* NULL when absent */
/* Query words of an enum: -1 when absent; false: answered with a problem. */
bool call_param_word(struct call *call, const char *name, const ProtobufCEnumDescriptor *words,
                     int *ret_value);
/* cursor and limit into a Page of the arena; false: answered. `scope` names the list and its filters. */
bool call_page(struct call *call, const char *scope, Guichet__V1__Page **ret_page);

/* The answers. Each frees the call. */
void call_reply(struct call *call, int status, const ProtobufCMessage *message);
void call_reply_text(struct call *call, int status, const char *content_type, struct str_view body);
void call_reply_page(struct call *call, const char *scope, ProtobufCMessage *const *items, size_t count,
                     const char *next_id /* NULL: the last page */);
/* From a source; false: too late, and it has ended. */
bool call_reply_stream(struct call *call, int status, const char *content_type, uint64_t size,
                       const struct http_body_source *source, struct http_stream **ret_stream);
void call_problem(struct call *call, const struct problem *problem);
void call_fail(struct call *call, const struct err *err); /* by the error's kind */
void call_bad_member(struct call *call, const char *pointer, const char *detail);
void call_bad_param(struct call *call, const char *detail);

#endif
