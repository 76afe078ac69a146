/* SPDX-License-Identifier: Apache-2.0 */
/* duration.c - durations as people write them, and RFC 3339 times.
 *
 * Calendar arithmetic is done here (days from the civil date, proleptic Gregorian), so that
 * neither the process's time zone nor a date like 30 February can slip in through libc. */
#include "core/duration.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define US_PER_SECOND INT64_C(1000000)
#define SECONDS_PER_DAY 86400
#define YEAR_FIRST INT64_C(-62135596800)       /* 0001-01-01T00:00:00Z */
#define YEAR_LAST INT64_C(253402300799)        /* 9999-12-31T23:59:59Z */

/* Largest first: duration_format() takes the first that divides. */
static const struct { const char *name; uint32_t ms; } units[] = {
    { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 },
};

bool duration_parse(const char *text, uint32_t *ret_ms, struct err *err)
{
    uint64_t number = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++) {
        number = number * 10 + (uint64_t)(*at - '0');
        if (number > UINT32_MAX)
            return err_set(err, ERR_INVALID, "'%s' is more than 49 days", text);
    }
    if (at == text)
        return err_set(err, ERR_INVALID, "'%s' is not a duration such as 250ms, 25s, 10m, 2h or 7d", text);
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        if (strcmp(at, units[i].name) != 0)
            continue;
        if (number * units[i].ms > UINT32_MAX)
            return err_set(err, ERR_INVALID, "'%s' is more than 49 days", text);
        *ret_ms = (uint32_t)(number * units[i].ms);
        return true;
    }
    return err_set(err, ERR_INVALID, "'%s' has no unit: ms, s, m, h or d", text);
}

void duration_format(uint32_t ms, char *ret_text, size_t size)
{
    size_t i = ms == 0 ? 3 : 0;

    while (ms % units[i].ms != 0)
        i++;
    snprintf(ret_text, size, "%" PRIu32 "%s", ms / units[i].ms, units[i].name);
}

int64_t time_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * US_PER_SECOND + now.tv_nsec / 1000;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Days since 1970-01-01 of a civil date; eras of 400 years beginning in March. */
static int64_t days_of(int64_t year, int month, int day)
{
    int64_t era, year_of_era, day_of_year;

    year -= month <= 2;
    era = floor_div(year, 400);
    year_of_era = year - era * 400;
    day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

void time_format(int64_t us, char ret_text[TIME_TEXT_BYTES])
{
    int64_t seconds, micros;
    time_t when;
    struct tm tm;

    if (us < YEAR_FIRST * US_PER_SECOND)
        us = YEAR_FIRST * US_PER_SECOND;
    if (us > YEAR_LAST * US_PER_SECOND + US_PER_SECOND - 1)
        us = YEAR_LAST * US_PER_SECOND + US_PER_SECOND - 1;
    seconds = floor_div(us, US_PER_SECOND);
    micros = us - seconds * US_PER_SECOND;
    when = (time_t)seconds;
    gmtime_r(&when, &tm);
    snprintf(ret_text, TIME_TEXT_BYTES, "%04u-%02u-%02uT%02u:%02u:%02u.%06uZ",    /* % tells gcc the widths */
        (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)(tm.tm_mon + 1) % 100, (unsigned)tm.tm_mday % 100,
        (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100,
        (unsigned)micros % 1000000);
}

/* Exactly `digits` decimal digits; advances *at. */
static bool take_number(const char **at, int digits, int *ret_value)
{
    int value = 0;

    for (int i = 0; i < digits; i++, (*at)++) {
        if (**at < '0' || **at > '9')
            return false;
        value = value * 10 + (**at - '0');
    }
    *ret_value = value;
    return true;
}

static bool take_char(const char **at, const char *any_of)
{
    if (**at == '\0' || strchr(any_of, **at) == NULL)
        return false;
    (*at)++;
    return true;
}

static bool take_date(const char **at, int64_t *ret_days)
{
    static const int days_in[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    int year, month, day, longest;

    if (!take_number(at, 4, &year) || !take_char(at, "-") || !take_number(at, 2, &month)
        || !take_char(at, "-") || !take_number(at, 2, &day) || year < 1 || month < 1 || month > 12)
        return false;
    longest = days_in[month - 1];
    if (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
        longest = 29;
    if (day < 1 || day > longest)
        return false;
    *ret_days = days_of(year, month, day);
    return true;
}

/* A leap second (60) is counted as the next minute's first: POSIX time has no place for it. */
static bool take_clock(const char **at, int64_t *ret_us)
{
    int hour, minute, second;
    int64_t micros = 0, unit = US_PER_SECOND / 10;

    if (!take_number(at, 2, &hour) || !take_char(at, ":") || !take_number(at, 2, &minute)
        || !take_char(at, ":") || !take_number(at, 2, &second) || hour > 23 || minute > 59 || second > 60)
        return false;
    if (take_char(at, ".")) {
        if (**at < '0' || **at > '9')
            return false;
        for (; **at >= '0' && **at <= '9'; (*at)++, unit /= 10)
            micros += (**at - '0') * unit;
    }
    *ret_us = (hour * INT64_C(3600) + minute * 60 + second) * US_PER_SECOND + micros;
    return true;
}

static bool take_offset(const char **at, int64_t *ret_us)
{
    int64_t sign = **at == '-' ? -1 : 1;
    int hours, minutes;

    if (take_char(at, "Zz")) {
        *ret_us = 0;
        return true;
    }
    if (!take_char(at, "+-") || !take_number(at, 2, &hours) || !take_char(at, ":")
        || !take_number(at, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *ret_us = sign * (hours * INT64_C(60) + minutes) * 60 * US_PER_SECOND;
    return true;
}

bool time_parse(const char *text, int64_t *ret_us, struct err *err)
{
    const char *at = text;
    int64_t days, clock, offset;

    if (!take_date(&at, &days) || !take_char(&at, "Tt ") || !take_clock(&at, &clock)
        || !take_offset(&at, &offset) || *at != '\0')
        return err_set(err, ERR_INVALID, "'%s' is not a time such as 2026-03-01T12:00:00Z", text);
    *ret_us = days * SECONDS_PER_DAY * US_PER_SECOND + clock - offset;
    return true;
}
