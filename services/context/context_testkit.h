/* SPDX-License-Identifier: Apache-2.0 */
/* context_testkit.h - for x_test.c only: the service as it is, on a database of its own, called over the mesh.
 *
 * Two replicas of the service share the process's loop and the database. Every test takes a tenant of
 * its own, so that one database serves a whole program. */
#ifndef GUICHET_CONTEXT_TESTKIT_H
#define GUICHET_CONTEXT_TESTKIT_H

#include "core/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "context.h"
#include "core/pbjson.h"
#include "core/pbtime.h"

#define KIT_UNUSED __attribute__((unused))
enum { KIT_WAIT_MS = 30000, KIT_REPLICAS = 2 };

struct kit {
    struct service service;
    struct context_config config;
    struct context *replicas[KIT_REPLICAS];
    struct mesh_client *centre[KIT_REPLICAS], *gateway;
    struct db *admin, *db; /* the server's database, and our own */
    struct db_pool *admin_pool, *pool;
    char database[64], url[512];
    unsigned statement_count;
    struct arena *arena;
};

struct answer {
    struct arena *arena;
    bool is_done;
    void *reply; /* NULL: err */
    struct err err;
};

static KIT_UNUSED void kit_on_answer(const ProtobufCMessage *reply, void *arg)
{
    struct answer *answer = arg;

    answer->is_done = true;
    answer->reply = reply == NULL ? NULL : pb_dup(reply, answer->arena);
    if (reply == NULL)
        answer->err = *mesh_err();
}

struct sql_outcome {
    struct kit *kit;
    bool is_done;
    const char *value;
    struct err err;
};

static KIT_UNUSED void kit_on_sql(void *arg, struct db_work *work, const struct err *err)
{
    struct sql_outcome *outcome = arg;

    outcome->is_done = true;
    outcome->err = *err;
    if (err->kind == ERR_NONE && db_rows(db_work_result(work, 0)) > 0)
        outcome->value = arena_strdup(outcome->kit->arena, db_text(work, db_work_result(work, 0), 0, 0));
}

#define KIT_UNTIL(kit, condition)                                                                            \
    do {                                                                                                     \
        struct timespec now_;                                                                                \
        clock_gettime(CLOCK_MONOTONIC, &now_);                                                               \
        for (time_t end_ = now_.tv_sec + KIT_WAIT_MS / 1000; !(condition);) {                                \
            clock_gettime(CLOCK_MONOTONIC, &now_);                                                           \
            if (now_.tv_sec > end_)                                                                          \
                fail_msg("waited %d ms in vain for: %s", KIT_WAIT_MS, #condition);                           \
            loop_turn((kit)->service.loop, 20);                                                              \
        }                                                                                                    \
    } while (0)

static KIT_UNUSED const char *kit_run(struct kit *kit, struct db_pool *pool, const char *sql)
{
    struct sql_outcome outcome = { .kit = kit, .value = "" };
    const struct db_statement statement = { arena_printf(kit->arena, "kit_%u", ++kit->statement_count), sql };
    struct db_work *work = db_work_new(pool);

    db_work_add(work, &statement, NULL, 0);
    db_work_run(work, kit_on_sql, &outcome);
    KIT_UNTIL(kit, outcome.is_done);
    if (outcome.err.kind != ERR_NONE)
        fail_msg("'%s': %s", sql, outcome.err.text);
    return outcome.value;
}

/* The one value of a SELECT as text, "" when there is none; in the kit's arena. Or any other statement. */
static KIT_UNUSED const char *kit_sql(struct kit *kit, const char *fmt, ...)
{
    char *sql = context_alloc(kit->arena, 4096);
    va_list args;

    va_start(args, fmt);
    vsnprintf(sql, 4096, fmt, args);
    va_end(args);
    if (strncmp(sql, "SELECT", 6) == 0)
        sql = arena_printf(kit->arena, "SELECT (%s)::text", sql);
    return kit_run(kit, kit->pool, sql);
}

#define KIT_START(kit, client, method, Reply, request, answer_)                                              \
    ((answer_)->arena = (kit)->arena,                                                                        \
     guichet__v1__context__##method(                                                                         \
         mesh_client_call((client), &(struct mesh_call){ .tenant = (request)->tenant,                        \
                                                         .timeout_ms = KIT_WAIT_MS,                          \
                                                         .attempt_timeout_ms = KIT_WAIT_MS }),               \
         (request), (Guichet__V1__##Reply##_Closure)kit_on_answer, (answer_)))

/* Calls and waits: the reply, or NULL and the error in *err_. */
#define KIT_CALL(kit, client, method, Reply, request, err_)                                                  \
    __extension__({                                                                                          \
        struct answer call_ = { 0 };                                                                         \
        KIT_START((kit), (client), method, Reply, (request), &call_);                                        \
        KIT_UNTIL((kit), call_.is_done);                                                                     \
        *(struct err *)(err_) = call_.err;                                                                   \
        (const Guichet__V1__##Reply *)call_.reply;                                                           \
    })

/* An SMS: from whom, under which key, what. The caller changes what differs. */
static KIT_UNUSED Guichet__V1__InboundEvent *kit_event(struct kit *kit, const char *tenant, const char *key,
                                                       const char *from, const char *text)
{
    struct arena *arena = kit->arena;
    Guichet__V1__InboundEvent *event = context_alloc(arena, sizeof(*event));
    Guichet__V1__Part *part = context_alloc(arena, sizeof(*part));

    guichet__v1__inbound_event__init(event);
    event->tenant = arena_strdup(arena, tenant);
    event->account_id = arena_strdup(arena, "sms-demo");
    event->event_key = arena_strdup(arena, key);
    event->provider_id = event->event_key;
    event->sender = context_alloc(arena, sizeof(*event->sender));
    guichet__v1__address__init(event->sender);
    event->sender->kind = GUICHET__V1__IDENTITY_KIND__IDENTITY_KIND_PHONE;
    event->sender->value = arena_strdup(arena, from);
    event->occurred_at = pbtime_new(arena, INT64_C(1772366400000000));
    event->body_case = GUICHET__V1__INBOUND_EVENT__BODY_MESSAGE;
    event->message = context_alloc(arena, sizeof(*event->message));
    guichet__v1__message_received__init(event->message);
    event->message->content = context_alloc(arena, sizeof(*event->message->content));
    guichet__v1__content__init(event->message->content);
    event->message->content->parts = context_alloc(arena, sizeof(part));
    event->message->content->parts[0] = part;
    event->message->content->n_parts = 1;
    guichet__v1__part__init(part);
    part->kind_case = GUICHET__V1__PART__KIND_TEXT;
    part->text = context_alloc(arena, sizeof(*part->text));
    guichet__v1__text__init(part->text);
    part->text->text = arena_strdup(arena, text);
    return event;
}

#include "context_testkit_service.h"

#endif
