/* SPDX-License-Identifier: Apache-2.0 */
/* config_value.c - one written value into one field of a configuration struct, and back.
 *
 * The same code reads YAML scalars, environment variables and fallbacks: a value means the same
 * wherever it stands. Secrets are references, so that a configuration file can be shown. */
#include "ops/config_value.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/duration.h"

#define SECRET_MAX_BYTES 65536
#define SHOWN_MAX 80                   /* of a wrong value, in an error */

static const char *const type_names[] = {
    [CONFIG_STR] = "text", [CONFIG_U32] = "number", [CONFIG_MS] = "duration", [CONFIG_BYTES] = "size",
    [CONFIG_BOOL] = "true or false", [CONFIG_STR_LIST] = "list of texts", [CONFIG_LIST] = "list",
};

static const struct { const char *name; uint32_t factor; } byte_units[] = {
    { "", 1 }, { "KiB", 1024 }, { "MiB", 1024 * 1024 },
};

const char *config_type_name(const struct config_key *key)
{
    if (key->flags & CONFIG_SECRET)
        return key->type == CONFIG_STR_LIST ? "list of secrets" : "secret";
    return type_names[key->type];
}

void config_append_upper(struct buf *buf, const char *text)
{
    for (; *text != '\0'; text++)
        buf_append_char(buf, *text == '-' ? '_' : *text >= 'a' && *text <= 'z' ? (char)(*text - 32) : *text);
}

void config_value_print_limit(const struct config_key *key, int64_t limit, struct buf *buf)
{
    char text[32];

    if (key->type == CONFIG_MS) {
        duration_format((uint32_t)limit, text, sizeof(text));
        buf_append_text(buf, text);
    } else if (key->type == CONFIG_BYTES && limit > 0 && limit % (1024 * 1024) == 0) {
        buf_printf(buf, "%" PRId64 "MiB", limit / (1024 * 1024));
    } else if (key->type == CONFIG_BYTES && limit > 0 && limit % 1024 == 0) {
        buf_printf(buf, "%" PRId64 "KiB", limit / 1024);
    } else {
        buf_printf(buf, "%" PRId64, limit);
    }
}

static bool check_limits(const struct config_key *key, int64_t value, const char *what, struct err *err)
{
    SCOPED_BUF limit;

    buf_init(&limit, 64);
    if (value < key->min) {
        config_value_print_limit(key, key->min, &limit);
        return err_set(err, ERR_CONFIG, "%sbelow the least, %s", what, buf_text(&limit));
    }
    if (key->max != 0 && value > key->max) {
        config_value_print_limit(key, key->max, &limit);
        return err_set(err, ERR_CONFIG, "%sabove the most, %s", what, buf_text(&limit));
    }
    return true;
}

bool config_value_check_count(const struct config_key *key, size_t count, struct err *err)
{
    if ((key->flags & CONFIG_REQUIRED) && count == 0)
        return err_set(err, ERR_CONFIG, "is required and empty");
    if (count == 0)
        return true;
    return check_limits(key, (int64_t)count, "has a number of items ", err);
}

/* The digits in front of a number; the rest stays in *text. */
static bool take_digits(struct str_view *text, uint64_t *ret_value)
{
    uint64_t value = 0;
    size_t i = 0;

    for (; i < text->len && text->data[i] >= '0' && text->data[i] <= '9'; i++) {
        if (value > UINT32_MAX)
            return false;
        value = value * 10 + (uint64_t)(text->data[i] - '0');
    }
    if (i == 0 || value > UINT32_MAX)
        return false;
    text->data += i;
    text->len -= i;
    *ret_value = value;
    return true;
}

static bool parse_number(const struct config_key *key, struct str_view text, uint32_t *ret_value)
{
    uint64_t value;

    if (!take_digits(&text, &value))
        return false;
    for (size_t i = 0; i < COUNT_OF(byte_units); i++) {
        if (!str_equal(text, str_view_of(byte_units[i].name)))
            continue;
        if (value * byte_units[i].factor > UINT32_MAX || (i > 0 && key->type != CONFIG_BYTES))
            return false;
        *ret_value = (uint32_t)value * byte_units[i].factor;
        return true;
    }
    return false;
}

static bool set_number(const struct config_key *key, struct str_view text, uint32_t *field, struct err *err)
{
    int shown = (int)utf8_cut(text, SHOWN_MAX);
    uint32_t value;

    if (key->type == CONFIG_MS) {
        char *copy = str_dup(text);
        bool ok = duration_parse(copy, &value, err);

        free(copy);
        if (!ok) {
            err->kind = ERR_CONFIG;
            return false;
        }
    } else if (!parse_number(key, text, &value)) {
        return err_set(err, ERR_CONFIG, "'%.*s' is not a %s", shown, text.data,
            key->type == CONFIG_BYTES ? "size such as 65536, 64KiB or 1MiB" : "number from 0 to 4294967295");
    }
    if (!check_limits(key, value, "is ", err))
        return err_at(err, "'%.*s'", shown, text.data);
    *field = value;
    return true;
}

static bool set_bool(struct str_view text, bool *field, struct err *err)
{
    bool is_true = str_equal(text, STR_LITERAL("true"));

    if (!is_true && !str_equal(text, STR_LITERAL("false")))
        return err_set(err, ERR_CONFIG, "'%.*s' is not true or false", (int)utf8_cut(text, SHOWN_MAX),
            text.data);
    *field = is_true;
    return true;
}

static bool read_secret_file(const char *path, struct buf *secret, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char piece[4096];
    ssize_t got = 0;

    if (fd < 0)
        return err_set(err, ERR_CONFIG, "secret file '%s': %s", path, strerror(errno));
    while (!secret->is_full && (got = read(fd, piece, sizeof(piece))) > 0)
        buf_append(secret, piece, (size_t)got);
    if (got < 0)
        err_set(err, ERR_CONFIG, "secret file '%s': %s", path, strerror(errno));
    else if (secret->is_full)
        err_set(err, ERR_CONFIG, "secret file '%s' is over 64 KiB", path);
    close(fd);
    explicit_bzero(piece, sizeof(piece));
    return got >= 0 && !secret->is_full;
}

/* One newline at the end belongs to the editor that wrote the file, not to the secret. */
static void trim_newline(struct buf *secret)
{
    if (secret->len > 0 && secret->data[secret->len - 1] == '\n')
        secret->data[--secret->len] = '\0';
}

static bool resolve_secret(struct str_view text, struct buf *secret, struct err *err)
{
    char *reference = str_dup(text);
    bool ok = false;

    if (strncmp(reference, "file:", 5) == 0) {
        ok = read_secret_file(reference + 5, secret, err);
        trim_newline(secret);
    } else if (strncmp(reference, "env:", 4) == 0) {
        const char *value = getenv(reference + 4);

        if (value == NULL)
            err_set(err, ERR_CONFIG, "environment variable '%s' is not set", reference + 4);
        else
            buf_append_text(secret, value);
        ok = value != NULL && !secret->is_full;
    } else {
        err_set(err, ERR_CONFIG, "a secret is written file:/path or env:NAME, never itself");
    }
    free(reference);
    if (ok && secret->len == 0)
        ok = err_set(err, ERR_CONFIG, "the secret is empty");
    return ok;
}

/* Owned text of a string value, secrets resolved. */
static bool make_string(const struct config_key *key, struct str_view text, bool has_limits, char **ret_text,
    struct err *err)
{
    SCOPED_BUF secret;

    buf_init(&secret, SECRET_MAX_BYTES);
    if (key->flags & CONFIG_SECRET) {
        if (!resolve_secret(text, &secret, err))
            return false;
        text = buf_view(&secret);
    }
    if (!utf8_is_valid(text))
        return err_set(err, ERR_CONFIG, "is not UTF-8 text, or has a NUL in it");
    if (has_limits && !check_limits(key, (int64_t)text.len, "has a length ", err))
        return false;
    *ret_text = str_dup(text);
    return true;
}

static bool set_string(const struct config_key *key, struct str_view text, char **field, struct err *err)
{
    char *value;

    if ((key->flags & CONFIG_REQUIRED) && text.len == 0)
        return err_set(err, ERR_CONFIG, "is required and empty");
    if (!make_string(key, text, true, &value, err))
        return false;
    free(*field);
    *field = value;
    return true;
}

bool config_value_append(const struct config_key *key, struct str_view text, void *config, struct err *err)
{
    struct config_strings *list = (void *)((char *)config + key->offset);
    char *value, **items;

    if (!make_string(key, text, false, &value, err))
        return false;
    items = realloc(list->items, (list->count + 1) * sizeof(*items));
    if (items == NULL)
        abort();
    items[list->count++] = value;
    list->items = items;
    return true;
}

/* Comma-separated: as environment variables and fallbacks are written. */
static bool set_strings(const struct config_key *key, struct str_view text, void *config, struct err *err)
{
    struct config_strings *list = (void *)((char *)config + key->offset);
    struct str_view item;

    while (str_next(&text, ',', &item)) {
        item = str_trim(item);
        if (item.len > 0 && !config_value_append(key, item, config, err))
            return false;
    }
    return config_value_check_count(key, list->count, err);
}

bool config_value_set(const struct config_key *key, struct str_view text, void *config, struct err *err)
{
    void *field = (char *)config + key->offset;

    switch (key->type) {
    case CONFIG_STR:
        return set_string(key, text, field, err);
    case CONFIG_U32:
    case CONFIG_MS:
    case CONFIG_BYTES:
        return set_number(key, text, field, err);
    case CONFIG_BOOL:
        return set_bool(text, field, err);
    case CONFIG_STR_LIST:
        return set_strings(key, text, config, err);
    case CONFIG_LIST:
        break;
    }
    return err_set(err, ERR_CONFIG, "is a list of mappings, not a single value");
}

static void print_strings(const struct config_key *key, const struct config_strings *list, struct buf *buf)
{
    buf_append_char(buf, '[');
    for (size_t i = 0; i < list->count; i++)
        buf_printf(buf, "%s%s", i > 0 ? ", " : "", key->flags & CONFIG_SECRET ? "***" : list->items[i]);
    buf_append_char(buf, ']');
}

void config_value_print(const struct config_key *key, const void *config, struct buf *buf)
{
    const void *field = (const char *)config + key->offset;

    switch (key->type) {
    case CONFIG_STR: {
        const char *text = *(char *const *)field == NULL ? "" : *(char *const *)field;

        buf_append_text(buf, (key->flags & CONFIG_SECRET) && text[0] != '\0' ? "***" : text);
        break;
    }
    case CONFIG_U32:
    case CONFIG_MS:
    case CONFIG_BYTES:
        config_value_print_limit(key, *(const uint32_t *)field, buf);
        break;
    case CONFIG_BOOL:
        buf_append_text(buf, *(const bool *)field ? "true" : "false");
        break;
    case CONFIG_STR_LIST:
        print_strings(key, field, buf);
        break;
    case CONFIG_LIST:
        break;
    }
}
