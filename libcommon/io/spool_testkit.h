/* SPDX-License-Identifier: Apache-2.0 */
/* spool_testkit.h - for tests: a spool in a folder of its own, asked and waited for. */
#ifndef GUICHET_IO_SPOOL_TESTKIT_H
#define GUICHET_IO_SPOOL_TESTKIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/spool.h"

enum { KIT_WAIT_MS = 10000, KIT_LANES = 4 };

static const struct spool_account kit_accounts[] = { { "demo", "a" }, { "demo", "b" }, { "other", "c" } };

struct kit {
    char dir[64];
    struct loop *loop;
    struct spool *spool;
    struct spool_options options;
    unsigned notes[SPOOL_RECOVERED + 1];
    char note_text[512];
    /* the last answer */
    unsigned answers;
    struct err err;
    struct spool_page *page;
};

#define KIT_WAIT(kit, condition)                                                                             \
    do {                                                                                                     \
        uint64_t until_ = loop_now_ms((kit)->loop) + KIT_WAIT_MS;                                            \
        while (!(condition) && loop_now_ms((kit)->loop) < until_)                                            \
            loop_turn((kit)->loop, 10);                                                                      \
        if (!(condition))                                                                                    \
            fail_msg("never came true: %s", #condition);                                                     \
    } while (0)

static inline void kit_on_note(void *arg, enum spool_note note, const char *file, const struct err *err)
{
    struct kit *kit = arg;

    kit->notes[note]++;
    snprintf(kit->note_text, sizeof(kit->note_text), "%s: %s", file, err->text);
}

static inline void kit_on_changed(void *arg)
{
    (void)arg;
}

static inline void kit_on_done(void *arg, const struct err *err)
{
    struct kit *kit = arg;

    kit->answers++;
    kit->err = *err;
}

static inline void kit_on_read(void *arg, struct spool_page *page, const struct err *err)
{
    struct kit *kit = arg;

    spool_page_free(&kit->page);
    kit->page = page;
    kit_on_done(arg, err);
}

static inline void kit_dir(struct kit *kit)
{
    snprintf(kit->dir, sizeof(kit->dir), "/tmp/guichet-spool-XXXXXX");
    if (mkdtemp(kit->dir) == NULL)
        fail_msg("no folder");
}

/* Without waiting for the files of other boots. */
static inline void kit_start(struct kit *kit, const char *boot_id)
{
    struct err err = { 0 };

    if (kit->dir[0] == '\0')
        kit_dir(kit);
    kit->loop = loop_new();
    kit->options.dir = kit->dir;
    kit->options.connector = "sms-1";
    kit->options.boot_id = boot_id;
    kit->options.accounts = kit_accounts;
    kit->options.account_count = COUNT_OF(kit_accounts);
    kit->options.lanes = KIT_LANES;
    if (kit->options.bytes_max == 0)
        kit->options.bytes_max = 1 << 30;
    if (kit->options.rows_max == 0)
        kit->options.rows_max = 1000000;
    if (kit->options.scan_ms == 0)
        kit->options.scan_ms = 50;
    kit->options.on_note = kit_on_note;
    kit->options.on_changed = kit_on_changed;
    kit->options.arg = kit;
    if (!spool_new(kit->loop, &kit->options, &kit->spool, &err))
        fail_msg("%s", err.text);
}

static inline void kit_open(struct kit *kit, const char *boot_id)
{
    kit_start(kit, boot_id);
    KIT_WAIT(kit, !spool_is_scanning(kit->spool));
}

static inline void kit_close(struct kit *kit)
{
    spool_free(&kit->spool);
    spool_page_free(&kit->page);
    loop_free(&kit->loop);
}

/* The names in the folder that contain the word. */
static inline unsigned kit_files(const struct kit *kit, const char *word)
{
    DIR *dir = opendir(kit->dir);
    struct dirent *entry;
    unsigned count = 0;

    while ((entry = readdir(dir)) != NULL)
        count += entry->d_name[0] != '.' && strstr(entry->d_name, word) != NULL;
    closedir(dir);
    return count;
}

static inline void kit_remove(struct kit *kit)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf '%s'", kit->dir);
    if (system(command) != 0)
        fail_msg("cannot remove %s", kit->dir);
    kit->dir[0] = '\0';
}

static inline struct spool_row kit_row(uint32_t account, uint32_t thread, uint64_t n, const char *bytes)
{
    return (struct spool_row){ .kind = SPOOL_EVENT,
                               .account = account,
                               .thread_key = thread,
                               .at_us = 1000 + (int64_t)n,
                               .boot_id = "boot",
                               .boot_lane = 1,
                               .boot_n = n,
                               .boot_last = n,
                               .bytes = str_view_of(bytes) };
}

static inline enum err_kind kit_append(struct kit *kit, const struct spool_row *rows, size_t count)
{
    unsigned before = kit->answers;

    spool_append(kit->spool, rows, count, kit_on_done, kit);
    KIT_WAIT(kit, kit->answers > before);
    return kit->err.kind;
}

static inline size_t kit_read(struct kit *kit, struct spool_query query)
{
    unsigned before = kit->answers;

    if (query.rows_max == 0)
        query.rows_max = 100;
    if (query.bytes_max == 0)
        query.bytes_max = 1 << 20;
    if (query.kind == 0)
        query.kind = SPOOL_EVENT;
    spool_read(kit->spool, &query, kit_on_read, kit);
    KIT_WAIT(kit, kit->answers > before);
    assert_non_null(kit->page);
    return kit->page->count;
}

static inline enum err_kind kit_delete(struct kit *kit, const struct spool_row *rows, size_t count)
{
    unsigned before = kit->answers;

    spool_delete(kit->spool, rows, count, kit_on_done, kit);
    KIT_WAIT(kit, kit->answers > before);
    return kit->err.kind;
}

#endif
