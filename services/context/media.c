/* SPDX-License-Identifier: Apache-2.0 */
/* media.c - SetMedia: a media part of an inbound message was fetched, could not be, or is to be fetched again.
 *
 * What is known of the part grows by appending: in Protocol Buffers, bytes put behind a packed message set the
 * fields they have and leave the others. So the report decides about state, size, type and hash, and gives a name where
 * the provider has one only with the file; caption and place in the text stay as they came, all in one statement. */
#include "context.h"

#include <string.h>

#include "ops/failpoint.h"
#include "record_row.h"
#include "rows.h"
#include "statements.h"

enum { SHA256_BYTES = 32, ERROR_MAX_BYTES = 1024, TYPE_MAX_BYTES = 256, ACTOR_MAX_BYTES = 128 };
enum { FILE_NAME_MAX_BYTES = 512 };

enum set_column { SET_IS_CHANGED, SET_CHANGE_SEQUENCE, SET_MEDIA };

static bool is_state(const Guichet__V1__SetMediaRequest *input, Guichet__V1__MediaState state)
{
    return input->media->state == state;
}

static bool check(const Guichet__V1__SetMediaRequest *input, struct err *err)
{
    const Guichet__V1__Media *media = input->media;

    if (media == NULL)
        return err_set(err, ERR_INVALID, "media: is missing");
    if (input->part_index > INT16_MAX)
        return err_set(err, ERR_INVALID, "part_index: %u, no message has so many", input->part_index);
    if (is_state(input, GUICHET__V1__MEDIA_STATE__MEDIA_STATE_STORED)) {
        if (media->sha256.len != SHA256_BYTES)
            return err_set(err, ERR_INVALID, "media.sha256: has %zu bytes, not %d", media->sha256.len,
                           SHA256_BYTES);
    } else if (!is_state(input, GUICHET__V1__MEDIA_STATE__MEDIA_STATE_FAILED) &&
               !is_state(input, GUICHET__V1__MEDIA_STATE__MEDIA_STATE_PENDING)) {
        return err_set(err, ERR_INVALID, "media.state: %d is none of pending, stored, failed", media->state);
    }
    if (FAILPOINT("context_before_set_media"))
        return err_set(err, ERR_UNAVAILABLE, "failpoint: nothing is written");
    return context_check_id("message_id", input->message_id, err) &&
           context_check_text("media.content_type", media->content_type, TYPE_MAX_BYTES, err) &&
           context_check_text("media.file_name", media->file_name, FILE_NAME_MAX_BYTES, err) &&
           context_check_text("actor_id", input->actor_id, ACTOR_MAX_BYTES, err);
}

static char *error_text(const Guichet__V1__SetMediaRequest *input, struct arena *arena)
{
    struct str_view text = str_view_of(input->media->error);

    if (!is_state(input, GUICHET__V1__MEDIA_STATE__MEDIA_STATE_FAILED))
        return arena_strdup(arena, "");
    if (text.len == 0)
        return arena_strdup(arena, "could not be fetched");
    text.len = utf8_cut(text, ERROR_MAX_BYTES);
    return arena_dup(arena, text);
}

/* The fields that the report decides. An empty error must be written out: left out, the old one would stay. */
static struct str_view pack_report(const Guichet__V1__SetMediaRequest *input, char *error, struct arena *arena)
{
    static const char no_error[] = { 12 << 3 | 2, 0 }; /* field 12, a text of no bytes */
    Guichet__V1__Media report = GUICHET__V1__MEDIA__INIT;
    struct str_view packed;
    char *bytes;

    report.state = input->media->state;
    report.error = error;
    if (is_state(input, GUICHET__V1__MEDIA_STATE__MEDIA_STATE_STORED)) {
        report.sha256 = input->media->sha256;
        report.size_bytes = input->media->size_bytes;
        report.content_type = input->media->content_type;
        report.file_name = input->media->file_name; /* none: the old one stays */
    }
    packed = record_pack(&report.base, arena);
    bytes = context_alloc(arena, packed.len + sizeof(no_error));
    memcpy(bytes, packed.data, packed.len);
    if (error[0] != '\0')
        return (struct str_view){ bytes, packed.len };
    memcpy(bytes + packed.len, no_error, sizeof(no_error));
    return (struct str_view){ bytes, packed.len + sizeof(no_error) };
}

static void on_set(void *arg, struct db_work *work, const struct err *err)
{
    struct call *call = arg;
    Guichet__V1__SetMediaReply reply = GUICHET__V1__SET_MEDIA_REPLY__INIT;
    const struct db_result *result;
    struct err lost = { 0 };
    struct str_view packed;

    if (err->kind == ERR_NONE && FAILPOINT("context_after_set_media_commit_before_reply")) {
        (void)err_set(&lost, ERR_UNAVAILABLE, "failpoint: committed, not answered");
        err = &lost;
    }
    if (err->kind != ERR_NONE) {
        context_call_fail(call, err);
        return;
    }
    result = db_work_result(work, 0);
    packed = db_bytes(result, 0, SET_MEDIA);
    reply.is_changed = db_i64(result, 0, SET_IS_CHANGED) != 0;
    reply.change_sequence = (uint64_t)db_i64(result, 0, SET_CHANGE_SEQUENCE);
    reply.media = guichet__v1__media__unpack(arena_protobuf(call->arena), packed.len,
                                             (const uint8_t *)packed.data);
    context_ring(call->context, call->tenant, reply.change_sequence);
    context_call_reply(call, &reply);
}

void context_set_media(Guichet__V1__Context_Service *service, const Guichet__V1__SetMediaRequest *input,
                       Guichet__V1__SetMediaReply_Closure closure, void *closure_data)
{
    struct call *call = CALL_OPEN(service, input->tenant, closure, closure_data);
    struct err err = { 0 };
    struct db_work *work;
    char *error;

    if (call == NULL)
        return;
    if (!check(input, &err)) {
        context_call_fail(call, &err);
        return;
    }
    error = error_text(input, call->arena);
    work = db_work_new(call->context->database.ingest);
    db_work_add(
        work, &context_change_media,
        (struct db_param[]){
            DB_PARAM_TEXT(input->tenant), DB_PARAM_UUID(input->message_id), DB_PARAM_I32(input->part_index),
            DB_PARAM_I32(input->media->state), DB_PARAM_BYTES(pack_report(input, error, call->arena)),
            DB_PARAM_BYTES(
                ((struct str_view){ (const char *)input->media->sha256.data, input->media->sha256.len })),
            DB_PARAM_TEXT(error), DB_PARAM_TEXT(input->actor_id) },
        8);
    db_work_run(work, on_set, call);
}
