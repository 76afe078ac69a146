/* SPDX-License-Identifier: Apache-2.0 */
/* connector_spool.h - the spool as the SDK uses it, with `spool_dir` set; without, runtime->spool is NULL. */
#ifndef GUICHET_SERVICE_CONNECTOR_SPOOL_H
#define GUICHET_SERVICE_CONNECTOR_SPOOL_H

#include "io/spool.h"
#include "service/connector_internal.h"

/* ---- connector_spool.c ---- */

bool connector_spool_open(struct connector_runtime *runtime, struct err *err) MUST_USE;
/* What may go wrong for the provider's side is told by the spool's state: the centre may be away meanwhile. */
bool connector_spool_is_usable(const struct connector_runtime *runtime, struct err *err);
uint32_t connector_submit_timeout_ms(const struct connector_config *config);
/* For Announce: what waits, per account; in the arena. */
void connector_spool_fill(const struct connector_runtime *runtime, struct arena *arena,
                          Guichet__V1__AnnounceRequest *request);

/* ---- connector_lane.c ---- */

void connector_lanes_wake(struct connector_lanes *lanes);    /* the spool is another than before */
void connector_lanes_refresh(struct connector_lanes *lanes); /* an account is refused, or no longer */
size_t connector_lanes_diverted(const struct connector_lanes *lanes);

/* ---- connector_report.c: outcomes that routing did not hear ---- */

struct connector_reports;
struct connector_reports *connector_reports_new(struct connector_runtime *runtime);
void connector_reports_free(struct connector_reports **reports);
void connector_reports_wake(struct connector_reports *reports);
/* Keeps one; the request is packed before this returns. done() as spool_append()'s. */
void connector_report_keep(struct connector_runtime *runtime, const struct connector_slot *slot,
                           const Guichet__V1__ReportRequest *request, int64_t until_us, struct arena *arena,
                           spool_done_fn *done, void *arg);

#endif
