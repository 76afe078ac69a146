/* SPDX-License-Identifier: Apache-2.0 */
/* test_kit.h - a whole gateway between the fakes, all on one loop. */
#ifndef GUICHET_GATEWAY_TEST_KIT_H
#define GUICHET_GATEWAY_TEST_KIT_H

#include "core/check.h"
#include "fake_context.h"
#include "fake_routing.h"
#include "gateway.h"

#define KIT_WAIT_MS 20000

struct kit {
    struct loop *loop;
    struct mesh_publisher *doorbell;
    struct gateway_config config;
    struct gateway *gateway;
};

static struct kit kit;

/* Turns the loop until the condition holds; fails the test after KIT_WAIT_MS. */
#define kit_wait(condition)                                                                                  \
    do {                                                                                                     \
        uint64_t until_ = uv_hrtime() / 1000000 + KIT_WAIT_MS;                                               \
        while (!(condition) && uv_hrtime() / 1000000 < until_)                                               \
            loop_turn(kit.loop, 10);                                                                         \
        if (!(condition))                                                                                    \
            fail_msg("did not come: %s", #condition);                                                        \
    } while (0)

/* Turns the loop for so long: for what must not happen. */
static inline void kit_idle(uint32_t ms)
{
    uint64_t until = uv_hrtime() / 1000000 + ms;

    while (uv_hrtime() / 1000000 < until)
        loop_turn(kit.loop, 5);
}

static inline struct mesh_server *kit_server(const char *name, ProtobufCService *service)
{
    struct mesh_server *server = NULL;
    struct err err = { 0 };

    if (!mesh_server_new(
            kit.loop,
            &(struct mesh_server_options){ .name = name, .listen = "tcp://127.0.0.1:0", .service = name },
            &server, &err))
        fail_msg("%s", err.text);
    mesh_server_add(server, service);
    return server;
}

/* `settings` are lines of YAML added to those every test has. */
static inline void kit_start(const char *settings)
{
    struct err err = { 0 };
    SCOPED_BUF yaml;

    memset(&fake, 0, sizeof(fake));
    snprintf(fake.epoch, sizeof(fake.epoch), "epoch-1");
    fake.work_version = 2;
    memset(&kit, 0, sizeof(kit));
    log_init("gateway", LOG_ERROR);
    kit.loop = loop_new();
    fake.routing = kit_server("routing", (ProtobufCService *)&fake_routing_service);
    fake.context = kit_server("context", (ProtobufCService *)&fake_context_service);
    assert_true(mesh_publisher_new(kit.loop, "tcp://127.0.0.1:0", &kit.doorbell, &err));
    setenv("KIT_TICKET_KEY", "a key of sixteen or more", 1);
    buf_init(&yaml, 8192);
    buf_printf(
        &yaml,
        "listen: \"127.0.0.1:0\"\nlisten_events: \"127.0.0.1:0\"\nticket_key: env:KIT_TICKET_KEY\n"
        "media_key: env:KIT_TICKET_KEY\nmedia_base_url: http://localhost/media\n"
        "allowed_origins: [\"https://desk.example\", \"http://localhost:*\"]\n"
        "routing: [\"%s\"]\ncontext: [\"%s\"]\nrouting_doorbells: [\"%s\"]\nattempt_timeout_ms: 500ms\n%s",
        mesh_server_url(fake.routing), mesh_server_url(fake.context), mesh_publisher_url(kit.doorbell),
        settings);
    if (!config_read_text("gateway", "test", buf_view(&yaml), gateway_keys, &kit.config, &err) ||
        !gateway_new(kit.loop, &kit.config, &kit.gateway, &err))
        fail_msg("%s", err.text);
    kit_wait(mesh_client_is_healthy(kit.gateway->routing) && mesh_client_is_healthy(kit.gateway->context));
}

static inline void kit_stop(void)
{
    gateway_free(&kit.gateway);
    config_free(gateway_keys, &kit.config);
    mesh_publisher_free(&kit.doorbell);
    mesh_server_free(&fake.routing);
    mesh_server_free(&fake.context);
    loop_free(&kit.loop);
}

#endif
