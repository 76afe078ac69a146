/* SPDX-License-Identifier: Apache-2.0 */
/* media_ticket.h - the signed, short-lived link to a blob: who holds it may read it, until it ends.
 *
 * Stateless: base64url(packed MediaTicket + its HMAC-SHA256), keyed by what routing and gateway share
 * (`media_key`). Two keys are believed and the first signs, so that keys can be changed without a moment in
 * which a link is refused. */
#ifndef GUICHET_SERVICE_MEDIA_TICKET_H
#define GUICHET_SERVICE_MEDIA_TICKET_H

#include "core/arena.h"
#include "core/str.h"
#include "guichet/v1/blob.pb-c.h"

enum { MEDIA_TICKET_TEXT_MAX_BYTES = 2048, MEDIA_LINK_MAX_BYTES = 4096 };

struct media_ticket_keys {
    const char *current, *previous; /* previous may be NULL or empty */
};

/* Appends the token: letters, digits, '-' and '_' only. A content type past 128 bytes, a file name past 512: cut. */
void media_ticket_sign(const struct media_ticket_keys *keys, const Guichet__V1__MediaTicket *ticket,
                       struct buf *buf);
/* FORBIDDEN: not signed by us, or its time is over. The ticket lives in the arena. */
bool media_ticket_verify(const struct media_ticket_keys *keys, struct str_view token, int64_t now_us,
                         struct arena *arena, Guichet__V1__MediaTicket **ret_ticket,
                         struct err *err) MUST_USE;
/* Appends `<base>/<token>/<file name, percent-encoded>`; without the last where the ticket names no file. A '/' that
 * ends the base is not doubled. */
void media_link_append(struct buf *buf, const char *base, const struct media_ticket_keys *keys,
                       const Guichet__V1__MediaTicket *ticket);

#endif
