/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - guichet-routing: who answers, and in which order things happened. */
#include "routing.h"

int main(int argc, char **argv)
{
    struct routing_config config = { 0 };
    struct service service = {
        .name = "routing",
        .summary = "Takes events in, decides who answers, hands answers out, keeps the event log.",
        .config_keys = routing_keys,
        .config = &config,
        .check_config = routing_config_check,
        .check_config_arg = &config,
        .stats = routing_stats_tables,
    };
    struct routing *routing = NULL;
    struct err err = { 0 };
    int exit_code = 0;

    if (!service_open(&service, argc, argv, &err) || !routing_new(&routing, &service, &config, &err) ||
        !service_ready(&service, &err))
        exit_code = service_fail(&service, &err);
    else
        service_run(&service);

    routing_free(&routing);
    service_close(&service);
    return exit_code;
}
