/* SPDX-License-Identifier: Apache-2.0 */
/* connector_config.c - the settings every connector has, and how a connector's own join them. */
#include "service/connector_internal.h"

#include <stdlib.h>
#include <string.h>

enum { ACCOUNT_ID_MAX = 64 };

static const struct config_key skeleton_keys[] = {
    { CONFIG_AT(connector_config, connector), .type = CONFIG_STR, .flags = CONFIG_REQUIRED, .min = 1,
      .max = 64, .help = "Name of this connector, as routing's `connectors` list has it." },
    { CONFIG_AT(connector_config, connector_secret), .type = CONFIG_STR,
      .flags = CONFIG_REQUIRED | CONFIG_SECRET, .help = "Proves the connector to routing; the same there." },
    { CONFIG_AT(connector_config, routing), .type = CONFIG_STR_LIST, .fallback = "tcp://127.0.0.1:7101",
      .help = "Addresses of routing's connector role, one per replica." },
    { CONFIG_AT(connector_config, routing_pull), .type = CONFIG_STR_LIST, .fallback = "tcp://127.0.0.1:7102",
      .help = "Addresses where jobs are pulled, one per replica." },
    { CONFIG_AT(connector_config, routing_blobs), .type = CONFIG_STR_LIST, .fallback = "tcp://127.0.0.1:7105",
      .help = "Addresses where media are kept and read, one per replica." },
    { CONFIG_AT(connector_config, hook_listen), .type = CONFIG_STR, .fallback = "127.0.0.1:8090",
      .help = "Where webhooks come in, behind the reverse proxy." },
    { CONFIG_AT(connector_config, hook_prefix), .type = CONFIG_STR,
      .help = "Path before the account's id; empty: /hooks/ and the channel." },
    { CONFIG_AT(connector_config, body_max_bytes), .type = CONFIG_BYTES, .fallback = "256KiB", .min = 1024,
      .max = 256 * 1024, .help = "Largest webhook body; 413 past it." },
    { CONFIG_AT(connector_config, requests_max), .type = CONFIG_U32, .fallback = "512", .min = 1,
      .max = 100000, .help = "Webhooks waiting for their answer at once; 429 past it." },
    { CONFIG_AT(connector_config, submit_timeout_ms), .type = CONFIG_MS, .min = 100, .max = 30000,
      .help = "Events not committed by then go to the spool (1s unless set), or are answered 503 (6s)." },
    { CONFIG_AT(connector_config, submit_attempt_timeout_ms), .type = CONFIG_MS, .fallback = "2500ms",
      .min = 50, .max = 30000, .help = "One replica's time for a call before another is asked." },
    { CONFIG_AT(connector_config, lanes), .type = CONFIG_U32, .fallback = "4", .min = 1, .max = 256,
      .help = "Batches under way at once per tenant; a thread always uses the same lane." },
    { CONFIG_AT(connector_config, batch_events_max), .type = CONFIG_U32, .fallback = "256", .min = 1,
      .max = 1024, .help = "Events that close a batch." },
    { CONFIG_AT(connector_config, batch_bytes_max), .type = CONFIG_BYTES, .fallback = "512KiB", .min = 1024,
      .max = 900 * 1024, .help = "Bytes that close a batch." },
    { CONFIG_AT(connector_config, pull_max), .type = CONFIG_U32, .fallback = "32", .min = 1, .max = 1000,
      .help = "Messages under way at once for each pull address." },
    { CONFIG_AT(connector_config, pull_wait_ms), .type = CONFIG_MS, .fallback = "25s", .min = 100,
      .max = 60000, .help = "How long routing may hold an empty pull." },
    { CONFIG_AT(connector_config, provider_timeout_ms), .type = CONFIG_MS, .fallback = "20s", .min = 100,
      .max = 50000, .help = "Time for one call to the provider; the lease's end shortens it." },
    { CONFIG_AT(connector_config, report_keep_ms), .type = CONFIG_MS, .fallback = "10m", .min = 1000,
      .max = 3600000, .help = "How long after its lease an outcome is still reported again." },
    { CONFIG_AT(connector_config, spool_dir), .type = CONFIG_STR, .max = 1024,
      .help = "Folder where events and outcomes wait while the centre is away; empty: none." },
    { CONFIG_AT(connector_config, spool_max_bytes), .type = CONFIG_BYTES, .fallback = "1024MiB", .min = 65536,
      .max = 4095LL << 20, .help = "Most that may wait in the spool; 503 past it." },
    { CONFIG_AT(connector_config, spool_events_max), .type = CONFIG_U32, .fallback = "1000000", .min = 1,
      .max = 100000000, .help = "Most events that may wait in the spool; 503 past it." },
    { CONFIG_AT(connector_config, spool_free_min_bytes), .type = CONFIG_BYTES, .fallback = "16MiB", .min = 65536,
      .max = 4095LL << 20, .help = "What is left free on the spool's disk, so that it can be emptied." },
    { CONFIG_AT(connector_config, spool_scan_ms), .type = CONFIG_MS, .fallback = "10s", .min = 10,
      .max = 3600000, .help = "How often the folder is looked through for spools that nobody has." },
    { CONFIG_AT(connector_config, spool_retry_ms), .type = CONFIG_MS, .fallback = "200ms", .min = 10,
      .max = 60000, .help = "First pause before what waits is submitted again; it doubles." },
    { CONFIG_AT(connector_config, spool_retry_max_ms), .type = CONFIG_MS, .fallback = "3s", .min = 10,
      .max = 3600000, .help = "Longest such pause." },
    { CONFIG_AT(connector_config, spool_attempts_max), .type = CONFIG_U32, .fallback = "5", .min = 1, .max = 100,
      .help = "An event that failed alone so often, while the centre answered, becomes a dead letter." },
    { CONFIG_AT(connector_config, announce_interval_ms), .type = CONFIG_MS, .fallback = "1m", .min = 1000,
      .max = 3600000,
      .help = "Announces again after this, or at half of the token's life if that is sooner." },
    { CONFIG_AT(connector_config, media_max_bytes), .type = CONFIG_BYTES, .fallback = "100MiB", .min = 1024,
      .max = 1 << 30, .help = "Largest file that is fetched from a provider; a larger one fails and says so." },
    { CONFIG_AT(connector_config, media_types), .type = CONFIG_STR_LIST, .fallback = "*/*",
      .help = "Media types that are fetched: image/jpeg, image/*, */*." },
    { CONFIG_AT(connector_config, media_fetches_max), .type = CONFIG_U32, .fallback = "4", .min = 1, .max = 64,
      .help = "Files fetched from providers at once; each takes up to 2 MiB of memory." },
    { CONFIG_AT(connector_config, media_stall_timeout_ms), .type = CONFIG_MS, .fallback = "15s", .min = 1000,
      .max = 60000, .help = "A file of which nothing came for so long is tried again." },
    { CONFIG_AT(connector_config, allow_private_addresses), .type = CONFIG_BOOL, .fallback = "false",
      .help = "Let calls go to loopback and private addresses (never link-local): stand-ins, own networks." },
    { CONFIG_AT(connector_config, allow_plain_http), .type = CONFIG_BOOL, .fallback = "false",
      .help = "Let calls go out without TLS." },
};

static const struct config_key account_keys[] = {
    { CONFIG_AT(connector_account, id), .type = CONFIG_STR, .flags = CONFIG_REQUIRED, .min = 1,
      .max = ACCOUNT_ID_MAX, .help = "Unique in the whole system; part of the webhook's URL." },
    { CONFIG_AT(connector_account, tenant), .type = CONFIG_STR, .flags = CONFIG_REQUIRED, .min = 1, .max = 64,
      .help = "Whose account it is." },
    { CONFIG_AT(connector_account, address), .type = CONFIG_STR, .max = 256,
      .help = "The address customers write to: number, mailbox, page." },
    { CONFIG_AT(connector_account, display_name), .type = CONFIG_STR, .max = 256,
      .help = "What agents see." },
    { CONFIG_AT(connector_account, public_url), .type = CONFIG_STR, .max = 1024,
      .help = "The webhook's URL as the provider knows it, without trailing slash." },
};

static size_t count_keys(const struct config_key *keys)
{
    size_t count = 0;

    while (keys != NULL && keys[count].name != NULL)
        count++;
    return count;
}

/* `before`, then `own`, then one free row and the end mark. */
static struct config_key *join_keys(const struct config_key *before, size_t before_count,
                                    const struct config_key *own, size_t *ret_count)
{
    size_t own_count = count_keys(own);
    struct config_key *keys = calloc(before_count + own_count + 2, sizeof(*keys));

    if (keys == NULL)
        abort();
    memcpy(keys, before, before_count * sizeof(*keys));
    if (own_count > 0)
        memcpy(keys + before_count, own, own_count * sizeof(*keys));
    *ret_count = before_count + own_count;
    return keys;
}

void connector_keys_init(struct connector_keys *keys, const struct connector *table)
{
    size_t count;

    keys->account_keys = join_keys(account_keys, COUNT_OF(account_keys), table->account_keys, &count);
    keys->keys = join_keys(skeleton_keys, COUNT_OF(skeleton_keys), table->config_keys, &count);
    keys->keys[count] = (struct config_key){
        CONFIG_AT(connector_config, accounts),
        .type = CONFIG_LIST,
        .item = keys->account_keys,
        .item_size = table->account_size,
        .help = "The accounts this connector serves.",
    };
}

void connector_keys_done(struct connector_keys *keys)
{
    free(keys->keys);
    free(keys->account_keys);
    *keys = (struct connector_keys){ 0 };
}

struct connector_account *connector_account_at(const struct connector *table,
                                               const struct connector_config *config, size_t index)
{
    return (struct connector_account *)((char *)config->accounts.items + index * table->account_size);
}

static bool is_url_word(const char *text)
{
    return text[strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.")] == '\0';
}

static bool check_account(const struct connector *table, const struct connector_config *config, size_t index,
                          struct err *err)
{
    const struct connector_account *account = connector_account_at(table, config, index);

    if (!is_url_word(account->id))
        return err_set(err, ERR_CONFIG, "account '%s': an id has letters, digits, '-', '_' and '.' only",
                       account->id);
    for (size_t i = 0; i < index; i++)
        if (strcmp(connector_account_at(table, config, i)->id, account->id) == 0)
            return err_set(err, ERR_CONFIG, "account '%s' is there twice", account->id);
    if (table->check != NULL && !table->check(account, err))
        return err_at(err, "account '%s'", account->id);
    return true;
}

bool connector_config_check(const struct connector *table, const struct connector_config *config,
                            struct err *err)
{
    if (config->accounts.count == 0)
        return err_set(err, ERR_CONFIG, "key 'accounts': there is none, so nothing to do");
    if (config->routing.count == 0 || config->routing_pull.count == 0 || config->routing_blobs.count == 0)
        return err_set(err, ERR_CONFIG,
                       "keys 'routing', 'routing_pull' and 'routing_blobs' need an address each");
    for (size_t i = 0; i < config->accounts.count; i++)
        if (!check_account(table, config, i, err))
            return false;
    return true;
}
