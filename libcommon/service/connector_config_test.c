/* SPDX-License-Identifier: Apache-2.0 */
/* connector_config_test.c - the settings of skeleton, connector and accounts as one table, and what it cannot say. */
#include "service/connector_world.h"

#define HEAD "connector: c\nconnector_secret: env:TOY_TEST_SECRET\n"

static bool refuse_bad(const void *account, struct err *err)
{
    const struct connector_account *toy = account;

    return strcmp(toy->display_name, "bad") != 0 || err_set(err, ERR_CONFIG, "it is bad");
}

static const struct {
    const char *label, *text, *error; /* NULL: right */
} cases[] = {
    { "one account", HEAD "accounts: [{id: toy-1, tenant: demo}]\n", NULL },
    { "two accounts", HEAD "accounts: [{id: toy-1, tenant: demo}, {id: toy_2.b, tenant: other}]\n", NULL },
    { "no accounts", HEAD, "accounts" },
    { "empty accounts", HEAD "accounts: []\n", "accounts" },
    { "twice the same", HEAD "accounts: [{id: toy-1, tenant: demo}, {id: toy-1, tenant: other}]\n", "toy-1" },
    { "id with slash", HEAD "accounts: [{id: toy/1, tenant: demo}]\n", "toy/1" },
    { "id missing", HEAD "accounts: [{tenant: demo}]\n", "id" },
    { "tenant missing", HEAD "accounts: [{id: toy-1}]\n", "tenant" },
    { "the connector's own check", HEAD "accounts: [{id: toy-1, tenant: demo, display_name: bad}]\n",
      "it is bad" },
    { "key of the skeleton misspelt", HEAD "lane: 3\naccounts: [{id: toy-1, tenant: demo}]\n", "lanes" },
    { "key of the account misspelt", HEAD "accounts: [{id: toy-1, tenant: demo, provider_ur: x}]\n",
      "provider_url" },
    { "no routing", HEAD "routing: []\naccounts: [{id: toy-1, tenant: demo}]\n", "routing" },
};

static void test_config(void **state)
{
    struct connector table = toy_connector;

    (void)state;
    table.check = refuse_bad;
    setenv("TOY_TEST_SECRET", TOY_SECRET, 1);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct connector_config config = { 0 };
        struct connector_keys keys;
        struct err err = { 0 };
        bool is_right;

        connector_keys_init(&keys, &table);
        is_right =
            config_read_text("toy", "toy.yaml", str_view_of(cases[i].text), keys.keys, &config, &err) &&
            connector_config_check(&table, &config, &err);
        if (is_right != (cases[i].error == NULL) || (!is_right && strstr(err.text, cases[i].error) == NULL))
            fail_msg("case '%s': %s", cases[i].label, err.text);
        config_free(keys.keys, &config);
        connector_keys_done(&keys);
    }
}

static void test_accounts_in_place(void **state)
{
    struct connector_config config = { 0 };
    struct connector_keys keys;
    struct err err = { 0 };
    const struct toy_account *account;

    (void)state;
    setenv("TOY_TEST_SECRET", TOY_SECRET, 1);
    connector_keys_init(&keys, &toy_connector);
    assert_true(config_read_text(
        "toy", "toy.yaml",
        STR_LITERAL("connector: c\nconnector_secret: env:TOY_TEST_SECRET\naccounts:\n"
                    "  - {id: a, tenant: t}\n  - {id: b, tenant: u, provider_url: \"http://x\"}\n"),
        keys.keys, &config, &err));
    account = (const struct toy_account *)connector_account_at(&toy_connector, &config, 1);
    assert_string_equal(account->account.id, "b");
    assert_string_equal(account->account.tenant, "u");
    assert_string_equal(account->provider_url, "http://x");
    assert_string_equal(config.connector_secret, TOY_SECRET);
    config_free(keys.keys, &config);
    connector_keys_done(&keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_config),
                                        cmocka_unit_test(test_accounts_in_place) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
