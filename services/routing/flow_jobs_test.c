/* SPDX-License-Identifier: Apache-2.0 */
/* flow_jobs_test.c - jobs other than deliveries, and dead letters, as connectors, agents and guichetctl see them. */
#include "flow_steps.h"

#define SHA256 "0123456789abcdef0123456789abcdef"

#define ACCEPTED GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_ACCEPTED
#define FAILED GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_FAILED

enum {
    IS_QUEUED = GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_QUEUED,
    IS_SENT = GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_SENT,
    IS_FAILED = GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_FAILED,
    IS_OPEN = GUICHET__V1__DEAD_LETTER_STATE__DEAD_LETTER_STATE_OPEN,
    IS_REPLAYED = GUICHET__V1__DEAD_LETTER_STATE__DEAD_LETTER_STATE_REPLAYED,
};

static Guichet__V1__Job *pull_one(struct house *house)
{
    Guichet__V1__PullReply *pulled;

    start_pull(house, 1, 8000);
    pulled = end_pull(house, 1);
    assert_non_null(pulled);
    assert_int_equal(pulled->n_jobs, 1);
    return pulled->jobs[0];
}

static void arrive_with_picture(struct house *house)
{
    house->fake.media.state = GUICHET__V1__MEDIA_STATE__MEDIA_STATE_PENDING;
    fake_media(&house->fake, GUICHET__V1__CHANGE_KIND__CHANGE_KIND_MESSAGE, 1, 2);
    fake_ring(&house->fake);
}

static Guichet__V1__ListDeadLettersReply *list(struct house *house)
{
    Guichet__V1__ListDeadLettersRequest request = GUICHET__V1__LIST_DEAD_LETTERS_REQUEST__INIT;

    request.tenant = house->tenant;
    return CALL(house, gateway, routing, list_dead_letters, ListDeadLettersReply, &request);
}

static char *only_letter(struct house *house)
{
    Guichet__V1__ListDeadLettersReply *listed;

    UNTIL(house, list(house)->open_count == 1);
    listed = list(house);
    assert_int_equal(listed->n_dead_letters, 1);
    return listed->dead_letters[0]->id;
}

/* Through which listener, by whom. */
static Guichet__V1__DeadLetterReply *replay(struct house *house, struct mesh_client *client, char *id,
                                            const char *actor)
{
    Guichet__V1__ReplayDeadLetterRequest request = GUICHET__V1__REPLAY_DEAD_LETTER_REQUEST__INIT;
    struct mesh_client *gateway = house->gateway;
    Guichet__V1__DeadLetterReply *reply;

    request.tenant = house->tenant;
    request.id = id;
    request.actor_id = (char *)actor;
    house->gateway = client;
    reply = CALL(house, gateway, routing, replay_dead_letter, DeadLetterReply, &request);
    house->gateway = gateway;
    return reply;
}

static Guichet__V1__GetDeadLetterReply *show(struct house *house, char *id)
{
    Guichet__V1__GetDeadLetterRequest request = GUICHET__V1__GET_DEAD_LETTER_REQUEST__INIT;

    request.tenant = house->tenant;
    request.id = id;
    return CALL(house, ctl, routing, get_dead_letter, GetDeadLetterReply, &request);
}

static void test_jobs_media_is_stored(void **state)
{
    struct house house;
    Guichet__V1__Job *job;

    (void)state;
    open_house(&house, "stored", "retry_base_ms: 10ms\nretry_cap_ms: 20ms\n");
    announce(&house, "stored", "0123456789abcdef");
    arrive_with_picture(&house);
    job = pull_one(&house);
    assert_int_equal(job->kind_case, GUICHET__V1__JOB__KIND_FETCH_MEDIA);
    assert_int_equal(job->fetch_media->part_index, 2);
    assert_string_equal(job->fetch_media->message_id, fake_id(&house.fake, FAKE_MESSAGE, 1));
    assert_string_equal(job->fetch_media->media->provider_url, "https://provider.example/1");
    assert_null(report_media(&house, job, ACCEPTED, NULL, ""));
    assert_int_equal(house.answers[0].err.kind, ERR_INVALID);
    house.fake.media.fail_with = ERR_UNAVAILABLE; /* context is down: the connector reports again */
    assert_null(report_media(&house, job, ACCEPTED, SHA256, ""));
    assert_int_equal(house.answers[0].err.kind, ERR_UNAVAILABLE);
    house.fake.media.fail_with = ERR_NOT_FOUND; /* its bytes are gone: fetched again */
    assert_int_equal(report_media(&house, job, ACCEPTED, SHA256, "")->state, IS_QUEUED);
    job = pull_one(&house);
    house.fake.media.fail_with = ERR_NONE;
    assert_int_equal(report_media(&house, job, ACCEPTED, SHA256, "")->state, IS_SENT);
    assert_int_equal(house.fake.media.state, GUICHET__V1__MEDIA_STATE__MEDIA_STATE_STORED);
    assert_int_equal(house.fake.media.sha256_len, 32);
    assert_int_equal(report_media(&house, job, ACCEPTED, SHA256, "")->state, IS_SENT);
    assert_int_equal(house.fake.media.calls, 1);
    UNTIL(&house, strcmp(event_types(&house), "4 1 5 15") == 0);
    close_house(&house);
}

static void test_jobs_media_that_fails(void **state)
{
    struct house house;
    Guichet__V1__Agent *alice, *root;
    Guichet__V1__Job *job;
    Guichet__V1__GetDeadLetterReply *shown;
    char *letter;

    (void)state;
    open_house(&house, "failing", "job_tell_ms: 50ms\n");
    announce(&house, "failing", "0123456789abcdef");
    alice = make_agent(&house, "alice", GUICHET__V1__ROLE__ROLE_AGENT);
    root = make_agent(&house, "root", GUICHET__V1__ROLE__ROLE_ADMIN);
    arrive_with_picture(&house);
    job = pull_one(&house);
    house.fake.media.fail_with = ERR_UNAVAILABLE;
    assert_null(report_media(&house, job, FAILED, NULL, "410 gone"));
    assert_int_equal(house.answers[0].err.kind, ERR_UNAVAILABLE);
    house.fake.media.fail_with = ERR_NONE; /* nobody reports again: the clock tells context */
    letter = only_letter(&house);
    assert_string_equal(house.fake.media.error, "410 gone");
    assert_int_equal(report_media(&house, job, FAILED, NULL, "410 gone")->state, IS_FAILED);
    shown = show(&house, letter);
    assert_string_equal(shown->dead_letter->reason, "410 gone");
    assert_string_equal(shown->payload_type, "application/json");
    assert_non_null(memmem(shown->payload.data, shown->payload.len, "\"partIndex\":2", 13));
    assert_null(memmem(shown->payload.data, shown->payload.len, "provider.example", 16));

    assert_null(replay(&house, house.gateway, letter, alice->id));
    assert_int_equal(house.answers[0].err.kind, ERR_FORBIDDEN);
    assert_null(replay(&house, house.gateway, letter, "guichetctl root"));
    assert_int_equal(house.answers[0].err.kind, ERR_INVALID);
    assert_true(replay(&house, house.gateway, letter, root->id)->is_changed);
    assert_false(replay(&house, house.gateway, letter, root->id)->is_changed);
    assert_int_equal(house.fake.media.state, GUICHET__V1__MEDIA_STATE__MEDIA_STATE_PENDING);
    job = pull_one(&house);
    assert_int_equal(report_media(&house, job, ACCEPTED, SHA256, "")->state, IS_SENT);
    close_house(&house);
}

static void test_jobs_media_there_after_all(void **state)
{
    struct house house;
    Guichet__V1__Job *job;
    char *letter;

    (void)state;
    open_house(&house, "late", "");
    announce(&house, "late", "0123456789abcdef");
    arrive_with_picture(&house);
    job = pull_one(&house);
    assert_int_equal(report_media(&house, job, FAILED, NULL, "410 gone")->state, IS_FAILED);
    letter = only_letter(&house);
    house.fake.media.fail_with = ERR_NOT_FOUND; /* its bytes are gone as well */
    assert_int_equal(report_media(&house, job, ACCEPTED, SHA256, "")->state, IS_FAILED);
    house.fake.media.fail_with = ERR_NONE;
    assert_int_equal(report_media(&house, job, ACCEPTED, SHA256, "")->state, IS_SENT);
    assert_int_equal(house.fake.media.state, GUICHET__V1__MEDIA_STATE__MEDIA_STATE_STORED);
    assert_int_equal(show(&house, letter)->dead_letter->state, IS_REPLAYED);
    assert_string_equal(show(&house, letter)->dead_letter->resolved_by, "late report");
    close_house(&house);
}

static void test_jobs_leases_end(void **state)
{
    struct house house;

    (void)state;
    open_house(&house, "ending",
               "job_attempts_max: 2\ndelivery_lease_ms: 200ms\nretry_base_ms: 10ms\nretry_cap_ms: 20ms\n");
    announce(&house, "ending", "0123456789abcdef");
    arrive_with_picture(&house);
    pull_one(&house);
    pull_one(&house); /* offered again, by the clock alone */
    only_letter(&house);
    assert_int_equal(house.fake.media.state, GUICHET__V1__MEDIA_STATE__MEDIA_STATE_FAILED);
    assert_string_equal(house.fake.media.error, "no report before the lease ended");
    close_house(&house);
}

static void test_jobs_typing(void **state)
{
    struct house house;
    Guichet__V1__Agent *alice;
    Guichet__V1__SetTypingRequest request = GUICHET__V1__SET_TYPING_REQUEST__INIT;
    Guichet__V1__Job *job;

    (void)state;
    open_house(&house, "typing", "");
    announce(&house, "typing", "0123456789abcdef");
    alice = make_agent(&house, "alice", GUICHET__V1__ROLE__ROLE_AGENT);
    assert_non_null(submit(&house, "sms-typing", 7));
    UNTIL(&house, strcmp(event_types(&house), "10 4 1 6") == 0);
    request.tenant = house.tenant;
    request.conversation_id = fake_id(&house.fake, FAKE_CONVERSATION, 7);
    request.actor_id = alice->id;
    assert_null(CALL(&house, gateway, routing, set_typing, SetTypingReply, &request));
    assert_int_equal(house.answers[0].err.kind, ERR_CONFLICT);
    assert_non_null(strstr(house.answers[0].err.text, "cannot show"));
    house.can.has_typing = true;
    announce(&house, "typing", "0123456789abcdef");
    start_pull(&house, 1, 8000); /* woken at once */
    assert_non_null(CALL(&house, gateway, routing, set_typing, SetTypingReply, &request));
    assert_non_null(end_pull(&house, 1));
    job = end_pull(&house, 1)->jobs[0];
    assert_int_equal(job->kind_case, GUICHET__V1__JOB__KIND_TYPING);
    assert_string_equal(job->typing->provider_id, "SM1");
    assert_int_equal(report_media(&house, job, ACCEPTED, NULL, "")->state, IS_SENT);
    assert_non_null(CALL(&house, gateway, routing, set_typing, SetTypingReply, &request));
    start_pull(&house, 1, 50);
    assert_int_equal(end_pull(&house, 1)->n_jobs, 0); /* one in three seconds */
    request.actor_id = make_agent(&house, "bob", GUICHET__V1__ROLE__ROLE_AGENT)->id;
    assert_null(CALL(&house, gateway, routing, set_typing, SetTypingReply, &request));
    assert_int_equal(house.answers[0].err.kind, ERR_FORBIDDEN);
    close_house(&house);
}

static void test_jobs_refused_event(void **state)
{
    struct house house;
    Guichet__V1__Change *change;
    Guichet__V1__DeadLetterReply *replayed;
    Guichet__V1__GetDeadLetterReply *shown;
    char *letter;

    (void)state;
    open_house(&house, "refused", "");
    change = fake_add(&house.fake, GUICHET__V1__CHANGE_KIND__CHANGE_KIND_REFUSED, 1);
    change->refused_id = (char *)"00000009-0000-7000-8000-000000000001";
    change->reason = (char *)"two ids in one";
    fake_ring(&house.fake);
    letter = only_letter(&house);
    assert_string_equal(letter, change->refused_id);
    shown = show(&house, letter);
    assert_string_equal(shown->dead_letter->subject, "message:SM1");
    assert_memory_equal(shown->payload.data, "Body=", 5);
    house.fake.replay_result = GUICHET__V1__RECORD_RESULT__RECORD_RESULT_REFUSED;
    replayed = replay(&house, house.ctl, letter, "guichetctl root");
    assert_int_equal(replayed->dead_letter->state, IS_OPEN);
    assert_string_equal(replayed->dead_letter->replay_error, "still two ids");
    house.fake.replay_result = GUICHET__V1__RECORD_RESULT__RECORD_RESULT_STORED;
    replayed = replay(&house, house.ctl, letter, "guichetctl root");
    assert_int_equal(replayed->dead_letter->state, IS_REPLAYED);
    assert_string_equal(replayed->dead_letter->resolved_by, "guichetctl root");
    assert_int_equal(replayed->dead_letter->replay_count, 2);
    assert_false(replay(&house, house.ctl, letter, "guichetctl root")->is_changed);
    assert_int_equal(house.fake.replays, 2);
    assert_string_equal(event_types(&house), "14 16 17");
    close_house(&house);
}

static void test_jobs_bad_change(void **state)
{
    struct house house;
    Guichet__V1__Change *bad;
    Guichet__V1__DeadLetterReply *replayed;
    char *letter;

    (void)state;
    open_house(&house, "change", "");
    bad = fake_outbound(&house.fake, 4, "");
    bad->message_id = (char *)""; /* a delivery without a message cannot be */
    fake_ring(&house.fake);
    letter = only_letter(&house);
    replayed = replay(&house, house.ctl, letter, "guichetctl root");
    assert_int_equal(replayed->dead_letter->state, IS_OPEN);
    assert_int_equal(replayed->dead_letter->attempt_count, 5);
    assert_non_null(strstr(replayed->dead_letter->replay_error, "null value"));
    assert_non_null(memmem(show(&house, letter)->payload.data, show(&house, letter)->payload.len,
                           "CHANGE_KIND_OUTBOUND", 20));
    close_house(&house);
}

static void test_jobs_failed_delivery(void **state)
{
    struct house house;
    Guichet__V1__Job *job;
    Guichet__V1__GetDeadLetterReply *shown;
    Guichet__V1__GetStatusRequest request = GUICHET__V1__GET_STATUS_REQUEST__INIT;
    Guichet__V1__GetStatusReply *status;
    char *letter;

    (void)state;
    open_house(&house, "undeliverable", "");
    announce(&house, "undeliverable", "0123456789abcdef");
    fake_message(&house.fake, 1, true);
    fake_outbound(&house.fake, 1, "");
    fake_ring(&house.fake);
    job = pull_one(&house);
    assert_true(start_job(&house, job)->is_granted);
    assert_int_equal(report_job(&house, job, FAILED, "")->state, IS_FAILED);
    letter = only_letter(&house);
    shown = show(&house, letter);
    assert_string_equal(shown->dead_letter->subject, job->id);
    assert_non_null(memmem(shown->payload.data, shown->payload.len, "\"threadId\"", 10));
    status = CALL(&house, ctl, routing, get_status, GetStatusReply, &request);
    assert_int_equal(status->tenants[0]->dead_letters_open, 1);
    assert_int_equal(status->tenants[0]->n_spools, 1);
    assert_int_equal(status->tenants[0]->spools[0]->event_count, 3);
    assert_true(replay(&house, house.ctl, letter, "guichetctl root")->is_changed);
    job = pull_one(&house);
    assert_true(start_job(&house, job)->is_granted);
    assert_int_equal(report_job(&house, job, ACCEPTED, "SM1")->state, IS_SENT);
    assert_int_equal(list(&house)->open_count, 0);
    close_house(&house);
}

/* Replies with so many parts: a file of 32 bytes of hash, and what the agent says it is. */
static Guichet__V1__ReplyReply *reply_media(struct house *house, const char *agent_id, size_t hash_len,
                                            const char *claim, size_t count)
{
    Guichet__V1__ReplyRequest request = GUICHET__V1__REPLY_REQUEST__INIT;
    Guichet__V1__Content content = GUICHET__V1__CONTENT__INIT;
    Guichet__V1__Part part = GUICHET__V1__PART__INIT, *parts[] = { &part, &part };
    Guichet__V1__Media media = GUICHET__V1__MEDIA__INIT;

    media.content_type = (char *)claim;
    media.sha256 = (ProtobufCBinaryData){ hash_len, (uint8_t *)SHA256 };
    media.file_name = (char *)"a picture.png";
    part.kind_case = GUICHET__V1__PART__KIND_MEDIA;
    part.media = &media;
    content.parts = parts;
    content.n_parts = count;
    request.tenant = house->tenant;
    request.conversation_id = fake_id(&house->fake, FAKE_CONVERSATION, 7);
    request.content = &content;
    request.actor_id = (char *)agent_id;
    request.idempotency_key = (char *)"key";
    return CALL(house, gateway, routing, reply, ReplyReply, &request);
}

static void test_jobs_reply_with_media(void **state)
{
    static const struct {
        const char *label;
        bool has_media;
        size_t hash_len;
        uint64_t blob_bytes;
        const char *blob_type, *claim;
        size_t count;
        unsigned asks;    /* of context's blobs */
        const char *says; /* NULL: sent */
    } cases[] = {
        { "the channel has none", false, 32, 10, "image/png", "", 1, 0, "cannot send media" },
        { "too many: none is looked at", true, 32, 10, "image/png", "", 2, 0, "has 2 media, the channel takes 1" },
        { "no file named", true, 3, 10, "image/png", "", 1, 0, "part 0 names no uploaded file" },
        { "not uploaded", true, 32, 0, "image/png", "", 1, 1, "there is no such file" },
        { "too large", true, 32, 101, "image/png", "", 1, 1, "has 101 bytes, the channel takes 100 of image/*" },
        { "not what is claimed", true, 32, 10, "video/mp4", "image/png", 1, 1, "cannot send video/mp4" },
        { "claimed to be another", true, 32, 100, "image/png", "video/mp4", 1, 1, NULL },
        { "nobody says", true, 32, 10, "application/octet-stream", "", 1, 1, "cannot send application/octet-stream" },
        { "only the agent says", true, 32, 100, "application/octet-stream", "image/png", 1, 1, NULL },
    };
    static char type[] = "image/*";
    Guichet__V1__MediaLimit limit = GUICHET__V1__MEDIA_LIMIT__INIT, *limits = &limit;
    struct house house;
    Guichet__V1__Agent *alice;
    Guichet__V1__Job *job;

    (void)state;
    open_house(&house, "links", "media_base_url: https://media.example/m\nmedia_key: env:ROUTING_TEST_KEY\n");
    limit.content_type = type;
    limit.max_bytes = 100;
    house.can.media = &limits;
    house.can.n_media = 1;
    house.can.media_max_count = 1;
    house.can.media_delivery = GUICHET__V1__MEDIA_DELIVERY__MEDIA_DELIVERY_LINK;
    announce(&house, "links", "0123456789abcdef");
    alice = make_agent(&house, "alice", GUICHET__V1__ROLE__ROLE_AGENT);
    assert_non_null(submit(&house, "sms-links", 7));
    UNTIL(&house, strcmp(event_types(&house), "10 4 1 6") == 0);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Guichet__V1__ReplyReply *sent;

        house.can.has_media = cases[i].has_media;
        house.fake.blob_bytes = cases[i].blob_bytes;
        house.fake.blob_type = cases[i].blob_type;
        house.fake.blob_asks = 0;
        announce(&house, "links", "0123456789abcdef");
        sent = reply_media(&house, alice->id, cases[i].hash_len, cases[i].claim, cases[i].count);
        if ((sent == NULL) != (cases[i].says != NULL) || house.fake.blob_asks != cases[i].asks ||
            (cases[i].says != NULL && strstr(house.answers[0].err.text, cases[i].says) == NULL))
            fail_msg("case '%s': %s", cases[i].label, house.answers[0].err.text);
    }
    job = pull_one(&house);
    assert_int_equal(job->send->content->n_parts, 1);
    assert_int_equal(job->send->content->parts[0]->media->size_bytes, 100);
    assert_string_equal(job->send->content->parts[0]->media->content_type, "image/png");
    assert_memory_equal(job->send->content->parts[0]->media->link_url, "https://media.example/m/", 24);
    assert_non_null(strstr(job->send->content->parts[0]->media->link_url, "/a%20picture.png"));
    close_house(&house);
}

static int set_up(void **state)
{
    (void)state;
    testkit_open(&database, "flow_jobs");
    return 0;
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
        cmocka_unit_test(test_jobs_media_is_stored),
        cmocka_unit_test(test_jobs_media_that_fails),
        cmocka_unit_test(test_jobs_media_there_after_all),
        cmocka_unit_test(test_jobs_leases_end),
        cmocka_unit_test(test_jobs_typing),
        cmocka_unit_test(test_jobs_refused_event),
        cmocka_unit_test(test_jobs_bad_change),
        cmocka_unit_test(test_jobs_failed_delivery),
        cmocka_unit_test(test_jobs_reply_with_media),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
