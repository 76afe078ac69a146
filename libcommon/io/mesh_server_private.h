/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_server_private.h - what mesh_server.c (slots) and mesh_request.c (one request's life) share. */
#ifndef GUICHET_IO_MESH_SERVER_PRIVATE_H
#define GUICHET_IO_MESH_SERVER_PRIVATE_H

#include "guichet/v1/mesh.pb-c.h"
#include "io/mesh.h"
#include "io/mesh_wire.h"

/* IDLE (receiving), BUSY (request != NULL) or replying. */
struct mesh_slot {
    struct mesh_server *server;
    struct mesh_wire_op *op;
    struct mesh_request *request;
    struct loop_timer *deadline;
    bool is_replying;
};

struct mesh_request {
    struct mesh_server *server;           /* NULL: freed before the handler answered */
    struct mesh_slot *slot;               /* NULL: answered already, the handler is late */
    struct mesh_request *previous, *next; /* the late ones */
    struct arena *wire_arena;             /* envelope and input: capped by the size on the wire */
    struct arena *arena;                  /* the handler's: made when first asked for */
    Guichet__V1__Request *envelope;
    ProtobufCService *service;
    unsigned method_index;
    uint64_t deadline_ms;
    void *claims;
    uint32_t peer; /* the connection it came by */
    loop_fn *on_gone;
    void *gone_arg;
};

struct mesh_server {
    struct loop *loop;
    char *name, *service, *url;
    uint32_t max_in_flight;
    size_t message_max_bytes;
    size_t budget_factor;
    bool (*authorise)(void *arg, struct mesh_request *request, struct err *err);
    void *authorise_arg;
    struct mesh_wire *wire;
    ProtobufCService **services;
    size_t service_count;
    struct mesh_slot *slots;
    uint32_t slot_count;
    uint32_t running;          /* requests whose handler has not answered */
    struct mesh_request *late; /* answered DEADLINE by us; the handler still has them */
    uint32_t late_count;
    struct loop_timer *gone_timer; /* runs out when requests may have lost their callers */
    bool is_draining;
    bool is_closing;
};

/* Sends the answer and takes the request off its slot. */
void mesh_server_answer(struct mesh_request *request, const struct err *err, struct str_view body);

struct mesh_request *mesh_request_new(struct mesh_server *server, struct str_view packed,
                                      uint64_t received_ms);
void mesh_request_free(struct mesh_request *request);
/* A ProtobufCClosure: the handler's answer. */
void mesh_request_on_answer(const ProtobufCMessage *reply, void *request);
/* Answered by the server: kept until the handler answers as well. */
void mesh_request_leave(struct mesh_request *request);
void mesh_request_orphan_all(struct mesh_server *server);

#endif
