/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - the words of the command line, and quantiles. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *bench_option(char **words, const char *name, const char *fallback)
{
    for (size_t i = 0; words[i] != NULL && words[i + 1] != NULL; i += 2)
        if (strncmp(words[i], "--", 2) == 0 && strcmp(words[i] + 2, name) == 0)
            return words[i + 1];
    if (fallback == NULL) {
        fprintf(stderr, "guichet-bench: --%s is missing\n", name);
        exit(2);
    }
    return fallback;
}

uint32_t bench_number(char **words, const char *name, const char *fallback)
{
    return (uint32_t)strtoul(bench_option(words, name, fallback), NULL, 10);
}

struct bench_traffic bench_traffic_of(char **words)
{
    return (struct bench_traffic){
        .mark = bench_option(words, "mark", NULL),
        .address = bench_option(words, "address", "+33199000000"),
        .url = bench_option(words, "url", NULL),
        .token = bench_option(words, "token", NULL),
        .sid = bench_option(words, "sid", "ACtest0000000000000000000000000000"),
        .customers = bench_number(words, "customers", "100000"),
        .first = bench_number(words, "first", "0"),
    };
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;

    return (a > b) - (a < b);
}

double bench_quantile(double *values, uint32_t count, double share)
{
    uint32_t place = (uint32_t)(share * count);

    if (count == 0)
        return 0;
    qsort(values, count, sizeof(*values), compare);
    return values[place < count ? place : count - 1];
}
