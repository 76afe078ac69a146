/* SPDX-License-Identifier: Apache-2.0 */
/* http_client_guard_test.c - the edges of every range that the SSRF guard refuses. */
#include "io/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *address;
    bool is_public;
} cases[] = {
    { "0.0.0.0", false },
    { "0.255.255.255", false },
    { "1.1.1.1", true },
    { "9.255.255.255", true },
    { "10.0.0.0", false },
    { "10.255.255.255", false },
    { "11.0.0.0", true },
    { "100.63.255.255", true },
    { "100.64.0.0", false },
    { "100.127.255.255", false },
    { "100.128.0.0", true },
    { "126.255.255.255", true },
    { "127.0.0.1", false },
    { "127.255.255.255", false },
    { "128.0.0.0", true },
    { "169.253.255.255", true },
    { "169.254.169.254", false },
    { "169.255.0.0", true },
    { "172.15.255.255", true },
    { "172.16.0.0", false },
    { "172.31.255.255", false },
    { "172.32.0.0", true },
    { "192.0.0.8", false },
    { "192.0.1.0", true },
    { "192.0.2.1", false },
    { "192.88.99.1", false },
    { "192.167.255.255", true },
    { "192.168.0.1", false },
    { "192.169.0.0", true },
    { "198.17.255.255", true },
    { "198.18.0.0", false },
    { "198.19.255.255", false },
    { "198.20.0.0", true },
    { "198.51.100.7", false },
    { "203.0.113.7", false },
    { "203.0.114.0", true },
    { "223.255.255.255", true },
    { "224.0.0.1", false },
    { "239.255.255.255", false },
    { "240.0.0.1", false },
    { "255.255.255.255", false },
    { "::", false },
    { "::1", false },
    { "::127.0.0.1", false },
    { "::8.8.8.8", false },
    { "::ffff:127.0.0.1", false },
    { "::ffff:10.0.0.1", false },
    { "::ffff:8.8.8.8", true },
    { "64:ff9b::8.8.8.8", false },
    { "64:ff9b:1::1", false },
    { "100::1", false },
    { "2001::1", false },
    { "2001:1ff:ffff::", false },
    { "2001:200::1", true },
    { "2001:db8::1", false },
    { "2002:7f00:1::", false },
    { "2003::1", true },
    { "2606:4700::1111", true },
    { "2a00:1450::1", true },
    { "3fff::1", false },
    { "5f00::1", false },
    { "fbff::1", true },
    { "fc00::1", false },
    { "fdff::1", false },
    { "fe00::1", true },
    { "fe80::1", false },
    { "febf::1", false },
    { "fec0::1", false },
    { "ff02::1", false },
};

static void read_address(const char *text, struct sockaddr_storage *ret_address)
{
    bool is6 = strchr(text, ':') != NULL;
    void *bytes = is6 ? (void *)&((struct sockaddr_in6 *)ret_address)->sin6_addr
                      : (void *)&((struct sockaddr_in *)ret_address)->sin_addr;

    ret_address->ss_family = is6 ? AF_INET6 : AF_INET;
    assert_int_equal(inet_pton(ret_address->ss_family, text, bytes), 1);
}

static void addresses_by_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct sockaddr_storage address = { 0 };

        read_address(cases[i].address, &address);
        if (http_address_is_public((struct sockaddr *)&address) != cases[i].is_public)
            fail_msg("%s", cases[i].address);
    }
    assert_false(http_address_is_public(&(struct sockaddr){ .sa_family = AF_UNIX }));
}

/* What an own network may hold; clouds keep their secrets at the link-local ones. */
static void own_addresses_by_table(void **state)
{
    static const struct {
        const char *address;
        bool is_own;
    } own_cases[] = {
        { "127.0.0.1", true },
        { "10.1.2.3", true },
        { "172.31.255.255", true },
        { "192.168.0.1", true },
        { "100.64.0.1", true },
        { "169.254.169.254", false },
        { "0.0.0.0", false },
        { "224.0.0.1", false },
        { "8.8.8.8", false },
        { "::1", true },
        { "fd00::1", true },
        { "::ffff:10.0.0.1", true },
        { "fe80::1", false },
        { "::ffff:169.254.169.254", false },
        { "::", false },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(own_cases); i++) {
        struct sockaddr_storage address = { 0 };

        read_address(own_cases[i].address, &address);
        if (http_address_is_own((struct sockaddr *)&address) != own_cases[i].is_own)
            fail_msg("%s", own_cases[i].address);
    }
    assert_false(http_address_is_own(&(struct sockaddr){ .sa_family = AF_UNIX }));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(addresses_by_table),
                                        cmocka_unit_test(own_addresses_by_table) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
