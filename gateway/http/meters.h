#ifndef PENSTOCK_GATEWAY_HTTP_METERS_H
#define PENSTOCK_GATEWAY_HTTP_METERS_H

#include "guard.h"
#include "metrics.h"

/* The metrics of one server. All series exist from the start; updating one is a relaxed atomic add.
 */

enum connection_phase { PHASE_NEW, PHASE_HTTP1, PHASE_HTTP2, PHASE_COUNT };

struct http_meters {
    metrics_series *connections[PHASE_COUNT];
    metrics_series *connections_refused;
    metrics_series *requests_in_flight;
    metrics_series *guard_kills[GUARD_VERDICT_COUNT]; /* GUARD_PASS: unused, NULL */
    metrics_series *loop_delay;
    metrics_series *received_bytes, *sent_bytes;
    metrics_registry *own_registry; /* owned; when the caller gave none */
};

NODISCARD status http_meters_create(metrics_registry *registry, struct http_meters *out);
void http_meters_destroy(struct http_meters *meters);

#endif
