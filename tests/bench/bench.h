/* SPDX-License-Identifier: Apache-2.0 */
/* bench.h - the load of the benchmark: who writes what, as a provider's signed webhooks and as events.
 *
 * Message i is the same in every part: its sender, its text (which carries the run's mark and i, so that it is found
 * again on a socket), its provider id. Of ten messages five come from customers who have not written in this run,
 * one from somebody new, four from one who wrote lately. */
#ifndef GUICHET_BENCH_H
#define GUICHET_BENCH_H

#include <stdint.h>

#include "core/arena.h"
#include "core/str.h"

struct bench_traffic {
    const char *mark;      /* sets this run's messages apart: eight lower case letters */
    const char *address;   /* the house's number */
    const char *url;       /* as the provider knows it, and signs it */
    const char *token;     /* what it signs with */
    const char *sid;       /* the provider's account */
    uint32_t customers;    /* known ones: +33600000001 to … */
    uint32_t first;        /* where among the known ones this run begins to draw */
};

enum { BENCH_MARK_LEN = 8, BENCH_NUMBER_LEN = 7, BENCH_PHONE_BYTES = 16 };

void bench_phone(const struct bench_traffic *traffic, uint32_t i, char ret_phone[BENCH_PHONE_BYTES]);
/* The body of the i-th webhook, form-encoded. */
void bench_body(const struct bench_traffic *traffic, uint32_t i, struct buf *buf);
/* The whole request: POST `path`, signed. */
void bench_request(const struct bench_traffic *traffic, const char *path, uint32_t i, struct buf *buf);
uint32_t bench_distinct_customers(const struct bench_traffic *traffic, uint32_t count);

/* The value at that share of a list, which it sorts; 0 when there is none. */
double bench_quantile(double *values, uint32_t count, double share);
/* "--name": its value, or the fallback; without a fallback the program ends. */
const char *bench_option(char **words, const char *name, const char *fallback);
uint32_t bench_number(char **words, const char *name, const char *fallback);
struct bench_traffic bench_traffic_of(char **words);

/* The programs of main.c. */
int bench_load(char **words);
int bench_reference(char **words);

#endif
