/* SPDX-License-Identifier: Apache-2.0 */
/* record_probe.c - Record with nothing in it: does the database take a write?
 *
 * Connectors give up an event that fails again and again while probes succeed. So a probe has to fail whenever
 * the cause may be the database: it commits a row, on the connections that record. Who asks for a tenant
 * while its probe is under way has the same answer. */
#include "record_batch.h"

#include <stdlib.h>
#include <string.h>

#include "statements.h"

struct record_probe {
    struct record_probe *next;
    struct context *context;
    struct call *waiters; /* at least one; the next in data */
};

static void leave(struct record_probe *probe)
{
    struct record_probe **at = &probe->context->probes;

    while (*at != probe)
        at = &(*at)->next;
    *at = probe->next;
}

static void on_probed(void *arg, struct db_work *work, const struct err *err)
{
    Guichet__V1__RecordReply reply = GUICHET__V1__RECORD_REPLY__INIT;
    struct record_probe *probe = arg;

    (void)work;
    leave(probe);
    for (struct call *call = probe->waiters, *next; call != NULL; call = next) {
        next = call->data;
        if (err->kind != ERR_NONE)
            context_call_fail(call, err);
        else
            context_call_reply(call, &reply);
    }
    free(probe);
}

void record_probe(struct call *call)
{
    struct record_probe *probe = call->context->probes;
    struct db_work *work;

    while (probe != NULL && strcmp(probe->waiters->tenant, call->tenant) != 0)
        probe = probe->next;
    if (probe != NULL) {
        call->data = probe->waiters;
        probe->waiters = call;
        return;
    }
    probe = malloc(sizeof(*probe));
    if (probe == NULL)
        abort();
    *probe = (struct record_probe){ call->context->probes, call->context, call };
    call->context->probes = probe;
    call->data = NULL;
    work = db_work_new(call->context->database.ingest);
    db_work_add(work, &context_probe, (struct db_param[]){ DB_PARAM_TEXT(call->tenant) }, 1);
    db_work_run(work, on_probed, probe);
}
