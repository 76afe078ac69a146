/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - guichet-bench load|reference --option value …: see load.c and reference.c; tests/bench/run starts it. */
#include "bench.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "load") == 0)
        return bench_load(argv + 2);
    if (argc > 1 && strcmp(argv[1], "reference") == 0)
        return bench_reference(argv + 2);
    fprintf(stderr, "usage: guichet-bench load|reference --option value ...\n");
    return 2;
}
