/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_replica.c - one nng socket per replica address, with a breaker and a ping of its own.
 *
 * One socket over several addresses is blind: nng hands requests out in turn, to a
 * stopped peer as well. And nng has no heartbeat: a peer that is stopped, or cut off,
 * looks connected for minutes. So each replica is pinged, on a context of its own, and
 * the breaker decides by pings and by calls. */
#include "io/mesh_replica.h"

#include <stdlib.h>

#include "core/id.h"
#include "io/mesh_envelope.h"
#include "io/mesh_stats.h"
#include "ops/log.h"

#define PING_SOON_MS 1000u /* also its time-out */
/* So many failed pings of an open breaker, and the connection is made anew. */
#define REOPEN_PINGS 5
#define PING_METHOD "guichet.v1.Mesh/Ping"
#define FNV_OFFSET 14695981039346656037u
#define FNV_PRIME 1099511628211u

struct mesh_exchange {
    struct mesh_replica *replica;
    struct mesh_wire_op *op;
    struct mesh_exchange *next_idle;
    struct mesh_exchange *next; /* all of the replica's */
    mesh_wire_done_fn *done;    /* NULL: nobody waits */
    void *arg;
};

struct mesh_replica {
    struct loop *loop;
    struct mesh_replica_options options;
    char *address;
    uint64_t address_hash;
    struct mesh_wire *wire;
    struct mesh_breaker breaker;
    bool is_connected;
    bool is_draining;
    struct mesh_exchange *exchanges, *idle;
    uint32_t taken;
    struct mesh_wire_op *ping;
    bool is_pinging;
    uint32_t failed_pings; /* in a row */
    struct loop_timer *ping_timer;
};

/* ---- breaker and ping ---- */

static void count_failure(struct mesh_replica *replica)
{
    if (!mesh_breaker_on_failure(&replica->breaker))
        return;
    log_event(LOG_DEBUG, "mesh_breaker_open", LOG_TEXT("peer", replica->options.peer),
              LOG_TEXT("replica", replica->address));
    mesh_stats_add(MESH_STAT_BREAKER_OPENS, replica->address);
    replica->options.on_open(replica->options.arg, replica);
}

static void count_success(struct mesh_replica *replica, bool is_ping)
{
    if (mesh_breaker_on_success(&replica->breaker, is_ping))
        log_event(LOG_DEBUG, "mesh_breaker_closed", LOG_TEXT("peer", replica->options.peer),
                  LOG_TEXT("replica", replica->address));
}

static void reopen(struct mesh_replica *replica);
static void schedule_ping(struct mesh_replica *replica);

static void on_ping_due(void *arg)
{
    struct mesh_replica *replica = arg;
    Guichet__V1__Request request = GUICHET__V1__REQUEST__INIT;
    uint32_t timeout_ms = replica->options.ping_interval_ms;
    SCOPED_BUF packed = { 0 };

    if (replica->is_pinging)
        return;
    if (replica->wire == NULL) { /* it could not be made anew: not now either? */
        reopen(replica);
        schedule_ping(replica);
        return;
    }
    if (timeout_ms > PING_SOON_MS)
        timeout_ms = PING_SOON_MS;
    request.method = PING_METHOD;
    request.timeout_ms = timeout_ms;
    buf_init(&packed, MESH_DEFAULT_MESSAGE_BYTES);
    pb_pack(&request.base, &packed);
    mesh_breaker_on_trial(&replica->breaker);
    replica->is_pinging = true;
    mesh_wire_call(replica->ping, buf_view(&packed), timeout_ms);
}

/* A tenth earlier or later, so that many clients do not ping in step. */
static void schedule_ping(struct mesh_replica *replica)
{
    uint32_t interval_ms = replica->options.ping_interval_ms;
    bool is_well = replica->breaker.state == BREAKER_CLOSED && replica->breaker.failures == 0;
    uint8_t random;

    if (!is_well && interval_ms > PING_SOON_MS)
        interval_ms = PING_SOON_MS;
    random_bytes(&random, sizeof(random));
    loop_timer_start(replica->ping_timer, interval_ms * 9u / 10u + (uint64_t)interval_ms * random / 1275u, 0);
}

static bool read_ping(struct str_view packed, bool *ret_is_draining)
{
    SCOPED_ARENA arena = mesh_envelope_arena(packed, 0);
    Guichet__V1__Reply *reply;
    ProtobufCMessage *message;

    if (!mesh_envelope_read_reply(packed, arena, &reply, NULL) ||
        reply->status != GUICHET__V1__STATUS__STATUS_OK ||
        !pb_unpack(mesh_envelope_body(&reply->body), &guichet__v1__ping_reply__descriptor, &pb_limits_default,
                   arena, &message, NULL))
        return false;
    *ret_is_draining = ((Guichet__V1__PingReply *)message)->is_draining;
    return true;
}

static bool open_wire(struct mesh_replica *replica, struct err *err);
static void close_wire(struct mesh_replica *replica, void (*close)(struct mesh_wire **wire));

/* A peer whose machine is gone says nothing, and the kernel goes on trying for a quarter of an hour; and nng
 * 1.5.2 may be stuck with the old connection (mesh_wire.c). A new socket is free of both. */
static void reopen(struct mesh_replica *replica)
{
    struct err err = { 0 };

    close_wire(replica, mesh_wire_discard);
    if (!open_wire(replica, &err)) /* the address was good before */
        log_event(LOG_DEBUG, "mesh_reopen_failed", LOG_TEXT("replica", replica->address), LOG_ERR(&err));
}

static void on_ping_ended(void *arg, const struct mesh_wire_result *result)
{
    struct mesh_replica *replica = arg;

    replica->is_pinging = false;
    if (result->kind == ERR_NONE && read_ping(result->body, &replica->is_draining)) {
        replica->failed_pings = 0;
        count_success(replica, true);
    } else {
        replica->failed_pings++;
        count_failure(replica);
    }
    if (replica->failed_pings >= REOPEN_PINGS && replica->taken == 0) {
        replica->failed_pings = 0;
        reopen(replica);
    }
    schedule_ping(replica);
}

/* A new connection is the moment to look: not only when the next ping is due. */
static void on_peers(void *arg, uint32_t connected_peers, bool has_new)
{
    struct mesh_replica *replica = arg;

    replica->is_connected = connected_peers > 0;
    if (has_new && !replica->is_pinging)
        on_ping_due(replica);
}

/* ---- life ---- */

static uint64_t hash_text(const char *text)
{
    uint64_t hash = FNV_OFFSET;

    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * FNV_PRIME;
    return hash;
}

/* The finaliser of splitmix64: addresses that differ in one digit must give unrelated weights. */
static uint64_t mix(uint64_t value)
{
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
    value = (value ^ value >> 27) * 0x94d049bb133111ebu;
    return value ^ value >> 31;
}

static bool open_wire(struct mesh_replica *replica, struct err *err)
{
    struct mesh_wire *wire = NULL;

    if (!mesh_wire_open(replica->loop, MESH_WIRE_REQUEST, replica->options.message_max_bytes, &wire, err))
        return false;
    replica->wire = wire;
    mesh_wire_on_peer(wire, on_peers, replica);
    replica->ping = mesh_wire_op_new(wire, on_ping_ended, replica);
    if (!mesh_wire_dial(wire, replica->address, err)) {
        mesh_wire_close(&replica->wire);
        return false;
    }
    return true;
}

static void close_wire(struct mesh_replica *replica, void (*close)(struct mesh_wire **wire))
{
    struct mesh_exchange *next;

    close(&replica->wire);
    for (struct mesh_exchange *exchange = replica->exchanges; exchange != NULL; exchange = next) {
        next = exchange->next;
        free(exchange);
    }
    replica->exchanges = replica->idle = NULL;
    replica->is_connected = false;
}

bool mesh_replica_new(struct loop *loop, const char *address, const struct mesh_replica_options *options,
                      struct mesh_replica **ret_replica, struct err *err)
{
    struct mesh_replica *replica = calloc(1, sizeof(*replica));

    if (replica == NULL)
        abort();
    replica->loop = loop;
    replica->options = *options;
    replica->address = str_dup(str_view_of(address));
    replica->address_hash = hash_text(address);
    mesh_breaker_init(&replica->breaker, options->breaker_failures);
    replica->ping_timer = loop_timer_new(loop, on_ping_due, replica);
    if (!open_wire(replica, err)) {
        mesh_replica_free(&replica);
        return false;
    }
    on_ping_due(replica);
    *ret_replica = replica;
    return true;
}

void mesh_replica_free(struct mesh_replica **replica)
{
    if (*replica == NULL)
        return;
    close_wire(*replica, mesh_wire_close);
    loop_timer_free(&(*replica)->ping_timer);
    free((*replica)->address);
    free(*replica);
    *replica = NULL;
}

/* ---- for the choice ---- */

uint32_t mesh_replica_rank(const struct mesh_replica *replica)
{
    if (!mesh_breaker_lets_through(&replica->breaker))
        return REPLICA_OUT;
    if (replica->breaker.state == BREAKER_NEW || replica->is_draining)
        return REPLICA_LAST_RESORT;
    return replica->is_connected ? REPLICA_FIT : REPLICA_RECONNECTING;
}

bool mesh_replica_is_healthy(const struct mesh_replica *replica)
{
    return replica->breaker.state == BREAKER_CLOSED && replica->is_connected;
}

bool mesh_replica_has_room(const struct mesh_replica *replica)
{
    return replica->taken < replica->options.max_in_flight;
}

uint64_t mesh_replica_weight(const struct mesh_replica *replica, uint32_t lane)
{
    return mix(replica->address_hash ^ mix(lane));
}

const char *mesh_replica_address(const struct mesh_replica *replica)
{
    return replica->address;
}

/* ---- exchanges ---- */

static void on_exchange_ended(void *arg, const struct mesh_wire_result *result)
{
    struct mesh_exchange *exchange = arg;
    struct mesh_replica *replica = exchange->replica;
    mesh_wire_done_fn *done = exchange->done;
    void *done_arg = exchange->arg;

    exchange->done = NULL;
    exchange->next_idle = replica->idle;
    replica->idle = exchange;
    replica->taken--;
    if (result->kind == ERR_NONE)
        count_success(replica, false);
    else if (done != NULL) /* an abandoned one was counted when it was given up */
        count_failure(replica);
    if (done != NULL)
        done(done_arg, result);
}

static struct mesh_exchange *take_exchange(struct mesh_replica *replica)
{
    struct mesh_exchange *exchange = replica->idle;

    if (exchange != NULL) {
        replica->idle = exchange->next_idle;
    } else {
        exchange = calloc(1, sizeof(*exchange));
        if (exchange == NULL)
            abort();
        exchange->replica = replica;
        exchange->op = mesh_wire_op_new(replica->wire, on_exchange_ended, exchange);
        exchange->next = replica->exchanges;
        replica->exchanges = exchange;
    }
    replica->taken++;
    return exchange;
}

struct mesh_exchange *mesh_replica_call(struct mesh_replica *replica, struct str_view packed,
                                        uint32_t timeout_ms, mesh_wire_done_fn *done, void *arg)
{
    struct mesh_exchange *exchange = take_exchange(replica);

    exchange->done = done;
    exchange->arg = arg;
    mesh_wire_call(exchange->op, packed, timeout_ms);
    return exchange;
}

void mesh_exchange_abandon(struct mesh_exchange *exchange)
{
    exchange->done = NULL;
}

bool mesh_exchange_is_awaited(const struct mesh_exchange *exchange)
{
    return exchange->done != NULL;
}
