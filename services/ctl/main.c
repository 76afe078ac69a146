/* SPDX-License-Identifier: Apache-2.0 */
/* guichetctl: finds the command in the table and runs it. */
#include "ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/log.h"

static const char *setting(const char *name, const char *fallback)
{
    const char *value = getenv(name);

    return value != NULL && value[0] != '\0' ? value : fallback;
}

static int usage(FILE *out, int exit_code)
{
    fprintf(out, "usage: guichetctl COMMAND\n\n");
    for (const struct ctl_command *command = ctl_commands; command->words != NULL; command++)
        fprintf(out, "  %-19s %s\n                      %s\n", command->words, command->arguments, command->help);
    return exit_code;
}

/* How many of argv's words the command's name takes; 0: it is another command. */
static int words_match(const char *words, int argc, char **argv)
{
    struct str_view rest = str_view_of(words), word;
    int count = 0;

    while (str_next(&rest, ' ', &word)) {
        if (count >= argc || !str_equal(word, str_view_of(argv[count])))
            return 0;
        count++;
    }
    return count;
}

int main(int argc, char **argv)
{
    struct ctl ctl = {
        .routing = setting("GUICHET_CTL_ROUTING", "tcp://127.0.0.1:7104"),
        .doorbells = setting("GUICHET_CTL_DOORBELLS", "tcp://127.0.0.1:7109"),
        .api = setting("GUICHET_CTL_API", "http://localhost:8080"),
        .provider = setting("GUICHET_CTL_PROVIDER", "http://127.0.0.1:8099"),
    };

    if (argc < 2 || strcmp(argv[1], "--help") == 0)
        return argc < 2 ? usage(stderr, 2) : usage(stdout, 0);
    log_init("guichetctl", LOG_WARN);
    for (const struct ctl_command *command = ctl_commands; command->words != NULL; command++) {
        int words = words_match(command->words, argc - 1, argv + 1);

        if (words > 0)
            return command->run(&ctl, argc - 1 - words, argv + 1 + words);
    }
    fprintf(stderr, "guichetctl: no command '%s'\n", argv[1]);
    return usage(stderr, 2);
}
