/* SPDX-License-Identifier: Apache-2.0 */
/* auth.c - the session cache.
 *
 * Sets of four slots, the oldest of a set gives way: bounded, no lists to keep. Tokens
 * are kept as SHA-256, so that a memory dump holds none. What routing said is believed for
 * session_cache_ms; only a "yes" is remembered, so a new login never meets an old "no". */
#include "auth.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include "core/duration.h"
#include "core/pbjson.h"
#include "core/pbtime.h"

#define WAYS 4
#define AGENT_ARENA_BYTES 65536

struct session {
    unsigned char key[SHA256_DIGEST_LENGTH];
    uint64_t checked_ms;
    int64_t expires_us;
    struct arena *arena; /* NULL: the slot is free */
    const Guichet__V1__Agent *agent;
};

struct session_check;

struct sessions {
    struct loop *loop;
    struct loop_timer *answer; /* answers from memory come with the next turn */
    struct session_check *owed, **owed_end;
    struct mesh_client *routing;
    struct stats *stats;
    uint32_t cache_ms;
    size_t sets;
    struct session *slots;
};

struct session_check {
    struct session_check *next;
    struct sessions *sessions;
    unsigned char key[SHA256_DIGEST_LENGTH];
    session_done_fn *done;
    void *arg;
};

static void on_answer(void *arg);

struct sessions *auth_sessions_new(struct loop *loop, const struct gateway_config *config,
                                   struct mesh_client *routing, struct stats *stats)
{
    struct sessions *sessions = calloc(1, sizeof(*sessions));

    if (sessions == NULL)
        abort();
    sessions->loop = loop;
    sessions->answer = loop_timer_new(loop, on_answer, sessions);
    sessions->owed_end = &sessions->owed;
    sessions->routing = routing;
    sessions->stats = stats;
    sessions->cache_ms = config->session_cache_ms;
    sessions->sets = config->sessions_max / WAYS;
    sessions->slots = calloc(sessions->sets * WAYS, sizeof(*sessions->slots));
    if (sessions->slots == NULL)
        abort();
    return sessions;
}

void auth_sessions_free(struct sessions **sessions)
{
    if (*sessions == NULL)
        return;
    auth_sessions_cancel(*sessions);
    loop_timer_free(&(*sessions)->answer);
    for (size_t i = 0; i < (*sessions)->sets * WAYS; i++)
        arena_free(&(*sessions)->slots[i].arena);
    free((*sessions)->slots);
    free(*sessions);
    *sessions = NULL;
}

static void key_of(const char *token, unsigned char ret_key[SHA256_DIGEST_LENGTH])
{
    SHA256((const unsigned char *)token, strlen(token), ret_key);
}

static struct session *set_of(struct sessions *sessions, const unsigned char *key)
{
    uint64_t hash;

    memcpy(&hash, key, sizeof(hash));
    return sessions->slots + (hash % sessions->sets) * WAYS;
}

static struct session *session_find(struct sessions *sessions, const unsigned char *key)
{
    struct session *set = set_of(sessions, key);

    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].arena != NULL && memcmp(set[i].key, key, SHA256_DIGEST_LENGTH) == 0)
            return &set[i];
    }
    return NULL;
}

static void session_drop(struct session *session)
{
    arena_free(&session->arena);
    memset(session, 0, sizeof(*session));
}

static void session_keep(struct sessions *sessions, const unsigned char *key,
                         const Guichet__V1__CheckSessionReply *reply)
{
    struct session *slot = session_find(sessions, key), *set = set_of(sessions, key);

    for (size_t i = 0; slot == NULL && i < WAYS; i++) {
        if (set[i].arena == NULL)
            slot = &set[i];
    }
    if (slot == NULL) {
        slot = set;
        for (size_t i = 1; i < WAYS; i++) {
            if (set[i].checked_ms < slot->checked_ms)
                slot = &set[i];
        }
    }
    session_drop(slot);
    slot->arena = arena_new(AGENT_ARENA_BYTES);
    slot->agent = (const Guichet__V1__Agent *)pb_dup(&reply->agent->base, slot->arena);
    slot->expires_us = pbtime_us(reply->expires_at);
    slot->checked_ms = loop_now_ms(sessions->loop);
    memcpy(slot->key, key, SHA256_DIGEST_LENGTH);
    if (slot->agent == NULL) /* an agent with thousands of queues: asked each time */
        session_drop(slot);
}

static bool session_is_good(const struct sessions *sessions, const struct session *session)
{
    return loop_now_ms(sessions->loop) - session->checked_ms < sessions->cache_ms &&
           (session->expires_us == 0 || session->expires_us > time_now_us());
}

/* Takes the whole list first: a callback may add to it. */
static struct session_check *owed_take(struct sessions *sessions)
{
    struct session_check *owed = sessions->owed;

    sessions->owed = NULL;
    sessions->owed_end = &sessions->owed;
    return owed;
}

/* The slot may have been given to another since: then the client is to repeat. */
static void on_answer(void *arg)
{
    struct sessions *sessions = arg;
    struct session_check *next;

    for (struct session_check *check = owed_take(sessions); check != NULL; check = next) {
        struct session *session = session_find(sessions, check->key);
        struct err err = { 0 };

        next = check->next;
        if (session == NULL)
            err_set(&err, ERR_UNAVAILABLE, "the session was just forgotten");
        check->done(check->arg, session == NULL ? NULL : session->agent, &err);
        free(check);
    }
}

void auth_sessions_cancel(struct sessions *sessions)
{
    struct err err = { .kind = ERR_CANCELED, .text = "closing" };
    struct session_check *next;

    loop_timer_stop(sessions->answer);
    for (struct session_check *check = owed_take(sessions); check != NULL; check = next) {
        next = check->next;
        check->done(check->arg, NULL, &err);
        free(check);
    }
}

static void on_checked(const Guichet__V1__CheckSessionReply *reply, void *arg)
{
    struct session_check *check = arg;
    struct session *session;
    struct err err = { 0 };

    if (reply == NULL)
        err = *mesh_err();
    else if (reply->agent == NULL || reply->agent->tenant[0] == '\0')
        err_set(&err, ERR_INTERNAL, "routing named no agent for a session");
    if (err.kind == ERR_NOT_FOUND || err.kind == ERR_FORBIDDEN || err.kind == ERR_INVALID)
        err.kind = ERR_FORBIDDEN;
    if (err.kind == ERR_NONE)
        session_keep(check->sessions, check->key, reply);
    else if (err.kind == ERR_FORBIDDEN && (session = session_find(check->sessions, check->key)) != NULL)
        session_drop(session);
    check->done(check->arg, err.kind == ERR_NONE ? reply->agent : NULL, &err);
    free(check);
}

void auth_sessions_check(struct sessions *sessions, const struct session_query *query, session_done_fn *done,
                         void *arg)
{
    Guichet__V1__CheckSessionRequest request = GUICHET__V1__CHECK_SESSION_REQUEST__INIT;
    struct session_check *check = calloc(1, sizeof(*check));
    struct session *session;

    if (check == NULL)
        abort();
    check->sessions = sessions;
    check->done = done;
    check->arg = arg;
    key_of(query->token, check->key);
    session = query->is_fresh ? NULL : session_find(sessions, check->key);
    if (session != NULL && session_is_good(sessions, session)) {
        stats_add_label(sessions->stats, GATEWAY_SESSION_CHECKS, "cache", 1);
        *sessions->owed_end = check;
        sessions->owed_end = &check->next;
        loop_timer_start(sessions->answer, 0, 0);
        return;
    }
    stats_add_label(sessions->stats, GATEWAY_SESSION_CHECKS, "routing", 1);
    request.token = (char *)query->token;
    guichet__v1__routing__check_session(mesh_client_call(sessions->routing,
                                                         &(struct mesh_call){
                                                             .traceparent = query->traceparent,
                                                             .timeout_ms = query->timeout_ms,
                                                         }),
                                        &request, on_checked, check);
}

void auth_sessions_forget(struct sessions *sessions, const char *token)
{
    unsigned char key[SHA256_DIGEST_LENGTH];
    struct session *session;

    key_of(token, key);
    session = session_find(sessions, key);
    if (session != NULL)
        session_drop(session);
}
