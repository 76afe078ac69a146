/* SPDX-License-Identifier: Apache-2.0 */
/* ctl.h - guichetctl: one program for people at a terminal.
 *
 * A command is a row of the table in commands.c. It gets what stands behind its name,
 * prints its result on stdout and its troubles on stderr, and returns the exit code
 * (err_exit_code). Where the services are comes from the environment:
 * GUICHET_CTL_ROUTING, GUICHET_CTL_DOORBELLS, GUICHET_CTL_API, GUICHET_CTL_PROVIDER. */
#ifndef GUICHET_CTL_H
#define GUICHET_CTL_H

#include "core/str.h"
#include "io/http_client.h"
#include "io/loop.h"
#include "io/mesh.h"

struct ctl {
    struct loop *loop;
    const char *routing;             /* tcp://… of routing's ctl listener */
    const char *doorbells;           /* tcp://… where routing publishes   */
    const char *api;                 /* http://… of the front door        */
    const char *provider;            /* http://… of the stand-in          */
    struct mesh_client *mesh;        /* made by ctl_mesh()                */
    int exit_code;
};

struct ctl_option {
    const char *name;                /* "--tenant"; NULL ends the table */
    const char **value;              /* already holds the default       */
    const char *help;
};

struct ctl_command {
    const char *words;               /* "agent add" */
    const char *arguments;
    const char *help;
    int (*run)(struct ctl *ctl, int argc, char **argv);
};

extern const struct ctl_command ctl_commands[];

/* Takes --name VALUE pairs out of argv; what remains are the arguments. */
bool ctl_options(int *argc, char **argv, const struct ctl_option *options, struct err *err) MUST_USE;
/* `file:/path`, `env:NAME`; anything else is an error. Owned by the caller. */
bool ctl_secret(const char *reference, char **ret_secret, struct err *err) MUST_USE;
bool ctl_mesh(struct ctl *ctl, struct err *err) MUST_USE;
int ctl_fail(const struct err *err);             /* one line on stderr; the exit code */
void ctl_end(struct ctl *ctl, int exit_code);    /* from a callback: ends the command */

int ctl_migrate(struct ctl *ctl, int argc, char **argv);
int ctl_status(struct ctl *ctl, int argc, char **argv);
int ctl_audit(struct ctl *ctl, int argc, char **argv);
int ctl_dead_letters_list(struct ctl *ctl, int argc, char **argv);
int ctl_dead_letters_show(struct ctl *ctl, int argc, char **argv);
int ctl_dead_letters_replay(struct ctl *ctl, int argc, char **argv);
int ctl_dead_letters_drop(struct ctl *ctl, int argc, char **argv);
int ctl_agent_add(struct ctl *ctl, int argc, char **argv);
int ctl_agent_chat(struct ctl *ctl, int argc, char **argv);
int ctl_tail(struct ctl *ctl, int argc, char **argv);
int ctl_simulate_sms(struct ctl *ctl, int argc, char **argv);
int ctl_spool_list(struct ctl *ctl, int argc, char **argv);
int ctl_spool_adopt(struct ctl *ctl, int argc, char **argv);
int ctl_provider(struct ctl *ctl, int argc, char **argv);

/* provider_sign.c: X-Twilio-Signature of a form, over the URL and its parameters sorted by name. */
struct sign_param { const char *name; const char *value; };
void ctl_sign_form(const char *token, const char *url, const struct sign_param *params, size_t count,
                   struct buf *signature);

#endif
