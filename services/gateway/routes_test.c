/* SPDX-License-Identifier: Apache-2.0 */
/* routes_test.c - paths find their route, and the table is what the contract says. */
#include "api.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"

static const struct {
    const char *label, *method, *path;
    enum route_result result;
    const char *id, *allow;
} cases[] = {
    { "plain", "GET", "/v1/me", ROUTE_FOUND, "", "" },
    { "with an id", "GET", "/v1/conversations/abc", ROUTE_FOUND, "abc", "" },
    { "below an id", "POST", "/v1/conversations/abc/notes", ROUTE_FOUND, "abc", "" },
    { "no such path", "GET", "/v1/nothing", ROUTE_NO_PATH, "", "" },
    { "no such path below an id", "GET", "/v1/conversations/abc/nothing", ROUTE_NO_PATH, "", "" },
    { "empty id", "GET", "/v1/conversations/", ROUTE_NO_PATH, "", "" },
    { "empty id below", "GET", "/v1/conversations//messages", ROUTE_NO_PATH, "", "" },
    { "trailing slash", "GET", "/v1/me/", ROUTE_NO_PATH, "", "" },
    { "no version", "GET", "/me", ROUTE_NO_PATH, "", "" },
    { "wrong method", "DELETE", "/v1/agents", ROUTE_NO_METHOD, "", "GET, POST" },
    { "wrong method below an id", "GET", "/v1/conversations/abc/close", ROUTE_NO_METHOD, "", "POST" },
    { "method is case-sensitive", "get", "/v1/me", ROUTE_NO_METHOD, "", "GET" },
};

static void test_find(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct route *route = NULL;
        struct str_view id = { "", 0 };
        SCOPED_BUF allow;

        buf_init(&allow, 256);
        CHECK_CASE(cases[i].label,
                   routes_find(cases[i].method, cases[i].path, &route, &id, &allow) == cases[i].result);
        CHECK_CASE(cases[i].label, (route != NULL) == (cases[i].result == ROUTE_FOUND));
        CHECK_CASE(cases[i].label, str_equal(id, str_view_of(cases[i].id)));
        CHECK_CASE_TEXT(cases[i].label, buf_text(&allow), cases[i].allow);
    }
}

/* The part of openapi.yaml from the operation on to the next one. */
static char *operation_text(const struct route *route, const char *label)
{
    char path[128], method[16];
    const char *at, *end, *next_path;
    size_t i;

    snprintf(path, sizeof(path), "\n  %s:\n", route->path);
    at = strstr(gateway_openapi_yaml, path);
    CHECK_CASE(label, at != NULL);
    next_path = strstr(at + 1, "\n  /");
    for (i = 0; route->method[i] != '\0'; i++)
        method[i] = (char)tolower((unsigned char)route->method[i]);
    method[i] = '\0';
    snprintf(path, sizeof(path), "\n    %s:\n", method);
    at = strstr(at, path);
    CHECK_CASE(label, at != NULL && (next_path == NULL || at < next_path));
    for (end = at + 1; (end = strstr(end, "\n    ")) != NULL && end[5] == ' '; end++)
        ;
    if (end == NULL || (next_path != NULL && next_path < end))
        end = next_path != NULL ? next_path : gateway_openapi_yaml + gateway_openapi_yaml_len;
    return str_dup((struct str_view){ at, (size_t)(end - at) });
}

static void check_route(const struct route *route)
{
    char label[128];
    char *text;

    snprintf(label, sizeof(label), "%s %s", route->method, route->path);
    text = operation_text(route, label);
    CHECK_CASE(label, ((route->flags & ROUTE_PUBLIC) != 0) == (strstr(text, "security: []") != NULL));
    CHECK_CASE(label,
               ((route->flags & ROUTE_KEYED) != 0) == (strstr(text, "parameters/Idempotency-Key'") != NULL));
    CHECK_CASE(label, ((route->flags & ROUTE_IF_MATCH) != 0) ==
                          (strstr(text, "parameters/If-Match-Required'") != NULL));
    CHECK_CASE(label, (route->body != NULL || (route->flags & ROUTE_SINK) != 0) ==
                          (strstr(text, "requestBody:") != NULL));
    for (const struct body_field *field = route->body; field != NULL && field->pointer != NULL; field++) {
        char member[64];

        snprintf(member, sizeof(member), "%s:", strrchr(field->pointer, '/') + 1);
        CHECK_CASE(field->pointer, strstr(text, member) != NULL);
    }
    if (route->role > GUICHET__V1__ROLE__ROLE_AGENT)
        CHECK_CASE(label, strstr(text, "'403':") != NULL);
    free(text);
}

static void test_table_is_the_contract(void **state)
{
    size_t documented = 0;

    (void)state;
    for (size_t i = 0; i < routes_count; i++)
        check_route(&routes[i]);
    for (const char *at = gateway_openapi_yaml; (at = strstr(at, "operationId:")) != NULL; at++)
        documented++;
    /* And the WebSocket, on its own listener; and files, under their own host. */
    assert_int_equal(documented, routes_count + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_table_is_the_contract),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
