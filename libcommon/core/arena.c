/* SPDX-License-Identifier: Apache-2.0 */
/* arena.c - memory of one batch or request, freed at once.
 *
 * Pieces are cut from chunks that double in size. What counts against the cap is what was
 * asked for (rounded up), not what the chunks hold. Under AddressSanitizer each piece is a
 * chunk of its own, so that an overrun or a late use is seen. */
#include "core/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_ALIGN 16

#if defined(__SANITIZE_ADDRESS__)
#define CHUNK_FIRST 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CHUNK_FIRST 0
#endif
#endif
#ifndef CHUNK_FIRST
#define CHUNK_FIRST 4096
#endif
#define CHUNK_LARGEST ((size_t)256 * 1024)

struct chunk {
    struct chunk *next;
    size_t size, used;
    _Alignas(PIECE_ALIGN) char data[];
};

struct arena {
    struct chunk *chunks;              /* the one being filled comes first */
    size_t chunk_size;                 /* of the next chunk */
    size_t max_bytes, used_bytes;
    ProtobufCAllocator protobuf;
};

static void *calloc_or_abort(size_t size)
{
    void *data = calloc(1, size);

    if (data == NULL) {
        fputs("out of memory\n", stderr);
        abort();
    }
    return data;
}

static void *protobuf_alloc(void *arg, size_t size)
{
    return arena_alloc(arg, size);
}

/* Nothing is given back before the arena goes. */
static void protobuf_free(void *arg, void *data)
{
    (void)arg;
    (void)data;
}

struct arena *arena_new(size_t max_bytes)
{
    struct arena *arena = calloc_or_abort(sizeof(*arena));

    arena->max_bytes = max_bytes;
    arena->chunk_size = CHUNK_FIRST;
    arena->protobuf = (ProtobufCAllocator){ protobuf_alloc, protobuf_free, arena };
    return arena;
}

void arena_free(struct arena **arena)
{
    if (*arena == NULL)
        return;
    for (struct chunk *chunk = (*arena)->chunks, *next; chunk != NULL; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(*arena);
    *arena = NULL;
}

static void add_chunk(struct arena *arena, size_t need)
{
    size_t size = need > arena->chunk_size ? need : arena->chunk_size;
    struct chunk *chunk = calloc_or_abort(sizeof(*chunk) + size);

    chunk->size = size;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    if (arena->chunk_size < CHUNK_LARGEST)
        arena->chunk_size *= 2;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    size_t left = arena->max_bytes - arena->used_bytes;
    struct chunk *chunk = arena->chunks;
    void *piece;

    if (size == 0)
        size = 1;
    if (size > left)
        return NULL;
    size = (size + PIECE_ALIGN - 1) / PIECE_ALIGN * PIECE_ALIGN;
    if (chunk == NULL || size > chunk->size - chunk->used) {
        add_chunk(arena, size);
        chunk = arena->chunks;
    }
    piece = chunk->data + chunk->used;
    chunk->used += size;
    arena->used_bytes += size < left ? size : left;
    return piece;
}

char *arena_dup(struct arena *arena, struct str_view text)
{
    char *copy = text.len == SIZE_MAX ? NULL : arena_alloc(arena, text.len + 1);

    if (copy != NULL && text.len > 0)
        memcpy(copy, text.data, text.len);
    return copy;
}

char *arena_strdup(struct arena *arena, const char *text)
{
    return arena_dup(arena, str_view_of(text));
}

char *arena_printf(struct arena *arena, const char *fmt, ...)
{
    va_list args;
    char *text;
    int len;

    va_start(args, fmt);
    len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    text = len < 0 ? NULL : arena_alloc(arena, (size_t)len + 1);
    if (text == NULL)
        return NULL;
    va_start(args, fmt);
    vsnprintf(text, (size_t)len + 1, fmt, args);
    va_end(args);
    return text;
}

size_t arena_used_bytes(const struct arena *arena)
{
    return arena->used_bytes;
}

ProtobufCAllocator *arena_protobuf(struct arena *arena)
{
    return &arena->protobuf;
}
