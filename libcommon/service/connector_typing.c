/* SPDX-License-Identifier: Apache-2.0 */
/* connector_typing.c - "somebody is writing": one call to the provider, worth nothing a few seconds later, so
 * never repeated. */
#include <stdlib.h>

#include "service/connector_internal.h"

#define KIND(word) GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_##word
#define REASON(word) GUICHET__V1__FAILURE_REASON__FAILURE_REASON_##word

struct connector_typing {
    struct connector_step step;
    struct loop_timer *begin; /* it may end at once, which is not said from inside start */
};

static void end(const struct connector_step *step, Guichet__V1__OutcomeKind kind, const char *text)
{
    connector_count(step->runtime, kind == KIND(ACCEPTED) ? CONNECTOR_TYPING_SENT : CONNECTOR_TYPING_FAILED,
                    step->slot->account, 1);
    connector_outcome_set(step->outcome, step->arena, kind, REASON(UNSPECIFIED), text);
    step->done(step->arg);
}

static void on_answered(void *arg, const struct http_result *result)
{
    const struct connector_step *step = &((struct connector_typing *)arg)->step;

    if (result->err.kind == ERR_CANCELED)
        step->done(step->arg); /* the process ends */
    else if (result->err.kind != ERR_NONE)
        end(step, KIND(FAILED), result->err.text);
    else if (result->status / 100 != 2)
        end(step, KIND(FAILED), arena_printf(step->arena, "the provider answered %d", result->status));
    else
        end(step, KIND(ACCEPTED), "");
}

static void on_begin(void *arg)
{
    struct connector_typing *typing = arg;
    const struct connector_step *step = &typing->step;
    const struct connector_config *config = step->runtime->config;
    const struct connector *table = step->runtime->table;
    uint32_t left_ms = connector_step_left_ms(step);
    struct http_client_request request = { 0 };
    struct err err = { 0 };

    if (table->typing == NULL) {
        end(step, KIND(FAILED), "this connector sends no typing marks");
        return;
    }
    if (!table->typing(step->slot->account, step->job->typing, step->arena, &request, &err)) {
        end(step, KIND(FAILED), err.text);
        return;
    }
    if (left_ms == 0) {
        end(step, KIND(FAILED), "the lease has run out");
        return;
    }
    request.timeout_ms = left_ms < config->provider_timeout_ms ? left_ms : config->provider_timeout_ms;
    http_call_start(step->runtime->http, &request, on_answered, typing);
}

void connector_typing_start(const struct connector_step *step, struct connector_typing **ret_typing)
{
    struct connector_typing *typing = calloc(1, sizeof(*typing));

    if (typing == NULL)
        abort();
    typing->step = *step;
    typing->begin = loop_timer_new(step->runtime->loop, on_begin, typing);
    loop_timer_start(typing->begin, 0, 0);
    *ret_typing = typing;
}

void connector_typing_free(struct connector_typing **typing_ptr)
{
    struct connector_typing *typing = *typing_ptr;

    *typing_ptr = NULL;
    if (typing == NULL)
        return;
    loop_timer_free(&typing->begin);
    free(typing);
}
