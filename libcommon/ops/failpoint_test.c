/* SPDX-License-Identifier: Apache-2.0 */
/* failpoint_test.c - the variable's grammar, and what an armed point does. Needs a test build. */
#include "ops/failpoint.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"

#define POINT "mesh_publish_cut"
#define OTHER "db_notify_cut"

#ifdef GUICHET_FAILPOINTS

static const struct { const char *label, *value; bool ok; } specs[] = {
    { "empty", "", true },
    { "kill", POINT ":kill", true },
    { "kill at a pass", POINT ":kill@3", true },
    { "error", POINT ":error", true },
    { "drop at a pass", POINT ":drop@2", true },
    { "sleep", POINT ":sleep=5", true },
    { "two", POINT ":error," OTHER ":kill", true },
    { "unknown name", "mesh_publish_cat:error", false },
    { "no action", POINT, false },
    { "empty action", POINT ":", false },
    { "unknown action", POINT ":explode", false },
    { "pass 0", POINT ":error@0", false },
    { "pass is no number", POINT ":error@x", false },
    { "pass missing twice", POINT ":error@1@2", false },
    { "sleep without time", POINT ":sleep", false },
    { "sleep of nothing", POINT ":sleep=", false },
    { "the second is wrong", POINT ":error,nowhere:kill", false },
};

static bool arm(const char *value, struct err *err)
{
    setenv("GUICHET_FAILPOINT", value, 1);
    return failpoint_init(err);
}

static void test_grammar(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(specs); i++) {
        struct err err = { 0 };

        CHECK_CASE(specs[i].label, arm(specs[i].value, &err) == specs[i].ok);
        CHECK_CASE(specs[i].label, err.kind == (specs[i].ok ? ERR_NONE : ERR_CONFIG));
    }
    unsetenv("GUICHET_FAILPOINT");
    assert_true(failpoint_init(NULL));
}

static void test_error_each_time_and_once(void **state)
{
    (void)state;
    assert_true(arm(POINT ":error", NULL));
    assert_true(FAILPOINT(POINT));
    assert_true(FAILPOINT(POINT));
    assert_false(FAILPOINT(OTHER));
    assert_true(arm(POINT ":error@2", NULL));    /* passes are counted anew */
    assert_false(FAILPOINT(POINT));
    assert_true(FAILPOINT(POINT));
    assert_false(FAILPOINT(POINT));
    assert_true(arm("", NULL));
    assert_false(FAILPOINT(POINT));
}

/* How a child ends that passes the point `passes` times. */
static int end_of_child(const char *value, int passes)
{
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) == NULL || !arm(value, NULL))
            _exit(1);
        for (int i = 0; i < passes; i++)
            (void)FAILPOINT(POINT);
        if (passes < 0)
            (void)FAILPOINT("not_in_the_table");
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void test_kill(void **state)
{
    int status;

    (void)state;
    status = end_of_child(POINT ":kill", 1);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    status = end_of_child(POINT ":kill@3", 2);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    status = end_of_child(POINT ":kill@3", 3);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_name_not_in_the_table_aborts(void **state)
{
    int status = end_of_child("", -1);

    (void)state;
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void count_excuse(void *arg)
{
    (*(int *)arg)++;
}

static void test_sleep_excuses_itself_first(void **state)
{
    struct timespec before, after;
    int excuses = 0;

    (void)state;
    failpoint_set_excuse(count_excuse, &excuses);
    assert_true(arm(POINT ":sleep=30", NULL));
    clock_gettime(CLOCK_MONOTONIC, &before);
    assert_false(FAILPOINT(POINT));
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 >= 29);
    assert_int_equal(excuses, 1);
    failpoint_set_excuse(NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grammar),
        cmocka_unit_test(test_error_each_time_and_once),
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_name_not_in_the_table_aborts),
        cmocka_unit_test(test_sleep_excuses_itself_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

static void test_variable_is_refused(void **state)
{
    struct err err = { 0 };

    (void)state;
    unsetenv("GUICHET_FAILPOINT");
    assert_true(failpoint_init(&err));
    setenv("GUICHET_FAILPOINT", POINT ":error", 1);
    assert_false(failpoint_init(&err));
    assert_int_equal(err.kind, ERR_CONFIG);
    assert_false(FAILPOINT(POINT));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_variable_is_refused) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
