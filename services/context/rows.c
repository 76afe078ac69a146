/* SPDX-License-Identifier: Apache-2.0 */
/* rows.c - conversations, threads and messages from their columns (statements.c). */
#include "rows.h"

#include <string.h>

#include "core/id.h"
#include "core/pbtime.h"
#include "preview.h"

enum conversation_column {
    CONVERSATION_ID,
    CONVERSATION_NUMBER,
    CONVERSATION_STATE,
    CONVERSATION_CUSTOMER_ID,
    CONVERSATION_CUSTOMER_NAME,
    CONVERSATION_SUBJECT,
    CONVERSATION_OPENED_AT,
    CONVERSATION_CLOSED_AT,
    CONVERSATION_LAST_MESSAGE_AT,
    CONVERSATION_LAST_PREVIEW,
    CONVERSATION_VERSION,
    CONVERSATION_JOINED_INTO_ID,
    CONVERSATION_LINKED_IDS, /* with commas between */
    CONVERSATION_LAST_KIND,  /* of the last message, where there is no preview */
    CONVERSATION_LAST_IS_REMOVED,
    CONVERSATION_LAST_REACTION,
    CONVERSATION_LAST_CONTENT,
    CONVERSATION_UNREAD_COUNT,
};

enum thread_column {
    THREAD_ID,
    THREAD_CONVERSATION_ID,
    THREAD_ACCOUNT_ID,
    THREAD_CHANNEL,
    THREAD_KEY,
    THREAD_IS_PUBLIC,
    THREAD_TITLE,
    THREAD_URL,
    THREAD_LAST_SEQUENCE,
    THREAD_LAST_INBOUND_AT,
    THREAD_IDENTITY,
};

enum identity_column {
    IDENTITY_ID,
    IDENTITY_KIND,
    IDENTITY_SCOPE,
    IDENTITY_VALUE,
    IDENTITY_DISPLAY_NAME,
    IDENTITY_CUSTOMER_ID,
    IDENTITY_IS_VERIFIED,
    IDENTITY_CREATED_AT,
};

enum message_column {
    MESSAGE_ID,
    MESSAGE_CONVERSATION_ID,
    MESSAGE_THREAD_ID,
    MESSAGE_SEQUENCE,
    MESSAGE_DIRECTION,
    MESSAGE_KIND,
    MESSAGE_CHANNEL,
    MESSAGE_ACCOUNT_ID,
    MESSAGE_CUSTOMER_ID,
    MESSAGE_IDENTITY_ID,
    MESSAGE_CONTENT,
    MESSAGE_PROVIDER_ID,
    MESSAGE_AUTHOR_ID,
    MESSAGE_OCCURRED_AT,
    MESSAGE_RECEIVED_AT,
    MESSAGE_COMMITTED_AT,
    MESSAGE_REACTION,
    MESSAGE_IS_REMOVED,
    MESSAGE_MEDIA,
};

struct rows rows_of(const struct call *call, const struct db_work *work, size_t statement)
{
    return (struct rows){ work, db_work_result(work, statement), call->arena, call->tenant,
                          call->context->config->preview_max_bytes };
}

char *rows_text(const struct rows *rows, size_t row, size_t column)
{
    return db_text(rows->work, rows->result, row, column);
}

Google__Protobuf__Timestamp *rows_time(const struct rows *rows, size_t row, size_t column)
{
    return pbtime_new(rows->arena, db_time_us(rows->result, row, column));
}

ProtobufCBinaryData rows_bytes(const struct rows *rows, size_t row, size_t column)
{
    struct str_view bytes = db_bytes(rows->result, row, column);

    return (ProtobufCBinaryData){ bytes.len, (uint8_t *)bytes.data };
}

static int64_t number(const struct rows *rows, size_t row, size_t column)
{
    return db_i64(rows->result, row, column);
}

Guichet__V1__Content *rows_content(const struct rows *rows, size_t row, size_t column)
{
    struct str_view packed = db_bytes(rows->result, row, column);
    Guichet__V1__Content *content =
        guichet__v1__content__unpack(arena_protobuf(rows->arena), packed.len, (const uint8_t *)packed.data);

    if (content == NULL) {
        content = context_alloc(rows->arena, sizeof(*content));
        guichet__v1__content__init(content);
    }
    return content;
}

size_t rows_message_bytes(const struct rows *rows, size_t row)
{
    return db_bytes(rows->result, row, MESSAGE_CONTENT).len + db_bytes(rows->result, row, MESSAGE_MEDIA).len;
}

/* ---- media ---- */

enum { MEDIA_HEAD_BYTES = 8 }; /* index and length, big-endian */

static uint32_t read_u32(struct str_view bytes, size_t at)
{
    const uint8_t *from = (const uint8_t *)bytes.data + at;

    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static bool next_media(struct str_view *rest, uint32_t *ret_index, struct str_view *ret_packed)
{
    uint32_t len;

    if (rest->len < MEDIA_HEAD_BYTES)
        return false;
    *ret_index = read_u32(*rest, 0);
    len = read_u32(*rest, 4);
    if (len > rest->len - MEDIA_HEAD_BYTES)
        return false;
    *ret_packed = (struct str_view){ rest->data + MEDIA_HEAD_BYTES, len };
    *rest = (struct str_view){ rest->data + MEDIA_HEAD_BYTES + len, rest->len - MEDIA_HEAD_BYTES - len };
    return true;
}

Guichet__V1__MediaPart **rows_media(const struct rows *rows, size_t row, size_t column, size_t *ret_count)
{
    struct str_view bytes = db_bytes(rows->result, row, column), packed;
    Guichet__V1__MediaPart **parts =
        context_alloc(rows->arena, (bytes.len / MEDIA_HEAD_BYTES + 1) * sizeof(*parts));
    uint32_t index;
    size_t count = 0;

    while (next_media(&bytes, &index, &packed)) {
        Guichet__V1__MediaPart *part = context_alloc(rows->arena, sizeof(*part));

        guichet__v1__media_part__init(part);
        part->part_index = index;
        part->media = guichet__v1__media__unpack(arena_protobuf(rows->arena), packed.len,
                                                 (const uint8_t *)packed.data);
        if (part->media != NULL)
            parts[count++] = part;
    }
    *ret_count = count;
    return parts;
}

/* Content never changes; how its media stand is kept beside it. */
static void overlay_media(const struct rows *rows, size_t row, Guichet__V1__Content *content)
{
    size_t count;
    Guichet__V1__MediaPart **media;

    if (db_is_null(rows->result, row, MESSAGE_MEDIA))
        return;
    media = rows_media(rows, row, MESSAGE_MEDIA, &count);
    for (size_t i = 0; i < count; i++)
        if (media[i]->part_index < content->n_parts &&
            content->parts[media[i]->part_index]->kind_case == GUICHET__V1__PART__KIND_MEDIA)
            content->parts[media[i]->part_index]->media = media[i]->media;
}

char **rows_ids(const struct rows *rows, size_t row, size_t column, size_t *ret_count)
{
    char *text = rows_text(rows, row, column);
    size_t count = (strlen(text) + 1) / ID_TEXT_BYTES;
    char **ids = context_alloc(rows->arena, (count + 1) * sizeof(*ids));

    for (size_t i = 0; i < count; i++) {
        ids[i] = text + i * ID_TEXT_BYTES;
        ids[i][ID_TEXT_BYTES - 1] = '\0';
    }
    *ret_count = count;
    return ids;
}

/* What a split left has no preview of its own until somebody writes. */
static char *read_preview(const struct rows *rows, size_t row)
{
    struct str_view preview;

    if (!db_is_null(rows->result, row, CONVERSATION_LAST_PREVIEW))
        return rows_text(rows, row, CONVERSATION_LAST_PREVIEW);
    if (db_is_null(rows->result, row, CONVERSATION_LAST_KIND))
        return arena_strdup(rows->arena, "");
    preview = preview_stored((Guichet__V1__MessageKind)number(rows, row, CONVERSATION_LAST_KIND),
                             number(rows, row, CONVERSATION_LAST_IS_REMOVED) != 0,
                             rows_text(rows, row, CONVERSATION_LAST_REACTION),
                             rows_content(rows, row, CONVERSATION_LAST_CONTENT), rows->preview_max_bytes);
    return arena_printf(rows->arena, "%.*s", (int)preview.len, preview.data);
}

Guichet__V1__Conversation *rows_conversation(const struct rows *rows, size_t row)
{
    Guichet__V1__Conversation *conversation = context_alloc(rows->arena, sizeof(*conversation));

    guichet__v1__conversation__init(conversation);
    conversation->tenant = (char *)rows->tenant;
    conversation->id = rows_text(rows, row, CONVERSATION_ID);
    conversation->number = (uint32_t)number(rows, row, CONVERSATION_NUMBER);
    conversation->state = (Guichet__V1__ConversationState)number(rows, row, CONVERSATION_STATE);
    conversation->customer_id = rows_text(rows, row, CONVERSATION_CUSTOMER_ID);
    conversation->customer_name = rows_text(rows, row, CONVERSATION_CUSTOMER_NAME);
    conversation->subject = rows_text(rows, row, CONVERSATION_SUBJECT);
    conversation->opened_at = rows_time(rows, row, CONVERSATION_OPENED_AT);
    conversation->closed_at = rows_time(rows, row, CONVERSATION_CLOSED_AT);
    conversation->last_message_at = rows_time(rows, row, CONVERSATION_LAST_MESSAGE_AT);
    conversation->last_preview = read_preview(rows, row);
    conversation->version = (uint32_t)number(rows, row, CONVERSATION_VERSION);
    conversation->joined_into_id = rows_text(rows, row, CONVERSATION_JOINED_INTO_ID);
    conversation->linked_ids = rows_ids(rows, row, CONVERSATION_LINKED_IDS, &conversation->n_linked_ids);
    conversation->unread_count = (uint32_t)number(rows, row, CONVERSATION_UNREAD_COUNT);
    return conversation;
}

Guichet__V1__Identity *rows_identity(const struct rows *rows, size_t row, size_t first_column)
{
    Guichet__V1__Identity *identity = context_alloc(rows->arena, sizeof(*identity));
    Guichet__V1__Address *address = context_alloc(rows->arena, sizeof(*address));

    guichet__v1__identity__init(identity);
    guichet__v1__address__init(address);
    address->kind = (Guichet__V1__IdentityKind)number(rows, row, first_column + IDENTITY_KIND);
    address->scope = rows_text(rows, row, first_column + IDENTITY_SCOPE);
    address->value = rows_text(rows, row, first_column + IDENTITY_VALUE);
    address->display_name = rows_text(rows, row, first_column + IDENTITY_DISPLAY_NAME);
    identity->tenant = (char *)rows->tenant;
    identity->id = rows_text(rows, row, first_column + IDENTITY_ID);
    identity->address = address;
    identity->customer_id = rows_text(rows, row, first_column + IDENTITY_CUSTOMER_ID);
    identity->is_verified = number(rows, row, first_column + IDENTITY_IS_VERIFIED) != 0;
    identity->created_at = rows_time(rows, row, first_column + IDENTITY_CREATED_AT);
    return identity;
}

Guichet__V1__Thread *rows_thread(const struct rows *rows, size_t row)
{
    Guichet__V1__Thread *thread = context_alloc(rows->arena, sizeof(*thread));

    guichet__v1__thread__init(thread);
    thread->tenant = (char *)rows->tenant;
    thread->id = rows_text(rows, row, THREAD_ID);
    thread->conversation_id = rows_text(rows, row, THREAD_CONVERSATION_ID);
    thread->account_id = rows_text(rows, row, THREAD_ACCOUNT_ID);
    thread->channel = rows_text(rows, row, THREAD_CHANNEL);
    thread->identity = rows_identity(rows, row, THREAD_IDENTITY);
    thread->key = rows_text(rows, row, THREAD_KEY);
    thread->is_public = number(rows, row, THREAD_IS_PUBLIC) != 0;
    thread->title = rows_text(rows, row, THREAD_TITLE);
    thread->url = rows_text(rows, row, THREAD_URL);
    thread->last_sequence = (uint32_t)number(rows, row, THREAD_LAST_SEQUENCE);
    thread->last_inbound_at = rows_time(rows, row, THREAD_LAST_INBOUND_AT);
    return thread;
}

Guichet__V1__Message *rows_message(const struct rows *rows, size_t row)
{
    Guichet__V1__Message *message = context_alloc(rows->arena, sizeof(*message));

    guichet__v1__message__init(message);
    message->tenant = (char *)rows->tenant;
    message->id = rows_text(rows, row, MESSAGE_ID);
    message->conversation_id = rows_text(rows, row, MESSAGE_CONVERSATION_ID);
    message->thread_id = rows_text(rows, row, MESSAGE_THREAD_ID);
    message->sequence = (uint32_t)number(rows, row, MESSAGE_SEQUENCE);
    message->direction = (Guichet__V1__MessageDirection)number(rows, row, MESSAGE_DIRECTION);
    message->kind = (Guichet__V1__MessageKind)number(rows, row, MESSAGE_KIND);
    message->channel = rows_text(rows, row, MESSAGE_CHANNEL);
    message->account_id = rows_text(rows, row, MESSAGE_ACCOUNT_ID);
    message->customer_id = rows_text(rows, row, MESSAGE_CUSTOMER_ID);
    message->identity_id = rows_text(rows, row, MESSAGE_IDENTITY_ID);
    message->content = rows_content(rows, row, MESSAGE_CONTENT);
    overlay_media(rows, row, message->content);
    message->provider_id = rows_text(rows, row, MESSAGE_PROVIDER_ID);
    message->author_id = rows_text(rows, row, MESSAGE_AUTHOR_ID);
    message->occurred_at = rows_time(rows, row, MESSAGE_OCCURRED_AT);
    message->received_at = rows_time(rows, row, MESSAGE_RECEIVED_AT);
    message->committed_at = rows_time(rows, row, MESSAGE_COMMITTED_AT);
    message->reaction = rows_text(rows, row, MESSAGE_REACTION);
    message->is_removed = number(rows, row, MESSAGE_IS_REMOVED) != 0;
    return message;
}
