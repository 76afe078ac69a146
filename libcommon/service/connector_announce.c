/* SPDX-License-Identifier: Apache-2.0 */
/* connector_announce.c - tells routing who we are and which accounts we serve, and keeps the token.
 *
 * The token is renewed at half of its life, so that one failed renewal costs nothing. A token that is
 * refused before its time (routing's keys were changed) is replaced at once, at most once a second. */
#include "service/connector_spool.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "core/duration.h"
#include "core/pbtime.h"
#include "ops/log.h"

enum {
    NONCE_BYTES = 16,
    CALL_TIMEOUT_MS = 5000,
    RETRY_FIRST_MS = 200,
    RETRY_MAX_MS = 5000,
    AGAIN_PAUSE_MS = 1000,
    SOON_MS = 1000,
    TOKEN_MAX_BYTES = 64 * 1024,
};

struct waiter {
    connector_announced_fn *done;
    void *arg;
    struct waiter *next;
};

struct connector_announcer {
    struct connector_runtime *runtime;
    struct loop_timer *timer;      /* the next announce */
    struct loop_timer *tell_timer; /* waiters for whom nothing needs to be called */
    struct loop_timer *soon_timer; /* what we said is no longer so */
    struct buf token;
    uint32_t generation; /* counts tokens, from 1 */
    uint64_t token_until_ms;
    uint64_t last_again_ms;
    uint32_t retry_ms;
    bool is_calling;
    bool was_announced; /* for the log: only changes are told */
    struct waiter *waiters;
};

static void on_announced(const Guichet__V1__AnnounceReply *reply, void *arg);

/* ---- the call ---- */

/* HMAC-SHA256 over connector \n channel \n unix seconds \n hex(nonce), as connector.proto says. */
static void append_mac(const struct connector_runtime *runtime, int64_t at_us, const uint8_t *nonce,
                       uint8_t ret_mac[EVP_MAX_MD_SIZE], unsigned *ret_len)
{
    const char *secret = runtime->config->connector_secret;
    SCOPED_BUF text;

    buf_init(&text, 4096);
    buf_printf(&text, "%s\n%s\n%lld\n", runtime->config->connector, runtime->table->name,
               (long long)(at_us / 1000000));
    hex_append(&text, nonce, NONCE_BYTES);
    HMAC(EVP_sha256(), secret, (int)strlen(secret), (const uint8_t *)buf_text(&text), text.len, ret_mac,
         ret_len);
}

static Guichet__V1__AnnouncedAccount *make_account(const struct connector_runtime *runtime, size_t index,
                                                   struct arena *arena)
{
    const struct connector_account *account = runtime->slots[index].account;
    Guichet__V1__AnnouncedAccount *announced = arena_alloc(arena, sizeof(*announced));

    guichet__v1__announced_account__init(announced);
    announced->tenant = account->tenant;
    announced->id = account->id;
    announced->address = account->address != NULL ? account->address : announced->address;
    announced->display_name = account->display_name != NULL ? account->display_name : announced->display_name;
    announced->capabilities = arena_alloc(arena, sizeof(*announced->capabilities));
    guichet__v1__capabilities__init(announced->capabilities);
    runtime->table->capabilities(account, announced->capabilities);
    return announced;
}

static void announce(void *arg)
{
    struct connector_announcer *announcer = arg;
    struct connector_runtime *runtime = announcer->runtime;
    SCOPED_ARENA arena = arena_new(1024 * 1024 + runtime->slot_count * 4096);
    Guichet__V1__AnnounceRequest request = GUICHET__V1__ANNOUNCE_REQUEST__INIT;
    const struct mesh_call call = { .timeout_ms = CALL_TIMEOUT_MS };
    uint8_t nonce[NONCE_BYTES], mac[EVP_MAX_MD_SIZE];
    unsigned mac_len = 0;
    int64_t now_us = time_now_us();

    if (announcer->is_calling)
        return;
    announcer->is_calling = true;
    random_bytes(nonce, sizeof(nonce));
    append_mac(runtime, now_us, nonce, mac, &mac_len);
    request.connector = runtime->config->connector;
    request.channel = (char *)runtime->table->name;
    request.at = pbtime_new(arena, now_us);
    request.nonce = (ProtobufCBinaryData){ sizeof(nonce), nonce };
    request.mac = (ProtobufCBinaryData){ mac_len, mac };
    request.boot_id = runtime->boot_id;
    request.version = (char *)GUICHET_VERSION;
    request.n_accounts = runtime->slot_count;
    request.accounts = arena_alloc(arena, runtime->slot_count * sizeof(*request.accounts));
    for (size_t i = 0; i < runtime->slot_count; i++)
        request.accounts[i] = make_account(runtime, i, arena);
    connector_spool_fill(runtime, arena, &request);
    guichet__v1__connector__announce(mesh_client_call(runtime->routing, &call), &request, on_announced,
                                     announcer);
}

/* ---- the answer ---- */

static void mark_refused(struct connector_runtime *runtime, const Guichet__V1__AnnounceReply *reply)
{
    bool has_changed = false;

    for (size_t i = 0; i < runtime->slot_count; i++) {
        struct connector_slot *slot = &runtime->slots[i];
        const char *reason = NULL;

        for (size_t j = 0; j < reply->n_refused; j++)
            if (strcmp(reply->refused[j]->id, slot->account->id) == 0)
                reason = reply->refused[j]->reason;
        if (reason != NULL && !slot->is_refused)
            log_event(LOG_ERROR, "account_refused", LOG_TEXT("account", slot->account->id),
                      LOG_TEXT("reason", reason));
        else if (reason == NULL && slot->is_refused)
            log_event(LOG_INFO, "account_accepted", LOG_TEXT("account", slot->account->id));
        has_changed |= slot->is_refused != (reason != NULL);
        slot->is_refused = reason != NULL;
    }
    if (has_changed)
        connector_lanes_refresh(runtime->lanes);
    if (has_changed && runtime->spool != NULL)
        connector_reports_wake(runtime->reports);
}

/* Everybody who waits hears of it, once; a waiter may ask again from inside. */
static void tell_waiters(struct connector_announcer *announcer, bool is_announced)
{
    struct waiter *waiter = announcer->waiters, *next;

    announcer->waiters = NULL;
    for (; waiter != NULL; waiter = next) {
        next = waiter->next;
        waiter->done(waiter->arg, is_announced);
        free(waiter);
    }
}

static void take_token(struct connector_announcer *announcer, const Guichet__V1__AnnounceReply *reply)
{
    struct connector_runtime *runtime = announcer->runtime;
    uint32_t renew_ms = reply->token_ttl_ms / 2;

    buf_clear(&announcer->token);
    buf_append(&announcer->token, reply->token.data, reply->token.len);
    announcer->generation++;
    announcer->token_until_ms = loop_now_ms(runtime->loop) + reply->token_ttl_ms;
    announcer->retry_ms = RETRY_FIRST_MS;
    if (renew_ms > runtime->config->announce_interval_ms)
        renew_ms = runtime->config->announce_interval_ms;
    loop_timer_start(announcer->timer, renew_ms > RETRY_FIRST_MS ? renew_ms : RETRY_FIRST_MS, 0);
    mark_refused(runtime, reply);
    if (!announcer->was_announced)
        log_event(LOG_INFO, "announced", LOG_TEXT("connector", runtime->config->connector),
                  LOG_NUMBER("accounts", runtime->slot_count), LOG_NUMBER("refused", reply->n_refused));
    announcer->was_announced = true;
}

static void retry_later(struct connector_announcer *announcer, const struct err *err)
{
    if (announcer->was_announced || announcer->retry_ms == RETRY_FIRST_MS)
        log_event(LOG_WARN, "announce_failed", LOG_ERR(err));
    announcer->was_announced = false;
    loop_timer_start(announcer->timer, announcer->retry_ms, 0);
    announcer->retry_ms = announcer->retry_ms * 2 < RETRY_MAX_MS ? announcer->retry_ms * 2 : RETRY_MAX_MS;
}

static void on_announced(const Guichet__V1__AnnounceReply *reply, void *arg)
{
    struct connector_announcer *announcer = arg;
    const struct err *failure = reply == NULL ? mesh_err() : NULL;

    announcer->is_calling = false;
    if (failure != NULL && failure->kind == ERR_CANCELED) {
        tell_waiters(announcer, false);
        return;
    }
    if (reply != NULL && reply->token.len > 0 && reply->token_ttl_ms > 0) {
        connector_count(announcer->runtime, CONNECTOR_ANNOUNCES, NULL, 1);
        take_token(announcer, reply);
    } else {
        struct err empty = { .kind = ERR_INTERNAL, .text = "the answer holds no token" };

        connector_count(announcer->runtime, CONNECTOR_ANNOUNCES_FAILED, NULL, 1);
        retry_later(announcer, failure != NULL ? failure : &empty);
    }
    tell_waiters(announcer, reply != NULL);
}

/* ---- for the other flows ---- */

/* The newer token is there already, or it is too soon to ask for another. */
static void tell_now(void *arg)
{
    struct connector_announcer *announcer = arg;

    if (!announcer->is_calling)
        tell_waiters(announcer, connector_is_announced(announcer->runtime));
}

/* While one is under way it may have left already: another follows. */
static void on_soon(void *arg)
{
    struct connector_announcer *announcer = arg;

    if (announcer->is_calling)
        loop_timer_start(announcer->soon_timer, SOON_MS, 0);
    else
        announce(announcer);
}

void connector_announce_soon(struct connector_runtime *runtime)
{
    if (!loop_timer_is_active(runtime->announcer->soon_timer))
        loop_timer_start(runtime->announcer->soon_timer, SOON_MS, 0);
}

struct connector_announcer *connector_announcer_new(struct connector_runtime *runtime)
{
    struct connector_announcer *announcer = calloc(1, sizeof(*announcer));

    if (announcer == NULL)
        abort();
    announcer->runtime = runtime;
    announcer->retry_ms = RETRY_FIRST_MS;
    buf_init(&announcer->token, TOKEN_MAX_BYTES);
    announcer->timer = loop_timer_new(runtime->loop, announce, announcer);
    announcer->tell_timer = loop_timer_new(runtime->loop, tell_now, announcer);
    announcer->soon_timer = loop_timer_new(runtime->loop, on_soon, announcer);
    loop_timer_start(announcer->timer, 0, 0);
    return announcer;
}

/* After the mesh client is gone, so that no answer can come any more. */
void connector_announcer_free(struct connector_announcer **announcer_ptr)
{
    struct connector_announcer *announcer = *announcer_ptr;

    *announcer_ptr = NULL;
    if (announcer == NULL)
        return;
    tell_waiters(announcer, false);
    loop_timer_free(&announcer->timer);
    loop_timer_free(&announcer->tell_timer);
    loop_timer_free(&announcer->soon_timer);
    buf_done(&announcer->token);
    free(announcer);
}

bool connector_is_announced(const struct connector_runtime *runtime)
{
    return connector_token(runtime, NULL).data != NULL;
}

struct str_view connector_token(const struct connector_runtime *runtime, uint32_t *ret_generation)
{
    const struct connector_announcer *announcer = runtime->announcer;

    if (ret_generation != NULL)
        *ret_generation = announcer->generation;
    if (announcer->generation == 0 || loop_now_ms(runtime->loop) >= announcer->token_until_ms)
        return (struct str_view){ 0 };
    return buf_view(&announcer->token);
}

static void add_waiter(struct connector_announcer *announcer, connector_announced_fn *done, void *arg)
{
    struct waiter *waiter = calloc(1, sizeof(*waiter));

    if (waiter == NULL)
        abort();
    *waiter = (struct waiter){ done, arg, announcer->waiters };
    announcer->waiters = waiter;
}

void connector_announce_again(struct connector_runtime *runtime, uint32_t refused_generation,
                              connector_announced_fn *done, void *arg)
{
    struct connector_announcer *announcer = runtime->announcer;
    uint64_t now_ms = loop_now_ms(runtime->loop);
    bool is_newer = announcer->generation != refused_generation;
    bool is_too_soon = announcer->last_again_ms != 0 && now_ms < announcer->last_again_ms + AGAIN_PAUSE_MS;

    if (done != NULL)
        add_waiter(announcer, done, arg);
    if (announcer->is_calling)
        return;
    if (is_newer || is_too_soon) {
        /* Not at once: who is told "announced" comes back with the same token, and is refused again. */
        loop_timer_start(announcer->tell_timer,
                         is_newer ? 0 : announcer->last_again_ms + AGAIN_PAUSE_MS - now_ms, 0);
        return;
    }
    announcer->last_again_ms = now_ms;
    announce(announcer);
}
