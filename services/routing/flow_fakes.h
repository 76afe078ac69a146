/* SPDX-License-Identifier: Apache-2.0 */
/* flow_fakes.h - what the context in memory does when routing asks it to write; included by flow_house.h. */
#ifndef GUICHET_ROUTING_FLOW_FAKES_H
#define GUICHET_ROUTING_FLOW_FAKES_H

#include <stdlib.h>

#include "core/pbjson.h"
#include "flow_context.h"

static KIT_UNUSED void fake_record(Guichet__V1__Context_Service *service,
                                   const Guichet__V1__RecordRequest *input,
                                   Guichet__V1__RecordReply_Closure closure, void *closure_data)
{
    struct fake_context *fake = (struct fake_context *)service;
    Guichet__V1__RecordReply reply = GUICHET__V1__RECORD_REPLY__INIT;
    Guichet__V1__Recorded recorded = GUICHET__V1__RECORDED__INIT, *results = &recorded;
    unsigned n = input->n_events > 0 ? (unsigned)atoi(input->events[0]->event_key) : 0;

    fake->dead_count += input->n_dead;
    fake->voided_count += input->n_voided;
    if (fake->fail_with != ERR_NONE) {
        struct err err = { 0 };

        err_set(&err, fake->fail_with, "told to fail");
        mesh_request_fail(mesh_request_of(closure_data), &err);
        return;
    }
    if (input->n_events == 0) { /* a probe, or nothing but dead events */
        recorded.result = GUICHET__V1__RECORD_RESULT__RECORD_RESULT_REFUSED;
        reply.results = &results;
        reply.n_results = input->n_dead > 0 ? 1 : 0;
        closure(&reply, closure_data);
        return;
    }
    snprintf(fake->channel, sizeof(fake->channel), "%s", input->channels[0]);
    fake_message(fake, n, true);
    recorded.result = GUICHET__V1__RECORD_RESULT__RECORD_RESULT_STORED;
    reply.results = &results;
    reply.n_results = 1;
    reply.change_sequence = fake->count;
    closure(&reply, closure_data);
    fake_ring(fake);
}

/* One account, whose spool routing knows better. */
static KIT_UNUSED void fake_audit(Guichet__V1__Context_Service *service,
                                  const Guichet__V1__AuditRequest *input,
                                  Guichet__V1__AuditReply_Closure closure, void *closure_data)
{
    struct fake_context *fake = (struct fake_context *)service;
    Guichet__V1__AuditReply reply = GUICHET__V1__AUDIT_REPLY__INIT;
    Guichet__V1__AuditAccount account = GUICHET__V1__AUDIT_ACCOUNT__INIT, *accounts = &account;

    (void)input;
    account.account_id = fake->audited_account;
    account.received_count = account.stored_count = 7;
    reply.accounts = &accounts;
    reply.n_accounts = 1;
    closure(&reply, closure_data);
}

static KIT_UNUSED void fake_store_outbound(Guichet__V1__Context_Service *service,
                                           const Guichet__V1__StoreOutboundRequest *input,
                                           Guichet__V1__StoreOutboundReply_Closure closure,
                                           void *closure_data)
{
    struct fake_context *fake = (struct fake_context *)service;
    Guichet__V1__StoreOutboundReply reply = GUICHET__V1__STORE_OUTBOUND_REPLY__INIT;
    Guichet__V1__Message message = GUICHET__V1__MESSAGE__INIT;
    Guichet__V1__Change *change =
        fake_outbound(fake, (unsigned)atoi(input->conversation_id + 24), input->actor_id);

    change->outbound->content = (Guichet__V1__Content *)pb_dup(&input->content->base, fake->arena);
    message.id = change->message_id;
    message.conversation_id = input->conversation_id;
    message.thread_id = input->thread_id;
    reply.message = &message;
    reply.change_sequence = fake->count;
    closure(&reply, closure_data);
    fake_ring(fake);
}

static KIT_UNUSED void fake_open_thread(Guichet__V1__Context_Service *service,
                                        const Guichet__V1__OpenThreadRequest *input,
                                        Guichet__V1__OpenThreadReply_Closure closure, void *closure_data)
{
    struct fake_context *fake = (struct fake_context *)service;
    Guichet__V1__OpenThreadReply reply = GUICHET__V1__OPEN_THREAD_REPLY__INIT;
    Guichet__V1__Conversation conversation = GUICHET__V1__CONVERSATION__INIT;
    Guichet__V1__Thread thread = GUICHET__V1__THREAD__INIT;
    unsigned n = (unsigned)atoi(input->recipient->value);
    Guichet__V1__Change *change = fake_add(fake, GUICHET__V1__CHANGE_KIND__CHANGE_KIND_STATE, n);

    change->state = GUICHET__V1__CONVERSATION_STATE__CONVERSATION_STATE_OPEN;
    change->is_new_conversation = true;
    change->actor_id = arena_strdup(fake->arena, input->actor_id);
    conversation.id = change->conversation_id;
    conversation.number = n;
    thread.id = change->thread_id;
    reply.conversation = &conversation;
    reply.thread = &thread;
    reply.is_new = true;
    reply.change_sequence = change->sequence;
    closure(&reply, closure_data);
}

static KIT_UNUSED bool fake_fail(void *closure_data, enum err_kind kind)
{
    struct err err = { 0 };

    if (kind == ERR_NONE)
        return false;
    err_set(&err, kind, "told to fail");
    mesh_request_fail(mesh_request_of(closure_data), &err);
    return true;
}

static KIT_UNUSED void fake_set_media(Guichet__V1__Context_Service *service,
                                      const Guichet__V1__SetMediaRequest *input,
                                      Guichet__V1__SetMediaReply_Closure closure, void *closure_data)
{
    struct fake_context *fake = (struct fake_context *)service;
    Guichet__V1__SetMediaReply reply = GUICHET__V1__SET_MEDIA_REPLY__INIT;
    Guichet__V1__Change *change;

    if (fake_fail(closure_data, fake->media.fail_with))
        return;
    fake->media.calls++;
    reply.is_changed = fake->media.state != input->media->state;
    fake->media.state = input->media->state;
    fake->media.sha256_len = input->media->sha256.len;
    snprintf(fake->media.error, sizeof(fake->media.error), "%s", input->media->error);
    if (reply.is_changed) {
        change = fake_media(fake, GUICHET__V1__CHANGE_KIND__CHANGE_KIND_MEDIA, 1, input->part_index);
        change->message_id = arena_strdup(fake->arena, input->message_id);
        change->media[0]->media->state = input->media->state;
        reply.change_sequence = change->sequence;
    }
    reply.media = input->media;
    closure(&reply, closure_data);
    fake_ring(fake);
}

static KIT_UNUSED void fake_get_refused(Guichet__V1__Context_Service *service,
                                        const Guichet__V1__GetRefusedRequest *input,
                                        Guichet__V1__GetRefusedReply_Closure closure, void *closure_data)
{
    Guichet__V1__GetRefusedReply reply = GUICHET__V1__GET_REFUSED_REPLY__INIT;
    Guichet__V1__DeadEvent event = GUICHET__V1__DEAD_EVENT__INIT;

    (void)service, (void)input;
    event.event_key = (char *)"message:SM1";
    reply.event = &event;
    reply.raw = (ProtobufCBinaryData){ 5, (uint8_t *)"Body=" };
    reply.raw_type = (char *)"application/x-www-form-urlencoded";
    closure(&reply, closure_data);
}

static KIT_UNUSED void fake_replay_refused(Guichet__V1__Context_Service *service,
                                           const Guichet__V1__ReplayRefusedRequest *input,
                                           Guichet__V1__ReplayRefusedReply_Closure closure,
                                           void *closure_data)
{
    struct fake_context *fake = (struct fake_context *)service;
    Guichet__V1__ReplayRefusedReply reply = GUICHET__V1__REPLAY_REFUSED_REPLY__INIT;
    Guichet__V1__Recorded recorded = GUICHET__V1__RECORDED__INIT;

    (void)input;
    fake->replays++;
    recorded.result = fake->replay_result;
    recorded.reason = (char *)"still two ids";
    reply.recorded = &recorded;
    closure(&reply, closure_data);
}

static KIT_UNUSED void fake_list_messages(Guichet__V1__Context_Service *service,
                                          const Guichet__V1__ListMessagesRequest *input,
                                          Guichet__V1__ListMessagesReply_Closure closure, void *closure_data)
{
    struct fake_context *fake = (struct fake_context *)service;
    Guichet__V1__ListMessagesReply reply = GUICHET__V1__LIST_MESSAGES_REPLY__INIT;
    Guichet__V1__Message ours = GUICHET__V1__MESSAGE__INIT, theirs = GUICHET__V1__MESSAGE__INIT;
    Guichet__V1__Message *messages[] = { &ours, &theirs };

    ours.direction = GUICHET__V1__MESSAGE_DIRECTION__MESSAGE_DIRECTION_OUTBOUND;
    ours.provider_id = (char *)"SM2";
    theirs.direction = GUICHET__V1__MESSAGE_DIRECTION__MESSAGE_DIRECTION_INBOUND;
    theirs.provider_id = (char *)"SM1";
    ours.thread_id = theirs.thread_id =
        fake_id(fake, FAKE_THREAD, (unsigned)atoi(input->conversation_id + 24));
    reply.messages = messages;
    reply.n_messages = COUNT_OF(messages);
    closure(&reply, closure_data);
}

static KIT_UNUSED void fake_get_blob(Guichet__V1__Blobs_Service *service,
                                     const Guichet__V1__GetBlobRequest *input,
                                     Guichet__V1__GetBlobReply_Closure closure, void *closure_data)
{
    struct fake_context *fake = ((struct fake_blobs *)service)->fake;
    Guichet__V1__GetBlobReply reply = GUICHET__V1__GET_BLOB_REPLY__INIT;
    Guichet__V1__Blob blob = GUICHET__V1__BLOB__INIT;

    fake->blob_asks++;
    if (fake_fail(closure_data, fake->blob_bytes == 0 ? ERR_NOT_FOUND : ERR_NONE))
        return;
    blob.sha256 = input->sha256;
    blob.size_bytes = fake->blob_bytes;
    blob.content_type = (char *)(fake->blob_type != NULL ? fake->blob_type : "image/png");
    reply.blob = &blob;
    closure(&reply, closure_data);
}

static KIT_UNUSED void open_fake(struct fake_context *fake, struct loop *loop, const char *tenant)
{
    struct err err = { 0 };

    fake->base = (Guichet__V1__Context_Service){
        .base = { .descriptor = &guichet__v1__context__descriptor,
                  .invoke = protobuf_c_service_invoke_internal },
        .record = fake_record,
        .audit = fake_audit,
        .read_changes = fake_read_changes,
        .store_outbound = fake_store_outbound,
        .open_thread = fake_open_thread,
        .set_conversation_state = fake_set_conversation_state,
        .get_conversations = fake_get_conversations,
        .set_media = fake_set_media,
        .get_refused = fake_get_refused,
        .replay_refused = fake_replay_refused,
        .list_messages = fake_list_messages,
    };
    fake->blobs = (struct fake_blobs){
        .base = { .base = { .descriptor = &guichet__v1__blobs__descriptor,
                            .invoke = protobuf_c_service_invoke_internal },
                  .get_blob = fake_get_blob },
        .fake = fake,
    };
    fake->tenant = tenant;
    fake->arena = arena_new(8 << 20);
    const struct mesh_server_options options = { .name = "centre",
                                                 .listen = "tcp://127.0.0.1:0",
                                                 .service = "context" };
    if (!mesh_server_new(loop, &options, &fake->server, &err) ||
        !mesh_publisher_new(loop, "tcp://127.0.0.1:0", &fake->publisher, &err))
        fail_msg("fake context: %s", err.text);
    mesh_server_add(fake->server, &fake->base.base);
    mesh_server_add(fake->server, &fake->blobs.base.base);
}

#endif
