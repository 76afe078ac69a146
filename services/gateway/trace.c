/* SPDX-License-Identifier: Apache-2.0 */
/* trace.c - W3C trace context.
 *
 * A valid header is carried on with a new parent id; anything else is dropped, as the
 * recommendation wants it (§3.2.2.5): a broken header must never fail a request. */
#include "trace.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/id.h"
#include "core/str.h"

static bool is_hex(const char *text, size_t len)
{
    bool has_digit = false;

    for (size_t i = 0; i < len; i++) {
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f')))
            return false;
        if (text[i] != '0')
            has_digit = true;
    }
    return has_digit; /* all zero is invalid for both ids */
}

/* version 00: 00-<32 hex>-<16 hex>-<2 hex>; later versions may go on after another dash. */
static bool is_valid(const char *text)
{
    size_t len = strlen(text);

    if (len < 55 || text[2] != '-' || text[35] != '-' || text[52] != '-')
        return false;
    if (memcmp(text, "00", 2) == 0 ? len != 55 : (len > 55 && text[55] != '-'))
        return false;
    if (memcmp(text, "ff", 2) == 0 || strspn(text, "0123456789abcdef") != 2)
        return false;
    return is_hex(text + 3, 32) && is_hex(text + 36, 16) && strspn(text + 53, "0123456789abcdef") >= 2;
}

static void hex_random(char *ret_text, size_t digits)
{
    unsigned char bytes[16];

    random_bytes(bytes, digits / 2);
    for (size_t i = 0; i < digits / 2; i++)
        snprintf(ret_text + 2 * i, 3, "%02x", bytes[i]);
}

void trace_begin(struct trace *trace, const char *traceparent)
{
    char span[17];
    const char *flags = "01";

    hex_random(span, 16);
    if (traceparent != NULL && is_valid(traceparent)) {
        memcpy(trace->id, traceparent + 3, 32);
        flags = traceparent + 53;
    } else {
        hex_random(trace->id, 32);
    }
    trace->id[32] = '\0';
    snprintf(trace->parent, sizeof(trace->parent), "00-%s-%s-%.2s", trace->id, span, flags);
}
