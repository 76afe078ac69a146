/* SPDX-License-Identifier: Apache-2.0 */
/* twilio_send.c - a message becomes a POST to Messages.json, its answer an outcome.
 *
 * Twilio has no idempotency key for messages: an answer that was lost is a doubt, never a repeat. A 5xx
 * with Twilio's error code is its own word that it did not take the message, so that is tried again; without one
 * it may be a proxy's, and is a doubt as well. */
#include "twilio.h"

#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "segment.h"

enum { BODY_MAX_BYTES = 64 * 1024, TEXT_SHOWN_BYTES = 500 };

/* ---- render ---- */

/* "whatsapp" and "+33…" give "whatsapp:+33…"; what has its word already keeps it. */
static const char *with_channel(struct arena *arena, const char *channel, const char *address)
{
    if (channel[0] == '\0' || strchr(address, ':') != NULL)
        return address;
    return arena_printf(arena, "%s:%s", channel, address);
}

/* The thread's channel; for a thread that we begin, the one of the account's own address. */
static const char *channel_of(const struct sms_account *account, const Guichet__V1__Outbound *message,
                              struct arena *arena)
{
    const char *own = account->account.address, *colon = strchr(own, ':');

    if (message->thread_key[0] != '\0')
        return message->thread_key;
    return colon != NULL ? arena_dup(arena, (struct str_view){ own, (size_t)(colon - own) }) : "";
}

static void append_sender(const struct sms_account *account, const char *channel, struct arena *arena,
                          struct buf *form)
{
    if (account->messaging_service_sid[0] != '\0')
        form_append(form, "MessagingServiceSid", str_view_of(account->messaging_service_sid));
    else
        form_append(form, "From", str_view_of(with_channel(arena, channel, account->account.address)));
}

/* Twilio reads each file from its link. */
static bool append_files(const struct sms_account *account, const Guichet__V1__Content *content,
                         struct buf *form, struct err *err)
{
    for (size_t i = 0; i < content->n_parts; i++) {
        const Guichet__V1__Part *part = content->parts[i];

        if (part->kind_case != GUICHET__V1__PART__KIND_MEDIA)
            continue;
        if (!account->mms)
            return err_set(err, ERR_INVALID, "part %zu is a file: this account sends text only", i + 1);
        if (part->media->link_url[0] == '\0')
            return err_set(err, ERR_INVALID, "part %zu is a file without a link to read it from", i + 1);
        form_append(form, "MediaUrl", str_view_of(part->media->link_url));
    }
    return true;
}

static bool append_form(const struct sms_account *account, const Guichet__V1__Outbound *message,
                        struct arena *arena, struct buf *form, struct err *err)
{
    const char *channel = channel_of(account, message, arena);
    struct str_view text;
    size_t file_count;

    if (message->recipient == NULL || message->recipient->value[0] == '\0')
        return err_set(err, ERR_INVALID, "the message has no recipient");
    if (!sms_text_join(message->content, arena, &text, &file_count, err))
        return false;
    if (utf8_count(text) > SMS_TEXT_MAX_LENGTH)
        return err_set(err, ERR_INVALID, "the text has %zu characters, %d at most", utf8_count(text),
                       SMS_TEXT_MAX_LENGTH);
    form_append(form, "To", str_view_of(with_channel(arena, channel, message->recipient->value)));
    append_sender(account, channel, arena, form);
    if (text.len > 0)
        form_append(form, "Body", text);
    if (!append_files(account, message->content, form, err))
        return false;
    form_append(form, "StatusCallback",
                str_view_of(arena_printf(arena, "%s/status?delivery=%s", account->account.public_url,
                                         message->delivery_id)));
    if (account->validity_period_s > 0)
        form_append(form, "ValidityPeriod",
                    str_view_of(arena_printf(arena, "%u", account->validity_period_s)));
    return true;
}

bool sms_twilio_render(const struct sms_account *account, const Guichet__V1__Outbound *message,
                       struct arena *arena, struct http_client_request *ret_request, struct err *err)
{
    bool has_key = account->api_key_sid[0] != '\0';
    SCOPED_BUF form;

    buf_init(&form, BODY_MAX_BYTES);
    if (!append_form(account, message, arena, &form, err))
        return false;
    if (form.is_full)
        return err_set(err, ERR_INVALID, "the request is larger than %d bytes", BODY_MAX_BYTES);
    *ret_request = (struct http_client_request){
        .method = "POST",
        .url = arena_printf(arena, "%s/2010-04-01/Accounts/%s/Messages.json", account->api_base,
                            account->account_sid),
        .headers = { { "Content-Type", "application/x-www-form-urlencoded" },
                     { "Accept", "application/json" } },
        .header_count = 2,
        .body = str_view_of(arena_dup(arena, buf_view(&form))),
        .user = has_key ? account->api_key_sid : account->account_sid,
        .password = has_key ? account->api_key_secret : account->auth_token,
    };
    return true;
}

/* ---- outcome ---- */

static void set_doubt(Guichet__V1__Outcome *outcome, struct arena *arena, const char *why)
{
    outcome->kind = GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_UNKNOWN;
    outcome->provider_text = arena_strdup(arena, why);
}

static void read_accepted(struct json_object *answer, struct arena *arena, Guichet__V1__Outcome *outcome)
{
    const char *sid = answer != NULL ? json_str(answer, "sid") : NULL;

    if (sid == NULL || sid[0] == '\0') {
        set_doubt(outcome, arena,
                  answer == NULL ? "accepted, but the answer is no JSON"
                                 : "accepted, but the answer has no sid");
        return;
    }
    outcome->kind = GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_ACCEPTED;
    outcome->provider_id = arena_strdup(arena, sid);
}

/* What the HTTP status says, when the code is none that we know. With a code of Twilio's a 5xx is its own word: it was
 * not taken. Without one it may be a proxy's, who has passed the message on: a doubt. */
static struct sms_twilio_error classify_status(int status, bool has_code)
{
    struct sms_twilio_error class = {
        .kind = GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_FAILED,
        .reason = GUICHET__V1__FAILURE_REASON__FAILURE_REASON_PROVIDER_ERROR,
    };

    if (status == 429) {
        class.kind = GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_RETRY;
        class.is_account_wide = true;
    } else if (status == 503 || (status >= 500 && has_code)) {
        class.kind = GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_RETRY;
    } else if (status >= 500 || status == 408) {
        class.kind = GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_UNKNOWN;
    } else if (status == 401 || status == 403 || status == 404) {
        class.reason = GUICHET__V1__FAILURE_REASON__FAILURE_REASON_ACCOUNT_BROKEN;
        class.is_account_wide = true;
    }
    return class;
}

static void read_refused(const struct http_result *result, struct json_object *answer, struct arena *arena,
                         Guichet__V1__Outcome *outcome)
{
    struct sms_twilio_error class;
    const struct sms_twilio_error *known = NULL;
    const char *text = answer != NULL ? json_str(answer, "message") : NULL;
    struct str_view shown = str_view_of(text);
    int64_t code = 0;

    if (answer != NULL && json_int(answer, "code", &code))
        known = sms_twilio_error_find(code);
    class = known != NULL ? *known : classify_status(result->status, code > 0);
    outcome->kind = class.kind;
    outcome->is_account_wide = class.is_account_wide;
    outcome->reason = class.reason;
    if (class.kind == GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_RETRY)
        outcome->retry_after_ms =
            result->retry_after_ms > class.retry_after_ms ? result->retry_after_ms : class.retry_after_ms;
    outcome->provider_code = code > 0 ? arena_printf(arena, "%lld", (long long)code)
                                      : arena_printf(arena, "HTTP %d", result->status);
    shown.len = utf8_cut(shown, TEXT_SHOWN_BYTES);
    outcome->provider_text = arena_dup(arena, shown);
}

void sms_twilio_outcome(const struct sms_account *account, const struct http_result *result,
                        struct arena *arena, Guichet__V1__Outcome *ret_outcome)
{
    SCOPED_JSON answer = NULL;
    struct err ignored = { 0 };

    (void)account;
    if (!json_read(result->body, &answer, &ignored) || !json_object_is_type(answer, json_type_object))
        json_put(&answer);
    if (result->status >= 200 && result->status < 300)
        read_accepted(answer, arena, ret_outcome);
    else
        read_refused(result, answer, arena, ret_outcome);
}
