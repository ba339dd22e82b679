#ifndef PENSTOCK_OBSERVE_STORY_SPANS_H
#define PENSTOCK_OBSERVE_STORY_SPANS_H

#include "genai_metrics.h"
#include "replica_story.h"
#include "request_story.h"
#include "span.h"

/* The spans of a request, from what is told of it in the gateway and in its replicas. Names and attributes are those of
 * OpenTelemetry's conventions for generative AI where they have some, vLLM's gen_ai.latency.* beside, and penstock.* for the rest.
 *
 *   chat smollm2                SERVER   from the request's head to the end of its answer
 *     admission, queue, route            up to the replica
 *     attempt 1                 CLIENT   an exchange with a replica
 *       chat smollm2            SERVER   the same in the replica
 *         prepare, queue, prefill..., decode
 *     stream                             first to last token
 *
 * Times that a story does not have make no span. Pure but for what `emit` does. */

/* `span` is borrowed for the call. */
typedef void span_emit_fn(void *context, const struct span *span);

/* The conventions' name of what a route does; NULL: it is nothing that they know, and is not traced. */
const char *genai_operation_of(const char *route);

/* Those of the gateway. Nothing where the story has no ids. */
void story_spans_emit(const struct request_story *story, span_emit_fn *emit, void *context);

/* Those of a replica, under the span of parent_span_id (an attempt's, a client's; "": it is the trace's root). `operation`
 * and `model` are told by who has them. */
void replica_story_spans_emit(const struct replica_story *story, const char *operation,
                              const char *model, span_emit_fn *emit, void *context);

/* What a request that has ended adds to the metrics. False: nothing, it is no operation. */
bool story_sample_make(const struct request_story *story, struct genai_sample *out);

#endif
