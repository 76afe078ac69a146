/* SPDX-License-Identifier: Apache-2.0 */
/* blob_directory.c - blobs as files, for where there is one context host.
 *
 * Written beside their name, synced, renamed, and the folder synced: a name is a whole file. Whoever finishes
 * the same upload twice writes the same bytes to the same places, so nothing is cut first, and a name that is
 * there already is as good as our own. All of it on the worker. */
#include "blob_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ops/failpoint.h"

enum { PATH_MAX_BYTES = 4096, FILE_MODE = 0640, FOLDER_MODE = 0750 };

static bool set_errno(struct err *err, const char *what, const char *place)
{
    return err_set(err, ERR_UNAVAILABLE, "%s %s: %s", what, place, strerror(errno));
}

static bool make_path(const struct blobs *blobs, const char *place, const char *suffix,
                      char ret_path[PATH_MAX_BYTES], struct err *err)
{
    int len = snprintf(ret_path, PATH_MAX_BYTES, "%s/%s%s", blobs->config->blob_dir, place, suffix);

    if (blobs->config->blob_dir[0] == '\0')
        return err_set(err, ERR_UNAVAILABLE, "blob %s: is in a directory, and blob_dir is not set", place);
    return len < PATH_MAX_BYTES || err_set(err, ERR_INTERNAL, "blob %s: its path is too long", place);
}

bool blob_directory_check(const struct blob_config *config, struct err *err)
{
    struct stat what;

    if (config->blob_dir[0] == '\0')
        return true;
    if (stat(config->blob_dir, &what) != 0 || !S_ISDIR(what.st_mode) ||
        access(config->blob_dir, R_OK | W_OK | X_OK) != 0)
        return err_set(err, ERR_CONFIG, "blob_dir '%s' is no folder that we may write to", config->blob_dir);
    return true;
}

/* ---- put ---- */

static bool sync_folder(const char *path)
{
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_synced = folder >= 0 && fsync(folder) == 0;

    if (folder >= 0)
        close(folder);
    return is_synced;
}

/* Makes the folders below blob_dir that lead to the file, each synced into the one above it. */
static bool make_folders(const struct blobs *blobs, char *path)
{
    size_t top = strlen(blobs->config->blob_dir);

    for (char *slash = strchr(path + top + 1, '/'), *above = path + top; slash != NULL;
         above = slash, slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, FOLDER_MODE) == 0) {
            *above = '\0';
            if (!sync_folder(path))
                return false;
            *above = '/';
        } else if (errno != EEXIST) {
            return false;
        }
        *slash = '/';
    }
    return true;
}

static bool write_all(int file, const char *data, size_t len, uint64_t offset)
{
    while (len > 0) {
        ssize_t written = pwrite(file, data, len, (off_t)offset);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        data += written;
        len -= (size_t)written;
        offset += (size_t)written;
    }
    return true;
}

static bool end_file(struct blob_finish *finish, const char *beside, struct err *err)
{
    char path[PATH_MAX_BYTES];
    struct stat what;

    if (!make_path(finish->blobs, finish->place, "", path, err))
        return false;
    if (fsync(finish->file) != 0)
        return set_errno(err, "sync", finish->place);
    if (rename(beside, path) != 0 && (errno != ENOENT || stat(path, &what) != 0))
        return set_errno(err, "rename", finish->place);
    *strrchr(path, '/') = '\0';
    return sync_folder(path) || set_errno(err, "sync the folder of", finish->place);
}

static bool write_group(struct blob_finish *finish, struct err *err)
{
    char path[PATH_MAX_BYTES];

    if (!make_path(finish->blobs, finish->place, ".part", path, err))
        return false;
    if (finish->file == 0) {
        int file;

        if (!make_folders(finish->blobs, path) ||
            (file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, FILE_MODE)) < 0)
            return set_errno(err, "make", finish->place);
        finish->file = file;
    }
    if (!write_all(finish->file, finish->group, finish->group_len, finish->group_offset))
        return set_errno(err, "write", finish->place);
    return blob_finish_has_more(finish) || end_file(finish, path, err);
}

static void do_write(void *arg)
{
    struct blob_finish *finish = arg;
    bool is_written = write_group(finish, &finish->err);

    if (finish->file != 0 && (!is_written || !blob_finish_has_more(finish))) {
        close(finish->file);
        finish->file = 0;
    }
}

static void start_write(struct blob_finish *finish);

static void on_written(void *arg, const struct err *err)
{
    struct blob_finish *finish = arg;

    if (err->kind != ERR_NONE)
        finish->err = *err;
    if (finish->err.kind == ERR_NONE && blob_finish_has_more(finish) &&
        FAILPOINT("context_blob_between_groups"))
        err_set(&finish->err, ERR_UNAVAILABLE, "failpoint");
    if (finish->err.kind == ERR_NONE && blob_finish_has_more(finish))
        blob_finish_fetch(finish, start_write);
    else
        blob_finish_stored(finish);
}

static void start_write(struct blob_finish *finish)
{
    blob_work(finish->blobs, do_write, on_written, finish);
}

void blob_directory_put(struct blob_finish *finish)
{
    if (blob_finish_has_more(finish))
        blob_finish_fetch(finish, start_write);
    else
        start_write(finish); /* nothing is in it, and still it is a file */
}

/* ---- read and remove ---- */

struct errand {
    struct blobs *blobs;
    char place[BLOB_PLACE_MAX_BYTES];
    uint64_t offset;
    size_t len;
    char *bytes;
    struct err err;
    blob_bytes_fn *on_bytes;
    blob_removed_fn *on_removed;
    void *arg;
};

static struct errand *errand_new(struct blobs *blobs, const char *place, void *arg)
{
    struct errand *errand = calloc(1, sizeof(*errand));

    if (errand == NULL)
        abort();
    errand->blobs = blobs;
    snprintf(errand->place, sizeof(errand->place), "%s", place);
    errand->arg = arg;
    return errand;
}

static bool read_all(int file, struct errand *errand)
{
    size_t done = 0;

    while (done < errand->len) {
        ssize_t got = pread(file, errand->bytes + done, errand->len - done, (off_t)(errand->offset + done));

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return err_set(&errand->err, ERR_INTERNAL, "read %s: %s", errand->place,
                           got == 0 ? "the file is cut" : strerror(errno));
        done += (size_t)got;
    }
    return true;
}

static void do_read(void *arg)
{
    struct errand *errand = arg;
    char path[PATH_MAX_BYTES];
    int file;

    if (!make_path(errand->blobs, errand->place, "", path, &errand->err))
        return;
    file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        err_set(&errand->err, errno == ENOENT ? ERR_INTERNAL : ERR_UNAVAILABLE, "open %s: %s", errand->place,
                strerror(errno));
        return;
    }
    (void)!read_all(file, errand);
    close(file);
}

static void on_read(void *arg, const struct err *err)
{
    struct errand *errand = arg;

    if (err->kind != ERR_NONE)
        errand->err = *err;
    errand->on_bytes(errand->arg, (struct str_view){ errand->bytes, errand->len }, &errand->err);
    free(errand->bytes);
    free(errand);
}

void blob_directory_read(struct blobs *blobs, const struct blob_piece *piece, blob_bytes_fn *done, void *arg)
{
    struct errand *errand = errand_new(blobs, piece->place, arg);

    errand->on_bytes = done;
    errand->offset = piece->offset;
    errand->len = piece->len;
    errand->bytes = malloc(piece->len);
    if (errand->bytes == NULL)
        abort();
    blob_work(blobs, do_read, on_read, errand);
}

static void do_remove(void *arg)
{
    static const char *const suffixes[] = { "", ".part" };
    struct errand *errand = arg;
    char path[PATH_MAX_BYTES];

    for (size_t i = 0; i < COUNT_OF(suffixes); i++) {
        if (!make_path(errand->blobs, errand->place, suffixes[i], path, &errand->err))
            return;
        if (unlink(path) != 0 && errno != ENOENT) {
            (void)!set_errno(&errand->err, "remove", errand->place);
            return;
        }
    }
}

static void on_remove(void *arg, const struct err *err)
{
    struct errand *errand = arg;

    if (err->kind != ERR_NONE)
        errand->err = *err;
    errand->on_removed(errand->arg, &errand->err);
    free(errand);
}

void blob_directory_remove(struct blobs *blobs, const char *place, blob_removed_fn *done, void *arg)
{
    struct errand *errand = errand_new(blobs, place, arg);

    errand->on_removed = done;
    blob_work(blobs, do_remove, on_remove, errand);
}
