/* SPDX-License-Identifier: Apache-2.0 */
/* customers.c - find, one, correct the name, timeline: context's, passed through.
 *
 * Every agent may read every customer of the tenant: who answers the phone has to be
 * able to find who calls. */
#include "handlers.h"

#include "etag.h"

#define NAME_MAX_CHARACTERS 256

const struct body_field customers_body[] = {
    { "/display_name", BODY_TEXT, true, 1, NAME_MAX_CHARACTERS, NULL },
    { 0 },
};

static const char *find_scope(struct call *call)
{
    const char *names[] = { "identity_kind", "identity_value", "identity_scope", "name" };
    const char *scope = "customers";

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const char *value = call_param(call, names[i]);

        scope = arena_printf(call->arena, "%s\n%s", scope, value == NULL ? "" : value);
    }
    return scope;
}

static void on_found(const Guichet__V1__FindCustomersReply *reply, void *arg)
{
    struct call *call = arg;

    if (reply == NULL) {
        call_fail(call, mesh_err());
        return;
    }
    call_reply_page(call, find_scope(call), (ProtobufCMessage *const *)reply->customers, reply->n_customers,
                    reply->has_more && reply->n_customers > 0 ? reply->customers[reply->n_customers - 1]->id
                                                              : NULL);
}

void customers_find(struct call *call)
{
    Guichet__V1__FindCustomersRequest request = GUICHET__V1__FIND_CUSTOMERS_REQUEST__INIT;
    Guichet__V1__Address address = GUICHET__V1__ADDRESS__INIT;
    const char *value = call_param(call, "identity_value"), *scope = call_param(call, "identity_scope");
    const char *name = call_param(call, "name");
    int kind;

    if (!call_param_word(call, "identity_kind", &guichet__v1__identity_kind__descriptor, &kind))
        return;
    if ((kind > 0) != (value != NULL && *value != '\0') || (kind > 0) == (name != NULL && *name != '\0') ||
        (scope != NULL && kind <= 0)) {
        call_bad_param(call, "give identity_kind with identity_value (and identity_scope), or name");
        return;
    }
    if (!call_page(call, find_scope(call), &request.page))
        return;
    request.tenant = call_tenant(call);
    if (kind > 0) {
        address.kind = (Guichet__V1__IdentityKind)kind;
        address.value = (char *)value;
        address.scope = (char *)(scope == NULL ? "" : scope);
        request.address = &address;
    } else {
        request.name_prefix = (char *)name;
    }
    guichet__v1__context__find_customers(call_context(call), &request, on_found, call);
}

static void on_customer(const Guichet__V1__GetCustomerReply *reply, void *arg)
{
    struct call *call = arg;
    char tag[ETAG_BYTES];

    if (reply == NULL && mesh_err()->kind == ERR_CONFLICT) {
        call_problem(call, &(struct problem){ PROBLEM_PRECONDITION_FAILED,
                                              "the customer has changed since: read it again", NULL, 0 });
        return;
    }
    if (reply == NULL) {
        call_fail(call, mesh_err());
        return;
    }
    if (reply->customer == NULL) {
        call_problem(call, &(struct problem){ PROBLEM_NOT_FOUND, "no such customer", NULL, 0 });
        return;
    }
    etag_customer(reply->customer->version, tag);
    http_exchange_set_header(call->exchange, "ETag", tag);
    call_reply(call, 200, &reply->customer->base);
}

void customers_get(struct call *call)
{
    Guichet__V1__GetCustomerRequest request = GUICHET__V1__GET_CUSTOMER_REQUEST__INIT;

    if (!call_id_check(call, "no such customer"))
        return;
    request.tenant = call_tenant(call);
    request.id = (char *)call->id;
    guichet__v1__context__get_customer(call_context(call), &request, on_customer, call);
}

static void on_unmatched(const Guichet__V1__GetCustomerReply *reply, void *arg)
{
    struct call *call = arg;

    if (reply == NULL)
        call_fail(call, mesh_err());
    else
        call_problem(call, &(struct problem){ PROBLEM_PRECONDITION_FAILED,
                                              "the customer has changed since: read it again", NULL, 0 });
}

void customers_update(struct call *call)
{
    Guichet__V1__UpdateCustomerRequest request = GUICHET__V1__UPDATE_CUSTOMER_REQUEST__INIT;
    Guichet__V1__GetCustomerRequest get = GUICHET__V1__GET_CUSTOMER_REQUEST__INIT;
    const char *if_match = http_exchange_header(call->exchange, "If-Match");
    enum etag_match match = ETAG_ABSENT;
    struct err err = { 0 };

    if (!call_id_check(call, "no such customer"))
        return;
    if (!etag_match(if_match, "", &match, &err)) {
        call_bad_param(call, err.text);
        return;
    }
    get.tenant = request.tenant = call_tenant(call);
    get.id = request.id = (char *)call->id;
    request.display_name = (char *)call_text(call, "/display_name");
    request.actor_id = call->agent->id;
    request.if_version = match == ETAG_ANY ? 0 : etag_customer_version(if_match);
    if (match != ETAG_ANY &&
        request.if_version == 0) /* no tag of ours: 412, but 404 when there is no customer */
        guichet__v1__context__get_customer(call_context(call), &get, on_unmatched, call);
    else
        guichet__v1__context__update_customer(call_context(call), &request, on_customer, call);
}

static void on_timeline(const Guichet__V1__ListMessagesReply *reply, void *arg)
{
    messages_reply(arg, reply);
}

void customers_timeline(struct call *call)
{
    Guichet__V1__TimelineRequest request = GUICHET__V1__TIMELINE_REQUEST__INIT;

    if (!call_id_check(call, "no such customer") ||
        !call_page(call, arena_printf(call->arena, "%s %s", call->route->path, call->id), &request.page))
        return;
    request.tenant = call_tenant(call);
    request.customer_id = (char *)call->id;
    guichet__v1__context__timeline(call_context(call), &request, on_timeline, call);
}
