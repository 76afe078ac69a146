/* SPDX-License-Identifier: Apache-2.0 */
/* log_test.c - lines as they stand on stderr: both forms, levels, cutting, one write each. */
#include "ops/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/check.h"
#include "core/json.h"

#define THREADS 4
#define LINES_EACH 500

/* stderr goes into a file while a test looks at it. */
static struct capture { int file, saved; char *text; } capture;

static void begin(const char *format)
{
    char path[] = "/tmp/guichet-log-XXXXXX";

    capture.file = mkstemp(path);
    assert_true(capture.file >= 0);
    unlink(path);
    fcntl(capture.file, F_SETFL, O_APPEND);
    capture.saved = dup(STDERR_FILENO);
    dup2(capture.file, STDERR_FILENO);
    setenv("GUICHET_LOG_FORMAT", format, 1);
    log_init("routing", LOG_INFO);
}

/* What was written; free() it. */
static char *end(void)
{
    off_t size = lseek(capture.file, 0, SEEK_END);
    char *text = calloc(1, (size_t)size + 1);

    dup2(capture.saved, STDERR_FILENO);
    close(capture.saved);
    assert_non_null(text);
    assert_int_equal(pread(capture.file, text, (size_t)size, 0), size);
    close(capture.file);
    return text;
}

static void test_json_line(void **state)
{
    struct err err = { .kind = ERR_UNAVAILABLE, .text = "refused \"now\"" };
    SCOPED_JSON line = NULL;
    int64_t count = 0;
    char *text;

    (void)state;
    begin("json");
    log_event(LOG_WARN, "submit_refused", LOG_TEXT("account", "sms-demo"), LOG_NUMBER("count", -3),
        LOG_ERR(&err), LOG_TEXT("none", NULL));
    text = end();
    assert_int_equal(text[strlen(text) - 1], '\n');
    assert_null(strchr(text, '\n')[1] == '\0' ? NULL : text);
    assert_true(json_read(str_view_of(text), &line, NULL));
    assert_string_equal(json_str(line, "level"), "warn");
    assert_string_equal(json_str(line, "service"), "routing");
    assert_string_equal(json_str(line, "event"), "submit_refused");
    assert_string_equal(json_str(line, "account"), "sms-demo");
    assert_string_equal(json_str(line, "err"), "refused \"now\"");
    assert_string_equal(json_str(line, "err_kind"), "unavailable");
    assert_string_equal(json_str(line, "none"), "");
    assert_true(json_int(line, "count", &count) && count == -3);
    assert_int_equal(strlen(json_str(line, "ts")), 27);
    free(text);
}

static const struct { const char *label, *value, *shown; } text_values[] = {
    { "plain", "abc", " key=abc\n" },
    { "blank", "a b", " key=\"a b\"\n" },
    { "empty", "", " key=\"\"\n" },
    { "quote", "a\"b", " key=\"a\\\"b\"\n" },
    { "newline", "a\nb", " key=\"a\\nb\"\n" },
    { "equals", "a=b", " key=\"a=b\"\n" },
    { "escape sequence", "\x1B[31m", " key=\"\\u001b[31m\"\n" },
    { "not UTF-8", "\xE9", " key=\"\xEF\xBF\xBD\"\n" },
};

static void test_text_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(text_values); i++) {
        char *text;

        begin("text");
        log_event(LOG_ERROR, "thing_happened", LOG_TEXT("key", text_values[i].value));
        text = end();
        CHECK_CASE(text_values[i].label, strlen(text) > strlen("12:00:00.123 error thing_happened"));
        CHECK_CASE_TEXT(text_values[i].label, text + strlen("12:00:00.123 error thing_happened"),
            text_values[i].shown);
        free(text);
    }
}

static void test_levels(void **state)
{
    enum log_level level = LOG_WARN;
    char *text;

    (void)state;
    begin("text");
    log_event(LOG_DEBUG, "hidden", LOG_NUMBER("n", 1));
    log_set_level(LOG_DEBUG);
    log_event(LOG_DEBUG, "shown", LOG_NUMBER("n", 1));
    log_set_level(LOG_ERROR);
    log_event(LOG_WARN, "hidden", LOG_NUMBER("n", 1));
    text = end();
    assert_null(strstr(text, "hidden"));
    assert_non_null(strstr(text, "shown n=1"));
    free(text);
    assert_true(log_level_parse("debug", &level) && level == LOG_DEBUG);
    assert_true(log_level_parse("error", &level) && level == LOG_ERROR);
    assert_false(log_level_parse("ERROR", &level));
    assert_false(log_level_parse("", &level));
    assert_int_equal(level, LOG_ERROR);
}

/* Ten values of 4 KiB of quotes: cut, and still one readable line. */
static void test_too_long_is_cut(void **state)
{
    static const char *const names[] = { "a", "b", "c", "d", "e", "f", "g", "h", "i", "j" };
    struct log_field fields[COUNT_OF(names)];
    static char value[4097];
    SCOPED_JSON line = NULL;
    int64_t is_cut = 0;
    char *text;

    (void)state;
    memset(value, '"', sizeof(value) - 1);
    for (size_t i = 0; i < COUNT_OF(fields); i++)
        fields[i] = LOG_TEXT("k", value);
    begin("json");
    log_write(LOG_ERROR, "long", fields, 1);
    text = end();
    assert_true(json_read(str_view_of(text), &line, NULL));
    assert_int_equal(strlen(json_str(line, "k")), 2048);
    free(text);
    json_put(&line);
    for (size_t i = 0; i < COUNT_OF(fields); i++)
        fields[i].name = names[i];
    begin("json");
    log_write(LOG_ERROR, "long", fields, COUNT_OF(fields));
    text = end();
    assert_true(strlen(text) <= 16384);
    assert_true(json_read(str_view_of(text), &line, NULL));
    assert_true(json_int(line, "is_cut", &is_cut) && is_cut == 1);
    free(text);
}

static void *write_lines(void *arg)
{
    for (int i = 0; i < LINES_EACH; i++)
        log_event(LOG_INFO, "from_a_thread", LOG_NUMBER("thread", *(int *)arg), LOG_NUMBER("i", i));
    return NULL;
}

static void test_threads_do_not_mix(void **state)
{
    pthread_t threads[THREADS];
    int numbers[THREADS];
    size_t lines = 0;
    struct str_view rest, piece;
    char *text;

    (void)state;
    begin("json");
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    text = end();
    rest = str_view_of(text);
    for (; str_next(&rest, '\n', &piece); lines++) {
        SCOPED_JSON line = NULL;

        assert_true(json_read(piece, &line, NULL));
    }
    assert_int_equal(lines, THREADS * LINES_EACH);
    free(text);
}

static void test_errno_is_kept(void **state)
{
    (void)state;
    begin("json");
    close(STDERR_FILENO);
    errno = EAGAIN;
    log_event(LOG_ERROR, "nowhere", LOG_NUMBER("n", 1));
    assert_int_equal(errno, EAGAIN);
    free(end());
}

static void test_hash(void **state)
{
    char a[LOG_HASH_BYTES], again[LOG_HASH_BYTES], b[LOG_HASH_BYTES];

    (void)state;
    log_hash(STR_LITERAL("+33639980001"), a);
    log_hash(STR_LITERAL("+33639980001"), again);
    log_hash(STR_LITERAL("+33639980002"), b);
    assert_int_equal(strlen(a), 16);
    assert_int_equal(strspn(a, "0123456789abcdef"), 16);
    assert_string_equal(a, again);
    assert_string_not_equal(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_line),
        cmocka_unit_test(test_text_lines),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_too_long_is_cut),
        cmocka_unit_test(test_threads_do_not_mix),
        cmocka_unit_test(test_errno_is_kept),
        cmocka_unit_test(test_hash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
