/* SPDX-License-Identifier: Apache-2.0 */
/* record.c - Record: a batch is recorded, what it refuses is kept, and then comes the answer.
 *
 * What a connector gives up (`dead`) is kept with what is refused; numbers that stand for nothing (`voided`) are
 * told in the first transaction there is. A request with nothing in it is a probe (record_probe.c). */
#include "context.h"

#include <string.h>

#include "ops/failpoint.h"
#include "record_batch.h"
#include "statements.h"

struct record {
    struct record_batch batch;
    const Guichet__V1__RecordRequest *input;
    uint64_t started_ms;
};

/* ---- the answer ---- */

static void count_results(const struct record *record)
{
    static const char *const words[] = { "none", "stored", "duplicate", "refused" };
    struct stats *stats = record->batch.call->context->stats;
    uint64_t counts[COUNT_OF(words)] = { [3] = record->input->n_dead };

    for (size_t i = 0; i < record->batch.count; i++)
        counts[record->batch.results[i].result]++;
    for (size_t i = 1; i < COUNT_OF(words); i++)
        if (counts[i] > 0)
            stats_add_label(stats, CONTEXT_EVENTS, words[i], counts[i]);
    stats_observe_ms(stats, CONTEXT_RECORD_SECONDS,
                     (double)(loop_now_ms(record->batch.call->context->loop) - record->started_ms));
}

static Guichet__V1__Recorded *recorded_dead(const Guichet__V1__DeadEvent *dead, struct arena *arena)
{
    Guichet__V1__Recorded *recorded = context_alloc(arena, sizeof(*recorded));

    guichet__v1__recorded__init(recorded);
    recorded->event_key = dead->event_key;
    recorded->result = GUICHET__V1__RECORD_RESULT__RECORD_RESULT_REFUSED;
    recorded->reason = dead->reason;
    return recorded;
}

static void answer(struct record *record)
{
    Guichet__V1__RecordReply reply = GUICHET__V1__RECORD_REPLY__INIT;
    struct call *call = record->batch.call;
    size_t count = record->batch.count;
    struct err err = { 0 };

    if (FAILPOINT("context_after_record_commit_before_reply")) {
        (void)err_set(&err, ERR_UNAVAILABLE, "failpoint: committed, not answered");
        context_call_fail(call, &err);
        return;
    }
    reply.results =
        context_alloc(call->arena, (count + record->input->n_dead + 1) * sizeof(*reply.results));
    reply.n_results = count + record->input->n_dead;
    for (size_t i = 0; i < count; i++)
        reply.results[i] = &record->batch.results[i];
    for (size_t i = 0; i < record->input->n_dead; i++)
        reply.results[count + i] = recorded_dead(record->input->dead[i], call->arena);
    reply.change_sequence = record->batch.change_sequence;
    count_results(record);
    context_call_reply(call, &reply);
}

static void on_kept(void *arg, uint64_t change_sequence, const struct err *err)
{
    struct record *record = arg;

    if (err->kind != ERR_NONE) {
        context_call_fail(record->batch.call, err);
        return;
    }
    if (change_sequence > 0)
        record->batch.change_sequence = change_sequence;
    answer(record);
}

static void on_recorded(struct record_batch *batch, const struct err *err)
{
    struct record *record = batch->data;

    if (err->kind != ERR_NONE)
        context_call_fail(batch->call, err);
    else
        record_keep_refused(batch, record->input, on_kept, record);
}

/* ---- the request ---- */

static bool check_request(const struct context_config *config, const Guichet__V1__RecordRequest *input,
                          struct err *err)
{
    if (input->n_events + input->n_dead > config->events_max)
        return err_set(err, ERR_INVALID, "events: %zu, at most %u are allowed",
                       input->n_events + input->n_dead, config->events_max);
    if (input->n_channels != input->n_events && input->n_channels != 1)
        return err_set(err, ERR_INVALID, "channels: %zu for %zu events", input->n_channels, input->n_events);
    if (FAILPOINT("context_before_record"))
        return err_set(err, ERR_UNAVAILABLE, "failpoint: nothing is recorded");
    return record_check_voided(input, err);
}

#ifdef GUICHET_FAILPOINTS
/* For tests: a message that kills whoever records it is one with this in its payload. */
static void pass_poison(const Guichet__V1__RecordRequest *input)
{
    static const char poison[] = "guichet-poison";

    for (size_t i = 0; i < input->n_events; i++)
        if (input->events[i]->raw.len > 0 &&
            memmem(input->events[i]->raw.data, input->events[i]->raw.len, poison, strlen(poison)) != NULL)
            (void)FAILPOINT("context_record_poison");
}
#else
static void pass_poison(const Guichet__V1__RecordRequest *input)
{
    (void)input;
}
#endif

void context_record(Guichet__V1__Context_Service *service, const Guichet__V1__RecordRequest *input,
                    Guichet__V1__RecordReply_Closure closure, void *closure_data)
{
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    struct record *record;
    struct err err = { 0 };

    if (call == NULL)
        return;
    if (!check_request(call->context->config, input, &err)) {
        context_call_fail(call, &err);
        return;
    }
    if (input->n_events == 0 && input->n_dead == 0 && input->n_voided == 0) {
        record_probe(call);
        return;
    }
    pass_poison(input);
    record = context_alloc(call->arena, sizeof(*record));
    record->input = input;
    record->started_ms = loop_now_ms(call->context->loop);
    record->batch = (struct record_batch){ .call = call,
                                           .events = input->events,
                                           .count = input->n_events,
                                           .channels = input->channels,
                                           .channel_count = input->n_channels,
                                           .voided = input,
                                           .done = on_recorded,
                                           .data = record };
    record_batch_run(&record->batch);
}
