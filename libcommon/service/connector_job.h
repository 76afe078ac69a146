/* SPDX-License-Identifier: Apache-2.0 */
/* connector_job.h - the parts of a pulled job: files fetched, files handed over, typing marks. */
#ifndef GUICHET_SERVICE_CONNECTOR_JOB_H
#define GUICHET_SERVICE_CONNECTOR_JOB_H

#include "guichet/v1/connector.pb-c.h"
#include "service/connector.h"

struct connector_runtime;
struct connector_slot;
struct connector_fetches;

/* ---- connector_media.c: what is known of a file ---- */

/* "image/jpeg" of a Content-Type; what came is unreadable or says nothing: `announced`, then octet-stream. */
char *connector_media_type(const char *header, const char *announced, struct arena *arena);
bool connector_media_type_matches(const struct config_strings *patterns, const char *type);
/* The file's name of a Content-Disposition, without folders and control characters; "" when there is none. */
char *connector_media_file_name(const char *header, struct arena *arena);

/* ---- jobs: each part of one ends with done(), once; the outcome says how, UNSPECIFIED: the process ends ---- */

typedef void connector_step_done_fn(void *arg);

struct connector_step {
    struct connector_runtime *runtime;
    struct connector_slot *slot;
    const Guichet__V1__Job *job;
    struct arena *arena;
    uint64_t lease_until_ms;
    Guichet__V1__Outcome *outcome;
    connector_step_done_fn *done; /* from the loop; an upload without a file to hand over ends inside start */
    void *arg;
};

void connector_outcome_set(Guichet__V1__Outcome *outcome, struct arena *arena, Guichet__V1__OutcomeKind kind,
                           Guichet__V1__FailureReason reason, const char *text);
/* How long the provider may take, so that the outcome is reported within the lease; 0: too late to begin. */
uint32_t connector_step_left_ms(const struct connector_step *step);

/* connector_fetch.c: a file of the provider's becomes a blob. So many at once, the others wait their turn. */
struct connector_fetch;
struct connector_fetches *connector_fetches_new(struct connector_runtime *runtime);
void connector_fetches_free(struct connector_fetches **fetches);
void connector_fetch_start(const struct connector_step *step, struct connector_fetch **ret_fetch);
void connector_fetch_free(struct connector_fetch **fetch);

/* connector_upload.c: blobs of a message become files of the provider's, before the message is sent. */
struct connector_upload;
bool connector_upload_is_needed(const struct connector *table, const Guichet__V1__Outbound *message);
void connector_upload_start(const struct connector_step *step, struct connector_upload **ret_upload);
void connector_upload_free(struct connector_upload **upload);

/* connector_typing.c */
struct connector_typing;
void connector_typing_start(const struct connector_step *step, struct connector_typing **ret_typing);
void connector_typing_free(struct connector_typing **typing);

#endif
