#ifndef PENSTOCK_SCHEDULER_DEVICE_METRICS_H
#define PENSTOCK_SCHEDULER_DEVICE_METRICS_H

#include "device.h"
#include "metrics.h"

/* Readings of this machine's devices as metrics, under the names and labels of NVIDIA's dcgm-exporter (default-counters.csv), of whatever
 * vendor they are, so that dashboards made for it work here. What is not known of a device has no series. All are gauges, also what
 * is a counter there: its names have no "_total". Energy is a counter of our own beside them: penstock_device_energy_joules_total. */
struct device_metrics;

/* `registry` (borrowed) gets the families; `host`: copied. STATUS_OK, STATUS_INVALID (the registry has them already), STATUS_NO_MEMORY. */
NODISCARD status device_metrics_create(metrics_registry *registry, const char *host,
                                       struct device_metrics **out);
/* The families stay in the registry. Accepts NULL. */
void device_metrics_destroy(struct device_metrics *metrics);

/* Sets all, as it was read at now_ns (monotonic); devices that are not in the list any more have no series any more. One thread at a time. */
void device_metrics_set(struct device_metrics *metrics, const struct device_list *list,
                        uint64_t now_ns);

#endif
