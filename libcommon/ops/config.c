/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - reads one configuration: environment, YAML file, fallbacks.
 *
 * The environment goes first and wins; what it gives is not read from the file, so that a
 * container can replace a secret's reference that does not resolve there. Everything wrong is
 * said with file, line and key: a service with a doubtful configuration does not start. */
#include "ops/config.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ops/config_value.h"
#include "ops/config_yaml.h"

#define FILE_MAX_BYTES (1024 * 1024)
#define TABLE_MAX_KEYS 128
#define PATH_MAX_BYTES 256
#define SHOWN_MAX 80

extern char **environ;

struct reading {
    const char *service;
    const char *name;                  /* of the file, for errors; NULL without one */
    yaml_document_t *document;
    struct err *err;
};

/* One table being filled: the top level, or one item of a list. */
struct table {
    const struct config_key *keys;
    void *config;
    const char *path;                  /* "", or "queues[2]." */
    bool is_given[TABLE_MAX_KEYS];
};

static bool read_table(struct reading *reading, yaml_node_t *node, struct table *table);

/* Puts "file:line: key 'path.name'" in front of what err says already. */
static bool fail_at(struct reading *reading, const yaml_node_t *node, const struct table *table,
    struct str_view name)
{
    int shown = (int)utf8_cut(name, SHOWN_MAX);

    reading->err->kind = ERR_CONFIG;
    if (node == NULL)
        return err_at(reading->err, "%s: key '%s%.*s'",
            reading->name == NULL ? reading->service : reading->name, table->path, shown, name.data);
    return err_at(reading->err, "%s:%zu: key '%s%.*s'", reading->name, config_yaml_line(node), table->path,
        shown, name.data);
}

static const struct config_key *nearest_key(const struct config_key *keys, struct str_view name)
{
    const struct config_key *best = NULL;
    size_t best_distance = (name.len + 2) / 3 + 1;    /* a third of its letters, rounded up, may be wrong */

    for (const struct config_key *key = keys; key->name != NULL; key++) {
        size_t distance = config_distance(name, str_view_of(key->name));

        if (distance < best_distance) {
            best = key;
            best_distance = distance;
        }
    }
    return best;
}

static bool find_key(const struct config_key *keys, struct str_view name, size_t *ret_index)
{
    for (size_t i = 0; keys[i].name != NULL; i++) {
        assert(i < TABLE_MAX_KEYS);
        if (str_equal(name, str_view_of(keys[i].name))) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

static bool read_strings(struct reading *reading, yaml_node_t *node, const struct config_key *key,
    const struct table *table)
{
    struct config_strings *list = (void *)((char *)table->config + key->offset);

    if (node->type != YAML_SEQUENCE_NODE) {
        err_set(reading->err, ERR_CONFIG, "expected a list of texts");
        return fail_at(reading, node, table, str_view_of(key->name));
    }
    for (yaml_node_item_t *at = node->data.sequence.items.start; at < node->data.sequence.items.top; at++) {
        yaml_node_t *item = yaml_document_get_node(reading->document, *at);
        struct str_view text;

        if (!config_yaml_scalar(item, &text, reading->err)
            || !config_value_append(key, text, table->config, reading->err))
            return fail_at(reading, item, table, str_view_of(key->name));
    }
    if (!config_value_check_count(key, list->count, reading->err))
        return fail_at(reading, node, table, str_view_of(key->name));
    return true;
}

/* Makes room for one more item, zeroed. It counts at once, so that config_free() sees it. */
static void *add_item(const struct config_key *key, struct config_list *list)
{
    char *items = realloc(list->items, (list->count + 1) * key->item_size);

    if (items == NULL)
        abort();
    list->items = items;
    return memset(items + list->count++ * key->item_size, 0, key->item_size);
}

static bool read_list(struct reading *reading, yaml_node_t *node, const struct config_key *key,
    const struct table *table)
{
    struct config_list *list = (void *)((char *)table->config + key->offset);

    if (node->type != YAML_SEQUENCE_NODE) {
        err_set(reading->err, ERR_CONFIG, "expected a list of mappings");
        return fail_at(reading, node, table, str_view_of(key->name));
    }
    for (yaml_node_item_t *at = node->data.sequence.items.start; at < node->data.sequence.items.top; at++) {
        struct table item = { .keys = key->item };
        SCOPED_BUF path;

        buf_init(&path, PATH_MAX_BYTES);
        buf_printf(&path, "%s%s[%zu].", table->path, key->name, list->count);
        item.path = buf_text(&path);
        item.config = add_item(key, list);
        if (!read_table(reading, yaml_document_get_node(reading->document, *at), &item))
            return false;
    }
    if (!config_value_check_count(key, list->count, reading->err))
        return fail_at(reading, node, table, str_view_of(key->name));
    return true;
}

static bool read_value(struct reading *reading, yaml_node_t *node, const struct config_key *key,
    const struct table *table)
{
    struct str_view text;

    if (key->type == CONFIG_STR_LIST)
        return read_strings(reading, node, key, table);
    if (key->type == CONFIG_LIST)
        return read_list(reading, node, key, table);
    if (!config_yaml_scalar(node, &text, reading->err)
        || !config_value_set(key, text, table->config, reading->err))
        return fail_at(reading, node, table, str_view_of(key->name));
    return true;
}

static bool read_pair(struct reading *reading, yaml_node_pair_t *pair, struct table *table, bool *is_in_file)
{
    yaml_node_t *key_node = yaml_document_get_node(reading->document, pair->key);
    yaml_node_t *value = yaml_document_get_node(reading->document, pair->value);
    struct str_view name;
    size_t index = 0;

    if (!config_yaml_scalar(key_node, &name, reading->err))
        return fail_at(reading, key_node, table, STR_LITERAL("?"));
    if (!find_key(table->keys, name, &index)) {
        const struct config_key *nearest = nearest_key(table->keys, name);

        if (nearest == NULL)
            err_set(reading->err, ERR_CONFIG, "unknown");
        else
            err_set(reading->err, ERR_CONFIG, "unknown; did you mean '%s'?", nearest->name);
        return fail_at(reading, key_node, table, name);
    }
    if (is_in_file[index]) {
        err_set(reading->err, ERR_CONFIG, "given twice");
        return fail_at(reading, key_node, table, name);
    }
    is_in_file[index] = true;
    if (table->is_given[index])        /* by the environment */
        return true;
    table->is_given[index] = true;
    return read_value(reading, value, &table->keys[index], table);
}

static bool apply_fallbacks(struct reading *reading, const yaml_node_t *node, struct table *table)
{
    for (size_t i = 0; table->keys[i].name != NULL; i++) {
        const struct config_key *key = &table->keys[i];
        const char *text = key->fallback;

        if (table->is_given[i])
            continue;
        if (key->flags & CONFIG_REQUIRED) {
            err_set(reading->err, ERR_CONFIG, "required and missing");
            return fail_at(reading, table->path[0] == '\0' ? NULL : node, table, str_view_of(key->name));
        }
        if (text != NULL && !config_value_set(key, str_view_of(text), table->config, reading->err))
            return fail_at(reading, NULL, table, str_view_of(key->name));
        if (text == NULL && key->type == CONFIG_STR)
            *(char **)(void *)((char *)table->config + key->offset) = str_dup(STR_LITERAL(""));
    }
    return true;
}

static bool read_table(struct reading *reading, yaml_node_t *node, struct table *table)
{
    bool is_in_file[TABLE_MAX_KEYS] = { false };

    if (node != NULL && node->type != YAML_MAPPING_NODE)
        return err_set(reading->err, ERR_CONFIG, "%s:%zu: expected 'key: value' lines%s%s", reading->name,
            config_yaml_line(node), table->path[0] == '\0' ? "" : " for ", table->path);
    if (node != NULL) {
        for (yaml_node_pair_t *at = node->data.mapping.pairs.start; at < node->data.mapping.pairs.top; at++) {
            if (!read_pair(reading, at, table, is_in_file))
                return false;
        }
    }
    return apply_fallbacks(reading, node, table);
}

/* The key an environment variable means: GUICHET_ROUTING_POLL_MS is poll_ms of routing. */
static bool read_variable(struct reading *reading, const char *prefix, const char *variable,
    struct table *table)
{
    const char *equals = strchr(variable, '=');
    int variable_len = (int)(equals - variable);
    const struct config_key *nearest;
    SCOPED_BUF lower;
    size_t index = 0;

    buf_init(&lower, 256);
    for (const char *at = variable + strlen(prefix); at < equals; at++)
        buf_append_char(&lower, *at >= 'A' && *at <= 'Z' ? *at + 32 : *at);
    if (find_key(table->keys, buf_view(&lower), &index)) {
        table->is_given[index] = true;
        if (config_value_set(&table->keys[index], str_view_of(equals + 1), table->config, reading->err))
            return true;
        reading->err->kind = ERR_CONFIG;
        return err_at(reading->err, "environment: %.*s", variable_len, variable);
    }
    nearest = nearest_key(table->keys, buf_view(&lower));
    if (nearest == NULL)
        return err_set(reading->err, ERR_CONFIG, "environment: %.*s: unknown", variable_len, variable);
    buf_clear(&lower);
    config_append_upper(&lower, nearest->name);
    return err_set(reading->err, ERR_CONFIG, "environment: %.*s: unknown; did you mean %s%s?", variable_len,
        variable, prefix, buf_text(&lower));
}

static bool read_environment(struct reading *reading, struct table *table)
{
    SCOPED_BUF prefix;

    buf_init(&prefix, 128);
    buf_append_text(&prefix, "GUICHET_");
    config_append_upper(&prefix, reading->service);
    buf_append_char(&prefix, '_');
    for (char **at = environ; *at != NULL; at++) {
        if (strncmp(*at, buf_text(&prefix), prefix.len) == 0 && strchr(*at, '=') != NULL
            && !read_variable(reading, buf_text(&prefix), *at, table))
            return false;
    }
    return true;
}

static bool read_all(struct reading *reading, const struct config_key *keys, void *config)
{
    struct table top = { .keys = keys, .config = config, .path = "" };
    yaml_node_t *root = reading->document == NULL ? NULL : yaml_document_get_root_node(reading->document);

    if (read_environment(reading, &top) && read_table(reading, root, &top))
        return true;
    config_free(keys, config);
    return false;
}

bool config_read_text(const char *service, const char *name, struct str_view text,
    const struct config_key *keys, void *config, struct err *err)
{
    struct err local = { 0 };
    yaml_document_t document;
    struct reading reading = { .service = service, .name = name, .document = &document, .err = &local };
    bool ok = config_yaml_load(name, text, &document, &local);

    if (ok) {
        ok = read_all(&reading, keys, config);
        yaml_document_delete(&document);
    }
    if (!ok && err != NULL)
        *err = local;
    return ok;
}

static bool read_file(const char *path, struct buf *text, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char piece[4096];
    ssize_t got = 0;

    if (fd < 0)
        return err_set(err, ERR_CONFIG, "%s: %s", path, strerror(errno));
    while (!text->is_full && (got = read(fd, piece, sizeof(piece))) > 0)
        buf_append(text, piece, (size_t)got);
    if (got < 0)
        err_set(err, ERR_CONFIG, "%s: %s", path, strerror(errno));
    else if (text->is_full)
        err_set(err, ERR_CONFIG, "%s: is over 1 MiB", path);
    close(fd);
    return got >= 0 && !text->is_full;
}

bool config_read(const char *service, const char *path, const struct config_key *keys, void *config,
    struct err *err)
{
    struct err local = { 0 };
    SCOPED_BUF text;

    buf_init(&text, FILE_MAX_BYTES);
    if (path == NULL) {
        struct reading reading = { .service = service, .err = &local };
        bool ok = read_all(&reading, keys, config);

        if (!ok && err != NULL)
            *err = local;
        return ok;
    }
    return read_file(path, &text, err) && config_read_text(service, path, buf_view(&text), keys, config, err);
}
