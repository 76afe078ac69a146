/* SPDX-License-Identifier: Apache-2.0 */
/* json.h - strict reading of JSON (json-c) and a small writer.
 *
 * Reading refuses: invalid UTF-8, NUL, trailing bytes, comments, duplicate keys,
 * nesting over 32, more than 8 MiB. The error names the offset. */
#ifndef GUICHET_CORE_JSON_H
#define GUICHET_CORE_JSON_H

#include <json-c/json.h>

#include "core/str.h"

#define JSON_DEPTH_MAX 32
#define JSON_MAX_BYTES (8 * 1024 * 1024)

/* Owned: json_object_put() when done. */
bool json_read(struct str_view text, struct json_object **ret_value, struct err *err) MUST_USE;
void json_put(struct json_object **value);
#define SCOPED_JSON __attribute__((cleanup(json_put))) struct json_object *

/* Members; NULL when the object has none of that name, or one of another type. */
const char *json_str(struct json_object *object, const char *name);
struct json_object *json_member(struct json_object *object, const char *name);
bool json_int(struct json_object *object, const char *name, int64_t *ret_value);

/* Appends a quoted, escaped string (RFC 8259). Invalid UTF-8 becomes U+FFFD. */
void json_append_string(struct buf *buf, struct str_view text);

#endif
