/* SPDX-License-Identifier: Apache-2.0 */
/* guichetctl spool: what waits in a connector's folder, and moving it to another's. Works without any service. */
#include "ctl.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/duration.h"
#include "io/spool.h"

static void print_listed(void *arg, const struct spool_listed *listed)
{
    char oldest[TIME_TEXT_BYTES] = "-";
    size_t *count = arg;

    (*count)++;
    if (listed->is_locked) {
        printf("%s  in use by a running connector, %llu bytes\n", listed->name,
               (unsigned long long)listed->file_bytes);
        return;
    }
    if (!listed->is_readable) {
        printf("%s  not readable: %s\n", listed->name, listed->err.text);
        return;
    }
    if (listed->oldest_us > 0)
        time_format(listed->oldest_us, oldest);
    printf("%s  of %s, nobody has it: %llu events, %llu outcomes, %llu bytes, the oldest of %s\n", listed->name,
           listed->connector, (unsigned long long)listed->events, (unsigned long long)listed->reports,
           (unsigned long long)listed->file_bytes, oldest);
}

int ctl_spool_list(struct ctl *ctl, int argc, char **argv)
{
    const struct ctl_option options[] = { { NULL, NULL, NULL } };
    struct err err = { 0 };
    size_t count = 0;

    (void)ctl;
    if (!ctl_options(&argc, argv, options, &err))
        return ctl_fail(&err);
    if (argc != 1) {
        err_set(&err, ERR_INVALID, "spool list needs the folder, as spool_dir has it");
        return ctl_fail(&err);
    }
    if (!spool_dir_list(argv[0], print_listed, &count, &err))
        return ctl_fail(&err);
    if (count == 0)
        printf("no spool files in %s\n", argv[0]);
    return 0;
}

struct adoption {
    const char *from, *into;
    size_t moved, kept;
    int exit_code;
};

/* What is in use stays where it is, and is no failure: its connector drains it. */
static void adopt_listed(void *arg, const struct spool_listed *listed)
{
    struct adoption *adoption = arg;
    struct err err = { 0 };

    if (listed->is_locked) {
        printf("%s  left: a running connector has it\n", listed->name);
        adoption->kept++;
    } else if (spool_dir_move(adoption->from, listed->name, adoption->into, &err)) {
        printf("%s  moved: %llu events, %llu outcomes\n", listed->name, (unsigned long long)listed->events,
               (unsigned long long)listed->reports);
        adoption->moved++;
    } else {
        fprintf(stderr, "guichetctl: %s: %s\n", listed->name, err.text);
        adoption->exit_code = err_exit_code(err.kind);
    }
}

int ctl_spool_adopt(struct ctl *ctl, int argc, char **argv)
{
    struct adoption adoption = { 0 };
    const struct ctl_option options[] = {
        { "--into", &adoption.into, "the spool_dir of the connector that takes them over" },
        { NULL, NULL, NULL },
    };
    struct err err = { 0 };

    (void)ctl;
    if (!ctl_options(&argc, argv, options, &err))
        return ctl_fail(&err);
    if (argc != 1 || adoption.into == NULL) {
        err_set(&err, ERR_INVALID, "spool adopt needs the folder to take from, and --into the folder to move to");
        return ctl_fail(&err);
    }
    adoption.from = argv[0];
    if (!spool_dir_list(adoption.from, adopt_listed, &adoption, &err))
        return ctl_fail(&err);
    printf("%zu moved, %zu left\n", adoption.moved, adoption.kept);
    return adoption.exit_code;
}
