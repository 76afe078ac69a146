/* SPDX-License-Identifier: Apache-2.0 */
/* media_test.c - messages arrive before their media: pending, stored, failed, fetched again; and media that go out. */
#include "context_testkit.h"

#define PENDING GUICHET__V1__MEDIA_STATE__MEDIA_STATE_PENDING
#define MEDIA_STORED GUICHET__V1__MEDIA_STATE__MEDIA_STATE_STORED
#define FAILED GUICHET__V1__MEDIA_STATE__MEDIA_STATE_FAILED

enum { SHA256_BYTES = 32 };

static ProtobufCBinaryData hash_of(struct kit *kit, uint8_t what)
{
    uint8_t *hash = context_alloc(kit->arena, SHA256_BYTES);

    memset(hash, what, SHA256_BYTES);
    return (ProtobufCBinaryData){ SHA256_BYTES, hash };
}

static void make_blob(struct kit *kit, const char *tenant, uint8_t what)
{
    kit_sql(kit,
            "INSERT INTO context.blob (tenant, sha256, size_bytes, store, place, content_type)"
            " VALUES ('%s', decode(repeat('%02x', 32), 'hex'), 1234, 1, '', 'image/png')",
            tenant, what);
}

static Guichet__V1__Part *media_part(struct kit *kit, const char *url)
{
    Guichet__V1__Part *part = context_alloc(kit->arena, sizeof(*part));

    guichet__v1__part__init(part);
    part->kind_case = GUICHET__V1__PART__KIND_MEDIA;
    part->media = context_alloc(kit->arena, sizeof(*part->media));
    guichet__v1__media__init(part->media);
    part->media->provider_url = arena_strdup(kit->arena, url);
    part->media->content_type = arena_strdup(kit->arena, "image/jpeg");
    part->media->file_name = arena_strdup(kit->arena, "cat.jpg");
    part->media->caption = arena_strdup(kit->arena, "my cat");
    return part;
}

/* A text, a picture at the provider, a picture that nobody can fetch, a pending one. */
static const Guichet__V1__Recorded *record_media(struct kit *kit, const char *tenant, const char *key)
{
    Guichet__V1__InboundEvent *event = kit_event(kit, tenant, key, "+33600000001", "look");
    Guichet__V1__Content *content = event->message->content;
    Guichet__V1__Part **parts = context_alloc(kit->arena, 4 * sizeof(*parts));

    parts[0] = content->parts[0];
    parts[1] = media_part(kit, "https://provider/1");
    parts[2] = media_part(kit, "");
    parts[3] = media_part(kit, "");
    parts[3]->media->state = PENDING;
    content->parts = parts;
    content->n_parts = 4;
    return kit_record(kit, tenant, &event, 1)->results[0];
}

static const Guichet__V1__SetMediaReply *set_media(struct kit *kit, const Guichet__V1__Recorded *of,
                                                   const char *tenant, uint32_t part,
                                                   const Guichet__V1__Media *media, struct err *ret_err)
{
    Guichet__V1__SetMediaRequest request = GUICHET__V1__SET_MEDIA_REQUEST__INIT;

    request.tenant = (char *)tenant;
    request.message_id = of->message_id;
    request.part_index = part;
    request.media = (Guichet__V1__Media *)media;
    *ret_err = (struct err){ 0 };
    return KIT_CALL(kit, kit->centre[0], set_media, SetMediaReply, &request, ret_err);
}

static Guichet__V1__Media report(struct kit *kit, Guichet__V1__MediaState state)
{
    Guichet__V1__Media media = GUICHET__V1__MEDIA__INIT;

    media.state = state;
    if (state == MEDIA_STORED) {
        media.sha256 = hash_of(kit, 0xaa);
        media.size_bytes = 1234;
        media.content_type = arena_strdup(kit->arena, "image/png");
    } else if (state == FAILED) {
        media.error = arena_strdup(kit->arena, "gone");
    }
    return media;
}

/* "1:pending(my cat) …" of a message's media parts, as lists show it. */
static const char *shown(struct kit *kit, const Guichet__V1__Message *message)
{
    static const char *const words[] = { "none", "pending", "stored", "failed" };
    const char *text = "";

    for (size_t i = 0; i < message->content->n_parts; i++) {
        const Guichet__V1__Media *media = message->content->parts[i]->media;

        if (message->content->parts[i]->kind_case == GUICHET__V1__PART__KIND_MEDIA)
            text = arena_printf(kit->arena, "%s%zu:%s/%s/%u/%s ", text, i, words[media->state],
                                media->content_type, (unsigned)media->size_bytes, media->error);
    }
    return text;
}

static const char *shown_everywhere(struct kit *kit, const char *tenant, const Guichet__V1__Recorded *of)
{
    Guichet__V1__ListMessagesRequest list = GUICHET__V1__LIST_MESSAGES_REQUEST__INIT;
    Guichet__V1__TimelineRequest timeline = GUICHET__V1__TIMELINE_REQUEST__INIT;
    const Guichet__V1__ListMessagesReply *listed, *timed;
    struct err err = { 0 };

    list.tenant = timeline.tenant = (char *)tenant;
    list.conversation_id = of->conversation_id;
    listed = KIT_CALL(kit, kit->gateway, list_messages, ListMessagesReply, &list, &err);
    assert_non_null(listed);
    timeline.customer_id = listed->messages[0]->customer_id;
    timed = KIT_CALL(kit, kit->gateway, timeline, ListMessagesReply, &timeline, &err);
    assert_non_null(timed);
    assert_string_equal(shown(kit, listed->messages[0]), shown(kit, timed->messages[0]));
    return shown(kit, listed->messages[0]);
}

/* ---- inbound ---- */

static void test_the_feed_asks_for_what_is_pending(void **state)
{
    struct kit *kit = *state;
    const Guichet__V1__Recorded *recorded = record_media(kit, "pending", "SM1");
    const Guichet__V1__Change *change = kit_changes(kit, "pending", 0)->changes[0];

    assert_int_equal(change->n_media, 2);
    assert_int_equal(change->media[0]->part_index, 1);
    assert_int_equal(change->media[0]->media->state, PENDING);
    assert_string_equal(change->media[0]->media->provider_url, "https://provider/1");
    assert_int_equal(change->media[1]->part_index, 3);
    assert_string_equal(change->text, "look");
    assert_string_equal(shown_everywhere(kit, "pending", recorded),
                        "1:pending/image/jpeg/0/ 2:none/image/jpeg/0/ 3:pending/image/jpeg/0/ ");
    assert_int_equal(kit_changes(kit, "pending", 0)->n_changes, 1);
    assert_int_equal(record_media(kit, "pending", "SM1")->result,
                     GUICHET__V1__RECORD_RESULT__RECORD_RESULT_DUPLICATE);
    assert_string_equal(kit_sql(kit, "SELECT count(*) FROM context.media WHERE tenant = 'pending'"), "2");
}

static void test_a_text_costs_nothing(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__InboundEvent *event = kit_event(kit, "text", "SM1", "+33600000001", "hello");

    kit_record(kit, "text", &event, 1);
    assert_string_equal(kit_sql(kit,
                                "SELECT m.media_count || ' ' || (SELECT count(*) FROM context.media a"
                                " WHERE a.tenant = m.tenant) FROM context.message m WHERE m.tenant = 'text'"),
                        "0 0");
    assert_int_equal(kit_changes(kit, "text", 0)->changes[0]->n_media, 0);
}

/* From one state, a report: what becomes of it. */
static const struct {
    const char *label;
    Guichet__V1__MediaState steps[3];
    bool is_changed; /* by the last one */
    const char *shown;
} rules[] = {
    { "fetched", { MEDIA_STORED }, true, "stored/image/png/1234/" },
    { "failed", { FAILED }, true, "failed/image/jpeg/0/gone" },
    { "pending it is already", { PENDING }, false, "pending/image/jpeg/0/" },
    { "fetched, told twice", { MEDIA_STORED, MEDIA_STORED }, false, "stored/image/png/1234/" },
    { "failed, told twice", { FAILED, FAILED }, false, "failed/image/jpeg/0/gone" },
    { "asked for again", { FAILED, PENDING }, true, "pending/image/jpeg/0/" },
    { "fetched after all", { FAILED, PENDING, MEDIA_STORED }, true, "stored/image/png/1234/" },
    { "fetched by a late report", { FAILED, MEDIA_STORED }, true, "stored/image/png/1234/" },
    { "stored is final: it does not fail", { MEDIA_STORED, FAILED }, false, "stored/image/png/1234/" },
    { "stored is final: it is not fetched again",
      { MEDIA_STORED, PENDING },
      false,
      "stored/image/png/1234/" },
};

static void test_rules(void **state)
{
    struct kit *kit = *state;

    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        const char *tenant = arena_printf(kit->arena, "rule-%zu", i);
        const Guichet__V1__Recorded *recorded = record_media(kit, tenant, "SM1");
        const Guichet__V1__SetMediaReply *reply = NULL;
        const char *expected =
            arena_printf(kit->arena, "1:%s 2:none/image/jpeg/0/ 3:pending/image/jpeg/0/ ", rules[i].shown);
        uint64_t sequence = 0;
        struct err err;

        make_blob(kit, tenant, 0xaa);
        for (size_t s = 0; s < 3 && rules[i].steps[s] != 0; s++) {
            Guichet__V1__Media media = report(kit, rules[i].steps[s]);

            sequence = kit_changes(kit, tenant, 0)->last_sequence;
            reply = set_media(kit, recorded, tenant, 1, &media, &err);
            CHECK_CASE(rules[i].label, reply != NULL);
        }
        CHECK_CASE(rules[i].label, (bool)reply->is_changed == rules[i].is_changed);
        CHECK_CASE(rules[i].label, (reply->change_sequence > sequence) == rules[i].is_changed);
        CHECK_CASE_TEXT(rules[i].label, reply->media->file_name, "cat.jpg");
        CHECK_CASE_TEXT(rules[i].label, reply->media->caption, "my cat");
        CHECK_CASE_TEXT(rules[i].label, shown_everywhere(kit, tenant, recorded), expected);
    }
}

static void test_the_feed_tells_what_became_of_it(void **state)
{
    struct kit *kit = *state;
    const Guichet__V1__Recorded *recorded = record_media(kit, "told", "SM1");
    Guichet__V1__Media media = report(kit, MEDIA_STORED);
    const Guichet__V1__Change *change;
    struct err err;

    make_blob(kit, "told", 0xaa);
    assert_non_null(set_media(kit, recorded, "told", 3, &media, &err));
    change = kit_changes(kit, "told", 1)->changes[0];
    assert_int_equal(change->kind, GUICHET__V1__CHANGE_KIND__CHANGE_KIND_MEDIA);
    assert_string_equal(change->message_id, recorded->message_id);
    assert_string_equal(change->conversation_id, recorded->conversation_id);
    assert_string_equal(change->account_id, "sms-demo");
    assert_int_equal(change->conversation_number, 1);
    assert_int_equal(change->n_media, 1);
    assert_int_equal(change->media[0]->part_index, 3);
    assert_int_equal(change->media[0]->media->state, MEDIA_STORED);
    assert_int_equal(change->media[0]->media->sha256.len, SHA256_BYTES);
    assert_int_equal(kit_changes(kit, "told", 0)->changes[0]->n_media, 1); /* the other one still waits */
    assert_string_equal(kit_sql(kit, "SELECT part_index FROM context.blob_ref WHERE tenant = 'told'"), "3");
}

static void test_reports_that_cannot_be_right(void **state)
{
    struct kit *kit = *state;
    const Guichet__V1__Recorded *recorded = record_media(kit, "wrong", "SM1");
    Guichet__V1__Recorded unknown = *recorded;
    Guichet__V1__Media stored = report(kit, MEDIA_STORED), nothing = GUICHET__V1__MEDIA__INIT;
    Guichet__V1__Media failed = report(kit, FAILED), short_hash = stored;
    struct err err;

    unknown.message_id = arena_strdup(kit->arena, "0192aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee");
    short_hash.sha256.len = 31;
    assert_null(set_media(kit, recorded, "wrong", 1, &stored, &err)); /* there is no such blob */
    assert_int_equal(err.kind, ERR_NOT_FOUND);
    assert_null(set_media(kit, recorded, "wrong", 0, &failed, &err)); /* a text */
    assert_int_equal(err.kind, ERR_NOT_FOUND);
    assert_null(set_media(kit, &unknown, "wrong", 1, &failed, &err));
    assert_int_equal(err.kind, ERR_NOT_FOUND);
    assert_null(set_media(kit, recorded, "somebody-else", 1, &failed, &err));
    assert_int_equal(err.kind, ERR_NOT_FOUND);
    assert_null(set_media(kit, recorded, "wrong", 1, &nothing, &err));
    assert_int_equal(err.kind, ERR_INVALID);
    assert_null(set_media(kit, recorded, "wrong", 1, &short_hash, &err));
    assert_int_equal(err.kind, ERR_INVALID);
    assert_null(set_media(kit, recorded, "wrong", 70000, &failed, &err));
    assert_int_equal(err.kind, ERR_INVALID);
    assert_null(set_media(kit, recorded, "wrong", 1, NULL, &err));
    assert_int_equal(err.kind, ERR_INVALID);
    assert_int_equal(kit_changes(kit, "wrong", 0)->n_changes, 1);
}

/* ---- outbound ---- */

static const Guichet__V1__StoreOutboundReply *store(struct kit *kit, const char *tenant,
                                                    const Guichet__V1__Recorded *to, ProtobufCBinaryData hash,
                                                    const char *key, struct err *ret_err)
{
    Guichet__V1__StoreOutboundRequest request = GUICHET__V1__STORE_OUTBOUND_REQUEST__INIT;
    Guichet__V1__Content content = GUICHET__V1__CONTENT__INIT;
    Guichet__V1__Part *part = media_part(kit, "https://of-the-agent");

    part->media->sha256 = hash;
    part->media->link_url = arena_strdup(kit->arena, "https://short-lived");
    part->media->content_type = arena_strdup(kit->arena, "");
    content.parts = &part;
    content.n_parts = 1;
    request.tenant = (char *)tenant;
    request.conversation_id = to->conversation_id;
    request.content = &content;
    request.direction = GUICHET__V1__MESSAGE_DIRECTION__MESSAGE_DIRECTION_OUTBOUND;
    request.actor_id = arena_strdup(kit->arena, "agent-1");
    request.idempotency_key = (char *)key;
    *ret_err = (struct err){ 0 };
    return KIT_CALL(kit, kit->centre[0], store_outbound, StoreOutboundReply, &request, ret_err);
}

/* Mail: the connector had the bytes in hand. One file was collected before its message came. */
static void test_media_that_come_stored(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__InboundEvent *event = kit_event(kit, "mail", "m1", "+33600000001", "see below");
    Guichet__V1__InboundEvent *lost = kit_event(kit, "mail", "m2", "+33600000001", "see below");
    Guichet__V1__InboundEvent *events[] = { event, lost };
    Guichet__V1__ListMessagesRequest list = GUICHET__V1__LIST_MESSAGES_REQUEST__INIT;
    const Guichet__V1__ListMessagesReply *listed;
    const Guichet__V1__RecordReply *reply;
    struct err err = { 0 };

    make_blob(kit, "mail", 0xaa);
    for (size_t i = 0; i < 2; i++) {
        Guichet__V1__Content *content = events[i]->message->content;

        content->parts[0] = media_part(kit, "");
        content->parts[0]->media->state = MEDIA_STORED;
        content->parts[0]->media->sha256 = hash_of(kit, i == 0 ? 0xaa : 0xbb);
    }
    reply = kit_record(kit, "mail", events, 2);
    assert_int_equal(reply->results[0]->result, GUICHET__V1__RECORD_RESULT__RECORD_RESULT_STORED);
    assert_int_equal(reply->results[1]->result, GUICHET__V1__RECORD_RESULT__RECORD_RESULT_STORED);
    assert_string_equal(
        kit_sql(
            kit,
            "SELECT string_agg(state || ' ' ||"
            " coalesce((SELECT string_agg(part_index || encode(sha256, 'hex'), ',') FROM context.blob_ref r"
            " WHERE r.message_id = m.message_id), 'none'), ', ' ORDER BY state)"
            " FROM context.media m WHERE tenant = 'mail'"),
        "2 0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, 3 none");
    assert_int_equal(kit_changes(kit, "mail", 0)->changes[0]->n_media, 0);
    assert_int_equal(kit_changes(kit, "mail", 0)->changes[1]->n_media, 0);
    list.tenant = arena_strdup(kit->arena, "mail");
    list.conversation_id = reply->results[1]->conversation_id;
    listed = KIT_CALL(kit, kit->gateway, list_messages, ListMessagesReply, &list, &err);
    assert_non_null(listed);
    assert_string_equal(shown(kit, listed->messages[0]), "0:failed/image/jpeg/0/the file was not kept ");
    assert_int_equal(listed->messages[0]->content->parts[0]->media->sha256.len, 0);
    assert_string_equal(shown(kit, listed->messages[1]), "0:stored/image/jpeg/0/ ");
}

static void test_media_that_go_out(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__InboundEvent *event = kit_event(kit, "out", "SM1", "+33600000001", "hello");
    const Guichet__V1__Recorded *to = kit_record(kit, "out", &event, 1)->results[0];
    const Guichet__V1__StoreOutboundReply *reply;
    const Guichet__V1__Media *sent;
    const char *id;
    struct err err;

    make_blob(kit, "out", 0xbb);
    reply = store(kit, "out", to, hash_of(kit, 0xbb), "key-1", &err);
    assert_non_null(reply);
    assert_string_equal(shown(kit, reply->message), "0:stored/image/png/1234/ ");
    id = reply->message->id;
    sent = kit_changes(kit, "out", 1)->changes[0]->outbound->content->parts[0]->media;
    assert_int_equal(sent->state, MEDIA_STORED);
    assert_int_equal(sent->size_bytes, 1234);
    assert_string_equal(sent->file_name, "cat.jpg");
    assert_string_equal(sent->link_url, "");
    assert_string_equal(sent->provider_url, "");
    assert_string_equal(kit_sql(kit, "SELECT message_id FROM context.blob_ref WHERE tenant = 'out'"), id);
    reply = store(kit, "out", to, hash_of(kit, 0xbb), "key-1", &err);
    assert_true(reply->is_duplicate);
    assert_string_equal(reply->message->id, id);
    assert_null(store(kit, "out", to, hash_of(kit, 0xcc), "key-2", &err));
    assert_int_equal(err.kind, ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "content.parts[0]"));
    assert_null(store(kit, "out", to, (ProtobufCBinaryData){ 0 }, "key-3", &err));
    assert_int_equal(err.kind, ERR_INVALID);
    assert_int_equal(kit_changes(kit, "out", 0)->n_changes, 2);
}

static void test_blobs_are_a_tenants_own(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__InboundEvent *event = kit_event(kit, "own", "SM1", "+33600000001", "hello");
    const Guichet__V1__Recorded *to = kit_record(kit, "own", &event, 1)->results[0];
    struct err err;

    make_blob(kit, "not-own", 0xdd);
    assert_null(store(kit, "own", to, hash_of(kit, 0xdd), "key-1", &err));
    assert_int_equal(err.kind, ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_feed_asks_for_what_is_pending),
        cmocka_unit_test(test_a_text_costs_nothing),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_the_feed_tells_what_became_of_it),
        cmocka_unit_test(test_reports_that_cannot_be_right),
        cmocka_unit_test(test_media_that_come_stored),
        cmocka_unit_test(test_media_that_go_out),
        cmocka_unit_test(test_blobs_are_a_tenants_own),
    };

    return cmocka_run_group_tests(tests, kit_set_up, kit_tear_down);
}
