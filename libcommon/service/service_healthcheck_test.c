/* SPDX-License-Identifier: Apache-2.0 */
/* service_healthcheck_test.c - what --healthcheck makes of whatever it may find on an ops port. */
#include "service/service_private.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENT_MS = 10000, SHORT_MS = 50 };

struct door {
    int listener;
    uint16_t port;
    const char *answer; /* NULL: never answers */
    pthread_t thread;
};

static void *stand_at_the_door(void *arg)
{
    struct door *door = arg;
    int fd = accept(door->listener, NULL, NULL);
    char request[512];
    ssize_t got;

    if (fd < 0)
        return NULL;
    if (door->answer != NULL) {
        got = recv(fd, request, sizeof(request), 0);
        if (got > 0 && strncmp(request, "GET /readyz HTTP/1.1\r\n", 22) == 0)
            (void)!write(fd, door->answer, strlen(door->answer));
    } else {
        /* Until the other side has given up. */
        while (recv(fd, request, sizeof(request), 0) > 0)
            continue;
    }
    close(fd);
    return NULL;
}

static void door_open(struct door *door, int family)
{
    struct sockaddr_in6 address = { .sin6_family = (sa_family_t)family };
    socklen_t len = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);

    door->listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(door->listener >= 0);
    assert_int_equal(bind(door->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(door->listener, 1), 0);
    assert_int_equal(getsockname(door->listener, (struct sockaddr *)&address, &len), 0);
    door->port = ntohs(address.sin6_port); /* both families have it at the same place */
}

static void answers_are_judged(void **state)
{
    static const struct {
        const char *label, *answer, *wanted; /* wanted NULL: ready */
        uint32_t timeout_ms;
    } cases[] = {
        { "ready", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", NULL, PATIENT_MS },
        { "ready, and more than there is room for", "HTTP/1.1 200 OK\r\n\r\n%8000d", NULL, PATIENT_MS },
        { "not ready", "HTTP/1.1 503 No\r\n\r\n{\"ready\":false}\n", "not ready: {\"ready\":false}",
          PATIENT_MS },
        { "not ready, no reason", "HTTP/1.1 404 No\r\n\r\n", "not ready: ", PATIENT_MS },
        { "nothing", "", "does not speak HTTP", PATIENT_MS },
        { "another protocol", "SSH-2.0-OpenSSH_9.2\r\n\r\n", "does not speak HTTP", PATIENT_MS },
        { "a head that does not end", "HTTP/1.1 200 OK\r\n", "does not speak HTTP", PATIENT_MS },
        { "silence", NULL, "does not answer in time", SHORT_MS },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        static char answer[9000];
        struct door door = { .answer = cases[i].answer != NULL ? answer : NULL };
        struct err err = { 0 };
        char listen[32];
        bool is_ready;

        snprintf(answer, sizeof(answer), cases[i].answer != NULL ? cases[i].answer : "", 1);
        door_open(&door, AF_INET);
        assert_int_equal(pthread_create(&door.thread, NULL, stand_at_the_door, &door), 0);
        snprintf(listen, sizeof(listen), "127.0.0.1:%u", door.port);
        is_ready = service_healthcheck(listen, cases[i].timeout_ms, &err);
        pthread_join(door.thread, NULL);
        close(door.listener);
        if (is_ready != (cases[i].wanted == NULL) || (!is_ready && strstr(err.text, cases[i].wanted) == NULL))
            fail_msg("%s: %d '%s'", cases[i].label, is_ready, err.text);
    }
}

/* Some machines have it switched off. */
static bool has_ipv6(void)
{
    const struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool has = fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;

    if (fd >= 0)
        close(fd);
    return has;
}

static void addresses_are_found(void **state)
{
    static const struct {
        const char *label, *host;
        int family;
    } cases[] = {
        { "loopback", "127.0.0.1", AF_INET }, { "every address", "0.0.0.0", AF_INET },
        { "a star", "*", AF_INET },           { "a name", "localhost", AF_INET },
        { "no host", "", AF_INET },           { "every address of IPv6", "[::]", AF_INET6 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct door door = { .answer = "HTTP/1.1 200 OK\r\n\r\n" };
        struct err err = { 0 };
        char listen[32];
        bool is_ready;

        if (cases[i].family == AF_INET6 && !has_ipv6())
            continue;
        door_open(&door, cases[i].family);
        assert_int_equal(pthread_create(&door.thread, NULL, stand_at_the_door, &door), 0);
        snprintf(listen, sizeof(listen), "%s:%u", cases[i].host, door.port);
        is_ready = service_healthcheck(listen, PATIENT_MS, &err);
        shutdown(door.listener, SHUT_RDWR);
        pthread_join(door.thread, NULL);
        close(door.listener);
        if (!is_ready)
            fail_msg("%s: '%s'", cases[i].label, err.text);
    }
}

static void wrong_addresses_are_refused(void **state)
{
    static const struct {
        const char *label, *listen, *wanted;
    } cases[] = {
        { "no port", "127.0.0.1", "is not an address and port" },
        { "another name", "nowhere.invalid:1", "is not a numeric address and port" },
        { "too long", "1111111111222222222233333333334444444444555555555566666666667777777777:1",
          "is not an address and port" },
        { "nobody there", "127.0.0.1:1", "not reached on its ops port" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct err err = { 0 };

        if (service_healthcheck(cases[i].listen, PATIENT_MS, &err) ||
            strstr(err.text, cases[i].wanted) == NULL)
            fail_msg("%s: '%s'", cases[i].label, err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_judged),
        cmocka_unit_test(addresses_are_found),
        cmocka_unit_test(wrong_addresses_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
