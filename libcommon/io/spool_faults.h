/* SPDX-License-Identifier: Apache-2.0 */
/* spool_faults.h - for tests: SQLite's file layer, with writes and fsyncs that fail when the test wants it. */
#ifndef GUICHET_IO_SPOOL_FAULTS_H
#define GUICHET_IO_SPOOL_FAULTS_H

#include <sqlite3.h>
#include <stdbool.h>
#include <string.h>

struct fault_file {
    sqlite3_file base;
    bool is_named;
    sqlite3_file *real; /* right behind */
};

static struct {
    int write_fails, sync_fails; /* SQLite's code, 0: does not */
    unsigned syncs, writes;
    const char *name;           /* reading and opening files with this in their name … */
    int read_fails, open_fails; /* … fails so … */
    unsigned passing, reads;    /* … after so many that do not; how many there were */
} faults;

static sqlite3_vfs fault_vfs, *fault_real;

#define REAL(file) (((struct fault_file *)(file))->real)

static int fault_close(sqlite3_file *file)
{
    return REAL(file)->pMethods != NULL ? REAL(file)->pMethods->xClose(REAL(file)) : SQLITE_OK;
}

static bool is_read_failing(bool is_named, int code)
{
    return is_named && code != 0 && ++faults.reads > faults.passing;
}

static int fault_read(sqlite3_file *file, void *data, int len, sqlite3_int64 at)
{
    if (is_read_failing(((struct fault_file *)file)->is_named, faults.read_fails))
        return faults.read_fails;
    return REAL(file)->pMethods->xRead(REAL(file), data, len, at);
}

static int fault_write(sqlite3_file *file, const void *data, int len, sqlite3_int64 at)
{
    faults.writes++;
    return faults.write_fails != 0 ? faults.write_fails
                                   : REAL(file)->pMethods->xWrite(REAL(file), data, len, at);
}

static int fault_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return REAL(file)->pMethods->xTruncate(REAL(file), size);
}

static int fault_sync(sqlite3_file *file, int flags)
{
    faults.syncs++;
    return faults.sync_fails != 0 ? faults.sync_fails : REAL(file)->pMethods->xSync(REAL(file), flags);
}

static int fault_size(sqlite3_file *file, sqlite3_int64 *ret_size)
{
    return REAL(file)->pMethods->xFileSize(REAL(file), ret_size);
}

static int fault_lock(sqlite3_file *file, int level)
{
    return REAL(file)->pMethods->xLock(REAL(file), level);
}

static int fault_unlock(sqlite3_file *file, int level)
{
    return REAL(file)->pMethods->xUnlock(REAL(file), level);
}

static int fault_reserved(sqlite3_file *file, int *ret_is_locked)
{
    return REAL(file)->pMethods->xCheckReservedLock(REAL(file), ret_is_locked);
}

static int fault_control(sqlite3_file *file, int what, void *arg)
{
    return REAL(file)->pMethods->xFileControl(REAL(file), what, arg);
}

static int fault_sector(sqlite3_file *file)
{
    return REAL(file)->pMethods->xSectorSize(REAL(file));
}

static int fault_device(sqlite3_file *file)
{
    return REAL(file)->pMethods->xDeviceCharacteristics(REAL(file));
}

static const sqlite3_io_methods fault_methods = {
    .iVersion = 1,
    .xClose = fault_close,
    .xRead = fault_read,
    .xWrite = fault_write,
    .xTruncate = fault_truncate,
    .xSync = fault_sync,
    .xFileSize = fault_size,
    .xLock = fault_lock,
    .xUnlock = fault_unlock,
    .xCheckReservedLock = fault_reserved,
    .xFileControl = fault_control,
    .xSectorSize = fault_sector,
    .xDeviceCharacteristics = fault_device,
};

static int fault_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    struct fault_file *fault = (struct fault_file *)file;
    int code;

    (void)vfs;
    fault->base.pMethods = NULL;
    fault->is_named = faults.name != NULL && name != NULL && strstr(name, faults.name) != NULL;
    if (is_read_failing(fault->is_named, faults.open_fails))
        return faults.open_fails;
    fault->real = (sqlite3_file *)(fault + 1);
    memset(fault->real, 0, (size_t)fault_real->szOsFile);
    code = fault_real->xOpen(fault_real, name, fault->real, flags, ret_flags);
    fault->base.pMethods = code == SQLITE_OK ? &fault_methods : NULL;
    return code;
}

static inline void faults_install(void)
{
    fault_real = sqlite3_vfs_find(NULL);
    fault_vfs = *fault_real;
    fault_vfs.zName = "faults";
    fault_vfs.szOsFile = (int)sizeof(struct fault_file) + fault_real->szOsFile;
    fault_vfs.xOpen = fault_open;
    sqlite3_vfs_register(&fault_vfs, 1);
}

#endif
