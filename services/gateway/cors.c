/* SPDX-License-Identifier: Apache-2.0 */
/* cors.c - the allow-list of origins (https://fetch.spec.whatwg.org/#http-cors-protocol).
 *
 * No credentials mode: the session is a bearer token that no browser adds by itself,
 * so a foreign page can at most send a request that is answered 401. The WebSocket has
 * no such protection, which is why its origin is checked against the same list. */
#include "cors.h"

#include <string.h>

static bool is_match(const char *pattern, const char *origin)
{
    size_t len = strlen(pattern);
    const char *port;

    if (len < 2 || strcmp(pattern + len - 2, ":*") != 0)
        return strcmp(pattern, origin) == 0;
    if (strncmp(pattern, origin, len - 1) != 0) {
        /* The scheme's own port is left out by browsers. */
        return strlen(origin) == len - 2 && strncmp(pattern, origin, len - 2) == 0;
    }
    port = origin + len - 1;
    return strlen(port) >= 1 && strlen(port) <= 5 && strspn(port, "0123456789") == strlen(port);
}

bool cors_is_allowed(const struct config_strings *allowed, const char *origin)
{
    for (size_t i = 0; i < allowed->count; i++) {
        if (is_match(allowed->items[i], origin))
            return true;
    }
    return false;
}

void cors_apply(const struct config_strings *allowed, struct http_exchange *exchange)
{
    const char *origin = http_exchange_header(exchange, "Origin");

    http_exchange_set_header(exchange, "Vary", "Origin");
    if (origin == NULL || !cors_is_allowed(allowed, origin))
        return;
    http_exchange_set_header(exchange, "Access-Control-Allow-Origin", origin);
    http_exchange_set_header(exchange, "Access-Control-Expose-Headers",
                             "ETag, Idempotency-Replayed, Retry-After, WWW-Authenticate");
}

bool cors_preflight(const struct config_strings *allowed, struct http_exchange *exchange)
{
    const char *origin = http_exchange_header(exchange, "Origin");

    if (strcmp(http_exchange_method(exchange), "OPTIONS") != 0 || origin == NULL ||
        http_exchange_header(exchange, "Access-Control-Request-Method") == NULL)
        return false;
    if (!cors_is_allowed(allowed, origin))
        return true; /* answered without the headers: the browser refuses */
    http_exchange_set_header(exchange, "Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE");
    http_exchange_set_header(exchange, "Access-Control-Allow-Headers",
                             "authorization, content-type, idempotency-key, if-match, traceparent");
    http_exchange_set_header(exchange, "Access-Control-Max-Age", "600");
    return true;
}
