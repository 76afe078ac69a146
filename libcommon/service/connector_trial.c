/* SPDX-License-Identifier: Apache-2.0 */
/* connector_trial.c - who waits for the centre, and who may have broken it.
 *
 * An event that ends the process which records it looks like a centre that is down. So the centre is asked before
 * each attempt (a Submit without events), and trials come one at a time. A failure counts against the event when
 * the centre took others since its last attempt, when it gave no answer at all, or when it is gone right after:
 * one that answers and refuses everybody's events condemns nobody. After spool_attempts_max of them, and right after
 * the last, it is handed over as bytes that nobody parses; what cannot be handed over then is an event again. */
#include "service/connector_drain.h"

#include <stdlib.h>
#include <string.h>

#include "core/pbjson.h"
#include "ops/log.h"

enum { SUSPECTS_MAX = 256, SUSPECT_MAX_BYTES = 64 * 1024 * 1024 };

struct suspect {
    struct connector_trials *trials;
    struct lane *lane;
    struct arena *arena;
    struct spool_row row;
    Guichet__V1__InboundEvent *event; /* NULL: its bytes cannot be read */
    uint64_t next_ms;
    uint32_t retry_ms;
    uint64_t recorded; /* of the trials, at its last attempt */
    bool is_dead_next; /* hand it over instead of trying it */
    bool is_answered;  /* only its row must still go */
    bool is_under_way;
    struct err why;
    struct suspect *next;
};

struct wanted {
    struct lane *lane;
    connector_trial_fn *run;
    void *arg;
    struct wanted *next;
};

struct connector_trials {
    struct connector_lanes *lanes;
    struct loop_timer *watch_timer, *grant_timer, *suspect_timer;
    uint32_t retry_ms, token_generation;
    uint64_t recorded; /* requests with events that the centre took */
    bool is_asking;
    struct wanted *wanted, **wanted_end;
    bool is_busy;
    struct suspect *suspects;
    size_t suspect_count;
};

static void on_watched(const Guichet__V1__SubmitReply *reply, void *arg);
static void on_probed(const Guichet__V1__SubmitReply *reply, void *arg);
static void on_suspect_due(void *arg);
static void on_suspect_submitted(const Guichet__V1__SubmitReply *reply, void *arg);

static struct connector_runtime *runtime_of(const struct connector_trials *trials)
{
    return trials->lanes->runtime;
}

static uint32_t with_jitter(uint32_t ms)
{
    uint32_t jitter;

    random_bytes(&jitter, sizeof(jitter));
    return ms / 2 + jitter % (ms / 2 + 1);
}

static uint32_t longer(const struct connector_trials *trials, uint32_t ms)
{
    uint32_t max_ms = runtime_of(trials)->config->spool_retry_max_ms;

    return ms < max_ms / 2 ? ms * 2 : max_ms;
}

/* ---- the watch ---- */

static struct lane *find_waiting(const struct connector_trials *trials)
{
    for (size_t i = 0; i < trials->lanes->lane_count; i++)
        if (connector_drain_is_waiting(trials->lanes->lanes[i].drain))
            return &trials->lanes->lanes[i];
    return NULL;
}

void connector_trials_watch(struct connector_trials *trials)
{
    if (trials->is_asking || runtime_of(trials)->is_closing || loop_timer_is_active(trials->watch_timer))
        return;
    loop_timer_start(trials->watch_timer, with_jitter(trials->retry_ms), 0);
}

void connector_trials_heard(struct connector_trials *trials)
{
    trials->recorded++;
    trials->retry_ms = runtime_of(trials)->config->spool_retry_ms;
    if (loop_timer_is_active(trials->watch_timer))
        loop_timer_start(trials->watch_timer, with_jitter(trials->retry_ms), 0);
}

static void watch_again(struct connector_trials *trials)
{
    trials->retry_ms = longer(trials, trials->retry_ms);
    if (find_waiting(trials) != NULL)
        connector_trials_watch(trials);
}

static void on_watch(void *arg)
{
    struct connector_trials *trials = arg;
    struct lane *lane = find_waiting(trials);
    struct submit call = { .timeout_ms = runtime_of(trials)->config->submit_attempt_timeout_ms };

    if (lane == NULL)
        return;
    trials->is_asking = true;
    if (!connector_submit(lane, &call, on_watched, trials)) {
        trials->is_asking = false;
        watch_again(trials);
    }
    trials->token_generation = call.token_generation;
}

/* INVALID: routing is there, though older than this question. */
static void on_watched(const Guichet__V1__SubmitReply *reply, void *arg)
{
    struct connector_trials *trials = arg;
    enum err_kind kind = reply != NULL ? ERR_NONE : mesh_err()->kind;

    trials->is_asking = false;
    if (kind == ERR_CANCELED || runtime_of(trials)->is_closing)
        return;
    if (kind != ERR_NONE && kind != ERR_INVALID) {
        if (kind == ERR_FORBIDDEN)
            connector_announce_again(runtime_of(trials), trials->token_generation, NULL, NULL);
        watch_again(trials);
        return;
    }
    trials->retry_ms = runtime_of(trials)->config->spool_retry_ms;
    for (size_t i = 0; i < trials->lanes->lane_count; i++)
        connector_drain_retry(trials->lanes->lanes[i].drain);
}

/* ---- trials, one at a time ---- */

static void grant_soon(struct connector_trials *trials)
{
    if (!trials->is_busy && trials->wanted != NULL && !runtime_of(trials)->is_closing)
        loop_timer_start(trials->grant_timer, 0, 0);
}

void connector_trial_want(struct connector_trials *trials, struct lane *lane, connector_trial_fn *run,
                          void *arg)
{
    struct wanted *wanted = calloc(1, sizeof(*wanted));

    if (wanted == NULL)
        abort();
    *wanted = (struct wanted){ .lane = lane, .run = run, .arg = arg };
    *trials->wanted_end = wanted;
    trials->wanted_end = &wanted->next;
    grant_soon(trials);
}

void connector_trial_end(struct connector_trials *trials)
{
    trials->is_busy = false;
    grant_soon(trials);
}

static void run_first(struct connector_trials *trials, bool is_answering)
{
    struct wanted *wanted = trials->wanted;

    trials->wanted = wanted->next;
    if (trials->wanted == NULL)
        trials->wanted_end = &trials->wanted;
    if (!is_answering)
        trials->is_busy = false;
    wanted->run(wanted->arg, is_answering);
    free(wanted);
    grant_soon(trials);
}

static void on_grant(void *arg)
{
    struct connector_trials *trials = arg;
    struct submit call = { .timeout_ms = runtime_of(trials)->config->submit_attempt_timeout_ms };

    if (trials->is_busy || trials->wanted == NULL)
        return;
    trials->is_busy = true;
    if (!connector_submit(trials->wanted->lane, &call, on_probed, trials))
        run_first(trials, false);
}

static void on_probed(const Guichet__V1__SubmitReply *reply, void *arg)
{
    struct connector_trials *trials = arg;

    if (reply == NULL && mesh_err()->kind == ERR_CANCELED)
        return;
    run_first(trials, reply != NULL);
}

/* ---- suspects ---- */

static void plan_suspects(struct connector_trials *trials)
{
    uint64_t now_ms = loop_now_ms(runtime_of(trials)->loop), next_ms = UINT64_MAX;

    for (const struct suspect *suspect = trials->suspects; suspect != NULL; suspect = suspect->next)
        if (!suspect->is_under_way && suspect->next_ms < next_ms)
            next_ms = suspect->next_ms;
    if (next_ms != UINT64_MAX && !runtime_of(trials)->is_closing)
        loop_timer_start(trials->suspect_timer, next_ms > now_ms ? next_ms - now_ms : 0, 0);
}

static void suspect_later(struct suspect *suspect, bool is_at_once)
{
    struct connector_trials *trials = suspect->trials;

    suspect->is_under_way = false;
    suspect->next_ms =
        loop_now_ms(runtime_of(trials)->loop) + (is_at_once ? 0 : with_jitter(suspect->retry_ms));
    if (!is_at_once)
        suspect->retry_ms = longer(trials, suspect->retry_ms);
    plan_suspects(trials);
}

static void suspect_free(struct suspect *suspect)
{
    arena_free(&suspect->arena);
    free(suspect);
}

static void on_attempts_kept(void *arg, const struct err *err)
{
    (void)arg;
    if (err->kind != ERR_NONE && err->kind != ERR_CANCELED)
        log_event(LOG_ERROR, "spool_attempts_not_kept", LOG_ERR(err));
}

static void set_attempts(struct suspect *suspect, uint32_t attempts)
{
    struct connector_runtime *runtime = runtime_of(suspect->trials);

    if (attempts != suspect->row.attempts)
        spool_set_attempts(runtime->spool, &suspect->row, attempts, on_attempts_kept, NULL);
    suspect->row.attempts = attempts;
}

bool connector_suspect_add(struct connector_trials *trials, struct lane *lane, const struct spool_row *row,
                           uint32_t attempts)
{
    struct suspect *suspect;
    ProtobufCMessage *event = NULL;
    struct err err = { 0 };

    if (trials->suspect_count == SUSPECTS_MAX)
        return false;
    suspect = calloc(1, sizeof(*suspect));
    if (suspect == NULL)
        abort();
    *suspect = (struct suspect){ .trials = trials, .lane = lane, .row = *row, .recorded = trials->recorded };
    suspect->arena = arena_new(SUSPECT_MAX_BYTES);
    suspect->row.boot_id = arena_strdup(suspect->arena, row->boot_id);
    suspect->row.bytes.data = arena_dup(suspect->arena, row->bytes);
    suspect->retry_ms = runtime_of(trials)->config->spool_retry_ms;
    if (!row->is_damaged && pb_unpack(row->bytes, &guichet__v1__inbound_event__descriptor, &pb_limits_default,
                                      suspect->arena, &event, &err))
        suspect->event = (Guichet__V1__InboundEvent *)event;
    set_attempts(suspect, attempts);
    if (suspect->event == NULL) {
        suspect->is_dead_next = true;
        err_set(&suspect->why, ERR_INVALID, "its bytes were damaged in the spool");
    }
    suspect->next = trials->suspects;
    trials->suspects = suspect;
    trials->suspect_count++;
    log_event(LOG_WARN, "event_suspected",
              LOG_TEXT("account", runtime_of(trials)->slots[row->account].account->id),
              LOG_TEXT("event_key", suspect->event != NULL ? suspect->event->event_key : ""),
              LOG_NUMBER("attempts", attempts));
    suspect_later(suspect, false);
    return true;
}

/* ---- one attempt ---- */

static void on_row_deleted(void *arg, const struct err *err)
{
    struct suspect *suspect = arg, **at;
    struct connector_trials *trials = suspect->trials;

    if (err->kind != ERR_NONE) {
        suspect_later(suspect, false);
        return;
    }
    for (at = &trials->suspects; *at != suspect; at = &(*at)->next)
        ;
    *at = suspect->next;
    trials->suspect_count--;
    connector_drain_release(suspect->lane->drain, suspect->row.thread_key);
    suspect_free(suspect);
    plan_suspects(trials);
}

static void on_suspect_trial(void *arg, bool is_answering)
{
    struct suspect *suspect = arg;
    struct connector_trials *trials = suspect->trials;
    struct connector_runtime *runtime = runtime_of(trials);
    struct submit call = { .timeout_ms = runtime->config->submit_attempt_timeout_ms,
                           .is_single = true,
                           .without_voids = true /* beside its row in the spool */ };

    if (!is_answering) {
        suspect->is_dead_next = suspect->event == NULL; /* too long after: it must fail once more */
        suspect_later(suspect, false);
        return;
    }
    if (suspect->is_dead_next) {
        call.dead = connector_dead_row(suspect->arena, runtime->slots[suspect->row.account].account->id,
                                       suspect->event, &suspect->row, suspect->why.text,
                                       suspect->row.attempts > 0 ? suspect->row.attempts : 1);
    } else {
        call.events = &suspect->event;
        call.event_count = 1;
    }
    if (!connector_submit(suspect->lane, &call, on_suspect_submitted, suspect)) {
        connector_trial_end(trials);
        suspect_later(suspect, false);
    }
}

/* It broke the centre, as far as can be told: at the last of its attempts it is handed over at once. */
static void count_failure(struct suspect *suspect)
{
    uint32_t max = runtime_of(suspect->trials)->config->spool_attempts_max;

    set_attempts(suspect, suspect->row.attempts + (suspect->row.attempts < max));
    if (suspect->row.attempts < max)
        return;
    suspect->is_dead_next = true;
    err_set(&suspect->why, ERR_INTERNAL, "the centre failed %u times while recording it",
            suspect->row.attempts);
}

static void end_attempt(struct suspect *suspect, bool is_counted)
{
    suspect->recorded = suspect->trials->recorded;
    connector_trial_end(suspect->trials);
    if (is_counted)
        count_failure(suspect);
    suspect_later(suspect, suspect->is_dead_next);
}

/* Gone, though it answered right before. */
static void on_asked_after(const Guichet__V1__SubmitReply *reply, void *arg)
{
    struct suspect *suspect = arg;
    enum err_kind kind = reply != NULL ? ERR_NONE : mesh_err()->kind;

    if (kind != ERR_CANCELED)
        end_attempt(suspect, kind == ERR_UNAVAILABLE || kind == ERR_DEADLINE);
}

static void on_suspect_failed(struct suspect *suspect, const struct err *err)
{
    struct connector_trials *trials = suspect->trials;
    struct submit call = { .timeout_ms = runtime_of(trials)->config->submit_attempt_timeout_ms };
    bool was_dead = suspect->is_dead_next;

    if (err->kind == ERR_INVALID && !was_dead) {
        suspect->is_dead_next = true;
        suspect->why = *err;
        end_attempt(suspect, false);
    } else if (was_dead) { /* not even as bytes: nobody's fault but the centre's */
        suspect->is_dead_next = false;
        end_attempt(suspect, false);
        suspect->is_dead_next = suspect->event == NULL;
    } else if (err->kind == ERR_DEADLINE || ((err->kind == ERR_UNAVAILABLE || err->kind == ERR_INTERNAL) &&
                                             trials->recorded != suspect->recorded)) {
        end_attempt(suspect, true);
    } else if (err->kind != ERR_UNAVAILABLE ||
               !connector_submit(suspect->lane, &call, on_asked_after, suspect)) {
        end_attempt(suspect, false);
    }
}

static void on_suspect_submitted(const Guichet__V1__SubmitReply *reply, void *arg)
{
    struct suspect *suspect = arg;
    struct connector_trials *trials = suspect->trials;
    struct connector_runtime *runtime = runtime_of(trials);
    const struct connector_account *account = runtime->slots[suspect->row.account].account;
    struct err err = { 0 };

    if (reply == NULL)
        err = *mesh_err();
    else if (reply->n_results != 1 ||
             !connector_is_answer(suspect->is_dead_next ? NULL : suspect->event->event_key,
                                  reply->results[0]))
        err_set(&err, ERR_INTERNAL, "the result is not that of the event");
    if (err.kind == ERR_CANCELED)
        return;
    if (err.kind != ERR_NONE) {
        on_suspect_failed(suspect, &err);
        return;
    }
    connector_trial_end(trials);
    trials->recorded += !suspect->is_dead_next;
    connector_count(runtime, connector_stat_of(reply->results[0]), account, 1);
    if (suspect->is_dead_next) {
        connector_count(runtime, CONNECTOR_EVENTS_DEAD, account, 1);
        log_event(LOG_ERROR, "event_given_up", LOG_TEXT("account", account->id),
                  LOG_TEXT("event_key", suspect->event != NULL ? suspect->event->event_key : ""),
                  LOG_TEXT("reason", suspect->why.text));
    }
    suspect->is_answered = true;
    spool_delete(runtime->spool, &suspect->row, 1, on_row_deleted, suspect);
}

static void on_suspect_due(void *arg)
{
    struct connector_trials *trials = arg;
    uint64_t now_ms = loop_now_ms(runtime_of(trials)->loop);

    for (struct suspect *suspect = trials->suspects; suspect != NULL; suspect = suspect->next) {
        if (suspect->is_under_way || suspect->next_ms > now_ms)
            continue;
        suspect->is_under_way = true;
        if (suspect->is_answered)
            spool_delete(runtime_of(trials)->spool, &suspect->row, 1, on_row_deleted, suspect);
        else
            connector_trial_want(trials, suspect->lane, on_suspect_trial, suspect);
    }
    plan_suspects(trials);
}

/* ---- life ---- */

struct connector_trials *connector_trials_new(struct connector_lanes *lanes)
{
    struct connector_trials *trials = calloc(1, sizeof(*trials));

    if (trials == NULL)
        abort();
    trials->lanes = lanes;
    trials->wanted_end = &trials->wanted;
    trials->retry_ms = lanes->runtime->config->spool_retry_ms;
    trials->watch_timer = loop_timer_new(lanes->runtime->loop, on_watch, trials);
    trials->grant_timer = loop_timer_new(lanes->runtime->loop, on_grant, trials);
    trials->suspect_timer = loop_timer_new(lanes->runtime->loop, on_suspect_due, trials);
    return trials;
}

void connector_trials_free(struct connector_trials **trials_ptr)
{
    struct connector_trials *trials = *trials_ptr;
    struct suspect *suspect;
    struct wanted *wanted;

    *trials_ptr = NULL;
    if (trials == NULL)
        return;
    while ((suspect = trials->suspects) != NULL) {
        trials->suspects = suspect->next;
        suspect_free(suspect);
    }
    while ((wanted = trials->wanted) != NULL) {
        trials->wanted = wanted->next;
        free(wanted);
    }
    loop_timer_free(&trials->watch_timer);
    loop_timer_free(&trials->grant_timer);
    loop_timer_free(&trials->suspect_timer);
    free(trials);
}
