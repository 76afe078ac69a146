/* SPDX-License-Identifier: Apache-2.0 */
/* connector_void_test.c - numbers of events that were refused: whatever their count, they stop nobody, and the
 * centre knows all of them before it sees a higher one. */
#include "service/connector_spool_kit.h"

#include "service/connector_lane.h"

enum { FAILED_HOOKS = 3000, SPOOL_MAX = 4 };

static struct lane *lane_of(const struct world *world)
{
    return &world->runtime->lanes->lanes[0];
}

/* All up to the lane's last number, and none beyond. */
static void check_complete(const struct world *world)
{
    uint64_t last = lane_of(world)->boot_n;

    for (uint64_t n = 1; n < CENTRE_NUMBERS_MAX; n++)
        if (world->centre.is_told[n] != (n <= last))
            fail_msg("number %llu of %llu: told %d", (unsigned long long)n, (unsigned long long)last,
                     world->centre.is_told[n]);
}

static const struct {
    const char *label;
    bool has_spool;
} places[] = { { "without a spool", false }, { "with a spool that is full", true } };

static void test_many_failures(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        struct world *world = calloc(1, sizeof(*world));
        char dir[DIR_BYTES], body[64];

        world->centre.is_counting = true;
        dir_make(dir);
        if (places[i].has_spool)
            spool_world_open(world, dir, "lanes: 1\nspool_events_max: 4");
        else
            world_open(world, "lanes: 1\nsubmit_timeout_ms: 300ms\nsubmit_attempt_timeout_ms: 200ms");
        wait_announced(world);
        centre_stop(world);
        world->centre.submit_fails = ERR_INTERNAL; /* answered at once */
        for (unsigned n = 1; n <= SPOOL_MAX && places[i].has_spool; n++) {
            snprintf(body, sizeof(body), "%u alice a", n);
            assert_int_equal(hook_status(world, body), 200);
        }
        for (unsigned n = 1; n <= FAILED_HOOKS; n++) {
            snprintf(body, sizeof(body), "x%u alice b", n);
            if (hook_status(world, body) != 503)
                fail_msg("case '%s'", places[i].label);
        }
        assert_int_equal(lane_of(world)->voids.count, 1);
        centre_go(world);
        for (unsigned tries = 0; hook_status(world, "5 alice c") != 200; tries++)
            assert_in_range(tries, 0, 1000); /* the mesh asks a replica that was away again after a while */
        WAIT_FOR(world, !places[i].has_spool || spooled(world) == 0);
        if (places[i].has_spool)
            check_order(world, 1, 5, 1);
        check_complete(world);
        assert_int_equal(world->centre.deads, 0);
        world_close(world);
        dir_remove(dir);
        free(world);
    }
}

/* Ranges that cannot be joined: more than one request takes go alone, before the event; from the spool as well. */
static void test_many_ranges(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        struct world *world = calloc(1, sizeof(*world));
        char dir[DIR_BYTES];

        world->centre.is_counting = true;
        dir_make(dir);
        if (places[i].has_spool)
            spool_world_open(world, dir, "lanes: 1");
        else
            world_open(world, "lanes: 1");
        wait_announced(world);
        for (uint64_t n = 1; n <= 2 * FAILED_HOOKS; n += 2) {
            connector_lane_void(lane_of(world), n);
            world->centre.is_told[n + 1] = true;
        }
        lane_of(world)->boot_n = 2 * FAILED_HOOKS;
        if (places[i].has_spool)
            centre_stop(world);
        assert_int_equal(hook_status(world, "1 alice a\n2 alice b"), 200);
        centre_go(world);
        WAIT_FOR(world, world->centre.key_count == 2);
        check_order(world, 1, 2, 1);
        check_complete(world);
        assert_int_equal(lane_of(world)->voids.count, 0);
        WAIT_FOR(world, !places[i].has_spool || spool_lane_rows(world->runtime->spool, 0, 0) == 0);
        world_close(world);
        dir_remove(dir);
        free(world);
    }
}

/* A range wider than one request takes, left in the spool by an older process. */
static void test_wide_range(void **state)
{
    struct world world = { 0 };
    struct spool_row rows[2] = { { .kind = SPOOL_VOID, .boot_lane = 1, .boot_n = 1, .boot_last = 5 << 20 },
                                 { .kind = SPOOL_VOID, .boot_lane = 1, .boot_n = 9, .boot_last = 8 } };
    struct arena *arena = arena_new(1 << 20);
    struct lane *lane;
    struct void_share share;
    struct spool_row *left = rows;
    size_t left_count = 2, requests = 0;
    uint64_t told = 0;

    (void)state;
    world_open(&world, "lanes: 1");
    wait_announced(&world);
    lane = lane_of(&world);
    connector_lane_void(lane, 7);
    for (bool is_all = false; !is_all; requests++) {
        Guichet__V1__SubmitRequest request = GUICHET__V1__SUBMIT_REQUEST__INIT;
        struct err none = { 0 };

        share = (struct void_share){ .is_alone = true };
        is_all = connector_voids_fill(lane, left, left_count, arena, &request, &share);
        assert_true(centre_takes_voids(&world.centre, &request));
        for (size_t i = 0; i < request.n_voided; i++)
            told += request.voided[i]->last - request.voided[i]->first + 1;
        assert_true(connector_voids_answered(lane, &share, &none));
        connector_voids_drop_rows(&left, &left_count, &share);
    }
    assert_int_equal(told, (5 << 20) + 1);
    assert_int_equal(left_count, 0);
    assert_int_equal(lane->voids.count, 0);
    assert_in_range(requests, 5, 7);
    arena_free(&arena);
    world_close(&world);
}

/* Numbers that the centre refuses cost no event its place, and nobody becomes a dead letter. */
static void test_refused_voids(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        struct world world = { .centre = { .is_void_hated = true } };
        char dir[DIR_BYTES];

        dir_make(dir);
        if (places[i].has_spool)
            spool_world_open(&world, dir, "lanes: 1");
        else
            world_open(&world, "lanes: 1");
        wait_announced(&world);
        connector_lane_void(lane_of(&world), 1);
        lane_of(&world)->boot_n = 1;
        if (places[i].has_spool)
            centre_stop(&world);
        assert_int_equal(hook_status(&world, "1 alice a\n2 alice b"), 200);
        centre_go(&world);
        WAIT_FOR(&world, world.centre.key_count == 2);
        check_order(&world, 1, 2, 1);
        assert_int_equal(world.centre.deads, 0);
        WAIT_FOR(&world, !places[i].has_spool || spool_lane_rows(world.runtime->spool, 0, 0) == 0);
        world_close(&world);
        dir_remove(dir);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_failures),
        cmocka_unit_test(test_many_ranges),
        cmocka_unit_test(test_wide_range),
        cmocka_unit_test(test_refused_voids),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
