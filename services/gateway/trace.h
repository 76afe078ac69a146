/* SPDX-License-Identifier: Apache-2.0 */
/* trace.h - W3C trace context (https://www.w3.org/TR/trace-context/): taken on or begun. */
#ifndef GUICHET_GATEWAY_TRACE_H
#define GUICHET_GATEWAY_TRACE_H

#define TRACE_PARENT_BYTES 56
#define TRACE_ID_BYTES 33

struct trace {
    char parent[TRACE_PARENT_BYTES]; /* what we pass on: the caller's trace, a span of our own */
    char id[TRACE_ID_BYTES];
};

/* `traceparent` may be NULL or nonsense: then a new trace begins. */
void trace_begin(struct trace *trace, const char *traceparent);

#endif
