/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_wire.c - sockets, contexts and aios of nng, for 1.5.2 and 1.10.1 alike.
 *
 * nng runs its callbacks on threads of its own. Ours do one thing there: note that the
 * operation has ended and loop_post() it. All else happens on the loop's thread.
 *
 * Closing hangs for ever in 1.5.2 when another thread is receiving (#1813), and also by
 * itself when a message comes in at that moment (pull request #1636). So everything is
 * stopped first, and nng_close() runs on a thread that nobody has to wait for longer
 * than CLOSE_WAIT_MS. A socket that hangs is left behind; the kernel closes it with us.
 *
 * An operation has one aio, and its context never has two things under way: freeing a
 * send that is queued while the receive expires crashes 1.5.2 (#1702), and a second
 * send cancels the first one silently (#2164). nng_aio_cancel() is not used: from 1.9 to
 * 1.11 the callback may then never come (#2208). What ends an operation is its time-out.
 *
 * A reply handed over in the very moment in which nng closes its connection is leaked by 1.5.2 (#1713). It says
 * "sent", as for any caller that is gone, so there is nothing we could free. */
#include "io/mesh_wire_private.h"

#include <arpa/inet.h>
#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>

#include "ops/log.h"

#define RECONNECT_MIN_MS 100
#define RECONNECT_MAX_MS 5000
#define PUBSUB_QUEUE_MESSAGES 4096
/* The ids that nng puts in front of a body count as its bytes. */
#define HEADER_ROOM_BYTES 256
#define CLOSE_WAIT_MS 1000

enum op_state { OP_IDLE, OP_SENDING_REQUEST, OP_AWAITING_REPLY, OP_RECEIVING, OP_SENDING_REPLY };

struct mesh_wire_op {
    struct mesh_wire *wire;
    struct mesh_wire_op *next;
    nng_ctx ctx;
    nng_aio *aio;
    enum op_state state;
    mesh_wire_done_fn *done;
    void *arg;
    uint64_t deadline_ms;
    uint64_t ended_ms;     /* written by nng's thread before is_posted */
    atomic_bool is_posted; /* on_posted() is under way to the loop */
    bool is_closed;        /* on_posted() only has to free it */
};

/* Closed, but nng was not done with them when we looked. */
static struct mesh_wire *left_behind;

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

#if defined(__SANITIZE_ADDRESS__)
/* 1.5.2 forgets an endpoint that is closed in the moment between connecting and being connected, with what
 * hangs on it. Messages, which are ours to lose, are not covered by this. */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:nng_dialer_create\nleak:nng_listener_create\n";
}
#endif

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

static enum err_kind kind_of(int status)
{
    switch (status) {
    case 0:
        return ERR_NONE;
    case NNG_ETIMEDOUT:
        return ERR_DEADLINE;
    case NNG_ENOMEM:
        abort();
    case NNG_ESTATE:
    case NNG_EINVAL:
    case NNG_ENOTSUP:
        return ERR_INTERNAL;
    default:
        return ERR_UNAVAILABLE;
    }
}

/* ---- sockets ---- */

static int open_socket(enum mesh_wire_kind kind, nng_socket *ret_socket)
{
    switch (kind) {
    case MESH_WIRE_REQUEST:
        return nng_req0_open(ret_socket);
    case MESH_WIRE_REPLY:
        return nng_rep0_open(ret_socket);
    case MESH_WIRE_PUBLISH:
        return nng_pub0_open(ret_socket);
    case MESH_WIRE_SUBSCRIBE:
        return nng_sub0_open(ret_socket);
    }
    return NNG_EINVAL;
}

/* nng's defaults are: sizes unlimited, times infinite, requests sent again after 60 s. */
static int set_options(nng_socket socket, enum mesh_wire_kind kind, size_t message_max_bytes)
{
    int status = nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, message_max_bytes + HEADER_ROOM_BYTES);

    if (status == 0)
        status = nng_socket_set_ms(socket, NNG_OPT_RECONNMINT, RECONNECT_MIN_MS);
    if (status == 0)
        status = nng_socket_set_ms(socket, NNG_OPT_RECONNMAXT, RECONNECT_MAX_MS);
    if (status == 0 && kind == MESH_WIRE_REQUEST)
        status = nng_socket_set_ms(socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
    if (status == 0 && kind == MESH_WIRE_PUBLISH)
        status = nng_socket_set_int(socket, NNG_OPT_SENDBUF, PUBSUB_QUEUE_MESSAGES);
    if (status == 0 && kind == MESH_WIRE_SUBSCRIBE)
        status = nng_socket_set_int(socket, NNG_OPT_RECVBUF, PUBSUB_QUEUE_MESSAGES);
    return status;
}

static void init_closing(struct mesh_wire *wire)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (pthread_mutex_init(&wire->mutex, NULL) != 0 || pthread_cond_init(&wire->nng_done, &attributes) != 0)
        abort();
    pthread_condattr_destroy(&attributes);
}

void mesh_wire_release(struct mesh_wire *wire)
{
    pthread_cond_destroy(&wire->nng_done);
    pthread_mutex_destroy(&wire->mutex);
    free(wire->peer_ids);
    free(wire);
}

bool mesh_wire_open(struct loop *loop, enum mesh_wire_kind kind, size_t message_max_bytes,
                    struct mesh_wire **ret_wire, struct err *err)
{
    struct mesh_wire *wire = calloc(1, sizeof(*wire));
    int status;

    if (wire == NULL)
        abort();
    init_closing(wire);
    wire->loop = loop;
    wire->kind = kind;
    status = open_socket(kind, &wire->socket);
    if (status == 0 && (status = set_options(wire->socket, kind, message_max_bytes)) != 0)
        nng_close(wire->socket);
    if (status != 0) {
        mesh_wire_release(wire);
        return err_set(err, ERR_INTERNAL, "nng socket: %s", nng_strerror(status));
    }
    *ret_wire = wire;
    return true;
}

/* ipc:// dies of one probe in 1.5.2 (#1518); TLS comes with its own settings one day. */
static bool check_url(const char *url, struct err *err)
{
    const char *port;

    if (url == NULL || strncmp(url, "tcp://", 6) != 0)
        return err_set(err, ERR_CONFIG, "mesh address '%s': only tcp://host:port is known",
                       url != NULL ? url : "");
    port = strrchr(url + 6, ':');
    if (port == NULL)
        return err_set(err, ERR_CONFIG, "mesh address '%s' has no port", url);
    if (port[1] == '\0' || strspn(port + 1, "0123456789") != strlen(port + 1) ||
        strtoul(port + 1, NULL, 10) > 65535)
        return err_set(err, ERR_CONFIG, "mesh address '%s': '%s' is no port", url, port + 1);
    return true;
}

bool mesh_wire_dial(struct mesh_wire *wire, const char *url, struct err *err)
{
    nng_dialer dialer;
    int status;

    if (!check_url(url, err))
        return false;
    status = nng_dialer_create(&dialer, wire->socket, url);
    if (status == 0)
        status = nng_dialer_set_bool(dialer, NNG_OPT_TCP_KEEPALIVE, true);
    if (status == 0)
        status = nng_dialer_set_bool(dialer, NNG_OPT_TCP_NODELAY, true);
    if (status == 0)
        status = nng_dialer_start(dialer, NNG_FLAG_NONBLOCK);
    if (status != 0)
        return err_set(err, ERR_CONFIG, "mesh address '%s': %s", url, nng_strerror(status));
    return true;
}

static char *bound_url(nng_listener listener, const char *url)
{
    nng_sockaddr address;
    const char *host = url + 6;
    char *text = malloc(strlen(url) + 16);
    unsigned port = 0;

    if (text == NULL)
        abort();
    if (nng_listener_get_addr(listener, NNG_OPT_LOCADDR, &address) == 0) {
        if (address.s_family == NNG_AF_INET)
            port = ntohs(address.s_in.sa_port);
        else if (address.s_family == NNG_AF_INET6)
            port = ntohs(address.s_in6.sa_port);
    }
    if (port == 0)
        strcpy(text, url);
    else
        sprintf(text, "tcp://%.*s:%u", (int)(strrchr(host, ':') - host), host, port);
    return text;
}

bool mesh_wire_listen(struct mesh_wire *wire, const char *url, char **ret_url, struct err *err)
{
    nng_listener listener;
    int status;

    if (!check_url(url, err))
        return false;
    status = nng_listener_create(&listener, wire->socket, url);
    if (status == 0)
        status = nng_listener_set_bool(listener, NNG_OPT_TCP_KEEPALIVE, true);
    if (status == 0)
        status = nng_listener_set_bool(listener, NNG_OPT_TCP_NODELAY, true);
    if (status == 0)
        status = nng_listener_start(listener, 0);
    if (status != 0)
        return err_set(err, ERR_CONFIG, "cannot listen on '%s': %s", url, nng_strerror(status));
    *ret_url = bound_url(listener, url);
    return true;
}

/* ---- operations ---- */

/* A message is ours after a failed send and after a good receive. */
static nng_msg *take_message(struct mesh_wire_op *op, int status)
{
    bool is_send = op->state == OP_SENDING_REQUEST || op->state == OP_SENDING_REPLY;
    nng_msg *message = NULL;

    if (op->state != OP_IDLE && is_send == (status != 0))
        message = nng_aio_get_msg(op->aio);
    nng_aio_set_msg(op->aio, NULL);
    return message;
}

static void finish(struct mesh_wire_op *op, int status, nng_msg *message)
{
    struct mesh_wire_result result = { .kind = kind_of(status), .ended_ms = op->ended_ms };

    if (status != 0)
        result.text = nng_strerror(status);
    else if (message != NULL) {
        result.body = (struct str_view){ nng_msg_body(message), nng_msg_len(message) };
        result.peer = (uint32_t)nng_pipe_id(nng_msg_get_pipe(message));
    }
    op->state = OP_IDLE;
    op->done(op->arg, &result); /* may start the next thing, or close the wire: op is not ours any more */
    if (message != NULL)
        nng_msg_free(message);
}

static void await_reply(struct mesh_wire_op *op)
{
    uint64_t now = now_ms();

    op->state = OP_AWAITING_REPLY;
    nng_aio_set_timeout(op->aio, op->deadline_ms > now ? (nng_duration)(op->deadline_ms - now) : 1);
    nng_ctx_recv(op->ctx, op->aio);
}

static void on_posted(void *arg)
{
    struct mesh_wire_op *op = arg;
    nng_msg *message;
    int status;

    atomic_store(&op->is_posted, false);
    if (op->is_closed) {
        free(op);
        return;
    }
    status = nng_aio_result(op->aio);
    message = take_message(op, status);
    if (op->state == OP_SENDING_REQUEST && status == 0)
        await_reply(op);
    else if (op->state == OP_SENDING_REQUEST || op->state == OP_SENDING_REPLY) {
        if (message != NULL)
            nng_msg_free(message);
        finish(op, status, NULL);
    } else
        finish(op, status, message);
}

/* On a thread of nng's. */
static void on_ended(void *arg)
{
    struct mesh_wire_op *op = arg;

    op->ended_ms = now_ms();
    atomic_store(&op->is_posted, true);
    loop_post(op->wire->loop, on_posted, op);
}

struct mesh_wire_op *mesh_wire_op_new(struct mesh_wire *wire, mesh_wire_done_fn *done, void *arg)
{
    struct mesh_wire_op *op = calloc(1, sizeof(*op));

    if (op == NULL || nng_ctx_open(&op->ctx, wire->socket) != 0 || nng_aio_alloc(&op->aio, on_ended, op) != 0)
        abort();
    if (wire->kind == MESH_WIRE_SUBSCRIBE && nng_ctx_set(op->ctx, NNG_OPT_SUB_SUBSCRIBE, "", 0) != 0)
        abort();
    op->wire = wire;
    op->done = done;
    op->arg = arg;
    op->next = wire->ops;
    wire->ops = op;
    return op;
}

static void send_body(struct mesh_wire_op *op, struct str_view body, uint32_t timeout_ms)
{
    nng_msg *message;

    if (nng_msg_alloc(&message, body.len) != 0)
        abort();
    if (body.len > 0)
        memcpy(nng_msg_body(message), body.data, body.len);
    nng_aio_set_msg(op->aio, message);
    nng_aio_set_timeout(op->aio, timeout_ms > 0 ? (nng_duration)timeout_ms : 1);
    nng_ctx_send(op->ctx, op->aio);
}

void mesh_wire_call(struct mesh_wire_op *op, struct str_view body, uint32_t timeout_ms)
{
    assert(op->state == OP_IDLE && op->wire->kind == MESH_WIRE_REQUEST);
    op->state = OP_SENDING_REQUEST;
    op->deadline_ms = now_ms() + timeout_ms;
    send_body(op, body, timeout_ms);
}

void mesh_wire_receive(struct mesh_wire_op *op)
{
    assert(op->state == OP_IDLE);
    op->state = OP_RECEIVING;
    nng_aio_set_timeout(op->aio, NNG_DURATION_INFINITE);
    nng_ctx_recv(op->ctx, op->aio);
}

void mesh_wire_reply(struct mesh_wire_op *op, struct str_view body, uint32_t timeout_ms)
{
    assert(op->state == OP_IDLE && op->wire->kind == MESH_WIRE_REPLY);
    op->state = OP_SENDING_REPLY;
    send_body(op, body, timeout_ms);
}

void mesh_wire_flush(struct mesh_wire_op *op)
{
    nng_aio_wait(op->aio);
}

void mesh_wire_publish(struct mesh_wire *wire, struct str_view body)
{
    nng_msg *message;

    if (nng_msg_alloc(&message, body.len) != 0)
        abort();
    if (body.len > 0)
        memcpy(nng_msg_body(message), body.data, body.len);
    if (nng_sendmsg(wire->socket, message, NNG_FLAG_NONBLOCK) != 0)
        nng_msg_free(message); /* still ours then; a lost doorbell is no error */
}

/* Stop waits until on_ended() has run, if it was to run: after it, is_posted is final. */
static void op_close(struct mesh_wire_op *op)
{
    nng_msg *message;

    nng_aio_stop(op->aio);
    message = take_message(op, nng_aio_result(op->aio));
    if (message != NULL)
        nng_msg_free(message);
    nng_ctx_close(op->ctx);
    nng_aio_free(op->aio);
    op->is_closed = true;
    if (!atomic_load(&op->is_posted))
        free(op);
}

/* ---- closing ---- */

static void *close_socket(void *arg)
{
    struct mesh_wire *wire = arg;

    nng_close(wire->socket);
    pthread_mutex_lock(&wire->mutex);
    wire->is_nng_done = true;
    pthread_cond_signal(&wire->nng_done);
    pthread_mutex_unlock(&wire->mutex);
    return NULL;
}

static bool wait_for_nng(struct mesh_wire *wire, uint32_t wait_ms)
{
    struct timespec until;
    bool is_done;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&wire->mutex);
    while (!wire->is_nng_done && pthread_cond_timedwait(&wire->nng_done, &wire->mutex, &until) == 0)
        continue;
    is_done = wire->is_nng_done;
    pthread_mutex_unlock(&wire->mutex);
    return is_done;
}

/* nng is done with it: freed here, or by what is still under way to the loop. */
static void finish_closing(struct mesh_wire *wire)
{
    pthread_join(wire->closer, NULL);
    wire->is_joined = true;
    if (!atomic_load(&wire->is_peer_posted))
        mesh_wire_release(wire);
}

static void sweep_left_behind(void)
{
    struct mesh_wire **at = &left_behind;

    while (*at != NULL) {
        struct mesh_wire *wire = *at;

        if (wait_for_nng(wire, 0)) {
            *at = wire->next_left;
            finish_closing(wire);
        } else {
            at = &wire->next_left;
        }
    }
}

/* Once one has hung, nng's reaper hangs with it, and so will the others. */
static void start_closing(struct mesh_wire *wire, uint32_t wait_ms)
{
    sigset_t all, before;

    sweep_left_behind();
    if (left_behind != NULL)
        wait_ms = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&wire->closer, NULL, close_socket, wire) != 0)
        abort();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (wait_for_nng(wire, wait_ms)) {
        finish_closing(wire);
        return;
    }
    if (wait_ms > 0)
        log_event(LOG_DEBUG, "mesh_close_hangs", LOG_NUMBER("waited_ms", wait_ms));
    wire->next_left = left_behind;
    left_behind = wire;
}

static void close_wire(struct mesh_wire **wire_ptr, uint32_t wait_ms)
{
    struct mesh_wire *wire = *wire_ptr;
    struct mesh_wire_op *next;

    if (wire == NULL)
        return;
    *wire_ptr = NULL;
    for (struct mesh_wire_op *op = wire->ops; op != NULL; op = next) {
        next = op->next;
        op_close(op);
    }
    atomic_store(&wire->is_closed, true);
    mesh_wire_unwatch_peers(wire);
    start_closing(wire, wait_ms);
}

void mesh_wire_close(struct mesh_wire **wire)
{
    if (*wire != NULL)
        loop_excuse((*wire)->loop);
    close_wire(wire, CLOSE_WAIT_MS);
}

void mesh_wire_discard(struct mesh_wire **wire)
{
    close_wire(wire, 0);
}
