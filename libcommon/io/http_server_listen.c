/* SPDX-License-Identifier: Apache-2.0 */
/* http_server_listen.c - "127.0.0.1:8081" to a listening socket.
 *
 * Ours, not libmicrohttpd's: so that the error can say which address and why. Addresses are
 * numeric: a name would be resolved blocking, and once only. */
#include "io/http_server_private.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LISTEN_BACKLOG = 1024 };

static bool listen_parse(const char *text, struct addrinfo **ret_address, struct err *err)
{
    const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                                    .ai_socktype = SOCK_STREAM };
    const char *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN + 2];
    size_t host_len = colon != NULL ? (size_t)(colon - text) : 0;
    const char *start = host;

    if (colon == NULL || colon[1] == '\0')
        return err_set(err, ERR_CONFIG, "listen address '%s' has no port", text);
    if (host_len >= sizeof(host))
        return err_set(err, ERR_CONFIG, "listen address '%s' is too long", text);
    memcpy(host, text, host_len);
    host[host_len] = '\0';
    if (host[0] == '[' && host_len >= 2 && host[host_len - 1] == ']') {
        host[host_len - 1] = '\0';
        start++;
    }
    if (strcmp(start, "localhost") == 0)
        start = "127.0.0.1";
    if (strcmp(start, "*") == 0 || *start == '\0')
        start = "0.0.0.0";
    if (getaddrinfo(start, colon + 1, &hints, ret_address) != 0)
        return err_set(err, ERR_CONFIG, "listen address '%s' is not a numeric address and port", text);
    return true;
}

static bool listen_bind(int fd, const struct addrinfo *address, uint16_t *ret_port)
{
    struct sockaddr_storage bound;
    socklen_t len = sizeof(bound);
    int on = 1;

    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, LISTEN_BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&bound, &len) != 0)
        return false;
    *ret_port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                  : ((struct sockaddr_in *)&bound)->sin_port);
    return true;
}

bool http_server_listen(const char *listen_text, int *ret_fd, uint16_t *ret_port, struct err *err)
{
    struct addrinfo *address;
    int fd;
    int error;

    if (!listen_parse(listen_text, &address, err))
        return false;
    fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && listen_bind(fd, address, ret_port)) {
        freeaddrinfo(address);
        *ret_fd = fd;
        return true;
    }
    error = errno;
    freeaddrinfo(address);
    if (fd >= 0)
        close(fd);
    return err_set(err, ERR_CONFIG, "cannot listen on '%s': %s", listen_text, strerror(error));
}
