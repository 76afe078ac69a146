/* SPDX-License-Identifier: Apache-2.0 */
/* config_yaml.h - the small part of YAML that a configuration may use; for config.c only. */
#ifndef GUICHET_OPS_CONFIG_YAML_H
#define GUICHET_OPS_CONFIG_YAML_H

#include <yaml.h>

#include "core/str.h"

/* One document, without anchors, aliases and tags. yaml_document_delete() when done. */
bool config_yaml_load(const char *name, struct str_view text, yaml_document_t *ret_document,
    struct err *err) MUST_USE;
/* The text of a scalar; a list, a mapping, or nothing at all is an error without a place. */
bool config_yaml_scalar(const yaml_node_t *node, struct str_view *ret_text, struct err *err) MUST_USE;
size_t config_yaml_line(const yaml_node_t *node);

#endif
