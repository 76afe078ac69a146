/* SPDX-License-Identifier: Apache-2.0 */
/* config.h - configuration is a table: parsing, limits, --describe and redaction all read it.
 *
 * One YAML file per service; each scalar key of the top level can be overridden by the
 * environment variable GUICHET_<SERVICE>_<KEY>. Lists of mappings (accounts, queues …) are
 * tables of their own, one level deep or nested. A secret is written `file:/path` or `env:NAME`;
 * a literal secret is refused. An unknown key is an error with file, line and the nearest known
 * key; so is a missing required one, a value out of range, a duplicate. All errors are
 * ERR_CONFIG and read "routing.yaml:12: key 'lisen': unknown; did you mean 'listen'?". */
#ifndef GUICHET_OPS_CONFIG_H
#define GUICHET_OPS_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "core/str.h"

enum config_type {
    CONFIG_STR,        /* char *; never NULL, empty when not given            */
    CONFIG_U32,        /* uint32_t                                            */
    CONFIG_MS,         /* uint32_t, written as a duration                     */
    CONFIG_BYTES,      /* uint32_t, written 65536, 64KiB or 1MiB              */
    CONFIG_BOOL,       /* bool: true or false                                 */
    CONFIG_STR_LIST,   /* struct config_strings; YAML list, or comma-separated in env */
    CONFIG_LIST,       /* struct config_list of structs, described by `item`  */
};

enum config_flags {
    CONFIG_REQUIRED = 1,
    CONFIG_SECRET = 2,       /* file: or env: reference, printed as *** */
    CONFIG_RELOADABLE = 4,
};

struct config_strings { char **items; size_t count; };
struct config_list { void *items; size_t count; };   /* items: array of structs of item_size */

struct config_key {
    const char *name;        /* as in the YAML; NULL ends the table */
    size_t offset;
    enum config_type type;
    unsigned flags;
    const char *fallback;    /* as it would be written; NULL: zero, or empty */
    int64_t min, max;        /* numbers; strings: length; lists: count. max 0: no limit */
    const struct config_key *item;   /* CONFIG_LIST */
    size_t item_size;
    const char *help;        /* one sentence, for --describe */
};

#define CONFIG_AT(type_name, field) .name = #field, .offset = offsetof(struct type_name, field)

/* Fills *config (zeroed by the caller). `path` may be NULL: environment and fallbacks only.
 * `service` gives the prefix of the environment variables. */
bool config_read(const char *service, const char *path, const struct config_key *keys,
                 void *config, struct err *err) MUST_USE;
/* The same from text, for tests; `name` stands for the file in errors. */
bool config_read_text(const char *service, const char *name, struct str_view text,
                      const struct config_key *keys, void *config, struct err *err) MUST_USE;
void config_free(const struct config_key *keys, void *config);
/* Markdown table: key, type, default, limits, what it is for. */
void config_describe(const char *service, const struct config_key *keys, struct buf *buf);
/* The values in force, secrets as ***, one `key: value` per line. */
void config_print(const struct config_key *keys, const void *config, struct buf *buf);

#endif
