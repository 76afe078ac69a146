/* SPDX-License-Identifier: Apache-2.0 */
/* record_row.h - one inbound event as the database takes it. Pure: an event in, a row out.
 *
 * A row is flat, texts and numbers only, so that one table says how rows become the parallel
 * arrays of context.record(). Texts are borrowed from the event or live in the arena. */
#ifndef GUICHET_CONTEXT_RECORD_ROW_H
#define GUICHET_CONTEXT_RECORD_ROW_H

#include "context.h"
#include "core/id.h"

/* A MessageKind for what becomes a message, and what does not; as schema/0003 says. */
enum record_what {
    RECORD_MESSAGE = 1,
    RECORD_EDIT = 2,
    RECORD_DELETE = 3,
    RECORD_REACTION = 4,
    RECORD_CLAIM = 5,
    RECORD_CONSENT = 6,
    RECORD_UNSUPPORTED = 7,
    RECORD_RECEIPT = 11,
    RECORD_TYPING = 12,
};

#define RECORD_HASH_BYTES 32
#define RECORD_KEY_MAX_BYTES 512

/* A media part: the provider keeps it, to be fetched; or the connector has stored it already. */
struct record_media {
    size_t part;
    struct str_view packed; /* pending, or stored */
    struct str_view sha256; /* of a stored one; else empty */
    struct str_view gone;   /* what stands instead of a stored one that is not there any more */
};

struct record_row {
    struct str_view id, account, channel, event_key, hash;
    struct str_view sender_scope, sender_value, sender_name;
    struct str_view thread_key, thread_title, thread_url, origin_key;
    struct str_view provider_id, content, preview, subject;
    struct str_view raw, raw_type, boot_id;
    const struct record_media *media; /* media_count of them */
    struct str_view word; /* reaction, proof, evidence */
    struct str_view claim_scope, claim_value, claim_name;
    struct str_view delivery_id, provider_code, provider_text;
    int64_t what;
    int64_t occurred_us, received_us, watermark_us;
    int64_t sender_kind, claim_kind;
    int64_t is_public, is_echo, flag; /* flag: is_removed, is_verified, is_stopped */
    int64_t state, reason;            /* of a receipt or a consent */
    int64_t boot_lane, boot_n; /* 0: not numbered */
    int64_t media_count;
};

/* false: the event is refused, and err says why. Even then id, account, channel, event_key, hash, what and the
 * numbering are set, fit for a refused event's row. */
bool record_row_fill(struct record_row *row, const Guichet__V1__InboundEvent *event, const char *tenant,
                     const char *channel, const struct context_config *config, struct arena *arena,
                     struct err *err) MUST_USE;
/* SHA-256 of the event without what differs from one submission to the next: when and by whom it was
 * received, and the raw payload. */
void record_hash(const Guichet__V1__InboundEvent *event, uint8_t ret_hash[RECORD_HASH_BYTES]);
/* The packed message in the arena. */
struct str_view record_pack(const ProtobufCMessage *message, struct arena *arena);

/* The media parts of this content that wait to be fetched or are stored, as rows of context.media. */
void record_media_fill(struct record_row *row, const Guichet__V1__Content *content, struct arena *arena);
/* Fit for the manifest: a boot with a name, numbers as the database has them. */
bool record_is_numbered(const char *boot_id, uint32_t boot_lane, uint64_t boot_n);

/* The rows whose indexes are given, as the parameters of context_record after the first two: one array per
 * field, then the media parts of all, each with the place of its event. */
#define RECORD_COLUMN_COUNT 40
#define RECORD_MEDIA_COLUMN_COUNT 5
#define RECORD_PARAM_COUNT (RECORD_COLUMN_COUNT + RECORD_MEDIA_COLUMN_COUNT)
void record_row_params(const struct record_row *rows, const size_t *indexes, size_t count,
                       struct arena *arena, struct db_param ret_params[RECORD_PARAM_COUNT]);

#endif
