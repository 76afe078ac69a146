/* SPDX-License-Identifier: Apache-2.0 */
/* outbound_test.c - StoreOutbound, OpenThread, SetConversationState, and what the feed says of them. */
#include "context_testkit.h"

static const Guichet__V1__Recorded *begin(struct kit *kit, const char *tenant, const char *from)
{
    Guichet__V1__InboundEvent *event =
        kit_event(kit, tenant, arena_printf(kit->arena, "in-%s", from), from, "hello");

    return kit_record(kit, tenant, &event, 1)->results[0];
}

static Guichet__V1__StoreOutboundRequest
reply_to(struct kit *kit, const char *tenant, const char *conversation_id, const char *key, const char *text)
{
    Guichet__V1__StoreOutboundRequest request = GUICHET__V1__STORE_OUTBOUND_REQUEST__INIT;

    request.tenant = (char *)tenant;
    request.conversation_id = (char *)conversation_id;
    request.content = kit_event(kit, tenant, key, "", text)->message->content;
    request.direction = GUICHET__V1__MESSAGE_DIRECTION__MESSAGE_DIRECTION_OUTBOUND;
    request.actor_id = arena_strdup(kit->arena, "agent-1");
    request.idempotency_key = arena_strdup(kit->arena, key);
    return request;
}

static const Guichet__V1__StoreOutboundReply *
store(struct kit *kit, const Guichet__V1__StoreOutboundRequest *request, struct err *err)
{
    return KIT_CALL(kit, kit->centre[0], store_outbound, StoreOutboundReply, request, err);
}

static const Guichet__V1__SetConversationStateReply *set_state(struct kit *kit, const char *tenant,
                                                               const char *id, int state, uint32_t if_version,
                                                               struct err *err)
{
    Guichet__V1__SetConversationStateRequest request = GUICHET__V1__SET_CONVERSATION_STATE_REQUEST__INIT;

    request.tenant = (char *)tenant;
    request.conversation_id = (char *)id;
    request.state = (Guichet__V1__ConversationState)state;
    request.if_version = if_version;
    request.actor_id = arena_strdup(kit->arena, "agent-1");
    return KIT_CALL(kit, kit->centre[0], set_conversation_state, SetConversationStateReply, &request, err);
}

static void test_a_reply_is_stored_once_and_complete_in_the_feed(void **state)
{
    struct kit *kit = *state;
    const Guichet__V1__Recorded *first = begin(kit, "reply", "+33600000001");
    Guichet__V1__StoreOutboundRequest request =
        reply_to(kit, "reply", first->conversation_id, "key-1", "good day");
    const Guichet__V1__StoreOutboundReply *stored, *again;
    const Guichet__V1__Change *change;
    struct err err;

    stored = store(kit, &request, &err);
    assert_non_null(stored);
    assert_string_equal(stored->message->content->parts[0]->text->text, "good day");
    assert_string_equal(stored->message->author_id, "agent-1");
    assert_string_equal(stored->thread->id, first->thread_id);
    assert_string_equal(stored->thread->identity->address->value, "+33600000001");
    assert_int_equal(stored->message->sequence, 2);
    assert_int_equal(stored->change_sequence, 2);

    again = store(kit, &request, &err);
    assert_true(again->is_duplicate);
    assert_string_equal(again->message->id, stored->message->id);
    assert_int_equal(again->change_sequence, 0);

    change = kit_changes(kit, "reply", 1)->changes[0];
    assert_int_equal(change->kind, GUICHET__V1__CHANGE_KIND__CHANGE_KIND_OUTBOUND);
    assert_string_equal(change->actor_id, "agent-1");
    assert_string_equal(change->text, "good day");
    assert_string_equal(change->outbound->message_id, stored->message->id);
    assert_string_equal(change->outbound->account_id, "sms-demo");
    assert_string_equal(change->outbound->thread_id, first->thread_id);
    assert_string_equal(change->outbound->recipient->value, "+33600000001");
    assert_int_equal(change->outbound->recipient->kind, GUICHET__V1__IDENTITY_KIND__IDENTITY_KIND_PHONE);
    assert_string_equal(change->outbound->content->parts[0]->text->text, "good day");
    assert_int_equal(change->outbound->sequence, 2);
}

static void test_a_note_has_no_thread(void **state)
{
    struct kit *kit = *state;
    const Guichet__V1__Recorded *first = begin(kit, "note", "+33600000001");
    Guichet__V1__StoreOutboundRequest request =
        reply_to(kit, "note", first->conversation_id, "key-1", "he called");
    const Guichet__V1__StoreOutboundReply *stored;
    struct err err;

    assert_null(KIT_CALL(kit, kit->gateway, store_outbound, StoreOutboundReply, &request, &err));
    assert_int_equal(err.kind, ERR_FORBIDDEN);
    request.direction = GUICHET__V1__MESSAGE_DIRECTION__MESSAGE_DIRECTION_NOTE;
    stored = KIT_CALL(kit, kit->gateway, store_outbound, StoreOutboundReply, &request, &err);
    assert_non_null(stored);
    assert_null(stored->thread);
    assert_int_equal(stored->message->sequence, 0);
    assert_string_equal(stored->message->thread_id, "");
    assert_int_equal(kit_changes(kit, "note", 1)->changes[0]->kind,
                     GUICHET__V1__CHANGE_KIND__CHANGE_KIND_NOTE);
    assert_null(kit_changes(kit, "note", 1)->changes[0]->outbound);
}

enum twist {
    NOTHING,
    OTHER_TEXT,
    NO_SUCH,
    NO_ID,
    CLOSED,
    OPTED_OUT,
    NO_KEY,
    NO_PARTS,
    NO_DIRECTION,
    OTHER_THREAD
};

static const struct {
    const char *label;
    enum twist twist;
    enum err_kind kind;
    const char *text; /* in the error */
} refusals[] = {
    { "as it should be", NOTHING, ERR_NONE, "" },
    { "same key, other content", OTHER_TEXT, ERR_CONFLICT, "idempotency key" },
    { "no such conversation", NO_SUCH, ERR_NOT_FOUND, "conversation" },
    { "no id", NO_ID, ERR_INVALID, "conversation_id" },
    { "closed", CLOSED, ERR_CONFLICT, "is closed" },
    { "opted out", OPTED_OUT, ERR_FORBIDDEN, "recipient opted out" },
    { "no idempotency key", NO_KEY, ERR_INVALID, "idempotency_key" },
    { "no content", NO_PARTS, ERR_INVALID, "content" },
    { "inbound", NO_DIRECTION, ERR_INVALID, "direction" },
    { "another conversation's thread", OTHER_THREAD, ERR_NOT_FOUND, "thread" },
};

static void twist(struct kit *kit, enum twist twist, Guichet__V1__StoreOutboundRequest *request)
{
    static Guichet__V1__Content empty = GUICHET__V1__CONTENT__INIT;
    struct err err;

    switch (twist) {
    case OTHER_TEXT:
        assert_non_null(store(kit, request, &err));
        request->content = kit_event(kit, request->tenant, "x", "", "something else")->message->content;
        break;
    case NO_SUCH:
        request->conversation_id = arena_strdup(kit->arena, "01890a5d-ac96-774b-bcce-b302099a8057");
        break;
    case NO_ID:
        request->conversation_id = arena_strdup(kit->arena, "17");
        break;
    case CLOSED:
        assert_non_null(set_state(kit, request->tenant, request->conversation_id, 2, 0, &err));
        break;
    case OPTED_OUT:
        kit_sql(
            kit,
            "INSERT INTO context.consent (tenant, identity_id, changed_at, state, account_id) SELECT tenant, id,"
            " now(), 2, 'sms-demo' FROM context.identity WHERE tenant = '%s'",
            request->tenant);
        break;
    case NO_KEY:
        request->idempotency_key = arena_strdup(kit->arena, "");
        break;
    case NO_PARTS:
        request->content = &empty;
        break;
    case NO_DIRECTION:
        request->direction = GUICHET__V1__MESSAGE_DIRECTION__MESSAGE_DIRECTION_INBOUND;
        break;
    case OTHER_THREAD:
        request->thread_id = begin(kit, request->tenant, "+33600000002")->thread_id;
        break;
    default:
        break;
    }
}

static void test_what_is_not_stored(void **state)
{
    struct kit *kit = *state;

    for (size_t i = 0; i < COUNT_OF(refusals); i++) {
        const char *tenant = arena_printf(kit->arena, "refused-%zu", i);
        Guichet__V1__StoreOutboundRequest request =
            reply_to(kit, tenant, begin(kit, tenant, "+33600000001")->conversation_id, "key-1", "good day");
        const Guichet__V1__StoreOutboundReply *stored;
        struct err err;

        twist(kit, refusals[i].twist, &request);
        stored = store(kit, &request, &err);
        CHECK_CASE(refusals[i].label, err.kind == refusals[i].kind);
        CHECK_CASE(refusals[i].label, (stored != NULL) == (refusals[i].kind == ERR_NONE));
        CHECK_CASE(refusals[i].label, strstr(err.text, refusals[i].text) != NULL);
    }
}

static void test_the_same_key_at_once(void **state)
{
    struct kit *kit = *state;
    const char *conversation_id = begin(kit, "at-once", "+33600000001")->conversation_id;

    for (size_t round = 0; round < 20; round++) {
        const char *key = arena_printf(kit->arena, "key-%zu", round);
        Guichet__V1__StoreOutboundRequest request =
            reply_to(kit, "at-once", conversation_id, key, "good day");
        const Guichet__V1__StoreOutboundReply *replies[KIT_REPLICAS];
        struct answer answers[KIT_REPLICAS] = { 0 };

        for (size_t r = 0; r < KIT_REPLICAS; r++)
            KIT_START(kit, kit->centre[r], store_outbound, StoreOutboundReply, &request, &answers[r]);
        for (size_t r = 0; r < KIT_REPLICAS; r++) {
            KIT_UNTIL(kit, answers[r].is_done);
            replies[r] = answers[r].reply;
            assert_non_null(replies[r]);
        }
        assert_true(replies[0]->is_duplicate != replies[1]->is_duplicate);
        assert_string_equal(replies[0]->message->id, replies[1]->message->id);
    }
    assert_string_equal(
        kit_sql(kit, "SELECT max(last_sequence) FROM context.thread WHERE tenant = 'at-once'"), "21");
}

static void test_states(void **state)
{
    struct kit *kit = *state;
    const char *id = begin(kit, "states", "+33600000001")->conversation_id;
    const Guichet__V1__SetConversationStateReply *reply;
    const Guichet__V1__Change *change;
    struct err err;

    reply = set_state(kit, "states", id, 2, 1, &err);
    assert_true(reply->is_changed);
    assert_int_equal(reply->conversation->version, 2);
    assert_non_null(reply->conversation->closed_at);
    assert_int_equal(reply->conversation->n_threads, 1);
    reply = set_state(kit, "states", id, 2, 0, &err);
    assert_false(reply->is_changed);
    assert_int_equal(reply->change_sequence, 0);
    assert_null(set_state(kit, "states", id, 1, 1, &err));
    assert_int_equal(err.kind, ERR_CONFLICT);
    assert_null(set_state(kit, "states", "01890a5d-ac96-774b-bcce-b302099a8057", 1, 0, &err));
    assert_int_equal(err.kind, ERR_NOT_FOUND);
    reply = set_state(kit, "states", id, 1, 2, &err);
    assert_true(reply->is_changed);
    assert_null(reply->conversation->closed_at);
    assert_int_equal(kit_changes(kit, "states", 1)->n_changes, 2);
    change = kit_changes(kit, "states", 1)->changes[0];
    assert_int_equal(change->kind, GUICHET__V1__CHANGE_KIND__CHANGE_KIND_STATE);
    assert_int_equal(change->state, GUICHET__V1__CONVERSATION_STATE__CONVERSATION_STATE_CLOSED);
    assert_string_equal(change->account_id, "sms-demo");
    assert_true(kit_changes(kit, "states", 2)->changes[0]->is_reopened);
}

static Guichet__V1__OpenThreadRequest open_to(struct kit *kit, const char *tenant, const char *number)
{
    Guichet__V1__OpenThreadRequest request = GUICHET__V1__OPEN_THREAD_REQUEST__INIT;

    request.tenant = (char *)tenant;
    request.account_id = arena_strdup(kit->arena, "sms-demo");
    request.channel = arena_strdup(kit->arena, "sms");
    request.recipient = kit_event(kit, tenant, "x", number, "")->sender;
    request.actor_id = arena_strdup(kit->arena, "agent-1");
    request.subject = arena_strdup(kit->arena, "your order");
    return request;
}

static void test_writing_first(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__OpenThreadRequest request = open_to(kit, "first", "+33600000001");
    const Guichet__V1__OpenThreadReply *opened, *again;
    const Guichet__V1__StoreOutboundReply *stored;
    Guichet__V1__StoreOutboundRequest message;
    struct err err;

    opened = KIT_CALL(kit, kit->centre[0], open_thread, OpenThreadReply, &request, &err);
    assert_non_null(opened);
    assert_true(opened->is_new);
    assert_string_equal(opened->conversation->subject, "your order");
    assert_int_equal(opened->conversation->number, 1);
    assert_true(kit_changes(kit, "first", 0)->changes[0]->is_new_conversation);
    again = KIT_CALL(kit, kit->centre[1], open_thread, OpenThreadReply, &request, &err);
    assert_false(again->is_new);
    assert_string_equal(again->thread->id, opened->thread->id);
    assert_int_equal(again->change_sequence, 0);

    message = reply_to(kit, "first", opened->conversation->id, "key-1", "your order is here");
    stored = store(kit, &message, &err);
    assert_int_equal(stored->message->sequence, 1);
    assert_string_equal(begin(kit, "first", "+33600000001")->conversation_id, opened->conversation->id);

    /* The same key once more, after the conversation was closed: found, and not opened again. */
    assert_non_null(set_state(kit, "first", opened->conversation->id, 2, 0, &err));
    request.idempotency_key = arena_strdup(kit->arena, "key-1");
    again = KIT_CALL(kit, kit->centre[1], open_thread, OpenThreadReply, &request, &err);
    assert_true(again->is_repeat);
    assert_string_equal(again->thread->id, opened->thread->id);
    assert_int_equal(again->conversation->state, GUICHET__V1__CONVERSATION_STATE__CONVERSATION_STATE_CLOSED);
    assert_int_equal(again->change_sequence, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_reply_is_stored_once_and_complete_in_the_feed),
        cmocka_unit_test(test_a_note_has_no_thread),
        cmocka_unit_test(test_what_is_not_stored),
        cmocka_unit_test(test_the_same_key_at_once),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_writing_first),
    };

    return cmocka_run_group_tests(tests, kit_set_up, kit_tear_down);
}
