/* SPDX-License-Identifier: Apache-2.0 */
/* timeline.c - ListMessages and Timeline: messages newest first, page by page.
 *
 * Keyset pages on the message's id, which grows with time: a page costs the same wherever it is.
 * A page ends early where its content would not fit a reply. */
#include "context.h"
#include "rows.h"
#include "statements.h"

/* What one page is asked for; `owner` is a conversation or a customer. */
struct page_request {
    const char *noun;
    const char *owner_id;
    const struct db_statement *messages, *count_owner;
    uint32_t limit;
};

static void read_page(const struct call *call, const struct rows *rows, Guichet__V1__ListMessagesReply *reply)
{
    const struct page_request *page = call->data;
    size_t count = db_rows(rows->result), bytes = 0;

    reply->messages = context_alloc(call->arena, (count + 1) * sizeof(*reply->messages));
    for (size_t row = 0; row < count; row++) {
        bytes += rows_message_bytes(rows, row);
        if (row == page->limit || (row > 0 && bytes > call->context->config->reply_max_bytes)) {
            reply->has_more = true;
            return;
        }
        reply->messages[reply->n_messages++] = rows_message(rows, row);
    }
}

static void on_messages(void *arg, struct db_work *work, const struct err *err)
{
    struct call *call = arg;
    const struct page_request *page = call->data;
    Guichet__V1__ListMessagesReply reply = GUICHET__V1__LIST_MESSAGES_REPLY__INIT;
    struct rows rows;
    struct err missing = { 0 };

    if (err->kind != ERR_NONE) {
        context_call_fail(call, err);
        return;
    }
    if (db_i64(db_work_result(work, 1), 0, 0) == 0) {
        (void)err_set(&missing, ERR_NOT_FOUND, "%s %s: there is none", page->noun, page->owner_id);
        context_call_fail(call, &missing);
        return;
    }
    rows = rows_of(call, work, 0);
    read_page(call, &rows, &reply);
    context_call_reply(call, &reply);
}

static void start_page(struct call *call, struct page_request page, const Guichet__V1__Page *asked)
{
    const struct db_param tenant = DB_PARAM_TEXT(call->tenant), owner = DB_PARAM_UUID(page.owner_id);
    struct page_request *kept = context_alloc(call->arena, sizeof(*kept));
    const char *after_id = "";
    struct err err = { 0 };
    struct db_work *work;

    if (!context_check_id(page.noun, page.owner_id, &err) ||
        !context_check_page(asked, &page.limit, &after_id, &err)) {
        context_call_fail(call, &err);
        return;
    }
    *kept = page;
    call->data = kept;
    work = db_work_new(call->context->database.long_);
    db_work_add(work, page.messages,
                (struct db_param[]){ tenant, owner, DB_PARAM_UUID(after_id), DB_PARAM_I32(page.limit + 1) },
                4);
    db_work_add(work, page.count_owner, (struct db_param[]){ tenant, owner }, 2);
    db_work_run(work, on_messages, call);
}

void context_list_messages(Guichet__V1__Context_Service *service,
                           const Guichet__V1__ListMessagesRequest *input,
                           Guichet__V1__ListMessagesReply_Closure closure, void *closure_data)
{
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);

    if (call != NULL)
        start_page(call,
                   (struct page_request){ .noun = "conversation",
                                          .owner_id = input->conversation_id,
                                          .messages = &context_select_messages,
                                          .count_owner = &context_count_conversation },
                   input->page);
}

void context_timeline(Guichet__V1__Context_Service *service, const Guichet__V1__TimelineRequest *input,
                      Guichet__V1__ListMessagesReply_Closure closure, void *closure_data)
{
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);

    if (call != NULL)
        start_page(call,
                   (struct page_request){ .noun = "customer",
                                          .owner_id = input->customer_id,
                                          .messages = &context_select_timeline,
                                          .count_owner = &context_count_customer },
                   input->page);
}
