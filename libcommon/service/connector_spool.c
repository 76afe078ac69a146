/* SPDX-License-Identifier: Apache-2.0 */
/* connector_spool.c - the SDK's spool: opened with the settings, watched, told to the log, the metrics and Announce. */
#include "service/connector_spool.h"

#include <stdlib.h>
#include <string.h>

#include "core/duration.h"
#include "core/pbtime.h"
#include "ops/log.h"

enum { SUBMIT_TIMEOUT_MS = 6000, SUBMIT_TIMEOUT_SPOOL_MS = 1000, AGE_INTERVAL_MS = 1000 };

uint32_t connector_submit_timeout_ms(const struct connector_config *config)
{
    if (config->submit_timeout_ms > 0)
        return config->submit_timeout_ms;
    return config->spool_dir[0] != '\0' ? SUBMIT_TIMEOUT_SPOOL_MS : SUBMIT_TIMEOUT_MS;
}

bool connector_spool_is_usable(const struct connector_runtime *runtime, struct err *err)
{
    if (runtime->spool == NULL)
        return err_set(err, ERR_UNAVAILABLE, "there is no spool");
    return !spool_is_refusing(runtime->spool, err);
}

/* ---- told by the spool ---- */

static void on_note(void *arg, enum spool_note note, const char *file, const struct err *err)
{
    (void)arg;
    switch (note) {
    case SPOOL_ADOPTED:
        log_event(LOG_INFO, "spool_adopted", LOG_TEXT("file", file));
        break;
    case SPOOL_PUT_ASIDE:
        log_event(LOG_ERROR, "spool_put_aside", LOG_TEXT("file", file), LOG_ERR(err));
        break;
    case SPOOL_LEFT_ALONE:
        log_event(LOG_WARN, "spool_left_alone", LOG_TEXT("file", file), LOG_ERR(err));
        break;
    case SPOOL_FAILED:
        log_event(LOG_ERROR, "spool_failed", LOG_TEXT("file", file), LOG_ERR(err));
        break;
    case SPOOL_RECOVERED:
        log_event(LOG_INFO, "spool_recovered", LOG_TEXT("file", file));
        break;
    }
}

static void count_up(struct connector_runtime *runtime, enum connector_stat stat, uint64_t now,
                     uint64_t *before)
{
    stats_add(runtime->stats, stat, now - *before);
    *before = now;
}

static void show(struct connector_runtime *runtime)
{
    struct spool_numbers now = spool_numbers(runtime->spool), *before = &runtime->spool_shown;
    double age_s = now.oldest_us > 0 ? (double)(time_now_us() - now.oldest_us) / 1e6 : 0;
    struct err err;

    stats_set(runtime->stats, CONNECTOR_SPOOL_EVENTS, (double)now.events);
    stats_set(runtime->stats, CONNECTOR_SPOOL_REPORTS, (double)now.reports);
    stats_set(runtime->stats, CONNECTOR_SPOOL_BYTES, (double)now.bytes);
    stats_set(runtime->stats, CONNECTOR_SPOOL_AGE, age_s > 0 ? age_s : 0);
    stats_set(runtime->stats, CONNECTOR_SPOOL_DIVERTED, (double)connector_lanes_diverted(runtime->lanes));
    stats_set(runtime->stats, CONNECTOR_SPOOL_REFUSING, spool_is_refusing(runtime->spool, &err));
    count_up(runtime, CONNECTOR_SPOOL_COMMITS, now.commits, &before->commits);
    count_up(runtime, CONNECTOR_SPOOL_ADOPTED, now.adopted, &before->adopted);
    count_up(runtime, CONNECTOR_SPOOL_PUT_ASIDE, now.put_aside, &before->put_aside);
    if ((now.events > 0) != (before->events > 0))
        connector_announce_soon(runtime);
    before->events = now.events;
    if (now.events == 0)
        loop_timer_stop(runtime->spool_timer);
    else if (!loop_timer_is_active(runtime->spool_timer))
        loop_timer_start(runtime->spool_timer, AGE_INTERVAL_MS, AGE_INTERVAL_MS);
}

static void on_age(void *arg)
{
    show(arg);
}

static void on_changed(void *arg)
{
    struct connector_runtime *runtime = arg;

    show(runtime);
    connector_lanes_wake(runtime->lanes);
    connector_reports_wake(runtime->reports);
}

/* ---- for Announce ---- */

void connector_spool_fill(const struct connector_runtime *runtime, struct arena *arena,
                          Guichet__V1__AnnounceRequest *request)
{
    if (runtime->spool == NULL)
        return;
    request->spools = arena_alloc(arena, runtime->slot_count * sizeof(*request->spools));
    for (size_t i = 0; i < runtime->slot_count; i++) {
        int64_t oldest_us;
        uint64_t events = spool_account_events(runtime->spool, (uint32_t)i, &oldest_us);
        Guichet__V1__SpoolCount *count;

        if (events == 0)
            continue;
        count = arena_alloc(arena, sizeof(*count));
        guichet__v1__spool_count__init(count);
        count->tenant = runtime->slots[i].account->tenant;
        count->account_id = runtime->slots[i].account->id;
        count->event_count = events;
        count->oldest_at = pbtime_new(arena, oldest_us);
        request->spools[request->n_spools++] = count;
    }
}

/* ---- opening ---- */

bool connector_spool_open(struct connector_runtime *runtime, struct err *err)
{
    const struct connector_config *config = runtime->config;
    struct spool_options options = {
        .dir = config->spool_dir,
        .connector = config->connector,
        .boot_id = runtime->boot_id,
        .account_count = runtime->slot_count,
        .lanes = config->lanes,
        .bytes_max = config->spool_max_bytes,
        .rows_max = config->spool_events_max,
        .free_min_bytes = config->spool_free_min_bytes,
        .scan_ms = config->spool_scan_ms,
        .on_note = on_note,
        .on_changed = on_changed,
        .arg = runtime,
    };

    if (config->spool_dir[0] == '\0')
        return true;
    runtime->spool_accounts = calloc(runtime->slot_count, sizeof(*runtime->spool_accounts));
    if (runtime->spool_accounts == NULL)
        abort();
    for (size_t i = 0; i < runtime->slot_count; i++)
        runtime->spool_accounts[i] =
            (struct spool_account){ runtime->slots[i].account->tenant, runtime->slots[i].account->id };
    options.accounts = runtime->spool_accounts;
    runtime->spool_timer = loop_timer_new(runtime->loop, on_age, runtime);
    return spool_new(runtime->loop, &options, &runtime->spool, err);
}
