/* SPDX-License-Identifier: Apache-2.0 */
/* etag.c - entity tags and If-Match.
 *
 * Lists of tags are refused: a client edits what it has read, which has one tag. */
#include "etag.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void etag_conversation(uint32_t work_version, uint32_t conversation_version, char ret_tag[ETAG_BYTES])
{
    snprintf(ret_tag, ETAG_BYTES, "\"w%" PRIu32 "-c%" PRIu32 "\"", work_version, conversation_version);
}

void etag_customer(uint32_t version, char ret_tag[ETAG_BYTES])
{
    snprintf(ret_tag, ETAG_BYTES, "\"v%" PRIu32 "\"", version);
}

bool etag_match(const char *if_match, const char *tag, enum etag_match *ret_match, struct err *err)
{
    const char *text = if_match;
    size_t len;

    if (text == NULL) {
        *ret_match = ETAG_ABSENT;
        return true;
    }
    if (strcmp(text, "*") == 0) {
        *ret_match = ETAG_ANY;
        return true;
    }
    if (strncmp(text, "W/", 2) == 0)
        text += 2;
    len = strlen(text);
    if (len < 2 || text[0] != '"' || text[len - 1] != '"' || memchr(text + 1, '"', len - 2) != NULL)
        return err_set(err, ERR_INVALID, "If-Match is not one quoted tag, or *");
    *ret_match = text == if_match && strcmp(text, tag) == 0 ? ETAG_EQUAL : ETAG_DIFFERENT;
    return true;
}

uint32_t etag_customer_version(const char *if_match)
{
    char *end = NULL;
    unsigned long version;

    if (strncmp(if_match, "\"v", 2) != 0 || if_match[2] < '0' || if_match[2] > '9')
        return 0;
    version = strtoul(if_match + 2, &end, 10);
    return strcmp(end, "\"") == 0 && version <= UINT32_MAX ? (uint32_t)version : 0;
}
