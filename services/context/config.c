/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - the settings and the metrics of the context service: tables, and its documentation. */
#include "context.h"

#define AT(field) CONFIG_AT(context_config, field)

const struct config_key context_keys[] = {
    DATABASE_KEYS(context_config, database),
    { AT(listen_centre), .type = CONFIG_STR, .fallback = "tcp://127.0.0.1:7201",
      .help = "Mesh address for routing." },
    { AT(listen_gateway), .type = CONFIG_STR, .fallback = "tcp://127.0.0.1:7202",
      .help = "Mesh address for gateways: reads, read marks, names and notes only." },
    { AT(publish), .type = CONFIG_STR, .fallback = "tcp://127.0.0.1:7209",
      .help = "Mesh address of the doorbell, rung when a tenant's change feed grew." },
    { AT(max_in_flight), .type = CONFIG_U32, .fallback = "64", .min = 1, .max = 1024,
      .help = "Requests answered at once on each mesh address." },
    { AT(reopen_window_ms), .type = CONFIG_MS, .fallback = "7d", .min = 0, .max = INT64_C(3974400000),
      .help =
          "Who writes again this soon after a conversation was closed reopens it; later a new one begins." },
    { AT(events_max), .type = CONFIG_U32, .fallback = "512", .min = 1, .max = 4096,
      .help = "Events in one Record request." },
    { AT(changes_max), .type = CONFIG_U32, .fallback = "500", .min = 1, .max = 5000,
      .help = "Changes in one ReadChanges reply." },
    { AT(content_max_bytes), .type = CONFIG_BYTES, .fallback = "256KiB", .min = 1024, .max = 524288,
      .help = "Content of one message, packed; an event past it is refused." },
    { AT(raw_max_bytes), .type = CONFIG_BYTES, .fallback = "256KiB", .min = 0, .max = 262144,
      .help = "Raw payload of one event; an event past it is refused." },
    { AT(preview_max_bytes), .type = CONFIG_BYTES, .fallback = "1KiB", .min = 16, .max = 4096,
      .help = "The beginning of a message that lists and the change feed carry." },
    { AT(reply_max_bytes), .type = CONFIG_BYTES, .fallback = "768KiB", .min = 65536, .max = 943718,
      .help = "Content in one reply; a page ends early before it would exceed this." },
    { AT(partition_months_ahead), .type = CONFIG_U32, .fallback = "3", .min = 1, .max = 24,
      .help = "Months of message tables made in advance." },
    { AT(partition_interval_ms), .type = CONFIG_MS, .fallback = "24h", .min = 1000, .max = 604800000,
      .help = "How often that is looked after." },
    { AT(partition_retry_ms), .type = CONFIG_MS, .fallback = "10s", .min = 100, .max = 3600000,
      .help = "When that failed, it is tried again after this." },
    { 0 },
};

const struct stat_info context_stats[] = {
    [CONTEXT_EVENTS] = { "context_events_total", "Events answered, by result: stored, duplicate or refused.",
                         STAT_COUNTER, "result" },
    [CONTEXT_BATCHES] = { "context_batches_total", "Batches committed.", STAT_COUNTER, NULL },
    [CONTEXT_BATCHES_SPLIT] = { "context_batches_split_total",
                                "Batches halved, to find the event that the database refuses.", STAT_COUNTER,
                                NULL },
    [CONTEXT_RECORD_SECONDS] = { "context_record_seconds", "From a Record request to its reply.",
                                 STAT_HISTOGRAM, NULL },
    [CONTEXT_OUTBOUND] = { "context_outbound_total",
                           "Messages stored for agents: outbound, note, or duplicate.", STAT_COUNTER,
                           "what" },
    [CONTEXT_CHANGES_READ] = { "context_changes_read_total", "Changes handed to readers of the feed.",
                               STAT_COUNTER, NULL },
    [CONTEXT_RESYNCS] = { "context_resyncs_total", "Cursors answered with resync required.", STAT_COUNTER,
                          NULL },
    [CONTEXT_CALLS] = { "context_calls_total", "Requests, by method.", STAT_COUNTER, "method" },
    [CONTEXT_CALLS_FAILED] = { "context_calls_failed_total", "Requests that failed, by status.", STAT_COUNTER,
                               "status" },
    [CONTEXT_PARTITIONS] = { "context_partitions_made_total", "Message tables made in advance.", STAT_COUNTER,
                             NULL },
};

const struct service_stats_table context_stats_tables[] = {
    { "context", context_stats, CONTEXT_STAT_COUNT },
    { NULL, NULL, 0 },
};
