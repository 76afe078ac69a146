/* SPDX-License-Identifier: Apache-2.0 */
/* events.c - per-tenant tails: read the log when the doorbell rings or poll_ms passes, keep a ring, hand on.
 *
 * One read is under way per tenant; a ring of the bell meanwhile makes another follow. A
 * tail lives as long as its tenant has sockets: nobody listens, nothing is read. */
#include "events.h"

#include <stdlib.h>
#include <string.h>

#include "frames.h"

#define RETRY_MS 500
#define FRAME_BYTES_MAX 1048576

/* STARTING -> IDLE <-> READING; a failed read waits in FAILED for its timer. */
enum tail_state { TAIL_STARTING, TAIL_IDLE, TAIL_READING, TAIL_FAILED };

struct tail {
    struct events *events;
    struct tail *next;
    char *tenant;
    enum tail_state state;
    bool is_calling;          /* a read is under way: the tail must outlive it */
    bool is_kicked;           /* something is new since that read began */
    struct event_cursor at;   /* everything up to here was handed on */
    struct tail_event **ring; /* slot of an event: its sequence modulo size */
    uint64_t ring_after;      /* the ring holds (ring_after, at.sequence] */
    struct loop_timer *retry;
    struct events_socket *sockets;
};

struct events {
    struct gateway *gateway;
    struct loop_timer *poll;
    struct tail *tails;
    uint32_t socket_count;
};

static void tail_read(struct tail *tail);

/* ---- the ring ---- */

static char *place(char **room, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = memcpy(*room, text, size);

    *room += size;
    return copy;
}

static struct tail_event *tail_event_new(const char *epoch, const Guichet__V1__Event *event)
{
    const char *ids[] = { event->conversation_id, event->agent_id, event->previous_agent_id,
                          event->queue_id };
    struct tail_event *kept;
    size_t size = sizeof(*kept);
    SCOPED_BUF frame;
    char *room;

    buf_init(&frame, FRAME_BYTES_MAX);
    frames_event(&frame, epoch, event);
    for (size_t i = 0; i < COUNT_OF(ids); i++)
        size += strlen(ids[i]) + 1;
    kept = malloc(size + frame.len);
    if (kept == NULL)
        abort();
    room = (char *)(kept + 1);
    guichet__v1__event__init(&kept->facts);
    kept->facts.type = event->type;
    kept->facts.sequence = event->sequence;
    kept->facts.conversation_id = place(&room, ids[0]);
    kept->facts.agent_id = place(&room, ids[1]);
    kept->facts.previous_agent_id = place(&room, ids[2]);
    kept->facts.queue_id = place(&room, ids[3]);
    kept->frame = (struct str_view){ memcpy(room, buf_text(&frame), frame.len), frame.len };
    return kept;
}

static size_t ring_size(const struct tail *tail)
{
    return tail->events->gateway->config->ring_events;
}

static void ring_clear(struct tail *tail)
{
    for (size_t i = 0; i < ring_size(tail); i++) {
        free(tail->ring[i]);
        tail->ring[i] = NULL;
    }
    tail->ring_after = tail->at.sequence;
}

static void ring_push(struct tail *tail, struct tail_event *event)
{
    struct tail_event **slot = &tail->ring[event->facts.sequence % ring_size(tail)];

    if (*slot != NULL)
        tail->ring_after = (*slot)->facts.sequence;
    free(*slot);
    *slot = event;
    tail->at.sequence = event->facts.sequence;
}

enum tail_replay events_tail_replay(struct tail *tail, uint64_t sequence, struct events_socket *socket)
{
    if (sequence < tail->ring_after)
        return TAIL_TOO_OLD;
    for (uint64_t i = sequence + 1; i <= tail->at.sequence; i++) {
        const struct tail_event *event = tail->ring[i % ring_size(tail)];

        if (events_socket_is_full(socket))
            return TAIL_SOCKET_FULL;
        if (event != NULL && event->facts.sequence == i)
            events_socket_take(socket, event);
    }
    return TAIL_REPLAYED;
}

/* ---- the tail ---- */

const char *events_tail_epoch(const struct tail *tail)
{
    return tail->at.epoch;
}

uint64_t events_tail_position(const struct tail *tail)
{
    return tail->at.sequence;
}

static void tail_move(struct tail *tail, enum tail_state state)
{
    tail->state = state;
}

static void on_retry(void *arg)
{
    tail_read(arg);
}

static struct tail *tail_new(struct events *events, const char *tenant)
{
    struct tail *tail = calloc(1, sizeof(*tail));

    if (tail == NULL)
        abort();
    tail->events = events;
    tail->tenant = str_dup(str_view_of(tenant));
    tail->ring = calloc(events->gateway->config->ring_events, sizeof(struct tail_event *));
    if (tail->ring == NULL)
        abort();
    tail->retry = loop_timer_new(events->gateway->loop, on_retry, tail);
    tail->next = events->tails;
    events->tails = tail;
    stats_set(events->gateway->stats, GATEWAY_TAILS,
              (double)stats_value(events->gateway->stats, GATEWAY_TAILS) + 1);
    return tail;
}

static void tail_free(struct tail *tail)
{
    struct tail **link = &tail->events->tails;
    struct stats *stats = tail->events->gateway->stats;

    while (*link != tail)
        link = &(*link)->next;
    *link = tail->next;
    ring_clear(tail);
    loop_timer_free(&tail->retry);
    stats_set(stats, GATEWAY_TAILS, (double)stats_value(stats, GATEWAY_TAILS) - 1);
    free(tail->ring);
    free(tail->tenant);
    free(tail);
}

static struct tail *tail_find(struct events *events, const char *tenant)
{
    for (struct tail *tail = events->tails; tail != NULL; tail = tail->next) {
        if (strcmp(tail->tenant, tenant) == 0)
            return tail;
    }
    return NULL;
}

void events_tail_read_log(struct gateway *gateway, const char *tenant, const struct event_cursor *after,
                          Guichet__V1__ReadEventsReply_Closure closure, void *arg)
{
    Guichet__V1__ReadEventsRequest request = GUICHET__V1__READ_EVENTS_REQUEST__INIT;

    request.tenant = (char *)tenant;
    request.after_sequence = after->sequence;
    request.epoch = (char *)after->epoch;
    request.limit = gateway->config->read_events;
    guichet__v1__routing__read_events(
        mesh_client_call(
            gateway->routing,
            &(struct mesh_call){ .tenant = tenant, .timeout_ms = gateway->config->request_timeout_ms }),
        &request, closure, arg);
}

static void sockets_each(struct tail *tail, void (*fn)(struct events_socket *socket))
{
    struct events_socket *next;

    for (struct events_socket *socket = tail->sockets; socket != NULL; socket = next) {
        next = events_socket_links(socket)->next;
        fn(socket);
    }
}

/* Where the log ends now is where we begin: at the start, and when its epoch is another. */
static void tail_begin(struct tail *tail, const Guichet__V1__ReadEventsReply *reply)
{
    bool is_first = tail->at.epoch[0] == '\0';

    snprintf(tail->at.epoch, sizeof(tail->at.epoch), "%s", reply->epoch);
    tail->at.sequence = reply->last_sequence;
    ring_clear(tail);
    if (!is_first)
        log_event(LOG_WARN, "event_log_restarted", LOG_TEXT("tenant", tail->tenant));
    sockets_each(tail, is_first ? events_socket_start : events_socket_resync);
}

static void tail_take(struct tail *tail, const Guichet__V1__Event *event)
{
    struct tail_event *kept;
    struct events_socket *next;

    if (event->sequence <= tail->at.sequence)
        return;
    kept = tail_event_new(tail->at.epoch, event);
    ring_push(tail, kept);
    for (struct events_socket *socket = tail->sockets; socket != NULL; socket = next) {
        next = events_socket_links(socket)->next;
        events_socket_take(socket, kept);
    }
}

static void tail_failed(struct tail *tail, const struct err *err)
{
    log_event(LOG_WARN, "event_read_failed", LOG_TEXT("tenant", tail->tenant), LOG_ERR(err));
    tail_move(tail, TAIL_FAILED);
    loop_timer_start(tail->retry, RETRY_MS, 0);
}

static void on_tail_read(const Guichet__V1__ReadEventsReply *reply, void *arg)
{
    struct tail *tail = arg;

    tail->is_calling = false;
    if (tail->sockets == NULL) {
        tail_free(tail);
        return;
    }
    if (reply == NULL) {
        tail_failed(tail, mesh_err());
        return;
    }
    tail_move(tail, TAIL_IDLE);
    if (tail->at.epoch[0] == '\0' || reply->is_resync_required || strcmp(tail->at.epoch, reply->epoch) != 0) {
        tail_begin(tail, reply);
        tail->is_kicked = true; /* what was committed while this read was under way */
    } else {
        for (size_t i = 0; i < reply->n_events; i++)
            tail_take(tail, reply->events[i]);
        if (tail->at.sequence < reply->last_sequence && reply->n_events > 0)
            tail->is_kicked = true;
    }
    if (tail->is_kicked)
        tail_read(tail);
}

static void tail_read(struct tail *tail)
{
    if (tail->is_calling)
        return;
    tail->is_kicked = false;
    tail->is_calling = true;
    tail_move(tail, tail->at.epoch[0] == '\0' ? TAIL_STARTING : TAIL_READING);
    stats_add_label(tail->events->gateway->stats, GATEWAY_EVENT_READS, "tail", 1);
    events_tail_read_log(tail->events->gateway, tail->tenant, &tail->at, on_tail_read, tail);
}

void events_tail_kick(struct tail *tail)
{
    if (tail->state == TAIL_IDLE || tail->state == TAIL_FAILED)
        tail_read(tail);
    else
        tail->is_kicked = true;
}

struct tail *events_tail_join(struct events *events, const char *tenant, struct events_socket *socket)
{
    struct events_socket_links *links = events_socket_links(socket);
    struct tail *tail = tail_find(events, tenant);

    if (tail == NULL)
        tail = tail_new(events, tenant);
    links->previous = NULL;
    links->next = tail->sockets;
    if (tail->sockets != NULL)
        events_socket_links(tail->sockets)->previous = socket;
    tail->sockets = socket;
    events->socket_count++;
    stats_set(events->gateway->stats, GATEWAY_SOCKETS, events->socket_count);
    if (tail->at.epoch[0] == '\0')
        tail_read(tail);
    return tail;
}

void events_tail_leave(struct tail *tail, struct events_socket *socket)
{
    struct events_socket_links *links = events_socket_links(socket);
    struct events *events = tail->events;

    if (links->previous != NULL)
        events_socket_links(links->previous)->next = links->next;
    else
        tail->sockets = links->next;
    if (links->next != NULL)
        events_socket_links(links->next)->previous = links->previous;
    events->socket_count--;
    stats_set(events->gateway->stats, GATEWAY_SOCKETS, events->socket_count);
    if (tail->sockets == NULL && !tail->is_calling)
        tail_free(tail);
}

/* ---- all tenants ---- */

static void on_poll(void *arg)
{
    struct events *events = arg;

    for (struct tail *tail = events->tails; tail != NULL; tail = tail->next)
        events_tail_kick(tail);
}

struct events *events_new(struct gateway *gateway)
{
    struct events *events = calloc(1, sizeof(*events));

    if (events == NULL)
        abort();
    events->gateway = gateway;
    events->poll = loop_timer_new(gateway->loop, on_poll, events);
    loop_timer_start(events->poll, gateway->config->poll_ms, gateway->config->poll_ms);
    return events;
}

void events_free(struct events **events)
{
    if (*events == NULL)
        return;
    while ((*events)->tails != NULL)
        tail_free((*events)->tails);
    loop_timer_free(&(*events)->poll);
    free(*events);
    *events = NULL;
}

void events_on_doorbell(void *arg, const char *tenant, uint64_t sequence)
{
    struct gateway *gateway = arg;
    struct tail *tail = tail_find(gateway->events, tenant);

    if (tenant[0] == '\0') { /* connected anew: anything may have rung */
        for (tail = gateway->events->tails; tail != NULL; tail = tail->next)
            events_tail_kick(tail);
        return;
    }
    stats_add(gateway->stats, GATEWAY_DOORBELLS, 1);
    if (tail != NULL && (sequence == 0 || sequence > tail->at.sequence))
        events_tail_kick(tail);
}

static void socket_restart(struct events_socket *socket)
{
    events_socket_end(socket, 1012, "the gateway restarts");
}

void events_close_all(struct events *events)
{
    for (struct tail *tail = events->tails; tail != NULL; tail = tail->next)
        sockets_each(tail, socket_restart);
}

void events_end_session(struct events *events, const char *token)
{
    for (struct tail *tail = events->tails; tail != NULL; tail = tail->next) {
        struct events_socket *next;

        for (struct events_socket *socket = tail->sockets; socket != NULL; socket = next) {
            next = events_socket_links(socket)->next;
            if (events_socket_has_token(socket, token))
                events_socket_end(socket, 4001, "logged out");
        }
    }
}

uint32_t events_socket_count(const struct events *events)
{
    return events->socket_count;
}
