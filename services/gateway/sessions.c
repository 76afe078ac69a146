/* SPDX-License-Identifier: Apache-2.0 */
/* sessions.c - log in, log out, who am I, presence. */
#include "handlers.h"

#include "auth.h"
#include "events.h"

const struct body_field sessions_login_body[] = {
    { "/tenant", BODY_TEXT, true, 1, 64, NULL },
    { "/login", BODY_TEXT, true, 1, 128, NULL },
    { "/password", BODY_TEXT, true, 1, 1024, NULL },
    { 0 },
};

const struct body_field sessions_presence_body[] = {
    { "/presence", BODY_ENUM, true, 0, 0, &guichet__v1__presence__descriptor },
    { 0 },
};

static void on_login(const Guichet__V1__LoginReply *reply, void *arg)
{
    struct call *call = arg;
    const struct err *err = reply == NULL ? mesh_err() : NULL;

    if (err == NULL) {
        log_event(LOG_INFO, "login", LOG_TEXT("tenant", reply->agent == NULL ? "" : reply->agent->tenant),
                  LOG_TEXT("agent", reply->agent == NULL ? "" : reply->agent->id),
                  LOG_TEXT("trace_id", call->trace.id));
        call_reply(call, 201, &reply->base);
        return;
    }
    if (err->kind == ERR_FORBIDDEN || err->kind == ERR_NOT_FOUND) {
        char who[LOG_HASH_BYTES];

        log_hash(str_view_of(call_text(call, "/login")), who);
        log_event(LOG_WARN, "login_refused", LOG_TEXT("login_hash", who),
                  LOG_TEXT("trace_id", call->trace.id));
        call_problem(call,
                     &(struct problem){ PROBLEM_UNAUTHORIZED, "wrong tenant, login or password", NULL, 0 });
        return;
    }
    call_fail(call, err);
}

/* A login is slow on purpose: it has a time-out of its own, for the one replica that works at it. */
void sessions_create(struct call *call)
{
    Guichet__V1__LoginRequest request = GUICHET__V1__LOGIN_REQUEST__INIT;
    uint32_t timeout_ms = call->gateway->config->login_timeout_ms;

    request.tenant = (char *)call_text(call, "/tenant");
    request.login = (char *)call_text(call, "/login");
    request.password = (char *)call_text(call, "/password");
    guichet__v1__routing__login(
        mesh_client_call(call->gateway->routing, &(struct mesh_call){ .tenant = request.tenant,
                                                                      .traceparent = call->trace.parent,
                                                                      .timeout_ms = timeout_ms,
                                                                      .attempt_timeout_ms = timeout_ms }),
        &request, on_login, call);
}

static void on_logout(const Guichet__V1__LogoutReply *reply, void *arg)
{
    struct call *call = arg;

    if (reply == NULL && mesh_err()->kind != ERR_NOT_FOUND) {
        call_fail(call, mesh_err());
        return;
    }
    auth_sessions_forget(call->gateway->sessions, call->token);
    events_end_session(call->gateway->events, call->token);
    call_reply_text(call, 204, NULL, STR_LITERAL(""));
}

void sessions_delete(struct call *call)
{
    Guichet__V1__LogoutRequest request = GUICHET__V1__LOGOUT_REQUEST__INIT;

    request.token = (char *)call->token;
    guichet__v1__routing__logout(call_routing(call), &request, on_logout, call);
}

static void on_me(struct call *call)
{
    call_reply(call, 200, &call->agent->base);
}

/* Presence and load change by themselves: what is remembered will not do. */
void sessions_me(struct call *call)
{
    call_authenticate(call, call->token, true, on_me);
}

static void on_presence(const Guichet__V1__SetPresenceReply *reply, void *arg)
{
    struct call *call = arg;

    if (reply == NULL)
        call_fail(call, mesh_err());
    else if (reply->agent == NULL)
        call_fail(call, &(struct err){ .kind = ERR_INTERNAL, .text = "routing answered no agent" });
    else
        call_reply(call, 200, &reply->agent->base);
}

void sessions_presence(struct call *call)
{
    Guichet__V1__SetPresenceRequest request = GUICHET__V1__SET_PRESENCE_REQUEST__INIT;

    request.tenant = call_tenant(call);
    request.agent_id = call->agent->id;
    request.presence = (Guichet__V1__Presence)call_word(call, "/presence");
    guichet__v1__routing__set_presence(call_routing(call), &request, on_presence, call);
}
