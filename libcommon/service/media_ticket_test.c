/* SPDX-License-Identifier: Apache-2.0 */
/* media_ticket_test.c - links: what is signed comes back, and nothing else is believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "service/media_ticket.h"

#define NOW_S INT64_C(1772366400)
#define KEY "the key of both, long enough"

static const struct media_ticket_keys keys = { KEY, NULL };

static Guichet__V1__MediaTicket ticket_of(const char *file_name)
{
    static uint8_t sha256[32] = { 1, 2, 3, 0xff };
    Guichet__V1__MediaTicket ticket = GUICHET__V1__MEDIA_TICKET__INIT;

    ticket.tenant = (char *)"demo";
    ticket.sha256 = (ProtobufCBinaryData){ sizeof(sha256), sha256 };
    ticket.expires_at_s = NOW_S + 60;
    ticket.content_type = (char *)"image/png";
    ticket.file_name = (char *)file_name;
    return ticket;
}

static void test_what_is_signed_comes_back(void **state)
{
    Guichet__V1__MediaTicket ticket = ticket_of("a b/\xc3\xa9.png"), *back = NULL;
    SCOPED_ARENA arena = arena_new(65536);
    SCOPED_BUF token = { 0 };
    struct err err = { 0 };

    (void)state;
    buf_init(&token, MEDIA_TICKET_TEXT_MAX_BYTES);
    media_ticket_sign(&keys, &ticket, &token);
    assert_int_equal(token.len,
                     strspn(token.data, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"));
    assert_true(media_ticket_verify(&keys, buf_view(&token), NOW_S * 1000000, arena, &back, &err));
    assert_string_equal(back->tenant, "demo");
    assert_int_equal(back->sha256.len, 32);
    assert_memory_equal(back->sha256.data, ticket.sha256.data, 32);
    assert_string_equal(back->content_type, "image/png");
    assert_string_equal(back->file_name, "a b/\xc3\xa9.png");
}

static const struct {
    const char *label;
    struct media_ticket_keys keys;
    int64_t now_s;
    const char *is; /* "" for the token as it is, else what is done to it */
    bool is_right;
} cases[] = {
    { "as signed", { KEY, NULL }, NOW_S, "", true },
    { "its last second", { KEY, NULL }, NOW_S + 59, "", true },
    { "over", { KEY, NULL }, NOW_S + 60, "", false },
    { "the key before", { "a new one of some length", KEY }, NOW_S, "", true },
    { "another key", { "another one of some length", "" }, NOW_S, "", false },
    { "two other keys", { "another one of some length", "one more" }, NOW_S, "", false },
    { "an empty key", { "", "" }, NOW_S, "", false },
    { "a letter changed", { KEY, NULL }, NOW_S, "changed", false },
    { "cut", { KEY, NULL }, NOW_S, "cut", false },
    { "longer", { KEY, NULL }, NOW_S, "longer", false },
    { "nothing", { KEY, NULL }, NOW_S, "nothing", false },
    { "no base64", { KEY, NULL }, NOW_S, "dots", false },
};

static void spoil(struct buf *token, const char *how)
{
    if (strcmp(how, "changed") == 0)
        token->data[10] = token->data[10] == 'A' ? 'B' : 'A';
    else if (strcmp(how, "cut") == 0)
        token->len -= 4;
    else if (strcmp(how, "longer") == 0)
        buf_append_text(token, "AAAA");
    else if (strcmp(how, "nothing") == 0)
        token->len = 0;
    else if (strcmp(how, "dots") == 0)
        token->data[3] = '.';
}

static void test_what_is_believed(void **state)
{
    Guichet__V1__MediaTicket ticket = ticket_of("x.png");

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        SCOPED_ARENA arena = arena_new(65536);
        SCOPED_BUF token = { 0 };
        Guichet__V1__MediaTicket *back = NULL;
        struct err err = { 0 };
        bool is_right;

        buf_init(&token, MEDIA_TICKET_TEXT_MAX_BYTES);
        media_ticket_sign(&keys, &ticket, &token);
        spoil(&token, cases[i].is);
        is_right = media_ticket_verify(&cases[i].keys, buf_view(&token), cases[i].now_s * 1000000, arena,
                                       &back, &err);
        if (is_right != cases[i].is_right || (!is_right && (err.kind != ERR_FORBIDDEN || back != NULL)))
            fail_msg("%s: %s", cases[i].label, is_right ? "believed" : err.text);
    }
}

static void test_links(void **state)
{
    static const struct {
        const char *label, *base, *file_name, *end;
    } links[] = {
        { "a name", "https://media.example/m", "cat.png", "/cat.png" },
        { "the base ends with a stroke", "https://media.example/m/", "cat.png", "/cat.png" },
        { "encoded", "https://media.example/m", "../a b?.png", "/..%2Fa%20b%3F.png" },
        { "no name", "https://media.example/m", "", "" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(links); i++) {
        Guichet__V1__MediaTicket ticket = ticket_of(links[i].file_name);
        SCOPED_BUF token = { 0 }, link = { 0 }, expected = { 0 };

        buf_init(&token, MEDIA_TICKET_TEXT_MAX_BYTES);
        buf_init(&link, MEDIA_LINK_MAX_BYTES);
        buf_init(&expected, MEDIA_LINK_MAX_BYTES);
        media_ticket_sign(&keys, &ticket, &token);
        buf_printf(&expected, "https://media.example/m/%s%s", buf_text(&token), links[i].end);
        media_link_append(&link, links[i].base, &keys, &ticket);
        if (strcmp(buf_text(&link), buf_text(&expected)) != 0)
            fail_msg("%s: %s", links[i].label, buf_text(&link));
    }
}

/* The longest of everything fits; a name is cut between characters, never inside one. */
static void test_the_longest(void **state)
{
    char name[2001], tenant[65];
    Guichet__V1__MediaTicket ticket, *back = NULL;
    SCOPED_ARENA arena = arena_new(65536);
    SCOPED_BUF link = { 0 }, token = { 0 };
    struct err err = { 0 };

    (void)state;
    for (size_t i = 0; i < 1000; i++)
        memcpy(name + 2 * i, "\xc3\xa9", 2);
    name[2000] = '\0';
    memset(tenant, 't', 64);
    tenant[64] = '\0';
    ticket = ticket_of(name);
    ticket.tenant = tenant;
    ticket.content_type = name;
    buf_init(&link, MEDIA_LINK_MAX_BYTES);
    buf_init(&token, MEDIA_TICKET_TEXT_MAX_BYTES);
    media_link_append(&link, "https://media.example/m", &keys, &ticket);
    media_ticket_sign(&keys, &ticket, &token);
    assert_false(link.is_full);
    assert_false(token.is_full);
    assert_true(media_ticket_verify(&keys, buf_view(&token), NOW_S * 1000000, arena, &back, &err));
    assert_int_equal(strlen(back->file_name), 512);
    assert_int_equal(strlen(back->content_type), 128);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_signed_comes_back),
        cmocka_unit_test(test_what_is_believed),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_the_longest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
