/* SPDX-License-Identifier: Apache-2.0 */
/* id.h - UUIDv7 (RFC 9562 §5.7): time-ordered, monotonic within the process.
 *
 * Text form everywhere outside the database: 36 characters, lower case. */
#ifndef GUICHET_CORE_ID_H
#define GUICHET_CORE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ID_TEXT_BYTES 37

struct id { uint8_t bytes[16]; };

struct id id_new(void);                                 /* now */
struct id id_at(int64_t us);                            /* the smallest id of that millisecond */
void id_format(struct id id, char ret_text[ID_TEXT_BYTES]);
bool id_parse(const char *text, struct id *ret_id);
void id_new_text(char ret_text[ID_TEXT_BYTES]);
/* Fills with random bytes from getrandom(2); aborts when there are none. */
void random_bytes(void *data, size_t len);

#endif
