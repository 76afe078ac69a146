/* SPDX-License-Identifier: Apache-2.0 */
/* submit.c - events in: who may, then context records them, then the answer. Nothing is kept here.
 *
 * The answer comes after context's commit only. What the commit means for work and deliveries is read from
 * the change feed; a kick saves the wait for it. A request with nothing in it goes the same way: that is what the
 * connector asks, whether this way works. */
#include "connector.h"

#include <string.h>

#include "call.h"
#include "core/duration.h"
#include "core/pbtime.h"
#include "ops/failpoint.h"
#include "ops/log.h"
#include "token.h"

enum { EVENTS_MAX = 256 };

struct submit {
    uint64_t started_ms;
};

bool routing_connector_authorise(void *arg, struct mesh_request *request, struct err *err)
{
    struct routing *routing = arg;
    const struct routing_token_keys keys = { routing->config->token_key,
                                             routing->config->token_key_previous };
    Guichet__V1__AnnounceRequest *claims;

    if (strcmp(mesh_request_method(request), "guichet.v1.Connector/Announce") == 0)
        return true;
    if (!routing_token_verify(&keys, mesh_request_token(request), time_now_us(), mesh_request_arena(request),
                              &claims, err))
        return false;
    mesh_request_set_claims(request, claims);
    return true;
}

/* FNV-1a: the same thread always gives the same lane, and so the same replica of context. */
static uint32_t hash_text(uint32_t hash, const char *text)
{
    for (; *text != '\0'; text++)
        hash = (hash ^ (uint8_t)*text) * 16777619u;
    return (hash ^ 0xff) * 16777619u;
}

static uint32_t lane_of(const char *tenant, const Guichet__V1__InboundEvent *event)
{
    uint32_t hash = hash_text(hash_text(2166136261u, tenant), event->account_id);

    if (event->sender != NULL)
        hash = hash_text(hash_text(hash, event->sender->scope), event->sender->value);
    if (event->thread != NULL)
        hash = hash_text(hash, event->thread->key);
    return hash != 0 ? hash : 1;
}

static bool check_account(struct routing_call *call, const Guichet__V1__SubmitRequest *input,
                          const char *what, size_t i, const char *account_id)
{
    const Guichet__V1__AnnounceRequest *claims = mesh_request_claims(call->request);

    if (routing_token_account(claims, input->tenant, account_id) != NULL)
        return true;
    routing_call_refuse(call, ERR_FORBIDDEN,
                        "%s %zu: account '%.64s' of tenant '%s' is not served by connector '%s'", what, i,
                        account_id, input->tenant, claims->connector);
    return false;
}

/* A connector without accounts of this tenant has nothing to ask about it either. */
static bool check_tenant(struct routing_call *call, const Guichet__V1__SubmitRequest *input)
{
    const Guichet__V1__AnnounceRequest *claims = mesh_request_claims(call->request);

    for (size_t i = 0; i < claims->n_accounts; i++)
        if (strcmp(claims->accounts[i]->tenant, input->tenant) == 0)
            return true;
    routing_call_refuse(call, ERR_FORBIDDEN, "tenant '%.64s': connector '%s' serves no account of it",
                        input->tenant, claims->connector);
    return false;
}

static bool check_events(struct routing_call *call, const Guichet__V1__SubmitRequest *input)
{
    if (input->n_events + input->n_dead > EVENTS_MAX) {
        routing_call_refuse(call, ERR_INVALID, "%zu events: at most %d are allowed",
                            input->n_events + input->n_dead, EVENTS_MAX);
        return false;
    }
    for (size_t i = 0; i < input->n_events; i++) {
        Guichet__V1__InboundEvent *event = input->events[i];

        if (!check_account(call, input, "event", i, event->account_id))
            return false;
        if (event->tenant[0] != '\0' && strcmp(event->tenant, input->tenant) != 0) {
            routing_call_refuse(call, ERR_INVALID, "event %zu: tenant '%.64s' in a request of tenant '%s'", i,
                                event->tenant, input->tenant);
            return false;
        }
        event->tenant = input->tenant;
    }
    for (size_t i = 0; i < input->n_dead; i++)
        if (!check_account(call, input, "dead event", i, input->dead[i]->account_id))
            return false;
    return true;
}

static const char *result_name(Guichet__V1__RecordResult result)
{
    switch (result) {
    case GUICHET__V1__RECORD_RESULT__RECORD_RESULT_STORED:
        return "stored";
    case GUICHET__V1__RECORD_RESULT__RECORD_RESULT_DUPLICATE:
        return "duplicate";
    case GUICHET__V1__RECORD_RESULT__RECORD_RESULT_REFUSED:
        return "refused";
    default:
        return "other";
    }
}

static void on_recorded(const Guichet__V1__RecordReply *recorded, void *arg)
{
    struct routing_call *call = arg;
    struct routing *routing = call->routing;
    const Guichet__V1__SubmitRequest *input = call->input;
    const struct submit *submit = call->state;
    Guichet__V1__SubmitReply reply = GUICHET__V1__SUBMIT_REPLY__INIT;

    if (recorded == NULL) {
        stats_add_label(routing->stats, ROUTING_SUBMITTED, "failed", input->n_events + input->n_dead);
        routing_call_fail(call, mesh_err());
        return;
    }
    if (FAILPOINT("routing_after_record_before_reply")) {
        routing_call_refuse(call, ERR_UNAVAILABLE, "failpoint");
        return;
    }
    for (size_t i = 0; i < recorded->n_results; i++)
        stats_add_label(routing->stats, ROUTING_SUBMITTED, result_name(recorded->results[i]->result), 1);
    stats_observe_ms(routing->stats, ROUTING_SUBMIT_TIME,
                     (double)(loop_now_ms(routing->loop) - submit->started_ms));
    if (recorded->change_sequence > 0)
        routing_applier_kick(routing->applier, input->tenant, true);
    reply.results = recorded->results;
    reply.n_results = recorded->n_results;
    routing_call_answer(call, &reply.base);
}

void routing_connector_submit(Guichet__V1__Connector_Service *service,
                              const Guichet__V1__SubmitRequest *input,
                              Guichet__V1__SubmitReply_Closure closure, void *closure_data)
{
    struct routing *routing = ((struct routing_connector_rpc *)service)->routing;
    struct routing_call *call =
        ROUTING_CALL((struct routing_connector_rpc *)service, input, closure, closure_data);
    const Guichet__V1__AnnounceRequest *claims = mesh_request_claims(call->request);
    struct submit *submit = routing_call_state(call, sizeof(*submit));
    Guichet__V1__RecordRequest request = GUICHET__V1__RECORD_REQUEST__INIT;
    struct mesh_call mesh;
    char *channel = claims->channel;

    submit->started_ms = loop_now_ms(routing->loop);
    if (!routing_call_is_tenant(call, input->tenant) || !check_tenant(call, input) ||
        !check_events(call, input))
        return;
    if (FAILPOINT("routing_before_record_call")) {
        routing_call_refuse(call, ERR_UNAVAILABLE, "failpoint");
        return;
    }
    request.tenant = input->tenant;
    request.events = input->events;
    request.n_events = input->n_events;
    request.channels = &channel;
    request.n_channels = 1;
    request.dead = input->dead;
    request.n_dead = input->n_dead;
    request.voided = input->voided;
    request.n_voided = input->n_voided;
    mesh = routing_call_mesh(call, input->tenant);
    /* With one replica, an event that ends it would end it again by our own repetition: the connector repeats. */
    mesh.no_retry = routing->config->context.count == 1;
    mesh.lane = input->n_events > 0 ? lane_of(input->tenant, input->events[0]) : 0;
    guichet__v1__context__record(mesh_client_call(routing->context, &mesh), &request, on_recorded, call);
}
