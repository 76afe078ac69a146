/* SPDX-License-Identifier: Apache-2.0 */
/* audit.c - did we lose anything? Context knows, routing adds what waits in spools: for admins. */
#include "handlers.h"

#include "core/duration.h"
#include "core/pbtime.h"

enum { SINCE_DEFAULT_S = 86400 };

static void on_audited(const Guichet__V1__AuditReply *reply, void *arg)
{
    if (reply == NULL)
        call_fail(arg, mesh_err());
    else
        call_reply(arg, 200, &reply->base);
}

/* false: answered. Absent: `fallback_us`. */
static bool read_time(struct call *call, const char *name, int64_t fallback_us,
                      Google__Protobuf__Timestamp **ret_time)
{
    const char *text = call_param(call, name);
    int64_t us = fallback_us;
    struct err err = { 0 };

    if (text != NULL && !time_parse(text, &us, &err)) {
        call_bad_param(call, arena_printf(call->arena, "%s: %s", name, err.text));
        return false;
    }
    *ret_time = pbtime_new(call->arena, us);
    return true;
}

void audit_get(struct call *call)
{
    Guichet__V1__AuditRequest request = GUICHET__V1__AUDIT_REQUEST__INIT;
    int64_t now_us = time_now_us();

    if (!read_time(call, "since", now_us - SINCE_DEFAULT_S * 1000000LL, &request.since) ||
        !read_time(call, "until", now_us, &request.until))
        return;
    request.tenant = call_tenant(call);
    guichet__v1__routing__get_audit(call_routing(call), &request, on_audited, call);
}
