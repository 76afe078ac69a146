/* SPDX-License-Identifier: Apache-2.0 */
/* blob_client_link.c - calls to the centre, repeated with back-off while there is hope. */
#include "service/blob_client_private.h"

#include <stdlib.h>

#include "core/id.h"

enum { PATIENCE_MS = 30000, BACK_OFF_BASE_MS = 100, BACK_OFF_CAP_MS = 2000 };

void blob_link_init(struct blob_link *link, const struct blob_access *access, loop_fn *on_retry, void *arg)
{
    link->access = *access;
    link->access.tenant = str_dup(str_view_of(access->tenant));
    link->access.traceparent = str_dup(str_view_of(access->traceparent));
    if (link->access.patience_ms == 0)
        link->access.patience_ms = PATIENCE_MS;
    link->retry = loop_timer_new(access->loop, on_retry, arg);
    link->progress_ms = loop_now_ms(access->loop);
}

void blob_link_done(struct blob_link *link)
{
    loop_timer_free(&link->retry);
    free((char *)link->access.tenant);
    free((char *)link->access.traceparent);
}

ProtobufCService *blob_link_call(struct blob_link *link, const struct mesh_call *how)
{
    struct mesh_call call = *how;

    call.tenant = link->access.tenant;
    call.traceparent = link->access.traceparent;
    call.descriptor = &guichet__v1__blobs__descriptor;
    if (link->access.token != NULL)
        call.token = link->access.token(link->access.token_arg);
    link->pending++;
    return mesh_client_call(link->access.client, &call);
}

void blob_link_progress(struct blob_link *link)
{
    link->failures = 0;
    link->progress_ms = loop_now_ms(link->access.loop);
}

/* The base doubles up to the cap; a random half of it, so that many do not come at once. */
static uint64_t back_off_ms(const struct blob_link *link)
{
    uint64_t most = BACK_OFF_CAP_MS;
    uint16_t random;

    random_bytes(&random, sizeof(random));
    if (link->failures < 5 && (uint64_t)BACK_OFF_BASE_MS << link->failures < most)
        most = (uint64_t)BACK_OFF_BASE_MS << link->failures;
    return most / 2 + most / 2 * random / UINT16_MAX;
}

bool blob_link_retry(struct blob_link *link, const struct err *err, uint64_t more_ms)
{
    uint64_t waited_ms = loop_now_ms(link->access.loop) - link->progress_ms;
    uint64_t delay_ms = back_off_ms(link);

    if (!err_is_retryable(err->kind) || waited_ms >= link->access.patience_ms + more_ms)
        return false;
    link->failures++;
    if (err->retry_after_ms > delay_ms)
        delay_ms = err->retry_after_ms;
    if (!loop_timer_is_active(link->retry))
        loop_timer_start(link->retry, delay_ms, 0);
    return true;
}

void blob_link_enter(struct blob_link *link)
{
    link->pending++;
}

bool blob_link_leave(struct blob_link *link)
{
    link->pending--;
    return link->is_freed && link->pending == 0;
}
