/* SPDX-License-Identifier: Apache-2.0 */
/* merge_race_test.c - merging and unmerging while both replicas record: no deadlock, nothing lost, all rules kept. */
#include "context_testkit.h"

enum { ROUNDS = 60, EVENTS = 12, PEOPLE = 6, RECORDERS = 4, MERGERS = 3 };

struct racer {
    struct answer answer;
    bool is_started;
    const char *edge; /* a merger's: what to take back next */
    Guichet__V1__RecordRequest record;
    Guichet__V1__MergeCustomersRequest merge;
    Guichet__V1__UnmergeCustomersRequest unmerge;
};

static Guichet__V1__InboundEvent *event_of(struct kit *kit, const char *tenant, size_t person, unsigned n)
{
    Guichet__V1__InboundEvent *event = kit_event(kit, tenant, arena_printf(kit->arena, "SM%u", n),
                                                 arena_printf(kit->arena, "+3360000%zu", person), "hello");

    event->thread = context_alloc(kit->arena, sizeof(*event->thread));
    guichet__v1__thread_ref__init(event->thread);
    event->thread->key = arena_printf(kit->arena, "%u", n % 3);
    event->thread->is_public = n % 3 == 2;
    return event;
}

static void start_record(struct kit *kit, const char *tenant, struct racer *racer, size_t replica)
{
    static unsigned count;
    Guichet__V1__InboundEvent **events = context_alloc(kit->arena, EVENTS * sizeof(*events));

    for (size_t i = 0; i < EVENTS; i++) {
        events[i] = event_of(kit, tenant, (count * 7 + i * (replica + 1)) % PEOPLE, count);
        count++;
    }
    racer->record = kit_record_request(tenant, events, EVENTS);
    KIT_START(kit, kit->centre[replica], record, RecordReply, &racer->record, &racer->answer);
}

/* In turn: makes an edge, takes it back. Which edge goes from round to round over all pairs. */
static void start_merge(struct kit *kit, const char *tenant, char *const *customers, struct racer *racer,
                        unsigned n)
{
    const Guichet__V1__MergeCustomersReply *made = racer->answer.reply;
    size_t one = n % PEOPLE, other = (one + 1 + n / PEOPLE % (PEOPLE - 1)) % PEOPLE;

    if (racer->is_started && racer->edge == NULL)
        racer->edge = made->merge->id;
    else
        racer->edge = NULL;
    racer->answer = (struct answer){ 0 };
    if (racer->edge != NULL) {
        guichet__v1__unmerge_customers_request__init(&racer->unmerge);
        racer->unmerge.tenant = (char *)tenant;
        racer->unmerge.merge_id = (char *)racer->edge;
        KIT_START(kit, kit->centre[n % KIT_REPLICAS], unmerge_customers, UnmergeCustomersReply,
                  &racer->unmerge, &racer->answer);
        return;
    }
    guichet__v1__merge_customers_request__init(&racer->merge);
    racer->merge.tenant = (char *)tenant;
    racer->merge.customer_id = customers[one];
    racer->merge.other_customer_id = customers[other];
    racer->merge.evidence = (char *)tenant;
    racer->merge.idempotency_key = arena_printf(kit->arena, "%u", n);
    KIT_START(kit, kit->centre[n % KIT_REPLICAS], merge_customers, MergeCustomersReply, &racer->merge,
              &racer->answer);
}

/* 0 each. */
static const char *const invariants[][2] = {
    { "an identity has its customer's root",
      "SELECT count(*) FROM context.identity i JOIN context.customer c ON c.tenant = i.tenant AND"
      " c.id = i.customer_id"
      " WHERE i.root_id <> c.root_id" },
    { "a root is the smallest of those whom edges connect",
      "SELECT count(*) FROM context.customer c WHERE c.root_id <> (SELECT m FROM"
      " unnest(context.connected(c.tenant, c.id)) m"
      " ORDER BY m LIMIT 1)" },
    { "a thread is of the person of its conversation",
      "SELECT count(*) FROM context.thread t JOIN context.identity i ON i.tenant = t.tenant AND"
      " i.id = t.identity_id"
      " JOIN context.conversation v ON v.tenant = t.tenant AND v.id = t.conversation_id"
      " JOIN context.customer c ON c.tenant = v.tenant AND c.id = v.customer_id WHERE c.root_id <>"
      " i.root_id" },
    { "a message is where its thread is",
      "SELECT count(*) FROM context.message m LEFT JOIN context.thread t ON t.tenant = m.tenant AND"
      " t.id = m.thread_id"
      " WHERE m.conversation_id IS DISTINCT FROM t.conversation_id" },
    { "no thread has a hole",
      "SELECT count(*) FROM context.thread t WHERE t.last_sequence <> (SELECT count(DISTINCT"
      " m.sequence) FROM context.message m"
      " WHERE m.tenant = t.tenant AND m.thread_id = t.id AND m.sequence BETWEEN 1 AND t.last_sequence)" },
    { "the feed has no hole", "SELECT count(*) - max(sequence) FROM context.change" },
    { "conversations have no hole", "SELECT count(*) - max(number) FROM context.conversation" },
};

static void run(struct kit *kit, const char *tenant, char *const *customers)
{
    struct racer racers[RECORDERS + MERGERS] = { 0 };
    unsigned recorded = 0, merged = 0, under_way;

    do {
        under_way = 0;
        for (size_t r = 0; r < COUNT_OF(racers); r++) {
            struct racer *racer = &racers[r];

            if (racer->is_started && !racer->answer.is_done) {
                under_way++;
                continue;
            }
            if (racer->is_started && racer->answer.reply == NULL)
                fail_msg("racer %zu: %s", r, racer->answer.err.text);
            if (recorded == ROUNDS)
                continue;
            if (r < RECORDERS) {
                racer->answer = (struct answer){ 0 };
                start_record(kit, tenant, racer, r % KIT_REPLICAS);
                recorded++;
            } else {
                start_merge(kit, tenant, customers, racer, merged++);
            }
            racer->is_started = true;
            under_way++;
        }
        loop_turn(kit->service.loop, 20);
    } while (under_way > 0);
    assert_in_range(merged, MERGERS * 2, UINT32_MAX);
}

static void test_merging_while_recording(void **state)
{
    struct kit *kit = *state;
    const char *tenant = "race";
    char *customers[PEOPLE];

    for (size_t p = 0; p < PEOPLE; p++) {
        Guichet__V1__InboundEvent *event = event_of(kit, tenant, p, 1000000 + (unsigned)p);

        kit_record(kit, tenant, &event, 1);
        customers[p] = (char *)kit_sql(kit,
                                       "SELECT customer_id FROM context.identity WHERE tenant = '%s'"
                                       " AND value = '+3360000%zu'",
                                       tenant, p);
    }
    run(kit, tenant, customers);
    assert_string_equal(kit_sql(kit, "SELECT count(*) FROM context.message"),
                        arena_printf(kit->arena, "%u", ROUNDS * EVENTS + PEOPLE));
    for (size_t i = 0; i < COUNT_OF(invariants); i++)
        CHECK_CASE_TEXT(invariants[i][0], kit_sql(kit, "%s", invariants[i][1]), "0");
    assert_string_equal(
        kit_sql(kit, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"), "0");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_merging_while_recording) };

    return cmocka_run_group_tests(tests, kit_set_up, kit_tear_down);
}
