/* SPDX-License-Identifier: Apache-2.0 */
/* cursor.c - opaque cursors, base64url over one line of text.
 *
 * Plain text inside makes a cursor readable in a log by whoever has to; the leading
 * letter and version tell the two kinds apart and leave room for another form. */
#include "cursor.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CURSOR_TEXT_MAX 512

/* FNV-1a: only to tell lists apart, not against anybody. */
static uint32_t scope_hash(const char *scope)
{
    uint32_t hash = 2166136261u;

    for (const char *c = scope; *c != '\0'; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    return hash;
}

static bool decode(const char *cursor, struct buf *ret_text, struct err *err)
{
    if (strlen(cursor) > CURSOR_TEXT_MAX || !base64_decode(str_view_of(cursor), ret_text) ||
        ret_text->is_full || memchr(buf_text(ret_text), '\0', ret_text->len) != NULL ||
        !utf8_is_valid(buf_view(ret_text)))
        return err_set(err, ERR_INVALID, "this is no cursor");
    return true;
}

void cursor_page_append(struct buf *buf, const char *scope, const char *after_id)
{
    char text[CURSOR_TEXT_MAX];
    int len = snprintf(text, sizeof(text), "p1:%08" PRIx32 ":%s", scope_hash(scope), after_id);

    base64url_append(buf, text, (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1);
}

bool cursor_page_read(const char *cursor, const char *scope, char ret_after_id[CURSOR_ID_BYTES],
                      struct err *err)
{
    SCOPED_BUF text;
    char head[16];

    buf_init(&text, CURSOR_TEXT_MAX);
    if (!decode(cursor, &text, err))
        return false;
    snprintf(head, sizeof(head), "p1:%08" PRIx32 ":", scope_hash(scope));
    if (!str_starts_with(buf_view(&text), STR_LITERAL("p1:")))
        return err_set(err, ERR_INVALID, "this is no cursor of a list");
    if (!str_starts_with(buf_view(&text), str_view_of(head)))
        return err_set(err, ERR_INVALID, "the cursor is of another list, or of other filters");
    if (text.len == strlen(head) || text.len - strlen(head) >= CURSOR_ID_BYTES)
        return err_set(err, ERR_INVALID, "this is no cursor of a list");
    snprintf(ret_after_id, CURSOR_ID_BYTES, "%s", buf_text(&text) + strlen(head));
    return true;
}

void cursor_event_append(struct buf *buf, const char *epoch, uint64_t sequence)
{
    char text[CURSOR_TEXT_MAX];
    int len = snprintf(text, sizeof(text), "e1:%.64s:%" PRIu64, epoch, sequence);

    base64url_append(buf, text, (size_t)len);
}

bool cursor_event_read(const char *cursor, struct event_cursor *ret_cursor, struct err *err)
{
    SCOPED_BUF text;
    const char *epoch, *colon;
    char *end = NULL;
    uint64_t sequence;

    buf_init(&text, CURSOR_TEXT_MAX);
    if (!decode(cursor, &text, err))
        return false;
    if (!str_starts_with(buf_view(&text), STR_LITERAL("e1:")))
        return err_set(err, ERR_INVALID, "this is no cursor of events");
    epoch = buf_text(&text) + 3;
    colon = strrchr(epoch, ':');
    if (colon == NULL || colon == epoch || (size_t)(colon - epoch) >= CURSOR_EPOCH_BYTES || colon[1] < '0' ||
        colon[1] > '9' || strlen(colon + 1) > 19)
        return err_set(err, ERR_INVALID, "this is no cursor of events");
    sequence = strtoull(colon + 1, &end, 10);
    if (*end != '\0')
        return err_set(err, ERR_INVALID, "this is no cursor of events");
    snprintf(ret_cursor->epoch, sizeof(ret_cursor->epoch), "%.*s", (int)(colon - epoch), epoch);
    ret_cursor->sequence = sequence;
    return true;
}
