/* SPDX-License-Identifier: Apache-2.0 */
/* blob_client_read.c - down: two chunks are fetched ahead, in order, and what is there is taken at will. */
#include "service/blob_client_private.h"

#include <stdlib.h>
#include <string.h>

enum { SLOTS = 2, TIMEOUT_MS = 8000, ATTEMPT_MS = 4000 };

enum slot_state { SLOT_EMPTY, SLOT_WANTED, SLOT_ASKED, SLOT_THERE };

struct slot {
    struct blob_read *read;
    enum slot_state state;
    uint64_t offset;
    size_t len, taken;
    char *data;
};

struct blob_read {
    struct blob_link link;
    uint8_t sha256[BLOB_SHA256_BYTES];
    struct slot slots[SLOTS]; /* the next to be taken is at `first` */
    size_t first;
    uint64_t next_offset; /* of what is wanted next */
    uint64_t length, end; /* end: once the size is known */
    uint64_t size_bytes;
    bool has_size;
    struct err err;
    blob_change_fn *on_change;
    void *arg;
};

static void ask(struct slot *slot);

/* ---- what is there ---- */

enum blob_read_state blob_read_state(const struct blob_read *read)
{
    const struct slot *first = &read->slots[read->first];

    if (first->state == SLOT_THERE)
        return BLOB_READ_READY;
    if (read->err.kind != ERR_NONE)
        return BLOB_READ_FAILED;
    if (read->has_size && first->state == SLOT_EMPTY && read->next_offset >= read->end)
        return BLOB_READ_ENDED;
    return BLOB_READ_WAITING;
}

const struct err *blob_read_err(const struct blob_read *read)
{
    return &read->err;
}

uint64_t blob_read_size(const struct blob_read *read)
{
    return read->size_bytes;
}

/* ---- asking ---- */

/* Up to the next chunk's beginning, so that each request reads one chunk only. */
static void want(struct blob_read *read, struct slot *slot)
{
    slot->offset = read->next_offset;
    slot->len = BLOB_CHUNK_BYTES - read->next_offset % BLOB_CHUNK_BYTES;
    if (read->has_size && slot->len > read->end - slot->offset)
        slot->len = (size_t)(read->end - slot->offset);
    if (!read->has_size && read->length > 0 && slot->len > read->length)
        slot->len = (size_t)read->length;
    slot->taken = 0;
    slot->state = SLOT_WANTED;
    read->next_offset += slot->len;
}

/* The first request goes alone: it says how much there is. */
static void ask_all(struct blob_read *read)
{
    for (size_t i = 0; i < SLOTS; i++) {
        struct slot *slot = &read->slots[(read->first + i) % SLOTS];

        if (read->err.kind != ERR_NONE || loop_timer_is_active(read->link.retry))
            return;
        if (slot->state == SLOT_EMPTY && (read->has_size ? read->next_offset < read->end : i == 0))
            want(read, slot);
        if (slot->state == SLOT_WANTED)
            ask(slot);
    }
}

static bool take_reply(struct slot *slot, const Guichet__V1__ReadChunkReply *reply, struct err *err)
{
    struct blob_read *read = slot->read;
    uint64_t left;

    if (!read->has_size) {
        read->has_size = true;
        read->size_bytes = read->end = reply->size_bytes;
        if (read->length > 0 && slot->offset < read->end && read->length < read->end - slot->offset)
            read->end = slot->offset + read->length;
    }
    left = slot->offset < read->end ? read->end - slot->offset : 0;
    if (slot->len > left)
        slot->len = (size_t)left;
    read->next_offset = read->next_offset < read->end ? read->next_offset : read->end;
    if (reply->bytes.len != slot->len)
        return err_set(err, ERR_INTERNAL, "blob: %zu bytes came, not %zu", reply->bytes.len, slot->len);
    if (slot->len == 0) {
        slot->state = SLOT_EMPTY;
        return true;
    }
    if (slot->data == NULL && (slot->data = malloc(BLOB_CHUNK_BYTES)) == NULL)
        abort();
    memcpy(slot->data, reply->bytes.data, slot->len);
    slot->state = SLOT_THERE;
    return true;
}

static void read_free(struct blob_read *read)
{
    blob_link_done(&read->link);
    for (size_t i = 0; i < SLOTS; i++)
        free(read->slots[i].data);
    free(read);
}

static void leave(struct blob_read *read)
{
    if (blob_link_leave(&read->link))
        read_free(read);
}

static void on_reply(const Guichet__V1__ReadChunkReply *reply, void *arg)
{
    struct slot *slot = arg;
    struct blob_read *read = slot->read;
    enum blob_read_state before = blob_read_state(read);

    slot->state = SLOT_WANTED;
    if (!read->link.is_freed && read->err.kind == ERR_NONE) {
        if (reply == NULL) {
            if (!blob_link_retry(&read->link, mesh_err(), 0))
                read->err = *mesh_err();
        } else if (take_reply(slot, reply, &read->err)) {
            blob_link_progress(&read->link);
            ask_all(read);
        }
        if (before == BLOB_READ_WAITING && blob_read_state(read) != BLOB_READ_WAITING)
            read->on_change(read->arg);
    }
    leave(read);
}

static void ask(struct slot *slot)
{
    struct blob_read *read = slot->read;
    Guichet__V1__ReadChunkRequest request = GUICHET__V1__READ_CHUNK_REQUEST__INIT;
    const struct mesh_call how = { .timeout_ms = TIMEOUT_MS, .attempt_timeout_ms = ATTEMPT_MS };

    slot->state = SLOT_ASKED;
    request.tenant = (char *)read->link.access.tenant;
    request.sha256 = (ProtobufCBinaryData){ BLOB_SHA256_BYTES, read->sha256 };
    request.offset = slot->offset;
    request.max_bytes = (uint32_t)slot->len;
    guichet__v1__blobs__read_chunk(blob_link_call(&read->link, &how), &request, on_reply, slot);
}

static void on_retry(void *arg)
{
    ask_all(arg);
}

/* ---- from outside ---- */

struct blob_read *blob_read_new(const struct blob_read_options *options)
{
    struct blob_read *read = calloc(1, sizeof(*read));

    if (read == NULL)
        abort();
    blob_link_init(&read->link, &options->access, on_retry, read);
    memcpy(read->sha256, options->sha256, BLOB_SHA256_BYTES);
    read->next_offset = options->offset;
    read->length = options->length;
    read->on_change = options->on_change;
    read->arg = options->arg;
    for (size_t i = 0; i < SLOTS; i++)
        read->slots[i].read = read;
    ask_all(read);
    return read;
}

size_t blob_read_take(struct blob_read *read, void *data, size_t len)
{
    struct slot *slot = &read->slots[read->first];

    if (slot->state != SLOT_THERE)
        return 0;
    if (len > slot->len - slot->taken)
        len = slot->len - slot->taken;
    memcpy(data, slot->data + slot->taken, len);
    slot->taken += len;
    if (slot->taken == slot->len) {
        slot->state = SLOT_EMPTY;
        read->first = (read->first + 1) % SLOTS;
        ask_all(read);
    }
    return len;
}

void blob_read_free(struct blob_read **read_at)
{
    struct blob_read *read = *read_at;

    *read_at = NULL;
    if (read == NULL)
        return;
    read->link.is_freed = true;
    loop_timer_stop(read->link.retry);
    blob_link_enter(&read->link);
    leave(read);
}
