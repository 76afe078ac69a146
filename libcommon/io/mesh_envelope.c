/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_envelope.c - what stands around every message of the mesh.
 *
 * The envelope's own body may be as large as a message; the strings in it may not. An
 * empty repeated sub-message costs two bytes on the wire and forty in memory, so the
 * arena for unpacking is capped at a multiple of the wire's size. */
#include "io/mesh_envelope.h"

#include <stdio.h>
#include <string.h>

#include "core/id.h"

/* Small messages need some room whatever their size: one block, the message structs, a few fields. */
#define BUDGET_BASE_BYTES (16 * 1024)
#define BUDGET_MAX_BYTES (32 * 1024 * 1024)
#define NAME_MAX_BYTES 256

static const struct {
    Guichet__V1__Status status;
    enum err_kind kind;
} statuses[] = {
    { GUICHET__V1__STATUS__STATUS_OK, ERR_NONE },
    { GUICHET__V1__STATUS__STATUS_INVALID, ERR_INVALID },
    { GUICHET__V1__STATUS__STATUS_NOT_FOUND, ERR_NOT_FOUND },
    { GUICHET__V1__STATUS__STATUS_CONFLICT, ERR_CONFLICT },
    { GUICHET__V1__STATUS__STATUS_FORBIDDEN, ERR_FORBIDDEN },
    { GUICHET__V1__STATUS__STATUS_EXHAUSTED, ERR_EXHAUSTED },
    { GUICHET__V1__STATUS__STATUS_UNAVAILABLE, ERR_UNAVAILABLE },
    { GUICHET__V1__STATUS__STATUS_DEADLINE, ERR_DEADLINE },
    { GUICHET__V1__STATUS__STATUS_INTERNAL, ERR_INTERNAL },
};

enum err_kind mesh_envelope_kind(Guichet__V1__Status status)
{
    for (size_t i = 0; i < COUNT_OF(statuses); i++) {
        if (statuses[i].status == status)
            return statuses[i].kind;
    }
    return ERR_INTERNAL; /* a status of a later version */
}

Guichet__V1__Status mesh_envelope_status(enum err_kind kind)
{
    for (size_t i = 0; i < COUNT_OF(statuses); i++) {
        if (statuses[i].kind == kind)
            return statuses[i].status;
    }
    /* Given up by the server itself: it is going down. */
    return kind == ERR_CANCELED ? GUICHET__V1__STATUS__STATUS_UNAVAILABLE
                                : GUICHET__V1__STATUS__STATUS_INTERNAL;
}

void mesh_envelope_new_traceparent(char ret_text[MESH_TRACEPARENT_BYTES])
{
    unsigned char random[24];
    char hex[2 * sizeof(random) + 1];

    random_bytes(random, sizeof(random));
    random[0] |= 1; /* neither id may be all zero */
    random[16] |= 1;
    for (size_t i = 0; i < sizeof(random); i++)
        sprintf(hex + 2 * i, "%02x", random[i]);
    sprintf(ret_text, "00-%.32s-%.16s-01", hex, hex + 32);
}

struct arena *mesh_envelope_arena(struct str_view packed, size_t budget_factor)
{
    size_t budget = packed.len * (budget_factor != 0 ? budget_factor : MESH_DEFAULT_BUDGET_FACTOR);

    if (budget > BUDGET_MAX_BYTES)
        budget = BUDGET_MAX_BYTES;
    return arena_new(budget + BUDGET_BASE_BYTES);
}

bool mesh_envelope_read_request(struct str_view packed, struct arena *arena,
                                Guichet__V1__Request **ret_request, struct err *err)
{
    struct pb_limits limits = { .string_max_bytes = packed.len, .unknown_fields_max = 16 };
    ProtobufCMessage *message;
    Guichet__V1__Request *request;

    if (!pb_unpack(packed, &guichet__v1__request__descriptor, &limits, arena, &message, err))
        return err_at(err, "request envelope");
    request = (Guichet__V1__Request *)message;
    if (strlen(request->method) > NAME_MAX_BYTES || strlen(request->traceparent) > NAME_MAX_BYTES ||
        strlen(request->tenant) > NAME_MAX_BYTES)
        return err_set(err, ERR_INVALID, "request envelope: method, traceparent or tenant is over %d bytes",
                       NAME_MAX_BYTES);
    *ret_request = request;
    return true;
}

bool mesh_envelope_read_reply(struct str_view packed, struct arena *arena, Guichet__V1__Reply **ret_reply,
                              struct err *err)
{
    struct pb_limits limits = { .string_max_bytes = packed.len, .unknown_fields_max = 16 };
    ProtobufCMessage *message;

    if (!pb_unpack(packed, &guichet__v1__reply__descriptor, &limits, arena, &message, err))
        return err_at(err, "reply envelope");
    *ret_reply = (Guichet__V1__Reply *)message;
    return true;
}

struct str_view mesh_envelope_body(const ProtobufCBinaryData *body)
{
    return (struct str_view){ (const char *)body->data, body->len };
}
