/* SPDX-License-Identifier: Apache-2.0 */
/* pbjson.h - protobuf <-> JSON by reflection over protobuf-c descriptors, once for API, logs and CLI;
 * and the check that every unpacked message must pass.
 *
 * PBJSON_PROTO3 follows the proto3 JSON mapping (lowerCamelCase names, enum value
 * names, 64-bit integers as strings, bytes as base64, google.protobuf.Timestamp as
 * RFC 3339, default values left out). PBJSON_API differs in names (snake_case as in
 * the .proto), in enums ("outbound": lower case without the type's prefix; the zero
 * value is `null` when its name ends in _UNSPECIFIED), scalars are always written,
 * unset messages are left out, `tenant` is left out. Both forms of names and enums are read. */
#ifndef GUICHET_CORE_PBJSON_H
#define GUICHET_CORE_PBJSON_H

#include <protobuf-c/protobuf-c.h>

#include "core/arena.h"
#include "core/json.h"
#include "core/str.h"

enum pbjson_style { PBJSON_PROTO3, PBJSON_API };

void pbjson_append(struct buf *buf, const ProtobufCMessage *message, enum pbjson_style style);
/* The message lives in the arena. Unknown member, wrong type, out of range: an error
 * that names the JSON Pointer. Unknown enum names are errors; numbers are kept. */
bool pbjson_read(struct json_object *value, const ProtobufCMessageDescriptor *descriptor,
                 struct arena *arena, ProtobufCMessage **ret_message, struct err *err) MUST_USE;

struct pb_limits {
    size_t string_max_bytes;      /* any one string or bytes field */
    size_t unknown_fields_max;
};

/* Unpacks into the arena, then checks every string: UTF-8, no NUL, size. The error
 * names the field. `bytes` stay borrowed from nothing: all is copied. */
bool pb_unpack(struct str_view packed, const ProtobufCMessageDescriptor *descriptor,
               const struct pb_limits *limits, struct arena *arena, ProtobufCMessage **ret_message,
               struct err *err) MUST_USE;
extern const struct pb_limits pb_limits_default;      /* 256 KiB, 64 */
void pb_pack(const ProtobufCMessage *message, struct buf *buf);   /* checks it first: a broken one aborts */
/* The checks of pb_unpack for a message that was made here from somebody else's text, so that
 * one bad event does not cost its batch. The error names the field's path. */
bool pb_check(const ProtobufCMessage *message, const struct pb_limits *limits, struct err *err) MUST_USE;
/* Deep copy into an arena; NULL when it does not fit. */
ProtobufCMessage *pb_dup(const ProtobufCMessage *message, struct arena *arena);

#endif
