/* SPDX-License-Identifier: Apache-2.0 */
/* connector_spool_crash_test.c - a process that ends at each failpoint of the spool: whatever had its 2xx is
 * recorded by the next one, in order.
 *
 * nng must not be used before fork(): all children run first, then the parent looks at what they left. */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "service/connector_spool_kit.h"

#include "ops/failpoint.h"

enum { EVENTS = 12 };

static struct {
    const char *label, *failpoint;
    bool is_back;  /* the centre comes back before the end */
    unsigned most; /* how often the next process may tell the same */
    char dir[DIR_BYTES];
    unsigned answered; /* 1 to this had a 2xx */
} crashes[] = {
    { .label = "before the commit", .failpoint = "connector_before_spool_commit:kill@5", .most = 1 },
    { .label = "after the commit", .failpoint = "connector_after_spool_commit_before_2xx:kill@5", .most = 1 },
    { .label = "recorded, not deleted",
      .failpoint = "connector_after_drain_submit_before_delete:kill@2",
      .is_back = true,
      .most = 1 },
};

static void run_child(const char *dir, const char *failpoint, bool is_back, int told)
{
    struct world world = { 0 };
    struct err err = { 0 };
    char body[64];

    setenv("GUICHET_FAILPOINT", failpoint, 1);
    if (!failpoint_init(&err))
        _exit(1);
    spool_world_open(&world, dir, "lanes: 2\nbatch_events_max: 3");
    centre_stop(&world);
    for (unsigned n = 1; n <= EVENTS; n++) {
        snprintf(body, sizeof(body), "%u alice hello", n);
        if (hook_status(&world, body) == 200 && write(told, &n, sizeof(n)) != sizeof(n))
            _exit(2);
    }
    if (is_back)
        centre_go(&world);
    for (;;)
        loop_turn(world.loop, 10);
}

static void leave_behind(size_t index)
{
    int ends[2], status;
    pid_t pid;

    dir_make(crashes[index].dir);
    assert_int_equal(pipe(ends), 0);
    pid = fork();
    if (pid == 0)
        run_child(crashes[index].dir, crashes[index].failpoint, crashes[index].is_back, ends[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        fail_msg("case '%s': ended with %d", crashes[index].label, status);
    close(ends[1]);
    while (read(ends[0], &crashes[index].answered, sizeof(crashes[index].answered)) > 0)
        ;
    close(ends[0]);
}

static void test_crashes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(crashes); i++)
        leave_behind(i);
    unsetenv("GUICHET_FAILPOINT");
    for (size_t i = 0; i < COUNT_OF(crashes); i++) {
        struct world next = { 0 };

        spool_world_open(&next, crashes[i].dir, "lanes: 3");
        WAIT_FOR(&next, !spool_is_scanning(next.runtime->spool) && spooled(&next) == 0);
        if (crashes[i]
                .is_back) /* what came before the end was recorded there: all from the second page on here */
            check_order(&next, 4, crashes[i].answered, crashes[i].most);
        else
            check_order(&next, 1, crashes[i].answered, crashes[i].most);
        if (crashes[i].answered < 4 || next.centre.key_count > EVENTS)
            fail_msg("case '%s': %u answered, %zu recorded", crashes[i].label, crashes[i].answered,
                     next.centre.key_count);
        world_close(&next);
        dir_remove(crashes[i].dir);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_crashes) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
