/* SPDX-License-Identifier: Apache-2.0 */
/* record_test.c - Record: every kind of event, repeats, conflicts, refusals, the culprit in a batch. */
#include "context_testkit.h"

#define STORED GUICHET__V1__RECORD_RESULT__RECORD_RESULT_STORED
#define DUPLICATE GUICHET__V1__RECORD_RESULT__RECORD_RESULT_DUPLICATE
#define REFUSED GUICHET__V1__RECORD_RESULT__RECORD_RESULT_REFUSED

/* ---- what each kind becomes ---- */

typedef void change_fn(struct kit *kit, Guichet__V1__InboundEvent *event);

static void set_body(Guichet__V1__InboundEvent *event, int body_case, void *body)
{
    event->body_case = (Guichet__V1__InboundEvent__BodyCase)body_case;
    event->message = body;
}

#define BODY(kit, event, Type, type, CASE)                                                                   \
    Guichet__V1__##Type *body = context_alloc((kit)->arena, sizeof(*body));                                  \
    guichet__v1__##type##__init(body);                                                                       \
    set_body((event), GUICHET__V1__INBOUND_EVENT__BODY_##CASE, body)

static void as_is(struct kit *kit, Guichet__V1__InboundEvent *event)
{
    (void)kit;
    (void)event;
}

static void to_echo(struct kit *kit, Guichet__V1__InboundEvent *event)
{
    (void)kit;
    event->message->is_echo = true;
}

static void to_edit(struct kit *kit, Guichet__V1__InboundEvent *event)
{
    Guichet__V1__Content *content = event->message->content;
    BODY(kit, event, MessageEdited, message_edited, EDIT);

    body->content = content;
}

static void to_delete(struct kit *kit, Guichet__V1__InboundEvent *event)
{
    BODY(kit, event, MessageDeleted, message_deleted, DELETE);
}

static void to_reaction(struct kit *kit, Guichet__V1__InboundEvent *event)
{
    BODY(kit, event, Reaction, reaction, REACTION);

    body->reaction = arena_strdup(kit->arena, "heart");
}

static void to_receipt(struct kit *kit, Guichet__V1__InboundEvent *event)
{
    BODY(kit, event, Receipt, receipt, RECEIPT);

    body->state = GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_DELIVERED;
    body->provider_code = arena_strdup(kit->arena, "30007");
    event->sender = NULL;
}

static void to_typing(struct kit *kit, Guichet__V1__InboundEvent *event)
{
    BODY(kit, event, Typing, typing, TYPING);

    event->event_key = arena_strdup(kit->arena, "");
}

static void to_claim(struct kit *kit, Guichet__V1__InboundEvent *event)
{
    BODY(kit, event, IdentityClaim, identity_claim, CLAIM);

    body->claimed = context_alloc(kit->arena, sizeof(*body->claimed));
    guichet__v1__address__init(body->claimed);
    body->claimed->kind = GUICHET__V1__IDENTITY_KIND__IDENTITY_KIND_EMAIL;
    body->claimed->value = arena_strdup(kit->arena, "ann@example.org");
    body->is_verified = true;
}

static void to_consent(struct kit *kit, Guichet__V1__InboundEvent *event)
{
    BODY(kit, event, ConsentChange, consent_change, CONSENT);

    body->state = GUICHET__V1__CONSENT_STATE__CONSENT_STATE_WITHDRAWN;
    body->evidence = arena_strdup(kit->arena, "STOP");
}

static void to_unsupported(struct kit *kit, Guichet__V1__InboundEvent *event)
{
    BODY(kit, event, Unsupported, unsupported, UNSUPPORTED);

    body->provider_type = arena_strdup(kit->arena, "poll");
}

static const struct {
    const char *label;
    change_fn *change;
    int change_kind, message_kind, direction;
    const char *text;
} kinds[] = {
    { "message", as_is, 1, 1, 1, "hello" },
    { "echo of our own from elsewhere", to_echo, 1, 1, 2, "hello" },
    { "edit", to_edit, 1, 2, 1, "hello" },
    { "delete", to_delete, 1, 3, 1, "[deleted]" },
    { "reaction", to_reaction, 1, 4, 1, "heart" },
    { "claim", to_claim, 1, 5, 1, "[identity]" },
    { "unsupported", to_unsupported, 1, 7, 1, "[unsupported: poll]" },
    { "consent", to_consent, 8, 0, 0, "" },
    { "receipt", to_receipt, 4, 0, 0, "" },
    { "typing", to_typing, 5, 0, 0, "" },
};

static void test_every_kind(void **state)
{
    struct kit *kit = *state;

    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        const char *tenant = arena_printf(kit->arena, "kind-%zu", i);
        Guichet__V1__InboundEvent *events[] = { kit_event(kit, tenant, "first", "+33600000001", "before"),
                                                kit_event(kit, tenant, "second", "+33600000001", "hello") };
        const Guichet__V1__RecordReply *reply;
        const Guichet__V1__Change *change;

        kinds[i].change(kit, events[1]);
        reply = kit_record(kit, tenant, events, 2);
        CHECK_CASE(kinds[i].label, reply->results[1]->result == STORED);
        CHECK_CASE(kinds[i].label, reply->change_sequence == 2);
        change = kit_changes(kit, tenant, 1)->changes[0];
        CHECK_CASE(kinds[i].label, (int)change->kind == kinds[i].change_kind);
        CHECK_CASE(kinds[i].label, (int)change->message_kind == kinds[i].message_kind);
        CHECK_CASE(kinds[i].label, (int)change->direction == kinds[i].direction);
        CHECK_CASE_TEXT(kinds[i].label, change->text, kinds[i].text);
        CHECK_CASE(kinds[i].label, (change->message_sequence == 2) == (kinds[i].change_kind == 1));
        CHECK_CASE(kinds[i].label, (reply->results[1]->message_id[0] != '\0') == (kinds[i].change_kind == 1));
    }
}

static void test_typing_of_nobody_is_nobodys_to_see(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__InboundEvent *event = kit_event(kit, "typing", "", "+33600000009", "");

    to_typing(kit, event);
    assert_int_equal(kit_record(kit, "typing", &event, 1)->change_sequence, 0);
    assert_string_equal(kit_sql(kit, "SELECT count(*) FROM context.identity WHERE tenant = 'typing'"), "0");
}

static void test_receipt_carries_what_it_says(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__InboundEvent *event = kit_event(kit, "receipt", "SM1:delivered", "+33600000001", "");
    const Guichet__V1__Change *change;

    to_receipt(kit, event);
    event->receipt->delivery_id = arena_strdup(kit->arena, "our-delivery");
    event->receipt->watermark_at = pbtime_new(kit->arena, INT64_C(1772366400000001));
    assert_int_equal(kit_record(kit, "receipt", &event, 1)->results[0]->result, STORED);
    assert_int_equal(kit_record(kit, "receipt", &event, 1)->results[0]->result, DUPLICATE);
    change = kit_changes(kit, "receipt", 0)->changes[0];
    assert_int_equal(change->receipt->state, GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_DELIVERED);
    assert_string_equal(change->receipt->delivery_id, "our-delivery");
    assert_string_equal(change->receipt->provider_code, "30007");
    assert_true(pbtime_us(change->receipt->watermark_at) == INT64_C(1772366400000001));
    assert_string_equal(change->provider_id, "SM1:delivered");
    assert_int_equal(kit_changes(kit, "receipt", 0)->n_changes, 1);
}

/* ---- repeats and conflicts ---- */

static void test_a_repeat_has_the_ids_it_had(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__InboundEvent *event = kit_event(kit, "repeat", "SM1", "+33600000001", "hello");
    const Guichet__V1__Recorded *first = kit_record(kit, "repeat", &event, 1)->results[0], *second;
    static uint8_t raw[] = "raw payload";

    /* received again by another connector: the same event all the same */
    event->received_at = pbtime_new(kit->arena, INT64_C(1772366499000000));
    event->boot_id = arena_strdup(kit->arena, "boot-2");
    event->boot_n = 7;
    event->raw = (ProtobufCBinaryData){ sizeof(raw), raw };
    second = kit_record(kit, "repeat", &event, 1)->results[0];
    assert_int_equal(first->result, STORED);
    assert_int_equal(second->result, DUPLICATE);
    assert_string_equal(second->message_id, first->message_id);
    assert_string_equal(second->thread_id, first->thread_id);
    assert_string_equal(second->conversation_id, first->conversation_id);
    assert_int_equal(second->sequence, 1);
    assert_int_equal(kit_changes(kit, "repeat", 0)->last_sequence, 1);
}

static void test_repeats_inside_a_batch(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__InboundEvent *events[] = {
        kit_event(kit, "inside", "SM1", "+33600000001", "one"),
        kit_event(kit, "inside", "SM2", "+33600000001", "two"),
        kit_event(kit, "inside", "SM1", "+33600000001", "one"),
        kit_event(kit, "inside", "SM1", "+33600000001", "ONE"),
        kit_event(kit, "inside", "SM3", "+33600000001", "three"),
    };
    static const int results[] = { STORED, STORED, DUPLICATE, REFUSED, STORED };
    static const uint32_t sequences[] = { 1, 2, 1, 0, 3 };
    const Guichet__V1__RecordReply *reply = kit_record(kit, "inside", events, COUNT_OF(events));

    for (size_t i = 0; i < COUNT_OF(events); i++) {
        assert_int_equal(reply->results[i]->result, results[i]);
        assert_int_equal(reply->results[i]->sequence, sequences[i]);
        assert_string_equal(reply->results[i]->event_key, events[i]->event_key);
    }
    assert_string_equal(reply->results[2]->message_id, reply->results[0]->message_id);
    assert_string_equal(kit_sql(kit, "SELECT count(*) FROM context.message WHERE tenant = 'inside'"), "3");
}

static void test_another_content_under_a_known_key_is_refused_and_kept(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__InboundEvent *event = kit_event(kit, "conflict", "SM1", "+33600000001", "one");
    const Guichet__V1__Change *change;

    kit_record(kit, "conflict", &event, 1);
    event = kit_event(kit, "conflict", "SM1", "+33600000001", "other");
    for (int i = 0; i < 2; i++) /* a repeat of a refused event is refused again, and kept once */
        assert_int_equal(kit_record(kit, "conflict", &event, 1)->results[0]->result, REFUSED);
    assert_string_equal(
        kit_sql(kit, "SELECT string_agg(event_key || ' ' || reason, ';') FROM context.refused_event"
                     " WHERE tenant = 'conflict'"),
        "SM1 event_key: is known with another content");
    assert_int_equal(kit_changes(kit, "conflict", 1)->n_changes, 1);
    change = kit_changes(kit, "conflict", 1)->changes[0];
    assert_int_equal(change->kind, GUICHET__V1__CHANGE_KIND__CHANGE_KIND_REFUSED);
    assert_string_equal(change->account_id, "sms-demo");
}

/* ---- refusals ---- */

static void no_body(struct kit *kit, Guichet__V1__InboundEvent *event)
{
    (void)kit;
    event->body_case = GUICHET__V1__INBOUND_EVENT__BODY__NOT_SET;
    event->message = NULL;
}

static void other_tenant(struct kit *kit, Guichet__V1__InboundEvent *event)
{
    event->tenant = arena_strdup(kit->arena, "somebody-else");
}

static void no_account(struct kit *kit, Guichet__V1__InboundEvent *event)
{
    event->account_id = arena_strdup(kit->arena, "");
}

static void no_key(struct kit *kit, Guichet__V1__InboundEvent *event)
{
    event->event_key = arena_strdup(kit->arena, "");
}

static void long_key(struct kit *kit, Guichet__V1__InboundEvent *event)
{
    event->event_key = arena_printf(kit->arena, "%0513d", 1);
}

static void no_sender(struct kit *kit, Guichet__V1__InboundEvent *event)
{
    (void)kit;
    event->sender = NULL;
}

static void large_raw(struct kit *kit, Guichet__V1__InboundEvent *event)
{
    kit->config.raw_max_bytes = 4096; /* the default is the mesh's own limit */
    event->raw.len = kit->config.raw_max_bytes + 1;
    event->raw.data = context_alloc(kit->arena, event->raw.len);
}

/* Not checked by the service: the database finds it. */
static void kind_out_of_range(struct kit *kit, Guichet__V1__InboundEvent *event)
{
    (void)kit;
    event->sender->kind = (Guichet__V1__IdentityKind)70000;
}

static void consent_of_nothing(struct kit *kit, Guichet__V1__InboundEvent *event)
{
    to_consent(kit, event);
    event->consent->state = GUICHET__V1__CONSENT_STATE__CONSENT_STATE_UNSPECIFIED;
}

static const struct {
    const char *label;
    change_fn *change;
    const char *reason; /* its beginning */
} refusals[] = {
    { "no body", no_body, "body: is not set" },
    { "another tenant's", other_tenant, "tenant: 'somebody-else'" },
    { "no account", no_account, "account_id: is empty" },
    { "no key", no_key, "event_key: is empty" },
    { "key too long", long_key, "event_key: has 513 bytes" },
    { "no sender", no_sender, "sender: says nobody" },
    { "raw too large", large_raw, "raw: has " },
    { "consent that says nothing", consent_of_nothing, "consent.state: 0" },
    { "kind the database refuses", kind_out_of_range, "" },
};

static void test_only_the_culprit_is_refused(void **state)
{
    struct kit *kit = *state;
    enum { COUNT = 13, CULPRIT = 7 };

    for (size_t c = 0; c < COUNT_OF(refusals); c++) {
        const char *label = refusals[c].label, *tenant = arena_printf(kit->arena, "refusal-%zu", c);
        Guichet__V1__InboundEvent *events[COUNT];
        const Guichet__V1__RecordReply *reply;
        uint32_t sequence = 0;

        for (size_t i = 0; i < COUNT; i++)
            events[i] = kit_event(kit, tenant, arena_printf(kit->arena, "SM%zu", i), "+33600000001", "hello");
        refusals[c].change(kit, events[CULPRIT]);
        reply = kit_record(kit, tenant, events, COUNT);
        for (size_t i = 0; i < COUNT; i++) {
            CHECK_CASE(label, reply->results[i]->result == (i == CULPRIT ? REFUSED : STORED));
            if (i != CULPRIT)
                CHECK_CASE(label, reply->results[i]->sequence == ++sequence);
        }
        CHECK_CASE(label, strncmp(reply->results[CULPRIT]->reason, refusals[c].reason,
                                  strlen(refusals[c].reason)) == 0);
        CHECK_CASE_TEXT(
            label, kit_sql(kit, "SELECT count(*) FROM context.refused_event WHERE tenant = '%s'", tenant),
            "1");
        CHECK_CASE(label, reply->change_sequence == COUNT);
        CHECK_CASE(label, (int)kit_changes(kit, tenant, COUNT - 1)->changes[0]->kind ==
                              GUICHET__V1__CHANGE_KIND__CHANGE_KIND_REFUSED);
    }
}

static void test_requests_that_cannot_be_right(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__InboundEvent *event = kit_event(kit, "request", "SM1", "+33600000001", "hello");
    Guichet__V1__RecordRequest request = kit_record_request("request", &event, 1);
    struct err err;

    request.n_channels = 0;
    assert_null(KIT_CALL(kit, kit->centre[0], record, RecordReply, &request, &err));
    assert_int_equal(err.kind, ERR_INVALID);
    request = kit_record_request("", &event, 1);
    assert_null(KIT_CALL(kit, kit->centre[0], record, RecordReply, &request, &err));
    assert_int_equal(err.kind, ERR_INVALID);
    request = kit_record_request("request", &event, 1);
    assert_null(KIT_CALL(kit, kit->gateway, record, RecordReply, &request, &err));
    assert_int_equal(err.kind, ERR_FORBIDDEN);
    request = kit_record_request("request", NULL, 0);
    assert_non_null(KIT_CALL(kit, kit->centre[0], record, RecordReply, &request, &err));
}

static void test_the_raw_payload_is_kept(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__InboundEvent *event = kit_event(kit, "raw", "SM1", "+33600000001", "hello");
    static uint8_t raw[] = { 'a', 0, 0xff };

    event->raw = (ProtobufCBinaryData){ sizeof(raw), raw };
    event->raw_type = arena_strdup(kit->arena, "text/plain");
    kit_record(kit, "raw", &event, 1);
    assert_string_equal(kit_sql(kit, "SELECT encode(r.raw, 'hex') || ' ' || r.raw_type"
                                     " FROM context.message_raw r JOIN context.message m USING (tenant, id)"
                                     " WHERE tenant = 'raw'"),
                        "6100ff text/plain");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind),
        cmocka_unit_test(test_typing_of_nobody_is_nobodys_to_see),
        cmocka_unit_test(test_receipt_carries_what_it_says),
        cmocka_unit_test(test_a_repeat_has_the_ids_it_had),
        cmocka_unit_test(test_repeats_inside_a_batch),
        cmocka_unit_test(test_another_content_under_a_known_key_is_refused_and_kept),
        cmocka_unit_test(test_only_the_culprit_is_refused),
        cmocka_unit_test(test_requests_that_cannot_be_right),
        cmocka_unit_test(test_the_raw_payload_is_kept),
    };

    return cmocka_run_group_tests(tests, kit_set_up, kit_tear_down);
}
