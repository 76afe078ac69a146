/* SPDX-License-Identifier: Apache-2.0 */
/* guichetctl tail: the event log from a sequence on, then live.
 *
 * The doorbell says that something is new, the log says what: read until there is no
 * more, then wait for the bell, or two seconds. */
#include "ctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/pbjson.h"
#include "guichet/v1/routing.pb-c.h"

#define TAIL_POLL_MS 2000
#define TAIL_LIMIT 200
#define LINE_MAX_BYTES (1u << 20)

struct tail {
    struct ctl *ctl;
    const char *tenant;
    uint64_t sequence; /* printed up to here           */
    uint64_t until;    /* 0: for ever                  */
    bool starts_now;   /* skip to the end at first     */
    bool is_reading, is_rung;
    char epoch[64];
    struct loop_timer *timer;
    struct mesh_subscriber *subscriber;
};

static void tail_read(struct tail *tail);

static void tail_print(struct tail *tail, const Guichet__V1__ReadEventsReply *reply)
{
    SCOPED_BUF line = { 0 };

    buf_init(&line, LINE_MAX_BYTES);
    for (size_t i = 0; i < reply->n_events; i++) {
        buf_clear(&line);
        pbjson_append(&line, &reply->events[i]->base, PBJSON_API);
        printf("%s\n", buf_text(&line));
        tail->sequence = reply->events[i]->sequence;
    }
    fflush(stdout);
}

static void on_events(const Guichet__V1__ReadEventsReply *reply, void *arg)
{
    struct tail *tail = arg;

    tail->is_reading = false;
    if (reply == NULL) {
        fprintf(stderr, "guichetctl: %s\n", mesh_err()->text);
        if (!err_is_retryable(mesh_err()->kind))
            ctl_end(tail->ctl, err_exit_code(mesh_err()->kind));
        return;
    }
    snprintf(tail->epoch, sizeof tail->epoch, "%s", reply->epoch);
    if (reply->is_resync_required || tail->starts_now) {
        if (reply->is_resync_required)
            fprintf(stderr, "guichetctl: the log begins anew at %" PRIu64 "\n", reply->last_sequence);
        tail->sequence = reply->last_sequence;
        tail->starts_now = false;
    } else {
        tail_print(tail, reply);
    }
    if (tail->until != 0 && tail->sequence >= tail->until)
        ctl_end(tail->ctl, 0);
    else if (tail->is_rung || tail->sequence < reply->last_sequence)
        tail_read(tail);
}

static void tail_read(struct tail *tail)
{
    Guichet__V1__ReadEventsRequest request = GUICHET__V1__READ_EVENTS_REQUEST__INIT;

    tail->is_rung = tail->is_reading;
    if (tail->is_reading)
        return;
    tail->is_reading = true;
    request.tenant = (char *)tail->tenant;
    request.after_sequence = tail->sequence;
    request.epoch = tail->epoch;
    request.limit = TAIL_LIMIT;
    guichet__v1__routing__read_events(
        mesh_client_call(tail->ctl->mesh, &(struct mesh_call){ .tenant = tail->tenant, .timeout_ms = 5000 }),
        &request, on_events, tail);
}

static void on_doorbell(void *arg, const char *tenant, uint64_t sequence)
{
    struct tail *tail = arg;

    if (tenant[0] == '\0' || (strcmp(tenant, tail->tenant) == 0 && sequence > tail->sequence))
        tail_read(tail);
}

static void on_poll(void *arg)
{
    tail_read(arg);
}

int ctl_tail(struct ctl *ctl, int argc, char **argv)
{
    const char *from = NULL, *until = "0";
    struct tail tail = { .ctl = ctl, .tenant = "demo" };
    const struct ctl_option options[] = {
        { "--tenant", &tail.tenant, "the tenant's name" },
        { "--from", &from, "the sequence to start after; without: from now on" },
        { "--until", &until, "the sequence to end at" },
        { NULL, NULL, NULL },
    };
    struct err err = { 0 };

    if (!ctl_options(&argc, argv, options, &err) || !ctl_mesh(ctl, &err) ||
        !mesh_subscriber_new(ctl->loop, &ctl->doorbells, 1, on_doorbell, &tail, &tail.subscriber, &err))
        return ctl_fail(&err);
    tail.starts_now = from == NULL;
    tail.sequence = from != NULL ? strtoull(from, NULL, 10) : 0;
    tail.until = strtoull(until, NULL, 10);
    tail.timer = loop_timer_new(ctl->loop, on_poll, &tail);
    loop_timer_start(tail.timer, 0, TAIL_POLL_MS);
    loop_run(ctl->loop);
    mesh_subscriber_free(&tail.subscriber);
    loop_timer_free(&tail.timer);
    mesh_client_free(&ctl->mesh);
    loop_free(&ctl->loop);
    return ctl->exit_code;
}
