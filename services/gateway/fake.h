/* SPDX-License-Identifier: Apache-2.0 */
/* fake.h - for tests of the gateway: a routing service of one small, fixed tenant; what the fake_*.h share.
 *
 * Tenant demo: agents ada (in queue Q1), sue (supervisor) and abe (admin), whose tokens are their names;
 * conversations C1 (ada's), C2 (waits in Q1), C3 (bob's), C4 (closed, Q2), C5 (not taken up yet). Tenant
 * other has agent eve and nothing else. */
#ifndef GUICHET_GATEWAY_FAKE_H
#define GUICHET_GATEWAY_FAKE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/pbtime.h"
#include "guichet/v1/routing.pb-c.h"
#include "io/mesh.h"

#define FAKE_ID(n) "018f2f6e-0000-7000-8000-00000000000" n
#define ADA FAKE_ID("a")
#define BOB FAKE_ID("b")
#define C1 FAKE_ID("1")
#define C2 FAKE_ID("2")
#define C3 FAKE_ID("3")
#define C4 FAKE_ID("4")
#define C5 FAKE_ID("5")
#define Q1 FAKE_ID("8")
#define Q2 FAKE_ID("9")
#define M1 "018f2f6e-0001-7000-8000-000000000001"
#define M2 "018f2f6e-0001-7000-8000-000000000002"
#define T1 "018f2f6e-0002-7000-8000-000000000001"
#define NOBODY "018f2f6e-0009-7000-8000-000000000009"

#define FAKE_EVENTS_MAX 4096

struct fake {
    struct mesh_server *routing, *context;
    struct err failure;         /* kind set: every call but CheckSession ends so */
    struct err session_failure; /* CheckSession does */
    struct err action_failure;  /* only assign, transfer, close, reopen */
    uint32_t session_checks, event_reads;
    bool holds_reads; /* ReadEvents is not answered until fake_release() */
    Guichet__V1__ReadEventsReply_Closure held[8];
    void *held_data[8];
    Guichet__V1__ReadEventsRequest held_request[8];
    size_t held_count;
    char epoch[40];
    Guichet__V1__Event events[FAKE_EVENTS_MAX]; /* sequence is index + 1 */
    uint64_t event_count, pruned;
    uint32_t work_version;    /* of C1 */
    char key[160], text[160]; /* of the last message or note stored */
    char traceparent[64], visible_to[64], queue_id[64];
    uint32_t if_version;
};

static struct fake fake;

static inline bool fake_is_failing(void *closure_data, const struct err *failure)
{
    if (failure->kind == ERR_NONE)
        return false;
    mesh_request_fail(mesh_request_of(closure_data), failure);
    return true;
}

static inline void fake_fail(void *closure_data, enum err_kind kind, const char *text)
{
    struct err err = { 0 };

    err_set(&err, kind, "%s", text);
    mesh_request_fail(mesh_request_of(closure_data), &err);
}

/* true: the request has been answered already. */
static inline bool fake_begin(void *closure_data)
{
    snprintf(fake.traceparent, sizeof(fake.traceparent), "%s",
             mesh_request_traceparent(mesh_request_of(closure_data)));
    return fake_is_failing(closure_data, &fake.failure);
}

static inline bool fake_is_demo(const char *tenant)
{
    return strcmp(tenant, "demo") == 0;
}

static inline bool fake_agent(const char *token, Guichet__V1__Agent *ret_agent)
{
    static char *queues[] = { Q1 };
    static const struct {
        const char *token, *id;
        Guichet__V1__Role role;
    } agents[] = {
        { "ada", ADA, GUICHET__V1__ROLE__ROLE_AGENT },
        { "bob", BOB, GUICHET__V1__ROLE__ROLE_AGENT },
        { "sue", FAKE_ID("c"), GUICHET__V1__ROLE__ROLE_SUPERVISOR },
        { "abe", FAKE_ID("d"), GUICHET__V1__ROLE__ROLE_ADMIN },
        { "eve", FAKE_ID("e"), GUICHET__V1__ROLE__ROLE_ADMIN },
    };

    guichet__v1__agent__init(ret_agent);
    for (size_t i = 0; i < COUNT_OF(agents); i++) {
        if (strcmp(agents[i].token, token) != 0)
            continue;
        ret_agent->tenant = strcmp(token, "eve") == 0 ? "other" : "demo";
        ret_agent->id = (char *)agents[i].id;
        ret_agent->login = (char *)agents[i].token;
        ret_agent->role = agents[i].role;
        ret_agent->presence = GUICHET__V1__PRESENCE__PRESENCE_ONLINE;
        ret_agent->queue_ids = queues;
        ret_agent->n_queue_ids = 1;
        return true;
    }
    return false;
}

#endif
