/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_replica.h - one address of a peer: its socket, its contexts, its breaker and its ping. Private to the mesh. */
#ifndef GUICHET_IO_MESH_REPLICA_H
#define GUICHET_IO_MESH_REPLICA_H

#include "io/mesh.h"
#include "io/mesh_breaker.h"
#include "io/mesh_wire.h"

struct mesh_replica;
struct mesh_exchange; /* one request and its reply on one context */

struct mesh_replica_options {
    const char *peer; /* the client's name; borrowed for life */
    uint32_t max_in_flight;
    uint32_t ping_interval_ms;
    uint32_t breaker_failures;
    size_t message_max_bytes;
    void (*on_open)(void *arg, struct mesh_replica *replica); /* the breaker has opened */
    void *arg;
};

bool mesh_replica_new(struct loop *loop, const char *address, const struct mesh_replica_options *options,
                      struct mesh_replica **ret_replica, struct err *err) MUST_USE;
void mesh_replica_free(struct mesh_replica **replica); /* no done() comes any more */

/* How well it is fit for a call: 0 not at all. */
enum { REPLICA_OUT, REPLICA_LAST_RESORT, REPLICA_RECONNECTING, REPLICA_FIT };
uint32_t mesh_replica_rank(const struct mesh_replica *replica);
bool mesh_replica_is_healthy(const struct mesh_replica *replica);
bool mesh_replica_has_room(const struct mesh_replica *replica);
uint64_t mesh_replica_weight(const struct mesh_replica *replica,
                             uint32_t lane); /* the highest has the lane */
const char *mesh_replica_address(const struct mesh_replica *replica);

/* Needs room. done() as mesh_wire_call()'s; breaker and ping have been told before it. */
struct mesh_exchange *mesh_replica_call(struct mesh_replica *replica, struct str_view packed,
                                        uint32_t timeout_ms, mesh_wire_done_fn *done, void *arg);
/* done() will not come. The context stays taken until nng gives it back: it cannot be cancelled. */
void mesh_exchange_abandon(struct mesh_exchange *exchange);
bool mesh_exchange_is_awaited(const struct mesh_exchange *exchange); /* done() is still to come */

#endif
