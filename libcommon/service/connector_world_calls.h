/* SPDX-License-Identifier: Apache-2.0 */
/* connector_world_calls.h - for the skeleton's own tests: a provider's webhooks, and jobs of the centre. */
#ifndef GUICHET_SERVICE_CONNECTOR_WORLD_CALLS_H
#define GUICHET_SERVICE_CONNECTOR_WORLD_CALLS_H

#include "service/connector_world.h"

/* ---- webhooks in ---- */

struct hook_call {
    bool is_done;
    int status;
    char body[64];
    uint32_t retry_after_ms;
};

static inline void on_hook_answered(void *arg, const struct http_result *result)
{
    struct hook_call *call = arg;

    call->is_done = true;
    call->status = result->err.kind == ERR_NONE ? result->status : -1;
    call->retry_after_ms = result->retry_after_ms;
    snprintf(call->body, sizeof(call->body), "%.*s", (int)result->body.len, result->body.data);
}

static inline void hook_start(struct world *world, struct hook_call *call, const char *method,
                              const char *path, const char *header, const char *body)
{
    char url[256];
    struct http_client_request request = {
        .method = method,
        .url = url,
        .headers = { { "X-Toy", header } },
        .header_count = 1,
        .body = str_view_of(body),
        .timeout_ms = WAIT_MS,
    };

    snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", http_server_port(world->runtime->server), path);
    http_call_start(world->client, &request, on_hook_answered, call);
}

static inline void hook_post(struct world *world, struct hook_call *call, const char *body)
{
    hook_start(world, call, "POST", "/hooks/toy/toy-1", "yes", body);
}

static inline int hook_status(struct world *world, const char *body)
{
    struct hook_call call = { 0 };

    hook_post(world, &call, body);
    WAIT_FOR(world, call.is_done);
    return call.status;
}

static inline void wait_announced(struct world *world)
{
    WAIT_FOR(world, connector_is_announced(world->runtime));
}

static inline uint64_t counted(const struct world *world, enum connector_stat stat)
{
    return stats_value(world->runtime->stats, stat);
}

/* ---- jobs out ---- */

#define ACCEPTED GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_ACCEPTED
#define RETRY GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_RETRY
#define FAILED GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_FAILED
#define UNKNOWN GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_UNKNOWN
#define REASON(word) GUICHET__V1__FAILURE_REASON__FAILURE_REASON_##word

/* A job with everything it points to. */
struct toy_job {
    Guichet__V1__Job job;
    Guichet__V1__Outbound outbound;
    Guichet__V1__Content content;
    Guichet__V1__Part part, *parts[1];
    Guichet__V1__Text text;
};

static inline void job_fill(struct toy_job *job, const char *account_id, const char *text)
{
    guichet__v1__job__init(&job->job);
    guichet__v1__outbound__init(&job->outbound);
    guichet__v1__content__init(&job->content);
    guichet__v1__part__init(&job->part);
    guichet__v1__text__init(&job->text);
    job->text.text = (char *)text;
    job->part.kind_case = GUICHET__V1__PART__KIND_TEXT;
    job->part.text = &job->text;
    job->parts[0] = &job->part;
    job->content.parts = job->parts;
    job->content.n_parts = text != NULL;
    job->outbound.content = &job->content;
    job->job.kind_case = GUICHET__V1__JOB__KIND_SEND;
    job->job.send = &job->outbound;
    job->job.tenant = "demo";
    job->job.id = "delivery-1";
    job->job.account_id = (char *)account_id;
    job->job.lease = "lease-1";
    job->job.lease_ms = 60000;
}

static inline void give(struct world *world, const struct toy_job *job)
{
    world->centre.job = &job->job;
    centre_give(&world->centre);
}

static inline size_t jobs_open(const struct world *world)
{
    return connector_puller_jobs(world->runtime->pullers[0]);
}

#endif
