/* SPDX-License-Identifier: Apache-2.0 */
/* cursor.h - opaque cursors: of list pages, and of places in the event log.
 *
 * A page cursor is bound to its list and filters, so that one of another list is
 * refused and not misread. Neither is secret: what they name is read with the
 * session's tenant and rights anyway. */
#ifndef GUICHET_GATEWAY_CURSOR_H
#define GUICHET_GATEWAY_CURSOR_H

#include "core/str.h"

#define CURSOR_ID_BYTES 129
#define CURSOR_EPOCH_BYTES 65

void cursor_page_append(struct buf *buf, const char *scope, const char *after_id);
bool cursor_page_read(const char *cursor, const char *scope, char ret_after_id[CURSOR_ID_BYTES],
                      struct err *err) MUST_USE;

struct event_cursor {
    char epoch[CURSOR_EPOCH_BYTES];
    uint64_t sequence;
};

void cursor_event_append(struct buf *buf, const char *epoch, uint64_t sequence);
bool cursor_event_read(const char *text, struct event_cursor *ret_cursor, struct err *err) MUST_USE;

#endif
