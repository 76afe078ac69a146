/* SPDX-License-Identifier: Apache-2.0 */
/* duration.h - durations as people write them ("250ms", "25s", "10m", "2h", "7d"), and UTC times.
 *
 * Durations are uint32_t milliseconds; times are int64_t microseconds since 1970, UTC. */
#ifndef GUICHET_CORE_DURATION_H
#define GUICHET_CORE_DURATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

bool duration_parse(const char *text, uint32_t *ret_ms, struct err *err) MUST_USE;
/* "25s", "1500ms": the shortest that parses back to the same. */
void duration_format(uint32_t ms, char *ret_text, size_t size);

int64_t time_now_us(void);                              /* wall clock */
#define TIME_TEXT_BYTES 32
/* RFC 3339, UTC, six digits: 2026-03-01T12:00:00.000000Z */
void time_format(int64_t us, char ret_text[TIME_TEXT_BYTES]);
bool time_parse(const char *text, int64_t *ret_us, struct err *err) MUST_USE;  /* any RFC 3339 */

#endif
