/* SPDX-License-Identifier: Apache-2.0 */
/* A WebSocket client in three steps: resolve, connect and shake hands, then frames by wslay.
 *
 * The handshake is small enough to be written out: one request, one answer whose status and accept
 * key are checked. Everything ends in websocket_client_end(), the only place that frees. */
#include "io/websocket_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <wslay/wslay.h>

#include "core/id.h"

#define HANDSHAKE_MAX_BYTES 8192
#define MESSAGE_MAX_BYTES (1u << 20)
#define CLOSE_ABNORMAL 1006

enum client_state { CLIENT_RESOLVING, CLIENT_CONNECTING, CLIENT_SHAKING, CLIENT_OPEN, CLIENT_CLOSED };

struct websocket_client {
    struct loop *loop;
    struct websocket_client_options options;
    char *target, *host, *port, *subprotocol;
    enum client_state state;
    uv_getaddrinfo_t resolve;
    int fd;
    struct loop_poll *poll;
    struct buf out; /* the request, while shaking hands */
    struct buf in;  /* its answer, and what came behind */
    size_t in_used;
    char accept[64];
    wslay_event_context_ptr frames;
    struct err err;
    int code;
};

static void on_ready(void *arg, int events, int status);

static void client_free(void *arg)
{
    struct websocket_client *client = arg;

    client->options.on_close(client->options.arg, client->code, &client->err);
    free(client->target);
    free(client->host);
    free(client->port);
    free(client->subprotocol);
    if (client->frames != NULL)
        wslay_event_context_free(client->frames);
    buf_done(&client->out);
    buf_done(&client->in);
    free(client);
}

/* The one way out; on_close comes in the next turn. The frames are freed then too: we may be called from
 * inside them. */
static void client_end(struct websocket_client *client)
{
    if (client->state == CLIENT_CLOSED)
        return;
    client->state = CLIENT_CLOSED;
    if (client->poll != NULL)
        loop_poll_free(&client->poll);
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    loop_defer(client->loop, client_free, client);
}

static void client_fail(struct websocket_client *client, const char *what)
{
    err_set(&client->err, ERR_UNAVAILABLE, "%s:%s: %s", client->host, client->port, what);
    client_end(client);
}

/* ---- frames ---- */

static ssize_t on_frame_send(wslay_event_context_ptr frames, const uint8_t *data, size_t len, int flags,
                             void *arg)
{
    struct websocket_client *client = arg;
    ssize_t sent = send(client->fd, data, len, MSG_NOSIGNAL | ((flags & WSLAY_MSG_MORE) ? MSG_MORE : 0));

    if (sent >= 0)
        return sent;
    wslay_event_set_error(frames, errno == EAGAIN ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

static ssize_t on_frame_receive(wslay_event_context_ptr frames, uint8_t *data, size_t len, int flags,
                                void *arg)
{
    struct websocket_client *client = arg;
    size_t left = client->in.len - client->in_used;
    ssize_t got;

    (void)flags;
    if (left > 0) {
        size_t take = left < len ? left : len;

        memcpy(data, client->in.data + client->in_used, take);
        client->in_used += take;
        return (ssize_t)take;
    }
    got = recv(client->fd, data, len, 0);
    if (got > 0)
        return got;
    wslay_event_set_error(frames,
                          got < 0 && errno == EAGAIN ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

static int on_mask(wslay_event_context_ptr frames, uint8_t *data, size_t len, void *arg)
{
    (void)frames;
    (void)arg;
    random_bytes(data, len);
    return 0;
}

static void on_message(wslay_event_context_ptr frames, const struct wslay_event_on_msg_recv_arg *message,
                       void *arg)
{
    struct websocket_client *client = arg;

    (void)frames;
    if (message->opcode == WSLAY_TEXT_FRAME)
        client->options.on_text(client->options.arg,
                                (struct str_view){ (const char *)message->msg, message->msg_length });
    else if (message->opcode == WSLAY_CONNECTION_CLOSE)
        client->code = message->status_code;
}

static void client_move_frames(struct websocket_client *client, int events)
{
    if (((events & UV_READABLE) && wslay_event_recv(client->frames) != 0) ||
        wslay_event_send(client->frames) != 0 ||
        (!wslay_event_want_read(client->frames) && !wslay_event_want_write(client->frames))) {
        client_end(client);
        return;
    }
    if (client->state == CLIENT_OPEN)
        loop_poll_start(client->poll,
                        UV_READABLE | (wslay_event_want_write(client->frames) ? UV_WRITABLE : 0));
}

/* ---- handshake ---- */

static void client_make_request(struct websocket_client *client)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 §1.3 */
    unsigned char nonce[16], digest[EVP_MAX_MD_SIZE];
    unsigned digest_len = 0;
    SCOPED_BUF key, accept;

    buf_init(&key, 128);
    buf_init(&accept, sizeof client->accept - 1);
    random_bytes(nonce, sizeof nonce);
    base64_append(&key, nonce, sizeof nonce);
    buf_printf(&client->out,
               "GET %s HTTP/1.1\r\nHost: %s:%s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n",
               client->target, client->host, client->port, buf_text(&key));
    if (client->subprotocol != NULL)
        buf_printf(&client->out, "Sec-WebSocket-Protocol: %s\r\n", client->subprotocol);
    buf_append_text(&client->out, "\r\n");
    buf_append_text(&key, guid);
    EVP_Digest(buf_text(&key), key.len, digest, &digest_len, EVP_sha1(), NULL);
    base64_append(&accept, digest, digest_len);
    snprintf(client->accept, sizeof client->accept, "%s", buf_text(&accept));
}

static bool client_open_frames(struct websocket_client *client)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = on_frame_receive,
        .send_callback = on_frame_send,
        .genmask_callback = on_mask,
        .on_msg_recv_callback = on_message,
    };

    if (wslay_event_context_client_init(&client->frames, &callbacks, client) != 0)
        return false;
    wslay_event_config_set_max_recv_msg_length(client->frames, MESSAGE_MAX_BYTES);
    return true;
}

/* Reads the answer's head; what stands behind it are frames already. */
static void client_read_answer(struct websocket_client *client)
{
    char chunk[2048];
    const char *end;
    ssize_t got = recv(client->fd, chunk, sizeof chunk, 0);

    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        client_fail(client, "closed during the handshake");
        return;
    }
    buf_append(&client->in, chunk, (size_t)got);
    end = memmem(buf_text(&client->in), client->in.len, "\r\n\r\n", 4);
    if (end == NULL)
        return;
    if (strncmp(client->in.data, "HTTP/1.1 101", 12) != 0 ||
        memmem(client->in.data, (size_t)(end - client->in.data), client->accept, strlen(client->accept)) ==
            NULL) {
        client->in.data[strcspn(client->in.data, "\r\n")] = '\0';
        client_fail(client, client->in.data);
        return;
    }
    client->in_used = (size_t)(end + 4 - client->in.data);
    if (!client_open_frames(client)) {
        client_fail(client, "no memory for frames");
        return;
    }
    client->state = CLIENT_OPEN;
    client->options.on_open(client->options.arg);
    if (client->state == CLIENT_OPEN)
        client_move_frames(client, UV_READABLE);
}

static void client_send_request(struct websocket_client *client)
{
    int failure = 0;
    socklen_t len = sizeof failure;

    if (getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &failure, &len) != 0 || failure != 0) {
        client_fail(client, strerror(failure != 0 ? failure : errno));
        return;
    }
    /* A fresh socket's send buffer takes a request of this size whole. */
    if (send(client->fd, client->out.data, client->out.len, MSG_NOSIGNAL) != (ssize_t)client->out.len) {
        client_fail(client, "the handshake could not be sent");
        return;
    }
    client->state = CLIENT_SHAKING;
    loop_poll_start(client->poll, UV_READABLE);
}

static void on_ready(void *arg, int events, int status)
{
    struct websocket_client *client = arg;

    if (status < 0)
        client_fail(client, uv_strerror(status));
    else if (client->state == CLIENT_CONNECTING)
        client_send_request(client);
    else if (client->state == CLIENT_SHAKING)
        client_read_answer(client);
    else if (client->state == CLIENT_OPEN)
        client_move_frames(client, events);
}

static void on_resolved(uv_getaddrinfo_t *resolve, int status, struct addrinfo *found)
{
    struct websocket_client *client = resolve->data;

    bool is_wanted = client->state == CLIENT_RESOLVING && status >= 0;

    client->state = CLIENT_CONNECTING;
    if (!is_wanted) {
        uv_freeaddrinfo(found);
        client_fail(client, status < 0 ? uv_strerror(status) : "closed before it opened");
        return;
    }
    client->fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0 ||
        (connect(client->fd, found->ai_addr, found->ai_addrlen) != 0 && errno != EINPROGRESS)) {
        client_fail(client, strerror(errno));
    } else {
        client->poll = loop_poll_new(client->loop, client->fd, on_ready, client);
        loop_poll_start(client->poll, UV_WRITABLE);
    }
    uv_freeaddrinfo(found);
}

struct websocket_client *websocket_client_start(struct loop *loop,
                                                const struct websocket_client_options *options)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_family = AF_INET };
    struct websocket_client *client = calloc(1, sizeof *client);

    if (client == NULL)
        abort();
    client->loop = loop;
    client->options = *options;
    client->host = str_dup(str_view_of(options->host));
    client->port = str_dup(str_view_of(options->port));
    client->target = str_dup(str_view_of(options->target));
    client->subprotocol = options->subprotocol != NULL ? str_dup(str_view_of(options->subprotocol)) : NULL;
    client->fd = -1;
    client->code = CLOSE_ABNORMAL;
    client->resolve.data = client;
    buf_init(&client->out, HANDSHAKE_MAX_BYTES);
    buf_init(&client->in, HANDSHAKE_MAX_BYTES);
    client_make_request(client);
    if (uv_getaddrinfo(loop_uv(loop), &client->resolve, on_resolved, client->host, client->port, &hints) !=
        0) {
        client->state = CLIENT_CONNECTING;
        client_fail(client, "cannot be resolved");
    }
    return client;
}

void websocket_client_send(struct websocket_client *client, struct str_view text)
{
    const struct wslay_event_msg message = { WSLAY_TEXT_FRAME, (const uint8_t *)text.data, text.len };

    if (client->state == CLIENT_OPEN && wslay_event_queue_msg(client->frames, &message) == 0)
        loop_poll_start(client->poll, UV_READABLE | UV_WRITABLE);
}

void websocket_client_close(struct websocket_client *client)
{
    client->code = 1000;
    if (client->state == CLIENT_RESOLVING)
        client->state = CLIENT_CLOSED; /* on_resolved() ends it */
    else
        client_end(client);
}
