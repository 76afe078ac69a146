/* SPDX-License-Identifier: Apache-2.0 */
/* config_yaml.c - the small part of YAML that a configuration may use (libyaml).
 *
 * Anchors, aliases and tags are refused: they make a short file mean something long, and the
 * document API no longer shows them once they are resolved. Hence two passes: one over the
 * events for what is not allowed, one for the document. */
#include "ops/config_yaml.h"

#include <string.h>

static bool fail_parser(const char *name, const yaml_parser_t *parser, struct err *err)
{
    return err_set(err, ERR_CONFIG, "%s:%zu: not valid YAML: %s%s%s", name, parser->problem_mark.line + 1,
        parser->problem == NULL ? "cannot be read" : parser->problem, parser->context == NULL ? "" : " ",
        parser->context == NULL ? "" : parser->context);
}

static const char *forbidden_in(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return "aliases";
    case YAML_SCALAR_EVENT:
        return event->data.scalar.anchor != NULL ? "anchors" : event->data.scalar.tag != NULL ? "tags" : NULL;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.anchor != NULL ? "anchors"
            : event->data.sequence_start.tag != NULL ? "tags" : NULL;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.anchor != NULL ? "anchors"
            : event->data.mapping_start.tag != NULL ? "tags" : NULL;
    default:
        return NULL;
    }
}

/* Whether all events are of the part we use, in one document. */
static bool check_events(const char *name, struct str_view text, struct err *err)
{
    yaml_parser_t parser;
    size_t documents = 0;
    bool is_end = false, ok = true;

    yaml_parser_initialize(&parser);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.data, text.len);
    while (ok && !is_end) {
        yaml_event_t event;
        const char *forbidden;

        if (!yaml_parser_parse(&parser, &event)) {
            ok = fail_parser(name, &parser, err);
            break;
        }
        forbidden = forbidden_in(&event);
        documents += event.type == YAML_DOCUMENT_START_EVENT;
        is_end = event.type == YAML_STREAM_END_EVENT;
        if (forbidden != NULL)
            ok = err_set(err, ERR_CONFIG, "%s:%zu: %s are not used in configuration files", name,
                event.start_mark.line + 1, forbidden);
        else if (documents > 1)
            ok = err_set(err, ERR_CONFIG, "%s:%zu: a second document begins", name,
                event.start_mark.line + 1);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return ok;
}

bool config_yaml_load(const char *name, struct str_view text, yaml_document_t *ret_document, struct err *err)
{
    yaml_parser_t parser;
    bool ok;

    if (!check_events(name, text, err))
        return false;
    yaml_parser_initialize(&parser);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.data, text.len);
    ok = yaml_parser_load(&parser, ret_document) || fail_parser(name, &parser, err);
    yaml_parser_delete(&parser);
    return ok;
}

bool config_yaml_scalar(const yaml_node_t *node, struct str_view *ret_text, struct err *err)
{
    struct str_view text;

    if (node->type != YAML_SCALAR_NODE)
        return err_set(err, ERR_CONFIG, "expected a single value, found a %s",
            node->type == YAML_SEQUENCE_NODE ? "list" : "mapping");
    text = (struct str_view){ (const char *)node->data.scalar.value, node->data.scalar.length };
    if (node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE
        && (text.len == 0 || str_equal(text, STR_LITERAL("~")) || str_equal(text, STR_LITERAL("null"))))
        return err_set(err, ERR_CONFIG, "has no value");
    *ret_text = text;
    return true;
}

size_t config_yaml_line(const yaml_node_t *node)
{
    return node->start_mark.line + 1;
}
