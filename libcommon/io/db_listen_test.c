/* SPDX-License-Identifier: Apache-2.0 */
/* db_listen_test.c - notifications: heard, heard again after a reconnect, and lost where a test wants it. */
#include "io/db_testkit.h"

#include "ops/failpoint.h"

#define CHANNEL "Guichet's \"test\""

static const struct db_pool_options pool_options = {
    .name = "short", .connections = 1, .statement_timeout_ms = 5000, .work_timeout_ms = 15000, .queue_max = 64
};

struct heard {
    struct kit *kit;
    struct db_listener *listener;
    size_t hellos, notes;
    char last[64];
    bool frees_itself;
};

static void on_notify(void *arg, const char *channel, const char *payload)
{
    struct heard *heard = arg;

    assert_string_equal(channel, CHANNEL);
    if (payload[0] == '\0')
        heard->hellos++;
    else
        heard->notes++;
    snprintf(heard->last, sizeof(heard->last), "%s", payload);
    if (heard->frees_itself && heard->notes > 0)
        db_listener_free(&heard->listener);
}

static void notify(struct kit *kit, const char *payload)
{
    char sql[256];

    snprintf(sql, sizeof(sql), "SELECT pg_notify('Guichet''s \"test\"', '%s')", payload);
    assert_int_equal(kit_run(kit, sql), ERR_NONE);
}

static void test_heard_and_heard_again(void **state)
{
    struct kit kit;
    struct heard heard = { 0 };

    (void)state;
    kit_open(&kit, kit_url(), &pool_options);
    heard.listener = db_listen(kit.db, CHANNEL, on_notify, &heard);
    assert_int_equal(heard.hellos, 0);
    KIT_UNTIL(&kit, heard.hellos == 1);
    notify(&kit, "one");
    KIT_UNTIL(&kit, heard.notes == 1);
    assert_string_equal(heard.last, "one");
    kit_terminate(&kit);
    KIT_UNTIL(&kit, heard.hellos == 2);
    KIT_UNTIL(&kit, db_is_ready(kit.db));
    notify(&kit, "two");
    KIT_UNTIL(&kit, heard.notes == 2);
    assert_string_equal(heard.last, "two");
    db_listener_free(&heard.listener);
    kit_close(&kit);
}

static void test_freed_in_its_own_callback(void **state)
{
    struct kit kit;
    struct heard heard = { .frees_itself = true };

    (void)state;
    kit_open(&kit, kit_url(), &pool_options);
    heard.listener = db_listen(kit.db, CHANNEL, on_notify, &heard);
    KIT_UNTIL(&kit, heard.hellos == 1);
    notify(&kit, "a'' b");
    KIT_UNTIL(&kit, heard.notes == 1);
    assert_null(heard.listener);
    notify(&kit, "nobody");
    assert_int_equal(heard.notes, 1);
    kit_close(&kit);
}

static void test_freed_after_its_db(void **state)
{
    struct kit kit;
    struct heard heard = { 0 };

    (void)state;
    kit_open(&kit, kit_url(), &pool_options);
    heard.listener = db_listen(kit.db, CHANNEL, on_notify, &heard);
    KIT_UNTIL(&kit, heard.hellos == 1);
    db_free(&kit.db);
    db_listener_free(&heard.listener);
    kit_close(&kit);
}

static void test_cut(void **state)
{
    struct kit kit;
    struct heard heard = { 0 };
    struct err err = { 0 };

    (void)state;
    kit_open(&kit, kit_url(), &pool_options);
    heard.listener = db_listen(kit.db, CHANNEL, on_notify, &heard);
    KIT_UNTIL(&kit, heard.hellos == 1);
    setenv("GUICHET_FAILPOINT", "db_notify_cut:drop@1", 1);
    assert_true(failpoint_init(&err));
    notify(&kit, "lost");
    notify(&kit, "found");
    KIT_UNTIL(&kit, heard.notes == 1);
    assert_string_equal(heard.last, "found");
    unsetenv("GUICHET_FAILPOINT");
    assert_true(failpoint_init(&err));
    db_listener_free(&heard.listener);
    kit_close(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heard_and_heard_again),
        cmocka_unit_test(test_freed_in_its_own_callback),
        cmocka_unit_test(test_freed_after_its_db),
        cmocka_unit_test(test_cut),
    };

    return cmocka_run_group_tests_name("db_listen", tests, NULL, NULL);
}
