/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - the gateway: HTTP and WebSocket for the agents' frontend. */
#include "gateway.h"

int main(int argc, char **argv)
{
    struct gateway_config config = { 0 };
    struct service service = {
        .name = "gateway",
        .summary = "The agents' API: HTTP under /v1, live events on a WebSocket.",
        .config_keys = gateway_keys,
        .config = &config,
        .stats = gateway_stats_tables,
    };
    struct gateway *gateway = NULL;
    struct err err = { 0 };
    int exit_code = 0;

    if (!service_open(&service, argc, argv, &err) || !gateway_new(service.loop, &config, &gateway, &err)) {
        exit_code = service_fail(&service, &err);
    } else {
        gateway_attach(gateway, &service);
        if (service_ready(&service, &err))
            service_run(&service);
        else
            exit_code = service_fail(&service, &err);
    }
    gateway_free(&gateway);
    service_close(&service);
    return exit_code;
}
