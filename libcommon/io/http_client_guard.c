/* SPDX-License-Identifier: Apache-2.0 */
/* http_client_guard.c - the SSRF guard: which addresses may be connected to.
 *
 * It judges the address that libcurl is about to connect to, not the name: so a name whose address
 * changes between check and use gains nothing. Refused is whatever IANA's special-purpose registries
 * (RFC 6890 and its updates) do not call globally reachable; forms that carry an IPv4 address inside an
 * IPv6 one are judged by that address, or refused where a gateway of ours could be the one that unpacks it. */
#include "io/http_client_private.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct range4 {
    uint32_t net;
    unsigned bits;
};
struct range6 {
    uint8_t net[16];
    unsigned bits;
};

#define NET4(a, b, c, d) (((uint32_t)(a) << 24) | ((b) << 16) | ((c) << 8) | (d))

static const struct range4 refused4[] = {
    { NET4(0, 0, 0, 0), 8 },       /* this network */
    { NET4(10, 0, 0, 0), 8 },      /* private, RFC 1918 */
    { NET4(100, 64, 0, 0), 10 },   /* carriers' NAT, RFC 6598 */
    { NET4(127, 0, 0, 0), 8 },     /* loopback */
    { NET4(169, 254, 0, 0), 16 },  /* link-local; the clouds' metadata */
    { NET4(172, 16, 0, 0), 12 },   /* private */
    { NET4(192, 0, 0, 0), 24 },    /* protocol assignments */
    { NET4(192, 0, 2, 0), 24 },    /* documentation */
    { NET4(192, 88, 99, 0), 24 },  /* 6to4 relays, RFC 7526 */
    { NET4(192, 168, 0, 0), 16 },  /* private */
    { NET4(198, 18, 0, 0), 15 },   /* benchmarks */
    { NET4(198, 51, 100, 0), 24 }, /* documentation */
    { NET4(203, 0, 113, 0), 24 },  /* documentation */
    { NET4(224, 0, 0, 0), 4 },     /* multicast */
    { NET4(240, 0, 0, 0), 4 },     /* reserved, broadcast */
};

/* What allow_private_addresses lets through; never link-local, where clouds keep their secrets. */
static const struct range4 own4[] = {
    { NET4(10, 0, 0, 0), 8 },    { NET4(100, 64, 0, 0), 10 },  { NET4(127, 0, 0, 0), 8 },
    { NET4(172, 16, 0, 0), 12 }, { NET4(192, 168, 0, 0), 16 },
};

static const struct range6 own6[] = {
    { { [15] = 1 }, 128 }, /* loopback */
    { { 0xfc, 0x00 }, 7 }, /* unique local */
};

static const struct range6 refused6[] = {
    { { 0 }, 96 },                      /* unspecified, loopback, IPv4-compatible */
    { { 0x00, 0x64, 0xff, 0x9b }, 32 }, /* NAT64, RFC 6052 and RFC 8215 */
    { { 0x01, 0x00 }, 64 },             /* discard */
    { { 0x20, 0x01, 0x00, 0x00 }, 23 }, /* Teredo, ORCHID and other assignments */
    { { 0x20, 0x01, 0x0d, 0xb8 }, 32 }, /* documentation */
    { { 0x20, 0x02 }, 16 },             /* 6to4 */
    { { 0x3f, 0xff }, 20 },             /* documentation, RFC 9637 */
    { { 0x5f, 0x00 }, 16 },             /* segment routing */
    { { 0xfc, 0x00 }, 7 },              /* unique local */
    { { 0xfe, 0x80 }, 10 },             /* link-local */
    { { 0xfe, 0xc0 }, 10 },             /* site-local, deprecated */
    { { 0xff, 0x00 }, 8 },              /* multicast */
};

static bool is_among4(uint32_t address, const struct range4 *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if ((address ^ ranges[i].net) >> (32 - ranges[i].bits) == 0)
            return true;
    return false;
}

static bool is_in6(const uint8_t address[16], const struct range6 *range)
{
    unsigned whole = range->bits / 8, rest = range->bits % 8;

    if (memcmp(address, range->net, whole) != 0)
        return false;
    return rest == 0 || (address[whole] ^ range->net[whole]) >> (8 - rest) == 0;
}

static bool is_among6(const uint8_t address[16], const struct range6 *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (is_in6(address, &ranges[i]))
            return true;
    return false;
}

/* An IPv4 address in host's order, also one that an IPv6 address carries. */
static bool read_address4(const struct sockaddr *address, uint32_t *ret_address)
{
    struct sockaddr_in address4;
    struct sockaddr_in6 address6;
    const uint8_t *bytes = address6.sin6_addr.s6_addr;

    if (address->sa_family == AF_INET) {
        memcpy(&address4, address, sizeof(address4));
        *ret_address = ntohl(address4.sin_addr.s_addr);
        return true;
    }
    memcpy(&address6, address, sizeof(address6));
    if (!IN6_IS_ADDR_V4MAPPED(&address6.sin6_addr))
        return false;
    *ret_address = NET4(bytes[12], bytes[13], bytes[14], bytes[15]);
    return true;
}

bool http_address_is_public(const struct sockaddr *address)
{
    struct sockaddr_in6 address6;
    uint32_t address4;

    if (address->sa_family != AF_INET && address->sa_family != AF_INET6)
        return false;
    if (read_address4(address, &address4))
        return !is_among4(address4, refused4, COUNT_OF(refused4));
    memcpy(&address6, address, sizeof(address6));
    return !is_among6(address6.sin6_addr.s6_addr, refused6, COUNT_OF(refused6));
}

bool http_address_is_own(const struct sockaddr *address)
{
    struct sockaddr_in6 address6;
    uint32_t address4;

    if (address->sa_family != AF_INET && address->sa_family != AF_INET6)
        return false;
    if (read_address4(address, &address4))
        return is_among4(address4, own4, COUNT_OF(own4));
    memcpy(&address6, address, sizeof(address6));
    return is_among6(address6.sin6_addr.s6_addr, own6, COUNT_OF(own6));
}

static const char *address_text(const struct sockaddr *address, char *ret_text, socklen_t size)
{
    const void *bytes = address->sa_family == AF_INET6
                            ? (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr
                            : (const void *)&((const struct sockaddr_in *)address)->sin_addr;
    const char *text = inet_ntop(address->sa_family, bytes, ret_text, size);

    return text != NULL ? text : "of an unknown family";
}

curl_socket_t http_client_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct http_call *call = arg;
    char text[INET6_ADDRSTRLEN];

    (void)purpose;
    if (!http_client_allows(call->client, &address->addr)) {
        snprintf(call->refused, sizeof(call->refused), "address %s of host %.100s is not public",
                 address_text(&address->addr, text, sizeof(text)), call->host);
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->protocol);
}
