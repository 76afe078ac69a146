/* SPDX-License-Identifier: Apache-2.0 */
/* config_describe.c - the table as documentation, the values in force, and their end.
 *
 * READMEs carry what config_describe() prints, and a lint compares them: the table in the code
 * is the only place where a setting is described. */
#include "ops/config.h"

#include <stdlib.h>
#include <string.h>

#include "ops/config_value.h"

static void describe_limits(const struct config_key *key, struct buf *buf)
{
    bool has_min = key->min != 0, has_max = key->max != 0;

    if (has_min) {
        buf_append_text(buf, "from ");
        config_value_print_limit(key, key->min, buf);
    }
    if (has_max) {
        buf_append_text(buf, has_min ? " to " : "up to ");
        config_value_print_limit(key, key->max, buf);
    }
    if ((has_min || has_max) && key->type == CONFIG_STR)
        buf_append_text(buf, " bytes");
    if ((has_min || has_max) && (key->type == CONFIG_STR_LIST || key->type == CONFIG_LIST))
        buf_append_text(buf, " items");
}

static void describe_key(const struct config_key *key, struct buf *buf)
{
    buf_printf(buf, "| `%s` | %s | ", key->name, config_type_name(key));
    if (key->flags & CONFIG_REQUIRED)
        buf_append_text(buf, "required");
    else if (key->fallback != NULL)
        buf_printf(buf, "`%s`", key->fallback);
    buf_append_text(buf, " | ");
    describe_limits(key, buf);
    buf_printf(buf, " | %s%s |\n", key->help == NULL ? "" : key->help,
        key->flags & CONFIG_RELOADABLE ? " Read again on SIGHUP." : "");
}

static void describe_table(const char *path, const struct config_key *keys, struct buf *buf)
{
    buf_append_text(buf, "| key | type | default | limits | what it is for |\n|---|---|---|---|---|\n");
    for (const struct config_key *key = keys; key->name != NULL; key++)
        describe_key(key, buf);
    for (const struct config_key *key = keys; key->name != NULL; key++) {
        SCOPED_BUF inner;

        buf_init(&inner, 256);
        if (key->type != CONFIG_LIST)
            continue;
        buf_printf(&inner, "%s%s[].", path, key->name);
        buf_printf(buf, "\nEach of `%s%s`:\n\n", path, key->name);
        describe_table(buf_text(&inner), key->item, buf);
    }
}

void config_describe(const char *service, const struct config_key *keys, struct buf *buf)
{
    describe_table("", keys, buf);
    buf_append_text(buf,
        "\nEach key of the first table but lists of mappings can be given by the environment as `GUICHET_");
    config_append_upper(buf, service);
    buf_append_text(buf, "_<KEY>` (upper case). Secrets are written `file:/path` or `env:NAME`.\n");
}

static void print_table(const char *path, const struct config_key *keys, const void *config, struct buf *buf)
{
    for (const struct config_key *key = keys; key->name != NULL; key++) {
        const struct config_list *list = (const void *)((const char *)config + key->offset);

        if (key->type != CONFIG_LIST) {
            buf_printf(buf, "%s%s: ", path, key->name);
            config_value_print(key, config, buf);
            buf_append_char(buf, '\n');
            continue;
        }
        for (size_t i = 0; i < list->count; i++) {
            SCOPED_BUF inner;

            buf_init(&inner, 256);
            buf_printf(&inner, "%s%s[%zu].", path, key->name, i);
            print_table(buf_text(&inner), key->item, (const char *)list->items + i * key->item_size, buf);
        }
    }
}

void config_print(const struct config_key *keys, const void *config, struct buf *buf)
{
    print_table("", keys, config, buf);
}

static void free_text(char *text)
{
    if (text != NULL)
        explicit_bzero(text, str_view_of(text).len);
    free(text);
}

static void free_field(const struct config_key *key, void *config)
{
    void *field = (char *)config + key->offset;

    if (key->type == CONFIG_STR) {
        char **text = field;

        free_text(*text);
        *text = NULL;
    } else if (key->type == CONFIG_STR_LIST) {
        struct config_strings *list = field;

        for (size_t i = 0; i < list->count; i++)
            free_text(list->items[i]);
        free(list->items);
        *list = (struct config_strings){ 0 };
    } else if (key->type == CONFIG_LIST) {
        struct config_list *list = field;

        for (size_t i = 0; i < list->count; i++)
            config_free(key->item, (char *)list->items + i * key->item_size);
        free(list->items);
        *list = (struct config_list){ 0 };
    }
}

void config_free(const struct config_key *keys, void *config)
{
    for (const struct config_key *key = keys; key->name != NULL; key++)
        free_field(key, config);
}
