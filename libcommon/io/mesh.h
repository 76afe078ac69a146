/* SPDX-License-Identifier: Apache-2.0 */
/* mesh.h - typed calls between services over nng; the only user of nng.
 *
 * Both ends use protoc-c's stubs. A client:
 *
 *     (mesh_client_new() was told .descriptor = &guichet__v1__context__descriptor)
 *     ProtobufCService *stub = mesh_client_call(client, &(struct mesh_call){ .tenant = "demo", .timeout_ms = 1000 });
 *     guichet__v1__context__record(stub, &request, on_recorded, arg);
 *
 *     static void on_recorded(const Guichet__V1__RecordReply *reply, void *arg)
 *     {
 *         if (reply == NULL) { const struct err *err = mesh_err(); … }   // valid here only
 *
 * The closure comes exactly once, from the loop, never from inside the stub; reply is
 * borrowed until it returns. The request is packed before the stub returns.
 *
 * A client has a list of replica addresses, one nng socket each: a breaker and a ping
 * of its own per replica. Each call goes to one replica for at most attempt_timeout_ms
 * (half of its deadline, when that is shorter and there is another replica to go to);
 * on UNAVAILABLE or DEADLINE it goes once more to another healthy replica, while the
 * call's own deadline allows (every method is idempotent; a time-out means unknown,
 * not failed). The same `lane` stays with the same replica while that is healthy.
 * nng's own resend is off. nng_aio_cancel is never called. */
#ifndef GUICHET_IO_MESH_H
#define GUICHET_IO_MESH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "core/arena.h"
#include "core/err.h"
#include "io/loop.h"
#include "ops/stats.h"

/* ---- client ---- */

struct mesh_client;

struct mesh_client_options {
    const char *name;             /* of the peer, for log and metrics: "context" */
    const char *const *addresses; /* tcp://host:port; borrowed during new */
    size_t address_count;
    /* The service whose stubs are called with it, as &guichet__v1__context__descriptor: protoc-c's stubs
     * assert it. Required here, or in each mesh_call. */
    const ProtobufCServiceDescriptor *descriptor;
    uint32_t attempt_timeout_ms; /* 0: 1000 */
    uint32_t max_in_flight;      /* per replica; 0: 64. Past it: ERR_EXHAUSTED at once, waits for nothing */
    uint32_t ping_interval_ms;   /* 0: 5000; a replica whose breaker is open is pinged each second */
    uint32_t breaker_failures;   /* 0: 3 in a row open it */
    size_t message_max_bytes;    /* 0: 1 MiB */
};

struct mesh_call {
    const char *tenant;      /* may be NULL */
    const char *traceparent; /* may be NULL: a new trace */
    struct str_view token;
    uint32_t timeout_ms;         /* of the whole call; 0: 5000 */
    uint32_t attempt_timeout_ms; /* 0: the client's; long polls give their own */
    uint32_t lane;               /* 0: any replica, in turn */
    bool no_retry;
    const ProtobufCServiceDescriptor
        *descriptor; /* NULL: the client's; for a second service on one listener */
};

bool mesh_client_new(struct loop *loop, const struct mesh_client_options *options,
                     struct mesh_client **ret_client, struct err *err) MUST_USE;
/* Ends every call with ERR_CANCELED, then closes. */
void mesh_client_free(struct mesh_client **client);
bool mesh_client_is_healthy(const struct mesh_client *client); /* at least one replica answers */
/* The stub to pass to generated code, for exactly one call, made at once. */
ProtobufCService *mesh_client_call(struct mesh_client *client, const struct mesh_call *call);
const struct err *mesh_err(void);

/* ---- server ---- */

struct mesh_server;
struct mesh_request;

struct mesh_server_options {
    const char *name;         /* the role it serves: "connector", "centre" … */
    const char *listen;       /* tcp://127.0.0.1:7101; port 0 picks one */
    uint32_t max_in_flight;   /* requests with a handler at once; 0: 64. Past it EXHAUSTED; pings go on */
    size_t message_max_bytes; /* 0: 1 MiB */
    size_t budget_factor;     /* allocation budget of an unpacked request, times its wire size; 0: 16 */
    const char *service;      /* answered to Ping */
    /* Called before dispatch; false refuses with *err. May set the claims for mesh_request_claims(). */
    bool (*authorise)(void *arg, struct mesh_request *request, struct err *err);
    void *authorise_arg;
};

bool mesh_server_new(struct loop *loop, const struct mesh_server_options *options,
                     struct mesh_server **ret_server, struct err *err) MUST_USE;
/* `service` is a table made with protoc-c's XXX__INIT(prefix), borrowed until free; several may be added.
 * Its functions answer by calling closure(reply, closure_data) once, now or later, from the loop; or
 * mesh_request_fail(mesh_request_of(closure_data), &err) instead. A handler that has not answered when the
 * caller's deadline passes is answered for, with DEADLINE, and its slot is free again; the request stays alive
 * until it does answer, which then goes nowhere. The same holds after mesh_server_free(). */
void mesh_server_add(struct mesh_server *server, ProtobufCService *service);
void mesh_server_drain(struct mesh_server *server); /* new requests get UNAVAILABLE */
uint32_t mesh_server_in_flight(const struct mesh_server *server);
const char *mesh_server_url(const struct mesh_server *server); /* with the port really bound */
void mesh_server_free(struct mesh_server **server);            /* unanswered requests get UNAVAILABLE */

struct mesh_request *mesh_request_of(void *closure_data);
const char *mesh_request_tenant(const struct mesh_request *request); /* "" when none */
const char *mesh_request_traceparent(const struct mesh_request *request);
struct str_view mesh_request_token(const struct mesh_request *request);
const char *mesh_request_method(const struct mesh_request *request); /* "guichet.v1.Connector/Pull" */
/* Lives until the answer, as the input message does: for whatever the handler makes. 16 times
 * message_max_bytes at most; the input has a budget of its own. */
struct arena *mesh_request_arena(struct mesh_request *request);
uint32_t mesh_request_left_ms(const struct mesh_request *request);        /* of the deadline; 0: past */
void mesh_request_set_claims(struct mesh_request *request, void *claims); /* in the arena */
void *mesh_request_claims(const struct mesh_request *request);
void mesh_request_fail(struct mesh_request *request, const struct err *err);
/* For a handler that keeps its caller waiting: fn comes when the caller's connection has ended, from the loop, at
 * most once, never from inside this, and only while the request is unanswered. The answer is still owed; it goes
 * nowhere. One fn per request. A caller whose machine has vanished is noticed by TCP's keep-alive only. */
void mesh_request_on_gone(struct mesh_request *request, loop_fn *fn, void *arg);

/* ---- doorbell: lossy pub/sub, a hint and never the truth ---- */

struct mesh_publisher;
struct mesh_subscriber;
/* From the loop, for each doorbell heard; and with tenant "" after each (re)connect, since what rang before is
 * lost: whoever listens then looks at every tenant. */
typedef void mesh_doorbell_fn(void *arg, const char *tenant, uint64_t sequence);

bool mesh_publisher_new(struct loop *loop, const char *listen, struct mesh_publisher **ret_publisher,
                        struct err *err) MUST_USE;
void mesh_publish(struct mesh_publisher *publisher, const char *tenant, uint64_t sequence);
const char *mesh_publisher_url(const struct mesh_publisher *publisher);
void mesh_publisher_free(struct mesh_publisher **publisher);
bool mesh_subscriber_new(struct loop *loop, const char *const *addresses, size_t address_count,
                         mesh_doorbell_fn *on_doorbell, void *arg, struct mesh_subscriber **ret_subscriber,
                         struct err *err) MUST_USE;
void mesh_subscriber_free(struct mesh_subscriber **subscriber);

/* For --describe. */
extern const struct stat_info mesh_stats[];
extern const size_t mesh_stats_count;

#endif
