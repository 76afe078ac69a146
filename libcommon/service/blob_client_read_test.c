/* SPDX-License-Identifier: Apache-2.0 */
/* blob_client_read_test.c - reads: ranges, two chunks ahead, failures, freed at any time. */
#include "service/blob_client_world.h"

static void on_change(void *arg)
{
    struct world *world = arg;

    world->changes++;
    if (world->is_freeing)
        blob_read_free(&world->read);
}

static void begin_read(struct world *world, size_t size, uint64_t offset, uint64_t length)
{
    struct blob_read_options options = {
        .access = { .loop = world->loop, .client = world->client, .tenant = "demo", .patience_ms = 300 },
        .offset = offset,
        .length = length,
        .on_change = on_change,
        .arg = world
    };

    world->centre.len = size;
    memcpy(world->centre.bytes, world->source, size);
    SHA256(world->source, size, world->centre.sha256);
    options.sha256 = world->centre.sha256;
    world->changes = 0;
    world->read = blob_read_new(&options);
    assert_int_equal(world->changes, 0);
}

/* Takes all, in odd pieces; how much it was. */
static size_t read_all(struct world *world, size_t offset)
{
    static char piece[70001];
    size_t got = 0, len;

    for (;;) {
        UNTIL(world, blob_read_state(world->read) != BLOB_READ_WAITING);
        if (blob_read_state(world->read) != BLOB_READ_READY)
            return got;
        len = blob_read_take(world->read, piece, sizeof(piece));
        assert_in_range(len, 1, sizeof(piece));
        assert_memory_equal(piece, world->source + offset + got, len);
        got += len;
    }
}

static void test_reads(void **state)
{
    static const struct {
        const char *label;
        size_t size;
        uint64_t offset, length;
        size_t expected;
    } cases[] = {
        { "nothing", 0, 0, 0, 0 },
        { "a byte", 1, 0, 0, 1 },
        { "a chunk", BLOB_CHUNK_BYTES, 0, 0, BLOB_CHUNK_BYTES },
        { "a chunk and a byte", BLOB_CHUNK_BYTES + 1, 0, 0, BLOB_CHUNK_BYTES + 1 },
        { "much", 3000001, 0, 0, 3000001 },
        { "from the middle", 3000001, 1000001, 0, 2000000 },
        { "a range", 3000001, 1000001, 700000, 700000 },
        { "a range inside a chunk", 3000001, 300000, 10, 10 },
        { "a range past the end", 3000001, 3000000, 10, 1 },
        { "past the end", 3000001, 3000001, 0, 0 },
        { "far past it", 1000, 3000001, 10, 0 },
    };
    struct world *world = *state;

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        size_t got;

        begin_read(world, cases[i].size, cases[i].offset, cases[i].length);
        got = read_all(world, (size_t)cases[i].offset);
        if (got != cases[i].expected || blob_read_state(world->read) != BLOB_READ_ENDED ||
            blob_read_size(world->read) != cases[i].size)
            fail_msg("%s: %zu bytes of %llu", cases[i].label, got,
                     (unsigned long long)blob_read_size(world->read));
        blob_read_free(&world->read);
    }
}

static void test_two_chunks_are_read_ahead(void **state)
{
    struct world *world = *state;

    begin_read(world, 3000000, 0, 0);
    UNTIL(world, world->changes == 1);
    UNTIL(world, world->centre.reads == 2);
    for (size_t i = 0; i < 10; i++)
        loop_turn(world->loop, 10);
    assert_int_equal(world->centre.reads, 2);
    assert_int_equal(read_all(world, 0), 3000000);
    assert_int_equal(world->centre.reads, 12);
}

static void test_reads_that_fail(void **state)
{
    static const struct {
        const char *label;
        enum err_kind fails;
        unsigned count;
        size_t is_short;
        enum err_kind kind; /* NONE: it is repeated until it is right */
    } cases[] = {
        { "there is none", ERR_NOT_FOUND, UINT32_MAX, 0, ERR_NOT_FOUND },
        { "for a while", ERR_UNAVAILABLE, 3, 0, ERR_NONE },
        { "for too long", ERR_UNAVAILABLE, UINT32_MAX, 0, ERR_UNAVAILABLE },
        { "less than there is", ERR_NONE, 0, 1, ERR_INTERNAL },
    };
    struct world *world = *state;

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        world->centre.read_fails = cases[i].fails;
        world->centre.read_fails_count = cases[i].count;
        world->centre.read_short = cases[i].is_short;
        begin_read(world, 600000, 0, 0);
        if (cases[i].kind == ERR_NONE)
            assert_int_equal(read_all(world, 0), 600000);
        else
            UNTIL(world, blob_read_state(world->read) == BLOB_READ_FAILED);
        if (blob_read_err(world->read)->kind != cases[i].kind)
            fail_msg("%s: %s", cases[i].label, blob_read_err(world->read)->text);
        assert_in_range(world->changes, 1, 10);
        blob_read_free(&world->read);
    }
}

static void test_reads_freed_at_any_time(void **state)
{
    struct world *world = *state;

    begin_read(world, 600000, 0, 0);
    blob_read_free(&world->read);
    UNTIL(world, world->centre.reads == 1);
    world->is_freeing = true;
    begin_read(world, 600000, 0, 0);
    UNTIL(world, world->read == NULL);
    for (size_t i = 0; i < 10; i++)
        loop_turn(world->loop, 10);
    assert_int_equal(world->changes, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_reads),
        TEST(test_two_chunks_are_read_ahead),
        TEST(test_reads_that_fail),
        TEST(test_reads_freed_at_any_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
