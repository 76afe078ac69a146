/* SPDX-License-Identifier: Apache-2.0 */
/* jobs.h - the ends of jobs other than deliveries: context hears what became of a media part before the job does. */
#ifndef GUICHET_ROUTING_JOBS_H
#define GUICHET_ROUTING_JOBS_H

#include "call.h"

/* What context is to be told: routing.report_job() says which. */
enum routing_ask { ROUTING_ASK_NOTHING, ROUTING_ASK_STORED, ROUTING_ASK_FAILED };

/* A report, as routing.report() answered it: tells context, ends the job, answers. The call's input is the
 * ReportRequest; `again` reports it as RETRY with this text, when context has not got the bytes. */
typedef void routing_job_again_fn(struct routing_call *call, const char *text);
void routing_job_report(struct routing_call *call, struct db_work *work, routing_job_again_fn *again);

/* The rows of routing.expire_jobs(): counts them, and tells context of the parts that have failed. Gives the log's
 * last sequence, 0 when nothing happened. */
uint64_t routing_jobs_expired(struct routing *routing, const char *tenant, const struct db_work *work,
                              const struct db_result *rows);

/* FetchMedia of a job's payload; NULL: not readable. In the arena. */
Guichet__V1__FetchMedia *routing_job_fetch(struct str_view payload, struct arena *arena);

#endif
