/* SPDX-License-Identifier: Apache-2.0 */
/* persons.c - everything about some customers, put together from five results.
 *
 * Each row says for whom of those asked for it is: the same person may be asked for twice. */
#include "persons.h"

#include <string.h>

#include "merge_statements.h"

enum customer_column {
    CUSTOMER_ID,
    CUSTOMER_NAME,
    CUSTOMER_CREATED_AT,
    CUSTOMER_VERSION,
    CUSTOMER_LAST_SEEN_AT
};
enum member_column { MEMBER_OWNER_ID, MEMBER_ID };
enum merge_column {
    MERGE_ID,
    MERGE_CUSTOMER_ID,
    MERGE_OTHER_CUSTOMER_ID,
    MERGE_EVIDENCE,
    MERGE_ACTOR_ID,
    MERGE_MERGED_AT,
    MERGE_UNMERGED_AT,
};
enum { MERGES_OWNER_ID, MERGES_MERGE };
enum { IDENTITIES_IDENTITY, IDENTITIES_OWNER_ID = 8 };
enum consent_column {
    CONSENT_OWNER_ID,
    CONSENT_ACCOUNT_ID,
    CONSENT_IDENTITY_ID,
    CONSENT_STATE,
    CONSENT_EVIDENCE,
    CONSENT_CHANGED_AT,
};

/* In the order of the statements. */
enum { CUSTOMERS, MEMBERS, MERGES, IDENTITIES, CONSENTS };

void persons_add_selects(struct db_work *work, const char *tenant, const struct str_view *ids, size_t count)
{
    static const struct db_statement *const selects[PERSONS_STATEMENT_COUNT] = {
        [CUSTOMERS] = &context_select_customers, [MEMBERS] = &context_select_members,
        [MERGES] = &context_select_merges,       [IDENTITIES] = &context_select_identities,
        [CONSENTS] = &context_select_consents,
    };
    const struct db_param params[] = { DB_PARAM_TEXT(tenant),
                                       { .type = DB_UUID_ARRAY, .items = ids, .count = count } };

    for (size_t i = 0; i < COUNT_OF(selects); i++)
        db_work_add(work, selects[i], params, COUNT_OF(params));
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

Guichet__V1__CustomerMerge *persons_read_merge(const struct rows *rows, size_t row, size_t first_column)
{
    Guichet__V1__CustomerMerge *merge = context_alloc(rows->arena, sizeof(*merge));

    guichet__v1__customer_merge__init(merge);
    merge->tenant = (char *)rows->tenant;
    merge->id = rows_text(rows, row, first_column + MERGE_ID);
    merge->customer_id = rows_text(rows, row, first_column + MERGE_CUSTOMER_ID);
    merge->other_customer_id = rows_text(rows, row, first_column + MERGE_OTHER_CUSTOMER_ID);
    merge->evidence = rows_text(rows, row, first_column + MERGE_EVIDENCE);
    merge->actor_id = rows_text(rows, row, first_column + MERGE_ACTOR_ID);
    merge->merged_at = rows_time(rows, row, first_column + MERGE_MERGED_AT);
    merge->unmerged_at = rows_time(rows, row, first_column + MERGE_UNMERGED_AT);
    return merge;
}

static bool is_owned(const struct rows *rows, size_t row, size_t column,
                     const Guichet__V1__Customer *customer)
{
    return strcmp(rows_text(rows, row, column), customer->id) == 0;
}

static void add_members(const struct rows *rows, Guichet__V1__Customer *customer)
{
    size_t count = db_rows(rows->result);

    customer->customer_ids = context_alloc(rows->arena, (count + 1) * sizeof(*customer->customer_ids));
    for (size_t row = 0; row < count; row++)
        if (is_owned(rows, row, MEMBER_OWNER_ID, customer))
            customer->customer_ids[customer->n_customer_ids++] = rows_text(rows, row, MEMBER_ID);
}

static void add_merges(const struct rows *rows, Guichet__V1__Customer *customer)
{
    size_t count = db_rows(rows->result);

    customer->merges = context_alloc(rows->arena, (count + 1) * sizeof(*customer->merges));
    for (size_t row = 0; row < count; row++)
        if (is_owned(rows, row, MERGES_OWNER_ID, customer))
            customer->merges[customer->n_merges++] = persons_read_merge(rows, row, MERGES_MERGE);
}

static void add_identities(const struct rows *rows, Guichet__V1__Customer *customer)
{
    size_t count = db_rows(rows->result);

    customer->identities = context_alloc(rows->arena, (count + 1) * sizeof(*customer->identities));
    for (size_t row = 0; row < count; row++)
        if (is_owned(rows, row, IDENTITIES_OWNER_ID, customer))
            customer->identities[customer->n_identities++] = rows_identity(rows, row, IDENTITIES_IDENTITY);
}

static void add_consents(const struct rows *rows, Guichet__V1__Customer *customer)
{
    size_t count = db_rows(rows->result);

    customer->consents = context_alloc(rows->arena, (count + 1) * sizeof(*customer->consents));
    for (size_t row = 0; row < count; row++)
        if (is_owned(rows, row, CONSENT_OWNER_ID, customer))
            customer->consents[customer->n_consents++] = read_consent(rows, row);
}

Guichet__V1__Customer **persons_read(const struct call *call, const struct db_work *work, size_t first,
                                     size_t *ret_count)
{
    struct rows customers = rows_of(call, work, first + CUSTOMERS);
    struct rows members = rows_of(call, work, first + MEMBERS), merges = rows_of(call, work, first + MERGES);
    struct rows identities = rows_of(call, work, first + IDENTITIES);
    struct rows consents = rows_of(call, work, first + CONSENTS);
    size_t count = db_rows(customers.result);
    Guichet__V1__Customer **read = context_alloc(call->arena, (count + 1) * sizeof(*read));

    for (size_t row = 0; row < count; row++) {
        read[row] = read_customer(&customers, row);
        add_members(&members, read[row]);
        add_merges(&merges, read[row]);
        add_identities(&identities, read[row]);
        add_consents(&consents, read[row]);
    }
    *ret_count = count;
    return read;
}
