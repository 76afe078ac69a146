/* SPDX-License-Identifier: Apache-2.0 */
/* test_kit.h - a whole gateway between the fakes, and a plain HTTP client, all on one loop. */
#ifndef GUICHET_GATEWAY_TEST_KIT_H
#define GUICHET_GATEWAY_TEST_KIT_H

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/check.h"
#include "fake_context.h"
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
#define kit_wait(condition)                                                           \
    do {                                                                              \
        uint64_t until_ = uv_hrtime() / 1000000 + KIT_WAIT_MS;                        \
        while (!(condition) && uv_hrtime() / 1000000 < until_)                        \
            loop_turn(kit.loop, 10);                                                  \
        if (!(condition))                                                             \
            fail_msg("did not come: %s", #condition);                                 \
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

    if (!mesh_server_new(kit.loop, &(struct mesh_server_options){ .name = name, .listen = "tcp://127.0.0.1:0",
                                                                  .service = name }, &server, &err))
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
    buf_printf(&yaml, "listen: \"127.0.0.1:0\"\nlisten_events: \"127.0.0.1:0\"\nticket_key: env:KIT_TICKET_KEY\n"
                      "allowed_origins: [\"https://desk.example\", \"http://localhost:*\"]\n"
                      "routing: [\"%s\"]\ncontext: [\"%s\"]\nrouting_doorbells: [\"%s\"]\nattempt_timeout_ms: 500ms\n%s",
               mesh_server_url(fake.routing), mesh_server_url(fake.context), mesh_publisher_url(kit.doorbell), settings);
    if (!config_read_text("gateway", "test", buf_view(&yaml), gateway_keys, &kit.config, &err)
        || !gateway_new(kit.loop, &kit.config, &kit.gateway, &err))
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

/* Is the answer whole? By its Content-Length, or a 101 that is followed by frames. */
static inline bool kit_is_whole(const struct buf *answer)
{
    const char *end = strstr(buf_text(answer), "\r\n\r\n"), *length = strstr(buf_text(answer), "Content-Length: ");

    if (end == NULL)
        return false;
    if (strncmp(buf_text(answer), "HTTP/1.1 101", 12) == 0)
        return true;
    return length != NULL && answer->len >= (size_t)(end + 4 - buf_text(answer)) + strtoul(length + 16, NULL, 10);
}

/* Sends bytes, turns the loop until the answer is whole or the other side closes; to be freed. */
static inline char *kit_exchange(uint16_t port, struct str_view request)
{
    const struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    uint64_t until_ms = uv_hrtime() / 1000000 + KIT_WAIT_MS;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char bytes[16384];
    ssize_t len;
    SCOPED_BUF answer;

    buf_init(&answer, 4u * 1024 * 1024);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    while (request.len > 0) {
        len = send(fd, request.data, request.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (len < 0 && errno != EAGAIN)
            break;
        request.data += len > 0 ? len : 0;
        request.len -= len > 0 ? (size_t)len : 0;
        loop_turn(kit.loop, 0);
    }
    while (!kit_is_whole(&answer) && (len = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) != 0
           && uv_hrtime() / 1000000 < until_ms) {
        if (len > 0)
            buf_append(&answer, bytes, (size_t)len);
        else if (errno != EAGAIN)
            break;
        else
            loop_turn(kit.loop, 10);
    }
    close(fd);
    return str_dup(buf_view(&answer));
}

/* `headers` are lines with \r\n; token NULL: none. */
static inline char *kit_call(const char *method, const char *path, const char *token, const char *headers,
                             const char *body)
{
    char *answer;
    SCOPED_BUF request;

    buf_init(&request, 1u * 1024 * 1024);
    buf_printf(&request, "%s %s HTTP/1.1\r\nHost: desk.example\r\nConnection: close\r\n", method, path);
    if (token != NULL)
        buf_printf(&request, "Authorization: Bearer %s\r\n", token);
    if (headers != NULL)
        buf_append_text(&request, headers);
    if (body != NULL)
        buf_printf(&request, "%sContent-Length: %zu\r\n",
                   headers != NULL && strstr(headers, "Content-Type") != NULL ? "" : "Content-Type: application/json\r\n",
                   strlen(body));
    buf_printf(&request, "\r\n%s", body == NULL ? "" : body);
    answer = kit_exchange(http_server_port(kit.gateway->api), buf_view(&request));
    return answer;
}

static inline int kit_status(const char *answer)
{
    return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? atoi(answer + 9) : 0;
}

#endif
