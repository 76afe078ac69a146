/* SPDX-License-Identifier: Apache-2.0 */
/* login.c - Login, Logout, CheckSession.
 *
 * An attempt is counted before the password is looked at, so that guesses made at once are all counted. An
 * unknown login costs what a known one does: the same statement, the same argon2id, the same words. Tokens
 * are 32 random bytes; only their SHA-256 is stored. */
#include "login.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>
#include <sodium.h>

#include "core/id.h"
#include "core/pbtime.h"
#include "ops/log.h"
#include "rows.h"
#include "rpc.h"
#include "statements.h"

enum { TOKEN_BYTES = 32, PASSWORD_MIN_BYTES = 8, PASSWORD_MAX_BYTES = 256, LOGIN_MAX_BYTES = 200 };

struct password_job {
    struct routing_call *call;
    const char *password;
    const char *known_hash; /* NULL: make one */
    char hash[crypto_pwhash_STRBYTES];
    bool is_match;
    routing_hashed_fn *done;
};

struct login {
    struct password_job job;
    char *agent_id; /* "" when there is none of this login */
    char *token;
    uint8_t token_hash[SHA256_DIGEST_LENGTH];
};

static void on_attempt(struct routing_call *call, struct db_work *work);
static void on_verified(void *arg, const struct err *err);
static void on_session(struct routing_call *call, struct db_work *work);

/* ---- argon2id ---- */

static void work_on_password(void *arg)
{
    struct password_job *job = arg;
    size_t len = strlen(job->password);

    if (job->known_hash != NULL)
        job->is_match = crypto_pwhash_str_verify(job->known_hash, job->password, len) == 0;
    else if (crypto_pwhash_str(job->hash, job->password, len, crypto_pwhash_OPSLIMIT_INTERACTIVE,
                               crypto_pwhash_MEMLIMIT_INTERACTIVE) != 0)
        job->hash[0] = '\0';
}

bool routing_login_init(struct routing *routing, struct err *err)
{
    struct password_job job = { .password = "" };
    char password[ID_TEXT_BYTES];

    if (sodium_init() < 0)
        return err_set(err, ERR_INTERNAL, "libsodium does not start");
    id_new_text(password);
    job.password = password;
    work_on_password(&job);
    if (job.hash[0] == '\0')
        return err_set(err, ERR_INTERNAL, "argon2id: no memory for it");
    routing->dummy_hash = str_dup(str_view_of(job.hash));
    return true;
}

static void on_hashed(void *arg, const struct err *err)
{
    struct password_job *job = arg;

    if (err->kind != ERR_NONE)
        routing_call_fail(job->call, err);
    else if (job->hash[0] == '\0')
        routing_call_refuse(job->call, ERR_UNAVAILABLE, "argon2id: no memory for it");
    else
        job->done(job->call, job->hash);
}

void routing_login_hash(struct routing_call *call, const char *password, routing_hashed_fn *done)
{
    struct password_job *job = arena_alloc(call->arena, sizeof(*job));

    if (job == NULL)
        abort();
    job->call = call;
    job->password = password;
    job->done = done;
    worker_start(call->routing->passwords, work_on_password, on_hashed, job);
}

bool routing_login_check_password(struct routing_call *call, const char *password)
{
    size_t len = strlen(password);

    if (len >= PASSWORD_MIN_BYTES && len <= PASSWORD_MAX_BYTES)
        return true;
    routing_call_refuse(call, ERR_INVALID, "the password has %zu bytes: %d to %d are needed", len,
                        PASSWORD_MIN_BYTES, PASSWORD_MAX_BYTES);
    return false;
}

/* ---- Login ---- */

ROUTING_RPC(login, Login, LoginReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();
    const struct routing_config *config = call->routing->config;
    const struct db_param params[] = {
        DB_PARAM_TEXT(input->tenant),
        DB_PARAM_TEXT(input->login),
        DB_PARAM_I32(config->login_failures_max),
        DB_PARAM_I64(config->login_window_ms),
    };

    /* A tenant that is not there is told like a wrong password: the caller is anybody. */
    if (routing_find_tenant(config, input->tenant) == NULL || input->login[0] == '\0' ||
        strlen(input->login) > LOGIN_MAX_BYTES || strlen(input->password) > PASSWORD_MAX_BYTES) {
        stats_add_label(call->routing->stats, ROUTING_LOGINS, "refused", 1);
        routing_call_refuse(call, ERR_FORBIDDEN, "login or password is wrong");
        return;
    }
    if (routing_call_is_tenant(call, input->tenant))
        routing_call_query(call, call->routing->database.short_, &routing_sql_begin_login, params,
                           COUNT_OF(params), on_attempt);
}

static void on_attempt(struct routing_call *call, struct db_work *work)
{
    const Guichet__V1__LoginRequest *input = call->input;
    const struct db_result *row = db_work_result(work, 0);
    struct login *login = routing_call_state(call, sizeof(*login));
    const char *hash = db_text(work, row, 0, 1);

    if (db_i64(row, 0, 2) > 0) {
        struct err err = { 0 };

        err_set(&err, ERR_EXHAUSTED, "too many attempts");
        err.retry_after_ms = (uint32_t)db_i64(row, 0, 2);
        stats_add_label(call->routing->stats, ROUTING_LOGINS, "locked", 1);
        log_event(LOG_WARN, "login_locked", LOG_TEXT("tenant", input->tenant));
        routing_call_fail(call, &err);
        return;
    }
    login->agent_id = arena_strdup(call->arena, db_text(work, row, 0, 0));
    login->job.call = call;
    login->job.password = input->password;
    login->job.known_hash = arena_strdup(call->arena, hash[0] != '\0' ? hash : call->routing->dummy_hash);
    worker_start(call->routing->passwords, work_on_password, on_verified, login);
}

static void make_token(struct routing_call *call, struct login *login)
{
    uint8_t secret[TOKEN_BYTES];
    SCOPED_BUF text;

    buf_init(&text, 2 * TOKEN_BYTES);
    random_bytes(secret, sizeof(secret));
    base64url_append(&text, secret, sizeof(secret));
    login->token = arena_dup(call->arena, buf_view(&text));
    SHA256((const uint8_t *)login->token, strlen(login->token), login->token_hash);
}

static struct db_param hash_param(const uint8_t hash[SHA256_DIGEST_LENGTH])
{
    return DB_PARAM_BYTES(((struct str_view){ (const char *)hash, SHA256_DIGEST_LENGTH }));
}

static void on_verified(void *arg, const struct err *err)
{
    struct login *login = arg;
    struct routing_call *call = login->job.call;
    const Guichet__V1__LoginRequest *input = call->input;
    struct db_work *work;

    if (err->kind != ERR_NONE) {
        routing_call_fail(call, err);
        return;
    }
    if (!login->job.is_match || login->agent_id[0] == '\0') {
        stats_add_label(call->routing->stats, ROUTING_LOGINS, "refused", 1);
        log_event(LOG_INFO, "login_refused", LOG_TEXT("tenant", input->tenant));
        routing_call_refuse(call, ERR_FORBIDDEN, "login or password is wrong");
        return;
    }
    make_token(call, login);
    work = db_work_new(call->routing->database.short_);
    const struct db_param open[] = {
        DB_PARAM_TEXT(input->tenant),
        DB_PARAM_UUID(login->agent_id),
        DB_PARAM_TEXT(input->login),
        hash_param(login->token_hash),
        DB_PARAM_I64(call->routing->config->session_ttl_ms),
    };
    const struct db_param agent[] = { DB_PARAM_TEXT(input->tenant), DB_PARAM_UUID(login->agent_id) };
    db_work_add(work, &routing_sql_open_session, open, COUNT_OF(open));
    db_work_add(work, &routing_sql_get_agent, agent, COUNT_OF(agent));
    routing_call_run(call, work, on_session);
}

static void on_session(struct routing_call *call, struct db_work *work)
{
    const struct login *login = call->state;
    Guichet__V1__LoginReply reply = GUICHET__V1__LOGIN_REPLY__INIT;

    if (db_rows(db_work_result(work, 1)) == 0) {
        routing_call_refuse(call, ERR_FORBIDDEN, "login or password is wrong");
        return;
    }
    reply.token = login->token;
    reply.expires_at = pbtime_new(call->arena, db_time_us(db_work_result(work, 0), 0, 0));
    reply.agent = routing_row_agent(work, db_work_result(work, 1), 0, call->arena);
    stats_add_label(call->routing->stats, ROUTING_LOGINS, "accepted", 1);
    log_event(LOG_INFO, "login", LOG_TEXT("tenant", reply.agent->tenant), LOG_TEXT("agent", reply.agent->id));
    routing_call_answer(call, &reply.base);
}

/* ---- sessions ---- */

static void on_closed(struct routing_call *call, struct db_work *work)
{
    Guichet__V1__LogoutReply reply = GUICHET__V1__LOGOUT_REPLY__INIT;

    (void)work;
    routing_call_answer(call, &reply.base);
}

ROUTING_RPC(logout, Logout, LogoutReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();
    uint8_t hash[SHA256_DIGEST_LENGTH];

    SHA256((const uint8_t *)input->token, strlen(input->token), hash);
    const struct db_param params[] = { hash_param(hash) };
    routing_call_query(call, call->routing->database.short_, &routing_sql_close_session, params,
                       COUNT_OF(params), on_closed);
}

static void on_session_checked(struct routing_call *call, struct db_work *work)
{
    const struct db_result *row = db_work_result(work, 0);
    Guichet__V1__CheckSessionReply reply = GUICHET__V1__CHECK_SESSION_REPLY__INIT;

    if (db_rows(row) == 0) {
        routing_call_refuse(call, ERR_FORBIDDEN, "the session is over or was never there");
        return;
    }
    reply.agent = routing_row_agent(work, row, 0, call->arena);
    reply.expires_at = pbtime_new(call->arena, db_time_us(row, 0, ROUTING_AGENT_COLUMNS));
    routing_call_answer(call, &reply.base);
}

ROUTING_RPC(check_session, CheckSession, CheckSessionReply)
{
    struct routing_call *call = ROUTING_RPC_CALL();
    uint8_t hash[SHA256_DIGEST_LENGTH];

    SHA256((const uint8_t *)input->token, strlen(input->token), hash);
    const struct db_param params[] = { hash_param(hash),
                                       DB_PARAM_I64(call->routing->config->seen_interval_ms) };
    routing_call_query(call, call->routing->database.short_, &routing_sql_check_session, params,
                       COUNT_OF(params), on_session_checked);
}
