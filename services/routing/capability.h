/* SPDX-License-Identifier: Apache-2.0 */
/* capability.h - can this account send this, now? Pure. */
#ifndef GUICHET_ROUTING_CAPABILITY_H
#define GUICHET_ROUTING_CAPABILITY_H

#include "core/err.h"
#include "guichet/v1/capability.pb-c.h"
#include "guichet/v1/content.pb-c.h"

/* ERR_INVALID tells what, the limit and the actual value. `last_inbound_us`: 0 when the customer never wrote
 * on the thread. `is_start`: we write first. */
bool routing_capability_check(const Guichet__V1__Capabilities *capabilities,
                              const Guichet__V1__Content *content, bool is_start, int64_t last_inbound_us,
                              int64_t now_us, struct err *err) MUST_USE;

/* After that: the media of a message whose sizes and types are filled in, each against its type's limit, and their
 * sizes together. */
bool routing_capability_check_media(const Guichet__V1__Capabilities *capabilities,
                                    const Guichet__V1__Content *content, struct err *err) MUST_USE;

#endif
