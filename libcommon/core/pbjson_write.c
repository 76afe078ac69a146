/* SPDX-License-Identifier: Apache-2.0 */
/* pbjson_write.c - a protobuf message as JSON, by reflection.
 *
 * One walk over the descriptor serves both styles; they differ in names, in what is left out,
 * and in how an enum is spelt. Our schema has no recursive messages, so the depth is bounded
 * by the schema. */
#include "core/pbjson.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/duration.h"
#include "core/pb_field.h"
#include "core/pbtime.h"

static void append_message(struct buf *buf, const ProtobufCMessage *message, enum pbjson_style style);

static void append_quoted(struct buf *buf, const char *text)
{
    buf_append_char(buf, '"');
    buf_append_text(buf, text);
    buf_append_char(buf, '"');
}

/* Six digits, nine where the value needs them. A time no calendar has is clamped. */
static void append_timestamp(struct buf *buf, const Google__Protobuf__Timestamp *time)
{
    char text[TIME_TEXT_BYTES];
    int nanos = time->nanos % 1000;

    time_format(pbtime_us(time), text);
    if (nanos > 0)
        buf_printf(buf, "\"%.*s%03dZ\"", (int)strlen(text) - 1, text, nanos);
    else
        append_quoted(buf, text);
}

/* The shortest form that reads back as the same number. */
static void append_double(struct buf *buf, double value, int digits, int digits_max)
{
    char text[40];

    if (!isfinite(value)) {
        append_quoted(buf, isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
        return;
    }
    for (; digits <= digits_max; digits++) {
        double again;

        snprintf(text, sizeof(text), "%.*g", digits, value);
        again = strtod(text, NULL);
        if (digits_max > 9 ? again == value : (float)again == (float)value)
            break;
    }
    buf_append_text(buf, text);
}

static void append_enum(struct buf *buf, const ProtobufCEnumDescriptor *descriptor, int number,
    enum pbjson_style style)
{
    const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(descriptor, number);
    const char *name;

    if (value == NULL) {
        buf_printf(buf, "%d", number);
        return;
    }
    if (style == PBJSON_PROTO3) {
        append_quoted(buf, value->name);
        return;
    }
    name = pb_enum_short(descriptor, value->name);
    if (number == 0 && strcmp(name, "UNSPECIFIED") == 0) {
        buf_append_text(buf, "null");
        return;
    }
    buf_append_char(buf, '"');
    for (; *name != '\0'; name++)
        buf_append_char(buf, *name >= 'A' && *name <= 'Z' ? (char)(*name + 32) : *name);
    buf_append_char(buf, '"');
}

static void append_bytes(struct buf *buf, const ProtobufCBinaryData *bytes)
{
    buf_append_char(buf, '"');
    base64_append(buf, bytes->data, bytes->len);
    buf_append_char(buf, '"');
}

static void append_value(struct buf *buf, const ProtobufCFieldDescriptor *field, const void *value,
    enum pbjson_style style)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        buf_printf(buf, "%" PRId32, *(const int32_t *)value);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        buf_printf(buf, "%" PRIu32, *(const uint32_t *)value);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        buf_printf(buf, "\"%" PRId64 "\"", *(const int64_t *)value);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        buf_printf(buf, "\"%" PRIu64 "\"", *(const uint64_t *)value);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        append_double(buf, (double)*(const float *)value, 6, 9);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        append_double(buf, *(const double *)value, 15, 17);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        buf_append_text(buf, *(const protobuf_c_boolean *)value ? "true" : "false");
        break;
    case PROTOBUF_C_TYPE_ENUM:
        append_enum(buf, field->descriptor, *(const int *)value, style);
        break;
    case PROTOBUF_C_TYPE_STRING:
        json_append_string(buf, str_view_of(*(const char *const *)value));
        break;
    case PROTOBUF_C_TYPE_BYTES:
        append_bytes(buf, value);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        append_message(buf, *(const ProtobufCMessage *const *)value, style);
        break;
    }
}

static void append_array(struct buf *buf, const ProtobufCMessage *message,
    const ProtobufCFieldDescriptor *field, enum pbjson_style style)
{
    const char *items = *(const char *const *)pb_at(message, field->offset);
    size_t count = pb_count(message, field), size = pb_element_size(field->type);

    buf_append_char(buf, '[');
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_append_char(buf, ',');
        append_value(buf, field, items + i * size, style);
    }
    buf_append_char(buf, ']');
}

static bool is_default(const ProtobufCFieldDescriptor *field, const void *value)
{
    static const char zeros[sizeof(ProtobufCBinaryData)];

    if (field->type == PROTOBUF_C_TYPE_STRING) {
        const char *text = *(const char *const *)value;

        return text == NULL || text[0] == '\0';
    }
    if (field->type == PROTOBUF_C_TYPE_BYTES)
        return ((const ProtobufCBinaryData *)value)->len == 0;
    return memcmp(value, zeros, pb_element_size(field->type)) == 0;
}

static bool is_written(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
    enum pbjson_style style)
{
    const void *value = pb_at(message, field->offset);

    if (style == PBJSON_API && strcmp(field->name, "tenant") == 0)
        return false;
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return style == PBJSON_API || pb_count(message, field) > 0;
    if (!pb_is_chosen(message, field))
        return false;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return *(const ProtobufCMessage *const *)value != NULL;
    return style == PBJSON_API || pb_is_oneof(field) || !is_default(field, value);
}

static void append_field(struct buf *buf, const ProtobufCMessage *message,
    const ProtobufCFieldDescriptor *field, enum pbjson_style style)
{
    buf_append_char(buf, '"');
    if (style == PBJSON_API)
        buf_append_text(buf, field->name);
    else
        pb_append_camel(buf, field->name);
    buf_append_text(buf, "\":");
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        append_array(buf, message, field, style);
    else
        append_value(buf, field, pb_at(message, field->offset), style);
}

static void append_message(struct buf *buf, const ProtobufCMessage *message, enum pbjson_style style)
{
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;
    bool is_first = true;

    if (pb_is_timestamp(descriptor)) {
        append_timestamp(buf, (const void *)message);
        return;
    }
    buf_append_char(buf, '{');
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        if (!is_written(message, &descriptor->fields[i], style))
            continue;
        if (!is_first)
            buf_append_char(buf, ',');
        is_first = false;
        append_field(buf, message, &descriptor->fields[i], style);
    }
    buf_append_char(buf, '}');
}

void pbjson_append(struct buf *buf, const ProtobufCMessage *message, enum pbjson_style style)
{
    append_message(buf, message, style);
}
