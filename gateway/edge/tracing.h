#ifndef PENSTOCK_EDGE_TRACING_H
#define PENSTOCK_EDGE_TRACING_H

#include "edge.h"
#include "trace_context.h"

/* Traces of the gateway's requests: the W3C context that they come with and go on with, and what is sent of them to the receiver
 * of observability.tracing. Without a receiver the context passes through as it came. */

struct proxy;
struct story_attempt;

/* Makes the exporter, if there is a receiver (else edge->tracing stays NULL, which all below accept), and has it told of requests that end.
 * `config` is borrowed as long as it lives. STATUS_OK; STATUS_IO, STATUS_INVALID with a note; STATUS_NO_MEMORY. Main. */
NODISCARD status tracing_open(struct edge *edge, const struct config *config, uint32_t loop_count,
                              struct error_note *note);
NODISCARD status tracing_start(struct edge *edge);
/* Sends what is left. What requests leave after that is lost; replicas are still asked, so before they end. Main. */
void tracing_stop(struct edge *edge);
void tracing_close(struct edge *edge);

/* --- of a request; its loop --- */

/* Reads what the client has sent: fills record->trace and record->trace_id. */
void tracing_read(struct edge_record *record);
/* It is passed on to a model: its own ids, where there is a receiver; the story is told. */
void tracing_begin(struct edge_record *record);
/* Appends the headers by which whoever is asked goes on with the trace, and returns the new count; at most TRACING_HEADERS. `told` (NULL: not
 * kept) gets the id of the attempt's span. `text` must live as long as the headers. */
#define TRACING_HEADERS 2u
size_t tracing_attempt(const struct edge_record *record, struct story_attempt *told,
                       struct http_header *headers, size_t count, char text[TRACEPARENT_BYTES]);

#endif
