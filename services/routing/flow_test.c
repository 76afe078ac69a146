/* SPDX-License-Identifier: Apache-2.0 */
/* flow_test.c - the service as it runs, with a real PostgreSQL and a context in memory: events in, an agent's
 * answer out, receipts, leases that end, a feed with a bad change. Every fall-back poll is set to an hour. */
#include "testkit.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "fake_context.h"

#include "core/id.h"
#include "core/pbjson.h"
#include "routing.h"

#define DEADLINE_MS 10000

static struct testkit_database database;

struct answer {
    bool is_done;
    struct err err;
    struct arena *arena;
    ProtobufCMessage *reply;
};

struct house {
    char tenant[32], path[64];
    struct routing_config config;
    struct service service;
    struct routing *routing;
    struct fake_context fake;
    struct mesh_client *connector, *pull, *gateway;
    struct arena *arena;
    struct buf token;
    struct answer answers[4];
};

#define UNTIL(house, condition)                                                                     \
    do {                                                                                            \
        uint64_t end_ = loop_now_ms((house)->service.loop) + DEADLINE_MS;                           \
        while (!(condition) && loop_now_ms((house)->service.loop) < end_)                           \
            loop_turn((house)->service.loop, 20);                                                   \
        if (!(condition))                                                                           \
            fail_msg("line %d: not in time: %s", __LINE__, #condition);                             \
    } while (0)

static void on_answer(const ProtobufCMessage *reply, void *arg)
{
    struct answer *answer = arg;

    answer->is_done = true;
    if (reply == NULL)
        answer->err = *mesh_err();
    else
        answer->reply = pb_dup(reply, answer->arena);
}

static void *start(struct house *house, size_t slot)
{
    house->answers[slot] = (struct answer){ .arena = house->arena };
    return &house->answers[slot];
}

/* CALL(house, gateway, routing, login, Login, &request): the reply, or NULL and house->answers[0].err. */
#define ASK(house, slot, client, service_name, method, type, request)                                    \
    guichet__v1__##service_name##__##method(                                                             \
        mesh_client_call((house)->client, &(struct mesh_call){ .tenant = (house)->tenant,                \
                         .token = buf_view(&(house)->token), .timeout_ms = DEADLINE_MS,                  \
                         .attempt_timeout_ms = DEADLINE_MS, .no_retry = true }),                         \
        (request), (Guichet__V1__##type##_Closure)on_answer, start((house), (slot)))
#define CALL(house, client, service_name, method, type, request)                                         \
    (ASK(house, 0, client, service_name, method, type, request),                                         \
     wait_for((house), 0), (Guichet__V1__##type *)(house)->answers[0].reply)

static void wait_for(struct house *house, size_t slot)
{
    UNTIL(house, house->answers[slot].is_done);
}

/* ---- the house ---- */

static void fake_record(Guichet__V1__Context_Service *service, const Guichet__V1__RecordRequest *input,
                        Guichet__V1__RecordReply_Closure closure, void *closure_data)
{
    struct fake_context *fake = (struct fake_context *)service;
    Guichet__V1__RecordReply reply = GUICHET__V1__RECORD_REPLY__INIT;
    Guichet__V1__Recorded recorded = GUICHET__V1__RECORDED__INIT, *results = &recorded;
    unsigned n = (unsigned)atoi(input->events[0]->event_key);

    if (fake->fail_with != ERR_NONE) {
        struct err err = { 0 };

        err_set(&err, fake->fail_with, "told to fail");
        mesh_request_fail(mesh_request_of(closure_data), &err);
        return;
    }
    snprintf(fake->channel, sizeof(fake->channel), "%s", input->channels[0]);
    fake_message(fake, n, true);
    recorded.result = GUICHET__V1__RECORD_RESULT__RECORD_RESULT_STORED;
    reply.results = &results;
    reply.n_results = 1;
    reply.change_sequence = fake->count;
    closure(&reply, closure_data);
    fake_ring(fake);
}

static void fake_store_outbound(Guichet__V1__Context_Service *service,
                                const Guichet__V1__StoreOutboundRequest *input,
                                Guichet__V1__StoreOutboundReply_Closure closure, void *closure_data)
{
    struct fake_context *fake = (struct fake_context *)service;
    Guichet__V1__StoreOutboundReply reply = GUICHET__V1__STORE_OUTBOUND_REPLY__INIT;
    Guichet__V1__Message message = GUICHET__V1__MESSAGE__INIT;
    Guichet__V1__Change *change =
        fake_outbound(fake, (unsigned)atoi(input->conversation_id + 24), input->actor_id);

    message.id = change->message_id;
    message.conversation_id = input->conversation_id;
    message.thread_id = input->thread_id;
    reply.message = &message;
    reply.change_sequence = fake->count;
    closure(&reply, closure_data);
    fake_ring(fake);
}

static void fake_open_thread(Guichet__V1__Context_Service *service, const Guichet__V1__OpenThreadRequest *input,
                             Guichet__V1__OpenThreadReply_Closure closure, void *closure_data)
{
    struct fake_context *fake = (struct fake_context *)service;
    Guichet__V1__OpenThreadReply reply = GUICHET__V1__OPEN_THREAD_REPLY__INIT;
    Guichet__V1__Conversation conversation = GUICHET__V1__CONVERSATION__INIT;
    Guichet__V1__Thread thread = GUICHET__V1__THREAD__INIT;
    unsigned n = (unsigned)atoi(input->recipient->value);
    Guichet__V1__Change *change = fake_add(fake, GUICHET__V1__CHANGE_KIND__CHANGE_KIND_STATE, n);

    change->state = GUICHET__V1__CONVERSATION_STATE__CONVERSATION_STATE_OPEN;
    change->is_new_conversation = true;
    change->actor_id = arena_strdup(fake->arena, input->actor_id);
    conversation.id = change->conversation_id;
    conversation.number = n;
    thread.id = change->thread_id;
    reply.conversation = &conversation;
    reply.thread = &thread;
    reply.is_new = true;
    reply.change_sequence = change->sequence;
    closure(&reply, closure_data);
}

static void open_fake(struct house *house)
{
    struct fake_context *fake = &house->fake;
    struct err err = { 0 };

    fake->base = (Guichet__V1__Context_Service){
        .base = { .descriptor = &guichet__v1__context__descriptor, .invoke = protobuf_c_service_invoke_internal },
        .record = fake_record,
        .read_changes = fake_read_changes,
        .store_outbound = fake_store_outbound,
        .open_thread = fake_open_thread,
        .set_conversation_state = fake_set_conversation_state,
        .get_conversations = fake_get_conversations,
    };
    fake->tenant = house->tenant;
    fake->arena = arena_new(8 << 20);
    const struct mesh_server_options options = { .name = "centre", .listen = "tcp://127.0.0.1:0", .service = "context" };
    if (!mesh_server_new(house->service.loop, &options, &fake->server, &err) ||
        !mesh_publisher_new(house->service.loop, "tcp://127.0.0.1:0", &fake->publisher, &err))
        fail_msg("fake context: %s", err.text);
    mesh_server_add(fake->server, &fake->base.base);
}

static struct mesh_client *dial(struct house *house, size_t listener)
{
    const char *url = mesh_server_url(house->routing->servers[listener]);
    const struct mesh_client_options options = {
        .name = "routing",
        .addresses = &url,
        .address_count = 1,
        .descriptor = listener < 2 ? &guichet__v1__connector__descriptor : &guichet__v1__routing__descriptor,
    };
    struct mesh_client *client = NULL;
    struct err err = { 0 };

    if (!mesh_client_new(house->service.loop, &options, &client, &err))
        fail_msg("dial: %s", err.text);
    return client;
}

static void write_config(struct house *house, const char *extra)
{
    FILE *file;
    int fd;

    snprintf(house->path, sizeof(house->path), "/tmp/guichet-routing-XXXXXX");
    fd = mkstemp(house->path);
    file = fdopen(fd, "w");
    assert_non_null(file);
    fprintf(file,
            "ops_listen: 127.0.0.1:0\ndatabase_url: env:ROUTING_TEST_URL\ntoken_key: env:ROUTING_TEST_KEY\n"
            "listen_connector: tcp://127.0.0.1:0\nlisten_pull: tcp://127.0.0.1:0\n"
            "listen_gateway: tcp://127.0.0.1:0\nlisten_ctl: tcp://127.0.0.1:0\npublish: tcp://127.0.0.1:0\n"
            "poll_ms: 1h\npresence_ttl_ms: 1h\nlog_level: error\n%s"
            "tenants:\n  - name: %s\n    queues:\n      - name: support\n      - name: billing\n"
            "connectors:\n  - name: sms-1\n    channel: sms\n    secret: env:ROUTING_TEST_KEY\n    tenants: [%s]\n",
            extra, house->tenant, house->tenant);
    fclose(file);
    setenv("ROUTING_TEST_URL", database.url, 1);
    setenv("ROUTING_TEST_KEY", "0123456789abcdef", 1);
}

static void open_house(struct house *house, const char *tenant, const char *extra)
{
    char *argv[] = { (char[]){ "guichet-routing" }, (char[]){ "--config" }, house->path, NULL };
    struct err err = { 0 };
    bool ok;

    memset(house, 0, sizeof(*house));
    snprintf(house->tenant, sizeof(house->tenant), "%s", tenant);
    house->arena = arena_new(64 << 20);
    buf_init(&house->token, 65536);
    write_config(house, extra);
    house->service = (struct service){
        .name = "routing", .config_keys = routing_keys, .config = &house->config, .stats = routing_stats_tables
    };
    if (!service_open(&house->service, 3, argv, &err))
        fail_msg("service_open: %s", err.text);
    open_fake(house);
    free(house->config.context.items[0]);
    house->config.context.items[0] = str_dup(str_view_of(mesh_server_url(house->fake.server)));
    free(house->config.context_doorbells.items[0]);
    house->config.context_doorbells.items[0] = str_dup(str_view_of(mesh_publisher_url(house->fake.publisher)));
    ok = routing_new(&house->routing, &house->service, &house->config, &err);
    if (!ok)
        fail_msg("routing_new: %s", err.text);
    house->connector = dial(house, 0);
    house->pull = dial(house, 1);
    house->gateway = dial(house, 2);
    UNTIL(house, house->routing->has_tenants && mesh_client_is_healthy(house->connector) &&
                     mesh_client_is_healthy(house->pull) && mesh_client_is_healthy(house->gateway) &&
                     mesh_client_is_healthy(house->routing->context));
}

static void close_house(struct house *house)
{
    mesh_client_free(&house->connector);
    mesh_client_free(&house->pull);
    mesh_client_free(&house->gateway);
    routing_free(&house->routing);
    mesh_server_free(&house->fake.server);
    mesh_publisher_free(&house->fake.publisher);
    service_close(&house->service);
    arena_free(&house->fake.arena);
    arena_free(&house->arena);
    buf_done(&house->token);
    unlink(house->path);
}

/* ---- what the parts do ---- */

static Guichet__V1__AnnounceReply *announce(struct house *house, const char *tenant, const char *secret)
{
    Guichet__V1__AnnounceRequest request = GUICHET__V1__ANNOUNCE_REQUEST__INIT;
    Guichet__V1__AnnouncedAccount account = GUICHET__V1__ANNOUNCED_ACCOUNT__INIT, *accounts = &account;
    Guichet__V1__Capabilities capabilities = GUICHET__V1__CAPABILITIES__INIT;
    Guichet__V1__AnnounceReply *reply;
    int64_t now_us = time_now_us();
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    char text[128];

    snprintf(text, sizeof(text), "sms-1\nsms\n%lld\n61", (long long)(now_us / 1000000));
    HMAC(EVP_sha256(), secret, (int)strlen(secret), (const uint8_t *)text, strlen(text), mac, &len);
    request.connector = (char *)"sms-1";
    request.channel = (char *)"sms";
    request.at = pbtime_new(house->arena, now_us);
    request.nonce = (ProtobufCBinaryData){ 1, (uint8_t *)"a" };
    request.mac = (ProtobufCBinaryData){ len, mac };
    request.accounts = &accounts;
    request.n_accounts = 1;
    account.tenant = (char *)tenant;
    account.id = arena_printf(house->arena, "sms-%s", tenant);
    account.address = (char *)"+33199000000";
    account.capabilities = &capabilities;
    capabilities.text_max_length = 20;
    capabilities.can_start = true;
    capabilities.resend = GUICHET__V1__RESEND_POLICY__RESEND_POLICY_ASK;
    reply = CALL(house, connector, connector, announce, AnnounceReply, &request);
    if (reply != NULL) {
        buf_clear(&house->token);
        buf_append(&house->token, reply->token.data, reply->token.len);
    }
    return reply;
}

static Guichet__V1__SubmitReply *submit(struct house *house, const char *account_id, unsigned n)
{
    Guichet__V1__SubmitRequest request = GUICHET__V1__SUBMIT_REQUEST__INIT;
    Guichet__V1__InboundEvent event = GUICHET__V1__INBOUND_EVENT__INIT, *events = &event;

    request.tenant = house->tenant;
    request.events = &events;
    request.n_events = 1;
    event.account_id = (char *)account_id;
    event.event_key = arena_printf(house->arena, "%u", n);
    return CALL(house, connector, connector, submit, SubmitReply, &request);
}

static Guichet__V1__Agent *make_agent(struct house *house, const char *login, Guichet__V1__Role role)
{
    Guichet__V1__PutAgentRequest request = GUICHET__V1__PUT_AGENT_REQUEST__INIT;
    Guichet__V1__SetPresenceRequest presence = GUICHET__V1__SET_PRESENCE_REQUEST__INIT;
    Guichet__V1__PutAgentReply *reply;

    request.tenant = house->tenant;
    request.login = (char *)login;
    request.password = (char *)"correct horse";
    request.role = role;
    request.capacity = 2;
    reply = CALL(house, gateway, routing, put_agent, PutAgentReply, &request);
    assert_non_null(reply);
    assert_true(reply->is_new);
    assert_int_equal(reply->agent->n_queue_ids, 2);
    presence.tenant = house->tenant;
    presence.agent_id = reply->agent->id;
    presence.presence = GUICHET__V1__PRESENCE__PRESENCE_ONLINE;
    assert_non_null(CALL(house, gateway, routing, set_presence, SetPresenceReply, &presence));
    return reply->agent;
}

static Guichet__V1__ReplyReply *reply_text(struct house *house, const char *agent_id, unsigned n, const char *words)
{
    Guichet__V1__ReplyRequest request = GUICHET__V1__REPLY_REQUEST__INIT;
    Guichet__V1__Content content = GUICHET__V1__CONTENT__INIT;
    Guichet__V1__Part part = GUICHET__V1__PART__INIT, *parts = &part;
    Guichet__V1__Text text = GUICHET__V1__TEXT__INIT;

    text.text = (char *)words;
    part.kind_case = GUICHET__V1__PART__KIND_TEXT;
    part.text = &text;
    content.parts = &parts;
    content.n_parts = 1;
    request.tenant = house->tenant;
    request.conversation_id = fake_id(&house->fake, FAKE_CONVERSATION, n);
    request.content = &content;
    request.actor_id = (char *)agent_id;
    request.idempotency_key = (char *)"key";
    return CALL(house, gateway, routing, reply, ReplyReply, &request);
}

static void start_pull(struct house *house, size_t slot, uint32_t wait_ms)
{
    Guichet__V1__PullRequest request = GUICHET__V1__PULL_REQUEST__INIT;

    request.max_jobs = 10;
    request.wait_ms = wait_ms;
    ASK(house, slot, pull, connector, pull, PullReply, &request);
}

static Guichet__V1__PullReply *end_pull(struct house *house, size_t slot)
{
    wait_for(house, slot);
    return (Guichet__V1__PullReply *)house->answers[slot].reply;
}

static Guichet__V1__StartReply *start_job(struct house *house, const Guichet__V1__Job *job)
{
    Guichet__V1__StartRequest request = GUICHET__V1__START_REQUEST__INIT;

    request.tenant = job->tenant;
    request.job_id = job->id;
    request.lease = job->lease;
    return CALL(house, connector, connector, start, StartReply, &request);
}

static Guichet__V1__ReportReply *report_job(struct house *house, const Guichet__V1__Job *job,
                                            Guichet__V1__OutcomeKind kind, const char *provider_id)
{
    Guichet__V1__ReportRequest request = GUICHET__V1__REPORT_REQUEST__INIT;
    Guichet__V1__Outcome outcome = GUICHET__V1__OUTCOME__INIT;

    outcome.kind = kind;
    outcome.provider_id = (char *)provider_id;
    request.tenant = job->tenant;
    request.job_id = job->id;
    request.lease = job->lease;
    request.outcome = &outcome;
    return CALL(house, connector, connector, report, ReportReply, &request);
}

/* The events' types from the beginning, as text: "4 1 6". */
static const char *event_types(struct house *house)
{
    Guichet__V1__ReadEventsRequest request = GUICHET__V1__READ_EVENTS_REQUEST__INIT;
    Guichet__V1__ReadEventsReply *reply;
    const char *types = "";

    request.tenant = house->tenant;
    reply = CALL(house, gateway, routing, read_events, ReadEventsReply, &request);
    assert_non_null(reply);
    for (size_t i = 0; i < reply->n_events; i++) {
        assert_int_equal(reply->events[i]->sequence, i + 1);
        types = arena_printf(house->arena, "%s%s%d", types, i > 0 ? " " : "", (int)reply->events[i]->type);
    }
    return types;
}

static unsigned count_value(struct house *house, const char *sql)
{
    (void)house;
    return (unsigned)atoi(testkit_value(database.url, sql));
}

/* ---- cases ---- */

static void test_flow_story(void **state)
{
    struct house house;
    Guichet__V1__Agent *alice;
    Guichet__V1__ReplyReply *sent;
    Guichet__V1__PullReply *pulled;
    Guichet__V1__CloseRequest close = GUICHET__V1__CLOSE_REQUEST__INIT;
    Guichet__V1__WorkReply *closed;
    Guichet__V1__Change *change;

    (void)state;
    open_house(&house, "story", "");
    assert_non_null(announce(&house, "story", "0123456789abcdef"));
    alice = make_agent(&house, "alice", GUICHET__V1__ROLE__ROLE_AGENT);
    assert_non_null(submit(&house, "sms-story", 7));
    assert_string_equal(house.fake.channel, "sms");
    UNTIL(&house, strcmp(event_types(&house), "10 4 1 6") == 0);

    start_pull(&house, 1, 8000);
    assert_null(reply_text(&house, alice->id, 7, "much too long for this channel"));
    assert_int_equal(house.answers[0].err.kind, ERR_INVALID);
    sent = reply_text(&house, alice->id, 7, "hello back");
    assert_non_null(sent);
    assert_int_equal(sent->delivery->state, GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_QUEUED);
    pulled = end_pull(&house, 1);
    assert_non_null(pulled);
    assert_int_equal(pulled->n_jobs, 1);
    assert_string_equal(pulled->jobs[0]->id, sent->delivery->id);
    assert_string_equal(pulled->jobs[0]->send->delivery_id, sent->delivery->id);
    assert_true(start_job(&house, pulled->jobs[0])->is_granted);
    assert_int_equal(report_job(&house, pulled->jobs[0], GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_ACCEPTED, "SM1")->state,
                     GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_SENT);
    assert_int_equal(report_job(&house, pulled->jobs[0], GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_ACCEPTED, "SM1")->state,
                     GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_SENT);
    change = fake_add(&house.fake, GUICHET__V1__CHANGE_KIND__CHANGE_KIND_RECEIPT, 7);
    change->provider_id = (char *)"SM1";
    change->receipt = arena_alloc(house.arena, sizeof(*change->receipt));
    guichet__v1__receipt__init(change->receipt);
    change->receipt->state = GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_DELIVERED;
    fake_ring(&house.fake);
    UNTIL(&house, strcmp(event_types(&house), "10 4 1 6 2 9 9") == 0);

    close.tenant = house.tenant;
    close.conversation_id = sent->message->conversation_id;
    close.actor_id = alice->id;
    closed = CALL(&house, gateway, routing, close, WorkReply, &close);
    assert_non_null(closed);
    assert_int_equal(closed->item->state, GUICHET__V1__WORK_STATE__WORK_STATE_CLOSED);
    close_house(&house);
}

static void test_flow_who_may(void **state)
{
    struct house house;
    Guichet__V1__Agent *alice, *bob, *carol;
    Guichet__V1__WorkReply *taken;
    Guichet__V1__AssignRequest assign = GUICHET__V1__ASSIGN_REQUEST__INIT;
    Guichet__V1__AnnounceReply *announced;

    (void)state;
    open_house(&house, "may", "");
    assert_null(announce(&house, "may", "another secret"));
    assert_int_equal(house.answers[0].err.kind, ERR_FORBIDDEN);
    assert_null(submit(&house, "sms-may", 1));
    assert_int_equal(house.answers[0].err.kind, ERR_FORBIDDEN);
    announced = announce(&house, "elsewhere", "0123456789abcdef");
    assert_int_equal(announced->n_refused, 1);
    assert_non_null(announce(&house, "may", "0123456789abcdef"));
    assert_null(submit(&house, "sms-other", 1));
    assert_int_equal(house.answers[0].err.kind, ERR_FORBIDDEN);
    house.fake.fail_with = ERR_UNAVAILABLE;
    assert_null(submit(&house, "sms-may", 1));
    assert_int_equal(house.answers[0].err.kind, ERR_UNAVAILABLE);
    house.fake.fail_with = ERR_NONE;

    alice = make_agent(&house, "alice", GUICHET__V1__ROLE__ROLE_AGENT);
    assert_non_null(submit(&house, "sms-may", 1));
    UNTIL(&house, strcmp(event_types(&house), "10 4 1 6") == 0);
    bob = make_agent(&house, "bob", GUICHET__V1__ROLE__ROLE_AGENT);
    carol = make_agent(&house, "carol", GUICHET__V1__ROLE__ROLE_SUPERVISOR);
    assert_null(reply_text(&house, bob->id, 1, "not mine"));
    assert_int_equal(house.answers[0].err.kind, ERR_FORBIDDEN);
    assert_non_null(reply_text(&house, carol->id, 1, "I may"));
    assign.tenant = house.tenant;
    assign.conversation_id = fake_id(&house.fake, FAKE_CONVERSATION, 1);
    assign.agent_id = bob->id;
    assign.actor_id = bob->id;
    assert_null(CALL(&house, gateway, routing, assign, WorkReply, &assign));
    assert_int_equal(house.answers[0].err.kind, ERR_CONFLICT);
    assign.actor_id = carol->id;
    taken = CALL(&house, gateway, routing, assign, WorkReply, &assign);
    assert_non_null(taken);
    assert_string_equal(taken->item->agent_id, bob->id);
    assert_null(reply_text(&house, alice->id, 1, "was mine"));
    close_house(&house);
}

static void test_flow_login(void **state)
{
    static const struct { const char *label, *login, *password; enum err_kind kind; } cases[] = {
        { "unknown login", "nobody", "correct horse", ERR_FORBIDDEN },
        { "wrong password", "alice", "wrong horse", ERR_FORBIDDEN },
        { "right", "alice", "correct horse", ERR_NONE },
        { "wrong 1", "alice", "a", ERR_FORBIDDEN },
        { "wrong 2", "alice", "b", ERR_FORBIDDEN },
        { "wrong 3", "alice", "c", ERR_FORBIDDEN },
        { "locked, though right", "alice", "correct horse", ERR_EXHAUSTED },
    };
    struct house house;
    char *token = NULL;
    Guichet__V1__CheckSessionRequest check = GUICHET__V1__CHECK_SESSION_REQUEST__INIT;
    Guichet__V1__LogoutRequest logout = GUICHET__V1__LOGOUT_REQUEST__INIT;

    (void)state;
    open_house(&house, "login", "login_failures_max: 3\n");
    make_agent(&house, "alice", GUICHET__V1__ROLE__ROLE_AGENT);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Guichet__V1__LoginRequest request = GUICHET__V1__LOGIN_REQUEST__INIT;
        Guichet__V1__LoginReply *reply;

        request.tenant = house.tenant;
        request.login = (char *)cases[i].login;
        request.password = (char *)cases[i].password;
        reply = CALL(&house, gateway, routing, login, LoginReply, &request);
        if (house.answers[0].err.kind != cases[i].kind)
            fail_msg("case '%s': %s", cases[i].label, house.answers[0].err.text);
        if (reply != NULL)
            token = reply->token;
    }
    assert_true(house.answers[0].err.retry_after_ms > 0);
    check.token = token;
    assert_string_equal(CALL(&house, gateway, routing, check_session, CheckSessionReply, &check)->agent->login, "alice");
    logout.token = token;
    assert_non_null(CALL(&house, gateway, routing, logout, LogoutReply, &logout));
    assert_null(CALL(&house, gateway, routing, check_session, CheckSessionReply, &check));
    close_house(&house);
}

static void test_flow_leases_end(void **state)
{
    struct house house;
    Guichet__V1__PullReply *first, *second;
    Guichet__V1__Job *job;

    (void)state;
    open_house(&house, "leases", "delivery_lease_ms: 300ms\nunknown_hold_ms: 300ms\n");
    announce(&house, "leases", "0123456789abcdef");
    fake_message(&house.fake, 1, true);
    fake_outbound(&house.fake, 1, "");
    fake_outbound(&house.fake, 1, "");
    fake_ring(&house.fake);
    start_pull(&house, 1, 8000);
    first = end_pull(&house, 1);
    assert_int_equal(first->n_jobs, 1);
    start_pull(&house, 1, 8000);                     /* never started: offered again, by the clock alone */
    second = end_pull(&house, 1);
    job = second->jobs[0];
    assert_string_equal(job->id, first->jobs[0]->id);
    assert_false(start_job(&house, first->jobs[0])->is_granted);
    assert_true(start_job(&house, job)->is_granted);
    start_pull(&house, 2, 8000);                     /* started, never reported: unknown; later the line is free */
    second = end_pull(&house, 2);
    assert_string_not_equal(second->jobs[0]->id, job->id);
    assert_int_equal(count_value(&house, "SELECT count(*) FROM routing.delivery WHERE tenant = 'leases' AND state = 8"), 1);
    assert_int_equal(report_job(&house, job, GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_ACCEPTED, "late")->state,
                     GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_SENT);
    start_pull(&house, 1, 100);
    assert_int_equal(end_pull(&house, 1)->n_jobs, 0); /* its time is up: an empty answer */
    close_house(&house);
}

static void test_flow_bad_change(void **state)
{
    struct house house;
    Guichet__V1__Change *bad;

    (void)state;
    open_house(&house, "bad", "");
    house.fake.is_silent = true;
    for (unsigned i = 1; i <= 9; i++)
        fake_message(&house.fake, i, true);
    bad = fake_outbound(&house.fake, 4, "");
    bad->message_id = (char *)"";                    /* a delivery without a message cannot be */
    for (unsigned i = 10; i <= 20; i++)
        fake_message(&house.fake, i, true);
    house.fake.is_silent = false;
    fake_ring(&house.fake);
    UNTIL(&house, count_value(&house, "SELECT count(*) FROM routing.work_item WHERE tenant = 'bad'") == 20);
    assert_int_equal(count_value(&house, "SELECT count(*) FROM routing.event WHERE tenant = 'bad' AND type = 14"), 1);
    assert_int_equal(count_value(&house, "SELECT count(*) - max(sequence) FROM routing.event WHERE tenant = 'bad'"), 0);
    house.fake.is_resync_required = true;
    fake_ring(&house.fake);
    UNTIL(&house, !routing_applier_check(house.routing->applier, NULL));
    close_house(&house);
}

static void test_flow_start_conversation(void **state)
{
    struct house house;
    Guichet__V1__Agent *alice;
    Guichet__V1__ReplyReply *started;
    Guichet__V1__StartConversationRequest request = GUICHET__V1__START_CONVERSATION_REQUEST__INIT;
    Guichet__V1__Content content = GUICHET__V1__CONTENT__INIT;
    Guichet__V1__Part part = GUICHET__V1__PART__INIT, *parts = &part;
    Guichet__V1__Text text = GUICHET__V1__TEXT__INIT;
    Guichet__V1__Address recipient = GUICHET__V1__ADDRESS__INIT;

    (void)state;
    open_house(&house, "begin", "");
    announce(&house, "begin", "0123456789abcdef");
    make_agent(&house, "bob", GUICHET__V1__ROLE__ROLE_AGENT);
    alice = make_agent(&house, "alice", GUICHET__V1__ROLE__ROLE_AGENT);
    text.text = (char *)"good morning";
    part.kind_case = GUICHET__V1__PART__KIND_TEXT;
    part.text = &text;
    content.parts = &parts;
    content.n_parts = 1;
    recipient.value = (char *)"33";
    request.tenant = house.tenant;
    request.account_id = (char *)"sms-begin";
    request.recipient = &recipient;
    request.content = &content;
    request.actor_id = alice->id;
    request.idempotency_key = (char *)"k";
    started = CALL(&house, gateway, routing, start_conversation, ReplyReply, &request);
    assert_non_null(started);
    assert_string_equal(started->view->work->agent_id, alice->id);
    assert_int_equal(started->view->conversation->number, 33);
    assert_string_equal(event_types(&house), "10 10 4 6 2");
    close_house(&house);
}

static int set_up(void **state)
{
    (void)state;
    return testkit_open(&database, "flow");
}

static int tear_down(void **state)
{
    (void)state;
    testkit_close(&database);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flow_story),      cmocka_unit_test(test_flow_who_may),
        cmocka_unit_test(test_flow_login),      cmocka_unit_test(test_flow_leases_end),
        cmocka_unit_test(test_flow_bad_change), cmocka_unit_test(test_flow_start_conversation),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
