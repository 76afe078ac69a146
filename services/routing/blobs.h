/* SPDX-License-Identifier: Apache-2.0 */
/* blobs.h - blobs for connectors: calls handed on to context. */
#ifndef GUICHET_ROUTING_BLOBS_H
#define GUICHET_ROUTING_BLOBS_H

#include "guichet/v1/blob.pb-c.h"
#include "routing.h"

/* Fills in the table that the listener is given. */
void routing_blobs_init(struct routing_blobs_rpc *rpc, struct routing *routing);

#endif
