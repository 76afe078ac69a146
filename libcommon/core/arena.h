/* SPDX-License-Identifier: Apache-2.0 */
/* arena.h - memory of one batch or request, freed at once.
 *
 * Allocation never fails below the cap (it aborts without memory); past `max_bytes`
 * arena_alloc() returns NULL. arena_protobuf() is an allocator for protobuf-c whose
 * budget is the arena's: an unpack that would grow past it fails like a malformed
 * message. Memory is zeroed. */
#ifndef GUICHET_CORE_ARENA_H
#define GUICHET_CORE_ARENA_H

#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

#include "core/str.h"

struct arena;

struct arena *arena_new(size_t max_bytes);
void arena_free(struct arena **arena);
#define SCOPED_ARENA __attribute__((cleanup(arena_free))) struct arena *

void *arena_alloc(struct arena *arena, size_t size);    /* NULL past the cap */
char *arena_strdup(struct arena *arena, const char *text);
char *arena_dup(struct arena *arena, struct str_view text);   /* NUL-terminated */
char *arena_printf(struct arena *arena, const char *fmt, ...) PRINTF_LIKE(2, 3);
size_t arena_used_bytes(const struct arena *arena);
ProtobufCAllocator *arena_protobuf(struct arena *arena);      /* lives as long as the arena */

#endif
