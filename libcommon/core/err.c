/* SPDX-License-Identifier: Apache-2.0 */
/* err.c - an error is a value with a kind and a text.
 *
 * All that follows from a kind (its name, whether to repeat, exit code, HTTP status) is one
 * row of one table, so that a new kind cannot be forgotten in one of the four. */
#include "core/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "core/str.h"

struct kind_info {
    const char *name;
    bool is_retryable;
    int exit_code;
    int http_status;
};

static const struct kind_info kinds[] = {
    [ERR_NONE]        = { "none",        false, EX_OK,          200 },
    [ERR_INVALID]     = { "invalid",     false, EX_DATAERR,     400 },
    [ERR_NOT_FOUND]   = { "not_found",   false, EX_NOINPUT,     404 },
    [ERR_CONFLICT]    = { "conflict",    false, EX_DATAERR,     409 },
    [ERR_FORBIDDEN]   = { "forbidden",   false, EX_NOPERM,      403 },
    [ERR_EXHAUSTED]   = { "exhausted",   true,  EX_TEMPFAIL,    429 },
    [ERR_UNAVAILABLE] = { "unavailable", true,  EX_UNAVAILABLE, 503 },
    [ERR_DEADLINE]    = { "deadline",    true,  EX_TEMPFAIL,    504 },
    [ERR_INTERNAL]    = { "internal",    false, EX_SOFTWARE,    500 },
    [ERR_CONFIG]      = { "config",      false, EX_CONFIG,      500 },
    [ERR_CANCELED]    = { "canceled",    false, EX_TEMPFAIL,    503 },
};

static const struct kind_info *info_of(enum err_kind kind)
{
    size_t index = (size_t)kind;

    return &kinds[index < COUNT_OF(kinds) ? index : ERR_INTERNAL];
}

/* A cut text must stay valid UTF-8: it goes into JSON answers. */
static void store_text(struct err *err, const char *text)
{
    size_t len = strlen(text);

    if (len >= sizeof(err->text))
        len = utf8_cut((struct str_view){ text, len }, sizeof(err->text) - 1);
    memcpy(err->text, text, len);
    err->text[len] = '\0';
}

bool err_set(struct err *err, enum err_kind kind, const char *fmt, ...)
{
    char text[2 * ERR_TEXT_BYTES];    /* apart: an argument may be err->text itself */
    va_list args;

    if (err == NULL)
        return false;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    err->kind = kind;
    err->retry_after_ms = 0;
    store_text(err, text);
    return false;
}

bool err_at(struct err *err, const char *fmt, ...)
{
    char text[2 * ERR_TEXT_BYTES];
    va_list args;
    int len;

    if (err == NULL)
        return false;
    va_start(args, fmt);
    len = vsnprintf(text, ERR_TEXT_BYTES, fmt, args);
    va_end(args);
    if (len >= ERR_TEXT_BYTES)
        len = ERR_TEXT_BYTES - 1;
    snprintf(text + len, sizeof(text) - (size_t)len, ": %s", err->text);
    store_text(err, text);
    return false;
}

void err_clear(struct err *err)
{
    *err = (struct err){ 0 };
}

const char *err_kind_name(enum err_kind kind)
{
    return info_of(kind)->name;
}

bool err_is_retryable(enum err_kind kind)
{
    return info_of(kind)->is_retryable;
}

int err_exit_code(enum err_kind kind)
{
    return info_of(kind)->exit_code;
}

int err_http_status(enum err_kind kind)
{
    return info_of(kind)->http_status;
}
