#ifndef PENSTOCK_GATEWAY_START_MOMENTS_H
#define PENSTOCK_GATEWAY_START_MOMENTS_H

#include "buffer.h"
#include "metrics.h"
#include "shared_page.h"

/* How the replica's start went, told in three places: the shared page, the metric penstock_replica_start_seconds, and
 * /health. Zeroed at first. Thread: moments are noted by whoever reaches them, each once and in their order; anybody reads. */
struct start_moments {
    shared_page_writer *page;               /* borrowed; NULL: nobody looks */
    metrics_series *seconds[START_MOMENTS]; /* of the phase that the moment ends; NULL: none */
    _Atomic uint64_t at_ns[START_MOMENTS];
};

/* Makes the metric; the registry outlives the moments. STATUS_OK or STATUS_NO_MEMORY. */
NODISCARD status start_moments_init(struct start_moments *moments, metrics_registry *registry);

/* The moment was reached. `since_ns`: when its phase had begun; 0: with the moment before. Does not allocate. */
void start_moments_note(struct start_moments *moments, enum start_moment moment, uint64_t now_ns,
                        uint64_t since_ns);
bool start_moments_has(const struct start_moments *moments, enum start_moment moment);

/* Appends {"start":0.004,...}: the phases that are over, in seconds. */
void start_moments_write(const struct start_moments *moments, struct buffer *out);

#endif
