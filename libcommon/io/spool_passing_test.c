/* SPDX-License-Identifier: Apache-2.0 */
/* spool_passing_test.c - a file of another boot that cannot be read just now is neither damaged nor passed over:
 * lanes wait for it, and nothing in it is lost. */
#include "io/spool_testkit.h"

#include "spool_faults.h"

#define OLD "00000000-0000-7000-8000-00000000000a"
#define NEW "00000000-0000-7000-8000-00000000000b"

enum { ROWS = 12, READS_MAX = 400 };

static const struct {
    const char *label, *sql;
    int read_fails, open_fails;
} passing[] = {
    { "read error", NULL, SQLITE_IOERR_READ, 0 },
    { "no memory", NULL, SQLITE_IOERR_NOMEM, 0 },
    { "no descriptors", NULL, 0, SQLITE_CANTOPEN },
    { "read error in a damaged file", "DROP TABLE header", SQLITE_IOERR_READ, 0 },
};

/* Rows of several pages each, so that saving them reads what was not read before. */
static void leave_file(struct kit *kit, const char *sql)
{
    static char large[9000];
    sqlite3 *db = NULL;
    char path[128];

    memset(large, 'x', sizeof(large) - 1);
    kit_open(kit, OLD);
    for (uint64_t n = 1; n <= ROWS; n++) {
        struct spool_row row = kit_row(0, 1, n, large);

        assert_int_equal(kit_append(kit, &row, 1), ERR_NONE);
    }
    kit_close(kit);
    snprintf(path, sizeof(path), "%s/%s.spool", kit->dir, OLD);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, fault_real->zName), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql != NULL ? sql : "", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* Fails from the n-th read or open on until it is told not to. false: it was not read so often. */
static bool try_at(size_t i, unsigned n)
{
    struct kit kit = { .options = { .scan_ms = 20 } };
    bool has_failed;

    kit_dir(&kit);
    leave_file(&kit, passing[i].sql);
    faults.name = OLD;
    faults.read_fails = passing[i].read_fails;
    faults.open_fails = passing[i].open_fails;
    faults.passing = n;
    faults.reads = 0;
    kit_start(&kit, NEW);
    KIT_WAIT(&kit, kit.notes[SPOOL_ADOPTED] + kit.notes[SPOOL_LEFT_ALONE] + kit.notes[SPOOL_PUT_ASIDE] > 0);
    has_failed = kit.notes[SPOOL_LEFT_ALONE] > 0;
    if (has_failed && (!spool_is_scanning(kit.spool) || kit_files(&kit, "damaged") > 0))
        fail_msg("case '%s', read %u: %s", passing[i].label, n, kit.note_text);
    faults.read_fails = faults.open_fails = 0;
    KIT_WAIT(&kit, !spool_is_scanning(kit.spool));
    if (spool_numbers(kit.spool).events != ROWS || kit.notes[SPOOL_PUT_ASIDE] != (passing[i].sql != NULL) ||
        kit_read(&kit, (struct spool_query){ .lane = 1 }) != ROWS)
        fail_msg("case '%s', read %u: %llu events", passing[i].label, n,
                 (unsigned long long)spool_numbers(kit.spool).events);
    kit_close(&kit);
    kit_remove(&kit);
    return has_failed;
}

static void test_passing(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(passing); i++) {
        unsigned n = 0, failed = 0;

        for (; n < READS_MAX && faults.reads >= n; n++)
            failed += try_at(i, n);
        assert_true(failed > 0);
        assert_in_range(n, 1, READS_MAX - 1);
        faults.reads = 0;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_passing) };

    faults_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
