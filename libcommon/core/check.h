/* SPDX-License-Identifier: Apache-2.0 */
/* check.h - for x_test.c only: tables of labelled cases on cmocka.
 *
 * A failure names its case, so that a table of fifty rows needs no counting. */
#ifndef GUICHET_CORE_CHECK_H
#define GUICHET_CORE_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define CHECK_CASE(label, claim)                                    \
    do {                                                            \
        if (!(claim))                                               \
            fail_msg("case '%s': not so: %s", (label), #claim);     \
    } while (0)

#define CHECK_CASE_TEXT(label, actual, expected)                                                \
    do {                                                                                        \
        const char *actual_ = (actual), *expected_ = (expected);                                \
        if (strcmp(actual_, expected_) != 0)                                                    \
            fail_msg("case '%s': '%s', expected '%s'", (label), actual_, expected_);            \
    } while (0)

#endif
