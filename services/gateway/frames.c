/* SPDX-License-Identifier: Apache-2.0 */
/* frames.c - the frames of guichet.v1.json, and the filter of each socket.
 *
 * Their schemas stand in embed/event-schemas.json: change both together. */
#include "frames.h"

#include <string.h>

#include "core/pbjson.h"
#include "cursor.h"

#define TYPE(name) GUICHET__V1__EVENT_TYPE__EVENT_TYPE_##name

static void append_cursor(struct buf *buf, const char *epoch, uint64_t sequence)
{
    buf_append_text(buf, "\"cursor\":\"");
    cursor_event_append(buf, epoch, sequence);
    buf_append_char(buf, '"');
}

void frames_hello(struct buf *buf, const char *session_id, const char *epoch, uint64_t sequence,
                  uint32_t heartbeat_ms)
{
    buf_printf(buf, "{\"type\":\"hello\",\"session_id\":\"%s\",", session_id);
    append_cursor(buf, epoch, sequence);
    buf_printf(buf, ",\"heartbeat_ms\":%u}", heartbeat_ms);
}

void frames_event(struct buf *buf, const char *epoch, const Guichet__V1__Event *event)
{
    buf_append_text(buf, "{\"type\":\"event\",");
    append_cursor(buf, epoch, event->sequence);
    buf_append_text(buf, ",\"event\":");
    pbjson_append(buf, &event->base, PBJSON_API);
    buf_append_char(buf, '}');
}

void frames_resync(struct buf *buf, const char *epoch, uint64_t sequence)
{
    buf_append_text(buf, "{\"type\":\"resync_required\",");
    append_cursor(buf, epoch, sequence);
    buf_append_char(buf, '}');
}

void frames_pong(struct buf *buf, const char *epoch, uint64_t sequence)
{
    buf_append_text(buf, "{\"type\":\"pong\",");
    append_cursor(buf, epoch, sequence);
    buf_append_char(buf, '}');
}

void frames_error(struct buf *buf, const char *detail)
{
    buf_append_text(buf, "{\"type\":\"error\",\"code\":\"invalid_frame\",\"detail\":");
    json_append_string(buf, str_view_of(detail));
    buf_append_char(buf, '}');
}

static bool is_queue_of(const Guichet__V1__Agent *agent, const char *queue_id)
{
    for (size_t i = 0; i < agent->n_queue_ids; i++) {
        if (strcmp(agent->queue_ids[i], queue_id) == 0)
            return true;
    }
    return agent->n_queue_ids == 0; /* none named: all of the tenant's */
}

bool frames_is_for(const Guichet__V1__Event *event, const Guichet__V1__Agent *agent)
{
    if (agent->role >= GUICHET__V1__ROLE__ROLE_SUPERVISOR)
        return true;
    if (event->type == TYPE(EVENT_REFUSED) || event->type == TYPE(DEAD_LETTER_ADDED) ||
        event->type == TYPE(DEAD_LETTER_RESOLVED))
        return false;
    if (strcmp(event->agent_id, agent->id) == 0 || strcmp(event->previous_agent_id, agent->id) == 0)
        return true;
    if (event->type == TYPE(PRESENCE_CHANGED))
        return false;
    if (event->conversation_id[0] == '\0')
        return true; /* of a customer, whom all may read */
    return event->agent_id[0] == '\0' && event->queue_id[0] != '\0' && is_queue_of(agent, event->queue_id);
}
