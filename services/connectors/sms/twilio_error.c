/* SPDX-License-Identifier: Apache-2.0 */
/* twilio_error.c - what Twilio's error codes mean for a message.
 *
 * Only the codes that say more than their HTTP status are here; Twilio has some two thousand. A code
 * may come in the API's answer or, minutes later, in a status callback: the reason is the same. */
#include "twilio.h"

#define THROTTLED(number, after_ms)                                                                          \
    {                                                                                                        \
        number, GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_RETRY,                                               \
            GUICHET__V1__FAILURE_REASON__FAILURE_REASON_PROVIDER_ERROR, true, after_ms                       \
    }
#define RETRY(number)                                                                                        \
    {                                                                                                        \
        number, GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_RETRY,                                               \
            GUICHET__V1__FAILURE_REASON__FAILURE_REASON_PROVIDER_ERROR, false, 0                             \
    }
#define FAILED(number, word)                                                                                 \
    {                                                                                                        \
        number, GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_FAILED,                                              \
            GUICHET__V1__FAILURE_REASON__FAILURE_REASON_##word, false, 0                                     \
    }
#define BROKEN(number)                                                                                       \
    {                                                                                                        \
        number, GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_FAILED,                                              \
            GUICHET__V1__FAILURE_REASON__FAILURE_REASON_ACCOUNT_BROKEN, true, 0                              \
    }

/* Ascending by code. */
static const struct sms_twilio_error errors[] = {
    FAILED(11200, CONTENT_REFUSED),       /* the file at MediaUrl could not be read */
    FAILED(12300, CONTENT_REFUSED),       /* the file at MediaUrl is of a type that Twilio does not send */
    THROTTLED(14107, 1000),               /* send rate limit of the number */
    BROKEN(20003),                        /* authentication failed */
    BROKEN(20005),                        /* account not active */
    THROTTLED(20429, 1000),               /* too many requests */
    FAILED(21211, RECIPIENT_INVALID),     /* To is no phone number */
    BROKEN(21212),                        /* From is no phone number */
    FAILED(21408, RECIPIENT_UNREACHABLE), /* region not enabled */
    BROKEN(21606),                        /* From cannot send */
    FAILED(21608, RECIPIENT_UNREACHABLE), /* trial account: recipient not verified */
    FAILED(21610, RECIPIENT_OPTED_OUT),   /* STOP was sent before */
    THROTTLED(21611, 60000),              /* queue of the number is full */
    FAILED(21612, RECIPIENT_UNREACHABLE), /* no route from From to To */
    FAILED(21614, RECIPIENT_INVALID),     /* To is not a mobile number */
    FAILED(21617, CONTENT_REFUSED),       /* longer than 1600 characters */
    FAILED(21620, CONTENT_REFUSED),       /* MediaUrl is no URL */
    FAILED(21623, CONTENT_REFUSED),       /* more than 10 files */
    BROKEN(21660),                        /* From is of another account */
    RETRY(30001),                         /* queue overflow */
    BROKEN(30002),                        /* account suspended */
    FAILED(30003, RECIPIENT_UNREACHABLE), /* handset off or out of reach */
    FAILED(30004, RECIPIENT_UNREACHABLE), /* blocked by the recipient or the network */
    FAILED(30005, RECIPIENT_INVALID),     /* unknown number */
    FAILED(30006, RECIPIENT_UNREACHABLE), /* landline, or carrier not reachable */
    FAILED(30007, CONTENT_REFUSED),       /* filtered by the carrier */
    FAILED(30008, PROVIDER_ERROR),        /* unknown error of the carrier */
    RETRY(30017),                         /* carrier congested */
    FAILED(30019, CONTENT_REFUSED),       /* larger than the carrier takes */
    THROTTLED(30022, 60000),              /* rate of the 10DLC campaign exceeded */
    BROKEN(30034),                        /* number not registered for A2P 10DLC */
    FAILED(63003, RECIPIENT_INVALID),     /* channel knows no such recipient */
    FAILED(63016, WINDOW_CLOSED),         /* outside WhatsApp's 24 hours without template */
    THROTTLED(63018, 1000),               /* rate limit of the channel */
    FAILED(63019, CONTENT_REFUSED),       /* the file at MediaUrl could not be read */
    FAILED(63024, RECIPIENT_INVALID),     /* recipient invalid for the channel */
};

const struct sms_twilio_error *sms_twilio_error_find(int64_t code)
{
    for (size_t i = 0; i < COUNT_OF(errors); i++)
        if (errors[i].code == code)
            return &errors[i];
    return NULL;
}
