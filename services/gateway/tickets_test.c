/* SPDX-License-Identifier: Apache-2.0 */
/* tickets_test.c - a ticket is good once, for a while, on every replica with the key. */
#include "tickets.h"

#include "core/check.h"

#define NOW_US INT64_C(1700000000000000)
#define LATER_US (NOW_US + 30000000)

struct pair {
    struct tickets *tickets;
    struct buf ticket, token;
};

static int pair_new(void **state)
{
    static struct pair pair;

    pair.tickets = tickets_new("a key of sixteen");
    buf_init(&pair.ticket, 4096);
    buf_init(&pair.token, 4096);
    tickets_append(pair.tickets, "the session's token", LATER_US, &pair.ticket);
    *state = &pair;
    return 0;
}

static int pair_free(void **state)
{
    struct pair *pair = *state;

    tickets_free(&pair->tickets);
    buf_done(&pair->ticket);
    buf_done(&pair->token);
    return 0;
}

static void test_good_once(void **state)
{
    struct pair *pair = *state;
    struct err err = { 0 };

    assert_null(strstr(buf_text(&pair->ticket), "session"));
    assert_true(tickets_use(pair->tickets, buf_text(&pair->ticket), NOW_US, &pair->token, &err));
    assert_string_equal(buf_text(&pair->token), "the session's token");
    assert_false(tickets_use(pair->tickets, buf_text(&pair->ticket), NOW_US, &pair->token, &err));
    assert_int_equal(err.kind, ERR_FORBIDDEN);
    assert_string_equal(err.text, "the ticket was used before");
}

static void test_not_after_its_time(void **state)
{
    struct pair *pair = *state;
    struct err err = { 0 };

    assert_false(tickets_use(pair->tickets, buf_text(&pair->ticket), LATER_US, &pair->token, &err));
    assert_string_equal(err.text, "the ticket has expired");
    assert_int_equal(pair->token.len, 0);
}

static void test_another_replica(void **state)
{
    struct tickets *same = tickets_new("a key of sixteen"), *other = tickets_new("another of these");
    struct pair *pair = *state;
    struct err err = { 0 };

    assert_false(tickets_use(other, buf_text(&pair->ticket), NOW_US, &pair->token, &err));
    assert_true(tickets_use(same, buf_text(&pair->ticket), NOW_US, &pair->token, &err));
    tickets_free(&same);
    tickets_free(&other);
}

/* Each character changed must be noticed, the length cut too. */
static void test_forged(void **state)
{
    struct pair *pair = *state;
    struct err err = { 0 };

    for (size_t i = 0; i + 1 < pair->ticket.len; i++) {
        char kept = pair->ticket.data[i];

        pair->ticket.data[i] = kept == 'A' ? 'B' : 'A';
        assert_false(tickets_use(pair->tickets, buf_text(&pair->ticket), NOW_US, &pair->token, &err));
        pair->ticket.data[i] = kept;
    }
    assert_false(tickets_use(pair->tickets, "", NOW_US, &pair->token, &err));
    assert_false(tickets_use(pair->tickets, "AAAA", NOW_US, &pair->token, &err));
    assert_true(tickets_use(pair->tickets, buf_text(&pair->ticket), NOW_US, &pair->token, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_good_once, pair_new, pair_free),
        cmocka_unit_test_setup_teardown(test_not_after_its_time, pair_new, pair_free),
        cmocka_unit_test_setup_teardown(test_another_replica, pair_new, pair_free),
        cmocka_unit_test_setup_teardown(test_forged, pair_new, pair_free),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
