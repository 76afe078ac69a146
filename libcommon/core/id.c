/* SPDX-License-Identifier: Apache-2.0 */
/* id.c - UUIDv7 (RFC 9562 §5.7).
 *
 * Within one millisecond, and when the clock goes back, the 74 random bits are counted up by
 * a random step (§6.2, method 2): ids of one process never repeat and never go backwards, and
 * cannot be guessed from their neighbour. Workers make ids too, hence the lock. */
#include "core/id.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/duration.h"

#define POOL_BYTES 512
#define RANDOM_HIGH_BITS 12
#define RANDOM_LOW_BITS 62
#define RANDOM_LOW_MASK ((UINT64_C(1) << RANDOM_LOW_BITS) - 1)

/* The last id's parts: 48 bits of milliseconds, 12 and 62 bits of counted randomness. */
static struct {
    pthread_mutex_t lock;
    uint64_t ms, high, low;
    uint8_t pool[POOL_BYTES];
    size_t pool_used;
} last = { .lock = PTHREAD_MUTEX_INITIALIZER, .pool_used = POOL_BYTES };

void random_bytes(void *data, size_t len)
{
    uint8_t *at = data;

    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            fputs("getrandom failed\n", stderr);
            abort();
        }
        at += got;
        len -= (size_t)got;
    }
}

/* One system call serves 64 ids. */
static uint64_t pooled_random(void)
{
    uint64_t value;

    if (last.pool_used + sizeof(value) > sizeof(last.pool)) {
        random_bytes(last.pool, sizeof(last.pool));
        last.pool_used = 0;
    }
    memcpy(&value, last.pool + last.pool_used, sizeof(value));
    memset(last.pool + last.pool_used, 0, sizeof(value));
    last.pool_used += sizeof(value);
    return value;
}

static struct id pack(uint64_t ms, uint64_t high, uint64_t low)
{
    uint64_t words[2] = { ms << 16 | UINT64_C(7) << 12 | high, UINT64_C(2) << 62 | low };
    struct id id;

    for (size_t i = 0; i < 16; i++)
        id.bytes[i] = (uint8_t)(words[i / 8] >> (56 - 8 * (i % 8)));
    return id;
}

static void count_up(void)
{
    last.low += 1 + (pooled_random() & UINT32_MAX);
    if (last.low <= RANDOM_LOW_MASK)
        return;
    last.low &= RANDOM_LOW_MASK;
    if (++last.high >> RANDOM_HIGH_BITS == 0)
        return;
    last.high = 0;
    last.ms++;
}

struct id id_new(void)
{
    uint64_t ms = (uint64_t)(time_now_us() / 1000);
    struct id id;

    pthread_mutex_lock(&last.lock);
    if (ms > last.ms) {
        last.ms = ms;
        last.high = pooled_random() >> (64 - RANDOM_HIGH_BITS + 1);    /* the top bit is left to count into */
        last.low = pooled_random() & RANDOM_LOW_MASK;
    } else {
        count_up();
    }
    id = pack(last.ms, last.high, last.low);
    pthread_mutex_unlock(&last.lock);
    return id;
}

struct id id_at(int64_t us)
{
    return pack(us < 0 ? 0 : (uint64_t)(us / 1000) & ((UINT64_C(1) << 48) - 1), 0, 0);
}

void id_format(struct id id, char ret_text[ID_TEXT_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    char *out = ret_text;

    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *out++ = '-';
        *out++ = digits[id.bytes[i] >> 4];
        *out++ = digits[id.bytes[i] & 15];
    }
    *out = '\0';
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool id_parse(const char *text, struct id *ret_id)
{
    struct id id;
    size_t at = 0;

    if (text == NULL || strlen(text) != ID_TEXT_BYTES - 1)
        return false;
    for (size_t i = 0; i < 16; i++) {
        int high, low;

        if ((i == 4 || i == 6 || i == 8 || i == 10) && text[at++] != '-')
            return false;
        high = digit_value(text[at++]);
        low = digit_value(text[at++]);
        if (high < 0 || low < 0)
            return false;
        id.bytes[i] = (uint8_t)(high << 4 | low);
    }
    *ret_id = id;
    return true;
}

void id_new_text(char ret_text[ID_TEXT_BYTES])
{
    id_format(id_new(), ret_text);
}
