/* SPDX-License-Identifier: Apache-2.0 */
/* connector_submit.c - one Submit: what is in it, and which answers count. */
#include "service/connector_lane.h"

#include <stdlib.h>
#include <string.h>

#include "core/pbjson.h"
#include "ops/log.h"

enum { KEY_MAX_BYTES = 512 };

/* ---- the request ---- */

bool connector_submit(struct lane *lane, struct submit *submit, Guichet__V1__SubmitReply_Closure closure,
                      void *arg)
{
    struct connector_runtime *runtime = lane->lanes->runtime;
    struct mesh_call call = {
        .tenant = lane->tenant,
        .token = connector_token(runtime, &submit->token_generation),
        .timeout_ms = submit->timeout_ms,
        .attempt_timeout_ms = runtime->config->submit_attempt_timeout_ms,
        .lane = lane->index + 1, /* the mesh keeps it with one replica */
        .no_retry = submit->is_single,
    };
    Guichet__V1__SubmitRequest request = GUICHET__V1__SUBMIT_REQUEST__INIT;
    SCOPED_ARENA arena = arena_new(256 * 1024);
    struct void_share *share = &submit->share;
    bool has_events = submit->event_count > 0 || submit->dead != NULL, is_all = true;

    if (call.token.data == NULL)
        return false;
    *share = (struct void_share){ 0 };
    request.tenant = (char *)lane->tenant;
    if (has_events || submit->void_count > 0) { /* else it only asks */
        if (!submit->without_voids)
            is_all =
                connector_voids_fill(lane, submit->void_rows, submit->void_count, arena, &request, share);
        share->has_any = request.n_voided > 0;
        share->is_alone =
            share->has_any && (!has_events || !is_all || submit->is_single || lane->voids.is_doubtful);
        connector_count(runtime, CONNECTOR_BATCHES, NULL, 1);
    }
    if (!share->is_alone) {
        request.events = submit->events;
        request.n_events = submit->event_count;
        request.dead = submit->dead != NULL ? &submit->dead : NULL;
        request.n_dead = submit->dead != NULL;
    }
    guichet__v1__connector__submit(mesh_client_call(runtime->routing, &call), &request, closure, arg);
    return true;
}

/* A key that cannot be read would make the whole request unreadable: it is named by its bytes then. */
static char *readable_key(struct arena *arena, const char *event_key)
{
    struct str_view key = str_view_of(event_key);
    SCOPED_BUF hex = { 0 };

    if (key.len > 0 && key.len <= KEY_MAX_BYTES && utf8_is_valid(key))
        return arena_dup(arena, key);
    buf_init(&hex, 256);
    hex_append(&hex, key.data != NULL ? key.data : "", key.len < 64 ? key.len : 64);
    return arena_printf(arena, "unreadable:%s", buf_text(&hex));
}

Guichet__V1__DeadEvent *connector_dead_event(struct arena *arena, const char *account_id,
                                             const char *event_key, struct str_view packed,
                                             const char *reason, uint32_t attempts)
{
    Guichet__V1__DeadEvent *dead = arena_alloc(arena, sizeof(*dead));
    struct str_view text = str_view_of(reason);

    while (text.len > 0 && !utf8_is_valid(text))
        text.len--;
    guichet__v1__dead_event__init(dead);
    dead->account_id = arena_strdup(arena, account_id);
    dead->event_key = readable_key(arena, event_key);
    dead->event.data = (uint8_t *)packed.data;
    dead->event.len = packed.len;
    dead->reason = arena_dup(arena, text);
    dead->attempt_count = attempts;
    return dead;
}

Guichet__V1__DeadEvent *connector_dead_row(struct arena *arena, const char *account_id,
                                           const Guichet__V1__InboundEvent *event,
                                           const struct spool_row *row, const char *reason, uint32_t attempts)
{
    Guichet__V1__DeadEvent *dead = connector_dead_event(
        arena, account_id, event != NULL ? event->event_key : "", row->bytes, reason, attempts);

    dead->boot_id = (char *)row->boot_id;
    dead->boot_lane = row->boot_lane;
    dead->boot_n = row->boot_n;
    return dead;
}

bool connector_is_answer(const char *event_key, const Guichet__V1__Recorded *recorded)
{
    return (event_key == NULL || strcmp(event_key, recorded->event_key) == 0) &&
           (recorded->result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_STORED ||
            recorded->result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_DUPLICATE ||
            recorded->result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_REFUSED);
}

enum connector_stat connector_stat_of(const Guichet__V1__Recorded *recorded)
{
    if (recorded->result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_STORED)
        return CONNECTOR_EVENTS_STORED;
    if (recorded->result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_DUPLICATE)
        return CONNECTOR_EVENTS_DUPLICATE;
    return CONNECTOR_EVENTS_REFUSED;
}

void connector_count_answer(struct connector_runtime *runtime, const struct connector_account *account,
                            const Guichet__V1__Recorded *recorded)
{
    connector_count(runtime, connector_stat_of(recorded), account, 1);
    if (recorded->result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_REFUSED)
        log_event(LOG_ERROR, "event_refused", LOG_TEXT("account", account->id),
                  LOG_TEXT("event_key", recorded->event_key), LOG_TEXT("reason", recorded->reason));
}
