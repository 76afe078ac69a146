/* SPDX-License-Identifier: Apache-2.0 */
/* merge_model_test.c - random messages, replies, closes, merges, unmerges and joins, held against a model in C.
 *
 * Several tenants at a time, each one operation after the other; every answer is compared, the feed and the
 * tables at the end. GUICHET_TEST_SEED repeats a run, GUICHET_TEST_OPERATIONS makes it longer or shorter.
 * The second replica's window to reopen is nothing: so both halves of that rule are met. */
#include "context_testkit.h"

#include "merge_model_testkit.h"

enum { WORLDS = 20, BATCH = 20, SPLITS = 1000, PAGE = 20, FEED_PAGE = 500 };
enum { OPERATIONS = 100000, SEED = 20260301 };
#define EPOCH_US INT64_C(1600000000000000)

struct world {
    struct kit *kit;
    struct kit own; /* with an arena for one operation */
    struct model model;
    char tenant[32];
    uint64_t random, seed;
    size_t started, wanted;
    const struct operation *operation;
    struct answer answer;
    struct mesh_client *client;
    size_t replica;
    int one, other, made; /* the operation's conversations, customers, edges, messages: what it made */
    enum err_kind expected;
    int batch[BATCH], batch_count, batch_first;
    int splits[SPLITS][2], split_count;
    unsigned request_count;
};

struct operation {
    const char *name;
    unsigned weight;
    bool (*start)(struct world *world); /* false: there is nothing to do it with */
    void (*check)(struct world *world);
};

#define EXPECT(world, condition)                                                                             \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            fail_msg("GUICHET_TEST_SEED=%llu, %s, operation %zu, %s: %s", (unsigned long long)(world)->seed, \
                     (world)->tenant, (world)->started, (world)->operation->name, #condition);               \
    } while (0)

static unsigned roll(struct world *world, unsigned sides)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return (unsigned)(world->random % sides);
}

/* The same id as before, or the first time. */
static bool is_same(char known[ID_TEXT_BYTES], const char *id)
{
    if (known[0] == '\0' && strlen(id) == ID_TEXT_BYTES - 1)
        strcpy(known, id);
    return strcmp(known, id) == 0;
}

#define START(world, method, Reply, request)                                                                 \
    do {                                                                                                     \
        KIT_START((world)->kit, (world)->client, method, Reply, (request), &(world)->answer);                \
        (world)->answer.arena = (world)->own.arena;                                                          \
    } while (0)

#define REQUEST(world, Request, lower)                                                                       \
    __extension__({                                                                                          \
        Guichet__V1__##Request *made_ = context_alloc((world)->own.arena, sizeof(*made_));                   \
        guichet__v1__##lower##__init(made_);                                                                 \
        made_->tenant = (world)->tenant;                                                                     \
        made_;                                                                                               \
    })

/* The answer is an error of the kind that the model expects: nothing else to check. */
static bool is_refused(struct world *world)
{
    if (world->expected == ERR_NONE && world->answer.reply == NULL)
        fail_msg("%s, operation %zu, %s: %s", world->tenant, world->started, world->operation->name,
                 world->answer.err.text);
    EXPECT(world, (world->answer.reply == NULL) == (world->expected != ERR_NONE));
    EXPECT(world, world->answer.err.kind == world->expected);
    return world->expected != ERR_NONE;
}

/* ---- what is asked ---- */

static int any_conversation(struct world *world, bool is_open)
{
    const struct model *model = &world->model;

    for (int tries = 0; tries < 20 && model->conversation_count > 0; tries++) {
        int c = (int)roll(world, (unsigned)model->conversation_count);

        if (!is_open || model->conversations[c].is_open)
            return c;
    }
    return NONE;
}

static int any_customer(struct world *world)
{
    int p = (int)roll(world, PEOPLE);

    return world->model.customers[p][0] == '\0' ? NONE : p;
}

static const char *phone(const struct world *world, int person)
{
    return arena_printf(world->own.arena, "+336%08d", person);
}

static Guichet__V1__InboundEvent *build(struct world *world, int m)
{
    static const char *const keys[KEYS] = { "", "chat", "post" };
    const struct m_message *message = &world->model.messages[m];
    struct arena *arena = world->own.arena;
    Guichet__V1__InboundEvent *event =
        kit_event(&world->own, world->tenant, arena_printf(arena, "SM%d", m), phone(world, message->customer),
                  arena_printf(arena, "text %d", m));

    event->account_id = arena_printf(arena, "account-%d", message->account);
    event->occurred_at = pbtime_new(arena, EPOCH_US + m * INT64_C(1000000));
    event->thread = context_alloc(arena, sizeof(*event->thread));
    guichet__v1__thread_ref__init(event->thread);
    event->thread->key = arena_strdup(arena, keys[message->key]);
    event->thread->is_public = message->key == KEY_PUBLIC;
    if (message->claimed == NONE)
        return event;
    event->body_case = GUICHET__V1__INBOUND_EVENT__BODY_CLAIM;
    event->claim = context_alloc(arena, sizeof(*event->claim));
    guichet__v1__identity_claim__init(event->claim);
    event->claim->is_verified = true;
    event->claim->claimed = context_alloc(arena, sizeof(*event->claim->claimed));
    guichet__v1__address__init(event->claim->claimed);
    event->claim->claimed->kind = GUICHET__V1__IDENTITY_KIND__IDENTITY_KIND_PHONE;
    event->claim->claimed->value = (char *)phone(world, message->claimed);
    return event;
}

/* ---- messages: a batch of new ones, claims, and old ones again ---- */

static int receive(struct world *world)
{
    struct model *model = &world->model;
    unsigned known = 3 + (unsigned)model->message_count / 20;
    int person = (int)roll(world, known < PEOPLE ? known : PEOPLE), claimed = (int)roll(world, PEOPLE), m;
    bool is_claim = roll(world, 30) == 0 && claimed != person && model->customers[claimed][0] != '\0' &&
                    model->customers[person][0] != '\0';

    if (world->batch_first > 0 && roll(world, 10) == 0) {
        m = (int)roll(world, (unsigned)world->batch_first);
        if (model->messages[m].kind == SAID || model->messages[m].kind == CLAIMED)
            return m;
    }
    m = model_receive(model, person, (int)roll(world, ACCOUNTS), (int)roll(world, 6) % 4 % KEYS,
                      world->replica == 0);
    if (is_claim) {
        model->messages[m].kind = CLAIMED;
        model->messages[m].claimed = claimed;
    }
    return m;
}

static bool start_record(struct world *world)
{
    Guichet__V1__InboundEvent **events = context_alloc(world->own.arena, BATCH * sizeof(*events));
    Guichet__V1__RecordRequest *request = REQUEST(world, RecordRequest, record_request);
    struct model *model = &world->model;

    world->batch_first = model->message_count;
    world->batch_count = 1 + (int)roll(world, BATCH);
    for (int i = 0; i < world->batch_count; i++)
        world->batch[i] = receive(world);
    for (int i = 0; i < world->batch_count; i++) {
        const struct m_message *message = &model->messages[world->batch[i]];

        events[i] = build(world, world->batch[i]);
        if (message->kind == CLAIMED && world->batch[i] >= world->batch_first &&
            model_edge_between(model, message->customer, message->claimed, true) == NONE)
            (void)model_merge(model, message->customer, message->claimed, NONE);
    }
    world->started += (size_t)world->batch_count - 1;
    *request = kit_record_request(world->tenant, events, (size_t)world->batch_count);
    START(world, record, RecordReply, request);
    return true;
}

static void check_record(struct world *world)
{
    const Guichet__V1__RecordReply *reply = world->answer.reply;
    struct model *model = &world->model;

    if (is_refused(world))
        return;
    for (int i = 0; i < world->batch_count; i++) {
        struct m_message *message = &model->messages[world->batch[i]];
        const Guichet__V1__Recorded *recorded = reply->results[i];

        EXPECT(world, recorded->result == (world->batch[i] < world->batch_first
                                               ? GUICHET__V1__RECORD_RESULT__RECORD_RESULT_DUPLICATE
                                               : GUICHET__V1__RECORD_RESULT__RECORD_RESULT_STORED));
        EXPECT(world, is_same(message->id, recorded->message_id));
        EXPECT(world, is_same(model->conversations[message->conversation].id, recorded->conversation_id));
        EXPECT(world, is_same(model->threads[message->thread].id, recorded->thread_id));
        EXPECT(world, recorded->sequence == message->sequence);
    }
    EXPECT(world, reply->change_sequence == 0 || reply->change_sequence == model->change_count);
}

/* ---- replies and notes ---- */

static bool start_write(struct world *world, enum message_kind kind)
{
    Guichet__V1__StoreOutboundRequest *request = REQUEST(world, StoreOutboundRequest, store_outbound_request);
    struct model *model = &world->model;
    int c = any_conversation(world, roll(world, 8) != 0), thread = NONE;

    if (c == NONE)
        return false;
    world->expected =
        model->conversations[c].joined_into != NONE || (kind == REPLIED && !model->conversations[c].is_open)
            ? ERR_CONFLICT
            : ERR_NONE;
    request->conversation_id = model->conversations[c].id;
    request->actor_id = request->tenant;
    request->idempotency_key = arena_printf(world->own.arena, "W%u", ++world->request_count);
    request->direction = kind == REPLIED ? GUICHET__V1__MESSAGE_DIRECTION__MESSAGE_DIRECTION_OUTBOUND
                                         : GUICHET__V1__MESSAGE_DIRECTION__MESSAGE_DIRECTION_NOTE;
    if (kind == REPLIED)
        thread = model_reply_thread(model, c);
    if (world->expected == ERR_NONE)
        world->made = model_say(model, kind, c, thread);
    request->content =
        kit_event(&world->own, world->tenant, "", "", arena_printf(world->own.arena, "text %d", world->made))
            ->message->content;
    START(world, store_outbound, StoreOutboundReply, request);
    return true;
}

static bool start_reply(struct world *world)
{
    return start_write(world, REPLIED);
}

static bool start_note(struct world *world)
{
    return start_write(world, NOTED);
}

static void check_write(struct world *world)
{
    const Guichet__V1__StoreOutboundReply *reply = world->answer.reply;
    struct model *model = &world->model;
    struct m_message *message = &model->messages[world->made];

    if (is_refused(world))
        return;
    EXPECT(world, !reply->is_duplicate);
    EXPECT(world, is_same(message->id, reply->message->id));
    EXPECT(world, is_same(model->customers[message->customer], reply->message->customer_id));
    EXPECT(world, reply->message->sequence == message->sequence);
    EXPECT(world,
           strcmp(reply->message->conversation_id, model->conversations[message->conversation].id) == 0);
    if (message->kind == REPLIED)
        EXPECT(world, strcmp(reply->thread->id, model->threads[message->thread].id) == 0);
    EXPECT(world, reply->change_sequence == model->change_count);
}

/* ---- closing and opening ---- */

static bool start_state(struct world *world)
{
    Guichet__V1__SetConversationStateRequest *request =
        REQUEST(world, SetConversationStateRequest, set_conversation_state_request);
    struct model *model = &world->model;
    int c = any_conversation(world, roll(world, 4) != 0);
    struct m_conversation *conversation = &model->conversations[c];

    if (c == NONE)
        return false;
    world->one = c;
    request->conversation_id = conversation->id;
    request->state = conversation->is_open ? GUICHET__V1__CONVERSATION_STATE__CONVERSATION_STATE_CLOSED
                                           : GUICHET__V1__CONVERSATION_STATE__CONVERSATION_STATE_OPEN;
    if (conversation->joined_into != NONE) {
        world->expected = ERR_CONFLICT;
    } else {
        conversation->is_open = !conversation->is_open;
        model->change_count++;
    }
    START(world, set_conversation_state, SetConversationStateReply, request);
    return true;
}

static void check_state(struct world *world)
{
    const Guichet__V1__SetConversationStateReply *reply = world->answer.reply;

    if (is_refused(world))
        return;
    EXPECT(world, reply->is_changed);
    EXPECT(world, reply->change_sequence == world->model.change_count);
    EXPECT(world, (reply->conversation->state == GUICHET__V1__CONVERSATION_STATE__CONVERSATION_STATE_OPEN) ==
                      world->model.conversations[world->one].is_open);
}

/* ---- persons ---- */

static void check_person(struct world *world, const Guichet__V1__Customer *customer, int asked)
{
    struct model *model = &world->model;
    size_t members = 0, edges = 0;

    EXPECT(world, is_same(model->customers[asked], customer->id));
    for (int p = 0; p < PEOPLE; p++)
        if (model->is_known[p] && model_is_one(model, p, asked)) {
            bool is_there = false;

            for (size_t i = 0; i < customer->n_customer_ids; i++)
                is_there |= strcmp(customer->customer_ids[i], model->customers[p]) == 0;
            EXPECT(world, is_there);
            members++;
        }
    EXPECT(world, customer->n_customer_ids == members && customer->n_identities == members);
    for (int e = 0; e < model->edge_count; e++) {
        struct m_edge *edge = &model->edges[e];
        bool is_there = false;

        if (!edge->is_active || !model_is_one(model, edge->one, asked))
            continue;
        for (size_t i = 0; i < customer->n_merges; i++)
            if (strcmp(customer->merges[i]->customer_id, model->customers[edge->one]) == 0 &&
                strcmp(customer->merges[i]->other_customer_id, model->customers[edge->other]) == 0)
                is_there = is_same(edge->id, customer->merges[i]->id);
        EXPECT(world, is_there);
        edges++;
    }
    EXPECT(world, customer->n_merges == edges);
}

static bool start_find(struct world *world)
{
    Guichet__V1__FindCustomersRequest *request = REQUEST(world, FindCustomersRequest, find_customers_request);

    world->one = (int)roll(world, PEOPLE);
    if (!world->model.is_known[world->one])
        return false;
    request->address = context_alloc(world->own.arena, sizeof(*request->address));
    guichet__v1__address__init(request->address);
    request->address->kind = GUICHET__V1__IDENTITY_KIND__IDENTITY_KIND_PHONE;
    request->address->value = (char *)phone(world, world->one);
    START(world, find_customers, FindCustomersReply, request);
    return true;
}

static void check_find(struct world *world)
{
    const Guichet__V1__FindCustomersReply *reply = world->answer.reply;

    if (is_refused(world))
        return;
    EXPECT(world, reply->n_customers == 1);
    check_person(world, reply->customers[0], world->one);
}

/* ---- merging ---- */

/* Fewer than would make one person of everybody: those have nothing left to split. */
static unsigned active_edges(const struct model *model)
{
    unsigned count = 0;

    for (int e = 0; e < model->edge_count; e++)
        count += model->edges[e].is_active;
    return count;
}

static bool start_merge(struct world *world)
{
    Guichet__V1__MergeCustomersRequest *request =
        REQUEST(world, MergeCustomersRequest, merge_customers_request);
    struct model *model = &world->model;
    int one = any_customer(world), other = any_customer(world), key = (int)world->request_count + 1;
    int again = model->edge_count == 0 ? NONE : (int)roll(world, (unsigned)model->edge_count * 10);

    if (again != NONE && again < model->edge_count && model->edges[again].key != NONE) {
        one = model->edges[again].one;
        other = model->edges[again].other;
        key = model->edges[again].key;
    } else {
        again = NONE;
        world->request_count++;
    }
    if (one == NONE || other == NONE || (again == NONE && active_edges(model) > roll(world, 2 * PEOPLE / 3)))
        return false;
    world->one = one;
    request->customer_id = model->customers[one];
    request->other_customer_id = model->customers[other];
    request->evidence = request->actor_id = request->tenant;
    request->idempotency_key = arena_printf(world->own.arena, "M%d", key);
    world->expected = one == other ? ERR_INVALID : ERR_NONE;
    world->other = again != NONE ? again : model_edge_between(model, one, other, false);
    world->made = NONE;
    if (one != other && world->other == NONE)
        world->made = model_merge(model, one, other, key);
    START(world, merge_customers, MergeCustomersReply, request);
    return true;
}

static void check_merge(struct world *world)
{
    const Guichet__V1__MergeCustomersReply *reply = world->answer.reply;
    struct model *model = &world->model;
    size_t open = 0;

    if (is_refused(world))
        return;
    EXPECT(world, reply->is_duplicate == (world->made == NONE));
    EXPECT(world,
           is_same(model->edges[world->made == NONE ? world->other : world->made].id, reply->merge->id));
    EXPECT(world, reply->change_sequence == (world->made == NONE ? 0 : model->change_count));
    check_person(world, reply->customer, world->one);
    for (int c = 0; c < model->conversation_count; c++)
        open += model->conversations[c].is_open &&
                model_is_one(model, model->conversations[c].customer, world->one);
    EXPECT(world, reply->n_open_conversation_ids == (open < 100 ? open : 100));
}

static bool start_unmerge(struct world *world)
{
    Guichet__V1__UnmergeCustomersRequest *request =
        REQUEST(world, UnmergeCustomersRequest, unmerge_customers_request);
    struct model *model = &world->model;
    int e = NONE;

    for (int tries = 0; tries < 20 && model->edge_count > 0; tries++) {
        e = (int)roll(world, (unsigned)model->edge_count);
        if (model->edges[e].is_active)
            break;
    }
    if (e == NONE || model->edges[e].id[0] == '\0')
        return false;
    request->merge_id = model->edges[e].id;
    world->split_count = NONE;
    if (model->edges[e].is_active)
        world->split_count = model_unmerge(model, e, world->splits, SPLITS);
    START(world, unmerge_customers, UnmergeCustomersReply, request);
    return true;
}

static void check_unmerge(struct world *world)
{
    const Guichet__V1__UnmergeCustomersReply *reply = world->answer.reply;
    struct m_conversation *conversations = world->model.conversations;

    if (is_refused(world))
        return;
    EXPECT(world, (bool)reply->is_changed == (world->split_count != NONE));
    EXPECT(world, (int)reply->n_splits == (world->split_count == NONE ? 0 : world->split_count));
    for (size_t i = 0; i < reply->n_splits; i++) {
        struct m_conversation *made = &conversations[world->splits[i][1]];

        EXPECT(world, strcmp(reply->splits[i]->conversation_id, conversations[world->splits[i][0]].id) == 0);
        EXPECT(world, is_same(made->id, reply->splits[i]->new_conversation_id));
        EXPECT(world, reply->splits[i]->new_conversation_number == made->number);
    }
    EXPECT(world, reply->change_sequence == (world->split_count == NONE ? 0 : world->model.change_count));
}

/* ---- joining ---- */

/* The same person's; rather another customer's, so that there is something to split later. */
static bool is_worth_joining(struct world *world, int conversation, int other)
{
    int one = world->model.conversations[conversation].customer;
    int two = world->model.conversations[other].customer;

    return conversation != other && model_is_one(&world->model, one, two) &&
           (one != two || roll(world, 8) == 0);
}

static bool start_join(struct world *world)
{
    Guichet__V1__JoinConversationsRequest *request =
        REQUEST(world, JoinConversationsRequest, join_conversations_request);
    struct model *model = &world->model;
    int c = any_conversation(world, true), other = NONE;

    if (c == NONE)
        return false;
    for (int tries = 0; tries < 40; tries++) {
        other = any_conversation(world, roll(world, 20) != 0);
        if (other == NONE || roll(world, 40) == 0 || is_worth_joining(world, c, other))
            break;
    }
    if (other == NONE)
        return false;
    world->one = c;
    request->conversation_id = model->conversations[c].id;
    request->other_id = model->conversations[other].id;
    world->made = false;
    if (c == other)
        world->expected = ERR_INVALID;
    else if (model->conversations[other].joined_into == c)
        world->expected = ERR_NONE;
    else if (!model->conversations[other].is_open ||
             !model_is_one(model, model->conversations[c].customer, model->conversations[other].customer))
        world->expected = ERR_CONFLICT;
    else
        world->made = true;
    if (world->made)
        model_join(model, c, other);
    START(world, join_conversations, JoinConversationsReply, request);
    return true;
}

static void check_join(struct world *world)
{
    const Guichet__V1__JoinConversationsReply *reply = world->answer.reply;
    size_t threads = 0;

    if (is_refused(world))
        return;
    EXPECT(world, (int)reply->is_changed == world->made);
    for (int t = 0; t < world->model.thread_count; t++)
        threads += world->model.threads[t].conversation == world->one;
    EXPECT(world, reply->conversation->n_threads == threads);
    EXPECT(world, reply->change_sequence == (world->made ? world->model.change_count : 0));
}

#include "merge_model_testkit_checks.h"

int main(void)
{
    /* Commits that wait for the disk together; and all of them answered in one turn, with both ends in one loop. */
    setenv("GUICHET_CONTEXT_DATABASE_INGEST_CONNECTIONS", "8", 1);
    setenv("GUICHET_CONTEXT_LOOP_TURN_MAX_MS", "1s", 1);
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_the_model) };

    return cmocka_run_group_tests(tests, kit_set_up, kit_tear_down);
}
