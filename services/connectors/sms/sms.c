/* SPDX-License-Identifier: Apache-2.0 */
/* sms.c - finds an account's provider and passes on; what is the same with every provider stands here. */
#include "sms.h"

#include <string.h>

#include "segment.h"
#include "twilio.h"

enum { MMS_MAX_BYTES = 5000000, MMS_OTHER_MAX_BYTES = 600000, MMS_MAX_COUNT = 10 };

static const struct sms_provider *const providers[] = { &sms_twilio };

/* Twilio's: pictures that it can make smaller may have 5 MB, all else 600 kB. */
static Guichet__V1__MediaLimit media_limits[] = {
#define LIMIT(type, bytes)                                                                                   \
    {                                                                                                        \
        PROTOBUF_C_MESSAGE_INIT(&guichet__v1__media_limit__descriptor), (char *)(type), (bytes)              \
    }
    LIMIT("image/jpeg", MMS_MAX_BYTES),
    LIMIT("image/png", MMS_MAX_BYTES),
    LIMIT("image/gif", MMS_MAX_BYTES),
    LIMIT("image/*", MMS_OTHER_MAX_BYTES),
    LIMIT("audio/*", MMS_OTHER_MAX_BYTES),
    LIMIT("video/*", MMS_OTHER_MAX_BYTES),
    LIMIT("text/vcard", MMS_OTHER_MAX_BYTES),
    LIMIT("text/x-vcard", MMS_OTHER_MAX_BYTES),
    LIMIT("text/csv", MMS_OTHER_MAX_BYTES),
    LIMIT("text/calendar", MMS_OTHER_MAX_BYTES),
    LIMIT("application/pdf", MMS_OTHER_MAX_BYTES),
#undef LIMIT
};
static Guichet__V1__MediaLimit *media_limit_list[COUNT_OF(media_limits)];

static const struct sms_provider *find_provider(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(providers); i++)
        if (strcmp(providers[i]->name, name) == 0)
            return providers[i];
    return NULL;
}

bool sms_check(const void *account, struct err *err)
{
    const struct sms_account *sms = account;
    const struct sms_provider *provider = find_provider(sms->provider);

    if (provider == NULL)
        return err_set(err, ERR_CONFIG, "key 'provider': '%s' is unknown; known is 'twilio'", sms->provider);
    return provider->check(sms, err);
}

static void add_media(Guichet__V1__Capabilities *capabilities)
{
    for (size_t i = 0; i < COUNT_OF(media_limits); i++)
        media_limit_list[i] = &media_limits[i];
    capabilities->has_media = true;
    capabilities->media = media_limit_list;
    capabilities->n_media = COUNT_OF(media_limit_list);
    capabilities->media_delivery = GUICHET__V1__MEDIA_DELIVERY__MEDIA_DELIVERY_LINK;
    capabilities->media_max_count = MMS_MAX_COUNT;
    capabilities->media_max_total_bytes = MMS_MAX_BYTES;
}

void sms_capabilities(const void *account, Guichet__V1__Capabilities *ret_capabilities)
{
    const struct sms_account *sms = account;

    ret_capabilities->text_max_length = SMS_TEXT_MAX_LENGTH;
    ret_capabilities->text_unit = GUICHET__V1__LENGTH_UNIT__LENGTH_UNIT_CHARACTERS;
    ret_capabilities->has_delivered_receipts = true;
    ret_capabilities->can_start = true;
    ret_capabilities->resend = GUICHET__V1__RESEND_POLICY__RESEND_POLICY_ASK;
    ret_capabilities->sends_per_second = sms->sends_per_second;
    ret_capabilities->retry_horizon_s = sms->retry_horizon_ms / 1000;
    if (sms->mms)
        add_media(ret_capabilities);
}

bool sms_verify(const void *account, const struct hook_request *request, struct arena *arena,
                struct hook_answer *ret_answer, struct err *err)
{
    const struct sms_account *sms = account;

    (void)ret_answer;
    return find_provider(sms->provider)->verify(sms, request, arena, err);
}

bool sms_normalise(const void *account, const struct hook_request *request, struct event_batch *batch,
                   struct err *err)
{
    const struct sms_account *sms = account;

    return find_provider(sms->provider)->normalise(sms, request, batch, err);
}

bool sms_render(const void *account, const Guichet__V1__Outbound *message, struct arena *arena,
                struct http_client_request *ret_request, struct err *err)
{
    const struct sms_account *sms = account;

    return find_provider(sms->provider)->render(sms, message, arena, ret_request, err);
}

void sms_outcome(const void *account, const struct http_result *result, struct arena *arena,
                 Guichet__V1__Outcome *ret_outcome)
{
    const struct sms_account *sms = account;

    find_provider(sms->provider)->outcome(sms, result, arena, ret_outcome);
}

bool sms_media(const void *account, const Guichet__V1__FetchMedia *fetch, struct arena *arena,
               struct http_client_request *ret_request, struct err *err)
{
    const struct sms_account *sms = account;

    return find_provider(sms->provider)->media(sms, fetch, arena, ret_request, err);
}

uint32_t sms_units(const void *account, const Guichet__V1__Outbound *message)
{
    SCOPED_ARENA arena = arena_new(1024 * 1024);
    struct err ignored = { 0 };
    struct str_view text;
    size_t file_count;

    (void)account;
    if (!sms_text_join(message->content, arena, &text, &file_count, &ignored))
        return 0;
    return file_count > 0 ? 1 : sms_segment_count(text).segments;
}

static bool append_part(const Guichet__V1__Part *part, size_t number, struct buf *joined, size_t *file_count,
                        struct err *err)
{
    bool is_file = part->kind_case == GUICHET__V1__PART__KIND_MEDIA;
    const char *text;

    if (!is_file && part->kind_case != GUICHET__V1__PART__KIND_TEXT)
        return err_set(err, ERR_INVALID,
                       "part %zu is neither text nor a file: this channel sends nothing else", number);
    if (!is_file && part->text->format == GUICHET__V1__TEXT_FORMAT__TEXT_FORMAT_HTML)
        return err_set(err, ERR_INVALID, "part %zu is HTML: this channel sends plain text only", number);
    *file_count += is_file;
    text = is_file ? part->media->caption : part->text->text;
    if (joined->len > 0 && text[0] != '\0')
        buf_append_char(joined, '\n');
    buf_append_text(joined, text);
    return true;
}

bool sms_text_join(const Guichet__V1__Content *content, struct arena *arena, struct str_view *ret_text,
                   size_t *ret_file_count, struct err *err)
{
    size_t file_count = 0;
    SCOPED_BUF joined;
    char *text;

    buf_init(&joined, 256 * 1024);
    for (size_t i = 0; content != NULL && i < content->n_parts; i++)
        if (!append_part(content->parts[i], i + 1, &joined, &file_count, err))
            return false;
    if (joined.len == 0 && file_count == 0)
        return err_set(err, ERR_INVALID, "the message has no text");
    text = arena_dup(arena, buf_view(&joined));
    if (joined.is_full || text == NULL)
        return err_set(err, ERR_INVALID, "the text is too long");
    *ret_text = (struct str_view){ text, joined.len };
    *ret_file_count = file_count;
    return true;
}
