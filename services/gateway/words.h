/* SPDX-License-Identifier: Apache-2.0 */
/* words.h - enums as the API writes them: "outbound" for MESSAGE_DIRECTION_OUTBOUND. */
#ifndef GUICHET_GATEWAY_WORDS_H
#define GUICHET_GATEWAY_WORDS_H

#include <stdbool.h>

#include <protobuf-c/protobuf-c.h>

/* *ret_value is written only on success; _UNSPECIFIED is no word. */
bool words_read(const ProtobufCEnumDescriptor *words, const char *text, int *ret_value);

#endif
