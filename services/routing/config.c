/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - the settings and the counters of the routing service, as tables. */
#include "config.h"

#include <string.h>

static const struct config_key queue_keys[] = {
    { CONFIG_AT(routing_queue_config, name), .type = CONFIG_STR, .flags = CONFIG_REQUIRED, .min = 1,
      .max = 64, .help = "Name of the queue." },
    { CONFIG_AT(routing_queue_config, accounts), .type = CONFIG_STR_LIST,
      .help = "Channel accounts whose conversations begin here." },
    { 0 },
};

static const struct config_key tenant_keys[] = {
    { CONFIG_AT(routing_tenant_config, name), .type = CONFIG_STR, .flags = CONFIG_REQUIRED, .min = 1,
      .max = 64, .help = "Name of the tenant: letters, digits, '-' and '_'." },
    { CONFIG_AT(routing_tenant_config, queues), .type = CONFIG_LIST, .flags = CONFIG_REQUIRED,
      .item = queue_keys, .item_size = sizeof(struct routing_queue_config),
      .help = "Its queues; accounts that none names begin in the first." },
    { 0 },
};

static const struct config_key connector_keys[] = {
    { CONFIG_AT(routing_connector_config, name), .type = CONFIG_STR, .flags = CONFIG_REQUIRED, .min = 1,
      .max = 64, .help = "Name the connector announces itself by." },
    { CONFIG_AT(routing_connector_config, channel), .type = CONFIG_STR, .flags = CONFIG_REQUIRED, .min = 1,
      .max = 32, .help = "Its channel." },
    { CONFIG_AT(routing_connector_config, secret), .type = CONFIG_STR,
      .flags = CONFIG_REQUIRED | CONFIG_SECRET, .help = "What it proves itself by." },
    { CONFIG_AT(routing_connector_config, tenants), .type = CONFIG_STR_LIST, .flags = CONFIG_REQUIRED,
      .help = "Tenants whose accounts it may serve." },
    { 0 },
};

#define KEY(field, kind, ...)                                                                                \
    {                                                                                                        \
        CONFIG_AT(routing_config, field), .type = kind, __VA_ARGS__                                          \
    }
#define KEY_MS(field, value, least, most, text)                                                              \
    KEY(field, CONFIG_MS, .fallback = value, .min = least, .max = most, .help = text)
#define KEY_U32(field, value, least, most, text)                                                             \
    KEY(field, CONFIG_U32, .fallback = value, .min = least, .max = most, .help = text)
#define HOUR_MS 3600000
#define DAY_MS 86400000LL

const struct config_key routing_keys[] = {
    DATABASE_KEYS(routing_config, database),
    KEY(listen_connector, CONFIG_STR, .fallback = "tcp://127.0.0.1:7101",
        .help = "Mesh listener for connectors: Announce, Submit, Start, Report."),
    KEY(listen_pull, CONFIG_STR, .fallback = "tcp://127.0.0.1:7102", .help = "Mesh listener for Pull."),
    KEY(listen_gateway, CONFIG_STR, .fallback = "tcp://127.0.0.1:7103",
        .help = "Mesh listener for gateways."),
    KEY(listen_ctl, CONFIG_STR, .fallback = "tcp://127.0.0.1:7104", .help = "Mesh listener for guichetctl."),
    KEY(listen_blobs, CONFIG_STR, .fallback = "tcp://127.0.0.1:7105",
        .help = "Mesh listener for connectors' media, in chunks."),
    KEY(publish, CONFIG_STR, .fallback = "tcp://127.0.0.1:7109",
        .help = "Where the event log's doorbell rings."),
    KEY(context, CONFIG_STR_LIST, .fallback = "tcp://127.0.0.1:7201",
        .help = "Replicas of the context service."),
    KEY(context_doorbells, CONFIG_STR_LIST, .fallback = "tcp://127.0.0.1:7209",
        .help = "Doorbells of the context service."),
    KEY_MS(context_timeout_ms, "1s", 50, 30000, "One attempt at one replica of context."),
    KEY(context_blobs, CONFIG_STR_LIST, .fallback = "tcp://127.0.0.1:7203",
        .help = "The same replicas' addresses for blobs."),
    KEY_U32(blob_requests_max, "16", 1, 1024, "Chunks under way at once; each holds up to 1 MiB."),
    KEY_MS(blob_attempt_timeout_ms, "4s", 50, 60000, "One attempt at one replica there."),
    KEY(media_key, CONFIG_STR, .flags = CONFIG_SECRET, .min = 16,
        .help = "Signs links to media that providers read; the same as the gateways'."),
    KEY(media_key_previous, CONFIG_STR, .flags = CONFIG_SECRET,
        .help = "The one before: still believed by gateways, while keys are changed."),
    KEY(media_base_url, CONFIG_STR,
        .help = "Where providers read media, as the gateways have it: https://host/media. Without it, accounts "
                "whose channel needs links send none."),
    KEY_MS(media_link_ttl_ms, "1h", 1000, 7 * DAY_MS, "How long such a link is good."),
    KEY(token_key, CONFIG_STR, .flags = CONFIG_REQUIRED | CONFIG_SECRET, .min = 16,
        .help = "Signs connectors' tokens; the same on all replicas."),
    KEY(token_key_previous, CONFIG_STR, .flags = CONFIG_SECRET,
        .help = "The one before: still believed, while keys are changed."),
    KEY_MS(token_ttl_ms, "10m", 1000, DAY_MS, "How long a connector's token is good."),
    KEY_MS(clock_skew_ms, "5m", 1000, HOUR_MS, "How far a connector's clock may be off."),
    KEY_MS(account_ttl_ms, "15m", 1000, DAY_MS,
           "An account not announced for this long counts as not connected."),
    KEY(tenants, CONFIG_LIST, .flags = CONFIG_REQUIRED, .item = tenant_keys,
        .item_size = sizeof(struct routing_tenant_config), .help = "Who is served."),
    KEY(connectors, CONFIG_LIST, .item = connector_keys, .item_size = sizeof(struct routing_connector_config),
        .help = "Which connectors may announce themselves."),
    KEY_MS(lease_ttl_ms, "3s", 200, 60000,
           "A replica that does not renew its hold on a feed loses it after this."),
    KEY_MS(poll_ms, "2s", 50, HOUR_MS, "Looks for what no notification told."),
    KEY_U32(apply_limit, "256", 1, 256, "Changes applied in one transaction."),
    KEY_MS(apply_interval_ms, "10ms", 0, 1000, "Between two such transactions, at least, unless a whole one waits."),
    KEY_MS(apply_wait_ms, "2s", 10, 30000, "How long Close and alike wait for their change to be applied."),
    KEY_MS(delivery_lease_ms, "60s", 100, HOUR_MS, "A connector has a job for this long."),
    KEY_MS(unknown_hold_ms, "10m", 100, DAY_MS, "A delivery in doubt holds its thread's line this long."),
    KEY_U32(job_attempts_max, "5", 1, 100,
            "Attempts at a job that is no delivery (media, templates) until it is a dead letter."),
    KEY_MS(job_tell_ms, "30s", 10, HOUR_MS,
           "Context is told again that a media part has failed, when it did not hear."),
    KEY_U32(media_jobs_max, "4", 1, 256, "Media fetched at once for one account."),
    KEY_MS(typing_interval_ms, "3s", 0, HOUR_MS, "A thread gets at most one typing mark in this time."),
    KEY_MS(typing_ttl_ms, "10s", 100, HOUR_MS, "A typing mark nobody has pulled after this is dropped."),
    KEY_U32(change_attempts_max, "5", 1, 100,
            "Attempts at a change of context that cannot be applied until it is a dead letter."),
    KEY_MS(retry_base_ms, "2s", 10, HOUR_MS, "First back-off of a delivery; doubles, with full jitter."),
    KEY_MS(retry_cap_ms, "5m", 10, DAY_MS, "Longest back-off."),
    KEY_MS(pull_wait_max_ms, "30s", 100, HOUR_MS, "Longest wait of a Pull."),
    KEY_U32(pull_jobs_max, "64", 1, 256, "Most jobs of one Pull."),
    KEY_U32(pulls_max, "256", 1, 4096, "Pulls waiting at once."),
    KEY_U32(requests_max, "64", 1, 1024, "Requests under way on each other listener."),
    KEY_MS(presence_ttl_ms, "5m", 100, DAY_MS, "An agent not seen for this long is offline."),
    KEY_MS(seen_interval_ms, "10s", 0, HOUR_MS, "An agent is marked as seen at most this often."),
    KEY_U32(agent_capacity, "5", 1, 1000, "Conversations at once for an agent made without saying how many."),
    KEY_MS(session_ttl_ms, "12h", 1000, 30 * DAY_MS, "A login is good for this long."),
    KEY_U32(login_failures_max, "10", 1, 1000, "Attempts at one login before it is locked."),
    KEY_MS(login_window_ms, "5m", 1000, DAY_MS,
           "Attempts are counted, and a login stays locked, for this long."),
    KEY_U32(password_threads, "1", 1, 2, "Threads that check passwords; each takes 64 MiB while it does."),
    KEY_U32(password_queue_max, "64", 1, 1024, "Logins waiting for them; more are refused."),
    KEY_MS(event_retention_ms, "30d", 1000, 45 * DAY_MS, "Events are kept this long."),
    KEY_MS(parked_retention_ms, "7d", 1000, 45 * DAY_MS,
           "Receipts of messages nobody sent are kept this long."),
    KEY_MS(job_retention_ms, "7d", 1000, 45 * DAY_MS, "Jobs that have ended are kept this long."),
    KEY_MS(dead_letter_retention_ms, "30d", 1000, 45 * DAY_MS,
           "Dead letters are kept this long after they were resolved; open ones for good."),
    KEY_MS(prune_interval_ms, "24h", 1000, 7 * DAY_MS, "How often what is too old is deleted."),
    { 0 },
};

const struct stat_info routing_stats[ROUTING_STAT_COUNT] = {
    [ROUTING_SUBMITTED] = { "routing_submitted_events_total", "Events submitted by connectors.", STAT_COUNTER,
                            "result" },
    [ROUTING_SUBMIT_TIME] = { "routing_submit_seconds", "From Submit to its answer.", STAT_HISTOGRAM, NULL },
    [ROUTING_ANNOUNCES] = { "routing_announces_total", "Connectors that announced themselves.", STAT_COUNTER,
                            "result" },
    [ROUTING_APPLIED] = { "routing_applied_changes_total", "Changes of context applied.", STAT_COUNTER,
                          NULL },
    [ROUTING_APPLY_TIME] = { "routing_apply_seconds", "One batch of changes, in the database.",
                             STAT_HISTOGRAM, NULL },
    [ROUTING_SKIPPED] = { "routing_skipped_changes_total", "Changes passed over for good: a bug.",
                          STAT_COUNTER, NULL },
    [ROUTING_FEEDS_HELD] = { "routing_feeds_held", "Tenants whose feed this replica reads.", STAT_GAUGE,
                             NULL },
    [ROUTING_FEED_LAG] = { "routing_feed_lag", "Changes not applied yet, at the last reading.", STAT_GAUGE,
                           "tenant" },
    [ROUTING_RESYNC] = { "routing_feeds_to_resync", "Feeds that stand because context lost its past.",
                         STAT_GAUGE, NULL },
    [ROUTING_PULLS_WAITING] = { "routing_pulls_waiting", "Connectors waiting for jobs.", STAT_GAUGE, NULL },
    [ROUTING_PULLS_GONE] = { "routing_pulls_gone_total", "Pulls whose connector was gone before the answer.",
                             STAT_COUNTER, NULL },
    [ROUTING_LEASED] = { "routing_leased_jobs_total", "Jobs handed to connectors.", STAT_COUNTER, NULL },
    [ROUTING_STARTS] = { "routing_starts_total", "Starts asked for.", STAT_COUNTER, "result" },
    [ROUTING_REPORTS] = { "routing_reports_total", "Outcomes reported.", STAT_COUNTER, "outcome" },
    [ROUTING_EXPIRED] = { "routing_expired_leases_total", "Leases and waits that ran out.", STAT_COUNTER,
                          "state" },
    [ROUTING_LOGINS] = { "routing_logins_total", "Logins asked for.", STAT_COUNTER, "result" },
    [ROUTING_REPLIES] = { "routing_replies_total", "Messages agents asked to send.", STAT_COUNTER, "result" },
    [ROUTING_PRESENCE_EXPIRED] = { "routing_presence_expired_total", "Agents set offline unseen.",
                                   STAT_COUNTER, NULL },
    [ROUTING_DEAD_LETTERS] = { "routing_dead_letters_total", "Dead letters made.", STAT_COUNTER, "kind" },
    [ROUTING_DEAD_LETTERS_OPEN] = { "routing_dead_letters_open", "Dead letters that wait for somebody.",
                                    STAT_GAUGE, "tenant" },
    [ROUTING_PRUNED] = { "routing_pruned_rows_total", "Rows deleted beyond retention.", STAT_COUNTER, NULL },
    [ROUTING_BLOB_CALLS] = { "routing_blob_calls_total", "Calls of connectors handed on to context's blobs.",
                             STAT_COUNTER, "method" },
};

const struct service_stats_table routing_stats_tables[] = {
    { "routing", routing_stats, ROUTING_STAT_COUNT },
    { "db", db_stats, DB_STAT_COUNT },
    { 0 },
};

/* Tenant names travel in NOTIFY payloads, separated by a space, and in metrics. */
static bool check_name(const char *what, const char *name, struct err *err)
{
    if (name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")] != '\0')
        return err_set(err, ERR_CONFIG, "%s '%s': only letters, digits, '-' and '_'", what, name);
    return true;
}

static bool check_connector(const struct routing_config *config,
                            const struct routing_connector_config *connector, struct err *err)
{
    for (size_t i = 0; i < connector->tenants.count; i++)
        if (routing_find_tenant(config, connector->tenants.items[i]) == NULL)
            return err_set(err, ERR_CONFIG, "connector '%s': tenant '%s' is not among 'tenants'",
                           connector->name, connector->tenants.items[i]);
    return true;
}

bool routing_config_check(void *arg, struct err *err)
{
    const struct routing_config *config = arg;
    const struct routing_tenant_config *tenants = config->tenants.items;
    const struct routing_connector_config *connectors = config->connectors.items;

    for (size_t i = 0; i < config->tenants.count; i++) {
        if (!check_name("tenant", tenants[i].name, err))
            return false;
        if (routing_find_tenant(config, tenants[i].name) != &tenants[i])
            return err_set(err, ERR_CONFIG, "tenant '%s' is there twice", tenants[i].name);
        if (tenants[i].queues.count == 0)
            return err_set(err, ERR_CONFIG, "tenant '%s' has no queue", tenants[i].name);
    }
    for (size_t i = 0; i < config->connectors.count; i++)
        if (!check_connector(config, &connectors[i], err))
            return false;
    if (config->media_base_url != NULL && config->media_base_url[0] != '\0' &&
        (config->media_key == NULL || config->media_key[0] == '\0'))
        return err_set(err, ERR_CONFIG, "media_base_url needs media_key");
    if (config->retry_cap_ms < config->retry_base_ms)
        return err_set(err, ERR_CONFIG, "retry_cap_ms is below retry_base_ms");
    return true;
}

const struct routing_tenant_config *routing_find_tenant(const struct routing_config *config, const char *name)
{
    const struct routing_tenant_config *tenants = config->tenants.items;

    for (size_t i = 0; i < config->tenants.count; i++)
        if (strcmp(tenants[i].name, name) == 0)
            return &tenants[i];
    return NULL;
}
