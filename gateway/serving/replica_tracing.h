#ifndef PENSTOCK_GATEWAY_SERVING_REPLICA_TRACING_H
#define PENSTOCK_GATEWAY_SERVING_REPLICA_TRACING_H

#include "http_server.h"
#include "metrics.h"
#include "otlp_exporter.h"
#include "replica_story.h"
#include "tracing_settings.h"

/* Traces of a replica that runs alone: what a gateway sends of those that it has (edge/tracing.h), sent by the replica itself. */
struct replica_tracing;

/* The trace of a job. */
struct job_trace {
    uint8_t flags;
    bool has_parent; /* the client has sent a context */
};

/* `settings` and `metrics` are borrowed as long as it lives; `model` is its served name. The exporter runs from then on. STATUS_OK;
 * STATUS_IO, STATUS_INVALID with a note; STATUS_NO_MEMORY. Main. */
NODISCARD status replica_tracing_open(const struct config_tracing *settings, const char *model,
                                      uint32_t loop_count, metrics_registry *metrics,
                                      struct replica_tracing **out, struct error_note *note);
/* Sends what is left. No job is left. Accepts NULL. Main. */
void replica_tracing_close(struct replica_tracing *tracing);

/* Reads the context that a request came with into its story; where there is none, a trace begins here. `tracing` may be NULL: then
 * only what came is read. Loop. */
void replica_tracing_begin(struct replica_tracing *tracing, const http_request *request,
                           struct replica_story *story, struct job_trace *trace);
/* The story is over. `operation` is static. Accepts NULL. Any thread. */
void replica_tracing_end(struct replica_tracing *tracing, const struct replica_story *story,
                         const struct job_trace *trace, const char *operation);

#endif
