/* SPDX-License-Identifier: Apache-2.0 */
/* test_http.h - a plain HTTP client for tests of the gateway: bytes in, the whole answer out. */
#ifndef GUICHET_GATEWAY_TEST_HTTP_H
#define GUICHET_GATEWAY_TEST_HTTP_H

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test_kit.h"

/* Is the answer whole? By its Content-Length, or a 101 that is followed by frames. */
static inline bool kit_is_whole(const struct buf *answer)
{
    const char *end = strstr(buf_text(answer), "\r\n\r\n"),
               *length = strstr(buf_text(answer), "Content-Length: ");

    if (end == NULL)
        return false;
    if (strncmp(buf_text(answer), "HTTP/1.1 101", 12) == 0)
        return true;
    return length != NULL &&
           answer->len >= (size_t)(end + 4 - buf_text(answer)) + strtoul(length + 16, NULL, 10);
}

/* Sends bytes, turns the loop until the answer is whole or the other side closes; to be freed. */
static inline char *kit_exchange(uint16_t port, struct str_view request)
{
    const struct sockaddr_in address = { .sin_family = AF_INET,
                                         .sin_port = htons(port),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    uint64_t until_ms = uv_hrtime() / 1000000 + KIT_WAIT_MS;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char bytes[16384];
    ssize_t len;
    SCOPED_BUF answer;

    buf_init(&answer, 4u * 1024 * 1024);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    while (request.len > 0) {
        len = send(fd, request.data, request.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (len < 0 && errno != EAGAIN)
            break;
        request.data += len > 0 ? len : 0;
        request.len -= len > 0 ? (size_t)len : 0;
        loop_turn(kit.loop, 0);
    }
    while (!kit_is_whole(&answer) && (len = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) != 0 &&
           uv_hrtime() / 1000000 < until_ms) {
        if (len > 0)
            buf_append(&answer, bytes, (size_t)len);
        else if (errno != EAGAIN)
            break;
        else
            loop_turn(kit.loop, 10);
    }
    close(fd);
    return str_dup(buf_view(&answer));
}

/* `headers` are lines with \r\n; token NULL: none. */
static inline char *kit_call(const char *method, const char *path, const char *token, const char *headers,
                             const char *body)
{
    char *answer;
    SCOPED_BUF request;

    buf_init(&request, 1u * 1024 * 1024);
    buf_printf(&request, "%s %s HTTP/1.1\r\nHost: desk.example\r\nConnection: close\r\n", method, path);
    if (token != NULL)
        buf_printf(&request, "Authorization: Bearer %s\r\n", token);
    if (headers != NULL)
        buf_append_text(&request, headers);
    if (body != NULL)
        buf_printf(&request, "%sContent-Length: %zu\r\n",
                   headers != NULL && strstr(headers, "Content-Type") != NULL
                       ? ""
                       : "Content-Type: application/json\r\n",
                   strlen(body));
    buf_printf(&request, "\r\n%s", body == NULL ? "" : body);
    answer = kit_exchange(http_server_port(kit.gateway->api), buf_view(&request));
    return answer;
}

static inline int kit_status(const char *answer)
{
    return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? atoi(answer + 9) : 0;
}

#endif
