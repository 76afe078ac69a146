/* SPDX-License-Identifier: Apache-2.0 */
/* fsync.c - a preload that watches a spool's log: which messages were written, and when an fsync had them on the disk.
 *
 * GUICHET_FSYNC_LOG names the file it writes: one line "NANOSECONDS ID ID …" for each fsync that returned well, with
 * the message ids (SM and 32 hex digits) written before it began; the clock is CLOCK_MONOTONIC, as Node's
 * process.hrtime(). GUICHET_FSYNC_DELAY_MS makes each fsync take longer, so that an answer that does not wait for it
 * is seen to come before it. GUICHET_FSYNC_FAILS: every fsync fails with EIO while the file of that name exists. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ID_LEN = 34, IDS_MAX = 65536 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char ids[IDS_MAX][ID_LEN + 1];
static size_t id_count;

static int is_spool_log(int fd)
{
    char link[64], path[4096];
    ssize_t len;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    len = readlink(link, path, sizeof(path) - 1);
    if (len < 0)
        return 0;
    path[len] = '\0';
    return strstr(path, ".spool-wal") != NULL;
}

static int is_id(const char *text)
{
    for (size_t i = 2; i < ID_LEN; i++)
        if (strchr("0123456789abcdef", text[i]) == NULL || text[i] == '\0')
            return 0;
    return 1;
}

static void note_written(int fd, const char *data, size_t len)
{
    int before = errno;

    if (is_spool_log(fd)) {
        pthread_mutex_lock(&mutex);
        for (size_t i = 0; i + ID_LEN <= len; i++)
            if (data[i] == 'S' && data[i + 1] == 'M' && is_id(data + i) && id_count < IDS_MAX) {
                memcpy(ids[id_count], data + i, ID_LEN);
                if (id_count == 0 || strcmp(ids[id_count - 1], ids[id_count]) != 0)
                    id_count++;
            }
        pthread_mutex_unlock(&mutex);
    }
    errno = before;
}

static void note_synced(void)
{
    const char *name = getenv("GUICHET_FSYNC_LOG");
    FILE *log = name != NULL ? fopen(name, "a") : NULL;
    struct timespec now;

    pthread_mutex_lock(&mutex);
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (log != NULL) {
        fprintf(log, "%lld%09ld", (long long)now.tv_sec, now.tv_nsec);
        for (size_t i = 0; i < id_count; i++)
            fprintf(log, " %s", ids[i]);
        fprintf(log, "\n");
        fclose(log);
    }
    id_count = 0;
    pthread_mutex_unlock(&mutex);
}

static int sync_by(const char *function, int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, function);
    const char *delay = getenv("GUICHET_FSYNC_DELAY_MS"), *fails = getenv("GUICHET_FSYNC_FAILS");
    int is_watched = is_spool_log(fd), code;

    if (is_watched && fails != NULL && access(fails, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    if (is_watched && delay != NULL)
        usleep((useconds_t)atoi(delay) * 1000);
    code = real(fd);
    if (is_watched && code == 0)
        note_synced();
    return code;
}

int fsync(int fd)
{
    return sync_by("fsync", fd);
}

int fdatasync(int fd)
{
    return sync_by("fdatasync", fd);
}

ssize_t write(int fd, const void *data, size_t len)
{
    ssize_t (*real)(int, const void *, size_t) =
        (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    ssize_t done = real(fd, data, len);

    if (done > 0)
        note_written(fd, data, (size_t)done);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    ssize_t (*real)(int, const void *, size_t, off_t) =
        (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
    ssize_t done = real(fd, data, len, at);

    if (done > 0)
        note_written(fd, data, (size_t)done);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at)
{
    ssize_t (*real)(int, const void *, size_t, off64_t) =
        (ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    ssize_t done = real(fd, data, len, at);

    if (done > 0)
        note_written(fd, data, (size_t)done);
    return done;
}
