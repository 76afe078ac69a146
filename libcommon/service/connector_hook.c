/* SPDX-License-Identifier: Apache-2.0 */
/* connector_hook.c - HTTP in: verify, normalise, hand the events to their lanes, answer when all are recorded.
 *
 * The 2xx is the promise: it is given only when routing has answered for every event of the payload, or the
 * spool has committed it. A refused event counts as answered, for it is kept as a dead letter: to let the
 * provider send it again would change nothing. Everything else is a 503, and the provider's repeat is harmless. */
#include "service/connector_spool.h"

#include <stdio.h>
#include <string.h>

#include "core/duration.h"
#include "ops/failpoint.h"
#include "ops/log.h"

enum { RETRY_AFTER_MS = 5000 };

/* One webhook, from its request to its answer. All of it lives in the exchange's arena. */
struct hook {
    struct connector_runtime *runtime;
    struct connector_slot *slot;
    struct http_exchange *exchange;
    struct hook_request request;
    struct event_batch batch;
    size_t open_count; /* events not answered yet */
    bool is_spooled;   /* one of them at least */
    struct err err;    /* the first failure among them */
};

/* ---- answers: each ends the hook, which is gone afterwards ---- */

static void reply_text(struct http_exchange *exchange, int status, const char *text)
{
    http_exchange_reply(exchange, status, "text/plain; charset=utf-8", str_view_of(text));
}

static void reply_unavailable(struct hook *hook, const struct err *err)
{
    uint32_t after_ms = err->retry_after_ms > 0 ? err->retry_after_ms : RETRY_AFTER_MS;
    char seconds[16];

    snprintf(seconds, sizeof(seconds), "%u", (after_ms + 999) / 1000);
    connector_count(hook->runtime, CONNECTOR_HOOKS_UNAVAILABLE, hook->slot->account, 1);
    log_event(LOG_WARN, "hook_unavailable", LOG_TEXT("account", hook->slot->account->id), LOG_ERR(err));
    http_exchange_set_header(hook->exchange, "Retry-After", seconds);
    reply_text(hook->exchange, 503, "not stored, send it again");
}

static void reply_ok(struct hook *hook)
{
    struct hook_answer answer = hook->batch.answer;
    struct err err = { 0 };

    if (answer.status == 0)
        answer = hook->runtime->table->hook_answer;
    if (!hook->is_spooled && FAILPOINT("connector_after_submit_before_2xx")) {
        err_set(&err, ERR_UNAVAILABLE, "failpoint");
        reply_unavailable(hook, &err);
        return;
    }
    if (hook->is_spooled && FAILPOINT("connector_after_spool_commit_before_2xx")) {
        err_set(&err, ERR_UNAVAILABLE, "failpoint");
        reply_unavailable(hook, &err);
        return;
    }
    http_exchange_reply(hook->exchange, answer.status, answer.content_type, answer.body);
}

/* ---- recorded ---- */

static void on_recorded(void *arg, const Guichet__V1__Recorded *recorded, const struct err *err)
{
    struct hook *hook = arg;

    if (err->kind != ERR_NONE && hook->err.kind == ERR_NONE)
        hook->err = *err;
    hook->is_spooled |= recorded == NULL && err->kind == ERR_NONE;
    if (recorded != NULL && recorded->result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_REFUSED)
        log_event(LOG_ERROR, "event_refused", LOG_TEXT("account", hook->slot->account->id),
                  LOG_TEXT("event_key", recorded->event_key), LOG_TEXT("reason", recorded->reason));
    if (--hook->open_count > 0)
        return;
    if (hook->err.kind == ERR_NONE)
        reply_ok(hook);
    else
        reply_unavailable(hook, &hook->err);
}

static void submit(struct hook *hook)
{
    struct err err = { 0 };

    connector_count(hook->runtime, CONNECTOR_EVENTS_NORMALISED, hook->slot->account, hook->batch.count);
    if (FAILPOINT("connector_after_receive_before_submit")) {
        err_set(&err, ERR_UNAVAILABLE, "failpoint");
        reply_unavailable(hook, &err);
        return;
    }
    hook->open_count = hook->batch.count;
    if (hook->open_count == 0) {
        reply_ok(hook);
        return;
    }
    for (size_t i = 0; i < hook->batch.count; i++)
        connector_lane_add(hook->runtime->lanes, hook->slot, hook->batch.events[i], on_recorded, hook);
}

/* ---- received ---- */

static bool verify(struct hook *hook)
{
    const struct connector_account *account = hook->slot->account;
    struct hook_answer answer = { 0 };
    struct err err = { 0 };

    if (!hook->runtime->table->verify(account, &hook->request, hook->batch.arena, &answer, &err)) {
        connector_count(hook->runtime, CONNECTOR_SIGNATURE_REFUSED, account, 1);
        log_event(LOG_WARN, "hook_refused", LOG_TEXT("account", account->id), LOG_ERR(&err));
        reply_text(hook->exchange, 403, "forbidden");
        return false;
    }
    if (answer.status != 0) {
        http_exchange_reply(hook->exchange, answer.status, answer.content_type, answer.body);
        return false;
    }
    return true;
}

static bool normalise(struct hook *hook)
{
    const struct connector_account *account = hook->slot->account;
    struct err err = { 0 };

    if (hook->runtime->table->normalise(account, &hook->request, &hook->batch, &err))
        return true;
    connector_count(hook->runtime, CONNECTOR_HOOKS_MALFORMED, account, 1);
    log_event(LOG_WARN, "hook_malformed", LOG_TEXT("account", account->id), LOG_ERR(&err));
    reply_text(hook->exchange, 400, err.text);
    return false;
}

static bool check_available(struct hook *hook)
{
    struct err err = { 0 };

    if (hook->slot->is_refused)
        err_set(&err, ERR_UNAVAILABLE, "routing refuses this account");
    else if (!connector_is_announced(hook->runtime) && !connector_spool_is_usable(hook->runtime, &err))
        err_set(&err, ERR_UNAVAILABLE, "not announced to routing, and %s", err.text);
    else
        return true;
    reply_unavailable(hook, &err);
    return false;
}

/* "/hooks/sms/sms-1/status" is account sms-1 and rest "/status". */
static bool split_path(const struct connector_runtime *runtime, const char *path,
                       struct str_view *ret_account, const char **ret_rest)
{
    const char *prefix = runtime->config->hook_prefix;
    size_t prefix_len = strlen(prefix), len;

    if (strncmp(path, prefix, prefix_len) != 0 || path[prefix_len] != '/')
        return false;
    path += prefix_len + 1;
    len = strcspn(path, "/");
    *ret_account = (struct str_view){ path, len };
    *ret_rest = path + len;
    return true;
}

static const char *read_header(const struct hook_request *request, const char *name)
{
    return http_exchange_header(request->header_arg, name);
}

static void fill_hook(struct hook *hook, struct connector_runtime *runtime, struct connector_slot *slot,
                      struct http_exchange *exchange, const char *rest)
{
    const char *type = http_exchange_header(exchange, "Content-Type");

    *hook = (struct hook){
        .runtime = runtime,
        .slot = slot,
        .exchange = exchange,
        .request = {
            .method = http_exchange_method(exchange),
            .path = rest,
            .query = http_exchange_query(exchange),
            .body = http_exchange_body(exchange),
            .content_type = type != NULL ? type : "",
            .header = read_header,
            .header_arg = exchange,
        },
        .batch = { .arena = http_exchange_arena(exchange), .received_us = time_now_us() },
    };
}

void connector_hook_on_request(void *arg, struct http_exchange *exchange)
{
    struct connector_runtime *runtime = arg;
    const char *method = http_exchange_method(exchange), *rest;
    struct connector_slot *slot = NULL;
    struct str_view account_id;
    struct hook *hook;

    if (runtime->is_closing) {
        reply_text(exchange, 503, "closing");
        return;
    }
    if (split_path(runtime, http_exchange_path(exchange), &account_id, &rest))
        slot = connector_slot_find(runtime, account_id);
    if (slot == NULL) {
        connector_count(runtime, CONNECTOR_HOOKS_UNKNOWN, NULL, 1);
        reply_text(exchange, 404, "no such account");
        return;
    }
    connector_count(runtime, CONNECTOR_HOOKS, slot->account, 1);
    if (strcmp(method, "POST") != 0 && strcmp(method, "GET") != 0) {
        http_exchange_set_header(exchange, "Allow", "POST, GET");
        reply_text(exchange, 405, "only POST and GET");
        return;
    }
    hook = arena_alloc(http_exchange_arena(exchange), sizeof(*hook));
    if (hook == NULL) {
        reply_text(exchange, 413, "too large");
        return;
    }
    fill_hook(hook, runtime, slot, exchange, rest);
    if (verify(hook) && check_available(hook) && normalise(hook))
        submit(hook);
}
