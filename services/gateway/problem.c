/* SPDX-License-Identifier: Apache-2.0 */
/* problem.c - RFC 9457 problem details.
 *
 * The code is the stable word that programs look at; it decides status and title here
 * and nowhere else. The type is a URN, since nothing is to be fetched there. */
#include "problem.h"

#include "core/json.h"

static const struct {
    const char *word;
    int status;
    const char *title;
} problems[PROBLEM_COUNT] = {
    [PROBLEM_INVALID_REQUEST] = { "invalid_request", 400, "Bad Request" },
    [PROBLEM_INVALID_JSON] = { "invalid_json", 400, "Malformed JSON" },
    [PROBLEM_UNKNOWN_MEMBER] = { "unknown_member", 400, "Unknown member" },
    [PROBLEM_INVALID_MEMBER] = { "invalid_member", 400, "Invalid member" },
    [PROBLEM_MISSING_MEMBER] = { "missing_member", 400, "Missing member" },
    [PROBLEM_INVALID_PARAMETER] = { "invalid_parameter", 400, "Invalid parameter" },
    [PROBLEM_KEY_MISSING] = { "idempotency_key_missing", 400, "Idempotency-Key missing" },
    [PROBLEM_KEY_INVALID] = { "idempotency_key_invalid", 400, "Idempotency-Key invalid" },
    [PROBLEM_UNAUTHORIZED] = { "unauthorized", 401, "Unauthorized" },
    [PROBLEM_FORBIDDEN] = { "forbidden", 403, "Forbidden" },
    [PROBLEM_NOT_FOUND] = { "not_found", 404, "Not Found" },
    [PROBLEM_METHOD_NOT_ALLOWED] = { "method_not_allowed", 405, "Method Not Allowed" },
    [PROBLEM_REQUEST_TIMEOUT] = { "request_timeout", 408, "Request Timeout" },
    [PROBLEM_CONFLICT] = { "conflict", 409, "Conflict" },
    [PROBLEM_PRECONDITION_FAILED] = { "precondition_failed", 412, "Precondition Failed" },
    [PROBLEM_TOO_LARGE] = { "too_large", 413, "Content Too Large" },
    [PROBLEM_UNSUPPORTED_MEDIA_TYPE] = { "unsupported_media_type", 415, "Unsupported Media Type" },
    [PROBLEM_UPGRADE_REQUIRED] = { "upgrade_required", 426, "Upgrade Required" },
    [PROBLEM_PRECONDITION_REQUIRED] = { "precondition_required", 428, "Precondition Required" },
    [PROBLEM_TOO_MANY_REQUESTS] = { "too_many_requests", 429, "Too Many Requests" },
    [PROBLEM_INTERNAL] = { "internal", 500, "Internal Server Error" },
    [PROBLEM_UNAVAILABLE] = { "unavailable", 503, "Service Unavailable" },
    [PROBLEM_DEADLINE] = { "deadline", 504, "Gateway Timeout" },
};

int problem_status(enum problem_code code)
{
    return problems[code].status;
}

const char *problem_word(enum problem_code code)
{
    return problems[code].word;
}

enum problem_code problem_of(enum err_kind kind)
{
    switch (kind) {
    case ERR_INVALID:
        return PROBLEM_INVALID_REQUEST;
    case ERR_NOT_FOUND:
        return PROBLEM_NOT_FOUND;
    case ERR_CONFLICT:
        return PROBLEM_CONFLICT;
    case ERR_FORBIDDEN:
        return PROBLEM_FORBIDDEN;
    case ERR_EXHAUSTED:
        return PROBLEM_TOO_MANY_REQUESTS;
    case ERR_UNAVAILABLE:
    case ERR_CANCELED: /* we are closing */
        return PROBLEM_UNAVAILABLE;
    case ERR_DEADLINE:
        return PROBLEM_DEADLINE;
    case ERR_NONE:
    case ERR_INTERNAL:
    case ERR_CONFIG:
        break;
    }
    return PROBLEM_INTERNAL;
}

enum problem_code problem_of_status(int status)
{
    for (int code = 0; code < PROBLEM_COUNT; code++) {
        if (problems[code].status == status)
            return (enum problem_code)code;
    }
    return PROBLEM_INTERNAL;
}

uint32_t problem_retry_after_s(const struct problem *problem)
{
    if (problem->code != PROBLEM_UNAVAILABLE && problem->code != PROBLEM_TOO_MANY_REQUESTS)
        return 0;
    return problem->retry_after_ms <= 1000
               ? 1
               : problem->retry_after_ms / 1000 + (problem->retry_after_ms % 1000 != 0);
}

void problem_append(const struct problem *problem, const char *trace_id, struct buf *buf)
{
    buf_printf(buf, "{\"type\":\"urn:guichet:problem:%s\",\"title\":\"%s\",\"status\":%d,\"detail\":",
               problems[problem->code].word, problems[problem->code].title, problems[problem->code].status);
    json_append_string(buf, str_view_of(problem->detail));
    buf_printf(buf, ",\"code\":\"%s\"", problems[problem->code].word);
    if (problem->pointer != NULL) {
        buf_append_text(buf, ",\"errors\":[{\"pointer\":");
        json_append_string(buf, str_view_of(problem->pointer));
        buf_append_text(buf, ",\"detail\":");
        json_append_string(buf, str_view_of(problem->detail));
        buf_append_text(buf, "}]");
    }
    buf_printf(buf, ",\"trace_id\":\"%s\"}", trace_id);
}
