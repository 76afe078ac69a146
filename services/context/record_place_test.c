/* SPDX-License-Identifier: Apache-2.0 */
/* record_place_test.c - where a message goes: which person, which conversation, which thread. */
#include "context_testkit.h"

struct message {
    const char *from, *thread_key;
    bool is_public;
    const char *claims; /* the event is a verified claim of this e-mail address instead */
    const char *origin_key;
};

static Guichet__V1__InboundEvent *build(struct kit *kit, const char *tenant, size_t n,
                                        const struct message *message)
{
    Guichet__V1__InboundEvent *event =
        kit_event(kit, tenant, arena_printf(kit->arena, "SM%zu", n), message->from, "hello");
    Guichet__V1__IdentityClaim *claim;

    event->thread = context_alloc(kit->arena, sizeof(*event->thread));
    guichet__v1__thread_ref__init(event->thread);
    event->thread->is_public = message->is_public;
    if (message->thread_key != NULL)
        event->thread->key = arena_strdup(kit->arena, message->thread_key);
    if (message->origin_key != NULL)
        event->thread->origin_key = arena_strdup(kit->arena, message->origin_key);
    if (strchr(message->from, '@') != NULL)
        event->sender->kind = GUICHET__V1__IDENTITY_KIND__IDENTITY_KIND_EMAIL;
    if (message->claims == NULL)
        return event;
    claim = context_alloc(kit->arena, sizeof(*claim));
    guichet__v1__identity_claim__init(claim);
    claim->claimed = context_alloc(kit->arena, sizeof(*claim->claimed));
    guichet__v1__address__init(claim->claimed);
    claim->claimed->kind = GUICHET__V1__IDENTITY_KIND__IDENTITY_KIND_EMAIL;
    claim->claimed->value = arena_strdup(kit->arena, message->claims);
    claim->is_verified = true;
    event->body_case = GUICHET__V1__INBOUND_EVENT__BODY_CLAIM;
    event->claim = claim;
    return event;
}

/* What came before, what happens then, what comes after; and the conversation's number of each, which
 * of them was made and which reopened ("1+" made, "1^" reopened). */
static const struct {
    const char *label;
    struct message messages[6];
    const char *between; /* SQL after the first message; NULL: all in one batch */
    const char *expected;
} places[] = {
    { "the same person again", { { "+331" }, { "+331" } }, NULL, "1+ 1" },
    { "two people", { { "+331" }, { "+332" } }, NULL, "1+ 2+" },
    { "another private thread joins the only open conversation",
      { { "+331" }, { "+331", "chat" } },
      NULL,
      "1+ 1" },
    { "another public thread does not", { { "+331" }, { "+331", "post", true } }, NULL, "1+ 2+" },
    { "with two open, a third thread joins none",
      { { "+331" }, { "+331", "post", true }, { "+331", "chat" } },
      NULL,
      "1+ 2+ 3+" },
    { "a private answer goes where it came from",
      { { "+331" }, { "+331", "post", true }, { "+331", "dm", false, NULL, "post" } },
      NULL,
      "1+ 2+ 2" },
    { "closed an hour ago",
      { { "+331" }, { "+331" } },
      "UPDATE context.conversation SET state = 2, closed_at = now() - interval '1 hour'",
      "1+ 1^" },
    { "closed eight days ago",
      { { "+331" }, { "+331" } },
      "UPDATE context.conversation SET state = 2, closed_at = now() - interval '8 days'",
      "1+ 2+" },
    { "closed eight days ago, then two threads at once",
      { { "+331" }, { "+331" }, { "+331", "chat" } },
      "UPDATE context.conversation SET state = 2, closed_at = now() - interval '8 days'",
      "1+ 2+ 2" },
    { "reopened once for two messages",
      { { "+331" }, { "+331" }, { "+331" } },
      "UPDATE context.conversation SET state = 2, closed_at = now()",
      "1+ 1^ 1" },
    { "a verified claim makes one person of two addresses",
      { { "+331" }, { "+331", NULL, false, "ann@example.org" }, { "ann@example.org" } },
      NULL,
      "1+ 1 1" },
    { "whatever the order in the batch",
      { { "ann@example.org" }, { "+331", NULL, false, "ann@example.org" } },
      NULL,
      "1+ 1" },
    { "with somebody else's address: one person from then on, whose conversations stay two",
      { { "ann@example.org" }, { "+331", NULL, false, "ann@example.org" }, { "+331" }, { "ann@example.org" } },
      "SELECT 1",
      "1+ 2+ 2 1 0" },
};

static const char *where(struct kit *kit, const char *tenant)
{
    const Guichet__V1__ReadChangesReply *changes = kit_changes(kit, tenant, 0);
    struct buf text;
    const char *kept;

    buf_init(&text, 4096);
    for (size_t i = 0; i < changes->n_changes; i++)
        buf_printf(&text, "%s%u%s%s", i == 0 ? "" : " ", changes->changes[i]->conversation_number,
                   changes->changes[i]->is_new_conversation ? "+" : "",
                   changes->changes[i]->is_reopened ? "^" : "");
    kept = arena_strdup(kit->arena, buf_text(&text));
    buf_done(&text);
    return kept;
}

static void test_places(void **state)
{
    struct kit *kit = *state;

    for (size_t p = 0; p < COUNT_OF(places); p++) {
        const char *tenant = arena_printf(kit->arena, "place-%zu", p);
        Guichet__V1__InboundEvent *events[COUNT_OF(places[p].messages)];
        size_t count = 0, first = places[p].between == NULL ? 0 : 1;

        for (; count < COUNT_OF(events) && places[p].messages[count].from != NULL; count++)
            events[count] = build(kit, tenant, count, &places[p].messages[count]);
        if (first == 1) {
            kit_record(kit, tenant, events, 1);
            kit_sql(kit, strncmp(places[p].between, "UPDATE", 6) == 0 ? "%s WHERE tenant = '%s'" : "%s",
                    places[p].between, tenant);
        }
        kit_record(kit, tenant, events + first, count - first);
        CHECK_CASE_TEXT(places[p].label, where(kit, tenant), places[p].expected);
        CHECK_CASE_TEXT(
            places[p].label,
            kit_sql(
                kit,
                "SELECT count(*) FROM context.thread t WHERE tenant = '%s' AND last_sequence <> "
                "(SELECT count(*) FROM context.message m WHERE m.tenant = t.tenant AND m.thread_id = t.id)",
                tenant),
            "0");
    }
}

static void test_claims(void **state)
{
    struct kit *kit = *state;
    static const struct message attach = { "+331", NULL, false, "new@example.org" };
    static const struct message own = { "other@example.org" },
                                steal = { "+331", NULL, false, "other@example.org" };
    Guichet__V1__InboundEvent *events[] = { build(kit, "claims", 0, &attach), build(kit, "claims", 1, &own) };
    Guichet__V1__InboundEvent *later = build(kit, "claims", 2, &steal);

    kit_record(kit, "claims", events, 2);
    kit_record(kit, "claims", &later, 1);
    assert_string_equal(
        kit_sql(kit,
                "SELECT string_agg(value || ' ' || is_verified, ',' ORDER BY value) FROM context.identity"
                " WHERE tenant = 'claims'"),
        "+331 false,new@example.org true,other@example.org false");
    assert_string_equal(
        kit_sql(kit, "SELECT count(DISTINCT customer_id) FROM context.identity WHERE tenant = 'claims'"),
        "2");
    assert_string_equal(kit_sql(kit, "SELECT count(*) FROM context.claim WHERE tenant = 'claims'"), "2");
}

static void consent(struct kit *kit, size_t n, int state, int64_t at_us)
{
    Guichet__V1__InboundEvent *event =
        kit_event(kit, "consent", arena_printf(kit->arena, "c%zu", n), "+331", "");
    Guichet__V1__ConsentChange *change = context_alloc(kit->arena, sizeof(*change));

    guichet__v1__consent_change__init(change);
    change->state = (Guichet__V1__ConsentState)state;
    event->body_case = GUICHET__V1__INBOUND_EVENT__BODY_CONSENT;
    event->consent = change;
    event->occurred_at = pbtime_new(kit->arena, at_us);
    kit_record(kit, "consent", &event, 1);
}

static void test_the_last_word_on_consent_counts(void **state)
{
    struct kit *kit = *state;
    const char *query = "SELECT max(state) FROM context.consent WHERE tenant = 'consent'";

    consent(kit, 1, 2, INT64_C(1772366400000000));
    assert_string_equal(kit_sql(kit, "%s", query), "2");
    consent(kit, 2, 1, INT64_C(1772366500000000));
    assert_string_equal(kit_sql(kit, "%s", query), "1");
    consent(kit, 3, 2, INT64_C(1772366450000000)); /* it came late, it was said before */
    assert_string_equal(kit_sql(kit, "%s", query), "1");
    assert_int_equal(kit_changes(kit, "consent", 0)->changes[2]->consent,
                     GUICHET__V1__CONSENT_STATE__CONSENT_STATE_WITHDRAWN);
}

static void test_names_follow_the_provider_until_an_agent_says_otherwise(void **state)
{
    struct kit *kit = *state;
    static const char *const names[] = { "", "Ann", "Annie" };
    static const char *const expected[] = { "/", "Ann/Ann", "Ann/Annie" };

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        Guichet__V1__InboundEvent *event =
            kit_event(kit, "names", arena_printf(kit->arena, "n%zu", i), "+331", "hello");

        event->sender->display_name = arena_strdup(kit->arena, names[i]);
        kit_record(kit, "names", &event, 1);
        CHECK_CASE_TEXT(names[i],
                        kit_sql(kit,
                                "SELECT c.display_name || '/' || i.display_name FROM context.customer c"
                                " JOIN context.identity i ON i.tenant = c.tenant AND i.customer_id = c.id"
                                " WHERE c.tenant = 'names'"),
                        expected[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_claims),
        cmocka_unit_test(test_the_last_word_on_consent_counts),
        cmocka_unit_test(test_names_follow_the_provider_until_an_agent_says_otherwise),
    };

    return cmocka_run_group_tests(tests, kit_set_up, kit_tear_down);
}
