/* SPDX-License-Identifier: Apache-2.0 */
/* connector.h - the SDK: everything a connector does not have to write.
 *
 * A connector is a table. HTTP intake, batching in lanes, Submit, Announce and its
 * token, Pull/Start/Report with leases, retries on the mesh, metrics, health and
 * shutdown are connector_main()'s. The slots are pure: bytes in, values out.
 *
 * Intake: POST (or GET) <hook_prefix>/<account id>[/<rest>] -> verify over the raw body
 * -> normalise -> the events join the batch forming in their lane (lane = hash of
 * tenant, account, thread) -> Submit -> the provider's 2xx only after every event of its
 * payload was answered stored, duplicate or refused, or was committed to the spool (spool_dir).
 * Without a spool, mesh down or too slow: 503. A batch closes when the lane's previous one is
 * answered, or at 256 events or 512 KiB. No timers.
 *
 * Media: pending parts of events come back as jobs; the skeleton streams them from the provider into the
 * centre's blobs. Media of messages go out by link (the part's link_url is filled) or, where there is an
 * `upload` slot, are streamed to the provider before the message. */
#ifndef GUICHET_SERVICE_CONNECTOR_H
#define GUICHET_SERVICE_CONNECTOR_H

#include "core/arena.h"
#include "core/str.h"
#include "guichet/v1/capability.pb-c.h"
#include "guichet/v1/delivery.pb-c.h"
#include "guichet/v1/inbound.pb-c.h"
#include "guichet/v1/job.pb-c.h"
#include "io/http_client.h"
#include "ops/config.h"
#include "service/connector_settings.h"

struct hook_request {
    const char *method;
    const char *path;  /* what follows the account id, "" or "/status" */
    const char *query; /* raw */
    struct str_view body;
    const char *content_type;                                                    /* "" when none */
    const char *(*header)(const struct hook_request *request, const char *name); /* NULL when absent */
    void *header_arg;
};

/* What to answer instead of the default (200 and the connector's `hook_answer`). */
struct hook_answer {
    int status;
    const char *content_type;
    struct str_view body;
};

/* Events that one payload gave; grows in the arena. */
struct event_batch {
    struct arena *arena;
    Guichet__V1__InboundEvent **events;
    size_t count, size;
    int64_t received_us;
    struct hook_answer answer; /* set by normalise: another 2xx than the default; status 0: the default */
};
/* A new event with account, tenant, received_at, raw and raw_type filled in, appended to the batch. occurred_at is
 * for the provider's own time only: with ours a repeated webhook would not be equal to the first. */
Guichet__V1__InboundEvent *event_batch_add(struct event_batch *batch, const struct connector_account *account,
                                           struct str_view raw, const char *raw_type);

/* A request whose body is a file: the skeleton sends `before`, the bytes, `after` (multipart/form-data). The request's
 * own body and timeouts are not read. */
struct media_upload {
    struct http_client_request request;
    struct str_view before, after;
};

struct connector {
    const char *name; /* channel, metric label, log name: "sms" */
    const char *summary;
    const struct config_key *config_keys; /* the connector's own, after struct connector_config */
    size_t config_size;
    const struct config_key *account_keys; /* the account's own, after struct connector_account */
    size_t account_size;
    struct hook_answer hook_answer; /* the default 2xx */

    /* May be NULL. Is this account complete? false stops the start with err's text. */
    bool (*check)(const void *account, struct err *err);
    void (*capabilities)(const void *account, Guichet__V1__Capabilities *ret_capabilities);
    /* Is this from the provider? false: 403, counted, logged with err's text. A handshake answers through
     * *ret_answer (status not 0): it is sent and nothing is normalised. */
    bool (*verify)(const void *account, const struct hook_request *request, struct arena *arena,
                   struct hook_answer *ret_answer, struct err *err);
    /* Payload in, events out. false: 400 with the text; nothing is submitted. */
    bool (*normalise)(const void *account, const struct hook_request *request, struct event_batch *batch,
                      struct err *err);
    /* Message in, provider request out, in the arena. false: the delivery fails with CONTENT_REFUSED. */
    bool (*render)(const void *account, const Guichet__V1__Outbound *message, struct arena *arena,
                   struct http_client_request *ret_request, struct err *err);
    /* Provider answer in, outcome out. Only called when an HTTP answer came; no answer after sending is UNKNOWN
     * and no connection is RETRY, by the skeleton. */
    void (*outcome)(const void *account, const struct http_result *result, struct arena *arena,
                    Guichet__V1__Outcome *ret_outcome);
    /* May be NULL: GET of provider_url without credentials. Credentials go to the first origin only, whatever it
     * redirects to. false: the fetch fails for good. */
    bool (*media)(const void *account, const Guichet__V1__FetchMedia *fetch, struct arena *arena,
                  struct http_client_request *ret_request, struct err *err);
    /* Both or none (capability media_delivery UPLOAD). One media part in, the request that hands its bytes over out;
     * it may be made twice. false: the delivery fails with CONTENT_REFUSED. */
    bool (*upload)(const void *account, const Guichet__V1__Media *media, struct arena *arena,
                   struct media_upload *ret_upload, struct err *err);
    /* The provider's answer in: sets media->provider_media_id (in the arena) and ACCEPTED, or how the delivery ends. */
    void (*uploaded)(const void *account, const struct http_result *result, struct arena *arena,
                     Guichet__V1__Media *media, Guichet__V1__Outcome *ret_outcome);
    /* May be NULL: no typing marks. Called once, never repeated; any 2xx is well. */
    bool (*typing)(const void *account, const Guichet__V1__TypingMark *mark, struct arena *arena,
                   struct http_client_request *ret_request, struct err *err);
    /* May be NULL. Billed units of a message (SMS segments), counted when the provider took it. */
    uint32_t (*units)(const void *account, const Guichet__V1__Outbound *message);
};

int connector_main(int argc, char **argv, const struct connector *connector);

#endif
