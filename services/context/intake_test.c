/* SPDX-License-Identifier: Apache-2.0 */
/* intake_test.c - the manifest of what comes in, whatever becomes of it; dead events and replays. */
#include "context_testkit_intake.h"

/* ---- the manifest ---- */

static void test_every_result_is_in_the_manifest(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__InboundEvent *events[6];
    Guichet__V1__RecordRequest request = kit_record_request("results", events, COUNT_OF(events));
    Guichet__V1__NumberRange range = GUICHET__V1__NUMBER_RANGE__INIT, *ranges = &range;

    for (size_t i = 0; i < COUNT_OF(events); i++)
        events[i] = kit_numbered(kit, "results", "boot-1", 3, i + 1);
    events[1]->event_key = events[0]->event_key; /* a repeat needs the same content, and number 2 has it ... */
    events[1]->provider_id = events[0]->provider_id;
    events[2]->event_key = events[0]->event_key; /* ... number 3 has not */
    events[3]->account_id = arena_strdup(kit->arena, "");
    events[4]->sender->kind = (Guichet__V1__IdentityKind)70000; /* the database refuses it: halves are tried */
    events[5]->boot_n = 0;
    range.boot_id = events[0]->boot_id;
    range.boot_lane = 3;
    range.first = 65530;
    range.last = 65540;
    request.voided = &ranges;
    request.n_voided = 1;
    assert_int_equal(kit_record_all(kit, &request)->n_results, 6);
    assert_string_equal(kit_manifest(kit, "results"), "1:1 2:2 3:3 4:3 5:3 65530:4 65536:4");
    assert_string_equal(kit_sql(kit, "SELECT string_agg(array_to_string(numbers, '-'), ' ' ORDER BY block) FROM"
                                     " context.intake WHERE tenant = 'results' AND event_count = 0"),
                        "65530-65535 65536-65540");
    kit_record_all(kit, &request);
    assert_string_equal(kit_manifest(kit, "results"),
                        "1:1 1:2 2:2 2:2 3:3 3:3 4:3 4:3 5:3 5:3 65530:4 65530:4 65536:4 65536:4");
    assert_string_equal(
        kit_sql(kit, "SELECT count(*) FROM context.refused_event WHERE tenant = 'results'"), "3");
}

static void test_one_row_for_a_batch(void **state)
{
    struct kit *kit = *state;
    enum { COUNT = 40 };
    Guichet__V1__InboundEvent *events[COUNT];

    for (size_t i = 0; i < COUNT; i++)
        events[i] = kit_numbered(kit, "one-row", "boot-1", i < COUNT / 2 ? 1 : 2, i + 1);
    kit_record(kit, "one-row", events, COUNT);
    assert_string_equal(kit_sql(kit, "SELECT string_agg(boot_lane || ':' || event_count, ' ' ORDER BY boot_lane)"
                                     " FROM context.intake WHERE tenant = 'one-row'"),
                        "1:20 2:20");
    assert_string_equal(kit_sql(kit, "SELECT count(*) FROM context.intake i, unnest(i.ids) e (id)"
                                     " JOIN context.message m ON m.tenant = 'one-row' AND m.id = e.id"
                                     " WHERE i.tenant = 'one-row'"),
                        "40");
}

static void test_a_refused_repeat_is_counted_as_well(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__InboundEvent *events[] = { kit_numbered(kit, "repeat", "boot-1", 1, 1),
                                            kit_numbered(kit, "repeat", "boot-1", 1, 2) };

    kit_record(kit, "repeat", events, 1);
    events[1]->event_key = events[0]->event_key;
    events[1]->boot_n = 3;
    events[0] = events[1];
    events[1] = kit_numbered(kit, "repeat", "boot-1", 1, 4);
    events[1]->event_key = events[0]->event_key;
    events[1]->provider_id = events[0]->provider_id;
    kit_record(kit, "repeat", events, 2);
    assert_string_equal(kit_manifest(kit, "repeat"), "1:1 3:3 4:3");
}

static void test_what_is_not_numbered_or_no_range(void **state)
{
    struct kit *kit = *state;
    static const struct {
        const char *label, *boot_id;
        uint32_t lane;
        uint64_t first, last;
        bool is_allowed;
    } cases[] = {
        { "one number", "boot-1", 0, 7, 7, true },
        { "backwards", "boot-1", 0, 7, 6, false },
        { "of no boot", "", 0, 7, 7, false },
        { "from 0", "boot-1", 0, 0, 7, false },
        { "wide", "boot-1", 0, 1, 1 << 26, true },
        { "too wide", "boot-1", 0, 1, (1 << 26) + 1, false },
        { "all there are", "boot-1", 0, 1, UINT64_MAX, false },
        { "no lane of ours", "boot-1", UINT32_MAX, 1, 2, false },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Guichet__V1__RecordRequest request = kit_record_request("ranges", NULL, 0);
        Guichet__V1__NumberRange range = GUICHET__V1__NUMBER_RANGE__INIT, *ranges = &range;
        struct err err = { 0 };
        const Guichet__V1__RecordReply *reply;

        range.boot_id = (char *)cases[i].boot_id;
        range.boot_lane = cases[i].lane;
        range.first = cases[i].first;
        range.last = cases[i].last;
        request.voided = &ranges;
        request.n_voided = 1;
        reply = KIT_CALL(kit, kit->centre[0], record, RecordReply, &request, &err);
        CHECK_CASE(cases[i].label, (reply != NULL) == cases[i].is_allowed);
        CHECK_CASE(cases[i].label, reply != NULL || err.kind == ERR_INVALID);
    }
}

/* `count` ranges of one number each, every `step`-th, the last first. */
static void fill_voided(struct kit *kit, Guichet__V1__RecordRequest *request, const char *boot, size_t count,
                        uint64_t step)
{
    request->voided = context_alloc(kit->arena, count * sizeof(*request->voided));
    request->n_voided = count;
    for (size_t i = 0; i < count; i++) {
        Guichet__V1__NumberRange *range = context_alloc(kit->arena, sizeof(*range));

        guichet__v1__number_range__init(range);
        range->boot_id = (char *)boot;
        range->first = range->last = 2 + (count - 1 - i) * step;
        request->voided[i] = range;
    }
}

static void test_many_voided_ranges_are_nobodys_fault(void **state)
{
    struct kit *kit = *state;
    const char *boot = kit_boot(kit), *query = "SELECT count(*) FROM context.intake WHERE tenant = 'many'"
                                               " AND results = '{4}'";
    Guichet__V1__InboundEvent *event = kit_numbered(kit, "many", boot, 0, 1);
    Guichet__V1__RecordRequest request = kit_record_request("many", &event, 1);
    struct err err = { 0 };

    fill_voided(kit, &request, boot, 4096, 1);
    assert_int_equal(kit_record_all(kit, &request)->results[0]->result, STORED);
    assert_string_equal(kit_sql(kit, "%s", query), "1");
    assert_string_equal(kit_sql(kit, "%s AND numbers = '{2,4097}'", query), "1");
    fill_voided(kit, &request, boot, 4096, 2);
    assert_int_equal(kit_record_all(kit, &request)->results[0]->result, DUPLICATE);
    assert_string_equal(kit_sql(kit, "%s", query), "4097");
    fill_voided(kit, &request, boot, 4097, 2);
    assert_null(KIT_CALL(kit, kit->centre[0], record, RecordReply, &request, &err));
    assert_int_equal(err.kind, ERR_INVALID);
    assert_non_null(strstr(err.text, "4097 ranges, at most 4096 are allowed"));
}

/* ---- probes ---- */

static void test_a_probe_writes(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__RecordRequest request = kit_record_request("probe", NULL, 0);
    struct answer answers[8] = { 0 };
    struct err err = { 0 };

    for (size_t i = 0; i < COUNT_OF(answers); i++)
        KIT_START(kit, kit->centre[0], record, RecordReply, &request, &answers[i]);
    for (size_t i = 0; i < COUNT_OF(answers); i++) {
        KIT_UNTIL(kit, answers[i].is_done);
        assert_int_equal(answers[i].err.kind, ERR_NONE);
    }
    assert_string_equal(kit_sql(kit, "SELECT count(*) FROM context.probe WHERE tenant = 'probe'"), "1");
    /* It answers, and there is no room. */
    kit_sql(kit, "CREATE FUNCTION context.no_room() RETURNS trigger LANGUAGE plpgsql AS"
                 " 'BEGIN RAISE EXCEPTION USING ERRCODE = ''53100''; END'");
    kit_sql(kit, "CREATE TRIGGER no_room BEFORE INSERT OR UPDATE ON context.probe"
                 " FOR EACH ROW EXECUTE FUNCTION context.no_room()");
    assert_null(KIT_CALL(kit, kit->centre[0], record, RecordReply, &request, &err));
    assert_int_equal(err.kind, ERR_UNAVAILABLE);
    kit_sql(kit, "DROP TRIGGER no_room ON context.probe");
    assert_non_null(KIT_CALL(kit, kit->centre[0], record, RecordReply, &request, &err));
}

static void test_old_manifests_go_by_the_month(void **state)
{
    struct kit *kit = *state;

    kit_sql(kit, "SELECT context.make_partition('intake', date_trunc('month', now()) - interval '6 months')");
    assert_string_equal(kit_sql(kit, "SELECT context.prune_intake(90)"), "1");
    assert_string_equal(kit_sql(kit, "SELECT context.prune_intake(90)"), "0");
}

static void test_old_refused_events_go_in_bites(void **state)
{
    struct kit *kit = *state;

    for (int i = 0; i < 4; i++)
        kit_sql(
            kit,
            "INSERT INTO context.refused_event (tenant, id, content_hash, account_id, channel, event_key, reason,"
            " event, state) VALUES ('old', context.uuid7_at(now() - interval '%d days'), '\\x0%d', 'a', 'sms',"
            " 'k', 'r', '', %d)",
            88 + i, i, 1 + i % 2);
    assert_string_equal(kit_sql(kit, "SELECT context.prune_refused(90, 1)"), "1");
    assert_string_equal(kit_sql(kit, "SELECT context.prune_refused(90, 5)"), "1");
    assert_string_equal(kit_sql(kit, "SELECT context.prune_refused(90, 5)"), "0");
    assert_string_equal(kit_sql(kit, "SELECT count(*) FROM context.refused_event WHERE tenant = 'old'"), "2");
}

/* ---- dead events ---- */

static const Guichet__V1__Recorded *record_dead(struct kit *kit, const char *tenant,
                                                Guichet__V1__DeadEvent *dead, struct str_view bytes)
{
    Guichet__V1__RecordRequest request = kit_record_request(tenant, NULL, 0);

    dead->account_id = arena_strdup(kit->arena, "sms-demo");
    dead->event_key = arena_strdup(kit->arena, "SM1");
    dead->reason = arena_strdup(kit->arena, "failed five times");
    dead->boot_id = arena_strdup(kit->arena, "boot-1");
    dead->boot_n = 9;
    dead->attempt_count = 5;
    dead->event = (ProtobufCBinaryData){ bytes.len, (uint8_t *)bytes.data };
    request.dead = &dead;
    request.n_dead = 1;
    return kit_record_all(kit, &request)->results[0];
}

static const Guichet__V1__GetRefusedReply *get_refused(struct kit *kit, const char *tenant, const char *id)
{
    Guichet__V1__GetRefusedRequest request = GUICHET__V1__GET_REFUSED_REQUEST__INIT;
    const Guichet__V1__GetRefusedReply *reply;
    struct err err = { 0 };

    request.tenant = (char *)tenant;
    request.id = (char *)id;
    reply = KIT_CALL(kit, kit->centre[0], get_refused, GetRefusedReply, &request, &err);
    if (reply == NULL)
        fail_msg("get_refused: %s", err.text);
    return reply;
}

static const Guichet__V1__Recorded *replay(struct kit *kit, const char *tenant, const char *id)
{
    Guichet__V1__ReplayRefusedRequest request = GUICHET__V1__REPLAY_REFUSED_REQUEST__INIT;
    const Guichet__V1__ReplayRefusedReply *reply;
    struct err err = { 0 };

    request.tenant = (char *)tenant;
    request.id = (char *)id;
    request.actor_id = arena_strdup(kit->arena, "guichetctl root");
    reply = KIT_CALL(kit, kit->centre[1], replay_refused, ReplayRefusedReply, &request, &err);
    if (reply == NULL)
        fail_msg("replay_refused: %s", err.text);
    return reply->recorded;
}

#define BYTES(literal) { (literal), sizeof(literal) - 1 }

static void test_bytes_that_nobody_can_read_are_kept(void **state)
{
    struct kit *kit = *state;
    static const struct {
        const char *label;
        struct str_view bytes;
    } cases[] = {
        { "no protobuf", BYTES("\xff\xff\xff\xff garbage \x00 and more") },
        { "nothing", BYTES("") },
        { "text that is not UTF-8", BYTES("\x0a\x02\xff\xfe") },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const char *tenant = arena_printf(kit->arena, "dead-%zu", i), *id;
        Guichet__V1__DeadEvent dead = GUICHET__V1__DEAD_EVENT__INIT;
        const Guichet__V1__GetRefusedReply *refused;
        const Guichet__V1__Change *change;

        for (int repeat = 0; repeat < 2; repeat++) {
            const Guichet__V1__Recorded *recorded = record_dead(kit, tenant, &dead, cases[i].bytes);

            CHECK_CASE(cases[i].label, recorded->result == REFUSED);
            CHECK_CASE_TEXT(cases[i].label, recorded->event_key, "SM1");
        }
        CHECK_CASE(cases[i].label, kit_changes(kit, tenant, 0)->n_changes == 1);
        change = kit_changes(kit, tenant, 0)->changes[0];
        id = change->refused_id;
        CHECK_CASE(cases[i].label, change->kind == GUICHET__V1__CHANGE_KIND__CHANGE_KIND_REFUSED);
        CHECK_CASE(cases[i].label, change->attempt_count == 5);
        CHECK_CASE_TEXT(cases[i].label, change->provider_id, "SM1");
        CHECK_CASE_TEXT(cases[i].label, change->account_id, "sms-demo");
        CHECK_CASE_TEXT(cases[i].label, change->reason, "failed five times");
        CHECK_CASE_TEXT(cases[i].label, kit_manifest(kit, tenant), "9:3 9:3");

        refused = get_refused(kit, tenant, id);
        CHECK_CASE(cases[i].label, refused->event->event.len == cases[i].bytes.len &&
                                       (cases[i].bytes.len == 0 ||
                                        memcmp(refused->event->event.data, cases[i].bytes.data,
                                               cases[i].bytes.len) == 0));
        CHECK_CASE(cases[i].label, refused->raw.len == 0 && refused->recorded == NULL);
        CHECK_CASE(cases[i].label, refused->event->boot_n == 9);
        CHECK_CASE(cases[i].label, replay(kit, tenant, id)->result == REFUSED);
        refused = get_refused(kit, tenant, id);
        CHECK_CASE(cases[i].label, refused->event->attempt_count == 6);
        CHECK_CASE(cases[i].label, strcmp(refused->event->reason, "failed five times") != 0);
    }
}

static void test_a_dead_event_is_recorded_once_by_its_replay(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__InboundEvent *event = kit_event(kit, "", "SM1", "+33600000001", "hello");
    Guichet__V1__DeadEvent dead = GUICHET__V1__DEAD_EVENT__INIT;
    uint8_t packed[1024], raw[] = "as it came";
    const Guichet__V1__Recorded *first, *second;
    const char *id;

    event->raw = (ProtobufCBinaryData){ sizeof(raw), raw };
    event->raw_type = arena_strdup(kit->arena, "text/plain");
    event->boot_id = arena_strdup(kit->arena, "boot-1");
    event->boot_n = 9;
    record_dead(kit, "replay", &dead,
                (struct str_view){ (const char *)packed, guichet__v1__inbound_event__pack(event, packed) });
    id = kit_changes(kit, "replay", 0)->changes[0]->refused_id;
    assert_memory_equal(get_refused(kit, "replay", id)->raw.data, raw, sizeof(raw));
    assert_string_equal(get_refused(kit, "replay", id)->raw_type, "text/plain");
    first = replay(kit, "replay", id);
    second = replay(kit, "replay", id);
    assert_int_equal(first->result, STORED);
    assert_int_equal(second->result, STORED);
    assert_string_not_equal(first->message_id, "");
    assert_string_equal(second->message_id, first->message_id);
    assert_string_equal(second->conversation_id, first->conversation_id);
    assert_string_equal(get_refused(kit, "replay", id)->recorded->message_id, first->message_id);
    assert_string_equal(kit_sql(kit, "SELECT count(*) FROM context.message WHERE tenant = 'replay'"), "1");
    assert_string_equal(
        kit_sql(kit, "SELECT state || ' ' || replayed_by FROM context.refused_event WHERE tenant = 'replay'"),
        "2 guichetctl root");
    assert_string_equal(kit_manifest(kit, "replay"), "9:3"); /* the manifest says what came of the submission */
}

static void test_a_replay_is_for_the_account_that_handed_it_over(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__InboundEvent *event = kit_event(kit, "foreign", "SM1", "+33600000001", "hello");
    Guichet__V1__DeadEvent dead = GUICHET__V1__DEAD_EVENT__INIT;
    uint8_t packed[1024];

    event->account_id = arena_strdup(kit->arena, "sms-of-others");
    record_dead(kit, "foreign", &dead,
                (struct str_view){ (const char *)packed, guichet__v1__inbound_event__pack(event, packed) });
    assert_int_equal(replay(kit, "foreign", kit_changes(kit, "foreign", 0)->changes[0]->refused_id)->result,
                     REFUSED);
    assert_string_equal(kit_sql(kit, "SELECT count(*) FROM context.message WHERE tenant = 'foreign'"), "0");
}

static void test_a_refused_event_is_recorded_when_the_limit_is_gone(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__InboundEvent *event = kit_numbered(kit, "limit", "boot-1", 1, 1);
    uint32_t usual = kit->config.raw_max_bytes;
    uint8_t raw[] = "more than a byte";
    const char *id;

    event->raw = (ProtobufCBinaryData){ sizeof(raw), raw };
    kit->config.raw_max_bytes = 1;
    assert_int_equal(kit_record(kit, "limit", &event, 1)->results[0]->result, REFUSED);
    id = kit_changes(kit, "limit", 0)->changes[0]->refused_id;
    assert_int_equal(kit_changes(kit, "limit", 0)->changes[0]->attempt_count, 1);
    assert_int_equal(replay(kit, "limit", id)->result, REFUSED);
    kit->config.raw_max_bytes = usual;
    assert_int_equal(kit_record(kit, "limit", &event, 1)->results[0]->result, STORED);
    assert_int_equal(replay(kit, "limit", id)->result, DUPLICATE);
    assert_int_equal(replay(kit, "limit", id)->result, DUPLICATE);
}

/* What a crash between the two leaves: recorded, and still open. The next replay finds it recorded. */
static void test_a_replay_that_was_cut_short(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__InboundEvent *event = kit_event(kit, "", "SM1", "+33600000001", "hello");
    Guichet__V1__DeadEvent dead = GUICHET__V1__DEAD_EVENT__INIT;
    const Guichet__V1__Recorded *first, *second;
    uint8_t packed[1024];
    const char *id;

    record_dead(kit, "cut", &dead,
                (struct str_view){ (const char *)packed, guichet__v1__inbound_event__pack(event, packed) });
    id = kit_changes(kit, "cut", 0)->changes[0]->refused_id;
    first = replay(kit, "cut", id);
    kit_sql(kit, "UPDATE context.refused_event SET state = 1 WHERE tenant = 'cut'");
    second = replay(kit, "cut", id);
    assert_int_equal(first->result, STORED);
    assert_int_equal(second->result, DUPLICATE);
    assert_string_equal(second->message_id, first->message_id);
    assert_string_equal(kit_sql(kit, "SELECT count(*) FROM context.message WHERE tenant = 'cut'"), "1");
}

static void test_a_conflict_stays_refused(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__InboundEvent *event = kit_event(kit, "conflict", "SM1", "+33600000001", "one");
    const char *id;

    kit_record(kit, "conflict", &event, 1);
    event = kit_event(kit, "conflict", "SM1", "+33600000001", "other");
    kit_record(kit, "conflict", &event, 1);
    id = kit_changes(kit, "conflict", 1)->changes[0]->refused_id;
    assert_int_equal(replay(kit, "conflict", id)->result, REFUSED);
    assert_string_equal(replay(kit, "conflict", id)->reason, "event_key: is known with another content");
    assert_string_equal(get_refused(kit, "conflict", id)->event->event_key, "SM1");
}

static void test_nobody_elses_refused_event(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__GetRefusedRequest request = GUICHET__V1__GET_REFUSED_REQUEST__INIT;
    Guichet__V1__DeadEvent dead = GUICHET__V1__DEAD_EVENT__INIT;
    struct err err = { 0 };

    record_dead(kit, "mine", &dead, STR_LITERAL("x"));
    request.id = kit_changes(kit, "mine", 0)->changes[0]->refused_id;
    request.tenant = arena_strdup(kit->arena, "yours");
    assert_null(KIT_CALL(kit, kit->centre[0], get_refused, GetRefusedReply, &request, &err));
    assert_int_equal(err.kind, ERR_NOT_FOUND);
    request.tenant = arena_strdup(kit->arena, "mine");
    assert_null(KIT_CALL(kit, kit->gateway, get_refused, GetRefusedReply, &request, &err));
    assert_int_equal(err.kind, ERR_FORBIDDEN);
    request.id = arena_strdup(kit->arena, "no id");
    assert_null(KIT_CALL(kit, kit->centre[0], get_refused, GetRefusedReply, &request, &err));
    assert_int_equal(err.kind, ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_result_is_in_the_manifest),
        cmocka_unit_test(test_one_row_for_a_batch),
        cmocka_unit_test(test_a_refused_repeat_is_counted_as_well),
        cmocka_unit_test(test_what_is_not_numbered_or_no_range),
        cmocka_unit_test(test_many_voided_ranges_are_nobodys_fault),
        cmocka_unit_test(test_a_probe_writes),
        cmocka_unit_test(test_old_manifests_go_by_the_month),
        cmocka_unit_test(test_old_refused_events_go_in_bites),
        cmocka_unit_test(test_bytes_that_nobody_can_read_are_kept),
        cmocka_unit_test(test_a_dead_event_is_recorded_once_by_its_replay),
        cmocka_unit_test(test_a_replay_is_for_the_account_that_handed_it_over),
        cmocka_unit_test(test_a_refused_event_is_recorded_when_the_limit_is_gone),
        cmocka_unit_test(test_a_replay_that_was_cut_short),
        cmocka_unit_test(test_a_conflict_stays_refused),
        cmocka_unit_test(test_nobody_elses_refused_event),
    };

    return cmocka_run_group_tests(tests, kit_set_up, kit_tear_down);
}
