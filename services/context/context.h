/* SPDX-License-Identifier: Apache-2.0 */
/* context.h - the context service: what its parts share.
 *
 * The service keeps nothing between two requests: PostgreSQL has it all. Each request is one
 * struct call, from context_call_open() to exactly one context_call_reply() or context_call_fail(). */
#ifndef GUICHET_CONTEXT_H
#define GUICHET_CONTEXT_H

#include "blob_config.h"
#include "core/arena.h"
#include "guichet/v1/context.pb-c.h"
#include "io/mesh.h"
#include "service/database.h"
#include "service/service.h"

struct context_config {
    struct service_config service;
    struct database_config database;
    char *listen_centre;
    char *listen_gateway;
    char *publish;
    uint32_t max_in_flight;
    uint32_t reopen_window_ms;
    uint32_t events_max, changes_max;
    uint32_t content_max_bytes;
    uint32_t raw_max_bytes;
    uint32_t preview_max_bytes;
    uint32_t reply_max_bytes;
    uint32_t person_customers_max, join_messages_max;
    uint32_t partition_months_ahead, partition_interval_ms, partition_retry_ms;
    uint32_t intake_retention_days, refused_retention_days;
    struct blob_config blobs;
};

enum context_stat {
    CONTEXT_EVENTS,
    CONTEXT_BATCHES,
    CONTEXT_BATCHES_SPLIT,
    CONTEXT_RECORD_SECONDS,
    CONTEXT_OUTBOUND,
    CONTEXT_CHANGES_READ,
    CONTEXT_RESYNCS,
    CONTEXT_CALLS,
    CONTEXT_CALLS_FAILED,
    CONTEXT_PARTITIONS,
    CONTEXT_BLOBS,
    CONTEXT_BLOB_BYTES,
    CONTEXT_BLOB_FINISH_SECONDS,
    CONTEXT_BLOBS_COLLECTED,
    CONTEXT_STAT_COUNT
};

extern const struct config_key context_keys[];
extern const struct stat_info context_stats[];
extern const struct service_stats_table context_stats_tables[];
bool context_check_config(void *config, struct err *err); /* for service.check_config */
extern const struct db_migration context_migrations[];
extern const size_t context_migration_count;

struct context;
struct blobs;

/* Who calls: its listener, and what it may do there. */
struct context_role {
    Guichet__V1__Context_Service methods; /* first: the generated code hands it to the handlers */
    struct context *context;
    bool is_gateway;
};

struct context {
    struct loop *loop;
    const struct context_config *config;
    struct database database;
    struct stats *stats;
    struct context_role centre_role, gateway_role;
    struct mesh_server *centre, *gateway;
    struct mesh_publisher *publisher;
    struct loop_timer *partition_timer;
    struct blobs *blobs;
    struct record_probe *probes; /* under way */
};

bool context_new(struct service *service, const struct context_config *config, struct context **ret_context,
                 struct err *err) MUST_USE;
void context_free(struct context **context);
/* Makes the months to come and forgets what is old, now and then for good. */
void context_start_partitions(struct context *context);
/* Rings the doorbell when a commit wrote changes; 0: it did not. */
void context_ring(struct context *context, const char *tenant, uint64_t change_sequence);

/* ---- one request ---- */

struct call {
    struct context *context;
    const struct context_role *role;
    struct arena *arena; /* the call's own, it lives in it; freed by reply and fail */
    const char *tenant;
    ProtobufCClosure closure;
    void *closure_data;
    void *data; /* the handler's */
};

/* NULL: the tenant is missing or not the envelope's; the request is answered then, and its input gone. */
struct call *context_call_open(const Guichet__V1__Context_Service *service, const char *tenant,
                               ProtobufCClosure closure, void *closure_data);
#define CALL_OPEN(service, tenant, closure, closure_data)                                                    \
    context_call_open((service), (tenant), (ProtobufCClosure)(closure), (closure_data))
void context_call_reply(struct call *call, const void *reply);
void context_call_fail(struct call *call, const struct err *err);
/* Zeroed, in the call's arena; aborts past its cap, which replies are cut to stay under. */
void *context_alloc(struct arena *arena, size_t size);

bool context_check_id(const char *name, const char *id, struct err *err) MUST_USE;
/* Empty is allowed as well. */
bool context_check_optional_id(const char *name, const char *id, struct err *err) MUST_USE;
bool context_check_text(const char *name, const char *text, size_t max_bytes, struct err *err) MUST_USE;
/* A page's limit, with its default; its after_id. */
bool context_check_page(const Guichet__V1__Page *page, uint32_t *ret_limit, const char **ret_after_id,
                        struct err *err) MUST_USE;

/* ---- the methods, as protoc-c declares them ---- */

#define CONTEXT_METHODS(METHOD)                                                                              \
    METHOD(record, RecordRequest, RecordReply)                                                               \
    METHOD(read_changes, ReadChangesRequest, ReadChangesReply)                                               \
    METHOD(store_outbound, StoreOutboundRequest, StoreOutboundReply)                                         \
    METHOD(open_thread, OpenThreadRequest, OpenThreadReply)                                                  \
    METHOD(set_conversation_state, SetConversationStateRequest, SetConversationStateReply)                   \
    METHOD(get_conversations, GetConversationsRequest, GetConversationsReply)                                \
    METHOD(list_messages, ListMessagesRequest, ListMessagesReply)                                            \
    METHOD(mark_read, MarkReadRequest, MarkReadReply)                                                        \
    METHOD(get_customer, GetCustomerRequest, GetCustomerReply)                                               \
    METHOD(find_customers, FindCustomersRequest, FindCustomersReply)                                         \
    METHOD(update_customer, UpdateCustomerRequest, GetCustomerReply)                                         \
    METHOD(timeline, TimelineRequest, ListMessagesReply)                                                     \
    METHOD(set_media, SetMediaRequest, SetMediaReply)                                                        \
    METHOD(merge_customers, MergeCustomersRequest, MergeCustomersReply)                                      \
    METHOD(unmerge_customers, UnmergeCustomersRequest, UnmergeCustomersReply)                                \
    METHOD(join_conversations, JoinConversationsRequest, JoinConversationsReply)                             \
    METHOD(get_refused, GetRefusedRequest, GetRefusedReply)                                                  \
    METHOD(replay_refused, ReplayRefusedRequest, ReplayRefusedReply)                                         \
    METHOD(audit, AuditRequest, AuditReply)

#define CONTEXT_DECLARE(name, Request, Reply)                                                                \
    void context_##name(Guichet__V1__Context_Service *service, const Guichet__V1__##Request *input,          \
                        Guichet__V1__##Reply##_Closure closure, void *closure_data);
CONTEXT_METHODS(CONTEXT_DECLARE)
#undef CONTEXT_DECLARE

#endif
