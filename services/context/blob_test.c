/* SPDX-License-Identifier: Apache-2.0 */
/* blob_test.c - uploads in chunks over two replicas, in the database's store. */
#include "blob_testkit.h"

static struct mesh_client *clients[KIT_REPLICAS];

static int set_up(void **state)
{
    struct kit *kit;

    if (kit_set_up(state) != 0)
        return 1;
    kit = *state;
    for (size_t i = 0; i < KIT_REPLICAS; i++)
        clients[i] = kit_blob_client(kit, kit->replicas[i]);
    return 0;
}

static int tear_down(void **state)
{
    for (size_t i = 0; i < KIT_REPLICAS; i++)
        mesh_client_free(&clients[i]);
    return kit_tear_down(state);
}

static void test_any_order_any_replica_any_number_of_times(void **state)
{
    struct kit *kit = *state;
    struct kit_upload upload = kit_upload(kit, "order", 2 * KIT_CHUNK + 1000, 1);
    const Guichet__V1__Blob *blob;
    struct err err = { 0 };

    assert_true(kit_put(kit, clients[0], &upload, 2 * KIT_CHUNK, &err));
    assert_true(kit_put(kit, clients[1], &upload, 0, &err));
    assert_true(kit_put(kit, clients[0], &upload, 0, &err));
    assert_true(kit_put(kit, clients[1], &upload, KIT_CHUNK, &err));
    for (size_t i = 0; i < 4; i++) {
        blob = kit_finish(kit, clients[i % 2], &upload, &err);
        if (blob == NULL)
            fail_msg("finish %zu: %s", i, err.text);
        assert_int_equal(blob->size_bytes, upload.len);
        assert_memory_equal(blob->sha256.data, upload.sha256, 32);
        assert_string_equal(blob->content_type, "image/png");
    }
    kit_check_bytes(kit, clients[0], &upload);
    kit_check_bytes(kit, clients[1], &upload);
    assert_string_equal(kit_sql(kit, "SELECT count(*) FROM context.blob WHERE tenant = 'order'"), "1");
}

static void test_of_no_bytes(void **state)
{
    struct kit *kit = *state;
    struct kit_upload upload = kit_upload(kit, "none", 0, 1);
    struct err err = { 0 };

    kit_put_all(kit, clients[0], &upload);
    assert_non_null(kit_finish(kit, clients[0], &upload, &err));
    kit_check_bytes(kit, clients[0], &upload);
}

static void test_the_hash_need_not_be_known(void **state)
{
    struct kit *kit = *state;
    struct kit_upload upload = kit_upload(kit, "unknown", 1000, 1);
    Guichet__V1__FinishUploadRequest request = kit_finish_request(&upload);
    const Guichet__V1__FinishUploadReply *reply;
    struct err err = { 0 };

    kit_put_all(kit, clients[0], &upload);
    request.sha256.len = 0;
    reply = KIT_BLOB_CALL(kit, clients[0], finish_upload, FinishUploadReply, &request, &err);
    assert_non_null(reply);
    assert_memory_equal(reply->blob->sha256.data, upload.sha256, 32);
}

/* The same bytes once more: the blob that is there, and nothing is kept twice. */
static void test_the_same_bytes_are_one_blob(void **state)
{
    struct kit *kit = *state;
    struct kit_upload first = kit_upload(kit, "same", 3 * KIT_CHUNK, 7);
    struct kit_upload second = kit_upload(kit, "same", 3 * KIT_CHUNK, 7);
    struct kit_upload other = kit_upload(kit, "same2", 3 * KIT_CHUNK, 7);
    const Guichet__V1__Blob *a, *b;
    struct err err = { 0 };

    kit_put_all(kit, clients[0], &first);
    kit_put_all(kit, clients[1], &second);
    a = kit_finish(kit, clients[0], &first, &err);
    b = kit_finish(kit, clients[1], &second, &err);
    assert_true(a != NULL && b != NULL);
    assert_int_equal(a->created_at->seconds, b->created_at->seconds);
    assert_int_equal(a->created_at->nanos, b->created_at->nanos);
    KIT_UNTIL(
        kit, strcmp(kit_sql(kit, "SELECT count(*) FROM context.blob_chunk WHERE tenant = 'same'"), "3") == 0);
    kit_check_bytes(kit, clients[0], &second);
    assert_non_null(kit_finish(kit, clients[0], &second, &err));

    /* Another tenant has its own, and sees no other's. */
    assert_null(kit_read(kit, clients[0], &other, 0, 10, &err));
    assert_int_equal(err.kind, ERR_NOT_FOUND);
}

static void test_all_at_once(void **state)
{
    enum { UPLOADS = 4, ASKS = 3 };
    struct kit *kit = *state;
    struct kit_upload uploads[UPLOADS];
    struct answer answers[UPLOADS][ASKS] = { 0 };

    for (size_t i = 0; i < UPLOADS; i++) {
        uploads[i] = kit_upload(kit, "race", 2 * KIT_CHUNK, 9);
        kit_put_all(kit, clients[0], &uploads[i]);
    }
    for (size_t i = 0; i < UPLOADS; i++)
        for (size_t j = 0; j < ASKS; j++) {
            Guichet__V1__FinishUploadRequest request = kit_finish_request(&uploads[i]);

            KIT_BLOB_START(kit, clients[j % 2], finish_upload, FinishUploadReply, &request, &answers[i][j]);
        }
    for (size_t i = 0; i < UPLOADS; i++)
        for (size_t j = 0; j < ASKS; j++) {
            KIT_UNTIL(kit, answers[i][j].is_done);
            if (answers[i][j].reply == NULL)
                fail_msg("upload %zu, %zu: %s", i, j, answers[i][j].err.text);
        }
    assert_string_equal(kit_sql(kit, "SELECT count(*) FROM context.blob WHERE tenant = 'race'"), "1");
    kit_check_bytes(kit, clients[0], &uploads[0]);
}

static const struct {
    const char *label;
    const char *tenant, *upload_id;
    uint64_t offset;
    size_t len;
    enum err_kind kind;
    const char *text;
} bad_chunks[] = {
    { "no id", "bad", "42", 0, 10, ERR_INVALID, "upload_id" },
    { "between two chunks", "bad", NULL, 1000, 10, ERR_INVALID, "offset" },
    { "nothing, later", "bad", NULL, KIT_CHUNK, 0, ERR_INVALID, "none" },
    { "past the limit", "bad", NULL, 104857600, 10, ERR_INVALID, "larger than 104857600" },
    { "far past it", "bad", NULL, UINT64_MAX - 262143, 10, ERR_INVALID, "larger" },
    { "no tenant", "", NULL, 0, 10, ERR_INVALID, "tenant" },
    { "a tenant that is a path", "../x", NULL, 0, 10, ERR_INVALID, "tenant" },
};

static void test_chunks_that_are_refused(void **state)
{
    struct kit *kit = *state;

    for (size_t i = 0; i < COUNT_OF(bad_chunks); i++) {
        Guichet__V1__PutChunkRequest request = GUICHET__V1__PUT_CHUNK_REQUEST__INIT;
        char id[ID_TEXT_BYTES];
        struct err err = { 0 };

        id_new_text(id);
        request.tenant = (char *)bad_chunks[i].tenant;
        request.upload_id = bad_chunks[i].upload_id != NULL ? (char *)bad_chunks[i].upload_id : id;
        request.offset = bad_chunks[i].offset;
        request.bytes = (ProtobufCBinaryData){ bad_chunks[i].len, kit_bytes(kit, bad_chunks[i].len, 1) };
        if (KIT_BLOB_CALL(kit, clients[0], put_chunk, PutChunkReply, &request, &err) != NULL ||
            err.kind != bad_chunks[i].kind || strstr(err.text, bad_chunks[i].text) == NULL)
            fail_msg("%s: %s", bad_chunks[i].label, err.text);
    }
}

static void test_other_bytes_at_the_same_place(void **state)
{
    struct kit *kit = *state;
    struct kit_upload upload = kit_upload(kit, "other", 1000, 1);
    struct kit_upload changed = kit_upload(kit, "other", 1000, 2);
    struct err err = { 0 };

    memcpy(changed.id, upload.id, sizeof(upload.id));
    assert_true(kit_put(kit, clients[0], &upload, 0, &err));
    assert_false(kit_put(kit, clients[1], &changed, 0, &err));
    assert_int_equal(err.kind, ERR_CONFLICT);
    assert_non_null(kit_finish(kit, clients[0], &upload, &err));
    assert_false(kit_put(kit, clients[1], &upload, 0, &err));
    assert_int_equal(err.kind, ERR_CONFLICT);
}

static void expect_refused(struct kit *kit, const char *label, const struct kit_upload *upload,
                           enum err_kind kind, const char *text)
{
    struct err err = { 0 };

    if (kit_finish(kit, clients[0], upload, &err) != NULL || err.kind != kind ||
        strstr(err.text, text) == NULL)
        fail_msg("%s: %s", label, err.text);
}

static void test_uploads_that_cannot_be_finished(void **state)
{
    struct kit *kit = *state;
    struct kit_upload upload = kit_upload(kit, "finish", 3 * KIT_CHUNK + 10, 1), wrong;
    struct err err = { 0 };

    expect_refused(kit, "unknown", &upload, ERR_NOT_FOUND, "there is none");
    assert_true(kit_put(kit, clients[0], &upload, 0, &err));
    assert_true(kit_put(kit, clients[0], &upload, 3 * KIT_CHUNK, &err));
    expect_refused(kit, "holes", &upload, ERR_INVALID, "2 chunks are missing, the first at 262144");
    kit_put_all(kit, clients[0], &upload);
    wrong = upload;
    wrong.len -= 1;
    expect_refused(kit, "longer than said", &wrong, ERR_INVALID, "the chunk at 786432 has 10 bytes");
    wrong.len = 3 * KIT_CHUNK;
    expect_refused(kit, "a chunk too many", &wrong, ERR_INVALID, "the chunk at 786432 has 10 bytes");
    wrong.len = (size_t)1 << 31;
    expect_refused(kit, "too large", &wrong, ERR_INVALID, "larger than");
    assert_non_null(kit_finish(kit, clients[0], &upload, &err));
    wrong = upload;
    wrong.sha256[0] ^= 1;
    expect_refused(kit, "finished as another", &wrong, ERR_INVALID, "as another blob");
}

static void test_a_wrong_hash_drops_the_upload(void **state)
{
    struct kit *kit = *state;
    struct kit_upload upload = kit_upload(kit, "hash", 2 * KIT_CHUNK, 1), wrong = upload;

    kit_put_all(kit, clients[0], &upload);
    wrong.sha256[31] ^= 1;
    expect_refused(kit, "wrong", &wrong, ERR_INVALID, "another than was said");
    expect_refused(kit, "dropped", &upload, ERR_NOT_FOUND, "there is none");
    KIT_UNTIL(
        kit, strcmp(kit_sql(kit, "SELECT count(*) FROM context.blob_chunk WHERE tenant = 'hash'"), "0") == 0);
    KIT_UNTIL(kit, strcmp(kit_sql(kit, "SELECT count(*) FROM context.blob_upload WHERE tenant = 'hash'"),
                          "0") == 0);
}

static void test_an_upload_is_given_up(void **state)
{
    struct kit *kit = *state;
    struct kit_upload upload = kit_upload(kit, "abort", 2 * KIT_CHUNK, 1);
    Guichet__V1__AbortUploadRequest request = GUICHET__V1__ABORT_UPLOAD_REQUEST__INIT;
    struct err err = { 0 };

    request.tenant = (char *)upload.tenant;
    request.upload_id = upload.id;
    for (size_t i = 0; i < 2; i++) {
        kit_put_all(kit, clients[0], &upload);
        assert_non_null(KIT_BLOB_CALL(kit, clients[0], abort_upload, AbortUploadReply, &request, &err));
        assert_non_null(KIT_BLOB_CALL(kit, clients[1], abort_upload, AbortUploadReply, &request, &err));
        KIT_UNTIL(kit, strcmp(kit_sql(kit, "SELECT count(*) FROM context.blob_upload WHERE tenant = 'abort'"),
                              "0") == 0);
    }
    kit_put_all(kit, clients[0], &upload);
    assert_non_null(kit_finish(kit, clients[0], &upload, &err));
    assert_non_null(KIT_BLOB_CALL(kit, clients[0], abort_upload, AbortUploadReply, &request, &err));
    kit_check_bytes(kit, clients[0], &upload);
}

static void test_uploads_of_a_tenant_are_bounded(void **state)
{
    struct kit *kit = *state;
    struct kit_upload upload = kit_upload(kit, "many", 10, 1);
    struct err err = { 0 };

    for (uint32_t i = 0; i < kit->config.blobs.uploads_max; i++) {
        id_new_text(upload.id);
        assert_true(kit_put(kit, clients[i % 2], &upload, 0, &err));
    }
    assert_true(kit_put(kit, clients[0], &upload, 0, &err));
    id_new_text(upload.id);
    assert_false(kit_put(kit, clients[0], &upload, 0, &err));
    assert_int_equal(err.kind, ERR_EXHAUSTED);
    upload.tenant = "many2";
    assert_true(kit_put(kit, clients[0], &upload, 0, &err));
}

static void age_uploads(struct kit *kit, const char *tenant, const char *age)
{
    kit_sql(
        kit,
        "UPDATE context.blob_upload SET idle_since = clock_timestamp() - interval '%s' WHERE tenant = '%s'",
        age, tenant);
}

static void test_uploads_nobody_goes_on_with_make_room(void **state)
{
    struct kit *kit = *state;
    struct kit_upload old = kit_upload(kit, "room", KIT_CHUNK + 10, 1), next = kit_upload(kit, "room", 10, 2);
    struct kit_upload finishing = kit_upload(kit, "room", 10, 3), third = kit_upload(kit, "room", 10, 4);
    uint32_t uploads_max = kit->config.blobs.uploads_max;
    struct err err = { 0 };

    kit->config.blobs.uploads_max = 2;
    kit_put_all(kit, clients[0], &old);
    kit_put_all(kit, clients[0], &finishing);
    age_uploads(kit, "room", "4 minutes");
    assert_false(kit_put(kit, clients[0], &next, 0, &err));
    assert_int_equal(err.kind, ERR_EXHAUSTED);
    /* A chunk keeps the one alive, being finished the other. */
    age_uploads(kit, "room", "6 minutes");
    assert_true(kit_put(kit, clients[1], &old, 0, &err));
    kit_sql(kit, "SELECT context.check_upload('room', '%s', 10, 600000)", finishing.id);
    assert_false(kit_put(kit, clients[0], &next, 0, &err));
    assert_int_equal(err.kind, ERR_EXHAUSTED);
    /* Nobody goes on with either. */
    age_uploads(kit, "room", "6 minutes");
    assert_true(kit_put(kit, clients[0], &next, 0, &err));
    assert_true(kit_put(kit, clients[0], &third, 0, &err));
    assert_null(kit_finish(kit, clients[0], &old, &err));
    assert_int_equal(err.kind, ERR_NOT_FOUND);
    assert_non_null(kit_finish(kit, clients[0], &next, &err));
    kit->config.blobs.uploads_max = uploads_max;
}

static void test_idle_uploads_are_collected(void **state)
{
    struct kit *kit = *state;
    struct kit_upload idle = kit_upload(kit, "idle", KIT_CHUNK + 10, 1),
                      fresh = kit_upload(kit, "idle", 10, 2);
    struct err err = { 0 };

    kit_put_all(kit, clients[0], &idle);
    age_uploads(kit, "idle", "61 minutes");
    kit_put_all(kit, clients[0], &fresh);
    blob_collect_soon(kit->replicas[0]->blobs);
    KIT_UNTIL(kit, strcmp(kit_sql(kit, "SELECT count(*) FROM context.blob_upload WHERE tenant = 'idle'"),
                          "1") == 0);
    assert_null(kit_finish(kit, clients[0], &idle, &err));
    assert_int_equal(err.kind, ERR_NOT_FOUND);
    assert_non_null(kit_finish(kit, clients[0], &fresh, &err));
}

static void test_a_blob_by_its_hash(void **state)
{
    struct kit *kit = *state;
    struct kit_upload upload = kit_upload(kit, "get", 100, 1);
    Guichet__V1__GetBlobRequest request = GUICHET__V1__GET_BLOB_REQUEST__INIT;
    const Guichet__V1__GetBlobReply *reply;
    struct err err = { 0 };

    request.tenant = (char *)upload.tenant;
    request.sha256 = (ProtobufCBinaryData){ 32, upload.sha256 };
    assert_null(KIT_BLOB_CALL(kit, clients[0], get_blob, GetBlobReply, &request, &err));
    assert_int_equal(err.kind, ERR_NOT_FOUND);
    kit_put_all(kit, clients[0], &upload);
    assert_non_null(kit_finish(kit, clients[0], &upload, &err));
    reply = KIT_BLOB_CALL(kit, clients[0], get_blob, GetBlobReply, &request, &err);
    assert_int_equal(reply->blob->size_bytes, 100);
    request.sha256.len = 31;
    assert_null(KIT_BLOB_CALL(kit, clients[0], get_blob, GetBlobReply, &request, &err));
    assert_int_equal(err.kind, ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_order_any_replica_any_number_of_times),
        cmocka_unit_test(test_of_no_bytes),
        cmocka_unit_test(test_the_hash_need_not_be_known),
        cmocka_unit_test(test_the_same_bytes_are_one_blob),
        cmocka_unit_test(test_all_at_once),
        cmocka_unit_test(test_chunks_that_are_refused),
        cmocka_unit_test(test_other_bytes_at_the_same_place),
        cmocka_unit_test(test_uploads_that_cannot_be_finished),
        cmocka_unit_test(test_a_wrong_hash_drops_the_upload),
        cmocka_unit_test(test_an_upload_is_given_up),
        cmocka_unit_test(test_uploads_of_a_tenant_are_bounded),
        cmocka_unit_test(test_uploads_nobody_goes_on_with_make_room),
        cmocka_unit_test(test_idle_uploads_are_collected),
        cmocka_unit_test(test_a_blob_by_its_hash),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
