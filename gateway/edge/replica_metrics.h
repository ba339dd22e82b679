#ifndef PENSTOCK_EDGE_REPLICA_METRICS_H
#define PENSTOCK_EDGE_REPLICA_METRICS_H

#include "metrics.h"
#include "status.h"

/* What each replica's shared page says of it, for Prometheus: a gateway that is scraped tells of its replicas too, wherever they
 * run. Series come with a replica and go with it. */

struct edge;
struct replica_metrics;

/* `edge->registry` and its models are there. STATUS_OK, STATUS_INVALID, STATUS_NO_MEMORY. Main. */
NODISCARD status replica_metrics_create(const struct edge *edge, struct replica_metrics **out);
void replica_metrics_destroy(struct replica_metrics *metrics); /* accepts NULL */

/* Before a scrape. One thread at a time. */
void replica_metrics_collect(struct replica_metrics *metrics, const struct edge *edge,
                             uint64_t now_ns);

#endif
