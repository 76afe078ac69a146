/* SPDX-License-Identifier: Apache-2.0 */
/* log.c - one line per event on stderr, in one write(2).
 *
 * A line is rendered whole and written at once, so that lines of several threads and processes
 * that share a stderr do not mix. What is too long is cut, never dropped: field values at 2 KiB,
 * the line at 16 KiB. */
#include "ops/log.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "core/duration.h"
#include "core/id.h"
#include "core/json.h"

#define LINE_MAX_BYTES 16384
#define LINE_TAIL_BYTES 32             /* kept free for the closing mark */
#define VALUE_MAX_BYTES 2048
#define SERVICE_MAX_BYTES 64

static const char *const level_names[] = { "debug", "info", "warn", "error" };

static struct {
    _Atomic int level;
    bool is_text;
    char service[SERVICE_MAX_BYTES];
} state = { .level = LOG_INFO };

static uint8_t hash_key[32];
static pthread_once_t hash_once = PTHREAD_ONCE_INIT;

void log_init(const char *service, enum log_level level)
{
    const char *format = getenv("GUICHET_LOG_FORMAT");

    snprintf(state.service, sizeof(state.service), "%s", service);
    if (format != NULL)
        state.is_text = strcmp(format, "text") == 0;
    else
        state.is_text = isatty(STDERR_FILENO) == 1;
    log_set_level(level);
}

bool log_level_parse(const char *text, enum log_level *ret_level)
{
    for (size_t i = 0; i < COUNT_OF(level_names); i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *ret_level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&state.level, (int)level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load_explicit(&state.level, memory_order_relaxed);
}

static struct str_view cut_value(const char *text)
{
    struct str_view value = str_view_of(text);

    value.len = utf8_cut(value, VALUE_MAX_BYTES);
    return value;
}

static void append_json_field(struct buf *line, const struct log_field *field)
{
    buf_append_char(line, ',');
    json_append_string(line, str_view_of(field->name));
    buf_append_char(line, ':');
    if (field->text == NULL)
        buf_printf(line, "%" PRId64, field->number);
    else
        json_append_string(line, cut_value(field->text));
}

/* key=value; quoted when it has blanks, quotes or controls in it, so that a line stays a line. */
static void append_text_field(struct buf *line, const struct log_field *field)
{
    buf_printf(line, " %s=", field->name);
    if (field->text == NULL) {
        buf_printf(line, "%" PRId64, field->number);
        return;
    }
    for (const char *at = field->text; *at != '\0'; at++) {
        if ((unsigned char)*at <= ' ' || *at == '"' || *at == '=' || (unsigned char)*at >= 0x7F) {
            json_append_string(line, cut_value(field->text));
            return;
        }
    }
    buf_append_view(line, field->text[0] == '\0' ? STR_LITERAL("\"\"") : cut_value(field->text));
}

static void append_head(struct buf *line, enum log_level level, const char *event)
{
    char now[TIME_TEXT_BYTES];

    time_format(time_now_us(), now);
    if (state.is_text) {
        buf_printf(line, "%.12s %-5s %s", now + strlen("2026-03-01T"), level_names[level], event);
        return;
    }
    buf_printf(line, "{\"ts\":\"%s\",\"level\":\"%s\",\"service\":", now, level_names[level]);
    json_append_string(line, str_view_of(state.service));
    buf_append_text(line, ",\"event\":");
    json_append_string(line, cut_value(event));
}

static void append_fields(struct buf *line, const struct log_field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t mark = line->len;

        if (state.is_text)
            append_text_field(line, &fields[i]);
        else
            append_json_field(line, &fields[i]);
        if (!line->is_full && line->len <= LINE_MAX_BYTES - LINE_TAIL_BYTES)
            continue;
        line->len = mark;
        line->data[mark] = '\0';
        line->is_full = false;
        buf_append_text(line, state.is_text ? " is_cut=1" : ",\"is_cut\":1");
        return;
    }
}

void log_write(enum log_level level, const char *event, const struct log_field *fields, size_t count)
{
    SCOPED_BUF line;
    int saved = errno;

    buf_init(&line, LINE_MAX_BYTES);
    append_head(&line, level, event);
    append_fields(&line, fields, count);
    buf_append_text(&line, state.is_text ? "\n" : "}\n");
    while (write(STDERR_FILENO, line.data, line.len) < 0 && errno == EINTR)
        ;
    errno = saved;
}

static void make_hash_key(void)
{
    random_bytes(hash_key, sizeof(hash_key));
}

void log_hash(struct str_view text, char ret_text[LOG_HASH_BYTES])
{
    unsigned char digest[EVP_MAX_MD_SIZE] = { 0 };
    unsigned int digest_len = 0;

    pthread_once(&hash_once, make_hash_key);
    HMAC(EVP_sha256(), hash_key, sizeof(hash_key), (const unsigned char *)text.data, text.len, digest,
        &digest_len);
    for (size_t i = 0; i < (LOG_HASH_BYTES - 1) / 2; i++)
        snprintf(ret_text + 2 * i, 3, "%02x", digest[i]);
}
