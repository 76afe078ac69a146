/* SPDX-License-Identifier: Apache-2.0 */
/* form.h - an application/x-www-form-urlencoded body or query as a list of decoded parameters.
 *
 * Decoding never fails, as WHATWG URL §5.1 has it (a stray '%' stands for itself): a signature must be
 * computed over whatever came. Whether all of it was well formed is told beside, for who reads it then. */
#ifndef GUICHET_SMS_FORM_H
#define GUICHET_SMS_FORM_H

#include "core/arena.h"
#include "core/str.h"

#define SMS_FORM_PARAMS_MAX 512

struct sms_form_param {
    struct str_view name;
    struct str_view value; /* NUL-terminated as well */
};

struct sms_form {
    struct sms_form_param *params;
    size_t count;
    struct str_view malformed; /* name of the first parameter with a broken escape; data NULL: none */
};

/* false: more than SMS_FORM_PARAMS_MAX parameters, or more than the arena holds. */
bool sms_form_read(struct str_view text, struct arena *arena, struct sms_form *ret_form,
                   struct err *err) MUST_USE;
/* First value of that name; an empty view with data NULL when there is none. */
struct str_view sms_form_get(const struct sms_form *form, const char *name);

#endif
