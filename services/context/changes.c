/* SPDX-License-Identifier: Apache-2.0 */
/* changes.c - ReadChanges: the feed from a cursor.
 *
 * The rows are read first and the head after them, so that the head is never behind what is
 * handed out. A cursor of another epoch, ahead of the head, or behind what is kept (there is a hole
 * after it) needs a resync: nothing is skipped in silence. */
#include "context.h"
#include "rows.h"
#include "statements.h"

#include <string.h>

enum change_column {
    CHANGE_SEQUENCE,
    CHANGE_KIND,
    CHANGE_AT,
    CHANGE_CONVERSATION_ID,
    CHANGE_CONVERSATION_NUMBER,
    CHANGE_THREAD_ID,
    CHANGE_CUSTOMER_ID,
    CHANGE_ACCOUNT_ID,
    CHANGE_CHANNEL,
    CHANGE_MESSAGE_ID,
    CHANGE_MESSAGE_SEQUENCE,
    CHANGE_DIRECTION,
    CHANGE_MESSAGE_KIND,
    CHANGE_TEXT,
    CHANGE_OCCURRED_AT,
    CHANGE_IS_NEW_CONVERSATION,
    CHANGE_IS_REOPENED,
    CHANGE_STATE,
    CHANGE_RECEIPT_STATE,
    CHANGE_DELIVERY_ID,
    CHANGE_WATERMARK_AT,
    CHANGE_FAILURE_REASON,
    CHANGE_PROVIDER_CODE,
    CHANGE_PROVIDER_TEXT,
    CHANGE_PROVIDER_ID,
    CHANGE_ACTOR_ID,
    CHANGE_REASON,
    CHANGE_CONSENT,
    CHANGE_OTHER_CUSTOMER_ID,
    CHANGE_OTHER_CONVERSATION_ID,
    CHANGE_CONTENT,
    CHANGE_THREAD_KEY,
    CHANGE_IS_PUBLIC,
    CHANGE_ADDRESS_KIND,
    CHANGE_ADDRESS_SCOPE,
    CHANGE_ADDRESS_VALUE,
    CHANGE_ADDRESS_NAME,
    CHANGE_REFUSED_ID,
    CHANGE_ATTEMPT_COUNT,
    CHANGE_MEDIA,
    CHANGE_THREAD_IDS,
};

enum feed_column { FEED_EPOCH, FEED_LAST_SEQUENCE };

static int64_t number(const struct rows *rows, size_t row, size_t column)
{
    return db_i64(rows->result, row, column);
}

static Guichet__V1__Receipt *read_receipt(const struct rows *rows, size_t row)
{
    Guichet__V1__Receipt *receipt = context_alloc(rows->arena, sizeof(*receipt));

    guichet__v1__receipt__init(receipt);
    receipt->state = (Guichet__V1__DeliveryState)number(rows, row, CHANGE_RECEIPT_STATE);
    receipt->delivery_id = rows_text(rows, row, CHANGE_DELIVERY_ID);
    receipt->watermark_at = rows_time(rows, row, CHANGE_WATERMARK_AT);
    receipt->reason = (Guichet__V1__FailureReason)number(rows, row, CHANGE_FAILURE_REASON);
    receipt->provider_code = rows_text(rows, row, CHANGE_PROVIDER_CODE);
    receipt->provider_text = rows_text(rows, row, CHANGE_PROVIDER_TEXT);
    return receipt;
}

static Guichet__V1__Outbound *read_outbound(const struct rows *rows, size_t row,
                                            const Guichet__V1__Change *change)
{
    Guichet__V1__Outbound *outbound = context_alloc(rows->arena, sizeof(*outbound));
    Guichet__V1__Address *recipient = context_alloc(rows->arena, sizeof(*recipient));

    guichet__v1__outbound__init(outbound);
    guichet__v1__address__init(recipient);
    recipient->kind = (Guichet__V1__IdentityKind)number(rows, row, CHANGE_ADDRESS_KIND);
    recipient->scope = rows_text(rows, row, CHANGE_ADDRESS_SCOPE);
    recipient->value = rows_text(rows, row, CHANGE_ADDRESS_VALUE);
    recipient->display_name = rows_text(rows, row, CHANGE_ADDRESS_NAME);
    outbound->tenant = change->tenant;
    outbound->message_id = change->message_id;
    outbound->account_id = change->account_id;
    outbound->thread_id = change->thread_id;
    outbound->thread_key = rows_text(rows, row, CHANGE_THREAD_KEY);
    outbound->is_public = number(rows, row, CHANGE_IS_PUBLIC) != 0;
    outbound->recipient = recipient;
    outbound->content = rows_content(rows, row, CHANGE_CONTENT);
    outbound->sequence = change->message_sequence;
    return outbound;
}

static void read_message(const struct rows *rows, size_t row, Guichet__V1__Change *change)
{
    change->message_id = rows_text(rows, row, CHANGE_MESSAGE_ID);
    change->message_sequence = (uint32_t)number(rows, row, CHANGE_MESSAGE_SEQUENCE);
    change->direction = (Guichet__V1__MessageDirection)number(rows, row, CHANGE_DIRECTION);
    change->message_kind = (Guichet__V1__MessageKind)number(rows, row, CHANGE_MESSAGE_KIND);
    change->text = rows_text(rows, row, CHANGE_TEXT);
    change->occurred_at = rows_time(rows, row, CHANGE_OCCURRED_AT);
    change->provider_id = rows_text(rows, row, CHANGE_PROVIDER_ID);
}

static Guichet__V1__Change *read_change(const struct rows *rows, size_t row)
{
    Guichet__V1__Change *change = context_alloc(rows->arena, sizeof(*change));

    guichet__v1__change__init(change);
    change->tenant = (char *)rows->tenant;
    change->sequence = (uint64_t)number(rows, row, CHANGE_SEQUENCE);
    change->kind = (Guichet__V1__ChangeKind)number(rows, row, CHANGE_KIND);
    change->at = rows_time(rows, row, CHANGE_AT);
    change->conversation_id = rows_text(rows, row, CHANGE_CONVERSATION_ID);
    change->conversation_number = (uint32_t)number(rows, row, CHANGE_CONVERSATION_NUMBER);
    change->thread_id = rows_text(rows, row, CHANGE_THREAD_ID);
    change->customer_id = rows_text(rows, row, CHANGE_CUSTOMER_ID);
    change->account_id = rows_text(rows, row, CHANGE_ACCOUNT_ID);
    change->channel = rows_text(rows, row, CHANGE_CHANNEL);
    change->is_new_conversation = number(rows, row, CHANGE_IS_NEW_CONVERSATION) != 0;
    change->is_reopened = number(rows, row, CHANGE_IS_REOPENED) != 0;
    change->state = (Guichet__V1__ConversationState)number(rows, row, CHANGE_STATE);
    change->actor_id = rows_text(rows, row, CHANGE_ACTOR_ID);
    change->reason = rows_text(rows, row, CHANGE_REASON);
    change->consent = (Guichet__V1__ConsentState)number(rows, row, CHANGE_CONSENT);
    change->other_customer_id = rows_text(rows, row, CHANGE_OTHER_CUSTOMER_ID);
    change->other_conversation_id = rows_text(rows, row, CHANGE_OTHER_CONVERSATION_ID);
    change->refused_id = rows_text(rows, row, CHANGE_REFUSED_ID);
    change->attempt_count = (uint32_t)number(rows, row, CHANGE_ATTEMPT_COUNT);
    read_message(rows, row, change);
    if (!db_is_null(rows->result, row, CHANGE_MEDIA))
        change->media = rows_media(rows, row, CHANGE_MEDIA, &change->n_media);
    if (change->kind == GUICHET__V1__CHANGE_KIND__CHANGE_KIND_SPLIT)
        change->thread_ids = rows_ids(rows, row, CHANGE_THREAD_IDS, &change->n_thread_ids);
    if (change->kind == GUICHET__V1__CHANGE_KIND__CHANGE_KIND_RECEIPT)
        change->receipt = read_receipt(rows, row);
    if (change->kind == GUICHET__V1__CHANGE_KIND__CHANGE_KIND_OUTBOUND)
        change->outbound = read_outbound(rows, row, change);
    return change;
}

/* As many as fit a reply, at least one. */
static void read_changes(const struct call *call, const struct db_work *work,
                         Guichet__V1__ReadChangesReply *reply)
{
    struct rows rows = rows_of(call, work, 0);
    size_t count = db_rows(rows.result), bytes = 0;

    reply->changes = context_alloc(call->arena, (count + 1) * sizeof(*reply->changes));
    for (size_t row = 0; row < count; row++) {
        bytes += db_bytes(rows.result, row, CHANGE_CONTENT).len +
                 db_bytes(rows.result, row, CHANGE_TEXT).len + db_bytes(rows.result, row, CHANGE_MEDIA).len;
        if (row > 0 && bytes > call->context->config->reply_max_bytes)
            break;
        reply->changes[reply->n_changes++] = read_change(&rows, row);
    }
}

static bool needs_resync(const Guichet__V1__ReadChangesRequest *input,
                         const Guichet__V1__ReadChangesReply *reply)
{
    if (input->epoch[0] != '\0' && strcmp(input->epoch, reply->epoch) != 0)
        return true;
    if (input->after_sequence > reply->last_sequence)
        return true;
    if (reply->n_changes > 0)
        return reply->changes[0]->sequence != input->after_sequence + 1;
    return false;
}

static void on_changes(void *arg, struct db_work *work, const struct err *err)
{
    struct call *call = arg;
    Guichet__V1__ReadChangesReply reply = GUICHET__V1__READ_CHANGES_REPLY__INIT;
    struct rows feed;

    if (err->kind != ERR_NONE) {
        context_call_fail(call, err);
        return;
    }
    feed = rows_of(call, work, 1);
    reply.epoch = rows_text(&feed, 0, FEED_EPOCH);
    reply.last_sequence = (uint64_t)number(&feed, 0, FEED_LAST_SEQUENCE);
    read_changes(call, work, &reply);
    reply.is_resync_required = needs_resync(call->data, &reply);
    if (reply.is_resync_required) {
        reply.n_changes = 0;
        stats_add(call->context->stats, CONTEXT_RESYNCS, 1);
    }
    stats_add(call->context->stats, CONTEXT_CHANGES_READ, reply.n_changes);
    context_call_reply(call, &reply);
}

void context_read_changes(Guichet__V1__Context_Service *service, const Guichet__V1__ReadChangesRequest *input,
                          Guichet__V1__ReadChangesReply_Closure closure, void *closure_data)
{
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    struct db_work *work;
    uint32_t limit;

    if (call == NULL)
        return;
    limit = call->context->config->changes_max;
    if (input->limit > 0 && input->limit < limit)
        limit = input->limit;
    call->data = (void *)input;
    work = db_work_new(call->context->database.short_);
    db_work_add(work, &context_select_changes,
                (struct db_param[]){ DB_PARAM_TEXT(input->tenant), DB_PARAM_I64(input->after_sequence),
                                     DB_PARAM_I32(limit) },
                3);
    db_work_add(work, &context_select_feed, (struct db_param[]){ DB_PARAM_TEXT(input->tenant) }, 1);
    db_work_run(work, on_changes, call);
}
