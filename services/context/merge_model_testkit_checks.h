/* SPDX-License-Identifier: Apache-2.0 */
/* merge_model_testkit_checks.h - part of merge_model_test.c: reading, the run, and what must hold at its end. */
#ifndef GUICHET_CONTEXT_MERGE_MODEL_TESTKIT_CHECKS_H
#define GUICHET_CONTEXT_MERGE_MODEL_TESTKIT_CHECKS_H

/* ---- reading: nothing changes, so it is no operation ---- */

static bool start_timeline(struct world *world)
{
    Guichet__V1__TimelineRequest *request = REQUEST(world, TimelineRequest, timeline_request);
    Guichet__V1__Page *page = context_alloc(world->own.arena, sizeof(*page));

    world->one = any_customer(world);
    if (world->one == NONE)
        return false;
    guichet__v1__page__init(page);
    page->limit = PAGE;
    world->other = NONE;
    if (roll(world, 2) == 0) {
        world->other = (int)roll(world, (unsigned)world->model.message_count);
        page->after_id = world->model.messages[world->other].id;
    }
    request->customer_id = world->model.customers[world->one];
    request->page = page;
    START(world, timeline, ListMessagesReply, request);
    return true;
}

/* Newest first, from the person's last, or the one asked to start after, with none left out. */
static void check_timeline(struct world *world)
{
    const Guichet__V1__ListMessagesReply *reply = world->answer.reply;
    const struct model *model = &world->model;
    size_t seen = 0;
    int m = world->other == NONE ? model->message_count : world->other;

    if (is_refused(world))
        return;
    while (--m >= 0) {
        if (!model_is_one(model, model->messages[m].customer, world->one))
            continue;
        if (seen == PAGE)
            break;
        EXPECT(world, seen < reply->n_messages);
        EXPECT(world, strcmp(reply->messages[seen]->id, model->messages[m].id) == 0);
        EXPECT(world, strcmp(reply->messages[seen]->conversation_id,
                             model->conversations[model->messages[m].conversation].id) == 0);
        seen++;
    }
    EXPECT(world, seen == reply->n_messages);
    EXPECT(world, (bool)reply->has_more == (m >= 0));
}

static bool start_get(struct world *world)
{
    Guichet__V1__GetConversationsRequest *request =
        REQUEST(world, GetConversationsRequest, get_conversations_request);

    world->one = any_conversation(world, roll(world, 3) != 0);
    if (world->one == NONE)
        return false;
    request->ids = context_alloc(world->own.arena, sizeof(*request->ids));
    request->ids[0] = world->model.conversations[world->one].id;
    request->n_ids = 1;
    request->with_threads = true;
    START(world, get_conversations, GetConversationsReply, request);
    return true;
}

static const char *expected_preview(const struct world *world, int conversation)
{
    int m = world->model.message_count;

    while (--m >= 0)
        if (world->model.messages[m].conversation == conversation && world->model.messages[m].kind != NOTED)
            break;
    if (m < 0)
        return "";
    return world->model.messages[m].kind == CLAIMED ? "[identity]"
                                                    : arena_printf(world->own.arena, "text %d", m);
}

static void check_get(struct world *world)
{
    const Guichet__V1__GetConversationsReply *reply = world->answer.reply;
    const struct model *model = &world->model;
    const struct m_conversation *expected = &model->conversations[world->one];
    const Guichet__V1__Conversation *conversation;
    size_t linked = 0, threads = 0;

    if (is_refused(world))
        return;
    EXPECT(world, reply->n_conversations == 1);
    conversation = reply->conversations[0];
    for (int c = 0; c < model->conversation_count; c++) {
        const struct m_conversation *other = &model->conversations[c];
        bool is_there = false;

        if (c == world->one || !expected->is_open || !other->is_open ||
            !model_is_one(model, other->customer, expected->customer))
            continue;
        for (size_t i = 0; i < conversation->n_linked_ids; i++)
            is_there |= strcmp(conversation->linked_ids[i], other->id) == 0;
        EXPECT(world, is_there);
        linked++;
    }
    EXPECT(world, conversation->n_linked_ids == linked);
    for (int t = 0; t < model->thread_count; t++)
        threads += model->threads[t].conversation == world->one;
    EXPECT(world, conversation->n_threads == threads);
    EXPECT(world, conversation->number == expected->number);
    EXPECT(world, is_same(world->model.customers[expected->customer], conversation->customer_id));
    EXPECT(world, (conversation->state == GUICHET__V1__CONVERSATION_STATE__CONVERSATION_STATE_OPEN) ==
                      expected->is_open);
    EXPECT(world,
           strcmp(conversation->joined_into_id,
                  expected->joined_into == NONE ? "" : model->conversations[expected->joined_into].id) == 0);
    if (expected->joined_into == NONE)
        EXPECT(world, strcmp(conversation->last_preview, expected_preview(world, world->one)) == 0);
}

/* ---- the run ---- */

static const struct operation operations[] = {
    { "record", 30, start_record, check_record },
    { "reply", 10, start_reply, check_write },
    { "note", 3, start_note, check_write },
    { "open or close", 10, start_state, check_state },
    { "merge", 16, start_merge, check_merge },
    { "unmerge", 14, start_unmerge, check_unmerge },
    { "join", 14, start_join, check_join },
    { "find", 4, start_find, check_find },
    { "timeline", 3, start_timeline, check_timeline },
    { "get", 3, start_get, check_get },
};

static bool is_reading(const struct operation *operation)
{
    return operation->start == start_find || operation->start == start_timeline ||
           operation->start == start_get;
}

static const struct operation *any_operation(struct world *world)
{
    unsigned total = 0, rest;

    for (size_t i = 0; i < COUNT_OF(operations); i++)
        total += operations[i].weight;
    rest = roll(world, total);
    for (size_t i = 0;; rest -= operations[i++].weight)
        if (rest < operations[i].weight)
            return &operations[i];
}

static void start_next(struct world *world)
{
    arena_free(&world->own.arena);
    world->own.arena = arena_new(SIZE_MAX);
    world->answer = (struct answer){ 0 };
    do {
        world->expected = ERR_NONE;
        world->replica = roll(world, KIT_REPLICAS);
        world->client = world->kit->centre[world->replica];
        world->operation = any_operation(world);
    } while (!world->operation->start(world));
    if (!is_reading(world->operation))
        world->started++;
}

/* False once the world has had its operations. */
static bool go_on(struct world *world)
{
    if (world->operation != NULL && !world->answer.is_done)
        return true;
    if (world->operation != NULL)
        world->operation->check(world);
    world->operation = NULL;
    if (world->started >= world->wanted)
        return false;
    start_next(world);
    return true;
}

static void open_world(struct world *world, struct kit *kit, size_t n, uint64_t seed, size_t wanted)
{
    *world = (struct world){ .kit = kit, .own = *kit, .seed = seed, .wanted = wanted };
    world->random = (seed * 1000 + n + 1) * UINT64_C(0x9e3779b97f4a7c15);
    snprintf(world->tenant, sizeof(world->tenant), "world-%zu", n);
    world->own.arena = arena_new(SIZE_MAX);
    model_init(&world->model);
}

/* ---- the end ---- */

static void check_feed(struct world *world)
{
    uint64_t merged = 0, unmerged = 0, split = 0, joined = 0, sequence = 0;
    const Guichet__V1__ReadChangesReply *changes;

    do {
        changes = kit_changes(&world->own, world->tenant, sequence);
        assert_false(changes->is_resync_required);
        for (size_t i = 0; i < changes->n_changes; i++) {
            Guichet__V1__ChangeKind kind = changes->changes[i]->kind;

            assert_int_equal(changes->changes[i]->sequence, ++sequence);
            merged += kind == GUICHET__V1__CHANGE_KIND__CHANGE_KIND_MERGED;
            unmerged += kind == GUICHET__V1__CHANGE_KIND__CHANGE_KIND_UNMERGED;
            split += kind == GUICHET__V1__CHANGE_KIND__CHANGE_KIND_SPLIT;
            joined += kind == GUICHET__V1__CHANGE_KIND__CHANGE_KIND_JOINED;
        }
    } while (changes->n_changes > 0);
    assert_int_equal(sequence, world->model.change_count);
    assert_int_equal(merged, world->model.merge_changes);
    assert_int_equal(unmerged, world->model.unmerge_changes);
    assert_int_equal(split, world->model.split_changes);
    assert_int_equal(joined, world->model.join_changes);
}

static int compare_lines(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* Sorted as PostgreSQL sorts them: by their ids, each line's beginning. */
static const char *joined_lines(struct world *world, char **lines, size_t count)
{
    struct buf text;
    const char *kept;

    qsort(lines, count, sizeof(*lines), compare_lines);
    buf_init(&text, SIZE_MAX);
    for (size_t i = 0; i < count; i++)
        buf_printf(&text, "%s\n", lines[i]);
    kept = arena_strdup(world->own.arena, buf_text(&text));
    buf_done(&text);
    return kept;
}

/* Every message and every thread is where the model has it. */
static void check_tables(struct world *world)
{
    struct model *model = &world->model;
    size_t count = 0;
    char **lines = context_alloc(world->own.arena, (size_t)model->message_count * sizeof(*lines));

    for (int p = 0; p < PEOPLE; p++)
        if (model->is_known[p])
            assert_true(is_same(model->customers[p],
                                kit_sql(world->kit,
                                        "SELECT customer_id FROM context.identity WHERE tenant = '%s'"
                                        " AND value = '%s'",
                                        world->tenant, phone(world, p))));
    for (int m = 0; m < model->message_count; m++) {
        const struct m_message *message = &model->messages[m];

        lines[count++] = arena_printf(world->own.arena, "%s %s %s %u", message->id,
                                      model->conversations[message->conversation].id,
                                      model->customers[message->customer], message->sequence);
    }
    assert_string_equal(
        joined_lines(world, lines, count),
        kit_sql(world->kit,
                "SELECT string_agg(concat_ws(' ', id, conversation_id, customer_id, sequence) || E'\\n', ''"
                " ORDER BY id) FROM context.message WHERE tenant = '%s'",
                world->tenant));
    count = 0;
    for (int t = 0; t < model->thread_count; t++)
        lines[count++] =
            arena_printf(world->own.arena, "%s %s %u %s", model->threads[t].id,
                         model->conversations[model->threads[t].conversation].id,
                         model->threads[t].last_sequence, model->threads[t].is_current ? "t" : "f");
    assert_string_equal(
        joined_lines(world, lines, count),
        kit_sql(
            world->kit,
            "SELECT string_agg(concat_ws(' ', id, conversation_id, last_sequence, is_current) || E'\\n', ''"
            " ORDER BY id) FROM context.thread WHERE tenant = '%s'",
            world->tenant));
}

/* What must hold in every tenant, whatever happened there: 0 each. */
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
    { "no thread has a hole",
      "SELECT count(*) FROM (SELECT count(*) AS n, max(m.sequence) AS last, count(DISTINCT"
      " m.sequence) AS distinct_n"
      " FROM context.message m WHERE m.thread_id IS NOT NULL GROUP BY m.tenant, m.thread_id) s"
      " WHERE s.n <> s.last OR s.n <> s.distinct_n" },
    { "conversations are numbered without a hole",
      "SELECT count(*) FROM (SELECT count(*) AS n, max(v.number) AS last FROM context.conversation"
      " v GROUP BY v.tenant) s"
      " WHERE s.n <> s.last" },
    { "a joined conversation is closed and has nothing",
      "SELECT count(*) FROM context.conversation v WHERE v.joined_into_id IS NOT NULL AND (v.state <> 2"
      " OR EXISTS (SELECT FROM context.thread t WHERE t.conversation_id = v.id)"
      " OR EXISTS (SELECT FROM context.message m WHERE m.conversation_id = v.id))" },
};

/* Plans are made once, and not again and again, when the table of threads is no longer small: so it is not. */
static void age(struct kit *kit)
{
    kit_sql(
        kit,
        "INSERT INTO context.thread (tenant, id, conversation_id, identity_id, account_id, channel,"
        " thread_key)"
        " SELECT 'old', context.uuid7(), context.uuid7(), context.uuid7(), 'account', 'sms', n::text"
        " FROM generate_series(1, 12000) n");
    assert_string_equal(kit_sql(kit, "SELECT pg_relation_size('context.thread') > 1048576"), "true");
}

static uint64_t number_from(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);

    return text == NULL ? fallback : strtoull(text, NULL, 10);
}

static void test_the_model(void **state)
{
    struct kit *kit = *state;
    struct context_config other = kit->config;
    uint64_t seed = number_from("GUICHET_TEST_SEED", SEED);
    size_t count = number_from("GUICHET_TEST_OPERATIONS", OPERATIONS), started = 0;
    struct world *worlds = calloc(WORLDS, sizeof(*worlds));
    uint64_t merges = 0, splits = 0, joins = 0;
    size_t messages = 0;
    bool is_running = true;

    other.reopen_window_ms = 0;
    kit->replicas[1]->config = &other;
    print_message("GUICHET_TEST_SEED=%llu GUICHET_TEST_OPERATIONS=%zu\n", (unsigned long long)seed, count);
    age(kit);
    for (size_t w = 0; w < WORLDS; w++)
        open_world(&worlds[w], kit, w, seed, (count + WORLDS - 1) / WORLDS);
    while (is_running) {
        is_running = false;
        for (size_t w = 0; w < WORLDS; w++)
            is_running |= go_on(&worlds[w]);
        loop_turn(kit->service.loop, 20);
    }
    for (size_t w = 0; w < WORLDS; w++) {
        const struct model *model = &worlds[w].model;

        started += worlds[w].started;
        messages += (size_t)model->message_count;
        merges += model->merge_changes;
        splits += model->split_changes;
        joins += model->join_changes;
        check_tables(&worlds[w]);
        check_feed(&worlds[w]);
        model_done(&worlds[w].model);
        arena_free(&worlds[w].own.arena);
    }
    kit_sql(kit, "ANALYZE"); /* so that joins of whole tables are made as such */
    for (size_t i = 0; i < COUNT_OF(invariants); i++)
        CHECK_CASE_TEXT(invariants[i][0], kit_sql(kit, "%s", invariants[i][1]), "0");
    print_message("%zu messages, %llu merges, %llu conversations split, %llu joined\n", messages,
                  (unsigned long long)merges, (unsigned long long)splits, (unsigned long long)joins);
    assert_in_range(started, count, SIZE_MAX);
    kit->replicas[1]->config = &kit->config;
    free(worlds);
}

#endif
