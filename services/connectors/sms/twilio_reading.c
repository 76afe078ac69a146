/* SPDX-License-Identifier: Apache-2.0 */
/* twilio_reading.c - reads the fields of a webhook. */
#include "twilio_reading.h"

#include <string.h>

const char *sms_reading_field(const struct sms_reading *reading, const char *name)
{
    struct str_view value = sms_form_get(&reading->form, name);

    return value.data != NULL ? value.data : "";
}

bool sms_reading_has(const struct sms_reading *reading, const char *name)
{
    return sms_form_get(&reading->form, name).len > 0;
}

bool sms_reading_word(const struct sms_reading *reading, const char *name, size_t max_len,
                      const char **ret_value, struct err *err)
{
    struct str_view value = sms_form_get(&reading->form, name);

    if (value.len == 0)
        return err_set(err, ERR_INVALID, "form: %s is missing", name);
    if (value.len > max_len)
        return err_set(err, ERR_INVALID, "form: %s is longer than %zu bytes", name, max_len);
    if (!utf8_is_valid(value))
        return err_set(err, ERR_INVALID, "form: %s is no UTF-8, or holds a NUL", name);
    *ret_value = value.data;
    return true;
}

char *sms_reading_text(const struct sms_reading *reading, const char *name)
{
    struct str_view value = sms_form_get(&reading->form, name);

    if (value.data == NULL || !utf8_is_valid(value))
        value = STR_LITERAL("");
    return arena_dup(reading->arena, value);
}

bool sms_is_digits(const char *text, size_t min_len, size_t max_len)
{
    size_t len = strspn(text, "0123456789");

    return text[len] == '\0' && len >= min_len && len <= max_len;
}
