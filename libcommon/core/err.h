/* SPDX-License-Identifier: Apache-2.0 */
/* err.h - an error is a value with a kind and a text.
 *
 * Kinds are the mesh's closed set of statuses (proto/guichet/v1/mesh.proto) and two
 * of our own. The kind alone decides retry, exit code and HTTP status, each in one
 * function. The text says what failed with which value; each level may put its
 * place in front, once. */
#ifndef GUICHET_CORE_ERR_H
#define GUICHET_CORE_ERR_H

#include <stdbool.h>
#include <stdint.h>

#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define MUST_USE __attribute__((warn_unused_result))
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum err_kind {
    ERR_NONE = 0,
    ERR_INVALID,     /* the input is wrong: do not repeat it                    */
    ERR_NOT_FOUND,
    ERR_CONFLICT,    /* it contradicts what is there: version, key, state       */
    ERR_FORBIDDEN,
    ERR_EXHAUSTED,   /* a limit is reached: later                               */
    ERR_UNAVAILABLE, /* a part is down: later. Nothing is known of the effect   */
    ERR_DEADLINE,    /* no answer in time: the effect is unknown                */
    ERR_INTERNAL,    /* our bug, or the machine's                               */
    ERR_CONFIG,      /* the configuration is wrong: no start                    */
    ERR_CANCELED,    /* we gave it up ourselves                                 */
};

#define ERR_TEXT_BYTES 256

struct err {
    enum err_kind kind;
    uint32_t retry_after_ms; /* EXHAUSTED, UNAVAILABLE: not before; 0 unknown */
    char text[ERR_TEXT_BYTES];
};

/* Sets *err, returns false: `return err_set(err, ERR_INVALID, "…")`. err may be NULL. */
bool err_set(struct err *err, enum err_kind kind, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Puts "place: " in front of the text, returns false. */
bool err_at(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
void err_clear(struct err *err);

const char *err_kind_name(enum err_kind kind);      /* "invalid", "not_found" … */
bool err_is_retryable(enum err_kind kind);          /* EXHAUSTED, UNAVAILABLE, DEADLINE */
int err_exit_code(enum err_kind kind);              /* sysexits: CONFIG 78, UNAVAILABLE 69 … */
int err_http_status(enum err_kind kind);            /* INVALID 400 … UNAVAILABLE 503, DEADLINE 504 */

#endif
