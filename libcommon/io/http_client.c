/* SPDX-License-Identifier: Apache-2.0 */
/* http_client.c - libcurl's multi interface on the loop: its sockets, its timer, and who waits for a turn.
 *
 * A call is in one of three lists: waiting for a place, running in libcurl, ended and to be told. done() is
 * only called for the third, by a timer of no delay or right after libcurl has reported: never from inside
 * start or cancel. libcurl's timer callback only arms our timer: libcurl may not be called from inside itself. */
#include "io/http_client_private.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/stats.h"

enum { MAX_IN_FLIGHT = 64, HOST_CONNECTIONS_MAX = 8, KEPT_CONNECTIONS_MAX = 64 };

enum { STAT_CALLS, STAT_OPEN, STAT_SECONDS };

const struct stat_info http_client_stats[] = {
    [STAT_CALLS] = { "http_client_calls_total",
                     "HTTP calls that ended, by what became of them: 2xx to 5xx, or the error.", STAT_COUNTER,
                     "outcome" },
    [STAT_OPEN] = { "http_client_open_calls", "HTTP calls under way or waiting for their turn.", STAT_GAUGE,
                    NULL },
    [STAT_SECONDS] = { "http_client_call_seconds",
                       "How long an HTTP call took, waiting for its turn included.", STAT_HISTOGRAM, NULL },
};
const size_t http_client_stats_count = COUNT_OF(http_client_stats);

struct http_client {
    struct http_client_options options;
    char *user_agent;
    struct loop *loop;
    CURLM *multi;
    struct loop_timer *curl_timer;
    struct loop_timer *end_timer;  /* tells what has ended */
    struct loop_timer *wait_timer; /* the earliest deadline of those that wait */
    struct loop_timer *rest_timer; /* those that go on after a rest, or are given up */
    struct http_calls lists[3];    /* by enum http_call_step */
    struct client_socket *sockets;
    struct stats *stats;
    bool is_telling;
    bool is_inside; /* libcurl, which calls us: it may not be called now */
};

/* What libcurl wants to know of one descriptor. */
struct client_socket {
    struct http_client *client;
    curl_socket_t fd;
    struct loop_poll *poll;
    struct client_socket *earlier, *later;
};

static void count_open(struct http_client *client)
{
    stats_set(client->stats, STAT_OPEN,
              client->lists[HTTP_CALL_WAITING].count + client->lists[HTTP_CALL_RUNNING].count);
}

static void list_remove(struct http_call *call)
{
    struct http_calls *list = &call->client->lists[call->step];

    *(call->earlier != NULL ? &call->earlier->later : &list->first) = call->later;
    *(call->later != NULL ? &call->later->earlier : &list->last) = call->earlier;
    call->earlier = call->later = NULL;
    list->count--;
}

static void list_append(struct http_call *call, enum http_call_step step)
{
    struct http_calls *list = &call->client->lists[step];

    call->step = step;
    call->earlier = list->last;
    *(list->last != NULL ? &list->last->later : &list->first) = call;
    list->last = call;
    list->count++;
}

/* The only writer of call->step. */
static void call_move(struct http_call *call, enum http_call_step step)
{
    assert(call->step < step);
    list_remove(call);
    list_append(call, step);
    count_open(call->client);
    if (step == HTTP_CALL_ENDED)
        loop_timer_start(call->client->end_timer, 0, 0);
}

static void run(struct http_call *call)
{
    uint64_t now_ms = loop_now_ms(call->client->loop);

    http_client_set_timeout(call, call->deadline_ms > now_ms ? call->deadline_ms - now_ms : 1);
    if (curl_multi_add_handle(call->client->multi, call->curl) != CURLM_OK)
        abort();
}

static void start_waiting(struct http_client *client)
{
    struct http_call *call;

    while ((call = client->lists[HTTP_CALL_WAITING].first) != NULL &&
           client->lists[HTTP_CALL_RUNNING].count < client->options.max_in_flight) {
        run(call);
        call_move(call, HTTP_CALL_RUNNING);
    }
}

static void call_free(struct http_call *call)
{
    if (call->curl != NULL)
        curl_easy_cleanup(call->curl);
    curl_slist_free_all(call->headers);
    buf_done(&call->body);
    buf_done(&call->answer);
    free(call->url);
    free(call->host);
    free(call);
}

static void count_end(const struct http_call *call)
{
    struct http_client *client = call->client;
    char outcome[16];

    if (call->result.err.kind != ERR_NONE) {
        stats_add_label(client->stats, STAT_CALLS, err_kind_name(call->result.err.kind), 1);
    } else {
        snprintf(outcome, sizeof(outcome), "%dxx", call->result.status / 100);
        stats_add_label(client->stats, STAT_CALLS, outcome, 1);
    }
    stats_observe_ms(client->stats, STAT_SECONDS, (double)(loop_now_ms(client->loop) - call->started_ms));
}

/* Tells of those that have ended by now: one that ends meanwhile, in a done() that starts anew, has to wait
 * for the next turn, or a caller that starts again at every failure would never let the loop go on. */
static void tell_ended(void *arg)
{
    struct http_client *client = arg;
    struct http_calls *ended = &client->lists[HTTP_CALL_ENDED];

    client->is_telling = true;
    for (uint32_t left = ended->count; left > 0; left--) {
        struct http_call *call = ended->first;

        list_remove(call);
        count_end(call);
        if (call->result.content_type == NULL)
            call->result.content_type = "";
        call->done(call->arg, &call->result);
        call_free(call);
    }
    client->is_telling = false;
    if (ended->count > 0)
        loop_timer_start(client->end_timer, 0, 0);
}

void http_client_enter(struct http_client *client)
{
    client->is_inside = true;
}

void http_client_leave(struct http_client *client)
{
    client->is_inside = false;
}

static void end_running(struct http_call *call, CURLcode code)
{
    struct http_client *client = call->client;

    http_client_read_result(call, code);
    curl_multi_remove_handle(client->multi, call->curl);
    if (code == CURLE_OK && !call->is_given_up && http_client_is_redirect(call)) {
        struct err err = { 0 };

        if (http_client_follow(call, &client->options, &err)) {
            run(call);
            return;
        }
        call->result = (struct http_result){ .err = err, .is_sent = true };
    }
    call_move(call, HTTP_CALL_ENDED);
}

static void collect(struct http_client *client)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        CURLcode code = message->data.result;
        CURL *curl = message->easy_handle;
        struct http_call *call = NULL;

        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(curl, CURLINFO_PRIVATE, &call);
        end_running(call, code);
    }
    start_waiting(client);
    if (client->lists[HTTP_CALL_ENDED].count > 0)
        tell_ended(client);
}

static void on_socket(void *arg, int events, int status)
{
    struct client_socket *sock = arg;
    struct http_client *client = sock->client;
    int flags = (events & UV_READABLE ? CURL_CSELECT_IN : 0) | (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0);
    int running;

    if (status < 0)
        flags = CURL_CSELECT_ERR;
    curl_multi_socket_action(client->multi, sock->fd, flags, &running); /* may free sock */
    collect(client);
}

static void on_curl_timer(void *arg)
{
    struct http_client *client = arg;
    int running;

    curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect(client);
}

/* Those that were resumed or given up while libcurl could not be told. */
static void on_rest_timer(void *arg)
{
    struct http_client *client = arg;
    struct http_call *next;

    for (struct http_call *call = client->lists[HTTP_CALL_RUNNING].first; call != NULL; call = next) {
        CURLcode code = CURLE_OK;

        next = call->later;
        if (call->is_resumed && !call->is_given_up)
            code = curl_easy_pause(call->curl, CURLPAUSE_CONT); /* may call read() and piece() */
        call->is_resumed = false;
        if (call->is_given_up || code != CURLE_OK)
            end_running(call, code != CURLE_OK ? code : CURLE_ABORTED_BY_CALLBACK);
    }
    collect(client);
}

static int on_want_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct http_client *client = arg;

    (void)multi;
    if (timeout_ms < 0)
        loop_timer_stop(client->curl_timer);
    else
        loop_timer_start(client->curl_timer, (uint64_t)timeout_ms, 0);
    return 0;
}

static void socket_free(struct client_socket *sock)
{
    *(sock->earlier != NULL ? &sock->earlier->later : &sock->client->sockets) = sock->later;
    if (sock->later != NULL)
        sock->later->earlier = sock->earlier;
    loop_poll_free(&sock->poll);
    free(sock);
}

static struct client_socket *socket_new(struct http_client *client, curl_socket_t fd)
{
    struct client_socket *sock = calloc(1, sizeof(*sock));

    if (sock == NULL)
        abort();
    sock->client = client;
    sock->fd = fd;
    sock->later = client->sockets;
    if (sock->later != NULL)
        sock->later->earlier = sock;
    client->sockets = sock;
    sock->poll = loop_poll_new(client->loop, fd, on_socket, sock);
    curl_multi_assign(client->multi, fd, sock);
    return sock;
}

/* libcurl may close the descriptor right after CURL_POLL_REMOVE. */
static int on_want_socket(CURL *curl, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct http_client *client = arg;
    struct client_socket *sock = socket_arg;

    (void)curl;
    if (what == CURL_POLL_REMOVE) {
        if (sock != NULL) {
            curl_multi_assign(client->multi, fd, NULL);
            socket_free(sock);
        }
        return 0;
    }
    if (sock == NULL)
        sock = socket_new(client, fd);
    loop_poll_start(sock->poll,
                    (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0));
    return 0;
}

static void arm_wait_timer(struct http_client *client)
{
    uint64_t now_ms = loop_now_ms(client->loop), earliest_ms = UINT64_MAX;

    for (struct http_call *call = client->lists[HTTP_CALL_WAITING].first; call != NULL; call = call->later)
        if (call->deadline_ms < earliest_ms)
            earliest_ms = call->deadline_ms;
    if (earliest_ms != UINT64_MAX)
        loop_timer_start(client->wait_timer, earliest_ms > now_ms ? earliest_ms - now_ms : 1, 0);
}

static void on_wait_timer(void *arg)
{
    struct http_client *client = arg;
    uint64_t now_ms = loop_now_ms(client->loop);

    for (struct http_call *call = client->lists[HTTP_CALL_WAITING].first, *next; call != NULL; call = next) {
        next = call->later;
        if (call->deadline_ms > now_ms)
            continue;
        (void)err_set(&call->result.err, ERR_DEADLINE, "host %s: no turn among %u calls in time", call->host,
                      client->options.max_in_flight);
        call_move(call, HTTP_CALL_ENDED);
    }
    arm_wait_timer(client);
}

bool http_client_allows(const struct http_client *client, const struct sockaddr *address)
{
    return http_address_is_public(address) ||
           (client->options.allow_private_addresses && http_address_is_own(address));
}

static void init_library(void)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        abort();
}

struct http_client *http_client_new(struct loop *loop, const struct http_client_options *options)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct http_client *client = calloc(1, sizeof(*client));
    long host_max =
        options->host_connections_max != 0 ? (long)options->host_connections_max : HOST_CONNECTIONS_MAX;

    pthread_once(&once, init_library);
    if (client == NULL || (client->multi = curl_multi_init()) == NULL)
        abort();
    client->options = *options;
    client->options.max_in_flight = options->max_in_flight != 0 ? options->max_in_flight : MAX_IN_FLIGHT;
    if (options->user_agent != NULL)
        client->options.user_agent = client->user_agent = str_dup(str_view_of(options->user_agent));
    client->loop = loop;
    client->curl_timer = loop_timer_new(loop, on_curl_timer, client);
    client->end_timer = loop_timer_new(loop, tell_ended, client);
    client->wait_timer = loop_timer_new(loop, on_wait_timer, client);
    client->rest_timer = loop_timer_new(loop, on_rest_timer, client);
    client->stats = stats_new("http_client", http_client_stats, http_client_stats_count);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_want_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_want_timer);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_MAX_HOST_CONNECTIONS, host_max);
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)KEPT_CONNECTIONS_MAX);
    return client;
}

struct http_call *http_call_start(struct http_client *client, const struct http_client_request *request,
                                  http_done_fn *done, void *arg)
{
    struct http_call *call = calloc(1, sizeof(*call));

    if (call == NULL)
        abort();
    assert(request->timeout_ms > 0);
    call->client = client;
    call->done = done;
    call->arg = arg;
    call->started_ms = loop_now_ms(client->loop);
    call->deadline_ms = call->started_ms + request->timeout_ms;
    list_append(call, HTTP_CALL_WAITING);
    if (!http_client_prepare(call, &client->options, request, &call->result.err)) {
        call_move(call, HTTP_CALL_ENDED);
        return call;
    }
    count_open(client);
    if (!client->is_inside)
        start_waiting(client);
    if (call->step == HTTP_CALL_WAITING)
        arm_wait_timer(client);
    return call;
}

void http_call_cancel(struct http_call *call)
{
    if (call->step == HTTP_CALL_ENDED)
        return;
    if (call->step == HTTP_CALL_RUNNING && call->client->is_inside) {
        call->is_given_up = true;
        loop_timer_start(call->client->rest_timer, 0, 0);
        return;
    }
    if (call->step == HTTP_CALL_RUNNING) {
        http_client_read_result(call, CURLE_ABORTED_BY_CALLBACK); /* for is_sent */
        curl_multi_remove_handle(call->client->multi, call->curl);
    }
    (void)err_set(&call->result.err, ERR_CANCELED, "host %s: the call was given up", call->host);
    call_move(call, HTTP_CALL_ENDED);
}

void http_call_resume(struct http_call *call)
{
    if (call->step != HTTP_CALL_RUNNING)
        return;
    call->is_resumed = true;
    loop_timer_start(call->client->rest_timer, 0, 0);
}

void http_client_free(struct http_client **client_ptr)
{
    struct http_client *client = *client_ptr;
    struct http_call *call;

    *client_ptr = NULL;
    if (client == NULL)
        return;
    assert(!client->is_telling && !client->is_inside);
    client->options.max_in_flight = 0; /* what done() may start now waits, and is canceled too */
    do {
        while ((call = client->lists[HTTP_CALL_RUNNING].first) != NULL ||
               (call = client->lists[HTTP_CALL_WAITING].first) != NULL)
            http_call_cancel(call);
        tell_ended(client);
    } while (client->lists[HTTP_CALL_WAITING].count + client->lists[HTTP_CALL_ENDED].count > 0);
    curl_multi_cleanup(client->multi);
    while (client->sockets != NULL)
        socket_free(client->sockets);
    loop_timer_free(&client->curl_timer);
    loop_timer_free(&client->end_timer);
    loop_timer_free(&client->wait_timer);
    loop_timer_free(&client->rest_timer);
    stats_free(&client->stats);
    free(client->user_agent);
    free(client);
}
