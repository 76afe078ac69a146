/* SPDX-License-Identifier: Apache-2.0 */
/* db_listen.c - LISTEN on a connection of its own.
 *
 * Notifications are hints: those sent while the connection was down are lost, which is
 * why on_notify comes once after each (re)connect, to look at what may have been missed. */
#include "io/db_conn.h"

#include <stdlib.h>

#define STATEMENT_TIMEOUT_MS 10000

struct db_listener {
    LIST_ENTRY(db_listener) link;
    struct db *db; /* NULL: gone before us */
    struct db_conn *conn;
    char *channel;
    db_notify_fn *on_notify;
    void *arg;
};

static void on_idle(void *arg)
{
    (void)arg; /* it takes no work */
}

static void on_moved(void *arg)
{
    (void)arg;
}

static void on_notify(void *arg, const char *channel, const char *payload)
{
    struct db_listener *listener = arg;

    listener->on_notify(listener->arg, channel, payload);
}

static const struct db_conn_owner listener_owner = { .on_idle = on_idle,
                                                     .on_moved = on_moved,
                                                     .on_notify = on_notify };

struct db_listener *db_listen(struct db *db, const char *channel, db_notify_fn *notify, void *arg)
{
    struct db_listener *listener = calloc(1, sizeof(*listener));

    if (listener == NULL)
        abort();
    listener->db = db;
    listener->channel = str_dup(str_view_of(channel));
    listener->on_notify = notify;
    listener->arg = arg;
    listener->conn =
        db_conn_new(db, &listener_owner, listener, "listen", STATEMENT_TIMEOUT_MS, listener->channel);
    LIST_INSERT_HEAD(&db->listeners, listener, link);
    return listener;
}

void db_listener_detach(struct db_listener *listener)
{
    if (listener->db == NULL)
        return;
    LIST_REMOVE(listener, link);
    listener->db = NULL;
    db_conn_free(&listener->conn);
}

void db_listener_free(struct db_listener **listener_at)
{
    struct db_listener *listener = *listener_at;

    *listener_at = NULL;
    if (listener == NULL)
        return;
    db_listener_detach(listener);
    free(listener->channel);
    free(listener);
}
