/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_replica_test.c - two replicas as processes; one is stopped, killed, comes back.
 *
 * A replica is this program again, as `mesh_replica_test serve URL NAME`: it prints the
 * address it has and answers Announce with its name. "hold" it never answers. */
#include "io/mesh_test_kit.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/mesh_stats.h"

#define CALLS 200
#define PARALLEL 8

extern char **environ;

static const char *replica_name; /* of this process, when it is a replica */

/* ---- the replica ---- */

static void serve_announce(Guichet__V1__Connector_Service *service, const Guichet__V1__AnnounceRequest *input,
                           Guichet__V1__AnnounceReply_Closure closure, void *closure_data)
{
    (void)service;
    if (strcmp(input->channel, "hold") != 0 || strcmp(replica_name, "second") == 0)
        kit_answer(closure, closure_data, replica_name);
}

static int serve(const char *listen, const char *name)
{
    struct loop *loop = loop_new();
    struct mesh_server *server = NULL;
    Guichet__V1__Connector_Service table = GUICHET__V1__CONNECTOR__INIT(kit_);
    struct err err = { 0 };

    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
    replica_name = name;
    table.announce = serve_announce;
    if (!mesh_server_new(loop, &(struct mesh_server_options){ .name = name, .listen = listen }, &server,
                         &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    mesh_server_add(server, (ProtobufCService *)&table);
    printf("%s\n", mesh_server_url(server));
    fflush(stdout);
    loop_run(loop); /* until killed */
    return 0;
}

/* ---- processes ---- */

struct replica {
    pid_t pid;
    char url[64];
};

static void start_replica(struct replica *replica, const char *listen, const char *name)
{
    char *arguments[] = { "mesh_replica_test", "serve", (char *)listen, (char *)name, NULL };
    posix_spawn_file_actions_t actions;
    FILE *output;
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    assert_int_equal(posix_spawn(&replica->pid, "/proc/self/exe", &actions, NULL, arguments, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    output = fdopen(fds[0], "r");
    assert_non_null(fgets(replica->url, sizeof(replica->url), output));
    replica->url[strcspn(replica->url, "\n")] = '\0';
    fclose(output);
}

static void kill_replica(struct replica *replica)
{
    kill(replica->pid, SIGKILL);
    waitpid(replica->pid, NULL, 0);
}

struct house {
    struct loop *loop;
    struct replica replicas[2];
    struct mesh_client *client;
    struct kit_answer answer;
};

static void open_house(struct house *house)
{
    const char *urls[2];

    memset(house, 0, sizeof(*house));
    start_replica(&house->replicas[0], "tcp://127.0.0.1:0", "first");
    start_replica(&house->replicas[1], "tcp://127.0.0.1:0", "second");
    urls[0] = house->replicas[0].url;
    urls[1] = house->replicas[1].url;
    house->loop = loop_new();
    house->client =
        kit_client(house->loop, urls, 2,
                   (struct mesh_client_options){ .attempt_timeout_ms = 1000, .ping_interval_ms = 300 });
}

static void close_house(struct house *house)
{
    mesh_client_free(&house->client);
    kill_replica(&house->replicas[0]);
    kill_replica(&house->replicas[1]);
    loop_free(&house->loop);
}

/* Calls without a lane until this replica answers one. */
static void wait_for_answer_of(struct house *house, const char *name)
{
    uint64_t until = uv_hrtime() / 1000000 + KIT_WAIT_MS;

    do {
        kit_call(house->client, &(struct mesh_call){ .timeout_ms = 3000 }, "echo", "x", &house->answer);
        kit_wait(house->loop, house->answer.count > 0);
    } while ((house->answer.err.kind != ERR_NONE || strcmp(house->answer.token, name) != 0) &&
             uv_hrtime() / 1000000 < until);
    assert_string_equal(house->answer.token, name);
}

/* Keeps PARALLEL calls going until CALLS are done; how many failed. */
static uint32_t make_calls(struct house *house, void (*at_half)(struct house *house))
{
    /* As long as one attempt may take: half of it is kept for the other replica. */
    const struct mesh_call call = { .timeout_ms = 1000 };
    struct kit_answer answers[PARALLEL];
    uint32_t started = 0, done = 0, failed = 0;
    uint64_t until = uv_hrtime() / 1000000 + 2 * KIT_WAIT_MS;

    for (; started < PARALLEL; started++)
        kit_call(house->client, &call, "echo", "x", &answers[started]);
    while (done < CALLS && uv_hrtime() / 1000000 < until) {
        loop_turn(house->loop, 20);
        for (size_t i = 0; i < PARALLEL; i++) {
            if (answers[i].count == 0)
                continue;
            assert_int_equal(answers[i].count, 1);
            if (answers[i].err.kind != ERR_NONE) {
                print_message("failed: %s\n", answers[i].err.text);
                failed++;
            }
            answers[i].count = 0;
            if (++done == CALLS / 2 && at_half != NULL)
                at_half(house);
            if (started < CALLS) {
                kit_call(house->client, &call, "echo", "x", &answers[i]);
                started++;
            }
        }
    }
    assert_int_equal(done, CALLS);
    return failed;
}

/* ---- the tests ---- */

static void with_one_of_two_stopped_every_call_succeeds(void **state)
{
    struct house house;

    (void)state;
    open_house(&house);
    wait_for_answer_of(&house, "first");
    wait_for_answer_of(&house, "second");
    kill(house.replicas[0].pid, SIGSTOP);
    assert_int_equal(make_calls(&house, NULL), 0);
    /* Only those that were sent before the breaker opened went a second time. */
    assert_in_range(mesh_stats_value(MESH_STAT_RETRIES), 1, 2 * PARALLEL);
    assert_int_equal(mesh_stats_value(MESH_STAT_BREAKER_OPENS), 1);
    assert_true(mesh_client_is_healthy(house.client));
    kill(house.replicas[0].pid, SIGCONT);
    wait_for_answer_of(&house, "first"); /* the breaker has closed */
    close_house(&house);
}

static void kill_first(struct house *house)
{
    kill_replica(&house->replicas[0]);
}

static void a_killed_replica_costs_no_call_and_comes_back(void **state)
{
    struct house house;
    char url[64];

    (void)state;
    open_house(&house);
    wait_for_answer_of(&house, "first");
    wait_for_answer_of(&house, "second");
    snprintf(url, sizeof(url), "%s", house.replicas[0].url);
    assert_int_equal(make_calls(&house, kill_first), 0);
    start_replica(&house.replicas[0], url, "first");
    wait_for_answer_of(&house, "first");
    close_house(&house);
}

/* A lane of the first replica, found by asking. */
static uint32_t lane_of(struct house *house, const char *name)
{
    for (uint32_t lane = 1; lane < 100; lane++) {
        kit_call(house->client, &(struct mesh_call){ .lane = lane }, "echo", "x", &house->answer);
        kit_wait(house->loop, house->answer.count > 0);
        if (strcmp(house->answer.token, name) == 0)
            return lane;
    }
    fail_msg("no lane of %s", name);
    return 0;
}

/* It would otherwise sit out its own minute at a process that is gone. */
static void a_long_poll_leaves_a_replica_that_stops(void **state)
{
    struct house house;
    struct mesh_call poll = { .timeout_ms = 60000, .attempt_timeout_ms = 60000 };

    (void)state;
    open_house(&house);
    wait_for_answer_of(&house, "first");
    wait_for_answer_of(&house, "second");
    poll.lane = lane_of(&house, "first");
    kit_call(house.client, &poll, "hold", "x", &house.answer);
    for (int i = 0; i < 20; i++)
        loop_turn(house.loop, 10);
    assert_int_equal(house.answer.count, 0);
    kill(house.replicas[0].pid, SIGSTOP);
    kit_wait(house.loop, house.answer.count > 0);
    assert_int_equal(house.answer.err.kind, ERR_NONE);
    assert_string_equal(house.answer.token, "second");
    close_house(&house);
}

static void with_all_stopped_calls_fail_fast_and_recover(void **state)
{
    struct house house;
    uint64_t started_ms;

    (void)state;
    open_house(&house);
    wait_for_answer_of(&house, "first");
    wait_for_answer_of(&house, "second");
    kill(house.replicas[0].pid, SIGSTOP);
    kill(house.replicas[1].pid, SIGSTOP);
    kit_wait(house.loop, !mesh_client_is_healthy(house.client));
    started_ms = uv_hrtime() / 1000000;
    kit_call(house.client, &(struct mesh_call){ .timeout_ms = 5000 }, "echo", "x", &house.answer);
    kit_wait(house.loop, house.answer.count > 0);
    assert_int_equal(house.answer.err.kind, ERR_UNAVAILABLE);
    assert_true(uv_hrtime() / 1000000 - started_ms < 1000);
    /* Long enough for the connections to be made anew, to processes that do not answer. */
    for (started_ms = uv_hrtime() / 1000000; uv_hrtime() / 1000000 - started_ms < 5000;)
        loop_turn(house.loop, 100);
    kill(house.replicas[0].pid, SIGCONT);
    kill(house.replicas[1].pid, SIGCONT);
    wait_for_answer_of(&house, "first");
    wait_for_answer_of(&house, "second");
    close_house(&house);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_one_of_two_stopped_every_call_succeeds),
        cmocka_unit_test(a_killed_replica_costs_no_call_and_comes_back),
        cmocka_unit_test(a_long_poll_leaves_a_replica_that_stops),
        cmocka_unit_test(with_all_stopped_calls_fail_fast_and_recover),
    };

    if (argc == 4 && strcmp(argv[1], "serve") == 0)
        return serve(argv[2], argv[3]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
