/* SPDX-License-Identifier: Apache-2.0 */
/* capability.c - what an account can send, checked before anything is stored: the agent hears at once. */
#include "capability.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "core/duration.h"
#include "core/str.h"

enum { PARTS_MAX = 100 };

static size_t count_utf16(struct str_view text)
{
    size_t count = 0;
    uint32_t code;

    while ((code = utf8_next(&text)) != 0)
        count += code >= 0x10000 ? 2 : 1;
    return count;
}

static size_t measure(struct str_view text, Guichet__V1__LengthUnit unit, const char **ret_unit)
{
    switch (unit) {
    case GUICHET__V1__LENGTH_UNIT__LENGTH_UNIT_UTF16:
        *ret_unit = "UTF-16 units";
        return count_utf16(text);
    case GUICHET__V1__LENGTH_UNIT__LENGTH_UNIT_BYTES:
        *ret_unit = "bytes";
        return text.len;
    default:
        *ret_unit = "characters";
        return utf8_count(text);
    }
}

static bool check_text(const Guichet__V1__Capabilities *capabilities, const Guichet__V1__Text *text,
                       size_t *total, struct err *err)
{
    const char *unit;

    if (text->format == GUICHET__V1__TEXT_FORMAT__TEXT_FORMAT_HTML && !capabilities->has_html)
        return err_set(err, ERR_INVALID, "the channel cannot send HTML");
    *total += measure(str_view_of(text->text), capabilities->text_unit, &unit);
    if (capabilities->text_max_length > 0 && *total > capabilities->text_max_length)
        return err_set(err, ERR_INVALID, "the text has %zu %s, the channel takes %u", *total, unit,
                       capabilities->text_max_length);
    return true;
}

/* A caption is sent as text. */
static bool check_caption(const Guichet__V1__Capabilities *capabilities, const Guichet__V1__Media *media,
                          size_t *total, struct err *err)
{
    Guichet__V1__Text text = GUICHET__V1__TEXT__INIT;

    text.text = media->caption;
    return check_text(capabilities, &text, total, err);
}

/* The channel's word for a part it cannot carry; NULL: it can. */
static const char *missing_for(const Guichet__V1__Capabilities *capabilities, const Guichet__V1__Part *part)
{
    switch (part->kind_case) {
    case GUICHET__V1__PART__KIND_TEXT:
        return NULL;
    case GUICHET__V1__PART__KIND_MEDIA:
        return capabilities->has_media ? NULL : "media";
    case GUICHET__V1__PART__KIND_TEMPLATE:
        return capabilities->has_templates ? NULL : "templates";
    case GUICHET__V1__PART__KIND_MENU:
        return capabilities->has_menus ? NULL : "menus";
    case GUICHET__V1__PART__KIND__NOT_SET:
        return "an empty part";
    default:
        return "this kind of part";
    }
}

/* Before anything is asked about each part. */
static bool check_count(const Guichet__V1__Capabilities *capabilities, const Guichet__V1__Content *content,
                        struct err *err)
{
    size_t count = 0;

    if (content->n_parts > PARTS_MAX)
        return err_set(err, ERR_INVALID, "the message has %zu parts, at most %d are allowed", content->n_parts,
                       PARTS_MAX);
    for (size_t i = 0; i < content->n_parts; i++)
        count += content->parts[i]->kind_case == GUICHET__V1__PART__KIND_MEDIA;
    if (capabilities->has_media && capabilities->media_max_count > 0 && count > capabilities->media_max_count)
        return err_set(err, ERR_INVALID, "the message has %zu media, the channel takes %u", count,
                       capabilities->media_max_count);
    return true;
}

static bool check_parts(const Guichet__V1__Capabilities *capabilities, const Guichet__V1__Content *content,
                        bool *ret_is_template, struct err *err)
{
    size_t total = 0;

    if (!check_count(capabilities, content, err))
        return false;
    *ret_is_template = content->n_parts > 0;
    for (size_t i = 0; i < content->n_parts; i++) {
        const Guichet__V1__Part *part = content->parts[i];
        const char *missing = missing_for(capabilities, part);

        if (missing != NULL)
            return err_set(err, ERR_INVALID, "the channel cannot send %s (part %zu)", missing, i);
        if (part->kind_case == GUICHET__V1__PART__KIND_TEXT &&
            !check_text(capabilities, part->text, &total, err))
            return false;
        if (part->kind_case == GUICHET__V1__PART__KIND_MEDIA &&
            !check_caption(capabilities, part->media, &total, err))
            return false;
        if (part->kind_case != GUICHET__V1__PART__KIND_TEMPLATE)
            *ret_is_template = false;
    }
    if (total == 0 && content->n_parts > 0 && content->parts[0]->kind_case == GUICHET__V1__PART__KIND_TEXT)
        return err_set(err, ERR_INVALID, "the text is empty");
    return content->n_parts > 0 || err_set(err, ERR_INVALID, "the message is empty");
}

static bool check_window(const Guichet__V1__Capabilities *capabilities, int64_t last_inbound_us,
                         int64_t now_us, struct err *err)
{
    char closed[TIME_TEXT_BYTES];
    int64_t end_us = last_inbound_us + (int64_t)capabilities->window_s * 1000000;

    if (capabilities->window_s == 0 || (last_inbound_us != 0 && now_us < end_us))
        return true;
    if (last_inbound_us == 0)
        return err_set(err, ERR_INVALID,
                       "free text is allowed for %u s after the customer's message only, and "
                       "they have not written",
                       capabilities->window_s);
    time_format(end_us, closed);
    return err_set(err, ERR_INVALID,
                   "free text is allowed for %u s after the customer's last message: over since %s",
                   capabilities->window_s, closed);
}

bool routing_capability_check(const Guichet__V1__Capabilities *capabilities,
                              const Guichet__V1__Content *content, bool is_start, int64_t last_inbound_us,
                              int64_t now_us, struct err *err)
{
    bool is_template;

    if (content == NULL)
        return err_set(err, ERR_INVALID, "the message is empty");
    if (is_start && !capabilities->can_start)
        return err_set(err, ERR_INVALID, "the channel does not allow writing first");
    if (content->subject[0] != '\0' && !capabilities->has_subject)
        return err_set(err, ERR_INVALID, "the channel cannot send a subject");
    if (!check_parts(capabilities, content, &is_template, err))
        return false;
    return is_template || check_window(capabilities, last_inbound_us, now_us, err);
}

/* ---- media ---- */

/* "image/png; charset=x" is of "image/png" and of "image/" + "*". */
static bool is_of_type(const char *content_type, const char *wanted)
{
    size_t len = strcspn(content_type, "; "), stem = strcspn(wanted, "*");

    if (wanted[stem] == '*')
        return len >= stem && strncasecmp(content_type, wanted, stem) == 0;
    return strlen(wanted) == len && strncasecmp(content_type, wanted, len) == 0;
}

/* The limit of exactly this type before that of its family; NULL: the channel takes none of it. */
static const Guichet__V1__MediaLimit *limit_of(const Guichet__V1__Capabilities *capabilities,
                                               const char *content_type)
{
    const Guichet__V1__MediaLimit *found = NULL;

    for (size_t i = 0; i < capabilities->n_media; i++) {
        const Guichet__V1__MediaLimit *limit = capabilities->media[i];

        if (is_of_type(content_type, limit->content_type) &&
            (found == NULL || strlen(limit->content_type) > strlen(found->content_type)))
            found = limit;
    }
    return found;
}

static bool check_one(const Guichet__V1__Capabilities *capabilities, const Guichet__V1__Media *media,
                      size_t index, struct err *err)
{
    const Guichet__V1__MediaLimit *limit = limit_of(capabilities, media->content_type);

    if (capabilities->n_media == 0)
        return true; /* no limit known */
    if (limit == NULL)
        return err_set(err, ERR_INVALID, "the channel cannot send %.100s (part %zu)", media->content_type,
                       index);
    if (limit->max_bytes > 0 && media->size_bytes > limit->max_bytes)
        return err_set(err, ERR_INVALID,
                       "part %zu (%.100s) has %" PRIu64 " bytes, the channel takes %" PRIu64 " of %.100s",
                       index, media->content_type, media->size_bytes, limit->max_bytes, limit->content_type);
    return true;
}

bool routing_capability_check_media(const Guichet__V1__Capabilities *capabilities,
                                    const Guichet__V1__Content *content, struct err *err)
{
    uint64_t total = 0;

    for (size_t i = 0; i < content->n_parts; i++) {
        const Guichet__V1__Part *part = content->parts[i];

        if (part->kind_case != GUICHET__V1__PART__KIND_MEDIA)
            continue;
        if (!check_one(capabilities, part->media, i, err))
            return false;
        total += part->media->size_bytes;
    }
    if (capabilities->media_max_total_bytes > 0 && total > capabilities->media_max_total_bytes)
        return err_set(err, ERR_INVALID,
                       "the media have %" PRIu64 " bytes together, the channel takes %" PRIu64, total,
                       capabilities->media_max_total_bytes);
    return true;
}
