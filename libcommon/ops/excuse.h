/* SPDX-License-Identifier: Apache-2.0 */
/* excuse.h - "this turn of the loop is long on purpose".
 *
 * Code below the loop (a failpoint that sleeps) cannot name the loop it blocks. It
 * calls excuse_long_turn(); the watchdog compares excuse_count() at both ends of a
 * turn and leaves an excused one alone. Both may be called from any thread. */
#ifndef GUICHET_OPS_EXCUSE_H
#define GUICHET_OPS_EXCUSE_H

#include <stdint.h>

void excuse_long_turn(void);
uint64_t excuse_count(void);

#endif
