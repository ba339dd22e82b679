#ifndef PENSTOCK_EDGE_REQUEST_WISHES_H
#define PENSTOCK_EDGE_REQUEST_WISHES_H

#include "http_server.h"

/* What a request says of how it wants to be served, for the waiting room: fields of its body and
 * headers. A field of the wrong kind counts as absent here; the replica refuses it. Pure. */

/* The priority that a body asks for, by its fields `priority` or `service_tier` (raw; data NULL: absent):
 * lower is served first; 0 when it says nothing. */
int32_t request_priority_read(struct text_slice priority, struct text_slice tier);
/* x-penstock-priority goes before what the body says. */
int32_t request_priority_of_header(const http_request *request, int32_t of_body);

/* By when the first token must come: the earliest of the caller's own limit (`slo_ns`, 0: none), and
 * of x-slo-ttft-ms, x-llm-d-slo-ttft-ms and x-request-timeout-ms. 0: no limit. */
uint64_t request_due_ns(const http_request *request, uint64_t slo_ns);

/* A decimal number between min and max; false: it is none. */
bool request_number_read(struct text_slice text, int64_t min, int64_t max, int64_t *out);

#endif
