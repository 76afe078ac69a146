/* SPDX-License-Identifier: Apache-2.0 */
/* db_conninfo.c - where the server is: the operator's words, ours added, names turned into addresses.
 *
 * libpq resolves names inside PQconnectStart, which would block the loop; so names are
 * resolved on the worker and handed over as `hostaddr`. A name with several addresses
 * becomes several hosts, which libpq then tries in turn, as it would have done itself. */
#include "io/db_internal.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#define HOSTS_MAX_BYTES 8192

/* A dead peer is noticed within 15 s; Kerberos is off because looking for a ticket cache can block. */
static const struct {
    const char *keyword, *value;
} defaults[] = {
    { "keepalives", "1" },
    { "keepalives_idle", "30" },
    { "keepalives_interval", "10" },
    { "keepalives_count", "3" },
    { "tcp_user_timeout", "15000" },
    { "gssencmode", "disable" },
    { "target_session_attrs", "read-write" },
};

const char *db_conninfo_get(const struct db_conninfo *info, const char *keyword)
{
    for (size_t i = 0; i < info->count; i++)
        if (strcmp(info->keywords[i], keyword) == 0)
            return info->values[i];
    return "";
}

void db_conninfo_set(struct db_conninfo *info, const char *keyword, const char *value)
{
    for (size_t i = 0; i < info->count; i++) {
        if (strcmp(info->keywords[i], keyword) == 0) {
            free(info->values[i]);
            info->values[i] = str_dup(str_view_of(value));
            return;
        }
    }
    if (info->count == DB_CONNINFO_MAX)
        return; /* libpq knows some fifty keywords */
    info->keywords[info->count] = str_dup(str_view_of(keyword));
    info->values[info->count++] = str_dup(str_view_of(value));
}

static void set_default(struct db_conninfo *info, const char *keyword, const char *value)
{
    if (db_conninfo_get(info, keyword)[0] == '\0')
        db_conninfo_set(info, keyword, value);
}

bool db_conninfo_parse(const char *text, const char *application, struct db_conninfo *ret_info,
                       struct err *err)
{
    char *message = NULL;
    PQconninfoOption *options = PQconninfoParse(text, &message);

    *ret_info = (struct db_conninfo){ 0 };
    if (options == NULL) {
        /* libpq's own message may repeat the password. */
        PQfreemem(message);
        return err_set(err, ERR_CONFIG,
                       "database: not a connection string (postgresql://… or key=value words)");
    }
    for (const PQconninfoOption *option = options; option->keyword != NULL; option++)
        if (option->val != NULL)
            db_conninfo_set(ret_info, option->keyword, option->val);
    PQconninfoFree(options);
    for (size_t i = 0; i < COUNT_OF(defaults); i++)
        set_default(ret_info, defaults[i].keyword, defaults[i].value);
    db_conninfo_set(ret_info, "client_encoding", "UTF8");
    if (application != NULL)
        set_default(ret_info, "application_name", application);
    return true;
}

void db_conninfo_done(struct db_conninfo *info)
{
    for (size_t i = 0; i < info->count; i++) {
        free(info->keywords[i]);
        free(info->values[i]);
    }
    *info = (struct db_conninfo){ 0 };
}

void db_conninfo_copy(const struct db_conninfo *info, struct db_conninfo *ret_info)
{
    *ret_info = (struct db_conninfo){ 0 };
    for (size_t i = 0; i < info->count; i++)
        db_conninfo_set(ret_info, info->keywords[i], info->values[i]);
}

PGconn *db_conninfo_connect(const struct db_conninfo *info)
{
    return PQconnectdbParams((const char *const *)info->keywords, (const char *const *)info->values, 0);
}

/* The index-th piece of a comma-separated list; a list of one serves all. */
static struct str_view list_piece(const char *list, size_t index)
{
    struct str_view rest = str_view_of(list);
    struct str_view piece = { "", 0 };

    if (strchr(list, ',') == NULL)
        return rest;
    for (size_t i = 0; i <= index; i++)
        if (!str_next(&rest, ',', &piece))
            return (struct str_view){ "", 0 };
    return piece;
}

static bool is_name(struct str_view host)
{
    char text[NI_MAXHOST];
    unsigned char address[sizeof(struct in6_addr)];

    if (host.len == 0 || host.len >= sizeof(text) || host.data[0] == '/' || host.data[0] == '@')
        return false; /* a Unix socket, or libpq's own default */
    memcpy(text, host.data, host.len);
    text[host.len] = '\0';
    return inet_pton(AF_INET, text, address) != 1 && inet_pton(AF_INET6, text, address) != 1;
}

bool db_conninfo_has_names(const struct db_conninfo *info)
{
    const char *hosts = db_conninfo_get(info, "host");
    struct str_view rest = str_view_of(hosts), host;

    if (db_conninfo_get(info, "hostaddr")[0] != '\0')
        return false; /* the operator did it */
    while (str_next(&rest, ',', &host))
        if (is_name(host))
            return true;
    return false;
}

struct host_lists {
    struct buf host, hostaddr, port;
    bool is_empty;
};

static void add_host(struct host_lists *lists, struct str_view host, const char *address,
                     struct str_view port)
{
    if (!lists->is_empty) {
        buf_append_char(&lists->host, ',');
        buf_append_char(&lists->hostaddr, ',');
        buf_append_char(&lists->port, ',');
    }
    lists->is_empty = false;
    buf_append_view(&lists->host, host);
    buf_append_text(&lists->hostaddr, address);
    buf_append_view(&lists->port, port);
}

static bool add_addresses(struct host_lists *lists, struct str_view host, struct str_view port,
                          struct err *err)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    char address[NI_MAXHOST];
    char *name;
    int rc;

    if (!is_name(host)) {
        add_host(lists, host, "", port);
        return true;
    }
    name = str_dup(host);
    rc = getaddrinfo(name, NULL, &hints, &found);
    if (rc != 0)
        err_set(err, ERR_UNAVAILABLE, "cannot resolve database host '%s': %s", name, gai_strerror(rc));
    free(name);
    if (rc != 0)
        return false;
    for (const struct addrinfo *item = found; item != NULL; item = item->ai_next)
        if (getnameinfo(item->ai_addr, item->ai_addrlen, address, sizeof(address), NULL, 0, NI_NUMERICHOST) ==
            0)
            add_host(lists, host, address, port);
    freeaddrinfo(found);
    return true;
}

bool db_conninfo_resolve(const struct db_conninfo *info, struct db_conninfo *ret_info, struct err *err)
{
    struct str_view rest = str_view_of(db_conninfo_get(info, "host")), host;
    const char *ports = db_conninfo_get(info, "port");
    struct host_lists lists = { .is_empty = true };
    struct err first = { 0 };
    size_t count = 0;
    bool ok;

    buf_init(&lists.host, HOSTS_MAX_BYTES);
    buf_init(&lists.hostaddr, HOSTS_MAX_BYTES);
    buf_init(&lists.port, HOSTS_MAX_BYTES);
    /* One name of several that does not resolve must not take the others with it. */
    while (str_next(&rest, ',', &host))
        (void)add_addresses(&lists, host, list_piece(ports, count++), first.kind == ERR_NONE ? &first : NULL);
    ok = !lists.is_empty && !lists.hostaddr.is_full && !lists.host.is_full;
    if (ok) {
        db_conninfo_copy(info, ret_info);
        db_conninfo_set(ret_info, "host", buf_text(&lists.host));
        db_conninfo_set(ret_info, "hostaddr", buf_text(&lists.hostaddr));
        db_conninfo_set(ret_info, "port", buf_text(&lists.port));
    } else if (first.kind != ERR_NONE) {
        err_set(err, first.kind, "%s", first.text);
    } else {
        err_set(err, ERR_UNAVAILABLE, "the database's host names have no address");
    }
    buf_done(&lists.host);
    buf_done(&lists.hostaddr);
    buf_done(&lists.port);
    return ok;
}
