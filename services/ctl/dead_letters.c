/* SPDX-License-Identifier: Apache-2.0 */
/* guichetctl dead-letters: what was refused for good or failed too often: listed, shown, replayed, dropped.
 *
 * Ids are worked off one after another, so that what is told of each is in the order asked. */
#include "ctl.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/duration.h"
#include "core/pbjson.h"
#include "core/pbtime.h"
#include "guichet/v1/routing.pb-c.h"

enum { CALL_TIMEOUT_MS = 10000, PAGE_LIMIT = 100, LINE_MAX_BYTES = 4 << 20, ACTOR_BYTES = 128 };

enum deed { REPLAY, DROP };

struct letters {
    struct ctl *ctl;
    const char *tenant, *account;
    Guichet__V1__DeadLetterKind kind;
    Guichet__V1__DeadLetterState state;
    bool is_json, is_listing; /* else what is found is worked off */
    char after[64];
    enum deed deed;
    char **ids; /* owned, each of them */
    size_t count, next;
    size_t left_open;
    char actor[ACTOR_BYTES];
};

static const char *const kind_names[] = { "any", "event", "delivery", "job", "change" };
static const char *const state_names[] = { "any", "open", "replayed", "dropped" };

static void list_page(struct letters *letters);
static void do_next(struct letters *letters);

/* ---- options ---- */

/* Takes a word without a value out of argv. */
static bool take_flag(int *argc, char **argv, const char *name)
{
    bool is_there = false;
    int kept = 0;

    for (int i = 0; i < *argc; i++) {
        if (strcmp(argv[i], name) == 0)
            is_there = true;
        else
            argv[kept++] = argv[i];
    }
    *argc = kept;
    return is_there;
}

static bool find_name(const char *what, const char *text, const char *const *names, size_t count, int *ret,
                      struct err *err)
{
    for (size_t i = 1; i < count; i++) {
        if (strcmp(names[i], text) == 0) {
            *ret = (int)i;
            return true;
        }
    }
    *ret = 0;
    return text[0] == '\0' || err_set(err, ERR_INVALID, "%s '%s' is unknown", what, text);
}

static void fill_actor(struct letters *letters)
{
    const struct passwd *user = getpwuid(getuid());

    if (user != NULL)
        snprintf(letters->actor, sizeof(letters->actor), "guichetctl %s", user->pw_name);
    else
        snprintf(letters->actor, sizeof(letters->actor), "guichetctl %u", (unsigned)getuid());
}

static bool take_options(struct letters *letters, int *argc, char **argv, struct err *err)
{
    const char *kind = "", *state = "";
    const struct ctl_option options[] = {
        { "--tenant", &letters->tenant, "the tenant's name" },
        { "--kind", &kind, "event, delivery, job or change" },
        { "--account", &letters->account, "the channel account's id" },
        { "--state", &state, "open, replayed or dropped" },
        { NULL, NULL, NULL },
    };
    int found;

    letters->tenant = "demo";
    letters->account = "";
    letters->is_json = take_flag(argc, argv, "--json");
    if (!ctl_options(argc, argv, options, err) ||
        !find_name("kind", kind, kind_names, COUNT_OF(kind_names), &found, err))
        return false;
    letters->kind = (Guichet__V1__DeadLetterKind)found;
    if (!find_name("state", state, state_names, COUNT_OF(state_names), &found, err))
        return false;
    letters->state = (Guichet__V1__DeadLetterState)found;
    fill_actor(letters);
    return true;
}

static ProtobufCService *call(const struct letters *letters)
{
    return mesh_client_call(letters->ctl->mesh, &(struct mesh_call){ .tenant = letters->tenant,
                                                                     .timeout_ms = CALL_TIMEOUT_MS });
}

/* Runs what was started until ctl_end(). */
static int finish(struct letters *letters)
{
    struct ctl *ctl = letters->ctl;

    loop_run(ctl->loop);
    for (size_t i = 0; i < letters->count; i++)
        free(letters->ids[i]);
    free(letters->ids);
    mesh_client_free(&ctl->mesh);
    loop_free(&ctl->loop);
    return ctl->exit_code;
}

/* ---- printing ---- */

static void print_json(const ProtobufCMessage *message)
{
    SCOPED_BUF line = { 0 };

    buf_init(&line, LINE_MAX_BYTES);
    pbjson_append(&line, message, PBJSON_API);
    printf("%s\n", buf_text(&line));
}

static const char *name_of(const char *const *names, size_t count, int value)
{
    return value > 0 && (size_t)value < count ? names[value] : "?";
}

static void print_row(const Guichet__V1__DeadLetter *letter)
{
    char at[TIME_TEXT_BYTES];

    time_format(pbtime_us(letter->at), at);
    printf("%s  %-8s  %-8s  %s  %2u  %-12s  %s%s%s%s\n", letter->id,
           name_of(kind_names, COUNT_OF(kind_names), (int)letter->kind),
           name_of(state_names, COUNT_OF(state_names), (int)letter->state), at, letter->attempt_count,
           letter->account_id[0] != '\0' ? letter->account_id : "-", letter->reason,
           letter->replay_error[0] != '\0' ? " (replay: " : "", letter->replay_error,
           letter->replay_error[0] != '\0' ? ")" : "");
}

/* ---- list ---- */

static void keep_id(struct letters *letters, const char *id)
{
    letters->ids = realloc(letters->ids, (letters->count + 1) * sizeof(*letters->ids));
    if (letters->ids == NULL)
        abort();
    letters->ids[letters->count++] = str_dup(str_view_of(id));
}

static void on_page(const Guichet__V1__ListDeadLettersReply *reply, void *arg)
{
    struct letters *letters = arg;

    if (reply == NULL) {
        ctl_end(letters->ctl, ctl_fail(mesh_err()));
        return;
    }
    for (size_t i = 0; i < reply->n_dead_letters; i++) {
        const Guichet__V1__DeadLetter *letter = reply->dead_letters[i];

        snprintf(letters->after, sizeof(letters->after), "%s", letter->id);
        if (!letters->is_listing)
            keep_id(letters, letter->id);
        else if (letters->is_json)
            print_json(&letter->base);
        else
            print_row(letter);
    }
    if (reply->has_more) {
        list_page(letters);
    } else if (!letters->is_listing) {
        do_next(letters);
    } else {
        if (!letters->is_json)
            printf("%" PRIu64 " open\n", reply->open_count);
        ctl_end(letters->ctl, 0);
    }
}

static void list_page(struct letters *letters)
{
    Guichet__V1__ListDeadLettersRequest request = GUICHET__V1__LIST_DEAD_LETTERS_REQUEST__INIT;
    Guichet__V1__Page page = GUICHET__V1__PAGE__INIT;

    request.tenant = (char *)letters->tenant;
    request.state = letters->state;
    request.kind = letters->kind;
    request.account_id = (char *)letters->account;
    request.page = &page;
    page.after_id = letters->after;
    page.limit = PAGE_LIMIT;
    guichet__v1__routing__list_dead_letters(call(letters), &request, on_page, letters);
}

int ctl_dead_letters_list(struct ctl *ctl, int argc, char **argv)
{
    struct letters letters = { .ctl = ctl, .is_listing = true };
    struct err err = { 0 };

    if (!take_options(&letters, &argc, argv, &err) || !ctl_mesh(ctl, &err))
        return ctl_fail(&err);
    list_page(&letters);
    return finish(&letters);
}

/* ---- show ---- */

static void on_shown(const Guichet__V1__GetDeadLetterReply *reply, void *arg)
{
    struct letters *letters = arg;
    const Guichet__V1__DeadLetter *letter;

    if (reply == NULL || reply->dead_letter == NULL) {
        ctl_end(letters->ctl, ctl_fail(mesh_err()));
        return;
    }
    letter = reply->dead_letter;
    if (letters->is_json) {
        print_json(&reply->base);
        ctl_end(letters->ctl, 0);
        return;
    }
    print_row(letter);
    printf("subject       %s\n", letter->subject);
    printf("conversation  %s\n", letter->conversation_id);
    printf("message       %s\n", letter->message_id);
    printf("replays       %u\n", letter->replay_count);
    if (letter->resolved_by[0] != '\0')
        printf("resolved by   %s\n", letter->resolved_by);
    printf("payload       %s, %zu bytes\n\n", reply->payload_type, reply->payload.len);
    fwrite(reply->payload.data, 1, reply->payload.len, stdout);
    printf("\n");
    ctl_end(letters->ctl, 0);
}

int ctl_dead_letters_show(struct ctl *ctl, int argc, char **argv)
{
    struct letters letters = { .ctl = ctl };
    Guichet__V1__GetDeadLetterRequest request = GUICHET__V1__GET_DEAD_LETTER_REQUEST__INIT;
    struct err err = { 0 };

    if (!take_options(&letters, &argc, argv, &err))
        return ctl_fail(&err);
    if (argc != 1)
        return err_set(&err, ERR_INVALID, "dead-letters show needs one id"), ctl_fail(&err);
    if (!ctl_mesh(ctl, &err))
        return ctl_fail(&err);
    request.tenant = (char *)letters.tenant;
    request.id = argv[0];
    guichet__v1__routing__get_dead_letter(call(&letters), &request, on_shown, &letters);
    return finish(&letters);
}

/* ---- replay, drop ---- */

static void on_done(const Guichet__V1__DeadLetterReply *reply, void *arg)
{
    struct letters *letters = arg;
    const char *id = letters->ids[letters->next];
    const Guichet__V1__DeadLetter *letter;

    if (reply == NULL || reply->dead_letter == NULL) {
        fprintf(stderr, "guichetctl: %s: %s\n", id, mesh_err()->text);
        if (err_is_retryable(mesh_err()->kind)) { /* the others would fare no better */
            ctl_end(letters->ctl, err_exit_code(mesh_err()->kind));
            return;
        }
        letters->left_open++;
    } else {
        letter = reply->dead_letter;
        if (letters->is_json)
            print_json(&reply->base);
        else if (letter->state == GUICHET__V1__DEAD_LETTER_STATE__DEAD_LETTER_STATE_OPEN)
            printf("%s  stays open: %s\n", id, letter->replay_error);
        else
            printf("%s  %s%s\n", id, name_of(state_names, COUNT_OF(state_names), (int)letter->state),
                   reply->is_changed ? "" : " before");
        letters->left_open += letter->state == GUICHET__V1__DEAD_LETTER_STATE__DEAD_LETTER_STATE_OPEN;
    }
    letters->next++;
    do_next(letters);
}

static void do_next(struct letters *letters)
{
    if (letters->next == letters->count) {
        ctl_end(letters->ctl, letters->left_open > 0 ? err_exit_code(ERR_CONFLICT) : 0);
    } else if (letters->deed == REPLAY) {
        Guichet__V1__ReplayDeadLetterRequest request = GUICHET__V1__REPLAY_DEAD_LETTER_REQUEST__INIT;

        request.tenant = (char *)letters->tenant;
        request.id = letters->ids[letters->next];
        request.actor_id = letters->actor;
        guichet__v1__routing__replay_dead_letter(call(letters), &request, on_done, letters);
    } else {
        Guichet__V1__DropDeadLetterRequest request = GUICHET__V1__DROP_DEAD_LETTER_REQUEST__INIT;

        request.tenant = (char *)letters->tenant;
        request.id = letters->ids[letters->next];
        request.actor_id = letters->actor;
        guichet__v1__routing__drop_dead_letter(call(letters), &request, on_done, letters);
    }
}

static int work_off(struct ctl *ctl, int argc, char **argv, enum deed deed)
{
    struct letters letters = { .ctl = ctl, .deed = deed };
    bool is_all = deed == REPLAY && take_flag(&argc, argv, "--all");
    struct err err = { 0 };

    if (!take_options(&letters, &argc, argv, &err))
        return ctl_fail(&err);
    if (is_all == (argc > 0))
        return err_set(&err, ERR_INVALID, deed == REPLAY ? "dead-letters replay needs ids, or --all"
                                                         : "dead-letters drop needs ids"),
               ctl_fail(&err);
    if (!ctl_mesh(ctl, &err))
        return ctl_fail(&err);
    for (int i = 0; i < argc; i++)
        keep_id(&letters, argv[i]);
    if (is_all)
        list_page(&letters);
    else
        do_next(&letters);
    return finish(&letters);
}

int ctl_dead_letters_replay(struct ctl *ctl, int argc, char **argv)
{
    return work_off(ctl, argc, argv, REPLAY);
}

int ctl_dead_letters_drop(struct ctl *ctl, int argc, char **argv)
{
    return work_off(ctl, argc, argv, DROP);
}
