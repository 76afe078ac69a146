/* SPDX-License-Identifier: Apache-2.0 */
/* reply.c - an agent answers, or writes first.
 *
 * Reply: who asks and whose it is (ours) -> the conversation and its threads (context) -> what the account can
 * send (ours), of what size its media are (context's blobs) -> stored (context) -> answered. StartConversation:
 * what the account can send -> thread opened (context) -> whose it is -> stored -> applied -> answered. The
 * delivery is made by our feed, from the same commit as the message: between the two nothing can be lost. Its id
 * is the message's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "capability.h"
#include "core/duration.h"
#include "core/pbjson.h"
#include "core/pbtime.h"
#include "guichet/v1/blob.pb-c.h"
#include "ops/failpoint.h"
#include "rows.h"
#include "rpc.h"
#include "statements.h"

enum { KEY_MAX_BYTES = 200, SHA256_BYTES = 32 };

struct reply {
    bool is_start;
    char *tenant, *conversation_id, *thread_id, *actor_id, *idempotency_key, *account_id;
    Guichet__V1__Content *content;
    Guichet__V1__Address *recipient;
    int64_t last_inbound_us;
    Guichet__V1__ChannelAccount *account;
    Guichet__V1__ReplyReply answer;
    Guichet__V1__ConversationView view;
    Guichet__V1__Delivery delivery;
    bool is_new; /* the conversation is, by this call */
    uint64_t change_sequence;
    size_t part; /* whose size is asked */
};

static void on_actor(struct routing_call *call, struct db_work *work);
static void on_conversation(const Guichet__V1__GetConversationsReply *found, void *arg);
static void ask_account(struct routing_call *call);
static void on_account(struct routing_call *call, struct db_work *work);
static void ask_size(struct routing_call *call);
static void on_blob(const Guichet__V1__GetBlobReply *found, void *arg);
static void open_thread(struct routing_call *call);
static void on_opened(const Guichet__V1__OpenThreadReply *opened, void *arg);
static void on_owner(struct routing_call *call, struct db_work *work);
static void store(struct routing_call *call);
static void on_stored(const Guichet__V1__StoreOutboundReply *stored, void *arg);
static void on_applied(void *arg);
static void on_final(struct routing_call *call, struct db_work *work);

static void *copy(struct routing_call *call, const void *message)
{
    ProtobufCMessage *made = pb_dup(message, call->arena);

    if (made == NULL)
        abort();
    return made;
}

static char *copy_text(struct routing_call *call, const char *text)
{
    char *made = arena_strdup(call->arena, text);

    if (made == NULL)
        abort();
    return made;
}

static void refuse(struct routing_call *call, enum err_kind kind, const char *text)
{
    stats_add_label(call->routing->stats, ROUTING_REPLIES, "refused", 1);
    routing_call_refuse(call, kind, "%s", text);
}

/* An error of context: told as it is. */
static void fail(struct routing_call *call)
{
    const struct err *err = mesh_err();

    stats_add_label(call->routing->stats, ROUTING_REPLIES, err_is_retryable(err->kind) ? "failed" : "refused",
                    1);
    routing_call_fail(call, err);
}

static bool check_request(struct routing_call *call)
{
    const struct reply *reply = call->state;

    if (!routing_call_is_tenant(call, reply->tenant) ||
        !routing_call_is_id(call, "conversation_id", reply->conversation_id, reply->is_start) ||
        !routing_call_is_id(call, "thread_id", reply->thread_id, true) ||
        !routing_call_is_id(call, "actor_id", reply->actor_id, false))
        return false;
    if (reply->idempotency_key[0] != '\0' && strlen(reply->idempotency_key) <= KEY_MAX_BYTES)
        return true;
    refuse(call, ERR_INVALID, "idempotency_key is missing or too long");
    return false;
}

/* ---- Reply ---- */

ROUTING_RPC(reply, Reply, ReplyReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();
    struct reply *reply = routing_call_state(call, sizeof(*reply));

    *reply = (struct reply){
        .view = GUICHET__V1__CONVERSATION_VIEW__INIT,
        .tenant = input->tenant,
        .conversation_id = input->conversation_id,
        .thread_id = input->thread_id,
        .actor_id = input->actor_id,
        .idempotency_key = input->idempotency_key,
        .content = input->content,
    };
    if (check_request(call))
        routing_actor_query(call, reply->tenant, reply->conversation_id, reply->actor_id, on_actor);
}

/* false: answered. */
static bool may_write(struct routing_call *call, const struct routing_actor *actor)
{
    enum err_kind kind;
    const char *obstacle = routing_actor_cannot_write(actor, &kind);

    if (obstacle != NULL)
        refuse(call, kind, obstacle);
    return obstacle == NULL;
}

static void on_actor(struct routing_call *call, struct db_work *work)
{
    struct reply *reply = call->state;
    Guichet__V1__GetConversationsRequest request = GUICHET__V1__GET_CONVERSATIONS_REQUEST__INIT;
    struct mesh_call mesh = routing_call_mesh(call, reply->tenant);
    struct routing_actor actor;

    if (!routing_actor_read(call, work, reply->actor_id, &actor) || !may_write(call, &actor))
        return;
    reply->view.work = copy(call, actor.item);
    request.tenant = reply->tenant;
    request.ids = &reply->conversation_id;
    request.n_ids = 1;
    request.with_threads = true;
    guichet__v1__context__get_conversations(mesh_client_call(call->routing->context, &mesh), &request,
                                            on_conversation, call);
}

const Guichet__V1__Thread *routing_choose_thread(const Guichet__V1__Conversation *conversation,
                                                 const char *id)
{
    const Guichet__V1__Thread *chosen = NULL;

    for (size_t i = 0; i < conversation->n_threads; i++) {
        const Guichet__V1__Thread *thread = conversation->threads[i];

        if (id[0] != '\0'
                ? strcmp(thread->id, id) == 0
                : chosen == NULL || pbtime_us(thread->last_inbound_at) > pbtime_us(chosen->last_inbound_at))
            chosen = thread;
    }
    return chosen;
}

static void on_conversation(const Guichet__V1__GetConversationsReply *found, void *arg)
{
    struct routing_call *call = arg;
    struct reply *reply = call->state;
    const Guichet__V1__Thread *thread;

    if (found == NULL) {
        fail(call);
        return;
    }
    if (found->n_conversations == 0) {
        refuse(call, ERR_NOT_FOUND, "there is no such conversation");
        return;
    }
    reply->view.conversation = copy(call, found->conversations[0]);
    thread = routing_choose_thread(reply->view.conversation, reply->thread_id);
    if (thread == NULL) {
        refuse(call, ERR_NOT_FOUND, "the conversation has no such thread");
        return;
    }
    reply->thread_id = thread->id;
    reply->account_id = thread->account_id;
    reply->last_inbound_us = pbtime_us(thread->last_inbound_at);
    ask_account(call);
}

/* ---- what the account can send ---- */

static void ask_account(struct routing_call *call)
{
    const struct reply *reply = call->state;
    const struct db_param params[] = {
        DB_PARAM_TEXT(reply->tenant),
        DB_PARAM_I64(call->routing->config->account_ttl_ms),
        DB_PARAM_TEXT(reply->account_id),
    };

    routing_call_query(call, call->routing->database.short_, &routing_sql_get_account, params,
                       COUNT_OF(params), on_account);
}

static void on_account(struct routing_call *call, struct db_work *work)
{
    struct reply *reply = call->state;
    struct err err = { 0 };

    if (db_rows(db_work_result(work, 0)) == 0) {
        refuse(call, reply->is_start ? ERR_NOT_FOUND : ERR_CONFLICT,
               "no connector has announced this account");
        return;
    }
    reply->account = copy(call, routing_row_account(work, db_work_result(work, 0), 0, call->arena));
    if (reply->account->capabilities == NULL) {
        refuse(call, ERR_INTERNAL, "the account's capabilities are unreadable");
        return;
    }
    if (!routing_capability_check(reply->account->capabilities, reply->content, reply->is_start,
                                  reply->last_inbound_us, time_now_us(), &err)) {
        refuse(call, err.kind, err.text);
        return;
    }
    reply->content = copy(call, reply->content);
    ask_size(call);
}

/* ---- what its media are ---- */

static bool has_media(const Guichet__V1__Content *content)
{
    for (size_t i = 0; i < content->n_parts; i++)
        if (content->parts[i]->kind_case == GUICHET__V1__PART__KIND_MEDIA)
            return true;
    return false;
}

static void check_media(struct routing_call *call)
{
    struct reply *reply = call->state;
    const Guichet__V1__Capabilities *capabilities = reply->account->capabilities;
    const char *base_url = call->routing->config->media_base_url;
    struct err err = { 0 };

    if (!routing_capability_check_media(capabilities, reply->content, &err))
        refuse(call, err.kind, err.text);
    else if (has_media(reply->content) && (base_url == NULL || base_url[0] == '\0') &&
             capabilities->media_delivery == GUICHET__V1__MEDIA_DELIVERY__MEDIA_DELIVERY_LINK)
        refuse(call, ERR_CONFLICT, "the channel reads media by links, and no media_base_url is configured");
    else if (reply->is_start)
        open_thread(call);
    else
        store(call);
}

/* Of the next media part; when there is none left, all sizes are known. */
static void ask_size(struct routing_call *call)
{
    struct reply *reply = call->state;
    Guichet__V1__GetBlobRequest request = GUICHET__V1__GET_BLOB_REQUEST__INIT;
    struct mesh_call mesh = routing_call_mesh(call, reply->tenant);
    const Guichet__V1__Media *media;
    char text[ERR_TEXT_BYTES];

    while (reply->part < reply->content->n_parts &&
           reply->content->parts[reply->part]->kind_case != GUICHET__V1__PART__KIND_MEDIA)
        reply->part++;
    if (reply->part == reply->content->n_parts) {
        check_media(call);
        return;
    }
    media = reply->content->parts[reply->part]->media;
    if (media->sha256.len != SHA256_BYTES) {
        snprintf(text, sizeof(text), "part %zu names no uploaded file: sha256 has %zu bytes, not %d", reply->part,
                 media->sha256.len, SHA256_BYTES);
        refuse(call, ERR_INVALID, text);
        return;
    }
    request.tenant = reply->tenant;
    request.sha256 = media->sha256;
    mesh.attempt_timeout_ms = 0;
    guichet__v1__blobs__get_blob(mesh_client_call(call->routing->blobs, &mesh), &request, on_blob, call);
}

/* Who uploaded it first said what it is. Without their word, or with one that means nothing, the agent's counts. */
static bool says_type(const Guichet__V1__Blob *blob)
{
    return blob->content_type[0] != '\0' && strcasecmp(blob->content_type, "application/octet-stream") != 0;
}

static void on_blob(const Guichet__V1__GetBlobReply *found, void *arg)
{
    struct routing_call *call = arg;
    struct reply *reply = call->state;
    Guichet__V1__Media *media = reply->content->parts[reply->part]->media;
    char text[ERR_TEXT_BYTES];

    if (found == NULL && mesh_err()->kind == ERR_NOT_FOUND) {
        snprintf(text, sizeof(text), "part %zu: there is no such file; upload it first", reply->part);
        refuse(call, ERR_INVALID, text);
    } else if (found == NULL) {
        fail(call);
    } else if (found->blob == NULL) {
        refuse(call, ERR_INTERNAL, "context says nothing of the blob");
    } else {
        media->size_bytes = found->blob->size_bytes;
        if (says_type(found->blob) || media->content_type[0] == '\0')
            media->content_type = copy_text(call, found->blob->content_type);
        reply->part++;
        ask_size(call);
    }
}

/* ---- StartConversation ---- */

ROUTING_RPC(start_conversation, StartConversation, ReplyReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();
    struct reply *reply = routing_call_state(call, sizeof(*reply));

    *reply = (struct reply){
        .view = GUICHET__V1__CONVERSATION_VIEW__INIT,
        .is_start = true,
        .tenant = input->tenant,
        .conversation_id = "",
        .thread_id = "",
        .actor_id = input->actor_id,
        .idempotency_key = input->idempotency_key,
        .account_id = input->account_id,
        .content = input->content,
        .recipient = input->recipient,
    };
    if (!check_request(call))
        return;
    if (input->recipient == NULL || input->recipient->value[0] == '\0')
        refuse(call, ERR_INVALID, "recipient is missing");
    else
        ask_account(call);
}

static void open_thread(struct routing_call *call)
{
    struct reply *reply = call->state;
    Guichet__V1__OpenThreadRequest request = GUICHET__V1__OPEN_THREAD_REQUEST__INIT;
    struct mesh_call mesh = routing_call_mesh(call, reply->tenant);

    request.tenant = reply->tenant;
    request.account_id = reply->account_id;
    request.channel = reply->account->channel;
    request.recipient = reply->recipient;
    request.actor_id = reply->actor_id;
    request.idempotency_key = reply->idempotency_key;
    request.subject = reply->content->subject;
    guichet__v1__context__open_thread(mesh_client_call(call->routing->context, &mesh), &request, on_opened,
                                      call);
}

static void on_opened(const Guichet__V1__OpenThreadReply *opened, void *arg)
{
    struct routing_call *call = arg;
    struct reply *reply = call->state;

    if (opened == NULL) {
        fail(call);
        return;
    }
    if (opened->conversation == NULL || opened->thread == NULL) {
        refuse(call, ERR_INTERNAL, "context opened no thread");
        return;
    }
    reply->view.conversation = copy(call, opened->conversation);
    reply->conversation_id = reply->view.conversation->id;
    reply->thread_id = arena_strdup(call->arena, opened->thread->id);
    reply->is_new = opened->is_new;
    if (opened->change_sequence > 0)
        routing_applier_kick(call->routing->applier, reply->tenant, true);
    if (opened->is_repeat) { /* it was allowed and sent; whose the conversation is by now does not matter */
        store(call);
        return;
    }
    routing_actor_query(call, reply->tenant, reply->conversation_id, reply->actor_id, on_owner);
}

/* The customer may be in a conversation already: that is its agent's, or waits to be claimed. */
static void on_owner(struct routing_call *call, struct db_work *work)
{
    struct reply *reply = call->state;
    struct routing_actor actor;

    if (!routing_actor_read(call, work, reply->actor_id, &actor))
        return;
    if (!reply->is_new && actor.item != NULL && actor.role == GUICHET__V1__ROLE__ROLE_AGENT &&
        !actor.is_assigned && actor.item->state != GUICHET__V1__WORK_STATE__WORK_STATE_CLOSED)
        refuse(call, ERR_CONFLICT, "the customer has an open conversation that is not yours");
    else
        store(call);
}

/* ---- both ---- */

static void store(struct routing_call *call)
{
    struct reply *reply = call->state;
    Guichet__V1__StoreOutboundRequest request = GUICHET__V1__STORE_OUTBOUND_REQUEST__INIT;
    struct mesh_call mesh = routing_call_mesh(call, reply->tenant);

    request.tenant = reply->tenant;
    request.conversation_id = reply->conversation_id;
    request.thread_id = reply->thread_id;
    request.content = reply->content;
    request.direction = GUICHET__V1__MESSAGE_DIRECTION__MESSAGE_DIRECTION_OUTBOUND;
    request.actor_id = reply->actor_id;
    request.idempotency_key = reply->idempotency_key;
    guichet__v1__context__store_outbound(mesh_client_call(call->routing->context, &mesh), &request, on_stored,
                                         call);
}

/* As our feed will make it: the delivery's id is the message's. */
static void fill_delivery(struct reply *reply, const Guichet__V1__Message *message)
{
    guichet__v1__delivery__init(&reply->delivery);
    reply->delivery.tenant = reply->tenant;
    reply->delivery.id = message->id;
    reply->delivery.message_id = message->id;
    reply->delivery.conversation_id = message->conversation_id;
    reply->delivery.thread_id = message->thread_id;
    reply->delivery.account_id = reply->account_id;
    reply->delivery.state = GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_QUEUED;
    reply->delivery.queued_at = message->committed_at;
    reply->delivery.updated_at = message->committed_at;
}

static void on_stored(const Guichet__V1__StoreOutboundReply *stored, void *arg)
{
    struct routing_call *call = arg;
    struct reply *reply = call->state;
    Guichet__V1__ReplyReply *answer = &reply->answer;

    if (stored == NULL) {
        fail(call);
        return;
    }
    if (FAILPOINT("routing_after_store_outbound_before_reply")) {
        refuse(call, ERR_UNAVAILABLE, "failpoint");
        return;
    }
    stats_add_label(call->routing->stats, ROUTING_REPLIES, stored->is_duplicate ? "duplicate" : "stored", 1);
    guichet__v1__reply_reply__init(answer);
    answer->message = copy(call, stored->message);
    answer->is_duplicate = stored->is_duplicate;
    fill_delivery(reply, answer->message);
    answer->delivery = &reply->delivery;
    if (stored->change_sequence > 0)
        routing_applier_kick(call->routing->applier, reply->tenant, true);
    if (reply->is_start && stored->change_sequence > 0)
        routing_applier_wait(call->routing->applier, reply->tenant, stored->change_sequence, on_applied,
                             call);
    else
        on_applied(call);
}

/* What a repeat finds may be far on its way; what was just started has its agent by now. */
static void on_applied(void *arg)
{
    struct routing_call *call = arg;
    struct reply *reply = call->state;
    const struct str_view message = str_view_of(reply->answer.message->id);
    const struct str_view conversation = str_view_of(reply->answer.message->conversation_id);
    const struct db_param tenant = DB_PARAM_TEXT(reply->tenant);
    const struct db_param deliveries[] = { tenant, { .type = DB_UUID_ARRAY, .items = &message, .count = 1 } };
    const struct db_param items[] = { tenant, { .type = DB_UUID_ARRAY, .items = &conversation, .count = 1 } };
    struct db_work *work;

    if (call->routing->database.short_ == NULL) { /* we are going down */
        refuse(call, ERR_UNAVAILABLE, "routing goes down");
        return;
    }
    work = db_work_new(call->routing->database.short_);
    db_work_add(work, &routing_sql_get_deliveries, deliveries, COUNT_OF(deliveries));
    db_work_add(work, &routing_sql_get_work, items, COUNT_OF(items));
    routing_call_run(call, work, on_final);
}

static void on_final(struct routing_call *call, struct db_work *work)
{
    struct reply *reply = call->state;
    const struct db_result *deliveries = db_work_result(work, 0), *items = db_work_result(work, 1);

    if (db_rows(deliveries) > 0)
        reply->answer.delivery = routing_row_delivery(work, deliveries, 0, call->arena);
    if (db_rows(items) > 0)
        reply->view.work = routing_row_work(work, items, 0, 0, call->arena);
    reply->answer.view = &reply->view;
    routing_call_answer(call, &reply->answer.base);
}
