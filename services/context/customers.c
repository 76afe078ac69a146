/* SPDX-License-Identifier: Apache-2.0 */
/* customers.c - GetCustomer, FindCustomers, UpdateCustomer.
 *
 * Finding is two steps: the ids of a page, then everything about them, the same way as for one. */
#include "context.h"

#include "merge_statements.h"
#include "persons.h"
#include "statements.h"

enum { NAME_MAX_BYTES = 256, ACTOR_MAX_BYTES = 128 };

/* ---- GetCustomer ---- */

static void answer_one(struct call *call, const struct db_work *work, size_t first, const char *id)
{
    Guichet__V1__GetCustomerReply reply = GUICHET__V1__GET_CUSTOMER_REPLY__INIT;
    Guichet__V1__Customer **customers;
    struct err missing = { 0 };
    size_t count;

    customers = persons_read(call, work, first, &count);
    if (count == 0) {
        (void)err_set(&missing, ERR_NOT_FOUND, "customer %s: there is none", id);
        context_call_fail(call, &missing);
        return;
    }
    reply.customer = customers[0];
    context_call_reply(call, &reply);
}

static void on_customer(void *arg, struct db_work *work, const struct err *err)
{
    struct call *call = arg;
    const Guichet__V1__GetCustomerRequest *input = call->data;

    if (err->kind != ERR_NONE)
        context_call_fail(call, err);
    else
        answer_one(call, work, 0, input->id);
}

void context_get_customer(Guichet__V1__Context_Service *service, const Guichet__V1__GetCustomerRequest *input,
                          Guichet__V1__GetCustomerReply_Closure closure, void *closure_data)
{
    struct str_view id = str_view_of(input->id);
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    struct err err = { 0 };
    struct db_work *work;

    if (call == NULL)
        return;
    if (!context_check_id("id", input->id, &err)) {
        context_call_fail(call, &err);
        return;
    }
    call->data = (void *)input;
    work = db_work_new(call->context->database.short_);
    persons_add_selects(work, call->tenant, &id, 1);
    db_work_run(work, on_customer, call);
}

/* ---- UpdateCustomer ---- */

static void on_renamed(void *arg, struct db_work *work, const struct err *err)
{
    struct call *call = arg;
    const Guichet__V1__UpdateCustomerRequest *input = call->data;

    if (err->kind != ERR_NONE) {
        context_call_fail(call, err);
        return;
    }
    context_ring(call->context, call->tenant, (uint64_t)db_i64(db_work_result(work, 0), 0, 0));
    answer_one(call, work, 1, input->id);
}

void context_update_customer(Guichet__V1__Context_Service *service,
                             const Guichet__V1__UpdateCustomerRequest *input,
                             Guichet__V1__GetCustomerReply_Closure closure, void *closure_data)
{
    struct str_view id = str_view_of(input->id);
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    struct err err = { 0 };
    struct db_work *work;

    if (call == NULL)
        return;
    if (!context_check_id("id", input->id, &err) ||
        !context_check_text("display_name", input->display_name, NAME_MAX_BYTES, &err) ||
        !context_check_text("actor_id", input->actor_id, ACTOR_MAX_BYTES, &err)) {
        context_call_fail(call, &err);
        return;
    }
    call->data = (void *)input;
    work = db_work_new(call->context->database.short_);
    db_work_add(work, &context_rename_customer,
                (struct db_param[]){ DB_PARAM_TEXT(input->tenant), DB_PARAM_UUID(input->id),
                                     DB_PARAM_TEXT(input->display_name), DB_PARAM_I32(input->if_version),
                                     DB_PARAM_TEXT(input->actor_id) },
                5);
    persons_add_selects(work, call->tenant, &id, 1);
    db_work_run(work, on_renamed, call);
}

/* ---- FindCustomers ---- */

struct find {
    uint32_t limit;
    bool has_more;
};

static void on_found_customers(void *arg, struct db_work *work, const struct err *err)
{
    struct call *call = arg;
    const struct find *find = call->data;
    Guichet__V1__FindCustomersReply reply = GUICHET__V1__FIND_CUSTOMERS_REPLY__INIT;

    if (err->kind != ERR_NONE) {
        context_call_fail(call, err);
        return;
    }
    reply.customers = persons_read(call, work, 0, &reply.n_customers);
    reply.has_more = find->has_more;
    context_call_reply(call, &reply);
}

static void on_found_ids(void *arg, struct db_work *work, const struct err *err)
{
    struct call *call = arg;
    struct find *find = call->data;
    Guichet__V1__FindCustomersReply nobody = GUICHET__V1__FIND_CUSTOMERS_REPLY__INIT;
    struct db_work *next;
    struct str_view *ids;
    size_t count;

    if (err->kind != ERR_NONE) {
        context_call_fail(call, err);
        return;
    }
    count = db_rows(db_work_result(work, 0));
    if (count == 0) {
        context_call_reply(call, &nobody);
        return;
    }
    find->has_more = count > find->limit;
    if (find->has_more)
        count = find->limit;
    ids = context_alloc(call->arena, count * sizeof(*ids));
    for (size_t row = 0; row < count; row++)
        ids[row] = str_view_of(db_text(work, db_work_result(work, 0), row, 0));
    next = db_work_new(call->context->database.long_);
    persons_add_selects(next, call->tenant, ids, count);
    db_work_run(next, on_found_customers, call);
}

static bool check_find(const Guichet__V1__FindCustomersRequest *input, struct err *err)
{
    const Guichet__V1__Address *address = input->address;

    if (address != NULL && input->name_prefix[0] != '\0')
        return err_set(err, ERR_INVALID, "address, name_prefix: only one of them");
    if (address != NULL &&
        (address->value[0] == '\0' || address->kind == GUICHET__V1__IDENTITY_KIND__IDENTITY_KIND_UNSPECIFIED))
        return err_set(err, ERR_INVALID, "address: needs a kind and a value");
    return context_check_text("name_prefix", input->name_prefix, NAME_MAX_BYTES, err);
}

void context_find_customers(Guichet__V1__Context_Service *service,
                            const Guichet__V1__FindCustomersRequest *input,
                            Guichet__V1__FindCustomersReply_Closure closure, void *closure_data)
{
    const Guichet__V1__Address *address = input->address;
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    const char *after_id = "";
    struct err err = { 0 };
    struct db_work *work;
    struct find *find;

    if (call == NULL)
        return;
    find = context_alloc(call->arena, sizeof(*find));
    call->data = find;
    if (!check_find(input, &err) || !context_check_page(input->page, &find->limit, &after_id, &err)) {
        context_call_fail(call, &err);
        return;
    }
    work = db_work_new(call->context->database.long_);
    if (address != NULL)
        db_work_add(work, &context_find_by_identity,
                    (struct db_param[]){ DB_PARAM_TEXT(input->tenant), DB_PARAM_I32(address->kind),
                                         DB_PARAM_TEXT(address->scope), DB_PARAM_TEXT(address->value) },
                    4);
    else
        db_work_add(work, &context_find_by_name,
                    (struct db_param[]){ DB_PARAM_TEXT(input->tenant), DB_PARAM_TEXT(input->name_prefix),
                                         DB_PARAM_UUID(after_id), DB_PARAM_I32(find->limit + 1) },
                    4);
    db_work_run(work, on_found_ids, call);
}
