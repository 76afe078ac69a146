/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_call.c - one call of a client: packed once, tried at most twice, ended once.
 *
 * STARTED: mesh_client_call() gives a stub, which protoc-c's code invokes at once. The
 * body is packed there; the envelope again for each attempt, because it says how much
 * of the deadline is left. A failure that is known at once ends the call a turn later:
 * the closure never runs from inside the stub. */
#include "io/mesh_client_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/duration.h"
#include "core/id.h"
#include "io/mesh_envelope.h"
#include "io/mesh_stats.h"
#include "ops/log.h"

#define DEFAULT_TIMEOUT_MS 5000
#define TRIES_MAX 2
/* Before the same replica is asked again: it may be starting. */
#define BACK_OFF_MIN_MS 50u
#define BACK_OFF_SPREAD_MS 100u
#define STRINGS_MAX_BYTES (64 * 1024)

/* FAILING and MOVING wait for the next turn: a deferred function holds them. */
enum call_state { CALL_NEW, CALL_TRYING, CALL_BACKING_OFF, CALL_FAILING, CALL_MOVING, CALL_ENDED };

struct call {
    ProtobufCService stub; /* first: generated code hands it back to us */
    struct mesh_client *client;
    struct call *previous, *next;
    enum call_state state;
    struct arena *strings;
    Guichet__V1__Request request; /* its body points into `body` */
    struct buf body;
    unsigned method_index;
    ProtobufCClosure closure;
    void *closure_data;
    uint64_t deadline_ms;
    uint32_t attempt_timeout_ms;
    bool has_own_attempt_timeout;
    uint32_t lane;
    uint32_t tries, tries_max;
    struct mesh_replica *replica; /* of the last attempt */
    struct mesh_exchange *exchange;
    struct loop_timer *back_off;
    struct err err; /* of the last attempt */
};

static _Thread_local const struct err *current_err;

const struct err *mesh_err(void)
{
    static const struct err none = { .kind = ERR_NONE };

    return current_err != NULL ? current_err : &none;
}

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

/* ---- the end ---- */

static void free_call(struct call *call)
{
    loop_timer_free(&call->back_off);
    buf_done(&call->body);
    arena_free(&call->strings);
    free(call);
}

static void leave_client(struct call *call)
{
    struct mesh_client *client = call->client;

    if (call->previous != NULL)
        call->previous->next = call->next;
    else
        client->calls = call->next;
    if (call->next != NULL)
        call->next->previous = call->previous;
    client->call_count--;
    mesh_stats_set(MESH_STAT_CALLS_IN_FLIGHT, client->name, client->call_count);
}

/* The only place that calls the closure. `reply` is NULL when call->err says why. */
static void end_call(struct call *call, const ProtobufCMessage *reply)
{
    const struct err *outer = current_err;
    bool is_deferred =
        call->state == CALL_FAILING || call->state == CALL_MOVING; /* freed by what is deferred */

    assert(call->state != CALL_ENDED);
    if (reply != NULL)
        err_clear(&call->err);
    mesh_stats_add_pair(MESH_STAT_CALLS, call->client->name,
                        call->err.kind == ERR_NONE ? "ok" : err_kind_name(call->err.kind));
    leave_client(call);
    call->state = CALL_ENDED;
    current_err = &call->err;
    call->closure(reply, call->closure_data);
    current_err = outer;
    if (!is_deferred)
        free_call(call);
}

static void on_failed(void *arg)
{
    struct call *call = arg;

    if (call->state == CALL_FAILING) {
        call->state = CALL_TRYING; /* ours to free */
        end_call(call, NULL);
    } else {
        free_call(call); /* the client was freed meanwhile */
    }
}

static void fail_later(struct call *call)
{
    call->state = CALL_FAILING;
    loop_defer(call->client->loop, on_failed, call);
}

void mesh_call_cancel_all(struct mesh_client *client)
{
    while (client->calls != NULL) {
        struct call *call = client->calls;

        if (call->exchange != NULL)
            mesh_exchange_abandon(call->exchange);
        if (call->state == CALL_NEW) {
            leave_client(call);
            free_call(call);
            continue;
        }
        err_clear(&call->err);
        err_set(&call->err, ERR_CANCELED, "the client of %s is closed", client->name);
        end_call(call, NULL);
    }
}

/* ---- an attempt ---- */

static void on_answered(void *arg, const struct mesh_wire_result *result);

static uint32_t left_ms(const struct call *call)
{
    uint64_t now = now_ms();

    return call->deadline_ms > now ? (uint32_t)(call->deadline_ms - now) : 0;
}

/* How long the replica may take when another attempt could follow. Where there is a replica to go to, the
 * deadline is shared with it, however short: a stopped replica must not eat all of it. */
static uint32_t first_attempt_ms(const struct call *call, uint32_t left)
{
    uint32_t timeout_ms = call->attempt_timeout_ms;

    if (!call->has_own_attempt_timeout && timeout_ms > left / 2 &&
        mesh_client_has_other(call->client, call->replica))
        timeout_ms = left / 2;
    return timeout_ms < left ? timeout_ms : left;
}

/* false: no attempt was made, call->err says why. */
static bool try_call(struct call *call)
{
    struct mesh_client *client = call->client;
    uint32_t left = left_ms(call);
    uint32_t timeout_ms = left;
    SCOPED_BUF packed = { 0 };

    if (left == 0)
        return call->err.kind != ERR_NONE
                   ? false
                   : err_set(&call->err, ERR_DEADLINE, "%s: no time", call->request.method);
    call->replica = mesh_client_choose(client, call->lane, call->replica, &call->err);
    if (call->replica == NULL)
        return false;
    call->tries++;
    if (call->tries < call->tries_max)
        timeout_ms = first_attempt_ms(call, left);
    call->request.timeout_ms = left;
    call->request.deadline_unix_ms = (uint64_t)(time_now_us() / 1000) + left;
    buf_init(&packed, client->message_max_bytes);
    pb_pack(&call->request.base, &packed);
    if (packed.is_full)
        return err_set(&call->err, ERR_INVALID, "%s: the request of %zu bytes is over the limit of %zu",
                       call->request.method, call->body.len, client->message_max_bytes);
    call->state = CALL_TRYING;
    call->exchange = mesh_replica_call(call->replica, buf_view(&packed), timeout_ms, on_answered, call);
    return true;
}

static void on_back_off_over(void *arg)
{
    struct call *call = arg;
    struct err last = call->err;

    call->state = CALL_TRYING;
    if (try_call(call))
        return;
    if (call->err.kind == ERR_EXHAUSTED)
        call->err = last;
    end_call(call, NULL);
}

static uint32_t back_off_ms(const struct call *call)
{
    uint8_t random;
    uint32_t delay_ms;

    random_bytes(&random, sizeof(random));
    delay_ms = BACK_OFF_MIN_MS + BACK_OFF_SPREAD_MS * random / 255u;
    return delay_ms > call->err.retry_after_ms ? delay_ms : call->err.retry_after_ms;
}

/* After an attempt that failed: once more, elsewhere at once or here after a moment. */
static void try_again_or_end(struct call *call)
{
    bool is_transient = call->err.kind == ERR_UNAVAILABLE || call->err.kind == ERR_DEADLINE;
    bool has_other = mesh_client_has_other(call->client, call->replica);
    uint32_t delay_ms = has_other ? 0 : back_off_ms(call);

    if (!is_transient || call->tries >= call->tries_max || left_ms(call) <= delay_ms) {
        end_call(call, NULL);
        return;
    }
    mesh_stats_add(MESH_STAT_RETRIES, call->client->name);
    log_event(LOG_DEBUG, "mesh_retry", LOG_TEXT("method", call->request.method),
              LOG_TEXT("replica", mesh_replica_address(call->replica)), LOG_ERR(&call->err));
    if (has_other) {
        on_back_off_over(call);
        return;
    }
    call->state = CALL_BACKING_OFF;
    if (call->back_off == NULL)
        call->back_off = loop_timer_new(call->client->loop, on_back_off_over, call);
    loop_timer_start(call->back_off, delay_ms, 0);
}

static void on_moved(void *arg)
{
    struct call *call = arg;

    if (call->state == CALL_ENDED) {
        free_call(call);
        return;
    }
    call->state = CALL_TRYING;
    try_again_or_end(call);
}

void mesh_call_move_away(struct mesh_client *client, const struct mesh_replica *replica)
{
    for (struct call *call = client->calls; call != NULL; call = call->next) {
        if (call->replica != replica || call->exchange == NULL || !mesh_exchange_is_awaited(call->exchange))
            continue;
        mesh_exchange_abandon(call->exchange);
        call->exchange = NULL;
        err_clear(&call->err);
        err_set(&call->err, ERR_UNAVAILABLE, "%s: %s stopped answering", call->request.method,
                mesh_replica_address(replica));
        call->state = CALL_MOVING;
        loop_defer(client->loop, on_moved, call);
    }
}

/* ---- the answer ---- */

static bool read_answer(struct call *call, struct str_view packed, struct arena *arena,
                        ProtobufCMessage **ret_reply)
{
    const ProtobufCMethodDescriptor *method = &call->stub.descriptor->methods[call->method_index];
    Guichet__V1__Reply *reply;
    struct err why = { 0 };

    err_clear(&call->err);
    if (!mesh_envelope_read_reply(packed, arena, &reply, &why))
        return err_set(&call->err, ERR_INTERNAL, "%s: %s", call->request.method, why.text);
    if (reply->status != GUICHET__V1__STATUS__STATUS_OK) {
        err_set(&call->err, mesh_envelope_kind(reply->status), "%s", reply->message);
        call->err.retry_after_ms = reply->retry_after_ms;
        return false;
    }
    if (!pb_unpack(mesh_envelope_body(&reply->body), method->output, &pb_limits_default, arena, ret_reply,
                   &why))
        return err_set(&call->err, ERR_INTERNAL, "%s: the reply: %s", call->request.method, why.text);
    return true;
}

static void on_answered(void *arg, const struct mesh_wire_result *result)
{
    struct call *call = arg;
    SCOPED_ARENA arena = NULL;
    ProtobufCMessage *reply = NULL;

    call->exchange = NULL;
    if (result->kind != ERR_NONE) {
        err_clear(&call->err);
        err_set(&call->err, result->kind, "%s at %s: %s", call->request.method,
                mesh_replica_address(call->replica), result->text);
        try_again_or_end(call);
        return;
    }
    arena = mesh_envelope_arena(result->body, MESH_DEFAULT_BUDGET_FACTOR);
    if (read_answer(call, result->body, arena, &reply))
        end_call(call, reply);
    else
        try_again_or_end(call);
}

/* ---- the beginning ---- */

static void invoke(ProtobufCService *service, unsigned method_index, const ProtobufCMessage *input,
                   ProtobufCClosure closure, void *closure_data)
{
    struct call *call = (struct call *)service;
    const ProtobufCServiceDescriptor *descriptor = service->descriptor;

    assert(call->state == CALL_NEW && method_index < descriptor->n_methods);
    call->method_index = method_index;
    call->closure = closure;
    call->closure_data = closure_data;
    call->request.method =
        arena_printf(call->strings, "%s/%s", descriptor->name, descriptor->methods[method_index].name);
    pb_pack(input, &call->body);
    call->request.body.data = (uint8_t *)call->body.data;
    call->request.body.len = call->body.len;
    if (call->body.is_full)
        err_set(&call->err, ERR_INVALID, "%s: the request is over the limit of %zu bytes",
                call->request.method, call->client->message_max_bytes);
    else if (try_call(call))
        return;
    fail_later(call);
}

static void destroy_nothing(ProtobufCService *service)
{
    (void)service;
}

static void fill_request(struct call *call, const struct mesh_call *options)
{
    char traceparent[MESH_TRACEPARENT_BYTES];

    guichet__v1__request__init(&call->request);
    if (options->traceparent == NULL || options->traceparent[0] == '\0')
        mesh_envelope_new_traceparent(traceparent);
    call->request.traceparent = arena_strdup(
        call->strings,
        options->traceparent != NULL && options->traceparent[0] != '\0' ? options->traceparent : traceparent);
    call->request.tenant = arena_strdup(call->strings, options->tenant != NULL ? options->tenant : "");
    call->request.token.data = (uint8_t *)arena_dup(call->strings, options->token);
    call->request.token.len = options->token.len;
    if (call->request.traceparent == NULL || call->request.tenant == NULL || call->request.token.data == NULL)
        abort(); /* a token of 64 KiB is our own bug */
}

ProtobufCService *mesh_client_call(struct mesh_client *client, const struct mesh_call *options)
{
    struct call *call = calloc(1, sizeof(*call));
    uint32_t timeout_ms = options->timeout_ms != 0 ? options->timeout_ms : DEFAULT_TIMEOUT_MS;

    if (call == NULL)
        abort();
    call->stub.descriptor = options->descriptor != NULL ? options->descriptor : client->descriptor;
    call->stub.invoke = invoke;
    call->stub.destroy = destroy_nothing;
    assert(call->stub.descriptor != NULL);
    call->client = client;
    call->strings = arena_new(STRINGS_MAX_BYTES);
    buf_init(&call->body, client->message_max_bytes);
    fill_request(call, options);
    call->deadline_ms = now_ms() + timeout_ms;
    call->attempt_timeout_ms =
        options->attempt_timeout_ms != 0 ? options->attempt_timeout_ms : client->attempt_timeout_ms;
    call->has_own_attempt_timeout = options->attempt_timeout_ms != 0;
    call->lane = options->lane;
    call->tries_max = options->no_retry ? 1 : TRIES_MAX;
    call->next = client->calls;
    if (call->next != NULL)
        call->next->previous = call;
    client->calls = call;
    client->call_count++;
    mesh_stats_set(MESH_STAT_CALLS_IN_FLIGHT, client->name, client->call_count);
    return &call->stub;
}
