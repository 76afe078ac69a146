/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_client_private.h - what mesh_client.c (which replica) and mesh_call.c (one call's life) share. */
#ifndef GUICHET_IO_MESH_CLIENT_PRIVATE_H
#define GUICHET_IO_MESH_CLIENT_PRIVATE_H

#include "io/mesh_replica.h"

struct mesh_client {
    struct loop *loop;
    char *name;
    const ProtobufCServiceDescriptor *descriptor;
    uint32_t attempt_timeout_ms;
    size_t message_max_bytes;
    struct mesh_replica **replicas;
    size_t replica_count;
    size_t next_replica; /* whose turn it is */
    struct call *calls;
    uint32_t call_count;
};

/* The replica for a call, `avoided` only when there is no other. NULL: *err says why. */
struct mesh_replica *mesh_client_choose(struct mesh_client *client, uint32_t lane,
                                        const struct mesh_replica *avoided, struct err *err);
/* A replica other than this one that calls may go to. */
bool mesh_client_has_other(const struct mesh_client *client, const struct mesh_replica *replica);

void mesh_call_cancel_all(struct mesh_client *client);
/* What is under way at this replica fails, a turn later, and goes elsewhere. */
void mesh_call_move_away(struct mesh_client *client, const struct mesh_replica *replica);

#endif
