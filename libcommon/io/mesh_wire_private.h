/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_wire_private.h - a socket, as mesh_wire.c (operations, closing) and mesh_wire_peers.c (who is connected)
 * share it. */
#ifndef GUICHET_IO_MESH_WIRE_PRIVATE_H
#define GUICHET_IO_MESH_WIRE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include <nng/nng.h>

#include "io/mesh_wire.h"

struct mesh_wire {
    struct loop *loop;
    enum mesh_wire_kind kind;
    nng_socket socket;
    struct mesh_wire_op *ops;
    mesh_wire_peer_fn *on_peer;
    loop_fn *on_gone;
    void *peer_arg; /* of either */
    atomic_uint peers;
    atomic_bool has_new_peer;
    atomic_bool is_peer_posted; /* on_peers_changed() is under way to the loop */
    atomic_bool is_closed;
    bool is_joined; /* nng has let go of it: whoever is last frees it */
    pthread_t closer;
    pthread_mutex_t mutex; /* of is_nng_done, and of peer_ids, which nng's threads write */
    pthread_cond_t nng_done;
    bool is_nng_done;
    uint32_t *peer_ids; /* the connected ones, in no order; kept for on_gone only */
    size_t peer_id_count, peer_id_capacity;
    struct mesh_wire *next_left;
};

/* nng calls us for this socket no more. */
void mesh_wire_unwatch_peers(struct mesh_wire *wire);
void mesh_wire_release(struct mesh_wire *wire);

#endif
