/* SPDX-License-Identifier: Apache-2.0 */
/* sms.h - what the parts of the sms connector share: an account, and the seam between providers.
 *
 * SMS is one channel with many providers. An account names its provider; the provider is a table of
 * the same pure slots as struct connector, so that a further one is a file and a row in sms.c. */
#ifndef GUICHET_SMS_SMS_H
#define GUICHET_SMS_SMS_H

#include "service/connector.h"

#define SMS_TEXT_MAX_LENGTH 1600

/* Nothing of its own beyond what the skeleton needs. */
struct sms_config {
    struct connector_config connector;
};

struct sms_account {
    struct connector_account account;
    char *provider;
    char *account_sid;
    char *auth_token;
    char *auth_token_previous;
    char *messaging_service_sid;
    char *api_key_sid;
    char *api_key_secret;
    char *api_base;
    uint32_t sends_per_second;
    uint32_t retry_horizon_ms;
    uint32_t validity_period_s;
    bool mms; /* files go out as well */
};

struct sms_provider {
    const char *name; /* as the account's key `provider` says it */
    bool (*check)(const struct sms_account *account, struct err *err);
    bool (*verify)(const struct sms_account *account, const struct hook_request *request, struct arena *arena,
                   struct err *err);
    bool (*normalise)(const struct sms_account *account, const struct hook_request *request,
                      struct event_batch *batch, struct err *err);
    bool (*render)(const struct sms_account *account, const Guichet__V1__Outbound *message,
                   struct arena *arena, struct http_client_request *ret_request, struct err *err);
    void (*outcome)(const struct sms_account *account, const struct http_result *result, struct arena *arena,
                    Guichet__V1__Outcome *ret_outcome);
    bool (*media)(const struct sms_account *account, const Guichet__V1__FetchMedia *fetch,
                  struct arena *arena, struct http_client_request *ret_request, struct err *err);
};

extern const struct config_key sms_account_keys[];

/* The slots of struct connector: they find the account's provider and pass on. */
bool sms_check(const void *account, struct err *err);
void sms_capabilities(const void *account, Guichet__V1__Capabilities *ret_capabilities);
bool sms_verify(const void *account, const struct hook_request *request, struct arena *arena,
                struct hook_answer *ret_answer, struct err *err);
bool sms_normalise(const void *account, const struct hook_request *request, struct event_batch *batch,
                   struct err *err);
bool sms_render(const void *account, const Guichet__V1__Outbound *message, struct arena *arena,
                struct http_client_request *ret_request, struct err *err);
void sms_outcome(const void *account, const struct http_result *result, struct arena *arena,
                 Guichet__V1__Outcome *ret_outcome);
bool sms_media(const void *account, const Guichet__V1__FetchMedia *fetch, struct arena *arena,
               struct http_client_request *ret_request, struct err *err);
/* How many segments the message is billed as; with files it is one MMS. */
uint32_t sms_units(const void *account, const Guichet__V1__Outbound *message);

/* The text parts of a message, and its files' captions, joined by line feeds; *ret_file_count says how many
 * files it has. false: it has neither, or a part that is none of them. */
bool sms_text_join(const Guichet__V1__Content *content, struct arena *arena, struct str_view *ret_text,
                   size_t *ret_file_count, struct err *err);

#endif
