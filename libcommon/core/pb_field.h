/* SPDX-License-Identifier: Apache-2.0 */
/* pb_field.h - what protobuf-c's descriptors say about a field; for pbjson_*.c and pb_*.c only. */
#ifndef GUICHET_CORE_PB_FIELD_H
#define GUICHET_CORE_PB_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "core/str.h"

/* The members of a message struct lie at offsets; the descriptors vouch for their types. */
static inline const void *pb_at(const void *message, size_t offset)
{
    return (const char *)message + offset;
}

static inline void *pb_at_mutable(void *message, size_t offset)
{
    return (char *)message + offset;
}

static inline bool pb_is_oneof(const ProtobufCFieldDescriptor *field)
{
    return (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
}

/* A member of a oneof that is not the one chosen shares its memory with another: do not touch. */
static inline bool pb_is_chosen(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    return !pb_is_oneof(field) || *(const uint32_t *)pb_at(message, field->quantifier_offset) == field->id;
}

static inline size_t pb_count(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    return *(const size_t *)pb_at(message, field->quantifier_offset);
}

size_t pb_element_size(ProtobufCType type);
bool pb_is_timestamp(const ProtobufCMessageDescriptor *descriptor);
/* Seconds and nanos as google.protobuf.Timestamp allows them: the years 1 to 9999. */
bool pb_timestamp_is_valid(int64_t seconds, int64_t nanos);

/* "account_id" -> "accountId". */
void pb_append_camel(struct buf *buf, const char *name);
bool pb_camel_equals(const char *name, const char *camel);
/* The part of "DELIVERY_STATE_QUEUED" after the type's prefix; all of it where there is none. */
const char *pb_enum_short(const ProtobufCEnumDescriptor *descriptor, const char *value_name);

#endif
