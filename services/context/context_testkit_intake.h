/* SPDX-License-Identifier: Apache-2.0 */
/* context_testkit_intake.h - for x_test.c only: numbered events, the manifest as text, the audit as text. */
#ifndef GUICHET_CONTEXT_TESTKIT_INTAKE_H
#define GUICHET_CONTEXT_TESTKIT_INTAKE_H

#include "context_testkit.h"
#include "core/id.h"

#define STORED GUICHET__V1__RECORD_RESULT__RECORD_RESULT_STORED
#define DUPLICATE GUICHET__V1__RECORD_RESULT__RECORD_RESULT_DUPLICATE
#define REFUSED GUICHET__V1__RECORD_RESULT__RECORD_RESULT_REFUSED

/* An SMS with a number; its key is SM<n> unless the caller changes it. */
static KIT_UNUSED Guichet__V1__InboundEvent *kit_numbered(struct kit *kit, const char *tenant,
                                                          const char *boot, uint32_t lane, uint64_t n)
{
    Guichet__V1__InboundEvent *event =
        kit_event(kit, tenant, arena_printf(kit->arena, "SM%llu", (unsigned long long)n), "+33600000001", "hello");

    event->boot_id = arena_strdup(kit->arena, boot);
    event->boot_lane = lane;
    event->boot_n = n;
    return event;
}

static KIT_UNUSED const char *kit_boot(struct kit *kit)
{
    char *boot = context_alloc(kit->arena, ID_TEXT_BYTES);

    id_new_text(boot);
    return boot;
}

/* "1:1 2:3": each number and what became of it, in the order of numbers and then of results. */
static KIT_UNUSED const char *kit_manifest(struct kit *kit, const char *tenant)
{
    return kit_sql(kit,
                   "SELECT string_agg(e.n || ':' || e.r, ' ' ORDER BY e.n, e.r) FROM context.intake i,"
                   " unnest(i.numbers, i.results) e (n, r) WHERE i.tenant = '%s' AND e.r IS NOT NULL",
                   tenant);
}

static KIT_UNUSED const Guichet__V1__RecordReply *kit_record_all(struct kit *kit,
                                                                 const Guichet__V1__RecordRequest *request)
{
    const Guichet__V1__RecordReply *reply;
    struct err err = { 0 };

    reply = KIT_CALL(kit, kit->centre[0], record, RecordReply, request, &err);
    if (reply == NULL)
        fail_msg("record: %s", err.text);
    return reply;
}

static KIT_UNUSED const Guichet__V1__AuditReply *kit_audit_between(struct kit *kit, const char *tenant,
                                                                   int64_t since_us, int64_t until_us)
{
    Guichet__V1__AuditRequest request = GUICHET__V1__AUDIT_REQUEST__INIT;
    const Guichet__V1__AuditReply *reply;
    struct err err = { 0 };

    request.tenant = (char *)tenant;
    request.since = pbtime_new(kit->arena, since_us);
    request.until = pbtime_new(kit->arena, until_us);
    reply = KIT_CALL(kit, kit->centre[0], audit, AuditReply, &request, &err);
    if (reply == NULL)
        fail_msg("audit: %s", err.text);
    return reply;
}

/* "sms-demo 5=3+1+0+1; 2-2 never recorded": received=stored+duplicate+refused+missing, then the holes. */
static KIT_UNUSED const char *kit_audit_text(struct kit *kit, const Guichet__V1__AuditReply *reply)
{
    const char *text = "";

    for (size_t i = 0; i < reply->n_accounts; i++) {
        const Guichet__V1__AuditAccount *account = reply->accounts[i];

        text = arena_printf(kit->arena, "%s%s%s %u=%u+%u+%u+%u", text, i > 0 ? ", " : "", account->account_id,
                            (unsigned)account->received_count, (unsigned)account->stored_count,
                            (unsigned)account->duplicate_count, (unsigned)account->refused_count,
                            (unsigned)account->missing_count);
    }
    for (size_t i = 0; i < reply->n_holes; i++)
        text = arena_printf(kit->arena, "%s; lane %u: %u-%u %s", text, reply->holes[i]->boot_lane,
                            (unsigned)reply->holes[i]->first, (unsigned)reply->holes[i]->last,
                            reply->holes[i]->what);
    return text;
}

static KIT_UNUSED const char *kit_audit(struct kit *kit, const char *tenant)
{
    return kit_audit_text(kit, kit_audit_between(kit, tenant, 0, 0));
}

#endif
