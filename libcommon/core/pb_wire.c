/* SPDX-License-Identifier: Apache-2.0 */
/* pb_wire.c - the check that every packed message passes before it is unpacked.
 *
 * It is made on the wire form: once unpacked, a text with a NUL in it has lost its end, and an
 * unknown field has cost its memory. protobuf-c itself checks none of it and has no limit of
 * depth. What this walk lets pass, protobuf-c may still refuse (memory budget). */
#include "core/pb_wire.h"

#include "core/pb_field.h"

#define DEPTH_MAX 32
#define TIMESTAMP_SECONDS 1
#define TIMESTAMP_NANOS 2

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct checker {
    const struct pb_limits *limits;
    size_t unknown_count;
    struct err *err;
};

/* One field as it lies on the wire. */
struct item {
    uint32_t id;
    enum wire wire;
    uint64_t number;                   /* WIRE_VARINT */
    struct str_view bytes;             /* WIRE_BYTES */
};

static bool check_message(struct checker *checker, struct str_view packed,
    const ProtobufCMessageDescriptor *descriptor, int depth);

static bool take_varint(struct str_view *rest, uint64_t *ret_value)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64 && rest->len > 0; shift += 7) {
        unsigned char byte = (unsigned char)rest->data[0];

        rest->data++;
        rest->len--;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static bool take_bytes(struct str_view *rest, uint64_t len, struct str_view *ret_bytes)
{
    if (len > rest->len)
        return false;
    *ret_bytes = (struct str_view){ rest->data, (size_t)len };
    rest->data += len;
    rest->len -= (size_t)len;
    return true;
}

static bool take_item(struct str_view *rest, struct item *ret_item)
{
    uint64_t tag, len;
    struct item item = { 0 };

    if (!take_varint(rest, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1FFFFFFF)
        return false;
    item.id = (uint32_t)(tag >> 3);
    item.wire = (enum wire)(tag & 7);
    switch (item.wire) {
    case WIRE_VARINT:
        if (!take_varint(rest, &item.number))
            return false;
        break;
    case WIRE_64:
        if (!take_bytes(rest, 8, &item.bytes))
            return false;
        break;
    case WIRE_32:
        if (!take_bytes(rest, 4, &item.bytes))
            return false;
        break;
    case WIRE_BYTES:
        if (!take_varint(rest, &len) || !take_bytes(rest, len, &item.bytes))
            return false;
        break;
    default:                           /* groups are of proto1 */
        return false;
    }
    *ret_item = item;
    return true;
}

static bool fail_field(struct checker *checker, const ProtobufCMessageDescriptor *descriptor,
    const ProtobufCFieldDescriptor *field, const char *what)
{
    return err_set(checker->err, ERR_INVALID, "%s.%s: %s", descriptor->short_name, field->name, what);
}

static bool check_size(struct checker *checker, const ProtobufCMessageDescriptor *descriptor,
    const ProtobufCFieldDescriptor *field, size_t len)
{
    if (len <= checker->limits->string_max_bytes)
        return true;
    return err_set(checker->err, ERR_INVALID, "%s.%s: %zu bytes, over %zu", descriptor->short_name,
        field->name, len, checker->limits->string_max_bytes);
}

static bool check_bytes_field(struct checker *checker, const ProtobufCMessageDescriptor *descriptor,
    const ProtobufCFieldDescriptor *field, struct str_view bytes, int depth)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        if (depth == DEPTH_MAX)
            return fail_field(checker, descriptor, field, "nested too deeply");
        return check_message(checker, bytes, field->descriptor, depth + 1);
    case PROTOBUF_C_TYPE_STRING:
        if (!check_size(checker, descriptor, field, bytes.len))
            return false;
        return utf8_is_valid(bytes) || fail_field(checker, descriptor, field, "not UTF-8, or a NUL in it");
    case PROTOBUF_C_TYPE_BYTES:
        return check_size(checker, descriptor, field, bytes.len);
    default:
        return true;                   /* a packed list of numbers */
    }
}

static bool check_time(struct checker *checker, const struct item *item)
{
    int64_t seconds = item->id == TIMESTAMP_SECONDS ? (int64_t)item->number : 0;
    int64_t nanos = item->id == TIMESTAMP_NANOS ? (int64_t)item->number : 0;

    return pb_timestamp_is_valid(seconds, nanos)
        || err_set(checker->err, ERR_INVALID, "Timestamp: not within the years 1 to 9999");
}

static enum wire wire_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_BYTES;
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return WIRE_64;
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return WIRE_32;
    default:
        return WIRE_VARINT;
    }
}

static bool is_right_wire(const struct item *item, const ProtobufCFieldDescriptor *field)
{
    bool may_be_packed = field->label == PROTOBUF_C_LABEL_REPEATED;

    return item->wire == wire_of(field->type) || (may_be_packed && item->wire == WIRE_BYTES);
}

static bool check_item(struct checker *checker, const struct item *item,
    const ProtobufCMessageDescriptor *descriptor, int depth)
{
    const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(descriptor, item->id);

    if (field == NULL) {
        if (++checker->unknown_count <= checker->limits->unknown_fields_max)
            return true;
        return err_set(checker->err, ERR_INVALID, "%s: more than %zu unknown fields", descriptor->short_name,
            checker->limits->unknown_fields_max);
    }
    if (!is_right_wire(item, field))
        return fail_field(checker, descriptor, field, "of another type on the wire");
    if (item->wire == WIRE_BYTES)
        return check_bytes_field(checker, descriptor, field, item->bytes, depth);
    if (item->wire == WIRE_VARINT && pb_is_timestamp(descriptor))
        return check_time(checker, item);
    return true;
}

static bool check_message(struct checker *checker, struct str_view packed,
    const ProtobufCMessageDescriptor *descriptor, int depth)
{
    struct item item;

    while (packed.len > 0) {
        if (!take_item(&packed, &item))
            return err_set(checker->err, ERR_INVALID, "%s: malformed", descriptor->short_name);
        if (!check_item(checker, &item, descriptor, depth))
            return false;
    }
    return true;
}

bool pb_wire_check(struct str_view packed, const ProtobufCMessageDescriptor *descriptor,
    const struct pb_limits *limits, struct err *err)
{
    struct checker checker = { .limits = limits, .err = err };

    return check_message(&checker, packed, descriptor, 0);
}
