/* SPDX-License-Identifier: Apache-2.0 */
/* config_distance.c - how many slips of the finger lie between two words.
 *
 * Damerau-Levenshtein in its simple form (optimal string alignment): inserting, leaving out,
 * changing a letter, or swapping two neighbours costs one each. Words beyond 64 letters are
 * nobody's slip and count as far away. */
#include "ops/config_value.h"

#define WORD_MAX 64

static size_t least(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;

    return ab < c ? ab : c;
}

size_t config_distance(struct str_view a, struct str_view b)
{
    size_t rows[3][WORD_MAX + 1];      /* the two before, and the current one */

    if (a.len > WORD_MAX || b.len > WORD_MAX)
        return SIZE_MAX;
    for (size_t k = 0; k <= b.len; k++)
        rows[0][k] = k;
    for (size_t i = 1; i <= a.len; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3];

        row[0] = i;
        for (size_t k = 1; k <= b.len; k++) {
            bool is_same = a.data[i - 1] == b.data[k - 1];

            row[k] = least(above[k] + 1, row[k - 1] + 1, above[k - 1] + (is_same ? 0 : 1));
            if (i > 1 && k > 1 && a.data[i - 1] == b.data[k - 2] && a.data[i - 2] == b.data[k - 1]) {
                size_t swapped = rows[(i + 1) % 3][k - 2] + 1;

                if (swapped < row[k])
                    row[k] = swapped;
            }
        }
    }
    return rows[a.len % 3][b.len];
}
