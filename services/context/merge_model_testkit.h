/* SPDX-License-Identifier: Apache-2.0 */
/* merge_model_testkit.h - for x_test.c only: what context must do with people, conversations and threads, in plain C.
 *
 * One world is one tenant. Everything is small arrays and full scans: what is simple can be believed. Ids are
 * the database's, learnt from its first answer; "" until then. A customer has the index of the address that
 * they first wrote from. */
#ifndef GUICHET_CONTEXT_MERGE_MODEL_TESTKIT_H
#define GUICHET_CONTEXT_MERGE_MODEL_TESTKIT_H

#include "core/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/id.h"

enum { PEOPLE = 16, ACCOUNTS = 2, KEYS = 3, KEY_PUBLIC = 2, EDGES_MAX = 4000, THREADS_MAX = 8000 };
enum { CONVERSATIONS_MAX = 8000, MESSAGES_MAX = 16000, NONE = -1 };
enum message_kind { SAID, CLAIMED, REPLIED, NOTED };

struct m_thread {
    char id[ID_TEXT_BYTES];
    int person, account, key, conversation;
    unsigned last_sequence;
    int last_inbound; /* the message, NONE */
    bool is_current;
};

struct m_conversation {
    char id[ID_TEXT_BYTES];
    int customer, joined_into;
    unsigned number;
    bool is_open;
};

struct m_message {
    char id[ID_TEXT_BYTES];
    enum message_kind kind;
    int customer, conversation, thread;
    int account, key, claimed; /* as it was said */
    unsigned sequence;
};

struct m_edge {
    char id[ID_TEXT_BYTES];
    int one, other, key; /* key: NONE for a claim's */
    bool is_active;
};

struct model {
    char customers[PEOPLE][ID_TEXT_BYTES];
    bool is_known[PEOPLE];
    int person_of[PEOPLE]; /* the smallest index that edges connect with */
    struct m_thread *threads;
    struct m_conversation *conversations;
    struct m_message *messages;
    struct m_edge *edges;
    int thread_count, conversation_count, message_count, edge_count;
    uint64_t change_count;
    uint64_t merge_changes, unmerge_changes, split_changes, join_changes;
};

static inline void *model_array(size_t count, size_t size)
{
    void *array = calloc(count, size);

    if (array == NULL)
        abort();
    return array;
}

static inline void model_init(struct model *model)
{
    memset(model, 0, sizeof(*model));
    model->threads = model_array(THREADS_MAX, sizeof(*model->threads));
    model->conversations = model_array(CONVERSATIONS_MAX, sizeof(*model->conversations));
    model->messages = model_array(MESSAGES_MAX, sizeof(*model->messages));
    model->edges = model_array(EDGES_MAX, sizeof(*model->edges));
    for (int p = 0; p < PEOPLE; p++)
        model->person_of[p] = p;
}

static inline void model_done(struct model *model)
{
    free(model->threads);
    free(model->conversations);
    free(model->messages);
    free(model->edges);
}

static inline int model_added(int *count, int max)
{
    if (*count == max)
        fail_msg("the model is too small: %d", max);
    return (*count)++;
}

/* ---- persons ---- */

static inline void model_connect(struct model *model)
{
    bool is_changed = true;

    for (int p = 0; p < PEOPLE; p++)
        model->person_of[p] = p;
    while (is_changed) {
        is_changed = false;
        for (int e = 0; e < model->edge_count; e++) {
            int *one = &model->person_of[model->edges[e].one],
                *other = &model->person_of[model->edges[e].other];
            int least = *one < *other ? *one : *other;

            if (!model->edges[e].is_active || *one == *other)
                continue;
            *one = *other = least;
            is_changed = true;
        }
    }
}

static inline bool model_is_one(const struct model *model, int customer, int other)
{
    return model->person_of[customer] == model->person_of[other];
}

/* The edge between the two: the active one, or with is_any the first there ever was. */
static inline int model_edge_between(const struct model *model, int one, int other, bool is_any)
{
    for (int e = 0; e < model->edge_count; e++) {
        const struct m_edge *edge = &model->edges[e];

        if ((edge->is_active || is_any) &&
            ((edge->one == one && edge->other == other) || (edge->one == other && edge->other == one)))
            return e;
    }
    return NONE;
}

static inline int model_merge(struct model *model, int one, int other, int key)
{
    int e = model_added(&model->edge_count, EDGES_MAX);

    model->edges[e] = (struct m_edge){ .one = one, .other = other, .key = key, .is_active = true };
    model_connect(model);
    model->change_count++;
    model->merge_changes++;
    return e;
}

/* ---- places ---- */

static inline int model_open(struct model *model, int customer)
{
    int c = model_added(&model->conversation_count, CONVERSATIONS_MAX);

    model->conversations[c] = (struct m_conversation){
        .customer = customer, .joined_into = NONE, .number = (unsigned)c + 1, .is_open = true
    };
    return c;
}

static inline int model_current_thread(const struct model *model, int person, int account, int key)
{
    for (int t = 0; t < model->thread_count; t++) {
        const struct m_thread *thread = &model->threads[t];

        if (thread->is_current && thread->person == person && thread->account == account &&
            thread->key == key)
            return t;
    }
    return NONE;
}

/* The person's only open conversation, or NONE. */
static inline int model_only_open(const struct model *model, int customer)
{
    int found = NONE;

    for (int c = 0; c < model->conversation_count; c++) {
        const struct m_conversation *conversation = &model->conversations[c];

        if (!conversation->is_open || !model_is_one(model, conversation->customer, customer))
            continue;
        if (found != NONE)
            return NONE;
        found = c;
    }
    return found;
}

static inline int model_thread_for(struct model *model, int person, int account, int key, bool is_reopening)
{
    int t = model_current_thread(model, person, account, key), conversation = NONE;

    if (t != NONE) {
        struct m_conversation *there = &model->conversations[model->threads[t].conversation];

        if (there->is_open || is_reopening) {
            there->is_open = true;
            return t;
        }
    }
    if (key != KEY_PUBLIC)
        conversation = model_only_open(model, person);
    if (conversation == NONE)
        conversation = model_open(model, person);
    if (t != NONE)
        model->threads[t].is_current = false;
    t = model_added(&model->thread_count, THREADS_MAX);
    model->threads[t] = (struct m_thread){ .person = person,
                                           .account = account,
                                           .key = key,
                                           .conversation = conversation,
                                           .last_inbound = NONE,
                                           .is_current = true };
    return t;
}

static inline int model_say(struct model *model, enum message_kind kind, int conversation, int thread)
{
    int m = model_added(&model->message_count, MESSAGES_MAX);
    struct m_message *message = &model->messages[m];

    *message =
        (struct m_message){ .kind = kind, .conversation = conversation, .thread = thread, .claimed = NONE };
    message->customer =
        thread == NONE ? model->conversations[conversation].customer : model->threads[thread].person;
    if (thread != NONE)
        message->sequence = ++model->threads[thread].last_sequence;
    model->change_count++;
    return m;
}

static inline int model_receive(struct model *model, int person, int account, int key, bool is_reopening)
{
    int t = model_thread_for(model, person, account, key, is_reopening);
    int m = model_say(model, SAID, model->threads[t].conversation, t);

    model->is_known[person] = true;
    model->threads[t].last_inbound = m;
    model->messages[m].account = account;
    model->messages[m].key = key;
    return m;
}

/* The thread that the customer wrote on last. */
static inline int model_reply_thread(const struct model *model, int conversation)
{
    int found = NONE;

    for (int t = 0; t < model->thread_count; t++)
        if (model->threads[t].conversation == conversation &&
            (found == NONE || model->threads[t].last_inbound > model->threads[found].last_inbound))
            found = t;
    return found;
}

/* ---- moving ---- */

static inline void model_move_thread(struct model *model, int thread, int to)
{
    model->threads[thread].conversation = to;
    for (int m = 0; m < model->message_count; m++)
        if (model->messages[m].thread == thread)
            model->messages[m].conversation = to;
}

static inline void model_join(struct model *model, int conversation, int other)
{
    for (int t = 0; t < model->thread_count; t++)
        if (model->threads[t].conversation == other)
            model->threads[t].conversation = conversation;
    for (int m = 0; m < model->message_count; m++)
        if (model->messages[m].conversation == other)
            model->messages[m].conversation = conversation;
    model->conversations[other].is_open = false;
    model->conversations[other].joined_into = conversation;
    model->change_count++;
    model->join_changes++;
}

/* Moves the threads that are not of the conversation's person; gives the new conversation, or NONE. */
static inline int model_split(struct model *model, int conversation)
{
    int made = NONE, first = NONE;

    for (int t = 0; t < model->thread_count; t++) {
        const struct m_thread *thread = &model->threads[t];

        if (thread->conversation != conversation ||
            model_is_one(model, thread->person, model->conversations[conversation].customer))
            continue;
        if (made == NONE) {
            made = model_open(model, thread->person);
            model->conversations[made].is_open = model->conversations[conversation].is_open;
        }
        if (first == NONE || strcmp(thread->id, model->threads[first].id) < 0)
            first = t;
        model_move_thread(model, t, made);
    }
    if (made == NONE)
        return NONE;
    model->conversations[made].customer = model->threads[first].person;
    model->change_count++;
    model->split_changes++;
    return made;
}

/* Takes the edge back; ret_splits are pairs, as many as it gives. */
static inline int model_unmerge(struct model *model, int edge, int (*ret_splits)[2], int max)
{
    int until = model->conversation_count, count = 0;

    model->edges[edge].is_active = false;
    model_connect(model);
    model->change_count++;
    model->unmerge_changes++;
    for (int c = 0; c < until; c++) {
        int made = model_split(model, c);

        if (made == NONE)
            continue;
        if (count == max)
            fail_msg("more than %d splits", max);
        ret_splits[count][0] = c;
        ret_splits[count++][1] = made;
    }
    return count;
}

#endif
