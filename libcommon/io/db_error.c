/* SPDX-License-Identifier: Apache-2.0 */
/* db_error.c - PostgreSQL's SQLSTATEs as our kinds of error.
 *
 * Only the primary message is taken: DETAIL repeats the values of a row, and those are
 * people's addresses. What our own functions raise (P0001) names its kind in the HINT. */
#include "io/db_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *prefix;
    enum err_kind kind;
} kinds[] = {
    { "23505", ERR_CONFLICT },    /* unique_violation */
    { "57014", ERR_DEADLINE },    /* query_canceled: the statement time-out */
    { "55P03", ERR_UNAVAILABLE }, /* lock_not_available: the lock time-out; rolled back */
    { "25006", ERR_UNAVAILABLE }, /* read_only_sql_transaction: the primary has just become a standby */
    { "25P03", ERR_UNAVAILABLE }, /* idle_in_transaction_session_timeout: we were stopped */
    { "40001", ERR_UNAVAILABLE }, /* serialization_failure, after the last attempt */
    { "40P01", ERR_UNAVAILABLE }, /* deadlock_detected, likewise */
    { "08", ERR_UNAVAILABLE },    /* connection */
    { "53", ERR_UNAVAILABLE },    /* insufficient resources */
    { "57P", ERR_UNAVAILABLE },   /* shutdown, crash, starting up */
    { "22", ERR_INVALID },        /* data */
    { "23", ERR_INVALID },        /* integrity */
};

static const char *field(const PGresult *result, int code)
{
    const char *text = PQresultErrorField(result, code);

    return text != NULL ? text : "";
}

static enum err_kind kind_of_hint(const char *hint)
{
    for (enum err_kind kind = ERR_INVALID; kind <= ERR_INTERNAL; kind++)
        if (strcmp(err_kind_name(kind), hint) == 0)
            return kind;
    return ERR_INTERNAL;
}

static enum err_kind kind_of(const char *sqlstate)
{
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (strncmp(sqlstate, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
            return kinds[i].kind;
    return sqlstate[0] == '\0' ? ERR_UNAVAILABLE
                               : ERR_INTERNAL; /* without one: libpq's own, the link is gone */
}

/* "a\nb\n" as "a b": one line of a log. */
static void one_line(const char *text, char *ret_text, size_t size)
{
    size_t len = 0;

    for (; *text != '\0' && len + 1 < size; text++) {
        char c = isspace((unsigned char)*text) ? ' ' : *text;

        if (c != ' ' || (len > 0 && ret_text[len - 1] != ' '))
            ret_text[len++] = c;
    }
    while (len > 0 && ret_text[len - 1] == ' ')
        len--;
    ret_text[len] = '\0';
}

void db_error_of(const PGresult *result, const char *place, struct err *err,
                 char ret_sqlstate[DB_SQLSTATE_BYTES])
{
    const char *sqlstate = field(result, PG_DIAG_SQLSTATE);
    const char *message = field(result, PG_DIAG_MESSAGE_PRIMARY);
    char text[ERR_TEXT_BYTES];

    one_line(message[0] != '\0' ? message : PQresultErrorMessage(result), text, sizeof(text));
    snprintf(ret_sqlstate, DB_SQLSTATE_BYTES, "%s", sqlstate);
    if (strcmp(sqlstate, "P0001") == 0) {
        err_set(err, kind_of_hint(field(result, PG_DIAG_MESSAGE_HINT)), "%s", text);
        return;
    }
    err_set(err, kind_of(sqlstate), "%s%s%s", text, sqlstate[0] != '\0' ? ", SQLSTATE " : "", sqlstate);
    if (place != NULL && place[0] != '\0')
        err_at(err, "%s", place);
}

void db_error_of_conn(const PGconn *pg, struct err *err)
{
    char text[ERR_TEXT_BYTES];

    one_line(PQerrorMessage(pg), text, sizeof(text));
    err_set(err, ERR_UNAVAILABLE, "database: %s", text[0] != '\0' ? text : "connection lost");
}

bool db_error_is_passing(const char *sqlstate)
{
    return strcmp(sqlstate, "40001") == 0 || strcmp(sqlstate, "40P01") == 0;
}

/* "cached plan must not change result type" after a migration has no SQLSTATE of its own (0A000 is much else) and
 * its text is translated; so by the place in the server's source. 26000: somebody discarded it. */
bool db_error_is_stale(const PGresult *result)
{
    const char *sqlstate = field(result, PG_DIAG_SQLSTATE);

    return strcmp(sqlstate, "26000") == 0 ||
           (strcmp(sqlstate, "0A000") == 0 &&
            strcmp(field(result, PG_DIAG_SOURCE_FUNCTION), "RevalidateCachedQuery") == 0);
}

bool db_error_check_durable(const char *fsync, const char *full_page_writes, struct err *err)
{
    const char *setting = strcmp(fsync, "on") != 0              ? "fsync"
                          : strcmp(full_page_writes, "on") != 0 ? "full_page_writes"
                                                                : NULL;

    if (setting == NULL)
        return true;
    return err_set(err, ERR_CONFIG,
                   "the database server has %s off: acknowledged messages could be lost; "
                   "turn it on, or set unsafe_allow_fsync_off to accept that",
                   setting);
}
