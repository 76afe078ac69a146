/* SPDX-License-Identifier: Apache-2.0 */
/* reading_test.c - the feed's cursors, conversations, messages, timelines, customers, read marks; and that
 * a second tenant with the same numbers and ids sees none of it. */
#include "context_testkit.h"

enum { MESSAGES = 7 };

static const char *const texts[MESSAGES] = { "one", "two", "three", "four", "five", "six", "seven" };

/* The same customer, the same keys in every tenant. */
static const Guichet__V1__Recorded *fill(struct kit *kit, const char *tenant)
{
    Guichet__V1__InboundEvent *events[MESSAGES];

    for (size_t i = 0; i < MESSAGES; i++) {
        events[i] = kit_event(kit, tenant, arena_printf(kit->arena, "SM%zu", i), "+33600000001",
                              arena_printf(kit->arena, "%s %s", tenant, texts[i]));
        events[i]->sender->display_name = arena_strdup(kit->arena, "\xc3\x89lodie");
    }
    return kit_record(kit, tenant, events, MESSAGES)->results[MESSAGES - 1];
}

static const Guichet__V1__ReadChangesReply *read_feed(struct kit *kit, const char *tenant, uint64_t after,
                                                      const char *epoch, uint32_t limit)
{
    Guichet__V1__ReadChangesRequest request = GUICHET__V1__READ_CHANGES_REQUEST__INIT;
    const Guichet__V1__ReadChangesReply *reply;
    struct err err;

    request.tenant = (char *)tenant;
    request.after_sequence = after;
    request.epoch = (char *)epoch;
    request.limit = limit;
    reply = KIT_CALL(kit, kit->centre[0], read_changes, ReadChangesReply, &request, &err);
    assert_non_null(reply);
    return reply;
}

static void test_cursors(void **state)
{
    struct kit *kit = *state;
    const char *epoch;
    static const struct {
        const char *label;
        uint64_t after;
        bool is_own_epoch;
        uint32_t limit;
        size_t count;
        bool is_resync_required;
    } cases[] = {
        { "from the beginning", 0, true, 0, MESSAGES, false },
        { "a part", 2, true, 3, 3, false },
        { "at the head", MESSAGES, true, 0, 0, false },
        { "past the head", MESSAGES + 1, true, 0, 0, true },
        { "another life of the database", 0, false, 0, 0, true },
    };

    fill(kit, "cursors");
    epoch = read_feed(kit, "cursors", 0, "", 1)->epoch;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const Guichet__V1__ReadChangesReply *reply = read_feed(
            kit, "cursors", cases[i].after, cases[i].is_own_epoch ? epoch : "another", cases[i].limit);

        CHECK_CASE(cases[i].label, reply->n_changes == cases[i].count);
        CHECK_CASE(cases[i].label, (bool)reply->is_resync_required == cases[i].is_resync_required);
        CHECK_CASE(cases[i].label, reply->last_sequence == MESSAGES);
        CHECK_CASE(cases[i].label,
                   reply->n_changes == 0 || reply->changes[0]->sequence == cases[i].after + 1);
    }
    kit_sql(kit, "DELETE FROM context.change WHERE tenant = 'cursors' AND sequence <= 3");
    assert_true(read_feed(kit, "cursors", 0, epoch, 0)->is_resync_required);
    assert_false(read_feed(kit, "cursors", 3, epoch, 0)->is_resync_required);
}

static void test_a_page_ends_before_the_reply_is_too_large(void **state)
{
    struct kit *kit = *state;
    uint32_t usual = kit->config.reply_max_bytes;
    Guichet__V1__ListMessagesRequest request = GUICHET__V1__LIST_MESSAGES_REQUEST__INIT;
    const Guichet__V1__ListMessagesReply *reply;
    struct err err;

    request.tenant = arena_strdup(kit->arena, "large");
    request.conversation_id = fill(kit, "large")->conversation_id;
    kit->config.reply_max_bytes = 40;
    reply = KIT_CALL(kit, kit->centre[0], list_messages, ListMessagesReply, &request, &err);
    assert_in_range(reply->n_messages, 1, MESSAGES - 1);
    assert_true(reply->has_more);
    assert_in_range(read_feed(kit, "large", 0, "", 0)->n_changes, 1, MESSAGES - 1);
    kit->config.reply_max_bytes = usual;
}

/* All pages of a list, as the numbers of the texts, newest first. */
static const char *page_through(struct kit *kit, const char *tenant, const char *conversation_id,
                                const char *customer_id)
{
    Guichet__V1__Page page = GUICHET__V1__PAGE__INIT;
    Guichet__V1__ListMessagesRequest list = GUICHET__V1__LIST_MESSAGES_REQUEST__INIT;
    Guichet__V1__TimelineRequest timeline = GUICHET__V1__TIMELINE_REQUEST__INIT;
    const Guichet__V1__ListMessagesReply *reply;
    const char *seen = "";
    struct err err;

    page.limit = 3;
    list.tenant = timeline.tenant = (char *)tenant;
    list.page = timeline.page = &page;
    do {
        if (customer_id == NULL) {
            list.conversation_id = (char *)conversation_id;
            reply = KIT_CALL(kit, kit->gateway, list_messages, ListMessagesReply, &list, &err);
        } else {
            timeline.customer_id = (char *)customer_id;
            reply = KIT_CALL(kit, kit->gateway, timeline, ListMessagesReply, &timeline, &err);
        }
        if (reply == NULL)
            return arena_strdup(kit->arena, err_kind_name(err.kind));
        for (size_t i = 0; i < reply->n_messages; i++) {
            assert_string_equal(reply->messages[i]->tenant, tenant);
            assert_non_null(strstr(reply->messages[i]->content->parts[0]->text->text, tenant));
            seen = arena_printf(kit->arena, "%s%u", seen, reply->messages[i]->sequence);
            page.after_id = reply->messages[i]->id;
        }
        seen = arena_printf(kit->arena, "%s%s", seen, reply->has_more ? "|" : "");
    } while (reply->has_more);
    return seen;
}

static void test_pages_and_two_tenants(void **state)
{
    struct kit *kit = *state;
    const Guichet__V1__Recorded *here = fill(kit, "here"), *there = fill(kit, "there");
    const char *customer = kit_sql(kit, "SELECT id FROM context.customer WHERE tenant = 'here'");
    const char *stranger = kit_sql(kit, "SELECT id FROM context.customer WHERE tenant = 'there'");

    assert_string_not_equal(here->conversation_id, there->conversation_id);
    assert_string_equal(page_through(kit, "here", here->conversation_id, NULL), "765|432|1");
    assert_string_equal(page_through(kit, "there", there->conversation_id, NULL), "765|432|1");
    assert_string_equal(page_through(kit, "here", there->conversation_id, NULL), "not_found");
    assert_string_equal(page_through(kit, "here", NULL, customer), "765|432|1");
    assert_string_equal(page_through(kit, "here", NULL, stranger), "not_found");
    assert_string_equal(page_through(kit, "here", "no id", NULL), "invalid");
    for (uint64_t after = 0; after < MESSAGES; after++)
        assert_non_null(strstr(kit_changes(kit, "there", after)->changes[0]->text, "there"));
    assert_int_equal(kit_changes(kit, "nowhere", 0)->last_sequence, 0);
}

static const Guichet__V1__GetConversationsReply *get(struct kit *kit, const char *tenant, char **ids,
                                                     size_t count, const char *agent_id)
{
    Guichet__V1__GetConversationsRequest request = GUICHET__V1__GET_CONVERSATIONS_REQUEST__INIT;
    const Guichet__V1__GetConversationsReply *reply;
    struct err err;

    request.tenant = (char *)tenant;
    request.ids = ids;
    request.n_ids = count;
    request.agent_id = (char *)agent_id;
    request.with_threads = true;
    reply = KIT_CALL(kit, kit->gateway, get_conversations, GetConversationsReply, &request, &err);
    assert_non_null(reply);
    return reply;
}

static void test_conversations_and_read_marks(void **state)
{
    struct kit *kit = *state;
    const Guichet__V1__Recorded *last = fill(kit, "marks"), *other = fill(kit, "marks-2");
    char nonsense[] = "nonsense", *ids[] = { other->conversation_id, nonsense, last->conversation_id };
    const Guichet__V1__GetConversationsReply *reply = get(kit, "marks", ids, COUNT_OF(ids), "agent-1");
    Guichet__V1__MarkReadRequest mark = GUICHET__V1__MARK_READ_REQUEST__INIT;
    const Guichet__V1__MarkReadReply *marked;
    const char *middle;
    struct err err;

    assert_int_equal(reply->n_conversations, 1);
    assert_string_equal(reply->conversations[0]->id, last->conversation_id);
    assert_string_equal(reply->conversations[0]->customer_name, "\xc3\x89lodie");
    assert_string_equal(reply->conversations[0]->last_preview, "marks seven");
    assert_int_equal(reply->conversations[0]->unread_count, MESSAGES);
    assert_int_equal(reply->conversations[0]->n_threads, 1);
    assert_int_equal(reply->conversations[0]->threads[0]->last_sequence, MESSAGES);
    assert_string_equal(reply->conversations[0]->threads[0]->identity->address->value, "+33600000001");
    assert_non_null(reply->conversations[0]->threads[0]->last_inbound_at);
    assert_int_equal(get(kit, "marks", ids, COUNT_OF(ids), "")->conversations[0]->unread_count, 0);

    middle = kit_sql(kit, "SELECT id FROM context.message WHERE tenant = 'marks' AND sequence = 4");
    mark.tenant = arena_strdup(kit->arena, "marks");
    mark.conversation_id = last->conversation_id;
    mark.agent_id = arena_strdup(kit->arena, "agent-1");
    mark.message_id = (char *)middle;
    marked = KIT_CALL(kit, kit->gateway, mark_read, MarkReadReply, &mark, &err);
    assert_int_equal(marked->unread_count, 3);
    mark.message_id =
        (char *)kit_sql(kit, "SELECT id FROM context.message WHERE tenant = 'marks' AND sequence = 1");
    marked = KIT_CALL(kit, kit->gateway, mark_read, MarkReadReply, &mark, &err); /* it only moves forward */
    assert_int_equal(marked->unread_count, 3);
    assert_int_equal(get(kit, "marks", ids, COUNT_OF(ids), "agent-2")->conversations[0]->unread_count,
                     MESSAGES);
    mark.message_id = other->message_id;
    assert_null(KIT_CALL(kit, kit->gateway, mark_read, MarkReadReply, &mark, &err));
    assert_int_equal(err.kind, ERR_NOT_FOUND);
}

static const Guichet__V1__FindCustomersReply *find(struct kit *kit, const char *tenant, const char *number,
                                                   const char *prefix, const char *after_id, uint32_t limit)
{
    Guichet__V1__FindCustomersRequest request = GUICHET__V1__FIND_CUSTOMERS_REQUEST__INIT;
    Guichet__V1__Page page = GUICHET__V1__PAGE__INIT;
    const Guichet__V1__FindCustomersReply *reply;
    struct err err;

    request.tenant = (char *)tenant;
    request.page = &page;
    page.limit = limit;
    page.after_id = (char *)after_id;
    if (number != NULL)
        request.address = kit_event(kit, tenant, "x", number, "")->sender;
    else
        request.name_prefix = (char *)prefix;
    reply = KIT_CALL(kit, kit->gateway, find_customers, FindCustomersReply, &request, &err);
    if (reply == NULL)
        fail_msg("find_customers: %s", err.text);
    return reply;
}

static void test_finding_customers(void **state)
{
    struct kit *kit = *state;
    static const char *const names[] = { "anna", "Annabelle", "ANNE", "Bob", "\xc3\x89lodie", "100%_sure" };
    static const struct {
        const char *label, *prefix, *found;
    } cases[] = {
        { "any case", "ANN", "anna Annabelle ANNE" },
        { "exact", "annabelle", "Annabelle" },
        { "beyond ASCII", "\xc3\xa9L", "\xc3\x89lodie" },
        { "no wildcard", "%", "" },
        { "a per cent is one", "100%_", "100%_sure" },
        { "nobody", "zoe", "" },
        { "everybody, by name", "", "100%_sure anna Annabelle ANNE Bob \xc3\x89lodie" },
    };

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        Guichet__V1__InboundEvent *event = kit_event(kit, "names", arena_printf(kit->arena, "SM%zu", i),
                                                     arena_printf(kit->arena, "+3360000%zu", i), "hello");

        event->sender->display_name = arena_strdup(kit->arena, names[i]);
        kit_record(kit, "names", &event, 1);
    }
    fill(kit, "names-2");
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        const Guichet__V1__FindCustomersReply *reply;
        const char *found = "", *after = "";

        do {
            reply = find(kit, "names", NULL, cases[c].prefix, after, 2);
            for (size_t i = 0; i < reply->n_customers; i++) {
                found = arena_printf(kit->arena, "%s%s%s", found, found[0] == '\0' ? "" : " ",
                                     reply->customers[i]->display_name);
                after = reply->customers[i]->id;
            }
        } while (reply->has_more);
        CHECK_CASE_TEXT(cases[c].label, found, cases[c].found);
    }
    assert_int_equal(find(kit, "names", "+33600003", NULL, "", 0)->n_customers, 1);
    assert_string_equal(find(kit, "names", "+33600003", NULL, "", 0)->customers[0]->display_name, "Bob");
    assert_int_equal(find(kit, "names", "+33600000001", NULL, "", 0)->n_customers, 0);
}

static void test_one_customer(void **state)
{
    struct kit *kit = *state;
    Guichet__V1__GetCustomerRequest request = GUICHET__V1__GET_CUSTOMER_REQUEST__INIT;
    Guichet__V1__UpdateCustomerRequest update = GUICHET__V1__UPDATE_CUSTOMER_REQUEST__INIT;
    const Guichet__V1__GetCustomerReply *reply;
    struct err err;

    fill(kit, "customer");
    fill(kit, "customer-2");
    kit_sql(
        kit,
        "INSERT INTO context.consent (tenant, identity_id, changed_at, state, account_id, evidence) SELECT tenant, id,"
        " now(), 2, 'sms-demo', 'STOP' FROM context.identity WHERE tenant = 'customer'");
    request.tenant = arena_strdup(kit->arena, "customer");
    request.id = (char *)kit_sql(kit, "SELECT id FROM context.customer WHERE tenant = 'customer'");
    reply = KIT_CALL(kit, kit->gateway, get_customer, GetCustomerReply, &request, &err);
    assert_string_equal(reply->customer->display_name, "\xc3\x89lodie");
    assert_int_equal(reply->customer->n_identities, 1);
    assert_string_equal(reply->customer->identities[0]->address->value, "+33600000001");
    assert_int_equal(reply->customer->n_consents, 1);
    assert_string_equal(reply->customer->consents[0]->evidence, "STOP");
    assert_non_null(reply->customer->last_seen_at);

    update.tenant = request.tenant;
    update.id = request.id;
    update.display_name = arena_strdup(kit->arena, "Elodie Martin");
    update.if_version = 1;
    update.actor_id = arena_strdup(kit->arena, "agent-1");
    reply = KIT_CALL(kit, kit->gateway, update_customer, GetCustomerReply, &update, &err);
    assert_string_equal(reply->customer->display_name, "Elodie Martin");
    assert_int_equal(reply->customer->version, 2);
    assert_int_equal(kit_changes(kit, "customer", MESSAGES)->changes[0]->kind,
                     GUICHET__V1__CHANGE_KIND__CHANGE_KIND_CUSTOMER);
    update.display_name = arena_strdup(kit->arena, "Somebody");
    assert_null(KIT_CALL(kit, kit->gateway, update_customer, GetCustomerReply, &update, &err));
    assert_int_equal(err.kind, ERR_CONFLICT);

    request.id = (char *)kit_sql(kit, "SELECT id FROM context.customer WHERE tenant = 'customer-2'");
    assert_null(KIT_CALL(kit, kit->gateway, get_customer, GetCustomerReply, &request, &err));
    assert_int_equal(err.kind, ERR_NOT_FOUND);
    update.id = request.id;
    assert_null(KIT_CALL(kit, kit->gateway, update_customer, GetCustomerReply, &update, &err));
    assert_int_equal(err.kind, ERR_NOT_FOUND);
}

/* ---- the doorbell ---- */

struct bell {
    const char *tenant;
    uint64_t sequence;
};

static void on_doorbell(void *arg, const char *tenant, uint64_t sequence)
{
    struct bell *bell = arg;

    if (strcmp(tenant, bell->tenant) == 0)
        bell->sequence = sequence;
}

static void test_the_doorbell_rings_after_a_commit(void **state)
{
    struct kit *kit = *state;
    const char *address = mesh_publisher_url(kit->replicas[0]->publisher);
    struct bell bell = { .tenant = "bell" };
    struct mesh_subscriber *subscriber = NULL;
    uint64_t recorded = 0;
    struct err err = { 0 };

    assert_true(mesh_subscriber_new(kit->service.loop, &address, 1, on_doorbell, &bell, &subscriber, &err));
    /* a subscriber hears nothing before it is connected: ring until it does */
    for (size_t i = 0; bell.sequence == 0; i++) {
        Guichet__V1__InboundEvent *event =
            kit_event(kit, "bell", arena_printf(kit->arena, "SM%zu", i), "+33600000001", "hello");

        assert_in_range(i, 0, 2000);
        recorded = kit_record(kit, "bell", &event, 1)->change_sequence;
    }
    KIT_UNTIL(kit, bell.sequence == recorded);
    mesh_subscriber_free(&subscriber);
}

static void test_the_months_ahead_are_made(void **state)
{
    struct kit *kit = *state;

    KIT_UNTIL(kit,
              atoi(kit_sql(
                  kit, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'context.message'::regclass")) ==
                  (int)kit->config.partition_months_ahead + 2);
    assert_string_equal(kit_sql(kit, "SELECT context.make_partitions(5)"), "6");
    assert_string_equal(kit_sql(kit, "SELECT context.make_partitions(5)"), "0");
    fill(kit, "partitions");
    assert_string_equal(kit_sql(kit, "SELECT count(*) FROM context.message_default"), "0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cursors),
        cmocka_unit_test(test_a_page_ends_before_the_reply_is_too_large),
        cmocka_unit_test(test_pages_and_two_tenants),
        cmocka_unit_test(test_conversations_and_read_marks),
        cmocka_unit_test(test_finding_customers),
        cmocka_unit_test(test_one_customer),
        cmocka_unit_test(test_the_doorbell_rings_after_a_commit),
        cmocka_unit_test(test_the_months_ahead_are_made),
    };

    return cmocka_run_group_tests(tests, kit_set_up, kit_tear_down);
}
