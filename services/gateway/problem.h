/* SPDX-License-Identifier: Apache-2.0 */
/* problem.h - RFC 9457 problem details: one table of codes. */
#ifndef GUICHET_GATEWAY_PROBLEM_H
#define GUICHET_GATEWAY_PROBLEM_H

#include "core/str.h"

enum problem_code {
    PROBLEM_INVALID_REQUEST,
    PROBLEM_INVALID_JSON,
    PROBLEM_UNKNOWN_MEMBER,
    PROBLEM_INVALID_MEMBER,
    PROBLEM_MISSING_MEMBER,
    PROBLEM_INVALID_PARAMETER,
    PROBLEM_KEY_MISSING,
    PROBLEM_KEY_INVALID,
    PROBLEM_UNAUTHORIZED,
    PROBLEM_FORBIDDEN,
    PROBLEM_NOT_FOUND,
    PROBLEM_METHOD_NOT_ALLOWED,
    PROBLEM_REQUEST_TIMEOUT,
    PROBLEM_CONFLICT,
    PROBLEM_PRECONDITION_FAILED,
    PROBLEM_TOO_LARGE,
    PROBLEM_UNSUPPORTED_MEDIA_TYPE,
    PROBLEM_UPGRADE_REQUIRED,
    PROBLEM_PRECONDITION_REQUIRED,
    PROBLEM_TOO_MANY_REQUESTS,
    PROBLEM_INTERNAL,
    PROBLEM_UNAVAILABLE,
    PROBLEM_DEADLINE,
    PROBLEM_COUNT,
};

struct problem {
    enum problem_code code;
    const char *detail;  /* for people */
    const char *pointer; /* of the member that is wrong; NULL: none */
    uint32_t retry_after_ms;
};

int problem_status(enum problem_code code);
const char *problem_word(enum problem_code code);
enum problem_code problem_of(enum err_kind kind);
/* The one that stands for a status the listener answers by itself. */
enum problem_code problem_of_status(int status);
/* Seconds for Retry-After, at least 1; 0: this problem has none. */
uint32_t problem_retry_after_s(const struct problem *problem);
void problem_append(const struct problem *problem, const char *trace_id, struct buf *buf);

#endif
