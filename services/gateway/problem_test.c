/* SPDX-License-Identifier: Apache-2.0 */
/* problem_test.c - problems, words of enums, tags, traces: the small pure parts. */
#include "problem.h"

#include "core/check.h"
#include "core/json.h"
#include "etag.h"
#include "guichet/v1/conversation.pb-c.h"
#include "guichet/v1/identity.pb-c.h"
#include "trace.h"
#include "words.h"

static const struct {
    enum err_kind kind;
    int status;
} kinds[] = {
    { ERR_INVALID, 400 },   { ERR_NOT_FOUND, 404 },   { ERR_CONFLICT, 409 }, { ERR_FORBIDDEN, 403 },
    { ERR_EXHAUSTED, 429 }, { ERR_UNAVAILABLE, 503 }, { ERR_DEADLINE, 504 }, { ERR_INTERNAL, 500 },
    { ERR_CONFIG, 500 },    { ERR_CANCELED, 503 },
};

static void test_kinds(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        CHECK_CASE(err_kind_name(kinds[i].kind),
                   problem_status(problem_of(kinds[i].kind)) == kinds[i].status);
}

static void test_every_problem_is_json(void **state)
{
    (void)state;
    for (int code = 0; code < PROBLEM_COUNT; code++) {
        const struct problem problem = { (enum problem_code)code, "a \"quoted\" detail", "/a~1b", 1500 };
        struct json_object *errors;
        SCOPED_JSON value = NULL;
        struct err err = { 0 };
        int64_t status = 0;
        SCOPED_BUF text;

        buf_init(&text, 4096);
        problem_append(&problem, "4bf92f3577b34da6a3ce929d0e0e4736", &text);
        CHECK_CASE(problem_word(problem.code), json_read(buf_view(&text), &value, &err));
        CHECK_CASE(problem_word(problem.code),
                   json_int(value, "status", &status) && status == problem_status(problem.code));
        CHECK_CASE_TEXT(problem_word(problem.code), json_str(value, "detail"), "a \"quoted\" detail");
        CHECK_CASE_TEXT(problem_word(problem.code), json_str(value, "code"), problem_word(problem.code));
        errors = json_member(value, "errors");
        CHECK_CASE(problem_word(problem.code), errors != NULL);
        CHECK_CASE_TEXT(problem_word(problem.code), json_str(json_object_array_get_idx(errors, 0), "pointer"),
                        "/a~1b");
    }
}

static void test_retry_after(void **state)
{
    (void)state;
    assert_int_equal(problem_retry_after_s(&(struct problem){ .code = PROBLEM_UNAVAILABLE }), 1);
    assert_int_equal(
        problem_retry_after_s(&(struct problem){ .code = PROBLEM_TOO_MANY_REQUESTS, .retry_after_ms = 2001 }),
        3);
    assert_int_equal(
        problem_retry_after_s(&(struct problem){ .code = PROBLEM_NOT_FOUND, .retry_after_ms = 5000 }), 0);
}

static const struct {
    const char *label, *text;
    bool ok;
    int value;
} words[] = {
    { "a word", "away", true, GUICHET__V1__PRESENCE__PRESENCE_AWAY },
    { "the zero one", "offline", true, GUICHET__V1__PRESENCE__PRESENCE_OFFLINE },
    { "capitals", "AWAY", false, 0 },
    { "the whole name", "presence_away", false, 0 },
    { "a prefix", "awa", false, 0 },
    { "longer", "away ", false, 0 },
    { "empty", "", false, 0 },
};

static void test_words(void **state)
{
    int value = 7;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        value = 7;
        CHECK_CASE(words[i].label,
                   words_read(&guichet__v1__presence__descriptor, words[i].text, &value) == words[i].ok);
        CHECK_CASE(words[i].label, value == (words[i].ok ? words[i].value : 7));
    }
    assert_true(words_read(&guichet__v1__identity_kind__descriptor, "customer_number", &value));
    assert_int_equal(value, GUICHET__V1__IDENTITY_KIND__IDENTITY_KIND_CUSTOMER_NUMBER);
    assert_false(words_read(&guichet__v1__identity_kind__descriptor, "unspecified", &value));
}

static const struct {
    const char *label, *if_match;
    bool ok;
    enum etag_match match;
} tags[] = {
    { "absent", NULL, true, ETAG_ABSENT },
    { "any", "*", true, ETAG_ANY },
    { "equal", "\"w3-c4\"", true, ETAG_EQUAL },
    { "other", "\"w3-c5\"", true, ETAG_DIFFERENT },
    { "weak never matches", "W/\"w3-c4\"", true, ETAG_DIFFERENT },
    { "bare", "w3-c4", false, 0 },
    { "two", "\"w3-c4\", \"w3-c5\"", false, 0 },
    { "half", "\"", false, 0 },
    { "empty", "", false, 0 },
};

static void test_tags(void **state)
{
    char tag[ETAG_BYTES];

    (void)state;
    etag_conversation(3, 4, tag);
    for (size_t i = 0; i < COUNT_OF(tags); i++) {
        enum etag_match match = ETAG_ABSENT;
        struct err err = { 0 };

        CHECK_CASE(tags[i].label, etag_match(tags[i].if_match, tag, &match, &err) == tags[i].ok);
        CHECK_CASE(tags[i].label, !tags[i].ok || match == tags[i].match);
    }
    etag_customer(12, tag);
    assert_int_equal(etag_customer_version(tag), 12);
    assert_int_equal(etag_customer_version("\"w3-c4\""), 0);
    assert_int_equal(etag_customer_version("\"v-1\""), 0);
    assert_int_equal(etag_customer_version("\"v99999999999\""), 0);
}

static const struct {
    const char *label, *header;
    bool is_kept;
} traces[] = {
    { "valid", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true },
    { "a later version", "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", true },
    { "absent", NULL, false },
    { "empty", "", false },
    { "capitals", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false },
    { "trace of zeros", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", false },
    { "parent of zeros", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false },
    { "version ff", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false },
    { "too long for its version", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", false },
};

static void test_traces(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(traces); i++) {
        struct trace trace = { 0 };

        trace_begin(&trace, traces[i].header);
        CHECK_CASE(traces[i].label, strlen(trace.id) == 32 && strlen(trace.parent) == 55);
        CHECK_CASE(traces[i].label,
                   (strcmp(trace.id, "4bf92f3577b34da6a3ce929d0e0e4736") == 0) == traces[i].is_kept);
        CHECK_CASE(traces[i].label, strncmp(trace.parent + 3, trace.id, 32) == 0);
        CHECK_CASE(traces[i].label, strstr(trace.parent, "00f067aa0ba902b7") == NULL); /* a span of our own */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),       cmocka_unit_test(test_every_problem_is_json),
        cmocka_unit_test(test_retry_after), cmocka_unit_test(test_words),
        cmocka_unit_test(test_tags),        cmocka_unit_test(test_traces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
