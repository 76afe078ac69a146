/* SPDX-License-Identifier: Apache-2.0 */
/* guichetctl audit: did we lose anything? Counts per account, and every hole by its name.
 *
 * The exit code is for scripts: 0 when nothing is missing, 1 when something is. */
#include "ctl.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/duration.h"
#include "core/pbtime.h"
#include "guichet/v1/routing.pb-c.h"

enum { AUDIT_TIMEOUT_MS = 10 * 60 * 1000, EXIT_MISSING = 1 };

static const char *when(const Google__Protobuf__Timestamp *at, char text[TIME_TEXT_BYTES])
{
    time_format(pbtime_us(at), text);
    return text;
}

static const char *account_name(const char *account_id)
{
    return account_id[0] != '\0' ? account_id : "(not known)";
}

static void print_accounts(const Guichet__V1__AuditReply *reply)
{
    printf("%-24s %12s %12s %12s %12s %12s %12s\n", "account", "received", "stored", "duplicate", "refused",
           "missing", "in spool");
    for (size_t i = 0; i < reply->n_accounts; i++) {
        const Guichet__V1__AuditAccount *account = reply->accounts[i];

        printf("%-24s %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %12" PRIu64 "\n",
               account_name(account->account_id), account->received_count, account->stored_count,
               account->duplicate_count, account->refused_count, account->missing_count,
               account->spool_count);
    }
}

static bool print_spools(const Guichet__V1__AuditReply *reply)
{
    char oldest[TIME_TEXT_BYTES];
    bool is_any = false;

    for (size_t i = 0; i < reply->n_accounts; i++) {
        const Guichet__V1__AuditAccount *account = reply->accounts[i];

        if (account->spool_count == 0)
            continue;
        printf("%" PRIu64 " wait in the spool of %s: not counted as missing", account->spool_count,
               account->account_id);
        if (account->spool_oldest_at != NULL)
            printf(" (the oldest since %s)", when(account->spool_oldest_at, oldest));
        printf("\n");
        is_any = true;
    }
    return is_any;
}

/* Numbers of which nothing is known, or an event whose rows are gone. */
static void print_hole(const Guichet__V1__AuditHole *hole)
{
    char at[TIME_TEXT_BYTES];

    printf("  boot %s lane %u number %" PRIu64, hole->boot_id, hole->boot_lane, hole->first);
    if (hole->last != hole->first)
        printf(" to %" PRIu64, hole->last);
    if (hole->event_id[0] != '\0')
        printf(": account %s, event %s, recorded %s: %s is gone\n", account_name(hole->account_id), hole->event_id,
               when(hole->at, at), hole->what);
    else
        printf(": account %s, %s; the next was at %s\n", account_name(hole->account_id), hole->what,
               when(hole->at, at));
}

static uint64_t print_holes(const Guichet__V1__AuditReply *reply)
{
    uint64_t listed = 0;

    for (size_t i = 0; i < reply->n_holes; i++) {
        print_hole(reply->holes[i]);
        listed += reply->holes[i]->last - reply->holes[i]->first + 1;
    }
    return listed;
}

static void on_audit(const Guichet__V1__AuditReply *reply, void *arg)
{
    struct ctl *ctl = arg;
    bool is_spooled;

    if (reply == NULL) {
        ctl_end(ctl, ctl_fail(mesh_err()));
        return;
    }
    print_accounts(reply);
    is_spooled = print_spools(reply);
    printf("%" PRIu64 " missing\n", reply->missing_count);
    if (print_holes(reply) < reply->missing_count)
        printf("  and more, not listed\n");
    if (reply->missing_count > 0 && is_spooled)
        printf("  what was never recorded may still wait in a spool: ask again when it is empty\n");
    ctl_end(ctl, reply->missing_count > 0 ? EXIT_MISSING : 0);
}

/* "24h": so long ago; else a time as RFC 3339 has it. */
static bool parse_time(const char *name, const char *text, int64_t *ret_us, struct err *err)
{
    struct err ignored = { 0 };
    uint32_t ago_ms;

    if (duration_parse(text, &ago_ms, &ignored)) {
        *ret_us = time_now_us() - (int64_t)ago_ms * 1000;
        return true;
    }
    return time_parse(text, ret_us, err) ||
           err_set(err, ERR_INVALID, "%s '%.40s': is neither like 24h nor like 2026-03-01T12:00:00Z", name, text);
}

static bool parse_times(const char *since, const char *until, Google__Protobuf__Timestamp *ret_since,
                        Google__Protobuf__Timestamp *ret_until, struct err *err)
{
    int64_t since_us = 0, until_us = 0;

    if (!parse_time("--since", since, &since_us, err) ||
        (until != NULL && !parse_time("--until", until, &until_us, err)))
        return false;
    ret_since->seconds = since_us / 1000000;
    ret_since->nanos = (int32_t)(since_us % 1000000 * 1000);
    ret_until->seconds = until_us / 1000000;
    ret_until->nanos = (int32_t)(until_us % 1000000 * 1000);
    return true;
}

int ctl_audit(struct ctl *ctl, int argc, char **argv)
{
    const char *tenant = "demo", *since = "24h", *until = NULL;
    const struct ctl_option options[] = {
        { "--tenant", &tenant, "the tenant's name" },
        { "--since", &since, "so long ago (24h), or a time (2026-03-01T12:00:00Z)" },
        { "--until", &until, "the same; without: until now" },
        { NULL, NULL, NULL },
    };
    Guichet__V1__AuditRequest request = GUICHET__V1__AUDIT_REQUEST__INIT;
    Google__Protobuf__Timestamp times[2] = { GOOGLE__PROTOBUF__TIMESTAMP__INIT,
                                             GOOGLE__PROTOBUF__TIMESTAMP__INIT };
    struct err err = { 0 };

    if (!ctl_options(&argc, argv, options, &err) ||
        !parse_times(since, until, &times[0], &times[1], &err) || !ctl_mesh(ctl, &err))
        return ctl_fail(&err);
    request.tenant = (char *)tenant;
    request.since = &times[0];
    request.until = until != NULL ? &times[1] : NULL;
    guichet__v1__routing__get_audit(
        mesh_client_call(ctl->mesh, &(struct mesh_call){ .tenant = tenant,
                                                         .timeout_ms = AUDIT_TIMEOUT_MS,
                                                         .attempt_timeout_ms = AUDIT_TIMEOUT_MS,
                                                         .no_retry = true }),
        &request, on_audit, ctl);
    loop_run(ctl->loop);
    mesh_client_free(&ctl->mesh);
    loop_free(&ctl->loop);
    return ctl->exit_code;
}
