/* SPDX-License-Identifier: Apache-2.0 */
/* connector_spool_kit.h - for the skeleton's own tests: a world whose connector has a spool. */
#ifndef GUICHET_SERVICE_CONNECTOR_SPOOL_KIT_H
#define GUICHET_SERVICE_CONNECTOR_SPOOL_KIT_H

#include <dirent.h>
#include <unistd.h>

#include "service/connector_world_calls.h"

enum { DIR_BYTES = 64 };

static inline void dir_make(char dir[DIR_BYTES])
{
    snprintf(dir, DIR_BYTES, "/tmp/guichet-spool-XXXXXX");
    if (mkdtemp(dir) == NULL)
        fail_msg("no folder");
}

static inline void dir_remove(const char *dir)
{
    char command[2 * DIR_BYTES];

    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    if (system(command) != 0)
        fail_msg("cannot remove %s", dir);
}

static inline void spool_world_open(struct world *world, const char *dir, const char *more)
{
    char text[1024];

    snprintf(
        text, sizeof(text),
        "spool_dir: %s\nsubmit_timeout_ms: 300ms\nsubmit_attempt_timeout_ms: 200ms\nspool_retry_ms: 20ms\n"
        "spool_retry_max_ms: 100ms\nspool_scan_ms: 50ms\nspool_free_min_bytes: 64KiB\n%s",
        dir, more);
    world_open(world, text);
}

static inline uint64_t spooled(const struct world *world)
{
    return spool_numbers(world->runtime->spool).events;
}

static inline void centre_stop(struct world *world)
{
    world->centre.submit_fails = ERR_UNAVAILABLE;
    world->centre.submit_fails_count = UINT32_MAX;
}

static inline void centre_go(struct world *world)
{
    world->centre.submit_fails_count = 0;
}

/* How often the centre was given the event, and where first. */
static inline unsigned seen(const struct world *world, const char *key, size_t *ret_at)
{
    unsigned count = 0;

    for (size_t i = world->centre.key_count; i-- > 0;)
        if (strcmp(world->centre.keys[i], key) == 0) {
            count++;
            *ret_at = i;
        }
    return count;
}

/* "message:1" … in the order of their numbers, each `times` times at least. */
static inline void check_order(const struct world *world, unsigned first, unsigned last, unsigned most)
{
    size_t at = 0, before = 0;

    for (unsigned n = first; n <= last; n++) {
        char key[32];
        unsigned count;

        snprintf(key, sizeof(key), "message:%u", n);
        count = seen(world, key, &at);
        if (count == 0 || count > most || (n > first && at <= before))
            fail_msg("%s came %u times, at %zu after %zu", key, count, at, before);
        before = at;
    }
}

#endif
