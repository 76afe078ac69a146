/* SPDX-License-Identifier: Apache-2.0 */
/* traffic.c - message i of a run: sender, webhook, signature. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

enum { BODY_MAX_BYTES = 4096, NEW_PHONES_FROM = 50000000, STEP = 7919, LATELY = 1000 };

/* ---- who ---- */

/* Of ten: five known and not yet heard in this run, one new, four who wrote among the thousand before. */
static uint32_t origin_of(uint32_t i)
{
    while (i % 10 >= 6 && i >= LATELY)
        i -= 1 + (i * 2654435761u) % LATELY;
    return i;
}

void bench_phone(const struct bench_traffic *traffic, uint32_t i, char ret_phone[BENCH_PHONE_BYTES])
{
    uint32_t origin = origin_of(i), of_ten = origin % 10;
    /* A prime step through the known ones, one after the other: neighbours in the run are none in the tables. */
    uint64_t place = traffic->first + (uint64_t)origin / 10 * 5 + (of_ten < 5 ? of_ten : of_ten - 5);
    uint64_t known = place * STEP % traffic->customers + 1;
    uint64_t number = of_ten == 5 ? NEW_PHONES_FROM + traffic->first + origin : known;

    snprintf(ret_phone, BENCH_PHONE_BYTES, "+336%08u", (unsigned)(number % 100000000));
}

static int compare_phones(const void *a, const void *b)
{
    return memcmp(a, b, BENCH_PHONE_BYTES);
}

uint32_t bench_distinct_customers(const struct bench_traffic *traffic, uint32_t count)
{
    char(*phones)[BENCH_PHONE_BYTES] = calloc(count + 1, sizeof(*phones));
    uint32_t distinct = count > 0;

    if (phones == NULL)
        abort();
    for (uint32_t i = 0; i < count; i++)
        bench_phone(traffic, i, phones[i]);
    qsort(phones, count, sizeof(*phones), compare_phones);
    for (uint32_t i = 1; i < count; i++)
        distinct += compare_phones(phones[i - 1], phones[i]) != 0;
    free(phones);
    return distinct;
}

/* ---- what ---- */

struct field {
    const char *name, *value;
};

enum { FIELD_COUNT = 19 };

/* In the order of their names, as they are signed. */
static void fill_fields(const struct bench_traffic *traffic, const char *phone, const char *sid,
                        const char *text, struct field fields[FIELD_COUNT])
{
    const struct field all[FIELD_COUNT] = {
        { "AccountSid", traffic->sid },
        { "ApiVersion", "2010-04-01" },
        { "Body", text },
        { "From", phone },
        { "FromCity", "" },
        { "FromCountry", "FR" },
        { "FromState", "" },
        { "FromZip", "" },
        { "MessageSid", sid },
        { "NumMedia", "0" },
        { "NumSegments", "1" },
        { "SmsMessageSid", sid },
        { "SmsSid", sid },
        { "SmsStatus", "received" },
        { "To", traffic->address },
        { "ToCity", "" },
        { "ToCountry", "FR" },
        { "ToState", "" },
        { "ToZip", "" },
    };

    memcpy(fields, all, sizeof(all));
}

static void make_body(const struct bench_traffic *traffic, uint32_t i, struct buf *body, struct buf *ret_signed)
{
    char phone[BENCH_PHONE_BYTES], sid[64], text[160];
    struct field fields[FIELD_COUNT];

    bench_phone(traffic, i, phone);
    /* Spread over the range, as a provider's random ids are: a counter would flatter the index. */
    snprintf(sid, sizeof(sid), "SM%08x%.8s%08x%08x", i * 2654435761u, traffic->mark, i, ~i * 2246822519u);
    snprintf(text, sizeof(text),
             "Bonjour, ma commande %.8s%07u n'est pas encore là. Où en est-elle ? Merci d'avance", traffic->mark,
             (unsigned)i);
    fill_fields(traffic, phone, sid, text, fields);
    for (size_t f = 0; f < FIELD_COUNT; f++) {
        form_append(body, fields[f].name, str_view_of(fields[f].value));
        if (ret_signed != NULL) {
            buf_append_text(ret_signed, fields[f].name);
            buf_append_text(ret_signed, fields[f].value);
        }
    }
}

void bench_body(const struct bench_traffic *traffic, uint32_t i, struct buf *buf)
{
    make_body(traffic, i, buf, NULL);
}

void bench_request(const struct bench_traffic *traffic, const char *path, uint32_t i, struct buf *buf)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_len = 0;
    SCOPED_BUF body = { 0 };
    SCOPED_BUF signed_text = { 0 };

    buf_init(&body, BODY_MAX_BYTES);
    buf_init(&signed_text, BODY_MAX_BYTES);
    buf_append_text(&signed_text, traffic->url);
    make_body(traffic, i, &body, &signed_text);
    HMAC(EVP_sha1(), traffic->token, (int)strlen(traffic->token), (const unsigned char *)signed_text.data,
         signed_text.len, mac, &mac_len);
    buf_printf(buf,
               "POST %s HTTP/1.1\r\nHost: bench\r\nUser-Agent: TwilioProxy/1.1\r\nAccept: */*\r\n"
               "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\nContent-Length: %zu\r\n"
               "X-Twilio-Signature: ",
               path, body.len);
    base64_append(buf, mac, mac_len);
    buf_append_text(buf, "\r\n\r\n");
    buf_append_view(buf, buf_view(&body));
}
