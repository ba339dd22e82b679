#ifndef PENSTOCK_EDGE_POOL_METRICS_H
#define PENSTOCK_EDGE_POOL_METRICS_H

#include "metrics.h"
#include "pool_admin.h"

/* What the pool tells Prometheus: slices and members by state, what is booked, who waits, what was decided. The gauges are set by the
 * pool's thread as often as pool_metrics_collect is called, since nobody else may read the pool; scrapes see what was set last.
 *
 * Series: members * (states of slices + states of members), reasons, outcomes, quotas; beyond a family's cap "other". */

struct pool_metrics {
    metrics_family *slices, *member_states, *member_silence, *member_backlog;
    metrics_family *waiting, *decisions, *quota_devices;
    metrics_series *devices, *devices_booked, *memory, *memory_booked, *stranded;
    uint32_t slice_counts[POOL_MEMBERS_MAX][POOL_STATE_COUNT]; /* of the last look */
};

/* STATUS_OK, STATUS_NO_MEMORY, STATUS_INVALID: the names are taken. */
NODISCARD status pool_metrics_init(struct pool_metrics *metrics, metrics_registry *registry);
/* Once a second will do: it is one walk over the slices. Pool's thread. */
void pool_metrics_collect(struct pool_metrics *metrics, const struct pool_admin *admin,
                          uint64_t now_ns);

#endif
