/* SPDX-License-Identifier: Apache-2.0 */
/* blob_store_test.c - blobs as files, blobs that stay where they are, and what is collected when. */
#include "blob_testkit.h"

#include <dirent.h>
#include <ftw.h>
#include <sys/stat.h>

#include "ops/failpoint.h"

static char folder[] = "/tmp/guichet-blobs-XXXXXX";

/* The kit's own has the database as its store, this one a folder. Both know the folder. */
static struct blob_house files_house, rows_house;
static char *no_folder;

static int set_up(void **state)
{
    struct kit *kit;

    if (kit_set_up(state) != 0 || mkdtemp(folder) == NULL)
        return 1;
    kit = *state;
    no_folder = kit->config.blobs.blob_dir;
    kit->config.blobs.blob_dir = folder;
    rows_house =
        (struct blob_house){ .context = kit->replicas[0], .client = kit_blob_client(kit, kit->replicas[0]) };
    files_house.config = kit->config;
    files_house.config.blobs.blob_store = (char *)"directory";
    house_open(kit, &files_house);
    return 0;
}

static int remove_one(const char *path, const struct stat *what, int kind, struct FTW *walk)
{
    (void)what;
    (void)kind;
    (void)walk;
    return remove(path);
}

static int tear_down(void **state)
{
    struct kit *kit = *state;

    kit->config.blobs.blob_dir = no_folder;
    mesh_client_free(&rows_house.client);
    house_close(&files_house);
    nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return kit_tear_down(state);
}

static size_t file_count;

static int count_one(const char *path, const struct stat *what, int kind, struct FTW *walk)
{
    (void)path;
    (void)walk;
    file_count += kind == FTW_F && what->st_size >= 0;
    return 0;
}

static size_t count_files(const char *tenant)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", folder, tenant);
    file_count = 0;
    nftw(path, count_one, 8, FTW_PHYS);
    return file_count;
}

static void test_files(void **state)
{
    struct kit *kit = *state;
    struct mesh_client *client = files_house.client;
    struct kit_upload upload = kit_upload(kit, "files", 9 * KIT_CHUNK + 17, 1);
    struct kit_upload empty = kit_upload(kit, "files", 0, 1), again = upload;
    struct err err = { 0 };

    kit_put_all(kit, client, &upload);
    kit_put_all(kit, client, &empty);
    assert_non_null(kit_finish(kit, client, &upload, &err));
    assert_non_null(kit_finish(kit, client, &empty, &err));
    assert_non_null(kit_finish(kit, client, &upload, &err));
    kit_check_bytes(kit, client, &upload);
    kit_check_bytes(kit, client, &empty);
    assert_int_equal(count_files("files"), 2);

    /* Once more under another id: found, and the second file is removed. */
    id_new_text(again.id);
    kit_put_all(kit, client, &again);
    assert_non_null(kit_finish(kit, client, &again, &err));
    KIT_UNTIL(kit, count_files("files") == 2);
    KIT_UNTIL(kit, strcmp(kit_sql(kit, "SELECT count(*) FROM context.blob_removal"), "0") == 0);
    KIT_UNTIL(kit, strcmp(kit_sql(kit, "SELECT count(*) FROM context.blob_chunk WHERE tenant = 'files'"),
                          "0") == 0);
    kit_check_bytes(kit, client, &again);

    /* Where new ones go to the database, the old ones are read from where they are. */
    kit_check_bytes(kit, rows_house.client, &upload);
    kit->config.blobs.blob_dir = no_folder;
    assert_null(kit_read(kit, rows_house.client, &upload, 0, 10, &err));
    assert_int_equal(err.kind, ERR_UNAVAILABLE);
    kit->config.blobs.blob_dir = folder;
}

static void test_a_file_that_is_gone_or_cut(void **state)
{
    struct kit *kit = *state;
    struct mesh_client *client = files_house.client;
    struct kit_upload upload = kit_upload(kit, "gone", 1000, 2);
    const char *place;
    struct err err = { 0 };

    kit_put_all(kit, client, &upload);
    assert_non_null(kit_finish(kit, client, &upload, &err));
    place = arena_printf(kit->arena, "%s/%s", folder,
                         kit_sql(kit, "SELECT place FROM context.blob WHERE tenant = 'gone'"));
    assert_int_equal(truncate(place, 500), 0);
    assert_null(kit_read(kit, client, &upload, 0, 1000, &err));
    assert_int_equal(err.kind, ERR_INTERNAL);
    assert_int_equal(unlink(place), 0);
    assert_null(kit_read(kit, client, &upload, 0, 1000, &err));
    assert_int_equal(err.kind, ERR_INTERNAL);
}

static void test_a_folder_that_cannot_be_written(void **state)
{
    struct kit *kit = *state;
    struct mesh_client *client = files_house.client;
    struct kit_upload upload = kit_upload(kit, "blocked", 1000, 3);
    const char *blocked = arena_printf(kit->arena, "%s/blocked", folder);
    FILE *file = fopen(blocked, "w");
    struct err err = { 0 };

    fclose(file);
    kit_put_all(kit, client, &upload);
    assert_null(kit_finish(kit, client, &upload, &err));
    assert_int_equal(err.kind, ERR_UNAVAILABLE);
    assert_int_equal(unlink(blocked), 0);
    assert_non_null(kit_finish(kit, client, &upload, &err));
    kit_check_bytes(kit, client, &upload);
}

static size_t count_open_files(void)
{
    DIR *open_files = opendir("/proc/self/fd");
    size_t count = 0;

    assert_non_null(open_files);
    while (readdir(open_files) != NULL)
        count++;
    closedir(open_files);
    return count;
}

static void test_a_finish_that_ends_between_two_groups(void **state)
{
    struct kit *kit = *state;
    struct kit_upload upload = kit_upload(kit, "between", BLOB_GROUP_BYTES + 5, 4);
    size_t before;
    struct err err = { 0 };

    kit_put_all(kit, files_house.client, &upload);
    before = count_open_files();
    setenv("GUICHET_FAILPOINT", "context_blob_between_groups:error", 1);
    assert_true(failpoint_init(&err));
    assert_null(kit_finish(kit, files_house.client, &upload, &err));
    assert_int_equal(err.kind, ERR_UNAVAILABLE);
    unsetenv("GUICHET_FAILPOINT");
    assert_true(failpoint_init(&err));
    assert_int_equal(count_open_files(), before);
    assert_non_null(kit_finish(kit, files_house.client, &upload, &err));
    kit_check_bytes(kit, files_house.client, &upload);
}

static const struct {
    const char *label;
    struct blob_config config;
    const char *text; /* NULL: right */
} settings[] = {
    { "database", { .blob_store = "database" }, NULL },
    { "a directory", { .blob_store = "directory", .blob_dir = "/tmp" }, NULL },
    { "none of ours", { .blob_store = "tape" }, "is not database, s3 or directory" },
    { "a directory without one", { .blob_store = "directory" }, "needs blob_dir" },
    { "s3 without anything", { .blob_store = "s3" }, "needs s3_endpoint" },
    { "s3 without its secret",
      { .blob_store = "s3", .s3_endpoint = "http://x", .s3_access_key = "a" },
      "needs s3_endpoint" },
    { "s3",
      { .blob_store = "s3", .s3_endpoint = "http://x", .s3_access_key = "a", .s3_secret_key = "b" },
      NULL },
    { "another scheme", { .blob_store = "database", .s3_endpoint = "ftp://x" }, "neither https" },
    { "a prefix to be encoded", { .blob_store = "database", .s3_prefix = "a b/" }, "s3_prefix" },
};

static void test_settings(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        struct blob_config config = settings[i].config;
        char **texts[] = { &config.blob_dir,      &config.s3_endpoint,   &config.s3_prefix,
                           &config.s3_access_key, &config.s3_secret_key, &config.s3_bucket };
        struct err err = { 0 };
        bool is_right;

        for (size_t j = 0; j < COUNT_OF(texts); j++)
            if (*texts[j] == NULL)
                *texts[j] = (char *)"";
        is_right = blob_check_config(&config, &err);
        if (is_right != (settings[i].text == NULL) ||
            (!is_right && (err.kind != ERR_CONFIG || strstr(err.text, settings[i].text) == NULL)))
            fail_msg("%s: %s", settings[i].label, err.text);
    }
}

/* ---- collecting ---- */

static struct kit_upload stored(struct kit *kit, struct mesh_client *client, const char *tenant,
                                uint32_t seed)
{
    struct kit_upload upload = kit_upload(kit, tenant, KIT_CHUNK + 5, seed);
    struct err err = { 0 };

    kit_put_all(kit, client, &upload);
    if (kit_finish(kit, client, &upload, &err) == NULL)
        fail_msg("finish: %s", err.text);
    return upload;
}

static const char *hex_of(struct kit *kit, const struct kit_upload *upload)
{
    SCOPED_BUF hex = { 0 };

    buf_init(&hex, 100);
    hex_append(&hex, upload->sha256, 32);
    return arena_strdup(kit->arena, buf_text(&hex));
}

static void collect_all(struct kit *kit, struct blobs *blobs)
{
    blob_collect_soon(blobs);
    KIT_UNTIL(kit, !blobs->is_collect_wanted && !blobs->is_collecting);
}

static void set_grace(struct kit *kit, uint32_t grace_ms)
{
    kit->config.blobs.blob_grace_ms = grace_ms;
    files_house.config.blobs.blob_grace_ms = grace_ms;
    kit->config.blobs.upload_idle_ms = grace_ms;
    files_house.config.blobs.upload_idle_ms = grace_ms;
}

static void check_rows(struct kit *kit, const char *table, const char *tenant, const char *count)
{
    KIT_UNTIL(kit, strcmp(kit_sql(kit, "SELECT count(*) FROM context.%s WHERE tenant = '%s'", table, tenant),
                          count) == 0);
}

static void check_collecting(struct kit *kit, const struct blob_house *house, const char *tenant,
                             bool is_files)
{
    struct kit_upload referred = stored(kit, house->client, tenant, 1);
    struct kit_upload idle = stored(kit, house->client, tenant, 2);
    struct kit_upload open = kit_upload(kit, tenant, KIT_CHUNK, 3);
    uint32_t grace_ms = kit->config.blobs.blob_grace_ms;
    struct err err = { 0 };

    kit_put_all(kit, house->client, &open);
    kit_sql(kit, "SELECT r.size_bytes FROM context.ref_blob('%s', '\\x%s', context.uuid7(), 0) r", tenant,
            hex_of(kit, &referred));
    collect_all(kit, house->context->blobs); /* within the grace period nothing goes */
    kit_check_bytes(kit, house->client, &idle);
    set_grace(kit, 0);
    blob_collect_soon(house->context->blobs);
    check_rows(kit, "blob", tenant, "1");
    check_rows(kit, "blob_chunk", tenant, is_files ? "0" : "2");
    check_rows(kit, "blob_upload", tenant, is_files ? "0" : "1");
    check_rows(kit, "blob_removal", tenant, "0");
    assert_int_equal(count_files(tenant), is_files);
    set_grace(kit, grace_ms);
    kit_check_bytes(kit, house->client, &referred);
    assert_null(kit_read(kit, house->client, &idle, 0, 10, &err));
    assert_int_equal(err.kind, ERR_NOT_FOUND);
    assert_null(kit_finish(kit, house->client, &open, &err));
    assert_int_equal(err.kind, ERR_NOT_FOUND);
}

static void test_what_is_collected(void **state)
{
    check_collecting(*state, &rows_house, "collect-rows", false);
    check_collecting(*state, &files_house, "collect-files", true);
}

/* A transaction that refers to the blob, and takes its time before it commits. */
static void test_who_is_being_referred_to_stays(void **state)
{
    struct kit *kit = *state;
    struct kit_upload upload = stored(kit, rows_house.client, "held", 1);
    struct sql_outcome outcome = { .kit = kit };
    uint32_t grace_ms = kit->config.blobs.blob_grace_ms;
    struct db_statement refer = { 0 }, rest = { .sql = "SELECT pg_sleep(0.5)::text" };
    struct db_work *work = db_work_new(kit->pool);

    refer.sql = arena_printf(
        kit->arena, "SELECT r.size_bytes::text FROM context.ref_blob('held', '\\x%s', context.uuid7(), 0) r",
        hex_of(kit, &upload));
    db_work_add(work, &refer, NULL, 0);
    db_work_add(work, &rest, NULL, 0);
    db_work_run(work, kit_on_sql, &outcome);
    set_grace(kit, 0);
    while (!outcome.is_done)
        collect_all(kit, rows_house.context->blobs);
    assert_int_equal(outcome.err.kind, ERR_NONE);
    collect_all(kit, rows_house.context->blobs);
    set_grace(kit, grace_ms);
    kit_check_bytes(kit, rows_house.client, &upload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_a_file_that_is_gone_or_cut),
        cmocka_unit_test(test_a_folder_that_cannot_be_written),
        cmocka_unit_test(test_a_finish_that_ends_between_two_groups),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_what_is_collected),
        cmocka_unit_test(test_who_is_being_referred_to_stays),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
