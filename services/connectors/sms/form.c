/* SPDX-License-Identifier: Apache-2.0 */
/* form.c - reads urlencoded parameters into an arena. */
#include "form.h"

#include <string.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Decoded copy in the arena, NUL-terminated; data NULL past the arena's cap. */
static struct str_view decode(struct str_view text, struct arena *arena, bool *ret_is_malformed)
{
    char *out = arena_alloc(arena, text.len + 1);
    size_t len = 0;

    if (out == NULL)
        return (struct str_view){ 0 };
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];

        if (c == '%') {
            int high = i + 2 < text.len ? hex_digit(text.data[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_digit(text.data[i + 2]) : -1;

            if (high < 0 || low < 0) {
                *ret_is_malformed = true;
            } else {
                c = (char)(high * 16 + low);
                i += 2;
            }
        } else if (c == '+') {
            c = ' ';
        }
        out[len++] = c;
    }
    out[len] = '\0';
    return (struct str_view){ out, len };
}

static bool read_param(struct str_view piece, struct arena *arena, struct sms_form *form, struct err *err)
{
    const char *equals = memchr(piece.data, '=', piece.len);
    size_t name_len = equals != NULL ? (size_t)(equals - piece.data) : piece.len;
    struct str_view value = { piece.data + piece.len, 0 };
    struct sms_form_param param;
    bool is_malformed = false;

    if (equals != NULL)
        value = (struct str_view){ equals + 1, piece.len - name_len - 1 };
    if (form->count == SMS_FORM_PARAMS_MAX)
        return err_set(err, ERR_INVALID, "form: more than %d parameters", SMS_FORM_PARAMS_MAX);
    param.name = decode((struct str_view){ piece.data, name_len }, arena, &is_malformed);
    param.value = decode(value, arena, &is_malformed);
    if (param.name.data == NULL || param.value.data == NULL)
        return err_set(err, ERR_INVALID, "form: too large");
    if (is_malformed && form->malformed.data == NULL)
        form->malformed = param.name;
    form->params[form->count++] = param;
    return true;
}

static size_t count_pieces(struct str_view text)
{
    size_t count = text.len > 0;

    for (size_t i = 0; i < text.len; i++)
        count += text.data[i] == '&';
    return count < SMS_FORM_PARAMS_MAX ? count : SMS_FORM_PARAMS_MAX;
}

bool sms_form_read(struct str_view text, struct arena *arena, struct sms_form *ret_form, struct err *err)
{
    struct sms_form form = { 0 };
    struct str_view piece, rest = text;
    size_t size = count_pieces(text) * sizeof(*form.params);

    form.params = arena_alloc(arena, size > 0 ? size : 1);
    if (form.params == NULL)
        return err_set(err, ERR_INVALID, "form: too large");
    while (str_next(&rest, '&', &piece))
        if (piece.len > 0 && !read_param(piece, arena, &form, err))
            return false;
    *ret_form = form;
    return true;
}

struct str_view sms_form_get(const struct sms_form *form, const char *name)
{
    struct str_view wanted = str_view_of(name);

    for (size_t i = 0; i < form->count; i++)
        if (str_equal(form->params[i].name, wanted))
            return form->params[i].value;
    return (struct str_view){ 0 };
}
