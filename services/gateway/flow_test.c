/* SPDX-License-Identifier: Apache-2.0 */
/* flow_test.c - requests through a whole gateway, fakes behind it: every operation, and what it refuses. */
#include "test_http.h"

#define KEY "Idempotency-Key: k1\r\n"
#define CONVERSATION(id) "/v1/conversations/" id
#define START(account, value)                                                                                \
    "{\"account_id\":\"" account "\",\"recipient\":{\"kind\":\"phone\",\"value\":\"" value                   \
    "\"},\"text\":\"Hello\"}"

struct row {
    const char *label, *method, *path, *token, *headers, *body;
    int status;
    const char *part; /* of the answer: a header line or a piece of the body; NULL: not looked at */
};

static const struct row answers[] = {
    { "login", "POST", "/v1/sessions", NULL, NULL,
      "{\"tenant\":\"demo\",\"login\":\"ada\",\"password\":\"right\"}", 201, "\"token\":\"ada\"" },
    { "login names the agent", "POST", "/v1/sessions", NULL, NULL,
      "{\"tenant\":\"demo\",\"login\":\"ada\",\"password\":\"right\"}", 201, "\"id\":\"" ADA "\"" },
    { "log out", "DELETE", "/v1/sessions/current", "ada", NULL, NULL, 204, NULL },
    { "me", "GET", "/v1/me", "ada", NULL, NULL, 200, "\"role\":\"agent\"" },
    { "presence", "PUT", "/v1/me/presence", "ada", NULL, "{\"presence\":\"away\"}", 200,
      "\"presence\":\"away\"" },
    { "agents", "GET", "/v1/agents", "ada", NULL, NULL, 200, "\"next_cursor\":null" },
    { "a new agent", "POST", "/v1/agents", "abe", NULL,
      "{\"login\":\"new\",\"role\":\"agent\",\"password\":\"long enough\",\"capacity\":3,"
      "\"queues\":[\"support\"]}",
      201, "\"capacity\":3" },
    { "a known agent", "POST", "/v1/agents", "abe", NULL, "{\"login\":\"ada\",\"role\":\"agent\"}", 200,
      "\"login\":\"ada\"" },
    { "queues", "GET", "/v1/queues", "ada", NULL, NULL, 200, "\"name\":\"support\"" },
    { "accounts with capabilities", "GET", "/v1/accounts", "ada", NULL, NULL, 200, "\"text_max_length\":0" },
    { "conversations", "GET", "/v1/conversations?state=assigned&mine=true&limit=10", "ada", NULL, NULL, 200,
      "\"number\":1" },
    { "no conversations", "GET", "/v1/conversations?state=closed", "ada", NULL, NULL, 200,
      "{\"items\":[],\"next_cursor\":null}" },
    { "a conversation", "GET", CONVERSATION(C1), "ada", NULL, NULL, 200, "ETag: \"w2-c5\"" },
    { "one that waits in my queue", "GET", CONVERSATION(C2), "ada", NULL, NULL, 200,
      "\"state\":\"waiting\"" },
    { "one not taken up yet", "GET", CONVERSATION(C5), "ada", NULL, NULL, 200, "ETag: \"w0-c5\"" },
    { "a supervisor sees all", "GET", CONVERSATION(C3), "sue", NULL, NULL, 200, NULL },
    { "messages with deliveries", "GET", CONVERSATION(C1) "/messages", "ada", NULL, NULL, 200,
      "\"state\":\"delivered\"" },
    { "messages hide the provider's address", "GET", CONVERSATION(C1) "/messages", "ada", NULL, NULL, 200,
      "\"provider_url\":\"\"" },
    { "read mark", "PUT", CONVERSATION(C1) "/read", "ada", NULL, "{\"message_id\":\"" M1 "\"}", 200,
      "{\"unread_count\":1}" },
    { "answer", "POST", CONVERSATION(C1) "/messages", "ada", KEY, "{\"text\":\"Hello\"}", 202,
      "\"state\":\"queued\"" },
    { "answer, again", "POST", CONVERSATION(C1) "/messages", "ada", KEY, "{\"text\":\"Hello\"}", 202,
      "Idempotency-Replayed: true" },
    { "answer on a thread", "POST", CONVERSATION(C1) "/messages", "ada", "Idempotency-Key: k2\r\n",
      "{\"text\":\"Hello\",\"thread_id\":\"" T1 "\"}", 202, NULL },
    { "note", "POST", CONVERSATION(C1) "/notes", "ada", "Idempotency-Key: k3\r\n", "{\"text\":\"Hm\"}", 201,
      "\"direction\":\"note\"" },
    { "note, again", "POST", CONVERSATION(C1) "/notes", "ada", "Idempotency-Key: k3\r\n", "{\"text\":\"Hm\"}",
      201, "Idempotency-Replayed: true" },
    { "start", "POST", "/v1/conversations", "ada", "Idempotency-Key: k4\r\n",
      START("sms-demo", "+33612345678"), 202, "\"message\":{" },
    { "claim", "POST", CONVERSATION(C2) "/assign", "ada", NULL, "{\"agent_id\":\"" ADA "\"}", 200,
      "ETag: \"w2-c5\"" },
    { "a supervisor gives it to another", "POST", CONVERSATION(C2) "/assign", "sue", NULL,
      "{\"agent_id\":\"" BOB "\"}", 200, NULL },
    { "transfer to a queue", "POST", CONVERSATION(C1) "/transfer", "ada", NULL,
      "{\"queue_id\":\"" Q2 "\",\"reason\":\"billing\"}", 200, NULL },
    { "transfer to an agent", "POST", CONVERSATION(C1) "/transfer", "ada", NULL, "{\"agent_id\":\"" BOB "\"}",
      200, NULL },
    { "close", "POST", CONVERSATION(C1) "/close", "ada", NULL, NULL, 200, NULL },
    { "close what was seen", "POST", CONVERSATION(C1) "/close", "ada", "If-Match: \"w2-c5\"\r\n", NULL, 200,
      "\"version\":3" },
    { "close whatever it is", "POST", CONVERSATION(C1) "/close", "ada", "If-Match: *\r\n", NULL, 200, NULL },
    { "reopen", "POST", CONVERSATION(C4) "/reopen", "sue", NULL, NULL, 200, NULL },
    { "find by number", "GET", "/v1/customers?identity_kind=phone&identity_value=%2B33612345678", "ada", NULL,
      NULL, 200, "\"display_name\":\"Marie\"" },
    { "find by name", "GET", "/v1/customers?name=Mar", "ada", NULL, NULL, 200, "\"display_name\":\"Marie\"" },
    { "find nobody", "GET", "/v1/customers?name=Zoe", "ada", NULL, NULL, 200, "\"items\":[]" },
    { "customer", "GET", "/v1/customers/" CUSTOMER, "ada", NULL, NULL, 200, "ETag: \"v3\"" },
    { "rename", "PATCH", "/v1/customers/" CUSTOMER, "ada", "If-Match: \"v3\"\r\n",
      "{\"display_name\":\"M. Curie\"}", 200, "ETag: \"v4\"" },
    { "rename whatever it is", "PATCH", "/v1/customers/" CUSTOMER, "ada", "If-Match: *\r\n",
      "{\"display_name\":\"M\"}", 200, NULL },
    { "timeline", "GET", "/v1/customers/" CUSTOMER "/timeline", "ada", NULL, NULL, 200, "\"id\":\"" M1 "\"" },
    { "ticket", "POST", "/v1/events/ticket", "ada", NULL, NULL, 201,
      "\"url\":\"ws://desk.example/v1/events\"" },
    { "ticket behind TLS", "POST", "/v1/events/ticket", "ada", "X-Forwarded-Proto: https\r\n", NULL, 201,
      "\"url\":\"wss://desk.example/v1/events\"" },
    { "the contract", "GET", "/v1/openapi.yaml", NULL, NULL, NULL, 200, "openapi: 3.1.0" },
    { "the schemas", "GET", "/v1/event-schemas.json", NULL, NULL, NULL, 200, "\"resync_required\"" },
};

static const struct row refusals[] = {
    { "no such path", "GET", "/v1/nothing", "ada", NULL, NULL, 404, "\"code\":\"not_found\"" },
    { "wrong method", "PUT", "/v1/agents", "ada", NULL, NULL, 405, "Allow: GET, POST" },
    { "no session", "GET", "/v1/me", NULL, NULL, NULL, 401, "WWW-Authenticate: Bearer" },
    { "unknown session", "GET", "/v1/me", "mallory", NULL, NULL, 401, "\"code\":\"unauthorized\"" },
    { "basic authentication", "GET", "/v1/me", NULL, "Authorization: Basic YWRhOmFkYQ==\r\n", NULL, 401,
      NULL },
    { "wrong password", "POST", "/v1/sessions", NULL, NULL,
      "{\"tenant\":\"demo\",\"login\":\"ada\",\"password\":\"wrong\"}", 401,
      "wrong tenant, login or password" },
    { "not with this role", "POST", "/v1/agents", "sue", NULL, "{\"login\":\"x\",\"role\":\"agent\"}", 403,
      "only an admin" },
    { "no JSON", "PUT", "/v1/me/presence", "ada", "Content-Type: text/plain\r\n", "away", 415, NULL },
    { "no media type", "PUT", "/v1/me/presence", "ada", NULL, NULL, 415, NULL },
    { "media type with a charset", "PUT", "/v1/me/presence", "ada",
      "Content-Type: Application/JSON; charset=utf-8\r\n", "{\"presence\":\"away\"}", 200, NULL },
    { "malformed", "PUT", "/v1/me/presence", "ada", NULL, "{\"presence\":", 400,
      "\"code\":\"invalid_json\"" },
    { "a body of another kind", "PUT", "/v1/me/presence", "ada", NULL, "[]", 400, "\"pointer\":\"\"" },
    { "unknown member", "PUT", "/v1/me/presence", "ada", NULL, "{\"presence\":\"away\",\"a/b\":1}", 400,
      "\"pointer\":\"/a~1b\"" },
    { "member with a slash is not nested", "POST", "/v1/conversations", "ada", KEY,
      "{\"recipient/kind\":\"phone\"}", 400, "\"code\":\"unknown_member\"" },
    { "missing member", "PUT", "/v1/me/presence", "ada", NULL, "{}", 400, "\"code\":\"missing_member\"" },
    { "null is missing", "PUT", "/v1/me/presence", "ada", NULL, "{\"presence\":null}", 400,
      "\"code\":\"missing_member\"" },
    { "wrong word", "PUT", "/v1/me/presence", "ada", NULL, "{\"presence\":\"gone\"}", 400,
      "\"pointer\":\"/presence\"" },
    { "wrong type", "PUT", "/v1/me/presence", "ada", NULL, "{\"presence\":7}", 400, "not a string" },
    { "nested unknown member", "POST", "/v1/conversations", "ada", KEY,
      "{\"account_id\":\"a\",\"recipient\":{\"kind\":\"phone\",\"value\":\"1\",\"x\":1},\"text\":\"t\"}", 400,
      "\"pointer\":\"/recipient/x\"" },
    { "nested missing member", "POST", "/v1/conversations", "ada", KEY,
      "{\"account_id\":\"a\",\"recipient\":{\"kind\":\"phone\"},\"text\":\"t\"}", 400,
      "\"pointer\":\"/recipient/value\"" },
    { "recipient is no object", "POST", "/v1/conversations", "ada", KEY,
      "{\"account_id\":\"a\",\"recipient\":\"x\",\"text\":\"t\"}", 400, "\"pointer\":\"/recipient\"" },
    { "empty text", "POST", CONVERSATION(C1) "/messages", "ada", KEY, "{\"text\":\"\"}", 400,
      "\"pointer\":\"/text\"" },
    { "thread that is no id", "POST", CONVERSATION(C1) "/messages", "ada", KEY,
      "{\"text\":\"t\",\"thread_id\":\"x\"}", 400, "\"pointer\":\"/thread_id\"" },
    { "capacity out of range", "POST", "/v1/agents", "abe", NULL,
      "{\"login\":\"x\",\"role\":\"agent\",\"capacity\":0}", 400, "\"pointer\":\"/capacity\"" },
    { "short password", "POST", "/v1/agents", "abe", NULL,
      "{\"login\":\"x\",\"role\":\"agent\",\"password\":\"short\"}", 400, "too short" },
    { "queues that are no list", "POST", "/v1/agents", "abe", NULL,
      "{\"login\":\"x\",\"role\":\"agent\",\"queues\":{}}", 400, "\"pointer\":\"/queues\"" },
    { "unknown queue", "POST", "/v1/agents", "abe", NULL,
      "{\"login\":\"x\",\"role\":\"agent\",\"queues\":[\"nowhere\"]}", 400, "nowhere" },
    { "unknown parameter", "GET", "/v1/conversations?stat=waiting", "ada", NULL, NULL, 400,
      "known are: state mine" },
    { "wrong state", "GET", "/v1/conversations?state=lost", "ada", NULL, NULL, 400,
      "\"code\":\"invalid_parameter\"" },
    { "wrong mine", "GET", "/v1/conversations?mine=yes", "ada", NULL, NULL, 400, NULL },
    { "wrong queue", "GET", "/v1/conversations?queue_id=support", "ada", NULL, NULL, 400, NULL },
    { "limit of nothing", "GET", "/v1/agents?limit=0", "ada", NULL, NULL, 400, "1 to 100" },
    { "limit too large", "GET", "/v1/agents?limit=101", "ada", NULL, NULL, 400, NULL },
    { "limit in words", "GET", "/v1/agents?limit=ten", "ada", NULL, NULL, 400, NULL },
    { "no cursor of ours", "GET", "/v1/agents?cursor=AAAA", "ada", NULL, NULL, 400, "cursor: " },
    { "bad URL coding", "GET", "/v1/customers?name=%zz", "ada", NULL, NULL, 400, NULL },
    { "find by nothing", "GET", "/v1/customers", "ada", NULL, NULL, 400, NULL },
    { "find by both", "GET", "/v1/customers?name=M&identity_kind=phone&identity_value=1", "ada", NULL, NULL,
      400, NULL },
    { "find by half", "GET", "/v1/customers?identity_kind=phone", "ada", NULL, NULL, 400, NULL },
    { "no key", "POST", CONVERSATION(C1) "/messages", "ada", NULL, "{\"text\":\"t\"}", 400,
      "\"code\":\"idempotency_key_missing\"" },
    { "key with a blank", "POST", CONVERSATION(C1) "/notes", "ada", "Idempotency-Key: a b\r\n",
      "{\"text\":\"t\"}", 400, "\"code\":\"idempotency_key_invalid\"" },
    { "key too long", "POST", "/v1/conversations", "ada",
      "Idempotency-Key: 0123456789012345678901234567890123456789012345678901234567890123456789"
      "01234567890123456789012345678901234567890123456789012345678\r\n",
      START("sms-demo", "+33612345678"), 400, "\"code\":\"idempotency_key_invalid\"" },
    { "the same key, another text", "POST", CONVERSATION(C1) "/notes", "ada", "Idempotency-Key: k3\r\n",
      "{\"text\":\"Other\"}", 409, "\"code\":\"conflict\"" },
    { "text the channel cannot carry", "POST", CONVERSATION(C1) "/messages", "ada", "Idempotency-Key: k9\r\n",
      "{\"text\":\"too long\"}", 400, "too long for the account" },
    { "who opted out", "POST", "/v1/conversations", "ada", KEY, START("sms-demo", "+33600000000"), 403,
      "opted out" },
    { "unknown account", "POST", "/v1/conversations", "ada", KEY, START("nothing", "+33612345678"), 404,
      NULL },
    { "a colleague's conversation", "GET", CONVERSATION(C3), "ada", NULL, NULL, 404, "no such conversation" },
    { "closed in another queue", "GET", CONVERSATION(C4) "/messages", "ada", NULL, NULL, 404, NULL },
    { "answer to a colleague's", "POST", CONVERSATION(C3) "/messages", "ada", KEY, "{\"text\":\"t\"}", 404,
      NULL },
    { "another tenant's", "GET", CONVERSATION(C1), "eve", NULL, NULL, 404, "no such conversation" },
    { "unknown id", "GET", CONVERSATION(NOBODY), "sue", NULL, NULL, 404, NULL },
    { "no id", "GET", CONVERSATION("42"), "sue", NULL, NULL, 404, NULL },
    { "read mark on nothing", "PUT", CONVERSATION(C1) "/read", "ada", NULL, "{\"message_id\":\"" M2 "\"}",
      404, NULL },
    { "give it to another", "POST", CONVERSATION(C2) "/assign", "ada", NULL, "{\"agent_id\":\"" BOB "\"}",
      403, NULL },
    { "transfer to nothing", "POST", CONVERSATION(C1) "/transfer", "ada", NULL, "{}", 400,
      "\"pointer\":\"/queue_id\"" },
    { "transfer to both", "POST", CONVERSATION(C1) "/transfer", "ada", NULL,
      "{\"queue_id\":\"" Q1 "\",\"agent_id\":\"" BOB "\"}", 400, "\"pointer\":\"/agent_id\"" },
    { "not what it was", "POST", CONVERSATION(C1) "/close", "ada", "If-Match: \"w1-c5\"\r\n", NULL, 412,
      NULL },
    { "a tag without quotes", "POST", CONVERSATION(C1) "/close", "ada", "If-Match: w2-c5\r\n", NULL, 400,
      NULL },
    { "another tenant's customer", "GET", "/v1/customers/" CUSTOMER, "eve", NULL, NULL, 404, NULL },
    { "another tenant's timeline", "GET", "/v1/customers/" CUSTOMER "/timeline", "eve", NULL, NULL, 404,
      NULL },
    { "unknown customer", "GET", "/v1/customers/" NOBODY, "ada", NULL, NULL, 404, NULL },
    { "no customer id", "GET", "/v1/customers/42/timeline", "ada", NULL, NULL, 404, NULL },
    { "rename without a tag", "PATCH", "/v1/customers/" CUSTOMER, "ada", NULL, "{\"display_name\":\"M\"}",
      428, "\"code\":\"precondition_required\"" },
    { "rename what it was", "PATCH", "/v1/customers/" CUSTOMER, "ada", "If-Match: \"v2\"\r\n",
      "{\"display_name\":\"M\"}", 412, NULL },
    { "rename by a foreign tag", "PATCH", "/v1/customers/" CUSTOMER, "ada", "If-Match: \"abc\"\r\n",
      "{\"display_name\":\"M\"}", 412, NULL },
    { "rename nobody", "PATCH", "/v1/customers/" NOBODY, "ada", "If-Match: \"abc\"\r\n",
      "{\"display_name\":\"M\"}", 404, NULL },
};

static void check_row(const struct row *row)
{
    char *answer = kit_call(row->method, row->path, row->token, row->headers, row->body);

    if (kit_status(answer) != row->status || (row->part != NULL && strstr(answer, row->part) == NULL))
        fail_msg("case '%s': wanted %d with '%s', got %s", row->label, row->status,
                 row->part == NULL ? "" : row->part, answer);
    CHECK_CASE(row->label, strstr(answer, "X-Content-Type-Options: nosniff") != NULL);
    CHECK_CASE(row->label, strstr(answer, "Cache-Control: no-store") != NULL);
    CHECK_CASE(row->label,
               row->status < 400 || strstr(answer, "Content-Type: application/problem+json") != NULL);
    CHECK_CASE(row->label, row->status < 400 || strstr(answer, "\"trace_id\":\"") != NULL);
    CHECK_CASE(row->label, strstr(answer, "\"tenant\"") == NULL);
    free(answer);
}

static int start(void **state)
{
    (void)state;
    kit_start("");
    return 0;
}

static int stop(void **state)
{
    (void)state;
    kit_stop();
    return 0;
}

static void test_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(answers); i++)
        check_row(&answers[i]);
}

static void test_refusals(void **state)
{
    (void)state;
    snprintf(fake.key, sizeof(fake.key), "k3");
    snprintf(fake.text, sizeof(fake.text), "Hm");
    for (size_t i = 0; i < COUNT_OF(refusals); i++)
        check_row(&refusals[i]);
}

/* The value of a string member somewhere in the answer. */
static void member_of(const char *answer, const char *name, char *ret_value, size_t size)
{
    char key[64];
    const char *at;

    snprintf(key, sizeof(key), "\"%s\":\"", name);
    at = strstr(answer, key);
    if (at == NULL)
        fail_msg("no %s in %s", name, answer);
    at += strlen(key);
    snprintf(ret_value, size, "%.*s", (int)strcspn(at, "\""), at);
}

static const char *const lists[] = { "/v1/agents?", "/v1/conversations?state=assigned&",
                                     CONVERSATION(C1) "/messages?", "/v1/customers/" CUSTOMER "/timeline?" };

static void test_pages(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        char path[512], cursor[256];
        char *first, *second;

        snprintf(path, sizeof(path), "%slimit=1", lists[i]);
        first = kit_call("GET", path, "sue", NULL, NULL);
        member_of(first, "next_cursor", cursor, sizeof(cursor));
        snprintf(path, sizeof(path), "%slimit=1&cursor=%s", lists[i], cursor);
        second = kit_call("GET", path, "sue", NULL, NULL);
        CHECK_CASE(lists[i], kit_status(second) == 200 && strstr(second, "\"next_cursor\":null") != NULL);
        CHECK_CASE(lists[i], strcmp(strstr(first, "\r\n\r\n"), strstr(second, "\r\n\r\n")) != 0);
        free(second);
        snprintf(path, sizeof(path), "%slimit=1&cursor=%s", lists[(i + 1) % COUNT_OF(lists)], cursor);
        second = kit_call("GET", path, "sue", NULL, NULL);
        CHECK_CASE(lists[i], kit_status(second) == 400);
        free(first);
        free(second);
    }
}

/* Whose list it is, is routing's to decide: it must be told who asks. */
static void test_agents_see_theirs(void **state)
{
    (void)state;
    free(kit_call("GET", "/v1/conversations?queue_id=" Q1, "ada", NULL, NULL));
    assert_string_equal(fake.visible_to, ADA);
    assert_string_equal(fake.queue_id, Q1);
    free(kit_call("GET", "/v1/conversations", "sue", NULL, NULL));
    assert_string_equal(fake.visible_to, "");
}

static const struct {
    enum err_kind kind;
    int status;
    const char *part;
} failures[] = {
    { ERR_UNAVAILABLE, 503, "Retry-After: 1" },
    { ERR_EXHAUSTED, 429, "Retry-After: 1" },
    { ERR_DEADLINE, 504, "\"code\":\"deadline\"" },
    { ERR_INTERNAL, 500, "a defect of ours" },
};

/* Every operation behind which there is somebody, when that somebody cannot. */
static void test_failures(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(failures); i++) {
        for (size_t k = 0; k < COUNT_OF(answers); k++) {
            const struct row *row = &answers[k];
            char *answer;

            if (row->status == 204 || strstr(row->path, "/v1/me") == row->path ||
                strstr(row->path, "/ticket") != NULL || strchr(strrchr(row->path, '/'), '.') != NULL)
                continue;
            fake.failure = (struct err){ 0 };
            free(kit_call("GET", "/v1/queues", "ada", NULL,
                          NULL)); /* closes a breaker that the failures opened */
            err_set(&fake.failure, failures[i].kind, "secret words");
            answer = kit_call(row->method, row->path, row->token, row->headers, row->body);
            if (kit_status(answer) != failures[i].status || strstr(answer, failures[i].part) == NULL)
                fail_msg("case '%s', %s: got %s", row->label, err_kind_name(failures[i].kind), answer);
            CHECK_CASE(row->label, strstr(answer, "secret words") == NULL);
            free(answer);
        }
    }
}

static void test_session_service_down(void **state)
{
    char *answer;

    (void)state;
    err_set(&fake.session_failure, ERR_UNAVAILABLE, "down");
    answer = kit_call("GET", "/v1/queues", "ada", NULL, NULL);
    assert_int_equal(kit_status(answer), 503);
    free(answer);
}

static void test_sessions_are_remembered(void **state)
{
    uint32_t checks;
    char *answer;

    (void)state;
    free(kit_call("GET", "/v1/queues", "ada", NULL, NULL));
    checks = fake.session_checks;
    free(kit_call("GET", "/v1/queues", "ada", NULL, NULL));
    assert_int_equal(fake.session_checks, checks);
    free(kit_call("GET", "/v1/me", "ada", NULL, NULL));
    assert_int_equal(fake.session_checks, checks + 1);
    answer = kit_call("DELETE", "/v1/sessions/current", "ada", NULL, NULL);
    assert_int_equal(kit_status(answer), 204);
    free(answer);
    free(kit_call("GET", "/v1/queues", "ada", NULL, NULL));
    assert_int_equal(fake.session_checks, checks + 2);
}

static void test_races(void **state)
{
    char *answer;

    (void)state;
    err_set(&fake.action_failure, ERR_CONFLICT, "version");
    answer = kit_call("POST", CONVERSATION(C1) "/close", "ada", "If-Match: \"w2-c5\"\r\n", NULL);
    assert_int_equal(kit_status(answer), 409); /* the version still stands: it is the state */
    assert_int_equal(fake.if_version, 2);
    free(answer);
    answer = kit_call("POST", CONVERSATION(C1) "/close", "ada", NULL, NULL);
    assert_int_equal(kit_status(answer), 409);
    assert_int_equal(fake.if_version, 0);
    free(answer);
}

static void test_traces_go_on(void **state)
{
    char *answer;

    (void)state;
    answer = kit_call("GET", CONVERSATION(NOBODY), "ada",
                      "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n", NULL);
    assert_non_null(strstr(answer, "\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\""));
    assert_non_null(strstr(fake.traceparent, "4bf92f3577b34da6a3ce929d0e0e4736"));
    free(answer);
}

static void test_cors(void **state)
{
    char *answer;

    (void)state;
    answer = kit_call("OPTIONS", "/v1/me", NULL,
                      "Origin: http://localhost:5173\r\nAccess-Control-Request-Method: PUT\r\n", NULL);
    assert_int_equal(kit_status(answer), 204);
    assert_non_null(strstr(answer, "Access-Control-Allow-Origin: http://localhost:5173"));
    assert_non_null(strstr(answer, "idempotency-key"));
    free(answer);
    answer = kit_call("OPTIONS", "/v1/me", NULL,
                      "Origin: https://evil.example\r\nAccess-Control-Request-Method: PUT\r\n", NULL);
    assert_null(strstr(answer, "Access-Control-Allow"));
    free(answer);
    answer = kit_call("GET", "/v1/me", "ada", "Origin: https://desk.example\r\n", NULL);
    assert_non_null(strstr(answer, "Access-Control-Allow-Origin: https://desk.example"));
    assert_non_null(strstr(answer, "Access-Control-Expose-Headers: ETag"));
    assert_non_null(strstr(answer, "Vary: Origin"));
    free(answer);
    answer = kit_call("GET", "/v1/me", "mallory", "Origin: https://evil.example\r\n", NULL);
    assert_null(strstr(answer, "Access-Control-Allow"));
    assert_non_null(strstr(answer, "Vary: Origin"));
    free(answer);
}

static void test_too_large(void **state)
{
    char *body = malloc(300 * 1024 + 1), *answer;

    (void)state;
    memset(body, ' ', 300 * 1024);
    body[300 * 1024] = '\0';
    answer = kit_call("PUT", "/v1/me/presence", "ada", "Origin: https://desk.example\r\n", body);
    assert_int_equal(kit_status(answer), 413);
    assert_non_null(strstr(answer, "\"code\":\"too_large\""));
    assert_non_null(strstr(answer, "Access-Control-Allow-Origin: https://desk.example"));
    free(answer);
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answers, start, stop),
        cmocka_unit_test_setup_teardown(test_refusals, start, stop),
        cmocka_unit_test_setup_teardown(test_pages, start, stop),
        cmocka_unit_test_setup_teardown(test_agents_see_theirs, start, stop),
        cmocka_unit_test_setup_teardown(test_failures, start, stop),
        cmocka_unit_test_setup_teardown(test_session_service_down, start, stop),
        cmocka_unit_test_setup_teardown(test_sessions_are_remembered, start, stop),
        cmocka_unit_test_setup_teardown(test_races, start, stop),
        cmocka_unit_test_setup_teardown(test_traces_go_on, start, stop),
        cmocka_unit_test_setup_teardown(test_cors, start, stop),
        cmocka_unit_test_setup_teardown(test_too_large, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
