/* SPDX-License-Identifier: Apache-2.0 */
/* rows.c - rows of the database as messages of the contract, in the column order of statements.c. */
#include "rows.h"

#include <stdlib.h>
#include <string.h>

#include "core/pbtime.h"

/* A message of this type in the arena, initialised; the budget of a request is far beyond a page of rows. */
#define NEW(arena, type, init)                                                                               \
    __extension__({                                                                                          \
        type *made_ = arena_alloc((arena), sizeof(type));                                                    \
        if (made_ == NULL)                                                                                   \
            abort();                                                                                         \
        init(made_);                                                                                         \
        made_;                                                                                               \
    })
#define TEXT(column) routing_row_text(work, result, row, (column))
#define NUMBER(column) db_i64(result, row, (column))
#define TIME(column) pbtime_new(arena, db_time_us(result, row, (column)))

char *routing_row_text(const struct db_work *work, const struct db_result *result, size_t row, size_t column)
{
    return db_text(work, result, row, column);
}

/* "a b c" -> its words. */
static char **split_words(struct str_view text, struct arena *arena, size_t *ret_count)
{
    size_t most = text.len == 0 ? 0 : 1, count = 0;
    struct str_view piece;
    char **words;

    for (size_t i = 0; i < text.len; i++)
        most += text.data[i] == ' ';
    words = arena_alloc(arena, (most + 1) * sizeof(*words));
    if (words == NULL)
        abort();
    while (text.len > 0 && str_next(&text, ' ', &piece))
        words[count++] = arena_dup(arena, piece);
    *ret_count = count;
    return words;
}

Guichet__V1__Agent *routing_row_agent(const struct db_work *work, const struct db_result *result, size_t row,
                                      struct arena *arena)
{
    Guichet__V1__Agent *agent = NEW(arena, Guichet__V1__Agent, guichet__v1__agent__init);

    agent->tenant = TEXT(0);
    agent->id = TEXT(1);
    agent->login = TEXT(2);
    agent->display_name = TEXT(3);
    agent->role = (Guichet__V1__Role)NUMBER(4);
    agent->presence = (Guichet__V1__Presence)NUMBER(5);
    agent->capacity = (uint32_t)NUMBER(6);
    agent->load = (uint32_t)NUMBER(7);
    agent->idle_since = TIME(8);
    agent->queue_ids = split_words(db_bytes(result, row, 9), arena, &agent->n_queue_ids);
    return agent;
}

Guichet__V1__WorkItem *routing_row_work(const struct db_work *work, const struct db_result *result,
                                        size_t row, size_t from, struct arena *arena)
{
    Guichet__V1__WorkItem *item = NEW(arena, Guichet__V1__WorkItem, guichet__v1__work_item__init);

    item->tenant = TEXT(from);
    item->conversation_id = TEXT(from + 1);
    item->state = (Guichet__V1__WorkState)NUMBER(from + 2);
    item->queue_id = TEXT(from + 3);
    item->agent_id = TEXT(from + 4);
    item->waiting_since = item->state == GUICHET__V1__WORK_STATE__WORK_STATE_WAITING ? TIME(from + 5) : NULL;
    item->assigned_at = TIME(from + 6);
    item->updated_at = TIME(from + 7);
    item->version = (uint32_t)NUMBER(from + 8);
    item->reason = TEXT(from + 9);
    return item;
}

Guichet__V1__ChannelAccount *routing_row_account(const struct db_work *work, const struct db_result *result,
                                                 size_t row, struct arena *arena)
{
    Guichet__V1__ChannelAccount *account =
        NEW(arena, Guichet__V1__ChannelAccount, guichet__v1__channel_account__init);
    struct str_view packed = db_bytes(result, row, 6);

    account->tenant = TEXT(0);
    account->id = TEXT(1);
    account->channel = TEXT(2);
    account->address = TEXT(3);
    account->display_name = TEXT(4);
    account->queue_id = TEXT(5);
    account->capabilities =
        guichet__v1__capabilities__unpack(arena_protobuf(arena), packed.len, (const uint8_t *)packed.data);
    account->announced_at = TIME(7);
    account->is_connected = NUMBER(8) != 0;
    return account;
}

Guichet__V1__Delivery *routing_row_delivery(const struct db_work *work, const struct db_result *result,
                                            size_t row, struct arena *arena)
{
    Guichet__V1__Delivery *delivery = NEW(arena, Guichet__V1__Delivery, guichet__v1__delivery__init);

    delivery->tenant = TEXT(0);
    delivery->id = TEXT(1);
    delivery->message_id = TEXT(2);
    delivery->conversation_id = TEXT(3);
    delivery->thread_id = TEXT(4);
    delivery->account_id = TEXT(5);
    delivery->state = (Guichet__V1__DeliveryState)NUMBER(6);
    delivery->attempt_count = (uint32_t)NUMBER(7);
    delivery->provider_id = TEXT(8);
    delivery->reason = (Guichet__V1__FailureReason)NUMBER(9);
    delivery->provider_code = TEXT(10);
    delivery->provider_text = TEXT(11);
    delivery->queued_at = TIME(12);
    delivery->next_attempt_at = TIME(13);
    delivery->updated_at = TIME(14);
    return delivery;
}

static Guichet__V1__MessageSummary *event_message(const struct db_work *work, const struct db_result *result,
                                                  size_t row, struct arena *arena)
{
    Guichet__V1__MessageSummary *message =
        NEW(arena, Guichet__V1__MessageSummary, guichet__v1__message_summary__init);

    message->id = TEXT(11);
    message->thread_id = TEXT(12);
    message->sequence = (uint32_t)NUMBER(13);
    message->direction = (Guichet__V1__MessageDirection)NUMBER(14);
    message->kind = (Guichet__V1__MessageKind)NUMBER(15);
    message->channel = TEXT(16);
    message->account_id = TEXT(17);
    message->text = TEXT(18);
    message->occurred_at = TIME(19);
    return message;
}

static Guichet__V1__Delivery *event_delivery(const struct db_work *work, const struct db_result *result,
                                             size_t row, struct arena *arena)
{
    Guichet__V1__Delivery *delivery = NEW(arena, Guichet__V1__Delivery, guichet__v1__delivery__init);

    delivery->id = TEXT(20);
    delivery->message_id = TEXT(11);
    delivery->conversation_id = TEXT(3);
    delivery->thread_id = TEXT(12);
    delivery->account_id = TEXT(17);
    delivery->state = (Guichet__V1__DeliveryState)NUMBER(21);
    delivery->attempt_count = (uint32_t)NUMBER(22);
    delivery->provider_id = TEXT(23);
    delivery->reason = (Guichet__V1__FailureReason)NUMBER(24);
    delivery->provider_code = TEXT(25);
    delivery->provider_text = TEXT(26);
    delivery->queued_at = TIME(27);
    delivery->next_attempt_at = TIME(28);
    delivery->updated_at = TIME(2);
    return delivery;
}

static bool has_message(Guichet__V1__EventType type)
{
    return type == GUICHET__V1__EVENT_TYPE__EVENT_TYPE_MESSAGE_RECEIVED ||
           type == GUICHET__V1__EVENT_TYPE__EVENT_TYPE_MESSAGE_QUEUED ||
           type == GUICHET__V1__EVENT_TYPE__EVENT_TYPE_NOTE_ADDED ||
           type == GUICHET__V1__EVENT_TYPE__EVENT_TYPE_MESSAGE_UPDATED;
}

Guichet__V1__Event *routing_row_event(const struct db_work *work, const struct db_result *result, size_t row,
                                      const char *tenant, struct arena *arena)
{
    Guichet__V1__Event *event = NEW(arena, Guichet__V1__Event, guichet__v1__event__init);

    event->tenant = (char *)tenant;
    event->sequence = (uint64_t)NUMBER(0);
    event->type = (Guichet__V1__EventType)NUMBER(1);
    event->at = TIME(2);
    event->conversation_id = TEXT(3);
    event->conversation_number = (uint32_t)NUMBER(4);
    event->agent_id = TEXT(5);
    event->previous_agent_id = TEXT(6);
    event->queue_id = TEXT(7);
    event->actor_id = TEXT(8);
    event->customer_id = TEXT(9);
    event->reason = TEXT(10);
    if (has_message(event->type))
        event->message = event_message(work, result, row, arena);
    if (!db_is_null(result, row, 20)) {
        event->delivery = event_delivery(work, result, row, arena);
        event->delivery->tenant = event->tenant;
    }
    event->presence = (Guichet__V1__Presence)NUMBER(29);
    event->dead_letter_id = TEXT(30);
    event->other_customer_id = TEXT(31);
    event->other_conversation_id = TEXT(32);
    return event;
}

Guichet__V1__DeadLetter *routing_row_dead_letter(const struct db_work *work, const struct db_result *result,
                                                 size_t row, struct arena *arena)
{
    Guichet__V1__DeadLetter *letter = NEW(arena, Guichet__V1__DeadLetter, guichet__v1__dead_letter__init);

    letter->tenant = TEXT(0);
    letter->id = TEXT(1);
    letter->kind = (Guichet__V1__DeadLetterKind)NUMBER(2);
    letter->state = (Guichet__V1__DeadLetterState)NUMBER(3);
    letter->account_id = TEXT(4);
    letter->conversation_id = TEXT(5);
    letter->message_id = TEXT(6);
    letter->subject = TEXT(7);
    letter->reason = TEXT(8);
    letter->attempt_count = (uint32_t)NUMBER(9);
    letter->at = TIME(10);
    letter->resolved_at = TIME(11);
    letter->resolved_by = TEXT(12);
    letter->replay_count = (uint32_t)NUMBER(13);
    letter->replay_error = TEXT(14);
    return letter;
}
