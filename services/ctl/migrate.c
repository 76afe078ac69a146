/* SPDX-License-Identifier: Apache-2.0 */
/* guichetctl migrate: both schemas, each under its own advisory lock; safe to run again, and twice at once. */
#include "ctl.h"

#include <stdio.h>
#include <stdlib.h>

#include "io/db.h"

extern const struct db_migration context_migrations[];
extern const size_t context_migration_count;
extern const struct db_migration routing_migrations[];
extern const size_t routing_migration_count;

static bool migrate_schema(const char *schema, const char *reference, const struct db_migration *migrations,
                           size_t count, struct err *err)
{
    char *conninfo = NULL;
    uint32_t applied = 0;
    bool ok;

    if (!ctl_secret(reference, &conninfo, err))
        return err_at(err, "database of schema %s", schema);
    ok = db_migrate(conninfo, schema, migrations, count, &applied, err);
    free(conninfo);
    if (!ok)
        return err_at(err, "schema %s", schema);
    printf("schema %s is at %u (%u applied now)\n", schema, migrations[count - 1].number, applied);
    return true;
}

int ctl_migrate(struct ctl *ctl, int argc, char **argv)
{
    const char *context = NULL, *routing = NULL;
    const struct ctl_option options[] = {
        { "--context-database", &context, "the database of the context service, as file: or env:" },
        { "--routing-database", &routing, "the database of the routing service, as file: or env:" },
        { NULL, NULL, NULL },
    };
    struct err err = { 0 };

    (void)ctl;
    if (!ctl_options(&argc, argv, options, &err) ||
        !migrate_schema("context", context, context_migrations, context_migration_count, &err) ||
        !migrate_schema("routing", routing, routing_migrations, routing_migration_count, &err))
        return ctl_fail(&err);
    return 0;
}
