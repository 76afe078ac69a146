/* SPDX-License-Identifier: Apache-2.0 */
/* pbjson_scalar.h - one JSON value into one scalar of a message; for pbjson_read.c only. */
#ifndef GUICHET_CORE_PBJSON_SCALAR_H
#define GUICHET_CORE_PBJSON_SCALAR_H

#include <protobuf-c/protobuf-c.h>

#include "core/arena.h"
#include "core/json.h"

/* Errors have no place yet. Strings and bytes live in the arena. */
bool pbjson_scalar_read(struct json_object *json, const ProtobufCFieldDescriptor *field, struct arena *arena,
    void *value, struct err *err) MUST_USE;
/* RFC 3339 with up to nine digits. */
bool pbjson_scalar_time(const char *text, int64_t *ret_seconds, int32_t *ret_nanos, struct err *err) MUST_USE;

#endif
