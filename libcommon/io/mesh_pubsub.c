/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_pubsub.c - the doorbell: "something is new, at least up to here".
 *
 * nng's PUB drops for whoever is slow, says nothing, and has no access control: the
 * filter is at the subscriber. So what travels is a tenant and a number, receivers read
 * the rest from the log, and nobody but our services may reach the port. */
#include "io/mesh.h"

#include <stdlib.h>
#include <string.h>

#include "io/mesh_envelope.h"
#include "io/mesh_stats.h"
#include "io/mesh_wire.h"
#include "ops/failpoint.h"

#define DOORBELL_MAX_BYTES 1024

struct mesh_publisher {
    struct mesh_wire *wire;
    char *url;
};

struct mesh_subscriber {
    struct mesh_wire *wire;
    struct mesh_wire_op *op;
    mesh_doorbell_fn *on_doorbell;
    void *arg;
};

bool mesh_publisher_new(struct loop *loop, const char *listen, struct mesh_publisher **ret_publisher,
                        struct err *err)
{
    struct mesh_publisher *publisher = calloc(1, sizeof(*publisher));

    if (publisher == NULL)
        abort();
    mesh_stats_hold();
    if (!mesh_wire_open(loop, MESH_WIRE_PUBLISH, DOORBELL_MAX_BYTES, &publisher->wire, err) ||
        !mesh_wire_listen(publisher->wire, listen, &publisher->url, err)) {
        mesh_publisher_free(&publisher);
        return err_at(err, "doorbell");
    }
    *ret_publisher = publisher;
    return true;
}

void mesh_publish(struct mesh_publisher *publisher, const char *tenant, uint64_t sequence)
{
    Guichet__V1__Doorbell doorbell = GUICHET__V1__DOORBELL__INIT;
    SCOPED_BUF packed = { 0 };

    if (FAILPOINT("mesh_publish_cut"))
        return;
    doorbell.tenant = (char *)tenant;
    doorbell.sequence = sequence;
    buf_init(&packed, DOORBELL_MAX_BYTES);
    pb_pack(&doorbell.base, &packed);
    if (packed.is_full)
        return;
    mesh_stats_add(MESH_STAT_DOORBELLS_SENT, NULL);
    mesh_wire_publish(publisher->wire, buf_view(&packed));
}

const char *mesh_publisher_url(const struct mesh_publisher *publisher)
{
    return publisher->url;
}

void mesh_publisher_free(struct mesh_publisher **publisher)
{
    if (*publisher == NULL)
        return;
    mesh_wire_close(&(*publisher)->wire);
    free((*publisher)->url);
    free(*publisher);
    *publisher = NULL;
    mesh_stats_release();
}

/* Waits for the next one before it tells, so that on_doorbell may free the subscriber. */
static void on_message(void *arg, const struct mesh_wire_result *result)
{
    struct mesh_subscriber *subscriber = arg;
    SCOPED_ARENA arena = mesh_envelope_arena(result->body, 0);
    ProtobufCMessage *message;
    const Guichet__V1__Doorbell *doorbell;

    mesh_wire_receive(subscriber->op);
    if (result->kind != ERR_NONE || !pb_unpack(result->body, &guichet__v1__doorbell__descriptor,
                                               &pb_limits_default, arena, &message, NULL))
        return;
    doorbell = (const Guichet__V1__Doorbell *)message;
    mesh_stats_add(MESH_STAT_DOORBELLS_RECEIVED, NULL);
    subscriber->on_doorbell(subscriber->arg, doorbell->tenant, doorbell->sequence);
}

/* What rang while we were not connected is lost: a new connection rings for everybody. */
static void on_peer(void *arg, uint32_t connected_peers, bool has_new)
{
    struct mesh_subscriber *subscriber = arg;

    (void)connected_peers;
    if (has_new)
        subscriber->on_doorbell(subscriber->arg, "", 0);
}

bool mesh_subscriber_new(struct loop *loop, const char *const *addresses, size_t address_count,
                         mesh_doorbell_fn *on_doorbell, void *arg, struct mesh_subscriber **ret_subscriber,
                         struct err *err)
{
    struct mesh_subscriber *subscriber = calloc(1, sizeof(*subscriber));

    if (subscriber == NULL)
        abort();
    mesh_stats_hold();
    subscriber->on_doorbell = on_doorbell;
    subscriber->arg = arg;
    if (!mesh_wire_open(loop, MESH_WIRE_SUBSCRIBE, DOORBELL_MAX_BYTES, &subscriber->wire, err)) {
        mesh_subscriber_free(&subscriber);
        return false;
    }
    subscriber->op = mesh_wire_op_new(subscriber->wire, on_message, subscriber);
    mesh_wire_on_peer(subscriber->wire, on_peer, subscriber);
    for (size_t i = 0; i < address_count; i++) {
        if (!mesh_wire_dial(subscriber->wire, addresses[i], err)) {
            mesh_subscriber_free(&subscriber);
            return err_at(err, "doorbell");
        }
    }
    mesh_wire_receive(subscriber->op);
    *ret_subscriber = subscriber;
    return true;
}

void mesh_subscriber_free(struct mesh_subscriber **subscriber)
{
    if (*subscriber == NULL)
        return;
    mesh_wire_close(&(*subscriber)->wire);
    free(*subscriber);
    *subscriber = NULL;
    mesh_stats_release();
}
