/* SPDX-License-Identifier: Apache-2.0 */
/* connector_upload.c - a message's files are handed to the provider, one after the other, before the message.
 *
 * It is done before Start: a file handed over twice harms nobody, so nothing is in doubt when this is cut short,
 * and should it outlast the lease, Start is denied and nothing is sent. */
#include "service/connector_internal.h"

#include <stdlib.h>
#include <string.h>

#include "ops/failpoint.h"

#define KIND(word) GUICHET__V1__OUTCOME_KIND__OUTCOME_KIND_##word
#define REASON(word) GUICHET__V1__FAILURE_REASON__FAILURE_REASON_##word

struct connector_upload {
    struct connector_step step;
    Guichet__V1__Media *media; /* the one under way */
    struct blob_read *read;
    struct media_upload rendered;
    struct http_call *call;
    uint64_t given; /* of before, bytes and after */
    uint32_t token_generation;
};

static void upload_next(struct connector_upload *upload);

/* ---- which ---- */

static bool is_to_upload(const Guichet__V1__Part *part)
{
    return part->kind_case == GUICHET__V1__PART__KIND_MEDIA && part->media->sha256.len == BLOB_SHA256_BYTES &&
           part->media->provider_media_id[0] == '\0';
}

static Guichet__V1__Media *find_next(const Guichet__V1__Outbound *message)
{
    for (size_t i = 0; message->content != NULL && i < message->content->n_parts; i++)
        if (is_to_upload(message->content->parts[i]))
            return message->content->parts[i]->media;
    return NULL;
}

bool connector_upload_is_needed(const struct connector *table, const Guichet__V1__Outbound *message)
{
    return table->upload != NULL && find_next(message) != NULL;
}

/* ---- ends ---- */

static bool is_decided(const struct connector_upload *upload)
{
    return upload->step.outcome->kind != KIND(UNSPECIFIED);
}

static void decide(struct connector_upload *upload, Guichet__V1__OutcomeKind kind,
                   Guichet__V1__FailureReason reason, const char *text)
{
    connector_outcome_set(upload->step.outcome, upload->step.arena, kind, reason, text);
}

static void end(struct connector_upload *upload)
{
    blob_read_free(&upload->read);
    upload->step.done(upload->step.arg);
}

static void decide_by_error(struct connector_upload *upload, const struct err *err, bool is_centre)
{
    if (is_centre && err->kind == ERR_FORBIDDEN)
        connector_announce_again(upload->step.runtime, upload->token_generation, NULL, NULL);
    if (is_centre && err->kind == ERR_NOT_FOUND)
        decide(upload, KIND(FAILED), REASON(CONTENT_REFUSED), "the file is not there any more");
    else if (!is_centre &&
             (err->kind == ERR_FORBIDDEN || err->kind == ERR_INVALID || err->kind == ERR_CONFIG))
        decide(upload, KIND(FAILED), REASON(ACCOUNT_BROKEN), err->text);
    else
        decide(upload, KIND(RETRY), is_centre ? REASON(UNSPECIFIED) : REASON(PROVIDER_ERROR), err->text);
}

/* ---- the provider's answer ---- */

static void on_answered(void *arg, const struct http_result *result)
{
    struct connector_upload *upload = arg;
    const struct connector_step *step = &upload->step;

    upload->call = NULL;
    if (is_decided(upload) || result->err.kind == ERR_CANCELED) {
        end(upload);
        return;
    }
    if (result->err.kind != ERR_NONE) {
        decide_by_error(upload, &result->err, false);
        end(upload);
        return;
    }
    step->runtime->table->uploaded(step->slot->account, result, step->arena, upload->media, step->outcome);
    if (step->outcome->kind == KIND(ACCEPTED) && upload->media->provider_media_id[0] == '\0')
        decide(upload, KIND(FAILED), REASON(PROVIDER_ERROR), "the provider gave the file no id");
    if (step->outcome->kind != KIND(ACCEPTED)) {
        end(upload);
        return;
    }
    connector_count(step->runtime, CONNECTOR_MEDIA_UPLOADED, step->slot->account, 1);
    guichet__v1__outcome__init(step->outcome);
    blob_read_free(&upload->read);
    upload_next(upload);
}

/* ---- the bytes ---- */

/* How much of `text`, which stands at `start` of the whole, is given next. */
static size_t give_text(struct connector_upload *upload, struct str_view text, uint64_t start, char *data,
                        size_t size)
{
    size_t from = (size_t)(upload->given - start), len = text.len - from;

    if (len > size)
        len = size;
    memcpy(data, text.data + from, len);
    upload->given += len;
    return len;
}

static size_t give_bytes(struct connector_upload *upload, char *data, size_t size)
{
    size_t len = blob_read_take(upload->read, data, size);

    upload->given += len;
    if (len > 0)
        return len;
    if (blob_read_state(upload->read) == BLOB_READ_WAITING)
        return HTTP_READ_LATER;
    if (blob_read_state(upload->read) == BLOB_READ_FAILED)
        decide_by_error(upload, blob_read_err(upload->read), true);
    else
        decide(upload, KIND(RETRY), REASON(UNSPECIFIED), "the file ended early");
    return HTTP_READ_STOP;
}

static size_t on_read(void *arg, char *data, size_t size)
{
    struct connector_upload *upload = arg;
    const struct media_upload *rendered = &upload->rendered;
    uint64_t bytes_end = rendered->before.len + blob_read_size(upload->read);

    if (upload->given < rendered->before.len)
        return give_text(upload, rendered->before, 0, data, size);
    if (upload->given < bytes_end)
        return give_bytes(upload, data, size);
    return give_text(upload, rendered->after, bytes_end, data, size);
}

static void call_provider(struct connector_upload *upload)
{
    const struct connector_step *step = &upload->step;
    struct media_upload *rendered = &upload->rendered;
    struct http_client_request request;
    struct err err = { 0 };

    *rendered = (struct media_upload){ 0 };
    upload->given = 0;
    upload->media->size_bytes = blob_read_size(upload->read);
    if (!step->runtime->table->upload(step->slot->account, upload->media, step->arena, rendered, &err)) {
        decide(upload, KIND(FAILED), REASON(CONTENT_REFUSED), err.text);
        end(upload);
        return;
    }
    request = rendered->request;
    request.timeout_ms = connector_step_left_ms(step);
    if (request.timeout_ms == 0 || FAILPOINT("connector_upload_before_call")) {
        decide(upload, KIND(RETRY), REASON(UNSPECIFIED), "the lease ran out before the file was handed over");
        end(upload);
        return;
    }
    request.stall_timeout_ms = step->runtime->config->media_stall_timeout_ms;
    request.read = on_read;
    request.read_bytes = rendered->before.len + upload->media->size_bytes + rendered->after.len;
    request.body_arg = upload;
    upload->call = http_call_start(step->runtime->http, &request, on_answered, upload);
}

static void on_change(void *arg)
{
    struct connector_upload *upload = arg;

    if (upload->call != NULL) {
        http_call_resume(upload->call);
    } else if (blob_read_state(upload->read) == BLOB_READ_FAILED) {
        decide_by_error(upload, blob_read_err(upload->read), true);
        end(upload);
    } else {
        call_provider(upload); /* its size is known now */
    }
}

/* ---- begin ---- */

static struct str_view token_of(void *arg)
{
    struct connector_upload *upload = arg;

    if (upload->step.runtime->announcer == NULL)
        return (struct str_view){ 0 };
    return connector_token(upload->step.runtime, &upload->token_generation);
}

static void upload_next(struct connector_upload *upload)
{
    const struct connector_step *step = &upload->step;

    upload->media = find_next(step->job->send);
    if (upload->media == NULL) {
        connector_outcome_set(step->outcome, step->arena, KIND(ACCEPTED), REASON(UNSPECIFIED), "");
        end(upload);
        return;
    }
    const struct blob_read_options options = {
        .access = { .loop = step->runtime->loop,
                    .client = step->runtime->blobs,
                    .tenant = step->job->tenant,
                    .token = token_of,
                    .token_arg = upload },
        .sha256 = upload->media->sha256.data,
        .on_change = on_change,
        .arg = upload,
    };
    upload->read = blob_read_new(&options);
}

void connector_upload_start(const struct connector_step *step, struct connector_upload **ret_upload)
{
    struct connector_upload *upload = calloc(1, sizeof(*upload));

    if (upload == NULL)
        abort();
    upload->step = *step;
    *ret_upload = upload;
    upload_next(upload);
}

void connector_upload_free(struct connector_upload **upload_ptr)
{
    struct connector_upload *upload = *upload_ptr;

    *upload_ptr = NULL;
    if (upload == NULL)
        return;
    blob_read_free(&upload->read);
    free(upload);
}
