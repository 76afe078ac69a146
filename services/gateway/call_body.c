/* SPDX-License-Identifier: Apache-2.0 */
/* call_body.c - the JSON body against the route's table of members.
 *
 * Bodies are flat but for one level (recipient), so a table of pointers says it all:
 * what may be there, what must be, and how long. Handlers read values without checks. */
#include "api.h"

#include <limits.h>
#include <string.h>

#include "core/id.h"
#include "words.h"

#define POINTER_BYTES 96
#define NAME_BYTES_MAX 64
#define LIST_ITEM_MAX 64

static const struct body_field *field_find(const struct body_field *fields, const char *pointer)
{
    for (; fields->pointer != NULL; fields++) {
        if (strcmp(fields->pointer, pointer) == 0)
            return fields;
    }
    return NULL;
}

/* The value at a pointer of one or two steps; NULL when absent. An explicit null is absent. */
static struct json_object *value_at(struct json_object *object, const char *pointer)
{
    struct json_object *value = object;
    struct str_view rest = str_view_of(pointer + 1), name;

    while (str_next(&rest, '/', &name)) {
        char key[POINTER_BYTES];

        if (!json_object_is_type(value, json_type_object))
            return NULL;
        snprintf(key, sizeof(key), "%.*s", (int)name.len, name.data);
        if (!json_object_object_get_ex(value, key, &value) || value == NULL)
            return NULL;
    }
    return value;
}

/* prefix "/" name, escaped (RFC 6901 §3); a monstrous name is cut, it is only to be recognised. */
static const char *pointer_of(struct call *call, const char *prefix, const char *name)
{
    struct str_view rest = str_view_of(name);
    SCOPED_BUF pointer;

    rest.len = utf8_cut(rest, NAME_BYTES_MAX);
    buf_init(&pointer, POINTER_BYTES * 4);
    buf_printf(&pointer, "%s/", prefix);
    for (size_t i = 0; i < rest.len; i++) {
        if (rest.data[i] == '~')
            buf_append_text(&pointer, "~0");
        else if (rest.data[i] == '/')
            buf_append_text(&pointer, "~1");
        else
            buf_append_char(&pointer, rest.data[i]);
    }
    return arena_dup(call->arena, buf_view(&pointer));
}

/* Every member must be in the table; `prefix` is "" or "/recipient". */
static bool members_check(struct call *call, struct json_object *object, const char *prefix)
{
    json_object_object_foreach(object, name, value)
    {
        const char *pointer = pointer_of(call, prefix, name);
        const struct body_field *field = field_find(call->route->body, pointer);

        if (field == NULL) {
            call_problem(call, &(struct problem){ PROBLEM_UNKNOWN_MEMBER, "unknown member", pointer, 0 });
            return false;
        }
        if (field->type == BODY_OBJECT && json_object_is_type(value, json_type_object) &&
            !members_check(call, value, field->pointer))
            return false;
    }
    return true;
}

static const char *text_fault(const struct body_field *field, struct json_object *value)
{
    const char *text = json_object_get_string(value);
    struct str_view view = { text, (size_t)json_object_get_string_len(value) };
    struct id id;
    int word;

    if (memchr(text, '\0', view.len) != NULL || !utf8_is_valid(view))
        return "not UTF-8 without NUL";
    if (field->type == BODY_ID && !id_parse(text, &id))
        return "not an id";
    if (field->type == BODY_ENUM && !words_read(field->words, text, &word))
        return "not one of its words";
    if (field->type != BODY_TEXT && field->type != BODY_TEXTS)
        return NULL;
    if (utf8_count(view) < field->min)
        return field->min == 1 ? "empty" : "too short";
    return utf8_count(view) > field->max ? "too long" : NULL;
}

static const char *list_fault(const struct body_field *field, struct json_object *value)
{
    const struct body_field item = { .pointer = field->pointer,
                                     .type = BODY_TEXTS,
                                     .min = 1,
                                     .max = field->min > 0 ? field->min : LIST_ITEM_MAX };

    if (!json_object_is_type(value, json_type_array))
        return "not a list of strings";
    if (json_object_array_length(value) > field->max)
        return "too many items";
    for (size_t i = 0; i < json_object_array_length(value); i++) {
        struct json_object *element = json_object_array_get_idx(value, i);

        if (!json_object_is_type(element, json_type_string) || text_fault(&item, element) != NULL)
            return "an item is not a string, is empty or too long";
    }
    return NULL;
}

/* What is wrong with it, or NULL. */
static const char *value_fault(const struct body_field *field, struct json_object *value)
{
    switch (field->type) {
    case BODY_OBJECT:
        return json_object_is_type(value, json_type_object) ? NULL : "not an object";
    case BODY_NUMBER:
        if (!json_object_is_type(value, json_type_int))
            return "not a whole number";
        return json_object_get_int64(value) < field->min || json_object_get_int64(value) > field->max
                   ? "out of range"
                   : NULL;
    case BODY_TEXTS:
        return list_fault(field, value);
    case BODY_TEXT:
    case BODY_ID:
    case BODY_ENUM:
        return json_object_is_type(value, json_type_string) ? text_fault(field, value) : "not a string";
    }
    return "unknown type";
}

static bool fields_check(struct call *call)
{
    for (const struct body_field *field = call->route->body; field->pointer != NULL; field++) {
        struct json_object *value = value_at(call->body, field->pointer);
        const char *fault;

        if (value == NULL) {
            if (!field->is_required)
                continue;
            call_problem(call, &(struct problem){ PROBLEM_MISSING_MEMBER, "required", field->pointer, 0 });
            return false;
        }
        fault = value_fault(field, value);
        if (fault != NULL) {
            call_bad_member(call, field->pointer, fault);
            return false;
        }
    }
    return true;
}

bool call_body_read(struct call *call)
{
    struct err err = { 0 };

    if (call->route->body == NULL)
        return true;
    if (!json_read(http_exchange_body(call->exchange), &call->body, &err)) {
        call_problem(call, &(struct problem){ PROBLEM_INVALID_JSON, err.text, NULL, 0 });
        return false;
    }
    if (!json_object_is_type(call->body, json_type_object)) {
        call_bad_member(call, "", "the body is not an object");
        return false;
    }
    return members_check(call, call->body, "") && fields_check(call);
}

const char *call_text(const struct call *call, const char *pointer)
{
    struct json_object *value = value_at(call->body, pointer);

    return value == NULL ? "" : json_object_get_string(value);
}

const char *call_text_at(const struct call *call, const char *pointer, size_t index)
{
    struct json_object *value = value_at(call->body, pointer);

    if (value == NULL || index >= json_object_array_length(value))
        return NULL;
    return json_object_get_string(json_object_array_get_idx(value, index));
}

uint32_t call_number(const struct call *call, const char *pointer)
{
    struct json_object *value = value_at(call->body, pointer);

    return value == NULL ? 0 : (uint32_t)json_object_get_int64(value);
}

int call_word(const struct call *call, const char *pointer)
{
    struct json_object *value = value_at(call->body, pointer);
    const struct body_field *field = field_find(call->route->body, pointer);
    int word = -1;

    if (value != NULL && !words_read(field->words, json_object_get_string(value), &word))
        return -1;
    return word;
}
