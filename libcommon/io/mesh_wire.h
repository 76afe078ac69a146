/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_wire.h - nng behind a dozen functions; mesh_wire.c and mesh_wire_peers.c alone call it.
 *
 * A wire is one nng socket. An operation is one nng context with one aio, used again
 * and again in a strict order: nothing is started on it before the last thing has
 * ended, and it is freed only by mesh_wire_close(). done() comes exactly once per
 * start, from the loop, never from inside start; not at all once the wire is closed.
 * Private to the mesh. */
#ifndef GUICHET_IO_MESH_WIRE_H
#define GUICHET_IO_MESH_WIRE_H

#include "core/str.h"
#include "io/loop.h"

struct mesh_wire;
struct mesh_wire_op;

enum mesh_wire_kind { MESH_WIRE_REQUEST, MESH_WIRE_REPLY, MESH_WIRE_PUBLISH, MESH_WIRE_SUBSCRIBE };

struct mesh_wire_result {
    enum err_kind kind;   /* NONE; DEADLINE; UNAVAILABLE: the connection is gone; INTERNAL */
    const char *text;     /* nng's words, when not NONE */
    struct str_view body; /* borrowed: valid inside done() only */
    uint32_t peer;        /* the connection that body came by */
    uint64_t ended_ms;    /* when nng ended it: a busy loop may see it much later */
};

typedef void mesh_wire_done_fn(void *arg, const struct mesh_wire_result *result);
/* From the loop; several quick changes may come as one: has_new tells whether any was a connect. */
typedef void mesh_wire_peer_fn(void *arg, uint32_t connected_peers, bool has_new);

bool mesh_wire_open(struct loop *loop, enum mesh_wire_kind kind, size_t message_max_bytes,
                    struct mesh_wire **ret_wire, struct err *err) MUST_USE;
/* Not before the first dial or listen. */
void mesh_wire_on_peer(struct mesh_wire *wire, mesh_wire_peer_fn *on_peer, void *arg);
/* REPLY, instead of the above: told from the loop that connections have ended, one or several; which, says
 * mesh_wire_is_peer(). */
void mesh_wire_on_gone(struct mesh_wire *wire, loop_fn *on_gone, void *arg);
/* Is that connection still there? Once it is not, it never is again; on_gone() comes after that. */
bool mesh_wire_is_peer(struct mesh_wire *wire, uint32_t peer);
/* Connects in the background and again whenever the connection is lost. Only tcp:// is accepted. */
bool mesh_wire_dial(struct mesh_wire *wire, const char *url, struct err *err) MUST_USE;
/* The url really bound, which differs when the port was 0; owned by the caller. */
bool mesh_wire_listen(struct mesh_wire *wire, const char *url, char **ret_url, struct err *err) MUST_USE;
/* Stops every operation and frees it, and closes; blocks for the moment nng needs, a second at most. */
void mesh_wire_close(struct mesh_wire **wire);
/* The same while the loop goes on: does not wait for nng. */
void mesh_wire_discard(struct mesh_wire **wire);

struct mesh_wire_op *mesh_wire_op_new(struct mesh_wire *wire, mesh_wire_done_fn *done, void *arg);
/* REQUEST: sends, then waits for the answer; both within timeout_ms. */
void mesh_wire_call(struct mesh_wire_op *op, struct str_view body, uint32_t timeout_ms);
/* REPLY and SUBSCRIBE: waits for the next message, for as long as it takes. */
void mesh_wire_receive(struct mesh_wire_op *op);
/* REPLY, after a received one. */
void mesh_wire_reply(struct mesh_wire_op *op, struct str_view body, uint32_t timeout_ms);
/* Waits, blocking, until what was started on it has ended in nng; for the last replies of a server. */
void mesh_wire_flush(struct mesh_wire_op *op);

/* PUBLISH: to whoever listens; a slow one loses messages, silently. */
void mesh_wire_publish(struct mesh_wire *wire, struct str_view body);

#endif
