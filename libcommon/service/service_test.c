/* SPDX-License-Identifier: Apache-2.0 */
/* service_test.c - a tiny service, which is this program started again, through its life from outside. */
#include "service/service.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 10000, OUTPUT_BYTES = 1 << 16 };

/* ---- the tiny service ---- */

struct tiny_config {
    struct service_config service;
    char *greeting;
    bool is_sick;
    uint32_t drain_for_ms;
};

static const struct config_key tiny_keys[] = {
    { CONFIG_AT(tiny_config, greeting), .type = CONFIG_STR, .fallback = "hello", .help = "What it says." },
    { CONFIG_AT(tiny_config, is_sick), .type = CONFIG_BOOL, .fallback = "false", .help = "Its check fails." },
    { CONFIG_AT(tiny_config, drain_for_ms), .type = CONFIG_MS, .fallback = "0ms",
      .help = "How long its drain takes." },
    { 0 },
};
static const struct stat_info tiny_stats[] = { { "tiny_things_total", "Things.", STAT_COUNTER, NULL } };
static const struct service_stats_table tiny_tables[] = { { "tiny", tiny_stats, 1 }, { 0 } };

struct tiny {
    struct service service;
    struct tiny_config config;
    uint64_t drained_at_ms;
};

static bool tiny_check(void *arg, struct err *err)
{
    struct tiny *tiny = arg;

    return !tiny->config.is_sick || err_set(err, ERR_UNAVAILABLE, "a \"pain\"");
}

static void tiny_drain(void *arg)
{
    struct tiny *tiny = arg;

    tiny->drained_at_ms = loop_now_ms(tiny->service.loop) + tiny->config.drain_for_ms;
}

static bool tiny_is_drained(void *arg)
{
    struct tiny *tiny = arg;

    return loop_now_ms(tiny->service.loop) >= tiny->drained_at_ms;
}

static int tiny_main(int argc, char **argv)
{
    struct tiny tiny = { .service = { .name = "tiny",
                                      .summary = "A service for a test.",
                                      .config_keys = tiny_keys,
                                      .stats = tiny_tables } };
    struct err err = { 0 };
    int exit_code = 0;
    bool is_open;

    tiny.service.config = &tiny.config;
    is_open = service_open(&tiny.service, argc, argv, &err);
    if (is_open) {
        service_add_check(&tiny.service, "door", tiny_check, &tiny);
        service_on_drain(&tiny.service, tiny_drain, tiny_is_drained, &tiny);
    }
    if (!is_open || !service_ready(&tiny.service, &err))
        exit_code = service_fail(&tiny.service, &err);
    else
        service_run(&tiny.service);
    service_close(&tiny.service);
    return exit_code;
}

/* ---- the test ---- */

struct child {
    pid_t pid;
    int output; /* its stdout and stderr */
    char text[OUTPUT_BYTES];
    size_t len;
};

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* `config`: the YAML, in a file without a name; `option`: one more argument, or NULL. */
static struct child *child_start(const char *config, const char *option)
{
    char path[32];
    char *argv[] = { (char *)"service_test", (char *)"tiny", (char *)"--config", path, (char *)option, NULL };
    struct child *child = calloc(1, sizeof(*child));
    int fd = memfd_create("tiny.yaml", 0), ends[2];

    assert_true(fd >= 0 && pipe(ends) == 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    assert_int_equal(write(fd, config, strlen(config)), (ssize_t)strlen(config));
    child->pid = fork();
    if (child->pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        execv("/proc/self/exe", argv);
        _exit(127);
    }
    close(ends[1]);
    close(fd);
    child->output = ends[0];
    return child;
}

/* Reads its output until `wanted` stands in it; NULL: until it ends. Returns what follows `wanted`. */
static const char *child_wait_output(struct child *child, const char *wanted)
{
    uint64_t deadline_ms = now_ms() + WAIT_MS;

    while (wanted == NULL || strstr(child->text, wanted) == NULL) {
        struct pollfd ready = { .fd = child->output, .events = POLLIN };
        ssize_t got;

        if (now_ms() > deadline_ms || poll(&ready, 1, 100) < 0)
            fail_msg("waited in vain for '%s' in '%s'", wanted ? wanted : "the end", child->text);
        if (ready.revents == 0)
            continue;
        got = read(child->output, child->text + child->len, OUTPUT_BYTES - 1 - child->len);
        if (got <= 0 && wanted != NULL)
            fail_msg("it ended before '%s' came: '%s'", wanted, child->text);
        if (got <= 0)
            return NULL;
        child->len += (size_t)got;
        child->text[child->len] = '\0';
    }
    return strstr(child->text, wanted) + strlen(wanted);
}

static int child_end(struct child **child_ptr)
{
    struct child *child = *child_ptr;
    int status = -1;

    (void)child_wait_output(child, NULL);
    assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
    close(child->output);
    free(child);
    *child_ptr = NULL;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static uint16_t child_ops_port(struct child *child)
{
    const char *rest;

    (void)child_wait_output(child, "service_ready");
    rest = child_wait_output(child, "\"ops_port\":");
    return (uint16_t)strtoul(rest + strspn(rest, "\""), NULL, 10);
}

/* One GET; the whole answer. */
static void get(uint16_t port, const char *path, char *ret_text, size_t size)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct timeval wait = { .tv_sec = WAIT_MS / 1000 };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t len = 0;
    ssize_t got;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    dprintf(fd, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
    while (len < size - 1 && (got = recv(fd, ret_text + len, size - 1 - len, 0)) > 0)
        len += (size_t)got;
    ret_text[len] = '\0';
    close(fd);
}

static void life_of_a_service(void **state)
{
    struct child *child = child_start("ops_listen: 127.0.0.1:0\n", NULL);
    uint16_t port = child_ops_port(child);
    char text[OUTPUT_BYTES];

    (void)state;
    get(port, "/livez", text, sizeof(text));
    assert_non_null(strstr(text, "HTTP/1.1 200 "));
    get(port, "/readyz", text, sizeof(text));
    assert_non_null(strstr(text, "HTTP/1.1 200 "));
    assert_non_null(
        strstr(text, "{\"state\":\"running\",\"checks\":{\"door\":{\"ok\":true}},\"ready\":true}"));
    get(port, "/metrics", text, sizeof(text));
    assert_non_null(strstr(text, "guichet_build_info{version=\"" GUICHET_VERSION "\"} 1\n"));
    assert_non_null(strstr(text, "guichet_http_server_answers_2xx_total{server=\"ops\"} 2\n"));
    get(port, "/nothing", text, sizeof(text));
    assert_non_null(strstr(text, "HTTP/1.1 404 "));
    kill(child->pid, SIGTERM);
    (void)child_wait_output(child, "service_stopping");
    assert_int_equal(child_end(&child), 0);
}

static void drain_is_awaited(void **state)
{
    struct child *child = child_start("ops_listen: 127.0.0.1:0\ndrain_for_ms: 60s\n", NULL);
    uint16_t port = child_ops_port(child);
    char text[OUTPUT_BYTES];

    (void)state;
    kill(child->pid, SIGTERM);
    (void)child_wait_output(child, "service_draining");
    get(port, "/readyz", text, sizeof(text));
    assert_non_null(strstr(text, "HTTP/1.1 503 "));
    assert_non_null(strstr(text, "\"state\":\"draining\""));
    get(port, "/livez", text, sizeof(text));
    assert_non_null(strstr(text, "HTTP/1.1 200 "));
    kill(child->pid, SIGTERM); /* the second one ends it at once */
    assert_int_equal(child_end(&child), 128 + SIGTERM);
}

static void drain_is_bounded(void **state)
{
    struct child *child =
        child_start("ops_listen: 127.0.0.1:0\ndrain_for_ms: 60s\ndrain_timeout_ms: 50ms\n", NULL);

    (void)state;
    (void)child_ops_port(child);
    kill(child->pid, SIGTERM);
    (void)child_wait_output(child, "service_drain_late");
    assert_int_equal(child_end(&child), 0);
}

static void failing_check_is_named(void **state)
{
    struct child *child = child_start("ops_listen: 127.0.0.1:0\nis_sick: true\n", NULL);
    uint16_t port = child_ops_port(child);
    char text[OUTPUT_BYTES];

    (void)state;
    get(port, "/readyz", text, sizeof(text));
    assert_non_null(strstr(text, "HTTP/1.1 503 "));
    assert_non_null(strstr(text, "{\"door\":{\"ok\":false,\"error\":\"a \\\"pain\\\"\"}},\"ready\":false}"));
    kill(child->pid, SIGTERM);
    assert_int_equal(child_end(&child), 0);
}

static void healthcheck_asks_the_running_one(void **state)
{
    static const struct {
        const char *label, *config, *wanted;
        int exit_code;
    } cases[] = {
        { "ready", "ops_listen: 127.0.0.1:0\n", "guichet-tiny: ready\n", 0 },
        { "sick", "ops_listen: 127.0.0.1:0\nis_sick: true\n",
          "guichet-tiny: not ready: {\"state\":\"running\",\"checks\":{\"door\":{\"ok\":false", 1 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct child *child = child_start(cases[i].config, NULL), *asking;
        char config[64];

        snprintf(config, sizeof(config), "ops_listen: 0.0.0.0:%u\n", (unsigned)child_ops_port(child));
        asking = child_start(config, "--healthcheck");
        (void)child_wait_output(asking, NULL);
        if (strncmp(asking->text, cases[i].wanted, strlen(cases[i].wanted)) != 0)
            fail_msg("%s: '%s'", cases[i].label, asking->text);
        assert_int_equal(child_end(&asking), cases[i].exit_code);
        kill(child->pid, SIGTERM);
        assert_int_equal(child_end(&child), 0);
    }
}

static void hup_reloads_the_log_level(void **state)
{
    struct child *child = child_start("ops_listen: 127.0.0.1:0\n", NULL);

    (void)state;
    (void)child_ops_port(child);
    kill(child->pid, SIGHUP);
    (void)child_wait_output(child, "config_reloaded");
    kill(child->pid, SIGTERM);
    assert_int_equal(child_end(&child), 0);
}

static void wrong_configuration_is_one_line(void **state)
{
    static const struct {
        const char *label, *config, *wanted;
    } cases[] = {
        { "unknown key", "ops_listen: 127.0.0.1:0\ngreting: hi\n", ":2: key 'greting': unknown" },
        { "required key", "greeting: hi\n", "ops_listen" },
        { "log level", "ops_listen: 127.0.0.1:0\nlog_level: loud\n", "log_level 'loud' is not" },
        { "listen", "ops_listen: nowhere\n",
          "ops_listen: http server 'ops': listen address 'nowhere' has no port" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct child *child = child_start(cases[i].config, NULL);

        (void)child_wait_output(child, NULL);
        if (strncmp(child->text, "guichet-tiny: ", 14) != 0 || strstr(child->text, cases[i].wanted) == NULL ||
            strchr(child->text, '\n') != child->text + child->len - 1)
            fail_msg("%s: '%s'", cases[i].label, child->text);
        assert_int_equal(child_end(&child), 78);
    }
}

static void options(void **state)
{
    static const struct {
        const char *option, *wanted;
        int exit_code;
    } cases[] = {
        { "--check", "the settings are right", 0 },
        { "--version", "guichet-tiny " GUICHET_VERSION, 0 },
        { "--describe", "# guichet-tiny\n\nA service for a test.\n\n## Settings\n", 0 },
        { "--describe", "`greeting`", 0 },
        { "--describe", "`drain_timeout_ms`", 0 },
        { "--describe", "`guichet_tiny_things_total`", 0 },
        { "--describe", "`guichet_build_info`", 0 },
        { "--describe", "`guichet_loop_lag_seconds`", 0 },
        { "--failpoints", "", 0 },
        { "--help", "--config FILE", 0 },
        { "--wrong", "option '--wrong' is unknown", 78 },
        { "more", "argument 'more' is not expected", 78 },
        { "--config", "option '--config' needs a value", 78 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct child *child = child_start("ops_listen: 127.0.0.1:0\n", cases[i].option);

        (void)child_wait_output(child, NULL);
        if (strstr(child->text, cases[i].wanted) == NULL)
            fail_msg("%s: '%s'", cases[i].option, child->text);
        if (child_end(&child) != cases[i].exit_code)
            fail_msg("%s: exit code", cases[i].option);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(life_of_a_service),
        cmocka_unit_test(drain_is_awaited),
        cmocka_unit_test(drain_is_bounded),
        cmocka_unit_test(failing_check_is_named),
        cmocka_unit_test(healthcheck_asks_the_running_one),
        cmocka_unit_test(hup_reloads_the_log_level),
        cmocka_unit_test(wrong_configuration_is_one_line),
        cmocka_unit_test(options),
    };

    if (argc > 1 && strcmp(argv[1], "tiny") == 0)
        return tiny_main(argc - 1, argv + 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
