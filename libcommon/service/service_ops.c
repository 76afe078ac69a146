/* SPDX-License-Identifier: Apache-2.0 */
/* service_ops.c - the ops port: is it alive, may it get work, what did it count.
 *
 * /livez asks for nothing but a turn of the loop: a database that is away must not get the process
 * restarted. /readyz asks every check, and names those that fail. */
#include "service/service_private.h"

#include <string.h>

#include "core/json.h"

enum { OPS_ANSWER_MAX_BYTES = 4 << 20 };

const struct stat_info service_stats[] = {
    { "build_info", "Always 1; the version is the label.", STAT_GAUGE, "version" },
};
const size_t service_stats_count = COUNT_OF(service_stats);

static void append_check(struct buf *buf, const char *name, bool is_ok, const struct err *err)
{
    if (buf->data[buf->len - 1] != '{')
        buf_append_char(buf, ',');
    json_append_string(buf, str_view_of(name));
    buf_printf(buf, ":{\"ok\":%s", is_ok ? "true" : "false");
    if (!is_ok) {
        buf_append_text(buf, ",\"error\":");
        json_append_string(buf, str_view_of(err->text));
    }
    buf_append_char(buf, '}');
}

static void reply_ready(struct service_state *state, struct http_exchange *exchange, struct buf *buf)
{
    static const char *const steps[] = {
        [SERVICE_STARTING] = "starting",
        [SERVICE_READY] = "running",
        [SERVICE_DRAINING] = "draining",
        [SERVICE_STOPPED] = "stopped",
    };
    bool is_ready = state->step == SERVICE_READY;

    buf_printf(buf, "{\"state\":\"%s\",\"checks\":{", steps[state->step]);
    for (size_t i = 0; i < state->check_count; i++) {
        const struct service_check *check = &state->checks[i];
        struct err err = { 0 };
        bool is_ok = check->check(check->arg, &err);

        append_check(buf, check->name, is_ok, &err);
        is_ready = is_ready && is_ok;
    }
    buf_printf(buf, "},\"ready\":%s}\n", is_ready ? "true" : "false");
    (void)http_exchange_reply(exchange, is_ready ? 200 : 503, "application/json", buf_view(buf));
}

void service_ops_handle(void *arg, struct http_exchange *exchange)
{
    struct service *service = arg;
    const char *path = http_exchange_path(exchange);
    SCOPED_BUF buf;

    buf_init(&buf, OPS_ANSWER_MAX_BYTES);
    if (strcmp(http_exchange_method(exchange), "GET") != 0) {
        http_exchange_set_header(exchange, "Allow", "GET, HEAD");
        (void)http_exchange_reply(exchange, 405, "text/plain", STR_LITERAL("GET only\n"));
    } else if (strcmp(path, "/livez") == 0) {
        (void)http_exchange_reply(exchange, 200, "text/plain", STR_LITERAL("ok\n"));
    } else if (strcmp(path, "/readyz") == 0) {
        reply_ready(service->state, exchange, &buf);
    } else if (strcmp(path, "/metrics") == 0) {
        stats_print(&buf);
        (void)http_exchange_reply(exchange, 200, "text/plain; version=0.0.4; charset=utf-8", buf_view(&buf));
    } else {
        (void)http_exchange_reply(exchange, 404, "text/plain", STR_LITERAL("/livez, /readyz or /metrics\n"));
    }
}
