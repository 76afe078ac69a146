/* SPDX-License-Identifier: Apache-2.0 */
/* pb_field.c - what protobuf-c's descriptors say about a field.
 *
 * Names in JSON are derived, not stored: protobuf-c keeps only the names of the .proto. */
#include "core/pb_field.h"

#include <string.h>

#define SECONDS_FIRST INT64_C(-62135596800)
#define SECONDS_LAST INT64_C(253402300799)
#define NANOS_LAST 999999999

size_t pb_element_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return sizeof(uint64_t);
    case PROTOBUF_C_TYPE_DOUBLE:
        return sizeof(double);
    case PROTOBUF_C_TYPE_FLOAT:
        return sizeof(float);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
        return sizeof(char *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(ProtobufCMessage *);
    default:
        return sizeof(uint32_t);
    }
}

bool pb_is_timestamp(const ProtobufCMessageDescriptor *descriptor)
{
    return strcmp(descriptor->name, "google.protobuf.Timestamp") == 0;
}

bool pb_timestamp_is_valid(int64_t seconds, int64_t nanos)
{
    return seconds >= SECONDS_FIRST && seconds <= SECONDS_LAST && nanos >= 0 && nanos <= NANOS_LAST;
}

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
}

void pb_append_camel(struct buf *buf, const char *name)
{
    for (; *name != '\0'; name++) {
        if (*name == '_' && name[1] != '\0')
            buf_append_char(buf, upper(*++name));
        else
            buf_append_char(buf, *name);
    }
}

bool pb_camel_equals(const char *name, const char *camel)
{
    for (; *name != '\0'; name++, camel++) {
        char expected = *name;

        if (*name == '_' && name[1] != '\0')
            expected = upper(*++name);
        if (*camel != expected)
            return false;
    }
    return *camel == '\0';
}

const char *pb_enum_short(const ProtobufCEnumDescriptor *descriptor, const char *value_name)
{
    const char *at = value_name;

    for (const char *type = descriptor->short_name; *type != '\0'; type++) {
        bool is_word_start = *type >= 'A' && *type <= 'Z';

        if (is_word_start && type != descriptor->short_name && *at++ != '_')
            return value_name;
        if (*at++ != upper(*type))
            return value_name;
    }
    return at[0] == '_' && at[1] != '\0' ? at + 1 : value_name;
}
