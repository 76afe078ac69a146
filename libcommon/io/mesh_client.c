/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_client.c - a peer and its replicas: which one gets a call.
 *
 * A lane goes to the replica with the highest weight for it (rendezvous hashing): when
 * one goes out only its own lanes move, and they come back with it. Calls without a
 * lane go round. */
#include "io/mesh_client_private.h"

#include <stdlib.h>

#include "io/mesh_envelope.h"
#include "io/mesh_stats.h"

#define DEFAULT_ATTEMPT_TIMEOUT_MS 1000
#define DEFAULT_MAX_IN_FLIGHT 64
#define DEFAULT_PING_INTERVAL_MS 5000
#define DEFAULT_BREAKER_FAILURES 3
#define ALL_OUT_RETRY_MS 1000
#define FULL_RETRY_MS 100

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
    return value != 0 ? value : fallback;
}

/* A long poll must not sit out its time at a replica that is known to be gone. With nobody to go to
 * instead, what is under way may as well go on. */
static void on_breaker_open(void *arg, struct mesh_replica *replica)
{
    struct mesh_client *client = arg;

    if (mesh_client_has_other(client, replica))
        mesh_call_move_away(client, replica);
}

bool mesh_client_new(struct loop *loop, const struct mesh_client_options *options,
                     struct mesh_client **ret_client, struct err *err)
{
    struct mesh_client *client;
    struct mesh_replica_options replica_options = {
        .max_in_flight = or_default(options->max_in_flight, DEFAULT_MAX_IN_FLIGHT),
        .ping_interval_ms = or_default(options->ping_interval_ms, DEFAULT_PING_INTERVAL_MS),
        .breaker_failures = or_default(options->breaker_failures, DEFAULT_BREAKER_FAILURES),
        .message_max_bytes =
            options->message_max_bytes != 0 ? options->message_max_bytes : MESH_DEFAULT_MESSAGE_BYTES,
        .on_open = on_breaker_open,
    };

    if (options->address_count == 0)
        return err_set(err, ERR_CONFIG, "no address for %s", options->name);
    client = calloc(1, sizeof(*client));
    if (client == NULL ||
        (client->replicas = calloc(options->address_count, sizeof(struct mesh_replica *))) == NULL)
        abort();
    mesh_stats_hold();
    client->loop = loop;
    client->name = str_dup(str_view_of(options->name));
    client->descriptor = options->descriptor;
    client->attempt_timeout_ms = or_default(options->attempt_timeout_ms, DEFAULT_ATTEMPT_TIMEOUT_MS);
    client->message_max_bytes = replica_options.message_max_bytes;
    replica_options.peer = client->name;
    replica_options.arg = client;
    for (size_t i = 0; i < options->address_count; i++) {
        if (!mesh_replica_new(loop, options->addresses[i], &replica_options, &client->replicas[i], err)) {
            mesh_client_free(&client);
            return err_at(err, "%s", options->name);
        }
        client->replica_count++;
    }
    *ret_client = client;
    return true;
}

void mesh_client_free(struct mesh_client **client_ptr)
{
    struct mesh_client *client = *client_ptr;

    if (client == NULL)
        return;
    *client_ptr = NULL;
    mesh_call_cancel_all(client);
    for (size_t i = 0; i < client->replica_count; i++)
        mesh_replica_free(&client->replicas[i]);
    free(client->replicas);
    free(client->name);
    free(client);
    mesh_stats_release();
}

bool mesh_client_is_healthy(const struct mesh_client *client)
{
    for (size_t i = 0; i < client->replica_count; i++) {
        if (mesh_replica_is_healthy(client->replicas[i]))
            return true;
    }
    return false;
}

bool mesh_client_has_other(const struct mesh_client *client, const struct mesh_replica *replica)
{
    for (size_t i = 0; i < client->replica_count; i++) {
        if (client->replicas[i] != replica && mesh_replica_rank(client->replicas[i]) >= REPLICA_RECONNECTING)
            return true;
    }
    return false;
}

static uint32_t best_rank(const struct mesh_client *client, const struct mesh_replica *avoided)
{
    uint32_t best = REPLICA_OUT;

    for (size_t i = 0; i < client->replica_count; i++) {
        uint32_t rank = mesh_replica_rank(client->replicas[i]);

        if (client->replicas[i] != avoided && rank > best)
            best = rank;
    }
    return best;
}

static struct mesh_replica *choose_by_lane(struct mesh_client *client, uint32_t lane,
                                           const struct mesh_replica *avoided, uint32_t rank)
{
    struct mesh_replica *best = NULL;
    uint64_t best_weight = 0;

    for (size_t i = 0; i < client->replica_count; i++) {
        struct mesh_replica *replica = client->replicas[i];
        uint64_t weight = mesh_replica_weight(replica, lane);

        if (replica != avoided && mesh_replica_rank(replica) == rank &&
            (best == NULL || weight > best_weight)) {
            best = replica;
            best_weight = weight;
        }
    }
    return best != NULL && mesh_replica_has_room(best) ? best : NULL;
}

static struct mesh_replica *choose_in_turn(struct mesh_client *client, const struct mesh_replica *avoided,
                                           uint32_t rank)
{
    for (size_t i = 0; i < client->replica_count; i++) {
        size_t at = (client->next_replica + i) % client->replica_count;
        struct mesh_replica *replica = client->replicas[at];

        if (replica != avoided && mesh_replica_rank(replica) == rank && mesh_replica_has_room(replica)) {
            client->next_replica = at + 1;
            return replica;
        }
    }
    return NULL;
}

struct mesh_replica *mesh_client_choose(struct mesh_client *client, uint32_t lane,
                                        const struct mesh_replica *avoided, struct err *err)
{
    uint32_t rank = best_rank(client, avoided);
    struct mesh_replica *replica;

    if (rank == REPLICA_OUT && avoided != NULL) {
        avoided = NULL;
        rank = best_rank(client, NULL);
    }
    if (rank == REPLICA_OUT) {
        err_set(err, ERR_UNAVAILABLE, "no replica of %s answers (%zu known)", client->name,
                client->replica_count);
        err->retry_after_ms = ALL_OUT_RETRY_MS;
        return NULL;
    }
    replica = lane != 0 ? choose_by_lane(client, lane, avoided, rank) : choose_in_turn(client, avoided, rank);
    if (replica == NULL) {
        err_set(err, ERR_EXHAUSTED, "too many calls to %s are under way", client->name);
        err->retry_after_ms = FULL_RETRY_MS;
    }
    return replica;
}
