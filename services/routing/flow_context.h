/* SPDX-License-Identifier: Apache-2.0 */
/* flow_context.h - a context service in memory, for flow tests: records, keeps one tenant's feed, hands it out.
 *
 * Conversation n has number n; ids are "<part>-0000-7000-8000-<n>" with a part of their own each. */
#ifndef GUICHET_ROUTING_FLOW_CONTEXT_H
#define GUICHET_ROUTING_FLOW_CONTEXT_H
#include <stdio.h>
#include <string.h>

#include "core/pbtime.h"
#include "core/duration.h"
#include "guichet/v1/blob.pb-c.h"
#include "guichet/v1/context.pb-c.h"
#include "io/mesh.h"

enum { FAKE_CHANGES_MAX = 2000 };
enum fake_part { FAKE_CONVERSATION = 1, FAKE_THREAD, FAKE_CUSTOMER, FAKE_MESSAGE };

struct fake_context;
struct fake_blobs {
    Guichet__V1__Blobs_Service base;
    struct fake_context *fake;
};

struct fake_context {
    Guichet__V1__Context_Service base;
    struct fake_blobs blobs; /* beside it, on the same listener */
    struct mesh_server *server;
    struct mesh_publisher *publisher;
    struct arena *arena;
    Guichet__V1__Change *changes[FAKE_CHANGES_MAX];
    size_t count;
    unsigned messages;
    const char *tenant;
    enum err_kind fail_with;            /* not ERR_NONE: Record fails so */
    bool is_resync_required, is_silent; /* the doorbell does not ring */
    char channel[32];                   /* of the last Record */
    size_t dead_count, voided_count;    /* of all of them */
    char audited_account[64];           /* the one that Audit tells of */
    struct {
        enum err_kind fail_with; /* not ERR_NONE: SetMedia fails so */
        unsigned calls;          /* that did not fail */
        Guichet__V1__MediaState state;
        char error[64];
        size_t sha256_len;
    } media;
    Guichet__V1__RecordResult replay_result; /* of ReplayRefused */
    unsigned replays;
    uint64_t blob_bytes; /* size of every blob; 0: there is none */
    const char *blob_type; /* NULL: image/png */
    unsigned blob_asks;
};

static char *fake_id(struct fake_context *fake, enum fake_part part, unsigned n)
{
    return arena_printf(fake->arena, "0000000%u-0000-7000-8000-%012u", part, n);
}

static Guichet__V1__Change *fake_add(struct fake_context *fake, Guichet__V1__ChangeKind kind, unsigned n)
{
    Guichet__V1__Change *change = arena_alloc(fake->arena, sizeof(*change));

    guichet__v1__change__init(change);
    change->tenant = (char *)fake->tenant;
    change->sequence = fake->count + 1;
    change->kind = kind;
    change->at = pbtime_new(fake->arena, time_now_us());
    change->conversation_id = fake_id(fake, FAKE_CONVERSATION, n);
    change->conversation_number = n;
    change->thread_id = fake_id(fake, FAKE_THREAD, n);
    change->customer_id = fake_id(fake, FAKE_CUSTOMER, n);
    change->account_id = arena_printf(fake->arena, "sms-%s", fake->tenant);
    change->channel = (char *)"sms";
    change->occurred_at = change->at;
    change->text = (char *)"hello";
    fake->changes[fake->count++] = change;
    return change;
}

static void fake_ring(struct fake_context *fake)
{
    if (!fake->is_silent)
        mesh_publish(fake->publisher, fake->tenant, fake->count);
}

static Guichet__V1__Change *fake_message(struct fake_context *fake, unsigned n, bool is_new)
{
    Guichet__V1__Change *change = fake_add(fake, GUICHET__V1__CHANGE_KIND__CHANGE_KIND_MESSAGE, n);

    change->message_id = fake_id(fake, FAKE_MESSAGE, ++fake->messages);
    change->message_sequence = fake->messages;
    change->direction = GUICHET__V1__MESSAGE_DIRECTION__MESSAGE_DIRECTION_INBOUND;
    change->message_kind = GUICHET__V1__MESSAGE_KIND__MESSAGE_KIND_MESSAGE;
    change->is_new_conversation = is_new;
    return change;
}

static Guichet__V1__Change *fake_outbound(struct fake_context *fake, unsigned n, const char *actor)
{
    Guichet__V1__Change *change = fake_message(fake, n, false);
    Guichet__V1__Outbound *outbound = arena_alloc(fake->arena, sizeof(*outbound));

    guichet__v1__outbound__init(outbound);
    change->kind = GUICHET__V1__CHANGE_KIND__CHANGE_KIND_OUTBOUND;
    change->direction = GUICHET__V1__MESSAGE_DIRECTION__MESSAGE_DIRECTION_OUTBOUND;
    change->actor_id = arena_strdup(fake->arena, actor);
    change->outbound = outbound;
    outbound->message_id = change->message_id;
    outbound->account_id = change->account_id;
    outbound->thread_id = change->thread_id;
    outbound->sequence = change->message_sequence;
    return change;
}

/* A change of conversation n about its part `part_index`, which is pending. */
static KIT_UNUSED Guichet__V1__Change *fake_media(struct fake_context *fake, Guichet__V1__ChangeKind kind,
                                                  unsigned n, uint32_t part_index)
{
    Guichet__V1__Change *change = kind == GUICHET__V1__CHANGE_KIND__CHANGE_KIND_MESSAGE
                                      ? fake_message(fake, n, true)
                                      : fake_add(fake, kind, n);
    Guichet__V1__MediaPart *part = arena_alloc(fake->arena, sizeof(*part));
    Guichet__V1__Media *media = arena_alloc(fake->arena, sizeof(*media));

    guichet__v1__media_part__init(part);
    guichet__v1__media__init(media);
    media->state = GUICHET__V1__MEDIA_STATE__MEDIA_STATE_PENDING;
    media->provider_url = (char *)"https://provider.example/1";
    media->content_type = (char *)"image/png";
    part->part_index = part_index;
    part->media = media;
    change->media = arena_alloc(fake->arena, sizeof(*change->media));
    change->media[0] = part;
    change->n_media = 1;
    return change;
}

/* ---- the calls routing makes; record and store are the test's own ---- */

static void fake_read_changes(Guichet__V1__Context_Service *service,
                              const Guichet__V1__ReadChangesRequest *input,
                              Guichet__V1__ReadChangesReply_Closure closure, void *closure_data)
{
    struct fake_context *fake = (struct fake_context *)service;
    Guichet__V1__ReadChangesReply reply = GUICHET__V1__READ_CHANGES_REPLY__INIT;
    bool is_ours = strcmp(input->tenant, fake->tenant) == 0;
    size_t count = is_ours && input->after_sequence < fake->count ? fake->count - input->after_sequence : 0;

    reply.epoch = (char *)"fake";
    reply.is_resync_required = is_ours && fake->is_resync_required;
    reply.last_sequence = is_ours ? fake->count : 0;
    reply.changes = fake->changes + (count > 0 ? input->after_sequence : 0);
    reply.n_changes = count < input->limit ? count : input->limit;
    closure(&reply, closure_data);
}

static void fake_set_conversation_state(Guichet__V1__Context_Service *service,
                                        const Guichet__V1__SetConversationStateRequest *input,
                                        Guichet__V1__SetConversationStateReply_Closure closure,
                                        void *closure_data)
{
    struct fake_context *fake = (struct fake_context *)service;
    Guichet__V1__SetConversationStateReply reply = GUICHET__V1__SET_CONVERSATION_STATE_REPLY__INIT;
    Guichet__V1__Change *change = fake_add(fake, GUICHET__V1__CHANGE_KIND__CHANGE_KIND_STATE,
                                           (unsigned)atoi(input->conversation_id + 24));

    change->state = input->state;
    change->actor_id = arena_strdup(fake->arena, input->actor_id);
    reply.is_changed = true;
    reply.change_sequence = change->sequence;
    closure(&reply, closure_data);
}

static void fake_get_conversations(Guichet__V1__Context_Service *service,
                                   const Guichet__V1__GetConversationsRequest *input,
                                   Guichet__V1__GetConversationsReply_Closure closure, void *closure_data)
{
    struct fake_context *fake = (struct fake_context *)service;
    unsigned n = (unsigned)atoi(input->ids[0] + 24);
    Guichet__V1__GetConversationsReply reply = GUICHET__V1__GET_CONVERSATIONS_REPLY__INIT;
    Guichet__V1__Conversation conversation = GUICHET__V1__CONVERSATION__INIT, *conversations = &conversation;
    Guichet__V1__Thread thread = GUICHET__V1__THREAD__INIT, *threads = &thread;

    conversation.id = input->ids[0];
    conversation.number = n;
    conversation.threads = &threads;
    conversation.n_threads = 1;
    thread.id = fake_id(fake, FAKE_THREAD, n);
    thread.account_id = arena_printf(fake->arena, "sms-%s", fake->tenant);
    reply.conversations = &conversations;
    reply.n_conversations = 1;
    closure(&reply, closure_data);
}

#endif
