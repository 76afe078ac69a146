/* SPDX-License-Identifier: Apache-2.0 */
/* routing.h - what the files of the routing service share.
 *
 * One struct routing holds what is open; applier, pulls and clocks keep their own state behind it. Every
 * write is one call of a function in schema/, which answers the last sequence of the tenant's event log;
 * whoever made it calls routing_committed(), the one place that rings and wakes. */
#ifndef GUICHET_ROUTING_H
#define GUICHET_ROUTING_H

#include "config.h"
#include "guichet/v1/connector.pb-c.h"
#include "guichet/v1/context.pb-c.h"
#include "guichet/v1/routing.pb-c.h"
#include "io/mesh.h"

struct routing;
struct routing_applier;
struct routing_pulls;
struct routing_clocks;
struct routing_start;
struct routing_published;

/* protoc-c hands the table to each function: what surrounds it is how we get back to ourselves. */
struct routing_connector_rpc {
    Guichet__V1__Connector_Service base;
    struct routing *routing;
};
struct routing_rpc {
    Guichet__V1__Routing_Service base;
    struct routing *routing;
    bool is_ctl; /* on guichetctl's listener: it says itself who asks */
};

struct routing_blobs_rpc {
    ProtobufCService base;
    struct routing *routing;
};

enum { ROUTING_LISTENERS = 5 };

struct routing {
    struct service *service;
    const struct routing_config *config;
    struct loop *loop;
    struct stats *stats;
    struct database database;
    struct mesh_client *context;
    struct mesh_client *blobs; /* of context */
    struct mesh_subscriber *doorbells;
    struct mesh_publisher *publisher;
    struct mesh_server *servers[ROUTING_LISTENERS];
    struct db_listener *listener;
    struct routing_applier *applier;
    struct routing_pulls *pulls;
    struct routing_clocks *clocks;
    struct routing_connector_rpc submit_rpc, pull_rpc;
    struct routing_rpc routing_rpc, ctl_rpc;
    struct routing_blobs_rpc blobs_rpc;
    struct worker *passwords;    /* argon2id takes its time; apart, so that logins crowd out nothing else */
    char *dummy_hash;            /* what unknown logins are compared with */
    struct routing_start *start; /* tenants being made; then NULL */
    struct routing_published *published;
    bool has_tenants, is_draining;
};

/* `service` is open. Makes tenants and queues as configured before it listens. */
bool routing_new(struct routing **ret_routing, struct service *service, const struct routing_config *config,
                 struct err *err) MUST_USE;
void routing_free(struct routing **routing);
/* The tenant's log reaches to `sequence` now (0: nothing new there): rings the doorbell. */
void routing_committed(struct routing *routing, const char *tenant, uint64_t sequence);
/* Something may be ready for a connector, or a time is nearer: wakes pulls, sets the clocks anew. */
void routing_wake(struct routing *routing, const char *tenant);

/* ---- the feed (applier.c, apply.c) ---- */
struct routing_applier *routing_applier_new(struct routing *routing);
void routing_applier_stop(struct routing_applier *applier); /* takes no more; gives the leases back */
bool routing_applier_is_idle(const struct routing_applier *applier);
void routing_applier_free(struct routing_applier **applier);
bool routing_applier_check(void *applier, struct err *err); /* for /readyz */
/* Something is new in context. Where another replica reads this feed, it is told by NOTIFY. */
void routing_applier_kick(struct routing_applier *applier, const char *tenant, bool is_forwarded);
void routing_applier_hold(struct routing_applier *applier); /* a feed may be free */
void routing_applier_look(struct routing_applier *applier); /* how far others are */
/* done() once changes up to `sequence` are applied, or after apply_wait_ms; from the loop. */
typedef void routing_applied_fn(void *arg);
void routing_applier_wait(struct routing_applier *applier, const char *tenant, uint64_t sequence,
                          routing_applied_fn *done, void *arg);
struct routing_feed_lease {
    const char *tenant, *holder, *epoch;
    uint64_t fencing, cursor;
    uint32_t ttl_ms;
};
/* A change applied anew: its dead letter, and who asks (an agent's id or "", and their name). */
struct routing_replay {
    const char *letter, *actor, *by;
};
/* Adds the call of routing.apply() for these changes, which are borrowed until it returns. With `replay` (else
 * NULL) it is one change, and of the lease only the tenant counts. */
void routing_apply_add(struct db_work *work, const struct routing_feed_lease *lease,
                       const struct routing_replay *replay, Guichet__V1__Change *const *changes,
                       size_t count);

/* ---- jobs for connectors (pull.c, delivery.c, jobs.c, clocks.c) ---- */
struct routing_pulls *routing_pulls_new(struct routing *routing);
void routing_pulls_drain(struct routing_pulls *pulls);
void routing_pulls_free(struct routing_pulls **pulls);
void routing_pulls_wake(struct routing_pulls *pulls, const char *tenant); /* NULL: all */
enum { ROUTING_DELAYS = 20 };
/* The back-off by attempt: base * 2^n up to the cap, times a random share (full jitter). */
void routing_retry_delays(const struct routing_config *config, int64_t ret_delays_ms[ROUTING_DELAYS]);
struct routing_clocks *routing_clocks_new(struct routing *routing);
void routing_clocks_free(struct routing_clocks **clocks);
void routing_clocks_set(struct routing_clocks *clocks, const char *tenant); /* NULL: all; asks the database */
void routing_clocks_lease_in(struct routing_clocks *clocks, const char *tenant, uint32_t ms);
void routing_dead_letters_count(struct routing *routing); /* how many are open, for the metrics */
void routing_clocks_presence_in(struct routing_clocks *clocks, const char *tenant, uint32_t ms);

#endif
