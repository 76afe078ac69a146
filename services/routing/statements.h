/* SPDX-License-Identifier: Apache-2.0 */
/* statements.h - all SQL the service sends; what writes is one call of a function in schema/. */
#ifndef GUICHET_ROUTING_STATEMENTS_H
#define GUICHET_ROUTING_STATEMENTS_H

#include "io/db.h"

/* ---- set-up ---- */
extern const struct db_statement routing_sql_put_tenant; /* tenant, ids[], names[], accounts[] */
extern const struct db_statement routing_sql_announce;
extern const struct db_statement routing_sql_prune;  /* tenant, event ms, parked ms, limit, job ms, letter ms */
extern const struct db_statement routing_sql_status; /* tenants[] */

/* ---- feed ---- */
extern const struct db_statement routing_sql_hold_feeds;    /* tenants[], holder, ttl ms */
extern const struct db_statement routing_sql_read_feeds;    /* tenants[]: who holds, how far; takes nothing */
extern const struct db_statement routing_sql_release_feeds; /* holder */
extern const struct db_statement routing_sql_apply;         /* see apply.c */
extern const struct db_statement routing_sql_skip_change;
extern const struct db_statement routing_sql_kick; /* tenant */

/* ---- agents ---- */
extern const struct db_statement routing_sql_put_agent;
extern const struct db_statement routing_sql_set_presence;    /* tenant, agent, presence */
extern const struct db_statement routing_sql_expire_presence; /* tenant, ttl ms */
extern const struct db_statement routing_sql_next_presence;   /* tenant, ttl ms */
extern const struct db_statement routing_sql_get_agent;       /* tenant, id */
extern const struct db_statement routing_sql_list_agents;     /* tenant, after, limit */
extern const struct db_statement routing_sql_list_queues;     /* tenant */
extern const struct db_statement routing_sql_list_accounts;   /* tenant, connected ms */
extern const struct db_statement routing_sql_list_spools;     /* tenant: what is not empty */
extern const struct db_statement routing_sql_begin_login;     /* tenant, login, most, window ms */
extern const struct db_statement routing_sql_open_session;    /* tenant, agent, login, hash, ttl ms */
extern const struct db_statement routing_sql_close_session;   /* hash */
extern const struct db_statement routing_sql_check_session;   /* hash, touch ms */

/* ---- work ---- */
extern const struct db_statement routing_sql_get_work;     /* tenant, conversations[] */
extern const struct db_statement routing_sql_list_waiting; /* tenant, queue, visible_to, after, limit */
extern const struct db_statement
    routing_sql_list_assigned;                          /* tenant, agent, queue, visible_to, after, limit */
extern const struct db_statement routing_sql_list_taken; /* as the next, state 2 only */
extern const struct db_statement routing_sql_list_work; /* tenant, state, queue, visible_to, after, limit */
extern const struct db_statement routing_sql_assign;    /* tenant, conversation, agent, actor, if_version */
extern const struct db_statement routing_sql_transfer;
extern const struct db_statement routing_sql_get_actor;   /* tenant, conversation, actor */
extern const struct db_statement routing_sql_get_account; /* tenant, account */

/* ---- deliveries ---- */
extern const struct db_statement routing_sql_pull;  /* tenant, accounts[], leases[], lease ms, media most */
extern const struct db_statement routing_sql_end_leases; /* tenant, ids[], leases[] */
extern const struct db_statement routing_sql_start; /* tenant, id, lease, lease ms */
extern const struct db_statement routing_sql_report;
extern const struct db_statement routing_sql_end_job;        /* tenant, id, state */
extern const struct db_statement routing_sql_expire_leases;  /* tenant, delays[], hold ms */
extern const struct db_statement routing_sql_expire_jobs;    /* tenant, delays[], most attempts, tell ms */
extern const struct db_statement routing_sql_set_typing;
extern const struct db_statement routing_sql_next_due;       /* tenant */
extern const struct db_statement routing_sql_get_deliveries; /* tenant, messages[] */

/* ---- dead letters ---- */
extern const struct db_statement
    routing_sql_list_dead_letters; /* tenant, state, kind, account, after, limit */
extern const struct db_statement routing_sql_count_dead_letters; /* tenants[]: open ones */
extern const struct db_statement routing_sql_get_dead_letter;    /* tenant, id */
extern const struct db_statement routing_sql_take_dead_letter;   /* tenant, id, actor */
extern const struct db_statement routing_sql_replay_dead_letter; /* tenant, id, actor, by, is requeued, at */
extern const struct db_statement routing_sql_fail_replay;        /* tenant, id, actor, error */
extern const struct db_statement routing_sql_drop_dead_letter;   /* tenant, id, actor, by */

/* ---- events ---- */
extern const struct db_statement routing_sql_event_head;  /* tenant */
extern const struct db_statement routing_sql_read_events; /* tenant, after, limit */

#endif
