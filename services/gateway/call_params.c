/* SPDX-License-Identifier: Apache-2.0 */
/* call_params.c - query parameters: names the route knows, pages, words of enums. */
#include "api.h"

#include <stdlib.h>
#include <string.h>

#include "core/id.h"
#include "cursor.h"
#include "words.h"

#define LIMIT_DEFAULT 50
#define LIMIT_MAX 100
#define PARAM_BYTES_MAX 1024

static bool is_known(const char *params, struct str_view name)
{
    struct str_view rest = str_view_of(params), known;

    while (str_next(&rest, ' ', &known)) {
        if (str_equal(known, name))
            return true;
    }
    return false;
}

/* An unknown name is most often a filter misspelt, which would silently show everything. */
bool call_params_check(struct call *call)
{
    struct str_view rest = str_view_of(http_exchange_query(call->exchange)), pair;

    if (call->route->params == NULL)
        return true;
    while (str_next(&rest, '&', &pair)) {
        struct str_view name = { "", 0 }, seen = pair;
        SCOPED_BUF decoded;

        buf_init(&decoded, PARAM_BYTES_MAX);
        if (pair.len == 0)
            continue;
        (void)str_next(&seen, '=', &name);
        if (!form_decode(pair, &decoded) || decoded.is_full || !utf8_is_valid(buf_view(&decoded))) {
            call_bad_param(call, "the query is not URL-encoded UTF-8, or too long");
            return false;
        }
        if (!is_known(call->route->params, name)) {
            call_bad_param(
                call, arena_printf(call->arena, "unknown parameter; known are: %s", call->route->params));
            return false;
        }
    }
    return true;
}

bool call_id_check(struct call *call, const char *what)
{
    struct id id;

    if (id_parse(call->id, &id))
        return true;
    call_problem(call, &(struct problem){ PROBLEM_NOT_FOUND, what, NULL, 0 });
    return false;
}

const char *call_param(const struct call *call, const char *name)
{
    return http_exchange_param(call->exchange, name);
}

bool call_param_word(struct call *call, const char *name, const ProtobufCEnumDescriptor *words,
                     int *ret_value)
{
    const char *text = call_param(call, name);

    *ret_value = -1;
    if (text == NULL || words_read(words, text, ret_value))
        return true;
    call_bad_param(call, arena_printf(call->arena, "%s: not one of its words", name));
    return false;
}

bool call_page(struct call *call, const char *scope, Guichet__V1__Page **ret_page)
{
    const char *cursor = call_param(call, "cursor"), *limit = call_param(call, "limit");
    Guichet__V1__Page *page = arena_alloc(call->arena, sizeof(*page));
    char after_id[CURSOR_ID_BYTES];
    struct err err = { 0 };

    guichet__v1__page__init(page);
    page->limit = LIMIT_DEFAULT;
    if (limit != NULL) {
        size_t len = strlen(limit);

        page->limit = len >= 1 && len <= 3 && strspn(limit, "0123456789") == len ? (uint32_t)atoi(limit) : 0;
        if (page->limit < 1 || page->limit > LIMIT_MAX) {
            call_bad_param(call, "limit: a number from 1 to 100");
            return false;
        }
    }
    if (cursor != NULL) {
        if (!cursor_page_read(cursor, scope, after_id, &err)) {
            call_bad_param(call, arena_printf(call->arena, "cursor: %s", err.text));
            return false;
        }
        page->after_id = arena_strdup(call->arena, after_id);
    }
    *ret_page = page;
    return true;
}
