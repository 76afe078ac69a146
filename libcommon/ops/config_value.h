/* SPDX-License-Identifier: Apache-2.0 */
/* config_value.h - one written value into one field; what config.c is made of. */
#ifndef GUICHET_OPS_CONFIG_VALUE_H
#define GUICHET_OPS_CONFIG_VALUE_H

#include "ops/config.h"

/* Parses one written value (not a list) into the field `config + key->offset`. The error has no
 * place yet: "'x' is not a number". */
bool config_value_set(const struct config_key *key, struct str_view text, void *config,
    struct err *err) MUST_USE;
/* Appends one item to a CONFIG_STR_LIST field. */
bool config_value_append(const struct config_key *key, struct str_view text, void *config,
    struct err *err) MUST_USE;
/* The count of a list field against the key's limits. */
bool config_value_check_count(const struct config_key *key, size_t count, struct err *err) MUST_USE;
/* Writes the field as it would be written; secrets as ***. Not for CONFIG_LIST. */
void config_value_print(const struct config_key *key, const void *config, struct buf *buf);
/* A limit in the key's own unit. */
void config_value_print_limit(const struct config_key *key, int64_t limit, struct buf *buf);
/* As environment variables are written: upper case, - as _. */
void config_append_upper(struct buf *buf, const char *text);
const char *config_type_name(const struct config_key *key);

/* Damerau-Levenshtein (optimal string alignment): edits between two words. */
size_t config_distance(struct str_view a, struct str_view b);

#endif
