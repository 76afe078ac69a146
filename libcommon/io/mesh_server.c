/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_server.c - a listener: receives, checks, dispatches, answers.
 *
 * A slot is one context of nng and serves one request after another. There are
 * max_in_flight of them for handlers and a few more, so that a ping is answered and an
 * excess request refused even when all handlers are busy: otherwise a full server looks
 * like a dead one to its callers' breakers.
 *
 * A request whose deadline passes is answered DEADLINE by the server and leaves its slot;
 * its memory stays for the handler, whose late answer frees it. Such requests count
 * towards a limit of their own, else a stuck database would collect them without bound. */
#include "io/mesh_server_private.h"

#include <stdlib.h>
#include <string.h>

#include "core/duration.h"
#include "io/mesh_envelope.h"
#include "io/mesh_stats.h"
#include "ops/log.h"

#define DEFAULT_MAX_IN_FLIGHT 64
#define SPARE_SLOTS 4
#define REPLY_TIMEOUT_MS 5000
#define FAREWELL_TIMEOUT_MS 100
#define FULL_RETRY_MS 100
#define DRAINING_RETRY_MS 100
#define CLOCK_SKEW_MS 10000 /* between a caller's clock and ours */
#define PING_METHOD "guichet.v1.Mesh/Ping"

/* ---- answers on the wire ---- */

static void reply(struct mesh_slot *slot, const char *method, const struct err *err, struct str_view body,
                  uint32_t timeout_ms)
{
    struct mesh_server *server = slot->server;
    Guichet__V1__Reply message = GUICHET__V1__REPLY__INIT;
    SCOPED_BUF packed = { 0 };

    message.status = mesh_envelope_status(err->kind);
    message.message = (char *)err->text;
    message.retry_after_ms = err->retry_after_ms;
    message.body.data = (uint8_t *)body.data;
    message.body.len = body.len;
    buf_init(&packed, server->message_max_bytes);
    pb_pack(&message.base, &packed);
    if (packed.is_full) {
        struct err too_large = { 0 };

        err_set(&too_large, ERR_INTERNAL, "%s: the reply of %zu bytes is over the limit of %zu", method,
                body.len, server->message_max_bytes);
        reply(slot, method, &too_large, (struct str_view){ NULL, 0 }, timeout_ms);
        return;
    }
    mesh_stats_add_pair(MESH_STAT_REQUESTS, method, err->kind == ERR_NONE ? "ok" : err_kind_name(err->kind));
    slot->is_replying = true;
    mesh_wire_reply(slot->op, buf_view(&packed), timeout_ms);
}

static void refuse(struct mesh_slot *slot, const char *method, const char *reason, const struct err *err)
{
    mesh_stats_add(MESH_STAT_REFUSED, reason);
    reply(slot, method, err, (struct str_view){ NULL, 0 }, REPLY_TIMEOUT_MS);
}

static void answer_ping(struct mesh_slot *slot)
{
    struct mesh_server *server = slot->server;
    Guichet__V1__PingReply ping = GUICHET__V1__PING_REPLY__INIT;
    const struct err none = { .kind = ERR_NONE };
    SCOPED_BUF body = { 0 };

    ping.service = server->service;
    ping.is_draining = server->is_draining;
    buf_init(&body, server->message_max_bytes);
    pb_pack(&ping.base, &body);
    reply(slot, PING_METHOD, &none, buf_view(&body), REPLY_TIMEOUT_MS);
}

void mesh_server_answer(struct mesh_request *request, const struct err *err, struct str_view body)
{
    struct mesh_slot *slot = request->slot;
    struct mesh_server *server = slot->server;

    loop_timer_stop(slot->deadline);
    slot->request = NULL;
    request->slot = NULL;
    server->running--;
    mesh_stats_set(MESH_STAT_REQUESTS_IN_FLIGHT, server->name, server->running);
    reply(slot, mesh_request_method(request), err, body,
          server->is_closing ? FAREWELL_TIMEOUT_MS : REPLY_TIMEOUT_MS);
}

/* ---- a request comes in ---- */

/* "guichet.v1.Connector/Submit" -> the service and the method's index. */
static bool find_method(struct mesh_server *server, struct mesh_request *request, struct err *err)
{
    const char *name = request->envelope->method;
    const char *slash = strrchr(name, '/');

    for (size_t i = 0; slash != NULL && i < server->service_count; i++) {
        const ProtobufCServiceDescriptor *descriptor = server->services[i]->descriptor;
        const ProtobufCMethodDescriptor *method;

        if (strlen(descriptor->name) != (size_t)(slash - name) ||
            strncmp(descriptor->name, name, (size_t)(slash - name)) != 0)
            continue;
        method = protobuf_c_service_descriptor_get_method_by_name(descriptor, slash + 1);
        if (method == NULL)
            break;
        request->service = server->services[i];
        request->method_index = (unsigned)(method - descriptor->methods);
        return true;
    }
    return err_set(err, ERR_INVALID, "no method '%s' here", name);
}

static bool has_room(const struct mesh_server *server, struct err *err)
{
    if (server->is_draining) {
        err_set(err, ERR_UNAVAILABLE, "%s is going down", server->name);
        err->retry_after_ms = DRAINING_RETRY_MS;
        return false;
    }
    if (server->running >= server->max_in_flight || server->late_count >= server->max_in_flight) {
        err_set(err, ERR_EXHAUSTED, "%s has %u requests under way", server->name, server->running);
        err->retry_after_ms = FULL_RETRY_MS;
        return false;
    }
    return true;
}

static bool check_deadline(const struct mesh_request *request, struct err *err)
{
    const Guichet__V1__Request *envelope = request->envelope;
    bool is_stale = envelope->deadline_unix_ms != 0 &&
                    (uint64_t)(time_now_us() / 1000) > envelope->deadline_unix_ms + CLOCK_SKEW_MS;

    if (is_stale)
        return err_set(err, ERR_DEADLINE, "%s: its caller gave up long ago", envelope->method);
    if (mesh_request_left_ms(request) > 0)
        return true;
    return err_set(err, ERR_DEADLINE, "%s: nothing is left of its %u ms", request->envelope->method,
                   request->envelope->timeout_ms);
}

static bool read_input(struct mesh_request *request, ProtobufCMessage **ret_input, struct err *err)
{
    const ProtobufCMethodDescriptor *method = &request->service->descriptor->methods[request->method_index];

    return pb_unpack(mesh_envelope_body(&request->envelope->body), method->input, &pb_limits_default,
                     request->wire_arena, ret_input, err);
}

static void dispatch(struct mesh_slot *slot, struct mesh_request *request, const ProtobufCMessage *input)
{
    struct mesh_server *server = slot->server;

    slot->request = request;
    request->slot = slot;
    server->running++;
    mesh_stats_set(MESH_STAT_REQUESTS_IN_FLIGHT, server->name, server->running);
    loop_timer_start(slot->deadline, mesh_request_left_ms(request), 0);
    /* The handler may answer inside: the request may be gone when this returns. */
    request->service->invoke(request->service, request->method_index, input, mesh_request_on_answer, request);
}

/* Everything that can be wrong with a request, in the order of what it costs to find out. */
static bool admit(struct mesh_request *request, ProtobufCMessage **ret_input, const char **ret_reason,
                  struct err *err)
{
    struct mesh_server *server = request->server;

    *ret_reason = "method";
    if (!find_method(server, request, err))
        return false;
    *ret_reason = server->is_draining ? "draining" : "full";
    if (!has_room(server, err))
        return false;
    *ret_reason = "deadline";
    if (!check_deadline(request, err))
        return false;
    *ret_reason = "authorise";
    if (server->authorise != NULL && !server->authorise(server->authorise_arg, request, err))
        return false;
    *ret_reason = "malformed";
    return read_input(request, ret_input, err);
}

static void take_request(struct mesh_slot *slot, struct mesh_request *request)
{
    ProtobufCMessage *input = NULL;
    const char *reason = NULL;
    struct err err = { 0 };

    if (admit(request, &input, &reason, &err)) {
        dispatch(slot, request, input);
        return;
    }
    refuse(slot, request->service != NULL ? mesh_request_method(request) : "unknown", reason, &err);
    mesh_request_free(request);
}

static void on_received(struct mesh_slot *slot, const struct mesh_wire_result *result)
{
    struct mesh_request *request = mesh_request_new(slot->server, result->body, result->ended_ms);
    struct err err = { 0 };

    if (!mesh_envelope_read_request(result->body, request->wire_arena, &request->envelope, &err)) {
        refuse(slot, "unknown", "malformed", &err);
        mesh_request_free(request);
        return;
    }
    if (strcmp(request->envelope->method, PING_METHOD) == 0) {
        answer_ping(slot);
        mesh_request_free(request);
        return;
    }
    request->deadline_ms = result->ended_ms + request->envelope->timeout_ms;
    request->peer = result->peer;
    take_request(slot, request);
}

static void on_wire(void *arg, const struct mesh_wire_result *result)
{
    struct mesh_slot *slot = arg;

    if (slot->is_replying || result->kind != ERR_NONE) {
        slot->is_replying = false; /* a reply that could not be sent is lost: its caller asks again */
        mesh_wire_receive(slot->op);
        return;
    }
    on_received(slot, result);
}

static void on_deadline(void *arg)
{
    struct mesh_slot *slot = arg;
    struct mesh_request *request = slot->request;
    struct err err = { 0 };

    err_set(&err, ERR_DEADLINE, "%s took more than its %u ms", mesh_request_method(request),
            request->envelope->timeout_ms);
    mesh_server_answer(request, &err, (struct str_view){ NULL, 0 });
    mesh_request_leave(request);
}

/* ---- callers that are gone ---- */

static struct mesh_request *find_forsaken(struct mesh_server *server)
{
    for (uint32_t i = 0; i < server->slot_count; i++) {
        struct mesh_request *request = server->slots[i].request;

        if (request != NULL && request->on_gone != NULL && !mesh_wire_is_peer(server->wire, request->peer))
            return request;
    }
    return NULL;
}

/* One at a time: whoever is told may answer, and free the server too. */
static void tell_gone(void *arg)
{
    struct mesh_server *server = arg;
    struct mesh_request *request = find_forsaken(server);
    loop_fn *on_gone;

    if (request == NULL)
        return;
    loop_timer_start(server->gone_timer, 0, 0);
    on_gone = request->on_gone;
    request->on_gone = NULL;
    on_gone(request->gone_arg);
}

/* ---- life ---- */

static void open_slots(struct mesh_server *server)
{
    server->slot_count = server->max_in_flight + SPARE_SLOTS;
    server->slots = calloc(server->slot_count, sizeof(*server->slots));
    if (server->slots == NULL)
        abort();
    for (uint32_t i = 0; i < server->slot_count; i++) {
        struct mesh_slot *slot = &server->slots[i];

        slot->server = server;
        slot->op = mesh_wire_op_new(server->wire, on_wire, slot);
        slot->deadline = loop_timer_new(server->loop, on_deadline, slot);
        mesh_wire_receive(slot->op);
    }
}

static bool open_listener(struct mesh_server *server, const char *listen, struct err *err)
{
    if (!mesh_wire_open(server->loop, MESH_WIRE_REPLY, server->message_max_bytes, &server->wire, err))
        return false;
    mesh_wire_on_gone(server->wire, tell_gone, server);
    return mesh_wire_listen(server->wire, listen, &server->url, err);
}

bool mesh_server_new(struct loop *loop, const struct mesh_server_options *options,
                     struct mesh_server **ret_server, struct err *err)
{
    struct mesh_server *server = calloc(1, sizeof(*server));

    if (server == NULL)
        abort();
    mesh_stats_hold();
    server->loop = loop;
    server->name = str_dup(str_view_of(options->name));
    server->service = str_dup(str_view_of(options->service != NULL ? options->service : ""));
    server->max_in_flight = options->max_in_flight != 0 ? options->max_in_flight : DEFAULT_MAX_IN_FLIGHT;
    server->message_max_bytes =
        options->message_max_bytes != 0 ? options->message_max_bytes : MESH_DEFAULT_MESSAGE_BYTES;
    server->budget_factor = options->budget_factor != 0 ? options->budget_factor : MESH_DEFAULT_BUDGET_FACTOR;
    server->authorise = options->authorise;
    server->authorise_arg = options->authorise_arg;
    server->gone_timer = loop_timer_new(loop, tell_gone, server);
    if (!open_listener(server, options->listen, err)) {
        mesh_server_free(&server);
        return err_at(err, "%s", options->name);
    }
    open_slots(server);
    *ret_server = server;
    return true;
}

void mesh_server_add(struct mesh_server *server, ProtobufCService *service)
{
    server->services =
        realloc(server->services, (server->service_count + 1) * sizeof(struct ProtobufCService *));
    if (server->services == NULL)
        abort();
    server->services[server->service_count++] = service;
}

void mesh_server_drain(struct mesh_server *server)
{
    server->is_draining = true;
}

uint32_t mesh_server_in_flight(const struct mesh_server *server)
{
    return server->running;
}

const char *mesh_server_url(const struct mesh_server *server)
{
    return server->url;
}

/* Answers what is open, and gives nng the moment it needs to hand the answers to the kernel. */
static void say_farewell(struct mesh_server *server)
{
    struct err err = { 0 };

    err_set(&err, ERR_UNAVAILABLE, "%s goes down", server->name);
    err.retry_after_ms = DRAINING_RETRY_MS;
    server->is_closing = true;
    loop_excuse(server->loop);
    for (uint32_t i = 0; i < server->slot_count; i++) {
        struct mesh_request *request = server->slots[i].request;

        if (request != NULL) {
            mesh_server_answer(request, &err, (struct str_view){ NULL, 0 });
            mesh_request_leave(request);
        }
    }
    for (uint32_t i = 0; i < server->slot_count; i++) {
        if (server->slots[i].is_replying)
            mesh_wire_flush(server->slots[i].op);
    }
}

void mesh_server_free(struct mesh_server **server_ptr)
{
    struct mesh_server *server = *server_ptr;

    if (server == NULL)
        return;
    *server_ptr = NULL;
    say_farewell(server);
    mesh_wire_close(&server->wire);
    for (uint32_t i = 0; i < server->slot_count; i++)
        loop_timer_free(&server->slots[i].deadline);
    loop_timer_free(&server->gone_timer);
    mesh_request_orphan_all(server);
    free(server->slots);
    free(server->services);
    free(server->url);
    free(server->service);
    free(server->name);
    free(server);
    mesh_stats_release();
}
