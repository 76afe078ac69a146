/* SPDX-License-Identifier: Apache-2.0 */
/* preview.h - the beginning of a message in one line, for lists and the change feed. Pure.
 *
 * The first text that is not HTML, else the subject, else a word for what the first part is: "[image]".
 * Cut at a whole character; borrowed from the message or in the arena. */
#ifndef GUICHET_CONTEXT_PREVIEW_H
#define GUICHET_CONTEXT_PREVIEW_H

#include "core/arena.h"
#include "guichet/v1/conversation.pb-c.h"
#include "guichet/v1/inbound.pb-c.h"

struct str_view preview_event(const Guichet__V1__InboundEvent *event, size_t max_bytes, struct arena *arena);
/* Of a message as it is stored: all that is left of an event. */
struct str_view preview_stored(Guichet__V1__MessageKind kind, bool is_removed, const char *reaction,
                               const Guichet__V1__Content *content, size_t max_bytes);
struct str_view preview_content(const Guichet__V1__Content *content, size_t max_bytes);

#endif
