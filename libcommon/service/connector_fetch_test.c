/* SPDX-License-Identifier: Apache-2.0 */
/* connector_fetch_test.c - files that came: fetched, kept and reported, or why not. */
#include "service/connector_world_calls.h"

#define NEVER "media_stall_timeout_ms: 1s\n"

enum { FILE_BYTES = 3000000, SMALL_BYTES = 1000 };

static char file_bytes[FILE_BYTES];

/* ---- the provider ---- */

static void on_fetch(void *arg, struct http_exchange *exchange)
{
    struct world *world = arg;
    const char *path = http_exchange_path(exchange), *authorization;
    struct str_view small = { file_bytes, SMALL_BYTES };
    char other[64];

    authorization = http_exchange_header(exchange, "Authorization");
    if (authorization != NULL) {
        (void)http_exchange_reply(exchange, 400, "text/plain", STR_LITERAL("no credentials here"));
    } else if (strcmp(path, "/large") == 0) {
        (void)http_exchange_reply(exchange, 200, "image/png",
                                  (struct str_view){ file_bytes, sizeof(file_bytes) });
    } else if (strcmp(path, "/named") == 0) {
        http_exchange_set_header(exchange, "Content-Disposition", "inline; filename=\"cat.jpg\"");
        (void)http_exchange_reply(exchange, 200, "IMAGE/jpeg; x=y", small);
    } else if (strcmp(path, "/moved") == 0) {
        snprintf(other, sizeof(other), "http://127.0.0.1:%u/named", http_server_port(world->provider));
        http_exchange_set_header(exchange, "Location", other);
        (void)http_exchange_reply(exchange, 307, "text/plain", STR_LITERAL("there"));
    } else if (strcmp(path, "/inward") == 0) {
        http_exchange_set_header(exchange, "Location", "http://169.254.169.254/latest/meta-data/");
        (void)http_exchange_reply(exchange, 302, "text/plain", STR_LITERAL("there"));
    } else if (strcmp(path, "/round") == 0) {
        http_exchange_set_header(exchange, "Location", "/round");
        (void)http_exchange_reply(exchange, 302, "text/plain", STR_LITERAL("there"));
    } else if (strcmp(path, "/hold") == 0) {
        world->provider_open = exchange;
    } else if (strcmp(path, "/empty") == 0) {
        (void)http_exchange_reply(exchange, 200, "image/png", STR_LITERAL(""));
    } else if (path[1] >= '1' && path[1] <= '9') {
        (void)http_exchange_reply(exchange, atoi(path + 1), "text/plain", STR_LITERAL("sorry"));
    } else {
        (void)http_exchange_reply(exchange, 200, NULL, small);
    }
}

/* ---- a job ---- */

struct fetch_job {
    Guichet__V1__Job job;
    Guichet__V1__FetchMedia fetch;
    Guichet__V1__Media media;
    char url[128];
};

static void fill(struct fetch_job *job, const struct world *world, const char *path)
{
    guichet__v1__job__init(&job->job);
    guichet__v1__fetch_media__init(&job->fetch);
    guichet__v1__media__init(&job->media);
    if (path[0] == '/')
        snprintf(job->url, sizeof(job->url), "http://127.0.0.1:%u%s", http_server_port(world->provider),
                 path);
    else
        snprintf(job->url, sizeof(job->url), "%s", path);
    job->media.provider_url = job->url;
    job->fetch.media = &job->media;
    job->job.kind_case = GUICHET__V1__JOB__KIND_FETCH_MEDIA;
    job->job.fetch_media = &job->fetch;
    job->job.tenant = "demo";
    job->job.id = "job-1";
    job->job.account_id = "toy-1";
    job->job.lease = "lease-1";
    job->job.lease_ms = 60000;
}

static void give_fetch(struct world *world, const struct fetch_job *job)
{
    WAIT_FOR(world, world->centre.pull_closure != NULL);
    world->centre.job = &job->job;
    centre_give(&world->centre);
}

/* ---- tests ---- */

static const struct {
    const char *label, *path, *settings;
    Guichet__V1__OutcomeKind kind;
    const char *text; /* with which the provider text begins */
    const char *type, *name;
    enum err_kind put_fails, finish_fails;
    bool has_wrong_hash;
} fetches[] = {
    { "large", "/large", "", ACCEPTED, "", "image/png", "", 0, 0, false },
    { "named by the answer", "/named", "", ACCEPTED, "", "image/jpeg", "cat.jpg", 0, 0, false },
    { "type announced only", "/small", "", ACCEPTED, "", "video/mp4", "", 0, 0, false },
    { "moved", "/moved", "", ACCEPTED, "", "image/jpeg", "cat.jpg", 0, 0, false },
    { "type allowed", "/named", "media_types: [video/mp4, image/*]\n", ACCEPTED, "", "image/jpeg", "cat.jpg",
      0, 0, false },
    { "no address", "", "", FAILED, "the provider gave no address", NULL, NULL, 0, 0, false },
    { "no URL", "http://", "", FAILED, "the URL is not one", NULL, NULL, 0, 0, false },
    { "address refused", "http://169.254.1.1/", "", FAILED, "address not allowed", NULL, NULL, 0, 0, false },
    { "moved inward", "/inward", "", FAILED, "address not allowed", NULL, NULL, 0, 0, false },
    { "moved round and round", "/round", "", FAILED, "host 127.0.0.1: too many redirects", NULL, NULL, 0, 0,
      false },
    { "gone", "/404", "", FAILED, "gone at the provider (404)", NULL, NULL, 0, 0, false },
    { "gone for good", "/410", "", FAILED, "gone at the provider (410)", NULL, NULL, 0, 0, false },
    { "refused", "/403", "", FAILED, "the provider refused to give it (403)", NULL, NULL, 0, 0, false },
    { "other refusal", "/418", "", FAILED, "the provider answered 418", NULL, NULL, 0, 0, false },
    { "too busy", "/429", "", RETRY, "the provider answered 429", NULL, NULL, 0, 0, false },
    { "broken", "/503", "", RETRY, "the provider answered 503", NULL, NULL, 0, 0, false },
    { "nothing in it", "/empty", "", FAILED, "the provider gave an empty file", NULL, NULL, 0, 0, false },
    { "too large", "/large", "media_max_bytes: 1MiB\n", FAILED,
      "too large: it has 3000000 bytes, 1048576 at most", NULL, NULL, 0, 0, false },
    { "wrong type", "/large", "media_types: [image/jpeg, video/*]\n", FAILED,
      "the type image/png is not allowed", NULL, NULL, 0, 0, false },
    { "wrong hash", "/large", "", FAILED, "the hash is not the one the provider gave", NULL, NULL, 0, 0,
      true },
    { "nobody there", "http://127.0.0.1:1/", "", RETRY, "host 127.0.0.1: ", NULL, NULL, 0, 0, false },
    { "stalled", "/hold", NEVER, RETRY, "host 127.0.0.1: ", NULL, NULL, 0, 0, false },
    { "the centre refuses a chunk", "/large", "", RETRY, "", NULL, NULL, ERR_INTERNAL, 0, false },
    { "the centre refuses the whole", "/large", "", RETRY, "", NULL, NULL, 0, ERR_CONFLICT, false },
};

static void test_fetches(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(fetches); i++) {
        struct world world = { .provider_handler = on_fetch,
                               .blobs = { .put_fails = fetches[i].put_fails,
                                          .finish_fails = fetches[i].finish_fails } };
        uint8_t hash[BLOB_SHA256_BYTES] = { 1 };
        struct fetch_job job;

        world_open(&world, fetches[i].settings);
        fill(&job, &world, fetches[i].path);
        job.media.content_type = "video/mp4";
        if (fetches[i].has_wrong_hash)
            job.media.sha256 = (ProtobufCBinaryData){ sizeof(hash), hash };
        give_fetch(&world, &job);
        WAIT_FOR(&world, world.centre.reports == 1 && jobs_open(&world) == 0);
        if (world.centre.outcome != fetches[i].kind || world.centre.starts != 0 ||
            strncmp(world.centre.text, fetches[i].text, strlen(fetches[i].text)) != 0)
            fail_msg("case '%s': outcome %d, '%s'", fetches[i].label, (int)world.centre.outcome,
                     world.centre.text);
        if (fetches[i].kind == ACCEPTED) {
            assert_string_equal(world.centre.media_type, fetches[i].type);
            assert_string_equal(world.centre.media_name, fetches[i].name);
            assert_int_equal(world.centre.media_size, world.blobs.end);
            assert_memory_equal(world.blobs.bytes, file_bytes, world.blobs.end);
            assert_memory_equal(world.centre.media_sha256, world.blobs.sha256, BLOB_SHA256_BYTES);
            assert_int_equal(counted(&world, CONNECTOR_MEDIA_FETCHED), 1);
            assert_int_equal(counted(&world, CONNECTOR_MEDIA_BYTES), world.blobs.end);
        }
        world_close(&world);
    }
}

/* The provider's hash, when it is right. */
static void test_hash_is_checked(void **state)
{
    struct world world = { .provider_handler = on_fetch };
    uint8_t hash[BLOB_SHA256_BYTES];
    struct fetch_job job;

    (void)state;
    world_open(&world, "");
    fill(&job, &world, "/large");
    EVP_Digest(file_bytes, sizeof(file_bytes), hash, NULL, EVP_sha256(), NULL);
    job.media.sha256 = (ProtobufCBinaryData){ sizeof(hash), hash };
    give_fetch(&world, &job);
    WAIT_FOR(&world, world.centre.reports == 1);
    assert_int_equal(world.centre.outcome, ACCEPTED);
    world_close(&world);
}

/* One at a time: the second waits for its turn, and a lease that ends meanwhile is not begun. */
static void test_turns(void **state)
{
    struct world world = { .provider_handler = on_fetch };
    struct fetch_job first, second, third;

    (void)state;
    world_open(&world, "media_fetches_max: 1\n");
    fill(&first, &world, "/hold");
    fill(&second, &world, "/large");
    fill(&third, &world, "/large");
    third.job.lease_ms = 2100; /* with its margin, next to nothing */
    give_fetch(&world, &first);
    WAIT_FOR(&world, world.provider_open != NULL);
    give_fetch(&world, &third);
    give_fetch(&world, &second);
    WAIT_FOR(&world, jobs_open(&world) == 3);
    assert_int_equal(world.centre.reports, 0);
    assert_int_equal(world.provider_calls, 1);
    http_exchange_reply(world.provider_open, 404, "text/plain", STR_LITERAL("gone"));
    world.provider_open = NULL;
    WAIT_FOR(&world, world.centre.reports == 3 && jobs_open(&world) == 0);
    assert_int_equal(world.provider_calls, 2);
    assert_int_equal(counted(&world, CONNECTOR_MEDIA_FETCHED), 1);
    assert_int_equal(counted(&world, CONNECTOR_MEDIA_FAILED), 1);
    assert_int_equal(counted(&world, CONNECTOR_MEDIA_RETRY), 1);
    world_close(&world);
}

/* The process ends with one fetch under way and one waiting: neither is reported, nothing is left behind. */
static void test_end_under_way(void **state)
{
    struct world world = { .provider_handler = on_fetch };
    struct fetch_job first, second;

    (void)state;
    world_open(&world, "media_fetches_max: 1\n");
    fill(&first, &world, "/hold");
    fill(&second, &world, "/large");
    give_fetch(&world, &first);
    WAIT_FOR(&world, world.provider_open != NULL);
    give_fetch(&world, &second);
    WAIT_FOR(&world, jobs_open(&world) == 2);
    world_close(&world);
    assert_int_equal(world.centre.reports, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fetches),
        cmocka_unit_test(test_hash_is_checked),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_end_under_way),
    };

    blobs_fill(file_bytes, sizeof(file_bytes));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
