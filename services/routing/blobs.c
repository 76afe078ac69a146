/* SPDX-License-Identifier: Apache-2.0 */
/* blobs.c - the service Blobs for connectors: who may, then context, then its answer.
 *
 * Nothing is looked into but the tenant, so all five methods are one function. A listener and a client of
 * their own: uploads must not use up what Submit needs. What is under way at once is bounded by the listener;
 * each holds a chunk or two. */
#include "blobs.h"

#include <string.h>

#include "call.h"

/* Every request begins with a tenant. */
static const char *text_of(const ProtobufCMessage *input, const char *name)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(input->descriptor, name);

    return field == NULL ? "" : *(const char *const *)((const char *)input + field->offset);
}

static bool is_served(const Guichet__V1__AnnounceRequest *claims, const char *tenant)
{
    for (size_t i = 0; i < claims->n_accounts; i++)
        if (strcmp(claims->accounts[i]->tenant, tenant) == 0)
            return true;
    return false;
}

/* All that concerns one upload goes to one replica: the one that finishes it is asked again while it does. */
static uint32_t lane_of(const char *upload_id)
{
    uint32_t hash = 2166136261u;

    if (upload_id[0] == '\0')
        return 0;
    for (; *upload_id != '\0'; upload_id++)
        hash = (hash ^ (uint8_t)*upload_id) * 16777619u;
    return hash != 0 ? hash : 1;
}

static void on_answered(const ProtobufCMessage *reply, void *arg)
{
    struct routing_call *call = arg;

    if (reply == NULL)
        routing_call_fail(call, mesh_err());
    else
        routing_call_answer(call, reply);
}

static void forward(struct routing_call *call, unsigned method_index, const char *tenant)
{
    bool is_finish = strcmp(mesh_request_method(call->request), "guichet.v1.Blobs/FinishUpload") == 0;
    struct mesh_call mesh = routing_call_mesh(call, tenant);
    ProtobufCService *stub;

    /* Finishing takes as long as the blob is large: waiting is all there is to do. */
    mesh.attempt_timeout_ms = is_finish ? mesh.timeout_ms : call->routing->config->blob_attempt_timeout_ms;
    mesh.lane = lane_of(text_of(call->input, "upload_id"));
    stub = mesh_client_call(call->routing->blobs, &mesh);
    stub->invoke(stub, method_index, call->input, on_answered, call);
}

static void invoke(ProtobufCService *service, unsigned method_index, const ProtobufCMessage *input,
                   ProtobufCClosure closure, void *closure_data)
{
    struct routing *routing = ((struct routing_blobs_rpc *)service)->routing;
    struct routing_call *call = routing_call_new(routing, input, closure, closure_data);
    const Guichet__V1__AnnounceRequest *claims = mesh_request_claims(call->request);
    const char *tenant = text_of(input, "tenant");

    if (!routing_call_is_tenant(call, tenant))
        return;
    if (!is_served(claims, tenant)) {
        routing_call_refuse(call, ERR_FORBIDDEN, "tenant '%.64s' is not served by connector '%s'", tenant,
                            claims->connector);
        return;
    }
    stats_add_label(routing->stats, ROUTING_BLOB_CALLS, strrchr(mesh_request_method(call->request), '/') + 1,
                    1);
    forward(call, method_index, tenant);
}

static void destroy_nothing(ProtobufCService *service)
{
    (void)service;
}

void routing_blobs_init(struct routing_blobs_rpc *rpc, struct routing *routing)
{
    *rpc = (struct routing_blobs_rpc){
        .base = { &guichet__v1__blobs__descriptor, invoke, destroy_nothing },
        .routing = routing,
    };
}
