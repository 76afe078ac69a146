/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - the context service: who the customer is, and all that was ever said. */
#include "context.h"

int main(int argc, char **argv)
{
    struct context_config config = { 0 };
    struct service service = {
        .name = "context",
        .summary = "Who the customer is, and all that was ever said, on every channel.",
        .config_keys = context_keys,
        .config = &config,
        .stats = context_stats_tables,
        .check_config = context_check_config,
        .check_config_arg = &config,
    };
    struct context *context = NULL;
    struct err err = { 0 };
    int exit_code = 0;

    if (!service_open(&service, argc, argv, &err) || !context_new(&service, &config, &context, &err) ||
        !service_ready(&service, &err))
        exit_code = service_fail(&service, &err);
    else
        service_run(&service);
    context_free(&context);
    service_close(&service);
    return exit_code;
}
