/* SPDX-License-Identifier: Apache-2.0 */
/* frames.h - what goes over the WebSocket, and who may see it. Pure. */
#ifndef GUICHET_GATEWAY_FRAMES_H
#define GUICHET_GATEWAY_FRAMES_H

#include "core/str.h"
#include "guichet/v1/conversation.pb-c.h"
#include "guichet/v1/event.pb-c.h"

void frames_hello(struct buf *buf, const char *session_id, const char *epoch, uint64_t sequence,
                  uint32_t heartbeat_ms);
void frames_event(struct buf *buf, const char *epoch, const Guichet__V1__Event *event);
void frames_resync(struct buf *buf, const char *epoch, uint64_t sequence);
void frames_pong(struct buf *buf, const char *epoch, uint64_t sequence);
void frames_error(struct buf *buf, const char *detail);

/* Agents get the events of conversations that are, or by this event ceased to be, theirs; what waits in their
 * queues; customers; their own presence. Supervisors and admins get all. */
bool frames_is_for(const Guichet__V1__Event *event, const Guichet__V1__Agent *agent);

#endif
