/* SPDX-License-Identifier: Apache-2.0 */
/* cors.h - which origins may talk to us from a browser. */
#ifndef GUICHET_GATEWAY_CORS_H
#define GUICHET_GATEWAY_CORS_H

#include "io/http_server.h"
#include "ops/config.h"

/* Exact (scheme, host, port); a pattern that ends in ":*" takes any port. */
bool cors_is_allowed(const struct config_strings *allowed, const char *origin);
/* Headers for an allowed origin; nothing for others. `Vary: Origin` always. */
void cors_apply(const struct config_strings *allowed, struct http_exchange *exchange);
/* A preflight: OPTIONS with Access-Control-Request-Method. Then its headers are set. */
bool cors_preflight(const struct config_strings *allowed, struct http_exchange *exchange);

#endif
