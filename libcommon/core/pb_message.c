/* SPDX-License-Identifier: Apache-2.0 */
/* pb_message.c - packing, unpacking, copying and checking of whole messages.
 *
 * Packing trusts its message: a NULL where the schema has a value is our own bug, and
 * protobuf-c would read beyond it, so it aborts. Texts are not its business: those that come
 * from outside are checked by pb_check() where they are made, and by the other side's unpack. */
#include "core/pbjson.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/pb_wire.h"
#include "core/pb_field.h"

const struct pb_limits pb_limits_default = { .string_max_bytes = 256 * 1024, .unknown_fields_max = 64 };

static bool check(const ProtobufCMessage *message, const struct pb_limits *limits, struct err *err);

static bool check_text(const struct pb_limits *limits, const char *text, struct err *err)
{
    struct str_view view = str_view_of(text);

    if (limits == NULL)
        return true;
    if (view.len > limits->string_max_bytes)
        return err_set(err, ERR_INVALID, "%zu bytes, over %zu", view.len, limits->string_max_bytes);
    return utf8_is_valid(view) || err_set(err, ERR_INVALID, "not UTF-8");
}

/* `limits` NULL: the structure alone. */
static bool check_value(const ProtobufCFieldDescriptor *field, const void *value, bool may_be_null,
    const struct pb_limits *limits, struct err *err)
{
    const ProtobufCBinaryData *bytes = value;
    const void *pointer;

    switch (field->type) {
    case PROTOBUF_C_TYPE_BYTES:
        if (bytes->len > 0 && bytes->data == NULL)
            return err_set(err, ERR_INTERNAL, "bytes without data");
        if (limits != NULL && bytes->len > limits->string_max_bytes)
            return err_set(err, ERR_INVALID, "%zu bytes, over %zu", bytes->len, limits->string_max_bytes);
        return true;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        pointer = *(const void *const *)value;
        if (pointer == NULL)
            return may_be_null || err_set(err, ERR_INTERNAL, "is NULL");
        return field->type == PROTOBUF_C_TYPE_STRING ? check_text(limits, pointer, err)
                                                     : check(pointer, limits, err);
    default:
        return true;
    }
}

static bool check_field(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
    const struct pb_limits *limits, struct err *err)
{
    size_t count, size = pb_element_size(field->type);
    const char *items;

    if (field->label != PROTOBUF_C_LABEL_REPEATED)
        return !pb_is_chosen(message, field)
            || check_value(field, pb_at(message, field->offset), !pb_is_oneof(field), limits, err);
    count = pb_count(message, field);
    items = *(const char *const *)pb_at(message, field->offset);
    if (count > 0 && items == NULL)
        return err_set(err, ERR_INTERNAL, "a count without items");
    for (size_t i = 0; i < count; i++) {
        if (!check_value(field, items + i * size, false, limits, err))
            return false;
    }
    return true;
}

static bool check(const ProtobufCMessage *message, const struct pb_limits *limits, struct err *err)
{
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;

    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        if (!check_field(message, &descriptor->fields[i], limits, err))
            return err_at(err, "%s", descriptor->fields[i].name);
    }
    return true;
}

bool pb_check(const ProtobufCMessage *message, const struct pb_limits *limits, struct err *err)
{
    return check(message, limits, err);
}

bool pb_unpack(struct str_view packed, const ProtobufCMessageDescriptor *descriptor,
    const struct pb_limits *limits, struct arena *arena, ProtobufCMessage **ret_message, struct err *err)
{
    ProtobufCMessage *message;

    if (!pb_wire_check(packed, descriptor, limits, err))
        return false;
    message = protobuf_c_message_unpack(descriptor, arena_protobuf(arena), packed.len,
        (const uint8_t *)packed.data);
    if (message == NULL)
        return err_set(err, ERR_INVALID, "%s: malformed, or larger than its memory budget",
            descriptor->short_name);
    *ret_message = message;
    return true;
}

static void abort_if_broken(const ProtobufCMessage *message)
{
    struct err err = { 0 };

    if (check(message, NULL, &err))
        return;
    fprintf(stderr, "broken message %s: %s\n", message->descriptor->name, err.text);
    abort();
}

void pb_pack(const ProtobufCMessage *message, struct buf *buf)
{
    char *out;

    abort_if_broken(message);
    out = buf_extend(buf, protobuf_c_message_get_packed_size(message));
    if (out != NULL)
        protobuf_c_message_pack(message, (uint8_t *)out);
}

ProtobufCMessage *pb_dup(const ProtobufCMessage *message, struct arena *arena)
{
    SCOPED_BUF packed;

    buf_init(&packed, SIZE_MAX / 2);
    pb_pack(message, &packed);
    return protobuf_c_message_unpack(message->descriptor, arena_protobuf(arena), packed.len,
        (const uint8_t *)buf_text(&packed));
}
