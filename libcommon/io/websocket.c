/* SPDX-License-Identifier: Apache-2.0 */
/* websocket.c - one WebSocket: frames by wslay, bytes by us.
 *
 * wslay writes a frame in two pieces; they are gathered in `out`, so that a turn's messages leave in one
 * send(2). Nothing is written from inside a call of the owner's: the descriptor is asked whether it takes
 * bytes, and the next turn writes. That is also why on_close never comes from inside a call. */
#include "io/websocket_private.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <wslay/wslay.h>

enum {
    MESSAGE_MAX_BYTES = 16 << 10,
    QUEUE_MAX_BYTES = 1 << 20,
    PING_INTERVAL_MS = 25000,
    SILENT_INTERVALS_MAX = 2,
    CLOSE_TIMEOUT_MS = 5000,
    OUT_MAX_BYTES = 32 << 10,
    READ_MAX_BYTES = 64 << 10, /* a turn: others want theirs */
    WRITES_MAX = 8,            /* a turn, likewise */
    QUEUED_FRAMES_MAX = 65536, /* pongs too, which carry no bytes: a peer that pings and never reads is ended */
    REASON_MAX_BYTES = 123,    /* RFC 6455 §5.5: a control frame's 125, less the code */
    CODE_TRY_AGAIN_LATER = 1013,
};

enum websocket_state {
    WEBSOCKET_UPGRADING,
    WEBSOCKET_OPEN,
    WEBSOCKET_CLOSING,   /* a close frame is queued, or came */
    WEBSOCKET_LINGERING, /* ours is out, what still comes is thrown away: closing with unread
                                           bytes would reset the connection and take the frame away */
    WEBSOCKET_ENDED,
};

struct websocket {
    struct websocket_options options;
    struct loop *loop;
    enum websocket_state state;
    wslay_event_context_ptr frames;
    int fd;
    struct loop_poll *poll;
    struct loop_timer *timer; /* pings; once closing, the end of patience */
    http_close_fn *close;
    void *close_arg;
    struct buf early; /* came with the handshake */
    size_t early_read;
    struct buf out;
    size_t out_sent;
    size_t read_left; /* of READ_MAX_BYTES */
    uint64_t heard_ms;
    int close_code; /* why we close; 0: the peer does */
    bool is_cut;    /* the connection ended without a close frame */
};

/* The only writer of socket->state. */
static void websocket_move(struct websocket *socket, enum websocket_state state)
{
    assert(state > socket->state);
    socket->state = state;
    if (state == WEBSOCKET_CLOSING || (state == WEBSOCKET_LINGERING && socket->close_code == 0))
        loop_timer_start(socket->timer, CLOSE_TIMEOUT_MS, 0);
}

static void websocket_free(struct websocket *socket)
{
    loop_poll_free(&socket->poll);
    loop_timer_free(&socket->timer);
    wslay_event_context_free(socket->frames);
    buf_done(&socket->early);
    buf_done(&socket->out);
    free(socket);
}

/* The one way out. */
static void websocket_end(struct websocket *socket, int code)
{
    websocket_move(socket, WEBSOCKET_ENDED);
    loop_poll_free(&socket->poll); /* before the descriptor is closed */
    if (socket->close != NULL)
        socket->close(socket->close_arg);
    socket->options.on_close(socket->options.arg, socket, code);
    websocket_free(socket);
}

static int end_code(const struct websocket *socket)
{
    int code;

    if (socket->close_code != 0)
        return socket->close_code;
    if (wslay_event_get_close_received(socket->frames))
        return wslay_event_get_status_code_received(socket->frames);
    if (socket->is_cut || !wslay_event_get_close_sent(socket->frames))
        return WSLAY_CODE_ABNORMAL_CLOSURE;
    code = wslay_event_get_status_code_sent(socket->frames);
    /* wslay answers a frame that it cannot even parse with a close frame without a code. */
    return code != WSLAY_CODE_NO_STATUS_RCVD ? code : WSLAY_CODE_PROTOCOL_ERROR;
}

static void want(struct websocket *socket)
{
    bool is_writing = socket->out.len > 0 || wslay_event_want_write(socket->frames);
    bool is_reading = wslay_event_want_read(socket->frames) || socket->state == WEBSOCKET_LINGERING;

    if (socket->poll != NULL)
        loop_poll_start(socket->poll, (is_reading ? UV_READABLE : 0) | (is_writing ? UV_WRITABLE : 0));
}

/* ---- wslay's callbacks ---- */

static ssize_t on_recv(wslay_event_context_ptr frames, uint8_t *data, size_t size, int flags, void *arg)
{
    struct websocket *socket = arg;
    size_t early_left = socket->early.len - socket->early_read;
    ssize_t got;

    (void)flags;
    if (early_left > 0) {
        size = early_left < size ? early_left : size;
        memcpy(data, socket->early.data + socket->early_read, size);
        socket->early_read += size;
        return (ssize_t)size;
    }
    if (socket->read_left == 0) {
        wslay_event_set_error(frames, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    got = recv(socket->fd, data, size < socket->read_left ? size : socket->read_left, MSG_DONTWAIT);
    if (got > 0) {
        socket->read_left -= (size_t)got;
        socket->heard_ms = loop_now_ms(socket->loop);
        return got;
    }
    socket->is_cut = got == 0 || (errno != EAGAIN && errno != EINTR);
    wslay_event_set_error(frames, socket->is_cut ? WSLAY_ERR_CALLBACK_FAILURE : WSLAY_ERR_WOULDBLOCK);
    return -1;
}

static ssize_t on_send(wslay_event_context_ptr frames, const uint8_t *data, size_t len, int flags, void *arg)
{
    struct websocket *socket = arg;
    size_t room = OUT_MAX_BYTES - socket->out.len;

    (void)flags;
    if (room == 0) {
        wslay_event_set_error(frames, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    len = len < room ? len : room;
    buf_append(&socket->out, data, len);
    return (ssize_t)len;
}

static void on_message(wslay_event_context_ptr frames, const struct wslay_event_on_msg_recv_arg *message,
                       void *arg)
{
    struct websocket *socket = arg;

    (void)frames;
    if (socket->state != WEBSOCKET_OPEN)
        return;
    if (message->opcode == WSLAY_TEXT_FRAME)
        socket->options.on_text(socket->options.arg, socket,
                                (struct str_view){ (const char *)message->msg, message->msg_length });
    else if (message->opcode == WSLAY_BINARY_FRAME)
        websocket_close(socket, WSLAY_CODE_UNSUPPORTED_DATA, "text only");
    else if (message->opcode == WSLAY_CONNECTION_CLOSE)
        websocket_move(socket, WEBSOCKET_CLOSING); /* wslay answers it */
}

/* ---- bytes ---- */

/* false: the connection is broken. */
static bool send_out(struct websocket *socket, bool *ret_is_blocked)
{
    ssize_t sent = send(socket->fd, socket->out.data + socket->out_sent, socket->out.len - socket->out_sent,
                        MSG_DONTWAIT | MSG_NOSIGNAL);

    *ret_is_blocked = sent < 0 && (errno == EAGAIN || errno == EINTR);
    if (sent < 0)
        return *ret_is_blocked;
    socket->out_sent += (size_t)sent;
    if (socket->out_sent == socket->out.len) {
        buf_done(&socket->out); /* thousands of idle sockets keep no buffer */
        buf_init(&socket->out, OUT_MAX_BYTES);
        socket->out_sent = 0;
    }
    return true;
}

static bool flush(struct websocket *socket)
{
    bool is_blocked = false;

    for (int i = 0; i < WRITES_MAX && !is_blocked; i++) {
        if (socket->out.len == 0 && wslay_event_send(socket->frames) != 0)
            return false;
        if (socket->out.len == 0)
            break;
        if (!send_out(socket, &is_blocked))
            return false;
    }
    return true;
}

/* Reads and forgets; false at the end of the connection. */
static bool discard(struct websocket *socket)
{
    char bytes[4096];
    ssize_t got = 1;

    for (size_t left = READ_MAX_BYTES; got > 0 && left >= sizeof(bytes); left -= sizeof(bytes))
        got = recv(socket->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

/* Where the closing handshake stands, after a turn's reading and writing. true: it is over. */
static bool is_over(struct websocket *socket)
{
    bool is_sent = wslay_event_get_close_sent(socket->frames) && socket->out.len == 0;

    if (!is_sent)
        return false;
    if (wslay_event_get_close_received(socket->frames))
        return true;
    if (socket->state < WEBSOCKET_LINGERING && !wslay_event_get_read_enabled(socket->frames)) {
        websocket_move(socket, WEBSOCKET_LINGERING); /* wslay has seen nonsense and reads no more */
        shutdown(socket->fd, SHUT_WR);
    }
    return false;
}

static void on_ready(void *arg, int events, int status)
{
    struct websocket *socket = arg;
    bool is_alive = status == 0;

    if (socket->state == WEBSOCKET_LINGERING) {
        if (!discard(socket))
            websocket_end(socket, end_code(socket));
        return;
    }
    socket->read_left = READ_MAX_BYTES;
    if (is_alive && ((events & UV_READABLE) || socket->early_read < socket->early.len) &&
        wslay_event_want_read(socket->frames))
        is_alive = wslay_event_recv(socket->frames) == 0 &&
                   wslay_event_get_queued_msg_count(socket->frames) <= QUEUED_FRAMES_MAX;
    if (socket->early_read > 0 && socket->early_read == socket->early.len) {
        buf_done(&socket->early);
        buf_init(&socket->early, 0);
        socket->early_read = 0;
    }
    is_alive = flush(socket) && is_alive;
    if (!is_alive || is_over(socket))
        websocket_end(socket, end_code(socket));
    else
        want(socket);
}

static void on_timer(void *arg)
{
    struct websocket *socket = arg;
    const struct wslay_event_msg ping = { .opcode = WSLAY_PING };
    uint64_t silent_ms = loop_now_ms(socket->loop) - socket->heard_ms;

    if (socket->state != WEBSOCKET_OPEN) {
        websocket_end(socket, end_code(socket));
        return;
    }
    if (silent_ms >= (uint64_t)SILENT_INTERVALS_MAX * socket->options.ping_interval_ms) {
        websocket_end(socket, WSLAY_CODE_ABNORMAL_CLOSURE);
        return;
    }
    wslay_event_queue_msg(socket->frames, &ping);
    want(socket);
}

/* The server goes: a last word, as far as the descriptor takes it at once. */
static void on_gone(void *arg)
{
    struct websocket *socket = arg;

    if (socket->state == WEBSOCKET_OPEN)
        websocket_close(socket, WSLAY_CODE_GOING_AWAY, "the service is stopping");
    (void)flush(socket);
    websocket_end(socket, end_code(socket));
}

static void on_socket(void *arg, int fd, struct str_view early, http_close_fn *close_fn, void *close_arg)
{
    struct websocket *socket = arg;
    int on = 1;

    if (fd < 0) {
        websocket_end(socket, WSLAY_CODE_ABNORMAL_CLOSURE);
        return;
    }
    socket->fd = fd;
    socket->close = close_fn;
    socket->close_arg = close_arg;
    socket->heard_ms = loop_now_ms(socket->loop);
    http_upgraded_on_gone(close_arg, on_gone, socket);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    buf_init(&socket->early, early.len);
    buf_append_view(&socket->early, early);
    socket->poll = loop_poll_new(socket->loop, fd, on_ready, socket);
    loop_timer_start(socket->timer, socket->options.ping_interval_ms, socket->options.ping_interval_ms);
    websocket_move(socket, WEBSOCKET_OPEN);
    socket->options.on_open(socket->options.arg, socket);
    loop_poll_start(socket->poll, UV_READABLE | UV_WRITABLE); /* the next turn reads what came early */
}

static struct websocket *websocket_new(struct loop *loop, const struct websocket_options *options)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = on_recv,
        .send_callback = on_send,
        .on_msg_recv_callback = on_message,
    };
    struct websocket *socket = calloc(1, sizeof(*socket));

    if (socket == NULL || wslay_event_context_server_init(&socket->frames, &callbacks, socket) != 0)
        abort();
    socket->loop = loop;
    socket->fd = -1;
    socket->options = *options;
    socket->options.subprotocol = NULL; /* the handshake's alone */
    if (options->message_max_bytes == 0)
        socket->options.message_max_bytes = MESSAGE_MAX_BYTES;
    if (options->queue_max_bytes == 0)
        socket->options.queue_max_bytes = QUEUE_MAX_BYTES;
    if (options->ping_interval_ms == 0)
        socket->options.ping_interval_ms = PING_INTERVAL_MS;
    wslay_event_config_set_max_recv_msg_length(socket->frames, socket->options.message_max_bytes);
    buf_init(&socket->out, OUT_MAX_BYTES);
    socket->timer = loop_timer_new(loop, on_timer, socket);
    return socket;
}

bool websocket_accept(struct loop *loop, struct http_exchange *exchange,
                      const struct websocket_options *options)
{
    char accept_key[WEBSOCKET_ACCEPT_BYTES];
    struct websocket *socket;

    if (!websocket_check_handshake(exchange, options->subprotocol, accept_key))
        return false;
    socket = websocket_new(loop, options);
    http_exchange_set_header(exchange, "Sec-WebSocket-Accept", accept_key);
    if (options->subprotocol != NULL)
        http_exchange_set_header(exchange, "Sec-WebSocket-Protocol", options->subprotocol);
    if (http_exchange_upgrade(exchange, "websocket", on_socket, socket))
        return true;
    websocket_free(socket);
    return false;
}

void websocket_send_text(struct websocket *socket, struct str_view text)
{
    const struct wslay_event_msg message = { .opcode = WSLAY_TEXT_FRAME,
                                             .msg = (const uint8_t *)text.data,
                                             .msg_length = text.len };

    if (socket->state != WEBSOCKET_OPEN)
        return;
    if (websocket_queued_bytes(socket) + text.len > socket->options.queue_max_bytes) {
        websocket_close(socket, CODE_TRY_AGAIN_LATER, "too slow");
        return;
    }
    if (wslay_event_queue_msg(socket->frames, &message) == WSLAY_ERR_NOMEM)
        abort();
    want(socket);
}

size_t websocket_queued_bytes(const struct websocket *socket)
{
    return wslay_event_get_queued_msg_length(socket->frames) + socket->out.len - socket->out_sent;
}

void websocket_close(struct websocket *socket, int code, const char *reason)
{
    size_t len = utf8_cut(str_view_of(reason), REASON_MAX_BYTES);

    if (socket->state != WEBSOCKET_OPEN)
        return;
    socket->close_code = code;
    wslay_event_queue_close(socket->frames, (uint16_t)code, (const uint8_t *)reason, len);
    websocket_move(socket, WEBSOCKET_CLOSING);
    want(socket);
}

void websocket_set_arg(struct websocket *socket, void *arg)
{
    socket->options.arg = arg;
}
