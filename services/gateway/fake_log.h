/* SPDX-License-Identifier: Apache-2.0 */
/* fake_log.h - for tests of the gateway: the event log. */
#ifndef GUICHET_GATEWAY_FAKE_LOG_H
#define GUICHET_GATEWAY_FAKE_LOG_H

#include "fake.h"

static inline void fake_answer_read(uint64_t after, const char *epoch, uint32_t limit,
                                    Guichet__V1__ReadEventsReply_Closure closure, void *closure_data)
{
    Guichet__V1__ReadEventsReply reply = GUICHET__V1__READ_EVENTS_REPLY__INIT;
    Guichet__V1__Event *events[FAKE_EVENTS_MAX];

    reply.epoch = fake.epoch;
    reply.last_sequence = fake.event_count;
    reply.is_resync_required = (epoch[0] != '\0' && strcmp(epoch, fake.epoch) != 0) || after < fake.pruned ||
                               after > fake.event_count;
    reply.events = events;
    for (uint64_t i = after; !reply.is_resync_required && i < fake.event_count && reply.n_events < limit; i++)
        events[reply.n_events++] = &fake.events[i];
    closure(&reply, closure_data);
}

static void fake_read_events(Guichet__V1__Routing_Service *service,
                             const Guichet__V1__ReadEventsRequest *input,
                             Guichet__V1__ReadEventsReply_Closure closure, void *closure_data)
{
    Guichet__V1__ReadEventsReply empty = GUICHET__V1__READ_EVENTS_REPLY__INIT;

    (void)service;
    fake.event_reads++;
    if (fake_begin(closure_data))
        return;
    if (!fake_is_demo(input->tenant)) {
        empty.epoch = "epoch-other";
        closure(&empty, closure_data);
        return;
    }
    if (fake.holds_reads && fake.held_count < COUNT_OF(fake.held)) {
        fake.held[fake.held_count] = closure;
        fake.held_data[fake.held_count] = closure_data;
        fake.held_request[fake.held_count++] = *input;
        return;
    }
    fake_answer_read(input->after_sequence, input->epoch, input->limit, closure, closure_data);
}

static inline void fake_release(void)
{
    fake.holds_reads = false;
    for (size_t i = 0; i < fake.held_count; i++)
        fake_answer_read(fake.held_request[i].after_sequence, fake.held_request[i].epoch,
                         fake.held_request[i].limit, fake.held[i], fake.held_data[i]);
    fake.held_count = 0;
}

/* Appends an event to the log; returns its sequence. Strings are borrowed for good. */
static inline uint64_t fake_event(Guichet__V1__EventType type, const char *conversation_id,
                                  const char *agent_id, const char *queue_id)
{
    Guichet__V1__Event *event = &fake.events[fake.event_count++];

    guichet__v1__event__init(event);
    event->tenant = "demo";
    event->sequence = fake.event_count;
    event->type = type;
    event->conversation_id = (char *)conversation_id;
    event->agent_id = (char *)agent_id;
    event->queue_id = (char *)queue_id;
    return event->sequence;
}

#endif
