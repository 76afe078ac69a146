/* SPDX-License-Identifier: Apache-2.0 */
/* guichetctl simulate sms: asks the provider stand-in to text as a customer, files included, and shows the answers that
 * come back. */
#include "ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/json.h"

#define FOLLOW_EVERY_MS 500
#define URL_BYTES 512
#define FILES_MAX 10
#define FILE_MAX_BYTES (32 << 20)

struct simulate {
    struct ctl *ctl;
    struct http_client *client;
    const char *from, *text;
    const char *files[FILES_MAX]; /* paths */
    char ids[FILES_MAX][48];      /* of those that the stand-in has */
    size_t file_count, put_count;
    uint64_t seen; /* messages of the stand-in, up to here */
    uint64_t follow_until_ms;
    bool is_texted;
    struct loop_timer *timer;
};

static void on_messages(void *arg, const struct http_result *result);
static void on_file_put(void *arg, const struct http_result *result);

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
    buf_append_text(&body, ",\"media\":[");
    for (size_t i = 0; i < simulate->put_count; i++)
        buf_printf(&body, "%s\"%s\"", i > 0 ? "," : "", simulate->ids[i]);
    buf_append_text(&body, "]}");
    snprintf(url, sizeof url, "%s/simulate", simulate->ctl->provider);
    request.url = url;
    request.body = buf_view(&body);
    request.headers[0] = (struct http_header){ "Content-Type", "application/json" };
    request.header_count = 1;
    http_call_start(simulate->client, &request, on_texted, simulate);
}

/* ---- files: put at the stand-in, one after the other, before the text ---- */

static const char *type_of(const char *path)
{
    static const struct {
        const char *ending, *type;
    } types[] = {
        { ".jpg", "image/jpeg" }, { ".jpeg", "image/jpeg" },     { ".png", "image/png" },
        { ".gif", "image/gif" },  { ".pdf", "application/pdf" }, { ".mp4", "video/mp4" },
        { ".txt", "text/plain" }, { ".vcf", "text/vcard" },      { ".mp3", "audio/mpeg" },
    };
    const char *dot = strrchr(path, '.');

    for (size_t i = 0; dot != NULL && i < COUNT_OF(types); i++)
        if (strcasecmp(dot, types[i].ending) == 0)
            return types[i].type;
    return "application/octet-stream";
}

static bool read_file(const char *path, struct buf *ret_bytes, struct err *err)
{
    FILE *file = fopen(path, "rb");
    char piece[65536];
    size_t len;

    if (file == NULL)
        return err_set(err, ERR_INVALID, "file '%s': %s", path, strerror(errno));
    while ((len = fread(piece, 1, sizeof piece, file)) > 0)
        buf_append(ret_bytes, piece, len);
    fclose(file);
    if (ret_bytes->is_full)
        return err_set(err, ERR_INVALID, "file '%s' is larger than %d bytes", path, FILE_MAX_BYTES);
    return true;
}

static void put_file(struct simulate *simulate)
{
    const char *path = simulate->files[simulate->put_count];
    struct http_client_request request = { .method = "POST", .timeout_ms = 20000 };
    char url[URL_BYTES];
    struct err err = { 0 };
    SCOPED_BUF bytes = { 0 };

    buf_init(&bytes, FILE_MAX_BYTES);
    if (!read_file(path, &bytes, &err)) {
        ctl_end(simulate->ctl, ctl_fail(&err));
        return;
    }
    snprintf(url, sizeof url, "%s/files", simulate->ctl->provider);
    request.url = url;
    request.body = buf_view(&bytes);
    request.headers[0] = (struct http_header){ "Content-Type", type_of(path) };
    request.header_count = 1;
    http_call_start(simulate->client, &request, on_file_put, simulate);
}

static void text_or_put(struct simulate *simulate)
{
    if (simulate->put_count < simulate->file_count)
        put_file(simulate);
    else
        text(simulate);
}

static void on_file_put(void *arg, const struct http_result *result)
{
    struct simulate *simulate = arg;
    SCOPED_JSON value = NULL;
    struct err err = { 0 };
    const char *id = NULL;

    if (result->err.kind == ERR_NONE && result->status == 201 && json_read(result->body, &value, &err))
        id = json_str(value, "id");
    if (id == NULL) {
        fprintf(stderr, "guichetctl: the provider stand-in did not take file '%s': %d %s\n",
                simulate->files[simulate->put_count], result->status, result->err.text);
        ctl_end(simulate->ctl, 1);
        return;
    }
    snprintf(simulate->ids[simulate->put_count++], sizeof simulate->ids[0], "%s", id);
    text_or_put(simulate);
}

/* What the provider read of an answer's files. */
static void print_files(struct json_object *message)
{
    struct json_object *files = json_member(message, "media");

    for (size_t i = 0; json_object_is_type(files, json_type_array) && i < json_object_array_length(files);
         i++) {
        struct json_object *file = json_object_array_get_idx(files, i);
        int64_t size = 0, status = 0;

        (void)json_int(file, "size", &size);
        (void)json_int(file, "status", &status);
        if (status == 200)
            printf("  file: %s, %" PRId64 " bytes, SHA-256 %s\n", json_str(file, "type"), size,
                   json_str(file, "sha256"));
        else
            printf("  file: its link was answered %" PRId64 "\n", status);
    }
}

static void print_answer(struct json_object *message, const char *to, const char *said)
{
    printf("answer to %s: %s\n", to, said);
    print_files(message);
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
            print_answer(message, to, said);
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
        text_or_put(simulate);
    else if (loop_now_ms(simulate->ctl->loop) >= simulate->follow_until_ms)
        ctl_end(simulate->ctl, 0);
    else
        loop_timer_start(simulate->timer, FOLLOW_EVERY_MS, 0);
}

/* --media may come more than once: ctl_options() knows no such option. */
static bool take_files(struct simulate *simulate, int *argc, char **argv, struct err *err)
{
    int kept = 0;

    for (int i = 0; i < *argc; i++) {
        if (strcmp(argv[i], "--media") != 0) {
            argv[kept++] = argv[i];
            continue;
        }
        if (i + 1 >= *argc || simulate->file_count == FILES_MAX)
            return err_set(err, ERR_INVALID, "option '--media' needs a file, %d times at most", FILES_MAX);
        simulate->files[simulate->file_count++] = argv[++i];
    }
    *argc = kept;
    return true;
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

    if (!take_files(&simulate, &argc, argv, &err) || !ctl_options(&argc, argv, options, &err))
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
