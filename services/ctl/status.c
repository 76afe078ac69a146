/* SPDX-License-Identifier: Apache-2.0 */
/* guichetctl status: what routing says of each tenant. */
#include "ctl.h"

#include <stdio.h>

#include "core/duration.h"
#include "core/pbtime.h"
#include "guichet/v1/routing.pb-c.h"

/* What waits where the centre was not reached. */
static void print_spools(const Guichet__V1__TenantStatus *tenant)
{
    for (size_t i = 0; i < tenant->n_spools; i++) {
        char oldest[TIME_TEXT_BYTES];

        time_format(pbtime_us(tenant->spools[i]->oldest_at), oldest);
        printf("  spool of %-15s %llu events, the oldest of %s\n", tenant->spools[i]->account_id,
               (unsigned long long)tenant->spools[i]->event_count, oldest);
    }
}

static void print_tenant(const Guichet__V1__TenantStatus *tenant)
{
    printf("tenant %s\n", tenant->tenant);
    printf("  events %llu, changes applied to %llu\n", (unsigned long long)tenant->event_sequence,
           (unsigned long long)tenant->change_cursor);
    printf("  conversations waiting %u, assigned %u; agents online %u\n", tenant->waiting_count,
           tenant->assigned_count, tenant->agents_online);
    printf("  deliveries pending %u, unknown %u; jobs pending %u; dead letters open %u\n",
           tenant->deliveries_pending, tenant->deliveries_unknown, tenant->jobs_pending,
           tenant->dead_letters_open);
    for (size_t i = 0; i < tenant->n_accounts; i++)
        printf("  account %-16s %-8s %s\n", tenant->accounts[i]->id, tenant->accounts[i]->channel,
               tenant->accounts[i]->is_connected ? "connected" : "NOT connected");
    print_spools(tenant);
}

static void on_status(const Guichet__V1__GetStatusReply *reply, void *arg)
{
    struct ctl *ctl = arg;

    if (reply == NULL) {
        ctl_end(ctl, ctl_fail(mesh_err()));
        return;
    }
    for (size_t i = 0; i < reply->n_tenants; i++)
        print_tenant(reply->tenants[i]);
    ctl_end(ctl, 0);
}

int ctl_status(struct ctl *ctl, int argc, char **argv)
{
    const Guichet__V1__GetStatusRequest request = GUICHET__V1__GET_STATUS_REQUEST__INIT;
    const struct ctl_option options[] = { { NULL, NULL, NULL } };
    struct err err = { 0 };

    if (!ctl_options(&argc, argv, options, &err) || !ctl_mesh(ctl, &err))
        return ctl_fail(&err);
    guichet__v1__routing__get_status(mesh_client_call(ctl->mesh, &(struct mesh_call){ .timeout_ms = 5000 }),
                                     &request, on_status, ctl);
    loop_run(ctl->loop);
    mesh_client_free(&ctl->mesh);
    loop_free(&ctl->loop);
    return ctl->exit_code;
}
