/* SPDX-License-Identifier: Apache-2.0 */
/* spool_test.c - what is appended is there, in order, after whatever happens; what cannot be read is put aside. */
#include "io/spool_testkit.h"

#include <signal.h>

#include "ops/failpoint.h"
#include "spool_faults.h"

#define A "00000000-0000-7000-8000-00000000000a"
#define B "00000000-0000-7000-8000-00000000000b"
#define C "00000000-0000-7000-8000-00000000000c"

/* ---- reading and writing ---- */

static void test_order_and_lanes(void **state)
{
    struct kit kit = { 0 };
    uint32_t held = 5, held_account = 1;

    (void)state;
    kit_open(&kit, A);
    for (uint64_t n = 1; n <= 9; n++) {
        struct spool_row row = kit_row(n % 2 == 0, n % 3 == 0 ? 5 : 1, n, "event");

        assert_int_equal(kit_append(&kit, &row, 1), ERR_NONE);
    }
    assert_int_equal(spool_lane_rows(kit.spool, 0, 1), 9); /* threads 1 and 5 share lane 1 */
    assert_int_equal(kit_read(&kit, (struct spool_query){ .lane = 1 }), 9);
    for (size_t i = 0; i < 9; i++)
        assert_int_equal(kit.page->rows[i].boot_n, i + 1);
    assert_int_equal(kit_read(&kit, (struct spool_query){ .lane = 0 }), 0);
    assert_int_equal(kit_read(&kit, (struct spool_query){ .lane = 1, .account = 2 }), 0);
    assert_int_equal(kit_read(&kit, (struct spool_query){ .lane = 1, .rows_max = 4 }), 4);
    assert_int_equal(kit_read(&kit, (struct spool_query){ .lane = 1, .bytes_max = 11 }), 2);
    assert_int_equal(kit_read(&kit, (struct spool_query){ .lane = 1, .bytes_max = 1 }), 1);
    assert_int_equal(
        kit_read(&kit, (struct spool_query){ .lane = 1, .held_threads = &held, .held_thread_count = 1 }), 6);
    assert_int_equal(
        kit_read(&kit,
                 (struct spool_query){ .lane = 1, .held_accounts = &held_account, .held_account_count = 1 }),
        5);
    assert_int_equal(kit_read(&kit, (struct spool_query){ .lane = 1 }), 9);
    assert_int_equal(kit_delete(&kit, kit.page->rows, 9), ERR_NONE);
    assert_int_equal(kit_delete(&kit, kit.page->rows, 9), ERR_NONE); /* again: nothing is counted twice */
    assert_int_equal(spool_lane_rows(kit.spool, 0, 1), 0);
    assert_int_equal(spool_numbers(kit.spool).bytes, 0);
    kit_close(&kit);
    assert_int_equal(kit_files(&kit, ""), 0); /* an empty file goes with its boot */
    kit_remove(&kit);
}

static void test_kinds(void **state)
{
    struct kit kit = { 0 };
    struct spool_row rows[3] = { kit_row(0, 1, 1, "event"), kit_row(0, 2, 5, ""),
                                 kit_row(2, 9, 0, "report") };
    int64_t oldest_us;

    (void)state;
    rows[1].kind = SPOOL_VOID;
    rows[1].boot_last = 7;
    rows[2].kind = SPOOL_REPORT;
    rows[2].until_us = 77;
    kit_open(&kit, A);
    assert_int_equal(kit_append(&kit, rows, 3), ERR_NONE);
    assert_int_equal(kit_read(&kit, (struct spool_query){ .lane = 1 }), 2); /* a void of the tenant, first */
    assert_int_equal(kit.page->rows[0].kind, SPOOL_VOID);
    assert_int_equal(kit.page->rows[0].boot_last, 7);
    assert_int_equal(kit_read(&kit, (struct spool_query){ .kind = SPOOL_REPORT }), 1);
    assert_int_equal(kit.page->rows[0].until_us, 77);
    assert_string_equal(kit.page->rows[0].bytes.data, "report");
    assert_int_equal(kit_read(&kit, (struct spool_query){ .kind = SPOOL_REPORT,
                                                          .after_file = kit.page->rows[0].file,
                                                          .after_seq = kit.page->rows[0].seq }),
                     0);
    assert_int_equal(spool_numbers(kit.spool).events, 1);
    assert_int_equal(spool_numbers(kit.spool).reports, 1);
    assert_int_equal(spool_account_events(kit.spool, 0, &oldest_us), 1);
    assert_int_equal(oldest_us, 1001);
    kit_close(&kit);
    kit_remove(&kit);
}

/* Everybody who waits shares one commit. */
static void test_group_commit(void **state)
{
    struct kit kit = { 0 };
    struct spool_row row = kit_row(0, 1, 1, "event");
    uint64_t before;

    (void)state;
    kit_open(&kit, A);
    before = spool_numbers(kit.spool).commits;
    for (int i = 0; i < 200; i++)
        spool_append(kit.spool, &row, 1, kit_on_done, &kit);
    KIT_WAIT(&kit, kit.answers == 200);
    assert_int_equal(spool_numbers(kit.spool).commits - before, 1);
    assert_int_equal(spool_numbers(kit.spool).events, 200);
    kit_close(&kit);
    kit_remove(&kit);
}

static void test_bounds(void **state)
{
    struct kit kit = { .options = { .rows_max = 3, .bytes_max = 1000 } };
    struct spool_row row = kit_row(0, 1, 1, "event");
    struct err err = { 0 };
    char large[900];

    (void)state;
    kit_open(&kit, A);
    memset(large, 'x', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    for (int i = 0; i < 3; i++)
        assert_int_equal(kit_append(&kit, &row, 1), ERR_NONE);
    assert_int_equal(kit_append(&kit, &row, 1), ERR_EXHAUSTED);
    assert_true(spool_is_refusing(kit.spool, &err));
    assert_int_equal(kit_read(&kit, (struct spool_query){ .lane = 1 }), 3);
    assert_int_equal(kit_delete(&kit, kit.page->rows, 2), ERR_NONE);
    KIT_WAIT(&kit, !spool_is_refusing(kit.spool, &err));
    row.bytes = str_view_of(large);
    assert_int_equal(kit_append(&kit, &row, 1), ERR_EXHAUSTED);
    kit_close(&kit);
    kit.options.rows_max = 100;
    kit.options.bytes_max = 1 << 20;
    kit.options.free_min_bytes = UINT64_MAX; /* no disk is that large */
    kit_open(&kit, B);
    assert_int_equal(kit_append(&kit, &row, 1), ERR_UNAVAILABLE);
    kit_close(&kit);
    kit_remove(&kit);
}

/* ---- other boots' files ---- */

/* A child that ends without closing anything, as at a crash. */
static void leave_behind(const struct kit *parent, const char *boot_id, const char *failpoint,
                         uint64_t first_n)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        struct kit kit = { 0 };
        struct spool_row row = kit_row(0, 1, first_n, "event");
        struct err err = { 0 };

        snprintf(kit.dir, sizeof(kit.dir), "%s", parent->dir);
        kit_open(&kit, boot_id);
        for (int i = 0; i < 2; i++, row.boot_n++)
            kit_append(&kit, &row, 1);
        setenv("GUICHET_FAILPOINT", failpoint, 1);
        if (failpoint[0] != '\0' && failpoint_init(&err))
            kit_append(&kit, &row, 1);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_adopted(void **state)
{
    struct kit kit = { 0 };
    struct spool_row row = kit_row(0, 1, 9, "event");
    const uint64_t numbers[] = { 1, 2, 5, 6, 9 };

    (void)state;
    kit_dir(&kit);
    leave_behind(&kit, B, "connector_before_spool_commit:kill", 5);
    kit_open(&kit, C);
    assert_int_equal(kit.notes[SPOOL_ADOPTED], 1);
    assert_int_equal(kit_append(&kit, &row, 1), ERR_NONE);
    leave_behind(&kit, A, "", 1);
    KIT_WAIT(&kit, kit.notes[SPOOL_ADOPTED] == 2); /* appeared while we ran */
    assert_int_equal(kit_read(&kit, (struct spool_query){ .lane = 1 }), 5);
    for (size_t i = 0; i < 5; i++) /* the oldest boot first, ours last; nothing of what was not committed */
        assert_int_equal(kit.page->rows[i].boot_n, numbers[i]);
    assert_int_equal(kit_delete(&kit, kit.page->rows, 4), ERR_NONE);
    KIT_WAIT(&kit, kit_files(&kit, A) == 0 && kit_files(&kit, B) == 0);
    assert_int_equal(spool_numbers(kit.spool).events, 1);
    kit_close(&kit);
    assert_int_equal(kit_files(&kit, C), 1); /* the event waits for the next boot */
    kit_remove(&kit);
}

static void test_locked_is_left(void **state)
{
    struct kit first = { 0 }, second = { 0 };
    struct spool_row row = kit_row(0, 1, 1, "event");

    (void)state;
    kit_open(&first, A);
    assert_int_equal(kit_append(&first, &row, 1), ERR_NONE);
    memcpy(second.dir, first.dir, sizeof(second.dir));
    kit_open(&second, B);
    assert_int_equal(second.notes[SPOOL_ADOPTED], 0);
    assert_int_equal(spool_numbers(second.spool).events, 0);
    kit_close(&first);
    KIT_WAIT(&second, second.notes[SPOOL_ADOPTED] == 1);
    assert_int_equal(spool_numbers(second.spool).events, 1);
    kit_close(&second);
    kit_remove(&first);
}

static void change_file(const struct kit *kit, const char *boot_id, long at, const char *bytes)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s.spool", kit->dir, boot_id);
    file = fopen(path, "r+");
    assert_non_null(file);
    fseek(file, at, SEEK_SET);
    fputs(bytes, file);
    fclose(file);
}

static void run_sql(const struct kit *kit, const char *boot_id, const char *text)
{
    char path[128];
    sqlite3 *db = NULL;

    snprintf(path, sizeof(path), "%s/%s.spool", kit->dir, boot_id);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, fault_real->zName), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static const struct {
    const char *label, *sql;
    long at; /* a place in the file to write rubbish to */
    unsigned events;
    const char *aside;
    enum spool_note note;
} broken[] = {
    { "no database at all", NULL, 0, 0, ".spool.damaged-", SPOOL_PUT_ASIDE },
    { "no header", "DROP TABLE header", -1, 2, ".spool.damaged-", SPOOL_PUT_ASIDE },
    { "index lost its rows",
      "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'spooled_drain'", -1, 2,
      ".spool.damaged-", SPOOL_PUT_ASIDE },
    { "another version", "UPDATE header SET format = 2", -1, 0, ".spool.version-2", SPOOL_PUT_ASIDE },
    { "an account that is not here", "UPDATE spooled SET account = 'zz'", -1, 0, A ".spool",
      SPOOL_LEFT_ALONE },
};

/* It is named and set aside, what can be read of it is saved, and the rest goes on. */
static void test_broken(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(broken); i++) {
        struct kit kit = { 0 };
        struct spool_row row = kit_row(0, 1, 9, "event");

        kit_dir(&kit);
        leave_behind(&kit, A, "", 1);
        leave_behind(&kit, B, "", 5);
        if (broken[i].sql != NULL)
            run_sql(&kit, A, broken[i].sql);
        else
            run_sql(&kit, A, "PRAGMA wal_checkpoint"),
                change_file(&kit, A, broken[i].at, "rubbish, not a database");
        kit_open(&kit, C);
        if (kit.notes[broken[i].note] != 1 || kit.notes[SPOOL_ADOPTED] != 1 ||
            spool_numbers(kit.spool).events != broken[i].events + 2 || kit_files(&kit, broken[i].aside) == 0)
            fail_msg("case '%s': %u notes, %llu events: %s", broken[i].label, kit.notes[broken[i].note],
                     (unsigned long long)spool_numbers(kit.spool).events, kit.note_text);
        assert_int_equal(kit_append(&kit, &row, 1), ERR_NONE);
        kit_close(&kit);
        kit_remove(&kit);
    }
}

/* A bit that fell over inside a row: SQLite cannot see it, the row's own sum does. */
static void test_damaged_row(void **state)
{
    struct kit kit = { 0 };

    (void)state;
    kit_dir(&kit);
    leave_behind(&kit, A, "", 1);
    run_sql(&kit, A, "UPDATE spooled SET bytes = x'00' WHERE seq = 1");
    kit_open(&kit, B);
    assert_int_equal(kit_read(&kit, (struct spool_query){ .lane = 1 }), 2);
    assert_true(kit.page->rows[0].is_damaged);
    assert_false(kit.page->rows[1].is_damaged);
    kit_close(&kit);
    kit_remove(&kit);
}

/* ---- disks that fail ---- */

static const struct {
    const char *label;
    int write_fails, sync_fails;
    enum err_kind kind;
    bool is_renewed; /* the file is not trusted any more */
} disks[] = {
    { "full", SQLITE_FULL, 0, ERR_EXHAUSTED, false },
    { "write error", SQLITE_IOERR_WRITE, 0, ERR_UNAVAILABLE, true },
    { "fsync error", 0, SQLITE_IOERR_FSYNC, ERR_UNAVAILABLE, true },
};

/* Nobody is told that an event is kept when it may not be; nothing kept is lost; and it goes on by itself. */
static void test_disk_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(disks); i++) {
        struct kit kit = { 0 };
        struct spool_row first = kit_row(0, 1, 1, "first"), lost = kit_row(0, 1, 2, "lost");
        struct spool_row last = kit_row(0, 1, 3, "last");
        struct err err = { 0 };
        size_t count;

        kit_open(&kit, A);
        assert_int_equal(kit_append(&kit, &first, 1), ERR_NONE);
        faults.write_fails = disks[i].write_fails;
        faults.sync_fails = disks[i].sync_fails;
        if (kit_append(&kit, &lost, 1) != disks[i].kind)
            fail_msg("case '%s': %s", disks[i].label, kit.err.text);
        assert_true(spool_is_refusing(kit.spool, &err));
        assert_int_not_equal(kit_append(&kit, &lost, 1), ERR_NONE);
        faults.write_fails = faults.sync_fails = 0;
        KIT_WAIT(&kit, !spool_is_refusing(kit.spool, &err) && !spool_is_scanning(kit.spool));
        assert_int_equal(kit_append(&kit, &last, 1), ERR_NONE);
        count = kit_read(&kit, (struct spool_query){ .lane = 1 });
        assert_in_range(count, 2, 3); /* after a failed fsync it may be there all the same */
        assert_string_equal(kit.page->rows[0].bytes.data, "first");
        assert_string_equal(kit.page->rows[count - 1].bytes.data, "last");
        assert_int_equal(kit_files(&kit, "_0") > 0, disks[i].is_renewed);
        kit_close(&kit);
        kit_remove(&kit);
    }
}

/* The disk fills while events wait: they can be taken out and deleted all the same. */
static void test_no_room_for_new(void **state)
{
    struct kit kit = { 0 };
    struct spool_row row = kit_row(0, 1, 1, "event");

    (void)state;
    kit_open(&kit, A);
    assert_int_equal(kit_append(&kit, &row, 1), ERR_NONE);
    kit_close(&kit);
    kit.options.free_min_bytes = UINT64_MAX;
    kit_open(&kit, B);
    assert_int_equal(kit_append(&kit, &row, 1), ERR_UNAVAILABLE);
    assert_int_equal(kit_read(&kit, (struct spool_query){ .lane = 1 }), 1);
    assert_int_equal(kit_delete(&kit, kit.page->rows, 1), ERR_NONE);
    assert_int_equal(spool_numbers(kit.spool).events, 0);
    kit_close(&kit);
    kit_remove(&kit);
}

/* ---- for people ---- */

struct listing {
    unsigned files, locked, readable;
    uint64_t events;
};

static void on_listed(void *arg, const struct spool_listed *listed)
{
    struct listing *listing = arg;

    listing->files++;
    listing->locked += listed->is_locked;
    listing->readable += listed->is_readable;
    listing->events += listed->events;
}

static void test_list_and_move(void **state)
{
    struct kit here = { 0 }, there = { 0 };
    struct listing listing = { 0 };
    struct err err = { 0 };

    (void)state;
    kit_dir(&here);
    leave_behind(&here, A, "", 1);
    kit_open(&there, B);
    assert_true(spool_dir_list(here.dir, on_listed, &listing, &err));
    assert_int_equal(listing.readable, 1);
    assert_int_equal(listing.events, 2);
    assert_true(spool_dir_list(there.dir, on_listed, &listing, &err));
    assert_int_equal(listing.locked, 1);
    assert_false(spool_dir_move(there.dir, B ".spool", here.dir, &err));
    assert_int_equal(err.kind, ERR_CONFLICT);
    assert_true(spool_dir_move(here.dir, A ".spool", there.dir, &err));
    assert_int_equal(kit_files(&here, ""), 0);
    KIT_WAIT(&there, there.notes[SPOOL_ADOPTED] == 1);
    assert_int_equal(spool_numbers(there.spool).events, 2);
    assert_false(spool_dir_list("/nowhere", on_listed, &listing, &err));
    kit_close(&there);
    kit_remove(&here);
    kit_remove(&there);
}

/* What is under way when we close has its answer before the spool is gone. */
static void test_close_while_writing(void **state)
{
    struct kit kit = { 0 };
    struct spool_row row = kit_row(0, 1, 1, "event");

    (void)state;
    kit_open(&kit, A);
    for (int i = 0; i < 10; i++)
        spool_append(kit.spool, &row, 1, kit_on_done, &kit);
    loop_turn(kit.loop, 0);
    spool_append(kit.spool, &row, 1, kit_on_done, &kit);
    kit_close(&kit);
    assert_int_equal(kit.answers, 11);
    assert_int_equal(kit.err.kind, ERR_CANCELED);
    kit_remove(&kit);
}

static void test_no_folder(void **state)
{
    struct kit kit = { .loop = loop_new(), .options = { .dir = "/nowhere" } };
    struct err err = { 0 };

    (void)state;
    assert_false(spool_new(kit.loop, &kit.options, &kit.spool, &err));
    assert_int_equal(err.kind, ERR_CONFIG);
    loop_free(&kit.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_lanes), cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_group_commit),    cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_adopted),         cmocka_unit_test(test_locked_is_left),
        cmocka_unit_test(test_broken),          cmocka_unit_test(test_damaged_row),
        cmocka_unit_test(test_disk_faults),     cmocka_unit_test(test_no_room_for_new),
        cmocka_unit_test(test_list_and_move),   cmocka_unit_test(test_close_while_writing),
        cmocka_unit_test(test_no_folder),
    };

    faults_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
