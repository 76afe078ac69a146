/* SPDX-License-Identifier: Apache-2.0 */
/* customers.c - GetCustomer, FindCustomers, UpdateCustomer.
 *
 * Finding is two steps: the ids of a page, then everything about them, the same way as for one. */
#include "context.h"

#include <string.h>

#include "rows.h"
#include "statements.h"

enum { NAME_MAX_BYTES = 256, ACTOR_MAX_BYTES = 128 };

enum customer_column {
    CUSTOMER_ID,
    CUSTOMER_NAME,
    CUSTOMER_CREATED_AT,
    CUSTOMER_VERSION,
    CUSTOMER_LAST_SEEN_AT
};
enum consent_column {
    CONSENT_CUSTOMER_ID,
    CONSENT_ACCOUNT_ID,
    CONSENT_IDENTITY_ID,
    CONSENT_STATE,
    CONSENT_EVIDENCE,
    CONSENT_CHANGED_AT,
};

/* ---- everything about some customers ---- */

/* Three statements, from `first` on in the work: customers, identities, consents. */
static void add_selects(struct db_work *work, const char *tenant, const struct str_view *ids, size_t count)
{
    const struct db_param params[] = { DB_PARAM_TEXT(tenant),
                                       { .type = DB_UUID_ARRAY, .items = ids, .count = count } };

    db_work_add(work, &context_select_customers, params, 2);
    db_work_add(work, &context_select_identities, params, 2);
    db_work_add(work, &context_select_consents, params, 2);
}

static Guichet__V1__Customer *read_customer(const struct rows *rows, size_t row)
{
    Guichet__V1__Customer *customer = context_alloc(rows->arena, sizeof(*customer));

    guichet__v1__customer__init(customer);
    customer->tenant = (char *)rows->tenant;
    customer->id = rows_text(rows, row, CUSTOMER_ID);
    customer->display_name = rows_text(rows, row, CUSTOMER_NAME);
    customer->created_at = rows_time(rows, row, CUSTOMER_CREATED_AT);
    customer->last_seen_at = rows_time(rows, row, CUSTOMER_LAST_SEEN_AT);
    customer->version = (uint32_t)db_i64(rows->result, row, CUSTOMER_VERSION);
    return customer;
}

static Guichet__V1__Consent *read_consent(const struct rows *rows, size_t row)
{
    Guichet__V1__Consent *consent = context_alloc(rows->arena, sizeof(*consent));

    guichet__v1__consent__init(consent);
    consent->account_id = rows_text(rows, row, CONSENT_ACCOUNT_ID);
    consent->identity_id = rows_text(rows, row, CONSENT_IDENTITY_ID);
    consent->state = (Guichet__V1__ConsentState)db_i64(rows->result, row, CONSENT_STATE);
    consent->evidence = rows_text(rows, row, CONSENT_EVIDENCE);
    consent->changed_at = rows_time(rows, row, CONSENT_CHANGED_AT);
    return consent;
}

static void add_identities(const struct rows *rows, Guichet__V1__Customer *customer)
{
    size_t count = db_rows(rows->result);

    customer->identities = context_alloc(rows->arena, (count + 1) * sizeof(*customer->identities));
    for (size_t row = 0; row < count; row++) {
        Guichet__V1__Identity *identity = rows_identity(rows, row, 0);

        if (strcmp(identity->customer_id, customer->id) == 0)
            customer->identities[customer->n_identities++] = identity;
    }
}

static void add_consents(const struct rows *rows, Guichet__V1__Customer *customer)
{
    size_t count = db_rows(rows->result);

    customer->consents = context_alloc(rows->arena, (count + 1) * sizeof(*customer->consents));
    for (size_t row = 0; row < count; row++)
        if (strcmp(rows_text(rows, row, CONSENT_CUSTOMER_ID), customer->id) == 0)
            customer->consents[customer->n_consents++] = read_consent(rows, row);
}

static Guichet__V1__Customer **read_customers(const struct call *call, const struct db_work *work,
                                              size_t first, size_t *ret_count)
{
    struct rows customers = rows_of(call, work, first);
    struct rows identities = rows_of(call, work, first + 1), consents = rows_of(call, work, first + 2);
    size_t count = db_rows(customers.result);
    Guichet__V1__Customer **read = context_alloc(call->arena, (count + 1) * sizeof(*read));

    for (size_t row = 0; row < count; row++) {
        read[row] = read_customer(&customers, row);
        add_identities(&identities, read[row]);
        add_consents(&consents, read[row]);
    }
    *ret_count = count;
    return read;
}

/* ---- GetCustomer ---- */

static void answer_one(struct call *call, const struct db_work *work, size_t first, const char *id)
{
    Guichet__V1__GetCustomerReply reply = GUICHET__V1__GET_CUSTOMER_REPLY__INIT;
    Guichet__V1__Customer **customers;
    struct err missing = { 0 };
    size_t count;

    customers = read_customers(call, work, first, &count);
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
    add_selects(work, call->tenant, &id, 1);
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
    add_selects(work, call->tenant, &id, 1);
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
    reply.customers = read_customers(call, work, 0, &reply.n_customers);
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
    add_selects(next, call->tenant, ids, count);
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
