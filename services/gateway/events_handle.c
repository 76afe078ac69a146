/* SPDX-License-Identifier: Apache-2.0 */
/* events_handle.c - a WebSocket handshake, from the request to the socket.
 *
 * Origin, handshake, cursor, ticket, session, in this order: a ticket is used up only by
 * what can become a socket. Whatever is refused is refused as a problem, before the 101. */
#include "events.h"

#include <string.h>

#include "api.h"
#include "core/duration.h"
#include "cors.h"
#include "events_socket.h"
#include "tickets.h"

static void on_session(struct call *call);

static void fail(struct call *call, enum problem_code code, const char *detail)
{
    call_problem(call, &(struct problem){ code, detail, NULL, 0 });
}

/* Is `word` one of a comma-separated header's? */
static bool has_word(const char *header, const char *word)
{
    struct str_view rest = str_view_of(header), item;

    while (header != NULL && str_next(&rest, ',', &item)) {
        if (str_equal_nocase(str_trim(item), str_view_of(word)))
            return true;
    }
    return false;
}

/* RFC 6455 §4.2.1; the key itself is looked at by websocket_accept(). */
static bool handshake_check(struct call *call)
{
    const char *version = http_exchange_header(call->exchange, "Sec-WebSocket-Version");

    if (!has_word(http_exchange_header(call->exchange, "Upgrade"), "websocket") || version == NULL ||
        strcmp(version, "13") != 0) {
        http_exchange_set_header(call->exchange, "Upgrade", "websocket");
        http_exchange_set_header(call->exchange, "Sec-WebSocket-Version", "13");
        fail(call, PROBLEM_UPGRADE_REQUIRED, "this is a WebSocket of version 13");
        return false;
    }
    if (!has_word(http_exchange_header(call->exchange, "Sec-WebSocket-Protocol"), EVENTS_SUBPROTOCOL)) {
        fail(call, PROBLEM_INVALID_REQUEST, "offer the subprotocol " EVENTS_SUBPROTOCOL);
        return false;
    }
    return true;
}

static bool request_check(struct call *call)
{
    const char *origin = http_exchange_header(call->exchange, "Origin");

    if (strcmp(http_exchange_path(call->exchange), "/v1/events") != 0) {
        fail(call, PROBLEM_NOT_FOUND, "no such path");
        return false;
    }
    if (strcmp(http_exchange_method(call->exchange), "GET") != 0) {
        http_exchange_set_header(call->exchange, "Allow", "GET");
        fail(call, PROBLEM_METHOD_NOT_ALLOWED, "the path does not know this method");
        return false;
    }
    /* Programs that are no browsers send none, and a browser cannot leave it out. */
    if (origin != NULL && !cors_is_allowed(&call->gateway->config->allowed_origins, origin)) {
        fail(call, PROBLEM_FORBIDDEN, "this origin is not allowed");
        return false;
    }
    return handshake_check(call);
}

void events_handle(void *arg, struct http_exchange *exchange)
{
    struct gateway *gateway = arg;
    struct call *call = call_new(gateway, exchange);
    const char *ticket, *cursor;
    struct event_cursor at;
    struct err err = { 0 };
    SCOPED_BUF token;

    buf_init(&token, 4096);
    if (!request_check(call))
        return;
    ticket = call_param(call, "ticket");
    cursor = call_param(call, "cursor");
    if (cursor != NULL && *cursor != '\0' && !cursor_event_read(cursor, &at, &err)) {
        call_bad_param(call, arena_printf(call->arena, "cursor: %s", err.text));
        return;
    }
    if (ticket == NULL || !tickets_use(gateway->tickets, ticket, time_now_us(), &token, &err)) {
        stats_add_label(gateway->stats, GATEWAY_TICKETS, "refused", 1);
        fail(call, PROBLEM_UNAUTHORIZED,
             ticket == NULL ? "a ticket is needed" : arena_strdup(call->arena, err.text));
        return;
    }
    stats_add_label(gateway->stats, GATEWAY_TICKETS, "used", 1);
    call_authenticate(call, buf_text(&token), false, on_session);
}

static void on_session(struct call *call)
{
    const char *cursor = call_param(call, "cursor");
    struct event_cursor at;
    struct err err = { 0 };
    bool has_cursor = cursor != NULL && *cursor != '\0' && cursor_event_read(cursor, &at, &err);

    events_socket_open(call->gateway, call->exchange, call->token, call->agent, has_cursor ? &at : NULL);
    call_free(&call);
}
