/* SPDX-License-Identifier: Apache-2.0 */
/* events_ticket.c - POST /v1/events/ticket. */
#include "handlers.h"

#include <string.h>

#include "core/duration.h"
#include "tickets.h"

/* Behind the reverse proxy the Host is the public one; without it, `events_url` must be set. */
static void append_url(struct call *call, struct buf *body)
{
    const char *host = http_exchange_header(call->exchange, "Host");
    const char *scheme = http_exchange_header(call->exchange, "X-Forwarded-Proto");
    const char *configured = call->gateway->config->events_url;
    SCOPED_BUF url;

    buf_init(&url, 1024);
    if (configured != NULL && configured[0] != '\0')
        buf_append_text(&url, configured);
    else
        buf_printf(&url, "%s://%s/v1/events", scheme != NULL && strcmp(scheme, "https") == 0 ? "wss" : "ws",
                   host == NULL ? "localhost" : host);
    json_append_string(body, buf_view(&url));
}

void events_ticket_create(struct call *call)
{
    int64_t expires_us = time_now_us() + (int64_t)call->gateway->config->ticket_ttl_ms * 1000;
    char expires_at[TIME_TEXT_BYTES];
    SCOPED_BUF body;

    buf_init(&body, 8192);
    time_format(expires_us, expires_at);
    buf_append_text(&body, "{\"ticket\":\"");
    tickets_append(call->gateway->tickets, call->token, expires_us, &body);
    buf_printf(&body, "\",\"expires_at\":\"%s\",\"url\":", expires_at);
    append_url(call, &body);
    buf_append_char(&body, '}');
    stats_add_label(call->gateway->stats, GATEWAY_TICKETS, "given", 1);
    call_reply_text(call, 201, "application/json", buf_view(&body));
}
