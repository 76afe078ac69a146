/* SPDX-License-Identifier: Apache-2.0 */
/* merge.c - MergeCustomers, UnmergeCustomers, JoinConversations: who is one person, and what follows.
 *
 * The rules are the database's (schema/0006): each is one call of a function, in one transaction with what
 * the reply reads back. */
#include "context.h"

#include <string.h>

#include "core/id.h"
#include "merge_statements.h"
#include "persons.h"
#include "statements.h"

enum { ACTOR_MAX_BYTES = 128, KEY_MAX_BYTES = 255, EVIDENCE_MAX_BYTES = 1024 };

/* ---- MergeCustomers ---- */

enum merged_column { MERGED_IS_DUPLICATE, MERGED_CHANGE_SEQUENCE, MERGED_MERGE };
enum { MERGED_RESULT, MERGED_OPEN_CONVERSATIONS, MERGED_PERSONS };

static void on_merged(void *arg, struct db_work *work, const struct err *err)
{
    struct call *call = arg;
    Guichet__V1__MergeCustomersReply reply = GUICHET__V1__MERGE_CUSTOMERS_REPLY__INIT;
    Guichet__V1__Customer **customers;
    struct rows merged, open;
    size_t count;

    if (err->kind != ERR_NONE) {
        context_call_fail(call, err);
        return;
    }
    merged = rows_of(call, work, MERGED_RESULT);
    open = rows_of(call, work, MERGED_OPEN_CONVERSATIONS);
    customers = persons_read(call, work, MERGED_PERSONS, &count);
    reply.is_duplicate = db_i64(merged.result, 0, MERGED_IS_DUPLICATE) != 0;
    reply.change_sequence = (uint64_t)db_i64(merged.result, 0, MERGED_CHANGE_SEQUENCE);
    reply.merge = persons_read_merge(&merged, 0, MERGED_MERGE);
    reply.customer = customers[0];
    reply.n_open_conversation_ids = db_rows(open.result);
    reply.open_conversation_ids = context_alloc(call->arena, (reply.n_open_conversation_ids + 1) *
                                                                 sizeof(*reply.open_conversation_ids));
    for (size_t row = 0; row < reply.n_open_conversation_ids; row++)
        reply.open_conversation_ids[row] = rows_text(&open, row, 0);
    context_ring(call->context, call->tenant, reply.change_sequence);
    context_call_reply(call, &reply);
}

static bool check_merge(const Guichet__V1__MergeCustomersRequest *input, struct err *err)
{
    if (!context_check_id("customer_id", input->customer_id, err) ||
        !context_check_id("other_customer_id", input->other_customer_id, err))
        return false;
    if (strcmp(input->customer_id, input->other_customer_id) == 0)
        return err_set(err, ERR_INVALID, "other_customer_id: is customer_id");
    if (input->evidence[0] == '\0')
        return err_set(err, ERR_INVALID, "evidence: is empty");
    if (input->idempotency_key[0] == '\0')
        return err_set(err, ERR_INVALID, "idempotency_key: is empty");
    return context_check_text("evidence", input->evidence, EVIDENCE_MAX_BYTES, err) &&
           context_check_text("actor_id", input->actor_id, ACTOR_MAX_BYTES, err) &&
           context_check_text("idempotency_key", input->idempotency_key, KEY_MAX_BYTES, err);
}

void context_merge_customers(Guichet__V1__Context_Service *service,
                             const Guichet__V1__MergeCustomersRequest *input,
                             Guichet__V1__MergeCustomersReply_Closure closure, void *closure_data)
{
    struct str_view id = str_view_of(input->customer_id);
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    const struct db_param tenant = DB_PARAM_TEXT(input->tenant);
    char merge_id[ID_TEXT_BYTES];
    struct err err = { 0 };
    struct db_work *work;

    if (call == NULL)
        return;
    if (!check_merge(input, &err)) {
        context_call_fail(call, &err);
        return;
    }
    id_new_text(merge_id);
    work = db_work_new(call->context->database.ingest);
    db_work_add(work, &context_merge_two,
                (struct db_param[]){ tenant, DB_PARAM_UUID(merge_id), DB_PARAM_UUID(input->customer_id),
                                     DB_PARAM_UUID(input->other_customer_id), DB_PARAM_TEXT(input->evidence),
                                     DB_PARAM_TEXT(input->actor_id), DB_PARAM_TEXT(input->idempotency_key),
                                     DB_PARAM_I32(call->context->config->person_customers_max) },
                8);
    db_work_add(work, &context_select_open_conversations,
                (struct db_param[]){ tenant, DB_PARAM_UUID(input->customer_id) }, 2);
    persons_add_selects(work, input->tenant, &id, 1);
    db_work_run(work, on_merged, call);
}

/* ---- UnmergeCustomers ---- */

enum unmerged_column {
    UNMERGED_IS_CHANGED,
    UNMERGED_CHANGE_SEQUENCE,
    UNMERGED_CONVERSATION_ID,
    UNMERGED_NEW_CONVERSATION_ID,
    UNMERGED_NEW_NUMBER,
};

static void read_splits(const struct rows *rows, Guichet__V1__UnmergeCustomersReply *reply)
{
    size_t count = db_rows(rows->result);

    reply->splits = context_alloc(rows->arena, (count + 1) * sizeof(*reply->splits));
    for (size_t row = 0; row < count && !db_is_null(rows->result, row, UNMERGED_NEW_CONVERSATION_ID); row++) {
        Guichet__V1__SplitConversation *split = context_alloc(rows->arena, sizeof(*split));

        guichet__v1__split_conversation__init(split);
        split->conversation_id = rows_text(rows, row, UNMERGED_CONVERSATION_ID);
        split->new_conversation_id = rows_text(rows, row, UNMERGED_NEW_CONVERSATION_ID);
        split->new_conversation_number = (uint32_t)db_i64(rows->result, row, UNMERGED_NEW_NUMBER);
        reply->splits[reply->n_splits++] = split;
    }
}

/* Each message that moves is rewritten: that may be too many for one statement. */
static void fail_to_move(struct call *call, const struct db_work *work, const struct err *err)
{
    struct err failed = *err;

    if (strcmp(db_work_sqlstate(work), "57014") == 0)
        (void)err_set(&failed, ERR_DEADLINE,
                      "moving the messages takes longer than database_long_timeout_ms; nothing was changed");
    context_call_fail(call, &failed);
}

static void on_unmerged(void *arg, struct db_work *work, const struct err *err)
{
    struct call *call = arg;
    Guichet__V1__UnmergeCustomersReply reply = GUICHET__V1__UNMERGE_CUSTOMERS_REPLY__INIT;
    struct rows unmerged, merges;

    if (err->kind != ERR_NONE) {
        fail_to_move(call, work, err);
        return;
    }
    unmerged = rows_of(call, work, 0);
    merges = rows_of(call, work, 1);
    reply.is_changed = db_i64(unmerged.result, 0, UNMERGED_IS_CHANGED) != 0;
    reply.change_sequence = (uint64_t)db_i64(unmerged.result, 0, UNMERGED_CHANGE_SEQUENCE);
    reply.merge = persons_read_merge(&merges, 0, 0);
    read_splits(&unmerged, &reply);
    context_ring(call->context, call->tenant, reply.change_sequence);
    context_call_reply(call, &reply);
}

void context_unmerge_customers(Guichet__V1__Context_Service *service,
                               const Guichet__V1__UnmergeCustomersRequest *input,
                               Guichet__V1__UnmergeCustomersReply_Closure closure, void *closure_data)
{
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    const struct db_param params[] = { DB_PARAM_TEXT(input->tenant), DB_PARAM_UUID(input->merge_id),
                                       DB_PARAM_TEXT(input->actor_id) };
    struct err err = { 0 };
    struct db_work *work;

    if (call == NULL)
        return;
    if (!context_check_id("merge_id", input->merge_id, &err) ||
        !context_check_text("actor_id", input->actor_id, ACTOR_MAX_BYTES, &err)) {
        context_call_fail(call, &err);
        return;
    }
    work = db_work_new(call->context->database.long_);
    db_work_add(work, &context_unmerge, params, 3);
    db_work_add(work, &context_select_merge, params, 2);
    db_work_run(work, on_unmerged, call);
}

/* ---- JoinConversations ---- */

static void on_joined(void *arg, struct db_work *work, const struct err *err)
{
    struct call *call = arg;
    Guichet__V1__JoinConversationsReply reply = GUICHET__V1__JOIN_CONVERSATIONS_REPLY__INIT;
    struct rows conversations, threads;

    if (err->kind != ERR_NONE) {
        fail_to_move(call, work, err);
        return;
    }
    conversations = rows_of(call, work, 1);
    threads = rows_of(call, work, 2);
    reply.is_changed = db_i64(db_work_result(work, 0), 0, 0) != 0;
    reply.change_sequence = (uint64_t)db_i64(db_work_result(work, 0), 0, 1);
    reply.conversation = rows_conversation(&conversations, 0);
    reply.conversation->n_threads = db_rows(threads.result);
    reply.conversation->threads = context_alloc(call->arena, (reply.conversation->n_threads + 1) *
                                                                 sizeof(*reply.conversation->threads));
    for (size_t row = 0; row < reply.conversation->n_threads; row++)
        reply.conversation->threads[row] = rows_thread(&threads, row);
    context_ring(call->context, call->tenant, reply.change_sequence);
    context_call_reply(call, &reply);
}

static bool check_join(const Guichet__V1__JoinConversationsRequest *input, struct err *err)
{
    if (!context_check_id("conversation_id", input->conversation_id, err) ||
        !context_check_id("other_id", input->other_id, err) ||
        !context_check_text("actor_id", input->actor_id, ACTOR_MAX_BYTES, err))
        return false;
    return strcmp(input->conversation_id, input->other_id) != 0 ||
           err_set(err, ERR_INVALID, "other_id: is conversation_id");
}

void context_join_conversations(Guichet__V1__Context_Service *service,
                                const Guichet__V1__JoinConversationsRequest *input,
                                Guichet__V1__JoinConversationsReply_Closure closure, void *closure_data)
{
    struct str_view id = str_view_of(input->conversation_id);
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    const struct db_param tenant = DB_PARAM_TEXT(input->tenant);
    const struct db_param ids = { .type = DB_UUID_ARRAY, .items = &id, .count = 1 };
    struct err err = { 0 };
    struct db_work *work;

    if (call == NULL)
        return;
    if (!check_join(input, &err)) {
        context_call_fail(call, &err);
        return;
    }
    work = db_work_new(call->context->database.long_);
    db_work_add(work, &context_join,
                (struct db_param[]){ tenant, DB_PARAM_UUID(input->conversation_id),
                                     DB_PARAM_UUID(input->other_id), DB_PARAM_TEXT(input->actor_id),
                                     DB_PARAM_I32(call->context->config->join_messages_max) },
                5);
    db_work_add(work, &context_select_conversations, (struct db_param[]){ tenant, ids, DB_PARAM_TEXT("") },
                3);
    db_work_add(work, &context_select_threads, (struct db_param[]){ tenant, ids }, 2);
    db_work_run(work, on_joined, call);
}
