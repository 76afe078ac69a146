/* SPDX-License-Identifier: Apache-2.0 */
/* connector_centre.h - for the skeleton's own tests: routing's side of the contract, in the same process.
 *
 * It keeps what it was called with, and answers as the test told it: at once, later, or with an error. */
#ifndef GUICHET_SERVICE_CONNECTOR_CENTRE_H
#define GUICHET_SERVICE_CONNECTOR_CENTRE_H

#include "service/connector_toy.h"

enum {
    CENTRE_EVENTS_MAX = 512,
    CENTRE_HELD_MAX = 64,
    CENTRE_REPORTS_MAX = 64,
    CENTRE_NUMBERS_MAX = 8192,
    CENTRE_VOID_RANGES_MAX = 1024,
    CENTRE_VOID_NUMBERS_MAX = 1 << 20
};

struct centre_held {
    Guichet__V1__SubmitReply_Closure closure;
    void *closure_data;
    const Guichet__V1__SubmitRequest *request;
};

struct centre {
    Guichet__V1__Connector_Service service; /* first: the stubs hand us this address */
    struct mesh_server *server, *pull_server;
    /* told by the test */
    uint32_t token_ttl_ms;
    const char *refused_account;
    enum err_kind announce_fails, submit_fails, start_fails, report_fails;
    unsigned submit_fails_count, start_fails_count, report_fails_count; /* so many times; UINT_MAX: always */
    const char *report_hated; /* FORBIDDEN: reports of the job with this id */
    bool is_holding;          /* submits wait for centre_release() */
    const char *poison;       /* a batch with this event key is INVALID */
    const char
        *killer; /* a batch with this one ends the centre: it does not answer, and is away for some probes */
    unsigned killer_away_count;
    Guichet__V1__RecordResult result;
    bool has_wrong_key;
    bool is_probe_answered; /* whatever becomes of the others */
    bool is_counting;       /* one lane: no number may come above one that nobody explained */
    bool is_void_hated;     /* INVALID, as are too many of them */
    bool is_start_denied;
    uint32_t lease_ms;
    const Guichet__V1__Job *job; /* given to the next pull, once */
    /* seen */
    unsigned announces, submits, pulls, starts, reports;
    size_t batch_sizes[CENTRE_EVENTS_MAX];
    char keys[CENTRE_EVENTS_MAX][64];
    uint64_t boot_ns[CENTRE_EVENTS_MAX];
    uint32_t boot_lanes[CENTRE_EVENTS_MAX];
    size_t key_count;
    unsigned probes, deads, killed, spools_announced;
    char dead_key[64], dead_reason[128];
    uint64_t voided_first, voided_last,
        spooled; /* the last range that was voided; the last count announced */
    unsigned voided;
    uint64_t voided_numbers;
    bool is_told[CENTRE_NUMBERS_MAX];
    struct centre_held held[CENTRE_HELD_MAX];
    size_t held_count;
    Guichet__V1__OutcomeKind outcome;
    Guichet__V1__FailureReason reason;
    char provider_id[64], text[256];
    uint64_t media_size;
    uint8_t media_sha256[32];
    char media_type[64], media_name[64];
    Guichet__V1__PullReply_Closure pull_closure;
    void *pull_data;
};

static bool centre_fail(enum err_kind kind, unsigned *count, void *closure_data)
{
    struct err err = { 0 };

    if (*count == 0)
        return false;
    if (*count != UINT32_MAX)
        (*count)--;
    err_set(&err, kind, "as the test wants it");
    mesh_request_fail(mesh_request_of(closure_data), &err);
    return true;
}

/* The MAC as connector.proto describes it, computed here anew. */
static void centre_check_mac(const Guichet__V1__AnnounceRequest *request)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    char hex[65] = "", text[512];

    assert_int_equal(request->nonce.len, 16);
    for (size_t i = 0; i < request->nonce.len; i++)
        snprintf(hex + 2 * i, 3, "%02x", request->nonce.data[i]);
    snprintf(text, sizeof(text), "%s\n%s\n%lld\n%s", request->connector, request->channel,
             (long long)request->at->seconds, hex);
    HMAC(EVP_sha256(), TOY_SECRET, (int)strlen(TOY_SECRET), (unsigned char *)text, strlen(text), mac, &len);
    assert_int_equal(request->mac.len, len);
    assert_memory_equal(request->mac.data, mac, len);
    assert_in_range(request->at->seconds, time_now_us() / 1000000 - 60, time_now_us() / 1000000 + 60);
}

static void centre_announce(Guichet__V1__Connector_Service *service,
                            const Guichet__V1__AnnounceRequest *request,
                            Guichet__V1__AnnounceReply_Closure closure, void *closure_data)
{
    struct centre *centre = (struct centre *)service;
    Guichet__V1__AnnounceReply reply = GUICHET__V1__ANNOUNCE_REPLY__INIT;
    Guichet__V1__RefusedAccount refused = GUICHET__V1__REFUSED_ACCOUNT__INIT, *refused_list[] = { &refused };
    unsigned always = UINT32_MAX;
    char token[32];

    centre_check_mac(request);
    centre->spools_announced += request->n_spools > 0;
    centre->spooled = request->n_spools > 0 ? request->spools[0]->event_count : 0;
    assert_string_equal(request->accounts[0]->id, "toy-1");
    assert_int_equal(request->accounts[0]->capabilities->text_max_length, 42);
    centre->announces++;
    if (centre->announce_fails != ERR_NONE) {
        centre_fail(centre->announce_fails, &always, closure_data);
        return;
    }
    reply.token.len = (size_t)snprintf(token, sizeof(token), "token-%u", centre->announces);
    reply.token.data = (uint8_t *)token;
    reply.token_ttl_ms = centre->token_ttl_ms;
    refused.id = (char *)centre->refused_account;
    refused.reason = "as the test wants it";
    reply.refused = refused_list;
    reply.n_refused = centre->refused_account != NULL;
    closure(&reply, closure_data);
}

static void centre_answer(struct centre *centre, const struct centre_held *held)
{
    Guichet__V1__SubmitReply reply = GUICHET__V1__SUBMIT_REPLY__INIT;
    struct arena *arena = mesh_request_arena(mesh_request_of(held->closure_data));

    size_t event_count = held->request->n_events;

    reply.n_results = event_count + held->request->n_dead;
    reply.results = arena_alloc(arena, (reply.n_results + 1) * sizeof(*reply.results));
    for (size_t i = 0; i < reply.n_results; i++) {
        reply.results[i] = arena_alloc(arena, sizeof(**reply.results));
        guichet__v1__recorded__init(reply.results[i]);
        reply.results[i]->event_key = centre->has_wrong_key ? "message:other"
                                      : i < event_count     ? held->request->events[i]->event_key
                                                            : held->request->dead[i - event_count]->event_key;
        reply.results[i]->result =
            i < event_count ? centre->result : GUICHET__V1__RECORD_RESULT__RECORD_RESULT_REFUSED;
    }
    held->closure(&reply, held->closure_data);
}

/* What a centre that was killed by an event looks like: no answer to it, and none to anybody for a while. */
static bool centre_die(struct centre *centre, const Guichet__V1__SubmitRequest *request, void *closure_data)
{
    unsigned once = 1;

    for (size_t i = 0; i < request->n_events; i++)
        if (centre->killer != NULL && strcmp(request->events[i]->event_key, centre->killer) == 0) {
            centre->killed++;
            centre->killer_away_count = 2;
            return centre_fail(ERR_UNAVAILABLE, &once, closure_data);
        }
    return centre_fail(ERR_UNAVAILABLE, &centre->killer_away_count, closure_data);
}

static void centre_keep_more(struct centre *centre, const Guichet__V1__SubmitRequest *request)
{
    for (size_t i = 0; i < request->n_dead; i++) {
        centre->deads++;
        assert_true(request->dead[i]->event.len > 0);
        snprintf(centre->dead_key, sizeof(centre->dead_key), "%s", request->dead[i]->event_key);
        snprintf(centre->dead_reason, sizeof(centre->dead_reason), "%s", request->dead[i]->reason);
    }
    for (size_t i = 0; i < request->n_voided; i++) {
        centre->voided++;
        centre->voided_first = request->voided[i]->first;
        centre->voided_last = request->voided[i]->last;
        centre->voided_numbers += centre->voided_last - centre->voided_first + 1;
        for (uint64_t n = centre->voided_first; n <= centre->voided_last && n < CENTRE_NUMBERS_MAX; n++)
            centre->is_told[n] = true;
    }
}

/* As context does. */
static bool centre_takes_voids(const struct centre *centre, const Guichet__V1__SubmitRequest *request)
{
    uint64_t count = 0;

    for (size_t i = 0; i < request->n_voided; i++)
        count += request->voided[i]->last - request->voided[i]->first + 1;
    return request->n_voided <= CENTRE_VOID_RANGES_MAX && count < CENTRE_VOID_NUMBERS_MAX &&
           (!centre->is_void_hated || request->n_voided == 0);
}

static inline void centre_count_number(struct centre *centre, uint64_t number)
{
    if (number >= CENTRE_NUMBERS_MAX)
        return;
    for (uint64_t n = 1; n < number && centre->is_counting; n++)
        if (!centre->is_told[n])
            fail_msg("number %llu comes above %llu", (unsigned long long)number, (unsigned long long)n);
    centre->is_told[number] = true;
}

static void centre_submit(Guichet__V1__Connector_Service *service, const Guichet__V1__SubmitRequest *request,
                          Guichet__V1__SubmitReply_Closure closure, void *closure_data)
{
    struct centre *centre = (struct centre *)service;
    struct centre_held held = { closure, closure_data, request };
    unsigned once = 1;

    assert_string_equal(request->tenant, "demo");
    assert_true(mesh_request_token(mesh_request_of(closure_data)).len > 0);
    if (request->n_events + request->n_dead == 0)
        centre->probes++;
    else if (++centre->submits <= CENTRE_EVENTS_MAX)
        centre->batch_sizes[centre->submits - 1] = request->n_events;
    if (centre->is_probe_answered && request->n_events + request->n_dead == 0) {
        centre_answer(centre, &held);
        return;
    }
    if (centre_die(centre, request, closure_data) ||
        (!centre_takes_voids(centre, request) && centre_fail(ERR_INVALID, &once, closure_data)) ||
        centre_fail(centre->submit_fails, &centre->submit_fails_count, closure_data))
        return;
    for (size_t i = 0; i < request->n_events; i++)
        if (centre->poison != NULL && strcmp(request->events[i]->event_key, centre->poison) == 0) {
            centre_fail(ERR_INVALID, &once, closure_data);
            return;
        }
    centre_keep_more(centre, request);
    for (size_t i = 0; i < request->n_events && centre->key_count < CENTRE_EVENTS_MAX; i++) {
        assert_int_equal(strlen(request->events[i]->boot_id), 36);
        centre_count_number(centre, request->events[i]->boot_n);
        centre->boot_ns[centre->key_count] = request->events[i]->boot_n;
        centre->boot_lanes[centre->key_count] = request->events[i]->boot_lane;
        snprintf(centre->keys[centre->key_count++], 64, "%s", request->events[i]->event_key);
    }
    if (centre->is_holding && centre->held_count < CENTRE_HELD_MAX)
        centre->held[centre->held_count++] = held;
    else
        centre_answer(centre, &held);
}

static inline void centre_release(struct centre *centre)
{
    size_t count = centre->held_count;

    centre->held_count = 0;
    for (size_t i = 0; i < count; i++)
        centre_answer(centre, &centre->held[i]);
}

#endif
