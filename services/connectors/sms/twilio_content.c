/* SPDX-License-Identifier: Apache-2.0 */
/* twilio_content.c - the fields of an incoming message become its parts: text, button, place, media.
 *
 * A part that cannot be read is told as unsupported beside the others; it never costs the message. */
#include "twilio_reading.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS_MAX = 32, FILE_NAME_MAX_BYTES = 128 };

#define NAME_CHARACTERS "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_."

struct part_list {
    Guichet__V1__Part *parts[PARTS_MAX];
    size_t count;
};

static Guichet__V1__Part *add_part(struct sms_reading *reading, struct part_list *list,
                                   Guichet__V1__Part__KindCase kind)
{
    Guichet__V1__Part *part = arena_alloc(reading->arena, sizeof(*part));

    guichet__v1__part__init(part);
    part->kind_case = kind;
    if (list->count < PARTS_MAX)
        list->parts[list->count++] = part;
    return part;
}

static void add_unsupported_part(struct sms_reading *reading, struct part_list *list, const char *type,
                                 const char *reason)
{
    Guichet__V1__Part *part = add_part(reading, list, GUICHET__V1__PART__KIND_UNSUPPORTED);

    part->unsupported = arena_alloc(reading->arena, sizeof(*part->unsupported));
    guichet__v1__unsupported__init(part->unsupported);
    part->unsupported->provider_type = arena_strdup(reading->arena, type);
    part->unsupported->reason = arena_strdup(reading->arena, reason);
}

static void add_text(struct sms_reading *reading, struct part_list *list)
{
    struct str_view body = sms_form_get(&reading->form, "Body");
    Guichet__V1__Part *part;

    if (body.len == 0)
        return;
    if (!utf8_is_valid(body)) {
        add_unsupported_part(reading, list, "Body", "the text is no UTF-8, or holds a NUL");
        return;
    }
    part = add_part(reading, list, GUICHET__V1__PART__KIND_TEXT);
    part->text = arena_alloc(reading->arena, sizeof(*part->text));
    guichet__v1__text__init(part->text);
    part->text->text = arena_dup(reading->arena, body);
}

/* A pressed button comes with its title as Body as well: it is one thing, so it becomes one part. */
static void add_choice_or_text(struct sms_reading *reading, struct part_list *list)
{
    struct str_view title = sms_form_get(&reading->form, "ButtonText");
    struct str_view body = sms_form_get(&reading->form, "Body");
    Guichet__V1__Part *part;

    if (!sms_reading_has(reading, "ButtonPayload") && title.len == 0) {
        add_text(reading, list);
        return;
    }
    if (!str_equal(title, body))
        add_text(reading, list);
    part = add_part(reading, list, GUICHET__V1__PART__KIND_CHOICE);
    part->choice = arena_alloc(reading->arena, sizeof(*part->choice));
    guichet__v1__choice__init(part->choice);
    part->choice->id = sms_reading_text(reading, "ButtonPayload");
    part->choice->title = sms_reading_text(reading, "ButtonText");
    part->choice->offered_in = sms_reading_text(reading, "OriginalRepliedMessageSid");
}

static bool read_degrees(const char *text, double limit, double *ret_value)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end != '\0' || !isfinite(value) || fabs(value) > limit)
        return false;
    *ret_value = value;
    return true;
}

static void add_location(struct sms_reading *reading, struct part_list *list)
{
    Guichet__V1__Part *part;
    double latitude, longitude;

    if (!sms_reading_has(reading, "Latitude") && !sms_reading_has(reading, "Longitude"))
        return;
    if (!read_degrees(sms_reading_field(reading, "Latitude"), 90, &latitude) ||
        !read_degrees(sms_reading_field(reading, "Longitude"), 180, &longitude)) {
        add_unsupported_part(reading, list, "location", "latitude or longitude is no number of degrees");
        return;
    }
    part = add_part(reading, list, GUICHET__V1__PART__KIND_LOCATION);
    part->location = arena_alloc(reading->arena, sizeof(*part->location));
    guichet__v1__location__init(part->location);
    part->location->latitude = latitude;
    part->location->longitude = longitude;
    part->location->name = sms_reading_text(reading, "Label");
    part->location->address = sms_reading_text(reading, "Address");
}

/* Twilio's own names are ids ("ME…"); a name with an ending was given by somebody. */
static char *read_file_name(struct sms_reading *reading, const char *url)
{
    struct str_view rest = { url, strcspn(url, "?#") }, piece, name = { 0 };

    while (str_next(&rest, '/', &piece))
        name = piece;
    if (name.len > FILE_NAME_MAX_BYTES || name.len == 0 || name.data[0] == '.' ||
        memchr(name.data, '.', name.len) == NULL || strspn(name.data, NAME_CHARACTERS) < name.len ||
        strstr(url, "://") == NULL || name.data <= strstr(url, "://") + 3)
        name.len = 0;
    return arena_dup(reading->arena, name);
}

static void add_one_media(struct sms_reading *reading, struct part_list *list, unsigned long index)
{
    const char *url_name = arena_printf(reading->arena, "MediaUrl%lu", index);
    Guichet__V1__Part *part;

    if (!sms_reading_has(reading, url_name)) {
        add_unsupported_part(reading, list, "media", "announced, but its URL is missing");
        return;
    }
    part = add_part(reading, list, GUICHET__V1__PART__KIND_MEDIA);
    part->media = arena_alloc(reading->arena, sizeof(*part->media));
    guichet__v1__media__init(part->media);
    part->media->state = GUICHET__V1__MEDIA_STATE__MEDIA_STATE_PENDING;
    part->media->provider_url = sms_reading_text(reading, url_name);
    part->media->file_name = read_file_name(reading, part->media->provider_url);
    part->media->content_type =
        sms_reading_text(reading, arena_printf(reading->arena, "MediaContentType%lu", index));
}

static bool add_media(struct sms_reading *reading, struct part_list *list, struct err *err)
{
    const char *text = sms_reading_field(reading, "NumMedia");
    unsigned long count;

    if (text[0] == '\0')
        return true;
    if (!sms_is_digits(text, 1, 3))
        return err_set(err, ERR_INVALID, "form: NumMedia is no number");
    count = strtoul(text, NULL, 10);
    for (unsigned long i = 0; i < count && list->count < PARTS_MAX; i++)
        add_one_media(reading, list, i);
    return true;
}

static Guichet__V1__Referral *read_referral(struct sms_reading *reading)
{
    Guichet__V1__Referral *referral;

    if (!sms_reading_has(reading, "ReferralSourceUrl") && !sms_reading_has(reading, "ReferralSourceId"))
        return NULL;
    referral = arena_alloc(reading->arena, sizeof(*referral));
    guichet__v1__referral__init(referral);
    referral->source_type = sms_reading_text(reading, "ReferralSourceType");
    referral->source_id = sms_reading_text(reading, "ReferralSourceId");
    referral->source_url = sms_reading_text(reading, "ReferralSourceUrl");
    referral->headline = sms_reading_text(reading, "ReferralHeadline");
    return referral;
}

static Guichet__V1__MessageReceived *make_message(struct sms_reading *reading, const struct part_list *list)
{
    Guichet__V1__MessageReceived *message = arena_alloc(reading->arena, sizeof(*message));
    Guichet__V1__Content *content = arena_alloc(reading->arena, sizeof(*content));

    guichet__v1__message_received__init(message);
    guichet__v1__content__init(content);
    content->n_parts = list->count;
    content->parts = arena_alloc(reading->arena, list->count * sizeof(*content->parts));
    memcpy(content->parts, list->parts, list->count * sizeof(*content->parts));
    content->in_reply_to = sms_reading_text(reading, "OriginalRepliedMessageSid");
    content->is_forwarded = strcmp(sms_reading_field(reading, "Forwarded"), "true") == 0;
    content->referral = read_referral(reading);
    message->content = content;
    return message;
}

bool sms_twilio_content(struct sms_reading *reading, Guichet__V1__MessageReceived **ret_message,
                        struct err *err)
{
    struct part_list list = { .count = 0 };

    add_choice_or_text(reading, &list);
    add_location(reading, &list);
    if (!add_media(reading, &list, err))
        return false;
    *ret_message = list.count > 0 ? make_message(reading, &list) : NULL;
    return true;
}
