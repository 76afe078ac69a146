/* SPDX-License-Identifier: Apache-2.0 */
/* connector_world.h - for the skeleton's own tests: centre, provider and a running toy connector on one loop. */
#ifndef GUICHET_SERVICE_CONNECTOR_WORLD_H
#define GUICHET_SERVICE_CONNECTOR_WORLD_H

#include "service/connector_blobs.h"
#include "service/connector_centre.h"

struct world {
    struct loop *loop;
    struct centre centre;
    struct blobs blobs;
    struct connector_keys keys;
    struct connector_config config;
    struct connector_runtime *runtime;
    struct http_client *client;   /* the provider's webhooks come from here */
    struct http_server *provider; /* messages go there */
    unsigned provider_calls;
    int provider_status;                 /* 0: never answers */
    http_handler_fn *provider_handler;   /* instead; arg: the world */
    struct http_exchange *provider_open; /* not answered yet */
};

/* ---- the centre's other half: jobs ---- */

/* A pull is answered when there is a job, else never: the long poll of a quiet day. */
static inline void centre_give(struct centre *centre)
{
    Guichet__V1__PullReply reply = GUICHET__V1__PULL_REPLY__INIT;
    Guichet__V1__Job *jobs[] = { (Guichet__V1__Job *)centre->job };
    Guichet__V1__PullReply_Closure closure = centre->pull_closure;

    if (closure == NULL || centre->job == NULL)
        return;
    reply.jobs = jobs;
    reply.n_jobs = 1;
    centre->job = NULL;
    centre->pull_closure = NULL;
    closure(&reply, centre->pull_data);
}

static void centre_pull(Guichet__V1__Connector_Service *service, const Guichet__V1__PullRequest *request,
                        Guichet__V1__PullReply_Closure closure, void *closure_data)
{
    struct centre *centre = (struct centre *)service;

    assert_true(request->max_jobs > 0);
    assert_int_equal(request->n_account_ids, centre->refused_account == NULL ? 2 : 1);
    centre->pulls++;
    centre->pull_closure = closure;
    centre->pull_data = closure_data;
    centre_give(centre);
}

static void centre_start(Guichet__V1__Connector_Service *service, const Guichet__V1__StartRequest *request,
                         Guichet__V1__StartReply_Closure closure, void *closure_data)
{
    struct centre *centre = (struct centre *)service;
    Guichet__V1__StartReply reply = GUICHET__V1__START_REPLY__INIT;

    assert_string_equal(request->lease, "lease-1");
    centre->starts++;
    if (centre_fail(centre->start_fails, &centre->start_fails_count, closure_data))
        return;
    reply.is_granted = !centre->is_start_denied;
    reply.lease_ms = centre->lease_ms;
    closure(&reply, closure_data);
}

static void centre_keep_media(struct centre *centre, const Guichet__V1__Media *media)
{
    if (media == NULL)
        return;
    centre->media_size = media->size_bytes;
    assert_int_equal(media->state, GUICHET__V1__MEDIA_STATE__MEDIA_STATE_STORED);
    assert_int_equal(media->sha256.len, sizeof(centre->media_sha256));
    memcpy(centre->media_sha256, media->sha256.data, media->sha256.len);
    snprintf(centre->media_type, sizeof(centre->media_type), "%s", media->content_type);
    snprintf(centre->media_name, sizeof(centre->media_name), "%s", media->file_name);
}

static void centre_report(Guichet__V1__Connector_Service *service, const Guichet__V1__ReportRequest *request,
                          Guichet__V1__ReportReply_Closure closure, void *closure_data)
{
    struct centre *centre = (struct centre *)service;
    Guichet__V1__ReportReply reply = GUICHET__V1__REPORT_REPLY__INIT;
    unsigned once = 1;

    assert_string_equal(request->lease, "lease-1");
    if (centre->report_hated != NULL && strcmp(request->job_id, centre->report_hated) == 0 &&
        centre_fail(ERR_FORBIDDEN, &once, closure_data))
        return;
    if (centre_fail(centre->report_fails, &centre->report_fails_count, closure_data))
        return;
    centre->reports++;
    centre->outcome = request->outcome->kind;
    centre->reason = request->outcome->reason;
    snprintf(centre->text, sizeof(centre->text), "%s", request->outcome->provider_text);
    centre_keep_media(centre, request->outcome->media);
    snprintf(centre->provider_id, sizeof(centre->provider_id), "%s", request->outcome->provider_id);
    closure(&reply, closure_data);
}

/* ---- the provider ---- */

static void on_provider_request(void *arg, struct http_exchange *exchange)
{
    struct world *world = arg;

    world->provider_calls++;
    if (world->provider_handler != NULL)
        world->provider_handler(world, exchange);
    else if (world->provider_status == 0)
        world->provider_open = exchange;
    else
        http_exchange_reply(exchange, world->provider_status, "text/plain", STR_LITERAL("P1"));
}

/* ---- opening and closing ---- */

/* Turns the loop until the condition holds; a wait that is too long names it. */
#define WAIT_FOR(world, condition)                                                                           \
    do {                                                                                                     \
        uint64_t until_ = loop_now_ms((world)->loop) + WAIT_MS;                                              \
        while (!(condition) && loop_now_ms((world)->loop) < until_)                                          \
            loop_turn((world)->loop, 10);                                                                    \
        if (!(condition))                                                                                    \
            fail_msg("never came true: %s", #condition);                                                     \
    } while (0)

static inline struct mesh_server *world_listen(struct world *world, const char *name)
{
    const struct mesh_server_options options = { .name = name,
                                                 .listen = "tcp://127.0.0.1:0",
                                                 .service = "routing" };
    struct mesh_server *server = NULL;
    struct err err = { 0 };

    if (!mesh_server_new(world->loop, &options, &server, &err))
        fail_msg("%s", err.text);
    mesh_server_add(server, &world->centre.service.base);
    return server;
}

static inline void world_configure(struct world *world, const char *more)
{
    struct err err = { 0 };
    char text[2048];

    setenv("TOY_TEST_SECRET", TOY_SECRET, 1);
    snprintf(
        text, sizeof(text),
        "connector: toy-c\nconnector_secret: env:TOY_TEST_SECRET\nhook_listen: 127.0.0.1:0\nhook_prefix: /hooks/toy\n"
        "routing: [\"%s\"]\nrouting_pull: [\"%s\"]\nrouting_blobs: [\"%s\"]\n"
        "allow_private_addresses: true\nallow_plain_http: true\n%s\n"
        "accounts:\n  - {id: toy-1, tenant: demo, provider_url: \"http://127.0.0.1:%u/send\"}\n"
        "  - {id: toy-2, tenant: demo, provider_url: \"http://127.0.0.1:1/\"}\n",
        mesh_server_url(world->centre.server), mesh_server_url(world->centre.pull_server),
        mesh_server_url(world->blobs.server), more, http_server_port(world->provider));
    connector_keys_init(&world->keys, &toy_connector);
    if (!config_read_text("toy", "toy.yaml", str_view_of(text), world->keys.keys, &world->config, &err))
        fail_msg("%s", err.text);
}

/* Needs world->centre as the test wants it; `more` are further lines of configuration. */
static inline void world_open(struct world *world, const char *more)
{
    static const Guichet__V1__Connector_Service service = GUICHET__V1__CONNECTOR__INIT(centre_);
    const struct http_client_options client = { .allow_private_addresses = true,
                                                .allow_plain_http = true,
                                                .max_in_flight = 128,
                                                .host_connections_max = 32 };
    const struct http_server_options provider = { .name = "provider",
                                                  .listen = "127.0.0.1:0",
                                                  .handler = on_provider_request,
                                                  .body_max_bytes = BLOBS_MAX_BYTES,
                                                  .arg = world,
                                                  .answer_timeout_ms = 60000 };
    struct err err = { 0 };

    world->loop = loop_new();
    world->centre.service = service;
    if (world->centre.token_ttl_ms == 0)
        world->centre.token_ttl_ms = 60000;
    if (world->centre.lease_ms == 0)
        world->centre.lease_ms = 60000;
    if (world->centre.result == GUICHET__V1__RECORD_RESULT__RECORD_RESULT_UNSPECIFIED)
        world->centre.result = GUICHET__V1__RECORD_RESULT__RECORD_RESULT_STORED;
    world->centre.server = world_listen(world, "connector");
    world->centre.pull_server = world_listen(world, "pull");
    blobs_open(&world->blobs, world->loop);
    world->client = http_client_new(world->loop, &client);
    if (!http_server_new(world->loop, &provider, &world->provider, &err))
        fail_msg("%s", err.text);
    world_configure(world, more);
    if (!connector_runtime_new(world->loop, &toy_connector, &world->config, &world->runtime, &err))
        fail_msg("%s", err.text);
}

static inline void world_close(struct world *world)
{
    connector_runtime_free(&world->runtime);
    http_client_free(&world->client);
    if (world->provider_open != NULL)
        http_exchange_reply(world->provider_open, 200, "text/plain", STR_LITERAL("late"));
    http_server_free(&world->provider);
    mesh_server_free(&world->centre.server);
    mesh_server_free(&world->centre.pull_server);
    blobs_close(&world->blobs);
    config_free(world->keys.keys, &world->config);
    connector_keys_done(&world->keys);
    loop_free(&world->loop);
}

#endif
