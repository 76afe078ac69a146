/* SPDX-License-Identifier: Apache-2.0 */
/* twilio_reading.h - one webhook of Twilio's while it is being read; shared by the files that read it. */
#ifndef GUICHET_SMS_TWILIO_READING_H
#define GUICHET_SMS_TWILIO_READING_H

#include "form.h"
#include "twilio.h"

struct sms_reading {
    const struct sms_account *account;
    struct event_batch *batch;
    struct arena *arena;
    struct sms_form form;
    struct str_view raw; /* the payload as it came: body, or query of a GET */
    const char *sid;     /* MessageSid */
};

/* The field as it came, "" when absent. */
const char *sms_reading_field(const struct sms_reading *reading, const char *name);
bool sms_reading_has(const struct sms_reading *reading, const char *name); /* and not empty */
/* A field the event needs: an id, an address, a word. The error names it. */
bool sms_reading_word(const struct sms_reading *reading, const char *name, size_t max_len,
                      const char **ret_value, struct err *err) MUST_USE;
/* Text of people, in the arena. What is no UTF-8 is left out: the raw payload keeps it. */
char *sms_reading_text(const struct sms_reading *reading, const char *name);

bool sms_is_digits(const char *text, size_t min_len, size_t max_len);

/* The message's parts; *ret_message is NULL when there are none. */
bool sms_twilio_content(struct sms_reading *reading, Guichet__V1__MessageReceived **ret_message,
                        struct err *err) MUST_USE;

#endif
