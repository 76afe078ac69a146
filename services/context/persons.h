/* SPDX-License-Identifier: Apache-2.0 */
/* persons.h - everything about some customers: one customer each, with all that the person has.
 *
 * A person is asked for by any of their customers' ids, and gets the id asked for. */
#ifndef GUICHET_CONTEXT_PERSONS_H
#define GUICHET_CONTEXT_PERSONS_H

#include "rows.h"

/* Adds the statements that persons_read() reads, PERSONS_STATEMENT_COUNT of them. */
#define PERSONS_STATEMENT_COUNT 5
void persons_add_selects(struct db_work *work, const char *tenant, const struct str_view *ids, size_t count);
/* From statement `first` on. Those that there are, in the order asked for. */
Guichet__V1__Customer **persons_read(const struct call *call, const struct db_work *work, size_t first,
                                     size_t *ret_count);
Guichet__V1__CustomerMerge *persons_read_merge(const struct rows *rows, size_t row, size_t first_column);

#endif
