/* SPDX-License-Identifier: Apache-2.0 */
/* blob_client_private.h - what both directions of the blob client share: calls, and trying again. */
#ifndef GUICHET_SERVICE_BLOB_CLIENT_PRIVATE_H
#define GUICHET_SERVICE_BLOB_CLIENT_PRIVATE_H

#include "service/blob_client.h"

struct blob_link {
    struct blob_access access; /* its texts are ours */
    struct loop_timer *retry;
    uint32_t failures;    /* in a row */
    uint64_t progress_ms; /* when something last went through */
    uint32_t pending;     /* callbacks that will still come, and calls of the owner's under way */
    bool is_freed;
};

void blob_link_init(struct blob_link *link, const struct blob_access *access, loop_fn *on_retry, void *arg);
/* No callback is to come: the memory may go. */
void blob_link_done(struct blob_link *link);
/* A stub for one call; its closure owes blob_link_leave(). */
ProtobufCService *blob_link_call(struct blob_link *link, const struct mesh_call *how);
void blob_link_progress(struct blob_link *link);
/* After *err: true when it will be tried again, by on_retry(). `more_ms` on top of the patience. */
bool blob_link_retry(struct blob_link *link, const struct err *err, uint64_t more_ms);
/* The owner's memory must last over what follows. */
void blob_link_enter(struct blob_link *link);
/* true: it was freed meanwhile and nothing more will come: the owner frees itself. */
bool blob_link_leave(struct blob_link *link);

#endif
