/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_wire_peers.c - who is connected to a socket.
 *
 * nng tells of connections on threads of its own, several at once. Ours do two things there: note it, and post to
 * the loop, once for all that happens until the loop looks. A listener keeps the ids of its connections: one is
 * in the list before nng reads its first message, and out of it before the loop is told. So whoever has a message
 * and finds its connection in the list will be told when that ends; nobody is forgotten between the two. */
#include "io/mesh_wire_private.h"

#include <assert.h>
#include <stdlib.h>

static void on_peers_changed(void *arg)
{
    struct mesh_wire *wire = arg;

    atomic_store(&wire->is_peer_posted, false);
    if (wire->is_joined)
        mesh_wire_release(wire);
    else if (atomic_load(&wire->is_closed))
        return;
    else if (wire->on_gone != NULL)
        wire->on_gone(wire->peer_arg);
    else
        wire->on_peer(wire->peer_arg, atomic_load(&wire->peers), atomic_exchange(&wire->has_new_peer, false));
}

static void post(struct mesh_wire *wire)
{
    if (!atomic_exchange(&wire->is_peer_posted, true))
        loop_post(wire->loop, on_peers_changed, wire);
}

/* On a thread of nng's, inside nng: only counts and posts. */
static void on_pipe(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct mesh_wire *wire = arg;

    (void)pipe;
    if (atomic_load(&wire->is_closed))
        return;
    if (event == NNG_PIPE_EV_ADD_POST) {
        atomic_fetch_add(&wire->peers, 1);
        atomic_store(&wire->has_new_peer, true);
    } else {
        atomic_fetch_sub(&wire->peers, 1);
    }
    post(wire);
}

void mesh_wire_on_peer(struct mesh_wire *wire, mesh_wire_peer_fn *on_peer, void *arg)
{
    wire->on_peer = on_peer;
    wire->peer_arg = arg;
    nng_pipe_notify(wire->socket, NNG_PIPE_EV_ADD_POST, on_pipe, wire);
    nng_pipe_notify(wire->socket, NNG_PIPE_EV_REM_POST, on_pipe, wire);
}

/* ---- the list of a listener ---- */

/* The caller holds the mutex. Where it stands; the count when it does not. */
static size_t find_id(const struct mesh_wire *wire, uint32_t id)
{
    size_t i = 0;

    while (i < wire->peer_id_count && wire->peer_ids[i] != id)
        i++;
    return i;
}

static void add_id(struct mesh_wire *wire, uint32_t id)
{
    if (wire->peer_id_count == wire->peer_id_capacity) {
        wire->peer_id_capacity = wire->peer_id_capacity > 0 ? 2 * wire->peer_id_capacity : 16;
        wire->peer_ids = realloc(wire->peer_ids, wire->peer_id_capacity * sizeof(*wire->peer_ids));
        if (wire->peer_ids == NULL)
            abort();
    }
    wire->peer_ids[wire->peer_id_count++] = id;
}

/* On a thread of nng's, inside nng. */
static void on_caller(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct mesh_wire *wire = arg;
    uint32_t id = (uint32_t)nng_pipe_id(pipe);
    size_t at;

    if (atomic_load(&wire->is_closed))
        return;
    pthread_mutex_lock(&wire->mutex);
    at = find_id(wire, id);
    if (event == NNG_PIPE_EV_ADD_PRE)
        add_id(wire, id);
    else if (at < wire->peer_id_count)
        wire->peer_ids[at] = wire->peer_ids[--wire->peer_id_count];
    pthread_mutex_unlock(&wire->mutex);
    if (event == NNG_PIPE_EV_REM_POST)
        post(wire);
}

void mesh_wire_on_gone(struct mesh_wire *wire, loop_fn *on_gone, void *arg)
{
    assert(wire->kind == MESH_WIRE_REPLY);
    wire->on_gone = on_gone;
    wire->peer_arg = arg;
    nng_pipe_notify(wire->socket, NNG_PIPE_EV_ADD_PRE, on_caller, wire);
    nng_pipe_notify(wire->socket, NNG_PIPE_EV_REM_POST, on_caller, wire);
}

bool mesh_wire_is_peer(struct mesh_wire *wire, uint32_t peer)
{
    bool is_there;

    pthread_mutex_lock(&wire->mutex);
    is_there = find_id(wire, peer) < wire->peer_id_count;
    pthread_mutex_unlock(&wire->mutex);
    return is_there;
}

void mesh_wire_unwatch_peers(struct mesh_wire *wire)
{
    if (wire->on_peer == NULL && wire->on_gone == NULL)
        return;
    nng_pipe_notify(wire->socket, NNG_PIPE_EV_ADD_PRE, NULL, NULL);
    nng_pipe_notify(wire->socket, NNG_PIPE_EV_ADD_POST, NULL, NULL);
    nng_pipe_notify(wire->socket, NNG_PIPE_EV_REM_POST, NULL, NULL);
}
