/* SPDX-License-Identifier: Apache-2.0 */
/* service_options.c - the command line of every service, its settings, and what --describe says of them.
 *
 * The Markdown goes into the service's README, and the tests compare: so it is made from the tables
 * that parse and count, and from nothing else. */
#include "service/service_private.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/mesh.h"
#include "ops/failpoint.h"

enum { DESCRIBE_MAX_BYTES = 1 << 20, SKELETON_TABLES = 4 };

static const struct config_key skeleton_keys[] = {
    { CONFIG_AT(service_config, log_level), .type = CONFIG_STR, .flags = CONFIG_RELOADABLE,
      .fallback = "info", .help = "debug, info, warn or error." },
    { CONFIG_AT(service_config, ops_listen), .type = CONFIG_STR, .flags = CONFIG_REQUIRED,
      .help = "Address of the ops port: /livez, /readyz, /metrics." },
    { CONFIG_AT(service_config, drain_timeout_ms), .type = CONFIG_MS, .fallback = "8s", .max = 600000,
      .help = "How long SIGTERM waits for what is under way." },
    { CONFIG_AT(service_config, loop_turn_max_ms), .type = CONFIG_MS, .fallback = "50ms", .min = 1,
      .max = 60000, .help = "A turn of the event loop that is longer is logged and counted." },
};

bool service_parse_options(const struct service *service, int argc, char **argv,
                           struct service_options *ret_options, struct err *err)
{
    static const struct option names[] = {
        { "config", required_argument, NULL, 'c' },
        { "check", no_argument, NULL, 'k' },
        { "healthcheck", no_argument, NULL, 'r' },
        { "describe", no_argument, NULL, 'd' },
        { "version", no_argument, NULL, 'v' },
        { "failpoints", no_argument, NULL, 'f' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    struct service_options options = { 0 };
    int letter;

    (void)service;
    optind = 1;
    opterr = 0;
    while ((letter = getopt_long(argc, argv, ":", names, NULL)) != -1) {
        switch (letter) {
        case 'c':
            options.config_path = optarg;
            break;
        case 'k':
            options.is_check = true;
            break;
        case 'r':
            options.is_healthcheck = true;
            break;
        case 'd':
            options.is_describe = true;
            break;
        case 'v':
            options.is_version = true;
            break;
        case 'f':
            options.is_failpoints = true;
            break;
        case 'h':
            options.is_help = true;
            break;
        case ':':
            return err_set(err, ERR_CONFIG, "option '%s' needs a value", argv[optind - 1]);
        default:
            return err_set(err, ERR_CONFIG, "option '%s' is unknown; see --help", argv[optind - 1]);
        }
    }
    if (optind < argc)
        return err_set(err, ERR_CONFIG, "argument '%s' is not expected; see --help", argv[optind]);
    *ret_options = options;
    return true;
}

static size_t count_keys(const struct config_key *keys)
{
    size_t count = 0;

    while (keys != NULL && keys[count].name != NULL)
        count++;
    return count;
}

static bool has_key(const struct config_key *keys, const char *name)
{
    for (; keys != NULL && keys->name != NULL; keys++)
        if (strcmp(keys->name, name) == 0)
            return true;
    return false;
}

struct config_key *service_merge_keys(const struct config_key *own)
{
    size_t own_count = count_keys(own);
    struct config_key *merged = calloc(COUNT_OF(skeleton_keys) + own_count + 1, sizeof(*merged));
    size_t count = 0;

    if (merged == NULL)
        abort();
    for (size_t i = 0; i < COUNT_OF(skeleton_keys); i++)
        if (!has_key(own, skeleton_keys[i].name))
            merged[count++] = skeleton_keys[i];
    if (own_count > 0)
        memcpy(merged + count, own, own_count * sizeof(*own));
    return merged;
}

size_t service_config_bytes(const struct config_key *keys)
{
    size_t bytes = 0;

    for (; keys->name != NULL; keys++) {
        size_t end = keys->offset + sizeof(struct config_list); /* the largest of the types */

        bytes = end > bytes ? end : bytes;
    }
    return bytes;
}

/* What every service has, besides its own. */
static void list_skeleton_tables(struct service_stats_table ret_tables[SKELETON_TABLES])
{
    ret_tables[0] = (struct service_stats_table){ "mesh", mesh_stats, mesh_stats_count };
    ret_tables[1] = (struct service_stats_table){ "http_server", http_server_stats, http_server_stats_count };
    ret_tables[2] = (struct service_stats_table){ "loop", loop_stats, loop_stats_count };
    ret_tables[3] = (struct service_stats_table){ "service", service_stats, service_stats_count };
}

static size_t add_stats(struct stat_info *infos, size_t used, const struct service_stats_table *table)
{
    memcpy(infos + used, table->infos, table->count * sizeof(*infos));
    return used + table->count;
}

static void describe_stats(const struct service *service, struct buf *buf)
{
    struct service_stats_table tables[SKELETON_TABLES];
    const struct service_stats_table *own;
    struct stat_info *infos;
    size_t count = 0, used = 0;

    list_skeleton_tables(tables);
    for (own = service->stats; own != NULL && own->module != NULL; own++)
        count += own->count;
    for (size_t i = 0; i < SKELETON_TABLES; i++)
        count += tables[i].count;
    infos = calloc(count, sizeof(*infos));
    if (infos == NULL)
        abort();
    for (own = service->stats; own != NULL && own->module != NULL; own++)
        used = add_stats(infos, used, own);
    for (size_t i = 0; i < SKELETON_TABLES; i++)
        used = add_stats(infos, used, &tables[i]);
    stats_describe(infos, used, buf);
    free(infos);
}

static void describe(const struct service *service, const struct config_key *keys)
{
    SCOPED_BUF buf;

    buf_init(&buf, DESCRIBE_MAX_BYTES);
    buf_printf(&buf, "# guichet-%s\n\n%s\n\n## Settings\n\n", service->name,
               service->summary ? service->summary : "");
    config_describe(service->name, keys, &buf);
    buf_append_text(&buf, "\n## Metrics\n\n");
    describe_stats(service, &buf);
    fwrite(buf_text(&buf), 1, buf.len, stdout);
}

static void help(const struct service *service)
{
    printf("guichet-%s: %s\n\n"
           "  --config FILE   settings (YAML); each can be overridden by the environment\n"
           "  --check         read the settings, say whether they are right, and end\n"
           "  --healthcheck   ask the running service, on its ops port, whether it is ready: 0 yes, 1 no\n"
           "  --describe      settings and metrics as Markdown\n"
           "  --failpoints    the places where a test build can be made to fail\n"
           "  --version       the version\n",
           service->name, service->summary ? service->summary : "");
}

bool service_answer_options(const struct service *service, const struct service_options *options,
                            const struct config_key *keys)
{
    if (options->is_describe)
        describe(service, keys);
    else if (options->is_version)
        printf("guichet-%s %s\n", service->name, GUICHET_VERSION);
    else if (options->is_failpoints)
        failpoint_print_all();
    else if (options->is_help)
        help(service);
    else
        return false;
    return true;
}
