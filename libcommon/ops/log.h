/* SPDX-License-Identifier: Apache-2.0 */
/* log.h - one JSON line per event on stderr.
 *
 * Keys: ts, level, service, event (a fixed word), msg, then the fields given. Values
 * are never message bodies, addresses or secrets; log_hash() gives a stable short
 * word for an address. A terminal gets text instead (GUICHET_LOG_FORMAT=text|json).
 * Libraries log at debug only; services log. */
#ifndef GUICHET_OPS_LOG_H
#define GUICHET_OPS_LOG_H

#include <stdint.h>

#include "core/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_field {
    const char *name;
    const char *text;      /* NULL: `number` counts */
    int64_t number;
};

/* A function, because an array for `text` would make the compiler warn about its comparison with NULL. */
static inline struct log_field log_text_field(const char *name, const char *text)
{
    return (struct log_field){ .name = name, .text = text != NULL ? text : "" };
}

#define LOG_TEXT(key, value) log_text_field((key), (value))
#define LOG_NUMBER(key, value) ((struct log_field){ .name = (key), .number = (int64_t)(value) })
#define LOG_ERR(error) LOG_TEXT("err", (error)->text), LOG_TEXT("err_kind", err_kind_name((error)->kind))

void log_init(const char *service, enum log_level level);
bool log_level_parse(const char *text, enum log_level *ret_level);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
void log_write(enum log_level level, const char *event, const struct log_field *fields, size_t count);
/* log_event(LOG_INFO, "submit_refused", LOG_TEXT("account", id), LOG_NUMBER("count", n)); */
#define log_event(level, event, ...)                                                        \
    do {                                                                                    \
        if ((level) >= log_get_level()) {                                                   \
            const struct log_field log_fields_[] = { __VA_ARGS__ };                         \
            log_write((level), (event), log_fields_, COUNT_OF(log_fields_));                \
        }                                                                                   \
    } while (0)

#define LOG_HASH_BYTES 17
/* 16 hex digits, keyed by a random of this process. */
void log_hash(struct str_view text, char ret_text[LOG_HASH_BYTES]);

#endif
