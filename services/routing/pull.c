/* SPDX-License-Identifier: Apache-2.0 */
/* pull.c - jobs out: long polls that wait in a list until there is something for their accounts.
 *
 * A pull asks the database at once, then whenever it is woken: by a commit here, by a NOTIFY from another
 * replica, by a clock, by the fall-back poll. It asks tenant by tenant, since a transaction is one tenant's.
 * It ends well before its caller's deadline, and when its caller's connection does: jobs leased for somebody who
 * has left would wait for their lease to end. What was leased before we heard of it is given back.
 *
 * States: WAITING -> ASKING -> WAITING … -> gone with the answer. A wake while ASKING is remembered. */
#include "connector.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "call.h"
#include "core/duration.h"
#include "core/id.h"
#include "core/pbjson.h"
#include "core/pbtime.h"
#include "ops/failpoint.h"
#include "ops/log.h"
#include "service/media_ticket.h"
#include "statements.h"
#include "token.h"

enum { DEADLINE_MARGIN_MS = 500 };

enum pull_step { PULL_WAITING, PULL_ASKING };

struct pull_tenant {
    const char *name;
    struct str_view *accounts;
    size_t count;
    bool is_due; /* ask the database for it */
};

struct pull {
    LIST_ENTRY(pull) link;
    struct routing_call *call;
    struct loop_timer *timer;
    enum pull_step step;
    struct pull_tenant *tenants;
    size_t tenant_count;
    size_t asking; /* which tenant */
    bool is_over;  /* its time is up */
    bool is_gone;  /* its caller is not there any more */
    uint32_t jobs_max;
    Guichet__V1__Job **jobs;
    size_t job_count;
};

struct routing_pulls {
    struct routing *routing;
    LIST_HEAD(, pull) list;
    uint32_t count;
    bool is_draining;
};

static void pull_ask(struct pull *pull);
static void on_leased(void *arg, struct db_work *work, const struct err *err);

/* ---- the one way out ---- */

static void pull_end(struct pull *pull, const struct err *err)
{
    struct routing *routing = pull->call->routing;
    Guichet__V1__PullReply reply = GUICHET__V1__PULL_REPLY__INIT;

    LIST_REMOVE(pull, link);
    loop_timer_free(&pull->timer);
    stats_set(routing->stats, ROUTING_PULLS_WAITING, --routing->pulls->count);
    if (err != NULL) {
        routing_call_fail(pull->call, err);
        return;
    }
    reply.jobs = pull->jobs;
    reply.n_jobs = pull->job_count;
    routing_call_answer(pull->call, &reply.base);
}

static void on_time_up(void *arg)
{
    struct pull *pull = arg;

    pull->is_over = true;
    if (pull->step == PULL_WAITING)
        pull_end(pull, NULL);
}

/* ---- its caller is gone ---- */

struct given_back { /* in the work's arena */
    struct routing *routing;
    const char *tenant;
};

/* The clock then ends the leases, and wakes whoever waits. After an error they run out by themselves. */
static void on_given_back(void *arg, struct db_work *work, const struct err *err)
{
    const struct given_back *given = arg;

    (void)work;
    if (err->kind == ERR_NONE)
        routing_clocks_set(given->routing->clocks, given->tenant);
}

/* Jobs of one tenant, that of the first; they stand together. */
static void give_back_some(struct routing *routing, Guichet__V1__Job *const *jobs, size_t count)
{
    struct db_work *work = db_work_new(routing->database.short_);
    struct arena *arena = db_work_arena(work);
    struct given_back *given = arena_alloc(arena, sizeof(*given));
    struct str_view *ids = arena_alloc(arena, count * sizeof(*ids));
    struct str_view *leases = arena_alloc(arena, count * sizeof(*leases));

    for (size_t i = 0; i < count; i++) {
        ids[i] = str_view_of(jobs[i]->id);
        leases[i] = str_view_of(jobs[i]->lease);
    }
    *given = (struct given_back){ routing, arena_strdup(arena, jobs[0]->tenant) };
    const struct db_param params[] = {
        DB_PARAM_TEXT(given->tenant),
        { .type = DB_UUID_ARRAY, .items = ids, .count = count },
        { .type = DB_UUID_ARRAY, .items = leases, .count = count },
    };
    db_work_add(work, &routing_sql_end_leases, params, COUNT_OF(params));
    db_work_run(work, on_given_back, given);
}

static void give_back(struct pull *pull)
{
    size_t first = 0;

    for (size_t i = 1; i <= pull->job_count; i++) {
        if (i < pull->job_count && strcmp(pull->jobs[i]->tenant, pull->jobs[first]->tenant) == 0)
            continue;
        give_back_some(pull->call->routing, pull->jobs + first, i - first);
        first = i;
    }
}

static void on_gone(void *arg)
{
    struct pull *pull = arg;

    stats_add(pull->call->routing->stats, ROUTING_PULLS_GONE, 1);
    pull->is_gone = true;
    on_time_up(pull);
}

/* ---- asking ---- */

static void pull_move(struct pull *pull, enum pull_step step)
{
    pull->step = step;
}

static void pull_settle(struct pull *pull)
{
    pull_move(pull, PULL_WAITING);
    if (pull->is_gone)
        give_back(pull);
    if (pull->job_count > 0 || pull->is_over)
        pull_end(pull, NULL);
}

/* Asks for the next tenant that is due; with none left, or nobody to give it to, waits or ends. */
static void pull_ask(struct pull *pull)
{
    struct routing *routing = pull->call->routing;
    size_t room = pull->is_gone ? 0 : pull->jobs_max - pull->job_count;

    for (pull->asking = 0; pull->asking < pull->tenant_count && room > 0; pull->asking++) {
        struct pull_tenant *tenant = &pull->tenants[pull->asking];
        struct db_work *work;
        struct str_view *leases;
        char(*texts)[ID_TEXT_BYTES];

        if (!tenant->is_due)
            continue;
        tenant->is_due = false;
        pull_move(pull, PULL_ASKING);
        work = db_work_new(routing->database.short_);
        leases = arena_alloc(db_work_arena(work), room * sizeof(*leases));
        texts = arena_alloc(db_work_arena(work), room * sizeof(*texts));
        for (size_t i = 0; i < room; i++) {
            id_new_text(texts[i]);
            leases[i] = str_view_of(texts[i]);
        }
        const struct db_param params[] = {
            DB_PARAM_TEXT(tenant->name),
            { .type = DB_TEXT_ARRAY, .items = tenant->accounts, .count = tenant->count },
            { .type = DB_UUID_ARRAY, .items = leases, .count = room },
            DB_PARAM_I64(routing->config->delivery_lease_ms),
            DB_PARAM_I32(routing->config->media_jobs_max),
        };
        db_work_add(work, &routing_sql_pull, params, COUNT_OF(params));
        db_work_run(work, on_leased, pull);
        return;
    }
    pull_settle(pull);
}

enum column { ID, ACCOUNT, LEASE, LEASE_UNTIL, ATTEMPT, PAYLOAD, KIND, MEDIA_DELIVERY };
enum { KIND_SEND, KIND_FETCH_MEDIA, KIND_TYPING, KIND_SYNC_TEMPLATES }; /* as in the schema */

static const struct {
    Guichet__V1__Job__KindCase kind_case;
    const ProtobufCMessageDescriptor *descriptor;
} kinds[] = {
    [KIND_SEND] = { GUICHET__V1__JOB__KIND_SEND, &guichet__v1__outbound__descriptor },
    [KIND_FETCH_MEDIA] = { GUICHET__V1__JOB__KIND_FETCH_MEDIA, &guichet__v1__fetch_media__descriptor },
    [KIND_TYPING] = { GUICHET__V1__JOB__KIND_TYPING, &guichet__v1__typing_mark__descriptor },
    [KIND_SYNC_TEMPLATES] = { GUICHET__V1__JOB__KIND_SYNC_TEMPLATES,
                              &guichet__v1__sync_templates__descriptor },
};

/* Where the provider reads it: signed, and for a while only. */
static void fill_link(struct pull *pull, const char *tenant, Guichet__V1__Media *media)
{
    const struct routing_config *config = pull->call->routing->config;
    const struct media_ticket_keys keys = { config->media_key, config->media_key_previous };
    Guichet__V1__MediaTicket ticket = GUICHET__V1__MEDIA_TICKET__INIT;
    SCOPED_BUF link = { 0 };

    if (media == NULL || media->sha256.len == 0)
        return;
    ticket.tenant = (char *)tenant;
    ticket.sha256 = media->sha256;
    ticket.expires_at_s = (uint64_t)(time_now_us() / 1000000) + config->media_link_ttl_ms / 1000;
    ticket.content_type = media->content_type;
    ticket.file_name = media->file_name;
    buf_init(&link, MEDIA_LINK_MAX_BYTES);
    media_link_append(&link, config->media_base_url, &keys, &ticket);
    media->link_url = arena_dup(pull->call->arena, buf_view(&link));
    if (media->link_url == NULL)
        abort();
}

static void fill_links(struct pull *pull, const char *tenant, const Guichet__V1__Content *content)
{
    const char *base_url = pull->call->routing->config->media_base_url;

    if (content == NULL || base_url == NULL || base_url[0] == '\0')
        return;
    for (size_t i = 0; i < content->n_parts; i++) {
        const Guichet__V1__Part *part = content->parts[i];

        if (part->kind_case == GUICHET__V1__PART__KIND_MEDIA)
            fill_link(pull, tenant, part->media);
        else if (part->kind_case == GUICHET__V1__PART__KIND_TEMPLATE)
            for (size_t v = 0; v < part->template_->n_variables; v++)
                fill_link(pull, tenant, part->template_->variables[v]->media);
    }
}

static void fill_send(struct pull *pull, Guichet__V1__Job *job, const struct db_result *rows, size_t row)
{
    job->send->tenant = job->tenant;
    job->send->delivery_id = job->id;
    job->send->attempt = (uint32_t)db_i64(rows, row, ATTEMPT);
    if (db_i64(rows, row, MEDIA_DELIVERY) == GUICHET__V1__MEDIA_DELIVERY__MEDIA_DELIVERY_LINK)
        fill_links(pull, job->tenant, job->send->content);
}

/* false: nobody can do it. The lease runs out, again and again, until it has failed. */
static bool read_payload(struct pull *pull, Guichet__V1__Job *job, const struct db_result *rows, size_t row)
{
    size_t kind = (size_t)db_i64(rows, row, KIND);
    ProtobufCMessage *message = NULL;
    struct err err = { 0 };

    if (kind >= COUNT_OF(kinds))
        err_set(&err, ERR_INTERNAL, "kind %zu of job is unknown", kind);
    if (kind >= COUNT_OF(kinds) || !pb_unpack(db_bytes(rows, row, PAYLOAD), kinds[kind].descriptor,
                                              &pb_limits_default, pull->call->arena, &message, &err)) {
        log_event(LOG_ERROR, "job_unreadable", LOG_TEXT("tenant", job->tenant), LOG_TEXT("job", job->id),
                  LOG_ERR(&err));
        return false;
    }
    job->kind_case = kinds[kind].kind_case;
    job->send = (Guichet__V1__Outbound *)message; /* one member of the union is as good as another */
    if (kind == KIND_SEND)
        fill_send(pull, job, rows, row);
    return true;
}

static void add_job(struct pull *pull, const char *tenant, const struct db_work *work, size_t row)
{
    struct arena *arena = pull->call->arena;
    const struct db_result *rows = db_work_result(work, 0);
    Guichet__V1__Job *job = arena_alloc(arena, sizeof(*job));

    if (job == NULL) /* the lease is bounded in bytes, so this is our own bug */
        abort();
    guichet__v1__job__init(job);
    job->tenant = (char *)tenant;
    job->id = arena_strdup(arena, db_text(work, rows, row, ID));
    job->account_id = arena_strdup(arena, db_text(work, rows, row, ACCOUNT));
    job->lease = arena_strdup(arena, db_text(work, rows, row, LEASE));
    job->lease_until = pbtime_new(arena, db_time_us(rows, row, LEASE_UNTIL));
    job->lease_ms = pull->call->routing->config->delivery_lease_ms;
    if (read_payload(pull, job, rows, row))
        pull->jobs[pull->job_count++] = job;
}

static void on_leased(void *arg, struct db_work *work, const struct err *err)
{
    struct pull *pull = arg;
    struct routing *routing = pull->call->routing;
    const struct pull_tenant *tenant = &pull->tenants[pull->asking];
    size_t count;

    if (err->kind != ERR_NONE) {
        /* What was leased before goes out; what remains is offered again. */
        pull_move(pull, PULL_WAITING);
        pull_end(pull, pull->job_count > 0 ? NULL : err);
        return;
    }
    count = db_rows(db_work_result(work, 0));
    for (size_t i = 0; i < count; i++)
        add_job(pull, tenant->name, work, i);
    stats_add(routing->stats, ROUTING_LEASED, count);
    routing_clocks_set(routing->clocks, tenant->name); /* also after none: a bucket may open in a moment */
    if (count > 0) {
        routing_clocks_lease_in(routing->clocks, tenant->name, routing->config->delivery_lease_ms);
        if (FAILPOINT("routing_after_lease_before_reply")) {
            struct err lost = { 0 };

            err_set(&lost, ERR_UNAVAILABLE, "failpoint");
            pull_end(pull, &lost);
            return;
        }
    }
    pull_ask(pull);
}

/* ---- the request ---- */

/* Groups the accounts by tenant; false: answered. */
static bool take_accounts(struct pull *pull, const Guichet__V1__PullRequest *input)
{
    struct routing_call *call = pull->call;
    const Guichet__V1__AnnounceRequest *claims = mesh_request_claims(call->request);
    size_t count = input->n_account_ids > 0 ? input->n_account_ids : claims->n_accounts;

    pull->tenants = arena_alloc(call->arena, (count + 1) * sizeof(*pull->tenants));
    for (size_t i = 0; i < count; i++) {
        const Guichet__V1__AnnouncedAccount *account =
            input->n_account_ids > 0 ? routing_token_account(claims, "", input->account_ids[i])
                                     : claims->accounts[i];
        struct pull_tenant *tenant = pull->tenants;

        if (account == NULL) {
            routing_call_refuse(call, ERR_FORBIDDEN, "account '%.64s' is not served by connector '%s'",
                                input->account_ids[i], claims->connector);
            return false;
        }
        while (tenant < pull->tenants + pull->tenant_count && strcmp(tenant->name, account->tenant) != 0)
            tenant++;
        if (tenant == pull->tenants + pull->tenant_count) {
            pull->tenant_count++;
            tenant->name = account->tenant;
            tenant->is_due = true;
            tenant->accounts = arena_alloc(call->arena, count * sizeof(*tenant->accounts));
        }
        tenant->accounts[tenant->count++] = str_view_of(account->id);
    }
    return true;
}

static uint32_t wait_of(const struct pull *pull, const Guichet__V1__PullRequest *input)
{
    const struct routing_config *config = pull->call->routing->config;
    uint32_t wait_ms = input->wait_ms < config->pull_wait_max_ms ? input->wait_ms : config->pull_wait_max_ms;
    uint32_t left_ms = mesh_request_left_ms(pull->call->request);

    left_ms = left_ms > 2 * DEADLINE_MARGIN_MS ? left_ms - DEADLINE_MARGIN_MS : left_ms / 2;
    return wait_ms < left_ms ? wait_ms : left_ms;
}

void routing_connector_pull(Guichet__V1__Connector_Service *service, const Guichet__V1__PullRequest *input,
                            Guichet__V1__PullReply_Closure closure, void *closure_data)
{
    struct routing *routing = ((struct routing_connector_rpc *)service)->routing;
    const struct routing_config *config = routing->config;
    struct routing_call *call =
        ROUTING_CALL((struct routing_connector_rpc *)service, input, closure, closure_data);
    struct pull *pull = routing_call_state(call, sizeof(*pull));
    uint32_t wait_ms;

    pull->call = call;
    if (input->max_jobs == 0) {
        routing_call_refuse(call, ERR_INVALID, "max_jobs is 0");
        return;
    }
    if (!take_accounts(pull, input))
        return;
    pull->jobs_max = input->max_jobs < config->pull_jobs_max ? input->max_jobs : config->pull_jobs_max;
    pull->jobs = arena_alloc(call->arena, pull->jobs_max * sizeof(*pull->jobs));
    pull->timer = loop_timer_new(routing->loop, on_time_up, pull);
    LIST_INSERT_HEAD(&routing->pulls->list, pull, link);
    stats_set(routing->stats, ROUTING_PULLS_WAITING, ++routing->pulls->count);
    wait_ms = routing->pulls->is_draining ? 0 : wait_of(pull, input);
    loop_timer_start(pull->timer, wait_ms, 0);
    mesh_request_on_gone(call->request, on_gone, pull);
    pull_ask(pull);
}

void routing_connector_no_pull(Guichet__V1__Connector_Service *service, const Guichet__V1__PullRequest *input,
                               Guichet__V1__PullReply_Closure closure, void *closure_data)
{
    struct routing_call *call =
        ROUTING_CALL((struct routing_connector_rpc *)service, input, closure, closure_data);

    routing_call_refuse(call, ERR_INVALID,
                        "Pull has a listener of its own: long polls must not use up this one");
}

/* ---- waking ---- */

void routing_pulls_wake(struct routing_pulls *pulls, const char *tenant)
{
    struct pull *pull, *next;

    for (pull = LIST_FIRST(&pulls->list); pull != NULL; pull = next) {
        bool is_due = false;

        next = LIST_NEXT(pull, link);
        for (size_t i = 0; i < pull->tenant_count; i++) {
            if (tenant != NULL && strcmp(pull->tenants[i].name, tenant) != 0)
                continue;
            pull->tenants[i].is_due = true;
            is_due = true;
        }
        if (is_due && pull->step == PULL_WAITING)
            pull_ask(pull);
    }
}

struct routing_pulls *routing_pulls_new(struct routing *routing)
{
    struct routing_pulls *pulls = calloc(1, sizeof(*pulls));

    if (pulls == NULL)
        abort();
    pulls->routing = routing;
    LIST_INIT(&pulls->list);
    return pulls;
}

void routing_pulls_drain(struct routing_pulls *pulls)
{
    struct pull *pull, *next;

    pulls->is_draining = true;
    for (pull = LIST_FIRST(&pulls->list); pull != NULL; pull = next) {
        next = LIST_NEXT(pull, link);
        on_time_up(pull);
    }
}

/* After the database is gone: nothing asks any more. */
void routing_pulls_free(struct routing_pulls **pulls_ptr)
{
    struct routing_pulls *pulls = *pulls_ptr;

    *pulls_ptr = NULL;
    if (pulls == NULL)
        return;
    routing_pulls_drain(pulls);
    free(pulls);
}
