/* SPDX-License-Identifier: Apache-2.0 */
/* merge_test.c - two customers are one person, and are not: what is answered, told in the feed, moved, and refused. */
#include "context_testkit.h"

enum { ANN, BOB, CAM, PEOPLE };

static const char *const phones[PEOPLE] = { "+33600000001", "+33600000002", "+33600000003" };

static const Guichet__V1__Recorded *say(struct kit *kit, const char *tenant, int person, const char *text)
{
    static unsigned count;
    Guichet__V1__InboundEvent *event =
        kit_event(kit, tenant, arena_printf(kit->arena, "SM%u", ++count), phones[person], text);

    event->occurred_at = pbtime_new(kit->arena, INT64_C(1772366400000000) + count * INT64_C(1000000));
    return kit_record(kit, tenant, &event, 1)->results[0];
}

static const char *customer_of(struct kit *kit, const char *tenant, int person)
{
    return kit_sql(kit, "SELECT customer_id FROM context.identity WHERE tenant = '%s' AND value = '%s'",
                   tenant, phones[person]);
}

static const Guichet__V1__MergeCustomersReply *merge(struct kit *kit, const char *tenant, const char *one,
                                                     const char *other, const char *key, struct err *err)
{
    Guichet__V1__MergeCustomersRequest request = GUICHET__V1__MERGE_CUSTOMERS_REQUEST__INIT;

    request.tenant = (char *)tenant;
    request.customer_id = (char *)one;
    request.other_customer_id = (char *)other;
    request.actor_id = request.evidence = arena_strdup(kit->arena, "agent");
    request.idempotency_key = (char *)key;
    return KIT_CALL(kit, kit->gateway, merge_customers, MergeCustomersReply, &request, err);
}

static const char *merge_people(struct kit *kit, const char *tenant, int one, int other)
{
    const Guichet__V1__MergeCustomersReply *reply;
    struct err err;

    reply = merge(kit, tenant, customer_of(kit, tenant, one), customer_of(kit, tenant, other),
                  arena_printf(kit->arena, "%d-%d", one, other), &err);
    assert_non_null(reply);
    assert_false(reply->is_duplicate);
    return reply->merge->id;
}

static const Guichet__V1__UnmergeCustomersReply *unmerge(struct kit *kit, const char *tenant, const char *id,
                                                         struct err *err)
{
    Guichet__V1__UnmergeCustomersRequest request = GUICHET__V1__UNMERGE_CUSTOMERS_REQUEST__INIT;

    request.tenant = (char *)tenant;
    request.merge_id = (char *)id;
    request.actor_id = arena_strdup(kit->arena, "agent");
    return KIT_CALL(kit, kit->gateway, unmerge_customers, UnmergeCustomersReply, &request, err);
}

static const Guichet__V1__JoinConversationsReply *join(struct kit *kit, const char *tenant, const char *id,
                                                       const char *other, struct err *err)
{
    Guichet__V1__JoinConversationsRequest request = GUICHET__V1__JOIN_CONVERSATIONS_REQUEST__INIT;

    request.tenant = (char *)tenant;
    request.conversation_id = (char *)id;
    request.other_id = (char *)other;
    request.actor_id = arena_strdup(kit->arena, "agent");
    return KIT_CALL(kit, kit->gateway, join_conversations, JoinConversationsReply, &request, err);
}

static const Guichet__V1__Conversation *get(struct kit *kit, const char *tenant, const char *id,
                                            const char *agent)
{
    Guichet__V1__GetConversationsRequest request = GUICHET__V1__GET_CONVERSATIONS_REQUEST__INIT;
    const Guichet__V1__GetConversationsReply *reply;
    char *ids[] = { (char *)id };
    struct err err;

    request.tenant = (char *)tenant;
    request.ids = ids;
    request.n_ids = 1;
    request.agent_id = (char *)agent;
    request.with_threads = true;
    reply = KIT_CALL(kit, kit->gateway, get_conversations, GetConversationsReply, &request, &err);
    assert_non_null(reply);
    assert_int_equal(reply->n_conversations, 1);
    return reply->conversations[0];
}

static const Guichet__V1__Customer *get_customer(struct kit *kit, const char *tenant, const char *id)
{
    Guichet__V1__GetCustomerRequest request = GUICHET__V1__GET_CUSTOMER_REQUEST__INIT;
    const Guichet__V1__GetCustomerReply *reply;
    struct err err;

    request.tenant = (char *)tenant;
    request.id = (char *)id;
    reply = KIT_CALL(kit, kit->gateway, get_customer, GetCustomerReply, &request, &err);
    assert_non_null(reply);
    return reply->customer;
}

static bool mark_read(struct kit *kit, const char *tenant, const char *conversation, const char *message)
{
    Guichet__V1__MarkReadRequest request = GUICHET__V1__MARK_READ_REQUEST__INIT;
    struct err err;

    request.tenant = (char *)tenant;
    request.conversation_id = (char *)conversation;
    request.message_id = (char *)message;
    request.agent_id = arena_strdup(kit->arena, "agent");
    return KIT_CALL(kit, kit->gateway, mark_read, MarkReadReply, &request, &err) != NULL;
}

static enum err_kind write_note(struct kit *kit, const char *tenant, const char *conversation)
{
    Guichet__V1__StoreOutboundRequest request = GUICHET__V1__STORE_OUTBOUND_REQUEST__INIT;
    struct err err = { 0 };

    request.tenant = (char *)tenant;
    request.conversation_id = (char *)conversation;
    request.actor_id = arena_strdup(kit->arena, "agent");
    request.idempotency_key = arena_printf(kit->arena, "note-%s", conversation);
    request.direction = GUICHET__V1__MESSAGE_DIRECTION__MESSAGE_DIRECTION_NOTE;
    request.content = kit_event(kit, tenant, "", "", "a note")->message->content;
    (void)KIT_CALL(kit, kit->gateway, store_outbound, StoreOutboundReply, &request, &err);
    return err.kind;
}

static enum err_kind reopen(struct kit *kit, const char *tenant, const char *conversation)
{
    Guichet__V1__SetConversationStateRequest request = GUICHET__V1__SET_CONVERSATION_STATE_REQUEST__INIT;
    struct err err = { 0 };

    request.tenant = (char *)tenant;
    request.conversation_id = (char *)conversation;
    request.state = GUICHET__V1__CONVERSATION_STATE__CONVERSATION_STATE_OPEN;
    (void)KIT_CALL(kit, kit->centre[0], set_conversation_state, SetConversationStateReply, &request, &err);
    return err.kind;
}

/* The feed's last change. */
static const Guichet__V1__Change *last_change(struct kit *kit, const char *tenant)
{
    const Guichet__V1__ReadChangesReply *reply = kit_changes(kit, tenant, 0);

    assert_int_not_equal(reply->n_changes, 0);
    return reply->changes[reply->n_changes - 1];
}

/* ---- merging ---- */

static void test_two_become_one_person(void **state)
{
    struct kit *kit = *state;
    const char *ann_conversation = say(kit, "merge", ANN, "I am Ann")->conversation_id;
    const char *bob_conversation = say(kit, "merge", BOB, "I am Bob")->conversation_id;
    const char *ann = customer_of(kit, "merge", ANN), *bob = customer_of(kit, "merge", BOB);
    const Guichet__V1__MergeCustomersReply *reply;
    const Guichet__V1__Change *change;
    struct err err;

    reply = merge(kit, "merge", bob, ann, "key", &err);
    assert_non_null(reply);
    assert_string_equal(reply->customer->id, bob);
    assert_int_equal(reply->customer->n_customer_ids, 2);
    assert_int_equal(reply->n_open_conversation_ids, 2);
    change = last_change(kit, "merge");
    assert_int_equal(change->kind, GUICHET__V1__CHANGE_KIND__CHANGE_KIND_MERGED);
    assert_string_equal(change->customer_id, bob);
    assert_string_equal(change->other_customer_id, ann);
    assert_string_equal(change->reason, "agent");
    assert_int_equal(change->sequence, reply->change_sequence);
    /* two conversations stay two, and know of each other */
    assert_string_equal(get(kit, "merge", ann_conversation, "")->linked_ids[0], bob_conversation);
    assert_string_equal(get(kit, "merge", bob_conversation, "")->linked_ids[0], ann_conversation);
    assert_string_equal(say(kit, "merge", ANN, "still here")->conversation_id, ann_conversation);
    /* once */
    assert_string_equal(merge(kit, "merge", bob, ann, "key", &err)->merge->id, reply->merge->id);
    assert_true(merge(kit, "merge", ann, bob, "another key", &err)->is_duplicate);
    assert_int_equal(last_change(kit, "merge")->kind, GUICHET__V1__CHANGE_KIND__CHANGE_KIND_MESSAGE);
}

static void test_what_is_no_merge(void **state)
{
    struct kit *kit = *state;
    static const char unknown[] = "00000000-0000-7000-8000-000000000000";
    const char *ann, *bob, *cam;
    struct err err;

    say(kit, "refused", ANN, "a");
    say(kit, "refused", BOB, "b");
    say(kit, "refused", CAM, "c");
    ann = customer_of(kit, "refused", ANN);
    bob = customer_of(kit, "refused", BOB);
    cam = customer_of(kit, "refused", CAM);
    assert_non_null(merge(kit, "refused", ann, bob, "key", &err));
    kit->config.person_customers_max = 2;
    struct {
        const char *label, *one, *other, *key;
        enum err_kind expected;
    } cases[] = {
        { "with oneself", ann, ann, "k1", ERR_INVALID },
        { "no id", ann, "bob", "k2", ERR_INVALID },
        { "without a key", ann, cam, "", ERR_INVALID },
        { "nobody", ann, unknown, "k3", ERR_NOT_FOUND },
        { "a key used for others", ann, cam, "key", ERR_CONFLICT },
        { "too many", bob, cam, "k4", ERR_CONFLICT },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        err.kind = ERR_NONE;
        (void)merge(kit, "refused", cases[i].one, cases[i].other, cases[i].key, &err);
        CHECK_CASE_TEXT(cases[i].label, err_kind_name(err.kind), err_kind_name(cases[i].expected));
    }
    kit->config.person_customers_max = 1000;
    assert_null(unmerge(kit, "refused", unknown, &err));
    assert_int_equal(err.kind, ERR_NOT_FOUND);
}

static void test_a_second_evidence_holds(void **state)
{
    struct kit *kit = *state;
    const char *edges[3];
    struct err err;

    say(kit, "evidence", ANN, "a");
    say(kit, "evidence", BOB, "b");
    say(kit, "evidence", CAM, "c");
    edges[0] = merge_people(kit, "evidence", ANN, BOB);
    edges[1] = merge_people(kit, "evidence", BOB, CAM);
    edges[2] = merge_people(kit, "evidence", ANN, CAM);
    assert_true(unmerge(kit, "evidence", edges[0], &err)->is_changed);
    assert_int_equal(get_customer(kit, "evidence", customer_of(kit, "evidence", ANN))->n_customer_ids, 3);
    assert_int_equal(get_customer(kit, "evidence", customer_of(kit, "evidence", ANN))->n_merges, 2);
    assert_true(unmerge(kit, "evidence", edges[2], &err)->is_changed);
    assert_false(unmerge(kit, "evidence", edges[2], &err)->is_changed);
    assert_int_equal(get_customer(kit, "evidence", customer_of(kit, "evidence", ANN))->n_customer_ids, 1);
    assert_int_equal(get_customer(kit, "evidence", customer_of(kit, "evidence", BOB))->n_customer_ids, 2);
}

static void test_anyone_of_the_person_gives_the_person(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__FindCustomersRequest find = GUICHET__V1__FIND_CUSTOMERS_REQUEST__INIT;
    const Guichet__V1__Customer *customer;
    const char *ann, *bob;
    struct err err;

    say(kit, "person", ANN, "a");
    say(kit, "person", BOB, "b");
    ann = customer_of(kit, "person", ANN);
    bob = customer_of(kit, "person", BOB);
    kit_sql(kit, "UPDATE context.customer SET display_name = 'Robert' WHERE id = '%s'", bob);
    kit_sql(
        kit,
        "INSERT INTO context.consent (tenant, identity_id, changed_at, state, account_id)"
        " SELECT tenant, id, now(), 2, 'sms-demo' FROM context.identity WHERE tenant = 'person' AND customer_id = '%s'",
        bob);
    merge_people(kit, "person", ANN, BOB);
    customer = get_customer(kit, "person", ann);
    assert_string_equal(customer->id, ann);
    assert_string_equal(customer->display_name, "Robert");
    assert_int_equal(customer->n_identities, 2);
    assert_int_equal(customer->n_consents, 1);
    kit_sql(kit, "UPDATE context.customer SET display_name = 'Roberta' WHERE id = '%s'", ann);
    find.tenant = arena_strdup(kit->arena, "person");
    find.name_prefix = arena_strdup(kit->arena, "rob");
    assert_int_equal(
        KIT_CALL(kit, kit->gateway, find_customers, FindCustomersReply, &find, &err)->n_customers, 1);
}

/* ---- joining and splitting ---- */

static void test_joined_and_split_again(void **state)
{
    struct kit *kit = *state;
    const char *here = say(kit, "join", ANN, "Ann's first")->conversation_id;
    const Guichet__V1__Recorded *bobs = say(kit, "join", BOB, "Bob's only");
    const char *there = bobs->conversation_id, *edge, *made;
    const Guichet__V1__JoinConversationsReply *joined;
    const Guichet__V1__UnmergeCustomersReply *split;
    const Guichet__V1__Change *change;
    struct err err;

    assert_null(join(kit, "join", here, there, &err)); /* not yet one person */
    assert_int_equal(err.kind, ERR_CONFLICT);
    edge = merge_people(kit, "join", ANN, BOB);
    assert_int_equal(write_note(kit, "join", there), ERR_NONE);
    say(kit, "join", ANN, "Ann's last");
    assert_true(mark_read(kit, "join", there, bobs->message_id));
    joined = join(kit, "join", here, there, &err);
    assert_non_null(joined);
    assert_true(joined->is_changed);
    assert_int_equal(joined->conversation->n_threads, 2);
    assert_string_equal(joined->conversation->last_preview, "Ann's last");
    assert_int_equal(last_change(kit, "join")->kind, GUICHET__V1__CHANGE_KIND__CHANGE_KIND_JOINED);
    assert_string_equal(last_change(kit, "join")->other_conversation_id, there);
    assert_false(join(kit, "join", here, there, &err)->is_changed);
    assert_string_equal(get(kit, "join", there, "")->joined_into_id, here);
    assert_int_equal(get(kit, "join", there, "")->state,
                     GUICHET__V1__CONVERSATION_STATE__CONVERSATION_STATE_CLOSED);
    assert_int_equal(reopen(kit, "join", there), ERR_CONFLICT);
    kit_sql(kit, "DELETE FROM context.outbound_key WHERE tenant = 'join'");
    assert_int_equal(write_note(kit, "join", there), ERR_CONFLICT);
    assert_int_equal(get(kit, "join", here, "agent")->unread_count, 3);
    assert_string_equal(say(kit, "join", BOB, "Bob's second")->conversation_id, here);

    split = unmerge(kit, "join", edge, &err);
    assert_non_null(split);
    assert_int_equal(split->n_splits, 1);
    assert_string_equal(split->splits[0]->conversation_id, here);
    made = split->splits[0]->new_conversation_id;
    assert_int_equal(split->splits[0]->new_conversation_number, 3);
    change = last_change(kit, "join");
    assert_int_equal(change->kind, GUICHET__V1__CHANGE_KIND__CHANGE_KIND_SPLIT);
    assert_int_equal(change->n_thread_ids, 1);
    assert_string_equal(change->thread_ids[0], change->thread_id);
    assert_string_equal(change->conversation_id, made);
    assert_string_equal(change->other_conversation_id, here);
    assert_string_equal(change->customer_id, customer_of(kit, "join", BOB));
    assert_int_equal(change->conversation_number, 3);
    assert_int_equal(change->state, GUICHET__V1__CONVERSATION_STATE__CONVERSATION_STATE_OPEN);
    assert_string_equal(get(kit, "join", made, "")->last_preview, "Bob's second");
    assert_string_equal(get(kit, "join", here, "")->last_preview, "Ann's last");
    assert_int_equal(get(kit, "join", here, "")->n_threads, 1);
    assert_int_equal(get(kit, "join", here, "")->n_linked_ids, 0);
    assert_string_equal(say(kit, "join", BOB, "Bob's third")->conversation_id, made);
    assert_string_equal(say(kit, "join", ANN, "Ann again")->conversation_id, here);
    /* notes have no thread: they stay */
    assert_string_equal(
        kit_sql(kit, "SELECT conversation_id FROM context.message WHERE tenant = 'join' AND direction = 3"),
        here);
}

/* The feed says what was, whoever reads it when. */
static void test_a_late_reader_knows_what_a_split_took(void **state)
{
    struct kit *kit = *state;
    const char *here = say(kit, "late", ANN, "Ann")->conversation_id;
    const Guichet__V1__Recorded *bobs = say(kit, "late", BOB, "Bob");
    const char *edge = merge_people(kit, "late", ANN, BOB), *made;
    uint64_t before;
    const Guichet__V1__Change *change;
    struct err err;

    assert_non_null(join(kit, "late", here, bobs->conversation_id, &err));
    before = last_change(kit, "late")->sequence + 1; /* UNMERGED, then SPLIT */
    made = unmerge(kit, "late", edge, &err)->splits[0]->new_conversation_id;
    assert_non_null(
        merge(kit, "late", customer_of(kit, "late", ANN), customer_of(kit, "late", BOB), "again", &err));
    assert_non_null(join(kit, "late", here, made, &err));
    change = kit_changes(kit, "late", before)->changes[0];
    assert_int_equal(change->kind, GUICHET__V1__CHANGE_KIND__CHANGE_KIND_SPLIT);
    assert_string_equal(change->conversation_id, made);
    assert_int_equal(change->n_thread_ids, 1);
    assert_string_equal(change->thread_ids[0], bobs->thread_id);
}

static void test_too_many_messages_are_not_moved(void **state)
{
    struct kit *kit = *state;
    const char *here = say(kit, "large", ANN, "a")->conversation_id, *there;
    uint32_t messages_max = kit->config.join_messages_max;
    struct err err;

    there = say(kit, "large", BOB, "b")->conversation_id;
    say(kit, "large", BOB, "c");
    merge_people(kit, "large", ANN, BOB);
    kit->config.join_messages_max = 1;
    assert_null(join(kit, "large", here, there, &err));
    assert_int_equal(err.kind, ERR_CONFLICT);
    assert_non_null(strstr(err.text, "more than 1 messages"));
    kit->config.join_messages_max = 2;
    assert_non_null(join(kit, "large", here, there, &err));
    kit->config.join_messages_max = messages_max;
}

static void test_last_message_at_is_that_of_what_is_left(void **state)
{
    struct kit *kit = *state;
    const char *query =
        "SELECT count(*) FROM context.conversation c WHERE tenant = 'left' AND last_message_at IS DISTINCT FROM"
        " (SELECT max(occurred_at) FROM context.message m WHERE m.conversation_id = c.id)";
    const char *edge, *here;
    struct err err;

    say(kit, "left", BOB, "b");
    kit_sql(
        kit,
        "UPDATE context.conversation SET state = 2, closed_at = now() - interval '30 days' WHERE tenant = 'left'");
    here = say(kit, "left", ANN, "a")->conversation_id;
    edge = merge_people(kit, "left", ANN, BOB);
    /* a new thread of the person joins the only open conversation, whoever opened it */
    assert_string_equal(say(kit, "left", BOB, "b again")->conversation_id, here);
    assert_true(mark_read(kit, "left", here,
                          kit_sql(kit, "SELECT (array_agg(id ORDER BY id))[2] FROM context.message"
                                       " WHERE tenant = 'left'")));
    assert_int_equal(unmerge(kit, "left", edge, &err)->n_splits, 1);
    assert_string_equal(kit_sql(kit, "%s", query), "0");
    assert_string_equal(
        kit_sql(kit,
                "SELECT string_agg(context.unread_count('left', c.id, 'agent')::text, ',' ORDER BY c.number)"
                " FROM context.conversation c JOIN context.read_mark r ON r.conversation_id = c.id"
                " WHERE c.tenant = 'left'"),
        "0,1");
}

/* ---- claims ---- */

static void claim(struct kit *kit, const char *tenant, int person, int claimed, bool is_verified)
{
    static unsigned count;
    Guichet__V1__InboundEvent *event =
        kit_event(kit, tenant, arena_printf(kit->arena, "C%u", ++count), phones[person], "");

    event->body_case = GUICHET__V1__INBOUND_EVENT__BODY_CLAIM;
    event->claim = context_alloc(kit->arena, sizeof(*event->claim));
    guichet__v1__identity_claim__init(event->claim);
    event->claim->is_verified = is_verified;
    event->claim->proof = arena_strdup(kit->arena, "code by SMS");
    event->claim->claimed = context_alloc(kit->arena, sizeof(*event->claim->claimed));
    guichet__v1__address__init(event->claim->claimed);
    event->claim->claimed->kind = GUICHET__V1__IDENTITY_KIND__IDENTITY_KIND_PHONE;
    event->claim->claimed->value = arena_strdup(kit->arena, phones[claimed]);
    kit_record(kit, tenant, &event, 1);
}

static void test_only_verified_claims_merge(void **state)
{
    struct kit *kit = *state;
    const Guichet__V1__Customer *customer;
    struct err err;

    say(kit, "claims", ANN, "a");
    say(kit, "claims", BOB, "b");
    claim(kit, "claims", ANN, BOB, false);
    assert_int_equal(get_customer(kit, "claims", customer_of(kit, "claims", ANN))->n_customer_ids, 1);
    claim(kit, "claims", ANN, CAM, true); /* known to nobody: hers, without an edge */
    claim(kit, "claims", ANN, BOB, true);
    customer = get_customer(kit, "claims", customer_of(kit, "claims", ANN));
    assert_int_equal(customer->n_customer_ids, 2);
    assert_int_equal(customer->n_identities, 3);
    assert_int_equal(customer->n_merges, 1);
    assert_string_equal(customer->merges[0]->evidence, "verified claim: code by SMS");
    assert_int_equal(last_change(kit, "claims")->kind, GUICHET__V1__CHANGE_KIND__CHANGE_KIND_MERGED);
    /* what somebody took back is not made again by saying it once more */
    assert_true(unmerge(kit, "claims", customer->merges[0]->id, &err)->is_changed);
    claim(kit, "claims", ANN, BOB, true);
    assert_int_equal(get_customer(kit, "claims", customer_of(kit, "claims", ANN))->n_customer_ids, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_become_one_person),
        cmocka_unit_test(test_what_is_no_merge),
        cmocka_unit_test(test_a_second_evidence_holds),
        cmocka_unit_test(test_anyone_of_the_person_gives_the_person),
        cmocka_unit_test(test_joined_and_split_again),
        cmocka_unit_test(test_a_late_reader_knows_what_a_split_took),
        cmocka_unit_test(test_too_many_messages_are_not_moved),
        cmocka_unit_test(test_last_message_at_is_that_of_what_is_left),
        cmocka_unit_test(test_only_verified_claims_merge),
    };

    return cmocka_run_group_tests(tests, kit_set_up, kit_tear_down);
}
