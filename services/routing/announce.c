/* SPDX-License-Identifier: Apache-2.0 */
/* announce.c - a connector says who it is and which accounts it serves; what is accepted goes into its token. */
#include "connector.h"

#include <string.h>

#include "call.h"
#include "core/duration.h"
#include "core/pbtime.h"
#include "ops/log.h"
#include "rows.h"
#include "statements.h"
#include "token.h"

enum { TOKEN_MAX_BYTES = 64 * 1024 };

/* One Announce: a transaction per tenant, since a transaction is one tenant's. */
struct announce {
    const Guichet__V1__AnnounceRequest *input;
    const struct routing_connector_config *connector;
    Guichet__V1__RefusedAccount **refused;
    size_t refused_count;
    size_t running;
    struct err err; /* the first */
};

/* What one tenant's transaction gets; arrays as long as there are accounts. */
struct announce_part {
    struct routing_call *call;
    struct str_view *ids, *addresses, *names, *capabilities;
    int64_t *sends, *resends, *horizons, *deliveries, *spools, *spools_oldest;
    size_t count;
};

static const struct routing_connector_config *find_connector(const struct routing_config *config,
                                                             const Guichet__V1__AnnounceRequest *input)
{
    const struct routing_connector_config *connectors = config->connectors.items;

    for (size_t i = 0; i < config->connectors.count; i++)
        if (strcmp(connectors[i].name, input->connector) == 0 &&
            strcmp(connectors[i].channel, input->channel) == 0)
            return &connectors[i];
    return NULL;
}

static bool is_served(const struct routing_connector_config *connector, const char *tenant)
{
    for (size_t i = 0; i < connector->tenants.count; i++)
        if (strcmp(connector->tenants.items[i], tenant) == 0)
            return true;
    return false;
}

static void refuse_account(struct routing_call *call, const char *id, const char *reason)
{
    struct announce *announce = call->state;
    Guichet__V1__RefusedAccount *refused = arena_alloc(call->arena, sizeof(*refused));

    guichet__v1__refused_account__init(refused);
    refused->id = arena_strdup(call->arena, id);
    refused->reason = arena_strdup(call->arena, reason);
    announce->refused[announce->refused_count++] = refused;
    log_event(LOG_WARN, "account_refused", LOG_TEXT("connector", announce->input->connector),
              LOG_TEXT("account", id), LOG_TEXT("reason", reason));
}

static bool is_refused(const struct announce *announce, const char *id)
{
    for (size_t i = 0; i < announce->refused_count; i++)
        if (strcmp(announce->refused[i]->id, id) == 0)
            return true;
    return false;
}

static void answer(struct routing_call *call)
{
    struct routing *routing = call->routing;
    struct announce *announce = call->state;
    const struct routing_token_keys keys = { routing->config->token_key,
                                             routing->config->token_key_previous };
    Guichet__V1__AnnounceRequest claims = GUICHET__V1__ANNOUNCE_REQUEST__INIT;
    Guichet__V1__AnnounceReply reply = GUICHET__V1__ANNOUNCE_REPLY__INIT;
    size_t count = announce->input->n_accounts;
    SCOPED_BUF token;

    claims.connector = announce->input->connector;
    claims.channel = announce->input->channel;
    claims.at = pbtime_new(call->arena, time_now_us() + (int64_t)routing->config->token_ttl_ms * 1000);
    claims.accounts = arena_alloc(call->arena, (count + 1) * sizeof(*claims.accounts));
    for (size_t i = 0; i < count; i++) {
        Guichet__V1__AnnouncedAccount *claim;

        if (is_refused(announce, announce->input->accounts[i]->id))
            continue;
        claim = arena_alloc(call->arena, sizeof(*claim));
        guichet__v1__announced_account__init(claim);
        claim->tenant = announce->input->accounts[i]->tenant;
        claim->id = announce->input->accounts[i]->id;
        claims.accounts[claims.n_accounts++] = claim;
    }
    buf_init(&token, TOKEN_MAX_BYTES);
    routing_token_sign(&keys, &claims, &token);
    if (token.is_full) {
        routing_call_refuse(call, ERR_INVALID, "%zu accounts are too many for one connector", count);
        return;
    }
    stats_add_label(routing->stats, ROUTING_ANNOUNCES, "accepted", 1);
    reply.token = (ProtobufCBinaryData){ token.len, (uint8_t *)token.data };
    reply.token_ttl_ms = routing->config->token_ttl_ms;
    reply.refused = announce->refused;
    reply.n_refused = announce->refused_count;
    routing_call_answer(call, &reply.base);
}

static void on_part_stored(void *arg, struct db_work *work, const struct err *err)
{
    struct announce_part *part = arg;
    struct announce *announce = part->call->state;

    if (err->kind != ERR_NONE && announce->err.kind == ERR_NONE)
        announce->err = *err;
    if (err->kind == ERR_NONE) {
        const struct db_result *rows = db_work_result(work, 0);

        for (size_t i = 0; i < db_rows(rows); i++)
            refuse_account(part->call, db_text(work, rows, i, 0), db_text(work, rows, i, 1));
    }
    if (--announce->running > 0)
        return;
    if (announce->err.kind != ERR_NONE)
        routing_call_fail(part->call, &announce->err);
    else
        answer(part->call);
}

/* What waits in the connector's spool for this account; nothing when it is not named. */
static void add_spool(struct announce_part *part, const Guichet__V1__AnnouncedAccount *account, size_t i)
{
    const struct announce *announce = part->call->state;

    for (size_t s = 0; s < announce->input->n_spools; s++) {
        const Guichet__V1__SpoolCount *spool = announce->input->spools[s];

        if (strcmp(spool->account_id, account->id) != 0 || strcmp(spool->tenant, account->tenant) != 0)
            continue;
        part->spools[i] = spool->event_count > INT64_MAX ? INT64_MAX : (int64_t)spool->event_count;
        part->spools_oldest[i] = spool->event_count > 0 ? pbtime_us(spool->oldest_at) : 0;
    }
}

static void add_account(struct announce_part *part, const Guichet__V1__AnnouncedAccount *account)
{
    static const Guichet__V1__Capabilities nothing = GUICHET__V1__CAPABILITIES__INIT;
    const Guichet__V1__Capabilities *capabilities = account->capabilities ? account->capabilities : &nothing;
    size_t len = protobuf_c_message_get_packed_size(&capabilities->base), i = part->count++;
    uint8_t *packed = arena_alloc(part->call->arena, len + 1);

    protobuf_c_message_pack(&capabilities->base, packed);
    part->ids[i] = str_view_of(account->id);
    part->addresses[i] = str_view_of(account->address);
    part->names[i] = str_view_of(account->display_name);
    part->capabilities[i] = (struct str_view){ (const char *)packed, len };
    part->sends[i] = capabilities->sends_per_second > 1000000 ? 1000000 : capabilities->sends_per_second;
    part->resends[i] = capabilities->resend;
    part->deliveries[i] = capabilities->media_delivery;
    add_spool(part, account, i);
    part->horizons[i] = capabilities->retry_horizon_s > INT32_MAX ? INT32_MAX : capabilities->retry_horizon_s;
}

static struct announce_part *make_part(struct routing_call *call, const char *tenant)
{
    const struct announce *announce = call->state;
    size_t count = announce->input->n_accounts;
    struct announce_part *part = arena_alloc(call->arena, sizeof(*part));

    part->call = call;
    part->ids = arena_alloc(call->arena, count * sizeof(*part->ids));
    part->addresses = arena_alloc(call->arena, count * sizeof(*part->addresses));
    part->names = arena_alloc(call->arena, count * sizeof(*part->names));
    part->capabilities = arena_alloc(call->arena, count * sizeof(*part->capabilities));
    part->sends = arena_alloc(call->arena, count * sizeof(*part->sends));
    part->resends = arena_alloc(call->arena, count * sizeof(*part->resends));
    part->horizons = arena_alloc(call->arena, count * sizeof(*part->horizons));
    part->deliveries = arena_alloc(call->arena, count * sizeof(*part->deliveries));
    part->spools = arena_alloc(call->arena, count * sizeof(*part->spools));
    part->spools_oldest = arena_alloc(call->arena, count * sizeof(*part->spools_oldest));
    for (size_t i = 0; i < count; i++)
        if (strcmp(announce->input->accounts[i]->tenant, tenant) == 0)
            add_account(part, announce->input->accounts[i]);
    return part;
}

#define ARRAY(kind, values) ((struct db_param){ .type = (kind), .items = (values), .count = part->count })

static void store_part(struct routing_call *call, const char *tenant)
{
    struct routing *routing = call->routing;
    struct announce *announce = call->state;
    struct announce_part *part = make_part(call, tenant);
    struct db_work *work;

    if (part->count == 0)
        return;
    work = db_work_new(routing->database.short_);
    const struct db_param params[] = {
        DB_PARAM_TEXT(tenant),
        DB_PARAM_TEXT(announce->input->connector),
        DB_PARAM_TEXT(announce->input->channel),
        ARRAY(DB_TEXT_ARRAY, part->ids),
        ARRAY(DB_TEXT_ARRAY, part->addresses),
        ARRAY(DB_TEXT_ARRAY, part->names),
        ARRAY(DB_BYTES_ARRAY, part->capabilities),
        ARRAY(DB_I32_ARRAY, part->sends),
        ARRAY(DB_I32_ARRAY, part->resends),
        ARRAY(DB_I32_ARRAY, part->horizons),
        DB_PARAM_I64(routing->config->account_ttl_ms),
        ARRAY(DB_I32_ARRAY, part->deliveries),
        ARRAY(DB_I64_ARRAY, part->spools),
        ARRAY(DB_TIME_US_ARRAY, part->spools_oldest),
    };

    db_work_add(work, &routing_sql_announce, params, COUNT_OF(params));
    announce->running++;
    db_work_run(work, on_part_stored, part);
}

void routing_connector_announce(Guichet__V1__Connector_Service *service,
                                const Guichet__V1__AnnounceRequest *input,
                                Guichet__V1__AnnounceReply_Closure closure, void *closure_data)
{
    struct routing *routing = ((struct routing_connector_rpc *)service)->routing;
    struct routing_call *call =
        ROUTING_CALL((struct routing_connector_rpc *)service, input, closure, closure_data);
    struct announce *announce = routing_call_state(call, sizeof(*announce));
    struct err err = { 0 };

    announce->input = input;
    announce->connector = find_connector(routing->config, input);
    /* Who we do not know is told the same as who has the wrong secret. */
    if (!routing_token_check_mac(input, announce->connector != NULL ? announce->connector->secret : "",
                                 time_now_us(), routing->config->clock_skew_ms, &err) ||
        announce->connector == NULL) {
        if (err.kind == ERR_NONE)
            err_set(&err, ERR_FORBIDDEN, "connector '%s': unknown, or its secret is another",
                    input->connector);
        stats_add_label(routing->stats, ROUTING_ANNOUNCES, "refused", 1);
        log_event(LOG_WARN, "announce_refused", LOG_TEXT("connector", input->connector),
                  LOG_TEXT("channel", input->channel), LOG_ERR(&err));
        routing_call_fail(call, &err);
        return;
    }
    announce->refused = arena_alloc(call->arena, (2 * input->n_accounts + 1) * sizeof(*announce->refused));
    for (size_t i = 0; i < input->n_accounts; i++)
        if (!is_served(announce->connector, input->accounts[i]->tenant))
            refuse_account(call, input->accounts[i]->id, "the connector does not serve this tenant");
    for (size_t i = 0; i < announce->connector->tenants.count; i++)
        store_part(call, announce->connector->tenants.items[i]);
    if (announce->running == 0)
        answer(call);
}
