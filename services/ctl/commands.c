/* SPDX-License-Identifier: Apache-2.0 */
/* The commands, and what they all need: options, secrets, the mesh. */
#include "ctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guichet/v1/routing.pb-c.h"

const struct ctl_command ctl_commands[] = {
    { "migrate", "--context-database SECRET --routing-database SECRET", "brings both schemas to this version",
      ctl_migrate },
    { "status", "", "each tenant: feed, queues, deliveries, accounts", ctl_status },
    { "audit", "[--tenant T] [--since 24h|TIME] [--until TIME]",
      "is anything missing that was acknowledged? 0: no; 1: yes, and what", ctl_audit },
    { "dead-letters list", "[--tenant T] [--kind K] [--account A] [--state S] [--json]",
      "what was refused for good or failed too often; open ones, newest first", ctl_dead_letters_list },
    { "dead-letters show", "ID [--tenant T] [--json]", "one of them, with its payload", ctl_dead_letters_show },
    { "dead-letters replay", "ID… | --all [--tenant T] [--kind K] [--account A]",
      "tries them again; 65: some stay open", ctl_dead_letters_replay },
    { "dead-letters drop", "ID… [--tenant T]", "they are dealt with otherwise", ctl_dead_letters_drop },
    { "agent add", "LOGIN --tenant T --name N --role R --capacity N --password SECRET [--queues A,B]",
      "makes an agent, or changes one", ctl_agent_add },
    { "agent chat", "--login L --tenant T --password SECRET", "a terminal agent: reads and answers",
      ctl_agent_chat },
    { "tail", "[--tenant T] [--from SEQUENCE] [--until SEQUENCE]", "live events, one JSON line each",
      ctl_tail },
    { "simulate sms", "--from +33… [--media FILE]… [--follow SECONDS] TEXT",
      "a customer texts, by the provider stand-in", ctl_simulate_sms },
    { "spool list", "FOLDER", "what waits in a connector's spool_dir", ctl_spool_list },
    { "spool adopt", "FROM --into FOLDER", "moves what nobody has to another connector's spool_dir",
      ctl_spool_adopt },
    { "provider",
      "--listen H:P --account-sid S --auth-token SECRET --number N --webhook URL [--deliver-to URL] [--url URL]",
      "the SMS provider stand-in of the demo", ctl_provider },
    { NULL, NULL, NULL, NULL },
};

bool ctl_options(int *argc, char **argv, const struct ctl_option *options, struct err *err)
{
    int kept = 0;

    for (int i = 0; i < *argc; i++) {
        const struct ctl_option *option = options;

        if (strncmp(argv[i], "--", 2) != 0) {
            argv[kept++] = argv[i];
            continue;
        }
        while (option->name != NULL && strcmp(option->name, argv[i]) != 0)
            option++;
        if (option->name == NULL)
            return err_set(err, ERR_INVALID, "no option '%s' here", argv[i]);
        if (i + 1 >= *argc)
            return err_set(err, ERR_INVALID, "option '%s' needs a value: %s", argv[i], option->help);
        *option->value = argv[++i];
    }
    *argc = kept;
    return true;
}

static bool secret_from_file(const char *path, char **ret_secret, struct err *err)
{
    char text[4096];
    FILE *file = fopen(path, "r");
    size_t len;

    if (file == NULL)
        return err_set(err, ERR_CONFIG, "secret file '%s': %s", path, strerror(errno));
    len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (text[0] == '\0')
        return err_set(err, ERR_CONFIG, "secret file '%s' is empty", path);
    *ret_secret = str_dup(str_view_of(text));
    return true;
}

bool ctl_secret(const char *reference, char **ret_secret, struct err *err)
{
    const char *value;

    if (reference == NULL)
        return err_set(err, ERR_INVALID, "a secret is missing: give it as file:PATH or env:NAME");
    if (strncmp(reference, "file:", 5) == 0)
        return secret_from_file(reference + 5, ret_secret, err);
    if (strncmp(reference, "env:", 4) != 0)
        return err_set(err, ERR_INVALID, "a secret is given as file:PATH or env:NAME, never as itself");
    value = getenv(reference + 4);
    if (value == NULL || value[0] == '\0')
        return err_set(err, ERR_CONFIG, "environment variable '%s' is not set", reference + 4);
    *ret_secret = str_dup(str_view_of(value));
    return true;
}

bool ctl_mesh(struct ctl *ctl, struct err *err)
{
    const struct mesh_client_options options = {
        .name = "routing",
        .descriptor = &guichet__v1__routing__descriptor,
        .addresses = &ctl->routing,
        .address_count = 1,
        .attempt_timeout_ms = 4000,
    };

    ctl->loop = loop_new();
    if (!mesh_client_new(ctl->loop, &options, &ctl->mesh, err))
        return err_at(err, "routing at '%s'", ctl->routing);
    return true;
}

int ctl_fail(const struct err *err)
{
    fprintf(stderr, "guichetctl: %s\n", err->text);
    return err_exit_code(err->kind);
}

void ctl_end(struct ctl *ctl, int exit_code)
{
    ctl->exit_code = exit_code;
    loop_stop(ctl->loop);
}
