/* SPDX-License-Identifier: Apache-2.0 */
/* flow_intake_test.c - Submit beyond events: probes, dead events, voided numbers; and the audit with its spools. */
#include "flow_steps.h"

static Guichet__V1__SubmitReply *submit_dead(struct house *house, const char *account_id)
{
    Guichet__V1__SubmitRequest request = GUICHET__V1__SUBMIT_REQUEST__INIT;
    Guichet__V1__DeadEvent dead = GUICHET__V1__DEAD_EVENT__INIT, *deads = &dead;
    Guichet__V1__NumberRange range = GUICHET__V1__NUMBER_RANGE__INIT, *ranges = &range;

    request.tenant = house->tenant;
    request.dead = &deads;
    request.n_dead = 1;
    request.voided = &ranges;
    request.n_voided = 1;
    dead.account_id = (char *)account_id;
    dead.event = (ProtobufCBinaryData){ 7, (uint8_t *)"\xff garbage" };
    return CALL(house, connector, connector, submit, SubmitReply, &request);
}

static Guichet__V1__SubmitReply *probe(struct house *house, const char *tenant)
{
    Guichet__V1__SubmitRequest request = GUICHET__V1__SUBMIT_REQUEST__INIT;

    request.tenant = (char *)tenant;
    return CALL(house, connector, connector, submit, SubmitReply, &request);
}

static void test_flow_probe(void **state)
{
    struct house house;

    (void)state;
    open_house(&house, "probe", "");
    assert_null(probe(&house, "probe"));
    assert_int_equal(house.answers[0].err.kind, ERR_FORBIDDEN);
    assert_non_null(announce(&house, "probe", "0123456789abcdef"));
    assert_non_null(probe(&house, "probe"));
    assert_int_equal(probe(&house, "probe")->n_results, 0);
    house.fake.fail_with = ERR_UNAVAILABLE; /* context asks its database */
    assert_null(probe(&house, "probe"));
    assert_int_equal(house.answers[0].err.kind, ERR_UNAVAILABLE);
    close_house(&house);
}

static void test_flow_dead(void **state)
{
    struct house house;

    (void)state;
    open_house(&house, "dead", "");
    assert_non_null(announce(&house, "dead", "0123456789abcdef"));
    assert_null(submit_dead(&house, "sms-of-others"));
    assert_int_equal(house.answers[0].err.kind, ERR_FORBIDDEN);
    assert_int_equal(house.fake.dead_count, 0);
    assert_int_equal(submit_dead(&house, "sms-dead")->n_results, 1);
    assert_int_equal(house.fake.dead_count, 1);
    assert_int_equal(house.fake.voided_count, 1);
    close_house(&house);
}

/* An event that ends context ends it once for each attempt of the connector's, where there is one replica. */
static void test_flow_one_attempt(void **state)
{
    struct house house;

    (void)state;
    open_house(&house, "once", "");
    assert_non_null(announce(&house, "once", "0123456789abcdef"));
    house.fake.fail_with = ERR_UNAVAILABLE;
    assert_null(submit_dead(&house, "sms-once"));
    assert_int_equal(house.answers[0].err.kind, ERR_UNAVAILABLE);
    assert_int_equal(house.fake.dead_count, 1);
    close_house(&house);
}

static Guichet__V1__AuditReply *audit(struct house *house)
{
    Guichet__V1__AuditRequest request = GUICHET__V1__AUDIT_REQUEST__INIT;

    request.tenant = house->tenant;
    return CALL(house, ctl, routing, get_audit, AuditReply, &request);
}

/* The announcement says that three wait in the account's spool. */
static void test_flow_audit(void **state)
{
    struct house house;
    Guichet__V1__AuditReply *reply;

    (void)state;
    open_house(&house, "audit", "");
    assert_non_null(announce(&house, "audit", "0123456789abcdef"));
    snprintf(house.fake.audited_account, sizeof(house.fake.audited_account), "sms-audit");
    reply = audit(&house);
    assert_int_equal(reply->n_accounts, 1);
    assert_int_equal(reply->accounts[0]->received_count, 7);
    assert_int_equal(reply->accounts[0]->spool_count, 3);
    snprintf(house.fake.audited_account, sizeof(house.fake.audited_account), "sms-another");
    reply = audit(&house);
    assert_int_equal(reply->n_accounts, 2);
    assert_int_equal(reply->accounts[0]->spool_count, 0);
    assert_string_equal(reply->accounts[1]->account_id, "sms-audit");
    assert_int_equal(reply->accounts[1]->spool_count, 3);
    assert_int_equal(reply->accounts[1]->received_count, 0);
    close_house(&house);
}

static int set_up(void **state)
{
    (void)state;
    testkit_open(&database, "intake");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    testkit_close(&database);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flow_probe),
        cmocka_unit_test(test_flow_dead),
        cmocka_unit_test(test_flow_one_attempt),
        cmocka_unit_test(test_flow_audit),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
