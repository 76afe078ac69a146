/* SPDX-License-Identifier: Apache-2.0 */
/* flow_call.h - a call over the mesh in a test, waited for; the reply lives in the house's arena. */
#ifndef GUICHET_ROUTING_FLOW_CALL_H
#define GUICHET_ROUTING_FLOW_CALL_H

#include "testkit.h"

#include "core/pbjson.h"
#include "flow_fakes.h"
#include "routing.h"

#define DEADLINE_MS 10000

static struct testkit_database database;

struct answer {
    bool is_done;
    struct err err;
    struct arena *arena;
    ProtobufCMessage *reply;
};

struct house {
    char tenant[32], path[64];
    struct routing_config config;
    struct service service;
    struct routing *routing;
    struct fake_context fake;
    struct mesh_client *connector, *pull, *gateway, *ctl;
    Guichet__V1__Capabilities can; /* of the account, when it is announced */
    struct arena *arena;
    struct buf token;
    struct answer answers[4];
};

#define UNTIL(house, condition)                                                                              \
    do {                                                                                                     \
        uint64_t end_ = loop_now_ms((house)->service.loop) + DEADLINE_MS;                                    \
        while (!(condition) && loop_now_ms((house)->service.loop) < end_)                                    \
            loop_turn((house)->service.loop, 20);                                                            \
        if (!(condition))                                                                                    \
            fail_msg("line %d: not in time: %s", __LINE__, #condition);                                      \
    } while (0)

static KIT_UNUSED void on_answer(const ProtobufCMessage *reply, void *arg)
{
    struct answer *answer = arg;

    answer->is_done = true;
    if (reply == NULL)
        answer->err = *mesh_err();
    else
        answer->reply = pb_dup(reply, answer->arena);
}

static KIT_UNUSED void *start(struct house *house, size_t slot)
{
    house->answers[slot] = (struct answer){ .arena = house->arena };
    return &house->answers[slot];
}

/* CALL(house, gateway, routing, login, Login, &request): the reply, or NULL and house->answers[0].err. */
#define ASK(house, slot, client, service_name, method, type, request)                                        \
    guichet__v1__##service_name##__##method(                                                                 \
        mesh_client_call((house)->client, &(struct mesh_call){ .tenant = (house)->tenant,                    \
                                                               .token = buf_view(&(house)->token),           \
                                                               .timeout_ms = DEADLINE_MS,                    \
                                                               .attempt_timeout_ms = DEADLINE_MS,            \
                                                               .no_retry = true }),                          \
        (request), (Guichet__V1__##type##_Closure)on_answer, start((house), (slot)))
#define CALL(house, client, service_name, method, type, request)                                             \
    (ASK(house, 0, client, service_name, method, type, request), wait_for((house), 0),                       \
     (Guichet__V1__##type *)(house)->answers[0].reply)

static KIT_UNUSED void wait_for(struct house *house, size_t slot)
{
    UNTIL(house, house->answers[slot].is_done);
}

#endif
