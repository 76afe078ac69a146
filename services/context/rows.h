/* SPDX-License-Identifier: Apache-2.0 */
/* rows.h - rows of results as messages of the contract.
 *
 * What is returned lives in the arena; its texts and bytes live as long as the work. */
#ifndef GUICHET_CONTEXT_ROWS_H
#define GUICHET_CONTEXT_ROWS_H

#include "context.h"

/* A result being read: where rows come from and where messages go. */
struct rows {
    const struct db_work *work;
    const struct db_result *result;
    struct arena *arena;
    const char *tenant;
    size_t preview_max_bytes;
};

struct rows rows_of(const struct call *call, const struct db_work *work, size_t statement);
char *rows_text(const struct rows *rows, size_t row, size_t column);
Google__Protobuf__Timestamp *rows_time(const struct rows *rows, size_t row, size_t column);
ProtobufCBinaryData rows_bytes(const struct rows *rows, size_t row, size_t column);

Guichet__V1__Conversation *rows_conversation(const struct rows *rows, size_t row);
Guichet__V1__Thread *rows_thread(const struct rows *rows, size_t row);
Guichet__V1__Message *rows_message(const struct rows *rows, size_t row);
Guichet__V1__Identity *rows_identity(const struct rows *rows, size_t row, size_t first_column);
/* Content as it was packed; an empty one when it cannot be read. */
Guichet__V1__Content *rows_content(const struct rows *rows, size_t row, size_t column);
/* Ids with commas between, as string_agg() gives them. */
char **rows_ids(const struct rows *rows, size_t row, size_t column, size_t *ret_count);
/* How media parts stand, from a column of MEDIA_OF(); those of a message are in its content already. */
Guichet__V1__MediaPart **rows_media(const struct rows *rows, size_t row, size_t column, size_t *ret_count);
/* The message's content column, for those who must know sizes first. */
size_t rows_message_bytes(const struct rows *rows, size_t row);

#endif
