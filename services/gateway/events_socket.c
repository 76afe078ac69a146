/* SPDX-License-Identifier: Apache-2.0 */
/* events_socket.c - one agent's WebSocket: hello, catch up, live.
 *
 * A socket is in one of four states (below). It reads the log by itself only while it is
 * behind the tail's ring; then it reads no faster than its client takes. The client's slowness
 * ends in 1013, by the queue's bound or by the stall's, never in a gap. */
#include "events_socket.h"

#include <stdlib.h>
#include <string.h>

#include "auth.h"
#include "core/id.h"
#include "core/json.h"
#include "core/pbjson.h"
#include "frames.h"
#include "io/websocket.h"

#define RETRY_MS 500
#define PACE_MS 20
#define FRAME_BYTES_MAX 1048576
#define AGENT_ARENA_BYTES 65536

/* OPENING -> WAITING -> CATCHING_UP <-> LIVE -> ENDED.
 * WAITING: for the tail to know where the log ends (at the start, and when its epoch has changed). */
enum socket_state { SOCKET_OPENING, SOCKET_WAITING, SOCKET_CATCHING_UP, SOCKET_LIVE, SOCKET_ENDED };

struct events_socket {
    struct events_socket_links links;
    struct gateway *gateway;
    struct tail *tail;
    struct websocket *websocket; /* NULL before on_open and after on_close */
    enum socket_state state;
    int end_code;   /* asked to end before it was open */
    uint32_t calls; /* under way: the socket must outlive them */
    bool is_checking;
    char id[ID_TEXT_BYTES];
    char *token;
    struct arena *agent_arena;
    const Guichet__V1__Agent *agent;
    bool has_cursor;
    struct event_cursor at; /* everything up to here was sent, or was not for this agent */
    struct loop_timer *check, *pace;
    uint64_t stalled_since_ms; /* 0: takes what it is given */
};

static void on_open(void *arg, struct websocket *websocket);
static void on_text(void *arg, struct websocket *websocket, struct str_view text);
static void on_close(void *arg, struct websocket *websocket, int code);
static void socket_check(void *arg);
static void socket_pace(void *arg);
static void socket_read(struct events_socket *socket);

/* ---- birth and death ---- */

static void socket_move(struct events_socket *socket, enum socket_state state)
{
    socket->state = state;
}

static void socket_free(struct events_socket *socket)
{
    loop_timer_free(&socket->check);
    loop_timer_free(&socket->pace);
    arena_free(&socket->agent_arena);
    free(socket->token);
    free(socket);
}

static void agent_keep(struct events_socket *socket, const Guichet__V1__Agent *agent)
{
    struct arena *arena = arena_new(AGENT_ARENA_BYTES);
    const Guichet__V1__Agent *copy = (const Guichet__V1__Agent *)pb_dup(&agent->base, arena);

    if (copy == NULL) { /* thousands of queues: what we knew must do */
        arena_free(&arena);
        return;
    }
    arena_free(&socket->agent_arena);
    socket->agent_arena = arena;
    socket->agent = copy;
}

void events_socket_open(struct gateway *gateway, struct http_exchange *exchange, const char *token,
                        const Guichet__V1__Agent *agent, const struct event_cursor *at)
{
    struct events_socket *socket = calloc(1, sizeof(*socket));

    if (socket == NULL)
        abort();
    socket->gateway = gateway;
    socket->token = str_dup(str_view_of(token));
    id_new_text(socket->id);
    agent_keep(socket, agent);
    if (at != NULL) {
        socket->has_cursor = true;
        socket->at = *at;
    }
    socket->check = loop_timer_new(gateway->loop, socket_check, socket);
    socket->pace = loop_timer_new(gateway->loop, socket_pace, socket);
    if (socket->agent == NULL ||
        !websocket_accept(gateway->loop, exchange,
                          &(struct websocket_options){ .subprotocol = EVENTS_SUBPROTOCOL,
                                                       .queue_max_bytes = gateway->config->socket_queue_bytes,
                                                       .ping_interval_ms = gateway->config->heartbeat_ms,
                                                       .on_open = on_open,
                                                       .on_text = on_text,
                                                       .on_close = on_close,
                                                       .arg = socket }))
        socket_free(socket);
}

/* Sockets that came back together shall not check together ever after. */
static uint32_t first_check_ms(uint32_t interval_ms)
{
    uint32_t random;

    random_bytes(&random, sizeof(random));
    return interval_ms / 2 + random % (interval_ms / 2 + 1);
}

static void on_open(void *arg, struct websocket *websocket)
{
    struct events_socket *socket = arg;
    uint32_t interval_ms = socket->gateway->config->session_check_ms;

    socket->websocket = websocket;
    if (socket->end_code != 0) {
        websocket_close(websocket, socket->end_code, "");
        return;
    }
    log_event(LOG_INFO, "socket_opened", LOG_TEXT("tenant", socket->agent->tenant),
              LOG_TEXT("agent", socket->agent->id), LOG_TEXT("session_id", socket->id),
              LOG_NUMBER("is_resumed", socket->has_cursor));
    loop_timer_start(socket->check, first_check_ms(interval_ms), interval_ms);
    socket_move(socket, SOCKET_WAITING);
    socket->tail = events_tail_join(socket->gateway->events, socket->agent->tenant, socket);
    if (events_tail_epoch(socket->tail)[0] != '\0')
        events_socket_start(socket);
}

static void on_close(void *arg, struct websocket *websocket, int code)
{
    struct events_socket *socket = arg;
    char word[12];

    (void)websocket;
    snprintf(word, sizeof(word), "%d", code);
    stats_add_label(socket->gateway->stats, GATEWAY_SOCKETS_CLOSED, word, 1);
    log_event(LOG_INFO, "socket_closed", LOG_TEXT("tenant", socket->agent->tenant),
              LOG_TEXT("agent", socket->agent->id), LOG_TEXT("session_id", socket->id),
              LOG_NUMBER("code", code));
    socket->websocket = NULL;
    socket_move(socket, SOCKET_ENDED);
    loop_timer_stop(socket->check);
    loop_timer_stop(socket->pace);
    if (socket->tail != NULL)
        events_tail_leave(socket->tail, socket);
    socket->tail = NULL;
    if (socket->calls == 0)
        socket_free(socket);
}

/* After a call: true when the socket ended meanwhile, and is gone. */
static bool call_ended(struct events_socket *socket)
{
    socket->calls--;
    if (socket->state != SOCKET_ENDED)
        return false;
    if (socket->calls == 0)
        socket_free(socket);
    return true;
}

void events_socket_end(struct events_socket *socket, int code, const char *reason)
{
    socket->end_code = code;
    if (socket->websocket != NULL)
        websocket_close(socket->websocket, code, reason);
}

struct events_socket_links *events_socket_links(struct events_socket *socket)
{
    return &socket->links;
}

bool events_socket_has_token(const struct events_socket *socket, const char *token)
{
    return strcmp(socket->token, token) == 0;
}

bool events_socket_is_full(const struct events_socket *socket)
{
    return socket->websocket != NULL &&
           websocket_queued_bytes(socket->websocket) > socket->gateway->config->socket_queue_bytes / 2;
}

/* ---- sending ---- */

static void socket_send(struct events_socket *socket, struct str_view frame)
{
    if (socket->websocket != NULL && socket->end_code == 0)
        websocket_send_text(socket->websocket, frame);
}

static void socket_send_buf(struct events_socket *socket, const struct buf *frame)
{
    socket_send(socket, buf_view(frame));
}

void events_socket_take(struct events_socket *socket, const struct tail_event *event)
{
    if (socket->state != SOCKET_LIVE || event->facts.sequence <= socket->at.sequence)
        return;
    socket->at.sequence = event->facts.sequence;
    if (!frames_is_for(&event->facts, socket->agent))
        return;
    stats_add(socket->gateway->stats, GATEWAY_EVENTS_SENT, 1);
    socket_send(socket, event->frame);
}

static void socket_at_tail(struct events_socket *socket)
{
    snprintf(socket->at.epoch, sizeof(socket->at.epoch), "%s", events_tail_epoch(socket->tail));
    socket->at.sequence = events_tail_position(socket->tail);
}

void events_socket_resync(struct events_socket *socket)
{
    SCOPED_BUF frame;

    buf_init(&frame, 1024);
    socket_at_tail(socket);
    frames_resync(&frame, socket->at.epoch, socket->at.sequence);
    socket_send_buf(socket, &frame);
    socket_move(socket, SOCKET_LIVE);
    stats_add(socket->gateway->stats, GATEWAY_RESYNCS, 1);
}

/* ---- from the cursor to live ---- */

/* is_confirmed: the log itself has said that it reaches as far as our cursor. */
static void socket_go_on(struct events_socket *socket, bool is_confirmed)
{
    enum tail_replay replay = TAIL_TOO_OLD;

    if (is_confirmed || socket->at.sequence <= events_tail_position(socket->tail)) {
        socket_move(socket, SOCKET_LIVE);
        replay = events_tail_replay(socket->tail, socket->at.sequence, socket);
    }
    if (replay == TAIL_REPLAYED) {
        if (socket->at.sequence > events_tail_position(socket->tail))
            events_tail_kick(socket->tail);
        return;
    }
    socket_move(socket, SOCKET_CATCHING_UP);
    if (replay == TAIL_SOCKET_FULL)
        loop_timer_start(socket->pace, PACE_MS, 0);
    else
        socket_read(socket);
}

void events_socket_start(struct events_socket *socket)
{
    bool is_same_epoch = socket->has_cursor && strcmp(socket->at.epoch, events_tail_epoch(socket->tail)) == 0;
    SCOPED_BUF frame;

    buf_init(&frame, 1024);
    if (!is_same_epoch)
        socket_at_tail(socket);
    frames_hello(&frame, socket->id, socket->at.epoch, socket->at.sequence,
                 socket->gateway->config->heartbeat_ms);
    socket_send_buf(socket, &frame);
    if (!socket->has_cursor)
        socket_move(socket, SOCKET_LIVE);
    else if (!is_same_epoch)
        events_socket_resync(socket);
    else
        socket_go_on(socket, false);
}

static void send_read(struct events_socket *socket, const Guichet__V1__Event *event)
{
    SCOPED_BUF frame;

    buf_init(&frame, FRAME_BYTES_MAX);
    if (event->sequence <= socket->at.sequence)
        return;
    socket->at.sequence = event->sequence;
    if (!frames_is_for(event, socket->agent))
        return;
    frames_event(&frame, socket->at.epoch, event);
    stats_add(socket->gateway->stats, GATEWAY_EVENTS_SENT, 1);
    socket_send_buf(socket, &frame);
}

static void on_read(const Guichet__V1__ReadEventsReply *reply, void *arg)
{
    struct events_socket *socket = arg;

    if (call_ended(socket) || socket->state != SOCKET_CATCHING_UP)
        return;
    if (reply == NULL) {
        loop_timer_start(socket->pace, RETRY_MS, 0);
        return;
    }
    if (strcmp(reply->epoch, events_tail_epoch(socket->tail)) != 0) {
        socket_move(socket, SOCKET_WAITING); /* the tail will find out as well, and tell all its sockets */
        events_tail_kick(socket->tail);
        return;
    }
    if (reply->is_resync_required) {
        events_socket_resync(socket);
        return;
    }
    /* What there is no room for is read again: a page may be more than a socket may hold. */
    for (size_t i = 0; i < reply->n_events && !events_socket_is_full(socket); i++)
        send_read(socket, reply->events[i]);
    socket_pace(socket);
}

static void socket_read(struct events_socket *socket)
{
    socket->calls++;
    stats_add_label(socket->gateway->stats, GATEWAY_EVENT_READS, "socket", 1);
    events_tail_read_log(socket->gateway, socket->agent->tenant, &socket->at, on_read, socket);
}

/* Goes on as soon as the client has taken half of what it was given. */
static void socket_pace(void *arg)
{
    struct events_socket *socket = arg;
    const struct gateway_config *config = socket->gateway->config;
    uint64_t now_ms = loop_now_ms(socket->gateway->loop);

    if (socket->state != SOCKET_CATCHING_UP)
        return;
    if (!events_socket_is_full(socket)) {
        socket->stalled_since_ms = 0;
        socket_go_on(socket, true);
        return;
    }
    if (socket->stalled_since_ms == 0)
        socket->stalled_since_ms = now_ms;
    if (now_ms - socket->stalled_since_ms >= config->socket_stall_ms)
        events_socket_end(socket, 1013, "too slow");
    else
        loop_timer_start(socket->pace, PACE_MS, 0);
}

/* ---- the session behind it, and what the client says ---- */

static void on_checked(void *arg, const Guichet__V1__Agent *agent, const struct err *err)
{
    struct events_socket *socket = arg;

    socket->is_checking = false;
    if (call_ended(socket))
        return;
    if (err->kind == ERR_FORBIDDEN)
        events_socket_end(socket, 4001, "the session has ended");
    else if (err->kind == ERR_NONE)
        agent_keep(socket, agent);
}

/* Also keeps the agent present: routing takes each check as a sign of life. */
static void socket_check(void *arg)
{
    struct events_socket *socket = arg;

    if (socket->is_checking)
        return;
    socket->is_checking = true;
    socket->calls++;
    auth_sessions_check(socket->gateway->sessions,
                        &(struct session_query){ .token = socket->token,
                                                 .timeout_ms = socket->gateway->config->request_timeout_ms,
                                                 .is_fresh = true },
                        on_checked, socket);
}

static void on_text(void *arg, struct websocket *websocket, struct str_view text)
{
    struct events_socket *socket = arg;
    SCOPED_JSON value = NULL;
    SCOPED_BUF frame;
    struct err err = { 0 };
    const char *type;

    (void)websocket;
    buf_init(&frame, 2048);
    if (!json_read(text, &value, &err)) {
        frames_error(&frame, err.text);
    } else {
        type = json_object_is_type(value, json_type_object) ? json_str(value, "type") : NULL;
        if (type != NULL && strcmp(type, "ping") == 0)
            frames_pong(&frame, socket->at.epoch, socket->at.sequence);
        else
            frames_error(&frame, "the only frame a client may send is {\"type\":\"ping\"}");
    }
    socket_send_buf(socket, &frame);
}
