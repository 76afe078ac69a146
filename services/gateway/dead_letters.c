/* SPDX-License-Identifier: Apache-2.0 */
/* dead_letters.c - what was refused for good or failed too often: for admins. */
#include "handlers.h"


static const char *list_scope(struct call *call)
{
    const char *names[] = { "state", "kind", "account_id" };
    const char *scope = "dead_letters";

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const char *value = call_param(call, names[i]);

        scope = arena_printf(call->arena, "%s\n%s", scope, value == NULL ? "" : value);
    }
    return scope;
}

static void on_listed(const Guichet__V1__ListDeadLettersReply *reply, void *arg)
{
    struct call *call = arg;

    if (reply == NULL) {
        call_fail(call, mesh_err());
        return;
    }
    call_reply_page(
        call, list_scope(call), (ProtobufCMessage *const *)reply->dead_letters, reply->n_dead_letters,
        reply->has_more && reply->n_dead_letters > 0 ? reply->dead_letters[reply->n_dead_letters - 1]->id
                                                     : NULL);
}

void dead_letters_list(struct call *call)
{
    Guichet__V1__ListDeadLettersRequest request = GUICHET__V1__LIST_DEAD_LETTERS_REQUEST__INIT;
    const char *account = call_param(call, "account_id");
    int state, kind;

    if (!call_param_word(call, "state", &guichet__v1__dead_letter_state__descriptor, &state) ||
        !call_param_word(call, "kind", &guichet__v1__dead_letter_kind__descriptor, &kind) ||
        !call_page(call, list_scope(call), &request.page))
        return;
    request.tenant = call_tenant(call);
    request.state = state > 0 ? (Guichet__V1__DeadLetterState)state : 0;
    request.kind = kind > 0 ? (Guichet__V1__DeadLetterKind)kind : 0;
    request.account_id = (char *)(account != NULL ? account : "");
    guichet__v1__routing__list_dead_letters(call_routing(call), &request, on_listed, call);
}

static void on_got(const Guichet__V1__GetDeadLetterReply *reply, void *arg)
{
    if (reply == NULL)
        call_fail(arg, mesh_err());
    else
        call_reply(arg, 200, &reply->base);
}

void dead_letters_get(struct call *call)
{
    Guichet__V1__GetDeadLetterRequest request = GUICHET__V1__GET_DEAD_LETTER_REQUEST__INIT;

    if (!call_id_check(call, "no such dead letter"))
        return;
    request.tenant = call_tenant(call);
    request.id = (char *)call->id;
    guichet__v1__routing__get_dead_letter(call_routing(call), &request, on_got, call);
}

static void on_acted(const Guichet__V1__DeadLetterReply *reply, void *arg)
{
    if (reply == NULL)
        call_fail(arg, mesh_err());
    else
        call_reply(arg, 200, &reply->base);
}

void dead_letters_replay(struct call *call)
{
    Guichet__V1__ReplayDeadLetterRequest request = GUICHET__V1__REPLAY_DEAD_LETTER_REQUEST__INIT;

    if (!call_id_check(call, "no such dead letter"))
        return;
    request.tenant = call_tenant(call);
    request.id = (char *)call->id;
    request.actor_id = call->agent->id;
    guichet__v1__routing__replay_dead_letter(call_routing(call), &request, on_acted, call);
}

void dead_letters_drop(struct call *call)
{
    Guichet__V1__DropDeadLetterRequest request = GUICHET__V1__DROP_DEAD_LETTER_REQUEST__INIT;

    if (!call_id_check(call, "no such dead letter"))
        return;
    request.tenant = call_tenant(call);
    request.id = (char *)call->id;
    request.actor_id = call->agent->id;
    guichet__v1__routing__drop_dead_letter(call_routing(call), &request, on_acted, call);
}
