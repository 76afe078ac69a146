/* SPDX-License-Identifier: Apache-2.0 */
/* audit_test.c - nothing missing, whatever came twice or late; and each hole named, exactly. */
#include "context_testkit_intake.h"

#include "core/duration.h"

/* Numbers from..to of a lane, in one batch; each a message of its own. */
static const Guichet__V1__RecordReply *record_range(struct kit *kit, const char *tenant, const char *boot,
                                                    uint32_t lane, uint64_t from, uint64_t to)
{
    size_t count = (size_t)(to - from + 1);
    Guichet__V1__InboundEvent **events = context_alloc(kit->arena, count * sizeof(*events));

    for (size_t i = 0; i < count; i++) {
        events[i] = kit_numbered(kit, tenant, boot, lane, from + i);
        events[i]->event_key =
            arena_printf(kit->arena, "SM-%u-%llu", lane, (unsigned long long)(from + i));
    }
    return kit_record(kit, tenant, events, count);
}

static void test_nothing_came_and_nothing_is_missing(void **state)
{
    assert_string_equal(kit_audit(*state, "nothing"), "");
}

static void test_what_came_twice_or_not_at_all_is_not_missing(void **state)
{
    struct kit *kit = *state;
    const char *boot = kit_boot(kit);
    Guichet__V1__RecordRequest request = kit_record_request("complete", NULL, 0);
    Guichet__V1__NumberRange range = GUICHET__V1__NUMBER_RANGE__INIT, *ranges = &range;
    Guichet__V1__InboundEvent *events[2];

    record_range(kit, "complete", boot, 1, 1, 10);
    record_range(kit, "complete", boot, 1, 8, 12); /* asked again: 8 to 10 are known by then */
    range.boot_id = (char *)boot;
    range.boot_lane = 1;
    range.first = 12; /* told as void, but it had been recorded */
    range.last = 20;
    request.voided = &ranges;
    request.n_voided = 1;
    kit_record_all(kit, &request);
    events[0] = kit_numbered(kit, "complete", boot, 1, 21); /* the same message under another number */
    events[0]->event_key = arena_strdup(kit->arena, "SM-1-1");
    events[1] = kit_numbered(kit, "complete", boot, 1, 22);
    events[1]->sender = NULL;
    /* same content as number 1 but for the key of the provider */
    events[0]->provider_id = arena_strdup(kit->arena, "SM1");
    kit_record(kit, "complete", events, 2);
    assert_string_equal(kit_audit(kit, "complete"), "sms-demo 14=12+1+1+0");
}

/* A first window's end is the second's start: neither of them has a hole there. */
static void test_windows(void **state)
{
    struct kit *kit = *state;
    const char *boot = kit_boot(kit);
    int64_t middle_us;

    record_range(kit, "windows", boot, 1, 1, 5);
    record_range(kit, "windows", boot, 1, 7, 9);
    usleep(2000); /* another millisecond, so that the middle is between the two */
    middle_us = time_now_us();
    usleep(2000);
    record_range(kit, "windows", boot, 1, 10, 12);
    record_range(kit, "windows", boot, 1, 14, 15);
    assert_string_equal(kit_audit_text(kit, kit_audit_between(kit, "windows", 0, middle_us)),
                        "sms-demo 9=8+0+0+1; lane 1: 6-6 never recorded");
    assert_string_equal(kit_audit_text(kit, kit_audit_between(kit, "windows", middle_us, 0)),
                        "sms-demo 6=5+0+0+1; lane 1: 13-13 never recorded");
    record_range(kit, "windows", boot, 1, 6, 6); /* late, from a spool: no hole any more in either */
    assert_string_equal(kit_audit_text(kit, kit_audit_between(kit, "windows", 0, middle_us)),
                        "sms-demo 8=8+0+0+0");
    assert_string_equal(kit_audit_text(kit, kit_audit_between(kit, "windows", middle_us, 0)),
                        "sms-demo 7=6+0+0+1; lane 1: 13-13 never recorded");
}

/* Across the ends of blocks, with blocks of which nothing at all is known. */
static void test_gaps_across_blocks(void **state)
{
    struct kit *kit = *state;
    const char *boot = kit_boot(kit);

    record_range(kit, "blocks", boot, 1, 1, 2);
    record_range(kit, "blocks", boot, 1, 65530, 65540);
    record_range(kit, "blocks", boot, 1, 200000, 200001);
    record_range(kit, "blocks", boot, 2, 3, 3); /* numbers count from 1 in each lane */
    record_range(kit, "blocks", "boot-of-unknown-age", 1, 1000, 1001);
    assert_string_equal(kit_audit(kit, "blocks"),
                        "sms-demo 200006=18+0+0+199988; lane 1: 3-65529 never recorded;"
                        " lane 1: 65541-199999 never recorded; lane 2: 1-2 never recorded");
}

static const struct {
    const char *label, *sql; /* %s: the tenant, twice */
    const char *expected;
} losses[] = {
    { "a message",
      "DELETE FROM context.message WHERE tenant = '%s' AND id = (SELECT id FROM context.event_key"
      " WHERE tenant = '%s' AND event_key = 'SM-1-4')",
      "sms-demo 9=8+0+0+1; lane 1: 4-4 message" },
    { "an event key", "DELETE FROM context.event_key WHERE tenant = '%s' AND tenant = '%s' AND event_key = 'SM-1-4'",
      "sms-demo 9=8+0+0+1; lane 1: 4-4 event_key" },
    { "a raw payload",
      "DELETE FROM context.message_raw WHERE tenant = '%s' AND id = (SELECT id FROM context.event_key"
      " WHERE tenant = '%s' AND event_key = 'SM-1-4')",
      "sms-demo 9=8+0+0+1; lane 1: 4-4 message_raw" },
    { "a manifest in the middle",
      "DELETE FROM context.intake WHERE tenant = '%s' AND tenant = '%s' AND 4 = ANY (numbers)",
      "sms-demo 9=6+0+0+3; lane 1: 4-6 never recorded" },
    { "the first manifest of a boot",
      "DELETE FROM context.intake WHERE tenant = '%s' AND tenant = '%s' AND 1 = ANY (numbers)",
      "sms-demo 9=6+0+0+3; lane 1: 1-3 never recorded" },
};

static void test_each_hole_is_named(void **state)
{
    struct kit *kit = *state;

    for (size_t i = 0; i < COUNT_OF(losses); i++) {
        const char *tenant = arena_printf(kit->arena, "loss-%zu", i), *boot = kit_boot(kit);

        for (uint64_t n = 1; n <= 9; n += 3)
            record_range(kit, tenant, boot, 1, n, n + 2);
        CHECK_CASE_TEXT(losses[i].label, kit_audit(kit, tenant), "sms-demo 9=9+0+0+0");
        kit_sql(kit, losses[i].sql, tenant, tenant);
        CHECK_CASE_TEXT(losses[i].label, kit_audit(kit, tenant), losses[i].expected);
    }
}

static void test_a_hole_says_whose_it_is(void **state)
{
    struct kit *kit = *state;
    const char *boot = kit_boot(kit), *id;
    const Guichet__V1__AuditReply *reply;

    record_range(kit, "whose", boot, 1, 1, 3);
    id = kit_sql(kit, "SELECT id FROM context.event_key WHERE tenant = 'whose' AND event_key = 'SM-1-2'");
    kit_sql(kit, "DELETE FROM context.message WHERE tenant = 'whose' AND id = '%s'", id);
    kit_sql(kit, "DELETE FROM context.event_key WHERE tenant = 'whose' AND id = '%s'", id);
    reply = kit_audit_between(kit, "whose", 0, 0);
    assert_int_equal(reply->missing_count, 1);
    assert_int_equal(reply->n_holes, 1);
    assert_string_equal(reply->holes[0]->what, "event_key, message");
    assert_string_equal(reply->holes[0]->event_id, id);
    assert_string_equal(reply->holes[0]->boot_id, boot);
    assert_string_equal(reply->holes[0]->account_id, "sms-demo");
    assert_true(pbtime_us(reply->holes[0]->at) > 0);
}

/* Receipts, typing marks and consents make no message; a refused one has its own row. */
static void test_what_makes_no_message_is_not_missed(void **state)
{
    struct kit *kit = *state;
    const char *boot = kit_boot(kit);
    Guichet__V1__InboundEvent *events[4];
    Guichet__V1__Typing typing = GUICHET__V1__TYPING__INIT;
    Guichet__V1__Receipt receipt = GUICHET__V1__RECEIPT__INIT;
    Guichet__V1__ConsentChange consent = GUICHET__V1__CONSENT_CHANGE__INIT;

    for (size_t i = 0; i < COUNT_OF(events); i++)
        events[i] = kit_numbered(kit, "kinds", boot, 1, i + 1);
    events[0]->body_case = GUICHET__V1__INBOUND_EVENT__BODY_TYPING;
    events[0]->typing = &typing;
    events[0]->event_key = arena_strdup(kit->arena, "");
    events[1]->body_case = GUICHET__V1__INBOUND_EVENT__BODY_RECEIPT;
    events[1]->receipt = &receipt;
    receipt.state = GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_DELIVERED;
    events[2]->body_case = GUICHET__V1__INBOUND_EVENT__BODY_CONSENT;
    events[2]->consent = &consent;
    consent.state = GUICHET__V1__CONSENT_STATE__CONSENT_STATE_GIVEN;
    events[3]->sender = NULL;
    kit_record(kit, "kinds", events, COUNT_OF(events));
    assert_string_equal(kit_audit(kit, "kinds"), "sms-demo 4=3+0+1+0");
    kit_sql(kit, "DELETE FROM context.refused_event WHERE tenant = 'kinds'");
    assert_string_equal(kit_audit(kit, "kinds"), "sms-demo 4=3+0+0+1; lane 1: 4-4 refused_event");
    kit_sql(kit, "DELETE FROM context.message_raw WHERE tenant = 'kinds'");
    assert_int_equal(kit_audit_between(kit, "kinds", 0, 0)->missing_count, 4);
}

/* A gap has an account only where its neighbours leave no doubt. */
static void test_accounts_are_added_up_apart(void **state)
{
    struct kit *kit = *state;
    const char *boot = kit_boot(kit);
    Guichet__V1__InboundEvent *events[] = { kit_numbered(kit, "accounts", boot, 1, 1),
                                            kit_numbered(kit, "accounts", boot, 1, 3) };

    events[1]->account_id = arena_strdup(kit->arena, "sms-other");
    kit_record(kit, "accounts", events, 2);
    assert_string_equal(kit_audit(kit, "accounts"), " 1=0+0+0+1, sms-demo 1=1+0+0+0, sms-other 1=1+0+0+0;"
                                                    " lane 1: 2-2 never recorded");
    assert_string_equal(kit_audit(kit, "accounts-of-others"), "");
}

static void test_no_more_holes_are_told_than_a_reply_has_room_for(void **state)
{
    struct kit *kit = *state;
    const char *boot = kit_boot(kit);
    Guichet__V1__InboundEvent *events[256];
    const Guichet__V1__AuditReply *reply;

    for (uint64_t n = 0; n < 1280; n++) {
        events[n % 256] = kit_numbered(kit, "many", boot, 1, 2 * n + 1);
        if (n % 256 == 255)
            kit_record(kit, "many", events, 256);
    }
    reply = kit_audit_between(kit, "many", 0, 0);
    assert_int_equal(reply->n_holes, 1000);
    assert_int_equal(reply->missing_count, 1279);
    assert_int_equal(reply->accounts[0]->received_count, 2 * 1280 - 1);
}

static void test_times_that_cannot_be_right(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__AuditRequest request = GUICHET__V1__AUDIT_REQUEST__INIT;
    struct err err = { 0 };

    request.tenant = arena_strdup(kit->arena, "times");
    request.since = pbtime_new(kit->arena, INT64_C(1772366400000000));
    request.until = request.since;
    assert_null(KIT_CALL(kit, kit->centre[0], audit, AuditReply, &request, &err));
    assert_int_equal(err.kind, ERR_INVALID);
    request.until = NULL;
    assert_null(KIT_CALL(kit, kit->gateway, audit, AuditReply, &request, &err));
    assert_int_equal(err.kind, ERR_FORBIDDEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_came_and_nothing_is_missing),
        cmocka_unit_test(test_what_came_twice_or_not_at_all_is_not_missing),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_gaps_across_blocks),
        cmocka_unit_test(test_each_hole_is_named),
        cmocka_unit_test(test_a_hole_says_whose_it_is),
        cmocka_unit_test(test_what_makes_no_message_is_not_missed),
        cmocka_unit_test(test_accounts_are_added_up_apart),
        cmocka_unit_test(test_no_more_holes_are_told_than_a_reply_has_room_for),
        cmocka_unit_test(test_times_that_cannot_be_right),
    };

    return cmocka_run_group_tests(tests, kit_set_up, kit_tear_down);
}
