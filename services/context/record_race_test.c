/* SPDX-License-Identifier: Apache-2.0 */
/* record_race_test.c - two replicas at once: no double row, no deadlock at the caller, no hole in the feed. */
#include "context_testkit.h"

enum { ROUNDS = 40, EVENTS = 16, PEOPLE = 5 };

static void check_stored(struct kit *kit, const char *tenant, unsigned expected)
{
    const char *count = arena_printf(kit->arena, "%u", expected);

    assert_string_equal(kit_sql(kit, "SELECT count(*) FROM context.message WHERE tenant = '%s'", tenant),
                        count);
    assert_string_equal(
        kit_sql(kit, "SELECT count(DISTINCT (thread_id, sequence)) FROM context.message WHERE tenant = '%s'",
                tenant),
        count);
    assert_string_equal(
        kit_sql(kit,
                "SELECT count(*) FROM context.thread t WHERE tenant = '%s' AND last_sequence <> "
                "(SELECT count(*) FROM context.message m WHERE m.tenant = t.tenant AND m.thread_id = t.id)",
                tenant),
        "0");
    assert_string_equal(
        kit_sql(kit, "SELECT count(*) - max(sequence) FROM context.change WHERE tenant = '%s'", tenant), "0");
    assert_string_equal(
        kit_sql(kit, "SELECT count(*) - max(number) FROM context.conversation WHERE tenant = '%s'", tenant),
        "0");
    assert_string_equal(
        kit_sql(kit,
                "SELECT max(n) FROM (SELECT count(*) AS n FROM context.conversation WHERE tenant = '%s'"
                " AND state = 1 GROUP BY customer_id) c",
                tenant),
        "1");
}

static Guichet__V1__InboundEvent *person_event(struct kit *kit, const char *tenant, const char *key,
                                               size_t person)
{
    return kit_event(kit, tenant, key, arena_printf(kit->arena, "+3360000%zu", person), "hello");
}

/* Both replicas record both batches at once; each must answer all. */
static void record_both(struct kit *kit, const char *tenant,
                        Guichet__V1__InboundEvent **batches[KIT_REPLICAS], size_t count,
                        struct answer answers[KIT_REPLICAS])
{
    Guichet__V1__RecordRequest requests[KIT_REPLICAS];

    for (size_t r = 0; r < KIT_REPLICAS; r++) {
        requests[r] = kit_record_request(tenant, batches[r], count);
        KIT_START(kit, kit->centre[r], record, RecordReply, &requests[r], &answers[r]);
    }
    for (size_t r = 0; r < KIT_REPLICAS; r++) {
        KIT_UNTIL(kit, answers[r].is_done);
        if (answers[r].reply == NULL)
            fail_msg("replica %zu: %s", r, answers[r].err.text);
    }
}

static void test_the_same_batch_on_two_replicas(void **state)
{
    struct kit *kit = *state;

    for (size_t round = 0; round < ROUNDS; round++) {
        Guichet__V1__InboundEvent *events[EVENTS], **batches[] = { events, events };
        struct answer answers[KIT_REPLICAS] = { 0 };
        const Guichet__V1__RecordReply *replies[KIT_REPLICAS];

        for (size_t i = 0; i < EVENTS; i++)
            events[i] = person_event(kit, "same", arena_printf(kit->arena, "SM%zu-%zu", round, i),
                                     (round + i) % PEOPLE);
        record_both(kit, "same", batches, EVENTS, answers);
        for (size_t r = 0; r < KIT_REPLICAS; r++)
            replies[r] = answers[r].reply;
        for (size_t i = 0; i < EVENTS; i++) {
            assert_string_equal(replies[0]->results[i]->message_id, replies[1]->results[i]->message_id);
            assert_int_equal(replies[0]->results[i]->sequence, replies[1]->results[i]->sequence);
            assert_int_not_equal(replies[0]->results[i]->result, replies[1]->results[i]->result);
        }
    }
    check_stored(kit, "same", ROUNDS * EVENTS);
}

static void test_shared_people_in_opposite_order(void **state)
{
    struct kit *kit = *state;

    for (size_t round = 0; round < ROUNDS; round++) {
        Guichet__V1__InboundEvent *there[EVENTS], *back[EVENTS], **batches[] = { there, back };
        struct answer answers[KIT_REPLICAS] = { 0 };

        /* half of them new people in each round */
        for (size_t i = 0; i < EVENTS; i++) {
            size_t person = i % 2 == 0 ? i : 1000 * (round + 1) + i;

            there[i] = person_event(kit, "opposite", arena_printf(kit->arena, "A%zu-%zu", round, i), person);
            back[EVENTS - 1 - i] =
                person_event(kit, "opposite", arena_printf(kit->arena, "B%zu-%zu", round, i), person);
        }
        record_both(kit, "opposite", batches, EVENTS, answers);
    }
    check_stored(kit, "opposite", 2 * ROUNDS * EVENTS);
}

static void test_receipts_on_two_replicas(void **state)
{
    struct kit *kit = *state;

    for (size_t round = 0; round < ROUNDS; round++) {
        Guichet__V1__InboundEvent *events[EVENTS], **batches[] = { events, events };
        struct answer answers[KIT_REPLICAS] = { 0 };

        for (size_t i = 0; i < EVENTS; i++) {
            Guichet__V1__Receipt *receipt = context_alloc(kit->arena, sizeof(*receipt));

            events[i] = person_event(kit, "receipts", arena_printf(kit->arena, "R%zu-%zu", round, i), 1);
            guichet__v1__receipt__init(receipt);
            receipt->state = GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_SENT;
            events[i]->sender = NULL;
            events[i]->body_case = GUICHET__V1__INBOUND_EVENT__BODY_RECEIPT;
            events[i]->receipt = receipt;
        }
        record_both(kit, "receipts", batches, EVENTS, answers);
    }
    assert_int_equal(kit_changes(kit, "receipts", 0)->last_sequence, ROUNDS * EVENTS);
}

/* A reader that polls while four batches are under way must see 1, 2, 3 … and miss none. */
static void test_a_reader_never_sees_a_hole(void **state)
{
    struct kit *kit = *state;
    enum { WRITERS = 4 };
    struct answer answers[WRITERS] = { 0 };
    Guichet__V1__RecordRequest requests[WRITERS];
    size_t started = 0, finished = 0;
    uint64_t cursor = 0;

    while (finished < ROUNDS || cursor < ROUNDS * EVENTS) {
        const Guichet__V1__ReadChangesReply *changes;

        for (size_t w = 0; w < WRITERS; w++) {
            Guichet__V1__InboundEvent **events = context_alloc(kit->arena, EVENTS * sizeof(*events));

            if (answers[w].is_done) {
                assert_non_null(answers[w].reply);
                finished++;
            }
            if ((started >= WRITERS && !answers[w].is_done) || started >= ROUNDS) {
                answers[w].is_done = false;
                continue;
            }
            for (size_t i = 0; i < EVENTS; i++)
                events[i] = person_event(kit, "reader", arena_printf(kit->arena, "SM%zu-%zu", started, i),
                                         w * 100 + i);
            answers[w] = (struct answer){ 0 };
            requests[w] = kit_record_request("reader", events, EVENTS);
            KIT_START(kit, kit->centre[w % KIT_REPLICAS], record, RecordReply, &requests[w], &answers[w]);
            started++;
        }
        changes = kit_changes(kit, "reader", cursor);
        assert_false(changes->is_resync_required);
        for (size_t i = 0; i < changes->n_changes; i++)
            assert_int_equal(changes->changes[i]->sequence, ++cursor);
    }
    assert_int_equal(cursor, ROUNDS * EVENTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_batch_on_two_replicas),
        cmocka_unit_test(test_shared_people_in_opposite_order),
        cmocka_unit_test(test_receipts_on_two_replicas),
        cmocka_unit_test(test_a_reader_never_sees_a_hole),
    };

    return cmocka_run_group_tests(tests, kit_set_up, kit_tear_down);
}
