/* SPDX-License-Identifier: Apache-2.0 */
/* flow_blobs_test.c - blobs for connectors: who may, and that what they ask arrives at context as it was asked. */
#include "flow_steps.h"
#include "token.h"

enum { CHUNK_BYTES = 262144 };

static struct {
    unsigned count;
    char tenant[32], envelope[32], upload_id[40];
    uint64_t offset;
    size_t len;
    uint32_t left_ms;
    bool is_silent;
} seen;

static void fake_put_chunk(Guichet__V1__Blobs_Service *service, const Guichet__V1__PutChunkRequest *input,
                           Guichet__V1__PutChunkReply_Closure closure, void *closure_data)
{
    const Guichet__V1__PutChunkReply reply = GUICHET__V1__PUT_CHUNK_REPLY__INIT;
    struct mesh_request *request = mesh_request_of(closure_data);

    (void)service;
    seen.count++;
    snprintf(seen.tenant, sizeof(seen.tenant), "%s", input->tenant);
    snprintf(seen.envelope, sizeof(seen.envelope), "%s", mesh_request_tenant(request));
    snprintf(seen.upload_id, sizeof(seen.upload_id), "%s", input->upload_id);
    seen.offset = input->offset;
    seen.len = input->bytes.len;
    seen.left_ms = mesh_request_left_ms(request);
    if (!seen.is_silent)
        closure(&reply, closure_data);
}

static struct mesh_client *dial_blobs(struct house *house)
{
    const char *url = mesh_server_url(house->routing->servers[4]);
    const struct mesh_client_options options = { .name = "routing",
                                                 .addresses = &url,
                                                 .address_count = 1,
                                                 .descriptor = &guichet__v1__blobs__descriptor };
    struct mesh_client *client = NULL;
    struct err err = { 0 };

    if (!mesh_client_new(house->service.loop, &options, &client, &err))
        fail_msg("dial: %s", err.text);
    UNTIL(house, mesh_client_is_healthy(client));
    return client;
}

static enum err_kind put(struct house *house, struct mesh_client *client, const char *tenant,
                         struct str_view token, uint32_t timeout_ms)
{
    static uint8_t bytes[CHUNK_BYTES];
    Guichet__V1__PutChunkRequest request = GUICHET__V1__PUT_CHUNK_REQUEST__INIT;
    const struct mesh_call how = {
        .tenant = tenant, .token = token, .timeout_ms = timeout_ms, .no_retry = true
    };

    request.tenant = (char *)tenant;
    request.upload_id = (char *)"0192f0c1-2222-7333-8444-555566667777";
    request.offset = CHUNK_BYTES;
    request.bytes = (ProtobufCBinaryData){ sizeof(bytes), bytes };
    guichet__v1__blobs__put_chunk(mesh_client_call(client, &how), &request,
                                  (Guichet__V1__PutChunkReply_Closure)on_answer, start(house, 0));
    wait_for(house, 0);
    return house->answers[0].err.kind;
}

/* Signed by the centre's key, for an account of that tenant. */
static void sign(struct house *house, const char *tenant, struct buf *token)
{
    const struct routing_token_keys keys = { house->config.token_key, NULL };
    Guichet__V1__AnnounceRequest claims = GUICHET__V1__ANNOUNCE_REQUEST__INIT;
    Guichet__V1__AnnouncedAccount account = GUICHET__V1__ANNOUNCED_ACCOUNT__INIT, *accounts = &account;

    account.id = (char *)"sms-1";
    account.tenant = (char *)tenant;
    claims.connector = (char *)"sms-1";
    claims.channel = (char *)"sms";
    claims.accounts = &accounts;
    claims.n_accounts = 1;
    claims.at = pbtime_new(house->arena, time_now_us() + 60000000);
    buf_init(token, 65536);
    routing_token_sign(&keys, &claims, token);
}

static void test_who_may(void **state)
{
    struct house house;
    struct mesh_client *client;
    SCOPED_BUF foreign = { 0 }, own = { 0 };

    (void)state;
    open_house(&house, "blobs", "");
    house.fake.blobs.base.put_chunk = fake_put_chunk;
    client = dial_blobs(&house);
    sign(&house, "blobs", &own);
    sign(&house, "others", &foreign);
    assert_int_equal(put(&house, client, "blobs", STR_LITERAL(""), DEADLINE_MS), ERR_FORBIDDEN);
    assert_int_equal(
        put(&house, client, "blobs", STR_LITERAL("made up, and of some length as well"), DEADLINE_MS),
        ERR_FORBIDDEN);
    assert_int_equal(put(&house, client, "blobs", buf_view(&foreign), DEADLINE_MS), ERR_FORBIDDEN);
    assert_int_equal(put(&house, client, "others", buf_view(&foreign), DEADLINE_MS), ERR_NOT_FOUND);
    assert_int_equal(seen.count, 0);
    assert_int_equal(put(&house, client, "blobs", buf_view(&own), DEADLINE_MS), ERR_NONE);
    assert_int_equal(seen.count, 1);
    mesh_client_free(&client);
    close_house(&house);
}

static void test_what_arrives(void **state)
{
    struct house house;
    struct mesh_client *client;
    Guichet__V1__GetBlobRequest get = GUICHET__V1__GET_BLOB_REQUEST__INIT;
    uint8_t sha256[32] = { 7 };
    SCOPED_BUF token = { 0 };

    (void)state;
    open_house(&house, "arrives", "");
    house.fake.blobs.base.put_chunk = fake_put_chunk;
    client = dial_blobs(&house);
    sign(&house, "arrives", &token);
    assert_int_equal(put(&house, client, "arrives", buf_view(&token), 3000), ERR_NONE);
    assert_string_equal(seen.tenant, "arrives");
    assert_string_equal(seen.envelope, "arrives");
    assert_string_equal(seen.upload_id, "0192f0c1-2222-7333-8444-555566667777");
    assert_int_equal(seen.offset, CHUNK_BYTES);
    assert_int_equal(seen.len, CHUNK_BYTES);
    assert_in_range(seen.left_ms, 1, 3000);

    /* Context's refusal is the connector's; its silence ends with the connector's deadline. */
    get.tenant = house.tenant;
    get.sha256 = (ProtobufCBinaryData){ sizeof(sha256), sha256 };
    guichet__v1__blobs__get_blob(
        mesh_client_call(client, &(struct mesh_call){ .tenant = house.tenant, .token = buf_view(&token) }),
        &get, (Guichet__V1__GetBlobReply_Closure)on_answer, start(&house, 0));
    wait_for(&house, 0);
    assert_int_equal(house.answers[0].err.kind, ERR_NOT_FOUND);
    seen.is_silent = true;
    assert_int_equal(put(&house, client, "arrives", buf_view(&token), 300), ERR_DEADLINE);
    seen.is_silent = false;
    mesh_client_free(&client);
    close_house(&house);
}

static int set_up(void **state)
{
    (void)state;
    testkit_open(&database, "blobs");
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
        cmocka_unit_test(test_who_may),
        cmocka_unit_test(test_what_arrives),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
