/* SPDX-License-Identifier: Apache-2.0 */
/* cors_test.c - which origins the allow-list lets through. */
#include "cors.h"

#include "core/check.h"

static const struct {
    const char *label, *pattern, *origin;
    bool is_allowed;
} cases[] = {
    { "exact", "https://desk.example", "https://desk.example", true },
    { "another scheme", "https://desk.example", "http://desk.example", false },
    { "another port", "https://desk.example", "https://desk.example:8443", false },
    { "longer host", "https://desk.example", "https://desk.example.evil", false },
    { "sub-domain", "https://desk.example", "https://a.desk.example", false },
    { "null origin", "https://desk.example", "null", false },
    { "empty", "https://desk.example", "", false },
    { "any port", "http://localhost:*", "http://localhost:5173", true },
    { "any port, the scheme's own", "http://localhost:*", "http://localhost", true },
    { "any port, no digits", "http://localhost:*", "http://localhost:", false },
    { "any port, words", "http://localhost:*", "http://localhost:5173.evil", false },
    { "any port, too many digits", "http://localhost:*", "http://localhost:123456", false },
    { "any port, another host", "http://localhost:*", "http://localhost.evil:80", false },
    { "a star is no pattern", "*", "https://desk.example", false },
};

static void test_origins(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char *items[] = { "https://other.example", (char *)cases[i].pattern };
        const struct config_strings allowed = { items, COUNT_OF(items) };

        CHECK_CASE(cases[i].label, cors_is_allowed(&allowed, cases[i].origin) == cases[i].is_allowed);
    }
    assert_false(cors_is_allowed(&(struct config_strings){ NULL, 0 }, "https://desk.example"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_origins),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
