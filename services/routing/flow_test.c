/* SPDX-License-Identifier: Apache-2.0 */
/* flow_test.c - the service as it runs, with a real PostgreSQL and a context in memory: who may, who gets what. */
#include "flow_steps.h"

static void test_flow_story(void **state)
{
    struct house house;
    Guichet__V1__Agent *alice;
    Guichet__V1__ReplyReply *sent;
    Guichet__V1__PullReply *pulled;
    Guichet__V1__CloseRequest close = GUICHET__V1__CLOSE_REQUEST__INIT;
    Guichet__V1__WorkReply *closed;
    Guichet__V1__Change *change;

    (void)state;
    open_house(&house, "story", "");
    assert_non_null(announce(&house, "story", "0123456789abcdef"));
    alice = make_agent(&house, "alice", GUICHET__V1__ROLE__ROLE_AGENT);
    assert_non_null(submit(&house, "sms-story", 7));
    assert_string_equal(house.fake.channel, "sms");
    UNTIL(&house, strcmp(event_types(&house), "10 4 1 6") == 0);

    start_pull(&house, 1, 8000);
    assert_null(reply_text(&house, alice->id, 7, "much too long for this channel"));
    assert_int_equal(house.answers[0].err.kind, ERR_INVALID);
    sent = reply_text(&house, alice->id, 7, "hello back");
    assert_non_null(sent);
    assert_int_equal(sent->delivery->state, GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_QUEUED);
    pulled = end_pull(&house, 1);
    assert_non_null(pulled);
    assert_int_equal(pulled->n_jobs, 1);
    assert_string_equal(pulled->jobs[0]->id, sent->delivery->id);
    assert_string_equal(pulled->jobs[0]->send->delivery_id, sent->delivery->id);
    assert_true(start_job(&house, pulled->jobs[0])->is_granted);
    assert_int_equal(
        report_job(&house, pulled->jobs[0], GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_ACCEPTED, "SM1")->state,
        GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_SENT);
    assert_int_equal(
        report_job(&house, pulled->jobs[0], GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_ACCEPTED, "SM1")->state,
        GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_SENT);
    change = fake_add(&house.fake, GUICHET__V1__CHANGE_KIND__CHANGE_KIND_RECEIPT, 7);
    change->provider_id = (char *)"SM1";
    change->receipt = arena_alloc(house.arena, sizeof(*change->receipt));
    guichet__v1__receipt__init(change->receipt);
    change->receipt->state = GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_DELIVERED;
    fake_ring(&house.fake);
    UNTIL(&house, strcmp(event_types(&house), "10 4 1 6 2 9 9") == 0);

    close.tenant = house.tenant;
    close.conversation_id = sent->message->conversation_id;
    close.actor_id = alice->id;
    closed = CALL(&house, gateway, routing, close, WorkReply, &close);
    assert_non_null(closed);
    assert_int_equal(closed->item->state, GUICHET__V1__WORK_STATE__WORK_STATE_CLOSED);
    close_house(&house);
}

static void test_flow_who_may(void **state)
{
    struct house house;
    Guichet__V1__Agent *alice, *bob, *carol;
    Guichet__V1__WorkReply *taken;
    Guichet__V1__AssignRequest assign = GUICHET__V1__ASSIGN_REQUEST__INIT;
    Guichet__V1__AnnounceReply *announced;

    (void)state;
    open_house(&house, "may", "");
    assert_null(announce(&house, "may", "another secret"));
    assert_int_equal(house.answers[0].err.kind, ERR_FORBIDDEN);
    assert_null(submit(&house, "sms-may", 1));
    assert_int_equal(house.answers[0].err.kind, ERR_FORBIDDEN);
    announced = announce(&house, "elsewhere", "0123456789abcdef");
    assert_int_equal(announced->n_refused, 1);
    assert_non_null(announce(&house, "may", "0123456789abcdef"));
    assert_null(submit(&house, "sms-other", 1));
    assert_int_equal(house.answers[0].err.kind, ERR_FORBIDDEN);
    house.fake.fail_with = ERR_UNAVAILABLE;
    assert_null(submit(&house, "sms-may", 1));
    assert_int_equal(house.answers[0].err.kind, ERR_UNAVAILABLE);
    house.fake.fail_with = ERR_NONE;

    alice = make_agent(&house, "alice", GUICHET__V1__ROLE__ROLE_AGENT);
    assert_non_null(submit(&house, "sms-may", 1));
    UNTIL(&house, strcmp(event_types(&house), "10 4 1 6") == 0);
    bob = make_agent(&house, "bob", GUICHET__V1__ROLE__ROLE_AGENT);
    carol = make_agent(&house, "carol", GUICHET__V1__ROLE__ROLE_SUPERVISOR);
    assert_null(reply_text(&house, bob->id, 1, "not mine"));
    assert_int_equal(house.answers[0].err.kind, ERR_FORBIDDEN);
    assert_non_null(reply_text(&house, carol->id, 1, "I may"));
    assign.tenant = house.tenant;
    assign.conversation_id = fake_id(&house.fake, FAKE_CONVERSATION, 1);
    assign.agent_id = bob->id;
    assign.actor_id = bob->id;
    assert_null(CALL(&house, gateway, routing, assign, WorkReply, &assign));
    assert_int_equal(house.answers[0].err.kind, ERR_CONFLICT);
    assign.actor_id = carol->id;
    taken = CALL(&house, gateway, routing, assign, WorkReply, &assign);
    assert_non_null(taken);
    assert_string_equal(taken->item->agent_id, bob->id);
    assert_null(reply_text(&house, alice->id, 1, "was mine"));
    close_house(&house);
}

static void test_flow_login(void **state)
{
    static const struct {
        const char *label, *login, *password;
        enum err_kind kind;
    } cases[] = {
        { "unknown login", "nobody", "correct horse", ERR_FORBIDDEN },
        { "wrong password", "alice", "wrong horse", ERR_FORBIDDEN },
        { "right", "alice", "correct horse", ERR_NONE },
        { "wrong 1", "alice", "a", ERR_FORBIDDEN },
        { "wrong 2", "alice", "b", ERR_FORBIDDEN },
        { "wrong 3", "alice", "c", ERR_FORBIDDEN },
        { "locked, though right", "alice", "correct horse", ERR_EXHAUSTED },
    };
    struct house house;
    char *token = NULL;
    Guichet__V1__CheckSessionRequest check = GUICHET__V1__CHECK_SESSION_REQUEST__INIT;
    Guichet__V1__LogoutRequest logout = GUICHET__V1__LOGOUT_REQUEST__INIT;

    (void)state;
    open_house(&house, "login", "login_failures_max: 3\n");
    make_agent(&house, "alice", GUICHET__V1__ROLE__ROLE_AGENT);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Guichet__V1__LoginRequest request = GUICHET__V1__LOGIN_REQUEST__INIT;
        Guichet__V1__LoginReply *reply;

        request.tenant = house.tenant;
        request.login = (char *)cases[i].login;
        request.password = (char *)cases[i].password;
        reply = CALL(&house, gateway, routing, login, LoginReply, &request);
        if (house.answers[0].err.kind != cases[i].kind)
            fail_msg("case '%s': %s", cases[i].label, house.answers[0].err.text);
        if (reply != NULL)
            token = reply->token;
    }
    assert_true(house.answers[0].err.retry_after_ms > 0);
    check.token = token;
    assert_string_equal(
        CALL(&house, gateway, routing, check_session, CheckSessionReply, &check)->agent->login, "alice");
    logout.token = token;
    assert_non_null(CALL(&house, gateway, routing, logout, LogoutReply, &logout));
    assert_null(CALL(&house, gateway, routing, check_session, CheckSessionReply, &check));
    close_house(&house);
}

static void test_flow_start_conversation(void **state)
{
    struct house house;
    Guichet__V1__Agent *alice;
    Guichet__V1__ReplyReply *started;
    Guichet__V1__StartConversationRequest request = GUICHET__V1__START_CONVERSATION_REQUEST__INIT;
    Guichet__V1__Content content = GUICHET__V1__CONTENT__INIT;
    Guichet__V1__Part part = GUICHET__V1__PART__INIT, *parts = &part;
    Guichet__V1__Text text = GUICHET__V1__TEXT__INIT;
    Guichet__V1__Address recipient = GUICHET__V1__ADDRESS__INIT;

    (void)state;
    open_house(&house, "begin", "");
    announce(&house, "begin", "0123456789abcdef");
    make_agent(&house, "bob", GUICHET__V1__ROLE__ROLE_AGENT);
    alice = make_agent(&house, "alice", GUICHET__V1__ROLE__ROLE_AGENT);
    text.text = (char *)"good morning";
    part.kind_case = GUICHET__V1__PART__KIND_TEXT;
    part.text = &text;
    content.parts = &parts;
    content.n_parts = 1;
    recipient.value = (char *)"33";
    request.tenant = house.tenant;
    request.account_id = (char *)"sms-begin";
    request.recipient = &recipient;
    request.content = &content;
    request.actor_id = alice->id;
    request.idempotency_key = (char *)"k";
    started = CALL(&house, gateway, routing, start_conversation, ReplyReply, &request);
    assert_non_null(started);
    assert_string_equal(started->view->work->agent_id, alice->id);
    assert_int_equal(started->view->conversation->number, 33);
    assert_string_equal(event_types(&house), "10 10 4 6 2");
    close_house(&house);
}

static int set_up(void **state)
{
    (void)state;
    testkit_open(&database, "flow");
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
        cmocka_unit_test(test_flow_story),
        cmocka_unit_test(test_flow_who_may),
        cmocka_unit_test(test_flow_login),
        cmocka_unit_test(test_flow_start_conversation),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
