/* SPDX-License-Identifier: Apache-2.0 */
/* loop_watchdog.c - how long a turn of the loop took, and who made it long.
 *
 * Everything shares one thread, so a callback that blocks makes everybody wait. A
 * turn's time is the wall time between two check phases, less what libuv spent
 * waiting in the kernel for events (uv_metrics_idle_time), less what the thread
 * waited for a processor while it was runnable (/proc/thread-self/schedstat, second
 * field): a busy machine is not our bug. Nor is a SIGSTOP, which only an abort has to know. */
#include "io/loop_private.h"

#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ops/log.h"
#include "ops/stats.h"

#define NS_PER_MS 1000000u
#define DEFAULT_MAX_MS 50
#define WARNING_INTERVAL_NS (1000u * (uint64_t)NS_PER_MS)

#define CONTINUE_GRACE_US 20000

enum { STAT_LAG, STAT_LONG_TURNS };

const struct stat_info loop_stats[] = {
    [STAT_LAG] = { .name = "loop_lag_seconds",
                   .type = STAT_HISTOGRAM,
                   .help = "Time one turn of the event loop took, waiting not counted." },
    [STAT_LONG_TURNS] = { .name = "loop_long_turns_total",
                          .type = STAT_COUNTER,
                          .help = "Turns of the event loop past loop_turn_max_ms." },
};
const size_t loop_stats_count = COUNT_OF(loop_stats);

struct loop_watchdog {
    uv_loop_t *uv;
    struct stats *stats;
    int schedstat_fd; /* -1: the kernel does not tell; nothing is taken off then */
    uint64_t max_ns;
    bool is_aborting;
    bool is_excused;
    unsigned continues;
    uint64_t turn_started_ns;
    uint64_t idle_ns;
    uint64_t queued_ns;
    uint64_t slowest_ns;
    loop_any_fn *slowest;
    uint64_t warned_ns;
    uint64_t long_turns;
};

/* Continued after a stop: by any thread, possibly a moment after the loop's has gone on. */
static atomic_uint continues;

static void on_continue(int number)
{
    (void)number;
    atomic_fetch_add(&continues, 1);
}

static void watch_continues(void)
{
    struct sigaction action = { .sa_handler = on_continue, .sa_flags = SA_RESTART };

    sigaction(SIGCONT, &action, NULL);
}

static bool was_stopped(const struct loop_watchdog *watchdog)
{
    if (atomic_load(&continues) == watchdog->continues)
        usleep(CONTINUE_GRACE_US);
    return atomic_load(&continues) != watchdog->continues;
}

/* Nanoseconds this thread was runnable but not running. */
static uint64_t read_queued_ns(const struct loop_watchdog *watchdog)
{
    char text[80];
    ssize_t len;
    char *second;

    if (watchdog->schedstat_fd < 0)
        return 0;
    len = pread(watchdog->schedstat_fd, text, sizeof(text) - 1, 0);
    if (len <= 0)
        return 0;
    text[len] = '\0';
    second = strchr(text, ' ');
    return second != NULL ? strtoull(second, NULL, 10) : 0;
}

struct loop_watchdog *loop_watchdog_new(uv_loop_t *uv)
{
    struct loop_watchdog *watchdog = calloc(1, sizeof(*watchdog));
    const char *is_aborting = getenv("GUICHET_LOOP_ABORT");

    if (watchdog == NULL)
        abort();
    watchdog->uv = uv;
    watchdog->schedstat_fd = -1;
    watchdog->max_ns = (uint64_t)DEFAULT_MAX_MS * NS_PER_MS;
    watchdog->is_aborting = is_aborting != NULL && strcmp(is_aborting, "1") == 0;
    if (watchdog->is_aborting)
        watch_continues();
    watchdog->stats = stats_new("loop", loop_stats, loop_stats_count);
    return watchdog;
}

void loop_watchdog_free(struct loop_watchdog **watchdog)
{
    if (*watchdog == NULL)
        return;
    if ((*watchdog)->schedstat_fd >= 0)
        close((*watchdog)->schedstat_fd);
    stats_free(&(*watchdog)->stats);
    free(*watchdog);
    *watchdog = NULL;
}

void loop_watchdog_begin(struct loop_watchdog *watchdog)
{
    /* Opened here and not in new: it must be the thread that runs the loop. */
    if (watchdog->schedstat_fd < 0)
        watchdog->schedstat_fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    watchdog->is_excused = false;
    watchdog->continues = atomic_load(&continues);
    watchdog->slowest_ns = 0;
    watchdog->slowest = NULL;
    watchdog->idle_ns = uv_metrics_idle_time(watchdog->uv);
    watchdog->queued_ns = read_queued_ns(watchdog);
    watchdog->turn_started_ns = uv_hrtime();
}

/* "program(+0x1234)": what addr2line needs. */
static void name_function(loop_any_fn *fn, char *ret_text, size_t size)
{
    void *address = NULL;
    char **names = NULL;

    ret_text[0] = '\0';
    if (fn == NULL)
        return;
    memcpy(&address, &fn, sizeof(address));
    names = backtrace_symbols(&address, 1);
    if (names != NULL) {
        strncpy(ret_text, names[0], size - 1);
        ret_text[size - 1] = '\0';
    }
    free(names);
}

static void report_long_turn(struct loop_watchdog *watchdog, uint64_t now_ns, uint64_t turn_ns)
{
    char slowest[200];
    bool is_quiet = watchdog->warned_ns != 0 && now_ns - watchdog->warned_ns < WARNING_INTERVAL_NS;

    if (watchdog->is_aborting && was_stopped(watchdog))
        return;
    watchdog->long_turns++;
    stats_add(watchdog->stats, STAT_LONG_TURNS, 1);
    if (is_quiet && !watchdog->is_aborting)
        return;
    watchdog->warned_ns = now_ns;
    name_function(watchdog->slowest, slowest, sizeof(slowest));
    log_event(watchdog->is_aborting ? LOG_ERROR : LOG_WARN, "loop_turn_too_long",
              LOG_NUMBER("turn_ms", turn_ns / NS_PER_MS), LOG_NUMBER("max_ms", watchdog->max_ns / NS_PER_MS),
              LOG_NUMBER("slowest_ms", watchdog->slowest_ns / NS_PER_MS), LOG_TEXT("slowest", slowest));
    if (watchdog->is_aborting)
        abort();
}

void loop_watchdog_end(struct loop_watchdog *watchdog)
{
    uint64_t now_ns = uv_hrtime();
    uint64_t wall_ns = now_ns - watchdog->turn_started_ns;
    uint64_t away_ns = uv_metrics_idle_time(watchdog->uv) - watchdog->idle_ns;
    uint64_t turn_ns;

    away_ns += read_queued_ns(watchdog) - watchdog->queued_ns;
    turn_ns = wall_ns > away_ns ? wall_ns - away_ns : 0;
    stats_observe_ms(watchdog->stats, STAT_LAG, (double)turn_ns / NS_PER_MS);
    if (turn_ns > watchdog->max_ns && !watchdog->is_excused)
        report_long_turn(watchdog, now_ns, turn_ns);
    loop_watchdog_begin(watchdog);
}

void loop_watchdog_excuse(struct loop_watchdog *watchdog)
{
    watchdog->is_excused = true;
}

void loop_watchdog_set_max_ms(struct loop_watchdog *watchdog, uint32_t max_ms)
{
    watchdog->max_ns = (uint64_t)max_ms * NS_PER_MS;
}

void loop_watchdog_call(struct loop_watchdog *watchdog, loop_fn *fn, void *arg, loop_any_fn *blamed)
{
    uint64_t started_ns = uv_hrtime();
    uint64_t took_ns;

    fn(arg);
    took_ns = uv_hrtime() - started_ns;
    if (took_ns > watchdog->slowest_ns) {
        watchdog->slowest_ns = took_ns;
        watchdog->slowest = blamed;
    }
}

uint64_t loop_watchdog_long_turns(const struct loop_watchdog *watchdog)
{
    return watchdog->long_turns;
}
