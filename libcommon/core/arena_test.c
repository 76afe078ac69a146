/* SPDX-License-Identifier: Apache-2.0 */
/* arena_test.c - zeroed, aligned, capped, and all freed at once. */
#include "core/arena.h"

#include "core/check.h"

static void test_zeroed_and_aligned(void **state)
{
    SCOPED_ARENA arena = arena_new(1 << 20);

    (void)state;
    for (size_t size = 1; size < 5000; size += 37) {
        unsigned char *piece = arena_alloc(arena, size);

        assert_non_null(piece);
        assert_int_equal((uintptr_t)piece % 16, 0);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(piece[i], 0);
        memset(piece, 0xAA, size);
    }
}

static void test_cap(void **state)
{
    SCOPED_ARENA arena = arena_new(100);

    (void)state;
    assert_non_null(arena_alloc(arena, 60));
    assert_null(arena_alloc(arena, 60));
    assert_non_null(arena_alloc(arena, 30));    /* what still fits is given */
    assert_null(arena_alloc(arena, SIZE_MAX));
    assert_true(arena_used_bytes(arena) <= 100);
}

static void test_nothing_is_something(void **state)
{
    SCOPED_ARENA arena = arena_new(16);
    SCOPED_ARENA none = arena_new(0);

    (void)state;
    assert_non_null(arena_alloc(arena, 0));
    assert_null(arena_alloc(none, 0));
}

static void test_texts(void **state)
{
    SCOPED_ARENA arena = arena_new(4096);
    SCOPED_ARENA small = arena_new(4);

    (void)state;
    assert_string_equal(arena_strdup(arena, "abc"), "abc");
    assert_string_equal(arena_strdup(arena, NULL), "");
    assert_string_equal(arena_dup(arena, (struct str_view){ "abcdef", 2 }), "ab");
    assert_string_equal(arena_printf(arena, "%s-%d", "x", 7), "x-7");
    assert_null(arena_strdup(small, "abcd"));
    assert_null(arena_printf(small, "%d", 123456));
}

static void test_protobuf_allocator(void **state)
{
    SCOPED_ARENA arena = arena_new(64);
    ProtobufCAllocator *allocator = arena_protobuf(arena);
    void *piece = allocator->alloc(allocator->allocator_data, 32);

    (void)state;
    assert_non_null(piece);
    allocator->free(allocator->allocator_data, piece);
    assert_int_equal(arena_used_bytes(arena), 32);
    assert_null(allocator->alloc(allocator->allocator_data, 33));
}

static void test_free_clears(void **state)
{
    struct arena *arena = arena_new(10), *none = NULL;

    (void)state;
    arena_free(&arena);
    assert_null(arena);
    arena_free(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zeroed_and_aligned),
        cmocka_unit_test(test_cap),
        cmocka_unit_test(test_nothing_is_something),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_protobuf_allocator),
        cmocka_unit_test(test_free_clears),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
