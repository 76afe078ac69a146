/* SPDX-License-Identifier: Apache-2.0 */
/* connector_internal.h - what the files of the SDK share; connectors themselves never include it.
 *
 * connector_main.c opens a runtime and lets it run; a test opens one on its own loop. Each of the four
 * flows has a file: announce (who we are), hook (HTTP in), lane (events to routing), pull (messages out). */
#ifndef GUICHET_SERVICE_CONNECTOR_INTERNAL_H
#define GUICHET_SERVICE_CONNECTOR_INTERNAL_H

#include "core/id.h"
#include "guichet/v1/connector.pb-c.h"
#include "io/http_server.h"
#include "io/mesh.h"
#include "io/spool.h"
#include "ops/stats.h"
#include "service/blob_client.h"
#include "service/connector.h"
#include "service/connector_job.h"
#include "service/connector_stats.h"

struct connector_announcer;
struct connector_fetches;
struct connector_lanes;
struct connector_puller;
struct connector_reports;

/* One account as it runs. */
struct connector_slot {
    const struct connector_account *account; /* in the configuration */
    bool is_refused;                         /* by routing, at the last Announce */
};

struct connector_runtime {
    struct loop *loop;
    const struct connector *table;
    const struct connector_config *config;
    struct connector_slot *slots;
    size_t slot_count;
    struct stats *stats;
    struct mesh_client *routing; /* Announce, Submit, Start, Report */
    struct mesh_client *blobs;   /* Blobs */
    struct http_client *http;
    struct http_server *server;
    struct connector_announcer *announcer;
    struct connector_lanes *lanes;
    struct connector_fetches *fetches;
    struct connector_puller **pullers; /* one for each replica's pull address */
    size_t puller_count;
    struct spool *spool; /* NULL: none is configured */
    struct spool_account *spool_accounts;
    struct spool_numbers spool_shown; /* in the metrics */
    struct loop_timer *spool_timer;
    struct connector_reports *reports;
    char boot_id[ID_TEXT_BYTES];
    bool is_draining;
    bool is_closing; /* webhooks are turned away: their lanes are being closed */
};

/* ---- connector_config.c ---- */

/* The whole table of settings: the skeleton's, the connector's own, and `accounts`. One at a time. */
struct connector_keys {
    struct config_key *keys, *account_keys;
};
void connector_keys_init(struct connector_keys *keys, const struct connector *table);
void connector_keys_done(struct connector_keys *keys);
/* What the table cannot say: ids unique and fit for a URL, at least one account, each connector's own check. */
bool connector_config_check(const struct connector *table, const struct connector_config *config,
                            struct err *err) MUST_USE;
struct connector_account *connector_account_at(const struct connector *table,
                                               const struct connector_config *config, size_t index);

/* ---- connector_runtime.c ---- */

bool connector_runtime_new(struct loop *loop, const struct connector *table,
                           const struct connector_config *config, struct connector_runtime **ret_runtime,
                           struct err *err) MUST_USE;
void connector_runtime_free(struct connector_runtime **runtime);
void connector_runtime_drain(struct connector_runtime *runtime);
bool connector_runtime_is_drained(const struct connector_runtime *runtime);
struct connector_slot *connector_slot_find(struct connector_runtime *runtime, struct str_view account_id);

/* ---- connector_announce.c ---- */

typedef void connector_announced_fn(void *arg, bool is_announced);

struct connector_announcer *connector_announcer_new(struct connector_runtime *runtime);
void connector_announcer_free(struct connector_announcer **announcer);
bool connector_is_announced(const struct connector_runtime *runtime);
/* The token to call with, and which one it is; data NULL when there is none that still holds. */
struct str_view connector_token(const struct connector_runtime *runtime, uint32_t *ret_generation);
/* The token of that generation was refused: announces at once, unless a newer one is there already.
 * done() comes later from the loop, exactly once; done may be NULL. */
void connector_announce_again(struct connector_runtime *runtime, uint32_t refused_generation,
                              connector_announced_fn *done, void *arg);
void connector_announce_soon(struct connector_runtime *runtime); /* within a second */

/* ---- connector_lane.c ---- */

/* How one event was answered; err is ERR_NONE when it was (stored, duplicate or refused). With recorded NULL
 * as well it is committed to the spool. */
typedef void connector_recorded_fn(void *arg, const Guichet__V1__Recorded *recorded, const struct err *err);

struct connector_lanes *connector_lanes_new(struct connector_runtime *runtime);
void connector_lanes_free(struct connector_lanes **lanes);
/* The event stays the caller's until done(), which comes exactly once, later, from the loop. */
void connector_lane_add(struct connector_lanes *lanes, struct connector_slot *slot,
                        Guichet__V1__InboundEvent *event, connector_recorded_fn *done, void *arg);
size_t connector_lanes_waiting(const struct connector_lanes *lanes); /* events not answered yet */

/* ---- connector_hook.c ---- */

void connector_hook_on_request(void *arg, struct http_exchange *exchange); /* arg: the runtime */

/* ---- connector_pull.c ---- */

bool connector_puller_new(struct connector_runtime *runtime, const char *address,
                          struct connector_puller **ret_puller, struct err *err) MUST_USE;
void connector_puller_stop(struct connector_puller *puller);         /* pulls no more; what runs goes on */
size_t connector_puller_jobs(const struct connector_puller *puller); /* under way */
void connector_puller_free(struct connector_puller **puller);

/* ---- connector_send.c ---- */

/* Start, provider call, Report for one pulled job (copied); other jobs than deliveries need no Start. done() comes
 * once, when all is reported, kept in the spool or given up. */
struct connector_send;
typedef void connector_send_done_fn(void *arg, struct connector_send *send);
struct connector_send *connector_send_start(struct connector_runtime *runtime, const Guichet__V1__Job *job,
                                            connector_send_done_fn *done, void *arg);
void connector_send_free(struct connector_send **send); /* at the end only: done() does not come */

#endif
