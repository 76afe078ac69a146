/* SPDX-License-Identifier: Apache-2.0 */
/* pbjson_read.c - JSON into a protobuf message, by reflection.
 *
 * Strict: what is not in the schema is an error, since a misspelt member that is silently
 * dropped is a wrong answer later. Each error carries the JSON Pointer (RFC 6901) of its place;
 * the pointer is kept as a chain on the stack and written only when it is needed. */
#include "core/pbjson.h"

#include <string.h>

#include "core/duration.h"
#include "core/pb_field.h"
#include "core/pbjson_scalar.h"
#include "core/pbtime.h"

#define POINTER_MAX_BYTES 160

struct place {
    const struct place *parent;
    const char *name;                  /* of a member; NULL: an item of an array */
    size_t index;
};

struct reader {
    struct arena *arena;
    struct err *err;
};

static bool read_message(struct reader *reader, struct json_object *json,
    const ProtobufCMessageDescriptor *descriptor, const struct place *place, ProtobufCMessage **ret_message);

static void append_pointer(struct buf *buf, const struct place *place)
{
    if (place == NULL)
        return;
    append_pointer(buf, place->parent);
    buf_append_char(buf, '/');
    if (place->name == NULL) {
        buf_printf(buf, "%zu", place->index);
        return;
    }
    for (const char *at = place->name; *at != '\0'; at++) {
        if (*at == '~' || *at == '/')
            buf_append_text(buf, *at == '~' ? "~0" : "~1");
        else
            buf_append_char(buf, *at);
    }
}

static bool at_place(struct reader *reader, const struct place *place)
{
    SCOPED_BUF pointer;

    buf_init(&pointer, POINTER_MAX_BYTES);
    append_pointer(&pointer, place);
    return err_at(reader->err, "%s", place == NULL ? "the document" : buf_text(&pointer));
}

static bool fail(struct reader *reader, const struct place *place, enum err_kind kind, const char *what)
{
    err_set(reader->err, kind, "%s", what);
    return at_place(reader, place);
}

static void *alloc(struct reader *reader, const struct place *place, size_t size)
{
    void *data = arena_alloc(reader->arena, size);

    if (data == NULL)
        fail(reader, place, ERR_EXHAUSTED, "the message is larger than its memory budget");
    return data;
}

static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *descriptor,
    const char *name)
{
    const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field_by_name(descriptor, name);

    for (unsigned i = 0; field == NULL && i < descriptor->n_fields; i++) {
        if (pb_camel_equals(descriptor->fields[i].name, name))
            field = &descriptor->fields[i];
    }
    return field;
}

static bool read_timestamp(struct reader *reader, struct json_object *json, const struct place *place,
    ProtobufCMessage *message)
{
    Google__Protobuf__Timestamp *time = (void *)message;
    const char *text = json_object_is_type(json, json_type_string) ? json_object_get_string(json) : NULL;

    if (text == NULL)
        return fail(reader, place, ERR_INVALID, "expected a time in quotes");
    if (!pbjson_scalar_time(text, &time->seconds, &time->nanos, reader->err))
        return at_place(reader, place);
    return true;
}

static bool read_one(struct reader *reader, struct json_object *json, const ProtobufCFieldDescriptor *field,
    const struct place *place, void *value)
{
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return read_message(reader, json, field->descriptor, place, value);
    if (!pbjson_scalar_read(json, field, reader->arena, value, reader->err))
        return at_place(reader, place);
    return true;
}

static bool read_array(struct reader *reader, struct json_object *json, const ProtobufCFieldDescriptor *field,
    const struct place *place, ProtobufCMessage *message)
{
    size_t count, size = pb_element_size(field->type);
    char *items;

    if (!json_object_is_type(json, json_type_array))
        return fail(reader, place, ERR_INVALID, "expected an array");
    count = json_object_array_length(json);
    if (count == 0)
        return true;
    items = alloc(reader, place, count * size);
    if (items == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct place item = { .parent = place, .index = i };
        struct json_object *value = json_object_array_get_idx(json, i);

        if (value == NULL)
            return fail(reader, &item, ERR_INVALID, "null is no item");
        if (!read_one(reader, value, field, &item, items + i * size))
            return false;
    }
    *(size_t *)pb_at_mutable(message, field->quantifier_offset) = count;
    *(char **)pb_at_mutable(message, field->offset) = items;
    return true;
}

static bool read_field(struct reader *reader, struct json_object *json, const ProtobufCFieldDescriptor *field,
    const struct place *place, ProtobufCMessage *message)
{
    uint32_t *chosen;

    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return read_array(reader, json, field, place, message);
    if (!pb_is_oneof(field))
        return read_one(reader, json, field, place, pb_at_mutable(message, field->offset));
    chosen = pb_at_mutable(message, field->quantifier_offset);
    if (*chosen != 0)
        return fail(reader, place, ERR_INVALID, "a second choice where only one may be");
    *chosen = field->id;
    return read_one(reader, json, field, place, pb_at_mutable(message, field->offset));
}

static bool read_member(struct reader *reader, const char *name, struct json_object *value,
    const struct place *place, bool *seen, ProtobufCMessage *message)
{
    const ProtobufCFieldDescriptor *field = find_field(message->descriptor, name);
    struct place member = { .parent = place, .name = name };

    if (field == NULL)
        return fail(reader, &member, ERR_INVALID, "unknown");
    if (seen[field - message->descriptor->fields])
        return fail(reader, &member, ERR_INVALID, "given twice, in both spellings");
    seen[field - message->descriptor->fields] = true;
    return value == NULL || read_field(reader, value, field, &member, message);
}

static bool read_members(struct reader *reader, struct json_object *json, const struct place *place,
    ProtobufCMessage *message)
{
    struct json_object_iterator at, end;
    bool *seen;

    if (!json_object_is_type(json, json_type_object))
        return fail(reader, place, ERR_INVALID, "expected an object");
    seen = alloc(reader, place, message->descriptor->n_fields * sizeof(*seen));
    if (seen == NULL)
        return false;
    at = json_object_iter_begin(json);
    end = json_object_iter_end(json);
    for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        const char *name = json_object_iter_peek_name(&at);

        if (!read_member(reader, name, json_object_iter_peek_value(&at), place, seen, message))
            return false;
    }
    return true;
}

static bool read_message(struct reader *reader, struct json_object *json,
    const ProtobufCMessageDescriptor *descriptor, const struct place *place, ProtobufCMessage **ret_message)
{
    ProtobufCMessage *message = alloc(reader, place, descriptor->sizeof_message);

    if (message == NULL)
        return false;
    protobuf_c_message_init(descriptor, message);
    if (pb_is_timestamp(descriptor) ? !read_timestamp(reader, json, place, message)
                                    : !read_members(reader, json, place, message))
        return false;
    *ret_message = message;
    return true;
}

bool pbjson_read(struct json_object *value, const ProtobufCMessageDescriptor *descriptor, struct arena *arena,
    ProtobufCMessage **ret_message, struct err *err)
{
    struct reader reader = { .arena = arena, .err = err };

    return read_message(&reader, value, descriptor, NULL, ret_message);
}
