/* SPDX-License-Identifier: Apache-2.0 */
/* merges.c - who is one person, and which conversations are one: context decides, agents ask for it. */
#include "handlers.h"


const struct body_field merges_body[] = {
    { "/other_customer_id", BODY_ID, true, 0, 0, NULL },
    { "/evidence", BODY_TEXT, false, 0, 256, NULL },
    { 0 },
};

const struct body_field merges_join_body[] = {
    { "/other_id", BODY_ID, true, 0, 0, NULL },
    { 0 },
};

static void on_merged(const Guichet__V1__MergeCustomersReply *reply, void *arg)
{
    struct call *call = arg;

    if (reply == NULL) {
        call_fail(call, mesh_err());
        return;
    }
    if (reply->is_duplicate)
        http_exchange_set_header(call->exchange, "Idempotency-Replayed", "true");
    call_reply(call, 201, &reply->base);
}

void merges_create(struct call *call)
{
    Guichet__V1__MergeCustomersRequest request = GUICHET__V1__MERGE_CUSTOMERS_REQUEST__INIT;
    const char *evidence = call_text(call, "/evidence");

    if (!call_id_check(call, "no such customer"))
        return;
    request.tenant = call_tenant(call);
    request.customer_id = (char *)call->id;
    request.other_customer_id = (char *)call_text(call, "/other_customer_id");
    request.actor_id = call->agent->id;
    request.evidence = (char *)(evidence[0] != '\0' ? evidence : "agent");
    request.idempotency_key = (char *)call->key;
    guichet__v1__context__merge_customers(call_context(call), &request, on_merged, call);
}

static void on_unmerged(const Guichet__V1__UnmergeCustomersReply *reply, void *arg)
{
    if (reply == NULL)
        call_fail(arg, mesh_err());
    else
        call_reply(arg, 200, &reply->base);
}

void merges_delete(struct call *call)
{
    Guichet__V1__UnmergeCustomersRequest request = GUICHET__V1__UNMERGE_CUSTOMERS_REQUEST__INIT;

    if (!call_id_check(call, "no such merge"))
        return;
    request.tenant = call_tenant(call);
    request.merge_id = (char *)call->id;
    request.actor_id = call->agent->id;
    guichet__v1__context__unmerge_customers(call_context(call), &request, on_unmerged, call);
}

/* ---- conversations ---- */

static void on_joined(const Guichet__V1__JoinConversationsReply *reply, void *arg)
{
    if (reply == NULL)
        call_fail(arg, mesh_err());
    else
        call_reply(arg, 200, &reply->conversation->base);
}

/* The other one may be seen as well: that is what had to be asked first. */
static void on_other_view(struct call *call)
{
    Guichet__V1__JoinConversationsRequest request = GUICHET__V1__JOIN_CONVERSATIONS_REQUEST__INIT;

    request.tenant = call_tenant(call);
    request.conversation_id = call->joining_id;
    request.other_id = (char *)call->id;
    request.actor_id = call->agent->id;
    guichet__v1__context__join_conversations(call_context(call), &request, on_joined, call);
}

static void on_view(struct call *call)
{
    call->joining_id = (char *)call->id;
    call->id = call_text(call, "/other_id");
    view_load(call, on_other_view);
}

void merges_join(struct call *call)
{
    view_load(call, on_view);
}
