/* SPDX-License-Identifier: Apache-2.0 */
/* twilio.h - Twilio's Programmable Messaging API (and what speaks it): bytes in, values out.
 *
 * Pure: no loop, no socket, no clock. Sources: Twilio's documentation of webhook security, incoming
 * messages, status callbacks and the Message resource (API 2010-04-01), and its Node helper library. */
#ifndef GUICHET_SMS_TWILIO_H
#define GUICHET_SMS_TWILIO_H

#include "sms.h"

extern const struct sms_provider sms_twilio;

/* Each slot of the table by itself. */
bool sms_twilio_check(const struct sms_account *account, struct err *err);
/* err's text ends with the URL it was checked against. */
bool sms_twilio_verify(const struct sms_account *account, const struct hook_request *request,
                       struct arena *arena, struct err *err);
bool sms_twilio_normalise(const struct sms_account *account, const struct hook_request *request,
                          struct event_batch *batch, struct err *err);
bool sms_twilio_render(const struct sms_account *account, const Guichet__V1__Outbound *message,
                       struct arena *arena, struct http_client_request *ret_request, struct err *err);
void sms_twilio_outcome(const struct sms_account *account, const struct http_result *result,
                        struct arena *arena, Guichet__V1__Outcome *ret_outcome);

/* Signed in at the API's own host only; at Twilio's own, when the API is there. */
bool sms_twilio_media(const struct sms_account *account, const Guichet__V1__FetchMedia *fetch,
                      struct arena *arena, struct http_client_request *ret_request, struct err *err);

/* What an error code means for the message it was given for. */
struct sms_twilio_error {
    uint32_t code;
    Guichet__V1__OutcomeKind kind; /* RETRY or FAILED */
    Guichet__V1__FailureReason reason;
    bool is_account_wide;
    uint32_t retry_after_ms; /* RETRY: at least; 0: routing's back-off decides */
};

/* NULL when the code is not one we know. */
const struct sms_twilio_error *sms_twilio_error_find(int64_t code);

#endif
