/* SPDX-License-Identifier: Apache-2.0 */
/* blob_client_test.c - uploads: sizes, back-pressure, failures for a while and for good, freed at any time. */
#include "service/blob_client_world.h"

static void release(struct centre *centre)
{
    const Guichet__V1__PutChunkReply reply = GUICHET__V1__PUT_CHUNK_REPLY__INIT;
    size_t count = centre->held_count;

    centre->held_count = 0;
    for (size_t i = 0; i < count; i++)
        centre->held[i].closure(&reply, centre->held[i].closure_data);
}

static struct str_view token(void *arg)
{
    (void)arg;
    return STR_LITERAL("my token");
}

static void on_room(void *arg)
{
    struct world *world = arg;

    world->rooms++;
    if (world->is_freeing)
        blob_upload_free(&world->upload);
}

static void on_done(void *arg, const Guichet__V1__Blob *blob, const struct err *err)
{
    struct world *world = arg;

    world->dones++;
    world->err = *err;
    assert_int_equal(blob == NULL, err->kind != ERR_NONE);
    if (blob != NULL)
        world->blob_bytes = blob->size_bytes;
    if (world->is_freeing)
        blob_upload_free(&world->upload);
}

static void begin(struct world *world, uint64_t max_bytes, uint32_t patience_ms)
{
    const struct blob_upload_options options = { .access = { .loop = world->loop,
                                                             .client = world->client,
                                                             .tenant = "demo",
                                                             .token = token,
                                                             .patience_ms = patience_ms },
                                                 .max_bytes = max_bytes,
                                                 .on_room = on_room,
                                                 .arg = world };

    world->upload = blob_upload_new(&options);
}

/* Pushes [from, to) in pieces of `piece`, resting when told to. */
static void push(struct world *world, size_t from, size_t to, size_t piece)
{
    struct err err = { 0 };

    while (from < to) {
        size_t len = to - from < piece ? to - from : piece;

        UNTIL(world, blob_upload_has_room(world->upload));
        if (!blob_upload_push(world->upload, (struct str_view){ (char *)world->source + from, len }, &err))
            fail_msg("push at %zu: %s", from, err.text);
        from += len;
    }
}

static void finish(struct world *world, const uint8_t *sha256)
{
    blob_upload_finish(world->upload,
                       &(const struct blob_upload_finish){ .sha256 = sha256, .content_type = "image/png" },
                       on_done, world);
    assert_int_equal(world->dones, 0);
    UNTIL(world, world->dones > 0);
    assert_int_equal(world->dones, 1);
}

static void test_sizes(void **state)
{
    static const size_t sizes[][2] = {
        { 0, 1 },
        { 1, 1 },
        { BLOB_CHUNK_BYTES - 1, 16384 },
        { BLOB_CHUNK_BYTES, 16384 },
        { BLOB_CHUNK_BYTES, BLOB_CHUNK_BYTES },
        { BLOB_CHUNK_BYTES + 1, BLOB_CHUNK_BYTES },
        { 5 * BLOB_CHUNK_BYTES + 77, 100003 },
        { BLOB_MAX_BYTES, 65536 },
    };
    struct world *world = *state;

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        uint8_t sha256[SHA256_DIGEST_LENGTH];

        world->dones = 0;
        world->centre.len = 0;
        memset(world->centre.bytes, 0, BLOB_MAX_BYTES);
        SHA256(world->source, sizes[i][0], sha256);
        begin(world, BLOB_MAX_BYTES, 0);
        push(world, 0, sizes[i][0], sizes[i][1]);
        finish(world, i % 2 == 0 ? sha256 : NULL);
        if (world->err.kind != ERR_NONE)
            fail_msg("%zu bytes: %s", sizes[i][0], world->err.text);
        assert_int_equal(world->blob_bytes, sizes[i][0]);
        assert_int_equal(blob_upload_size(world->upload), sizes[i][0]);
        assert_memory_equal(world->centre.bytes, world->source, sizes[i][0]);
        blob_upload_free(&world->upload);
    }
    assert_string_equal(world->centre.token, "my token");
    assert_int_equal(world->centre.aborts, 0);
}

static void test_no_more_than_four_chunks_are_held(void **state)
{
    struct world *world = *state;
    struct err err = { 0 };

    world->centre.is_holding = true;
    begin(world, 0, 0);
    push(world, 0, (size_t)3 * BLOB_CHUNK_BYTES + 1, 65537);
    assert_false(blob_upload_has_room(world->upload));
    UNTIL(world, world->centre.held_count == 3);
    assert_int_equal(world->rooms, 0);
    release(&world->centre);
    UNTIL(world, world->rooms == 1);
    assert_true(blob_upload_has_room(world->upload));
    world->centre.is_holding = false;
    push(world, (size_t)3 * BLOB_CHUNK_BYTES + 1, 3000000, 65536);
    finish(world, NULL);
    assert_int_equal(world->err.kind, ERR_NONE);
    blob_upload_free(&world->upload);

    /* Who does not stop is stopped. */
    world->centre.is_holding = true;
    begin(world, 0, 0);
    push(world, 0, (size_t)3 * BLOB_CHUNK_BYTES + 1, BLOB_CHUNK_BYTES);
    assert_false(blob_upload_push(world->upload, (struct str_view){ (char *)world->source, 1 }, &err));
    assert_int_equal(err.kind, ERR_EXHAUSTED);
}

static void test_too_large(void **state)
{
    struct world *world = *state;
    struct err err = { 0 };

    begin(world, 300000, 0);
    push(world, 0, 300000, 50000);
    assert_false(blob_upload_push(world->upload, (struct str_view){ (char *)world->source, 1 }, &err));
    assert_int_equal(err.kind, ERR_EXHAUSTED);
    blob_upload_free(&world->upload);
    UNTIL(world, world->centre.aborts == 1);
    assert_int_equal(world->rooms, 0);
}

static void test_what_fails_for_a_while_is_repeated(void **state)
{
    struct world *world = *state;

    world->centre.put_fails = ERR_UNAVAILABLE;
    world->centre.put_fails_count = 7;
    world->centre.finish_fails = ERR_DEADLINE;
    world->centre.finish_fails_count = 3;
    begin(world, 0, 0);
    push(world, 0, 2000000, 100000);
    finish(world, NULL);
    if (world->err.kind != ERR_NONE)
        fail_msg("%s", world->err.text);
    assert_memory_equal(world->centre.bytes, world->source, 2000000);
}

static void test_what_fails_for_good(void **state)
{
    static const struct {
        const char *label;
        enum err_kind put, finish, kind;
    } cases[] = {
        { "a chunk is refused", ERR_INVALID, ERR_NONE, ERR_INVALID },
        { "the token is", ERR_FORBIDDEN, ERR_NONE, ERR_FORBIDDEN },
        { "the finish is", ERR_NONE, ERR_INVALID, ERR_INVALID },
        { "down for too long", ERR_UNAVAILABLE, ERR_NONE, ERR_UNAVAILABLE },
        { "down for too long at the end", ERR_NONE, ERR_UNAVAILABLE, ERR_UNAVAILABLE },
    };
    struct world *world = *state;

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        world->dones = 0;
        world->centre.len = 0;
        world->centre.put_fails = cases[i].put;
        world->centre.put_fails_count = cases[i].put != ERR_NONE ? UINT32_MAX : 0;
        world->centre.finish_fails = cases[i].finish;
        world->centre.finish_fails_count = cases[i].finish != ERR_NONE ? UINT32_MAX : 0;
        begin(world, 0, 300);
        push(world, 0, 1000, 1000);
        finish(world, NULL);
        if (world->err.kind != cases[i].kind)
            fail_msg("%s: %s", cases[i].label, world->err.text);
        blob_upload_free(&world->upload);
    }
}

/* In the middle: whoever waits for room is told, and the next push says why. */
static void test_a_failure_on_the_way(void **state)
{
    struct world *world = *state;
    struct err err = { 0 };

    world->centre.put_fails = ERR_INVALID;
    world->centre.put_fails_count = UINT32_MAX;
    begin(world, 0, 0);
    push(world, 0, (size_t)3 * BLOB_CHUNK_BYTES + 1, 65537);
    UNTIL(world, world->rooms == 1);
    assert_true(blob_upload_has_room(world->upload));
    assert_false(blob_upload_push(world->upload, (struct str_view){ "x", 1 }, &err));
    assert_int_equal(err.kind, ERR_INVALID);
}

static void test_another_hash_than_was_said(void **state)
{
    const uint8_t other[SHA256_DIGEST_LENGTH] = { 1 };
    struct world *world = *state;

    begin(world, 0, 0);
    push(world, 0, 1000, 1000);
    finish(world, other);
    assert_int_equal(world->err.kind, ERR_INVALID);
    assert_int_equal(world->centre.finishes, 0);
}

static void test_freed_at_any_time(void **state)
{
    struct world *world = *state;

    world->centre.is_holding = true;
    begin(world, 0, 0);
    push(world, 0, 600000, 100000);
    UNTIL(world, world->centre.held_count == 2);
    blob_upload_free(&world->upload);
    UNTIL(world, world->centre.aborts == 1);
    release(&world->centre);
    world->centre.is_holding = false;

    /* Inside its callbacks. */
    world->is_freeing = true;
    world->centre.put_fails = ERR_INVALID;
    world->centre.put_fails_count = 1;
    begin(world, 0, 0);
    push(world, 0, BLOB_CHUNK_BYTES, BLOB_CHUNK_BYTES);
    UNTIL(world, world->upload == NULL);
    world->centre.len = 0;
    begin(world, 0, 0);
    push(world, 0, 1000, 1000);
    finish(world, NULL);
    assert_null(world->upload);

    /* Between the end of the pushing and the first turn; and before anything. */
    begin(world, 0, 0);
    blob_upload_finish(world->upload, &(const struct blob_upload_finish){ .content_type = "image/png" },
                       on_done, world);
    blob_upload_free(&world->upload);
    begin(world, 0, 0);
    blob_upload_free(&world->upload);
    for (size_t i = 0; i < 10; i++)
        loop_turn(world->loop, 10);
    assert_int_equal(world->dones, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_sizes),
        TEST(test_no_more_than_four_chunks_are_held),
        TEST(test_too_large),
        TEST(test_what_fails_for_a_while_is_repeated),
        TEST(test_what_fails_for_good),
        TEST(test_a_failure_on_the_way),
        TEST(test_another_hash_than_was_said),
        TEST(test_freed_at_any_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
