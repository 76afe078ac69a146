/* SPDX-License-Identifier: Apache-2.0 */
/* login.h - passwords, on the worker: argon2id takes its time and must not take the loop's. */
#ifndef GUICHET_ROUTING_LOGIN_H
#define GUICHET_ROUTING_LOGIN_H

#include "call.h"

bool routing_login_init(struct routing *routing, struct err *err) MUST_USE;
/* done() from the loop; `hash` lives in the request's arena. */
typedef void routing_hashed_fn(struct routing_call *call, const char *hash);
void routing_login_hash(struct routing_call *call, const char *password, routing_hashed_fn *done);
bool routing_login_check_password(struct routing_call *call, const char *password); /* false: answered */

#endif
