/* SPDX-License-Identifier: Apache-2.0 */
/* merge.c - customers that are one person. */
#include "context.h"

void context_merge_customers(Guichet__V1__Context_Service *service, const Guichet__V1__MergeCustomersRequest *input,
    Guichet__V1__MergeCustomersReply_Closure closure, void *closure_data)
{
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    struct err err = { 0 };

    if (call == NULL)
        return;
    err_set(&err, ERR_UNAVAILABLE, "merge_customers: not built yet");
    context_call_fail(call, &err);
}

void context_unmerge_customers(Guichet__V1__Context_Service *service, const Guichet__V1__UnmergeCustomersRequest *input,
    Guichet__V1__UnmergeCustomersReply_Closure closure, void *closure_data)
{
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    struct err err = { 0 };

    if (call == NULL)
        return;
    err_set(&err, ERR_UNAVAILABLE, "unmerge_customers: not built yet");
    context_call_fail(call, &err);
}

void context_join_conversations(Guichet__V1__Context_Service *service, const Guichet__V1__JoinConversationsRequest *input,
    Guichet__V1__JoinConversationsReply_Closure closure, void *closure_data)
{
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    struct err err = { 0 };

    if (call == NULL)
        return;
    err_set(&err, ERR_UNAVAILABLE, "join_conversations: not built yet");
    context_call_fail(call, &err);
}
