/* SPDX-License-Identifier: Apache-2.0 */
/* failpoint.c - the table of places where a test may make the process fail.
 *
 * The table is the one list of what can be broken on purpose; each place that writes something
 * or tells somebody has a row before it and one after. A FAILPOINT() that is not in the table
 * aborts: a misspelt name would be a test that tests nothing. */
#include "ops/failpoint.h"

#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/str.h"
#include "ops/log.h"

static const struct failpoint_info {
    const char *name;
    const char *purpose;
} failpoints[] = {
    { "context_before_record", "context has the batch and has not asked the database yet" },
    { "context_record_poison", "an event whose payload holds the word guichet-poison is to be recorded" },
    { "context_after_record_commit_before_reply", "the batch is committed, nobody knows it" },
    { "context_before_set_media", "context was told how a media part stands, and has not written it" },
    { "context_after_set_media_commit_before_reply", "how a media part stands is committed, nobody knows it" },
    { "context_after_replay_commit_before_mark", "a refused event is recorded, and still open" },
    { "context_blob_before_chunk", "a chunk of an upload has arrived and is not stored" },
    { "context_blob_after_chunk_commit_before_reply", "a chunk is stored, nobody knows it" },
    { "context_blob_before_store_put", "what will be put into a store is written down, and not put there" },
    { "context_blob_between_groups", "some of the blob is in its file, and no more comes" },
    { "context_blob_after_store_put_before_commit", "the store has the blob, there is no row of it" },
    { "context_blob_before_finish_commit", "an upload is hashed and stored, and no blob yet" },
    { "context_blob_after_finish_commit_before_reply", "the blob is there, nobody knows it" },
    { "context_blob_before_object_removal", "the blob's row is gone, its object is there" },
    { "context_blob_after_object_removal", "the object is deleted, and stands in the list still" },
    { "routing_before_record_call", "routing has accepted a Submit and not called context yet" },
    { "routing_after_record_before_reply", "context has recorded, the connector has no answer" },
    { "routing_before_apply", "changes are read from the feed and not applied" },
    { "routing_after_apply_before_doorbell", "changes are applied, nobody was woken" },
    { "routing_after_store_outbound_before_reply",
      "the agent's message is stored, the gateway has no answer" },
    { "routing_after_lease_before_reply", "jobs are leased, the connector has not received them" },
    { "routing_after_start_before_reply", "a delivery is marked as sending, the connector may not send yet" },
    { "routing_after_report_before_reply", "an outcome is stored, the connector has no answer" },
    { "routing_after_set_media_before_end", "context knows what became of a media part, its job goes on" },
    { "routing_after_replay_before_resolve", "context has replayed, the dead letter is open still" },
    { "connector_after_receive_before_submit", "a webhook is verified and not submitted" },
    { "connector_after_submit_before_2xx", "events are committed, the provider has no 2xx" },
    { "connector_before_spool_commit", "events are written to the spool and not committed" },
    { "connector_after_spool_commit_before_2xx", "events are in the spool, the provider has no 2xx" },
    { "connector_after_drain_submit_before_delete", "spooled events are recorded and still in the spool" },
    { "connector_after_start_before_send", "a delivery is marked as sending, the provider was not called" },
    { "connector_after_send_before_report", "the provider took the message, routing does not know" },
    { "connector_fetch_before_call", "a file is to be fetched, the provider was not asked" },
    { "connector_fetch_before_push", "a piece of a file has come and was not handed on" },
    { "connector_fetch_before_finish", "a file is here whole, its upload is not finished" },
    { "connector_fetch_after_upload_before_report", "a file is kept, routing does not know" },
    { "connector_upload_before_call", "a file of a message was not handed to the provider" },
    { "gateway_before_reply_call", "an agent's reply has arrived and was not handed on" },
    { "gateway_after_reply_call_before_202", "an agent's reply is stored, the agent has no answer" },
    { "db_cut", "the database has answered, the connection is lost before the answer is read" },
    { "db_notify_cut", "a NOTIFY from PostgreSQL is lost" },
    { "mesh_publish_cut", "a doorbell message is lost" },
};

void failpoint_print_all(void)
{
    for (size_t i = 0; i < COUNT_OF(failpoints); i++)
        printf("%-44s %s\n", failpoints[i].name, failpoints[i].purpose);
}

#ifdef GUICHET_FAILPOINTS

enum action { ACTION_KILL, ACTION_ERROR, ACTION_SLEEP };

static struct armed {
    const char *name;              /* from the table; NULL: not armed */
    enum action action;
    uint64_t at_pass;              /* 0: kill at the first, error at every one */
    uint64_t sleep_ms;
    uint64_t passes;
} armed[COUNT_OF(failpoints)];

static struct {
    failpoint_excuse_fn *fn;
    void *arg;
} excuse;

void failpoint_set_excuse(failpoint_excuse_fn *fn, void *arg)
{
    excuse.fn = fn;
    excuse.arg = arg;
}

static bool find(struct str_view name, size_t *ret_index)
{
    for (size_t i = 0; i < COUNT_OF(failpoints); i++) {
        if (str_equal(name, str_view_of(failpoints[i].name))) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

/* A positive decimal number, whole. */
static bool parse_count(struct str_view text, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (text.len == 0 || text.len > 9)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    }
    *ret_value = value;
    return value > 0;
}

/* "kill", "kill@3", "error", "drop", "sleep=200" */
static bool parse_action(struct str_view text, struct armed *point)
{
    struct str_view word;

    if (str_starts_with(text, STR_LITERAL("sleep="))) {
        point->action = ACTION_SLEEP;
        return parse_count((struct str_view){ text.data + 6, text.len - 6 }, &point->sleep_ms);
    }
    if (!str_next(&text, '@', &word))
        return false;
    if (str_equal(word, STR_LITERAL("kill")))
        point->action = ACTION_KILL;
    else if (str_equal(word, STR_LITERAL("error")) || str_equal(word, STR_LITERAL("drop")))
        point->action = ACTION_ERROR;
    else
        return false;
    return text.len == 0 || parse_count(text, &point->at_pass);
}

static bool arm(struct str_view spec, struct err *err)
{
    struct str_view whole = spec, name = { 0 };
    struct armed point = { 0 };
    size_t index = 0;

    if (!str_next(&spec, ':', &name) || !find(name, &index))
        return err_set(err, ERR_CONFIG,
            "GUICHET_FAILPOINT: '%.*s' is not a failpoint; --failpoints lists them",
            (int)name.len, name.data);
    if (!parse_action(spec, &point))
        return err_set(err, ERR_CONFIG,
            "GUICHET_FAILPOINT: '%.*s': the action is kill, kill@N, error, error@N, drop or sleep=MS",
            (int)whole.len, whole.data);
    point.name = failpoints[index].name;
    armed[index] = point;
    return true;
}

bool failpoint_init(struct err *err)
{
    struct str_view rest = str_view_of(getenv("GUICHET_FAILPOINT"));
    struct str_view spec;

    memset(armed, 0, sizeof(armed));
    while (str_next(&rest, ',', &spec)) {
        if (!arm(spec, err))
            return false;
    }
    return true;
}

static void sleep_here(uint64_t ms)
{
    struct timespec wait = { .tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000 };

    if (excuse.fn != NULL)
        excuse.fn(excuse.arg);
    while (nanosleep(&wait, &wait) != 0)
        ;
}

bool failpoint_hit(const char *name)
{
    struct armed *point;
    size_t index = 0;

    if (!find(str_view_of(name), &index)) {
        fprintf(stderr, "failpoint '%s' is not in the table of ops/failpoint.c\n", name);
        abort();
    }
    point = &armed[index];
    if (point->name == NULL)
        return false;
    point->passes++;
    log_event(LOG_ERROR, "failpoint", LOG_TEXT("name", name), LOG_NUMBER("pass", point->passes));
    switch (point->action) {
    case ACTION_KILL:
        if (point->passes >= point->at_pass)
            kill(getpid(), SIGKILL);
        return false;
    case ACTION_ERROR:
        return point->at_pass == 0 || point->passes == point->at_pass;
    case ACTION_SLEEP:
        sleep_here(point->sleep_ms);
        return false;
    }
    return false;
}

#else

void failpoint_set_excuse(failpoint_excuse_fn *fn, void *arg)
{
    (void)fn;
    (void)arg;
}

bool failpoint_init(struct err *err)
{
    if (getenv("GUICHET_FAILPOINT") != NULL)
        return err_set(err, ERR_CONFIG, "GUICHET_FAILPOINT is set, but this build has no failpoints");
    return true;
}

#endif
