/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_envelope.h - guichet.v1.Request and Reply: statuses, limits, trace context. Private to the mesh. */
#ifndef GUICHET_IO_MESH_ENVELOPE_H
#define GUICHET_IO_MESH_ENVELOPE_H

#include "core/arena.h"
#include "core/err.h"
#include "core/pbjson.h"
#include "guichet/v1/mesh.pb-c.h"

#define MESH_DEFAULT_MESSAGE_BYTES (1024 * 1024)
#define MESH_DEFAULT_BUDGET_FACTOR 16
#define MESH_TRACEPARENT_BYTES 56

enum err_kind mesh_envelope_kind(Guichet__V1__Status status);
Guichet__V1__Status mesh_envelope_status(enum err_kind kind);
/* 00-<trace id>-<span id>-01 (W3C Trace Context §3.2). */
void mesh_envelope_new_traceparent(char ret_text[MESH_TRACEPARENT_BYTES]);

/* An arena for unpacking `packed`: what it may grow to is bound to its size on the wire. */
struct arena *mesh_envelope_arena(struct str_view packed, size_t budget_factor);
bool mesh_envelope_read_request(struct str_view packed, struct arena *arena,
                                Guichet__V1__Request **ret_request, struct err *err) MUST_USE;
bool mesh_envelope_read_reply(struct str_view packed, struct arena *arena, Guichet__V1__Reply **ret_reply,
                              struct err *err) MUST_USE;
struct str_view mesh_envelope_body(const ProtobufCBinaryData *body);

#endif
