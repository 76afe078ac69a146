/* SPDX-License-Identifier: Apache-2.0 */
/* guichetctl provider: a stand-in for an SMS provider, Twilio-style, for the demo and for trying things.
 *
 * It takes what the sms connector sends (basic auth is checked), shows it under /messages, and returns signed
 * receipts "sent" and "delivered" to the StatusCallback. Files of a message are read from their links before; one
 * that cannot be read fails it. POST /simulate {"from":…,"text":…,"media":[…]} makes it send a signed webhook, as if a
 * customer had texted, and answers with what the webhook was answered; its files are put at POST /files before. */
#include "ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/duration.h"
#include "core/id.h"
#include "core/json.h"
#include "io/http_server.h"
#include "provider.h"
#include "provider_media.h"

#define SENT_MAX 200
#define CALL_TIMEOUT_MS 15000
#define RECEIPT_TRIES 20
#define RECEIPT_WAIT_MS 500
#define FORM_MAX_BYTES 65536
#define WEBHOOK_PARAMS_MAX (12 + 2 * PROVIDER_MESSAGE_FILES_MAX)

struct sent {
    uint64_t number;
    char *sid, *to, *text;
    struct provider_seen files[PROVIDER_MESSAGE_FILES_MAX];
    size_t file_count;
    bool is_read; /* its files, where it has some: shown only then */
    int64_t at_us;
};

struct provider {
    struct ctl *ctl;
    struct http_server *server;
    struct http_client *client;
    struct provider_files *files;
    const char *account_sid, *number, *webhook, *deliver_to, *url;
    char *auth_token;
    struct sent sent[SENT_MAX]; /* a ring: number n is at n % SENT_MAX */
    uint64_t sent_count;
};

/* One receipt on its way: tried again until the connector takes it. */
struct receipt {
    struct provider *provider;
    char *url, *sid, *to;
    const char *status, *error_code; /* "": none */
    uint64_t number;                 /* of the message */
    unsigned tries;
    struct loop_timer *timer;
};

/* A webhook on its way; its answer is the answer of /simulate. */
struct simulation {
    struct http_exchange *exchange;
    char sid[40];
};

static void receipt_send(void *arg);

void provider_new_sid(char ret_sid[static 40])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[16];

    random_bytes(bytes, sizeof bytes);
    memcpy(ret_sid, "SM", 2);
    for (size_t i = 0; i < sizeof bytes; i++) {
        ret_sid[2 + 2 * i] = digits[bytes[i] >> 4];
        ret_sid[3 + 2 * i] = digits[bytes[i] & 15];
    }
    ret_sid[34] = '\0';
}

static void post_form(struct provider *provider, const char *sign_url, const char *url,
                      const struct sign_param *params, size_t count, http_done_fn *done, void *arg)
{
    struct http_client_request request = { .method = "POST", .url = url, .timeout_ms = CALL_TIMEOUT_MS };
    SCOPED_BUF form = { 0 }, signature = { 0 };

    buf_init(&form, FORM_MAX_BYTES);
    buf_init(&signature, 256);
    for (size_t i = 0; i < count; i++)
        form_append(&form, params[i].name, str_view_of(params[i].value));
    ctl_sign_form(provider->auth_token, sign_url, params, count, &signature);
    request.body = buf_view(&form);
    request.headers[0] = (struct http_header){ "Content-Type", "application/x-www-form-urlencoded" };
    request.headers[1] = (struct http_header){ "X-Twilio-Signature", buf_text(&signature) };
    request.header_count = 2;
    http_call_start(provider->client, &request, done, arg);
}

/* ---- receipts: sent, then delivered ---- */

static void receipt_free(struct receipt *receipt)
{
    loop_timer_free(&receipt->timer);
    free(receipt->url);
    free(receipt->sid);
    free(receipt->to);
    free(receipt);
}

static void on_receipt(void *arg, const struct http_result *result)
{
    struct receipt *receipt = arg;
    bool is_taken = result->err.kind == ERR_NONE && result->status < 300;

    if (is_taken && strcmp(receipt->status, "sent") == 0) {
        receipt->status = "delivered";
        receipt->tries = 0;
    } else if (is_taken || result->err.kind == ERR_CANCELED || ++receipt->tries >= RECEIPT_TRIES) {
        receipt_free(receipt);
        return;
    }
    loop_timer_start(receipt->timer, RECEIPT_WAIT_MS, 0);
}

static void receipt_send(void *arg)
{
    struct receipt *receipt = arg;
    const struct sign_param params[] = {
        { "AccountSid", receipt->provider->account_sid },
        { "ApiVersion", "2010-04-01" },
        { "From", receipt->provider->number },
        { "MessageSid", receipt->sid },
        { "MessageStatus", receipt->status },
        { "SmsSid", receipt->sid },
        { "SmsStatus", receipt->status },
        { "To", receipt->to },
        { "ErrorCode", receipt->error_code }, /* of a failure only */
    };
    size_t count = COUNT_OF(params) - (receipt->error_code[0] == '\0');

    post_form(receipt->provider, receipt->url, receipt->url, params, count, on_receipt, receipt);
}

/* The message's files are read: it is on its way, or has failed. */
static void on_files_read(void *arg, const struct provider_seen *seen, size_t count)
{
    struct receipt *receipt = arg;
    struct sent *sent = &receipt->provider->sent[receipt->number % SENT_MAX];

    if (sent->number == receipt->number + 1) {
        memcpy(sent->files, seen, count * sizeof *seen);
        sent->file_count = count;
        sent->is_read = true;
    }
    if (seen[count - 1].status != 200) {
        receipt->status = "failed";
        receipt->error_code = "63019";
    }
    loop_timer_start(receipt->timer, RECEIPT_WAIT_MS, 0);
}

static void receipt_start(struct provider *provider, const char *url, const struct sent *sent,
                          const char *const *files, size_t file_count)
{
    struct receipt *receipt = calloc(1, sizeof *receipt);

    if (receipt == NULL)
        abort();
    receipt->provider = provider;
    receipt->number = sent->number - 1;
    receipt->url = str_dup(str_view_of(url));
    receipt->sid = str_dup(str_view_of(sent->sid));
    receipt->to = str_dup(str_view_of(sent->to));
    receipt->status = "sent";
    receipt->error_code = "";
    receipt->timer = loop_timer_new(provider->ctl->loop, receipt_send, receipt);
    if (file_count > 0)
        provider_read_start(provider->client, files, file_count, on_files_read, receipt);
    else
        loop_timer_start(receipt->timer, RECEIPT_WAIT_MS, 0);
}

/* ---- what the connector sends ---- */

static void reply_json(struct http_exchange *exchange, int status, struct buf *body)
{
    http_exchange_reply(exchange, status, "application/json", buf_view(body));
}

static void reply_error(struct http_exchange *exchange, int status, int code, const char *text)
{
    SCOPED_BUF body = { 0 };

    buf_init(&body, 1024);
    buf_printf(&body, "{\"code\":%d,\"message\":", code);
    json_append_string(&body, str_view_of(text));
    buf_printf(&body, ",\"status\":%d}\n", status);
    reply_json(exchange, status, &body);
}

static bool is_authorised(const struct provider *provider, const struct http_exchange *exchange)
{
    const char *header = http_exchange_header(exchange, "Authorization");
    SCOPED_BUF pair = { 0 }, expected = { 0 };

    buf_init(&pair, 1024);
    buf_init(&expected, 2048);
    buf_printf(&pair, "%s:%s", provider->account_sid, provider->auth_token);
    buf_append_text(&expected, "Basic ");
    base64_append(&expected, buf_text(&pair), pair.len);
    return header != NULL && str_equal_secret(str_view_of(header), buf_view(&expected));
}

/* The values of a form's parameter, in the exchange's arena; how many there are. */
static size_t form_params(struct http_exchange *exchange, const char *name, const char **ret_values,
                          size_t max)
{
    struct str_view rest = http_exchange_body(exchange), pair, key;
    size_t count = 0;

    while (count < max && str_next(&rest, '&', &pair)) {
        SCOPED_BUF value = { 0 };

        buf_init(&value, FORM_MAX_BYTES);
        if (str_next(&pair, '=', &key) && str_equal(key, str_view_of(name)) && form_decode(pair, &value))
            ret_values[count++] = arena_dup(http_exchange_arena(exchange), buf_view(&value));
    }
    return count;
}

/* "" when it is not there. */
static const char *form_param(struct http_exchange *exchange, const char *name)
{
    const char *value = "";

    (void)form_params(exchange, name, &value, 1);
    return value;
}

static struct sent *sent_add(struct provider *provider, const char *sid, const char *to, const char *text)
{
    struct sent *sent = &provider->sent[provider->sent_count % SENT_MAX];

    free(sent->sid);
    free(sent->to);
    free(sent->text);
    sent->number = ++provider->sent_count;
    sent->sid = str_dup(str_view_of(sid));
    sent->to = str_dup(str_view_of(to));
    sent->text = str_dup(str_view_of(text));
    sent->file_count = 0;
    sent->at_us = time_now_us();
    return sent;
}

static void handle_send(struct provider *provider, struct http_exchange *exchange)
{
    const char *to = form_param(exchange, "To"), *text = form_param(exchange, "Body");
    const char *callback = form_param(exchange, "StatusCallback"), *files[PROVIDER_MESSAGE_FILES_MAX];
    size_t file_count = form_params(exchange, "MediaUrl", files, COUNT_OF(files));
    struct sent *sent;
    char sid[40];
    SCOPED_BUF body = { 0 };

    if (!is_authorised(provider, exchange)) {
        reply_error(exchange, 401, 20003, "Authenticate");
        return;
    }
    if (to[0] == '\0' || (text[0] == '\0' && file_count == 0)) {
        reply_error(exchange, 400, to[0] == '\0' ? 21604 : 21602,
                    "'To', and 'Body' or 'MediaUrl', are required");
        return;
    }
    provider_new_sid(sid);
    sent = sent_add(provider, sid, to, text);
    sent->is_read = callback[0] == '\0' || file_count == 0;
    if (callback[0] != '\0')
        receipt_start(provider, callback, sent, files, file_count);
    buf_init(&body, 4096);
    buf_printf(&body, "{\"sid\":\"%s\",\"status\":\"queued\",\"num_segments\":\"1\",\"error_code\":null}\n",
               sid);
    reply_json(exchange, 201, &body);
}

static void append_files(struct buf *body, const struct sent *sent)
{
    buf_append_text(body, ",\"media\":[");
    for (size_t i = 0; i < sent->file_count; i++) {
        const struct provider_seen *seen = &sent->files[i];

        buf_printf(body, "%s{\"status\":%d,\"size\":%llu,\"sha256\":\"%s\",\"type\":", i > 0 ? "," : "",
                   seen->status, (unsigned long long)seen->size_bytes, seen->sha256);
        json_append_string(body, str_view_of(seen->content_type));
        buf_append_char(body, '}');
    }
    buf_append_char(body, ']');
}

/* GET /messages?after=N: what was sent to customers, oldest first. */
static void handle_messages(struct provider *provider, struct http_exchange *exchange)
{
    const char *after = http_exchange_param(exchange, "after");
    uint64_t from = after != NULL ? strtoull(after, NULL, 10) : 0;
    SCOPED_BUF body = { 0 };

    buf_init(&body, 1u << 20);
    buf_append_text(&body, "{\"messages\":[");
    if (provider->sent_count > SENT_MAX && from < provider->sent_count - SENT_MAX)
        from = provider->sent_count - SENT_MAX;
    for (uint64_t n = from; n < provider->sent_count; n++) {
        const struct sent *sent = &provider->sent[n % SENT_MAX];

        if (!sent->is_read)
            break;
        buf_printf(&body, "%s{\"number\":%llu,\"to\":", n > from ? "," : "",
                   (unsigned long long)sent->number);
        json_append_string(&body, str_view_of(sent->to));
        buf_append_text(&body, ",\"text\":");
        json_append_string(&body, str_view_of(sent->text));
        append_files(&body, sent);
        buf_append_char(&body, '}');
    }
    buf_append_text(&body, "]}\n");
    reply_json(exchange, 200, &body);
}

/* ---- a customer texts ---- */

static void on_webhook(void *arg, const struct http_result *result)
{
    struct simulation *simulation = arg;
    struct http_exchange *exchange = simulation->exchange;
    SCOPED_BUF body = { 0 };

    buf_init(&body, 4096);
    if (result->err.kind != ERR_NONE)
        buf_printf(&body, "{\"sid\":\"%s\",\"status\":0,\"error\":", simulation->sid);
    else
        buf_printf(&body, "{\"sid\":\"%s\",\"status\":%d,\"error\":", simulation->sid, result->status);
    json_append_string(&body, str_view_of(result->err.kind != ERR_NONE ? result->err.text : ""));
    buf_append_text(&body, "}\n");
    free(simulation);
    reply_json(exchange, 200, &body);
}

/* Appends MediaUrl and MediaContentType of each file. false: one is not here. */
static bool add_files(struct provider *provider, struct http_exchange *exchange, struct json_object *files,
                      struct sign_param *params, size_t *count)
{
    struct arena *arena = http_exchange_arena(exchange);

    for (size_t i = 0; files != NULL && i < json_object_array_length(files); i++) {
        const char *id = json_object_get_string(json_object_array_get_idx(files, i));
        const char *type = id != NULL ? provider_files_type(provider->files, id) : NULL;

        if (type == NULL || i >= PROVIDER_MESSAGE_FILES_MAX)
            return false;
        params[(*count)++] =
            (struct sign_param){ arena_printf(arena, "MediaContentType%zu", i), arena_strdup(arena, type) };
        params[(*count)++] =
            (struct sign_param){ arena_printf(arena, "MediaUrl%zu", i),
                                 arena_printf(arena, "%s/2010-04-01/Accounts/%s/Messages/MM/Media/%s",
                                              provider->url, provider->account_sid, id) };
    }
    return true;
}

static void webhook_send(struct provider *provider, struct http_exchange *exchange, const char *from,
                         const char *text, struct json_object *files)
{
    struct simulation *simulation = calloc(1, sizeof *simulation);
    size_t file_count = files != NULL ? json_object_array_length(files) : 0;

    if (simulation == NULL)
        abort();
    simulation->exchange = exchange;
    provider_new_sid(simulation->sid);
    struct sign_param params[WEBHOOK_PARAMS_MAX] = {
        { "AccountSid", provider->account_sid },
        { "ApiVersion", "2010-04-01" },
        { "Body", text },
        { "From", from },
        { "MessageSid", simulation->sid },
        { "NumMedia", arena_printf(http_exchange_arena(exchange), "%zu", file_count) },
        { "NumSegments", "1" },
        { "SmsMessageSid", simulation->sid },
        { "SmsSid", simulation->sid },
        { "SmsStatus", "received" },
        { "To", provider->number },
    };
    size_t count = 11;

    if (!add_files(provider, exchange, files, params, &count)) {
        free(simulation);
        reply_error(exchange, 400, 0, "a file of 'media' is not here, or there are too many");
        return;
    }
    post_form(provider, provider->webhook, provider->deliver_to, params, count, on_webhook, simulation);
}

/* POST /files: the body is one; answers with its id, for /simulate. */
static void handle_file(struct provider *provider, struct http_exchange *exchange)
{
    const char *type = http_exchange_header(exchange, "Content-Type");
    SCOPED_BUF body = { 0 };

    buf_init(&body, 256);
    buf_printf(&body, "{\"id\":\"%s\"}\n",
               provider_files_add(provider->files, type != NULL ? type : "application/octet-stream",
                                  http_exchange_body(exchange)));
    reply_json(exchange, 201, &body);
}

static void handle_simulate(struct provider *provider, struct http_exchange *exchange)
{
    struct err err = { 0 };
    SCOPED_JSON value = NULL;
    struct json_object *files = NULL;

    if (!json_read(http_exchange_body(exchange), &value, &err)) {
        reply_error(exchange, 400, 0, err.text);
    } else if (json_str(value, "from") == NULL || json_str(value, "text") == NULL) {
        reply_error(exchange, 400, 0, "'from' and 'text' are required");
    } else {
        files = json_member(value, "media");
        webhook_send(provider, exchange, json_str(value, "from"), json_str(value, "text"),
                     json_object_is_type(files, json_type_array) ? files : NULL);
    }
}

static void on_request(void *arg, struct http_exchange *exchange)
{
    struct provider *provider = arg;
    const char *path = http_exchange_path(exchange), *method = http_exchange_method(exchange);
    char *send_path = arena_printf(http_exchange_arena(exchange), "/2010-04-01/Accounts/%s/Messages.json",
                                   provider->account_sid);

    if (strcmp(method, "POST") == 0 && strcmp(path, send_path) == 0)
        handle_send(provider, exchange);
    else if (strcmp(method, "GET") == 0 && strcmp(path, "/messages") == 0)
        handle_messages(provider, exchange);
    else if (strcmp(method, "POST") == 0 && strcmp(path, "/simulate") == 0)
        handle_simulate(provider, exchange);
    else if (strcmp(method, "POST") == 0 && strcmp(path, "/files") == 0)
        handle_file(provider, exchange);
    else if (!provider_files_serve(provider->files, exchange, is_authorised(provider, exchange)))
        reply_error(exchange, 404, 20404, "there is nothing at this path");
}

/* ---- the command ---- */

static void on_signal(void *arg)
{
    ctl_end(arg, 0);
}

static bool provider_open(struct provider *provider, const char *listen, struct err *err)
{
    const struct http_client_options client = {
        .allow_private_addresses = true,
        .allow_plain_http = true,
        .user_agent = "TwilioProxy/1.1",
    };
    const struct http_server_options server = {
        .name = "provider",
        .listen = listen,
        .handler = on_request,
        .arg = provider,
        .answer_timeout_ms = 20000,
        .body_max_bytes = PROVIDER_FILE_MAX_BYTES,
    };

    provider->ctl->loop = loop_new();
    loop_on_signals(provider->ctl->loop, on_signal, NULL, provider->ctl);
    provider->client = http_client_new(provider->ctl->loop, &client);
    provider->files = provider_files_new();
    return http_server_new(provider->ctl->loop, &server, &provider->server, err);
}

static void provider_close(struct provider *provider)
{
    http_client_free(&provider->client);
    http_server_free(&provider->server);
    provider_files_free(&provider->files);
    for (size_t i = 0; i < SENT_MAX; i++) {
        free(provider->sent[i].sid);
        free(provider->sent[i].to);
        free(provider->sent[i].text);
    }
    free(provider->auth_token);
    loop_free(&provider->ctl->loop);
}

int ctl_provider(struct ctl *ctl, int argc, char **argv)
{
    struct provider provider = { .ctl = ctl };
    const char *listen = "127.0.0.1:8099", *token = NULL;
    char url[256];
    const struct ctl_option options[] = {
        { "--listen", &listen, "host:port" },
        { "--account-sid", &provider.account_sid, "the account's SID" },
        { "--auth-token", &token, "its token, as file: or env:" },
        { "--number", &provider.number, "the business's number" },
        { "--webhook", &provider.webhook, "the webhook's public URL: what is signed" },
        { "--deliver-to", &provider.deliver_to, "where to post it, when that is another address" },
        { "--url", &provider.url, "where the connector reaches it: files' URLs begin with it" },
        { NULL, NULL, NULL },
    };
    struct err err = { 0 };

    if (!ctl_options(&argc, argv, options, &err))
        return ctl_fail(&err);
    snprintf(url, sizeof url, "http://%s", listen);
    if (provider.url == NULL)
        provider.url = url;
    if (provider.account_sid == NULL || provider.number == NULL || provider.webhook == NULL)
        return err_set(&err, ERR_INVALID, "provider needs --account-sid, --number and --webhook"),
               ctl_fail(&err);
    if (provider.deliver_to == NULL)
        provider.deliver_to = provider.webhook;
    if (!ctl_secret(token, &provider.auth_token, &err) || !provider_open(&provider, listen, &err))
        return ctl_fail(&err);
    loop_run(ctl->loop);
    provider_close(&provider);
    return ctl->exit_code;
}
