/* SPDX-License-Identifier: Apache-2.0 */
/* event_batch.c - the events that one payload gave, as they grow. Pure: connectors' tests need no more. */
#include "service/connector.h"

#include <stdlib.h>
#include <string.h>

#include "core/pbtime.h"

enum { EVENTS_FIRST = 4 };

static void batch_grow(struct event_batch *batch)
{
    size_t size = batch->size > 0 ? batch->size * 2 : EVENTS_FIRST;
    Guichet__V1__InboundEvent **events =
        arena_alloc(batch->arena, size * sizeof(Guichet__V1__InboundEvent *));

    if (events == NULL)
        abort(); /* the arena's cap is a multiple of the body's: a connector that multiplies */
    if (batch->count > 0)
        memcpy(events, batch->events, batch->count * sizeof(Guichet__V1__InboundEvent *));
    batch->events = events;
    batch->size = size;
}

Guichet__V1__InboundEvent *event_batch_add(struct event_batch *batch, const struct connector_account *account,
                                           struct str_view raw, const char *raw_type)
{
    Guichet__V1__InboundEvent *event = arena_alloc(batch->arena, sizeof(*event));

    if (batch->count == batch->size)
        batch_grow(batch);
    if (event == NULL)
        abort();
    guichet__v1__inbound_event__init(event);
    event->tenant = account->tenant;
    event->account_id = account->id;
    event->received_at = pbtime_new(batch->arena, batch->received_us);
    event->raw = (ProtobufCBinaryData){ raw.len, (uint8_t *)raw.data };
    event->raw_type = arena_strdup(batch->arena, raw_type);
    batch->events[batch->count++] = event;
    return event;
}
