/* SPDX-License-Identifier: Apache-2.0 */
/* flow_jobs.h - what a connector does with jobs, in flow tests. */
#ifndef GUICHET_ROUTING_FLOW_JOBS_H
#define GUICHET_ROUTING_FLOW_JOBS_H

#include "flow_house.h"

static KIT_UNUSED void start_pull(struct house *house, size_t slot, uint32_t wait_ms)
{
    Guichet__V1__PullRequest request = GUICHET__V1__PULL_REQUEST__INIT;

    request.max_jobs = 10;
    request.wait_ms = wait_ms;
    ASK(house, slot, pull, connector, pull, PullReply, &request);
}

static KIT_UNUSED Guichet__V1__PullReply *end_pull(struct house *house, size_t slot)
{
    wait_for(house, slot);
    return (Guichet__V1__PullReply *)house->answers[slot].reply;
}

static KIT_UNUSED Guichet__V1__StartReply *start_job(struct house *house, const Guichet__V1__Job *job)
{
    Guichet__V1__StartRequest request = GUICHET__V1__START_REQUEST__INIT;

    request.tenant = job->tenant;
    request.job_id = job->id;
    request.lease = job->lease;
    return CALL(house, connector, connector, start, StartReply, &request);
}

/* `sha256`: of what was stored; NULL: nothing is said of media. */
static KIT_UNUSED Guichet__V1__ReportReply *report_media(struct house *house, const Guichet__V1__Job *job,
                                                         Guichet__V1__OutcomeKind kind, const char *sha256,
                                                         const char *text)
{
    Guichet__V1__ReportRequest request = GUICHET__V1__REPORT_REQUEST__INIT;
    Guichet__V1__Outcome outcome = GUICHET__V1__OUTCOME__INIT;
    Guichet__V1__Media media = GUICHET__V1__MEDIA__INIT;

    outcome.kind = kind;
    outcome.provider_text = (char *)text;
    if (sha256 != NULL) {
        media.sha256 = (ProtobufCBinaryData){ strlen(sha256), (uint8_t *)sha256 };
        media.size_bytes = 4711;
        outcome.media = &media;
    }
    request.tenant = job->tenant;
    request.job_id = job->id;
    request.lease = job->lease;
    request.outcome = &outcome;
    return CALL(house, connector, connector, report, ReportReply, &request);
}

static KIT_UNUSED Guichet__V1__ReportReply *report_job(struct house *house, const Guichet__V1__Job *job,
                                                       Guichet__V1__OutcomeKind kind, const char *provider_id)
{
    Guichet__V1__ReportRequest request = GUICHET__V1__REPORT_REQUEST__INIT;
    Guichet__V1__Outcome outcome = GUICHET__V1__OUTCOME__INIT;

    outcome.kind = kind;
    outcome.provider_id = (char *)provider_id;
    request.tenant = job->tenant;
    request.job_id = job->id;
    request.lease = job->lease;
    request.outcome = &outcome;
    return CALL(house, connector, connector, report, ReportReply, &request);
}

#endif
