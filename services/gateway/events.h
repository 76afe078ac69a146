/* SPDX-License-Identifier: Apache-2.0 */
/* events.h - live events: one reader of the log per tenant, a ring of what it read lately, and the sockets.
 *
 *   doorbell, poll -> tail reads routing's log -> ring -> every live socket of the tenant
 *
 * A socket comes with a cursor or starts now. Where the ring reaches back to its cursor it
 * goes live at once; otherwise it reads the log by itself until the ring takes over, at the
 * exact sequence. The log counts without holes, so a sequence compare is the whole proof
 * that nothing is missed or repeated. */
#ifndef GUICHET_GATEWAY_EVENTS_H
#define GUICHET_GATEWAY_EVENTS_H

#include "cursor.h"
#include "gateway.h"

struct events;
struct tail;
struct events_socket;

struct events *events_new(struct gateway *gateway);
/* Sockets must be closed and the mesh clients freed before: no call is under way then. */
void events_free(struct events **events);
void events_on_doorbell(void *arg, const char *tenant, uint64_t sequence);
/* Log-out: closes its sockets on this replica with 4001. */
void events_end_session(struct events *events, const char *token);
/* Drain: closes every socket with 1012. */
void events_close_all(struct events *events);
uint32_t events_socket_count(const struct events *events);

/* The handler of the WebSocket's listener; arg is the gateway. */
void events_handle(void *arg, struct http_exchange *exchange);

/* ---- between the tail (events.c) and the sockets (events_socket.c) ---- */

/* An event as the ring keeps it: what filters look at, and the frame all sockets share. */
struct tail_event {
    Guichet__V1__Event facts; /* only type and ids; strings point behind */
    struct str_view frame;
};

/* The tenant's tail, made at first use. The socket is called back by events_socket_start() once it is
 * known where the log ends, and gets every new event from then on. */
struct tail *events_tail_join(struct events *events, const char *tenant, struct events_socket *socket);
void events_tail_leave(struct tail *tail, struct events_socket *socket);
void events_tail_kick(struct tail *tail);
const char *events_tail_epoch(const struct tail *tail);
uint64_t events_tail_position(const struct tail *tail);
/* Hands the ring's events after `sequence` to the socket, as many as it has room for. */
enum tail_replay { TAIL_REPLAYED, TAIL_SOCKET_FULL, TAIL_TOO_OLD /* the ring does not reach back so far */ };
enum tail_replay events_tail_replay(struct tail *tail, uint64_t sequence, struct events_socket *socket);
void events_tail_read_log(struct gateway *gateway, const char *tenant, const struct event_cursor *after,
                          Guichet__V1__ReadEventsReply_Closure closure, void *arg);

struct events_socket_links {
    struct events_socket *previous, *next;
};
struct events_socket_links *events_socket_links(struct events_socket *socket);
/* The tail has begun, or begun anew in another epoch. */
void events_socket_start(struct events_socket *socket);
void events_socket_resync(struct events_socket *socket);
/* A new event; only live sockets that have not had it yet take it. */
void events_socket_take(struct events_socket *socket, const struct tail_event *event);
/* Half of what may be unsent is: it is given no more until the client has taken some, but for what is live. */
bool events_socket_is_full(const struct events_socket *socket);
bool events_socket_has_token(const struct events_socket *socket, const char *token);
void events_socket_end(struct events_socket *socket, int code, const char *reason);

#endif
