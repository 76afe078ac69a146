/* SPDX-License-Identifier: Apache-2.0 */
/* guichetctl agent add: makes an agent, or changes the one with that login. */
#include "ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guichet/v1/routing.pb-c.h"

#define QUEUES_MAX 64

static void on_agent(const Guichet__V1__PutAgentReply *reply, void *arg)
{
    struct ctl *ctl = arg;

    if (reply == NULL) {
        ctl_end(ctl, ctl_fail(mesh_err()));
        return;
    }
    printf("agent %s of tenant %s %s\n", reply->agent->login, reply->agent->tenant,
           reply->is_new ? "made" : "changed");
    ctl_end(ctl, 0);
}

static bool role_parse(const char *text, Guichet__V1__Role *ret_role, struct err *err)
{
    static const struct {
        const char *name;
        Guichet__V1__Role role;
    } roles[] = {
        { "agent", GUICHET__V1__ROLE__ROLE_AGENT },
        { "supervisor", GUICHET__V1__ROLE__ROLE_SUPERVISOR },
        { "admin", GUICHET__V1__ROLE__ROLE_ADMIN },
    };

    for (size_t i = 0; i < COUNT_OF(roles); i++) {
        if (strcmp(text, roles[i].name) == 0) {
            *ret_role = roles[i].role;
            return true;
        }
    }
    return err_set(err, ERR_INVALID, "role '%s' is none of agent, supervisor, admin", text);
}

static size_t split_queues(char *text, char **queues)
{
    size_t count = 0;

    for (char *name = strtok(text, ","); name != NULL && count < QUEUES_MAX; name = strtok(NULL, ","))
        queues[count++] = name;
    return count;
}

int ctl_agent_add(struct ctl *ctl, int argc, char **argv)
{
    const char *tenant = "demo", *name = NULL, *role = "agent", *capacity = "5", *password = NULL,
               *queues = "";
    const struct ctl_option options[] = {
        { "--tenant", &tenant, "the tenant's name" },
        { "--name", &name, "the name customers see" },
        { "--role", &role, "agent, supervisor or admin" },
        { "--capacity", &capacity, "conversations at once" },
        { "--password", &password, "as file: or env:" },
        { "--queues", &queues, "names, with commas; none: all of the tenant's" },
        { NULL, NULL, NULL },
    };
    Guichet__V1__PutAgentRequest request = GUICHET__V1__PUT_AGENT_REQUEST__INIT;
    char *secret = NULL, *queue_names[QUEUES_MAX], queue_text[1024];
    struct err err = { 0 };

    if (!ctl_options(&argc, argv, options, &err))
        return ctl_fail(&err);
    if (argc != 1)
        return err_set(&err, ERR_INVALID, "agent add needs one login"), ctl_fail(&err);
    if (!role_parse(role, &request.role, &err) || !ctl_secret(password, &secret, &err) ||
        !ctl_mesh(ctl, &err)) {
        free(secret);
        return ctl_fail(&err);
    }
    snprintf(queue_text, sizeof queue_text, "%s", queues);
    request.tenant = (char *)tenant;
    request.login = argv[0];
    request.display_name = (char *)(name != NULL ? name : argv[0]);
    request.password = secret;
    request.capacity = (uint32_t)strtoul(capacity, NULL, 10);
    request.queues = queue_names;
    request.n_queues = split_queues(queue_text, queue_names);
    guichet__v1__routing__put_agent(
        mesh_client_call(ctl->mesh, &(struct mesh_call){ .tenant = tenant, .timeout_ms = 10000 }), &request,
        on_agent, ctl);
    loop_run(ctl->loop);
    free(secret);
    mesh_client_free(&ctl->mesh);
    loop_free(&ctl->loop);
    return ctl->exit_code;
}
