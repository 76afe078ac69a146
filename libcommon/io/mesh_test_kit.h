/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_test_kit.h - a server and callers for the tests of the mesh.
 *
 * The service is guichet.v1.Connector. Announce does what its `channel` says, so that a
 * test reads as: call with "echo", "late", "never" …; the other methods answer empty. */
#ifndef GUICHET_IO_MESH_TEST_KIT_H
#define GUICHET_IO_MESH_TEST_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "guichet/v1/connector.pb-c.h"
#include "io/mesh.h"

#define KIT_WAIT_MS 20000

/* Turns the loop until the condition holds; fails the test after KIT_WAIT_MS. */
#define kit_wait(loop, condition)                                                                            \
    do {                                                                                                     \
        uint64_t until_ = uv_hrtime() / 1000000 + KIT_WAIT_MS;                                               \
        while (!(condition) && uv_hrtime() / 1000000 < until_)                                               \
            loop_turn((loop), 20);                                                                           \
        assert_true(condition);                                                                              \
    } while (0)

/* ---- server ---- */

struct kit_held { /* a request whose handler has not answered */
    Guichet__V1__AnnounceReply_Closure closure;
    void *closure_data;
    char connector[64];
    uint32_t gone_count; /* how often we were told that its caller is gone */
};

struct kit_server {
    struct mesh_server *mesh;
    uint32_t requests;
    struct kit_held held[256];
    uint32_t held_count;
    char tenant[64], traceparent[64], token[64], method[64]; /* of the last request */
    struct err fail_with;                                    /* for "fail" */
    uint32_t fails_left;                                     /* "fail" succeeds when they are used up */
};

/* One for all: protoc-c's handlers are told nothing but the service. */
static struct kit_service {
    Guichet__V1__Connector_Service base; /* first */
    struct kit_server *server;
} kit_services[8];

static inline void kit_answer(Guichet__V1__AnnounceReply_Closure closure, void *closure_data,
                              const char *token)
{
    Guichet__V1__AnnounceReply reply = GUICHET__V1__ANNOUNCE_REPLY__INIT;

    reply.token.data = (uint8_t *)token;
    reply.token.len = strlen(token);
    reply.token_ttl_ms = 42;
    closure(&reply, closure_data);
}

static inline void kit_answer_held(struct kit_server *server)
{
    uint32_t count = server->held_count;

    server->held_count = 0;
    for (uint32_t i = 0; i < count; i++)
        kit_answer(server->held[i].closure, server->held[i].closure_data, server->held[i].connector);
}

static inline void kit_on_gone(void *arg)
{
    ((struct kit_held *)arg)->gone_count++;
}

static void kit_announce(Guichet__V1__Connector_Service *service, const Guichet__V1__AnnounceRequest *input,
                         Guichet__V1__AnnounceReply_Closure closure, void *closure_data)
{
    struct kit_server *server = ((struct kit_service *)service)->server;
    struct mesh_request *request = mesh_request_of(closure_data);
    struct str_view token = mesh_request_token(request);

    server->requests++;
    snprintf(server->tenant, sizeof(server->tenant), "%s", mesh_request_tenant(request));
    snprintf(server->traceparent, sizeof(server->traceparent), "%s", mesh_request_traceparent(request));
    snprintf(server->method, sizeof(server->method), "%s", mesh_request_method(request));
    snprintf(server->token, sizeof(server->token), "%.*s", (int)token.len, token.data);
    if (strcmp(input->channel, "hold") == 0) {
        struct kit_held *held = &server->held[server->held_count++];

        held->closure = closure;
        held->closure_data = closure_data;
        held->gone_count = 0;
        mesh_request_on_gone(request, kit_on_gone, held);
        snprintf(held->connector, sizeof(held->connector), "%s", input->connector);
        return;
    }
    if (strcmp(input->channel, "fail") == 0 && server->fails_left > 0) {
        server->fails_left--;
        mesh_request_fail(request, &server->fail_with);
        return;
    }
    if (strcmp(input->channel, "large") == 0) {
        char *large = arena_alloc(mesh_request_arena(request), 2 * 1024 * 1024);

        memset(large, 'x', 2 * 1024 * 1024 - 1);
        kit_answer(closure, closure_data, large);
        return;
    }
    kit_answer(closure, closure_data, input->connector);
}

#define KIT_EMPTY_HANDLER(name, Type, INIT_NAME)                                                             \
    static void name(Guichet__V1__Connector_Service *service, const Guichet__V1__##Type##Request *input,     \
                     Guichet__V1__##Type##Reply_Closure closure, void *closure_data)                         \
    {                                                                                                        \
        Guichet__V1__##Type##Reply reply = GUICHET__V1__##INIT_NAME##_REPLY__INIT;                           \
                                                                                                             \
        (void)input;                                                                                         \
        ((struct kit_service *)service)->server->requests++;                                                 \
        closure(&reply, closure_data);                                                                       \
    }

KIT_EMPTY_HANDLER(kit_submit, Submit, SUBMIT)
KIT_EMPTY_HANDLER(kit_pull, Pull, PULL)
KIT_EMPTY_HANDLER(kit_start, Start, START)
KIT_EMPTY_HANDLER(kit_report, Report, REPORT)

static inline void kit_server_open(struct loop *loop, struct kit_server *server,
                                   struct mesh_server_options options)
{
    struct kit_service *service = kit_services;
    const Guichet__V1__Connector_Service table = GUICHET__V1__CONNECTOR__INIT(kit_);
    struct err err = { 0 };

    while (service->server != NULL)
        service++;
    service->base = table;
    service->server = server;
    options.name = options.name != NULL ? options.name : "connector";
    options.listen = options.listen != NULL ? options.listen : "tcp://127.0.0.1:0";
    options.service = "kit";
    if (!mesh_server_new(loop, &options, &server->mesh, &err))
        fail_msg("server: %s", err.text);
    mesh_server_add(server->mesh, (ProtobufCService *)&service->base);
}

static inline void kit_server_close(struct kit_server *server)
{
    mesh_server_free(&server->mesh);
    kit_answer_held(server);
    for (size_t i = 0; i < sizeof(kit_services) / sizeof(kit_services[0]); i++) {
        if (kit_services[i].server == server)
            kit_services[i].server = NULL;
    }
}

/* ---- client ---- */

struct kit_answer {
    uint32_t count; /* how often the closure came */
    struct err err;
    char token[64];
    struct loop *loop;
};

static inline void kit_on_announced(const Guichet__V1__AnnounceReply *reply, void *arg)
{
    struct kit_answer *answer = arg;

    answer->count++;
    if (reply == NULL) {
        answer->err = *mesh_err();
        return;
    }
    assert_int_equal(mesh_err()->kind, ERR_NONE);
    answer->err = (struct err){ .kind = ERR_NONE };
    assert_int_equal(reply->token_ttl_ms, 42);
    snprintf(answer->token, sizeof(answer->token), "%.*s", (int)reply->token.len,
             (const char *)reply->token.data);
}

static inline struct mesh_client *kit_client(struct loop *loop, const char *const *addresses, size_t count,
                                             struct mesh_client_options options)
{
    struct mesh_client *client = NULL;
    struct err err = { 0 };

    options.name = options.name != NULL ? options.name : "kit";
    options.addresses = addresses;
    options.address_count = count;
    options.descriptor = &guichet__v1__connector__descriptor;
    if (!mesh_client_new(loop, &options, &client, &err))
        fail_msg("client: %s", err.text);
    return client;
}

/* Calls Announce: the server does as `what` says and answers with `connector` as the token. */
static inline void kit_call(struct mesh_client *client, const struct mesh_call *options, const char *what,
                            const char *connector, struct kit_answer *answer)
{
    Guichet__V1__AnnounceRequest request = GUICHET__V1__ANNOUNCE_REQUEST__INIT;

    request.channel = (char *)what;
    request.connector = (char *)connector;
    *answer = (struct kit_answer){ 0 };
    guichet__v1__connector__announce(mesh_client_call(client, options), &request, kit_on_announced, answer);
    assert_int_equal(answer->count, 0); /* never from inside the stub */
}

#endif
