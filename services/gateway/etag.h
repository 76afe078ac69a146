/* SPDX-License-Identifier: Apache-2.0 */
/* etag.h - entity tags of conversations and customers, and If-Match (RFC 9110 §13.1.1). */
#ifndef GUICHET_GATEWAY_ETAG_H
#define GUICHET_GATEWAY_ETAG_H

#include "core/str.h"

#define ETAG_BYTES 40

/* "w<work>-c<conversation>", with its quotes: it changes when either half does. */
void etag_conversation(uint32_t work_version, uint32_t conversation_version, char ret_tag[ETAG_BYTES]);
void etag_customer(uint32_t version, char ret_tag[ETAG_BYTES]);

enum etag_match { ETAG_ABSENT, ETAG_ANY, ETAG_EQUAL, ETAG_DIFFERENT };
/* One strong tag or "*"; a weak tag never matches. false: it is neither. */
bool etag_match(const char *if_match, const char *tag, enum etag_match *ret_match, struct err *err) MUST_USE;
/* The version in a customer's tag; 0 when it is none of ours (matches nothing). */
uint32_t etag_customer_version(const char *if_match);

#endif
