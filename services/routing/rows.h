/* SPDX-License-Identifier: Apache-2.0 */
/* rows.h - rows of the database as messages of the contract; they live in the arena given. */
#ifndef GUICHET_ROUTING_ROWS_H
#define GUICHET_ROUTING_ROWS_H

#include "guichet/v1/routing.pb-c.h"
#include "io/db.h"

/* A cell as text in the arena; uuid as its 36 characters; NULL is "". */
char *routing_row_text(const struct db_work *work, const struct db_result *result, size_t row, size_t column);
/* `from`: the column where its list begins. */
Guichet__V1__Agent *routing_row_agent(const struct db_work *work, const struct db_result *result, size_t row,
                                      struct arena *arena);
enum { ROUTING_AGENT_COLUMNS = 10 };
Guichet__V1__WorkItem *routing_row_work(const struct db_work *work, const struct db_result *result,
                                        size_t row, size_t from, struct arena *arena);
Guichet__V1__ChannelAccount *routing_row_account(const struct db_work *work, const struct db_result *result,
                                                 size_t row, struct arena *arena);
Guichet__V1__Delivery *routing_row_delivery(const struct db_work *work, const struct db_result *result,
                                            size_t row, struct arena *arena);
Guichet__V1__Event *routing_row_event(const struct db_work *work, const struct db_result *result, size_t row,
                                      const char *tenant, struct arena *arena);
Guichet__V1__DeadLetter *routing_row_dead_letter(const struct db_work *work, const struct db_result *result,
                                                 size_t row, struct arena *arena);
enum { ROUTING_DEAD_LETTER_COLUMNS = 15 }; /* then payload and payload_type, where they are asked for */

#endif
