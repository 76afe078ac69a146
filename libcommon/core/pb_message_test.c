/* SPDX-License-Identifier: Apache-2.0 */
/* pb_message_test.c - what is refused before and while unpacking, and what survives a round. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/check.h"
#include "core/pbjson.h"
#include "guichet/v1/connector.pb-c.h"
#include "guichet/v1/content.pb-c.h"
#include "guichet/v1/event.pb-c.h"
#include "guichet/v1/inbound.pb-c.h"

#define BUDGET (64 * 1024)
#define WIRE(bytes) { bytes, sizeof(bytes) - 1 }

#define CONTENT &guichet__v1__content__descriptor
#define PART &guichet__v1__part__descriptor
#define MEDIA &guichet__v1__media__descriptor
#define EVENT &guichet__v1__event__descriptor
#define SUBMIT &guichet__v1__submit_request__descriptor

static const struct pb_limits tight = { .string_max_bytes = 8, .unknown_fields_max = 2 };

/* Wire forms by hand: tag = field << 3 | type. `error` NULL: it unpacks. */
static const struct {
    const char *label;
    const ProtobufCMessageDescriptor *type;
    struct str_view wire;
    const char *error;
} cases[] = {
    { "empty", CONTENT, WIRE(""), NULL },
    { "a subject", CONTENT, WIRE("\x12\x02hi"), NULL },
    { "subject of 8 bytes", CONTENT, WIRE("\x12\x08" "12345678"), NULL },
    { "subject of 9 bytes", CONTENT, WIRE("\x12\x09" "123456789"), "Content.subject: 9 bytes, over 8" },
    { "NUL in a text", CONTENT, WIRE("\x12\x03" "a\0b"), "Content.subject: not UTF-8, or a NUL in it" },
    { "latin-1 in a text", CONTENT, WIRE("\x12\x04" "caf\xE9"),
      "Content.subject: not UTF-8, or a NUL in it" },
    { "a text twice, the first bad", CONTENT, WIRE("\x12\x01\xFF\x12\x01" "a"),
      "Content.subject: not UTF-8, or a NUL in it" },
    { "NUL in a repeated text", CONTENT, WIRE("\x2A\x01" "a\x2A\x01\0"),
      "Content.references: not UTF-8, or a NUL in it" },
    { "NUL deep inside", CONTENT, WIRE("\x0A\x05\x0A\x03\x0A\x01\0"),
      "Text.text: not UTF-8, or a NUL in it" },
    { "bytes may hold anything", MEDIA, WIRE("\x32\x03\0\xFF\0"), NULL },
    { "bytes of 9", MEDIA, WIRE("\x32\x09" "123456789"), "Media.sha256: 9 bytes, over 8" },
    { "two unknown fields", CONTENT, WIRE("\xF8\x07\x01\xF8\x07\x01"), NULL },
    { "three unknown fields", CONTENT, WIRE("\xF8\x07\x01\xF8\x07\x01\xF8\x07\x01"),
      "Content: more than 2 unknown fields" },
    { "three unknown fields over two levels", CONTENT, WIRE("\xF8\x07\x01\x0A\x06\xF8\x07\x01\xF8\x07\x01"),
      "Part: more than 2 unknown fields" },
    { "cut tag", CONTENT, WIRE("\x80"), "Content: malformed" },
    { "field 0", CONTENT, WIRE("\x02\x00"), "Content: malformed" },
    { "cut length", CONTENT, WIRE("\x12"), "Content: malformed" },
    { "length beyond the end", CONTENT, WIRE("\x12\x05" "ab"), "Content: malformed" },
    { "length near 2^64", CONTENT, WIRE("\x12\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01" "ab"),
      "Content: malformed" },
    { "varint of 11 bytes", CONTENT, WIRE("\x30\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"),
      "Content: malformed" },
    { "cut fixed 64", CONTENT, WIRE("\xF9\x07" "1234567"), "Content: malformed" },
    { "cut fixed 32", CONTENT, WIRE("\xFD\x07" "123"), "Content: malformed" },
    { "group", CONTENT, WIRE("\x13\x14"), "Content: malformed" },
    { "wire type 7", CONTENT, WIRE("\x17\x00"), "Content: malformed" },
    { "text as a number", CONTENT, WIRE("\x10\x01"), "Content.subject: of another type on the wire" },
    { "bool as a text", CONTENT, WIRE("\x32\x01" "a"), "Content.is_automatic: of another type on the wire" },
    { "number as fixed 32", MEDIA, WIRE("\x2D" "1234"), "Media.size_bytes: of another type on the wire" },
    { "a good time", EVENT, WIRE("\x22\x02\x08\x01"), NULL },
    { "a time beyond year 9999", EVENT, WIRE("\x22\x07\x08\x80\x80\x80\x80\x80\x20"),
      "Timestamp: not within the years 1 to 9999" },
    { "negative nanos", EVENT, WIRE("\x22\x0B\x10\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"),
      "Timestamp: not within the years 1 to 9999" },
};

static void test_unpack(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        SCOPED_ARENA arena = arena_new(BUDGET);
        ProtobufCMessage *message = NULL;
        struct err err = { 0 };
        bool ok = pb_unpack(cases[i].wire, cases[i].type, &tight, arena, &message, &err);

        CHECK_CASE_TEXT(cases[i].label, ok ? "" : err.text, cases[i].error == NULL ? "" : cases[i].error);
        CHECK_CASE(cases[i].label, ok == (message != NULL));
        CHECK_CASE(cases[i].label, ok || err.kind == ERR_INVALID);
    }
}

/* Two bytes on the wire, over a hundred in memory: the budget stops it, not the machine. */
static void test_bomb_of_empty_messages(void **state)
{
    SCOPED_ARENA arena = arena_new(1 << 20);
    SCOPED_BUF wire;
    ProtobufCMessage *message = NULL;
    struct err err = { 0 };

    (void)state;
    buf_init(&wire, 1 << 20);
    for (int i = 0; i < 1 << 19; i++)
        buf_append(&wire, "\x0A\x00", 2);
    assert_false(pb_unpack(buf_view(&wire), CONTENT, &pb_limits_default, arena, &message, &err));
    assert_int_equal(err.kind, ERR_INVALID);
    assert_null(message);
    assert_true(arena_used_bytes(arena) <= 1 << 20);
}

/* Whatever the budget, the answer is a message or an error; the sanitizers see the rest. */
static void test_every_budget(void **state)
{
    static const struct str_view wire = WIRE("\x0A\x07\x0A\x05\x0A\x03" "abc\x0A\x04\x12\x02\x32\x00\x12\x01x"
                                             "\x2A\x01y\x2A\x01z\xF8\x07\x01\x0A\x02\x0A\x00");
    bool has_fitted = false;

    (void)state;
    for (size_t budget = 0; budget < 3000; budget += 8) {
        SCOPED_ARENA arena = arena_new(budget);
        ProtobufCMessage *message = NULL;
        struct err err = { 0 };

        has_fitted = pb_unpack(wire, CONTENT, &pb_limits_default, arena, &message, &err);
        assert_true(has_fitted == (message != NULL));
    }
    assert_true(has_fitted);
}

static void test_unknown_fields_survive(void **state)
{
    static const struct str_view wire = WIRE("\x12\x02hi\xFA\x07\x03new");
    SCOPED_ARENA arena = arena_new(BUDGET);
    SCOPED_BUF again;
    ProtobufCMessage *message = NULL, *copy;

    (void)state;
    buf_init(&again, BUDGET);
    assert_true(pb_unpack(wire, CONTENT, &pb_limits_default, arena, &message, NULL));
    copy = pb_dup(message, arena);
    assert_non_null(copy);
    pb_pack(copy, &again);
    assert_true(str_equal(buf_view(&again), wire));
}

static void test_dup_does_not_share(void **state)
{
    SCOPED_ARENA arena = arena_new(BUDGET);
    SCOPED_ARENA full = arena_new(8);
    Guichet__V1__Content content = GUICHET__V1__CONTENT__INIT, *copy;
    char subject[] = "before";

    (void)state;
    content.subject = subject;
    copy = (Guichet__V1__Content *)pb_dup(&content.base, arena);
    subject[0] = 'X';
    assert_string_equal(copy->subject, "before");
    assert_null(pb_dup(&content.base, full));
}

static void test_pack_into_a_full_buffer(void **state)
{
    Guichet__V1__Content content = GUICHET__V1__CONTENT__INIT;
    SCOPED_BUF buf;

    (void)state;
    content.subject = (char *)"0123456789";
    buf_init(&buf, 5);
    pb_pack(&content.base, &buf);
    assert_true(buf.is_full);
    assert_int_equal(buf.len, 0);
}

static void test_check(void **state)
{
    Guichet__V1__Content content = GUICHET__V1__CONTENT__INIT;
    Guichet__V1__Part part = GUICHET__V1__PART__INIT, *parts[] = { &part };
    Guichet__V1__Text text = GUICHET__V1__TEXT__INIT;
    struct err err = { 0 };

    (void)state;
    content.parts = parts;
    content.n_parts = 1;
    part.kind_case = GUICHET__V1__PART__KIND_TEXT;
    part.text = &text;
    assert_true(pb_check(&content.base, &pb_limits_default, &err));
    text.text = (char *)"caf\xE9";
    assert_false(pb_check(&content.base, &pb_limits_default, &err));
    assert_string_equal(err.text, "parts: text: text: not UTF-8");
    text.text = (char *)"0123456789";
    assert_false(pb_check(&content.base, &tight, &err));
    assert_string_equal(err.text, "parts: text: text: 10 bytes, over 8");
    assert_int_equal(err.kind, ERR_INVALID);
    text.text = NULL;                  /* as good as empty */
    assert_true(pb_check(&content.base, &tight, &err));
    part.text = NULL;
    assert_false(pb_check(&content.base, &tight, &err));
    assert_int_equal(err.kind, ERR_INTERNAL);
    parts[0] = NULL;
    assert_false(pb_check(&content.base, &tight, &err));
    content.parts = NULL;
    assert_false(pb_check(&content.base, &tight, &err));
}

static void test_packing_a_broken_message_aborts(void **state)
{
    Guichet__V1__Content content = GUICHET__V1__CONTENT__INIT;
    int status = 0;
    pid_t child;

    (void)state;
    content.n_references = 3;
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        SCOPED_BUF buf;

        signal(SIGABRT, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        buf_init(&buf, BUDGET);
        pb_pack(&content.base, &buf);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* Bytes at random, and a good message with one byte changed: an answer each time, no more. */
static void test_random_bytes_never_crash(void **state)
{
    static const struct str_view seed = WIRE("\x0A\x04" "demo\x12\x1A\x0A\x04" "demo\x12\x01" "a\x1A\x01k"
                                             "\x22\x02\x08\x01\xA2\x01\x07\x0A\x05\x0A\x03\x0A\x01x");

    (void)state;
    srand(20260301);
    for (int round = 0; round < 20000; round++) {
        SCOPED_ARENA arena = arena_new(BUDGET);
        ProtobufCMessage *message = NULL;
        struct err err = { 0 };
        char wire[64];
        size_t len = round % 2 == 0 ? seed.len : (size_t)rand() % sizeof(wire);

        for (size_t i = 0; i < len; i++)
            wire[i] = round % 2 == 0 ? seed.data[i] : (char)rand();
        if (len > 0)
            wire[(size_t)rand() % len] = (char)rand();
        if (pb_unpack((struct str_view){ wire, len }, SUBMIT, &pb_limits_default, arena, &message, &err)) {
            SCOPED_BUF json;

            buf_init(&json, BUDGET);
            assert_true(pb_check(message, &pb_limits_default, &err));
            pbjson_append(&json, message, PBJSON_API);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unpack),
        cmocka_unit_test(test_bomb_of_empty_messages),
        cmocka_unit_test(test_every_budget),
        cmocka_unit_test(test_unknown_fields_survive),
        cmocka_unit_test(test_dup_does_not_share),
        cmocka_unit_test(test_pack_into_a_full_buffer),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_packing_a_broken_message_aborts),
        cmocka_unit_test(test_random_bytes_never_crash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
