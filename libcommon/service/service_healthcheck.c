/* SPDX-License-Identifier: Apache-2.0 */
/* service_healthcheck.c - --healthcheck: a second process of the same program asks the first: ready?
 *
 * For container engines: the image then needs no HTTP client, and the address stands in one place, the
 * service's own settings. Plain blocking calls: there is no loop here, and nothing else to do meanwhile. */
#include "service/service_private.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_BYTES = 4096, HOST_BYTES = 64 };

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Where to knock for what listens on `listen`: every address is also this machine's own. */
static bool find_address(const char *listen, struct addrinfo **ret_address, struct err *err)
{
    const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM };
    const char *colon = strrchr(listen, ':');
    size_t len = colon != NULL ? (size_t)(colon - listen) : 0;
    char host[HOST_BYTES];

    if (colon == NULL || len >= sizeof(host))
        return err_set(err, ERR_CONFIG, "ops_listen '%s' is not an address and port", listen);
    if (len >= 2 && listen[0] == '[' && colon[-1] == ']') {
        listen++;
        len -= 2;
    }
    memcpy(host, listen, len);
    host[len] = '\0';
    if (len == 0 || strcmp(host, "*") == 0 || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "localhost") == 0)
        strcpy(host, "127.0.0.1");
    else if (strcmp(host, "::") == 0)
        strcpy(host, "::1");
    if (getaddrinfo(host, colon + 1, &hints, ret_address) != 0)
        return err_set(err, ERR_CONFIG, "ops_listen '%s' is not a numeric address and port", listen);
    return true;
}

/* False past the deadline. */
static bool wait_for(int fd, short events, uint64_t deadline_ms)
{
    struct pollfd ready = { .fd = fd, .events = events };
    uint64_t now;

    while ((now = now_ms()) < deadline_ms) {
        int count = poll(&ready, 1, (int)(deadline_ms - now));

        if (count > 0)
            return true;
        if (count < 0 && errno != EINTR)
            return false;
    }
    return false;
}

static bool knock(int fd, const struct addrinfo *address, uint64_t deadline_ms, struct err *err)
{
    static const char request[] = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    int error = 0;
    socklen_t len = sizeof(error);

    if (connect(fd, address->ai_addr, address->ai_addrlen) != 0 && errno != EINPROGRESS)
        return err_set(err, ERR_UNAVAILABLE, "not reached on its ops port: %s", strerror(errno));
    if (!wait_for(fd, POLLOUT, deadline_ms))
        return err_set(err, ERR_DEADLINE, "its ops port does not take the call");
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0)
        return err_set(err, ERR_UNAVAILABLE, "not reached on its ops port: %s", strerror(error));
    /* Shorter than any socket's buffer. */
    if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(request) - 1)
        return err_set(err, ERR_UNAVAILABLE, "its ops port hangs up: %s", strerror(errno));
    return true;
}

/* Until the other side closes, or the room is full: what matters stands at the start. */
static bool read_answer(int fd, uint64_t deadline_ms, char ret_answer[static ANSWER_BYTES], struct err *err)
{
    size_t used = 0;

    while (used < ANSWER_BYTES - 1) {
        ssize_t got;

        if (!wait_for(fd, POLLIN, deadline_ms))
            return err_set(err, ERR_DEADLINE, "its ops port does not answer in time");
        got = recv(fd, ret_answer + used, ANSWER_BYTES - 1 - used, 0);
        if (got < 0 && errno != EINTR && errno != EAGAIN)
            return err_set(err, ERR_UNAVAILABLE, "its ops port hangs up: %s", strerror(errno));
        if (got == 0)
            break;
        used += got > 0 ? (size_t)got : 0;
    }
    ret_answer[used] = '\0';
    return true;
}

static bool judge(char *answer, struct err *err)
{
    char *body = strstr(answer, "\r\n\r\n");

    if (strncmp(answer, "HTTP/1.1 ", 9) != 0 || body == NULL)
        return err_set(err, ERR_UNAVAILABLE, "what answers on its ops port does not speak HTTP");
    if (strncmp(answer + 9, "200 ", 4) == 0)
        return true;
    body += 4;
    body[strcspn(body, "\r\n")] = '\0';
    return err_set(err, ERR_UNAVAILABLE, "not ready: %s", body);
}

bool service_healthcheck(const char *listen, uint32_t timeout_ms, struct err *err)
{
    uint64_t deadline_ms = now_ms() + timeout_ms;
    char answer[ANSWER_BYTES];
    struct addrinfo *address;
    bool is_ready;
    int fd;

    if (!find_address(listen, &address, err))
        return false;
    fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        freeaddrinfo(address);
        return err_set(err, ERR_UNAVAILABLE, "no socket: %s", strerror(errno));
    }
    is_ready = knock(fd, address, deadline_ms, err) && read_answer(fd, deadline_ms, answer, err) &&
               judge(answer, err);
    close(fd);
    freeaddrinfo(address);
    return is_ready;
}
