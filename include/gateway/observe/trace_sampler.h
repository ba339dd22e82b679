#ifndef PENSTOCK_OBSERVE_TRACE_SAMPLER_H
#define PENSTOCK_OBSERVE_TRACE_SAMPLER_H

#include <stdbool.h>

#include "request_story.h"
#include "trace_context.h"
#include "tracing_settings.h"

/* Which traces are sent. It is decided when a request has ended, since then it is known whether it failed or was slow (tail
 * sampling). The share of the others goes by the trace's id alone, so that all who see a trace, and see it again, decide
 * the same. Pure. */

/* Whether the trace is among the share: the last 56 bits of its id, which are random, against a threshold, as OpenTelemetry's
 * consistent probability sampling has it. 0: none, 1: all. */
bool trace_is_in_share(const uint8_t trace_id[TRACE_ID_BYTES], double share);

/* What is decided by, of a request that has ended. */
struct trace_facts {
    const char *trace_id; /* hexadecimal; "": none, and then nothing is wanted */
    uint8_t flags;        /* as the caller sent them */
    bool has_remote_parent;
    bool is_error;
    uint64_t latency_ns; /* to the first token of a stream, else to the end */
};
/* Whether its spans are sent. */
bool trace_is_wanted(const struct config_tracing *settings, const struct trace_facts *facts);
bool trace_story_is_wanted(const struct config_tracing *settings,
                           const struct request_story *story);

/* What is known before it has ended, for those who are called: the caller has sampled it, or it is among the share. */
bool trace_is_sampled_early(const struct config_tracing *settings,
                            const struct trace_context *context, bool has_remote_parent);

#endif
