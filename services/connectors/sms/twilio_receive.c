/* SPDX-License-Identifier: Apache-2.0 */
/* twilio_receive.c - incoming messages and status callbacks become events.
 *
 * Twilio gives no time of its own, so `occurred_at` stays unset: a repeated webhook must give the same event,
 * or it would count as a contradiction. What came over another of Twilio's channels ("whatsapp:+33…") has that
 * channel's word as its thread key, so that the answer goes back the same way and not as an SMS. */
#include "twilio.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "core/id.h"
#include "twilio_reading.h"

enum { WORD_MAX_BYTES = 64, FROM_MAX_BYTES = 256, PHONE_DIGITS_MIN = 7, PHONE_DIGITS_MAX = 15 };

#define RAW_TYPE_FORM "application/x-www-form-urlencoded"
#define RAW_TYPE_JSON "application/json"

static Guichet__V1__InboundEvent *add_event(struct sms_reading *reading, char *key)
{
    Guichet__V1__InboundEvent *event =
        event_batch_add(reading->batch, &reading->account->account, reading->raw, RAW_TYPE_FORM);

    event->event_key = key;
    event->provider_id = arena_strdup(reading->arena, reading->sid);
    return event;
}

static void set_unsupported(struct sms_reading *reading, Guichet__V1__InboundEvent *event, const char *type,
                            const char *reason)
{
    Guichet__V1__Unsupported *unsupported = arena_alloc(reading->arena, sizeof(*unsupported));

    guichet__v1__unsupported__init(unsupported);
    unsupported->provider_type = arena_strdup(reading->arena, type);
    unsupported->reason = arena_strdup(reading->arena, reason);
    event->body_case = GUICHET__V1__INBOUND_EVENT__BODY_UNSUPPORTED;
    event->unsupported = unsupported;
}

/* ---- who wrote ---- */

/* "+33…" is a phone; "whatsapp:+33…" too, on another channel; "messenger:123" is an id towards our page;
 * the rest are short codes and alphanumeric senders. */
static bool read_sender(struct sms_reading *reading, Guichet__V1__Address **ret_address, char **ret_channel,
                        struct err *err)
{
    Guichet__V1__Address *address = arena_alloc(reading->arena, sizeof(*address));
    const char *from, *colon, *to = sms_reading_field(reading, "To");
    char *channel = arena_strdup(reading->arena, "");

    if (!sms_reading_word(reading, "From", FROM_MAX_BYTES, &from, err))
        return false;
    guichet__v1__address__init(address);
    colon = strchr(from, ':');
    if (colon != NULL) {
        channel = arena_dup(reading->arena, (struct str_view){ from, (size_t)(colon - from) });
        from = colon + 1;
    }
    address->display_name = sms_reading_text(reading, "ProfileName");
    address->value = arena_strdup(reading->arena, from);
    address->kind = GUICHET__V1__IDENTITY_KIND__IDENTITY_KIND_SENDER_ID;
    if (from[0] == '+' && sms_is_digits(from + 1, PHONE_DIGITS_MIN, PHONE_DIGITS_MAX)) {
        address->kind = GUICHET__V1__IDENTITY_KIND__IDENTITY_KIND_PHONE;
    } else if (strcmp(channel, "whatsapp") == 0 && sms_is_digits(from, PHONE_DIGITS_MIN, PHONE_DIGITS_MAX)) {
        address->kind = GUICHET__V1__IDENTITY_KIND__IDENTITY_KIND_PHONE;
        address->value = arena_printf(reading->arena, "+%s", from);
    } else if (channel[0] != '\0') {
        address->kind = GUICHET__V1__IDENTITY_KIND__IDENTITY_KIND_PROVIDER;
        address->scope = utf8_is_valid(str_view_of(to)) ? arena_strdup(reading->arena, to) : channel;
    }
    if (address->value[0] == '\0')
        return err_set(err, ERR_INVALID, "form: From names nobody");
    *ret_address = address;
    *ret_channel = channel;
    return true;
}

/* ---- STOP and START ---- */

static bool is_one_of(const char *const *words, size_t count, struct str_view text)
{
    for (size_t i = 0; i < count; i++)
        if (str_equal_nocase(str_view_of(words[i]), text))
            return true;
    return false;
}

/* Twilio's words (with Advanced Opt-Out it tells by OptOutType what its own list says). The whole message
 * must be the word, and only by SMS: elsewhere "cancel" is something a customer may well want to say. */
static Guichet__V1__ConsentState read_consent(const struct sms_reading *reading, const char *channel)
{
    static const char *const stop[] = { "STOP", "UNSUBSCRIBE", "END",    "CANCEL",
                                        "QUIT", "STOPALL",     "REVOKE", "OPTOUT" };
    static const char *const start[] = { "START", "YES", "UNSTOP" };
    struct str_view type = sms_form_get(&reading->form, "OptOutType");
    struct str_view word = str_trim(sms_form_get(&reading->form, "Body"));

    if (type.len > 0) {
        if (str_equal_nocase(type, STR_LITERAL("STOP")))
            return GUICHET__V1__CONSENT_STATE__CONSENT_STATE_WITHDRAWN;
        if (str_equal_nocase(type, STR_LITERAL("START")))
            return GUICHET__V1__CONSENT_STATE__CONSENT_STATE_GIVEN;
        return GUICHET__V1__CONSENT_STATE__CONSENT_STATE_UNSPECIFIED;
    }
    if (channel[0] != '\0')
        return GUICHET__V1__CONSENT_STATE__CONSENT_STATE_UNSPECIFIED;
    if (is_one_of(stop, COUNT_OF(stop), word))
        return GUICHET__V1__CONSENT_STATE__CONSENT_STATE_WITHDRAWN;
    if (is_one_of(start, COUNT_OF(start), word))
        return GUICHET__V1__CONSENT_STATE__CONSENT_STATE_GIVEN;
    return GUICHET__V1__CONSENT_STATE__CONSENT_STATE_UNSPECIFIED;
}

static void add_consent(struct sms_reading *reading, Guichet__V1__ConsentState state,
                        const Guichet__V1__InboundEvent *message)
{
    Guichet__V1__InboundEvent *event =
        add_event(reading, arena_printf(reading->arena, "consent:%s", reading->sid));
    Guichet__V1__ConsentChange *consent = arena_alloc(reading->arena, sizeof(*consent));
    struct str_view word = str_trim(sms_form_get(&reading->form, "Body"));

    guichet__v1__consent_change__init(consent);
    consent->state = state;
    word.len = utf8_is_valid(word) ? utf8_cut(word, WORD_MAX_BYTES) : 0;
    consent->evidence =
        arena_dup(reading->arena, word.len > 0 ? word : sms_form_get(&reading->form, "OptOutType"));
    event->sender = message->sender;
    event->thread = message->thread;
    event->body_case = GUICHET__V1__INBOUND_EVENT__BODY_CONSENT;
    event->consent = consent;
}

static bool read_message(struct sms_reading *reading, struct err *err)
{
    Guichet__V1__ConsentState consent;
    Guichet__V1__ThreadRef *thread = arena_alloc(reading->arena, sizeof(*thread));
    Guichet__V1__MessageReceived *message;
    Guichet__V1__InboundEvent *event;
    Guichet__V1__Address *sender = NULL;
    char *channel = NULL;

    if (!read_sender(reading, &sender, &channel, err) || !sms_twilio_content(reading, &message, err))
        return false;
    guichet__v1__thread_ref__init(thread);
    thread->key = channel;
    event = add_event(reading, arena_printf(reading->arena, "message:%s", reading->sid));
    event->sender = sender;
    event->thread = thread;
    if (message == NULL) {
        char *type = sms_reading_text(reading, "MessageType");

        set_unsupported(reading, event, type[0] != '\0' ? type : "message", "neither text nor media");
        return true;
    }
    event->body_case = GUICHET__V1__INBOUND_EVENT__BODY_MESSAGE;
    event->message = message;
    consent = read_consent(reading, channel);
    if (consent != GUICHET__V1__CONSENT_STATE__CONSENT_STATE_UNSPECIFIED)
        add_consent(reading, consent, event);
    return true;
}

/* ---- what became of what we sent ---- */

static const struct status_word {
    const char *word;
    bool is_news; /* the others only say that it is on its way, which we know */
    Guichet__V1__DeliveryState state;
    Guichet__V1__FailureReason reason; /* FAILED without an error code */
} status_words[] = {
    { "accepted", false, 0, 0 },
    { "scheduled", false, 0, 0 },
    { "queued", false, 0, 0 },
    { "sending", false, 0, 0 },
    { "receiving", false, 0, 0 },
    { "received", false, 0, 0 },
    { "sent", true, GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_SENT, 0 },
    { "delivered", true, GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_DELIVERED, 0 },
    { "read", true, GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_READ, 0 },
    { "undelivered", true, GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_FAILED,
      GUICHET__V1__FAILURE_REASON__FAILURE_REASON_RECIPIENT_UNREACHABLE },
    { "failed", true, GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_FAILED,
      GUICHET__V1__FAILURE_REASON__FAILURE_REASON_PROVIDER_ERROR },
    { "canceled", true, GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_FAILED,
      GUICHET__V1__FAILURE_REASON__FAILURE_REASON_PROVIDER_ERROR },
};

static const struct status_word *find_status(const char *word)
{
    for (size_t i = 0; i < COUNT_OF(status_words); i++)
        if (strcmp(status_words[i].word, word) == 0)
            return &status_words[i];
    return NULL;
}

/* Our own id, which we put into the callback's URL. Anything but an id of ours is ignored. */
static char *read_delivery_id(struct sms_reading *reading, const struct hook_request *request)
{
    struct sms_form query;
    struct err ignored = { 0 };
    struct str_view value;
    struct id id;

    if (!sms_form_read(str_view_of(request->query), reading->arena, &query, &ignored))
        return arena_strdup(reading->arena, "");
    value = sms_form_get(&query, "delivery");
    if (value.len != ID_TEXT_BYTES - 1 || !id_parse(value.data, &id))
        value = STR_LITERAL("");
    return arena_dup(reading->arena, value);
}

static void set_failure(struct sms_reading *reading, Guichet__V1__Receipt *receipt,
                        Guichet__V1__FailureReason without_code)
{
    const char *code = sms_reading_field(reading, "ErrorCode");
    const struct sms_twilio_error *error = NULL;

    if (sms_is_digits(code, 1, 9))
        error = sms_twilio_error_find(strtol(code, NULL, 10));
    receipt->reason = error != NULL ? error->reason : without_code;
}

static bool read_status(struct sms_reading *reading, const struct hook_request *request, struct err *err)
{
    const char *name = sms_reading_has(reading, "MessageStatus") ? "MessageStatus" : "SmsStatus", *word;
    const struct status_word *status;
    Guichet__V1__InboundEvent *event;
    Guichet__V1__Receipt *receipt;

    reading->batch->answer = (struct hook_answer){ .status = 204, .content_type = "" };
    if (!sms_reading_word(reading, name, WORD_MAX_BYTES, &word, err))
        return false;
    status = find_status(word);
    if (status != NULL && !status->is_news)
        return true;
    event = add_event(reading, arena_printf(reading->arena, "status:%s:%s", reading->sid, word));
    if (status == NULL) {
        set_unsupported(reading, event, word, "unknown status");
        return true;
    }
    receipt = arena_alloc(reading->arena, sizeof(*receipt));
    guichet__v1__receipt__init(receipt);
    receipt->state = status->state;
    receipt->delivery_id = read_delivery_id(reading, request);
    receipt->provider_code = sms_reading_text(reading, "ErrorCode");
    receipt->provider_text = sms_reading_text(reading, "ErrorMessage");
    if (status->state == GUICHET__V1__DELIVERY_STATE__DELIVERY_STATE_FAILED)
        set_failure(reading, receipt, status->reason);
    event->body_case = GUICHET__V1__INBOUND_EVENT__BODY_RECEIPT;
    event->receipt = receipt;
    return true;
}

/* ---- the slot ---- */

/* Signed, but no form: kept whole, keyed by its hash, for somebody to look at. */
static void read_foreign(struct sms_reading *reading, const struct hook_request *request)
{
    Guichet__V1__InboundEvent *event;
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned hash_len = 0;
    SCOPED_BUF hex;

    buf_init(&hex, 2 * sizeof(hash));
    EVP_Digest(request->body.data, request->body.len, hash, &hash_len, EVP_sha256(), NULL);
    hex_append(&hex, hash, hash_len);
    event = event_batch_add(reading->batch, &reading->account->account, request->body, RAW_TYPE_JSON);
    event->event_key = arena_printf(reading->arena, "payload:%s", buf_text(&hex));
    set_unsupported(reading, event, RAW_TYPE_JSON, "a webhook that is no form");
}

static bool read_head(struct sms_reading *reading, struct err *err)
{
    const char *name = "MessageSid", *account_sid = sms_reading_field(reading, "AccountSid");

    if (reading->form.malformed.data != NULL)
        return err_set(err, ERR_INVALID, "form: %.64s has a '%%' that is no escape",
                       utf8_is_valid(reading->form.malformed) ? reading->form.malformed.data : "a name");
    if (account_sid[0] != '\0' && strcmp(account_sid, reading->account->account_sid) != 0)
        return err_set(err, ERR_INVALID, "form: AccountSid is not that of account '%s'",
                       reading->account->account.id);
    if (!sms_reading_has(reading, name) && sms_reading_has(reading, "SmsSid"))
        name = "SmsSid";
    return sms_reading_word(reading, name, WORD_MAX_BYTES, &reading->sid, err);
}

bool sms_twilio_normalise(const struct sms_account *account, const struct hook_request *request,
                          struct event_batch *batch, struct err *err)
{
    bool is_get = strcmp(request->method, "GET") == 0;
    struct sms_reading reading = {
        .account = account,
        .batch = batch,
        .arena = batch->arena,
        .raw = is_get ? str_view_of(request->query) : request->body,
    };

    if (!is_get && str_starts_with(str_view_of(request->content_type), STR_LITERAL(RAW_TYPE_JSON))) {
        read_foreign(&reading, request);
        return true;
    }
    if (!sms_form_read(reading.raw, reading.arena, &reading.form, err) || !read_head(&reading, err))
        return false;
    if (strcmp(request->path, "/status") == 0 || sms_reading_has(&reading, "MessageStatus"))
        return read_status(&reading, request, err);
    return read_message(&reading, err);
}
