/* SPDX-License-Identifier: Apache-2.0 */
/* config_test.c - what a configuration may say, and the one line about each thing it may not. */
#include "ops/config.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/check.h"

struct queue_config { char *name; uint32_t size; struct config_strings accounts; };
struct tenant_config { char *name; struct config_list queues; };
struct test_config {
    char *listen, *note, *password;
    uint32_t workers, poll_ms, body_max_bytes;
    bool is_demo;
    struct config_strings hosts, token_keys;
    struct config_list tenants;
};

static const struct config_key queue_keys[] = {
    { CONFIG_AT(queue_config, name), .type = CONFIG_STR, .flags = CONFIG_REQUIRED, .help = "Its name." },
    { CONFIG_AT(queue_config, size), .type = CONFIG_U32, .fallback = "10", .help = "How many fit." },
    { CONFIG_AT(queue_config, accounts), .type = CONFIG_STR_LIST, .help = "Who brings to it." },
    { 0 },
};

static const struct config_key tenant_keys[] = {
    { CONFIG_AT(tenant_config, name), .type = CONFIG_STR, .flags = CONFIG_REQUIRED, .help = "Its name." },
    { CONFIG_AT(tenant_config, queues), .type = CONFIG_LIST, .flags = CONFIG_REQUIRED, .item = queue_keys,
      .item_size = sizeof(struct queue_config), .help = "Its queues." },
    { 0 },
};

static const struct config_key keys[] = {
    { CONFIG_AT(test_config, listen), .type = CONFIG_STR, .flags = CONFIG_REQUIRED, .max = 30,
      .help = "Where." },
    { CONFIG_AT(test_config, note), .type = CONFIG_STR, .help = "Free text." },
    { CONFIG_AT(test_config, password), .type = CONFIG_STR, .flags = CONFIG_SECRET, .min = 3,
      .help = "Secret." },
    { CONFIG_AT(test_config, workers), .type = CONFIG_U32, .fallback = "2", .min = 1, .max = 16,
      .help = "Threads." },
    { CONFIG_AT(test_config, poll_ms), .type = CONFIG_MS, .flags = CONFIG_RELOADABLE, .fallback = "2s",
      .min = 100, .max = 3600000, .help = "Fall-back poll." },
    { CONFIG_AT(test_config, body_max_bytes), .type = CONFIG_BYTES, .fallback = "64KiB", .max = 1048576,
      .help = "Largest body." },
    { CONFIG_AT(test_config, is_demo), .type = CONFIG_BOOL, .fallback = "false", .help = "Demo." },
    { CONFIG_AT(test_config, hosts), .type = CONFIG_STR_LIST, .fallback = "localhost, example.org",
      .help = "Hosts." },
    { CONFIG_AT(test_config, token_keys), .type = CONFIG_STR_LIST, .flags = CONFIG_SECRET, .max = 2,
      .help = "Keys of tokens." },
    { CONFIG_AT(test_config, tenants), .type = CONFIG_LIST, .item = tenant_keys,
      .item_size = sizeof(struct tenant_config), .help = "Who is served." },
    { 0 },
};

static char secret_path[] = "/tmp/guichet-secret-XXXXXX";

static int make_secret(void **state)
{
    int fd = mkstemp(secret_path);

    (void)state;
    if (fd < 0 || write(fd, "s3cr\n\n", 6) != 6)
        return -1;
    close(fd);
    setenv("TEST_SECRET", "from-env", 1);
    return 0;
}

static int remove_secret(void **state)
{
    (void)state;
    return unlink(secret_path);
}

static bool read_text(const char *text, struct test_config *config, struct err *err)
{
    return config_read_text("rout-ing", "x.yaml", str_view_of(text), keys, config, err);
}

static void test_fallbacks(void **state)
{
    struct test_config config = { 0 };

    (void)state;
    assert_true(read_text("listen: 127.0.0.1:1\n", &config, NULL));
    assert_string_equal(config.listen, "127.0.0.1:1");
    assert_string_equal(config.note, "");
    assert_string_equal(config.password, "");
    assert_int_equal(config.workers, 2);
    assert_int_equal(config.poll_ms, 2000);
    assert_int_equal(config.body_max_bytes, 65536);
    assert_false(config.is_demo);
    assert_int_equal(config.hosts.count, 2);
    assert_string_equal(config.hosts.items[1], "example.org");
    assert_int_equal(config.tenants.count, 0);
    config_free(keys, &config);
    assert_null(config.listen);
    config_free(keys, &config);
}

static void test_all_given(void **state)
{
    char text[1000];
    struct test_config config = { 0 };
    const struct tenant_config *tenants;
    const struct queue_config *queues;
    struct err err = { 0 };

    (void)state;
    snprintf(text, sizeof(text),
        "# all of it\nlisten: \"[::1]:80\"\nnote: 'true'\npassword: file:%s\nworkers: 16\npoll_ms: 1h\n"
        "body_max_bytes: 1MiB\nis_demo: true\nhosts: [a, 'b,c']\ntoken_keys:\n  - env:TEST_SECRET\n"
        "tenants:\n  - name: demo\n    queues:\n      - name: support\n        accounts: [sms-demo]\n"
        "      - {name: sales, size: 3}\n"
        "  - name: other\n    queues: [{name: all}]\n", secret_path);
    if (!read_text(text, &config, &err))
        fail_msg("%s", err.text);
    assert_string_equal(config.password, "s3cr\n");    /* one newline is the editor's */
    assert_string_equal(config.note, "true");
    assert_int_equal(config.workers, 16);
    assert_int_equal(config.poll_ms, 3600000);
    assert_int_equal(config.body_max_bytes, 1048576);
    assert_true(config.is_demo);
    assert_string_equal(config.hosts.items[1], "b,c");
    assert_string_equal(config.token_keys.items[0], "from-env");
    assert_int_equal(config.tenants.count, 2);
    tenants = config.tenants.items;
    queues = tenants[0].queues.items;
    assert_string_equal(tenants[1].name, "other");
    assert_int_equal(tenants[0].queues.count, 2);
    assert_string_equal(queues[0].accounts.items[0], "sms-demo");
    assert_int_equal(queues[0].size, 10);
    assert_int_equal(queues[1].size, 3);
    config_free(keys, &config);
}

static const struct { const char *label, *text, *error; } wrong[] = {
    { "unknown, near", "lisen: a\n", "x.yaml:1: key 'lisen': unknown; did you mean 'listen'?" },
    { "unknown, swapped letters", "listen: a\n\nwrokers: 1\n",
      "x.yaml:3: key 'wrokers': unknown; did you mean 'workers'?" },
    { "unknown, far", "colour: blue\n", "x.yaml:1: key 'colour': unknown" },
    { "unknown in an item", "listen: a\ntenants:\n  - name: x\n    queue: []\n",
      "x.yaml:4: key 'tenants[0].queue': unknown; did you mean 'queues'?" },
    { "required", "note: x\n", "x.yaml: key 'listen': required and missing" },
    { "required in an item", "listen: a\ntenants:\n  - name: x\n    queues: [{size: 1}]\n",
      "x.yaml:4: key 'tenants[0].queues[0].name': required and missing" },
    { "required and empty", "listen: ''\n", "x.yaml:1: key 'listen': is required and empty" },
    { "required list, empty", "listen: a\ntenants: [{name: x, queues: []}]\n",
      "x.yaml:2: key 'tenants[0].queues': is required and empty" },
    { "nothing at all", "", "x.yaml: key 'listen': required and missing" },
    { "twice", "listen: a\nlisten: b\n", "x.yaml:2: key 'listen': given twice" },
    { "no value", "listen:\n", "x.yaml:1: key 'listen': has no value" },
    { "null", "listen: null\n", "x.yaml:1: key 'listen': has no value" },
    { "list for a text", "listen: [a]\n", "x.yaml:1: key 'listen': expected a single value, found a list" },
    { "mapping for a number", "workers: {a: 1}\n",
      "x.yaml:1: key 'workers': expected a single value, found a mapping" },
    { "text for a list", "hosts: a\n", "x.yaml:1: key 'hosts': expected a list of texts" },
    { "mapping in a list of texts", "hosts:\n  - a\n  - b: c\n",
      "x.yaml:3: key 'hosts': expected a single value, found a mapping" },
    { "text for a list of mappings", "tenants: a\n", "x.yaml:1: key 'tenants': expected a list of mappings" },
    { "text in a list of mappings", "tenants: [a]\n",
      "x.yaml:1: expected 'key: value' lines for tenants[0]." },
    { "a list on top", "- a\n", "x.yaml:1: expected 'key: value' lines" },
    { "too long", "listen: 1234567890123456789012345678901\n",
      "x.yaml:1: key 'listen': has a length above the most, 30" },
    { "no number", "workers: many\n",
      "x.yaml:1: key 'workers': 'many' is not a number from 0 to 4294967295" },
    { "negative", "workers: -1\n", "x.yaml:1: key 'workers': '-1' is not a number from 0 to 4294967295" },
    { "beyond 32 bits", "workers: 4294967296\n",
      "x.yaml:1: key 'workers': '4294967296' is not a number from 0 to 4294967295" },
    { "a size for a number", "workers: 1KiB\n",
      "x.yaml:1: key 'workers': '1KiB' is not a number from 0 to 4294967295" },
    { "too small", "workers: 0\n", "x.yaml:1: key 'workers': '0': is below the least, 1" },
    { "too large", "workers: 17\n", "x.yaml:1: key 'workers': '17': is above the most, 16" },
    { "duration without unit", "poll_ms: 25\n",
      "x.yaml:1: key 'poll_ms': '25' has no unit: ms, s, m, h or d" },
    { "duration too long", "poll_ms: 2h\n", "x.yaml:1: key 'poll_ms': '2h': is above the most, 1h" },
    { "size with a blank", "body_max_bytes: 1 KiB\n",
      "x.yaml:1: key 'body_max_bytes': '1 KiB' is not a size such as 65536, 64KiB or 1MiB" },
    { "size too large", "body_max_bytes: 2MiB\n",
      "x.yaml:1: key 'body_max_bytes': '2MiB': is above the most, 1MiB" },
    { "yes is not true", "is_demo: yes\n", "x.yaml:1: key 'is_demo': 'yes' is not true or false" },
    { "literal secret", "password: hunter2\n",
      "x.yaml:1: key 'password': a secret is written file:/path or env:NAME, never itself" },
    { "literal in a list of secrets", "token_keys: [hunter2]\n",
      "x.yaml:1: key 'token_keys': a secret is written file:/path or env:NAME, never itself" },
    { "secret file missing", "password: file:/nonexistent/key\n",
      "x.yaml:1: key 'password': secret file '/nonexistent/key': No such file or directory" },
    { "secret variable missing", "password: env:NOT_SET_ANYWHERE\n",
      "x.yaml:1: key 'password': environment variable 'NOT_SET_ANYWHERE' is not set" },
    { "secret empty", "password: file:/dev/null\n", "x.yaml:1: key 'password': the secret is empty" },
    { "secret endless", "password: file:/dev/zero\n",
      "x.yaml:1: key 'password': secret file '/dev/zero' is over 64 KiB" },
    { "too many", "token_keys: [env:TEST_SECRET, env:TEST_SECRET, env:TEST_SECRET]\n",
      "x.yaml:1: key 'token_keys': has a number of items above the most, 2" },
    { "anchor", "listen: &x a\n", "x.yaml:1: anchors are not used in configuration files" },
    { "alias", "note: a\nlisten: *x\n", "x.yaml:2: aliases are not used in configuration files" },
    { "tag", "listen: !!str a\n", "x.yaml:1: tags are not used in configuration files" },
    { "two documents", "listen: a\n---\nlisten: b\n", "x.yaml:2: a second document begins" },
    { "not YAML", "listen: [a\n", NULL },
    { "a tab", "tenants:\n\t- name: a\n", NULL },
    { "control character", "listen: \"a\x01\"\n", NULL },
};

static void test_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct test_config config = { 0 };
        struct err err = { 0 };

        CHECK_CASE(wrong[i].label, !read_text(wrong[i].text, &config, &err));
        CHECK_CASE(wrong[i].label, err.kind == ERR_CONFIG);
        if (wrong[i].error != NULL)
            CHECK_CASE_TEXT(wrong[i].label, err.text, wrong[i].error);
        else
            CHECK_CASE(wrong[i].label, strstr(err.text, "not valid YAML") != NULL);
        CHECK_CASE(wrong[i].label, config.listen == NULL && config.tenants.items == NULL);
    }
}

static const struct { const char *label, *variable, *value, *error; } variables[] = {
    { "text", "GUICHET_ROUT_ING_LISTEN", "b", NULL },
    { "number", "GUICHET_ROUT_ING_WORKERS", "7", NULL },
    { "list", "GUICHET_ROUT_ING_HOSTS", "x, y,,z", NULL },
    { "secret", "GUICHET_ROUT_ING_PASSWORD", "env:TEST_SECRET", NULL },
    { "literal secret", "GUICHET_ROUT_ING_PASSWORD", "hunter2",
      "environment: GUICHET_ROUT_ING_PASSWORD: a secret is written file:/path or env:NAME, never itself" },
    { "wrong value", "GUICHET_ROUT_ING_WORKERS", "x",
      "environment: GUICHET_ROUT_ING_WORKERS: 'x' is not a number from 0 to 4294967295" },
    { "unknown, near", "GUICHET_ROUT_ING_LISTN", "x",
      "environment: GUICHET_ROUT_ING_LISTN: unknown; did you mean GUICHET_ROUT_ING_LISTEN?" },
    { "unknown, far", "GUICHET_ROUT_ING_COLOUR", "x", "environment: GUICHET_ROUT_ING_COLOUR: unknown" },
    { "list of mappings", "GUICHET_ROUT_ING_TENANTS", "x",
      "environment: GUICHET_ROUT_ING_TENANTS: is a list of mappings, not a single value" },
    { "another service's", "GUICHET_ROUTING_COLOUR", "x", NULL },
};

static void test_environment(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(variables); i++) {
        struct test_config config = { 0 };
        struct err err = { 0 };
        bool ok;

        setenv(variables[i].variable, variables[i].value, 1);
        ok = read_text("listen: a\nworkers: 3\npassword: file:/nonexistent\nhosts: [q]\n", &config, &err);
        unsetenv(variables[i].variable);
        if (variables[i].error != NULL || strstr(variables[i].variable, "PASSWORD") == NULL) {
            CHECK_CASE(variables[i].label, !ok && err.kind == ERR_CONFIG);
            CHECK_CASE_TEXT(variables[i].label, err.text, variables[i].error != NULL ? variables[i].error
                : "x.yaml:3: key 'password': secret file '/nonexistent': No such file or directory");
            continue;
        }
        CHECK_CASE(variables[i].label, ok);
        CHECK_CASE_TEXT(variables[i].label, config.password, "from-env");
        config_free(keys, &config);
    }
}

static void test_environment_wins(void **state)
{
    struct test_config config = { 0 };

    (void)state;
    setenv("GUICHET_ROUT_ING_LISTEN", "b", 1);
    setenv("GUICHET_ROUT_ING_HOSTS", "x, y,,z", 1);
    assert_true(read_text("listen: a\nhosts: [q]\n", &config, NULL));
    assert_string_equal(config.listen, "b");
    assert_int_equal(config.hosts.count, 3);
    assert_string_equal(config.hosts.items[2], "z");
    config_free(keys, &config);
    assert_true(config_read("rout-ing", NULL, keys, &config, NULL));
    assert_string_equal(config.listen, "b");
    config_free(keys, &config);
    unsetenv("GUICHET_ROUT_ING_LISTEN");
    unsetenv("GUICHET_ROUT_ING_HOSTS");
}

static void test_files(void **state)
{
    char path[] = "/tmp/guichet-config-XXXXXX";
    struct test_config config = { 0 };
    struct err err = { 0 };
    int fd = mkstemp(path);

    (void)state;
    assert_int_equal(write(fd, "listen: a\n", 10), 10);
    assert_true(config_read("rout-ing", path, keys, &config, &err));
    assert_string_equal(config.listen, "a");
    config_free(keys, &config);
    assert_int_equal(ftruncate(fd, 1024 * 1024 + 1), 0);
    assert_false(config_read("rout-ing", path, keys, &config, &err));
    assert_non_null(strstr(err.text, "is over 1 MiB"));
    close(fd);
    unlink(path);
    assert_false(config_read("rout-ing", path, keys, &config, &err));
    assert_non_null(strstr(err.text, "No such file"));
    assert_int_equal(err.kind, ERR_CONFIG);
    err_clear(&err);
    assert_false(config_read("rout-ing", NULL, keys, &config, &err));
    assert_string_equal(err.text, "rout-ing: key 'listen': required and missing");
}

static void test_describe(void **state)
{
    SCOPED_BUF text;

    (void)state;
    buf_init(&text, 1 << 16);
    config_describe("rout-ing", keys, &text);
    assert_non_null(strstr(buf_text(&text), "| `listen` | text | required | up to 30 bytes | Where. |\n"));
    assert_non_null(strstr(buf_text(&text),
        "| `poll_ms` | duration | `2s` | from 100ms to 1h | Fall-back poll. Read again on SIGHUP. |\n"));
    assert_non_null(strstr(buf_text(&text), "| `password` | secret |  | from 3 bytes | Secret. |\n"));
    assert_non_null(strstr(buf_text(&text),
        "| `token_keys` | list of secrets |  | up to 2 items | Keys of tokens. |\n"));
    assert_non_null(strstr(buf_text(&text), "\nEach of `tenants`:\n\n| key |"));
    assert_non_null(strstr(buf_text(&text), "\nEach of `tenants[].queues`:\n\n| key |"));
    assert_non_null(strstr(buf_text(&text), "`GUICHET_ROUT_ING_<KEY>`"));
}

static void test_print_hides_secrets(void **state)
{
    struct test_config config = { 0 };
    SCOPED_BUF text;

    (void)state;
    buf_init(&text, 1 << 16);
    assert_true(read_text("listen: a\npassword: env:TEST_SECRET\ntoken_keys: [env:TEST_SECRET]\n"
                          "tenants: [{name: demo, queues: [{name: q, accounts: [x, y]}]}]\n", &config, NULL));
    config_print(keys, &config, &text);
    assert_string_equal(buf_text(&text),
        "listen: a\nnote: \npassword: ***\nworkers: 2\npoll_ms: 2s\nbody_max_bytes: 64KiB\nis_demo: false\n"
        "hosts: [localhost, example.org]\ntoken_keys: [***]\n"
        "tenants[0].name: demo\ntenants[0].queues[0].name: q\ntenants[0].queues[0].size: 10\n"
        "tenants[0].queues[0].accounts: [x, y]\n");
    config_free(keys, &config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fallbacks),
        cmocka_unit_test(test_all_given),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_environment_wins),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_describe),
        cmocka_unit_test(test_print_hides_secrets),
    };

    return cmocka_run_group_tests(tests, make_secret, remove_secret);
}
