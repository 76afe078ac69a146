/* SPDX-License-Identifier: Apache-2.0 */
/* db_restart_test.c - the whole cluster is killed and comes again; a server without fsync is refused.
 *
 * These tests need a cluster that is theirs alone: they start one, on a free port. */
#include "io/db_testkit.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define KIT_SCRIPT TEST_SOURCE_DIR "/tests/kit/postgres"

static const struct db_pool_options pool_options = { .name = "short",
                                                     .connections = 2,
                                                     .statement_timeout_ms = 10000,
                                                     .work_timeout_ms = 15000,
                                                     .queue_max = 64 };
static const struct db_pool_options hasty_options = {
    .name = "hasty", .connections = 1, .statement_timeout_ms = 1000, .work_timeout_ms = 300, .queue_max = 64
};

struct cluster {
    char dir[64];
    char url[128];
    int port;
};

static int free_port(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void script(const struct cluster *cluster, const char *what)
{
    char command[512];

    snprintf(command, sizeof(command), "bash '%s' %s '%s' %d >/dev/null 2>&1", KIT_SCRIPT, what, cluster->dir,
             cluster->port);
    if (system(command) != 0)
        fail_msg("'%s' failed", command);
}

static int start_cluster(void **state)
{
    struct cluster *cluster = calloc(1, sizeof(*cluster));

    snprintf(cluster->dir, sizeof(cluster->dir), "/tmp/guichet-db-XXXXXX");
    assert_non_null(mkdtemp(cluster->dir));
    assert_int_equal(chmod(cluster->dir, 0755), 0);
    cluster->port = free_port();
    snprintf(cluster->url, sizeof(cluster->url), "postgresql://guichet@127.0.0.1:%d/guichet", cluster->port);
    script(cluster, "start");
    *state = cluster;
    return 0;
}

static int stop_cluster(void **state)
{
    struct cluster *cluster = *state;
    char command[128];

    script(cluster, "stop");
    snprintf(command, sizeof(command), "rm -rf '%s'", cluster->dir);
    assert_int_equal(system(command), 0);
    free(cluster);
    return 0;
}

static void configure(const struct cluster *cluster, const char *line)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/data/postgresql.conf", cluster->dir);
    file = fopen(path, "a");
    assert_non_null(file);
    fprintf(file, "%s\n", line);
    fclose(file);
}

static void test_killed_cluster_comes_again(void **state)
{
    const struct cluster *cluster = *state;
    struct kit kit;
    struct outcome running = { 0 }, waiting = { 0 }, hasty = { 0 };
    struct db_work *work;
    struct db_pool *pool;
    struct err err = { 0 };

    kit_open(&kit, cluster->url, &pool_options);
    pool = db_pool_new(kit.db, &hasty_options);
    KIT_UNTIL(&kit, db_is_ready(kit.db));
    kit_start(&kit, "SELECT pg_sleep(8)", &running);
    KIT_UNTIL(&kit, strcmp(kit_count(&kit, "wait_event = 'PgSleep'"), "1") == 0);
    script(cluster, "kill");
    KIT_UNTIL(&kit, running.is_done && !db_is_ready(kit.db));
    assert_int_equal(running.err.kind, ERR_UNAVAILABLE);

    /* One that cannot be sent: known to have had no effect, so not a DEADLINE, and it says what is wrong, once a new
     * connection was tried. */
    do {
        memset(&hasty, 0, sizeof(hasty));
        work = db_work_new(pool);
        kit_add(work, "SELECT 1");
        db_work_run(work, kit_on_done, &hasty);
        KIT_UNTIL(&kit, hasty.is_done);
        assert_int_equal(hasty.err.kind, ERR_UNAVAILABLE);
    } while (strstr(hasty.err.text, "127.0.0.1") == NULL);
    assert_false(db_check(kit.db, &err));
    assert_int_equal(err.kind, ERR_UNAVAILABLE);

    /* One with more patience waits for the server. */
    kit_start(&kit, "SELECT 1", &waiting);
    loop_turn(kit.loop, 10);
    assert_false(waiting.is_done);
    loop_excuse(kit.loop);
    script(cluster, "start");
    loop_excuse(kit.loop);
    KIT_UNTIL(&kit, waiting.is_done);
    assert_string_equal(waiting.err.text, "");
    KIT_UNTIL(&kit, db_is_ready(kit.db));
    kit_close(&kit);
}

static const struct {
    const char *label, *line, *setting;
} unsafe[] = {
    { "fsync", "fsync = off", "fsync" },
    { "full_page_writes", "fsync = on\nfull_page_writes = off", "full_page_writes" },
};

static void check_refused(const struct cluster *cluster, const char *setting)
{
    struct kit kit;
    struct db_options options = { .conninfo = cluster->url };
    struct err err = { 0 };

    assert_false(db_check_server(&options, &err));
    assert_int_equal(err.kind, ERR_CONFIG);
    kit_open(&kit, cluster->url, &pool_options);
    KIT_UNTIL(&kit, !db_check(kit.db, &err) && err.kind == ERR_CONFIG);
    assert_non_null(strstr(err.text, setting));
    assert_non_null(strstr(err.text, "unsafe_allow_fsync_off"));
    assert_false(db_is_ready(kit.db));
    db_free(&kit.db);

    options.allow_fsync_off = true;
    options.search_path = kit.schema;
    assert_true(db_check_server(&options, &err));
    assert_true(db_new(kit.loop, kit.worker, &options, &kit.db, &err));
    kit.pool = db_pool_new(kit.db, &pool_options);
    assert_int_equal(kit_run(&kit, "SELECT 1"), ERR_NONE);
    kit_close(&kit);
}

static void test_server_that_can_lose_is_refused(void **state)
{
    struct cluster *cluster = *state;
    struct db_options options = { .conninfo = cluster->url };
    struct err err = { 0 };

    assert_true(db_check_server(&options, &err));
    for (size_t i = 0; i < COUNT_OF(unsafe); i++) {
        configure(cluster, unsafe[i].line);
        script(cluster, "stop");
        assert_false(db_check_server(&options, &err));
        assert_int_equal(err.kind, ERR_UNAVAILABLE);
        script(cluster, "start");
        check_refused(cluster, unsafe[i].setting);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_cluster_comes_again),
        cmocka_unit_test(test_server_that_can_lose_is_refused),
    };

    return cmocka_run_group_tests_name("db_restart", tests, start_cluster, stop_cluster);
}
