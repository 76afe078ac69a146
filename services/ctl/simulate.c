/* SPDX-License-Identifier: Apache-2.0 */
/* guichetctl simulate sms: asks the provider stand-in to text as a customer, and shows the answers that come back. */
#include "ctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"

#define FOLLOW_EVERY_MS 500
#define URL_BYTES 512

struct simulate {
    struct ctl *ctl;
    struct http_client *client;
    const char *from, *text;
    uint64_t seen; /* messages of the stand-in, up to here */
    uint64_t follow_until_ms;
    bool is_texted;
    struct loop_timer *timer;
};

static void on_messages(void *arg, const struct http_result *result);

static void fetch_messages(void *arg)
{
    struct simulate *simulate = arg;
    char url[URL_BYTES];
    const struct http_client_request request = { .method = "GET", .url = url, .timeout_ms = 5000 };

    snprintf(url, sizeof url, "%s/messages?after=%" PRIu64, simulate->ctl->provider, simulate->seen);
    http_call_start(simulate->client, &request, on_messages, simulate);
}

static void on_texted(void *arg, const struct http_result *result)
{
    struct simulate *simulate = arg;
    SCOPED_JSON value = NULL;
    int64_t status = 0;
    struct err err = { 0 };

    if (result->err.kind != ERR_NONE) {
        fprintf(stderr, "guichetctl: the provider stand-in at %s: %s\n", simulate->ctl->provider,
                result->err.text);
        ctl_end(simulate->ctl, err_exit_code(result->err.kind));
        return;
    }
    if (!json_read(result->body, &value, &err) || !json_int(value, "status", &status) || status < 200 ||
        status > 299) {
        fprintf(stderr, "guichetctl: the webhook was answered %d %s\n", (int)status,
                value != NULL && json_str(value, "error") != NULL ? json_str(value, "error") : err.text);
        ctl_end(simulate->ctl, 1);
        return;
    }
    printf("%s: %s\n", simulate->from, simulate->text);
    fflush(stdout);
    simulate->is_texted = true;
    if (simulate->follow_until_ms == 0)
        ctl_end(simulate->ctl, 0);
    else
        loop_timer_start(simulate->timer, FOLLOW_EVERY_MS, 0);
}

static void text(struct simulate *simulate)
{
    struct http_client_request request = { .method = "POST", .timeout_ms = 20000 };
    char url[URL_BYTES];
    SCOPED_BUF body = { 0 };

    buf_init(&body, 65536);
    buf_append_text(&body, "{\"from\":");
    json_append_string(&body, str_view_of(simulate->from));
    buf_append_text(&body, ",\"text\":");
    json_append_string(&body, str_view_of(simulate->text));
    buf_append_char(&body, '}');
    snprintf(url, sizeof url, "%s/simulate", simulate->ctl->provider);
    request.url = url;
    request.body = buf_view(&body);
    request.headers[0] = (struct http_header){ "Content-Type", "application/json" };
    request.header_count = 1;
    http_call_start(simulate->client, &request, on_texted, simulate);
}

static void print_messages(struct simulate *simulate, struct json_object *messages)
{
    for (size_t i = 0; i < json_object_array_length(messages); i++) {
        struct json_object *message = json_object_array_get_idx(messages, i);
        const char *to = json_str(message, "to"), *said = json_str(message, "text");
        int64_t number = 0;

        if (json_int(message, "number", &number))
            simulate->seen = (uint64_t)number;
        if (simulate->is_texted && to != NULL && said != NULL && strcmp(to, simulate->from) == 0)
            printf("answer to %s: %s\n", to, said);
    }
    fflush(stdout);
}

/* The first look only learns where the list ends; then the customer texts; then answers are shown. */
static void on_messages(void *arg, const struct http_result *result)
{
    struct simulate *simulate = arg;
    SCOPED_JSON value = NULL;
    struct err err = { 0 };

    if (result->err.kind == ERR_NONE && json_read(result->body, &value, &err)) {
        struct json_object *messages = json_member(value, "messages");

        if (messages != NULL && json_object_is_type(messages, json_type_array))
            print_messages(simulate, messages);
    } else if (!simulate->is_texted) {
        fprintf(stderr, "guichetctl: the provider stand-in at %s: %s\n", simulate->ctl->provider,
                result->err.kind != ERR_NONE ? result->err.text : err.text);
        ctl_end(simulate->ctl, 69);
        return;
    }
    if (!simulate->is_texted)
        text(simulate);
    else if (loop_now_ms(simulate->ctl->loop) >= simulate->follow_until_ms)
        ctl_end(simulate->ctl, 0);
    else
        loop_timer_start(simulate->timer, FOLLOW_EVERY_MS, 0);
}

int ctl_simulate_sms(struct ctl *ctl, int argc, char **argv)
{
    struct simulate simulate = { .ctl = ctl };
    const struct http_client_options client = { .allow_private_addresses = true, .allow_plain_http = true };
    const char *follow = "0";
    const struct ctl_option options[] = {
        { "--from", &simulate.from, "the customer's number, E.164" },
        { "--follow", &follow, "how many seconds to wait for answers" },
        { NULL, NULL, NULL },
    };
    struct err err = { 0 };

    if (!ctl_options(&argc, argv, options, &err))
        return ctl_fail(&err);
    if (simulate.from == NULL || argc != 1)
        return err_set(&err, ERR_INVALID, "simulate sms needs --from and one text"), ctl_fail(&err);
    simulate.text = argv[0];
    ctl->loop = loop_new();
    if (strtoul(follow, NULL, 10) > 0)
        simulate.follow_until_ms = loop_now_ms(ctl->loop) + 1000 * strtoul(follow, NULL, 10);
    simulate.client = http_client_new(ctl->loop, &client);
    simulate.timer = loop_timer_new(ctl->loop, fetch_messages, &simulate);
    fetch_messages(&simulate);
    loop_run(ctl->loop);
    loop_timer_free(&simulate.timer);
    http_client_free(&simulate.client);
    loop_free(&ctl->loop);
    return ctl->exit_code;
}
