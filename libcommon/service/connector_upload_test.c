/* SPDX-License-Identifier: Apache-2.0 */
/* connector_upload_test.c - a message's files, handed over before it; and typing marks. */
#include "service/connector_world_calls.h"

enum { FILE_BYTES = 2000000 };

static char file_bytes[FILE_BYTES];

/* What the provider saw. */
static struct {
    unsigned uploads, typings, sends;
    bool is_whole, has_started; /* at the first upload */
    int upload_status;
    const char *upload_answer;
    char type[64], typed[64];
} seen;

static void see_upload(struct world *world, struct http_exchange *exchange)
{
    struct str_view body = http_exchange_body(exchange);

    seen.uploads++;
    seen.has_started |= world->centre.starts > 0;
    seen.is_whole = body.len == FILE_BYTES + 2 && body.data[0] == '<' && body.data[body.len - 1] == '>' &&
                    memcmp(body.data + 1, file_bytes, FILE_BYTES) == 0;
    snprintf(seen.type, sizeof(seen.type), "%s", http_exchange_header(exchange, "Content-Type"));
    (void)http_exchange_reply(exchange, seen.upload_status, "text/plain", str_view_of(seen.upload_answer));
}

static void on_provider(void *arg, struct http_exchange *exchange)
{
    struct world *world = arg;
    const char *path = http_exchange_path(exchange);

    if (strcmp(path, "/send/upload") == 0) {
        see_upload(world, exchange);
        return;
    }
    if (strcmp(path, "/send/typing") == 0) {
        seen.typings++;
        snprintf(seen.typed, sizeof(seen.typed), "%.*s", (int)http_exchange_body(exchange).len,
                 http_exchange_body(exchange).data);
    } else {
        seen.sends++;
    }
    (void)http_exchange_reply(exchange, world->provider_status, "text/plain", STR_LITERAL("P1"));
}

/* A text and two files. */
struct upload_job {
    struct toy_job toy;
    Guichet__V1__Part parts[2], *list[3];
    Guichet__V1__Media media[2];
};

static void fill(struct upload_job *job, struct world *world, const char *type)
{
    job_fill(&job->toy, "toy-1", "hello");
    job->list[0] = &job->toy.part;
    for (size_t i = 0; i < 2; i++) {
        guichet__v1__part__init(&job->parts[i]);
        guichet__v1__media__init(&job->media[i]);
        job->media[i].content_type = (char *)type;
        job->media[i].sha256 = (ProtobufCBinaryData){ BLOB_SHA256_BYTES, world->blobs.sha256 };
        job->parts[i].kind_case = GUICHET__V1__PART__KIND_MEDIA;
        job->parts[i].media = &job->media[i];
        job->list[i + 1] = &job->parts[i];
    }
    job->toy.content.parts = job->list;
    job->toy.content.n_parts = 3;
}

static void open_world(struct world *world, const char *more)
{
    world->provider_handler = on_provider;
    world_open(world, more);
    memcpy(world->blobs.bytes, file_bytes, FILE_BYTES);
    world->blobs.end = FILE_BYTES;
    blobs_hash(&world->blobs);
}

static const struct {
    const char *label, *type;
    int upload_status;
    const char *answer;
    bool is_gone;
    uint32_t lease_ms;
    Guichet__V1__OutcomeKind kind;
    Guichet__V1__FailureReason reason;
    unsigned uploads, sends;
} cases[] = {
    { "handed over", "image/png", 200, "M1", false, 60000, ACCEPTED, 0, 2, 1 },
    { "has an id", "image/png", 200, "", false, 60000, FAILED, REASON(PROVIDER_ERROR), 1, 0 },
    { "refused", "image/png", 400, "no", false, 60000, FAILED, 0, 1, 0 },
    { "cannot be rendered", "text/x-refused", 200, "M1", false, 60000, FAILED, REASON(CONTENT_REFUSED), 0,
      0 },
    { "not there any more", "image/png", 200, "M1", true, 60000, FAILED, REASON(CONTENT_REFUSED), 0, 0 },
    { "no time", "image/png", 200, "M1", false, 2100, RETRY, 0, 0, 0 },
};

static void test_files_go_first(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct world world = { .provider_status = 200 };
        struct upload_job job;

        memset(&seen, 0, sizeof(seen));
        seen.upload_status = cases[i].upload_status;
        seen.upload_answer = cases[i].answer;
        open_world(&world, "");
        fill(&job, &world, cases[i].type);
        job.toy.job.lease_ms = cases[i].lease_ms;
        world.blobs.has_blob = !cases[i].is_gone;
        give(&world, &job.toy);
        WAIT_FOR(&world, world.centre.reports == 1 && jobs_open(&world) == 0);
        if (world.centre.outcome != cases[i].kind || world.centre.reason != cases[i].reason ||
            seen.uploads != cases[i].uploads || seen.sends != cases[i].sends || seen.has_started ||
            (seen.uploads > 0 && !seen.is_whole) || world.centre.starts != cases[i].sends)
            fail_msg("case '%s': outcome %d, reason %d, '%s', %u uploads, %u sends", cases[i].label,
                     (int)world.centre.outcome, (int)world.centre.reason, world.centre.text, seen.uploads,
                     seen.sends);
        assert_int_equal(counted(&world, CONNECTOR_MEDIA_UPLOADED), cases[i].kind == ACCEPTED ? 2 : 0);
        if (seen.uploads > 0)
            assert_string_equal(seen.type, "image/png");
        world_close(&world);
    }
}

/* It took longer than the lease: Start says so, and the message is not sent. */
static void test_lease_lost(void **state)
{
    struct world world = { .provider_status = 200, .centre = { .is_start_denied = true } };
    struct upload_job job;

    (void)state;
    memset(&seen, 0, sizeof(seen));
    seen.upload_status = 200;
    seen.upload_answer = "M1";
    open_world(&world, "");
    fill(&job, &world, "image/png");
    give(&world, &job.toy);
    WAIT_FOR(&world, world.centre.starts == 1 && jobs_open(&world) == 0);
    assert_int_equal(seen.uploads, 2);
    assert_int_equal(seen.sends, 0);
    assert_int_equal(world.centre.reports, 0);
    world_close(&world);
}

static void test_typing(void **state)
{
    static const struct {
        const char *label;
        int status; /* of the provider; 0: it never answers */
        bool has_recipient;
        Guichet__V1__OutcomeKind kind;
        unsigned typings;
    } marks[] = {
        { "taken", 204, true, ACCEPTED, 1 },
        { "refused", 500, true, FAILED, 1 },
        { "cannot be rendered", 204, false, FAILED, 0 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(marks); i++) {
        struct world world = { .provider_status = marks[i].status };
        Guichet__V1__TypingMark mark = GUICHET__V1__TYPING_MARK__INIT;
        Guichet__V1__Address recipient = GUICHET__V1__ADDRESS__INIT;
        struct toy_job job;

        memset(&seen, 0, sizeof(seen));
        open_world(&world, "");
        job_fill(&job, "toy-1", "x");
        recipient.value = "alice";
        mark.recipient = marks[i].has_recipient ? &recipient : NULL;
        job.job.kind_case = GUICHET__V1__JOB__KIND_TYPING;
        job.job.typing = &mark;
        give(&world, &job);
        WAIT_FOR(&world, world.centre.reports == 1 && jobs_open(&world) == 0);
        if (world.centre.outcome != marks[i].kind || seen.typings != marks[i].typings ||
            world.centre.starts > 0)
            fail_msg("case '%s': outcome %d '%s'", marks[i].label, (int)world.centre.outcome,
                     world.centre.text);
        if (seen.typings > 0)
            assert_string_equal(seen.typed, "alice");
        world_close(&world);
    }
}

/* No such job here: it fails at once, for good. */
static void test_other_jobs(void **state)
{
    struct world world = { .provider_status = 200 };
    Guichet__V1__SyncTemplates templates = GUICHET__V1__SYNC_TEMPLATES__INIT;
    struct toy_job job;

    (void)state;
    open_world(&world, "");
    job_fill(&job, "toy-1", "x");
    job.job.kind_case = GUICHET__V1__JOB__KIND_SYNC_TEMPLATES;
    job.job.sync_templates = &templates;
    give(&world, &job);
    WAIT_FOR(&world, world.centre.reports == 1);
    assert_int_equal(world.centre.outcome, FAILED);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_go_first),
        cmocka_unit_test(test_lease_lost),
        cmocka_unit_test(test_typing),
        cmocka_unit_test(test_other_jobs),
    };

    blobs_fill(file_bytes, sizeof(file_bytes));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
