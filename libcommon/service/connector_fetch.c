/* SPDX-License-Identifier: Apache-2.0 */
/* connector_fetch.c - a file that a provider announced goes, piece by piece, into the centre's blobs.
 *
 * Nothing of it is held here but a few chunks: when the centre is slower than the provider, the provider's
 * connection rests. It is done before the lease ends, or not at all: the job is offered again then, to whoever,
 * and an upload that was not finished is collected by the centre. */
#include "service/connector_internal.h"

#include <stdlib.h>
#include <string.h>

#include "ops/failpoint.h"
#include "ops/log.h"

enum { REDIRECTS_MAX = 5 };

#define KIND(word) GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_##word
#define REASON(word) GUICHET__V1__FAILURE_REASON__FAILURE_REASON_##word

struct connector_fetches {
    struct connector_runtime *runtime;
    struct connector_fetch *first, *last; /* waiting for a turn */
    uint32_t running;
};

struct connector_fetch {
    struct connector_step step;
    const Guichet__V1__Media *media; /* as it was announced */
    struct connector_fetches *fetches;
    struct connector_fetch *later; /* in the waiting list */
    bool is_waiting, is_running;
    struct loop_timer *begin; /* it may end at once, which is not said from inside start */
    struct http_call *call;
    struct blob_upload *upload;
    char *content_type, *file_name;
    uint64_t started_ms;
    uint32_t token_generation;
};

static void fetch_begin(struct connector_fetch *fetch);
static void on_uploaded(void *arg, const Guichet__V1__Blob *blob, const struct err *err);

/* ---- turns ---- */

struct connector_fetches *connector_fetches_new(struct connector_runtime *runtime)
{
    struct connector_fetches *fetches = calloc(1, sizeof(*fetches));

    if (fetches == NULL)
        abort();
    fetches->runtime = runtime;
    return fetches;
}

void connector_fetches_free(struct connector_fetches **fetches)
{
    free(*fetches);
    *fetches = NULL;
}

static void wait_for_turn(struct connector_fetches *fetches, struct connector_fetch *fetch)
{
    fetch->is_waiting = true;
    *(fetches->last != NULL ? &fetches->last->later : &fetches->first) = fetch;
    fetches->last = fetch;
}

static void leave_waiting(struct connector_fetches *fetches, struct connector_fetch *fetch)
{
    struct connector_fetch **place = &fetches->first, *before = NULL;

    while (*place != fetch) {
        before = *place;
        place = &before->later;
    }
    *place = fetch->later;
    if (fetches->last == fetch)
        fetches->last = before;
    fetch->later = NULL;
    fetch->is_waiting = false;
}

static void give_turns(struct connector_fetches *fetches)
{
    while (fetches->first != NULL && fetches->running < fetches->runtime->config->media_fetches_max) {
        struct connector_fetch *fetch = fetches->first;

        leave_waiting(fetches, fetch);
        fetches->running++;
        fetch->is_running = true;
        fetch_begin(fetch);
    }
}

/* ---- ends ---- */

static void stop_running(struct connector_fetch *fetch)
{
    if (fetch->is_running)
        fetch->fetches->running--;
    fetch->is_running = false;
}

static void count_end(struct connector_fetch *fetch)
{
    const struct connector_step *step = &fetch->step;
    const struct connector_account *account = step->slot->account;
    Guichet__V1__OutcomeKind kind = step->outcome->kind;

    if (kind == KIND(ACCEPTED)) {
        connector_count(step->runtime, CONNECTOR_MEDIA_FETCHED, account, 1);
        connector_count(step->runtime, CONNECTOR_MEDIA_BYTES, account, step->outcome->media->size_bytes);
    } else if (kind == KIND(RETRY)) {
        connector_count(step->runtime, CONNECTOR_MEDIA_RETRY, account, 1);
    } else if (kind == KIND(FAILED)) {
        connector_count(step->runtime, CONNECTOR_MEDIA_FAILED, account, 1);
    }
    if (fetch->started_ms > 0)
        stats_observe_ms(step->runtime->stats, CONNECTOR_MEDIA_TIME,
                         (double)(loop_now_ms(step->runtime->loop) - fetch->started_ms));
    if (kind != KIND(ACCEPTED) && kind != KIND(UNSPECIFIED))
        log_event(LOG_INFO, "media_not_fetched", LOG_TEXT("job", step->job->id),
                  LOG_TEXT("account", account->id), LOG_TEXT("why", step->outcome->provider_text));
}

/* The one way out, whatever the outcome says. The fetch may be gone when done() returns. */
static void end(struct connector_fetch *fetch)
{
    struct connector_fetches *fetches = fetch->fetches;

    count_end(fetch);
    blob_upload_free(&fetch->upload);
    stop_running(fetch);
    fetch->step.done(fetch->step.arg);
    give_turns(fetches);
}

static void decide(struct connector_fetch *fetch, Guichet__V1__OutcomeKind kind,
                   Guichet__V1__FailureReason reason, const char *text)
{
    connector_outcome_set(fetch->step.outcome, fetch->step.arena, kind, reason, text);
}

static bool is_decided(const struct connector_fetch *fetch)
{
    return fetch->step.outcome->kind != KIND(UNSPECIFIED);
}

static void fail_with(struct connector_fetch *fetch, Guichet__V1__FailureReason reason, const char *text)
{
    decide(fetch, KIND(FAILED), reason, text);
    end(fetch);
}

/* The centre's refusals. Only a wrong hash is final: what else it may be, the file is not to blame. */
static void decide_by_centre(struct connector_fetch *fetch, const struct err *err)
{
    if (err->kind == ERR_FORBIDDEN)
        connector_announce_again(fetch->step.runtime, fetch->token_generation, NULL, NULL);
    if (err->kind == ERR_INVALID && fetch->media->sha256.len == BLOB_SHA256_BYTES)
        decide(fetch, KIND(FAILED), REASON(CONTENT_REFUSED), "the hash is not the one the provider gave");
    else
        decide(fetch, KIND(RETRY), REASON(UNSPECIFIED), err->text);
}

/* ---- pieces ---- */

static void on_room(void *arg)
{
    struct connector_fetch *fetch = arg;

    if (fetch->call != NULL)
        http_call_resume(fetch->call); /* the next push says if it has failed */
}

/* The head is there: is it what may be kept? */
static bool accept_head(struct connector_fetch *fetch, const struct http_call *call)
{
    const struct connector_config *config = fetch->step.runtime->config;
    struct arena *arena = fetch->step.arena;

    fetch->content_type =
        connector_media_type(http_call_header(call, "Content-Type"), fetch->media->content_type, arena);
    fetch->file_name = fetch->media->file_name;
    if (fetch->file_name[0] == '\0')
        fetch->file_name = connector_media_file_name(http_call_header(call, "Content-Disposition"), arena);
    if (connector_media_type_matches(&config->media_types, fetch->content_type))
        return true;
    decide(fetch, KIND(FAILED), REASON(CONTENT_REFUSED),
           arena_printf(arena, "the type %s is not allowed", fetch->content_type));
    return false;
}

static enum http_piece_answer on_piece(void *arg, const struct http_call *call, struct str_view piece)
{
    struct connector_fetch *fetch = arg;
    struct err err = { 0 };

    if (fetch->content_type == NULL && !accept_head(fetch, call))
        return HTTP_PIECE_STOP;
    if (FAILPOINT("connector_fetch_before_push")) {
        decide(fetch, KIND(RETRY), REASON(UNSPECIFIED), "failpoint");
        return HTTP_PIECE_STOP;
    }
    if (!blob_upload_has_room(fetch->upload))
        return HTTP_PIECE_LATER;
    if (blob_upload_push(fetch->upload, piece, &err))
        return HTTP_PIECE_TAKEN;
    decide_by_centre(fetch, &err);
    return HTTP_PIECE_STOP;
}

/* ---- the provider's answer ---- */

static void decide_by_error(struct connector_fetch *fetch, const struct http_result *result)
{
    unsigned max_bytes = fetch->step.runtime->config->media_max_bytes;
    struct arena *arena = fetch->step.arena;

    switch (result->err.kind) {
    case ERR_EXHAUSTED:
        decide(fetch, KIND(FAILED), REASON(CONTENT_REFUSED),
               result->body_bytes > max_bytes
                   ? arena_printf(arena, "too large: it has %llu bytes, %u at most",
                                  (unsigned long long)result->body_bytes, max_bytes)
                   : arena_printf(arena, "too large: it has more than %u bytes", max_bytes));
        return;
    case ERR_FORBIDDEN:
        log_event(LOG_WARN, "media_address_refused", LOG_TEXT("job", fetch->step.job->id),
                  LOG_ERR(&result->err));
        decide(fetch, KIND(FAILED), REASON(CONTENT_REFUSED), "address not allowed");
        return;
    case ERR_INVALID:
    case ERR_CONFIG:
        decide(fetch, KIND(FAILED), REASON(CONTENT_REFUSED), result->err.text);
        return;
    default:
        decide(fetch, KIND(RETRY), REASON(PROVIDER_ERROR), result->err.text);
    }
}

static void decide_by_status(struct connector_fetch *fetch, const struct http_result *result)
{
    struct arena *arena = fetch->step.arena;
    Guichet__V1__Outcome *outcome = fetch->step.outcome;
    int status = result->status;

    if (status == 404 || status == 410)
        decide(fetch, KIND(FAILED), REASON(PROVIDER_ERROR),
               arena_printf(arena, "gone at the provider (%d)", status));
    else if (status == 401 || status == 403)
        decide(fetch, KIND(FAILED), REASON(ACCOUNT_BROKEN),
               arena_printf(arena, "the provider refused to give it (%d)", status));
    else if (status == 408 || status == 425 || status == 429 || status >= 500)
        decide(fetch, KIND(RETRY), REASON(PROVIDER_ERROR),
               arena_printf(arena, "the provider answered %d", status));
    else
        decide(fetch, KIND(FAILED), REASON(PROVIDER_ERROR),
               arena_printf(arena, "the provider answered %d", status));
    outcome->provider_code = arena_printf(arena, "HTTP %d", status);
    outcome->retry_after_ms = result->retry_after_ms;
}

static void finish_upload(struct connector_fetch *fetch)
{
    const ProtobufCBinaryData *hash = &fetch->media->sha256;
    const struct blob_upload_finish finish = {
        .sha256 = hash->len == BLOB_SHA256_BYTES ? hash->data : NULL,
        .content_type = fetch->content_type,
    };

    if (FAILPOINT("connector_fetch_before_finish")) {
        decide(fetch, KIND(RETRY), REASON(UNSPECIFIED), "failpoint");
        end(fetch);
        return;
    }
    blob_upload_finish(fetch->upload, &finish, on_uploaded, fetch);
}

static void on_fetched(void *arg, const struct http_result *result)
{
    struct connector_fetch *fetch = arg;

    fetch->call = NULL;
    if (is_decided(fetch)) {
        end(fetch);
    } else if (result->err.kind == ERR_CANCELED) {
        end(fetch); /* the process ends; the lease runs out */
    } else if (result->err.kind != ERR_NONE) {
        decide_by_error(fetch, result);
        end(fetch);
    } else if (result->status / 100 != 2) {
        decide_by_status(fetch, result);
        end(fetch);
    } else if (blob_upload_size(fetch->upload) == 0) {
        fail_with(fetch, REASON(PROVIDER_ERROR), "the provider gave an empty file");
    } else {
        finish_upload(fetch);
    }
}

/* ---- the centre's answer ---- */

static void fill_stored(struct connector_fetch *fetch, const Guichet__V1__Blob *blob)
{
    struct arena *arena = fetch->step.arena;
    Guichet__V1__Media *media = arena_alloc(arena, sizeof(*media));

    guichet__v1__media__init(media);
    media->state = GUICHET__V1__MEDIA_STATE__MEDIA_STATE_STORED;
    media->size_bytes = blob->size_bytes;
    media->sha256.len = blob->sha256.len;
    media->sha256.data =
        (uint8_t *)arena_dup(arena, (struct str_view){ (const char *)blob->sha256.data, blob->sha256.len });
    media->content_type = fetch->content_type;
    media->file_name = fetch->file_name;
    decide(fetch, KIND(ACCEPTED), REASON(UNSPECIFIED), "");
    fetch->step.outcome->media = media;
}

static void on_uploaded(void *arg, const Guichet__V1__Blob *blob, const struct err *err)
{
    struct connector_fetch *fetch = arg;

    if (blob != NULL)
        fill_stored(fetch, blob);
    else if (err->kind != ERR_CANCELED)
        decide_by_centre(fetch, err);
    if (FAILPOINT("connector_fetch_after_upload_before_report"))
        guichet__v1__outcome__init(fetch->step.outcome); /* not reported: the lease runs out */
    end(fetch);
}

/* ---- begin ---- */

static struct str_view token_of(void *arg)
{
    struct connector_fetch *fetch = arg;

    if (fetch->step.runtime->announcer == NULL)
        return (struct str_view){ 0 };
    return connector_token(fetch->step.runtime, &fetch->token_generation);
}

static bool render(struct connector_fetch *fetch, struct http_client_request *ret_request, struct err *err)
{
    const struct connector_step *step = &fetch->step;

    *ret_request = (struct http_client_request){ .method = "GET", .url = fetch->media->provider_url };
    if (step->runtime->table->media != NULL)
        return step->runtime->table->media(step->slot->account, step->job->fetch_media, step->arena,
                                           ret_request, err);
    if (fetch->media->provider_url[0] == '\0')
        return err_set(err, ERR_INVALID, "the provider gave no address to fetch it from");
    return true;
}

static void fetch_begin(struct connector_fetch *fetch)
{
    const struct connector_step *step = &fetch->step;
    const struct connector_config *config = step->runtime->config;
    const struct blob_upload_options upload = {
        .access = { .loop = step->runtime->loop,
                    .client = step->runtime->blobs,
                    .tenant = step->job->tenant,
                    .token = token_of,
                    .token_arg = fetch },
        .on_room = on_room,
        .arg = fetch,
    };
    struct http_client_request request = { 0 };
    struct err err = { 0 };

    if (!render(fetch, &request, &err)) {
        fail_with(fetch, REASON(CONTENT_REFUSED), err.text);
        return;
    }
    request.timeout_ms = connector_step_left_ms(step);
    if (request.timeout_ms == 0 || FAILPOINT("connector_fetch_before_call")) {
        decide(fetch, KIND(RETRY), REASON(UNSPECIFIED), "its turn did not come within the lease");
        end(fetch);
        return;
    }
    fetch->started_ms = loop_now_ms(step->runtime->loop);
    fetch->upload = blob_upload_new(&upload);
    request.piece = on_piece;
    request.body_arg = fetch;
    request.answer_max_bytes = config->media_max_bytes;
    request.stall_timeout_ms = config->media_stall_timeout_ms;
    request.redirects_max = REDIRECTS_MAX;
    fetch->call = http_call_start(step->runtime->http, &request, on_fetched, fetch);
}

static void on_begin(void *arg)
{
    struct connector_fetch *fetch = arg;

    if (fetch->media == NULL) {
        fail_with(fetch, REASON(CONTENT_REFUSED), "the job names no file");
        return;
    }
    wait_for_turn(fetch->fetches, fetch);
    give_turns(fetch->fetches);
}

void connector_fetch_start(const struct connector_step *step, struct connector_fetch **ret_fetch)
{
    struct connector_fetch *fetch = calloc(1, sizeof(*fetch));

    if (fetch == NULL)
        abort();
    fetch->step = *step;
    fetch->fetches = step->runtime->fetches;
    fetch->media = step->job->fetch_media->media;
    fetch->begin = loop_timer_new(step->runtime->loop, on_begin, fetch);
    loop_timer_start(fetch->begin, 0, 0);
    *ret_fetch = fetch;
}

void connector_fetch_free(struct connector_fetch **fetch_ptr)
{
    struct connector_fetch *fetch = *fetch_ptr;

    *fetch_ptr = NULL;
    if (fetch == NULL)
        return;
    if (fetch->is_waiting)
        leave_waiting(fetch->fetches, fetch);
    stop_running(fetch);
    loop_timer_free(&fetch->begin);
    blob_upload_free(&fetch->upload);
    free(fetch);
}
