/* SPDX-License-Identifier: Apache-2.0 */
/* mesh_nng_kit.h - runs scenarios against nng, each in a process of its own, with a workaround of ours on and off.
 *
 * The process is the test program again, as `PROGRAM run NAME on|off`, because some scenarios end in a crash or
 * hang for ever. With the workaround on a scenario must end well on every version of nng. With it off it must go
 * wrong wherever nng has the defect: the day it no longer does, the test says so.
 *
 * A test file has a table of scenarios; its main() calls run_child() for such a process, its test check_scenario(). */
#ifndef GUICHET_IO_MESH_NNG_KIT_H
#define GUICHET_IO_MESH_NNG_KIT_H

#include "io/mesh_test_kit.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>

#include "io/mesh_wire.h"

#define MESSAGE_MAX_BYTES (1024 * 1024)

extern char **environ;

/* ---- in the child: small helpers; a failed check ends it with 1 ---- */

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                          \
            _exit(1);                                                                                        \
        }                                                                                                    \
    } while (0)

static inline uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

static inline void sleep_ms(unsigned ms)
{
    usleep(ms * 1000);
}

static inline struct mesh_wire *open_wire(struct loop *loop, enum mesh_wire_kind kind)
{
    struct mesh_wire *wire = NULL;
    struct err err = { 0 };

    CHECK(mesh_wire_open(loop, kind, MESSAGE_MAX_BYTES, &wire, &err));
    return wire;
}

/* What ended, and how; shared by all wires of a scenario. */
struct seen {
    uint32_t count;
    struct mesh_wire_result last;
    char body[64];
};

static inline void on_done(void *arg, const struct mesh_wire_result *result)
{
    struct seen *seen = arg;

    seen->count++;
    seen->last = *result;
    snprintf(seen->body, sizeof(seen->body), "%.*s", (int)result->body.len, result->body.data);
}

static inline void turn_until(struct loop *loop, const struct seen *seen, uint32_t count, uint32_t wait_ms)
{
    uint64_t until = now_ms() + wait_ms;

    while (seen->count < count && now_ms() < until)
        loop_turn(loop, 20);
}

/* A bare replier that answers everything with "pong", on a thread. */
static inline void *answer_all(void *arg)
{
    nng_socket socket = *(nng_socket *)arg;
    nng_msg *message;

    while (nng_recvmsg(socket, &message, 0) == 0) {
        nng_msg_clear(message);
        nng_msg_append(message, "pong", 4);
        if (nng_sendmsg(socket, message, 0) != 0)
            nng_msg_free(message);
    }
    return NULL;
}

static inline nng_socket open_replier(const char *url, nng_listener *ret_listener)
{
    static nng_socket socket;
    pthread_t thread;

    CHECK(nng_rep0_open(&socket) == 0);
    CHECK(nng_listen(socket, url, ret_listener, 0) == 0);
    CHECK(pthread_create(&thread, NULL, answer_all, &socket) == 0);
    pthread_detach(thread);
    return socket;
}

static inline uint16_t port_of(nng_listener listener)
{
    nng_sockaddr address;

    CHECK(nng_listener_get_addr(listener, NNG_OPT_LOCADDR, &address) == 0);
    return ntohs(address.s_in.sa_port);
}

/* One call by a fresh bare client; did "pong" come? */
static inline bool can_call(const char *url)
{
    nng_socket socket;
    nng_msg *message = NULL;
    bool is_answered = false;

    CHECK(nng_req0_open(&socket) == 0);
    nng_socket_set_ms(socket, NNG_OPT_SENDTIMEO, 1500);
    nng_socket_set_ms(socket, NNG_OPT_RECVTIMEO, 1500);
    CHECK(nng_dial(socket, url, NULL, NNG_FLAG_NONBLOCK) == 0);
    CHECK(nng_msg_alloc(&message, 0) == 0);
    if (nng_sendmsg(socket, message, 0) != 0)
        nng_msg_free(message);
    else if (nng_recvmsg(socket, &message, 0) == 0) {
        is_answered = nng_msg_len(message) == 4;
        nng_msg_free(message);
    }
    nng_close(socket);
    return is_answered;
}

/* ---- the parent ---- */

struct scenario {
    const char *name;
    void (*run)(bool is_on);
    const char *fixed_in; /* NULL: by design, wrong on every version without the workaround */
    bool has_off;
};

static inline int run_child(const struct scenario *scenarios, size_t count, const char *name,
                            const char *mode)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(scenarios[i].name, name) == 0) {
            scenarios[i].run(strcmp(mode, "on") == 0);
            _exit(0); /* the bare threads of nng are still running */
        }
    }
    return 2;
}

/* Did it end well? A hang is ended after a minute. */
static inline bool ends_well(const char *name, const char *mode)
{
    char *arguments[] = { "nng_scenario", "run", (char *)name, (char *)mode, NULL };
    posix_spawn_file_actions_t actions;
    uint64_t until = now_ms() + 60000;
    int status = 0;
    pid_t child, ended = 0;

    posix_spawn_file_actions_init(&actions);
    if (strcmp(mode, "off") == 0) /* its crash report is what we want, not to read */
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    assert_int_equal(posix_spawn(&child, "/proc/self/exe", &actions, NULL, arguments, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    while (ended == 0 && now_ms() < until) {
        ended = waitpid(child, &status, WNOHANG);
        if (ended == 0)
            sleep_ms(10);
    }
    if (ended == 0) {
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static inline bool is_version_at_least(const char *wanted)
{
    int have[3] = { 0 }, want[3] = { 0 };

    sscanf(nng_version(), "%d.%d.%d", &have[0], &have[1], &have[2]);
    sscanf(wanted, "%d.%d.%d", &want[0], &want[1], &want[2]);
    for (size_t i = 0; i < 3; i++) {
        if (have[i] != want[i])
            return have[i] > want[i];
    }
    return true;
}

#define OFF_RUNS_MAX 10

static inline void check_scenario(const struct scenario *scenario)
{
    bool is_fixed = scenario->fixed_in != NULL && is_version_at_least(scenario->fixed_in);
    bool is_well;

    print_message("%s, workaround on (nng %s)\n", scenario->name, nng_version());
    assert_true(ends_well(scenario->name, "on"));
    if (!scenario->has_off)
        return;
    /* The defects are races: one that shows in one of ten runs is there. With the workaround on, one run must do. */
    is_well = ends_well(scenario->name, "off");
    for (int i = 1; i < OFF_RUNS_MAX && is_well && !is_fixed; i++)
        is_well = ends_well(scenario->name, "off");
    print_message("%s, workaround off: %s%s%s\n", scenario->name, is_well ? "well" : "red",
                  is_fixed ? ", fixed upstream in " : "", is_fixed ? scenario->fixed_in : "");
    assert_true(is_well == is_fixed);
}

#endif
